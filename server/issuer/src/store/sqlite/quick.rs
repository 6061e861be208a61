//! The quick way for what most decisions are made of: conditions, a token with its proof, and events; and for the numbers that events get. One transaction
//! for all that waits, on a connection that is called directly and whose statements are prepared once. Nearly all that is written is written by it, so what it
//! has of the file in memory stays good.
//!
//! It only ever says yes. A decision that changes anything else, whose conditions do not hold, or that meets any error is left to [`super::write`], which
//! says what is wrong with it; it neither waits for a lock nor judges a fault.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use daypass_proto::time::{Skew, Timestamp};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, params};

use super::{
    CHECKPOINT_PAGES, WRITER_CACHE, ledger,
    recent::{Ends, Recent},
    write,
};
use crate::store::{
    Change, Decision, Sealed,
    ledger::{Integration, LedgerWork},
};

/// What of a batch was written here; all else is left.
pub(super) struct Written {
    /// Which decisions.
    pub(super) decisions: Vec<bool>,
    /// Which works.
    pub(super) works: Vec<bool>,
}

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
    pub(super) fn write(&mut self, decisions: &[Decision], works: &[LedgerWork], recent: &mut Recent) -> Written {
        let mut written = Written {
            decisions: decisions.iter().map(fits).collect(),
            works: works.iter().map(|work| matches!(work, LedgerWork::Integrate(_))).collect(),
        };
        if !written.decisions.contains(&true) && !written.works.contains(&true) {
            return written;
        }
        let tried = self.with(|connection| {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let ends = write_all(connection, decisions, &mut written.decisions, recent)?;
            integrate_all(connection, works, &mut written.works)?;
            let any = written.decisions.contains(&true) || written.works.contains(&true);
            connection.prepare_cached(if any { "COMMIT" } else { "ROLLBACK" })?.execute([])?;
            Ok(ends)
        });
        match tried {
            Ok(ends) => recent.keep(ends),
            Err(_) => {
                recent.take_back(0);
                written.decisions.fill(false);
                written.works.fill(false);
            }
        }
        written
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
) -> rusqlite::Result<Option<Ends>> {
    if !done.contains(&true) {
        return Ok(None);
    }
    let floor: i64 = connection.prepare_cached(write::FLOOR)?.query_row([], |row| row.get(0))?;
    let mut newest = floor;
    let latest = decisions.iter().filter_map(Decision::at).max();
    recent.catch_up(connection, latest.unwrap_or(Timestamp::from_seconds(floor)))?;
    let mut ends = recent.ends().unwrap_or(Ends { events: 0, proofs: 0 });
    let mut statements = Statements::of(connection)?;
    for (decision, done) in decisions.iter().zip(done) {
        if !*done {
            continue;
        }
        let (mark, at) = (recent.mark(), decision.at().map_or(floor, Timestamp::seconds));
        *done = at + Skew::MAX_SECONDS >= floor && statements.hold(decision, recent)?;
        if !*done {
            recent.take_back(mark);
            continue;
        }
        newest = newest.max(at);
        statements.insert(decision, &mut ends)?;
    }
    if newest - floor >= write::FLOOR_STEP {
        connection.prepare_cached(write::RAISE_FLOOR)?.execute([newest])?;
    }
    Ok(Some(ends))
}

/// What decisions are made of, looked up once for all of a batch.
struct Statements<'c> {
    connection: &'c Connection,
    certificate_of: CachedStatement<'c>,
    device_as_seen: CachedStatement<'c>,
    grant_as_seen: CachedStatement<'c>,
    revoked_of: CachedStatement<'c>,
    add_proof: CachedStatement<'c>,
    add_token: CachedStatement<'c>,
    add_holder: CachedStatement<'c>,
    add_event: CachedStatement<'c>,
    /// For so many fields at once as the last event had: most have as many as the one before.
    add_fields: (usize, CachedStatement<'c>),
}

impl<'c> Statements<'c> {
    fn of(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepared = |sql| connection.prepare_cached(sql);
        Ok(Self {
            connection,
            certificate_of: prepared(write::CERTIFICATE_OF)?,
            device_as_seen: prepared(write::DEVICE_AS_SEEN)?,
            grant_as_seen: prepared(write::GRANT_AS_SEEN)?,
            revoked_of: prepared(write::REVOKED_OF)?,
            add_proof: prepared(write::ADD_PROOF)?,
            add_token: prepared(write::ADD_TOKEN)?,
            add_holder: prepared(write::ADD_HOLDER)?,
            add_event: prepared(write::ADD_EVENT)?,
            add_fields: (1, prepared(write::ADD_FIELD)?),
        })
    }

