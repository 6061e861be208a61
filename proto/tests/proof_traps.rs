//! What a token, a presentation and a DPoP proof say, one fault at a time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that does not find what it made should panic")]

mod scene;

use daypass_proto::{
    dpop::{LIFETIME, MAX_JTI, token_hash},
    encoding::base64url,
};
use serde_json::{Value, json};

use self::scene::{NOW, Place, REPOSITORY, RESOURCE, SKEW, Scene, URL, jwk, jws, new_key};

type Change = (&'static str, fn(&mut Value));

fn refused(place: Place, changes: &[Change]) {
    let scene = Scene::new();
    assert_eq!(scene.verify(place, &scene.good(place)), Ok(()));
    for (name, change) in changes {
        let text = scene.with(place, change);
        assert!(scene.verify(place, &text).is_err(), "{name}");
    }
}

fn remove(claims: &mut Value, name: &str) {
    claims.as_object_mut().unwrap().remove(name).unwrap();
}

/// Every claim of a place is needed, and no text, number or list passes for another kind.
#[test]
fn claims_that_are_missing_or_of_another_kind() {
    let scene = Scene::new();
    for place in [Place::Token, Place::KeyBinding, Place::Proof, Place::Delegation] {
        for (name, value) in scene.payload(place).as_object().unwrap() {
            // Whether a proof needs a nonce is for the gate to say.
            if name != "nonce" || place != Place::Proof {
                let text = scene.with(place, |claims| remove(claims, name));
                assert!(scene.verify(place, &text).is_err(), "{place:?} without `{name}`");
            }
            let wrong = if value.is_i64() {
                vec![json!(value.to_string()), json!([value]), json!(value.as_f64()), json!(true)]
            } else {
                vec![json!([value]), json!({"x": value}), json!(1), json!(true)]
            };
            for wrong in wrong {
                let text = scene.with(place, |claims| claims[name] = wrong.clone());
                assert!(scene.verify(place, &text).is_err(), "{place:?} with `{name}` as {wrong}");
            }
        }
    }
}

#[test]
fn tokens() {
    refused(
        Place::Token,
        &[
            ("another issuer", |c| c["iss"] = json!("https://other.test")),
            ("the issuer with a slash", |c| c["iss"] = json!("https://issuer.test/")),
            ("the issuer in capitals", |c| c["iss"] = json!("https://ISSUER.test")),
            ("a test environment's issuer", |c| c["iss"] = json!("https://staging.issuer.test")),
            ("another audience", |c| c["aud"] = json!("https://other.test/")),
            ("the audience on another port", |c| c["aud"] = json!("https://git.test:8443/")),
            ("the audience without TLS", |c| c["aud"] = json!("http://git.test/")),
            ("a repository as audience", |c| c["aud"] = json!(REPOSITORY)),
            ("a longer host", |c| c["aud"] = json!("https://git.test.stranger.test/")),
            ("two audiences", |c| c["aud"] = json!([RESOURCE, "https://other.test/"])),
            ("a thumbprint of another key", |c| c["cnf"]["jkt"] = json!(new_key().public().thumbprint())),
            ("a key with another thumbprint", |c| c["cnf"]["jwk"] = jwk(&new_key())),
            ("a key with its private part", |c| c["cnf"]["jwk"]["d"] = json!(base64url(&[1; 32]))),
            ("no thumbprint", |c| remove(&mut c["cnf"], "jkt")),
            ("no key", |c| remove(&mut c["cnf"], "jwk")),
            ("a certificate beside the key", |c| c["cnf"]["x5t#S256"] = json!("x")),
            ("another device as client", |c| c["client_id"] = json!("urn:daypass:device:dev-1111111111111111")),
            ("an unknown claim", |c| c["scope"] = json!("everything")),
            ("an unknown protection", |c| c["daypass"]["protection"] = json!("strong")),
            ("an unknown type of details", |c| c["authorization_details"][0]["type"] = json!("http_api")),
            ("an unknown field of details", |c| c["authorization_details"][0]["more"] = json!(1)),
        ],
    );
}

#[test]
fn times_to_the_second() {
    let scene = Scene::new();
    let check = |place: Place, claims: &[&str], when: i64| {
        let text = scene.with(place, |payload| claims.iter().for_each(|claim| payload[*claim] = json!(when)));
        scene.verify(place, &text).is_ok()
    };
    for (place, claims, when, good) in [
        (Place::Token, &["exp"][..], NOW - SKEW, false),
        (Place::Token, &["exp"], NOW - SKEW + 1, true),
        (Place::Token, &["nbf"], NOW + SKEW, true),
        (Place::Token, &["nbf"], NOW + SKEW + 1, false),
        (Place::Token, &["iat"], NOW + SKEW, true),
        (Place::Token, &["iat"], NOW + SKEW + 1, false),
        (Place::KeyBinding, &["iat"], NOW + SKEW, true),
        (Place::KeyBinding, &["iat"], NOW + SKEW + 1, false),
        // Not before the token it is made with.
        (Place::KeyBinding, &["iat"], NOW - 100 - SKEW, true),
        (Place::KeyBinding, &["iat"], NOW - 100 - SKEW - 1, false),
        (Place::Proof, &["iat"], NOW + SKEW, true),
        (Place::Proof, &["iat"], NOW + SKEW + 1, false),
        (Place::Proof, &["iat"], NOW - LIFETIME - SKEW, true),
        (Place::Proof, &["iat"], NOW - LIFETIME - SKEW - 1, false),
        (Place::Token, &["exp"], i64::MIN, false),
        (Place::Token, &["nbf"], i64::MAX, false),
        (Place::Token, &["iat"], i64::MAX, false),
        (Place::KeyBinding, &["iat"], i64::MAX, false),
        (Place::KeyBinding, &["iat"], i64::MIN, false),
        (Place::Proof, &["iat"], i64::MAX, false),
        (Place::Proof, &["iat"], i64::MIN, false),
    ] {
        assert_eq!(
            check(place, claims, when),
            good,
            "{place:?}: {claims:?} {} s from now",
            i128::from(when) - i128::from(NOW)
        );
    }
}

#[test]
fn presentations() {
    refused(
        Place::KeyBinding,
        &[
            ("another repository", |c| c["aud"] = json!("https://git.test/team/secret")),
            ("the repository as it is cloned", |c| c["aud"] = json!(format!("{REPOSITORY}.git"))),
            ("the repository with a slash", |c| c["aud"] = json!(format!("{REPOSITORY}/"))),
            ("the repository in capitals", |c| c["aud"] = json!("https://git.test/team/APP")),
            ("the host in capitals", |c| c["aud"] = json!("https://GIT.test/team/app")),
            ("the default port", |c| c["aud"] = json!("https://git.test:443/team/app")),
            ("the resource", |c| c["aud"] = json!(RESOURCE)),
            ("two repositories", |c| c["aud"] = json!([REPOSITORY, "https://git.test/team/secret"])),
            ("the hash of nothing", |c| c["sd_hash"] = json!(token_hash(""))),
            ("an empty hash", |c| c["sd_hash"] = json!("")),
            ("the hash with padding", |c| c["sd_hash"] = json!(format!("{}=", c["sd_hash"].as_str().unwrap()))),
            ("an end of its own", |c| c["exp"] = json!(NOW + 60)),
            ("a proof's claims too", |c| c["htm"] = json!("GET")),
        ],
    );
    let scene = Scene::new();
    let (token, binding) = (&scene.token, scene.good(Place::KeyBinding));
    let hashed = |text: &str| scene.with(Place::KeyBinding, |claims| claims["sd_hash"] = json!(token_hash(text)));
    let disclosure = base64url(br#"["c2FsdA","sub","mallory"]"#);
    let cut = &token[..token.len() - 1];
    for (name, text) in [
        ("no key binding", format!("{token}~")),
        ("no tilde", token.clone()),
        ("no token", format!("~{binding}")),
        ("a tilde behind", format!("{token}~{binding}~")),
        ("a tilde more", format!("{token}~~{binding}")),
        ("a disclosure", format!("{token}~{disclosure}~{binding}")),
        ("a disclosure that is hashed", format!("{token}~{disclosure}~{}", hashed(&format!("{token}~{disclosure}~")))),
        ("a disclosure behind", format!("{token}~{binding}~{disclosure}")),
        ("two tokens", format!("{token}~{token}~{binding}")),
        ("a truncated token", format!("{cut}~{binding}")),
        ("a truncated token that is hashed", format!("{cut}~{}", hashed(&format!("{cut}~")))),
        ("the hash of a truncated token", format!("{token}~{}", hashed(&format!("{cut}~")))),
        ("the hash without the tilde", format!("{token}~{}", hashed(token))),
        ("the hash of another token", format!("{token}~{}", hashed(&format!("{}~", scene.good(Place::Token))))),
        ("the hash of the whole", format!("{token}~{}", hashed(&format!("{token}~{binding}")))),
        ("the token as its own key binding", format!("{token}~{token}")),
        ("the key binding as its own token", format!("{binding}~{binding}")),
        ("both exchanged", format!("{binding}~{token}")),
        ("a space", format!("{token}~ {binding}")),
    ] {
        assert!(scene.presentation(&text, NOW).is_err(), "{name}");
    }
    // Signed by the key in its own header, and not by the token's.
    let mut header = scene.header(Place::KeyBinding);
    header["jwk"] = jwk(&scene.stranger);
    let foreign = jws(&scene.stranger, &header.to_string(), &scene.payload(Place::KeyBinding).to_string());
    assert!(scene.verify(Place::KeyBinding, &foreign).is_err(), "a key that is not the token's");
}

#[test]
fn dpop_claims() {
    refused(
        Place::Proof,
        &[
            ("another method", |c| c["htm"] = json!("POST")),
            ("the method in small letters", |c| c["htm"] = json!("get")),
            ("a method with a space", |c| c["htm"] = json!("GET ")),
            ("no method", |c| c["htm"] = json!("")),
            ("an empty jti", |c| c["jti"] = json!("")),
            ("a jti without end", |c| c["jti"] = json!("x".repeat(MAX_JTI + 1))),
            ("a hash of another token", |c| c["ath"] = json!(token_hash("another"))),
            ("a hash in hexadecimal", |c| c["ath"] = json!("00".repeat(32))),
            ("an empty hash", |c| c["ath"] = json!("")),
            ("a hash with padding", |c| c["ath"] = json!(format!("{}=", c["ath"].as_str().unwrap()))),
            ("no hash", |c| remove(c, "ath")),
            ("a hash that is null", |c| c["ath"] = json!(null)),
        ],
    );
    let scene = Scene::new();
    let longest = scene.with(Place::Proof, |claims| claims["jti"] = json!("x".repeat(MAX_JTI)));
    assert_eq!(scene.verify(Place::Proof, &longest), Ok(()), "as long as is remembered");
    let hash = token_hash(&scene.token[..scene.token.len() - 1]);
    let cut = scene.with(Place::Proof, |claims| claims["ath"] = json!(hash));
    assert!(scene.verify(Place::Proof, &cut).is_err(), "a hash of the truncated token");
}

#[test]
fn dpop_urls() {
    let scene = Scene::new();
    let check = |url: &str| {
        let text = scene.with(Place::Proof, |claims| claims["htu"] = json!(url));
        scene.verify(Place::Proof, &text).is_ok()
    };
    // RFC 9449 section 4.3, check 9: equal after normalisation (RFC 3986 sections 6.2.2 and 6.2.3), query and fragment aside.
    for same in [
        URL,
        "HTTPS://git.test/team/app.git/info/refs",
        "https://GIT.Test/team/app.git/info/refs",
        "https://git.test:443/team/app.git/info/refs",
        "https://git.test:/team/app.git/info/refs",
        "https://git.test/team/./app.git/info/refs",
        "https://git.test/team/x/../app.git/info/refs",
        "https://git.test/team/x/%2E%2e/app.git/info/refs",
        "https://git.test/team/%61pp.git/info/refs",
        "https://git.test/team/app%2egit/info/refs",
        "https://git.test/team/app.git/info/refs?service=git-upload-pack",
        "https://git.test/team/app.git/info/refs?service=git-receive-pack",
        "https://git.test/team/app.git/info/refs#fragment",
    ] {
        assert!(check(same), "{same}");
    }
    for other in [
        "",
        "/team/app.git/info/refs",
        "//git.test/team/app.git/info/refs",
        "git.test/team/app.git/info/refs",
        "http://git.test/team/app.git/info/refs",
        "https://git.test:8443/team/app.git/info/refs",
        "https://git.test./team/app.git/info/refs",
        "https://other.test/team/app.git/info/refs",
        "https://git.test.other.test/team/app.git/info/refs",
        "https://git.test@other.test/team/app.git/info/refs",
        "https://user@git.test/team/app.git/info/refs",
        "https://git.test/team/app.git/info/refs/",
        "https://git.test/team/app.git/info",
        "https://git.test/team/app.git/info%2frefs",
        "https://git.test/team/APP.git/info/refs",
        "https://git.test//team/app.git/info/refs",
        "https://git.test/team/app.git/info/refs%00",
        "https://git.test/team/app.git/info/refs%",
        "https://git.test/team/app.git/info/refs%2",
        "https://git.test/team/app.git/info/refs%zz",
        "https://git.test/team/app.git/info/refs;x",
        "https://git.test/",
        "https://git.test",
        // What is no URI, though a browser would repair it.
        "https:git.test/team/app.git/info/refs",
        "https:/git.test/team/app.git/info/refs",
        "https:///git.test/team/app.git/info/refs",
        "https:\\\\git.test\\team\\app.git\\info\\refs",
        "https://git.test\\team/app.git/info/refs",
        " https://git.test/team/app.git/info/refs",
        "https://git.test/team/app.git/info/refs ",
        "https://git.test/team/app.git/info/re\nfs",
        "ht\ttps://git.test/team/app.git/info/refs",
        "https://git.test/team/app.git/info/refs\0",
        "https://ｇit.test/team/app.git/info/refs",
    ] {
        assert!(!check(other), "{other:?}");
    }
}

#[test]
fn dpop_keys() {
    let scene = Scene::new();
    let good = jwk(&scene.holder);
    let with = |key: Value| {
        let mut header = scene.header(Place::Proof);
        header["jwk"] = key;
        jws(&scene.holder, &header.to_string(), &scene.payload(Place::Proof).to_string())
    };
    let member = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        with(key)
    };
    let (x, y) = (*scene.holder.public().x(), *scene.holder.public().y());
    let mut off = y;
    off[31] ^= 1;
    let mut without = scene.header(Place::Proof);
    without.as_object_mut().unwrap().remove("jwk");
    for (name, text) in [
        ("no key", jws(&scene.holder, &without.to_string(), &scene.payload(Place::Proof).to_string())),
        ("a key that is null", with(json!(null))),
        ("a list of keys", with(json!([good]))),
        ("a key as text", with(json!(good.to_string()))),
        ("the thumbprint for a key", with(json!({"kid": scene.holder.public().thumbprint()}))),
        ("a private part", member("d", json!(base64url(&[1; 32])))),
        ("an empty private part", member("d", json!(""))),
        ("a private part that is null", member("d", json!(null))),
        ("a point off the curve", member("y", json!(base64url(&off)))),
        ("coordinates exchanged", with(json!({"kty": "EC", "crv": "P-256", "x": base64url(&y), "y": base64url(&x)}))),
        (
            "the point at infinity",
            with(json!({"kty": "EC", "crv": "P-256", "x": base64url(&[0; 32]), "y": base64url(&[0; 32])})),
        ),
        ("a coordinate beyond the field", member("x", json!(base64url(&[0xff; 32])))),
        ("a short coordinate", member("x", json!(base64url(&x[1..])))),
        ("a long coordinate", member("x", json!(base64url(&[&[0], &x[..]].concat())))),
        ("a padded coordinate", member("x", json!(format!("{}=", base64url(&x))))),
        ("an empty coordinate", member("y", json!(""))),
        ("a compressed point", {
            let mut key = good.clone();
            key.as_object_mut().unwrap().remove("y");
            with(key)
        }),
        ("another curve", member("crv", json!("P-384"))),
        ("the curve of coins", member("crv", json!("secp256k1"))),
        ("the curve in small letters", member("crv", json!("p-256"))),
        ("a symmetric key", with(json!({"kty": "oct", "k": base64url(&x)}))),
        ("an RSA key", with(json!({"kty": "RSA", "n": base64url(&[0xff; 256]), "e": "AQAB"}))),
        ("an Edwards key", with(json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&x)}))),
    ] {
        assert!(scene.verify(Place::Proof, &text).is_err(), "{name}");
    }
    // A good proof of somebody else's key for the holder's token.
    let mut header = scene.header(Place::Proof);
    header["jwk"] = jwk(&scene.stranger);
    let foreign = jws(&scene.stranger, &header.to_string(), &scene.payload(Place::Proof).to_string());
    assert!(scene.verify(Place::Proof, &foreign).is_err(), "a key that is not the token's");
    // What a JWK may say besides is nobody's business.
    for (name, value) in [("kid", json!("x")), ("use", json!("sig")), ("alg", json!("ES256")), ("x5c", json!(["AAAA"]))]
    {
        assert_eq!(scene.verify(Place::Proof, &member(name, value)), Ok(()), "{name}");
    }
}
