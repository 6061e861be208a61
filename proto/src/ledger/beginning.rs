//! How a ledger came by its name: the event `ledger_begun`, as whoever holds a checkpoint of the former name reads it.
//!
//! A store that is restored and may be behind what was published goes on under another origin. Its tree begins with what the backup had, and
//! the event that says so stands in it, so an inclusion proof makes the admission the issuer's own. It says what the issuer *says*: an operator can
//! take events away and call it a restore. A person has to ask.

use serde::Deserialize;

use super::checkpoint::Origin;
use crate::time::Timestamp;

/// What an event `ledger_begun` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Beginning {
    /// The name that began.
    pub origin: Origin,
    /// When.
    pub at: Timestamp,
    /// The name that the tree had before; `None` where there was no tree.
    pub continues: Option<Origin>,
    /// A name under which more was published meanwhile, which is not in this tree.
    pub instead_of: Option<Origin>,
    /// How many events of the former name are in the tree.
    pub size: Option<u64>,
    /// When the backup was made.
    pub made_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Leaf {
    kind: String,
    at: Timestamp,
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    origin: Origin,
    continues: Option<Origin>,
    instead_of: Option<Origin>,
    size: Option<u64>,
    made_at: Option<Timestamp>,
}

impl Beginning {
    /// Reads a leaf; `None` where it is of another event, or says nothing that can be read.
    pub fn read(leaf: &[u8]) -> Option<Self> {
        let Leaf { kind, at, fields } = crate::json::from_slice(leaf).ok()?;
        let Fields { origin, continues, instead_of, size, made_at } = fields;
        (kind == "ledger_begun").then_some(Self { origin, at, continues, instead_of, size, made_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Event, EventKind};

    #[test]
    fn what_the_issuer_writes_is_read() {
        let name = |text: &str| text.parse::<Origin>().unwrap();
        let event = |kind| Event::new([7; 16], kind, Timestamp::from_seconds(50)).text("origin", "i/ledger/b");
        let first = Beginning::read(&event(EventKind::LedgerBegun).leaf()).unwrap();
        assert_eq!((first.origin, first.continues, first.size), (name("i/ledger/b"), None, None));
        let restored = event(EventKind::LedgerBegun)
            .text("continues", "i/ledger/a")
            .text("instead_of", "i/ledger/z")
            .number("size", 12)
            .number("made_at", 40)
            .personal("by", [1; 32], "root");
        assert_eq!(
            Beginning::read(&restored.leaf()).unwrap(),
            Beginning {
                origin: name("i/ledger/b"),
                at: Timestamp::from_seconds(50),
                continues: Some(name("i/ledger/a")),
                instead_of: Some(name("i/ledger/z")),
                size: Some(12),
                made_at: Some(Timestamp::from_seconds(40)),
            }
        );
        assert!(Beginning::read(&event(EventKind::StoreRestored).leaf()).is_none(), "another event");
        assert!(Beginning::read(b"{}").is_none());
    }
}
