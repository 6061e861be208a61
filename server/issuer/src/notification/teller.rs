//! The one that looks what is to be told, and tells it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use daypass_proto::time::Timestamp;
use daypass_service::told;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Sink, Sinks, backoff,
    message::{EVENTS, Kind, Message, of_end, of_event},
};
use crate::{
    issuer::Issuer,
    ledger::place,
    store::{Attempt, EndTold, Found, Outgoing, StoreError},
};

/// How long a lease lasts without work, in seconds: longer than any attempt but the longest command.
const LEASE: i64 = 60;
/// It is renewed this long before its end, in seconds.
const EARLY: i64 = 30;
/// How often events and messages are looked for.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nothing is tried after a fault.
const FAULT_PAUSE: Duration = Duration::from_secs(5);
/// How often ends that come are looked for, in rounds.
const ENDS_EVERY: u32 = 30;
/// How many events, or ends, make one transaction.
const BATCH: u32 = 256;
/// How many messages are taken up at once.
const AT_ONCE: u32 = 16;
/// For so long, in seconds, a refusal by the same guardrails of the same device is not said again: an agent asks again by itself.
const QUIET: i64 = 3600;
/// So much is kept of why an attempt failed, in characters.
const LONGEST_WHY: usize = 400;
/// How many refusals are remembered.
const MOST_QUIET: usize = 10_000;

/// What a round came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Round {
    /// There is nothing to do.
    Idle,
    /// Something was done, and there may be more.
    Worked,
}

/// The teller of one issuer.
pub(super) struct Teller {
    issuer: Arc<Issuer>,
    sinks: Sinks,
    holder: String,
    lease: tokio::sync::Mutex<Option<(i64, Timestamp)>>,
    /// Up to where events were looked at, and nothing was found since the stored cursor.
    seen: Mutex<u64>,
    /// Until when the same refusal is not said again.
    quiet: Mutex<HashMap<String, Timestamp>>,
}

impl Teller {
    /// For an issuer at `holder`, a place where one runs at a time.
    pub(super) fn new(issuer: Arc<Issuer>, sinks: Sinks, holder: String) -> Self {
        Self {
            issuer,
            sinks,
            holder,
            lease: tokio::sync::Mutex::new(None),
            seen: Mutex::default(),
            quiet: Mutex::default(),
        }
    }

