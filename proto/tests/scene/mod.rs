//! An issuer, a holder, and somebody who can sign whatever he likes; and the four places that verify a JWT.
#![allow(dead_code, reason = "each test file uses its part of it")]

use daypass_proto::{
    delegation, dpop,
    encoding::base64url,
    jose::SoftwareKey,
    presentation,
    resource::Repository,
    time::{Skew, Timestamp},
    token,
};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.test";
pub const RESOURCE: &str = "https://git.test/";
pub const REPOSITORY: &str = "https://git.test/team/app";
pub const URL: &str = "https://git.test/team/app.git/info/refs";
pub const NOW: i64 = 10_000;
pub const SKEW: i64 = 30;

pub fn new_key() -> SoftwareKey {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    SoftwareKey::from_pkcs8(&pair.serialize_der()).unwrap()
}

/// A compact JWS of a header and a payload as they are written here.
pub fn jws(key: &SoftwareKey, header: &str, payload: &str) -> String {
    key.sign_input(&format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()))).unwrap()
}

pub fn jwk(key: &SoftwareKey) -> Value {
    serde_json::to_value(key.public()).unwrap()
}

/// Where a JWT is verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    Token,
    KeyBinding,
    Proof,
    Delegation,
}

pub const PLACES: [Place; 4] = [Place::Token, Place::KeyBinding, Place::Proof, Place::Delegation];

pub struct Scene {
    pub issuer: SoftwareKey,
    pub holder: SoftwareKey,
    pub stranger: SoftwareKey,
    pub token: String,
}

impl Scene {
    pub fn new() -> Self {
        let mut scene = Self { issuer: new_key(), holder: new_key(), stranger: new_key(), token: String::new() };
        scene.token = scene.good(Place::Token);
        scene
    }

    /// Whose signature counts in a place.
    pub fn signer(&self, place: Place) -> &SoftwareKey {
        if place == Place::Token { &self.issuer } else { &self.holder }
    }

    pub fn header(&self, place: Place) -> Value {
        match place {
            Place::Token => json!({"alg": "ES256", "typ": "at+jwt", "kid": "k"}),
            Place::KeyBinding => json!({"alg": "ES256", "typ": "kb+jwt"}),
            Place::Proof => json!({"alg": "ES256", "typ": "dpop+jwt", "jwk": jwk(&self.holder)}),
            Place::Delegation => json!({"alg": "ES256", "typ": "daypass-delegation+jwt"}),
        }
    }

    pub fn payload(&self, place: Place) -> Value {
        let device = "dev-0000000000000000";
        match place {
            Place::Token => json!({
                "iss": ISSUER, "sub": "alice", "aud": RESOURCE, "client_id": format!("urn:daypass:device:{device}"),
                "iat": NOW - 100, "nbf": NOW - 100, "exp": NOW + 200, "jti": "j",
                "cnf": {"jwk": jwk(&self.holder), "jkt": self.holder.public().thumbprint()},
                "authorization_details": [{"type": "git_repository", "locations": [REPOSITORY], "actions": ["read"]}],
                "daypass": {"device": device, "grant": "gr-0000000000000000", "grant_until": NOW + 3600, "project": "apollo", "protection": "hardware",
                    "posture": {"trust_tier": "ek_chain", "secure_boot": null, "event_log": "absent"}, "leaf": base64url(&[0; 32])},
            }),
            Place::KeyBinding => {
                json!({"aud": REPOSITORY, "nonce": "n", "iat": NOW, "sd_hash": dpop::token_hash(&format!("{}~", self.token))})
            }
            Place::Proof => {
                json!({"jti": "p", "htm": "GET", "htu": URL, "iat": NOW, "ath": dpop::token_hash(&self.token), "nonce": "n"})
            }
            Place::Delegation => {
                json!({"aud": ISSUER, "resource": RESOURCE, "cnf": {"jwk": jwk(&self.stranger)}, "exp": NOW + 300, "jti": "d"})
            }
        }
    }

    pub fn good(&self, place: Place) -> String {
        jws(self.signer(place), &self.header(place).to_string(), &self.payload(place).to_string())
    }

    /// The good JWT of a place, after `change` of its payload.
    pub fn with(&self, place: Place, change: impl FnOnce(&mut Value)) -> String {
        let mut payload = self.payload(place);
        change(&mut payload);
        jws(self.signer(place), &self.header(place).to_string(), &payload.to_string())
    }

    /// What the place says to a JWT at [`NOW`].
    pub fn verify(&self, place: Place, text: &str) -> Result<(), String> {
        self.verify_at(place, text, NOW)
    }

    pub fn verify_at(&self, place: Place, text: &str, now: i64) -> Result<(), String> {
        match place {
            Place::Token => self.token(text, now).map(drop).map_err(|error| error.to_string()),
            Place::KeyBinding => self.presentation(&format!("{}~{text}", self.token), now).map(drop),
            Place::Proof => self.proof(text, now).map(drop).map_err(|error| error.to_string()),
            Place::Delegation => {
                let expected = delegation::Expected {
                    issuer: ISSUER,
                    resource: &RESOURCE.parse().unwrap(),
                    proof_key: self.holder.public(),
                    now: Timestamp::from_seconds(now),
                    skew: Skew::try_new(SKEW).unwrap(),
                };
                delegation::verify(text, &expected).map(drop).map_err(|error| error.to_string())
            }
        }
    }

    fn expecting<T>(&self, now: i64, check: impl FnOnce(&token::Expected<'_>) -> T) -> T {
        check(&token::Expected {
            issuer: ISSUER,
            resource: &RESOURCE.parse().unwrap(),
            now: Timestamp::from_seconds(now),
            skew: Skew::try_new(SKEW).unwrap(),
            key: &|kid| (kid == "k").then(|| *self.issuer.public()),
        })
    }

    pub fn token(&self, text: &str, now: i64) -> Result<token::VerifiedToken, token::TokenError> {
        self.expecting(now, |expected| token::verify(text, expected))
    }

    pub fn presentation(&self, text: &str, now: i64) -> Result<presentation::VerifiedPresentation, String> {
        let repository: Repository = REPOSITORY.parse().unwrap();
        self.expecting(now, |expected| presentation::verify(text, &repository, expected))
            .map_err(|error| error.to_string())
    }

    pub fn proof(&self, text: &str, now: i64) -> Result<dpop::VerifiedDpop, dpop::DpopError> {
        let expected = dpop::Expected {
            method: "GET",
            url: URL,
            token: Some((&self.token, self.holder.public())),
            now: Timestamp::from_seconds(now),
            skew: Skew::try_new(SKEW).unwrap(),
        };
        dpop::verify(text, &expected)
    }
}
