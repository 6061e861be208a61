//! The gate's files: keys, certificates, and what it was told when it enrolled.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use daypass_proto::encoding::Bytes;
use daypass_service::{MAX_TEXT, open_file, read_up_to};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

const FILE: &str = "gate.json";
const NONCE_KEY: &str = "nonce.key";

/// Why the gate's state cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// There is none.
    #[error("this gate is not enrolled; run `daypass-gate enrol` with the code of `daypass-issuer gate add`")]
    NotEnrolled,
    /// There is one.
    #[error("`{}` holds an enrolled gate; remove it to enrol anew", .0.display())]
    Enrolled(PathBuf),
    /// A file.
    #[error("could not {attempted} `{}`", path.display())]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that others can read.
    #[error("`{}` can be read by others; run `chmod 600` on it", .0.display())]
    Permissions(PathBuf),
    /// Content.
    #[error("`{}` does not read", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A nonce key of another length.
    #[error("`{}` is not a nonce key of 32 bytes", .0.display())]
    NonceKey(PathBuf),
}

/// A chain and its private key.
#[derive(Clone, Deserialize, Serialize)]
pub struct Identity {
    /// Leaf first, DER.
    pub chain: Vec<Bytes>,
    /// PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
}

/// Everything that an enrolled gate keeps.
#[derive(Clone, Deserialize, Serialize)]
pub struct GateState {
    /// Its registered name.
    pub name: String,
    /// The issuer's identifier.
    pub issuer: String,
    /// The origin of the issuer's mTLS listener.
    pub mtls_url: String,
    /// The issuer's root, DER.
    pub root: Bytes,
    /// For mTLS to the issuer.
    pub client: Identity,
    /// For the gate's own listener, where the operator brought none.
    pub server: Option<Identity>,
}

impl GateState {
    /// Reads it.
    pub fn load(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        let bytes = match read_secret(&path) {
            Err(StateError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::NotEnrolled);
            }
            other => other?,
        };
        serde_json::from_slice(&bytes).map_err(|source| StateError::Content { path, source })
    }

    /// Whether there is one in `folder`.
    pub fn exists(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<(), StateError> {
        let path = folder.join(FILE);
        let content = serde_json::to_vec(self).map_err(|source| StateError::Content { path: path.clone(), source })?;
        write_secret(folder, &path, &Zeroizing::new(content))
    }
}

/// The nonce key: the configured file, or one of the gate's own, made where it is missing.
pub fn nonce_key(folder: &Path, configured: Option<&Path>) -> Result<Zeroizing<[u8; 32]>, StateError> {
    let own = folder.join(NONCE_KEY);
    let path = configured.unwrap_or(&own);
    if configured.is_none() && !own.exists() {
        let mut key = Zeroizing::new([0; 32]);
        daypass_service::random(key.as_mut_slice());
        write_secret(folder, &own, key.as_slice())?;
    }
    let bytes = read_secret(path)?;
    bytes.as_slice().try_into().map(Zeroizing::new).map_err(|_| StateError::NonceKey(path.to_owned()))
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, StateError> {
    let failed = |source| StateError::File { attempted: "read", path: path.to_owned(), source };
    let file = open_file(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(StateError::Permissions(path.to_owned()));
    }
    read_up_to(file, MAX_TEXT).map(Zeroizing::new).map_err(failed)
}

fn write_secret(folder: &Path, path: &Path, content: &[u8]) -> Result<(), StateError> {
    let failed = |source| StateError::File { attempted: "write", path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let new = path.with_extension("new");
    let owner = fs::metadata(folder).map_err(failed)?;
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        // The service reads it, also where root enrolled the gate for it.
        if file.metadata()?.uid() != owner.uid() {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let key = nonce_key(&state, None).unwrap();
        assert_eq!(nonce_key(&state, None).unwrap(), key);
        fs::set_permissions(state.join(NONCE_KEY), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(nonce_key(&state, None), Err(StateError::Permissions(_))));
        let short = folder.path().join("short");
        write_secret(folder.path(), &short, b"x").unwrap();
        assert!(matches!(nonce_key(&state, Some(&short)), Err(StateError::NonceKey(_))));
    }

    #[test]
    fn what_root_writes_belongs_to_the_folder_s_owner() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gate.json");
        // Root alone gives things away; elsewhere the owner is oneself.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::chown(folder.path(), Some(65521), Some(65521)).unwrap();
        }
        write_secret(folder.path(), &file, b"x").unwrap();
        let (folder, file) = (fs::metadata(folder.path()).unwrap(), fs::metadata(&file).unwrap());
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (folder.uid(), folder.gid(), 0o600));
    }

    #[test]
    fn a_gate_that_is_not_enrolled_says_so() {
        assert!(matches!(GateState::load(Path::new("/nonexistent")), Err(StateError::NotEnrolled)));
    }
}
