//! The ledger's statements. Every change is fenced in its `WHERE`; how many rows it changed is the verdict.

use daypass_proto::{
    ledger::{
        EventKind,
        checkpoint::Origin,
        tree::{Head, TileId, Tiles},
    },
    time::Timestamp,
};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::engine;
use crate::store::{
    StoreError,
    ledger::{
        Backlog, CheckpointRecord, Entry, Integration, LedgerState, LedgerWork, Outcome, Place, UNNUMBERED, Unnumbered,
    },
};

/// A size or number for a column; no tree comes near the end of the range.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unreadable(what: &'static str) -> StoreError {
    StoreError::Ledger(what)
}

/// A column that must not be negative.
pub(super) fn number(row: &SqliteRow, name: &str) -> Result<u64, StoreError> {
    let found: i64 = row.try_get(name).map_err(engine("read the ledger"))?;
    u64::try_from(found).map_err(|_| unreadable("a number is negative"))
}

fn time(row: &SqliteRow, name: &str) -> Result<Timestamp, StoreError> {
    row.try_get(name).map(Timestamp::from_seconds).map_err(engine("read the ledger"))
}

fn origin(row: &SqliteRow) -> Result<Origin, StoreError> {
    let text: String = row.try_get("origin").map_err(engine("read the ledger"))?;
    text.parse().map_err(|_| unreadable("its origin is not a name"))
}

fn head(row: &SqliteRow) -> Result<Head, StoreError> {
    let root: Vec<u8> = row.try_get("root").map_err(engine("read the ledger"))?;
    let root = root.try_into().map_err(|_| unreadable("a root is not 32 bytes long"))?;
    Head::try_new(number(row, "size")?, root).map_err(|_| unreadable("no tree has its size and root"))
}

/// Does one piece of work; `None` means that a condition did not hold, and the savepoint is taken back.
pub(super) async fn apply(connection: &mut SqliteConnection, work: &LedgerWork) -> Outcome {
    match work {
        LedgerWork::TakeLease { holder, now, until } => take_lease(connection, holder, *now, *until).await,
        LedgerWork::Integrate(integration) => integrate(connection, integration).await,
        LedgerWork::Promise { epoch, head, at } => promise(connection, *epoch, head, *at).await,
        LedgerWork::Seal { promised, note } => seal(connection, promised, note).await,
        LedgerWork::Notify(work) => super::notification::apply(connection, work).await,
        LedgerWork::Count(report) => super::usage::count(connection, report).await,
    }
}

async fn take_lease(connection: &mut SqliteConnection, holder: &str, now: Timestamp, until: Timestamp) -> Outcome {
    let failed = engine("take the ledger's lease");
    let row = sqlx::query(
        "UPDATE ledger SET epoch = epoch + 1, holder = $1, lease_until = $2 \
         WHERE id = 1 AND (holder IS NULL OR holder = $1 OR lease_until <= $3) RETURNING epoch",
    )
    .bind(holder.to_owned())
    .bind(until.seconds())
    .bind(now.seconds())
    .fetch_optional(connection)
    .await
    .map_err(&failed)?;
    row.map(|row| row.try_get("epoch").map_err(&failed)).transpose()
}

// What integration is made of, for both ways.
pub(super) const GROW: &str =
    "UPDATE ledger SET size = ?1, root = ?2, lease_until = ?3 WHERE id = 1 AND epoch = ?4 AND size = ?5 AND root = ?6";
pub(super) const NUMBER: &str =
    "UPDATE events SET sequence = ?2 WHERE id = ?1 AND leaf_hash = ?3 AND +sequence IS NULL";
pub(super) const LIST: &str = "INSERT INTO event_collaborators (block, collaborator, sequence) \
     SELECT e.sequence >> 14, p.value, e.sequence FROM events e CROSS JOIN personal_fields p ON p.event = e.id \
     WHERE e.sequence >= ?1 AND e.sequence < ?2 AND p.name = 'collaborator'";
pub(super) const KEEP_TILE: &str = "INSERT INTO ledger_tiles (level, tile, hashes) VALUES (?1, ?2, ?3) \
     ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes";

