//! JWTs at the places that verify one: access token, key-binding JWT, DPoP proof, delegation, and the acceptance of a briefing.
//!
//! The first letter names the place. `a` to `d` take the rest as the JWT's text; the next four sign `header LF payload` with
//! the key that counts in that place, since nobody would guess a signature and most of the reading happens behind it. `i` and `j` are the acceptance's.

use std::sync::LazyLock;

use daypass_proto::{
    briefing, dpop,
    encoding::{Fixed, base64url},
    jose::UnverifiedJws,
    names::GrantId,
    presentation::{self, token_of},
    time::{Skew, Timestamp},
    token,
};

use crate::{
    choice,
    places::fill,
    scene::{ISSUER, NOW, PLACES, Place, REPOSITORY, RESOURCE, SKEW, Scene, jwk},
    seed,
};

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);

/// One JWT, at one place.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 10) else { return };
    let scene = &*SCENE;
    if kind >= 8 {
        return accept(scene, kind == 9, rest);
    }
    let place = PLACES[usize::from(kind % 4)];
    let rest = fill(rest, |name| value(scene, name));
    if kind < 4 {
        if let Ok(text) = std::str::from_utf8(&rest) {
            check(scene, place, text);
        }
        return;
    }
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let (Some(header), Some(payload)) = (lines.next(), lines.next()) else { return };
    let input = format!("{}.{}", base64url(header), base64url(payload));
    check(scene, place, &scene.signer(place).sign_input(&input).unwrap());
}

/// An acceptance, as it came or to be signed.
fn accept(scene: &Scene, sign: bool, rest: &[u8]) {
    let mut lines = rest.splitn(2, |byte| *byte == b'\n');
    let text = match (sign, lines.next(), lines.next()) {
        (true, Some(header), Some(payload)) => {
            let input = format!("{}.{}", base64url(header), base64url(payload));
            scene.holder.sign_input(&input).unwrap()
        }
        (true, ..) => return,
        (false, ..) => String::from_utf8_lossy(rest).into_owned(),
    };
    let Ok(verified) = accepted(scene, &text, NOW) else { return };
    let claims = verified.claims();
    assert_eq!((claims.aud.as_str(), claims.briefing, claims.text), (ISSUER, TERMS, briefing::text_hash(TEXT)));
    assert!(accepted(scene, &text, NOW + 3600).is_err(), "it is said now");
}

const TERMS: Fixed<32> = Fixed([0; 32]);
const TEXT: &str = "what you may do";

fn accepted(scene: &Scene, text: &str, now: i64) -> Result<briefing::VerifiedAcceptance, briefing::AcceptanceError> {
    let expected = briefing::Expected {
        issuer: ISSUER,
        grant: &GrantId::from_random([0; 10]),
        project: &"apollo".parse().unwrap(),
        briefing: TERMS,
        text: TEXT,
        proof_key: scene.holder.public(),
        now: Timestamp::from_seconds(now),
        skew: Skew::default(),
    };
    briefing::verify(text, &expected)
}

/// A good one, to be signed.
fn acceptance() -> String {
    let claims = briefing::Claims {
        aud: ISSUER.to_owned(),
        iat: Timestamp::from_seconds(NOW),
        grant: GrantId::from_random([0; 10]),
        project: "apollo".parse().unwrap(),
        briefing: TERMS,
        text: briefing::text_hash(TEXT),
    };
    format!("{{\"typ\":\"{}\",\"alg\":\"ES256\"}}\n{}", briefing::TYP, serde_json::to_string(&claims).unwrap())
}

fn value(scene: &Scene, name: &str) -> Option<Vec<u8>> {
    Some(match name {
        "holder" => jwk(&scene.holder).to_string().into_bytes(),
        "stranger" => jwk(&scene.stranger).to_string().into_bytes(),
        "jkt" => scene.holder.public().thumbprint().into_bytes(),
        "token" => scene.token.clone().into_bytes(),
        "ath" => dpop::token_hash(&scene.token).into_bytes(),
        "sd_hash" => dpop::token_hash(&format!("{}~", scene.token)).into_bytes(),
        _ => {
            let place = PLACES.into_iter().find(|place| format!("good_{place:?}").eq_ignore_ascii_case(name))?;
            scene.good(place).into_bytes()
        }
    })
}

