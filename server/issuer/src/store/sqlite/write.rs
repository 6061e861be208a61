//! Writes: a batch of decisions in one transaction, each in its savepoint.

use std::sync::Arc;

use daypass_proto::{
    ledger::tree::Head,
    time::{Skew, Timestamp},
};
use serde::Serialize;
use sqlx::{Acquire as _, Connection, Row as _, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

use super::{
    USED_AFTER_END, engine,
    together::{self, Rows},
};
use crate::store::{
    Change, Condition, DecideError, Decision, Fault, GrantLife, KeyRecord, StoreError,
    ledger::{LedgerWork, Outcome},
    records::{device_state, grant_may_become},
    requests::request_may_become,
};

/// The store's time is written when it is this far behind, in seconds: a row of its own in every batch would cost more than it says.
const FLOOR_STEP: i64 = 10;

pub(super) const DROP_CERTIFICATES: &str = "DELETE FROM certificates WHERE holder = $1";

/// What came of each decision, and of each work of the ledger.
pub(super) type Results = (Vec<Result<(), DecideError>>, Vec<Outcome>);

/// The one connection that writes. It is kept: a pool asks a connection whether it is well before and after each use.
pub(super) struct Writer {
    pool: SqlitePool,
    kept: Option<PoolConnection<Sqlite>>,
}

impl Writer {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool, kept: None }
    }

    /// Does `work`. After a fault the engine may have rolled back by itself, and then a connection counts its transactions wrongly for ever: the
    /// next work gets another one.
    async fn work<T, E: From<sqlx::Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        let result = work(&mut connection).await;
        match result {
            Ok(_) => self.kept = Some(connection),
            Err(_) => connection.close_on_drop(),
        }
        result
    }

    /// Applies `decisions`, then `works`, in order, and commits once. The outer error means that nothing happened.
    pub(super) async fn batch(
        &mut self,
        decisions: &[Decision],
        works: &[LedgerWork],
    ) -> Result<Results, Arc<sqlx::Error>> {
        self.work(async |connection| batch(connection, decisions, works).await).await
    }

    /// Writes what is there already, durably.
    pub(super) async fn probe(&mut self) -> Result<(), StoreError> {
        let probed =
            self.work(async |connection| sqlx::query("UPDATE clock SET floor = floor").execute(connection).await);
        probed.await.map(drop).map_err(engine("write"))
    }

    /// Forgets what no rule needs any more.
    pub(super) async fn sweep(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.work(async |connection| sweep(connection, now).await).await.map_err(engine("forget what is over"))
    }

    /// Takes what was erased out of the write-ahead log as well, where it would stay until it happens to be written over.
    pub(super) async fn empty_log(&mut self) {
        let emptied = self.work(async |connection| {
            sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await
        });
        let busy = emptied.await;
        if busy.as_ref().ok() != Some(&0) {
            tracing::warn!(
                ?busy,
                "the write-ahead log still has what was erased; it is emptied when everybody has closed the store"
            );
        }
    }

    /// Closes it.
    pub(super) async fn close(self) {
        drop(self.kept);
        self.pool.close().await;
    }
}

