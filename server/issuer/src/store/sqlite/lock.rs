//! Who uses the store: everybody who has it open shares a lock on a file beside it, and whoever replaces it must hold that lock alone.
//! The database's own locks cannot say that of a file which is damaged.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::store::StoreError;

fn open(database: &Path) -> Result<(PathBuf, File), StoreError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    // On a read-only disk the lock of earlier times serves as well.
    match file.or_else(|error| File::open(&path).map_err(|_| error)) {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(StoreError::Lock { path, source }),
    }
}

/// The lock of somebody who uses the store.
pub(super) fn share(database: &Path) -> Result<File, StoreError> {
    let (path, file) = open(database)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(database.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::Lock { path, source }),
    }
}

/// The lock of somebody who replaces it.
pub(super) fn alone(database: &Path) -> Result<File, StoreError> {
    let (path, file) = open(database)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(database.to_owned())),
        Err(TryLockError::Error(source)) => Err(StoreError::Lock { path, source }),
    }
}
