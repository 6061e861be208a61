//! Erasing a person: the values and salts beside the leaves go, and the leaves stay as they were.

use daypass_proto::{names::Collaborator, time::Timestamp};
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{engine, ledger::blocks};
use crate::store::{Condition, DecideError, StoreError, ledger::Traces};

/// The events about them lose everything that tells of anybody, but for who decided and who answered for the project: those are others.
/// `owner` and `collaborators` are lists, and go where they stand in them.
///
/// Everything goes by an index: events about them by what lists go by, and those without a number by that; the lists of owners, of which there
/// are few, by going from each to the next; the lists of those who lost something, by their kind.
const FIELDS: &str = concat!(
    "(event, name) IN ( \
     WITH RECURSIVE lists (value) AS ( \
         SELECT MIN(value) FROM personal_fields WHERE name = 'owner' \
         UNION ALL SELECT (SELECT MIN(value) FROM personal_fields WHERE name = 'owner' AND value > lists.value) \
             FROM lists WHERE lists.value IS NOT NULL), \
     ",
    blocks!(and),
    ", \
     about (event) AS ( \
         SELECT e.id FROM blocks CROSS JOIN event_collaborators AS c ON c.block = blocks.n AND c.collaborator = $1 \
             CROSS JOIN events AS e ON e.sequence = c.sequence \
         UNION SELECT e.id FROM events AS e CROSS JOIN personal_fields AS p ON p.event = e.id \
             WHERE e.sequence IS NULL AND p.name = 'collaborator' AND p.value = $1) \
     SELECT event, name FROM personal_fields WHERE name = 'by' AND value = $1 \
     UNION SELECT event, name FROM personal_fields WHERE name = 'on_behalf_of' AND value = $1 \
     UNION SELECT theirs.event, theirs.name FROM about CROSS JOIN personal_fields AS theirs ON theirs.event = about.event \
         WHERE theirs.name NOT IN ('by', 'on_behalf_of', 'owner') \
     UNION SELECT named.event, named.name FROM ( \
             SELECT id FROM events WHERE kind = 'everything_ended' AND kind <> 'token_issued' AND sequence IS NOT NULL \
             UNION ALL SELECT id FROM events WHERE kind = 'everything_ended' AND sequence IS NULL) AS ended \
         CROSS JOIN personal_fields AS named ON named.event = ended.id \
         WHERE named.name = 'collaborators' AND json_valid(named.value) \
             AND EXISTS (SELECT 1 FROM json_each(named.value) WHERE json_each.value = $1) \
     UNION SELECT owned.event, owned.name FROM lists CROSS JOIN personal_fields AS owned \
         WHERE owned.name = 'owner' AND owned.value = lists.value AND json_valid(lists.value) \
             AND EXISTS (SELECT 1 FROM json_each(lists.value) WHERE json_each.value = $1))"
);

/// What lets them have something, or could yet: their names.
const LIVE: &str = "SELECT 'device ' || id AS name FROM devices \
         WHERE state <> 'revoked' AND collaborator = $1 \
     UNION ALL SELECT 'grant ' || id FROM grants \
         WHERE state IN ('active', 'grace', 'suspended') AND over_at > $2 AND collaborator = $1 \
     UNION ALL SELECT 'invitation ' || id FROM invitations \
         WHERE state = 'open' AND ends_at >= $2 AND collaborator = $1 \
     UNION ALL SELECT 'request ' || id FROM requests WHERE state = 'requested' AND collaborator = $1 \
     UNION ALL SELECT 'proposal ' || id FROM proposals WHERE state = 'waiting' AND json_extract(body, '$.by') = $1";

/// What else goes: in this order, since what was approved is known by what it was for.
const FORGET: [&str; 7] = [
    "DELETE FROM uses WHERE grant_id IN (SELECT id FROM grants WHERE collaborator = $1)",
    "DELETE FROM approvals WHERE id IN (SELECT id FROM grants WHERE collaborator = $1 UNION ALL SELECT id FROM requests WHERE collaborator = $1)",
    "UPDATE grants SET body = json_remove(body, '$.replaces.reason') WHERE collaborator = $1 AND json_extract(body, '$.replaces.reason') IS NOT NULL",
    "DELETE FROM requests WHERE collaborator = $1",
    // Who brought a policy that waits must not confirm it; once it waits no more, it is nobody's.
    "UPDATE proposals SET body = json_set(body, '$.by', NULL) WHERE json_extract(body, '$.by') = $1",
    concat!(
        "DELETE FROM event_collaborators WHERE collaborator = $1 AND block IN (",
        blocks!(),
        " SELECT n FROM blocks)"
    ),
    super::notification::ERASE,
];

/// What there is of a person.
pub(super) async fn traces(pool: &SqlitePool, name: &Collaborator, now: Timestamp) -> Result<Traces, StoreError> {
    let failed = engine("look for a person");
    let count = format!("SELECT COUNT(*) AS fields FROM personal_fields WHERE {FIELDS}");
    let row = sqlx::query(sqlx::AssertSqlSafe(count)).bind(name.to_string()).fetch_one(pool).await.map_err(&failed)?;
    let fields: i64 = row.try_get("fields").map_err(&failed)?;
    let rows = sqlx::query(LIVE).bind(name.to_string()).bind(now.seconds()).fetch_all(pool).await.map_err(&failed)?;
    let live = rows.iter().map(|row| row.try_get("name")).collect::<Result<_, _>>().map_err(&failed)?;
    Ok(Traces { fields: u64::try_from(fields).unwrap_or(0), live })
}

/// Erases, if nothing of theirs is live, and there is as much to erase as was counted.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    name: &Collaborator,
    fields: u64,
    now: Timestamp,
) -> Result<(), DecideError> {
    let failed = engine("erase a person");
    // Free pages would keep what was deleted.
    sqlx::query("PRAGMA secure_delete = ON").execute(&mut *connection).await.map_err(&failed)?;
    let live = sqlx::query(LIVE)
        .bind(name.to_string())
        .bind(now.seconds())
        .fetch_optional(&mut *connection)
        .await
        .map_err(&failed)?;
    if live.is_some() {
        return Err(DecideError::Conflict(Condition::Person));
    }
    let delete = format!("DELETE FROM personal_fields WHERE {FIELDS}");
    let done = sqlx::query(sqlx::AssertSqlSafe(delete))
        .bind(name.to_string())
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    if done.rows_affected() != fields {
        return Err(DecideError::Conflict(Condition::Person));
    }
    for forget in FORGET.into_iter().chain(super::briefing::ERASE) {
        sqlx::query(forget).bind(name.to_string()).execute(&mut *connection).await.map_err(&failed)?;
    }
    Ok(())
}
