//! Forged tokens and proofs against the built programs: what `proto` refuses, issuer and gate refuse, and each is told so as its protocol
//! wants it. The tables of every trap stand in `proto/tests`.

#![allow(clippy::indexing_slicing, reason = "members of JSON objects that are made here")]

use aws_lc_rs::hmac;
use daypass_proto::{
    dpop::token_hash,
    encoding::{base64url, from_base64url},
    jose::SoftwareKey,
};
use daypass_tests::{
    Answer, Failure, Gate, OTHER_REPOSITORY, REPOSITORY, SoftwareClient, Story, World, ensure, new_key, random_id,
};
use serde_json::{Value, json};

const REFS: &str = "team/app.git/info/refs?service=git-upload-pack";

/// A JWT before it is signed, and who signs it.
struct Draft<'a> {
    header: Value,
    payload: Value,
    key: &'a SoftwareKey,
    stranger: &'a SoftwareKey,
}

impl Draft<'_> {
    fn signed(&self) -> Result<String, Failure> {
        sign(self.key, &self.header.to_string(), &self.payload.to_string())
    }
}

fn sign(key: &SoftwareKey, header: &str, payload: &str) -> Result<String, Failure> {
    let input = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
    key.sign_input(&input).map_err(|error| Failure::unexpected("a signature", error))
}

fn jwk(key: &SoftwareKey) -> Value {
    serde_json::to_value(key.public()).unwrap_or_default()
}

type Forgery = fn(Draft<'_>) -> Result<String, Failure>;
/// A change of claims.
type Change = fn(&Scene, &mut Value);

/// What no place takes, whatever it is about.
const FORGERIES: [(&str, Forgery); 22] = [
    ("alg none", |mut d| {
        d.header["alg"] = json!("none");
        let signed = d.signed()?;
        Ok(format!("{}.", signed.rsplit_once('.').unwrap_or_default().0))
    }),
    ("the public key as the secret of a MAC", |mut d| {
        d.header["alg"] = json!("HS256");
        let input = d.signed()?.rsplit_once('.').unwrap_or_default().0.to_owned();
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &d.key.public().to_spki_der()), input.as_bytes());
        Ok(format!("{input}.{}", base64url(mac.as_ref())))
    }),
    ("RS256 over an ES256 signature", |mut d| {
        d.header["alg"] = json!("RS256");
        d.signed()
    }),
    ("ES384 over an ES256 signature", |mut d| {
        d.header["alg"] = json!("ES384");
        d.signed()
    }),
    ("no typ", |mut d| {
        d.header["typ"] = json!(null);
        d.signed()
    }),
    ("the typ of anything", |mut d| {
        d.header["typ"] = json!("JWT");
        d.signed()
    }),
    ("the typ of an access token", |mut d| {
        d.header["typ"] = json!("at+jwt");
        d.signed()
    }),
    ("the typ of a delegation", |mut d| {
        d.header["typ"] = json!("daypass-delegation+jwt");
        d.signed()
    }),
    ("an unknown crit", |mut d| {
        d.header["crit"] = json!(["exp"]);
        d.signed()
    }),
    ("crit null", |mut d| {
        d.header["crit"] = json!(null);
        d.signed()
    }),
    ("a header member twice", |d| {
        let header = d.header.to_string();
        sign(d.key, &format!("{{\"x\":1,\"x\":2,{}", header.get(1..).unwrap_or_default()), &d.payload.to_string())
    }),
    ("a claim twice", |d| {
        let payload = d.payload.to_string();
        let member = format!("{{\"iat\":{},", d.payload["iat"]);
        sign(d.key, &d.header.to_string(), &format!("{member}{}", payload.get(1..).unwrap_or_default()))
    }),
    ("padding", |d| Ok(format!("{}==", d.signed()?))),
    ("four parts", |d| Ok(format!("{}.AAAA", d.signed()?))),
    ("a signature in DER", |d| {
        resigned(&d.signed()?, |raw| {
            let (r, s) = raw.split_at(32);
            [&[0x30, 70, 2, 33, 0][..], r, &[2, 33, 0], s].concat()
        })
    }),
    ("r is zero", |d| resigned(&d.signed()?, |raw| [&[0; 32], raw.get(32..).unwrap_or_default()].concat())),
    ("s is zero", |d| resigned(&d.signed()?, |raw| [raw.get(..32).unwrap_or_default(), &[0; 32]].concat())),
    ("a signature of nothing", |d| resigned(&d.signed()?, |_| vec![0; 64])),
    ("another payload below the signature", |mut d| {
        let good = d.signed()?;
        d.payload["jti"] = json!(random_id()?);
        d.payload["nonce"] = json!("another");
        let other = d.signed()?;
        let signature = good.rsplit_once('.').unwrap_or_default().1;
        Ok(format!("{}.{signature}", other.rsplit_once('.').unwrap_or_default().0))
    }),
    ("a stranger's signature", |d| sign(d.stranger, &d.header.to_string(), &d.payload.to_string())),
    ("a stranger's signature with his key", |mut d| {
        d.header["jwk"] = jwk(d.stranger);
        sign(d.stranger, &d.header.to_string(), &d.payload.to_string())
    }),
    ("a stranger's signature with his certificate", |mut d| {
        d.header["x5c"] = json!([base64url(&d.stranger.public().to_spki_der())]);
        d.header["jku"] = json!("https://stranger.example.com/keys");
        sign(d.stranger, &d.header.to_string(), &d.payload.to_string())
    }),
];

