//! Writes: a batch of decisions in one transaction, each in its savepoint.

use std::sync::Arc;

use daypass_proto::{
    ledger::{self, api::MAX_LEAF, tree::Head},
    time::{Skew, Timestamp},
};
use serde::Serialize;
use sqlx::{Acquire as _, Connection as _, Row as _, SqliteConnection, SqlitePool};

use super::{USED_AFTER_END, engine};
use crate::store::{
    Change, Condition, DecideError, Decision, Fault, KeyRecord, StoreError,
    ledger::{LedgerWork, Outcome},
    records::device_state,
};

/// The store's time is written when it is this far behind, in seconds: a row of its own in every batch would cost more than it says.
const FLOOR_STEP: i64 = 10;

/// What came of each decision, and of each work of the ledger.
pub(super) type Results = (Vec<Result<(), DecideError>>, Vec<Outcome>);

/// Applies `decisions`, then `works`, in order, and commits once. The outer error means that nothing happened.
pub(super) async fn batch(
    pool: &SqlitePool,
    decisions: &[Decision],
    works: &[LedgerWork],
) -> Result<Results, Arc<sqlx::Error>> {
    let mut connection = pool.acquire().await?;
    let result = batch_on(&mut connection, decisions, works).await;
    if result.is_err() {
        // After a fault the engine may have rolled back by itself, and then this connection counts its transactions wrongly for ever.
        connection.close_on_drop();
    }
    result
}

async fn batch_on(
    connection: &mut SqliteConnection,
    decisions: &[Decision],
    works: &[LedgerWork],
) -> Result<Results, Arc<sqlx::Error>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let stored = clock_floor(&mut *transaction).await?;
    let (mut floor, mut newest) = (stored, stored);
    let mut results = Vec::with_capacity(decisions.len());
    for decision in decisions {
        let at = decision.at().unwrap_or(floor);
        if decision.accepts_the_clock() {
            (floor, newest) = (at, at);
        } else if at.plus(Skew::MAX_SECONDS) < floor {
            results.push(Err(DecideError::Clock { now: at, floor }));
            continue;
        }
        let mut savepoint = transaction.begin().await?;
        match apply(&mut savepoint, decision).await {
            Ok(()) => {
                savepoint.commit().await?;
                newest = newest.max(at);
                results.push(Ok(()));
            }
            // The cause, and not what a rollback says that comes too late.
            Err(DecideError::Store(StoreError::Engine { source, .. })) if Fault::of(&source).stops_all() => {
                return Err(source);
            }
            Err(error) => {
                savepoint.rollback().await?;
                results.push(Err(error));
            }
        }
    }
    if newest.since(stored) >= FLOOR_STEP {
        let update = sqlx::query("UPDATE clock SET floor = $1 WHERE floor < $1").bind(newest.seconds());
        update.execute(&mut *transaction).await?;
    }
    let mut outcomes = Vec::with_capacity(works.len());
    for work in works {
        let mut savepoint = transaction.begin().await?;
        let outcome = super::ledger::apply(&mut savepoint, work).await;
        match outcome {
            Err(StoreError::Engine { source, .. }) if Fault::of(&source).stops_all() => return Err(source),
            Ok(Some(_)) => savepoint.commit().await?,
            Ok(None) | Err(_) => savepoint.rollback().await?,
        }
        outcomes.push(outcome);
    }
    transaction.commit().await?;
    Ok((results, outcomes))
}

/// The time up to which decisions were made.
pub(super) async fn clock_floor(executor: impl sqlx::SqliteExecutor<'_>) -> Result<Timestamp, sqlx::Error> {
    let row = sqlx::query("SELECT floor FROM clock").fetch_one(executor).await?;
    row.try_get("floor").map(Timestamp::from_seconds)
}

/// Writes what is there already, durably.
pub(super) async fn probe(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(engine("open the database"))?;
    let result = sqlx::query("UPDATE clock SET floor = floor").execute(&mut *connection).await;
    if result.is_err() {
        connection.close_on_drop();
    }
    result.map(drop).map_err(engine("write"))
}

async fn apply(connection: &mut SqliteConnection, decision: &Decision) -> Result<(), DecideError> {
    for change in &decision.changes {
        apply_change(connection, change).await?;
    }
    for event in &decision.events {
        write_event(connection, event).await?;
    }
    Ok(())
}

async fn write_event(connection: &mut SqliteConnection, event: &ledger::Event) -> Result<(), StoreError> {
    let failed = engine("write an event");
    let leaf = event.leaf();
    if leaf.len() > MAX_LEAF {
        return Err(StoreError::EventTooLarge(leaf.len()));
    }
    ledger::vocabulary::fits(event).map_err(StoreError::Vocabulary)?;
    let hash = ledger::leaf_hash(&leaf).to_vec();
    sqlx::query("INSERT INTO events (leaf_hash, kind, at, leaf, device, project) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(hash.clone())
        .bind(event.kind().as_str())
        .bind(event.at().seconds())
        .bind(leaf)
        .bind(event.text_of("device").map(str::to_owned))
        .bind(event.text_of("project").map(str::to_owned))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    for (name, field) in event.personal_fields() {
        sqlx::query("INSERT INTO personal_fields (leaf_hash, name, salt, value) VALUES ($1, $2, $3, $4)")
            .bind(hash.clone())
            .bind(*name)
            .bind(field.salt.to_vec())
            .bind(field.value.clone())
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
    }
    Ok(())
}

fn json(kind: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Record { kind, source })
}

