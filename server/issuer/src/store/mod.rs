//! The store: records, and the decisions that change them.
//!
//! A handler reads, decides, and hands a [`Decision`] over: what is to become of which records, under which conditions, with
//! which events. It resolves when all of that is durable, or none of it happened. No transaction reaches a handler, so one
//! writer commits many decisions at once, each in its savepoint.

mod change;
mod ledger;
mod records;
mod sqlite;

use std::{future::Future, pin::Pin};

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::{Event, api::MAX_LEAF, vocabulary::Misfit},
    names::{DeviceId, GateName, GrantId},
    resource::Resource,
    time::Timestamp,
};
use thiserror::Error;

pub use self::{
    change::{Change, Condition},
    ledger::{Backlog, CheckpointRecord, Entry, Integration, LedgerState, LedgerStore, Place},
    records::{
        CertificateRecord, Challenge, ChallengeKind, Device, DeviceKeys, Gate, GateLife, Grant, GrantLife, Holder,
        Invitation, InvitationLife, IssuedToken, KeyPurpose, KeyRecord, device_may_become, device_state as device_word,
    },
    sqlite::SqliteStore,
};

/// What is to happen, whole or not at all.
#[derive(Debug, Default)]
pub struct Decision {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Event>,
}

impl Decision {
    /// A decision that is recorded by `event`. There is none without.
    pub fn new(event: Event) -> Self {
        Self { changes: Vec::new(), events: vec![event] }
    }

    /// With one more change.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// With one more event.
    #[must_use]
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }
}

/// Why a decision did not happen.
#[derive(Debug, Error)]
pub enum DecideError {
    /// A condition did not hold: somebody else decided first.
    #[error("{0} is no longer as it was when this was decided")]
    Conflict(Condition),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store could not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The engine.
    #[error("could not {attempted} in the store")]
    Engine {
        /// What was attempted.
        attempted: &'static str,
        /// The engine's words.
        #[source]
        source: sqlx::Error,
    },
    /// A record does not read.
    #[error("a record of kind `{kind}` in the store does not read")]
    Record {
        /// The kind.
        kind: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The ledger's tables hold what they never should.
    #[error("the ledger in the store does not read: {0}; run `daypass-issuer ledger verify`")]
    Ledger(&'static str),
    /// An event that no tile could ever carry.
    #[error("an event of {0} bytes is larger than the ledger takes, which is {max} bytes", max = MAX_LEAF)]
    EventTooLarge(usize),
    /// An event that says more or less than its kind.
    #[error(transparent)]
    Vocabulary(Misfit),
    /// The schema could not be brought up to date.
    #[error("could not bring the store's schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The writer has stopped.
    #[error("the store is shutting down")]
    Stopped,
}

/// What a store answers with.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// One trait, several engines, one test suite.
pub trait Store: LedgerStore {
    /// Makes a decision durable; resolves afterwards.
    fn decide(&self, decision: Decision) -> Answer<'_, (), DecideError>;

    /// The invitation whose secret has this hash.
    fn invitation_by_secret(&self, hash: [u8; 32]) -> Answer<'_, Option<Invitation>>;
    /// A device.
    fn device(&self, id: &DeviceId) -> Answer<'_, Option<Device>>;
    /// All devices, or those in one state.
    fn devices(&self, state: Option<DeviceLife>) -> Answer<'_, Vec<Device>>;
    /// Who holds the certificate with this hash, and until when.
    fn certificate(&self, hash: [u8; 32]) -> Answer<'_, Option<CertificateRecord>>;
    /// A grant.
    fn grant(&self, id: &GrantId) -> Answer<'_, Option<Grant>>;
    /// The grants of a device.
    fn grants_of(&self, device: &DeviceId) -> Answer<'_, Vec<Grant>>;
    /// All grants in one state.
    fn grants_in(&self, state: GrantLife) -> Answer<'_, Vec<Grant>>;
    /// A challenge that nobody has answered yet.
    fn challenge(&self, id: &str) -> Answer<'_, Option<Challenge>>;
    /// A token that was issued.
    fn token(&self, jti: &str) -> Answer<'_, Option<IssuedToken>>;
    /// Every token for `resources` that ends after `now` and whose device is not approved, whose grant is not active, or which was revoked.
    fn dead_tokens(
        &self,
        resources: &[Resource],
        now: Timestamp,
        software_allowed: bool,
    ) -> Answer<'_, Vec<(String, DeadReason)>>;
    /// The gate whose code has this hash.
    fn gate_by_secret(&self, hash: [u8; 32]) -> Answer<'_, Option<Gate>>;
    /// A gate.
    fn gate(&self, name: &GateName) -> Answer<'_, Option<Gate>>;
    /// All gates.
    fn gates(&self) -> Answer<'_, Vec<Gate>>;
    /// The keys of one purpose, oldest first.
    fn keys(&self, purpose: KeyPurpose) -> Answer<'_, Vec<KeyRecord>>;
    /// Forgets what no rule needs any more: answered or expired challenges, proofs and tokens past their memory.
    fn sweep(&self, now: Timestamp) -> Answer<'_, ()>;
}

/// Why a token must be refused before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeadReason {
    /// It was revoked itself.
    Token,
    /// Its device is in this state.
    Device(DeviceLife),
    /// Its grant is not active.
    Grant,
    /// Software keys were switched off.
    Software,
}

#[cfg(test)]
mod tests;
