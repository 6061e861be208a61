//! Delegations: the proof key in the TPM vouches for a key in the agent's memory, so that a client of many requests does not pay a TPM
//! signature for each (docs/wire.md section 6.1).
//!
//! Only the issuer judges a delegation, and only once: it binds the token to the delegated key, and from then on gates see plain
//! RFC 9449. A delegation names one resource and ends with the token at the latest, so what a thief of the agent's memory gets is what
//! the role's policy opted in to: minutes at one resource.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    jose::{EcPublicKey, Header, JoseError, UnverifiedJws, signing_input},
    resource::Resource,
    time::{Skew, Timestamp},
};

/// The `typ` of a delegation.
pub const TYP: &str = "daypass-delegation+jwt";
/// The longest that a delegation may have left when it is judged, in seconds, not counting the skew: the longest life of a token.
pub const LONGEST: i64 = 3600;
/// The longest `jti` that is remembered, in bytes.
pub const MAX_JTI: usize = 128;

/// The claims of a delegation.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The issuer, as one string: nobody else judges it.
    pub aud: String,
    /// The one resource that the key is for.
    pub resource: Resource,
    /// The delegated key.
    pub cnf: DelegatedKey,
    /// From when on it vouches for nothing.
    pub exp: Timestamp,
    /// Unique for each delegation.
    pub jti: String,
}

/// `cnf` with a key (RFC 7800 section 3.2).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DelegatedKey {
    /// The key.
    pub jwk: EcPublicKey,
}