/// What a DPoP proof must not be besides.
const PROOFS: [(&str, Forgery); 16] = [
    ("no key", |mut d| {
        d.header["jwk"] = json!(null);
        d.signed()
    }),
    ("a key with its private part", |mut d| {
        d.header["jwk"]["d"] = json!(base64url(&[1; 32]));
        d.signed()
    }),
    ("a key whose private part is null", |mut d| {
        d.header["jwk"]["d"] = json!(null);
        d.signed()
    }),
    ("a key off the curve", |mut d| {
        d.header["jwk"]["y"] = d.header["jwk"]["x"].clone();
        d.signed()
    }),
    ("another curve", |mut d| {
        d.header["jwk"]["crv"] = json!("P-384");
        d.signed()
    }),
    ("the method in small letters", |mut d| {
        d.payload["htm"] = json!(d.payload["htm"].as_str().unwrap_or_default().to_lowercase());
        d.signed()
    }),
    ("another method", |mut d| {
        d.payload["htm"] = json!("PUT");
        d.signed()
    }),
    ("no TLS", |mut d| {
        d.payload["htu"] = json!(d.payload["htu"].as_str().unwrap_or_default().replace("https:", "http:"));
        d.signed()
    }),
    ("a slash behind the URL", |mut d| {
        d.payload["htu"] = json!(format!("{}/", d.payload["htu"].as_str().unwrap_or_default()));
        d.signed()
    }),
    ("a URL with backslashes", |mut d| {
        d.payload["htu"] = json!(d.payload["htu"].as_str().unwrap_or_default().replace('/', "\\"));
        d.signed()
    }),
    ("an empty jti", |mut d| {
        d.payload["jti"] = json!("");
        d.signed()
    }),
    ("a jti without end", |mut d| {
        d.payload["jti"] = json!("x".repeat(129));
        d.signed()
    }),
    ("made two minutes ago", |mut d| {
        d.payload["iat"] = json!(d.payload["iat"].as_i64().unwrap_or_default() - 125);
        d.signed()
    }),
    ("made in a minute", |mut d| {
        d.payload["iat"] = json!(d.payload["iat"].as_i64().unwrap_or_default() + 120);
        d.signed()
    }),
    ("made never", |mut d| {
        d.payload["iat"] = json!(i64::MIN);
        d.signed()
    }),
    ("the typ of a key binding", |mut d| {
        d.header["typ"] = json!("kb+jwt");
        d.signed()
    }),
];

