//! Tokens: issued, introspected, revoked.
//!
//! `grant ∩ role ∩ request` decides a token. Its event is written before the answer leaves, and its leaf hash stands in the token.

pub(crate) mod decision;
mod introspection;
mod issue;
pub(crate) mod jti;
mod request;
mod revocation;
pub(crate) mod trial;

use daypass_proto::{
    jose::UnverifiedJws,
    token::{self, AccessTokenClaims},
};

pub(crate) use self::introspection::is_active;
pub use self::{
    introspection::introspect,
    jti::new_jti,
    request::{PATH, token},
    revocation::revoke,
};
use crate::issuer::Issuer;

#[cfg(test)]
mod tests;

/// The claims of a token that this issuer signed and that has not ended; `None` for anything else, however it is wrong.
fn own_token(issuer: &Issuer, text: &str) -> Option<AccessTokenClaims> {
    let now = issuer.environment.now();
    let keyring = issuer.keyring();
    let key = |kid: &str| keyring.public(kid, now);
    // The audience is read first, behind the signature, and then checked like every other claim.
    let jws = UnverifiedJws::parse(text, token::TYP).ok()?;
    let public = jws.kid().and_then(key)?;
    let resource = jws.verify(&public).ok()?.claims::<AccessTokenClaims>().ok()?.aud;
    let expected = token::Expected {
        issuer: &issuer.config.issuer_url,
        resource: &resource,
        now,
        skew: issuer.config.skew,
        key: &key,
    };
    token::verify(text, &expected).ok().map(|verified| verified.claims().clone())
}