/// Why a delegation was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum DelegationError {
    /// Not a JWS, or not signed by the device's proof key.
    #[error("the delegation {0}")]
    Jose(#[from] JoseError),
    /// For another issuer.
    #[error("the delegation is for another issuer")]
    Audience,
    /// For another resource.
    #[error("the delegation is for `{0}`, not for the resource that was asked for")]
    Resource(Resource),
    /// Over.
    #[error("the delegation ended at {ended}, and it is {now}")]
    Expired {
        /// `exp`.
        ended: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// It would vouch for longer than any token lives.
    #[error("the delegation ends at {ends}, and it is {now}: it may vouch for {LONGEST} s at most")]
    TooLong {
        /// `exp`.
        ends: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// `jti` empty or too long.
    #[error("the delegation needs a `jti` of 1 to {MAX_JTI} bytes")]
    Jti,
    /// The proof key vouches for itself: a mistake, and not what the token would say.
    #[error("the delegation is for the proof key itself, which needs none")]
    Itself,
}

/// What a delegation must be, here and now.
pub struct Expected<'a> {
    /// The issuer's identifier.
    pub issuer: &'a str,
    /// The resource that a token is asked for.
    pub resource: &'a Resource,
    /// The certified proof key of the device that asks.
    pub proof_key: &'a EcPublicKey,
    /// The clock.
    pub now: Timestamp,
    /// The allowed skew.
    pub skew: Skew,
}

/// A delegation by this device's proof key, for this issuer and resource. Whether it is new is not yet said.
#[derive(Clone, Debug)]
pub struct VerifiedDelegation(Claims);

impl VerifiedDelegation {
    /// The key that was vouched for.
    pub fn key(&self) -> &EcPublicKey {
        &self.0.cnf.jwk
    }

    /// Its identifier, for the replay memory.
    pub fn jti(&self) -> &str {
        &self.0.jti
    }

    /// Its end, and the latest end of a token that is bound to its key.
    pub fn expires_at(&self) -> Timestamp {
        self.0.exp
    }

    /// Until when its `jti` must be remembered.
    pub fn remember_until(&self, skew: Skew) -> Timestamp {
        self.0.exp.plus(2 * skew.seconds())
    }
}

/// What the proof key signs.
pub fn delegation_input(claims: &Claims) -> Result<String, JoseError> {
    signing_input(&Header { typ: TYP, ..Header::default() }, claims)
}

/// Checks a delegation. That it was not seen before is for the caller, who has the memory.
pub fn verify(delegation: &str, expected: &Expected<'_>) -> Result<VerifiedDelegation, DelegationError> {
    let claims: Claims = UnverifiedJws::parse(delegation, TYP)?.verify(expected.proof_key)?.claims()?;
    if claims.aud != expected.issuer {
        return Err(DelegationError::Audience);
    }
    if claims.resource != *expected.resource {
        return Err(DelegationError::Resource(claims.resource));
    }
    if claims.jti.is_empty() || claims.jti.len() > MAX_JTI {
        return Err(DelegationError::Jti);
    }
    if claims.cnf.jwk == *expected.proof_key {
        return Err(DelegationError::Itself);
    }
    let now = expected.now;
    // No skew at this end: the token could not outlive the delegation, so nothing is left to give.
    if claims.exp <= now {
        return Err(DelegationError::Expired { ended: claims.exp, now });
    }
    if claims.exp > now.plus(LONGEST + expected.skew.seconds()) {
        return Err(DelegationError::TooLong { ends: claims.exp, now });
    }
    Ok(VerifiedDelegation(claims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jose::SoftwareKey, token::tests::key};

    struct Scene {
        proof: SoftwareKey,
        delegated: SoftwareKey,
    }

    impl Scene {
        fn new() -> Self {
            Self { proof: key(), delegated: key() }
        }

        fn check(
            &self,
            signer: &SoftwareKey,
            typ: &str,
            change: impl Fn(&mut Claims),
        ) -> Result<VerifiedDelegation, DelegationError> {
            let mut claims = Claims {
                aud: "https://issuer.test".into(),
                resource: "https://h/".parse().unwrap(),
                cnf: DelegatedKey { jwk: *self.delegated.public() },
                exp: Timestamp::from_seconds(1600),
                jti: "j".into(),
            };
            change(&mut claims);
            let text = signer.sign(&Header { typ, ..Header::default() }, &claims).unwrap();
            let resource = "https://h/".parse().unwrap();
            let expected = Expected {
                issuer: "https://issuer.test",
                resource: &resource,
                proof_key: self.proof.public(),
                now: Timestamp::from_seconds(1000),
                skew: Skew::try_new(30).unwrap(),
            };
            verify(&text, &expected)
        }
    }

    #[test]
    fn what_the_proof_key_vouches_for_is_taken() {
        let scene = Scene::new();
        let verified = scene.check(&scene.proof, TYP, |_| ()).unwrap();
        assert_eq!(verified.key(), scene.delegated.public());
        assert_eq!(verified.expires_at().seconds(), 1600);
        assert_eq!(verified.remember_until(Skew::try_new(30).unwrap()).seconds(), 1660);
    }

    #[test]
    fn each_claim_is_checked() {
        let scene = Scene::new();
        let with = |change: &dyn Fn(&mut Claims)| scene.check(&scene.proof, TYP, change).unwrap_err();
        assert_eq!(with(&|c| c.aud = "https://other.test".into()), DelegationError::Audience);
        assert!(matches!(with(&|c| c.resource = "https://i/".parse().unwrap()), DelegationError::Resource(_)));
        assert_eq!(with(&|c| c.jti = String::new()), DelegationError::Jti);
        assert_eq!(with(&|c| c.jti = "x".repeat(MAX_JTI + 1)), DelegationError::Jti);
        assert_eq!(with(&|c| c.cnf.jwk = *scene.proof.public()), DelegationError::Itself);
        for (exp, good) in [(1000, false), (1001, true), (4630, true), (4631, false)] {
            let checked = scene.check(&scene.proof, TYP, |c| c.exp = Timestamp::from_seconds(exp));
            assert_eq!(checked.is_ok(), good, "exp {exp}");
        }
    }

    #[test]
    fn only_the_proof_key_vouches_and_only_in_a_delegation() {
        let scene = Scene::new();
        for foreign in [&key(), &scene.delegated] {
            let error = scene.check(foreign, TYP, |_| ()).unwrap_err();
            assert_eq!(error, DelegationError::Jose(JoseError::Signature), "a delegated key delegates nothing on");
        }
        for typ in ["dpop+jwt", "kb+jwt", "at+jwt", "JWT", ""] {
            let error = scene.check(&scene.proof, typ, |_| ()).unwrap_err();
            assert!(matches!(error, DelegationError::Jose(JoseError::Type { .. })), "{typ}");
        }
    }
}