fn resigned(text: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<String, Failure> {
    let (input, signature) = text.rsplit_once('.').unwrap_or_default();
    let raw = from_base64url(signature).unwrap_or_default();
    Ok(format!("{input}.{}", base64url(&change(&raw))))
}

#[test]
fn the_token_endpoint_takes_no_forged_proof() -> Story {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let (stranger, _) = new_key()?;
    let draft = || {
        Ok::<_, Failure>(Draft {
            header: json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": jwk(client.proof())}),
            payload: json!({"jti": random_id()?, "htm": "POST", "htu": client.token_endpoint(), "iat": world.now()}),
            key: client.proof(),
            stranger: &stranger,
        })
    };
    let resource = world.gate.resource();
    let ask = |proof: &str| client.token_request(proof, &resource, &[])?.send();
    let token = ask(&draft()?.signed()?)?.status(200)?;
    let token = token.json()?.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned();
    let refused = |name: &str, answer: Answer| {
        let right = answer.status == 400 && answer.body.contains("\"invalid_dpop_proof\"");
        ensure(right && !answer.body.contains("access_token"), format!("{name}: invalid_dpop_proof"), &answer.ran)
    };
    for (name, forge) in FORGERIES.iter().chain(&PROOFS) {
        refused(name, ask(&forge(draft()?)?)?)?;
    }
    refused("a token for a proof", ask(&token)?)?;
    // RFC 9449 section 4.3, check 1; and both in one, as a proxy may join them.
    let two = [draft()?.signed()?, draft()?.signed()?];
    refused("two proofs", client.token_request(&two[0], &resource, &[])?.header("DPoP", &two[1]).send()?)?;
    refused("two proofs in one header", ask(&two.join(", "))?)?;
    let again = draft()?.signed()?;
    ask(&again)?.status(200)?;
    refused("a proof again", ask(&again)?)?;
    let mut same = draft()?;
    same.payload["iat"] = json!(world.now() + 1);
    same.payload["jti"] = json!("once");
    ask(&same.signed()?)?.status(200)?;
    same.payload["iat"] = json!(world.now() + 2);
    refused("its jti again", ask(&same.signed()?)?)?;
    // And nothing is wrong with client and issuer.
    ask(&draft()?.signed()?)?.status(200)?;
    Ok(())
}

/// A world with a reader of its repository, and a token.
struct Scene {
    world: World,
    client: SoftwareClient,
    stranger: SoftwareKey,
    token: String,
}

fn scene() -> Result<Scene, Failure> {
    let world = World::with_software_keys(false)?;
    let client = world.software_client("client", "developer")?;
    let token = client.token(&world.gate.resource(), world.now())?;
    Ok(Scene { client, stranger: new_key()?.0, token, world })
}

impl Scene {
    fn binding(&self, nonce: &str) -> Draft<'_> {
        let sd_hash = token_hash(&format!("{}~", self.token));
        Draft {
            header: json!({"alg": "ES256", "typ": "kb+jwt"}),
            payload: json!({"aud": self.world.repository(), "nonce": nonce, "iat": self.world.now(), "sd_hash": sd_hash}),
            key: self.client.proof(),
            stranger: &self.stranger,
        }
    }

    fn proof(&self, nonce: &str) -> Result<Draft<'_>, Failure> {
        let htu = self.world.gate.url("team/app.git/info/refs");
        let ath = token_hash(&self.token);
        Ok(Draft {
            header: json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": jwk(self.client.proof())}),
            payload: json!({"jti": random_id()?, "htm": "GET", "htu": htu, "iat": self.world.now(), "ath": ath, "nonce": nonce}),
            key: self.client.proof(),
            stranger: &self.stranger,
        })
    }

    fn nonce(&self) -> Result<String, Failure> {
        self.world.nonce(REPOSITORY, "git-upload-pack", None)
    }

    fn dpop_nonce(&self) -> Result<String, Failure> {
        Ok(self.world.request(REFS)?.send()?.status(401)?.header("DPoP-Nonce").unwrap_or_default().to_owned())
    }

    fn present(&self, presentation: &str) -> Result<Answer, Failure> {
        self.world.request(REFS)?.header("Authorization", &format!("Daypass {presentation}")).send()
    }

    fn prove(&self, token: &str, proof: &str) -> Result<Answer, Failure> {
        self.world.request(REFS)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", proof).send()
    }

    /// Goes on only if this was refused with 401 and a fresh challenge, and the git server heard nothing.
    fn refused(&self, name: &str, answer: Answer) -> Story {
        let challenged = answer.status == 401 && answer.header("WWW-Authenticate").is_some();
        ensure(challenged, format!("{name}: 401 and a challenge"), &answer.ran)?;
        let heard = self.world.upstream.requests()?;
        ensure(heard.is_empty(), format!("{name}: nothing at the server"), format!("{heard:?}"))
    }
}

