//! What can go wrong with a TPM, told apart by what somebody can do about it.

use std::{path::PathBuf, time::Duration};

use daypass_proto::local_api::ErrorCode;
use thiserror::Error;
use tss_esapi::{
    Error as TssError,
    constants::response_code::{Tss2ResponseCode, Tss2ResponseCodeKind as Kind},
};

/// Whose authorization the chip asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authorized {
    /// The owner hierarchy's: making a primary, making one persistent.
    Owner,
    /// The endorsement hierarchy's: activating a credential, making an EK that is not persistent.
    Endorsement,
    /// The storage root key's: loading and making keys below it.
    StorageRootKey,
    /// Something else's.
    Other,
}

impl Authorized {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Owner => {
                "the owner hierarchy has a password, and the TPM has no storage root key at 0x81000001 that does without it"
            }
            Self::Endorsement => "the endorsement hierarchy has a password",
            Self::StorageRootKey => "the storage root key at 0x81000001 has a password",
            Self::Other => "it asks for an authorization that Daypass does not have",
        }
    }

    /// What to do about it.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Owner => {
                "have whoever knows the owner's password make the storage root key: `tpm2_createprimary -C o -P PASSWORD -G ecc256 -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt' -c srk.ctx`, then `tpm2_evictcontrol -C o -P PASSWORD -c srk.ctx 0x81000001`"
            }
            Self::Endorsement => {
                "have whoever set it take it away while this machine enrols (`tpm2_changeauth -c endorsement -p PASSWORD`); an enrolled machine does without it"
            }
            Self::StorageRootKey => {
                "have whoever made that key make it anew with an empty password; the agent tries again by itself, within ten minutes"
            }
            Self::Other => "run `daypass doctor`, and report this with its output",
        }
    }
}

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
    /// Something else is there.
    #[error("`{}` is {kind}, and no TPM's device", path.display())]
    NoCharacterDevice {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It is there, and this process may not use it.
    #[error("the agent (uid {uid}) may not use the TPM at `{tcti}`")]
    PermissionDenied {
        /// The transport.
        tcti: String,
        /// Whom the agent runs as.
        uid: u32,
    },
    /// It is there, and gives itself to one program at a time.
    #[error("another program holds the TPM at `{tcti}`, which serves one at a time")]
    InUse {
        /// The transport.
        tcti: String,
    },
    /// It does not answer, the connection broke, or what it answers is no answer.
    #[error("lost the TPM at `{tcti}` while trying to {attempted}: {why}")]
    Lost {
        /// The transport.
        tcti: String,
        /// What was attempted.
        attempted: &'static str,
        /// The stack's words.
        why: String,
    },
    /// It took too long.
    #[error("the TPM did not answer within {} seconds", .0.as_secs())]
    Deadline(Duration),
    /// It took far too long, more than once.
    #[error("the TPM hangs: it has not answered to what it was asked before")]
    Hangs,
    /// It asked for patience, for longer than there is.
    #[error("the TPM puts it off to {attempted}, again and again: {source}")]
    PutOff {
        /// What was attempted.
        attempted: &'static str,
        /// Its reason.
        source: TssError,
    },
    /// It stopped working.
    #[error("the TPM is in failure mode, and could not {attempted}")]
    Failed {
        /// What was attempted.
        attempted: &'static str,
    },
    /// It is in lockout.
    #[error("the TPM refuses to {attempted}: it is in lockout, after too many wrong authorizations")]
    Lockout {
        /// What was attempted.
        attempted: &'static str,
    },
    /// Somebody set an authorization.
    #[error("the TPM refuses to {attempted}: {}", .of.in_words())]
    Authorization {
        /// What was attempted.
        attempted: &'static str,
        /// For what.
        of: Authorized,
    },
    /// The firmware or somebody else switched a hierarchy off.
    #[error("the TPM refuses to {attempted}: the hierarchy that it needs is switched off")]
    Disabled {
        /// What was attempted.
        attempted: &'static str,
    },
    /// The handle of the storage root key has another key, and ours were made below the one before.
    #[error("another key is at 0x81000001 now than the storage root key that this machine's keys were made below")]
    SrkTaken,
    /// The key was made by another TPM, or before this one was cleared; nothing says which.
    #[error("this machine's keys belong to another TPM, or to this one before it was cleared")]
    KeyOfAnotherTpm,
    /// The key was made by another TPM.
    #[error("this machine's keys were made by another TPM: this one has another endorsement key")]
    Moved,
    /// The TPM was cleared.
    #[error("this machine's TPM was cleared after its keys were made: it has the same endorsement key and new storage")]
    Cleared,
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
    /// The owner thread ended over this request; another takes the next one.
    #[error("the agent's thread for the TPM ended over this request")]
    Stopped,
}

