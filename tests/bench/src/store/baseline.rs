//! The baselines: the same rows into the same tables of another file on the same disk, by a loop over plain statements, synchronised as fully.

use std::{path::Path, time::Duration};

use daypass_proto::ledger::leaf_hash;
use daypass_tests::Failure;
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    issued::{Issued, Issuing},
    sql,
};
use crate::rounds::{Sample, Stopwatch, own_busy};

/// What one commit carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Commit {
    /// One row: the event.
    Row,
    /// All rows of so many decisions.
    Decisions(usize),
}

/// A file to write to.
pub(crate) struct Baseline {
    connection: SqliteConnection,
    issuing: Issuing,
}

impl Baseline {
    pub(crate) async fn open(database: &Path, issuing: Issuing) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(database)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let connection = SqliteConnection::connect_with(&options).await.map_err(sql)?;
        Ok(Self { connection, issuing })
    }

    /// Writes at least `count`, one commit after the other.
    pub(crate) async fn round(&mut self, commit: Commit, count: usize) -> Result<Sample, Failure> {
        let (watch, mut done) = (Stopwatch::start(own_busy()?), 0);
        while done < count {
            done += self.commit(commit).await.map_err(sql)?;
        }
        Ok(watch.sample(done, watch.elapsed(), own_busy()?))
    }

    async fn commit(&mut self, commit: Commit) -> Result<usize, sqlx::Error> {
        match commit {
            Commit::Row => {
                write_event(&mut self.connection, &self.issuing.issued()).await?;
                Ok(1)
            }
            Commit::Decisions(count) => {
                let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
                for _ in 0..count {
                    write(&mut transaction, &self.issuing.issued()).await?;
                }
                transaction.commit().await?;
                Ok(count)
            }
        }
    }
}

/// Gives the event's row.
async fn write_event(connection: &mut SqliteConnection, issued: &Issued) -> Result<i64, sqlx::Error> {
    let leaf = issued.event.leaf();
    sqlx::query("INSERT INTO events (leaf_hash, kind, at, leaf) VALUES ($1, 'token_issued', $2, $3)")
        .bind(leaf_hash(&leaf).to_vec())
        .bind(issued.event.at().seconds())
        .bind(leaf)
        .execute(connection)
        .await
        .map(|done| done.last_insert_rowid())
}

async fn write(connection: &mut SqliteConnection, issued: &Issued) -> Result<(), sqlx::Error> {
    let event = write_event(connection, issued).await?;
    for (name, field) in issued.event.personal_fields() {
        sqlx::query("INSERT INTO personal_fields (event, name, salt, value) VALUES ($1, $2, $3, $4)")
            .bind(event)
            .bind(*name)
            .bind(field.salt.to_vec())
            .bind(field.value.clone())
            .execute(&mut *connection)
            .await?;
    }
    let token = &issued.token;
    sqlx::query(
        "INSERT INTO tokens (jti, device, grant_id, resource, expires_at, revoked) VALUES ($1, $2, $3, $4, $5, 0)",
    )
    .bind(token.jti.clone())
    .bind(token.device.to_string())
    .bind(token.grant.to_string())
    .bind(token.resource.as_str().to_owned())
    .bind(token.expires_at.seconds())
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO proofs_seen (id, remember_until) VALUES ($1, $2)")
        .bind(issued.proof.to_vec())
        .bind(issued.remember_until.seconds())
        .execute(connection)
        .await
        .map(drop)
}
