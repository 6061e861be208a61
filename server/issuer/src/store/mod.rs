//! The store: records, and the decisions that change them.
//!
//! A handler reads, decides, and hands a [`Decision`] over: what is to become of which records, under which conditions, with
//! which events. It resolves when all of that is durable, or none of it happened. No transaction reaches a handler, so one
//! writer commits many decisions at once, each in its savepoint.

mod approvals;
mod briefing;
mod change;
mod fault;
mod find;
mod ledger;
mod notification;
mod records;
mod requests;
mod sqlite;
mod usage;

use std::{future::Future, pin::Pin, sync::Arc};

use daypass_proto::{
    enrolment::DeviceLife,
    ledger::{Sealed, api::MAX_LEAF, vocabulary::Misfit},
    names::{Collaborator, DeviceId, GateName, GrantId, InvitationId, ProposalId, RequestId},
    resource::Resource,
    time::Timestamp,
};
use sqlx::migrate::MigrateError;
use thiserror::Error;

pub use self::{
    approvals::{Approval, Approvals, Bar},
    briefing::Acceptance,
    change::{Change, Condition},
    fault::Fault,
    find::{Ends, Find, Key, Position, Scope},
    ledger::{
        Backlog, CheckpointRecord, Entry, Filter, Integration, LedgerState, LedgerStore, Place, Side, Unnumbered,
    },
    notification::{Attempt, Cursor, EndTold, Found, NotificationStore, Outgoing, Waiting},
    records::{
        CertificateRecord, Challenge, ChallengeKind, Device, DeviceKeys, Gate, GateLife, Grant, GrantLife, Holder,
        Invitation, InvitationLife, IssuedToken, KeyPurpose, KeyRecord, PolicyVersion, Proposal, ProposalLife,
        Replaces, Terms, device_may_become, grant_may_become,
    },
    requests::{Request, request_may_become},
    sqlite::{PublishedError, SqliteStore},
    usage::{CountedUse, GateReport, Reporting},
};

/// What is to happen, whole or not at all.
#[derive(Debug, Default)]
pub struct Decision {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Sealed>,
}

impl Decision {
    /// A decision that is recorded by `event`. There is none without.
    pub fn new(event: impl Into<Sealed>) -> Self {
        Self { changes: Vec::new(), events: vec![event.into()] }
    }

    /// With one more change.
    #[must_use]
    pub fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }

    /// With one more event.
    #[must_use]
    pub fn event(mut self, event: impl Into<Sealed>) -> Self {
        self.events.push(event.into());
        self
    }

    /// With all of this after it.
    #[must_use]
    pub(crate) fn and(mut self, then: Self) -> Self {
        self.changes.extend(then.changes);
        self.events.extend(then.events);
        self
    }

    /// When it was made.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.events.iter().map(|event| event.event().at()).max()
    }

    /// Whether it removes what is to be nowhere afterwards.
    pub(crate) fn erases(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::ErasePerson { .. }))
    }

    /// Whether it says that the clock is right, whatever the store thinks of it.
    pub(crate) fn accepts_the_clock(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::AcceptClock { .. }))
    }
}

