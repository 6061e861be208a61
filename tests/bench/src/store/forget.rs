//! Between rounds a store forgets the tokens of the last one. A device in the world has a few that live, and they are counted for each that is issued;
//! here it would have as many as the bench is quick.

use std::{path::Path, time::Duration};

use daypass_tests::Failure;
use sqlx::{
    ConnectOptions as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use super::sql;

/// A way into a store that is in use.
pub(crate) struct Forgetting {
    connection: SqliteConnection,
    /// The last end of a token of the seed; all others end later.
    seeded: i64,
}

impl Forgetting {
    /// Into a store with no tokens but those of its seed.
    pub(crate) async fn open(database: &Path) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(database)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let mut connection = options.connect().await.map_err(sql)?;
        let seeded = sqlx::query_scalar("SELECT COALESCE(MAX(expires_at), 0) FROM tokens");
        let seeded = seeded.fetch_one(&mut connection).await.map_err(sql)?;
        Ok(Self { connection, seeded })
    }

    /// Forgets every token since.
    pub(crate) async fn forget(&mut self) -> Result<(), Failure> {
        let forget = sqlx::query("DELETE FROM tokens WHERE expires_at > $1").bind(self.seeded);
        forget.execute(&mut self.connection).await.map(drop).map_err(sql)
    }
}
