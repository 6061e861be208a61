//! Enrolment (docs/wire.md section 5): begin gives a challenge that only the right TPM can answer, complete judges the answer.
//!
//! ```text
//! begin ── invitation good, keys of the right form, EK known well enough ──► challenge
//! complete ── secret opened, all three signatures hold ──► device: pending, or approved where its EK stood in the invitation
//! accept ── a device that is enrolled and approved, another invitation of the same collaborator ──► its grants are this device's, too
//! ```
//!
//! Begin and complete can be run again after an interruption: begin makes a new challenge, and complete by the same TPM with the same keys finds the
//! device that it made before. What was accepted is answered the same again.

mod accept;
mod begin;
mod bind;
mod complete;
mod make_credential;

use daypass_proto::{
    attestation::{AttestationError, EkCertificateError, EkError, KeyError as DeviceKeyError},
    ledger::{Event, EventKind},
    names::{Collaborator, GrantId, RoleName},
    oauth_error::{OAuthError, Reason},
    time::Timestamp,
};
use thiserror::Error;

pub use self::{accept::accept, begin::begin, complete::complete};
use self::{begin::usable, make_credential::MakeCredentialError};
use crate::{
    approval::ApprovalError,
    error::Refusal,
    issuer::Issuer,
    keys::KeyError,
    ledger::Source,
    pace::TooMany,
    store::{Condition, DecideError, Decision, Invitation, StoreError},
};

