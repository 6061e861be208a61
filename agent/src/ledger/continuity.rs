//! From one name of a ledger to the next. An honest restore leaves a trail of events `ledger_begun`; whether it leads from the name that was kept to the one
//! that is shown is a pure function of them. That they stand in the tree is the caller's to check.

use daypass_proto::ledger::{beginning::Beginning, checkpoint::Origin};

/// The longest trail that is followed.
const LONGEST: usize = 64;

/// A trail that leads from the kept name to the shown one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Trail {
    /// The index of the beginning that names the kept ledger.
    pub(super) index: usize,
    /// How many events of the kept ledger are in the shown one at least; none where it was left out and not continued.
    pub(super) common: u64,
}

/// Looks for the trail, backwards from the shown name.
pub(super) fn trail(beginnings: &[Beginning], kept: &Origin, shown: &Origin) -> Option<Trail> {
    let mut name = shown;
    let mut common = u64::MAX;
    for _ in 0..LONGEST {
        let (index, beginning) =
            beginnings.iter().enumerate().rev().find(|(_, beginning)| beginning.origin == *name)?;
        common = common.min(beginning.size.unwrap_or(0));
        if beginning.continues.as_ref() == Some(kept) {
            return Some(Trail { index, common });
        }
        if beginning.instead_of.as_ref() == Some(kept) {
            return Some(Trail { index, common: 0 });
        }
        name = beginning.continues.as_ref()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use daypass_proto::time::Timestamp;

    use super::*;

    fn name(text: &str) -> Origin {
        format!("i/ledger/{text}").parse().unwrap()
    }

    fn begun(origin: &str, continues: Option<&str>, instead_of: Option<&str>, size: u64) -> Beginning {
        Beginning {
            origin: name(origin),
            at: Timestamp::from_seconds(1),
            continues: continues.map(name),
            instead_of: instead_of.map(name),
            size: Some(size),
            made_at: None,
        }
    }

    #[test]
    fn a_trail_leads_over_every_restore_between() {
        let all = [begun("a", None, None, 0), begun("b", Some("a"), None, 20), begun("c", Some("b"), Some("x"), 10)];
        assert_eq!(trail(&all, &name("a"), &name("b")), Some(Trail { index: 1, common: 20 }));
        assert_eq!(trail(&all, &name("b"), &name("c")), Some(Trail { index: 2, common: 10 }));
        assert_eq!(trail(&all, &name("a"), &name("c")), Some(Trail { index: 1, common: 10 }), "the least of both");
        assert_eq!(trail(&all, &name("x"), &name("c")), Some(Trail { index: 2, common: 0 }), "left out");
        for (kept, shown) in [("z", "c"), ("a", "z"), ("c", "a"), ("b", "a")] {
            assert_eq!(trail(&all, &name(kept), &name(shown)), None, "{kept} to {shown}");
        }
    }

    #[test]
    fn a_trail_in_a_circle_ends() {
        let all = [begun("b", Some("c"), None, 1), begun("c", Some("b"), None, 1)];
        assert_eq!(trail(&all, &name("a"), &name("c")), None);
    }
}
