//! Why a briefing is not shown, or its acceptance does not count.

use daypass_proto::{
    briefing::AcceptanceError,
    names::{GrantId, ProjectName},
    oauth_error::{OAuthError, Reason},
};
use thiserror::Error;

use crate::{
    caller::CallerError,
    error::Refusal,
    pace::TooMany,
    store::{Condition, DecideError, GrantLife, StoreError},
};

/// Why not.
#[derive(Debug, Error)]
pub enum BriefingError {
    /// The body.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// No such grant; or another device's.
    #[error("this device has no grant `{0}`")]
    NoGrant(GrantId),
    /// A grant by which somebody decides.
    #[error("grant `{0}` is for deciding about others, and has no briefing")]
    None(GrantId),
    /// Nothing is left of it.
    #[error("grant `{grant}` is over ({state}), and nothing of it is left to be accepted")]
    Over {
        /// Which.
        grant: GrantId,
        /// Where it is.
        state: GrantLife,
    },
    /// Project, role or phase.
    #[error("project `{0}`, or what the grant has of it, does not stand in today's policy")]
    Missing(ProjectName),
    /// The acceptance.
    #[error(transparent)]
    Acceptance(#[from] AcceptanceError),
    /// Too many of them.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Somebody else decided in between.
    #[error("{0} was changed by somebody else at the same time, and nothing was accepted")]
    Changed(Condition),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision could not be made.
    #[error(transparent)]
    Decide(DecideError),
}

impl From<DecideError> for BriefingError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(condition) => Self::Changed(condition),
            error @ (DecideError::Clock { .. } | DecideError::Store(_)) => Self::Decide(error),
        }
    }
}

impl BriefingError {
    /// What is refused, and why; nothing where nothing was decided.
    pub(super) fn reason(&self) -> Option<(OAuthError, Reason, &'static str)> {
        use OAuthError::{AccessDenied, InvalidRequest};
        const SHOWS: &str = "`daypass status --refresh` shows what this machine is granted";
        Some(match self {
            Self::Malformed(_) => {
                (InvalidRequest, Reason::Malformed, "update the agent, or the issuer, so that both are of one version")
            }
            Self::NoGrant(_) => (AccessDenied, Reason::NoGrant, SHOWS),
            Self::None(_) => (InvalidRequest, Reason::NotFound, SHOWS),
            Self::Over { .. } => (AccessDenied, Reason::GrantEnded, "ask an owner of the project for an invitation"),
            Self::Missing(_) => (AccessDenied, Reason::PolicyMissing, "ask an owner of the project"),
            Self::Acceptance(AcceptanceError::Text(_)) => (
                AccessDenied,
                Reason::BriefingStale,
                "read it as it is now: `daypass briefing`, then `daypass briefing accept`",
            ),
            Self::Acceptance(AcceptanceError::Time { .. }) => {
                (AccessDenied, Reason::ProofTime, "set this machine's clock, and accept it again")
            }
            Self::Acceptance(_) => (
                AccessDenied,
                Reason::ProofInvalid,
                "sign what docs/wire.md section 5.7 describes with the device's proof key; the agent does so by itself",
            ),
            Self::Changed(_) => (InvalidRequest, Reason::Conflict, "look at its state, and accept it again"),
            Self::Caller(_) | Self::TooMany(_) | Self::Store(_) | Self::Decide(_) => return None,
        })
    }
}

impl From<BriefingError> for Refusal {
    fn from(error: BriefingError) -> Self {
        if let Some((code, reason, next_step)) = error.reason() {
            return Self::new(code, reason, error.to_string(), next_step);
        }
        match error {
            BriefingError::Caller(error) => error.into(),
            BriefingError::TooMany(error) => error.into(),
            BriefingError::Store(error) => error.into(),
            BriefingError::Decide(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
