//! What can go wrong with a TPM, told apart by what somebody can do about it.

use std::time::Duration;

use daypass_proto::local_api::ErrorCode;
use thiserror::Error;
use tss_esapi::{Error as TssError, constants::response_code::Tss2ResponseCodeKind as Kind};

/// Why the TPM did not do it.
#[derive(Clone, Debug, Error)]
pub enum TpmError {
    /// Nothing is there.
    #[error("there is no TPM at `{tcti}`: {why}")]
    NoDevice {
        /// The transport.
        tcti: String,
        /// What was found.
        why: String,
    },
    /// It is there, and this process may not use it.
    #[error("this process may not use the TPM at `{tcti}`")]
    PermissionDenied {
        /// The transport.
        tcti: String,
    },
    /// It does not answer, or the connection broke.
    #[error("lost the TPM at `{tcti}` while trying to {attempted}: {source}")]
    Lost {
        /// The transport.
        tcti: String,
        /// What was attempted.
        attempted: &'static str,
        /// The stack's words.
        source: TssError,
    },
    /// It took too long.
    #[error("the TPM did not answer within {} seconds", .0.as_secs())]
    Deadline(Duration),
    /// It is in lockout, or the owner hierarchy has an authorization that is not known here.
    #[error("the TPM refuses to {attempted}: it is in lockout")]
    Lockout {
        /// What was attempted.
        attempted: &'static str,
    },
    /// Somebody set an owner authorization.
    #[error("the TPM refuses to {attempted}: somebody has set an authorization for its hierarchy")]
    Authorization {
        /// What was attempted.
        attempted: &'static str,
    },
    /// The handle of the storage root key has another key.
    #[error("the TPM holds another kind of key at 0x81000001 than a storage root key")]
    SrkTaken,
    /// The key was made by another TPM, or before this one was cleared.
    #[error("this key belongs to another TPM, or to this one before it was cleared")]
    KeyOfAnotherTpm,
    /// No slots, because others hold them.
    #[error("the TPM has no room to {attempted}: other programs hold its slots")]
    Busy {
        /// What was attempted.
        attempted: &'static str,
    },
    /// Anything else that it says.
    #[error("the TPM could not {attempted}: {source}")]
    Tpm {
        /// What was attempted.
        attempted: &'static str,
        /// The stack's words.
        source: TssError,
    },
    /// It says something that makes no sense here.
    #[error("the TPM gave an answer that does not fit: {0}")]
    Unexpected(&'static str),
    /// The owner thread is gone.
    #[error("the agent no longer talks to the TPM")]
    Stopped,
}

impl TpmError {
    /// From what the stack said while trying to do something.
    pub(super) fn from_tss(attempted: &'static str, source: TssError) -> Self {
        let TssError::Tss2Error(code) = source else { return Self::Tpm { attempted, source } };
        match code.kind() {
            Some(Kind::Lockout) => Self::Lockout { attempted },
            Some(Kind::AuthFail | Kind::BadAuth | Kind::AuthMissing) => Self::Authorization { attempted },
            Some(Kind::Integrity) => Self::KeyOfAnotherTpm,
            Some(
                Kind::ObjectMemory | Kind::SessionMemory | Kind::Memory | Kind::ObjectHandles | Kind::SessionHandles,
            ) => Self::Busy { attempted },
            // Not a TPM's code but the transport's, or handles that a reset took away.
            None
            | Some(
                Kind::Initialize | Kind::Failure | Kind::Handle | Kind::ReferenceH0 | Kind::ReferenceS0 | Kind::Reboot,
            ) => Self::Lost { tcti: String::new(), attempted, source },
            Some(_) => Self::Tpm { attempted, source },
        }
    }

    /// Whether a new connection may help.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// The cause, for programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoDevice { .. } => ErrorCode::TpmMissing,
            Self::PermissionDenied { .. } => ErrorCode::TpmPermission,
            Self::KeyOfAnotherTpm => ErrorCode::TpmChanged,
            Self::Lost { .. }
            | Self::Deadline(_)
            | Self::Lockout { .. }
            | Self::Authorization { .. }
            | Self::SrkTaken
            | Self::Busy { .. }
            | Self::Tpm { .. }
            | Self::Unexpected(_)
            | Self::Stopped => ErrorCode::TpmFault,
        }
    }

    /// What to do about it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::NoDevice { .. } => {
                "switch the TPM on in the firmware's setup (fTPM, PTT); `daypass doctor` says what was found here"
            }
            Self::PermissionDenied { .. } => {
                "run the agent as a member of the group `tss` (`sudo usermod -aG tss $USER`, then log in again)"
            }
            Self::Lost { .. } => {
                "look at the kernel's log for the TPM, or at the service that provides it; the agent connects again by itself"
            }
            Self::Deadline(_) => "try again; a TPM that is busy with others, or failing, takes this long",
            Self::Lockout { .. } => {
                "wait until the lockout is over (`tpm2_getcap properties-variable`), or have the owner clear it"
            }
            Self::Authorization { .. } => "have whoever owns this TPM provision the storage root key at 0x81000001",
            Self::SrkTaken => "have whoever made the key at 0x81000001 move it; Daypass never removes keys of others",
            Self::KeyOfAnotherTpm => {
                "run `daypass leave` and enrol again with a new invitation; keys do not move between machines"
            }
            Self::Busy { .. } => {
                "use the kernel's resource manager (`tcti = \"device:/dev/tpmrm0\"`), or end the program that holds the TPM"
            }
            Self::Tpm { .. } | Self::Unexpected(_) => "run `daypass doctor`, and report this with its output",
            Self::Stopped => "start the agent again",
        }
    }
}
