//! What an agent keeps on disk: a folder for each user and issuer, with three key files that are useless elsewhere and one record.
//! Tokens are never here.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use daypass_proto::{
    encoding::{Bytes, Fixed, sha256},
    enrolment::DeviceState,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    tpm::{DeviceKeys, KeyFile, KeyFileError},
    warning::Said,
};

const RECORD: &str = "enrolment.json";

/// Why the state cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// A file or folder.
    #[error("could not {attempted} `{}`: {source}", path.display())]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A state folder that is not the agent's alone.
    #[error(
        "the state folder `{}` is open to others (mode {mode:04o}): close it (`chmod 700 {}`), or name another `state_dir`",
        path.display(), path.display()
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A record that does not read.
    #[error("the record `{}` does not read: {source}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key file that does not read.
    #[error("the key file `{}` does not read: {source}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyFileError,
    },
}

/// What is known of an enrolment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// The issuer's identifier.
    pub issuer: String,
    /// Which invitation it was begun with: its secret, hashed.
    pub invitation: Fixed<32>,
    /// What completion gave; `None` while interrupted.
    pub completed: Option<Completed>,
}

/// What completion gave, and what was heard since.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Completed {
    /// The issuer's root, DER.
    pub root: Bytes,
    /// Device certificate and device CA, DER.
    pub chain: Vec<Bytes>,
    /// The device as the issuer last described it.
    pub device: DeviceState,
    /// Issuer's clock minus this machine's, in seconds, where it is known.
    pub clock_offset: Option<i64>,
    /// When the issuer was last heard.
    pub last_contact: Timestamp,
    /// Whether something was kept of the issuer's ledger: then it must be there.
    #[serde(default)]
    pub follows_ledger: bool,
    /// Which warnings were said at a tool's use.
    #[serde(default)]
    pub said: Vec<Said>,
}

/// The folder of one user's enrolment with one issuer.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder for (issuer, uid).
    pub fn new(state_dir: &Path, uid: u32, issuer: &str) -> Self {
        let name = hex::encode(sha256(&[issuer.as_bytes()]).get(..16).unwrap_or_default());
        Self(state_dir.join(uid.to_string()).join(name))
    }

    /// Every folder below `state_dir`, with its uid.
    pub fn all(state_dir: &Path) -> Result<Vec<(u32, Self)>, StateError> {
        let mut found = Vec::new();
        for user in entries(state_dir)? {
            let Some(uid) = user.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
                continue;
            };
            found.extend(
                entries(&user)?.into_iter().filter(|path| path.join(RECORD).exists()).map(|path| (uid, Self(path))),
            );
        }
        Ok(found)
    }

    /// The record.
    pub fn record(&self) -> Result<Option<Record>, StateError> {
        let path = self.0.join(RECORD);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|source| StateError::Record { path, source }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::File { attempted: "read", path, source }),
        }
    }

    /// Writes the record, whole or not at all.
    pub fn save_record(&self, record: &Record) -> Result<(), StateError> {
        let path = self.0.join(RECORD);
        let bytes =
            serde_json::to_vec_pretty(record).map_err(|source| StateError::Record { path: path.clone(), source })?;
        self.write(&path, &bytes)
    }

    /// The key files, where all three are there.
    pub fn keys(&self) -> Result<Option<DeviceKeys>, StateError> {
        let read = |role: &str| {
            let path = self.0.join(format!("{role}.tss"));
            match fs::read_to_string(&path) {
                Ok(pem) => KeyFile::from_pem(&pem).map(Some).map_err(|source| StateError::Key { path, source }),
                Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(StateError::File { attempted: "read", path, source }),
            }
        };
        match (read("attestation")?, read("identity")?, read("proof")?) {
            (Some(attestation), Some(identity), Some(proof)) => Ok(Some(DeviceKeys { attestation, identity, proof })),
            _ => Ok(None),
        }
    }

    /// Writes the key files.
    pub fn save_keys(&self, keys: &DeviceKeys) -> Result<(), StateError> {
        for (role, key) in [("attestation", &keys.attestation), ("identity", &keys.identity), ("proof", &keys.proof)] {
            let path = self.0.join(format!("{role}.tss"));
            let pem = key.to_pem().map_err(|source| StateError::Key { path: path.clone(), source })?;
            self.write(&path, pem.as_bytes())?;
        }
        Ok(())
    }

    /// Erases everything: the keys exist nowhere else.
    pub fn erase(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StateError::File { attempted: "erase", path: self.0.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Where a file of this name is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file for its owner alone, whole or not at all.
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> Result<(), StateError> {
        let failed = |source| StateError::File { attempted: "write", path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed)?;
        // A temporary file is 0600 from its birth on.
        let mut file = tempfile::NamedTempFile::new_in(&self.0).map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        fs::File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let failed = |source| StateError::File { attempted: "list", path: folder.to_owned(), source };
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect(),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(failed(source)),
    }
}

/// Makes the state folder, closed to others. One that is there has to be: whose it was meant to be, only its owner knows.
pub fn prepare(state_dir: &Path) -> Result<(), StateError> {
    let failed = |attempted| move |source| StateError::File { attempted, path: state_dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed("make"))?;
    let mode = fs::metadata(state_dir).map_err(failed("look at"))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(StateError::Open { path: state_dir.to_owned(), mode }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_there_is_refused_and_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("made/state");
        prepare(&state).unwrap();
        let mode = || fs::metadata(&state).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        for open in [0o755, 0o710, 0o701, 0o770] {
            fs::set_permissions(&state, fs::Permissions::from_mode(open)).unwrap();
            let refused = prepare(&state).unwrap_err().to_string();
            assert!(refused.contains(&format!("mode {open:04o}")) && refused.contains("chmod 700"), "{refused}");
            assert_eq!(mode(), open);
        }
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        prepare(&state).unwrap();
    }

    #[test]
    fn users_and_issuers_are_apart_and_private() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path(), 1000, "https://a");
        assert_ne!(folder.0, Folder::new(state.path(), 1000, "https://b").0);
        assert_ne!(folder.0, Folder::new(state.path(), 1001, "https://a").0);
        assert!(folder.record().unwrap().is_none() && folder.keys().unwrap().is_none());
        let record = Record { issuer: "https://a".into(), invitation: Fixed([1; 32]), completed: None };
        folder.save_record(&record).unwrap();
        assert_eq!(folder.record().unwrap().unwrap().issuer, "https://a");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.0.join(RECORD))), (0o700, 0o600));
        assert_eq!(Folder::all(state.path()).unwrap().len(), 1);
        folder.erase().unwrap();
        folder.erase().unwrap();
        assert!(Folder::all(state.path()).unwrap().is_empty());
    }
}
