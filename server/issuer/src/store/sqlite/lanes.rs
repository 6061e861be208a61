//! Connections for the read that every request makes.
//!
//! A pool asks a connection whether it is well before and after each use, and each question is a way to the connection's thread and back: more work than
//! the read itself. These are taken and put back as they are, and thrown away after a fault.

use std::sync::{Mutex, PoisonError};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Semaphore;

/// A few connections to one file.
pub(super) struct Lanes {
    options: SqliteConnectOptions,
    places: Semaphore,
    free: Mutex<Vec<SqliteConnection>>,
}

impl Lanes {
    /// At most `count` of them, opened when they are needed.
    pub(super) fn new(options: SqliteConnectOptions, count: usize) -> Self {
        Self { options, places: Semaphore::new(count), free: Mutex::default() }
    }

    /// Does `work` on one of them. A connection whose work failed or was given up is not used again.
    pub(super) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let _place = self.places.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        let done = work(&mut connection).await?;
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(done)
    }

    /// Closes them.
    pub(super) async fn close(self) {
        for connection in self.free.into_inner().unwrap_or_else(PoisonError::into_inner) {
            // What was read is read.
            let _ = connection.close().await;
        }
    }
}
