//! Ledger events: the closed vocabulary, the canonical leaf and its hash (RFC 6962 section 2.1).
//!
//! What each kind says stands in its [`vocabulary`].
//! The leaves form a Merkle [`tree`], whose heads are signed as [`checkpoint`]s; [`api`] is what the issuer says about both,
//! and a [`beginning`] is how a ledger came by its name.
//!
//! A personal field stands in the leaf as `SHA-256(salt ‖ value)`; salt and value are kept beside it, so that erasing both
//! erases the person and leaves every hash as it was. An event holds hashes of tokens or their `jti`, never tokens.

pub mod api;
pub mod beginning;
pub mod checkpoint;
pub mod tree;
pub mod vocabulary;

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{
    encoding::{Fixed, sha256},
    time::Timestamp,
};

/// The version of the vocabulary.
pub const VERSION: i64 = 1;

/// The kinds, each with its word.
macro_rules! kinds {
    ($($variant:ident = $word:literal),+ $(,)?) => {
        /// What happened. Closed: every decision, refusals included, has a kind; [`vocabulary::entry`] says what each tells.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "the vocabulary says it")]
        pub enum EventKind { $($variant),+ }

        impl EventKind {
            /// All of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// Its word in leaf, store and lists.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

kinds! {
    IssuerInitialised = "issuer_initialised",
    IssuerStarted = "issuer_started",
    LooseningEnabled = "loosening_enabled",
    PolicyLoaded = "policy_loaded",
    PolicyProposed = "policy_proposed",
    ProposalWithdrawn = "proposal_withdrawn",
    KeyCreated = "key_created",
    KeyRetired = "key_retired",
    LedgerBegun = "ledger_begun",
    Invited = "invited",
    InvitationWithdrawn = "invitation_withdrawn",
    EnrolmentBegun = "enrolment_begun",
    EnrolmentRefused = "enrolment_refused",
    DeviceEnrolled = "device_enrolled",
    InvitationAccepted = "invitation_accepted",
    SoftwareDeviceRegistered = "software_device_registered",
    ApprovalRefused = "approval_refused",
    DeviceApproved = "device_approved",
    DeviceSuspended = "device_suspended",
    DeviceResumed = "device_resumed",
    DeviceRevoked = "device_revoked",
    DeviceLeft = "device_left",
    DeviceLossRefused = "device_loss_refused",
    RenewalBegun = "renewal_begun",
    CertificateRenewed = "certificate_renewed",
    CertificateRefused = "certificate_refused",
    GrantApproved = "grant_approved",
    RequestMade = "request_made",
    RequestNotTaken = "request_not_taken",
    RequestApproved = "request_approved",
    RequestRefused = "request_refused",
    RequestWithdrawn = "request_withdrawn",
    RequestLapsed = "request_lapsed",
    GrantExtended = "grant_extended",
    GrantActivated = "grant_activated",
    GrantSuspended = "grant_suspended",
    GrantResumed = "grant_resumed",
    EverythingEnded = "everything_ended",
    GrantRevoked = "grant_revoked",
    GrantGraceBegun = "grant_grace_begun",
    GrantEnded = "grant_ended",
    TokenIssued = "token_issued",
    TokenRefused = "token_refused",
    TokenRevoked = "token_revoked",
    GateAdded = "gate_added",
    GateEnrolled = "gate_enrolled",
    GateRenewed = "gate_renewed",
    GateRefused = "gate_refused",
    GateRemoved = "gate_removed",
    MasterKeyRotated = "master_key_rotated",
    ClockAccepted = "clock_accepted",
    BackupMade = "backup_made",
    StoreRestored = "store_restored",
    AdministratorBootstrapped = "administrator_bootstrapped",
    AdministrationRefused = "administration_refused",
    PersonErased = "person_erased",
    BriefingAccepted = "briefing_accepted",
    BriefingNotAccepted = "briefing_not_accepted",
    NotificationsDropped = "notifications_dropped",
}

/// A word that is no kind's.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is no kind of event; docs/ledger.md has them all")]
pub struct UnknownKind(String);

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownKind(text.chars().filter(|c| !c.is_control()).take(80).collect()))
    }
}

/// A field that tells of a person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PersonalField {
    /// 256 random bits of its own.
    pub salt: [u8; 32],
    /// The value.
    pub value: String,
}

