//! Writes: what the quick way left, each decision in its savepoint, and all that is not a decision.

use std::{path::Path, sync::Arc};

use daypass_proto::{
    encoding::base64url,
    enrolment::DeviceLife,
    ledger::{Sealed, api::MAX_LEAF, tree::Head, vocabulary},
    names::DeviceId,
    time::{Skew, Timestamp},
};
use serde::Serialize;
use sqlx::{Acquire as _, Connection, Row as _, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};

use super::{
    USED_AFTER_END, engine,
    quick::Quick,
    recent::{Ends, Recent},
};
use crate::store::{
    Change, Condition, DecideError, Decision, Fault, GateLife, Grant, GrantLife, KeyRecord, StoreError,
    ledger::{LedgerWork, Outcome},
    records::{IssuedToken, grant_may_become},
    requests::request_may_become,
};

/// The store's time is written when it is this far behind, in seconds: a row of its own in every batch would cost more than it says.
pub(super) const FLOOR_STEP: i64 = 10;
pub(super) const FLOOR: &str = "SELECT floor FROM clock";
pub(super) const RAISE_FLOOR: &str = "UPDATE clock SET floor = ?1 WHERE floor < ?1";

pub(super) const DROP_CERTIFICATES: &str = "DELETE FROM certificates WHERE holder = $1";

// What tokens are made of, for both ways.
pub(super) const DEVICE_IN: &str = "SELECT 1 FROM devices WHERE id = ?1 AND state = ?2";
pub(super) const GRANT_IN: &str = "SELECT 1 FROM grants WHERE id = ?1 AND state = ?2";
pub(super) const CERTIFICATE_OF: &str = "SELECT 1 FROM certificates WHERE hash = ?1 AND holder = ?2";
pub(super) const DEVICE_AS_SEEN: &str = "SELECT 1 FROM devices WHERE id = ?1 AND body = ?2";
pub(super) const GRANT_AS_SEEN: &str = "SELECT 1 FROM grants WHERE id = ?1 AND body = ?2";
/// Whatever can still be revoked counts as live ([`Recent::live`]); what was revoked counts for as long as gates are told of it, so that revoking makes no room.
pub(super) const REVOKED_OF: &str =
    "SELECT COUNT(*) FROM tokens WHERE device = ?1 AND revoked <> 0 AND expires_at > ?2 AND expires_at <= ?3";
pub(super) const ADD_PROOF: &str = "INSERT INTO proofs_seen (id, remember_until) VALUES (?1, ?2)";
pub(super) const ADD_TOKEN: &str =
    "INSERT INTO tokens (jti, device, grant_id, resource, expires_at, revoked) VALUES (?1, ?2, ?3, ?4, ?5, 0)";
/// Up to an hour more than is so: whoever is asked about may have had a token that much longer ago.
pub(super) const ADD_HOLDER: &str = "INSERT INTO token_holders (device, resource, grant_id, until) VALUES (?1, ?2, ?3, ?4 + 3600) \
     ON CONFLICT DO UPDATE SET until = excluded.until, dead = 0 WHERE until < excluded.until - 3600";
/// Who had a token, and has nothing any more that could be used with one: whoever gets another one is marked no longer.
const MARK_DEVICE: &str = "UPDATE token_holders SET dead = 1 WHERE device = $1";
const MARK_GRANT: &str = "UPDATE token_holders SET dead = 1 WHERE device = $1 AND grant_id = $2";
pub(super) const ADD_EVENT: &str =
    "INSERT INTO events (leaf_hash, kind, at, leaf, device, project) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
pub(super) const ADD_FIELD: &str = "INSERT INTO personal_fields (event, name, salt, value) VALUES (?1, ?2, ?3, ?4)";

/// The same for several of an event, one behind the other.
pub(super) fn add_fields(count: usize) -> String {
    format!("INSERT INTO personal_fields (event, name, salt, value) VALUES {}", vec!["(?, ?, ?, ?)"; count].join(", "))
}

/// The end of the last token that is over at `now`, by whatever clock.
pub(super) fn over(now: Timestamp) -> i64 {
    now.plus(-Skew::MAX_SECONDS).seconds()
}

/// The end of the last token of which gates are told nothing any more at `now`.
pub(super) fn forgotten(now: Timestamp) -> i64 {
    now.plus(-USED_AFTER_END).seconds()
}

