//! The quick way for what most decisions are made of: conditions, a token with its proof, and events. One transaction for all that wait, on a connection
//! that is called directly and whose statements are prepared once.
//!
//! It only ever says yes. A decision that changes anything else, whose conditions do not hold, or that meets any error is left to [`super::write`], which
//! says what is wrong with it; it neither waits for a lock nor judges a fault.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use daypass_proto::time::{Skew, Timestamp};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{
    CHECKPOINT_PAGES, WRITER_CACHE,
    recent::{Ends, Recent},
    write,
};
use crate::store::{Change, Decision};

/// The connection, opened when it is needed.
pub(super) struct Quick {
    path: PathBuf,
    connection: Option<Connection>,
}

/// Whether all that this decision changes can be written here.
fn fits(decision: &Decision) -> bool {
    let fits = |change: &Change| {
        matches!(
            change,
            Change::RequireSeen { .. }
                | Change::RequireDevice(..)
                | Change::RequireGrant(..)
                | Change::RememberProof { .. }
                | Change::AddToken { .. }
        )
    };
    decision.changes.iter().all(fits) && decision.events.iter().all(|event| write::fits_the_ledger(event).is_ok())
}

impl Quick {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: None }
    }

    /// Makes durable what can be, in one commit; gives which.
    pub(super) fn write(&mut self, decisions: &[Decision], recent: &mut Recent) -> Vec<bool> {
        let mut done: Vec<bool> = decisions.iter().map(fits).collect();
        if !done.contains(&true) {
            return done;
        }
        let tried = self.with(|connection| {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let ends = write_all(connection, decisions, &mut done, recent)?;
            connection.prepare_cached(if done.contains(&true) { "COMMIT" } else { "ROLLBACK" })?.execute([])?;
            Ok(ends)
        });
        match tried {
            Ok(ends) => recent.keep(ends),
            Err(_) => {
                recent.take_back(0);
                done.fill(false);
            }
        }
        done
    }

    /// Catches up with the store while somebody else holds the write lock for this program. What the engine says goes along: it may be that the file is damaged.
    pub(super) fn catch_up(&mut self, recent: &mut Recent, now: Timestamp) -> Result<(), sqlx::Error> {
        self.with(|connection| recent.catch_up(connection, now))
            .map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))
    }

    fn with<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        let done = work(&connection);
        let busy = done.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if let Err(error) = &done
            && !busy
        {
            tracing::debug!(%error, "the quick way into the store is not open");
        }
        // After a fault nothing is certain about a connection; it is opened anew for the next work.
        if done.is_ok() || (busy && connection.is_autocommit()) {
            self.connection = Some(connection);
        }
        done
    }
}

/// As the other connection is: nothing is answered before it is on the disk.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; \
         PRAGMA cache_size = {WRITER_CACHE}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))?;
    Ok(connection)
}

/// Writes those of `decisions` that are `done` afterwards.
fn write_all(
    connection: &Connection,
    decisions: &[Decision],
    done: &mut [bool],
    recent: &mut Recent,
) -> rusqlite::Result<Ends> {
    let floor: i64 = connection.prepare_cached(write::FLOOR)?.query_row([], |row| row.get(0))?;
    let mut newest = floor;
    let latest = decisions.iter().filter_map(Decision::at).max();
    recent.catch_up(connection, latest.unwrap_or(Timestamp::from_seconds(floor)))?;
    let mut ends = recent.ends().unwrap_or(Ends { events: 0, proofs: 0 });
    for (decision, done) in decisions.iter().zip(done) {
        if !*done {
            continue;
        }
        let (mark, at) = (recent.mark(), decision.at().map_or(floor, Timestamp::seconds));
        *done = at + Skew::MAX_SECONDS >= floor && hold(connection, decision, recent)?;
        if !*done {
            recent.take_back(mark);
            continue;
        }
        newest = newest.max(at);
        insert(connection, decision, &mut ends)?;
    }
    if newest - floor >= write::FLOOR_STEP {
        connection.prepare_cached(write::RAISE_FLOOR)?.execute([newest])?;
    }
    Ok(ends)
}

