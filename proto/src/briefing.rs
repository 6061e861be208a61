//! Briefings: what a collaborator is told of a grant, and the word of their device's proof key that they accepted it (docs/wire.md section 5.7).
//!
//! What is accepted is one text, by its hash: the project's words with this grant's numbers in them. A word for another text, grant or issuer is worth
//! nothing, and so is one that is old: it is signed at the moment at which somebody says yes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    encoding::{Fixed, sha256},
    jose::{EcPublicKey, Header, JoseError, UnverifiedJws, signing_input},
    names::{GrantId, ProjectName, RoleName},
    time::{Skew, Timestamp},
};

/// The `typ` of an acceptance.
pub const TYP: &str = "daypass-briefing+jwt";
/// The longest text, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// Where a device reads its briefings, at the mTLS listener.
pub const PATH: &str = "/device/v1/briefings";
/// Where it accepts one.
pub const ACCEPT_PATH: &str = "/device/v1/briefings/accept";

/// A briefing, for one grant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Briefing {
    /// The grant.
    pub grant: GrantId,
    /// Its project.
    pub project: ProjectName,
    /// Its role.
    pub role: RoleName,
    /// Whether there is no token before it was accepted.
    pub required: bool,
    /// Whether this text was accepted.
    pub accepted: bool,
    /// The hash of the text.
    pub hash: Fixed<32>,
    /// The text: Markdown.
    pub text: String,
}

/// The answer of [`PATH`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Briefings {
    /// One for each grant.
    pub briefings: Vec<Briefing>,
}

/// The body of [`ACCEPT_PATH`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// Which grant's.
    pub grant: GrantId,
    /// The acceptance, a JWS.
    pub acceptance: String,
}

/// The claims of an acceptance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The issuer, as one string: nobody else judges it.
    pub aud: String,
    /// When somebody said yes.
    pub iat: Timestamp,
    /// Under which grant.
    pub grant: GrantId,
    /// In which project.
    pub project: ProjectName,
    /// The hash of the text that was shown.
    pub briefing: Fixed<32>,
}

/// Why an acceptance was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AcceptanceError {
    /// Not a JWS, or not signed by the device's proof key.
    #[error("the acceptance {0}")]
    Jose(#[from] JoseError),
    /// For another issuer.
    #[error("the acceptance is for another issuer")]
    Audience,
    /// For another grant or project.
    #[error("the acceptance is for grant `{0}`, and not for the one that it came with")]
    Grant(GrantId),
    /// The text is another by now.
    #[error("the briefing of grant `{0}` is another by now than the one that was accepted")]
    Text(GrantId),
    /// Signed at another time.
    #[error("the acceptance is of {signed}, and it is {now}")]
    Time {
        /// `iat`.
        signed: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
}

/// What an acceptance must be, here and now.
pub struct Expected<'a> {
    /// The issuer's identifier.
    pub issuer: &'a str,
    /// The grant.
    pub grant: &'a GrantId,
    /// Its project.
    pub project: &'a ProjectName,
    /// The hash of the text as it is now.
    pub briefing: Fixed<32>,
    /// The certified proof key of the device that asks.
    pub proof_key: &'a EcPublicKey,
    /// The clock.
    pub now: Timestamp,
    /// The allowed skew.
    pub skew: Skew,
}

/// An acceptance by this device's proof key, of this text for this grant, just now.
#[derive(Clone, Debug)]
pub struct VerifiedAcceptance {
    claims: Claims,
    hash: [u8; 32],
}

impl VerifiedAcceptance {
    /// What was accepted.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// SHA-256 over the JWS, by which the ledger names it.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// The hash of a text: what is accepted.
pub fn text_hash(text: &str) -> Fixed<32> {
    Fixed(sha256(&[b"daypass/v1/briefing", text.as_bytes()]))
}

/// What the proof key signs.
pub fn acceptance_input(claims: &Claims) -> Result<String, JoseError> {
    signing_input(&Header { typ: TYP, ..Header::default() }, claims)
}

/// Checks an acceptance.
pub fn verify(acceptance: &str, expected: &Expected<'_>) -> Result<VerifiedAcceptance, AcceptanceError> {
    let claims: Claims = UnverifiedJws::parse(acceptance, TYP)?.verify(expected.proof_key)?.claims()?;
    if claims.aud != expected.issuer {
        return Err(AcceptanceError::Audience);
    }
    if claims.grant != *expected.grant || claims.project != *expected.project {
        return Err(AcceptanceError::Grant(claims.grant));
    }
    if claims.briefing != expected.briefing {
        return Err(AcceptanceError::Text(claims.grant));
    }
    let (signed, now) = (claims.iat, expected.now);
    if now.since(signed).saturating_abs() > expected.skew.seconds() {
        return Err(AcceptanceError::Time { signed, now });
    }
    Ok(VerifiedAcceptance { claims, hash: sha256(&[acceptance.as_bytes()]) })
}

#[cfg(test)]
mod tests {
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
            briefing: text_hash(TEXT),
        }
    }

    fn judge(key: &SoftwareKey, jws: &str, now: i64) -> Result<VerifiedAcceptance, AcceptanceError> {
        let of = claims();
        let expected = Expected {
            issuer: &of.aud,
            grant: &of.grant,
            project: &of.project,
            briefing: of.briefing,
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
        assert!(matches!(refused(|it| it.briefing = text_hash("what you may do ")), AcceptanceError::Text(_)));
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
}
