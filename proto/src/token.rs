//! Access tokens (RFC 9068): the claims, and the check that every gate makes.
//!
//! A [`VerifiedToken`] says that the issuer signed these claims for this resource and that they are valid now. It says
//! nothing about who sent them: that is what the proofs are for.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    authorization::AuthorizationDetails,
    encoding::{Fixed, from_base64url, sha256},
    enrolment::TrustTier,
    jose::{EcPublicKey, JoseError, UnverifiedJws},
    names::{Collaborator, DeviceId, GrantId, PhaseName, ProjectName},
    resource::Resource,
    time::{Skew, Timestamp},
};

/// The `typ` of an access token (RFC 9068 section 2.1).
pub const TYP: &str = "at+jwt";

/// Who signs each proof made with a token, and so what a thief would have to steal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// The proof key, in the TPM.
    Hardware,
    /// An in-memory key that the proof key vouched for.
    Delegated,
    /// A key in a file. Development, interoperability and load tests only.
    Software,
}

/// What the issuer knew of the device when it issued the token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Posture {
    /// How well its TPM is known.
    pub trust_tier: TrustTier,
    /// Secure Boot, as the event log says; `None` where it says nothing that replays.
    pub secure_boot: Option<bool>,
    /// What became of the event log.
    pub event_log: EventLogState,
}

/// What became of a device's event log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLogState {
    /// It replays to the quoted PCRs.
    Replayed,
    /// It was sent and does not replay, so nothing in it counts.
    Dropped,
    /// None was sent.
    Absent,
}

/// The `cnf` claim (RFC 7800): one key, as JWK for presentations and as thumbprint for DPoP.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The key itself (RFC 9901 section 4.1.2).
    pub jwk: EcPublicKey,
    /// Its thumbprint (RFC 9449 section 6.1).
    pub jkt: String,
}

impl Confirmation {
    /// The confirmation of a key.
    pub fn of(jwk: EcPublicKey) -> Self {
        Self { jkt: jwk.thumbprint(), jwk }
    }
}

/// What Daypass adds to RFC 9068.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DaypassClaims {
    /// The device.
    pub device: DeviceId,
    /// The grant.
    pub grant: GrantId,
    /// The end of what the token gives: the grant's hard end, or that of its grace. A request may outlive its token, never this.
    pub grant_until: Timestamp,
    /// The grant's project.
    pub project: ProjectName,
    /// The phase of the project that the grant is for, where it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseName>,
    /// Who signs the proofs.
    pub protection: Protection,
    /// The device's posture.
    pub posture: Posture,
    /// The leaf hash of the ledger event that issued this token.
    pub leaf: Fixed<32>,
}

/// The claims of an access token.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccessTokenClaims {
    /// The issuer.
    pub iss: String,
    /// The collaborator.
    pub sub: Collaborator,
    /// One resource.
    pub aud: Resource,
    /// The device's `client_id`.
    pub client_id: String,
    /// When it was issued.
    pub iat: Timestamp,
    /// When it begins.
    pub nbf: Timestamp,
    /// When it ends.
    pub exp: Timestamp,
    /// Its identifier.
    pub jti: String,
    /// The key it is bound to.
    pub cnf: Confirmation,
    /// What it allows.
    pub authorization_details: AuthorizationDetails,
    /// The rest.
    pub daypass: DaypassClaims,
}

