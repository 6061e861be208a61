//! Reading events by what they are about, page by page.
//!
//! A page begins where the last one ended, by number, so that the millionth costs what the first did. Each filter has an index that ends in the
//! number; of several the narrowest is gone along, and the others look at what it finds.

use std::ops::Range;

use sqlx::{QueryBuilder, Row as _, Sqlite, SqlitePool, sqlite::SqliteRow};

use super::{
    engine,
    ledger::{FIND, blocks, column, entry_of, number},
};
use crate::store::{
    Entry, StoreError,
    ledger::{Filter, Side},
};
use daypass_proto::{ledger::EventKind, time::Timestamp};

/// The index to go along.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Along {
    Device,
    ToldToDevice,
    Collaborator,
    Kind,
    Project,
    Number,
}

impl Along {
    /// Devices have the fewest events, then people. Most events are about tokens, so those kinds say less than a project.
    fn of(filter: &Filter) -> Self {
        let common = |kind| matches!(kind, EventKind::TokenIssued | EventKind::TokenRefused);
        match filter {
            Filter { device: Some(_), kinds, .. } if !kinds.is_empty() && !kinds.iter().copied().any(common) => {
                Self::ToldToDevice
            }
            Filter { device: Some(_), .. } => Self::Device,
            Filter { collaborator: Some(_), .. } => Self::Collaborator,
            Filter { kind: Some(kind), .. } if !common(*kind) => Self::Kind,
            Filter { project: Some(_), .. } => Self::Project,
            // Of those there are so many that they have no index.
            Filter { kind: Some(kind), .. } if *kind != EventKind::TokenIssued => Self::Kind,
            _ => Self::Number,
        }
    }

    /// What keys in no order stand before the number, in blocks of numbers.
    fn in_blocks(self) -> bool {
        matches!(self, Self::Device | Self::Collaborator)
    }

    /// Where to look, up to the first condition; each is named, since without statistics the engine may take any.
    fn from(self) -> &'static str {
        match self {
            Self::Device => "events AS e INDEXED BY events_by_device WHERE",
            Self::ToldToDevice => {
                "events AS e INDEXED BY events_told_to_device WHERE e.kind <> 'token_issued' AND e.kind <> 'token_refused' AND"
            }
            Self::Collaborator => "event_collaborators AS c CROSS JOIN events AS e ON e.sequence = c.sequence WHERE",
            Self::Kind => "events AS e INDEXED BY events_by_kind WHERE e.kind <> 'token_issued' AND",
            Self::Project => "events AS e INDEXED BY events_by_project WHERE",
            Self::Number => "events AS e WHERE",
        }
    }
}

/// The blocks of numbers in which there is anything of what is gone along, by number.
fn blocks_statement(filter: &Filter, within: &Range<u64>) -> QueryBuilder<Sqlite> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(blocks!());
    query.push(" SELECT n FROM blocks WHERE n BETWEEN ").push_bind(block_of(within.start)).push(" AND ");
    query.push_bind(block_of(within.end.saturating_sub(1))).push(" AND EXISTS (SELECT 1 FROM ");
    match (&filter.device, &filter.collaborator) {
        (Some(device), _) => {
            query.push(
                "events AS e INDEXED BY events_by_device WHERE e.sequence >> 14 = blocks.n AND e.sequence IS NOT NULL",
            );
            query.push(" AND e.device = ").push_bind(device.as_str());
        }
        (None, name) => {
            query.push("event_collaborators AS c WHERE c.block = blocks.n AND c.collaborator = ");
            query.push_bind(name.as_ref().map(|name| name.as_str()));
        }
    }
    query.push(") ORDER BY n");
    query
}

fn block_of(number: u64) -> i64 {
    column(number) >> 14
}

