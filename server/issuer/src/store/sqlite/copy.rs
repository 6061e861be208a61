//! The store as a file: a consistent copy while others write, and whether a file is what was written.

use std::{fs::File, path::Path, str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use super::{SqliteStore, engine, lock};
use crate::store::{Fault, StoreError};

/// How long others may take until this gets its turn.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(path: &Path, read_only: bool) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::from_str("sqlite:").map_err(engine("read the path"))?;
    options
        .filename(path)
        .read_only(read_only)
        .busy_timeout(PATIENCE)
        .connect()
        .await
        .map_err(engine("open the database"))
}

impl SqliteStore {
    /// Writes a copy of the store as it is at one moment; others go on writing. It has no free pages, so nothing that was erased is in it.
    pub async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        let _lock = lock::share(from)?;
        let mut connection = open(from, true).await?;
        let copied = sqlx::query("VACUUM INTO $1").bind(to.display().to_string()).execute(&mut connection).await;
        // Whether it closes well or not, the copy is there or not.
        let _ = connection.close().await;
        copied.map(drop).map_err(engine("copy what is"))
    }

    /// Writes the whole file anew, so that nothing that was erased is left in unused space: pages that were divided or emptied keep what they had.
    /// Decisions wait meanwhile.
    pub async fn compact(path: &Path) -> Result<(), StoreError> {
        let _lock = lock::share(path)?;
        let failed = engine("write the store anew");
        let mut connection = open(path, false).await?;
        let compacted = async {
            sqlx::query("VACUUM").execute(&mut connection).await?;
            sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await
        };
        let compacted = compacted.await;
        let _ = connection.close().await;
        match compacted.map_err(failed)? {
            0 => Ok(()),
            // Somebody reads, and the former pages stand in the log as long.
            _ => Err(StoreError::Busy),
        }
    }

    /// Looks at every page and every reference of the file; the error names the first faults.
    pub async fn examine(path: &Path) -> Result<(), StoreError> {
        let _lock = lock::share(path)?;
        let mut connection = open(path, true).await?;
        let examined = examine(&mut connection).await;
        let _ = connection.close().await;
        examined
    }

    /// The lock of somebody who replaces the store; nobody else may have it open meanwhile.
    pub fn hold_alone(path: &Path) -> Result<File, StoreError> {
        lock::alone(path)
    }
}

async fn examine(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = engine("examine what is");
    let found: Result<Vec<String>, _> =
        sqlx::query_scalar("PRAGMA integrity_check(3)").fetch_all(&mut *connection).await;
    let found = match found {
        Err(source) if Fault::of(&source) == Fault::Damaged => return Err(StoreError::Damaged(source.to_string())),
        found => found.map_err(&failed)?,
    };
    if found != ["ok"] {
        return Err(StoreError::Damaged(found.join("; ").replace('\n', " ")));
    }
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut *connection).await.map_err(&failed)?;
    match dangling {
        None => Ok(()),
        Some(_) => Err(StoreError::Damaged("a record refers to one that is missing".to_owned())),
    }
}
