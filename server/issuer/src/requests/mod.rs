//! Requests: whoever has a grant asks for a later end, or for another role; the project's owners approve, narrow or refuse.
//!
//! Nothing is extended by itself. What is asked for is judged by today's policy when it is asked and again at each approval, and it is approved as a
//! grant is ([`crate::approval`]). Narrowing only ever takes away: whoever approved before approved that, too. Each step is one decision with its
//! event, so that of two at once one comes too late and is told so.

mod ask;
mod decide;
mod endpoints;
mod judge;
mod lapse;
mod used;

use daypass_proto::{
    access_request::{AccessRequest, Narrowed, RequestLife},
    ledger::Event,
    names::{DeviceId, GrantId, ProjectName, RequestId, RoleName},
    oauth_error::{OAuthError, Reason},
    time::Timestamp,
    words::WordsError,
};
use thiserror::Error;

pub use self::{
    ask::{ask, withdraw},
    decide::{Decided, Verdict, decide},
    endpoints::{list, make, take_back},
    lapse::{lapse, lapsed},
    used::{Scope, Used, beside},
};
use crate::{
    approval::{ApprovalError, Waiting},
    caller::CallerError,
    error::Refusal,
    invitation::GrantError,
    issuer::Issuer,
    pace::TooMany,
    policy::Policy,
    store::{Condition, DecideError, GrantLife, Request, StoreError},
    until::UntilError,
};

/// Why a request is not taken, or not decided.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The body.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// No words, too many, or what is not to be shown to others.
    #[error("a reason {0}")]
    Reason(#[from] WordsError),
    /// The caller.
    #[error(transparent)]
    Caller(#[from] CallerError),
    /// The end.
    #[error(transparent)]
    Until(#[from] UntilError),
    /// No such request; or somebody else's.
    #[error("there is no request `{0}`; `request list` shows them")]
    NoRequest(RequestId),
    /// It was decided.
    #[error("request `{request}` is {state}, and waits for nobody")]
    NotWaiting {
        /// Which.
        request: RequestId,
        /// Where it is.
        state: RequestLife,
    },
    /// No such grant; or another device's.
    #[error("this device has no grant `{0}`")]
    NoGrant(GrantId),
    /// Not one of theirs.
    #[error("this device has nothing in a project `{0}`; who has not been invited to it cannot ask for more of it")]
    NoProject(ProjectName),
    /// The policy lost it.
    #[error("today's policy has no project `{0}`")]
    NotInPolicy(ProjectName),
    /// The role is there already.
    #[error("this device has grant `{grant}` in role `{role}` already; ask for its extension")]
    HasRole {
        /// The role.
        role: RoleName,
        /// The grant.
        grant: GrantId,
    },
    /// The hard end is hard.
    #[error("grant `{grant}` is {state}, and what is over is not extended; ask for an invitation")]
    GrantOver {
        /// Which.
        grant: GrantId,
        /// Where it is.
        state: GrantLife,
    },
    /// The device may do nothing.
    #[error("device `{0}` is not approved, and gets nothing")]
    Device(DeviceId),
    /// The role's rule.
    #[error("role `{0}` says that its grants are not extended")]
    NotRenewed(RoleName),
    /// Nothing would change.
    #[error("the grant lasts until {ends} already, and {until} is not later")]
    NotLater {
        /// As asked.
        until: Timestamp,
        /// As it is.
        ends: Timestamp,
    },
    /// Longer in all than the role lets it be.
    #[error("with its extensions the grant would end at {until}; role `{role}` allows until {latest} in all")]
    TooLongInAll {
        /// The role.
        role: RoleName,
        /// As asked.
        until: Timestamp,
        /// The latest.
        latest: Timestamp,
    },
    /// Project, role or end.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// Narrowing gives less.
    #[error("that is no narrowing: {0}")]
    NotNarrower(String),
    /// One at a time.
    #[error("a request about the same waits already; withdraw it first, or wait for its answer")]
    OneWaits,
    /// Who decides.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// Too many of them.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Somebody else decided in between.
    #[error("{0} was changed by somebody else at the same time, and nothing was done; look again at what there is now")]
    Changed(Condition),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decision could not be made.
    #[error(transparent)]
    Decide(DecideError),
}

impl RequestError {
    /// Whether it is a fault of the store or of the clock, and not of what was asked.
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Store(_) | Self::Decide(_) => true,
            Self::Approval(error) => error.is_fault(),
            _ => false,
        }
    }

    fn reason(&self) -> Option<(OAuthError, Reason, &'static str)> {
        use OAuthError::{AccessDenied, InvalidRequest};
        const ASK: &str = "ask an owner of the project";
        Some(match self {
            Self::Malformed(_) => {
                (InvalidRequest, Reason::Malformed, "update the agent, or the issuer, so that both are of one version")
            }
            Self::Reason(_) => (InvalidRequest, Reason::Malformed, "say in a few words what it is for"),
            Self::Until(_) => (InvalidRequest, Reason::Malformed, "write the end as the message shows"),
            Self::NoRequest(_) => (InvalidRequest, Reason::NotFound, "`daypass requests` shows those of this machine"),
            Self::NoGrant(_) | Self::NoProject(_) => {
                (AccessDenied, Reason::NoGrant, "`daypass status` shows what this machine is granted")
            }
            Self::HasRole { .. } => (AccessDenied, Reason::Conflict, "`daypass extend` asks for a later end"),
            Self::NotLater { .. } => (InvalidRequest, Reason::Malformed, "ask for a later end"),
            Self::GrantOver { .. } => {
                (AccessDenied, Reason::GrantEnded, "ask an owner of the project for an invitation")
            }
            Self::NotRenewed(_) | Self::TooLongInAll { .. } | Self::Grant(_) | Self::NotInPolicy(_) => {
                (AccessDenied, Reason::ExceedsGrant, "ask for less, or an owner of the project for another role")
            }
            Self::Device(_) => (AccessDenied, Reason::DevicePending, ASK),
            Self::NotWaiting { .. } | Self::OneWaits | Self::Changed(_) => {
                (InvalidRequest, Reason::Conflict, "`daypass requests` shows where it is")
            }
            Self::NotNarrower(_) | Self::Approval(_) => (AccessDenied, Reason::Conflict, ASK),
            Self::Caller(_) | Self::TooMany(_) | Self::Store(_) | Self::Decide(_) => return None,
        })
    }
}