/// Whether a code is the TPM's own, or a resource manager's in its name; everything else is the stack's or the transport's. The binding
/// reads codes of either kind alike, and shows the layer (TSS 2.0 Overview, section 3.4.1) in its words only.
fn is_of_tpm(code: Tss2ResponseCode) -> bool {
    const RESOURCE_MANAGER_FOR_TPM: u32 = 11;
    let shown = match code {
        Tss2ResponseCode::Success => return true,
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    let raw = shown.rsplit_once("0x").and_then(|(_, hex)| u32::from_str_radix(hex, 16).ok());
    raw.is_some_and(|raw| matches!(raw >> 16, 0 | RESOURCE_MANAGER_FOR_TPM))
}

impl TpmError {
    /// From what the stack said while trying to do something.
    pub(super) fn from_tss(attempted: &'static str, source: TssError) -> Self {
        let TssError::Tss2Error(code) = source else { return Self::Tpm { attempted, source } };
        let kind = code.kind().filter(|_| is_of_tpm(code));
        match kind {
            Some(Kind::Lockout) => Self::Lockout { attempted },
            Some(Kind::AuthFail | Kind::BadAuth | Kind::AuthMissing) => {
                Self::Authorization { attempted, of: Authorized::Other }
            }
            Some(Kind::Hierarchy) => Self::Disabled { attempted },
            Some(Kind::Failure) => Self::Failed { attempted },
            Some(
                Kind::Retry
                | Kind::Yielded
                | Kind::Testing
                | Kind::Canceled
                | Kind::NvRate
                | Kind::NvUnavailable
                | Kind::NeedsTest,
            ) => Self::PutOff { attempted, source },
            Some(
                Kind::ObjectMemory | Kind::SessionMemory | Kind::Memory | Kind::ObjectHandles | Kind::SessionHandles,
            ) => Self::Busy { attempted },
            // Not a TPM's code but the transport's, or handles that a reset took away.
            None
            | Some(
                Kind::Initialize
                | Kind::Handle
                | Kind::ReferenceH0
                | Kind::ReferenceH1
                | Kind::ReferenceS0
                | Kind::ReferenceS1
                | Kind::ReferenceS2
                | Kind::ContextGap
                | Kind::Reboot,
            ) => Self::lost(attempted, source),
            Some(_) => Self::Tpm { attempted, source },
        }
    }

    /// A connection that is of no more use.
    pub(super) fn lost(attempted: &'static str, why: impl ToString) -> Self {
        Self::Lost { tcti: String::new(), attempted, why: why.to_string() }
    }

    /// The same, where it is known whose authorization the command takes.
    pub(super) fn with_authorization_of(self, of: Authorized) -> Self {
        match self {
            Self::Authorization { attempted, .. } => Self::Authorization { attempted, of },
            other => other,
        }
    }

    /// Whether a new connection may help.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// Whether the chip and we may not mean the same thing.
    pub(super) fn makes_no_sense(&self) -> bool {
        matches!(self, Self::Tpm { .. } | Self::Unexpected(_))
    }

    /// Whether waiting may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::PutOff { .. } | Self::Busy { .. } | Self::InUse { .. })
    }

    /// Whether it is about one enrolment's keys, and not about the chip.
    pub fn is_of_keys(&self) -> bool {
        matches!(self, Self::SrkTaken | Self::KeyOfAnotherTpm | Self::Moved | Self::Cleared)
    }

    /// The cause, for programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoDevice { .. } | Self::NoCharacterDevice { .. } => ErrorCode::TpmMissing,
            Self::PermissionDenied { .. } => ErrorCode::TpmPermission,
            Self::KeyOfAnotherTpm | Self::Moved | Self::Cleared => ErrorCode::TpmChanged,
            Self::InUse { .. }
            | Self::Lost { .. }
            | Self::Deadline(_)
            | Self::Hangs
            | Self::PutOff { .. }
            | Self::Failed { .. }
            | Self::Lockout { .. }
            | Self::Authorization { .. }
            | Self::Disabled { .. }
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
            Self::NoDevice { tcti, .. } if tcti.starts_with("swtpm") => {
                "start the software TPM, or correct `tcti` in the agent's configuration"
            }
            Self::NoDevice { tcti, .. } if tcti.starts_with("tabrmd") => {
                "start the resource manager (`systemctl start tpm2-abrmd`), or use the kernel's: `tcti = \"device:/dev/tpmrm0\"`"
            }
            Self::NoCharacterDevice { .. } => {
                "correct `tcti` in the agent's configuration: usually it is `device:/dev/tpmrm0`; then start the agent again"
            }
            Self::NoDevice { .. } => {
                "switch the TPM on in the firmware's setup (fTPM, PTT); `daypass doctor` says what was found here"
            }
            Self::PermissionDenied { .. } => {
                "make the user that the agent runs as a member of the group `tss` (`sudo usermod -aG tss USER`), and start the agent again"
            }
            Self::InUse { .. } => {
                "use the kernel's resource manager (`tcti = \"device:/dev/tpmrm0\"`), which many can share, or end the other program"
            }
            Self::Lost { .. } => {
                "look at the kernel's log for the TPM, or at the service that provides it; the agent connects again by itself"
            }
            Self::Deadline(_) => "try again; a TPM that is busy with others, or failing, takes this long",
            Self::Hangs => {
                "look at the kernel's log (`journalctl -k -g tpm`); if it stays so, switch the machine off and on"
            }
            Self::PutOff { .. } => {
                "try again in a minute: the TPM is testing itself or busy; if it stays so, switch the machine off and on"
            }
            Self::Failed { .. } => {
                "switch the machine off and on, a restart may not be enough; if it comes back, the chip is broken"
            }
            Self::Lockout { .. } => {
                "wait until the lockout is over (`tpm2_getcap properties-variable` says when), or have it ended (`tpm2_dictionarylockout --clear-lockout`); with a standard storage root key at 0x81000001, one with `noda`, no lockout touches Daypass"
            }
            Self::Authorization { of, .. } => of.next_step(),
            Self::Disabled { .. } => "switch the TPM's storage and endorsement hierarchies on in the firmware's setup",
            Self::SrkTaken => {
                "have whoever put the key there put the old one back; if that one is gone, run `daypass leave` and enrol again with a new invitation"
            }
            Self::KeyOfAnotherTpm | Self::Moved => {
                "run `daypass leave` and enrol again with a new invitation; keys do not move between machines"
            }
            Self::Cleared => {
                "run `daypass leave` and enrol again with a new invitation; what was cleared does not come back"
            }
            Self::Busy { .. } => {
                "use the kernel's resource manager (`tcti = \"device:/dev/tpmrm0\"`), or end the program that holds the TPM"
            }
            Self::Tpm { .. } | Self::Unexpected(_) => "run `daypass doctor`, and report this with its output",
            Self::Stopped => "try again; if it comes back, report this with the agent's log",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_has_the_exact_words() {
        let page = include_str!("../../../docs/operations.md");
        let (tcti, attempted, why) = ("…".to_owned(), "…", "…".to_owned());
        let source = TssError::WrapperError(tss_esapi::WrapperErrorKind::InternalError);
        let refused = |of| TpmError::Authorization { attempted, of };
        let all = [
            TpmError::NoDevice { tcti: tcti.clone(), why: why.clone() },
            TpmError::NoCharacterDevice { path: tcti.clone().into(), kind: "…" },
            TpmError::PermissionDenied { tcti: tcti.clone(), uid: 7 },
            TpmError::InUse { tcti: tcti.clone() },
            TpmError::Lost { tcti, attempted, why },
            TpmError::Deadline(Duration::from_secs(5)),
            TpmError::Hangs,
            TpmError::PutOff { attempted, source },
            TpmError::Failed { attempted },
            TpmError::Lockout { attempted },
            refused(Authorized::Owner),
            refused(Authorized::Endorsement),
            refused(Authorized::StorageRootKey),
            TpmError::Disabled { attempted },
            TpmError::SrkTaken,
            TpmError::Moved,
            TpmError::Cleared,
            TpmError::Busy { attempted },
        ];
        for error in all {
            let words = error.to_string().replace("uid 7", "uid N").replace(&source.to_string(), "…");
            assert!(page.contains(&words), "{words}");
            assert!(!error.next_step().is_empty());
        }
    }

    #[test]
    fn what_to_do_is_about_the_transport_that_is_missing() {
        let step = |tcti: &str| TpmError::NoDevice { tcti: tcti.to_owned(), why: String::new() }.next_step();
        assert!(step("device:/dev/tpmrm0").contains("firmware"));
        assert!(step("swtpm:host=127.0.0.1,port=2321").contains("software TPM"));
        for tcti in ["tabrmd", "tabrmd:bus_type=system"] {
            assert!(step(tcti).contains("tpm2-abrmd"));
        }
    }
}