/// Whether every condition holds; proofs and tokens are remembered.
fn hold(connection: &Connection, decision: &Decision, recent: &mut Recent) -> rusqlite::Result<bool> {
    for change in &decision.changes {
        let holds = match change {
            Change::RequireSeen { device: known, grant } => {
                connection
                    .prepare_cached(write::CERTIFICATE_OF)?
                    .exists(params![known.certificate_hash, known.certificate.holder.uri()])?
                    && connection
                        .prepare_cached(write::DEVICE_AS_SEEN)?
                        .exists([known.device.id.as_str(), &known.device.text])?
                    && connection.prepare_cached(write::GRANT_AS_SEEN)?.exists([grant.id.as_str(), &grant.text])?
            }
            Change::RequireDevice(id, state) => {
                connection.prepare_cached(write::DEVICE_IN)?.exists([id.as_str(), state.as_str()])?
            }
            Change::RequireGrant(id, state) => {
                connection.prepare_cached(write::GRANT_IN)?.exists([id.as_str(), state.as_str()])?
            }
            Change::RememberProof { id, until } => recent.remember(id, *until),
            Change::AddToken { token, now, most } => {
                let live = recent.live(token.device.as_str(), *now);
                let revoked: i64 = connection
                    .prepare_cached(write::REVOKED_OF)?
                    .query_row((token.device.as_str(), write::forgotten(*now), write::over(*now)), |row| row.get(0))?;
                recent.add(token);
                live.saturating_add(usize::try_from(revoked).unwrap_or(usize::MAX)) < *most as usize
            }
            _ => false,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn insert(connection: &Connection, decision: &Decision, ends: &mut Ends) -> rusqlite::Result<()> {
    for change in &decision.changes {
        match change {
            Change::RememberProof { id, until } => {
                connection.prepare_cached(write::ADD_PROOF)?.execute(params![id, until.seconds()])?;
                ends.proofs = connection.last_insert_rowid();
            }
            Change::AddToken { token, .. } => {
                let (device, grant, resource) = (token.device.as_str(), token.grant.as_str(), token.resource.as_str());
                let end = token.expires_at.seconds();
                connection
                    .prepare_cached(write::ADD_TOKEN)?
                    .execute(params![token.jti, device, grant, resource, end])?;
                connection.prepare_cached(write::ADD_HOLDER)?.execute(params![device, resource, grant, end])?;
            }
            _ => {}
        }
    }
    for sealed in &decision.events {
        let event = sealed.event();
        connection.prepare_cached(write::ADD_EVENT)?.execute(params![
            sealed.hash(),
            event.kind().as_str(),
            event.at().seconds(),
            sealed.leaf(),
            event.text_of("device"),
            event.text_of("project")
        ])?;
        ends.events = connection.last_insert_rowid();
        for (name, field) in event.personal_fields() {
            connection.prepare_cached(write::ADD_FIELD)?.execute(params![
                ends.events,
                name,
                field.salt,
                field.value
            ])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Environment,
        fixture::event,
        store::{DecideError, Fault, SqliteStore, Store as _},
    };

    #[tokio::test]
    async fn what_goes_this_way_is_on_the_disk_before_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        SqliteStore::open(&path, true).await.unwrap().close().await;
        let connection = open(&path).unwrap();
        let setting =
            |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((setting("synchronous"), setting("foreign_keys")), (2, 1), "FULL");
        // Whoever holds the lock is not waited for, and nothing of it is remembered.
        let (mut quick, mut recent) = (Quick::new(&path), Recent::default());
        let proof = |n: u8| {
            let environment = Environment::system();
            let change = Change::RememberProof { id: [n; 32], until: environment.now().plus(60) };
            Decision::new(event(&environment)).change(change)
        };
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(quick.write(&[proof(1), proof(2)], &mut recent), [false, false]);
        connection.execute_batch("ROLLBACK").unwrap();
        assert_eq!(quick.write(&[proof(1), proof(1), proof(2)], &mut recent), [true, false, true]);
        // A fault takes all of it back, and the next one finds a connection that works.
        connection.execute_batch("ALTER TABLE proofs_seen RENAME COLUMN id TO other").unwrap();
        assert_eq!(quick.write(&[proof(3)], &mut recent), [false]);
        connection.execute_batch("ALTER TABLE proofs_seen RENAME COLUMN other TO id").unwrap();
        assert_eq!(quick.write(&[proof(2), proof(3)], &mut recent), [false, true]);
        let count = |table: &str| {
            connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((count("proofs_seen"), count("events")), (3, 3));
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_is_told_as_that_and_not_as_a_disk_that_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let proof = |n: u8| {
            let environment = Environment::system();
            let change = Change::RememberProof { id: [n; 32], until: environment.now().plus(60) };
            Decision::new(event(&environment)).change(change)
        };
        let store = SqliteStore::open(&path, true).await.unwrap();
        store.decide(proof(1)).await.unwrap();
        store.close().await;
        let whole = std::fs::read(&path).unwrap();
        // Only who goes on where the last program ended reads this page, before anything else does.
        let connection = open(&path).unwrap();
        let number =
            |sql: &str| usize::try_from(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()).unwrap();
        let size = number("PRAGMA page_size");
        let page = number("SELECT rootpage FROM sqlite_schema WHERE name = 'proofs_seen'");
        drop(connection);
        let mut damaged = whole;
        damaged[(page - 1) * size..page * size].fill(0xff);
        std::fs::write(&path, damaged).unwrap();
        let met = Quick::new(&path).catch_up(&mut Recent::default(), Timestamp::from_seconds(1)).unwrap_err();
        assert_eq!(Fault::of(&met), Fault::Damaged, "{met}");
        let store = SqliteStore::open(&path, false).await.unwrap();
        let refused = store.decide(proof(2)).await.unwrap_err();
        assert!(matches!(&refused, DecideError::Store(error) if error.fault() == Fault::Damaged), "{refused:?}");
        assert_eq!(store.fault(), Some(Fault::Damaged));
    }

    #[tokio::test]
    async fn what_was_read_before_a_fault_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        SqliteStore::open(&path, true).await.unwrap().close().await;
        let connection = open(&path).unwrap();
        let now = Timestamp::from_seconds(1_790_000_000);
        let tokens = "INSERT INTO tokens (jti, device, grant_id, resource, expires_at, revoked) \
             VALUES ('a', 'd', 'g', 'r', 1790000600, 0), ('b', 'd', 'g', 'r', 1790000600, 0), ('c', 'd', 'g', 'r', 'damaged', 0)";
        connection.execute(tokens, []).unwrap();
        let mut recent = Recent::default();
        let met = recent.catch_up(&connection, now).unwrap_err();
        assert_eq!(
            Fault::of(&sqlx::Error::Io(std::io::Error::other(met))),
            Fault::Damaged,
            "no program of ours wrote that"
        );
        connection.execute("UPDATE tokens SET expires_at = 1790000600 WHERE jti = 'c'", []).unwrap();
        recent.catch_up(&connection, now).unwrap();
        assert_eq!(recent.live("d", now), 3);
    }
}
