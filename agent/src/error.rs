//! Everything that an agent's caller can be told, each with its one code. The status and exit code of each code stand in
//! `proto::local_api`.

use daypass_proto::{
    invitation::CodeError,
    local_api::{ErrorAnswer, ErrorCode, Problem},
    oauth_error::{ErrorBody, Reason},
    redaction::redacted,
    resource::{Repository, Resource, ResourceError},
    tls_fault::OutsideItsTime,
};
use thiserror::Error;

use crate::{state::StateError, tpm::TpmError};

/// Why the agent did not do what was asked.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The request.
    #[error("the request does not fit the format: {0}")]
    Malformed(String),
    /// No such path.
    #[error("there is no such endpoint; the local API is described in docs/wire.md")]
    NotFound,
    /// A host that is nobody's.
    #[error("no resource of this user's is at `{0}`")]
    UnknownHost(String),
    /// No enrolment.
    #[error("this user is not enrolled with `{0}`")]
    NotEnrolled(String),
    /// No enrolment at all.
    #[error("this user is not enrolled with any issuer")]
    NeverEnrolled,
    /// One is there, with another issuer at the same address.
    #[error(
        "the invitation is of another issuer at `{0}` than the one that this user is enrolled with: it names another root"
    )]
    OtherRoot(String),
    /// One is there, and nothing can be added to it.
    #[error("this user's enrolment with the issuer is over, and takes no invitation: {}", .0.error_description)]
    EnrolmentOver(Box<ErrorBody>),
    /// The invitation.
    #[error(transparent)]
    Invitation(#[from] CodeError),
    /// Another server than the invitation's issuer.
    #[error(
        "the server at `{0}` is not the issuer that the invitation names: its certificate does not stand under the pinned root"
    )]
    WrongIssuer(String),
    /// A server's certificate that is not in its time by this machine's clock.
    #[error("the certificate of `{url}` {times}, and this machine's clock says {}", .times.now())]
    CertificateTime {
        /// Whose.
        url: String,
        /// Its end or begin, and the clock here.
        times: OutsideItsTime,
    },
    /// The issuer refused.
    #[error("the issuer refused: {}", .0.error_description)]
    Refused(Box<ErrorBody>),
    /// Not approved yet.
    #[error("device {device} waits for approval by {owners}; compare the code {code}")]
    Pending {
        /// The device.
        device: String,
        /// Who can approve.
        owners: String,
        /// What both sides show.
        code: String,
    },
    /// Nothing is granted there.
    #[error("nothing is granted to this machine at `{0}`")]
    NotGranted(String),
    /// Plain http.
    #[error("`{0}` is not https: a credential would cross the network in the open")]
    PlainHttp(String),
    /// git sent no path.
    #[error("git sent no path with the host, so the repository is not known")]
    NoPath,
    /// Not a repository.
    #[error(transparent)]
    Repository(#[from] ResourceError),
    /// Not a URL of a resource.
    #[error(transparent)]
    Url(ResourceError),
    /// A proof for a place where it must not go.
    #[error("proofs are made for granted resources only, and never for the issuer: `{0}` is none")]
    NoProofFor(String),
    /// The issuer is not reached.
    #[error("could not reach the issuer at `{url}`: {why}")]
    IssuerUnreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The issuer is not reached by who is not enrolled with it yet.
    #[error("could not reach the issuer at `{url}`: {why}")]
    NoIssuer {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// An answer that is not of this protocol.
    #[error("`{url}` answered with something that is not of this protocol (status {status})")]
    IssuerAnswer {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The gate is not reached.
    #[error("could not reach the gate of `{repository}`: {why}")]
    GateUnreachable {
        /// Which repository.
        repository: Repository,
        /// Why.
        why: String,
    },
    /// It gave no nonce.
    #[error("the server at `{0}` gave no Daypass nonce: no nonce, no access")]
    NoNonce(Resource),
    /// A ledger that has just begun, or was restored this moment.
    #[error("the issuer's ledger is being begun, and has no checkpoint that can be checked")]
    LedgerUnsettled,
    /// A check that took too long.
    #[error("the issuer did not answer everything about its ledger within {0} s")]
    LedgerSlow(u64),
    /// A finding that is not there.
    #[error("there is no finding {0} that waits to be accepted")]
    NoFinding(u64),
    /// A token that would end before the asked-for time.
    #[error("no token with {0} s of life can be had here")]
    TooShort(i64),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// A CSR, TLS or JOSE, which are ours to make.
    #[error("could not {attempted}: {why}")]
    Internal {
        /// What was attempted.
        attempted: &'static str,
        /// Why.
        why: String,
    },
}

/// The one table from causes to codes.
impl AgentError {
    /// The cause, for programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed(_) | Self::NoFinding(_) => ErrorCode::Malformed,
            Self::NotFound => ErrorCode::NotFound,
            Self::UnknownHost(_) => ErrorCode::UnknownHost,
            Self::NotEnrolled(_) | Self::NeverEnrolled => ErrorCode::NotEnrolled,
            Self::Invitation(_) => ErrorCode::BadInvitation,
            Self::WrongIssuer(_) | Self::OtherRoot(_) => ErrorCode::WrongIssuer,
            Self::CertificateTime { .. } => ErrorCode::ClockSkew,
            Self::Refused(body) | Self::EnrolmentOver(body) => refused_code(body.daypass_reason),
            Self::Pending { .. } => ErrorCode::DevicePending,
            Self::NotGranted(_) | Self::NoProofFor(_) | Self::TooShort(_) => ErrorCode::NotGranted,
            Self::PlainHttp(_) | Self::NoPath | Self::Repository(_) | Self::Url(_) => ErrorCode::UnsafeRemote,
            Self::IssuerUnreachable { .. }
            | Self::NoIssuer { .. }
            | Self::IssuerAnswer { .. }
            | Self::LedgerUnsettled
            | Self::LedgerSlow(_) => ErrorCode::IssuerUnreachable,
            Self::GateUnreachable { .. } | Self::NoNonce(_) => ErrorCode::GateUnreachable,
            Self::Tpm(error) => error.code(),
            Self::State(_) => ErrorCode::Configuration,
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }

    /// What to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::Refused(body) => body.daypass_next_step.clone(),
            Self::Tpm(error) => error.next_step().to_owned(),
            other => other.plain_next_step().to_owned(),
        }
    }

    fn plain_next_step(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NotFound => "send what docs/wire.md section 9 describes",
            Self::UnknownHost(_) => "run `daypass status` to see where this machine has access",
            Self::NotEnrolled(_) | Self::NeverEnrolled => "run `daypass enroll` with an invitation",
            Self::OtherRoot(_) => {
                "if the issuer was set up anew, run `daypass leave`, and enrol again; otherwise do not go on, and tell whoever invited you"
            }
            Self::EnrolmentOver(_) => "run `daypass leave`, then `daypass enroll` with the same invitation again",
            Self::Invitation(_) => "copy the whole invitation, in one piece, from where it was sent",
            Self::WrongIssuer(_) => {
                "do not go on: something stands between this machine and the issuer; tell whoever invited you"
            }
            Self::CertificateTime { .. } => {
                "set this machine's clock (`timedatectl set-ntp true`); if it is right, tell the server's administrator"
            }
            Self::Pending { .. } => "read the code to the owner; `daypass enroll --wait` waits for the approval",
            Self::NotGranted(_) => {
                "run `daypass status` to see what is granted, and ask an owner of the project for more"
            }
            Self::TooShort(_) => "ask for a shorter life; the project's role limits it",
            Self::NoProofFor(_) => "run `daypass status` to see the resources",
            Self::PlainHttp(_) => "use an https remote: `git remote set-url origin https://…`",
            Self::NoPath => "run `daypass setup git`, which sets `credential.useHttpPath` for its hosts",
            Self::Repository(_) => "check the remote with `git remote -v`",
            Self::Url(_) => "give the https URL of the request, at a resource that `daypass status` shows",
            Self::NoIssuer { .. } => "check the network, then run `daypass enroll` with the same invitation again",
            Self::IssuerUnreachable { .. } => "check the network; live tokens are served meanwhile",
            Self::IssuerAnswer { .. } => "check that the address is the issuer's, and that nothing stands in between",
            Self::GateUnreachable { .. } => "check the network, and the remote with `git remote -v`",
            Self::LedgerUnsettled | Self::LedgerSlow(_) => {
                "run `daypass ledger check` again in a moment; the agent does so by itself"
            }
            Self::NoFinding(_) => "run `daypass ledger show` to see what was found",
            Self::NoNonce(_) => "check that the address is a Daypass gate's",
            Self::State(_) => "check the state folder and its permissions; `daypass doctor` names it",
            Self::Internal { .. } | Self::Refused(_) | Self::Tpm(_) => {
                "run `daypass doctor`, and report this with its output"
            }
        }
    }

    /// What was refused and why. Some of it repeats the request, which may have had a secret in the wrong place.
    fn words(&self) -> String {
        redacted(&self.to_string()).into_owned()
    }

    /// As it leaves.
    pub fn answer(&self) -> ErrorAnswer {
        ErrorAnswer { error: self.code(), message: self.words(), next_step: self.next_step() }
    }

    /// As it stands in a status.
    pub fn problem(&self) -> Problem {
        Problem { error: self.code(), message: self.words(), next_step: self.next_step() }
    }
}

