//! The statements of notifications. As with the ledger's, every change is fenced in its `WHERE`.

use daypass_proto::{ledger::EventKind, time::Timestamp};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    engine,
    ledger::{column, entry_of, number},
};
use crate::store::{
    Entry, Grant, StoreError,
    ledger::Outcome,
    notification::{Attempt, Cursor, Found, NotificationWork, Outgoing, Waiting},
};

/// How long after a grant's end it is kept of which ends it was said, in seconds.
const KEPT_AFTER_END: i64 = 24 * 3600;

/// Does one piece of work; `None` means that a condition did not hold, and the savepoint is taken back.
pub(super) async fn apply(connection: &mut SqliteConnection, work: &NotificationWork) -> Outcome {
    match work {
        NotificationWork::Begin(sinks) => begin(connection, sinks).await,
        NotificationWork::Lease { holder, now, until } => lease(connection, holder, *now, *until).await,
        NotificationWork::Found(found) => keep(connection, found).await,
        NotificationWork::Settle { epoch, id, sink, attempt } => settle(connection, *epoch, id, sink, attempt).await,
        NotificationWork::Retry { id, now } => retry(connection, id.as_deref(), *now).await,
    }
}

/// What happened before somebody is to be told is nobody's news.
async fn begin(connection: &mut SqliteConnection, sinks: &[String]) -> Outcome {
    let failed = engine("begin to tell of events");
    sqlx::query(
        "UPDATE notifications SET dead = 1, error = 'this sink is not in the configuration any more' \
         WHERE dead = 0 AND sink NOT IN (SELECT value FROM json_each($1))",
    )
    .bind(serde_json::Value::from(sinks.to_vec()).to_string())
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    if sinks.is_empty() {
        sqlx::query("DELETE FROM notifying").execute(&mut *connection).await.map_err(&failed)?;
        return Ok(Some(0));
    }
    sqlx::query(
        "INSERT INTO notifying (id, next, epoch, lease_until) \
         SELECT 1, COALESCE((SELECT size FROM ledger WHERE id = 1), 0), 0, 0 WHERE true ON CONFLICT DO NOTHING",
    )
    .execute(connection)
    .await
    .map_err(&failed)?;
    Ok(Some(0))
}

