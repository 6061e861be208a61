//! What the ledger asks of a store: events get their numbers, the tree grows, checkpoints are promised and sealed.
//!
//! None of it decides anything, so none of it has an event. Every change carries the epoch of the lease under which it was made, and
//! happens only if that is still the newest: the verdict is the number of rows that changed. So an issuer that slept through the end
//! of its lease changes nothing, on whatever clock.

use std::{collections::BTreeMap, ops::Range};

use daypass_proto::{
    ledger::{
        EventKind,
        checkpoint::Origin,
        tree::{Head, TileId, Tiles},
    },
    names::{Collaborator, DeviceId, ProjectName},
    time::Timestamp,
};

use super::{Answer, GateReport, StoreError, notification::NotificationWork};

/// The one row of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LedgerState {
    /// Its name.
    pub origin: Origin,
    /// The tree.
    pub head: Head,
    /// The epoch of the newest lease.
    pub epoch: i64,
    /// Who has it.
    pub holder: Option<String>,
    /// Its end.
    pub lease_until: Timestamp,
    /// The size up to which checkpoints are promised.
    pub promised: u64,
}

/// Events get their numbers, and the tree what they add to it; whole or not at all.
#[derive(Debug)]
pub struct Integration {
    /// The lease under which this happens.
    pub epoch: i64,
    /// The tree before.
    pub from: Head,
    /// The tree after.
    pub to: Head,
    /// The events, which have no number yet, in the order of the numbers that they get.
    pub events: Vec<Unnumbered>,
    /// The tiles that change.
    pub tiles: Vec<(TileId, Vec<u8>)>,
    /// The lease goes on until then.
    pub lease_until: Timestamp,
}

/// A checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckpointRecord {
    /// Of which ledger.
    pub origin: Origin,
    /// The tree.
    pub head: Head,
    /// When it was promised.
    pub at: Timestamp,
    /// The signed note; `None` between promise and signature.
    pub note: Option<String>,
}

/// An event without a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unnumbered {
    /// Its row, by which it is found for as long as that is so.
    pub row: i64,
    /// Its leaf hash.
    pub leaf_hash: [u8; 32],
}

/// What is not in the tree yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    /// How many events.
    pub events: u64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
}

/// Where an event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// There is none with this leaf hash.
    Unknown,
    /// It has no number yet.
    Unnumbered,
    /// It has this one.
    Numbered(u64),
}

/// What [`Entry::sequence`] says of an event without a number: no tree is that large.
pub(super) const UNNUMBERED: u64 = u64::MAX;

/// A stored event with its number, as whoever checks it needs it: what the row says, whether it fits together or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The number.
    pub sequence: u64,
    /// The leaf hash that the row is found by.
    pub leaf_hash: Vec<u8>,
    /// The leaf.
    pub leaf: Vec<u8>,
    /// The kind that lists go by.
    pub kind: String,
    /// The time that lists go by.
    pub at: Timestamp,
    /// The device that lists go by.
    pub device: Option<String>,
    /// The project that lists go by.
    pub project: Option<String>,
    /// Whether lists find it by the collaborator that stands among its personal fields.
    pub by_collaborator: bool,
    /// Salt and value of each personal field that was not erased.
    pub personal: BTreeMap<String, (Vec<u8>, String)>,
}

impl Entry {
    /// Its number, if it has one.
    pub fn number(&self) -> Option<u64> {
        (self.sequence != UNNUMBERED).then_some(self.sequence)
    }
}

/// Which events: those that fit all that is there.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// About this person.
    pub collaborator: Option<Collaborator>,
    /// About this project.
    pub project: Option<ProjectName>,
    /// About this device.
    pub device: Option<DeviceId>,
    /// Of this kind.
    pub kind: Option<EventKind>,
    /// Of one of these kinds, where there are any.
    pub kinds: Vec<EventKind>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

/// Which of many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Those with the smallest numbers.
    First,
    /// Those with the largest.
    Last,
}

/// What there is of a person.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Traces {
    /// How many personal fields name them, or stand in events about them.
    pub fields: u64,
    /// What of theirs is live: devices, grants, open invitations.
    pub live: Vec<String>,
}

