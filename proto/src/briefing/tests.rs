//! Acceptances, with one thing wrong each.

use super::*;
use crate::jose::SoftwareKey;

const TEXT: &str = "what you may do";

fn key() -> SoftwareKey {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    SoftwareKey::from_pkcs8(der.as_ref()).unwrap()
}

fn claims() -> Claims {
    Claims {
        aud: "https://issuer.example.com".to_owned(),
        iat: Timestamp::from_seconds(1000),
        grant: GrantId::from_random([1; 10]),
        project: "apollo".parse().unwrap(),
        briefing: Fixed([7; 32]),
        text: text_hash(TEXT),
    }
}

fn judge(key: &SoftwareKey, jws: &str, now: i64) -> Result<VerifiedAcceptance, AcceptanceError> {
    let of = claims();
    let expected = Expected {
        issuer: &of.aud,
        grant: &of.grant,
        project: &of.project,
        briefing: of.briefing,
        text: TEXT,
        proof_key: key.public(),
        now: Timestamp::from_seconds(now),
        skew: Skew::default(),
    };
    verify(jws, &expected)
}

fn sign(key: &SoftwareKey, typ: &'static str, claims: &Claims) -> String {
    key.sign(&Header { typ, ..Header::default() }, claims).unwrap()
}

#[test]
fn a_good_one_says_what_was_accepted() {
    let key = key();
    let jws = sign(&key, TYP, &claims());
    for now in [970, 1000, 1030] {
        let accepted = judge(&key, &jws, now).unwrap();
        assert_eq!(*accepted.claims(), claims());
        assert_eq!(accepted.hash(), sha256(&[jws.as_bytes()]));
    }
    for now in [969, 1031, i64::MIN, i64::MAX] {
        assert!(matches!(judge(&key, &jws, now), Err(AcceptanceError::Time { .. })), "{now}");
    }
}

#[test]
fn one_thing_wrong_each() {
    let key = key();
    let refused = |change: fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        judge(&key, &sign(&key, TYP, &claims), 1000).unwrap_err()
    };
    assert_eq!(refused(|it| it.aud.push('/')), AcceptanceError::Audience);
    let other = GrantId::from_random([2; 10]);
    assert_eq!(refused(|it| it.grant = GrantId::from_random([2; 10])), AcceptanceError::Grant(other));
    assert!(matches!(refused(|it| it.project = "gemini".parse().unwrap()), AcceptanceError::Grant(_)));
    assert!(matches!(refused(|it| it.briefing.0[31] ^= 1), AcceptanceError::Text(_)));
    assert!(matches!(refused(|it| it.text = text_hash("what you may do ")), AcceptanceError::Text(_)));
    let jws = sign(&key, TYP, &claims());
    assert!(matches!(judge(&self::key(), &jws, 1000), Err(AcceptanceError::Jose(_))), "another key");
    for typ in [crate::delegation::TYP, crate::dpop::TYP, "JWT"] {
        assert!(matches!(judge(&key, &sign(&key, typ, &claims()), 1000), Err(AcceptanceError::Jose(_))), "{typ}");
    }
}

#[test]
fn the_hash_of_a_text_is_nothing_else_s() {
    assert_ne!(text_hash("").0, sha256(&[b""]));
    assert_ne!(text_hash("a"), text_hash("b"));
}