async fn integrate(connection: &mut SqliteConnection, integration: &Integration) -> Outcome {
    let failed = engine("integrate events");
    let Integration { epoch, from, to, events, tiles, lease_until } = integration;
    let done = sqlx::query(GROW)
        .bind(column(to.size()))
        .bind(to.root().to_vec())
        .bind(lease_until.seconds())
        .bind(epoch)
        .bind(column(from.size()))
        .bind(from.root().to_vec())
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    if done.rows_affected() != 1 {
        return Ok(None);
    }
    for (event, sequence) in events.iter().zip(column(from.size())..) {
        let number = sqlx::query(NUMBER).bind(event.row).bind(sequence).bind(event.leaf_hash.as_slice());
        if number.execute(&mut *connection).await.map_err(&failed)?.rows_affected() != 1 {
            return Ok(None);
        }
    }
    let list = sqlx::query(LIST).bind(column(from.size())).bind(column(to.size()));
    list.execute(&mut *connection).await.map_err(&failed)?;
    for (id, hashes) in tiles {
        let keep = sqlx::query(KEEP_TILE).bind(i64::from(id.level)).bind(column(id.index)).bind(hashes.clone());
        keep.execute(&mut *connection).await.map_err(&failed)?;
    }
    Ok(Some(*epoch))
}

async fn promise(connection: &mut SqliteConnection, epoch: i64, head: &Head, at: Timestamp) -> Outcome {
    let failed = engine("promise a checkpoint");
    let row = sqlx::query(
        "UPDATE ledger SET promised = size \
         WHERE id = 1 AND epoch = $1 AND size = $2 AND root = $3 AND promised < size RETURNING origin",
    )
    .bind(epoch)
    .bind(column(head.size()))
    .bind(head.root().to_vec())
    .fetch_optional(&mut *connection)
    .await
    .map_err(&failed)?;
    let Some(row) = row else { return Ok(None) };
    let origin: String = row.try_get("origin").map_err(&failed)?;
    // The primary key holds what `promised` says: there is one of each size.
    sqlx::query("INSERT INTO checkpoints (origin, size, root, at) VALUES ($1, $2, $3, $4)")
        .bind(origin)
        .bind(column(head.size()))
        .bind(head.root().to_vec())
        .bind(at.seconds())
        .execute(connection)
        .await
        .map_err(&failed)?;
    Ok(Some(epoch))
}

async fn seal(connection: &mut SqliteConnection, promised: &CheckpointRecord, note: &str) -> Outcome {
    let done =
        sqlx::query("UPDATE checkpoints SET note = $1 WHERE origin = $2 AND size = $3 AND root = $4 AND note IS NULL")
            .bind(note.to_owned())
            .bind(promised.origin.as_str().to_owned())
            .bind(column(promised.head.size()))
            .bind(promised.head.root().to_vec())
            .execute(connection)
            .await
            .map_err(engine("seal a checkpoint"))?;
    Ok((done.rows_affected() == 1).then_some(0))
}

pub(super) async fn state(pool: &SqlitePool) -> Result<Option<LedgerState>, StoreError> {
    let failed = engine("read the ledger");
    let row = sqlx::query("SELECT origin, size, root, epoch, holder, lease_until, promised FROM ledger WHERE id = 1")
        .fetch_optional(pool)
        .await
        .map_err(&failed)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(LedgerState {
        origin: origin(&row)?,
        head: head(&row)?,
        epoch: row.try_get("epoch").map_err(&failed)?,
        holder: row.try_get("holder").map_err(&failed)?,
        lease_until: time(&row, "lease_until")?,
        promised: number(&row, "promised")?,
    }))
}

pub(super) async fn unnumbered(pool: &SqlitePool, limit: u32) -> Result<Vec<Unnumbered>, StoreError> {
    let failed = engine("look for events without a number");
    // The unique index on `sequence` has the rows without one together, in the order in which they came.
    let rows = sqlx::query("SELECT id, leaf_hash FROM events WHERE sequence IS NULL ORDER BY id LIMIT $1")
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(&failed)?;
    rows.iter()
        .map(|row| {
            let hash: Vec<u8> = row.try_get("leaf_hash").map_err(&failed)?;
            let leaf_hash = hash.try_into().map_err(|_| unreadable("a leaf hash is not 32 bytes long"))?;
            Ok(Unnumbered { row: row.try_get("id").map_err(&failed)?, leaf_hash })
        })
        .collect()
}