/// Why a decision did not happen.
#[derive(Debug, Error)]
pub enum DecideError {
    /// A condition did not hold: somebody else decided first.
    #[error("{0} is no longer as it was when this was decided")]
    Conflict(Condition),
    /// The clock was put back: what has ended would begin anew, and the ledger's times would run backwards.
    #[error("this machine's clock says {now}, and decisions were made until {floor} already: one of both is wrong")]
    Clock {
        /// The clock here.
        now: Timestamp,
        /// The time up to which there are decisions.
        floor: Timestamp,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store could not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The engine.
    #[error("could not {attempted} in the store: {}", Fault::of(source))]
    Engine {
        /// What was attempted.
        attempted: &'static str,
        /// The engine's words, shared by all whose decisions were in one batch.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The file is not what was written to it.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Nobody waits longer.
    #[error("{}", Fault::Slow)]
    Slow,
    /// Somebody reads without end.
    #[error("the store was written anew, but its log could not be emptied while somebody reads; run the command again")]
    Busy,
    /// Another program has the store, and this one must have it alone; or the other way round.
    #[error("`{}` is in use by another `daypass-issuer`; stop it first", .0.display())]
    InUse(std::path::PathBuf),
    /// A copy from before what is read there now.
    #[error(
        "{0} is a copy that an earlier version made, and is only read here: let this version open a second copy of it, as a configuration's `database`, which brings that up to date"
    )]
    Earlier(std::path::PathBuf),
    /// The file that says who uses the store.
    #[error("could not lock `{}`", path.display())]
    Lock {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
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
    /// A step that no grant's life has.
    #[error("no grant goes from `{from}` to `{to}`")]
    Transition {
        /// Where it is.
        from: GrantLife,
        /// Where it was to go.
        to: GrantLife,
    },
    /// An event that no tile could ever carry.
    #[error("an event of {0} bytes is larger than the ledger takes, which is {max} bytes", max = MAX_LEAF)]
    EventTooLarge(usize),
    /// An event that says more or less than its kind.
    #[error(transparent)]
    Vocabulary(Misfit),
    /// The schema could not be brought up to date.
    #[error("could not bring the store's schema up to date")]
    Migrate(#[source] MigrateError),
    /// The writer has stopped.
    #[error("the store is shutting down")]
    Stopped,
}

impl StoreError {
    /// What is wrong with the store.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Engine { source, .. } => Fault::of(source),
            Self::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
                Fault::of(source)
            }
            Self::Damaged(_) | Self::Record { .. } | Self::Ledger(_) => Fault::Damaged,
            Self::Slow => Fault::Slow,
            Self::InUse(_) | Self::Earlier(_) | Self::Busy => Fault::Busy,
            Self::Lock { .. } => Fault::Io,
            Self::Migrate(_)
            | Self::Transition { .. }
            | Self::EventTooLarge(_)
            | Self::Vocabulary(_)
            | Self::Stopped => Fault::Other,
        }
    }
}

/// What a store answers with.
pub type Answer<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// One trait, several engines, one test suite.
pub trait Store: LedgerStore + NotificationStore {
    /// Makes a decision durable; resolves afterwards.
    fn decide(&self, decision: Decision) -> Answer<'_, (), DecideError>;

