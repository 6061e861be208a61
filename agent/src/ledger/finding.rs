//! What can be found wrong with a ledger: what is kept of it, and what a person is told.

use daypass_proto::{
    encoding::{Fixed, base64url},
    ledger::checkpoint::Origin,
    local_api::ledger::{Evidence, Finding, FindingKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What was found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    /// Two roots of one size.
    Fork {
        /// The size.
        size: u64,
    },
    /// A larger tree that does not begin with the kept one.
    Inconsistent {
        /// The kept size.
        from: u64,
        /// The size that was shown.
        to: u64,
        /// Why it counts as that.
        why: String,
    },
    /// A smaller tree.
    RolledBack {
        /// The kept size.
        from: u64,
        /// The size that was shown.
        to: u64,
    },
    /// A ledger of another name, from nowhere.
    OtherLedger {
        /// The kept name.
        from: Origin,
        /// The name that was shown.
        to: Origin,
        /// What is wrong with the way from one to the other.
        why: String,
    },
    /// A checkpoint that nobody who may has signed.
    BadSignature {
        /// What is wrong with it.
        why: String,
    },
    /// A token whose event is not there.
    LeafMissing {
        /// The leaf hash.
        leaf: Fixed<32>,
        /// When the token was issued.
        issued: Timestamp,
        /// How it is missing.
        why: String,
    },
    /// A restore that the issuer admits.
    Restored {
        /// The kept name.
        from: Origin,
        /// The name that was shown.
        to: Origin,
        /// When it was restored.
        at: Timestamp,
        /// When the backup was made, where it says so.
        made_at: Option<Timestamp>,
        /// How many events this machine had seen covered.
        kept: u64,
        /// How many of those are in the tree all the same.
        common: u64,
        /// Tokens from before it whose events were not shown when it was found: no others may be lost to it.
        waiting: Vec<Fixed<32>>,
        /// Those of them whose events went with it.
        lost: Vec<Fixed<32>>,
    },
    /// What was kept here.
    MemoryLost {
        /// What is wrong with it.
        why: String,
    },
}

impl What {
    pub(crate) fn kind(&self) -> FindingKind {
        match self {
            Self::Fork { .. } => FindingKind::Fork,
            Self::Inconsistent { .. } => FindingKind::Inconsistent,
            Self::RolledBack { .. } => FindingKind::RolledBack,
            Self::OtherLedger { .. } => FindingKind::OtherLedger,
            Self::BadSignature { .. } => FindingKind::BadSignature,
            Self::LeafMissing { .. } => FindingKind::LeafMissing,
            Self::Restored { .. } => FindingKind::Restored,
            Self::MemoryLost { .. } => FindingKind::MemoryLost,
        }
    }

    /// What was found, in words.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Fork { size } => format!(
                "the issuer has signed two ledgers of {size} events: one that this machine saw before, and another that it shows now"
            ),
            Self::Inconsistent { from, to, why } => format!(
                "the issuer's ledger of {to} events does not begin with the {from} that this machine has seen: {why}"
            ),
            Self::RolledBack { from, to } => {
                format!("the issuer's ledger had {from} events when this machine last saw it, and now it has {to}")
            }
            Self::OtherLedger { from, to, why } => {
                format!("the issuer shows the ledger `{to}` in place of `{from}`, and {why}")
            }
            Self::BadSignature { why } => format!("the issuer's newest checkpoint {why}"),
            Self::LeafMissing { leaf, issued, why } => format!(
                "the event of a token that the issuer gave to this machine at {issued} is not in its ledger: {why} (leaf {})",
                base64url(&leaf.0)
            ),
            Self::Restored { at, made_at, kept, common, lost, .. } => {
                let made = made_at.map_or(String::new(), |made| format!(" from a backup of {made}"));
                let since = made_at.map_or(String::new(), |made| format!(" since {made}"));
                let seen = match kept.saturating_sub(*common) {
                    0 => "of what this machine had seen of its ledger, all is there".to_owned(),
                    gone => {
                        format!("of the {kept} events that this machine had seen, {gone} are not shown to be there")
                    }
                };
                let tokens = match lost.len() {
                    0 => String::new(),
                    lost => format!("; the events of {lost} tokens of this machine are gone"),
                };
                format!("the issuer restored its store at {at}{made}: events{since} may be missing; {seen}{tokens}")
            }
            Self::MemoryLost { why } => format!(
                "what this machine had kept of the issuer's ledger is gone: {why}; what was changed before now cannot be seen from here"
            ),
        }
    }

    /// What to do about it, in words.
    pub(crate) fn next_step(&self) -> &'static str {
        match self {
            Self::Restored { .. } => {
                "ask the issuer's administrator whether it was restored then; if so, run `daypass ledger accept`"
            }
            Self::MemoryLost { .. } => {
                "find out what happened to the agent's state; compare `daypass ledger show` with what others have, then run `daypass ledger accept`"
            }
            _ => {
                "save `daypass ledger show --json` and give it to an owner of the project and to whoever audits the issuer; `daypass ledger accept` says that somebody has seen to it"
            }
        }
    }
}

/// A finding, as it is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Found {
    pub(crate) number: u64,
    #[serde(flatten)]
    pub(crate) what: What,
    pub(crate) found_at: Timestamp,
    pub(crate) accepted_at: Option<Timestamp>,
    pub(crate) evidence: Evidence,
}

impl Found {
    pub(crate) fn is_open(&self) -> bool {
        self.accepted_at.is_none()
    }

    /// As the local API shows it.
    pub(crate) fn view(&self, whole: bool) -> Finding {
        let mut evidence = whole.then(|| self.evidence.clone());
        if let (Some(evidence), What::Restored { lost, .. }) = (&mut evidence, &self.what) {
            evidence.leaves.clone_from(lost);
        }
        Finding {
            number: self.number,
            kind: self.what.kind(),
            found_at: self.found_at,
            accepted_at: self.accepted_at,
            message: self.what.message(),
            next_step: self.what.next_step().to_owned(),
            evidence,
        }
    }
}
