//! What a refusal looks like on the wire: RFC 6749 section 5.2, with a reason and a next step that a person can act on.

use serde::{Deserialize, Serialize};

/// The body of every error answer of the issuer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ErrorBody {
    /// The registered OAuth error code.
    pub error: OAuthError,
    /// What was refused and why, for people.
    pub error_description: String,
    /// The cause, for programs.
    pub daypass_reason: Reason,
    /// What to do about it, for people.
    pub daypass_next_step: String,
}

/// The OAuth error codes that are in use here (RFC 6749, 7009, 8707, 9396, 9449).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the registered names say it")]
pub enum OAuthError {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    InvalidTarget,
    InvalidAuthorizationDetails,
    InvalidDpopProof,
    UseDpopNonce,
    AccessDenied,
    ServerError,
    TemporarilyUnavailable,
}

/// Why, exactly. A closed list: a new cause is added here, and every place that maps it stops compiling.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The body, a field or a header does not fit the format.
    Malformed,
    /// Over a size limit.
    TooLarge,
    /// The body did not come to its end in time.
    TooSlow,
    /// As many requests are being read as there is room for.
    Busy,
    /// Too many requests were refused in a short time; this one was not decided.
    SlowDown,
    /// No such endpoint or method.
    NotFound,
    /// No invitation or gate has this secret.
    UnknownCode,
    /// The code's time is over.
    CodeExpired,
    /// The code was used, by another machine or for another key set.
    CodeUsed,
    /// The invitation was withdrawn.
    CodeWithdrawn,
    /// The invitation is for somebody else than the enrolled device that shows it, or for a machine that enrols with it.
    CodeElsewhere,
    /// The challenge is unknown, was answered already, or is too old.
    ChallengeExpired,
    /// The EK has no certificate under a configured root and was not registered.
    EkUntrusted,
    /// The EK is not the one that the invitation names.
    EkMismatch,
    /// The TPM did not prove what enrolment asks for.
    AttestationFailed,
    /// The certificate is not one of ours, or not of the kind that this endpoint serves.
    CertificateUnknown,
    /// The certificate's time is over.
    CertificateExpired,
    /// The certificate's time has not come: one of the clocks is wrong.
    CertificateNotYet,
    /// The issuer's own clock cannot be right, and it signs nothing by it.
    IssuerClock,
    /// `client_id` is not the certificate's device.
    ClientMismatch,
    /// Nobody has approved this device yet.
    DevicePending,
    /// The device is suspended.
    DeviceSuspended,
    /// The device is revoked.
    DeviceRevoked,
    /// Software keys are switched off at this issuer.
    SoftwareKeysOff,
    /// The DPoP proof does not verify or does not fit this request.
    ProofInvalid,
    /// The DPoP proof's time is outside the allowed skew.
    ProofTime,
    /// The DPoP proof was used before.
    ProofReplayed,
    /// The proof's key is not this device's proof key.
    ProofKeyUnknown,
    /// The delegation of the proof's key does not verify or does not fit this request.
    DelegationInvalid,
    /// The role takes proofs of the proof key only.
    DelegationNotAllowed,
    /// Nothing that this device is granted is at this resource.
    NoGrant,
    /// The grant's time has not come.
    GrantNotYet,
    /// The grant's time is over, or what is asked for is not among what its grace leaves.
    GrantEnded,
    /// The grant is held back.
    GrantSuspended,
    /// The grant gave as many tokens as it gives.
    GrantUsedUp,
    /// The grant is for other networks or other devices than the one that asks.
    GrantElsewhere,
    /// The token itself was revoked.
    TokenRevoked,
    /// The project's briefing is to be read and accepted first.
    BriefingRequired,
    /// The briefing is another by now than the one that was accepted.
    BriefingStale,
    /// A guardrail of the policy forbids it.
    Guardrail,
    /// The device has as many tokens as one may have.
    TooManyTokens,
    /// The request goes beyond the grant and today's role.
    ExceedsGrant,
    /// The project or role of the grant does not stand in today's policy.
    PolicyMissing,
    /// No event has this leaf hash: one that a token names was not recorded, or was taken out.
    LeafUnknown,
    /// The event is recorded, and no checkpoint covers it yet.
    LeafNotYet,
    /// The access token does not verify, or is not for this resource or this device.
    TokenInvalid,
    /// It is somebody else's to decide: an owner of that project, or an administrator.
    NotTheirs,
    /// Nobody decides about what is their own.
    OwnRequest,
    /// The code that was given is not the device's.
    CodeDiffers,
    /// The record is in a state from which it does not go there.
    WrongState,
    /// Somebody decided something else about the same record at the same time.
    Conflict,
    /// The store cannot be written: nothing is issued unlogged.
    StoreUnavailable,
    /// A fault of the issuer's own.
    Internal,
}

/// What a fault of the issuer's own looks like from outside: internal text never leaves.
pub fn internal(reason: Reason) -> ErrorBody {
    ErrorBody {
        error: OAuthError::ServerError,
        error_description: "the issuer could not decide this request".to_owned(),
        daypass_reason: reason,
        daypass_next_step: "try again; if it stays, ask the issuer's administrator to read its log".to_owned(),
    }
}