/// Whether the ledger takes this event.
pub(super) fn fits_the_ledger(sealed: &Sealed) -> Result<(), StoreError> {
    match sealed.leaf().len() {
        size if size > MAX_LEAF => Err(StoreError::EventTooLarge(size)),
        _ => vocabulary::fits(sealed.event()).map_err(StoreError::Vocabulary),
    }
}

/// What came of each decision, and of each work of the ledger.
pub(super) struct Results {
    pub(super) decisions: Vec<Result<(), DecideError>>,
    pub(super) works: Vec<Outcome>,
    /// Why there are some of which nothing happened, though nothing is wrong with them.
    pub(super) fault: Option<Arc<sqlx::Error>>,
}

/// A connection that is kept: a pool asks one whether it is well before and after each use.
struct Kept {
    pool: SqlitePool,
    connection: Option<PoolConnection<Sqlite>>,
}

impl Kept {
    /// Does `work`. After a fault the engine may have rolled back by itself, and then a connection counts its transactions wrongly for ever: the
    /// next work gets another one.
    async fn work<T, E: From<sqlx::Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        let result = work(&mut connection).await;
        match result {
            Ok(_) => self.connection = Some(connection),
            Err(_) => connection.close_on_drop(),
        }
        result
    }
}

/// The one who writes.
pub(super) struct Writer {
    kept: Kept,
    quick: Quick,
    recent: Recent,
}

impl Writer {
    pub(super) fn new(pool: SqlitePool, path: &Path) -> Self {
        Self { kept: Kept { pool, connection: None }, quick: Quick::new(path), recent: Recent::default() }
    }

    /// Applies `decisions` and `works`, and commits those that go the quick way; then whatever is left of them, in order, and commits once more.
    pub(super) async fn batch(&mut self, decisions: &[Decision], works: &[LedgerWork]) -> Results {
        let done = self.quick.write(decisions, works, &mut self.recent);
        let left: Vec<&Decision> =
            decisions.iter().zip(&done.decisions).filter_map(|(decision, done)| (!done).then_some(decision)).collect();
        let works_left: Vec<&LedgerWork> =
            works.iter().zip(&done.works).filter_map(|(work, done)| (!done).then_some(work)).collect();
        let (mut rest, mut outcomes, fault) = if left.is_empty() && works_left.is_empty() {
            (Vec::new(), Vec::new(), None)
        } else {
            let (quick, recent) = (&mut self.quick, &mut self.recent);
            let written = self
                .kept
                .work(async |connection| write_alone(connection, quick, recent, &left, &works_left).await)
                .await;
            match written {
                Ok((decisions, works)) => (decisions, works, None),
                Err(source) => {
                    self.recent.take_back(0);
                    let failed = || engine("commit")(Arc::clone(&source));
                    let decisions = left.iter().map(|_| Err(failed().into())).collect();
                    (decisions, works_left.iter().map(|_| Err(failed())).collect(), Some(Arc::clone(&source)))
                }
            }
        };
        let (mut rest, mut outcomes) = (rest.drain(..), outcomes.drain(..));
        // There is one for each that is not done.
        let decisions =
            done.decisions.iter().map(|done| if *done { Ok(()) } else { rest.next().unwrap_or(Ok(())) }).collect();
        let works = works.iter().zip(&done.works).map(|(work, done)| match (done, work) {
            (true, LedgerWork::Integrate(integration)) => Ok(Some(integration.epoch)),
            _ => outcomes.next().unwrap_or(Ok(None)),
        });
        Results { decisions, works: works.collect(), fault }
    }

    /// Writes what is there already, durably.
    pub(super) async fn probe(&mut self) -> Result<(), StoreError> {
        let probed =
            self.kept.work(async |connection| sqlx::query("UPDATE clock SET floor = floor").execute(connection).await);
        probed.await.map(drop).map_err(engine("write"))
    }

    /// Forgets what no rule needs any more.
    pub(super) async fn sweep(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.recent.sweep(now);
        self.kept.work(async |connection| sweep(connection, now).await).await.map_err(engine("forget what is over"))
    }