impl AccessTokenClaims {
    /// The hash by which the ledger names the token: SHA-256 over these claims without `daypass.leaf`, as JSON with sorted keys and no white
    /// space. The leaf hash is left out since it is over an event that has this.
    pub fn hash(&self) -> [u8; 32] {
        let Self { iss, sub, aud, client_id, iat, nbf, exp, jti, cnf, authorization_details, daypass } = self;
        let Confirmation { jwk, jkt } = cnf;
        let DaypassClaims { device, grant, grant_until, project, phase, protection, posture, leaf: _ } = daypass;
        let hashed = Hashed {
            aud,
            authorization_details: authorization_details.in_order(),
            client_id,
            cnf: HashedKey { jkt, jwk },
            daypass: HashedOwn {
                device,
                grant,
                grant_until: *grant_until,
                phase: phase.as_ref(),
                posture: HashedPosture {
                    event_log: posture.event_log,
                    secure_boot: posture.secure_boot,
                    trust_tier: posture.trust_tier,
                },
                project,
                protection: *protection,
            },
            exp: *exp,
            iat: *iat,
            iss,
            jti,
            nbf: *nbf,
            sub,
        };
        // Nothing in it could fail to serialize.
        sha256(&[&serde_json::to_vec(&hashed).unwrap_or_default()])
    }
}

/// What is hashed of the claims, in the order of the names.
#[derive(Serialize)]
struct Hashed<'a, D> {
    aud: &'a Resource,
    authorization_details: D,
    client_id: &'a str,
    cnf: HashedKey<'a>,
    daypass: HashedOwn<'a>,
    exp: Timestamp,
    iat: Timestamp,
    iss: &'a str,
    jti: &'a str,
    nbf: Timestamp,
    sub: &'a Collaborator,
}

#[derive(Serialize)]
struct HashedKey<'a> {
    jkt: &'a str,
    jwk: &'a EcPublicKey,
}

#[derive(Serialize)]
struct HashedOwn<'a> {
    device: &'a DeviceId,
    grant: &'a GrantId,
    grant_until: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'a PhaseName>,
    posture: HashedPosture,
    project: &'a ProjectName,
    protection: Protection,
}

#[derive(Serialize)]
struct HashedPosture {
    event_log: EventLogState,
    secure_boot: Option<bool>,
    trust_tier: TrustTier,
}

/// What an access token promises of the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Promise {
    /// The hash of the leaf that issued it.
    pub leaf: Fixed<32>,
    /// When, by the issuer's clock.
    pub issued: Timestamp,
}

impl Promise {
    /// Reads it from a token **without looking at the signature**: for the device that was handed it by the issuer itself. `None` where it makes none.
    pub fn of_token(token: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Claims {
            iat: Timestamp,
            daypass: Daypass,
        }
        #[derive(Deserialize)]
        struct Daypass {
            leaf: Fixed<32>,
        }
        let claims: Claims = crate::json::from_slice(&from_base64url(token.split('.').nth(1)?)?).ok()?;
        Some(Self { leaf: claims.daypass.leaf, issued: claims.iat })
    }
}

/// The grant of a token, **without looking at the signature**: for the device that was handed it by the issuer itself.
pub fn grant_of(token: &str) -> Option<GrantId> {
    #[derive(Deserialize)]
    struct Claims {
        daypass: Daypass,
    }
    #[derive(Deserialize)]
    struct Daypass {
        grant: GrantId,
    }
    let claims: Claims = crate::json::from_slice(&from_base64url(token.split('.').nth(1)?)?).ok()?;
    Some(claims.daypass.grant)
}

