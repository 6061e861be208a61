//! The newest published checkpoint, in a small file beside the database: a copy of the database that is put back later does not know
//! what was published after it was made, and this file does.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use daypass_proto::ledger::{
    checkpoint::{CheckpointError, Origin, peek},
    tree::Head,
};
use daypass_service::{beside, read_text, sync_folder};
use thiserror::Error;
use tokio::sync::Mutex;

use super::{SqliteStore, engine};
use crate::store::StoreError;

/// Why it is not known what was published.
#[derive(Debug, Error)]
pub enum PublishedError {
    /// The system's reason.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// Something else stands there.
    #[error("it does not read")]
    Malformed(#[from] CheckpointError),
}

/// How many stores this process has opened.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// Whose turn it is to write, and under which name: of its own for each who may write at the same time, in this process or another.
#[derive(Debug)]
pub(super) struct Turn {
    held: Arc<Mutex<()>>,
    suffix: String,
}

impl Default for Turn {
    fn default() -> Self {
        let suffix = format!(".checkpoint.{}-{}.new", process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        Self { held: Arc::default(), suffix }
    }
}

/// Writes it, whole or not at all, away from the threads that serve. In the order of the calls, even where a caller has gone away meanwhile: an
/// older checkpoint must not come to stand over a newer one.
pub(super) async fn remember(turn: &Turn, database: &Path, note: &str) -> Result<(), StoreError> {
    let held = Arc::clone(&turn.held).lock_owned().await;
    let (database, note, new) = (database.to_owned(), note.to_owned(), beside(database, &turn.suffix));
    let written = tokio::task::spawn_blocking(move || {
        let _until_it_is_written = held;
        write(&database, &new, &note)
    });
    let written = written.await.unwrap_or_else(|gone| Err(io::Error::other(gone)));
    written.map_err(|source| engine("remember a checkpoint beside")(sqlx::Error::Io(source)))
}

fn write(database: &Path, new: &Path, note: &str) -> io::Result<()> {
    let at = SqliteStore::published_at(database);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, &at)?;
    sync_folder(&at)
}

impl SqliteStore {
    /// The head that was published last of the store in `database`, and of which ledger; `None` where nothing was published.
    pub fn published(database: &Path) -> Result<Option<(Origin, Head)>, PublishedError> {
        let at = Self::published_at(database);
        match fs::metadata(&at) {
            Ok(file) if file.is_file() => Ok(Some(peek(&read_text(&at)?)?)),
            // A pipe would be waited for.
            Ok(_) => Err(io::Error::other("it is not a regular file").into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the newest published checkpoint of the store in `database` is kept.
    pub fn published_at(database: &Path) -> PathBuf {
        beside(database, ".checkpoint")
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn nobody_is_overtaken_by_whoever_came_later_not_even_when_it_has_gone_away() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("issuer.db");
        let turn = Turn::default();
        let (pipe, same) = (beside(&database, &turn.suffix), folder.path().join("pipe"));
        // Opened for writing, a pipe waits for its reader: a disk that takes its time.
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::hard_link(&pipe, &same).unwrap();
        let mut first = Box::pin(remember(&turn, &database, "first"));
        assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(first);
        let is_taken = turn.held.try_lock().is_err();
        fs::remove_file(&pipe).unwrap();
        let no_waiting = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let reader = OpenOptions::new().read(true).custom_flags(no_waiting).open(&same).unwrap();
        assert!(is_taken, "it is written all the same, and until then it is nobody else's turn");
        remember(&turn, &database, "second").await.unwrap();
        assert_eq!(fs::read_to_string(SqliteStore::published_at(&database)).unwrap(), "second");
        drop(reader);
    }

    #[test]
    fn what_cannot_be_read_is_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("issuer.db");
        let at = SqliteStore::published_at(&database);
        assert!(SqliteStore::published(&database).unwrap().is_none());
        for malformed in [&b""[..], b"nonsense", b"an.origin\n12\n", b"\xff"] {
            fs::write(&at, malformed).unwrap();
            assert!(SqliteStore::published(&database).is_err(), "{malformed:?}");
        }
        fs::remove_file(&at).unwrap();
        fs::create_dir(&at).unwrap();
        assert!(matches!(SqliteStore::published(&database), Err(PublishedError::Unreadable(_))));
        fs::remove_dir(&at).unwrap();
        nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(SqliteStore::published(&database), Err(PublishedError::Unreadable(_))), "a pipe");
    }
}
