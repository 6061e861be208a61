//! Reads: each one query, each giving whole records.

use std::sync::Arc;

use daypass_proto::{enrolment::DeviceLife, names::DeviceId, time::Timestamp};
use serde::de::DeserializeOwned;
use sqlx::{Row as _, SqlitePool, sqlite::SqliteRow};

use super::{engine, lanes::Lanes};
use crate::store::{
    Approvals, KnownDevice, Presented, Request, Seen, StoreError,
    records::{
        CertificateRecord, Challenge, Device, Gate, Grant, GrantLife, Holder, Invitation, IssuedToken, KeyPurpose,
        KeyRecord, PolicyVersion, Proposal,
    },
};

pub(super) fn body<T: DeserializeOwned>(kind: &'static str, row: &SqliteRow) -> Result<T, StoreError> {
    let text: &str = row.try_get("body").map_err(engine("read a record"))?;
    serde_json::from_str(text).map_err(|source| StoreError::Record { kind, source })
}

async fn one<T: DeserializeOwned>(
    pool: &SqlitePool,
    kind: &'static str,
    query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
) -> Result<Option<T>, StoreError> {
    let row = query.fetch_optional(pool).await.map_err(engine("read a record"))?;
    row.as_ref().map(|row| body(kind, row)).transpose()
}

async fn all<T: DeserializeOwned>(
    pool: &SqlitePool,
    kind: &'static str,
    query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
) -> Result<Vec<T>, StoreError> {
    let rows = query.fetch_all(pool).await.map_err(engine("list records"))?;
    rows.iter().map(|row| body(kind, row)).collect()
}

pub(super) async fn invitation_by_secret(pool: &SqlitePool, hash: [u8; 32]) -> Result<Option<Invitation>, StoreError> {
    one(pool, "invitation", sqlx::query("SELECT body FROM invitations WHERE secret_hash = $1").bind(hash.to_vec()))
        .await
}

pub(super) async fn invitation(pool: &SqlitePool, id: String) -> Result<Option<Invitation>, StoreError> {
    one(pool, "invitation", sqlx::query("SELECT body FROM invitations WHERE id = $1").bind(id)).await
}

pub(super) async fn device(pool: &SqlitePool, id: String) -> Result<Option<Device>, StoreError> {
    one(pool, "device", sqlx::query("SELECT body FROM devices WHERE id = $1").bind(id)).await
}

pub(super) async fn devices(pool: &SqlitePool, state: Option<DeviceLife>) -> Result<Vec<Device>, StoreError> {
    match state {
        Some(state) => {
            let query = sqlx::query("SELECT body FROM devices WHERE state = $1 ORDER BY id").bind(state.as_str());
            all(pool, "device", query).await
        }
        None => all(pool, "device", sqlx::query("SELECT body FROM devices ORDER BY id")).await,
    }
}

fn certificate_in(row: &SqliteRow) -> Result<Option<CertificateRecord>, StoreError> {
    let failed = engine("look a certificate up");
    let holder: String = row.try_get("holder").map_err(&failed)?;
    let time = |column: &str| row.try_get::<i64, _>(column).map(Timestamp::from_seconds).map_err(&failed);
    let (not_before, not_after) = (time("not_before")?, time("not_after")?);
    Ok(Holder::from_uri(&holder).map(|holder| CertificateRecord { holder, not_before, not_after }))
}

