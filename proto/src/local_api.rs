//! The local API between the agent and whoever may use it on this machine (docs/wire.md section 9).
//!
//! `curl --unix-socket` works as well as our own programs. Which enrolments a caller reaches is decided by the uid that
//! the kernel reports; nothing in these messages names a user.

pub mod admin;
pub mod ledger;

use serde::{Deserialize, Serialize};

use crate::{
    access_request::{AccessRequest, Ask},
    authorization::AuthorizationDetails,
    encoding::Fixed,
    enrolment::{DeviceLife, GrantState, TrustTier},
    names::{DeviceId, GrantId, ProjectName, RequestId},
    notice::Notice,
    own_devices::{Lost, OwnDevice},
    resource::Resource,
    time::Timestamp,
};

/// The largest request body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// How many connections of one user are open at once.
pub const MAX_CONNECTIONS_OF_USER: usize = 96;
/// How many connections of all users are open at once: each takes two descriptors, and a process has 1024 where nobody sets more.
pub const MAX_CONNECTIONS: usize = 384;
/// The life that a token has left at least when it is handed out and nothing else was asked for, in seconds.
pub const DEFAULT_MIN_TTL: i64 = 30;

/// `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The agent's clock.
    pub now: Timestamp,
    /// The TPM as the agent finds it.
    pub tpm: TpmStatus,
    /// Whether the inspector answers; `None` where none is configured.
    #[serde(default)]
    pub inspector: Option<bool>,
    /// This user's enrolments.
    pub enrolments: Vec<Enrolment>,
}

/// The TPM as the agent finds it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TpmStatus {
    /// How it is reached, as configured.
    pub tcti: String,
    /// Whether it answers.
    pub available: bool,
    /// Manufacturer, model and firmware, where it answers.
    pub description: Option<String>,
    /// The real cause, where it does not.
    pub problem: Option<Problem>,
}

/// A fault and the way out of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The cause.
    pub error: ErrorCode,
    /// What was attempted and why it failed.
    pub message: String,
    /// What to do about it.
    pub next_step: String,
}

/// One enrolment of this user.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Enrolment {
    /// The issuer's identifier.
    pub issuer: String,
    /// How far it is.
    pub state: EnrolmentLife,
    /// The device, once the issuer gave it a name.
    pub device: Option<DeviceId>,
    /// For whom.
    pub collaborator: Option<String>,
    /// What both sides show.
    pub comparison_code: Option<String>,
    /// How well the issuer knows this TPM.
    pub trust_tier: Option<TrustTier>,
    /// Who can approve it.
    pub waits_for: Vec<String>,
    /// The end of the device certificate.
    pub certificate_not_after: Option<Timestamp>,
    /// Issuer's clock minus this machine's, in seconds, as far as it is known.
    pub clock_offset: Option<i64>,
    /// When the issuer was last heard.
    pub last_contact: Option<Timestamp>,
    /// The grants.
    pub grants: Vec<GrantState>,
    /// Where they are used.
    pub resources: Vec<LocalResource>,
    /// Of an answer to [`EnrolRequest`], the grants that an invitation added to an enrolment that was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<GrantId>,
    /// What of them comes to its end.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How many notices nobody has read.
    #[serde(default)]
    pub new_notices: usize,
    /// Live tokens: where for, and until when.
    pub tokens: Vec<LiveToken>,
    /// How the issuer's ledger stands; `None` while interrupted.
    #[serde(default)]
    pub ledger: Option<ledger::Ledger>,
    /// What is wrong with it now, if anything.
    pub problem: Option<Problem>,
}

/// How far an enrolment is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolmentLife {
    /// Begun and not completed: run `daypass enroll` with the same invitation again.
    Interrupted,
    /// As the issuer says.
    #[serde(untagged)]
    Device(DeviceLife),
}

/// A resource, and the file on this machine with the CA of its certificate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LocalResource {
    /// The resource.
    pub resource: Resource,
    /// PEM file that every user can read, beside the socket; `None` when it could not be written.
    pub ca_file: Option<String>,
}

/// A token in the agent's memory.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LiveToken {
    /// What it is for.
    pub resource: Resource,
    /// Its end, on this machine's clock.
    pub expires_at: Timestamp,
}

/// That a grant comes to its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Warning {
    /// Which.
    pub grant: GrantId,
    /// What of it.
    pub what: Ending,
    /// In words.
    pub message: String,
    /// What to do about it.
    pub next_step: String,
}

