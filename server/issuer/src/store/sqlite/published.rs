//! The newest published checkpoint, in a small file beside the database: a copy of the database that is put back later does not know
//! what was published after it was made, and this file does.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, PoisonError},
};

use daypass_service::{beside, sync_folder};

use super::{SqliteStore, engine};
use crate::store::StoreError;

/// Held while one is written: two at once would take each other's new file away.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes it, whole or not at all. Other processes may do the same at the same time, each by a new file of its own.
pub(super) fn remember(database: &Path, note: &str) -> Result<(), StoreError> {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let new = beside(database, &format!(".checkpoint.{}.new", process::id()));
    let at = SqliteStore::published_at(database);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &at)?;
        sync_folder(&at)
    };
    write().map_err(|source| engine("remember a checkpoint beside")(sqlx::Error::Io(source)))
}

impl SqliteStore {
    /// Where the newest published checkpoint of the store in `database` is kept.
    pub fn published_at(database: &Path) -> PathBuf {
        beside(database, ".checkpoint")
    }
}