/// Certificate, device and grants by one statement: whoever asks for a token is looked up on every request.
pub(super) async fn presented(lanes: &Lanes, hash: [u8; 32]) -> Result<Option<Presented>, StoreError> {
    let failed = engine("look a certificate up");
    let rows = lanes
        .with(async |connection| {
            sqlx::query(
                "SELECT c.holder, c.not_before, c.not_after, d.body AS device, g.body AS held \
                 FROM certificates c LEFT JOIN devices d ON d.id = substr(c.holder, $2) LEFT JOIN grants g ON g.device = d.id \
                 WHERE c.hash = $1 ORDER BY g.id",
            )
            .bind(hash.to_vec())
            // Where the name of a device begins in its URI. What this finds for a gate is passed over below.
            .bind(i64::try_from(DeviceId::CLIENT_ID_PREFIX.len() + 1).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
        })
        .await
        .map_err(&failed)?;
    let Some(first) = rows.first() else { return Ok(None) };
    let Some(certificate) = certificate_in(first)? else { return Ok(None) };
    let device = match certificate.holder {
        Holder::Device(_) => seen("device", first, "device")?,
        Holder::Gate(_) => None,
    };
    let Some(device) = device else { return Ok(Some(Presented::Other(certificate))) };
    let grants = rows.iter().filter_map(|row| seen("grant", row, "held").transpose()).collect::<Result<_, _>>()?;
    Ok(Some(Presented::Device(Arc::new(KnownDevice { certificate_hash: hash, certificate, device, grants }))))
}

fn seen<T: DeserializeOwned>(kind: &'static str, row: &SqliteRow, column: &str) -> Result<Option<Seen<T>>, StoreError> {
    let text: Option<&str> = row.try_get(column).map_err(engine("read a record"))?;
    text.map(|text| Seen::read(kind, text)).transpose()
}

pub(super) async fn grant(pool: &SqlitePool, id: String) -> Result<Option<Grant>, StoreError> {
    one(pool, "grant", sqlx::query("SELECT body FROM grants WHERE id = $1").bind(id)).await
}

pub(super) async fn grants_of(pool: &SqlitePool, device: String) -> Result<Vec<Grant>, StoreError> {
    all(pool, "grant", sqlx::query("SELECT body FROM grants WHERE device = $1 ORDER BY id").bind(device)).await
}

pub(super) async fn grants_in(pool: &SqlitePool, state: GrantLife) -> Result<Vec<Grant>, StoreError> {
    all(pool, "grant", sqlx::query("SELECT body FROM grants WHERE state = $1 ORDER BY id").bind(state.as_str())).await
}

pub(super) async fn grants_over(pool: &SqlitePool, now: Timestamp, limit: u32) -> Result<Vec<Grant>, StoreError> {
    // Without being told, the engine goes through all that are active, which are most.
    let query = sqlx::query(
        "SELECT body FROM ( \
             SELECT * FROM (SELECT body, ends_at AS at FROM grants INDEXED BY grants_by_end \
                 WHERE state = 'active' AND ends_at <= $1 ORDER BY ends_at LIMIT $2) \
             UNION ALL SELECT * FROM (SELECT body, over_at AS at FROM grants INDEXED BY grants_by_over \
                 WHERE state = 'grace' AND over_at <= $1 ORDER BY over_at LIMIT $2)) \
         ORDER BY at LIMIT $2",
    );
    all(pool, "grant", query.bind(now.seconds()).bind(limit)).await
}

pub(super) async fn approvals(pool: &SqlitePool, id: String) -> Result<Option<Approvals>, StoreError> {
    one(pool, "approvals", sqlx::query("SELECT body FROM approvals WHERE id = $1").bind(id)).await
}

pub(super) async fn request(pool: &SqlitePool, id: String) -> Result<Option<Request>, StoreError> {
    one(pool, "request", sqlx::query("SELECT body FROM requests WHERE id = $1").bind(id)).await
}

pub(super) async fn challenge(pool: &SqlitePool, id: String) -> Result<Option<Challenge>, StoreError> {
    one(pool, "challenge", sqlx::query("SELECT body FROM challenges WHERE id = $1").bind(id)).await
}

pub(super) async fn token(pool: &SqlitePool, jti: String) -> Result<Option<IssuedToken>, StoreError> {
    let failed = engine("look a token up");
    let row = sqlx::query("SELECT device, grant_id, resource, expires_at, revoked FROM tokens WHERE jti = $1")
        .bind(jti.clone())
        .fetch_optional(pool)
        .await
        .map_err(&failed)?;
    let Some(row) = row else { return Ok(None) };
    let text = |name: &str| row.try_get::<String, _>(name).map_err(&failed);
    let number = |name: &str| row.try_get::<i64, _>(name).map_err(&failed);
    // What we wrote ourselves parses; a row that was tampered with is as good as none.
    let (Ok(device), Ok(grant), Ok(resource)) =
        (text("device")?.parse(), text("grant_id")?.parse(), text("resource")?.parse())
    else {
        return Ok(None);
    };
    Ok(Some(IssuedToken {
        jti,
        device,
        grant,
        resource,
        expires_at: Timestamp::from_seconds(number("expires_at")?),
        revoked: number("revoked")? != 0,
    }))
}

pub(super) async fn gate_by_secret(pool: &SqlitePool, hash: [u8; 32]) -> Result<Option<Gate>, StoreError> {
    one(pool, "gate", sqlx::query("SELECT body FROM gates WHERE secret_hash = $1").bind(hash.to_vec())).await
}

pub(super) async fn gate(pool: &SqlitePool, name: String) -> Result<Option<Gate>, StoreError> {
    one(pool, "gate", sqlx::query("SELECT body FROM gates WHERE name = $1").bind(name)).await
}

pub(super) async fn gates(pool: &SqlitePool) -> Result<Vec<Gate>, StoreError> {
    all(pool, "gate", sqlx::query("SELECT body FROM gates ORDER BY name")).await
}

pub(super) async fn newer_policy(pool: &SqlitePool, known: i64) -> Result<Option<PolicyVersion>, StoreError> {
    let query = sqlx::query("SELECT body FROM policies WHERE number > $1 ORDER BY number DESC LIMIT 1").bind(known);
    one(pool, "policy", query).await
}

pub(super) async fn policies(pool: &SqlitePool) -> Result<Vec<PolicyVersion>, StoreError> {
    all(pool, "policy", sqlx::query("SELECT body FROM policies ORDER BY number")).await
}

pub(super) async fn proposal(pool: &SqlitePool, id: String) -> Result<Option<Proposal>, StoreError> {
    one(pool, "proposal", sqlx::query("SELECT body FROM proposals WHERE id = $1").bind(id)).await
}

pub(super) async fn proposals(pool: &SqlitePool) -> Result<Vec<Proposal>, StoreError> {
    all(pool, "proposal", sqlx::query("SELECT body FROM proposals ORDER BY at, id")).await
}

pub(super) async fn keys(pool: &SqlitePool, purpose: KeyPurpose) -> Result<Vec<KeyRecord>, StoreError> {
    // Of two from the same second, the one that was given an end is the older.
    let query = sqlx::query(
        "SELECT body, retire_at FROM keys WHERE purpose = $1 \
         ORDER BY active_from, CASE WHEN retire_at IS NULL THEN 1 ELSE 0 END, retire_at, kid",
    )
    .bind(purpose.as_str());
    let rows = query.fetch_all(pool).await.map_err(engine("list keys"))?;
    rows.iter()
        .map(|row| {
            let mut key: KeyRecord = body("key", row)?;
            let retire_at: Option<i64> = row.try_get("retire_at").map_err(engine("list keys"))?;
            key.retire_at = retire_at.map(Timestamp::from_seconds);
            Ok(key)
        })
        .collect()
}