impl PersonalField {
    /// What stands in the leaf.
    pub fn commitment(&self) -> [u8; 32] {
        sha256(&[&self.salt, self.value.as_bytes()])
    }
}

/// One event, before it is written.
#[derive(Clone, Debug)]
pub struct Event {
    id: [u8; 16],
    kind: EventKind,
    at: Timestamp,
    fields: BTreeMap<&'static str, Value>,
    personal: BTreeMap<&'static str, PersonalField>,
}

impl Event {
    /// An event; `id` is random, so that no two leaves are alike.
    pub fn new(id: [u8; 16], kind: EventKind, at: Timestamp) -> Self {
        Self { id, kind, at, fields: BTreeMap::new(), personal: BTreeMap::new() }
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.insert(name, Value::String(value.to_string()));
        self
    }

    /// With a whole number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: i64) -> Self {
        self.fields.insert(name, Value::from(value));
        self
    }

    /// With a structure of ours, such as authorization details. None of our formats has fractions.
    #[must_use]
    pub fn structure(mut self, name: &'static str, value: &impl Serialize) -> Self {
        let mut value = serde_json::to_value(value).unwrap_or(Value::Null);
        // Whoever turns on `preserve_order` of `serde_json`, a library of the issuer does, turns it on for all of the program.
        value.sort_all_objects();
        self.fields.insert(name, value);
        self
    }

    /// With a field that tells of a person.
    #[must_use]
    pub fn personal(mut self, name: &'static str, salt: [u8; 32], value: impl ToString) -> Self {
        self.personal.insert(name, PersonalField { salt, value: value.to_string() });
        self
    }

    /// What happened.
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// When.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// A text, by which lists are filtered.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// The personal fields, to be stored beside the leaf.
    pub fn personal_fields(&self) -> &BTreeMap<&'static str, PersonalField> {
        &self.personal
    }

    /// The canonical leaf: JSON with sorted keys and no white space.
    pub fn leaf(&self) -> Vec<u8> {
        /// In the order of the names.
        #[derive(Serialize)]
        struct Leaf<'a> {
            at: Timestamp,
            fields: &'a BTreeMap<&'static str, Value>,
            id: Fixed<16>,
            kind: EventKind,
            personal: BTreeMap<&'static str, Fixed<32>>,
            v: i64,
        }
        let personal = self.personal.iter().map(|(name, field)| (*name, Fixed(field.commitment()))).collect();
        let leaf =
            Leaf { at: self.at, fields: &self.fields, id: Fixed(self.id), kind: self.kind, personal, v: VERSION };
        // Nothing in it could fail to serialize.
        serde_json::to_vec(&leaf).unwrap_or_default()
    }
}

/// An event as it is written: with its leaf and the leaf's hash, each made once, and nothing that could still change.
#[derive(Clone, Debug)]
pub struct Sealed {
    event: Event,
    leaf: Vec<u8>,
    hash: [u8; 32],
}

impl Sealed {
    /// What it says.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its leaf.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// The hash of its leaf.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl From<Event> for Sealed {
    fn from(event: Event) -> Self {
        let leaf = event.leaf();
        let hash = leaf_hash(&leaf);
        Self { event, leaf, hash }
    }
}

/// The hash of a leaf: SHA-256(0x00 ‖ leaf).
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    sha256(&[&[0], leaf])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::encoding::base64url;

    #[test]
    fn the_leaf_is_canonical_and_hides_the_person() {
        let event = Event::new([0; 16], EventKind::TokenIssued, Timestamp::from_seconds(5))
            .text("jti", "j")
            .number("exp", 9)
            .structure("posture", &json!([{"b": {"d": 1, "c": 2}, "a": 3}]))
            .personal("collaborator", [7; 32], "alice");
        let leaf = String::from_utf8(event.leaf()).unwrap();
        assert_eq!(
            leaf,
            format!(
                r#"{{"at":5,"fields":{{"exp":9,"jti":"j","posture":[{{"a":3,"b":{{"c":2,"d":1}}}}]}},"id":"AAAAAAAAAAAAAAAAAAAAAA","kind":"token_issued","personal":{{"collaborator":"{}"}},"v":1}}"#,
                base64url(&sha256(&[&[7; 32], b"alice"]))
            )
        );
        assert!(!leaf.contains("alice"));
    }

    #[test]
    fn rfc_6962_leaf_hash() {
        // transparency-dev's reference leaves: the hash of the empty leaf.
        assert_eq!(hex::encode(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }
}
