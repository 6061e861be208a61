//! One connection to the chip, and what is held in it: the storage root key, and keys that stay loaded.
//!
//! A bare TPM has three slots, and a persistent key takes one while it is used. So loading tries, and where there is no room
//! gives up the key that was used longest ago, and tries again. Nothing that a command needed for itself outlives it.

use std::{
    fs::{self, OpenOptions},
    io,
    net::TcpStream,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
};

use nix::fcntl::OFlag;

use tss_esapi::{
    Context, Error as TssError,
    constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK},
    constants::{CapabilityType, response_code::Tss2ResponseCodeKind as Kind},
    handles::{KeyHandle, ObjectHandle, SessionHandle, TpmHandle},
    interface_types::session_handles::AuthSession,
    structures::{CapabilityData, Digest, HashScheme, SignatureScheme},
    tss2_esys::TPMT_TK_HASHCHECK,
};

use super::{
    TpmConfig, error::TpmError, key_file::KeyFile, pace::Pace, signature::is_by, storage::Storage, tcti::Tcti,
};
use crate::file_kind::kind_in_words;

/// A connected chip.
pub struct Connection {
    pub(super) context: Context,
    pub(super) storage: Storage,
    pub(super) pace: Arc<dyn Pace>,
    /// Loaded keys, the one used last at the end.
    pub(super) loaded: Vec<(Vec<u8>, KeyHandle)>,
}

impl Connection {
    /// Connects, clears what an earlier life left in a bare TPM, and looks for the storage root key. Changes nothing, and needs nobody's
    /// authorization.
    pub(super) fn open(config: &TpmConfig, pace: &Arc<dyn Pace>) -> Result<Self, TpmError> {
        probe(&config.tcti)?;
        let missing = |why: String| TpmError::NoDevice { tcti: config.tcti.to_string(), why };
        let name = config.tcti.name_conf().map_err(|error| missing(error.to_string()))?;
        let mut context = Context::new(name).map_err(|error| match config.tcti {
            // Nobody has looked yet whether it is there.
            // The stack has no words for it but a number.
            Tcti::Tabrmd(_) => missing(format!("no `tpm2-abrmd` answers on D-Bus there ({error})")),
            Tcti::Device(_) | Tcti::Swtpm { .. } => TpmError::lost("connect to it", error),
        })?;
        if !config.tcti.is_managed() {
            flush_stale(&mut context)?;
        }
        let storage = Storage::look(&mut context, config.provision_srk)?;
        Ok(Self { context, storage, pace: Arc::clone(pace), loaded: Vec::new() })
    }

    /// Runs `act`; where the chip has no room, gives up loaded keys other than `keep`, one after the other, and tries again.
    pub(super) fn with_room<T>(
        &mut self,
        attempted: &'static str,
        keep: &[KeyHandle],
        mut act: impl FnMut(&mut Context) -> Result<T, TssError>,
    ) -> Result<T, TpmError> {
        loop {
            match act(&mut self.context) {
                Err(error) if is_full(error) => {
                    let Some(oldest) = self.loaded.iter().position(|(_, handle)| !keep.contains(handle)) else {
                        return Err(TpmError::Busy { attempted });
                    };
                    let (_, handle) = self.loaded.remove(oldest);
                    self.flush(handle.into())?;
                }
                other => return other.map_err(|error| TpmError::from_tss(attempted, error)),
            }
        }
    }

    /// Takes something out of the chip. What cannot be taken out goes with the connection.
    pub(super) fn flush(&mut self, object: ObjectHandle) -> Result<(), TpmError> {
        self.context.flush_context(object).map_err(|error| TpmError::lost("make room", error))
    }

    /// Ends a session, as happens on every path: a failed command leaves it open.
    pub(super) fn end(&mut self, session: AuthSession) -> Result<(), TpmError> {
        self.flush(SessionHandle::from(session).into())
    }