const fn refused_code(reason: Reason) -> ErrorCode {
    match reason {
        Reason::UnknownCode | Reason::CodeUsed | Reason::CodeWithdrawn | Reason::CodeElsewhere | Reason::EkMismatch => {
            ErrorCode::InvitationRefused
        }
        Reason::CodeExpired => ErrorCode::InvitationExpired,
        Reason::EkUntrusted | Reason::AttestationFailed | Reason::ChallengeExpired => ErrorCode::AttestationRefused,
        Reason::DevicePending => ErrorCode::DevicePending,
        Reason::DeviceSuspended => ErrorCode::DeviceSuspended,
        Reason::DeviceRevoked => ErrorCode::DeviceRevoked,
        Reason::CertificateExpired => ErrorCode::CertificateExpired,
        Reason::NoGrant
        | Reason::GrantElsewhere
        | Reason::ExceedsGrant
        | Reason::Guardrail
        | Reason::PolicyMissing
        | Reason::NotTheirs
        | Reason::OwnRequest
        | Reason::DelegationNotAllowed => ErrorCode::NotGranted,
        Reason::BriefingRequired | Reason::BriefingStale => ErrorCode::BriefingRequired,
        Reason::GrantNotYet => ErrorCode::GrantNotYet,
        Reason::GrantEnded => ErrorCode::GrantEnded,
        Reason::GrantSuspended => ErrorCode::GrantSuspended,
        Reason::GrantUsedUp => ErrorCode::GrantUsedUp,
        Reason::ProofTime | Reason::CertificateNotYet | Reason::IssuerClock => ErrorCode::ClockSkew,
        Reason::StoreUnavailable | Reason::Busy | Reason::Internal => ErrorCode::IssuerUnreachable,
        Reason::Malformed
        | Reason::TooLarge
        | Reason::TooSlow
        | Reason::SlowDown
        | Reason::NotFound
        | Reason::LeafUnknown
        | Reason::LeafNotYet
        | Reason::CertificateUnknown
        | Reason::ClientMismatch
        | Reason::SoftwareKeysOff
        | Reason::ProofInvalid
        | Reason::ProofReplayed
        | Reason::ProofKeyUnknown
        | Reason::DelegationInvalid
        | Reason::TokenRevoked
        | Reason::TooManyTokens
        | Reason::TokenInvalid
        | Reason::CodeDiffers
        | Reason::WrongState
        | Reason::Conflict => ErrorCode::RefusedByIssuer,
    }
}