fn check(scene: &Scene, place: Place, text: &str) {
    // Before anything is verified the gate looks for the `kid`, to know whether to ask for new keys.
    if let Ok(jws) = UnverifiedJws::parse(token_of(text).unwrap_or(text), token::TYP) {
        let _ = (jws.kid(), jws.jwk());
    }
    match place {
        Place::Token => {
            let Ok(verified) = scene.token(text, NOW) else { return };
            let claims = verified.claims();
            assert_eq!((claims.iss.as_str(), claims.aud.as_str()), (ISSUER, RESOURCE));
            assert!(claims.exp.seconds() > NOW - SKEW && claims.nbf.seconds() <= NOW + SKEW);
            assert_eq!(claims.cnf.jkt, claims.cnf.jwk.thumbprint());
            assert!(claims.authorization_details.is_subset_of(&claims.authorization_details).is_ok());
        }
        Place::KeyBinding => {
            let whole = presentation::present(&scene.token, text);
            for text in [text, &whole] {
                let Ok(verified) = scene.presentation(text, NOW) else { continue };
                assert_eq!(token_of(text), text.split('~').next());
                assert_eq!(verified.token().claims().aud.as_str(), RESOURCE);
                assert!(text.split('~').count() == 2 && REPOSITORY.starts_with(RESOURCE));
            }
        }
        Place::Proof => {
            let Ok(proof) = scene.proof(text, NOW) else { return };
            assert_eq!(proof.key(), scene.holder.public());
            assert!((1..=dpop::MAX_JTI).contains(&proof.jti().len()));
            assert!((proof.iat().seconds() - NOW).abs() <= dpop::LIFETIME + SKEW);
        }
        Place::Delegation => {
            if scene.verify(place, text).is_ok() {
                assert!(scene.verify_at(place, text, NOW + 2 * 3600).is_err(), "it ends");
            }
        }
    }
}

/// A good one at each place, as text and in parts.
pub fn seeds() -> Vec<Vec<u8>> {
    let names = ["<good_token>", "<good_keybinding>", "<good_proof>", "<good_delegation>"];
    let mut seeds: Vec<Vec<u8>> = (b'a'..).zip(names).map(|(letter, name)| seed(letter, name)).collect();
    seeds.push(seed(b'b', "<token>~<good_keybinding>"));
    let scene = &*SCENE;
    for (letter, place) in (b'e'..).zip(PLACES) {
        let mut text = format!("{}\n{}", scene.header(place), scene.payload(place));
        for (key, name) in [(&scene.holder, "<holder>"), (&scene.stranger, "<stranger>")] {
            text = text.replace(&jwk(key).to_string(), name);
        }
        text = text.replace(&scene.holder.public().thumbprint(), "<jkt>");
        text = text.replace(&dpop::token_hash(&scene.token), "<ath>");
        text = text.replace(&dpop::token_hash(&format!("{}~", scene.token)), "<sd_hash>");
        seeds.push(seed(letter, text));
    }
    seeds.push(seed(b'a', unsigned()));
    seeds.push(seed(b'i', unsigned()));
    seeds.push(seed(b'j', acceptance()));
    seeds
}

/// `alg: none`, as it is written.
fn unsigned() -> String {
    format!("{}.{}.", base64url(br#"{"alg":"none","typ":"at+jwt"}"#), base64url(b"{}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_good_at_their_places() {
        let scene = &*SCENE;
        for place in PLACES {
            assert_eq!(scene.verify(place, &scene.good(place)), Ok(()));
        }
        let (header, payload) = acceptance().split_once('\n').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
        let good = crate::scene::jws(&scene.holder, &header, &payload);
        assert!(accepted(scene, &good, NOW).is_ok());
        assert!(accepted(scene, &crate::scene::jws(&scene.stranger, &header, &payload), NOW).is_err());
        for given in seeds().iter().filter(|seed| (b'e'..=b'h').contains(&seed[0])) {
            let text = fill(&given[1..], |name| value(scene, name));
            let (header, payload) = std::str::from_utf8(&text).unwrap().split_once('\n').unwrap();
            let place = PLACES[usize::from(given[0] - b'e')];
            assert_eq!(
                scene.verify(place, &crate::scene::jws(scene.signer(place), header, payload)),
                Ok(()),
                "{place:?}"
            );
        }
    }
}