/// Why an enrolment is refused.
#[derive(Debug, Error)]
pub enum EnrolmentError {
    /// The body.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// No such invitation.
    #[error("no invitation has this secret")]
    UnknownCode,
    /// Its time is over.
    #[error("the invitation expired at {ended}, and it is {now}")]
    CodeExpired {
        /// The end.
        ended: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// It was used.
    #[error("the invitation was used already, by another machine or with other keys")]
    CodeUsed,
    /// It was withdrawn.
    #[error("the invitation was withdrawn")]
    CodeWithdrawn,
    /// The device that it made is suspended or revoked.
    #[error("the device that this invitation enrolled is {0}")]
    DeviceEnded(&'static str),
    /// One of the three keys.
    #[error(transparent)]
    Keys(#[from] DeviceKeyError),
    /// The CSR.
    #[error(transparent)]
    Csr(KeyError),
    /// The CSR is for another key.
    #[error("the certificate signing request is not for the identity key")]
    CsrKey,
    /// An EK is not one.
    #[error(transparent)]
    Ek(#[from] EkError),
    /// No EK is known well enough.
    #[error("this TPM is not known here: {0}")]
    EkUntrusted(EkCertificateError),
    /// The invitation names another EK.
    #[error("the invitation is for another machine: it names another endorsement key")]
    EkMismatch,
    /// Somebody else's.
    #[error("the invitation is for somebody else than {0}, for whom this machine is enrolled")]
    OtherPerson(Collaborator),
    /// A client without a TPM.
    #[error("an invitation is for a machine with a TPM, and this device has its keys in files")]
    NoTpm,
    /// It takes the place of the device that shows it.
    #[error("the invitation is for the machine that takes the place of this one")]
    Replaced,
    /// What nobody approves but whoever compares the machine's code.
    #[error(
        "the invitation makes an {0}, and for that somebody compares the machine's code, which is over on a machine that is enrolled"
    )]
    Uncompared(RoleName),
    /// A machine that has had nothing yet.
    #[error("nothing of this machine's is in force yet, and until then it takes no other invitation")]
    NothingYet,
    /// It would go round what was held back.
    #[error("grant `{0}` of this machine, in the same role, is suspended")]
    HeldBack(GrantId),
    /// The owners have approved it, and it cannot be given to this machine today.
    #[error("grant `{grant}` is approved, and cannot be given to this machine now: {error}")]
    NotGiven {
        /// Which.
        grant: GrantId,
        /// Why.
        error: Box<ApprovalError>,
    },
    /// The EK cannot be encrypted to.
    #[error(transparent)]
    MakeCredential(#[from] MakeCredentialError),
    /// Unknown, answered, or too old.
    #[error("the enrolment challenge is unknown, was answered already, or is too old")]
    Challenge,
    /// The secret is not the one that was encrypted.
    #[error("the activation secret is wrong: the attestation key is not in the TPM of this endorsement key")]
    Activation,
    /// The signatures.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
    /// Our keys.
    #[error("could not issue the certificate")]
    Certificate(#[source] KeyError),
    /// Our own serialization.
    #[error("could not write the answer")]
    Answer(#[source] serde_json::Error),
    /// The policy no longer has what the invitation was for.
    #[error("project or role of the invitation do not stand in today's policy")]
    PolicyMissing,
    /// Too many refusals or challenges.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else was faster, or the store failed.
    #[error(transparent)]
    Decide(#[from] DecideError),
}

impl EnrolmentError {
    /// What the slower of two is told: the same as if it had come a moment later.
    async fn from_race(issuer: &Issuer, error: DecideError) -> Self {
        match error {
            DecideError::Conflict(Condition::Invitation(id)) => match issuer.store.invitation(&id).await {
                Ok(Some(now)) => usable(issuer, &now, issuer.environment.now()).await.err().unwrap_or(Self::CodeUsed),
                Ok(None) => Self::CodeUsed,
                Err(error) => error.into(),
            },
            DecideError::Conflict(Condition::Challenge) => Self::Challenge,
            other => Self::Decide(other),
        }
    }

    fn reason(&self) -> Option<(OAuthError, Reason, &'static str)> {
        use OAuthError::{AccessDenied, InvalidGrant, InvalidRequest};
        const ASK: &str = "ask whoever invited you for a new invitation";
        Some(match self {
            Self::Malformed(_) => {
                (InvalidRequest, Reason::Malformed, "update the agent, or the issuer, so that both are of one version")
            }
            Self::UnknownCode => (InvalidGrant, Reason::UnknownCode, ASK),
            Self::CodeExpired { .. } => (InvalidGrant, Reason::CodeExpired, ASK),
            Self::CodeUsed => (InvalidGrant, Reason::CodeUsed, ASK),
            Self::CodeWithdrawn => (InvalidGrant, Reason::CodeWithdrawn, ASK),
            Self::DeviceEnded("suspended") => {
                (AccessDenied, Reason::DeviceSuspended, "ask an owner of the project why")
            }
            Self::DeviceEnded(_) => (AccessDenied, Reason::DeviceRevoked, ASK),
            Self::EkUntrusted(_) => (
                AccessDenied,
                Reason::EkUntrusted,
                "ask the issuer's administrator to add the TPM maker's root to `ek_roots` (`daypass-issuer ek check` explains a certificate), or for an invitation with this machine's `--ek-hash`",
            ),
            Self::EkMismatch => {
                (AccessDenied, Reason::EkMismatch, "run `daypass enroll` on the machine that the invitation is for")
            }
            Self::OtherPerson(_) => (
                AccessDenied,
                Reason::CodeElsewhere,
                "use it as another user of this machine, or on another one; `daypass leave` ends this enrolment, where it is no longer needed",
            ),
            Self::NoTpm => (AccessDenied, Reason::CodeElsewhere, "run `daypass enroll` on a machine with a TPM"),
            Self::Replaced => {
                (AccessDenied, Reason::CodeElsewhere, "run `daypass enroll` on the machine that is to take its place")
            }
            Self::Uncompared(_) => (
                AccessDenied,
                Reason::CodeElsewhere,
                "ask for an invitation with this machine's `--ek-hash`, or enrol another machine, or another user of this one, with it",
            ),
            Self::NothingYet => (
                AccessDenied,
                Reason::WrongState,
                "run `daypass enroll` again once the first grant is approved: `daypass status` says whom it waits for",
            ),
            Self::HeldBack(_) => (AccessDenied, Reason::WrongState, "ask an owner of the project"),
            Self::NotGiven { error, .. } => {
                const OWNER: &str = "ask an owner of the project";
                let reason = match error.as_ref() {
                    ApprovalError::Guardrail(_) => Reason::Guardrail,
                    ApprovalError::Over { .. } => Reason::GrantEnded,
                    ApprovalError::Predecessor { .. } => Reason::WrongState,
                    _ => Reason::PolicyMissing,
                };
                (AccessDenied, reason, OWNER)
            }
            Self::Challenge => (InvalidGrant, Reason::ChallengeExpired, "run `daypass enroll` again"),
            Self::Keys(_)
            | Self::Csr(_)
            | Self::CsrKey
            | Self::Ek(_)
            | Self::MakeCredential(_)
            | Self::Activation
            | Self::Attestation(_) => (
                AccessDenied,
                Reason::AttestationFailed,
                "run `daypass doctor`; if the TPM is well, report this with its output",
            ),
            Self::PolicyMissing => (AccessDenied, Reason::PolicyMissing, ASK),
            Self::TooMany(_) | Self::Certificate(_) | Self::Answer(_) | Self::Store(_) | Self::Decide(_) => {
                return None;
            }
        })
    }
}

impl From<EnrolmentError> for Refusal {
    fn from(error: EnrolmentError) -> Self {
        if let Some((code, reason, next_step)) = error.reason() {
            return Self::new(code, reason, error.to_string(), next_step);
        }
        match error {
            EnrolmentError::TooMany(error) => error.into(),
            EnrolmentError::Store(error) => error.into(),
            EnrolmentError::Decide(error) => error.into(),
            EnrolmentError::Certificate(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

/// The event of a refusal. There is one for whoever held an invitation or a challenge; what strangers send is in the log alone, since
/// they could fill the ledger with it.
fn refusal(issuer: &Issuer, invitation: &Invitation, source: &Source, error: &EnrolmentError) -> Event {
    let environment = &issuer.environment;
    let reason = error.reason().map_or(Reason::Internal, |(_, reason, _)| reason);
    let event = environment.event(EventKind::EnrolmentRefused);
    let event = environment.of_invitation(event, invitation, &issuer.policy());
    environment.asked(environment.refused(event, reason, &error.to_string()), source)
}

/// Writes a refusal down. Nothing was given, so it stands where that fails, too.
async fn record(issuer: &Issuer, refused: Decision) {
    if let Err(error) = issuer.store.decide(refused).await {
        tracing::warn!(error = %daypass_service::told(&error), "could not record a refused enrolment");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actor::Actor,
        ending::{Told, withdraw},
        fixture::Made,
    };

    #[tokio::test]
    async fn whoever_is_slower_is_told_what_he_is_told_a_moment_later() {
        let made = Made::new().await;
        let (open, taken_back) = (made.invited("alice").await, made.invited("bob").await);
        let source = Source::from(Actor::account("olga"));
        withdraw(&made.issuer, &taken_back.id, &Told { source: &source, rule: None, reason: None }).await.unwrap();
        let conflict = async |condition| {
            let error = EnrolmentError::from_race(&made.issuer, DecideError::Conflict(condition)).await;
            Refusal::from(error).reason()
        };
        assert_eq!(conflict(Condition::Invitation(taken_back.id)).await, Reason::CodeWithdrawn);
        assert_eq!(conflict(Condition::Invitation(open.id)).await, Reason::CodeUsed);
        assert_eq!(conflict(Condition::Challenge).await, Reason::ChallengeExpired);
        let device = Condition::Device("dev-0000000000000000".parse().unwrap());
        assert_eq!(conflict(device).await, Reason::Conflict);
    }
}