/// The statement of one page, within one block where what is gone along has blocks. A `+` keeps a column from being taken for another index.
fn statement(filter: &Filter, within: &Range<u64>, block: Option<i64>, side: Side, limit: u32) -> QueryBuilder<Sqlite> {
    let along = Along::of(filter);
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "SELECT e.sequence, CAST(e.leaf_hash AS BLOB) AS leaf_hash, CAST(e.leaf AS BLOB) AS leaf, e.kind, e.at, e.device, e.project FROM ",
    );
    query.push(along.from());
    let key = if along == Along::Collaborator { " c.sequence" } else { " e.sequence" };
    query.push(key).push(" >= ").push_bind(column(within.start)).push(" AND").push(key).push(" < ");
    query.push_bind(column(within.end));
    if let Some(block) = block {
        query.push(if along == Along::Collaborator { " AND c.block = " } else { " AND e.sequence >> 14 = " });
        query.push_bind(block);
    }
    if let Some(collaborator) = &filter.collaborator {
        if along == Along::Collaborator {
            query.push(" AND c.collaborator = ").push_bind(collaborator.as_str());
        }
        // What stands beside the leaf counts, and not what the index says of it.
        query.push(" AND EXISTS (SELECT 1 FROM personal_fields AS p WHERE p.event = e.id AND p.name = 'collaborator' AND p.value = ");
        query.push_bind(collaborator.as_str()).push(")");
    }
    let mut equals = |name: &str, own: bool, value: Option<&str>| {
        if let Some(value) = value {
            query.push(if own { " AND e." } else { " AND +e." }).push(name).push(" = ").push_bind(value);
        }
    };
    equals(
        "device",
        matches!(along, Along::Device | Along::ToldToDevice),
        filter.device.as_ref().map(|device| device.as_str()),
    );
    equals("project", along == Along::Project, filter.project.as_ref().map(|project| project.as_str()));
    equals("kind", along == Along::Kind, filter.kind.map(EventKind::as_str));
    if !filter.kinds.is_empty() {
        query.push(" AND +e.kind IN (");
        let mut kinds = query.separated(", ");
        for kind in &filter.kinds {
            kinds.push_bind(kind.as_str());
        }
        query.push(")");
    }
    if let Some(since) = filter.since {
        query.push(" AND +e.at >= ").push_bind(since.seconds());
    }
    if let Some(until) = filter.until {
        query.push(" AND +e.at <= ").push_bind(until.seconds());
    }
    query.push(" ORDER BY").push(key);
    query.push(if side == Side::Last { " DESC LIMIT " } else { " LIMIT " }).push_bind(limit);
    query
}

/// The numbers between which all events of the filter's times are. Commits and clocks are in order nearly always, and not quite.
fn span_statement(filter: &Filter) -> Option<QueryBuilder<Sqlite>> {
    let (since, until) = (filter.since.map(Timestamp::seconds), filter.until.map(Timestamp::seconds));
    if since.is_none() && until.is_none() {
        return None;
    }
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "SELECT COALESCE(MIN(sequence), 0) AS first, COALESCE(MAX(sequence) + 1, 0) AS behind \
         FROM events INDEXED BY events_by_time WHERE sequence IS NOT NULL AND at >= ",
    );
    query.push_bind(since.unwrap_or(i64::MIN)).push(" AND at <= ").push_bind(until.unwrap_or(i64::MAX));
    Some(query)
}

pub(super) async fn span(pool: &SqlitePool, filter: &Filter) -> Result<Range<u64>, StoreError> {
    let Some(mut query) = span_statement(filter) else { return Ok(0..u64::MAX) };
    let row = query.build().fetch_one(pool).await.map_err(engine("look for a time in the ledger"))?;
    let (first, behind) = (number(&row, "first")?, number(&row, "behind")?);
    // Whatever comes is later than a time that has no end.
    Ok(first..if filter.until.is_none() && behind > 0 { u64::MAX } else { behind })
}