    /// The invitation whose secret has this hash.
    fn invitation_by_secret(&self, hash: [u8; 32]) -> Answer<'_, Option<Invitation>>;
    /// An invitation.
    fn invitation(&self, id: &InvitationId) -> Answer<'_, Option<Invitation>>;
    /// A device.
    fn device(&self, id: &DeviceId) -> Answer<'_, Option<Device>>;
    /// All devices, or those in one state.
    fn devices(&self, state: Option<DeviceLife>) -> Answer<'_, Vec<Device>>;
    /// All that is known of whoever presents the certificate with this hash, as it is at one moment.
    fn presented(&self, hash: [u8; 32]) -> Answer<'_, Option<Presented>>;
    /// A grant.
    fn grant(&self, id: &GrantId) -> Answer<'_, Option<Grant>>;
    /// The grants of a device.
    fn grants_of(&self, device: &DeviceId) -> Answer<'_, Vec<Grant>>;
    /// All grants in one state.
    fn grants_in(&self, state: GrantLife) -> Answer<'_, Vec<Grant>>;
    /// Active grants whose hard end was at `now` or before, and those in grace of which that is over: those that ended first before others, at most `limit`.
    fn grants_over(&self, now: Timestamp, limit: u32) -> Answer<'_, Vec<Grant>>;
    /// The grants that are looked for.
    fn find_grants<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Grant>>;
    /// The invitations that are looked for.
    fn find_invitations<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Invitation>>;
    /// The devices that are looked for: whose, in which states, with a grant in which project; by name.
    fn find_devices<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Device>>;
    /// The devices that are not revoked, up to a limit: of somebody, or of all who were ever granted something in a project or a phase.
    fn devices_of<'a>(&'a self, scope: &'a Scope, limit: u32) -> Answer<'a, Vec<Device>>;
    /// Others whose name is the same but for small and capital letters.
    fn named_alike<'a>(&'a self, name: &'a Collaborator) -> Answer<'a, Vec<Collaborator>>;
    /// Whether there is, or was, anything of theirs.
    fn knows<'a>(&'a self, scope: &'a Scope) -> Answer<'a, bool>;
    /// The approvals of a grant or a request, by its name.
    fn approvals<'a>(&'a self, id: &'a str) -> Answer<'a, Option<Approvals>>;
    /// What was accepted of a grant's briefings, the oldest first.
    fn acceptances<'a>(&'a self, grant: &'a GrantId) -> Answer<'a, Vec<Acceptance>>;
    /// The acceptance with this hash.
    fn acceptance<'a>(&'a self, hash: &'a [u8]) -> Answer<'a, Option<Acceptance>>;
    /// The hashes of acceptances that come after this one, in their order, up to a limit.
    fn acceptances_after<'a>(&'a self, hash: &'a [u8], limit: u32) -> Answer<'a, Vec<Vec<u8>>>;
    /// A request for longer, or for more.
    fn request<'a>(&'a self, id: &'a RequestId) -> Answer<'a, Option<Request>>;
    /// The requests that are looked for.
    fn find_requests<'a>(&'a self, find: &'a Find) -> Answer<'a, Vec<Request>>;
    /// A device's requests: those that wait, then the newest, up to a limit.
    fn requests_of<'a>(&'a self, device: &'a DeviceId, limit: u32) -> Answer<'a, Vec<Request>>;
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
    /// Counts what a gate let through, unless this report, or a later one of the same start, was counted already.
    fn count_uses(&self, report: GateReport) -> Answer<'_, ()>;
    /// What gates let through under a grant.
    fn uses_of<'a>(&'a self, grant: &'a GrantId) -> Answer<'a, Vec<CountedUse>>;
    /// The gates that say what they let through, or did.
    fn reporting(&self) -> Answer<'_, Vec<Reporting>>;
    /// All gates.
    fn gates(&self) -> Answer<'_, Vec<Gate>>;
    /// The keys of one purpose, oldest first.
    fn keys(&self, purpose: KeyPurpose) -> Answer<'_, Vec<KeyRecord>>;
    /// The version of the policy that is in force, if it is another than number `known`; of the first, `known` is 0.
    fn newer_policy(&self, known: i64) -> Answer<'_, Option<PolicyVersion>>;
    /// A policy that waits for a second administrator, or waited.
    fn proposal(&self, id: &ProposalId) -> Answer<'_, Option<Proposal>>;
    /// All of them, the oldest first.
    fn proposals(&self) -> Answer<'_, Vec<Proposal>>;
    /// All versions of the policy that were in force, oldest first.
    fn policies(&self) -> Answer<'_, Vec<PolicyVersion>>;
    /// Forgets what no rule needs any more: answered or expired challenges, proofs and tokens past their memory.
    fn sweep(&self, now: Timestamp) -> Answer<'_, ()>;
    /// Writes something that changes nothing, durably: whether the store takes writes is known only by trying.
    fn probe(&self) -> Answer<'_, ()>;
    /// What was wrong with the last write, if anything.
    fn fault(&self) -> Option<Fault>;
    /// The time up to which decisions were made, within seconds.
    fn clock_floor(&self) -> Answer<'_, Timestamp>;
}

/// What is known of whoever presents a certificate.
#[derive(Debug)]
pub enum Presented {
    /// A device.
    Device(Arc<KnownDevice>),
    /// A gate, by the certificate's word; or a device that is not there.
    Other(CertificateRecord),
}

impl Presented {
    /// The certificate.
    pub fn certificate(&self) -> &CertificateRecord {
        match self {
            Self::Device(known) => &known.certificate,
            Self::Other(certificate) => certificate,
        }
    }
}

/// A device with its grants, as they stood at one moment.
#[derive(Debug)]
pub struct KnownDevice {
    /// SHA-256 of the certificate.
    pub certificate_hash: [u8; 32],
    /// The certificate.
    pub certificate: CertificateRecord,
    /// The device.
    pub device: Seen<Device>,
    /// Its grants, in whatever state.
    pub grants: Vec<Seen<Grant>>,
}

/// A record with the text that it was read from.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    record: T,
    text: Arc<str>,
}

impl<T: serde::de::DeserializeOwned> Seen<T> {
    fn read(kind: &'static str, text: &str) -> Result<Self, StoreError> {
        let record = serde_json::from_str(text).map_err(|source| StoreError::Record { kind, source })?;
        Ok(Self { record, text: text.into() })
    }
}

impl<T> std::ops::Deref for Seen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

/// What gates must refuse.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Dead {
    /// Tokens that were revoked themselves, and whose device and grant are not dead anyway.
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
