//! What the agent says of the issuers' ledgers: what it keeps of them, what it waits for, and what it found wrong.

use serde::{Deserialize, Serialize};

use super::{ErrorCode, Problem};
use crate::{
    encoding::{Bytes, Fixed},
    ledger::{api::LogKey, checkpoint::Origin},
    time::Timestamp,
};

/// One issuer's ledger, as this user's enrolment with it follows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Ledger {
    /// The name of the ledger; `None` until a checkpoint was kept.
    pub origin: Option<Origin>,
    /// How many events the newest kept checkpoint covers.
    pub size: Option<u64>,
    /// That checkpoint, a signed note, to be compared with others'; left out of a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The key that signed it; left out of a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<LogKey>,
    /// When the ledger was last checked whole.
    pub checked_at: Option<Timestamp>,
    /// How many tokens were got whose events were not shown in the ledger yet.
    pub outstanding: u64,
    /// When the oldest of them was issued, by the issuer's clock.
    pub outstanding_since: Option<Timestamp>,
    /// How many tokens were got whose leaves could not be kept, and are checked by nobody.
    #[serde(default)]
    pub unkept: u64,
    /// Why it could not be checked last, where it could not.
    pub unchecked: Option<Unchecked>,
    /// Why what is known could not be written down, where it could not: a restart would lose it.
    #[serde(default)]
    pub unsaved: Option<Problem>,
    /// What was found wrong, oldest first; in a status what nobody has accepted yet, and without evidence.
    pub findings: Vec<Finding>,
    /// How many findings more there were than are kept.
    #[serde(default)]
    pub more_findings: u64,
}

/// Why a ledger cannot be checked now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unchecked {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub problem: Problem,
}

/// Something that is wrong with a ledger. It stays until a person has accepted it, and its evidence afterwards.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Finding {
    /// By which it is accepted.
    pub number: u64,
    /// What kind.
    pub kind: FindingKind,
    /// When it was found, by this machine's clock.
    pub found_at: Timestamp,
    /// When a person accepted it.
    pub accepted_at: Option<Timestamp>,
    /// What was found, for people.
    pub message: String,
    /// What to do about it, for people.
    pub next_step: String,
    /// What shows it to others; left out of a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What can be wrong with a ledger.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Two checkpoints of one size with different roots.
    Fork,
    /// A larger tree that does not begin with the one that was kept.
    Inconsistent,
    /// A smaller tree than the one that was kept.
    RolledBack,
    /// A ledger of another name that does not show how it came from the one that was kept.
    OtherLedger,
    /// A checkpoint that no checkpoint key under the issuer's root has signed.
    BadSignature,
    /// A token whose event is not in the ledger.
    LeafMissing,
    /// The issuer says that its store was restored, and that events may be gone.
    Restored,
    /// What this machine had kept is gone or does not read.
    MemoryLost,
}

impl FindingKind {
    /// The cause that a command ends with.
    pub const fn error(self) -> ErrorCode {
        match self {
            Self::Fork | Self::Inconsistent | Self::RolledBack | Self::OtherLedger | Self::BadSignature => {
                ErrorCode::LedgerForked
            }
            Self::LeafMissing => ErrorCode::LedgerLeafMissing,
            Self::Restored => ErrorCode::LedgerRestored,
            Self::MemoryLost => ErrorCode::LedgerMemoryLost,
        }
    }
}

/// What shows a finding to others. Checkpoints are signed, so they speak for themselves; that a leaf is missing is this machine's word.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Evidence {
    /// The checkpoint that was kept, a signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The one that was shown then; for a bad signature, whatever was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    /// The keys that signed both, with their chains to the issuer's root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<LogKey>,
    /// The proof that does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Vec<Fixed<32>>>,
    /// The leaf of the event `ledger_begun` that names the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beginning: Option<Bytes>,
    /// Leaf hashes that are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<Fixed<32>>,
}

impl Ledger {
    /// The worst that nobody has accepted yet, or why it is not known how the ledger stands.
    pub fn error(&self) -> Option<ErrorCode> {
        let open = || self.findings.iter().filter(|finding| finding.accepted_at.is_none());
        let of = |code| open().any(|finding| finding.kind.error() == code).then_some(code);
        of(ErrorCode::LedgerForked)
            .or_else(|| of(ErrorCode::LedgerLeafMissing))
            .or_else(|| of(ErrorCode::LedgerRestored))
            .or_else(|| of(ErrorCode::LedgerMemoryLost))
            .or_else(|| self.unchecked.as_ref().map(|unchecked| unchecked.problem.error))
            .or_else(|| self.unsaved.as_ref().map(|problem| problem.error))
    }
}

/// A ledger, and whose it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LedgerOf {
    /// The issuer's identifier.
    pub issuer: String,
    /// Its ledger.
    #[serde(flatten)]
    pub ledger: Ledger,
}

/// The answer to `GET /v1/ledgers` and to everything below.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ledgers {
    /// The ledgers of this user's issuers.
    pub ledgers: Vec<LedgerOf>,
}

/// `POST /v1/ledgers/accept`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// Whose ledger.
    pub issuer: String,
    /// Which findings: those that somebody was shown, and none that came since.
    pub findings: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_how_a_command_ends() {
        let finding = |kind, accepted: bool| Finding {
            number: 1,
            kind,
            found_at: Timestamp::from_seconds(1),
            accepted_at: accepted.then_some(Timestamp::from_seconds(2)),
            message: String::new(),
            next_step: String::new(),
            evidence: None,
        };
        let problem = Problem { error: ErrorCode::IssuerUnreachable, message: String::new(), next_step: String::new() };
        let unchecked = Some(Unchecked { since: Timestamp::from_seconds(1), problem });
        let mut ledger = Ledger { unchecked, ..Ledger::default() };
        let mut codes = vec![ledger.error().unwrap().exit_code()];
        for kind in [FindingKind::MemoryLost, FindingKind::Restored, FindingKind::LeafMissing, FindingKind::Fork] {
            ledger.findings.push(finding(kind, false));
            codes.push(ledger.error().unwrap().exit_code());
        }
        assert_eq!(codes, [10, 13, 16, 15, 14]);
        ledger.findings = vec![finding(FindingKind::Fork, true)];
        ledger.unchecked = None;
        assert_eq!(ledger.error(), None, "a person has accepted it");
    }
}