impl From<DecideError> for RequestError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict(Condition::OneRequest) => Self::OneWaits,
            DecideError::Conflict(condition) => Self::Changed(condition),
            error @ (DecideError::Clock { .. } | DecideError::Store(_)) => Self::Decide(error),
        }
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        if let Some((code, reason, next_step)) = error.reason() {
            return Self::new(code, reason, error.to_string(), next_step);
        }
        match error {
            RequestError::Caller(error) => error.into(),
            RequestError::TooMany(error) => error.into(),
            RequestError::Store(error) => error.into(),
            RequestError::Decide(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

/// A request as people see it.
pub async fn describe(issuer: &Issuer, request: Request) -> Result<AccessRequest, StoreError> {
    let waits_for = match request.state {
        RequestLife::Requested => {
            Waiting::of_request(issuer, &request).await?.map(|waiting| waiting.open_to()).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let narrowed_to =
        request.is_narrowed().then(|| Narrowed { role: request.given_role.clone(), until: request.given_until });
    Ok(AccessRequest {
        request: request.id,
        what: request.what,
        collaborator: request.collaborator,
        device: request.device,
        project: request.project,
        role: request.role,
        until: request.until,
        reason: request.reason,
        state: request.state,
        asked_at: request.asked_at,
        decided_at: request.decided_at,
        answer: request.answer,
        narrowed_to,
        waits_for,
    })
}

/// The event, about this request under today's policy: about what would be given.
fn about(issuer: &Issuer, event: Event, request: &Request, policy: &Policy) -> Event {
    use daypass_proto::access_request::Wanted;
    let event = event
        .text("request", &request.id)
        .text("wanted", request.what.as_str())
        .text("device", &request.device)
        .text("project", &request.project)
        .text("role", &request.given_role)
        .number("until", request.given_until.seconds())
        .text("policy", hex::encode(policy.hash()));
    let event = match &request.what {
        Wanted::Extension { grant } => event.text("grant", grant),
        Wanted::Scopes { .. } => event,
    };
    let event = issuer.environment.owned(event, &request.project, policy);
    issuer.environment.personal(event, "collaborator", &request.collaborator)
}

#[cfg(test)]
mod tests;