pub(super) async fn unnumbered_of(pool: &SqlitePool, kind: EventKind) -> Result<Vec<Vec<u8>>, StoreError> {
    sqlx::query_scalar(
        "SELECT CAST(leaf_hash AS BLOB) FROM events INDEXED BY events_by_number WHERE sequence IS NULL AND kind = $1 ORDER BY id",
    )
    .bind(kind.as_str())
    .fetch_all(pool)
    .await
    .map_err(engine("look for events without a number"))
}

pub(super) async fn backlog(pool: &SqlitePool) -> Result<Backlog, StoreError> {
    let failed = engine("count events without a number");
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM events WHERE sequence IS NULL) AS events, \
         (SELECT at FROM events WHERE sequence IS NULL ORDER BY id LIMIT 1) AS oldest",
    )
    .fetch_one(pool)
    .await
    .map_err(&failed)?;
    let oldest: Option<i64> = row.try_get("oldest").map_err(&failed)?;
    Ok(Backlog { events: number(&row, "events")?, oldest: oldest.map(Timestamp::from_seconds) })
}

pub(super) async fn tiles(pool: &SqlitePool, ids: &[TileId]) -> Result<Tiles, StoreError> {
    let failed = engine("read the tree");
    let mut tiles = Tiles::default();
    for id in ids {
        let row = sqlx::query("SELECT hashes FROM ledger_tiles WHERE level = $1 AND tile = $2")
            .bind(i64::from(id.level))
            .bind(column(id.index))
            .fetch_optional(pool)
            .await
            .map_err(&failed)?;
        if let Some(row) = row {
            tiles.insert(*id, row.try_get("hashes").map_err(&failed)?);
        }
    }
    Ok(tiles)
}

fn checkpoint(row: &SqliteRow) -> Result<CheckpointRecord, StoreError> {
    Ok(CheckpointRecord {
        origin: origin(row)?,
        head: head(row)?,
        at: time(row, "at")?,
        note: row.try_get("note").map_err(engine("read a checkpoint"))?,
    })
}

const NEWEST: &str = "SELECT origin, size, root, at, note FROM checkpoints \
                      WHERE origin = (SELECT origin FROM ledger WHERE id = 1) AND note IS NOT NULL ORDER BY size DESC LIMIT 1";
const UNSEALED: &str = "SELECT origin, size, root, at, note FROM checkpoints \
                        WHERE origin = (SELECT origin FROM ledger WHERE id = 1) AND note IS NULL ORDER BY size DESC LIMIT 1";

/// The newest with a note, or without one.
pub(super) async fn newest_checkpoint(pool: &SqlitePool, sealed: bool) -> Result<Option<CheckpointRecord>, StoreError> {
    let row = sqlx::query(if sealed { NEWEST } else { UNSEALED })
        .fetch_optional(pool)
        .await
        .map_err(engine("look for a checkpoint"))?;
    row.as_ref().map(checkpoint).transpose()
}

pub(super) async fn checkpoints(pool: &SqlitePool, from: u64, limit: u32) -> Result<Vec<CheckpointRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT origin, size, root, at, note FROM checkpoints \
         WHERE origin = (SELECT origin FROM ledger WHERE id = 1) AND size >= $1 ORDER BY size LIMIT $2",
    )
    .bind(column(from))
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(engine("list checkpoints"))?;
    rows.iter().map(checkpoint).collect()
}

/// The blocks of 16,384 numbers that indexes of keys in no order go by, the newest first.
macro_rules! blocks {
    () => {
        concat!("WITH RECURSIVE ", blocks!(and))
    };
    // Beside other tables of such a statement.
    (and) => {
        "blocks (n) AS (SELECT size >> 14 FROM ledger WHERE id = 1 UNION ALL SELECT n - 1 FROM blocks WHERE n > 0)"
    };
}
pub(super) use blocks;