    /// Takes what was erased out of the write-ahead log as well, where it would stay until it happens to be written over.
    pub(super) async fn empty_log(&mut self) {
        let emptied = self.kept.work(async |connection| {
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
        let Self { kept: Kept { pool, connection }, quick, .. } = self;
        drop((connection, quick));
        pool.close().await;
    }
}

/// The outer error means that nothing happened.
async fn write_alone(
    connection: &mut SqliteConnection,
    quick: &mut Quick,
    recent: &mut Recent,
    decisions: &[&Decision],
    works: &[&LedgerWork],
) -> Result<(Vec<Result<(), DecideError>>, Vec<Outcome>), Arc<sqlx::Error>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut results = Vec::with_capacity(decisions.len());
    if !decisions.is_empty() {
        let stored = clock_floor(&mut *transaction).await?;
        let mut times = Times { floor: stored, newest: stored };
        let latest = decisions.iter().filter_map(|decision| decision.at()).max();
        quick.catch_up(recent, latest.unwrap_or(stored))?;
        for decision in decisions {
            results.push(write_one(&mut transaction, decision, &mut times, recent).await?);
        }
        if times.newest.since(stored) >= FLOOR_STEP {
            sqlx::query(RAISE_FLOOR).bind(times.newest.seconds()).execute(&mut *transaction).await?;
        }
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
    let ends = if decisions.is_empty() { None } else { Some(ends(&mut transaction).await?) };
    transaction.commit().await?;
    recent.keep(ends);
    Ok((results, outcomes))
}

async fn ends(connection: &mut SqliteConnection) -> Result<Ends, sqlx::Error> {
    let (events, proofs) = sqlx::query_as(super::recent::ENDS).fetch_one(connection).await?;
    Ok(Ends { events, proofs })
}

/// The time up to which decisions were made in the store, and in this batch.
struct Times {
    floor: Timestamp,
    newest: Timestamp,
}

/// Writes one in a savepoint. The outer error means that nothing of the batch can happen.
async fn write_one(
    connection: &mut SqliteConnection,
    decision: &Decision,
    times: &mut Times,
    recent: &mut Recent,
) -> Result<Result<(), DecideError>, Arc<sqlx::Error>> {
    let at = decision.at().unwrap_or(times.floor);
    if !decision.accepts_the_clock() && at.plus(Skew::MAX_SECONDS) < times.floor {
        return Ok(Err(DecideError::Clock { now: at, floor: times.floor }));
    }
    let mark = recent.mark();
    let mut savepoint = Connection::begin(connection).await?;
    match apply(&mut savepoint, decision, recent).await {
        Ok(()) => {
            savepoint.commit().await?;
            if decision.accepts_the_clock() {
                *times = Times { floor: at, newest: at };
            }
            times.newest = times.newest.max(at);
            Ok(Ok(()))
        }
        // The cause, and not what a rollback says that comes too late.
        Err(DecideError::Store(StoreError::Engine { source, .. })) if Fault::of(&source).stops_all() => Err(source),
        Err(error) => {
            recent.take_back(mark);
            savepoint.rollback().await?;
            Ok(Err(error))
        }
    }
}

/// The time up to which decisions were made.
pub(super) async fn clock_floor(executor: impl sqlx::SqliteExecutor<'_>) -> Result<Timestamp, sqlx::Error> {
    let row = sqlx::query(FLOOR).fetch_one(executor).await?;
    row.try_get("floor").map(Timestamp::from_seconds)
}

async fn apply(connection: &mut SqliteConnection, decision: &Decision, recent: &mut Recent) -> Result<(), DecideError> {
    for change in &decision.changes {
        apply_change(connection, change, recent).await?;
    }
    for event in &decision.events {
        fits_the_ledger(event)?;
        add_event(connection, event).await.map_err(engine("write an event"))?;
    }
    Ok(())
}

async fn add_event(connection: &mut SqliteConnection, sealed: &Sealed) -> Result<(), sqlx::Error> {
    let event = sealed.event();
    let added = sqlx::query(ADD_EVENT)
        .bind(sealed.hash().as_slice())
        .bind(event.kind().as_str())
        .bind(event.at().seconds())
        .bind(sealed.leaf())
        .bind(event.text_of("device"))
        .bind(event.text_of("project"))
        .execute(&mut *connection)
        .await?;
    for (name, field) in event.personal_fields() {
        sqlx::query(ADD_FIELD)
            .bind(added.last_insert_rowid())
            .bind(*name)
            .bind(field.salt.as_slice())
            .bind(field.value.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Adds a token, if its device has room.
async fn add_token(
    connection: &mut SqliteConnection,
    token: &IssuedToken,
    now: Timestamp,
    most: u32,
    recent: &mut Recent,
) -> Result<bool, sqlx::Error> {
    let device = token.device.as_str();
    let revoked: i64 = sqlx::query_scalar(REVOKED_OF)
        .bind(device)
        .bind(forgotten(now))
        .bind(over(now))
        .fetch_one(&mut *connection)
        .await?;
    let live = recent.live(device, now);
    if live.saturating_add(usize::try_from(revoked).unwrap_or(usize::MAX)) >= most as usize {
        return Ok(false);
    }
    recent.add(token);
    sqlx::query(ADD_TOKEN)
        .bind(token.jti.as_str())
        .bind(device)
        .bind(token.grant.as_str())
        .bind(token.resource.as_str())
        .bind(token.expires_at.seconds())
        .execute(&mut *connection)
        .await?;
    sqlx::query(ADD_HOLDER)
        .bind(device)
        .bind(token.resource.as_str())
        .bind(token.grant.as_str())
        .bind(token.expires_at.seconds())
        .execute(connection)
        .await?;
    Ok(true)
}

/// What the quick way does too; `None` for everything else.
async fn apply_quick(
    connection: &mut SqliteConnection,
    change: &Change,
    recent: &mut Recent,
) -> Result<Option<(bool, Condition)>, sqlx::Error> {
    let mut there = async |query: sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments>| {
        Ok::<_, sqlx::Error>(query.fetch_optional(&mut *connection).await?.is_some())
    };
    Ok(Some(match change {
        Change::RequireSeen { device: known, grant } => {
            let (hash, holder) = (known.certificate_hash.as_slice(), known.certificate.holder.uri());
            let holds = there(sqlx::query(CERTIFICATE_OF).bind(hash).bind(holder)).await?
                && there(sqlx::query(DEVICE_AS_SEEN).bind(known.device.id.as_str()).bind(&*known.device.text)).await?
                && there(sqlx::query(GRANT_AS_SEEN).bind(grant.id.as_str()).bind(&*grant.text)).await?;
            (holds, Condition::Device(known.device.id.clone()))
        }
        Change::RequireDevice(id, state) => {
            let holds = there(sqlx::query(DEVICE_IN).bind(id.as_str()).bind(state.as_str())).await?;
            (holds, Condition::Device(id.clone()))
        }
        Change::RequireGrant(id, state) => {
            let holds = there(sqlx::query(GRANT_IN).bind(id.as_str()).bind(state.as_str())).await?;
            (holds, Condition::Grant(id.clone()))
        }
        Change::RememberProof { id, until } => {
            let new = recent.remember(id, *until);
            if new {
                sqlx::query(ADD_PROOF).bind(id.as_slice()).bind(until.seconds()).execute(connection).await?;
            }
            (new, Condition::ProofIsNew)
        }
        Change::AddToken { token, now, most } => {
            let room = add_token(connection, token, *now, *most, recent).await?;
            (room, Condition::RoomForToken(token.device.clone()))
        }
        _ => return Ok(None),
    }))
}

fn json(kind: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Record { kind, source })
}

/// What stands in a grant's record of its briefing.
fn briefed(grant: &Grant) -> String {
    grant.briefed.map(|hash| base64url(&hash.0)).unwrap_or_default()
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

async fn apply_change(
    connection: &mut SqliteConnection,
    change: &Change,
    recent: &mut Recent,
) -> Result<(), DecideError> {
    if let Change::RewrapKeys { from, to, keys } = change {
        return rewrap(connection, from, to, keys).await;
    }
    if let Change::DropNotifications(all) = change {
        let gone = super::notification::drop_dead(connection, all).await?;
        return if gone { Ok(()) } else { Err(DecideError::Conflict(Condition::Notifications)) };
    }
    if let Change::AcceptBriefing { to, acceptance } = change {
        return super::briefing::accept(connection, to, acceptance).await;
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
    if let Some((holds, condition)) =
        apply_quick(connection, change, recent).await.map_err(engine("change a record"))?
    {
        return if holds { Ok(()) } else { Err(DecideError::Conflict(condition)) };
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
            // one in use that was read before a use was counted or a briefing accepted: all would be forgotten. Revoking waits for none.
            sqlx::query(
                "UPDATE grants SET state = $1, device = $2, body = $3 WHERE id = $4 AND state = $5 AND COALESCE(device, $2) IS $2 \
                 AND ends_at = COALESCE($6, ends_at) AND ($7 IS NULL OR COALESCE(json_extract(body, '$.used'), 0) <= $7 AND COALESCE(json_extract(body, '$.briefed'), '') = $8)",
            )
                .bind(to.state.as_str())
                .bind(to.device.as_ref().map(ToString::to_string))
                .bind(json("grant", to)?)
                .bind(to.id.to_string())
                .bind(from.as_str())
                .bind((to.state != GrantLife::Revoked).then(|| to.until.seconds()))
                .bind((!matches!(to.state, GrantLife::Revoked | GrantLife::Ended)).then(|| i64::from(to.used)))
                .bind(briefed(to)),
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
                 AND COALESCE(json_extract(body, '$.used'), 0) = $6 AND COALESCE(json_extract(body, '$.briefed'), '') = $7",
            )
                .bind(to.state.as_str())
                .bind(json("grant", to)?)
                .bind(to.id.to_string())
                .bind(from.state.as_str())
                .bind(from.until.seconds())
                .bind(i64::from(from.used))
                .bind(briefed(from)),
            Some(Condition::Grant(to.id.clone())),
        ),
        Change::AddDevice(new) => (
            sqlx::query("INSERT INTO devices (id, state, software, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(new.id.to_string())
                .bind(new.state.as_str())
                .bind(i64::from(new.is_software()))
                .bind(json("device", new)?),
            Some(Condition::Name(new.id.to_string())),
        ),
        Change::Device { to, from } => (
            sqlx::query("UPDATE devices SET state = $1, body = $2 WHERE id = $3 AND state = $4")
                .bind(to.state.as_str())
                .bind(json("device", to)?)
                .bind(to.id.to_string())
                .bind(from.as_str()),
            Some(Condition::Device(to.id.clone())),
        ),
        Change::DeviceLife { id, to, reason, from } => (
            sqlx::query(
                "UPDATE devices SET state = $1, body = json_set(body, '$.state', json($2), '$.reason', $3) WHERE id = $4 AND state = $5",
            )
                .bind(to.as_str())
                .bind(json("device", to)?)
                .bind(reason.clone())
                .bind(id.to_string())
                .bind(from.as_str()),
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
        | Change::AcceptBriefing { .. }
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
        _ => {
            if let Change::Gate { to, .. } = change
                && to.state == GateLife::Removed
            {
                super::usage::forget(connection, &to.name).await.map_err(engine("forget a gate's reports"))?;
            }
            Ok(mark_dead(connection, change).await.map_err(engine("mark what is dead"))?)
        }
    }
}

/// What a change takes from somebody who may have a token.
async fn mark_dead(connection: &mut SqliteConnection, change: &Change) -> Result<(), sqlx::Error> {
    let grant = |to: &Grant| {
        let device = to.device.as_ref().map(ToString::to_string);
        (!to.state.gives()).then(|| sqlx::query(MARK_GRANT).bind(device).bind(to.id.to_string()))
    };
    let device = |id: &DeviceId, to: DeviceLife| {
        (to != DeviceLife::Approved).then(|| sqlx::query(MARK_DEVICE).bind(id.to_string()))
    };
    let marked = match change {
        Change::Grant { to, .. } => grant(to),
        Change::Extend { to, .. } => grant(to),
        Change::Device { to, .. } => device(&to.id, to.state),
        Change::DeviceLife { id, to, .. } => device(id, *to),
        _ => None,
    };
    match marked {
        Some(marked) => marked.execute(connection).await.map(drop),
        None => Ok(()),
    }
}

/// A certificate is remembered for a while after its end, so that its holder is told that it expired, and not that it is unknown.
const REMEMBER_CERTIFICATES: i64 = 400 * 24 * 3600;

/// How what is over is forgotten, and for how many seconds it was kept.
pub(super) const SWEEPS: [(&str, i64); 7] = [
    super::notification::SWEEP,
    super::usage::SWEEP,
    ("DELETE FROM challenges WHERE expires_at < $1", 0),
    // Up to the oldest that must be kept, since they end nearly in their order; the newest stays, so that no number is given twice.
    (
        "DELETE FROM proofs_seen WHERE n < COALESCE( \
             (SELECT n FROM proofs_seen WHERE remember_until >= $1 ORDER BY n LIMIT 1), (SELECT MAX(n) FROM proofs_seen))",
        0,
    ),
    ("DELETE FROM tokens WHERE expires_at < $1", USED_AFTER_END),
    ("DELETE FROM token_holders WHERE until < $1", USED_AFTER_END),
    ("DELETE FROM certificates WHERE not_after < $1", REMEMBER_CERTIFICATES),
];

async fn sweep(connection: &mut SqliteConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    for (statement, kept) in SWEEPS {
        sqlx::query(statement).bind(now.plus(-kept).seconds()).execute(&mut *connection).await?;
    }
    Ok(())
}