/// What of a grant comes to its end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its hard end comes.
    Soon,
    /// Its hard end has come, and narrower rights are left.
    Grace,
    /// It gives few more tokens, or none.
    Uses,
}

/// `POST /v1/warnings`: those about the grants that are used there, each once a day. Whoever asks shows them to a person.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WarningsRequest {
    /// The URL of the resource, or of the repository.
    pub location: String,
}

/// The answer to it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Warnings {
    /// Those that were not handed out within a day.
    pub warnings: Vec<Warning>,
}

/// `GET /v1/notices`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AllNotices {
    /// Those of each issuer of this user.
    pub issuers: Vec<NoticesAt>,
}

/// What was decided at one issuer, and what comes to its end there.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NoticesAt {
    /// The issuer.
    pub issuer: String,
    /// Where this device is in its life.
    pub state: DeviceLife,
    /// What is kept, the newest last.
    pub notices: Vec<KeptNotice>,
    /// What comes to its end.
    pub warnings: Vec<Warning>,
    /// Why it may not be all, where the issuer did not say.
    pub problem: Option<Problem>,
}

/// A notice, as the agent keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeptNotice {
    /// What happened.
    #[serde(flatten)]
    pub notice: Notice,
    /// Whether somebody has read it.
    pub read: bool,
}

/// `POST /v1/notices/read`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReadNotices {
    /// The issuer.
    pub issuer: String,
    /// The numbers of the events of those that were read.
    pub events: Vec<u64>,
}

/// `GET /v1/devices`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AllDevices {
    /// Those at each issuer of this user.
    pub issuers: Vec<DevicesAt>,
}

/// This user's devices at one issuer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DevicesAt {
    /// The issuer.
    pub issuer: String,
    /// Those that are not revoked, by name; this machine among them.
    pub devices: Vec<OwnDevice>,
    /// Why they are not known, where they are not.
    pub problem: Option<Problem>,
}

/// `POST /v1/devices/lost`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReportLost {
    /// The issuer.
    pub issuer: String,
    /// Which, and what happened.
    pub lost: Lost,
}

/// `POST /v1/enrolments`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The invitation. Not printed: it works.
    pub invitation: String,
}

/// `POST /v1/enrolments/refresh`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// One issuer; all of this user's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// The answer to a refresh.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Enrolments {
    /// This user's enrolments.
    pub enrolments: Vec<Enrolment>,
}

/// `POST /v1/leave`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// The issuer to leave.
    pub issuer: String,
}

/// The answer to leaving.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LeaveAnswer {
    /// The issuer that was left.
    pub issuer: String,
    /// Whether the issuer heard of it; the keys are erased either way.
    pub told: Told,
    /// Why it did not, where it could not be told.
    pub problem: Option<Problem>,
}

/// What an issuer knows of somebody's leaving.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// It has ended the device's access.
    Told,
    /// It did not hear of it: the device stands on its list.
    CouldNotTell,
    /// The enrolment was never complete on this side, so that there was no device to speak for.
    NothingToTell,
}

/// `POST /v1/requests`: asks an issuer for longer, or for more.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AskIssuer {
    /// The issuer.
    pub issuer: String,
    /// What is asked.
    pub ask: Ask,
}

/// `POST /v1/requests/withdraw`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawAsked {
    /// The issuer.
    pub issuer: String,
    /// Which.
    pub request: RequestId,
}

/// `GET /v1/requests`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AllRequests {
    /// Those at each issuer of this user.
    pub issuers: Vec<RequestsAt>,
}

/// The requests at one issuer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RequestsAt {
    /// The issuer.
    pub issuer: String,
    /// This machine's, the newest first.
    pub requests: Vec<AccessRequest>,
    /// Why they are not known, where they are not.
    pub problem: Option<Problem>,
}

/// `POST /v1/briefings`: the briefing of a grant.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BriefingAsked {
    /// The issuer.
    pub issuer: String,
    /// Which grant's.
    pub grant: GrantId,
}

/// `POST /v1/briefings/accept`: somebody has read it and says yes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BriefingAccepted {
    /// The issuer.
    pub issuer: String,
    /// Which grant's.
    pub grant: GrantId,
    /// Its project.
    pub project: ProjectName,
    /// The hash of the terms, as they came with the text.
    pub briefing: Fixed<32>,
    /// The hash of the text that was shown.
    pub text: Fixed<32>,
}

/// `POST /v1/tokens`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What the token is for.
    pub resource: Resource,
    /// What exactly; everything that is granted there where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<AuthorizationDetails>,
    /// The life it must have left, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ttl: Option<i64>,
    /// Who is to sign the proofs; what the role says where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<ProofProtection>,
}