#[test]
fn the_gate_takes_no_forged_presentation() -> Story {
    let scene = scene()?;
    let token = &scene.token;
    for (name, forge) in FORGERIES {
        let binding = forge(scene.binding(&scene.nonce()?))?;
        scene.refused(name, scene.present(&format!("{token}~{binding}"))?)?;
        // The same in Basic, which is what older gits send.
        let basic = format!("daypass:{token}~{binding}");
        scene.refused(name, scene.world.request(REFS)?.with(["--user", &basic]).send()?)?;
    }
    let binding = scene.binding(&scene.nonce()?).signed()?;
    let cut = token.get(..token.len() - 1).unwrap_or_default();
    let disclosure = base64url(br#"["c2FsdA","sub","mallory"]"#);
    for (name, text) in [
        ("a truncated token", format!("{cut}~{binding}")),
        ("a disclosure", format!("{token}~{disclosure}~{binding}")),
        ("a tilde behind", format!("{token}~{binding}~")),
        ("a tilde more", format!("{token}~~{binding}")),
        ("no key binding", format!("{token}~")),
        ("the token twice", format!("{token}~{token}")),
        ("both exchanged", format!("{binding}~{token}")),
        ("a proof for a key binding", format!("{token}~{}", scene.proof(&scene.dpop_nonce()?)?.signed()?)),
    ] {
        scene.refused(name, scene.present(&text)?)?;
    }
    let wrong: [(&str, Change); 6] = [
        ("the repository as it is cloned", |scene, claims| claims["aud"] = json!(scene.world.clone_url())),
        ("the resource", |scene, claims| claims["aud"] = json!(scene.world.gate.resource())),
        ("two repositories", |scene, claims| claims["aud"] = json!([scene.world.repository()])),
        ("the hash without the tilde", |scene, claims| claims["sd_hash"] = json!(token_hash(&scene.token))),
        ("an unknown claim", |_, claims| claims["exp"] = json!(i64::MAX)),
        ("no nonce", |_, claims| claims["nonce"] = json!("")),
    ];
    for (name, change) in wrong {
        let mut draft = scene.binding(&scene.nonce()?);
        change(&scene, &mut draft.payload);
        scene.refused(name, scene.present(&format!("{token}~{}", draft.signed()?))?)?;
    }
    // A nonce for DPoP is none for a presentation.
    let draft = scene.binding(&scene.dpop_nonce()?);
    scene.refused("a nonce of the other kind", scene.present(&format!("{token}~{}", draft.signed()?))?)?;
    scene.present(&format!("{token}~{binding}"))?.status(200)?;
    Ok(())
}

#[test]
fn the_gate_takes_no_forged_proof() -> Story {
    let scene = scene()?;
    let (token, nonce) = (&scene.token, scene.dpop_nonce()?);
    for (name, forge) in FORGERIES.iter().chain(&PROOFS) {
        scene.refused(name, scene.prove(token, &forge(scene.proof(&nonce)?)?)?)?;
    }
    let wrong: [(&str, Change); 4] = [
        ("no token hash", |_, claims| claims["ath"] = json!(null)),
        ("the hash of another token", |_, claims| claims["ath"] = json!(token_hash("another"))),
        ("a nonce that is null", |_, claims| claims["nonce"] = json!(null)),
        ("the nonce of a presentation", |scene, claims| {
            claims["nonce"] = json!(scene.nonce().unwrap_or_default());
        }),
    ];
    for (name, change) in wrong {
        let mut draft = scene.proof(&nonce)?;
        change(&scene, &mut draft.payload);
        scene.refused(name, scene.prove(token, &draft.signed()?)?)?;
    }
    let two = [scene.proof(&nonce)?.signed()?, scene.proof(&nonce)?.signed()?];
    let twice = scene.world.request(REFS)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", &two[0]);
    scene.refused("two proofs", twice.header("DPoP", &two[1]).send()?)?;
    scene.refused("two proofs in one header", scene.prove(token, &two.join(", "))?)?;
    scene.refused("a token for a proof", scene.prove(token, token)?)?;
    let good = scene.proof(&nonce)?.signed()?;
    for (name, authorization) in [
        ("a plain bearer with a proof", format!("Bearer {token}")),
        ("a token as a presentation", format!("Daypass {token}")),
        ("no scheme", token.clone()),
    ] {
        let request = scene.world.request(REFS)?.header("Authorization", &authorization).header("DPoP", &good);
        scene.refused(name, request.send()?)?;
    }
    let password = scene.world.request(REFS)?.with(["--user", &format!("daypass:{token}")]);
    scene.refused("a token as a password", password.header("DPoP", &good).send()?)?;
    let both = scene.world.request(REFS)?.header("Authorization", &format!("DPoP {token}")).header("DPoP", &good);
    scene.refused("two credentials", both.header("Authorization", &format!("Bearer {token}")).send()?)?;
    scene.prove(token, &good)?.status(200)?;
    scene.prove(token, &good)?.status(401)?;
    Ok(())
}

#[test]
fn tokens_and_nonces_of_another_place_open_nothing() -> Story {
    let scene = scene()?;
    let other = World::with_software_keys(false)?;
    let stranger = other.software_client("client", "developer")?;
    // A token of another issuer, whose key this gate never heard of, for another gate: by itself, and with a key binding for this one.
    let foreign = stranger.token(&other.gate.resource(), other.now())?;
    let present = |token: &str, key: &SoftwareKey, nonce: &str| {
        let repository = scene.world.repository();
        SoftwareClient::forge_presentation(key, token, &repository, nonce, scene.world.now(), |_| {})
    };
    scene.refused("another issuer", scene.present(&present(&foreign, stranger.proof(), &scene.nonce()?)?)?)?;
    // Its claims under this issuer's name of the key.
    let parts: Vec<&str> = foreign.split('.').collect();
    let header = scene.token.split('.').next().unwrap_or_default();
    let renamed = format!("{header}.{}.{}", parts[1], parts[2]);
    scene.refused(
        "another issuer under this one's `kid`",
        scene.present(&present(&renamed, stranger.proof(), &scene.nonce()?)?)?,
    )?;
    // A nonce of another gate.
    let nonce = other.nonce(REPOSITORY, "git-upload-pack", None)?;
    scene.refused("another gate's nonce", scene.present(&present(&scene.token, scene.client.proof(), &nonce)?)?)?;
    // A second gate of this issuer: a nonce of one is none of the other.
    let mut second = Gate::new(&scene.world.place, "second", &scene.world.programs, None, &scene.world.upstream)?;
    second.configure("allow_software_keys = false", "allow_software_keys = true")?;
    second.enrol(&scene.world.issuer)?;
    second.serve()?;
    let at_second = daypass_tests::Request::new(daypass_tests::Who::Bob, &second.url(REFS), scene.world.issuer.root())?;
    let challenge = at_second.send()?.status(401)?;
    let nonce = challenge.headers.iter().find_map(|line| line.split_once("nonce=\"")?.1.split('"').next());
    let nonce = nonce.unwrap_or_default().to_owned();
    scene.refused("a neighbour's nonce", scene.present(&present(&scene.token, scene.client.proof(), &nonce)?)?)?;
    // And a token for one gate is none for the other, though the same issuer signed it.
    let repository = second.url(REPOSITORY);
    let now = scene.world.now();
    let presentation =
        SoftwareClient::forge_presentation(scene.client.proof(), &scene.token, &repository, &nonce, now, |_| {})?;
    let answer = at_second.header("Authorization", &format!("Daypass {presentation}")).send()?;
    scene.refused("a token for another gate", answer)?;
    // Another repository behind the same gate, with a nonce for it.
    let nonce = scene.world.nonce(OTHER_REPOSITORY, "git-upload-pack", None)?;
    scene
        .refused("another repository's nonce", scene.present(&present(&scene.token, scene.client.proof(), &nonce)?)?)?;
    // Another address.
    let nonce = scene.world.nonce(REPOSITORY, "git-upload-pack", Some("127.0.0.2"))?;
    scene.refused("another address's nonce", scene.present(&present(&scene.token, scene.client.proof(), &nonce)?)?)?;
    scene.present(&present(&scene.token, scene.client.proof(), &scene.nonce()?)?)?.status(200)?;
    Ok(())
}

#[test]
fn keys_of_other_roles_are_not_known_to_a_gate() -> Story {
    let scene = scene()?;
    let keys = scene.world.issuer.run(["key", "list", "--json"])?.json()?;
    let jwks = scene.world.issuer.url() + "/jwks";
    let published =
        daypass_tests::Request::new(daypass_tests::Who::Bob, &jwks, scene.world.issuer.root())?.send()?.status(200)?;
    let (header, rest) = scene.token.split_once('.').unwrap_or_default();
    let header: Value = serde_json::from_slice(&from_base64url(header).unwrap_or_default()).unwrap_or_default();
    let mut others = 0;
    for key in keys.as_array().into_iter().flatten() {
        let (kid, purpose) = (key["kid"].as_str().unwrap_or_default(), key["purpose"].as_str().unwrap_or_default());
        ensure(
            published.body.contains(kid) == (purpose == "token"),
            format!("`{purpose}` in its place"),
            &published.ran,
        )?;
        if purpose == "token" {
            ensure(header["kid"] == kid, "the token's own key", &header)?;
            continue;
        }
        others += 1;
        let mut renamed = header.clone();
        renamed["kid"] = json!(kid);
        let token = format!("{}.{rest}", base64url(renamed.to_string().as_bytes()));
        let binding = scene.binding(&scene.nonce()?).signed()?;
        let answer = scene.present(&format!("{token}~{binding}"))?.says(&["does not publish"])?;
        scene.refused(purpose, answer)?;
    }
    ensure(others >= 3, "a key for each CA and for TLS", &keys)
}