    /// Begins, or ends where nobody is to be told; what waits for sinks that are no more is dead.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let sinks = self.sinks.iter().map(|sink| sink.name().to_owned()).collect();
        self.issuer.store.begin_notifying(sinks).await
    }

    /// The epoch to write under; `None` where the lease is somebody else's.
    async fn epoch(&self) -> Result<Option<i64>, StoreError> {
        let mut lease = self.lease.lock().await;
        let now = self.issuer.environment.now();
        if let Some((epoch, until)) = *lease
            && now.plus(EARLY) < until
        {
            return Ok(Some(epoch));
        }
        let until = now.plus(LEASE);
        *lease = self.issuer.store.lease_notifying(&self.holder, now, until).await?.map(|epoch| (epoch, until));
        Ok(lease.map(|(epoch, _)| epoch))
    }

    /// Somebody else has the lease by now.
    async fn lost(&self) -> Round {
        *self.lease.lock().await = None;
        Round::Idle
    }

    /// Looks at events that nobody looked at.
    pub(super) async fn look(&self) -> Result<Round, StoreError> {
        let (store, config) = (&self.issuer.store, &self.issuer.config);
        let Some(cursor) = store.notifying().await? else {
            self.begin().await?;
            return Ok(Round::Worked);
        };
        let from = cursor.next.max(*self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let entries = store.entries_of(&EVENTS, from, BATCH).await?;
        let Some(last) = entries.last().and_then(|entry| entry.number()) else { return Ok(Round::Idle) };
        let now = self.issuer.environment.now();
        let (mut messages, mut quiet) = (Vec::new(), Vec::new());
        for message in entries.iter().filter_map(|entry| of_event(entry, &config.issuer_url)) {
            if let Some(same) = refusal(&message) {
                if quiet.contains(&same) || self.is_quiet(&same, now) {
                    continue;
                }
                quiet.push(same);
            }
            messages.push(message);
        }
        let next = last.saturating_add(1);
        if !messages.is_empty() {
            let Some(epoch) = self.epoch().await? else { return Ok(Round::Idle) };
            let messages = messages.iter().flat_map(|message| self.outgoing(message, next, now)).collect();
            let found = Found { epoch, looked_at: cursor.next..next, messages, ends: Vec::new() };
            if !store.keep_found(found).await? {
                return Ok(self.lost().await);
            }
            self.be_quiet(quiet, now);
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(if entries.len() < BATCH as usize { Round::Idle } else { Round::Worked })
    }

    /// Looks for ends that come. Of a grant whose end is nearer than several of the distances, the nearest is said and no other.
    pub(super) async fn look_ahead(&self) -> Result<Round, StoreError> {
        let (store, config) = (&self.issuer.store, &self.issuer.config);
        let Some(cursor) = store.notifying().await? else { return Ok(Round::Idle) };
        let (now, policy) = (self.issuer.environment.now(), self.issuer.policy());
        for &ahead in &config.notification.ahead {
            let grants = store.ends_to_tell(now, ahead, BATCH).await?;
            if grants.is_empty() {
                continue;
            }
            let Some(epoch) = self.epoch().await? else { return Ok(Round::Idle) };
            let messages = grants
                .iter()
                .flat_map(|grant| {
                    self.outgoing(&of_end(grant, ahead, now, &policy, &config.issuer_url), cursor.next, now)
                })
                .collect();
            let ends =
                grants.iter().map(|grant| EndTold { grant: grant.id.clone(), ends_at: grant.until, ahead }).collect();
            let found = Found { epoch, looked_at: cursor.next..cursor.next, messages, ends };
            return Ok(if store.keep_found(found).await? { Round::Worked } else { self.lost().await });
        }
        Ok(Round::Idle)
    }

    /// The message, for each sink.
    fn outgoing(&self, message: &Message, next: u64, now: Timestamp) -> Vec<Outgoing> {
        let (id, payload) = (message.id(), message.payload());
        let to = |sink: &Sink| Outgoing {
            id: id.clone(),
            sink: sink.name().to_owned(),
            kind: message.kind.as_str().to_owned(),
            place: message.get("event").and_then(serde_json::Value::as_u64).unwrap_or(next),
            created_at: message.at,
            due_at: now,
            attempts: 0,
            dead: false,
            error: None,
            collaborator: message.collaborator().map(ToOwned::to_owned),
            payload: payload.clone(),
        };
        self.sinks.iter().map(to).collect()
    }

    /// Sends what is due for one sink, one after the other.
    pub(super) async fn send(&self, sink: &Sink) -> Result<Round, StoreError> {
        let store = &self.issuer.store;
        let due = store.due(sink.name(), self.issuer.environment.now(), AT_ONCE).await?;
        for message in &due {
            let Some(epoch) = self.epoch().await? else { return Ok(Round::Idle) };
            let sent = sink.send(&message.id, self.issuer.environment.now(), &message.payload).await;
            self.issuer.notified.count(sent.is_ok());
            let attempt = match sent {
                Ok(()) => Attempt::Taken,
                Err(error) => self.failed(sink, message, &told(&error)),
            };
            if !store.settle(epoch, message, attempt).await? && !store.is_leased_notifying(epoch).await? {
                return Ok(self.lost().await);
            }
        }
        Ok(if due.is_empty() { Round::Idle } else { Round::Worked })
    }

    fn failed(&self, sink: &Sink, message: &Outgoing, why: &str) -> Attempt {
        let error: String = why.chars().take(LONGEST_WHY).collect();
        let failures = message.attempts.saturating_add(1);
        if failures >= self.issuer.config.notification.attempts {
            tracing::error!(
                sink = sink.name(), message = message.id, kind = message.kind, %error,
                "a notification was not taken and is not tried any more; see `daypass-issuer notification list`"
            );
            return Attempt::Dead { error };
        }
        let random = u64::from_be_bytes(self.issuer.environment.random());
        let wait = backoff::wait(failures, random);
        tracing::warn!(sink = sink.name(), message = message.id, wait, %error, "a notification was not taken; it is tried again");
        Attempt::Again { due_at: self.issuer.environment.now().plus(wait), error }
    }

    fn is_quiet(&self, same: &str, now: Timestamp) -> bool {
        let quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.get(same).is_some_and(|until| now < *until)
    }

    fn be_quiet(&self, said: Vec<String>, now: Timestamp) {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.retain(|_, until| now < *until);
        // Then some are said more often.
        if quiet.len() > MOST_QUIET {
            quiet.clear();
        }
        quiet.extend(said.into_iter().map(|same| (same, now.plus(QUIET))));
    }
}

/// What makes two refusals by guardrails the same.
fn refusal(message: &Message) -> Option<String> {
    (message.kind == Kind::AccessRefused)
        .then(|| format!("{:?}", (message.get("device"), message.get("rules"), message.get("resource"))))
}

/// How long to wait after a round; `None` where there may be more to do.
fn pause(attempted: &str, done: Result<Round, StoreError>) -> Option<Duration> {
    match done {
        Ok(Round::Worked) => None,
        Ok(Round::Idle) => Some(PAUSE),
        Err(error) => {
            tracing::error!(error = %told(&error), "could not {attempted}; it is tried again");
            Some(FAULT_PAUSE)
        }
    }
}

/// Looks for what is to be told, again and again.
async fn keep_looking(teller: Arc<Teller>) {
    let mut rounds: u32 = 0;
    loop {
        let ahead = if rounds.is_multiple_of(ENDS_EVERY) { teller.look_ahead().await } else { Ok(Round::Idle) };
        // What is left of many ends is looked for at once.
        rounds = if matches!(ahead, Ok(Round::Worked)) { rounds } else { rounds.wrapping_add(1) };
        let waits =
            [pause("look for ends that come", ahead), pause("look for what is to be told", teller.look().await)];
        if let [Some(one), Some(other)] = waits {
            tokio::time::sleep(one.max(other)).await;
        }
    }
}

/// Sends what is due for one sink, again and again.
async fn keep_sending(teller: Arc<Teller>, sink: Arc<Sink>) {
    loop {
        if let Some(wait) = pause("send notifications", teller.send(&sink).await) {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Tells until `stop`. What is under way then is sent again at the next start. Each sink goes by itself: one that hangs holds up nobody else.
pub async fn run(issuer: Arc<Issuer>, sinks: Sinks, stop: CancellationToken) {
    let holder = place(&issuer);
    let teller = Arc::new(Teller::new(issuer, sinks, holder));
    let telling = async {
        while let Some(wait) = pause("begin to tell of events", teller.begin().await.map(|()| Round::Worked)) {
            tokio::time::sleep(wait).await;
        }
        if teller.sinks.0.is_empty() {
            return;
        }
        let mut tasks = JoinSet::new();
        for sink in &teller.sinks.0 {
            tasks.spawn(keep_sending(Arc::clone(&teller), Arc::clone(sink)));
        }
        tasks.spawn(keep_looking(Arc::clone(&teller)));
        // They end with the set.
        tasks.join_all().await;
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = telling => {}
    }
}
