//! What the ledger's endpoints and its export say (docs/wire.md section 10).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::Origin;
use crate::encoding::{Bytes, Fixed};

/// The newest checkpoint, `text/plain`: a C2SP signed note.
pub const CHECKPOINT: &str = "/ledger/v1/checkpoint";
/// [`Inclusion`]; the query is `leaf` (base64url of the leaf hash) and perhaps `size`.
pub const INCLUSION: &str = "/ledger/v1/inclusion";
/// [`Consistency`]; the query is `first` and `second`.
pub const CONSISTENCY: &str = "/ledger/v1/consistency";
/// [`Log`].
pub const LOG: &str = "/ledger/v1/log";

/// How many seconds pass at most between an answer of the issuer and a checkpoint that covers its event, while an issuer runs. It covers the
/// failover of the one who integrates; usually it is under a second.
pub const MERGE_DELAY: i64 = 30;

/// The longest merge delay that is believed, whatever an issuer says, in seconds.
pub const LONGEST_MERGE_DELAY: i64 = 300;

/// How many beginnings stand in a [`Log`] at most.
pub const MAX_BEGINNINGS: u32 = 64;

/// The largest leaf, in bytes: C2SP `tlog-tiles` gives the length of an entry 16 bits.
pub const MAX_LEAF: usize = 0xffff;

/// `GET /ledger/v1/log`: which ledger this is, and the keys that sign it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Log {
    /// Its name.
    pub origin: Origin,
    /// [`MERGE_DELAY`] of this issuer.
    pub merge_delay: i64,
    /// Every key that has signed a checkpoint or is going to, oldest first.
    pub keys: Vec<LogKey>,
    /// The leaves of the newest [`MAX_BEGINNINGS`] events `ledger_begun` in the tree, oldest first: how the ledger came by its name
    /// ([`Beginning`](super::beginning::Beginning)).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beginnings: Vec<Bytes>,
}

/// One key of [`Log`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogKey {
    /// As C2SP `signed-note` writes it, for other programs.
    pub verifier_key: String,
    /// Its certificate and the issuer's root, DER: for whoever holds the root's pin.
    pub chain: Vec<Bytes>,
}

/// `GET /ledger/v1/inclusion`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Inclusion {
    /// The leaf's number, from 0.
    pub leaf_index: u64,
    /// The tree that the proof is for.
    pub tree_size: u64,
    /// RFC 6962 section 2.1.1.
    pub hashes: Vec<Fixed<32>>,
    /// The checkpoint of that size, where no size was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// `GET /ledger/v1/consistency`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Consistency {
    /// The older tree.
    pub first: u64,
    /// The newer one.
    pub second: u64,
    /// RFC 6962 section 2.1.2.
    pub hashes: Vec<Fixed<32>>,
}

/// One line of an export: JSON Lines, in this order: the ledger, then every event by its number, each checkpoint as soon as the events that it
/// covers have been.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first line.
    Ledger {
        /// The version of this format.
        version: u32,
        /// Its name.
        origin: Origin,
        /// As in [`Log`].
        keys: Vec<LogKey>,
        /// How many events follow.
        size: u64,
    },
    /// One event.
    Event(ExportedEvent),
    /// The first line of a part: events that somebody asked for, each with its proof. Nothing else follows.
    Part {
        /// The version of this format.
        version: u32,
        /// Its name.
        origin: Origin,
        /// As in [`Log`].
        keys: Vec<LogKey>,
        /// The signed note that every proof is under.
        checkpoint: String,
    },
    /// One event of a part.
    Proved(ProvedEvent),
    /// One checkpoint.
    Checkpoint {
        /// The signed note.
        note: String,
    },
}

/// The version of [`Line`].
pub const EXPORT_VERSION: u32 = 1;

/// One event of an export.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedEvent {
    /// Its number, from 0.
    pub sequence: u64,
    /// The leaf hash that stands in the tree.
    pub hash: Fixed<32>,
    /// The leaf, byte for byte.
    pub leaf: Bytes,
    /// The personal fields that were not erased.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub personal: BTreeMap<String, ExportedField>,
}

/// One event of a part of an export.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProvedEvent {
    /// Its number, from 0.
    pub sequence: u64,
    /// The leaf, byte for byte.
    pub leaf: Bytes,
    /// The personal fields that were not erased.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub personal: BTreeMap<String, ExportedField>,
    /// RFC 6962 section 2.1.1, under the part's checkpoint.
    pub proof: Vec<Fixed<32>>,
}

/// A personal field beside its leaf.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedField {
    /// Its salt.
    pub salt: Fixed<32>,
    /// Its value.
    pub value: String,
}
