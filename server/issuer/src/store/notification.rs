//! What the telling of notifications asks of a store: how far events were looked at, and what sinks have not taken yet.
//!
//! None of it decides anything, so none of it has an event. As with the ledger's integrator, every change carries the epoch of the lease under
//! which it was made, and happens only if that is still the newest.

use std::ops::Range;

use daypass_proto::{ledger::EventKind, names::GrantId, time::Timestamp};

use super::{Answer, Entry, Grant};

/// How far events were looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor {
    /// The number of the first event that was not.
    pub next: u64,
    /// The epoch of the newest lease.
    pub epoch: i64,
}

/// A message that a sink has not taken yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// The same at every attempt, and for every sink.
    pub id: String,
    /// For which sink.
    pub sink: String,
    /// The `type` of the payload.
    pub kind: String,
    /// Among others: the number of the event, or that of the first event after.
    pub place: u64,
    /// When what it tells of happened.
    pub created_at: Timestamp,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it is not tried any more.
    pub dead: bool,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// About whom: it is erased with them.
    pub collaborator: Option<String>,
    /// The JSON that is sent, as it is.
    pub payload: String,
}

/// The end of a grant, of which it is said that it comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EndTold {
    /// Of which grant.
    pub grant: GrantId,
    /// Its end.
    pub ends_at: Timestamp,
    /// How long ahead, in seconds.
    pub ahead: i64,
}

/// What was found to tell; whole or not at all.
#[derive(Clone, Debug)]
pub struct Found {
    /// The lease under which this happens.
    pub epoch: i64,
    /// The numbers of the events that were looked at: the cursor stands at the first and goes to the last.
    pub looked_at: Range<u64>,
    /// What is to be told.
    pub messages: Vec<Outgoing>,
    /// The ends that are among it.
    pub ends: Vec<EndTold>,
}

/// What came of an attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// The sink took it.
    Taken,
    /// It is tried again.
    Again {
        /// When.
        due_at: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// It is not tried any more.
    Dead {
        /// Why it failed.
        error: String,
    },
}

/// What a sink has not taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Waiting {
    /// For which.
    pub sink: String,
    /// How many are tried.
    pub waiting: u64,
    /// How many are not tried any more.
    pub dead: u64,
    /// When what the oldest of those that are tried tells of happened.
    pub oldest: Option<Timestamp>,
}

/// The notifications' part of a store.
pub trait NotificationStore: Send + Sync {
    /// How far events were looked at; `None` where nobody is told.
    fn notifying(&self) -> Answer<'_, Option<Cursor>>;
    /// Begins at the end of what there is, unless that was done; where there are no sinks, nobody is told from here on. What waits for sinks that are not
    /// among these is dead.
    fn begin_notifying(&self, sinks: Vec<String>) -> Answer<'_, ()>;
    /// Takes the lease until `until`, if it is free at `now` or `holder`'s own, and gives its epoch, which stays as long as the holder does.
    fn lease_notifying<'a>(&'a self, holder: &'a str, now: Timestamp, until: Timestamp) -> Answer<'a, Option<i64>>;
    /// Whether the lease of this epoch is the newest.
    fn is_leased_notifying(&self, epoch: i64) -> Answer<'_, bool>;
    /// Events of these kinds with a number of `from` or above, by number.
    fn entries_of<'a>(&'a self, kinds: &'a [EventKind], from: u64, limit: u32) -> Answer<'a, Vec<Entry>>;
    /// Active grants that end after `now` and within `ahead` seconds, of whose end it was not said at this or a shorter distance.
    fn ends_to_tell(&self, now: Timestamp, ahead: i64, limit: u32) -> Answer<'_, Vec<Grant>>;
    /// Keeps what was found to tell; `false` where the lease or the cursor is another by now.
    fn keep_found(&self, found: Found) -> Answer<'_, bool>;
    /// What is to be tried for this sink at `now`, the longest due first, and then in the order in which they were found.
    fn due<'a>(&'a self, sink: &'a str, now: Timestamp, limit: u32) -> Answer<'a, Vec<Outgoing>>;
    /// Writes what came of an attempt; `false` where the lease is another by now, or the message is gone.
    fn settle<'a>(&'a self, epoch: i64, message: &'a Outgoing, attempt: Attempt) -> Answer<'a, bool>;
    /// What sinks have not taken; only what is not tried any more, where `dead`.
    fn outgoing(&self, dead: bool, limit: u32) -> Answer<'_, Vec<Outgoing>>;
    /// The same in numbers, by sink.
    fn waiting(&self) -> Answer<'_, Vec<Waiting>>;
    /// Tries again, from the beginning, what is not tried any more: this message, or all of them. Gives how many there were.
    fn retry<'a>(&'a self, id: Option<&'a str>, now: Timestamp) -> Answer<'a, u64>;
}

/// What the writer is asked to do for notifications.
#[derive(Debug)]
pub(super) enum NotificationWork {
    Begin(Vec<String>),
    Lease { holder: String, now: Timestamp, until: Timestamp },
    Found(Box<Found>),
    Settle { epoch: i64, id: String, sink: String, attempt: Attempt },
    Retry { id: Option<String>, now: Timestamp },
}
