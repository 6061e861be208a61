//! Accepted briefings.

use daypass_proto::{
    encoding::Fixed,
    names::{Collaborator, DeviceId, GrantId},
    time::Timestamp,
};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::engine;
use crate::store::{Acceptance, Condition, DecideError, Grant, StoreError};

/// Writes an acceptance down, and in its grant that there is one. Nobody has changed the grant since it was read, or the decision has no such condition
/// as it must have; the same acceptance counts once.
pub(super) async fn accept(connection: &mut SqliteConnection, to: &Grant, new: &Acceptance) -> Result<(), DecideError> {
    let failed = engine("write down that a briefing was accepted");
    let body = serde_json::to_string(to).map_err(|source| StoreError::Record { kind: "grant", source })?;
    let changed = sqlx::query("UPDATE grants SET body = $1 WHERE id = $2 AND state = $3")
        .bind(body)
        .bind(to.id.to_string())
        .bind(to.state.as_str())
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    if changed.rows_affected() != 1 {
        return Err(DecideError::Conflict(Condition::Grant(to.id.clone())));
    }
    let added = sqlx::query(
        "INSERT INTO acceptances (hash, grant_id, device, collaborator, at, briefing, signed, text) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(new.hash.0.to_vec())
    .bind(new.grant.to_string())
    .bind(new.device.to_string())
    .bind(new.collaborator.to_string())
    .bind(new.at.seconds())
    .bind(new.briefing.0.to_vec())
    .bind(new.acceptance.clone())
    .bind(new.text.clone())
    .execute(connection)
    .await
    .map_err(&failed)?;
    if added.rows_affected() == 1 { Ok(()) } else { Err(DecideError::Conflict(Condition::AcceptanceIsNew)) }
}

/// Those of a grant, the oldest first.
pub(super) async fn of_grant(pool: &SqlitePool, grant: &GrantId) -> Result<Vec<Acceptance>, StoreError> {
    let query = sqlx::query("SELECT * FROM acceptances WHERE grant_id = $1 ORDER BY at, hash").bind(grant.to_string());
    let rows = query.fetch_all(pool).await.map_err(engine("look for acceptances"))?;
    rows.iter().map(read).collect()
}

/// The one with this hash.
pub(super) async fn one(pool: &SqlitePool, hash: &[u8]) -> Result<Option<Acceptance>, StoreError> {
    let query = sqlx::query("SELECT * FROM acceptances WHERE hash = $1").bind(hash.to_vec());
    let row = query.fetch_optional(pool).await.map_err(engine("look for an acceptance"))?;
    row.as_ref().map(read).transpose()
}

/// The hashes that come after this one.
pub(super) async fn after(pool: &SqlitePool, hash: &[u8], limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
    let failed = engine("look for acceptances");
    let query = sqlx::query("SELECT hash FROM acceptances WHERE hash > $1 ORDER BY hash LIMIT $2");
    let rows = query.bind(hash.to_vec()).bind(i64::from(limit)).fetch_all(pool).await.map_err(&failed)?;
    rows.iter().map(|row| row.try_get("hash").map_err(&failed)).collect()
}

fn read(row: &SqliteRow) -> Result<Acceptance, StoreError> {
    let failed = engine("read an acceptance");
    let damaged = || StoreError::Damaged("an acceptance of a briefing does not read".to_owned());
    let hash = |column: &str| {
        let bytes: Vec<u8> = row.try_get(column).map_err(&failed)?;
        bytes.try_into().map(Fixed).map_err(|_| damaged())
    };
    let text = |column: &str| row.try_get::<String, _>(column).map_err(&failed);
    let (grant, device): (GrantId, DeviceId) =
        (text("grant_id")?.parse().map_err(|_| damaged())?, text("device")?.parse().map_err(|_| damaged())?);
    let collaborator: Collaborator = text("collaborator")?.parse().map_err(|_| damaged())?;
    Ok(Acceptance {
        hash: hash("hash")?,
        grant,
        device,
        collaborator,
        at: row.try_get("at").map(Timestamp::from_seconds).map_err(&failed)?,
        briefing: hash("briefing")?,
        acceptance: text("signed")?,
        text: row.try_get("text").map_err(&failed)?,
    })
}

/// How what tells of a person goes with them: what they accepted themselves, and the texts of others that name them, where names stand as code.
pub(super) const ERASE: [&str; 2] = [
    "DELETE FROM acceptances WHERE collaborator = $1",
    "UPDATE acceptances SET text = NULL WHERE instr(text, '`' || $1 || '`') > 0",
];