pub(super) async fn listed(
    pool: &SqlitePool,
    filter: &Filter,
    within: Range<u64>,
    side: Side,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let failed = engine("list events");
    let mut blocks = vec![None];
    if Along::of(filter).in_blocks() {
        let found = blocks_statement(filter, &within).build_query_scalar::<i64>().fetch_all(pool).await;
        blocks = found.map_err(&failed)?.into_iter().map(Some).collect();
        if side == Side::Last {
            blocks.reverse();
        }
    }
    let mut entries = Vec::new();
    for block in blocks {
        let left = limit.saturating_sub(u32::try_from(entries.len()).unwrap_or(limit));
        if left == 0 {
            break;
        }
        let rows = statement(filter, &within, block, side, left).build().fetch_all(pool).await.map_err(&failed)?;
        for row in &rows {
            entries.push(entry_of(row)?);
        }
    }
    if side == Side::Last {
        entries.reverse();
    }
    add_personal(pool, &mut entries).await?;
    Ok(entries)
}

/// The name of a personal field, its salt and its value.
fn field_of(row: &SqliteRow) -> Result<(String, (Vec<u8>, String)), sqlx::Error> {
    Ok((row.try_get("name")?, (row.try_get("salt")?, row.try_get("value")?)))
}

/// What stands beside the leaves of events with numbers.
pub(super) async fn add_personal(pool: &SqlitePool, entries: &mut [Entry]) -> Result<(), StoreError> {
    let failed = engine("list events");
    if entries.is_empty() {
        return Ok(());
    }
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "SELECT e.sequence, p.name, p.salt, p.value FROM events AS e CROSS JOIN personal_fields AS p ON p.event = e.id WHERE e.sequence IN (",
    );
    let mut numbers = query.separated(", ");
    for entry in &*entries {
        numbers.push_bind(column(entry.sequence));
    }
    query.push(")");
    for row in query.build().fetch_all(pool).await.map_err(&failed)? {
        let sequence = number(&row, "sequence")?;
        if let Some(entry) = entries.iter_mut().find(|entry| entry.sequence == sequence) {
            let (name, field) = field_of(&row).map_err(&failed)?;
            entry.personal.insert(name, field);
        }
    }
    Ok(())
}

/// The event that is found by a leaf hash.
pub(super) async fn event(pool: &SqlitePool, leaf_hash: &[u8]) -> Result<Option<Entry>, StoreError> {
    let failed = engine("look for an event");
    let statement = format!(
        "{FIND} SELECT id, COALESCE(sequence, -1) AS sequence, CAST(leaf_hash AS BLOB) AS leaf_hash, CAST(leaf AS BLOB) AS leaf, kind, at, device, project \
         FROM events WHERE id = (SELECT id FROM found)"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(leaf_hash.to_vec()).fetch_optional(pool).await;
    let Some(row) = row.map_err(&failed)? else { return Ok(None) };
    let mut entry = entry_of(&row)?;
    let id: i64 = row.try_get("id").map_err(&failed)?;
    let fields = sqlx::query("SELECT name, salt, value FROM personal_fields WHERE event = $1").bind(id);
    let fields = fields.fetch_all(pool).await.map_err(&failed)?;
    entry.personal = fields.iter().map(field_of).collect::<Result<_, _>>().map_err(&failed)?;
    Ok(Some(entry))
}

/// Those with a number first; there is one at most.
const ISSUING: &str = "SELECT CAST(leaf_hash AS BLOB) AS leaf_hash FROM events INDEXED BY events_by_time \
     WHERE at = $1 AND sequence IS NOT NULL AND kind = 'token_issued' AND instr(CAST(leaf AS TEXT), $2) > 0 \
     UNION ALL SELECT CAST(leaf_hash AS BLOB) FROM events \
     WHERE sequence IS NULL AND at = $1 AND kind = 'token_issued' AND instr(CAST(leaf AS TEXT), $2) > 0 LIMIT 1";

/// The leaf hash of the event that issued a token in this second.
pub(super) async fn issuing(pool: &SqlitePool, jti: &str, at: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = engine("look for a token's event");
    let row = sqlx::query(ISSUING)
        .bind(at.seconds())
        .bind(format!(r#""jti":"{jti}""#))
        .fetch_optional(pool)
        .await
        .map_err(&failed)?;
    row.map(|row| row.try_get("leaf_hash").map_err(&failed)).transpose()
}

#[cfg(test)]
mod tests;