/// Who signs the proofs of a token: what a caller on this machine can choose between.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofProtection {
    /// The proof key in the TPM: one TPM signature a use.
    Hardware,
    /// A key in the agent's memory that the proof key vouched for, where the role opts in: one TPM signature a token.
    Delegated,
}

/// The answer to a token request. Not printable: the token is bound, but it names people.
#[derive(Deserialize, Serialize)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: String,
    /// `DPoP`.
    pub token_type: String,
    /// Its end, on this machine's clock.
    pub expires_at: Timestamp,
    /// What it allows.
    pub authorization_details: AuthorizationDetails,
    /// How many more its grant gives, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
}

/// `POST /v1/proofs`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    /// The HTTP method of the request to be proved.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// The nonce that the resource asked for (RFC 9449 section 9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Who is to sign; what the role says where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<ProofProtection>,
}

/// The answer to a proof request: what goes into `Authorization: DPoP …` and `DPoP: …`.
#[derive(Deserialize, Serialize)]
pub struct ProofAnswer {
    /// The access token.
    pub access_token: String,
    /// The DPoP proof, for one use.
    pub proof: String,
    /// The token's end, on this machine's clock.
    pub expires_at: Timestamp,
}

/// `POST /v1/git-credentials`: what git said to its helper.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GitCredentialRequest {
    /// `https`, or it is refused.
    pub protocol: String,
    /// Host, with the port where git names one.
    pub host: String,
    /// The repository's path; git sends it with `credential.useHttpPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The `WWW-Authenticate` headers that git passed on (2.41 and later).
    #[serde(default)]
    pub wwwauth: Vec<String>,
    /// Whether git takes `authtype` and `credential` back (2.46 and later).
    #[serde(default)]
    pub authtype: bool,
    /// Whether the helper is configured for this host and no other: then it is ours, and the answer is why there is no credential, not that
    /// the host is nobody's.
    #[serde(default)]
    pub scoped: bool,
}

/// The answer to git.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub enum GitCredential {
    /// For a git that takes it: `Authorization: <authtype> <credential>`.
    Authtype {
        /// `Daypass`.
        authtype: String,
        /// The presentation.
        credential: String,
        /// The token's end.
        expires_at: Timestamp,
    },
    /// For an older git: `Basic`.
    Basic {
        /// Always `daypass`.
        username: String,
        /// The presentation.
        password: String,
        /// The token's end.
        expires_at: Timestamp,
    },
}

/// `POST /v1/git-credentials/erase`: git met a 401 with what it was given.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GitEraseRequest {
    /// As git says it.
    pub protocol: String,
    /// As git says it.
    pub host: String,
    /// As git says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The credential that was refused; nothing is dropped when it is not ours.
    pub secret: String,
}

/// The body of every error answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ErrorAnswer {
    /// The cause, for programs.
    pub error: ErrorCode,
    /// What was attempted and why it failed, for people.
    pub message: String,
    /// What to do about it, for people.
    pub next_step: String,
}

/// Every cause that the agent can name. Closed: the status and the exit code of each stand in one table here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request does not fit the format.
    Malformed,
    /// No such path or method.
    NotFound,
    /// No resource of this user's is at this host: other helpers may know it.
    UnknownHost,
    /// This user has no enrolment with that issuer, or none at all.
    NotEnrolled,
    /// The invitation is truncated, mistyped or no invitation.
    BadInvitation,
    /// The server at the invitation's address is not the issuer that the invitation names.
    WrongIssuer,
    /// The issuer knows no such invitation, or it was used or withdrawn, or is for somebody else or another machine.
    InvitationRefused,
    /// The invitation's time is over.
    InvitationExpired,
    /// The issuer does not accept what the TPM proved.
    AttestationRefused,
    /// The issuer waits for somebody to approve this device.
    DevicePending,
    /// The device is suspended.
    DeviceSuspended,
    /// The device is revoked.
    DeviceRevoked,
    /// The device certificate has expired.
    CertificateExpired,
    /// Nothing is granted there, or less than was asked for.
    NotGranted,
    /// The grant's time has not come.
    GrantNotYet,
    /// The grant's time is over.
    GrantEnded,
    /// The grant is held back.
    GrantSuspended,
    /// The grant gave as many tokens as it gives.
    GrantUsedUp,
    /// The project's briefing is to be read and accepted first.
    BriefingRequired,
    /// The issuer refused for a reason that has no code of its own here.
    RefusedByIssuer,
    /// Plain http, or a path that git was not told to send.
    UnsafeRemote,
    /// The clocks of this machine and the issuer are too far apart.
    ClockSkew,
    /// The issuer cannot be reached.
    IssuerUnreachable,
    /// The gate cannot be reached, or gave no nonce.
    GateUnreachable,
    /// There is no TPM here.
    TpmMissing,
    /// This process may not use the TPM.
    TpmPermission,
    /// The TPM is there and does not do what it should.
    TpmFault,
    /// The keys in the state folder belong to another TPM.
    TpmChanged,
    /// The issuer's ledger is not the one that this machine has seen before.
    LedgerForked,
    /// A token's event is not in the issuer's ledger.
    LedgerLeafMissing,
    /// The issuer says that its store was restored and that events may be gone, and nobody here has accepted it.
    LedgerRestored,
    /// What this machine had kept of the issuer's ledger is gone, and nobody here has accepted it.
    LedgerMemoryLost,
    /// The agent cannot be reached.
    AgentUnreachable,
    /// The agent's configuration or state is broken.
    Configuration,
    /// A fault of the agent's own.
    Internal,
}

