//! Who uses the store: everybody who has it open shares a lock on a file beside it, and whoever replaces it must hold that lock alone.
//! The database's own locks cannot say that of a file which is damaged.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use daypass_service::beside;

use super::SqliteStore;
use crate::store::StoreError;

/// The lock of somebody who uses the store.
pub(super) fn share(database: &Path) -> Result<File, StoreError> {
    lock(database, File::try_lock_shared)
}

/// The lock of somebody who replaces it.
pub(super) fn alone(database: &Path) -> Result<File, StoreError> {
    lock(database, File::try_lock)
}

fn lock(database: &Path, by: impl FnOnce(&File) -> Result<(), TryLockError>) -> Result<File, StoreError> {
    let path = SqliteStore::lock_at(database);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    // On a read-only disk the lock of earlier times serves as well.
    let file = match file.or_else(|error| File::open(&path).map_err(|_| error)) {
        Ok(file) => file,
        Err(source) => return Err(StoreError::Lock { path, source }),
    };
    match by(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(database.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::Lock { path, source }),
    }
}

impl SqliteStore {
    /// Where the lock of the store in `database` is.
    pub fn lock_at(database: &Path) -> PathBuf {
        beside(database, ".lock")
    }
}
