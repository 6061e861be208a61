//! What approvals are remembered: what they are for, what they must come up to, and who gave them.

use std::collections::BTreeSet;

use daypass_proto::{names::Collaborator, time::Timestamp};
use serde::{Deserialize, Serialize};

/// What waits, or waited, for approval.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Approvals {
    /// The name of what waits.
    pub id: String,
    /// Who asked, where it was a person: none of those who may approve.
    pub asked_by: Option<Collaborator>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Who may approve, and how many must, by the policy under which it was asked for.
    pub bar: Bar,
    /// Those that were given, in order.
    pub given: Vec<Approval>,
}

/// Who may approve, and how many of them must.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bar {
    /// The owners.
    pub owners: BTreeSet<String>,
    /// How many different ones.
    pub approvers: u32,
}

/// One person's approval.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Approval {
    /// Whose decision it is.
    pub by: Collaborator,
    /// The account on the issuer's machine that gave it for them.
    #[serde(default)]
    pub through: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Approvals {
    /// How many were given, as the store counts them.
    pub fn count(&self) -> i64 {
        i64::try_from(self.given.len()).unwrap_or(i64::MAX)
    }

    /// Those of something that nobody has approved yet.
    pub const fn new(id: String, asked_by: Option<Collaborator>, asked_at: Timestamp, bar: Bar) -> Self {
        Self { id, asked_by, asked_at, bar, given: Vec::new() }
    }
}

impl Bar {
    /// What satisfies both: whoever may approve by either, and as many as the one that asks for more.
    #[must_use]
    pub fn stricter(&self, other: &Self) -> Self {
        Self {
            owners: self.owners.intersection(&other.owners).cloned().collect(),
            approvers: self.approvers.max(other.approvers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_bars_has_whom_both_have_and_the_larger_number() {
        let bar =
            |owners: &[&str], approvers| Bar { owners: owners.iter().map(|o| (*o).to_owned()).collect(), approvers };
        for (one, other, both) in [
            (bar(&["a", "b"], 1), bar(&["b", "c"], 2), bar(&["b"], 2)),
            (bar(&["a"], 2), bar(&["a", "mallory"], 1), bar(&["a"], 2)),
            (bar(&["a"], 1), bar(&["mallory"], 1), bar(&[], 1)),
        ] {
            assert_eq!((one.stricter(&other), other.stricter(&one)), (both.clone(), both));
        }
    }
}