/// The ledger's part of a store.
pub trait LedgerStore: Send + Sync {
    /// The ledger; `None` before it has begun.
    fn ledger(&self) -> Answer<'_, Option<LedgerState>>;
    /// Takes the lease until `until`, if it is free at `now` or `holder`'s own; gives the new epoch. `holder` names a place where one issuer can
    /// run at a time, so that one that was killed does not wait for itself.
    fn take_lease<'a>(&'a self, holder: &'a str, now: Timestamp, until: Timestamp) -> Answer<'a, Option<i64>>;
    /// Events without a number, at most `limit`, in the order in which they were written as far as the engine knows it.
    fn unnumbered(&self, limit: u32) -> Answer<'_, Vec<Unnumbered>>;
    /// The leaf hashes of events of this kind without a number, in that order.
    fn unnumbered_of(&self, kind: EventKind) -> Answer<'_, Vec<Vec<u8>>>;
    /// What is not in the tree yet.
    fn backlog(&self) -> Answer<'_, Backlog>;
    /// The tiles of this list that exist.
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Answer<'a, Tiles>;
    /// Integrates; `false` where the lease or the tree is another by now, or an event has a number already.
    fn integrate(&self, integration: Integration) -> Answer<'_, bool>;
    /// Promises a checkpoint of the tree as it is, if none of its size or a larger one is promised; `false` where that does not hold, or the lease
    /// is another by now.
    fn promise_checkpoint(&self, epoch: i64, head: Head, at: Timestamp) -> Answer<'_, bool>;
    /// Writes the note of a promised checkpoint, if it has none.
    fn seal_checkpoint(&self, promised: CheckpointRecord, note: String) -> Answer<'_, bool>;
    /// The newest promise without a note of the ledger as it is called now.
    fn unsealed_checkpoint(&self) -> Answer<'_, Option<CheckpointRecord>>;
    /// The newest checkpoint with a note of the ledger as it is called now.
    fn newest_checkpoint(&self) -> Answer<'_, Option<CheckpointRecord>>;
    /// Checkpoints of the ledger as it is called now, those without a note too, from this size on, by size.
    fn checkpoints(&self, from: u64, limit: u32) -> Answer<'_, Vec<CheckpointRecord>>;
    /// Where the event with this leaf hash is.
    fn place_of(&self, leaf_hash: [u8; 32]) -> Answer<'_, Place>;
    /// What there is of this person.
    fn traces<'a>(&'a self, name: &'a Collaborator, now: Timestamp) -> Answer<'a, Traces>;
    /// The leaves of the newest events, at most `limit`, by which the ledger came by a name; those with a number, by number.
    fn beginnings(&self, limit: u32) -> Answer<'_, Vec<Vec<u8>>>;
    /// The numbers between which all events of the filter's times are.
    fn span<'a>(&'a self, filter: &'a Filter) -> Answer<'a, Range<u64>>;
    /// Those events with these numbers that fit, at most `limit` of one side, by number. Whether lists find them is not looked at.
    fn listed<'a>(&'a self, filter: &'a Filter, within: Range<u64>, side: Side, limit: u32) -> Answer<'a, Vec<Entry>>;
    /// The event that is found by this leaf hash, with or without a number.
    fn event<'a>(&'a self, leaf_hash: &'a [u8]) -> Answer<'a, Option<Entry>>;
    /// The leaf hash of the event by which a token was issued at this time.
    fn issuing<'a>(&'a self, jti: &'a str, at: Timestamp) -> Answer<'a, Option<Vec<u8>>>;
    /// Events with a number of `from` or above, by number.
    fn entries(&self, from: u64, limit: u32) -> Answer<'_, Vec<Entry>>;
}

/// What the writer is asked to do beside decisions.
#[derive(Debug)]
pub(super) enum LedgerWork {
    TakeLease { holder: String, now: Timestamp, until: Timestamp },
    Integrate(Box<Integration>),
    Promise { epoch: i64, head: Head, at: Timestamp },
    Seal { promised: CheckpointRecord, note: String },
    Notify(NotificationWork),
    Count(Box<GateReport>),
}

/// What came of it: nothing where a condition did not hold; the epoch of a lease that was taken.
pub(super) type Outcome = Result<Option<i64>, StoreError>;