impl ErrorCode {
    /// Whether it is the TPM that stands in the way.
    pub const fn is_of_tpm(self) -> bool {
        matches!(self, Self::TpmMissing | Self::TpmPermission | Self::TpmFault | Self::TpmChanged)
    }

    /// The HTTP status of an answer with this code.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::BadInvitation | Self::UnsafeRemote => 400,
            Self::DevicePending
            | Self::DeviceSuspended
            | Self::DeviceRevoked
            | Self::CertificateExpired
            | Self::NotGranted
            | Self::GrantNotYet
            | Self::GrantEnded
            | Self::GrantSuspended
            | Self::GrantUsedUp
            | Self::BriefingRequired
            | Self::RefusedByIssuer
            | Self::InvitationRefused
            | Self::InvitationExpired
            | Self::AttestationRefused
            | Self::WrongIssuer => 403,
            Self::NotFound | Self::UnknownHost | Self::NotEnrolled => 404,
            // How a ledger stands is never an error answer; where it were one, it would contradict what is kept.
            Self::LedgerForked | Self::LedgerLeafMissing | Self::LedgerRestored | Self::LedgerMemoryLost => 409,
            Self::Configuration | Self::Internal | Self::TpmFault | Self::TpmChanged => 500,
            Self::ClockSkew
            | Self::IssuerUnreachable
            | Self::GateUnreachable
            | Self::TpmMissing
            | Self::TpmPermission
            | Self::AgentUnreachable => 503,
        }
    }

    /// The exit code of a command that ends with this cause. 2 is the command line's own.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Malformed | Self::NotFound | Self::UnsafeRemote => 3,
            Self::NotEnrolled | Self::UnknownHost => 4,
            Self::BadInvitation
            | Self::InvitationRefused
            | Self::InvitationExpired
            | Self::WrongIssuer
            | Self::AttestationRefused => 5,
            Self::DevicePending => 6,
            Self::DeviceSuspended | Self::DeviceRevoked | Self::CertificateExpired => 7,
            Self::NotGranted
            | Self::GrantNotYet
            | Self::GrantEnded
            | Self::GrantSuspended
            | Self::GrantUsedUp
            | Self::BriefingRequired
            | Self::RefusedByIssuer => 8,
            Self::ClockSkew => 9,
            Self::IssuerUnreachable | Self::GateUnreachable => 10,
            Self::TpmMissing | Self::TpmPermission | Self::TpmFault | Self::TpmChanged => 11,
            Self::AgentUnreachable => 12,
            Self::Configuration | Self::LedgerMemoryLost => 13,
            Self::LedgerForked => 14,
            Self::LedgerLeafMissing => 15,
            Self::LedgerRestored => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrolments_life_is_one_word() {
        for (life, text) in [
            (EnrolmentLife::Interrupted, "\"interrupted\""),
            (EnrolmentLife::Device(DeviceLife::Pending), "\"pending\""),
            (EnrolmentLife::Device(DeviceLife::Suspended), "\"suspended\""),
        ] {
            assert_eq!(serde_json::to_string(&life).unwrap(), text);
            assert_eq!(serde_json::from_str::<EnrolmentLife>(text).unwrap(), life);
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<TokenRequest>(r#"{"resource":"https://a/","user":"root"}"#).is_err());
    }
}