async fn lease(connection: &mut SqliteConnection, holder: &str, now: Timestamp, until: Timestamp) -> Outcome {
    let failed = engine("take the lease of notifications");
    let row = sqlx::query(
        "UPDATE notifying SET epoch = epoch + (holder IS NOT $1), holder = $1, lease_until = $2 \
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

async fn keep(connection: &mut SqliteConnection, found: &Found) -> Outcome {
    let failed = engine("keep what is to be told");
    let Found { epoch, looked_at, messages, ends } = found;
    let done = sqlx::query("UPDATE notifying SET next = $1 WHERE id = 1 AND epoch = $2 AND next = $3")
        .bind(column(looked_at.end))
        .bind(epoch)
        .bind(column(looked_at.start))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    if done.rows_affected() != 1 {
        return Ok(None);
    }
    for new in messages {
        sqlx::query(
            "INSERT INTO notifications (id, sink, kind, created_at, due_at, attempts, dead, collaborator, payload, place) \
             VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(new.id.clone())
        .bind(new.sink.clone())
        .bind(new.kind.clone())
        .bind(new.created_at.seconds())
        .bind(new.due_at.seconds())
        .bind(new.collaborator.clone())
        .bind(new.payload.clone())
        .bind(column(new.place))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    }
    for end in ends {
        sqlx::query("INSERT INTO ends_told (grant_id, ends_at, ahead) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(end.grant.to_string())
            .bind(end.ends_at.seconds())
            .bind(end.ahead)
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
    }
    Ok(Some(*epoch))
}

async fn settle(connection: &mut SqliteConnection, epoch: i64, id: &str, sink: &str, attempt: &Attempt) -> Outcome {
    const FENCE: &str = " WHERE id = $1 AND sink = $2 AND EXISTS (SELECT 1 FROM notifying WHERE epoch = $3)";
    let failed = engine("write what came of a notification");
    let (change, rest) = match attempt {
        Attempt::Taken => ("DELETE FROM notifications", None),
        Attempt::Again { due_at, error } => (
            "UPDATE notifications SET attempts = attempts + 1, error = $4, due_at = $5",
            Some((error, due_at.seconds())),
        ),
        Attempt::Dead { error } => {
            ("UPDATE notifications SET attempts = attempts + 1, error = $4, dead = $5", Some((error, 1)))
        }
    };
    let statement = sqlx::AssertSqlSafe(format!("{change}{FENCE}"));
    let query = sqlx::query(statement).bind(id.to_owned()).bind(sink.to_owned()).bind(epoch);
    let query = match rest {
        Some((error, number)) => query.bind(error.clone()).bind(number),
        None => query,
    };
    let done = query.execute(connection).await.map_err(&failed)?;
    Ok((done.rows_affected() == 1).then_some(epoch))
}

async fn retry(connection: &mut SqliteConnection, id: Option<&str>, now: Timestamp) -> Outcome {
    let done = sqlx::query(
        "UPDATE notifications SET dead = 0, attempts = 0, due_at = $1 WHERE dead <> 0 AND ($2 IS NULL OR id = $2)",
    )
    .bind(now.seconds())
    .bind(id.map(ToOwned::to_owned))
    .execute(connection)
    .await
    .map_err(engine("try a notification again"))?;
    Ok(Some(i64::try_from(done.rows_affected()).unwrap_or(i64::MAX)))
}

/// Takes out these messages that are not tried any more; `false` where one of them is not there.
pub(super) async fn drop_dead(connection: &mut SqliteConnection, all: &[(String, String)]) -> Result<bool, StoreError> {
    for (sink, id) in all {
        let done = sqlx::query("DELETE FROM notifications WHERE sink = $1 AND id = $2 AND dead <> 0")
            .bind(sink.clone())
            .bind(id.clone())
            .execute(&mut *connection)
            .await
            .map_err(engine("take a notification out"))?;
        if done.rows_affected() != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How what nobody is told of any more is forgotten.
pub(super) const SWEEP: (&str, i64) = ("DELETE FROM ends_told WHERE ends_at < $1", KEPT_AFTER_END);

/// Forgets what tells of a person.
pub(super) const ERASE: &str = "DELETE FROM notifications WHERE collaborator = $1 OR EXISTS ( \
     SELECT 1 FROM json_each(payload, '$.data.owners') WHERE json_each.value = $1) OR EXISTS ( \
     SELECT 1 FROM json_each(payload, '$.data.collaborators') WHERE json_each.value = $1)";

pub(super) async fn cursor(pool: &SqlitePool) -> Result<Option<Cursor>, StoreError> {
    let failed = engine("read how far events were told");
    let row = sqlx::query("SELECT next, epoch FROM notifying WHERE id = 1").fetch_optional(pool).await;
    let Some(row) = row.map_err(&failed)? else { return Ok(None) };
    Ok(Some(Cursor { next: number(&row, "next")?, epoch: row.try_get("epoch").map_err(&failed)? }))
}

pub(super) async fn entries_of(
    pool: &SqlitePool,
    kinds: &[EventKind],
    from: u64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let failed = engine("look for events to tell of");
    // By the index over kind and number, which has all kinds but one: what lies between is not looked at.
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "SELECT sequence, CAST(leaf_hash AS BLOB) AS leaf_hash, CAST(leaf AS BLOB) AS leaf, kind, at, device, project \
         FROM events WHERE sequence IS NOT NULL AND kind <> 'token_issued' AND kind IN (",
    );
    let mut list = query.separated(", ");
    for kind in kinds {
        list.push_bind(kind.as_str());
    }
    query.push(") AND sequence >= ").push_bind(column(from)).push(" ORDER BY sequence LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(pool).await.map_err(&failed)?;
    let mut entries = rows.iter().map(entry_of).collect::<Result<Vec<_>, StoreError>>()?;
    super::list::add_personal(pool, &mut entries).await?;
    Ok(entries)
}

pub(super) async fn ends_to_tell(
    pool: &SqlitePool,
    now: Timestamp,
    ahead: i64,
    limit: u32,
) -> Result<Vec<Grant>, StoreError> {
    let failed = engine("look for ends that come");
    let rows = sqlx::query(
        "SELECT body FROM grants WHERE state = 'active' AND ends_at > $1 AND ends_at <= $2 AND NOT EXISTS ( \
             SELECT 1 FROM ends_told WHERE grant_id = grants.id AND ends_told.ends_at = grants.ends_at AND ahead <= $3) \
         ORDER BY ends_at, id LIMIT $4",
    )
    .bind(now.seconds())
    .bind(now.plus(ahead).seconds())
    .bind(ahead)
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(&failed)?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get("body").map_err(&failed)?;
            serde_json::from_str(&body).map_err(|source| StoreError::Record { kind: "grant", source })
        })
        .collect()
}

fn outgoing_of(row: &SqliteRow) -> Result<Outgoing, sqlx::Error> {
    Ok(Outgoing {
        id: row.try_get("id")?,
        sink: row.try_get("sink")?,
        kind: row.try_get("kind")?,
        place: row.try_get::<i64, _>("place").map(|place| u64::try_from(place).unwrap_or(0))?,
        created_at: row.try_get("created_at").map(Timestamp::from_seconds)?,
        due_at: row.try_get("due_at").map(Timestamp::from_seconds)?,
        attempts: row.try_get::<i64, _>("attempts").map(|count| u32::try_from(count).unwrap_or(u32::MAX))?,
        dead: row.try_get("dead")?,
        error: row.try_get("error")?,
        collaborator: row.try_get("collaborator")?,
        payload: row.try_get("payload")?,
    })
}

fn all(rows: &[SqliteRow]) -> Result<Vec<Outgoing>, StoreError> {
    rows.iter().map(outgoing_of).collect::<Result<_, _>>().map_err(engine("read a notification"))
}

pub(super) async fn due(
    pool: &SqlitePool,
    sink: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Outgoing>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM notifications WHERE sink = $1 AND dead = 0 AND due_at <= $2 ORDER BY due_at, place, id LIMIT $3",
    )
    .bind(sink.to_owned())
    .bind(now.seconds())
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(engine("look for notifications"))?;
    all(&rows)
}

pub(super) async fn outgoing(pool: &SqlitePool, dead: bool, limit: u32) -> Result<Vec<Outgoing>, StoreError> {
    let rows = sqlx::query("SELECT * FROM notifications WHERE dead >= $1 ORDER BY place, id, sink LIMIT $2")
        .bind(i64::from(dead))
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(engine("list notifications"))?;
    all(&rows)
}

pub(super) async fn waiting(pool: &SqlitePool) -> Result<Vec<Waiting>, StoreError> {
    let failed = engine("count notifications");
    let rows = sqlx::query(
        "SELECT sink, SUM(waiting) AS waiting, SUM(dead) AS dead, MIN(oldest) AS oldest FROM ( \
             SELECT sink, COUNT(*) AS waiting, 0 AS dead, MIN(created_at) AS oldest FROM notifications WHERE dead = 0 GROUP BY sink \
             UNION ALL SELECT sink, 0, COUNT(*), NULL FROM notifications WHERE dead <> 0 GROUP BY sink) GROUP BY sink ORDER BY sink",
    )
    .fetch_all(pool)
    .await
    .map_err(&failed)?;
    rows.iter()
        .map(|row| {
            let oldest: Option<i64> = row.try_get("oldest").map_err(&failed)?;
            Ok(Waiting {
                sink: row.try_get("sink").map_err(&failed)?,
                waiting: number(row, "waiting")?,
                dead: number(row, "dead")?,
                oldest: oldest.map(Timestamp::from_seconds),
            })
        })
        .collect()
}
