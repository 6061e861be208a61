//! What gates let through.

use daypass_proto::{
    names::{GateName, GrantId},
    time::Timestamp,
};
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::engine;
use crate::store::{CountedUse, GateReport, Reporting, StoreError, ledger::Outcome};

/// The most rows of one grant: a gate that invents repositories fills no disk.
const MOST_OF_GRANT: i64 = 1000;
/// For how long after its last use, and the end of its grant, a row is kept, in seconds.
const KEPT: i64 = 90 * 86_400;

/// The report is the newest of its gate, or nothing: a lower number of the same start was counted already.
const NEWER: &str = "INSERT INTO gate_reports (gate, run, number, since, dropped) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (gate) DO UPDATE SET run = excluded.run, number = excluded.number, dropped = dropped + excluded.dropped \
     WHERE run <> excluded.run OR number < excluded.number";

/// Counted is what was done under a grant that had a token for this resource, and so was there to be used at this gate. No sum gets
/// larger than what every reader of JSON takes.
const COUNT: &str = "INSERT INTO uses (grant_id, location, action, count, last) SELECT $1, $2, $3, $4, $5 \
     WHERE EXISTS (SELECT 1 FROM grants g JOIN token_holders h ON h.device = g.device AND h.resource = $6 AND h.grant_id = g.id WHERE g.id = $1) \
     AND ((SELECT COUNT(*) FROM uses WHERE grant_id = $1) < $7 \
         OR EXISTS (SELECT 1 FROM uses WHERE grant_id = $1 AND location = $2 AND action = $3)) \
     ON CONFLICT DO UPDATE SET count = MIN(count + excluded.count, 9007199254740991), last = MAX(last, excluded.last)";

/// How it is forgotten.
pub(super) const SWEEP: (&str, i64) = (
    "DELETE FROM uses WHERE last < $1 AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.id = uses.grant_id AND g.over_at >= $1)",
    KEPT,
);

/// A gate that is gone has reported nothing: one that gets its name may guard something else.
pub(super) async fn forget(connection: &mut SqliteConnection, gate: &GateName) -> Result<(), sqlx::Error> {
    let reports = sqlx::query("DELETE FROM gate_reports WHERE gate = $1").bind(gate.to_string());
    reports.execute(connection).await.map(drop)
}

/// Counts a report, once.
pub(super) async fn count(connection: &mut SqliteConnection, report: &GateReport) -> Outcome {
    let failed = engine("count what a gate let through");
    let GateReport { gate, said, at } = report;
    let newer = sqlx::query(NEWER)
        .bind(gate.to_string())
        .bind(said.run.0.to_vec())
        .bind(i64::from(said.number))
        .bind(at.seconds())
        .bind(i64::from(said.dropped))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    if newer.rows_affected() == 0 {
        return Ok(None);
    }
    for one in &said.uses {
        sqlx::query(COUNT)
            .bind(one.grant.to_string())
            .bind(one.location.as_str().to_owned())
            .bind(one.action.to_string())
            .bind(i64::from(one.count))
            .bind(one.last.min(*at).seconds())
            .bind(one.location.resource().as_str().to_owned())
            .bind(MOST_OF_GRANT)
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
    }
    Ok(Some(0))
}

/// What was counted of a grant.
pub(super) async fn of_grant(pool: &SqlitePool, grant: &GrantId) -> Result<Vec<CountedUse>, StoreError> {
    let failed = engine("look for what was used");
    let query = "SELECT location, action, count, last FROM uses WHERE grant_id = $1 ORDER BY location, action";
    let rows = sqlx::query(query).bind(grant.to_string()).fetch_all(pool).await.map_err(&failed)?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(CountedUse {
            location: row.try_get("location")?,
            action: row.try_get("action")?,
            count: row.try_get::<i64, _>("count").map(|count| u64::try_from(count).unwrap_or(0))?,
            last: row.try_get("last").map(Timestamp::from_seconds)?,
        })
    };
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(&failed)
}

/// Which gates report.
pub(super) async fn reporting(pool: &SqlitePool) -> Result<Vec<Reporting>, StoreError> {
    let failed = engine("look for gates that report");
    let rows = sqlx::query("SELECT gate, since, dropped FROM gate_reports ORDER BY gate").fetch_all(pool).await;
    let mut reporting = Vec::new();
    for row in rows.map_err(&failed)? {
        let gate: String = row.try_get("gate").map_err(&failed)?;
        let gate: GateName = gate
            .parse()
            .map_err(|_| StoreError::Damaged("the name of a gate that reports does not read".to_owned()))?;
        let since = row.try_get("since").map(Timestamp::from_seconds).map_err(&failed)?;
        let dropped: i64 = row.try_get("dropped").map_err(&failed)?;
        reporting.push(Reporting { gate, since, dropped: u64::try_from(dropped).unwrap_or(0) });
    }
    Ok(reporting)
}
