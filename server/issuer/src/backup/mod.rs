//! Backup and restore: one file with everything that an issuer is, but for the keys that must lie elsewhere.
//!
//! The file is a tar archive, so that anybody can look into it: configuration, root certificate, policy, EK roots, the store as it
//! was at one moment, and last a manifest with the hash of each. An archive without its manifest is not whole, and is not restored.
//! The root key and the master key are in it only where somebody asked for that: whoever finds a backup has no issuer then.

mod restore;
mod write;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use daypass_proto::{encoding::Fixed, time::Timestamp};
use daypass_service::folder_of;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    restore::{Restore, restore},
    write::{Include, back_up},
};
use crate::{
    config::{Config, ConfigError},
    keys::KeyError,
    policy::FOLDERS,
    store::{DecideError, StoreError},
};

/// The version of the archive.
const VERSION: u32 = 1;
/// Members other than the store are small; a larger one is not ours.
const MAX_SMALL: u64 = 16 * 1024 * 1024;

const CONFIG: &str = "issuer.toml";
const ROOT: &str = "root.pem";
const STORE: &str = "issuer.db";
const MASTER_KEY: &str = "master.key";
const ROOT_KEY: &str = "root.key";
const EK_ROOTS: &str = "ek_roots";
const POLICY: &str = "policy";
const MANIFEST: &str = "manifest.json";

/// Why there is no backup, or nothing was restored.
#[derive(Debug, Error)]
pub enum BackupError {
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
    /// There is one of this name.
    #[error("`{}` exists already; a backup is never written over another file", .0.display())]
    Exists(PathBuf),
    /// The archive ends early, or is none.
    #[error("`{}` is not a whole backup: {why}; use another one", path.display())]
    NotWhole {
        /// Which.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// The store is there.
    #[error(
        "there is a store at `{}`; pass `--replace` to put the backup in its place (it is kept beside, under another name)",
        .0.display()
    )]
    StoreExists(PathBuf),
    /// Of another issuer.
    #[error("this is a backup of the issuer `{theirs}`, and `{}` says `{ours}`", path.display())]
    OtherIssuer {
        /// The backup's.
        theirs: String,
        /// The configuration's.
        ours: String,
        /// The configuration.
        path: PathBuf,
    },
    /// Under another root.
    #[error("`{}` is another root than the backup's: every device and gate trusts one of both only; move it away to restore", .0.display())]
    OtherRoot(PathBuf),
    /// The checkpoint that was given is none.
    #[error("`{}` is not a checkpoint; `daypass ledger show` prints one, and so does whoever else follows the ledger", .0.display())]
    Checkpoint(PathBuf),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event.
    #[error("could not record what was restored")]
    Decide(#[from] DecideError),
}

impl BackupError {
    /// 1 for faults of the machine, 3 for what was refused, 4 for configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Store(_) | Self::Decide(_) => 1,
            Self::Exists(_)
            | Self::NotWhole { .. }
            | Self::StoreExists(_)
            | Self::OtherIssuer { .. }
            | Self::OtherRoot(_)
            | Self::Checkpoint(_) => 3,
            Self::Config(_) | Self::Key(_) => 4,
        }
    }
}

fn failed(attempted: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { attempted, path, source }
}

/// The folders whose files come along: what their names in the archive begin with, and where they are.
fn folders(config: &Config) -> Vec<(String, PathBuf)> {
    let policy = FOLDERS.map(|name| (format!("{POLICY}/{name}/"), config.policy.join(name)));
    policy.into_iter().chain([(format!("{EK_ROOTS}/"), config.ek_roots.clone())]).collect()
}

/// The last member: what must be there, and how it was.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    made_at: Timestamp,
    issuer: String,
    files: BTreeMap<String, Fixed<32>>,
}

/// Passes bytes on and hashes them.
struct Hashing<R> {
    from: R,
    hash: Context,
}

impl<R: Read> Hashing<R> {
    fn new(from: R) -> Self {
        Self { from, hash: Context::new(&SHA256) }
    }

    fn finish(self) -> Fixed<32> {
        let mut bytes = [0; 32];
        for (byte, value) in bytes.iter_mut().zip(self.hash.finish().as_ref()) {
            *byte = *value;
        }
        Fixed(bytes)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// A new file for its owner alone.
fn create(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("make", path))
}

fn remove_if_there(path: &Path) -> Result<(), BackupError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(source)),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), BackupError> {
    daypass_service::sync_folder(path).map_err(failed("make durable", folder_of(path)))
}

#[cfg(test)]
mod tests;