async fn batch(
    connection: &mut SqliteConnection,
    decisions: &[Decision],
    works: &[LedgerWork],
) -> Result<Results, Arc<sqlx::Error>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let fits: Vec<bool> = decisions.iter().map(together::fits).collect();
    let together: Vec<&Decision> =
        decisions.iter().zip(&fits).filter_map(|(decision, fits)| fits.then_some(decision)).collect();
    let floor = if together.is_empty() { None } else { write_together(&mut transaction, &together).await? };
    if floor.is_none() && !together.is_empty() {
        // Somebody's condition did not hold, and perhaps nobody else's.
        transaction.rollback().await?;
        transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    }
    let stored = match floor {
        Some(floor) => floor,
        None => clock_floor(&mut *transaction).await?,
    };
    let mut times = Times { floor: stored, newest: stored };
    let mut results = Vec::with_capacity(decisions.len());
    for (decision, fits) in decisions.iter().zip(fits) {
        results.push(if floor.is_some() && fits {
            times.newest = times.newest.max(decision.at().unwrap_or(stored));
            Ok(())
        } else {
            write_alone(&mut transaction, decision, &mut times).await?
        });
    }
    if times.newest.since(stored) >= FLOOR_STEP {
        let update = sqlx::query("UPDATE clock SET floor = $1 WHERE floor < $1").bind(times.newest.seconds());
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

/// The time up to which decisions were made in the store, and in this batch.
struct Times {
    floor: Timestamp,
    newest: Timestamp,
}

/// Writes all of them; gives the store's time if every condition of every one held. If not, whatever was written must be taken back.
async fn write_together(
    connection: &mut SqliteConnection,
    decisions: &[&Decision],
) -> Result<Option<Timestamp>, sqlx::Error> {
    let written = async {
        // An event that is too large is one decision's fault.
        let Ok(rows) = Rows::of(decisions.iter().copied()) else { return Ok(None) };
        let (floor, hold) = rows.hold(connection).await?;
        let in_time = |decision: &&Decision| decision.at().is_none_or(|at| at.plus(Skew::MAX_SECONDS) >= floor);
        if !hold || !decisions.iter().all(in_time) {
            return Ok(None);
        }
        rows.write(connection).await?;
        Ok(Some(floor))
    };
    match written.await {
        // So may an error be that the disk is not to blame for.
        Err(error) if !Fault::of(&error).stops_all() => Ok(None),
        written => written,
    }
}

/// Writes one in a savepoint. The outer error means that nothing of the batch can happen.
async fn write_alone(
    connection: &mut SqliteConnection,
    decision: &Decision,
    times: &mut Times,
) -> Result<Result<(), DecideError>, Arc<sqlx::Error>> {
    let at = decision.at().unwrap_or(times.floor);
    if decision.accepts_the_clock() {
        *times = Times { floor: at, newest: at };
    } else if at.plus(Skew::MAX_SECONDS) < times.floor {
        return Ok(Err(DecideError::Clock { now: at, floor: times.floor }));
    }
    let mut savepoint = Connection::begin(connection).await?;
    match apply(&mut savepoint, decision).await {
        Ok(()) => {
            savepoint.commit().await?;
            times.newest = times.newest.max(at);
            Ok(Ok(()))
        }
        // The cause, and not what a rollback says that comes too late.
        Err(DecideError::Store(StoreError::Engine { source, .. })) if Fault::of(&source).stops_all() => Err(source),
        Err(error) => {
            savepoint.rollback().await?;
            Ok(Err(error))
        }
    }
}

/// The time up to which decisions were made.
pub(super) async fn clock_floor(executor: impl sqlx::SqliteExecutor<'_>) -> Result<Timestamp, sqlx::Error> {
    let row = sqlx::query("SELECT floor FROM clock").fetch_one(executor).await?;
    row.try_get("floor").map(Timestamp::from_seconds)
}

async fn apply(connection: &mut SqliteConnection, decision: &Decision) -> Result<(), DecideError> {
    for change in &decision.changes {
        apply_change(connection, change).await?;
    }
    let failed = engine("write an event");
    Rows::events(&decision.events)?.write(connection).await.map_err(|error| failed(error).into())
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
    if let Change::DropNotifications(all) = change {
        let gone = super::notification::drop_dead(connection, all).await?;
        return if gone { Ok(()) } else { Err(DecideError::Conflict(Condition::Notifications)) };
    }
    if let Change::RequireNothingLeft(scope) = change {
        let nothing = super::find::nothing_left(connection, scope).await?;
        return if nothing { Ok(()) } else { Err(DecideError::Conflict(Condition::NothingLeft(scope.clone()))) };
    }
    if let Change::RequireSomebody(project, now) = change {
        let somebody = super::find::somebody(connection, project, *now).await?;
        return if somebody { Ok(()) } else { Err(DecideError::Conflict(Condition::Somebody(project.clone()))) };
    }
    if let Change::RequireNoGrant(device) = change {
        let none = super::find::no_grant(connection, device).await?;
        return if none { Ok(()) } else { Err(DecideError::Conflict(Condition::NoGrant(device.clone()))) };
    }
    if let Change::RequireRoleFree(device, project, role) = change {
        let free = super::find::role_free(connection, device, (project, role)).await?;
        let condition = || Condition::RoleFree(device.clone(), role.clone());
        return if free { Ok(()) } else { Err(DecideError::Conflict(condition())) };
    }
    if let Change::RequireApprovals(id, given) = change {
        let now = sqlx::query_scalar("SELECT given FROM approvals WHERE id = $1").bind(id.clone());
        let now: Option<i64> = now.fetch_optional(connection).await.map_err(engine("look approvals up"))?;
        return if now == *given { Ok(()) } else { Err(DecideError::Conflict(Condition::Approvals(id.clone()))) };
    }
    if let Some((rows, condition)) = Rows::alone(change) {
        let (_, hold) = rows.hold(connection).await.map_err(engine("change a record"))?;
        return if hold { Ok(()) } else { Err(DecideError::Conflict(condition)) };
    }
    // Each arm gives the statement and the condition that one changed row proves; no condition where nothing can fail.
    let (query, condition) = match change {
        Change::AddInvitation(new) => (
            sqlx::query("INSERT INTO invitations (id, secret_hash, state, ek_hash, grant_id, body) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING")
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
            sqlx::query("INSERT INTO grants (id, state, device, body) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(new.state.as_str())
                .bind(new.device.as_ref().map(ToString::to_string))
                .bind(json("grant", new)?),
            // Of each, one successor lives.
            Some(match &new.replaces {
                Some(replaces) => Condition::Grant(replaces.grant.clone()),
                None => Condition::Name(new.id.to_string()),
            }),
        ),
        Change::Grant { to, from } if *from != to.state && !grant_may_become(*from, to.state) => {
            return Err(StoreError::Transition { from: *from, to: to.state }.into());
        }
        Change::Grant { to, from } => (
            // By its device the tokens of a grant are found when it ends. Nobody writes one who read it before it was extended, or leaves
            // one in use that was read before a use was counted: both would be forgotten. Revoking waits for neither.
            sqlx::query(
                "UPDATE grants SET state = $1, device = $2, body = $3 WHERE id = $4 AND state = $5 AND COALESCE(device, $2) IS $2 \
                 AND ends_at = COALESCE($6, ends_at) AND ($7 IS NULL OR COALESCE(json_extract(body, '$.used'), 0) <= $7)",
            )
                .bind(to.state.as_str())
                .bind(to.device.as_ref().map(ToString::to_string))
                .bind(json("grant", to)?)
                .bind(to.id.to_string())
                .bind(from.as_str())
                .bind((to.state != GrantLife::Revoked).then(|| to.until.seconds()))
                .bind((!matches!(to.state, GrantLife::Revoked | GrantLife::Ended)).then(|| i64::from(to.used))),
            Some(Condition::Grant(to.id.clone())),
        ),
        Change::Approvals(to) => (
            sqlx::query("INSERT INTO approvals (id, given, body) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET given = $2, body = $3 WHERE approvals.given = $2 - 1")
                .bind(to.id.clone())
                .bind(to.count())
                .bind(json("approvals", to)?),
            Some(Condition::Approvals(to.id.clone())),
        ),
        Change::AddRequest(new) => (
            sqlx::query("INSERT INTO requests (id, state, subject, device, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(new.state.as_str())
                .bind(new.subject())
                .bind(new.device.to_string())
                .bind(json("request", new)?),
            Some(Condition::OneRequest),
        ),
        Change::Request { to, from } if from.state != to.state && !request_may_become(from.state, to.state) => {
            return Err(DecideError::Conflict(Condition::Request(to.id.clone())));
        }
        Change::Request { to, from } => (
            sqlx::query(
                "UPDATE requests SET state = $1, body = $2 WHERE id = $3 AND state = $4 \
                 AND json_extract(body, '$.given_until') = $5 AND json_extract(body, '$.given_role') = $6",
            )
                .bind(to.state.as_str())
                .bind(json("request", to)?)
                .bind(to.id.to_string())
                .bind(from.state.as_str())
                .bind(from.given_until.seconds())
                .bind(from.given_role.to_string()),
            Some(Condition::Request(to.id.clone())),
        ),
        Change::Extend { to, from } if from.state != to.state && !grant_may_become(from.state, to.state) => {
            return Err(StoreError::Transition { from: from.state, to: to.state }.into());
        }
        Change::Extend { to, from } => (
            sqlx::query(
                "UPDATE grants SET state = $1, body = $2 WHERE id = $3 AND state = $4 AND ends_at = $5 \
                 AND COALESCE(json_extract(body, '$.used'), 0) = $6",
            )
                .bind(to.state.as_str())
                .bind(json("grant", to)?)
                .bind(to.id.to_string())
                .bind(from.state.as_str())
                .bind(from.until.seconds())
                .bind(i64::from(from.used)),
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
        Change::DeviceLife { id, to, reason, from } => (
            sqlx::query(
                "UPDATE devices SET state = $1, body = json_set(body, '$.state', json($2), '$.reason', $3) WHERE id = $4 AND state = $5",
            )
                .bind(device_state(*to))
                .bind(json("device", to)?)
                .bind(reason.clone())
                .bind(id.to_string())
                .bind(device_state(*from)),
            Some(Condition::Device(id.clone())),
        ),
        Change::AddCertificate { hash, record } => (
            sqlx::query("INSERT INTO certificates (hash, holder, not_before, not_after) VALUES ($1, $2, $3, $4)")
                .bind(hash.to_vec())
                .bind(record.holder.uri())
                .bind(record.not_before.seconds())
                .bind(record.not_after.seconds()),
            None,
        ),
        Change::DropCertificates(holder) => (sqlx::query(DROP_CERTIFICATES).bind(holder.uri()), None),
        Change::AddChallenge(new) => (
            sqlx::query("INSERT INTO challenges (id, expires_at, body) VALUES ($1, $2, $3)")
                .bind(new.id.clone())
                .bind(new.expires_at.seconds())
                .bind(json("challenge", new)?),
            None,
        ),
        Change::TakeChallenge(id) => (sqlx::query("DELETE FROM challenges WHERE id = $1").bind(id.clone()), Some(Condition::Challenge)),
        Change::RevokeToken(jti) => (
            sqlx::query("UPDATE tokens SET revoked = 1 WHERE jti = $1 AND revoked = 0").bind(jti.clone()),
            Some(Condition::TokenIsGood),
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
        Change::AddProposal(new) => (
            sqlx::query("INSERT INTO proposals (id, state, at, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(new.state.as_str())
                .bind(new.at.seconds())
                .bind(json("proposal", new)?),
            Some(Condition::Name(new.id.to_string())),
        ),
        Change::Proposal(to) => (
            sqlx::query("UPDATE proposals SET state = $1, body = $2 WHERE id = $3 AND state = 'waiting'")
                .bind(to.state.as_str())
                .bind(json("proposal", to)?)
                .bind(to.id.to_string()),
            Some(Condition::Proposal(to.id.clone())),
        ),
        Change::SetPolicy(new) => (
            sqlx::query(
                "INSERT INTO policies (number, hash, at, body) \
                 SELECT $1, $2, $3, $4 WHERE (SELECT COALESCE(MAX(number), 0) + 1 FROM policies) = $1",
            )
                .bind(new.number)
                .bind(new.hash.0.to_vec())
                .bind(new.at.seconds())
                .bind(json("policy", new)?),
            Some(Condition::Policy),
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
        Change::RewrapKeys { .. }
        | Change::DropNotifications(..)
        | Change::RequireNothingLeft(..)
        | Change::RequireSomebody(..)
        | Change::RequireNoGrant(..)
        | Change::RequireRoleFree(..)
        | Change::RequireApprovals(..)
        | Change::RequireSeen { .. }
        | Change::RequireDevice(..)
        | Change::RequireGrant(..)
        | Change::RememberProof { .. }
        | Change::AddToken { .. } => return Ok(()),
    };
    let done = query.execute(&mut *connection).await.map_err(engine("change a record"))?;
    match condition {
        Some(condition) if done.rows_affected() != 1 => Err(DecideError::Conflict(condition)),
        _ => Ok(()),
    }
}

/// A certificate is remembered for a while after its end, so that its holder is told that it expired, and not that it is unknown.
const REMEMBER_CERTIFICATES: i64 = 400 * 24 * 3600;

/// How what is over is forgotten, and for how many seconds it was kept.
pub(super) const SWEEPS: [(&str, i64); 5] = [
    super::notification::SWEEP,
    ("DELETE FROM challenges WHERE expires_at < $1", 0),
    ("DELETE FROM proofs_seen WHERE remember_until < $1", 0),
    ("DELETE FROM tokens WHERE expires_at < $1", USED_AFTER_END),
    ("DELETE FROM certificates WHERE not_after < $1", REMEMBER_CERTIFICATES),
];

async fn sweep(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    for (statement, kept) in SWEEPS {
        sqlx::query(statement).bind(now.plus(-kept).seconds()).execute(&mut *connection).await?;
    }
    Ok(())
}