/// The row that is found by a leaf hash: among those without a number, of which there are few, then in each block of the index, the newest first. Most that
/// are asked for are new.
pub(super) const FIND: &str = concat!(
    blocks!(),
    ", \
     found (id, sequence) AS ( \
         SELECT * FROM (SELECT id, NULL FROM events INDEXED BY events_by_number WHERE sequence IS NULL AND leaf_hash = $1 LIMIT 1) \
         UNION ALL SELECT e.id, e.sequence FROM blocks CROSS JOIN events AS e INDEXED BY events_by_hash \
             ON e.sequence >> 14 = blocks.n AND e.leaf_hash = $1 WHERE e.sequence IS NOT NULL LIMIT 1) "
);

pub(super) async fn place_of(pool: &SqlitePool, leaf_hash: [u8; 32]) -> Result<Place, StoreError> {
    let failed = engine("look an event up");
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{FIND} SELECT sequence FROM found")))
        .bind(leaf_hash.to_vec())
        .fetch_optional(pool)
        .await
        .map_err(&failed)?;
    let Some(row) = row else { return Ok(Place::Unknown) };
    match row.try_get::<Option<i64>, _>("sequence").map_err(&failed)? {
        None => Ok(Place::Unnumbered),
        Some(_) => number(&row, "sequence").map(Place::Numbered),
    }
}

pub(super) async fn beginnings(pool: &SqlitePool, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
    let failed = engine("look for the ledger's beginnings");
    let rows = sqlx::query(
        "SELECT CAST(leaf AS BLOB) AS leaf FROM events \
         WHERE kind = 'ledger_begun' AND sequence IS NOT NULL ORDER BY sequence DESC LIMIT $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(&failed)?;
    rows.iter().rev().map(|row| row.try_get("leaf").map_err(&failed)).collect()
}

/// An event's own row.
pub(super) fn entry_of(row: &SqliteRow) -> Result<Entry, StoreError> {
    let failed = engine("read an event");
    let sequence: i64 = row.try_get("sequence").map_err(&failed)?;
    Ok(Entry {
        sequence: if sequence == -1 { UNNUMBERED } else { number(row, "sequence")? },
        leaf_hash: row.try_get("leaf_hash").map_err(&failed)?,
        leaf: row.try_get("leaf").map_err(&failed)?,
        kind: row.try_get("kind").map_err(&failed)?,
        at: time(row, "at")?,
        device: row.try_get("device").map_err(&failed)?,
        project: row.try_get("project").map_err(&failed)?,
        by_collaborator: false,
        personal: std::collections::BTreeMap::new(),
    })
}

pub(super) async fn entries(pool: &SqlitePool, from: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let failed = engine("read events");
    let rows = sqlx::query(
        "SELECT sequence, CAST(leaf_hash AS BLOB) AS leaf_hash, CAST(leaf AS BLOB) AS leaf, kind, at, device, project \
         FROM events WHERE sequence >= $1 ORDER BY sequence LIMIT $2",
    )
    .bind(column(from))
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(&failed)?;
    let mut entries = rows.iter().map(entry_of).collect::<Result<Vec<_>, StoreError>>()?;
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(entries) };
    let rows = sqlx::query(
        "SELECT e.sequence, p.name, p.salt, p.value, p.name = 'collaborator' AND EXISTS ( \
             SELECT 1 FROM event_collaborators c WHERE c.block = e.sequence >> 14 AND c.collaborator = p.value AND c.sequence = e.sequence) AS listed \
         FROM events e CROSS JOIN personal_fields p ON p.event = e.id WHERE e.sequence BETWEEN $1 AND $2",
    )
    .bind(column(first.sequence))
    .bind(column(last.sequence))
    .fetch_all(pool)
    .await
    .map_err(&failed)?;
    for row in &rows {
        let sequence = number(row, "sequence")?;
        let name = row.try_get("name").map_err(&failed)?;
        let listed: bool = row.try_get("listed").map_err(&failed)?;
        let field = (row.try_get("salt").map_err(&failed)?, row.try_get("value").map_err(&failed)?);
        if let Ok(at) = entries.binary_search_by_key(&sequence, |entry| entry.sequence)
            && let Some(entry) = entries.get_mut(at)
        {
            entry.by_collaborator |= listed;
            entry.personal.insert(name, field);
        }
    }
    Ok(entries)
}