    /// Signs a digest with plain authorization.
    pub(super) fn sign(&mut self, key: &KeyFile, digest: [u8; 32]) -> Result<[u8; 64], TpmError> {
        let handle = self.load(key, &[])?;
        let failed = |error| TpmError::from_tss("sign", error);
        let wanted = Digest::try_from(digest.to_vec()).map_err(failed)?;
        // The key is not restricted: no proof that the TPM made the digest is needed (Part 3, section 20.2).
        let ticket = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
        let ticket: tss_esapi::structures::HashcheckTicket = ticket.try_into().map_err(failed)?;
        let signature = self.with_room("sign", &[handle], |context| {
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.sign(handle, wanted.clone(), ecdsa_sha256(), ticket.clone())
            })
        })?;
        is_by(key, digest, &signature)
    }

    /// What the chip says of itself.
    pub(super) fn describe(&mut self) -> Result<String, TpmError> {
        use tss_esapi::constants::PropertyTag as Tag;
        let mut property = |tag| {
            self.context
                .get_tpm_property(tag)
                .map(Option::unwrap_or_default)
                .map_err(|error| TpmError::from_tss("say what it is", error))
        };
        let mut text = |tags: &[Tag]| {
            let bytes: Result<Vec<_>, _> = tags.iter().map(|tag| property(*tag).map(u32::to_be_bytes)).collect();
            bytes.map(|bytes| {
                bytes.concat().into_iter().filter(u8::is_ascii_graphic).map(char::from).collect::<String>()
            })
        };
        let maker = text(&[Tag::Manufacturer])?;
        let model = text(&[Tag::VendorString1, Tag::VendorString2, Tag::VendorString3, Tag::VendorString4])?;
        let (high, low) = (property(Tag::FirmwareVersion1)?, property(Tag::FirmwareVersion2)?);
        Ok(format!("{maker} {model}, firmware {}.{}.{:#x}", high >> 16, high & 0xffff, low))
    }
}

pub(super) fn ecdsa_sha256() -> SignatureScheme {
    SignatureScheme::EcDsa {
        hash_scheme: HashScheme::new(tss_esapi::interface_types::algorithm::HashingAlgorithm::Sha256),
    }
}

fn is_full(error: TssError) -> bool {
    matches!(error, TssError::Tss2Error(code) if matches!(code.kind(), Some(Kind::ObjectMemory | Kind::Memory)))
}

/// A device that can be opened. What is no character device is not even opened: the TPM stack would write its commands into any file.
fn device(path: &Path) -> Result<Result<(), TpmError>, io::Error> {
    let no_device = |kind| TpmError::NoCharacterDevice { path: path.to_owned(), kind: kind_in_words(kind) };
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_char_device() {
        return Ok(Err(no_device(kind)));
    }
    // Neither waits for anybody nor takes a terminal: which device it is, nobody has said yet.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
    // Another one may have been put there meanwhile.
    let kind = opened.metadata()?.file_type();
    Ok(if kind.is_char_device() { Ok(()) } else { Err(no_device(kind)) })
}

/// Why the transport cannot work, before the stack turns it into a number.
fn probe(tcti: &Tcti) -> Result<(), TpmError> {
    let (name, result) = match tcti {
        Tcti::Device(path) => match device(path) {
            Ok(judged) => return judged,
            Err(error) => (tcti.to_string(), Err(error)),
        },
        Tcti::Swtpm { host, port } => (tcti.to_string(), TcpStream::connect((host.as_str(), *port)).map(|_| ())),
        Tcti::Tabrmd(_) => return Ok(()),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(TpmError::PermissionDenied { tcti: name, uid: nix::unistd::geteuid().as_raw() })
        }
        // Somebody else has a bare device open; the stack's own error would be a number.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(TpmError::InUse { tcti: name }),
        Err(error) => Err(TpmError::NoDevice { tcti: name, why: error.to_string() }),
    }
}

/// Without a resource manager, what a killed agent left loaded stays loaded. Nothing else uses a bare TPM beside us for long.
fn flush_stale(context: &mut Context) -> Result<(), TpmError> {
    const TRANSIENT: u32 = 0x8000_0000;
    const LOADED_SESSION: u32 = 0x0200_0000;
    const SAVED_SESSION: u32 = 0x0300_0000;
    let failed = |error| TpmError::from_tss("clear what was left in it", error);
    for first in [TRANSIENT, LOADED_SESSION, SAVED_SESSION] {
        let (found, _) = context.get_capability(CapabilityType::Handles, first, 64).map_err(failed)?;
        let CapabilityData::Handles(handles) = found else { continue };
        for handle in handles.into_inner() {
            match object(context, handle).and_then(|object| context.flush_context(object)).map_err(failed) {
                Err(error) if error.may_pass() => return Err(error),
                Err(error) => tracing::debug!(%error, "a stale object could not be flushed"),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

fn object(context: &mut Context, handle: TpmHandle) -> Result<ObjectHandle, TssError> {
    context.tr_from_tpm_public(handle)
}