/// Wraps every key anew: none may be left under another master key than the one that all are to be under.
async fn rewrap(
    connection: &mut SqliteConnection,
    from: &str,
    to: &str,
    keys: &[KeyRecord],
) -> Result<(), DecideError> {
    for key in keys {
        let done = sqlx::query("UPDATE keys SET master = $1, body = $2 WHERE kid = $3 AND master = $4")
            .bind(to.to_owned())
            .bind(json("key", key)?)
            .bind(key.kid.clone())
            .bind(from.to_owned())
            .execute(&mut *connection)
            .await
            .map_err(engine("rewrap a key"))?;
        if done.rows_affected() != 1 {
            return Err(DecideError::Conflict(Condition::MasterKey(from.to_owned())));
        }
    }
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM keys WHERE master <> $1")
        .bind(to.to_owned())
        .fetch_one(&mut *connection)
        .await
        .map_err(engine("rewrap keys"))?;
    if left == 0 { Ok(()) } else { Err(DecideError::Conflict(Condition::MasterKey(from.to_owned()))) }
}

async fn apply_change(connection: &mut SqliteConnection, change: &Change) -> Result<(), DecideError> {
    if let Change::RewrapKeys { from, to, keys } = change {
        return rewrap(connection, from, to, keys).await;
    }
    // Each arm gives the statement and the condition that one changed row proves; no condition where nothing can fail.
    let (query, condition) = match change {
        Change::AddInvitation(new) => (
            sqlx::query("INSERT INTO invitations (id, secret_hash, state, ek_hash, grant_id, body) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(new.secret_hash.0.to_vec())
                .bind(new.state.as_str())
                .bind(new.ek_hash.map(|hash| hash.0.to_vec()))
                .bind(new.grant.to_string())
                .bind(json("invitation", new)?),
            Some(Condition::Name(new.id.to_string())),
        ),
        Change::Invitation { to, from } => (
            sqlx::query("UPDATE invitations SET state = $1, body = $2 WHERE id = $3 AND state = $4")
                .bind(to.state.as_str())
                .bind(json("invitation", to)?)
                .bind(to.id.to_string())
                .bind(from.as_str()),
            Some(Condition::Invitation(to.id.clone())),
        ),
        Change::AddGrant(new) => (
            sqlx::query("INSERT INTO grants (id, state, device, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(new.state.as_str())
                .bind(new.device.as_ref().map(ToString::to_string))
                .bind(json("grant", new)?),
            Some(Condition::Name(new.id.to_string())),
        ),
        Change::Grant { to, from } => (
            sqlx::query("UPDATE grants SET state = $1, device = $2, body = $3 WHERE id = $4 AND state = $5")
                .bind(to.state.as_str())
                .bind(to.device.as_ref().map(ToString::to_string))
                .bind(json("grant", to)?)
                .bind(to.id.to_string())
                .bind(from.as_str()),
            Some(Condition::Grant(to.id.clone())),
        ),
        Change::AddDevice(new) => (
            sqlx::query("INSERT INTO devices (id, state, software, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(device_state(new.state))
                .bind(i64::from(new.is_software()))
                .bind(json("device", new)?),
            Some(Condition::Name(new.id.to_string())),
        ),
        Change::Device { to, from } => (
            sqlx::query("UPDATE devices SET state = $1, body = $2 WHERE id = $3 AND state = $4")
                .bind(device_state(to.state))
                .bind(json("device", to)?)
                .bind(to.id.to_string())
                .bind(device_state(*from)),
            Some(Condition::Device(to.id.clone())),
        ),
        // An update that changes nothing counts rows like every other, so that one rule judges them all.
        Change::RequireDevice(id, state) => (
            sqlx::query("UPDATE devices SET state = state WHERE id = $1 AND state = $2").bind(id.to_string()).bind(device_state(*state)),
            Some(Condition::Device(id.clone())),
        ),
        Change::RequireGrant(id, state) => (
            sqlx::query("UPDATE grants SET state = state WHERE id = $1 AND state = $2").bind(id.to_string()).bind(state.as_str()),
            Some(Condition::Grant(id.clone())),
        ),
        Change::AddCertificate { hash, record } => (
            sqlx::query("INSERT INTO certificates (hash, holder, not_before, not_after) VALUES ($1, $2, $3, $4)")
                .bind(hash.to_vec())
                .bind(record.holder.uri())
                .bind(record.not_before.seconds())
                .bind(record.not_after.seconds()),
            None,
        ),
        Change::DropCertificates(holder) => (sqlx::query("DELETE FROM certificates WHERE holder = $1").bind(holder.uri()), None),
        Change::AddChallenge(new) => (
            sqlx::query("INSERT INTO challenges (id, expires_at, body) VALUES ($1, $2, $3)")
                .bind(new.id.clone())
                .bind(new.expires_at.seconds())
                .bind(json("challenge", new)?),
            None,
        ),
        Change::TakeChallenge(id) => (sqlx::query("DELETE FROM challenges WHERE id = $1").bind(id.clone()), Some(Condition::Challenge)),
        Change::AddToken(new) => (
            sqlx::query("INSERT INTO tokens (jti, device, grant_id, resource, expires_at, revoked) VALUES ($1, $2, $3, $4, $5, 0)")
                .bind(new.jti.clone())
                .bind(new.device.to_string())
                .bind(new.grant.to_string())
                .bind(new.resource.as_str().to_owned())
                .bind(new.expires_at.seconds()),
            None,
        ),
        Change::RevokeToken(jti) => (sqlx::query("UPDATE tokens SET revoked = 1 WHERE jti = $1").bind(jti.clone()), None),
        Change::RememberProof { id, until } => (
            sqlx::query("INSERT INTO proofs_seen (id, remember_until) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(id.to_vec())
                .bind(until.seconds()),
            Some(Condition::ProofIsNew),
        ),
        Change::AddGate(new) => (
            sqlx::query("INSERT INTO gates (name, secret_hash, state, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(new.name.to_string())
                .bind(new.secret_hash.0.to_vec())
                .bind(new.state.as_str())
                .bind(json("gate", new)?),
            Some(Condition::Name(new.name.to_string())),
        ),
        Change::Gate { to, from } => (
            sqlx::query("UPDATE gates SET state = $1, secret_hash = $2, body = $3 WHERE name = $4 AND state = $5")
                .bind(to.state.as_str())
                .bind(to.secret_hash.0.to_vec())
                .bind(json("gate", to)?)
                .bind(to.name.to_string())
                .bind(from.as_str()),
            Some(Condition::Gate(to.name.to_string())),
        ),
        Change::AddKey(new) => (
            // All keys are under one master key: whoever read it before a rotation adds nothing after it.
            sqlx::query(
                "INSERT INTO keys (kid, purpose, active_from, retire_at, body, master) \
                 SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT 1 FROM keys WHERE master <> $6)",
            )
                .bind(new.kid.clone())
                .bind(new.purpose.as_str())
                .bind(new.active_from.seconds())
                .bind(new.retire_at.map(Timestamp::seconds))
                .bind(json("key", new)?)
                .bind(new.master.clone()),
            Some(Condition::MasterKey(new.master.clone())),
        ),
        Change::ErasePerson { name, fields, now } => return super::erase::erase(connection, name, *fields, *now).await,
        Change::BeginLedger(origin) => (
            sqlx::query("INSERT INTO ledger (id, origin, size, root, epoch, lease_until, promised) VALUES (1, $1, 0, $2, 0, 0, 0) ON CONFLICT DO NOTHING")
                .bind(origin.as_str().to_owned())
                .bind(Head::empty().root().to_vec()),
            Some(Condition::Ledger),
        ),
        Change::RenameLedger { to, from } => (
            sqlx::query("UPDATE ledger SET origin = $1, promised = 0, epoch = epoch + 1, holder = NULL WHERE id = 1 AND origin = $2")
                .bind(to.as_str().to_owned())
                .bind(from.as_str().to_owned()),
            Some(Condition::Ledger),
        ),
        Change::RetireKey { kid, at } => (
            sqlx::query("UPDATE keys SET retire_at = $1 WHERE kid = $2 AND retire_at IS NULL").bind(at.seconds()).bind(kid.clone()),
            Some(Condition::Key(kid.clone())),
        ),
        Change::AcceptClock { from, to } => (
            sqlx::query("UPDATE clock SET floor = $1 WHERE floor = $2").bind(to.seconds()).bind(from.seconds()),
            Some(Condition::Clock),
        ),
        // Above.
        Change::RewrapKeys { .. } => return Ok(()),
    };
    let done = query.execute(&mut *connection).await.map_err(engine("change a record"))?;
    match condition {
        Some(condition) if done.rows_affected() != 1 => Err(DecideError::Conflict(condition)),
        _ => Ok(()),
    }
}

/// Forgets what no rule needs any more.
pub(super) async fn sweep(pool: &SqlitePool, now: Timestamp) -> Result<(), StoreError> {
    let failed = engine("forget what is over");
    // A certificate is remembered for a while after its end, so that its holder is told that it expired, and not that it is unknown.
    const REMEMBER_CERTIFICATES: i64 = 400 * 24 * 3600;
    for (statement, before) in [
        ("DELETE FROM challenges WHERE expires_at < $1", now),
        ("DELETE FROM proofs_seen WHERE remember_until < $1", now),
        ("DELETE FROM tokens WHERE expires_at < $1", now.plus(-USED_AFTER_END)),
        ("DELETE FROM certificates WHERE not_after < $1", now.plus(-REMEMBER_CERTIFICATES)),
    ] {
        sqlx::query(statement).bind(before.seconds()).execute(pool).await.map_err(&failed)?;
    }
    Ok(())
}
