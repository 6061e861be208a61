//! Why the admin API refuses, and how that leaves.

use axum::http::StatusCode;
use daypass_proto::{
    dpop::DpopError,
    oauth_error::{OAuthError, Reason},
    token::TokenError,
};
use thiserror::Error;

use super::{AdministratorError, authority::Forbidden, policy::LoadError};
use crate::{
    approval::ApprovalError,
    device::{ComparisonError, LifeError},
    ending::EndError,
    error::Refusal,
    gates::RegistryError,
    invitation::InviteError,
    replacement::ReplaceError,
    requests::RequestError,
    store::{DecideError, StoreError},
    until::UntilError,
};

/// Why something was not done.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    #[error("a token is needed: `Authorization: DPoP …`, once")]
    NoToken,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the access token is another device's")]
    OtherDevice,
    #[error("exactly one `DPoP` header is needed")]
    ProofHeader,
    #[error(transparent)]
    Proof(DpopError),
    #[error("the DPoP proof was used before")]
    Replayed,
    #[error("the token, its device or its grant was ended")]
    Dead,
    #[error("the token does not allow this request")]
    NotCovered,
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    #[error("there is no {0} that is called so, or it is not theirs to see")]
    NotFound(&'static str),
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Comparison(#[from] ComparisonError),
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error(transparent)]
    End(#[from] EndError),
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    #[error(transparent)]
    Gate(#[from] RegistryError),
    #[error(transparent)]
    Until(#[from] UntilError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Administrator(#[from] AdministratorError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Decide(DecideError),
}

/// What a wrong credential is answered with.
fn credential(reason: Reason, text: String) -> Refusal {
    Refusal::new(
        OAuthError::AccessDenied,
        reason,
        text,
        "use `daypass admin`, which gets a token and makes a fresh proof for each request",
    )
    .with_status(StatusCode::UNAUTHORIZED)
}

fn denied(reason: Reason, text: String, next_step: &str) -> Refusal {
    Refusal::new(OAuthError::AccessDenied, reason, text, next_step)
}

/// What a record that is in the wrong state is answered with.
fn state(text: String) -> Refusal {
    denied(Reason::WrongState, text, "look at its state, and decide by it").with_status(StatusCode::CONFLICT)
}

impl From<AdminError> for Refusal {
    fn from(error: AdminError) -> Self {
        const OTHERS: &str = "ask an owner of that project, or an administrator";
        let text = error.to_string();
        match error {
            AdminError::NoToken | AdminError::Token(_) | AdminError::OtherDevice => {
                credential(Reason::TokenInvalid, text)
            }
            AdminError::Proof(DpopError::Time { .. }) => credential(Reason::ProofTime, text),
            AdminError::ProofHeader | AdminError::Proof(_) => credential(Reason::ProofInvalid, text),
            AdminError::Replayed => credential(Reason::ProofReplayed, text),
            AdminError::Dead => credential(Reason::TokenRevoked, text),
            AdminError::NotCovered => denied(Reason::ExceedsGrant, text, "ask for a token with what is needed"),
            AdminError::Malformed(_) => Self::new(
                OAuthError::InvalidRequest,
                Reason::Malformed,
                text,
                "send what docs/admin-api.json describes",
            ),
            AdminError::NotFound(_) => {
                Self::new(OAuthError::InvalidRequest, Reason::NotFound, text, "list them to see those that there are")
                    .with_status(StatusCode::NOT_FOUND)
            }
            AdminError::Forbidden(Forbidden::Own(_)) => denied(Reason::OwnRequest, text, OTHERS),
            AdminError::Forbidden(_) => denied(Reason::NotTheirs, text, OTHERS),
            AdminError::Comparison(ComparisonError::Differs { .. }) => denied(
                Reason::CodeDiffers,
                text,
                "do not approve it: this may be another machine than the one that is meant; ask the collaborator again",
            ),
            AdminError::Life(error) => life(error, text),
            AdminError::End(error) => end(error, text),
            AdminError::Approval(error) => approval(error, text),
            AdminError::Request(error) => request(error, text),
            AdminError::Invite(error) => invite(error, text),
            AdminError::Replace(error) => replace(error, text),
            AdminError::Gate(RegistryError::Unknown(_)) => AdminError::NotFound("gate").into(),
            AdminError::Gate(RegistryError::Store(error)) => error.into(),
            AdminError::Gate(RegistryError::Decide(error)) => error.into(),
            AdminError::Gate(error) => Self::internal(&error),
            AdminError::Load(error) => load(error, text),
            AdminError::Until(_) => {
                Self::new(OAuthError::InvalidRequest, Reason::Malformed, text, "give a date, a time or a duration")
            }
            AdminError::Administrator(AdministratorError::Store(error)) | AdminError::Store(error) => error.into(),
            AdminError::Administrator(error) => Self::internal(&error),
            AdminError::Comparison(ComparisonError::Decide(error)) | AdminError::Decide(error) => error.into(),
        }
    }
}

fn life(error: LifeError, text: String) -> Refusal {
    match error {
        LifeError::Unknown(_) => AdminError::NotFound("device").into(),
        LifeError::Own(_) => denied(Reason::OwnRequest, text, "ask an owner of the project, or an administrator"),
        LifeError::Transition { .. } => state(text),
        LifeError::Approval(error) => approval(error, text),
        LifeError::Store(error) => error.into(),
        LifeError::Decide(error) => error.into(),
    }
}

fn end(error: EndError, text: String) -> Refusal {
    match error {
        EndError::NoGrant(_) => AdminError::NotFound("grant").into(),
        EndError::NoInvitation(_) => AdminError::NotFound("invitation").into(),
        EndError::Unknown(_) => AdminError::NotFound("person, project or phase").into(),
        EndError::Changed(condition) => DecideError::Conflict(condition).into(),
        EndError::Store(error) => error.into(),
        EndError::Decide(error) => error.into(),
        _ => state(text),
    }
}

fn approval(error: ApprovalError, text: String) -> Refusal {
    match error {
        ApprovalError::NoGrant(_) => AdminError::NotFound("grant").into(),
        ApprovalError::Own { .. } => denied(Reason::OwnRequest, text, "ask another owner of the project"),
        ApprovalError::NotOwner { .. } => denied(Reason::NotTheirs, text, "ask an owner of the project"),
        ApprovalError::Changed(condition) => DecideError::Conflict(condition).into(),
        ApprovalError::Store(error) => error.into(),
        ApprovalError::Decide(error) => error.into(),
        _ => state(text),
    }
}

fn request(error: RequestError, text: String) -> Refusal {
    match error {
        RequestError::NoRequest(_) => AdminError::NotFound("request").into(),
        RequestError::Approval(error) => approval(error, text),
        RequestError::NotNarrower(_) => Refusal::new(
            OAuthError::InvalidRequest,
            Reason::Malformed,
            text,
            "narrow it to an earlier end, or to a role that gives less; or approve it as it is",
        ),
        RequestError::Changed(condition) => DecideError::Conflict(condition).into(),
        RequestError::Store(error) => error.into(),
        RequestError::Decide(error) => error.into(),
        // What was asked for cannot be given by today's policy, or by what there is.
        _ => state(text),
    }
}

fn load(error: LoadError, text: String) -> Refusal {
    match error {
        // A line each, as far as a description has lines.
        LoadError::Policy(_) | LoadError::Examples(_) => Refusal::new(
            OAuthError::InvalidRequest,
            Reason::Malformed,
            text.replace('\n', " "),
            "`daypass-issuer policy check FOLDER` and `policy test FOLDER` show each fault with its line, on any machine",
        ),
        LoadError::NoProposal(_) => AdminError::NotFound("proposal").into(),
        LoadError::Own(_) | LoadError::Nobody => denied(Reason::OwnRequest, text, "ask another administrator"),
        LoadError::NotWaiting { .. } | LoadError::Stale(_) => state(text),
        LoadError::Administrators(error) => AdminError::Administrator(error).into(),
        LoadError::Store(error) => error.into(),
        LoadError::Decide(error) => error.into(),
    }
}

fn invite(error: InviteError, text: String) -> Refusal {
    match error {
        InviteError::Grant(_) => Refusal::new(
            OAuthError::InvalidRequest,
            Reason::Malformed,
            text,
            "name a project and a role of the policy in force, and an end within the role's limit",
        ),
        InviteError::Changed(condition) => DecideError::Conflict(condition).into(),
        InviteError::Decide(error) => error.into(),
        error => Refusal::internal(&error),
    }
}

fn replace(error: ReplaceError, text: String) -> Refusal {
    match error {
        ReplaceError::NoDevice(_) => AdminError::NotFound("device").into(),
        ReplaceError::Whose { .. } | ReplaceError::Later { .. } => Refusal::new(
            OAuthError::InvalidRequest,
            Reason::Malformed,
            text,
            "leave `collaborator` and `until` out: a replacement is for the same person and the same time",
        ),
        ReplaceError::State { .. }
        | ReplaceError::Nothing { .. }
        | ReplaceError::Invited { .. }
        | ReplaceError::Enrolled { .. } => state(text),
        ReplaceError::Invite(error) => invite(error, text),
        ReplaceError::Store(error) => error.into(),
    }
}