/// Why an access token was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TokenError {
    /// Not a JWS of ours.
    #[error("the access token {0}")]
    Jose(#[from] JoseError),
    /// No `kid`, or one that the JWKS does not have.
    #[error("the access token is signed with a key that the issuer does not publish")]
    UnknownKey,
    /// Another issuer.
    #[error("the access token is from another issuer")]
    Issuer,
    /// Another resource.
    #[error("the access token is for `{0}`, not for this resource")]
    Audience(Resource),
    /// Over.
    #[error("the access token ended at {ended}, and it is {now}")]
    Expired {
        /// `exp`.
        ended: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// Not begun: clocks differ by more than the allowed skew.
    #[error("the access token begins at {begins}, and it is {now}: the clocks differ by more than is allowed")]
    NotYet {
        /// `nbf` or `iat`.
        begins: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// The claims contradict each other.
    #[error("the access token contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// What a token must be, here and now.
pub struct Expected<'a> {
    /// The issuer's identifier.
    pub issuer: &'a str,
    /// The resource that is being used.
    pub resource: &'a Resource,
    /// The clock.
    pub now: Timestamp,
    /// The allowed skew.
    pub skew: Skew,
    /// The issuer's published keys, by `kid`.
    pub key: &'a dyn Fn(&str) -> Option<EcPublicKey>,
}

/// An access token whose signature, issuer, audience and time were checked.
#[derive(Clone, Debug)]
pub struct VerifiedToken(AccessTokenClaims);

impl VerifiedToken {
    /// The claims.
    pub fn claims(&self) -> &AccessTokenClaims {
        &self.0
    }
}

/// Checks an access token as RFC 9068 section 4 demands.
pub fn verify(token: &str, expected: &Expected<'_>) -> Result<VerifiedToken, TokenError> {
    let jws = UnverifiedJws::parse(token, TYP)?;
    let key = jws.kid().and_then(|kid| (expected.key)(kid)).ok_or(TokenError::UnknownKey)?;
    let claims: AccessTokenClaims = jws.verify(&key)?.claims()?;
    let (now, skew) = (expected.now, expected.skew.seconds());
    if claims.iss != expected.issuer {
        return Err(TokenError::Issuer);
    }
    if claims.aud != *expected.resource {
        return Err(TokenError::Audience(claims.aud));
    }
    if now >= claims.exp.plus(skew) {
        return Err(TokenError::Expired { ended: claims.exp, now });
    }
    let begins = claims.nbf.max(claims.iat);
    if begins > now.plus(skew) {
        return Err(TokenError::NotYet { begins, now });
    }
    if claims.cnf.jkt != claims.cnf.jwk.thumbprint() {
        return Err(TokenError::Inconsistent("`cnf.jkt` is not the thumbprint of `cnf.jwk`"));
    }
    if claims.client_id != claims.daypass.device.client_id() {
        return Err(TokenError::Inconsistent("`client_id` is not the device"));
    }
    if claims.exp > claims.daypass.grant_until {
        return Err(TokenError::Inconsistent("it ends after its grant"));
    }
    Ok(VerifiedToken(claims))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::jose::{Header, SoftwareKey};

    pub(crate) fn key() -> SoftwareKey {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        SoftwareKey::from_pkcs8(&pair.serialize_der()).unwrap()
    }

    /// A token of 600 seconds from second 1000 for `https://h/`, bound to `holder`.
    pub(crate) fn claims(holder: &SoftwareKey) -> AccessTokenClaims {
        let device = DeviceId::from_random([1; 10]);
        AccessTokenClaims {
            iss: "https://issuer.test".into(),
            sub: "alice".parse().unwrap(),
            aud: "https://h/".parse().unwrap(),
            client_id: device.client_id(),
            iat: Timestamp::from_seconds(1000),
            nbf: Timestamp::from_seconds(1000),
            exp: Timestamp::from_seconds(1600),
            jti: "j".into(),
            cnf: Confirmation::of(*holder.public()),
            authorization_details: AuthorizationDetails::default(),
            daypass: DaypassClaims {
                device,
                grant: GrantId::from_random([2; 10]),
                grant_until: Timestamp::from_seconds(1600),
                project: "apollo".parse().unwrap(),
                phase: None,
                protection: Protection::Hardware,
                posture: Posture {
                    trust_tier: TrustTier::EkChain,
                    secure_boot: None,
                    event_log: EventLogState::Absent,
                },
                leaf: Fixed([0; 32]),
            },
        }
    }

    #[test]
    fn the_ledger_s_hash_is_over_everything_but_the_leaf() {
        let first = claims(&key());
        let mut other = first.clone();
        other.daypass.leaf = Fixed([9; 32]);
        assert_eq!(first.hash(), other.hash());
        let read: AccessTokenClaims = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        assert_eq!(first.hash(), read.hash(), "whoever has the token finds the same");
        // As it is defined: whatever a claim is, it is in there, in the order of its name.
        for phase in [None, "beta".parse().ok()] {
            let claims =
                AccessTokenClaims { daypass: DaypassClaims { phase, ..first.daypass.clone() }, ..first.clone() };
            let mut all = serde_json::to_value(&claims).unwrap();
            all["daypass"].as_object_mut().unwrap().remove("leaf").unwrap();
            all.sort_all_objects();
            assert_eq!(claims.hash(), sha256(&[all.to_string().as_bytes()]));
        }
        other.exp = other.exp.plus(1);
        assert_ne!(first.hash(), other.hash());
    }

    pub(crate) fn sign(issuer: &SoftwareKey, claims: &AccessTokenClaims) -> String {
        issuer.sign(&Header { typ: TYP, kid: Some("k"), jwk: None }, claims).unwrap()
    }

    fn check(issuer: &SoftwareKey, token: &str, now: i64) -> Result<VerifiedToken, TokenError> {
        verify(
            token,
            &Expected {
                issuer: "https://issuer.test",
                resource: &"https://h/".parse().unwrap(),
                now: Timestamp::from_seconds(now),
                skew: Skew::try_new(30).unwrap(),
                key: &|kid| (kid == "k").then(|| *issuer.public()),
            },
        )
    }

    #[test]
    fn time_is_checked_on_both_sides_of_the_skew() {
        let (issuer, holder) = (key(), key());
        let token = sign(&issuer, &claims(&holder));
        for (now, good) in [(969, false), (970, true), (1629, true), (1630, false)] {
            assert_eq!(check(&issuer, &token, now).is_ok(), good, "at {now}");
        }
    }

    #[test]
    fn its_holder_reads_what_it_promises() {
        let token = sign(&key(), &claims(&key()));
        let promise = Promise { leaf: Fixed([0; 32]), issued: Timestamp::from_seconds(1000) };
        assert_eq!(Promise::of_token(&token), Some(promise));
        assert_eq!(grant_of(&token), Some(claims(&key()).daypass.grant));
        for none in ["", "a.b.c", "a.e30.c"] {
            assert_eq!((Promise::of_token(none), grant_of(none)), (None, None), "{none}");
        }
    }

    #[test]
    fn each_claim_is_checked() {
        let (issuer, holder, other) = (key(), key(), key());
        let with = |change: &dyn Fn(&mut AccessTokenClaims)| {
            let mut claims = claims(&holder);
            change(&mut claims);
            check(&issuer, &sign(&issuer, &claims), 1100).unwrap_err()
        };
        assert_eq!(with(&|c| c.iss = "https://other.test".into()), TokenError::Issuer);
        assert!(matches!(with(&|c| c.aud = "https://i/".parse().unwrap()), TokenError::Audience(_)));
        assert!(matches!(with(&|c| c.cnf.jwk = *other.public()), TokenError::Inconsistent(_)));
        assert!(matches!(with(&|c| c.client_id = "x".into()), TokenError::Inconsistent(_)));
        assert!(matches!(with(&|c| c.daypass.grant_until = c.exp.plus(-1)), TokenError::Inconsistent(_)));
        let token = sign(&other, &claims(&holder));
        assert_eq!(check(&issuer, &token, 1100).unwrap_err(), TokenError::Jose(JoseError::Signature));
        let unknown = issuer.sign(&Header { typ: TYP, kid: Some("z"), jwk: None }, &claims(&holder)).unwrap();
        assert_eq!(check(&issuer, &unknown, 1100).unwrap_err(), TokenError::UnknownKey);
        let other_type = issuer.sign(&Header { typ: "JWT", kid: Some("k"), jwk: None }, &claims(&holder)).unwrap();
        assert!(matches!(check(&issuer, &other_type, 1100).unwrap_err(), TokenError::Jose(JoseError::Type { .. })));
    }
}
