//! Briefings: what a collaborator is told of a grant, and the word of their device's proof key that they accepted it (docs/wire.md section 5.7).
//!
//! What is accepted is a briefing's terms, by their hash: the project's words, and the numbers of the role as they are for this grant. An end that
//! moves leaves them as they are. The very text that was shown is named beside it. A word for another text, grant or issuer is worth nothing, and so is
//! one that is old: it is signed at the moment at which somebody says yes.

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
/// Where a device reads the briefing of a grant, whose name is the last part, at the mTLS listener.
pub const PATH: &str = "/device/v1/briefings/";
/// Where it accepts one.
pub const ACCEPT_PATH: &str = "/device/v1/briefings/accept";

/// How a grant stands with its briefing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It can be read.
    Offered,
    /// There is no token before it was accepted.
    Required,
    /// It was accepted, as it is now.
    Accepted,
}

/// A briefing, for one grant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Briefing {
    /// The grant.
    pub grant: GrantId,
    /// Its project.
    pub project: ProjectName,
    /// Its role.
    pub role: RoleName,
    /// Whether there is no token before it is accepted, or it was.
    pub standing: Standing,
    /// The hash of its terms: what is accepted.
    pub briefing: Fixed<32>,
    /// The text: Markdown.
    pub text: String,
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
    /// The hash of the terms.
    pub briefing: Fixed<32>,
    /// The hash of the text that was shown ([`text_hash`]).
    pub text: Fixed<32>,
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
    /// Terms or text are others by now.
    #[error("the briefing of grant `{0}` is another by now than the one that was read")]
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
    /// The hash of the terms as they are now.
    pub briefing: Fixed<32>,
    /// The text as it is now.
    pub text: &'a str,
    /// The certified proof key of the device that asks.
    pub proof_key: &'a EcPublicKey,
    /// The clock.
    pub now: Timestamp,
    /// The allowed skew.
    pub skew: Skew,
}

/// An acceptance by this device's proof key, of this briefing for this grant, just now.
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

/// The hash of a text, as it was shown.
pub fn text_hash(text: &str) -> Fixed<32> {
    Fixed(sha256(&[b"daypass/v1/briefing-text", text.as_bytes()]))
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
    if claims.briefing != expected.briefing || claims.text != text_hash(expected.text) {
        return Err(AcceptanceError::Text(claims.grant));
    }
    let (signed, now) = (claims.iat, expected.now);
    if now.since(signed).saturating_abs() > expected.skew.seconds() {
        return Err(AcceptanceError::Time { signed, now });
    }
    Ok(VerifiedAcceptance { claims, hash: sha256(&[acceptance.as_bytes()]) })
}

#[cfg(test)]
mod tests;
