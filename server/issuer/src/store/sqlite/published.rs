//! The newest published checkpoint, in a small file beside the database: a copy of the database that is put back later does not know
//! what was published after it was made, and this file does.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use daypass_service::{beside, sync_folder};

use super::{SqliteStore, engine};
use crate::store::StoreError;

/// Writes it, whole or not at all.
pub(super) fn remember(database: &Path, note: &str) -> Result<(), StoreError> {
    let (at, new) = (SqliteStore::published_at(database), beside(database, ".checkpoint.new"));
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
