//! The store: records, and the decisions that change them.
//!
//! A handler reads, decides, and hands a [`Decision`] over: what is to become of which records, under which conditions, with
//! which events. It resolves when all of that is durable, or none of it happened. No transaction reaches a handler, so one
//! writer commits many decisions at once, each in its savepoint.

mod change;
mod records;
mod sqlite;

use std::{future::Future, pin::Pin};

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::Event,
    names::{DeviceId, GateName, GrantId},
    resource::Resource,
    time::Timestamp,
};
use thiserror::Error;

pub use self::{
    change::{Change, Condition},
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
pub trait Store: Send + Sync {
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
    /// What is dead among all that had a token for `resources` which a request can still be using at `now`.
    fn dead(&self, resources: &[Resource], now: Timestamp, software_allowed: bool) -> Answer<'_, Dead>;
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

/// What gates must refuse.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Dead {
    /// Tokens that were revoked themselves.
    pub tokens: Vec<String>,
    /// Devices that are not approved, or that have software keys where those are off.
    pub devices: Vec<(DeviceId, DeviceEnd)>,
    /// Grants that are not active.
    pub grants: Vec<GrantId>,
}

/// Why a device may use none of its tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceEnd {
    /// It is in this state, which is not the approved one.
    Life(DeviceLife),
    /// Software keys were switched off.
    Software,
}

#[cfg(test)]
mod tests;