    /// Whether every condition holds; proofs and tokens are remembered.
    fn hold(&mut self, decision: &Decision, recent: &mut Recent) -> rusqlite::Result<bool> {
        for change in &decision.changes {
            let holds = match change {
                Change::RequireSeen { device: known, grant } => {
                    self.certificate_of.exists(params![known.certificate_hash, known.certificate.holder.uri()])?
                        && self.device_as_seen.exists([known.device.id.as_str(), &known.device.text])?
                        && self.grant_as_seen.exists([grant.id.as_str(), &grant.text])?
                }
                Change::RequireDevice(id, state) => {
                    self.connection.prepare_cached(write::DEVICE_IN)?.exists([id.as_str(), state.as_str()])?
                }
                Change::RequireGrant(id, state) => {
                    self.connection.prepare_cached(write::GRANT_IN)?.exists([id.as_str(), state.as_str()])?
                }
                Change::RememberProof { id, until } => recent.remember(id, *until),
                Change::AddToken { token, now, most } => {
                    let (device, live) = (token.device.as_str(), recent.live(token.device.as_str(), *now));
                    let window = (device, write::forgotten(*now), write::over(*now));
                    let revoked: i64 = self.revoked_of.query_row(window, |row| row.get(0))?;
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

    fn insert(&mut self, decision: &Decision, ends: &mut Ends) -> rusqlite::Result<()> {
        for change in &decision.changes {
            match change {
                Change::RememberProof { id, until } => {
                    self.add_proof.execute(params![id, until.seconds()])?;
                    ends.proofs = self.connection.last_insert_rowid();
                }
                Change::AddToken { token, .. } => {
                    let (device, grant, resource) =
                        (token.device.as_str(), token.grant.as_str(), token.resource.as_str());
                    let end = token.expires_at.seconds();
                    self.add_token.execute(params![token.jti, device, grant, resource, end])?;
                    self.add_holder.execute(params![device, resource, grant, end])?;
                }
                _ => {}
            }
        }
        decision.events.iter().try_for_each(|sealed| {
            ends.events = self.insert_event(sealed)?;
            Ok(())
        })
    }

    /// Gives its row.
    fn insert_event(&mut self, sealed: &Sealed) -> rusqlite::Result<i64> {
        let event = sealed.event();
        self.add_event.execute(params![
            sealed.hash(),
            event.kind().as_str(),
            event.at().seconds(),
            sealed.leaf(),
            event.text_of("device"),
            event.text_of("project")
        ])?;
        let (row, fields) = (self.connection.last_insert_rowid(), event.personal_fields());
        if fields.is_empty() {
            return Ok(row);
        }
        if self.add_fields.0 != fields.len() {
            self.add_fields = (fields.len(), self.connection.prepare_cached(&write::add_fields(fields.len()))?);
        }
        let (_, add) = &mut self.add_fields;
        let mut place = 0;
        for (name, field) in fields {
            add.raw_bind_parameter(place + 1, row)?;
            add.raw_bind_parameter(place + 2, name)?;
            add.raw_bind_parameter(place + 3, field.salt)?;
            add.raw_bind_parameter(place + 4, field.value.as_str())?;
            place += 4;
        }
        add.raw_execute()?;
        Ok(row)
    }
}

/// Gives their numbers to the events of those of `works` that are `done` afterwards.
fn integrate_all(connection: &Connection, works: &[LedgerWork], done: &mut [bool]) -> rusqlite::Result<()> {
    for (work, done) in works.iter().zip(done) {
        let LedgerWork::Integrate(integration) = work else { continue };
        connection.prepare_cached("SAVEPOINT integration")?.execute([])?;
        *done = integrate(connection, integration)?;
        if !*done {
            connection.prepare_cached("ROLLBACK TO integration")?.execute([])?;
        }
        connection.prepare_cached("RELEASE integration")?.execute([])?;
    }
    Ok(())
}

/// Whether lease, tree and events were as they must be, and so all of it is written.
fn integrate(connection: &Connection, integration: &Integration) -> rusqlite::Result<bool> {
    let Integration { epoch, from, to, events, tiles, lease_until } = integration;
    let (first, end) = (ledger::column(from.size()), ledger::column(to.size()));
    let grown = connection.prepare_cached(ledger::GROW)?.execute(params![
        end,
        to.root(),
        lease_until.seconds(),
        epoch,
        first,
        from.root()
    ])?;
    if grown != 1 {
        return Ok(false);
    }
    let mut number = connection.prepare_cached(ledger::NUMBER)?;
    for (event, sequence) in events.iter().zip(first..) {
        if number.execute(params![event.row, sequence, event.leaf_hash])? != 1 {
            return Ok(false);
        }
    }
    connection.prepare_cached(ledger::LIST)?.execute([first, end])?;
    let mut keep = connection.prepare_cached(ledger::KEEP_TILE)?;
    for (id, hashes) in tiles {
        keep.execute(params![i64::from(id.level), ledger::column(id.index), hashes])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use daypass_proto::ledger::tree::{self, Head, Tiles};

    use super::*;
    use crate::{
        clock::Environment,
        fixture::event,
        store::{DecideError, Fault, SqliteStore, Store as _, Unnumbered},
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
        assert_eq!(quick.write(&[proof(1), proof(2)], &[], &mut recent).decisions, [false, false]);
        connection.execute_batch("ROLLBACK").unwrap();
        assert_eq!(quick.write(&[proof(1), proof(1), proof(2)], &[], &mut recent).decisions, [true, false, true]);
        // A fault takes all of it back, and the next one finds a connection that works.
        connection.execute_batch("ALTER TABLE proofs_seen RENAME COLUMN id TO other").unwrap();
        assert_eq!(quick.write(&[proof(3)], &[], &mut recent).decisions, [false]);
        connection.execute_batch("ALTER TABLE proofs_seen RENAME COLUMN other TO id").unwrap();
        assert_eq!(quick.write(&[proof(2), proof(3)], &[], &mut recent).decisions, [false, true]);
        let count = |table: &str| {
            connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!((count("proofs_seen"), count("events")), (3, 3));
    }

    #[tokio::test]
    async fn events_get_their_numbers_under_the_lease_and_beside_decisions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        SqliteStore::open(&path, true).await.unwrap().close().await;
        let connection = open(&path).unwrap();
        let (mut quick, mut recent) = (Quick::new(&path), Recent::default());
        let environment = Environment::system();
        let event = event(&environment);
        let leaf_hash = *Sealed::from(event.clone()).hash();
        let decided = || Decision::new(crate::fixture::event(&environment));
        quick.write(&[Decision::new(event)], &[], &mut recent);
        let ledger =
            "INSERT INTO ledger (id, origin, size, root, epoch, lease_until, promised) VALUES (1, 'o', 0, ?1, 3, 0, 0)";
        connection.execute(ledger, [Head::empty().root()]).unwrap();
        let until = environment.now().plus(10);
        let work = |epoch, leaf_hash| {
            let to = tree::extend(&Head::empty(), &Tiles::default(), &[leaf_hash]).unwrap();
            let events = vec![Unnumbered { row: 1, leaf_hash }];
            let (from, lease_until) = (Head::empty(), until);
            let of = Integration { epoch, from, to: to.head, events, tiles: to.tiles, lease_until };
            LedgerWork::Integrate(Box::new(of))
        };
        let seen = || {
            let sql = "SELECT size, lease_until, (SELECT COUNT(sequence) FROM events), (SELECT COUNT(*) FROM events), \
                 (SELECT COUNT(*) FROM ledger_tiles), (SELECT COUNT(*) FROM event_collaborators) FROM ledger";
            connection.query_row(sql, [], |row| Ok([0, 1, 2, 3, 4, 5].map(|n| row.get::<_, i64>(n).unwrap()))).unwrap()
        };
        // Under another lease, and of an event that is not there: nothing of it happens, and what was decided beside it does.
        for (count, work) in [(2, work(2, leaf_hash)), (3, work(3, [7; 32]))] {
            let written = quick.write(&[decided()], &[work], &mut recent);
            assert_eq!((written.decisions, written.works, seen()), (vec![true], vec![false], [0, 0, 0, count, 0, 0]));
        }
        let written = quick.write(&[decided()], &[work(3, leaf_hash)], &mut recent);
        assert_eq!((written.decisions, written.works), (vec![true], vec![true]));
        let numbered = seen();
        assert_eq!((numbered[0], numbered[1], numbered[2], numbered[4]), (1, until.seconds(), 1, 1));
        // Nothing is numbered twice, with nobody beside it either.
        assert_eq!(quick.write(&[], &[work(3, leaf_hash)], &mut recent).works, [false]);
        assert_eq!(seen(), numbered);
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
