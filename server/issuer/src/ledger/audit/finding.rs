//! What an audit finds, in words.

use std::fmt;

use daypass_proto::ledger::tree::TileId;

/// Something that is not as it was signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// Another event stands in its place.
    Changed(u64),
    /// It is gone.
    Removed(u64),
    /// It was not there.
    Added(u64),
    /// It stands elsewhere.
    Reordered(u64),
    /// Events and tree agree, and a checkpoint disagrees: the tree was computed anew.
    Rewritten {
        /// What was before this number is as it was signed.
        from: u64,
        /// The size of the checkpoint that disagrees.
        to: u64,
        /// It is one that somebody kept.
        kept: bool,
    },
    /// There are fewer events than were signed.
    Cut {
        /// What was before this number is as it was signed.
        from: u64,
        /// How many there are.
        left: u64,
        /// How many were signed.
        signed: u64,
        /// By a checkpoint that somebody kept.
        kept: bool,
    },
    /// The events are as they were signed, and the stored tree has something else.
    Tree {
        /// From this event on.
        event: u64,
    },
    /// A tile above the leaf hashes is not what those below make.
    Tile(TileId),
    /// A personal field beside the leaf is not the one that the leaf commits to.
    Field {
        /// Whose.
        event: u64,
        /// Which.
        field: String,
    },
    /// What lists go by is not what the leaf says.
    Column {
        /// Whose.
        event: u64,
        /// Which.
        field: &'static str,
    },
    /// What is kept of an accepted briefing is not what its event says.
    Acceptance {
        /// Which event.
        event: u64,
        /// What of it.
        field: &'static str,
    },
    /// An acceptance of a briefing is kept, and no event tells of it.
    Untold {
        /// Its hash, in hexadecimal digits.
        acceptance: String,
    },
    /// A checkpoint does not hold by itself.
    Checkpoint {
        /// Of how many events.
        size: u64,
        /// Why.
        why: String,
    },
    /// The ledger's own size is another.
    Size {
        /// What it says.
        said: u64,
        /// What there is.
        found: u64,
    },
    /// The ledger's own root is another than that of its events.
    Head,
    /// No checkpoint holds.
    Unsigned,
    /// A checkpoint that somebody kept is of another ledger, and this one does not begin with it.
    Origin {
        /// That one's.
        kept: String,
    },
    /// There are more, which are not kept.
    More(u64),
}

impl Finding {
    /// A word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::Removed(_) | Self::Cut { .. } => "removed",
            Self::Added(_) => "added",
            Self::Reordered(_) => "reordered",
            Self::Rewritten { .. } => "rewritten",
            Self::Tree { .. } => "tree",
            Self::Tile(_) => "tile",
            Self::Field { .. } => "field",
            Self::Column { .. } => "column",
            Self::Acceptance { .. } | Self::Untold { .. } => "acceptance",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Size { .. } => "size",
            Self::Head => "head",
            Self::Unsigned => "unsigned",
            Self::Origin { .. } => "origin",
            Self::More(_) => "more",
        }
    }

    /// Whether a checkpoint that disagrees covers this event.
    pub fn covers(&self, event: u64) -> bool {
        match self {
            Self::Rewritten { to: size, .. } | Self::Cut { signed: size, .. } => event < *size,
            _ => false,
        }
    }

    /// The first event that it is about; the last there could be where it is about none.
    pub fn event(&self) -> u64 {
        match self {
            Self::Changed(event) | Self::Removed(event) | Self::Added(event) | Self::Reordered(event) => *event,
            Self::Rewritten { from: event, .. } | Self::Cut { from: event, .. } => *event,
            Self::Tree { event } | Self::Field { event, .. } | Self::Column { event, .. } => *event,
            Self::Acceptance { event, .. } => *event,
            Self::Tile(_)
            | Self::Untold { .. }
            | Self::Checkpoint { .. }
            | Self::Size { .. }
            | Self::Head
            | Self::Unsigned
            | Self::Origin { .. }
            | Self::More(_) => u64::MAX,
        }
    }
}

/// Which checkpoint speaks.
fn whose(kept: bool) -> &'static str {
    if kept { "the checkpoint that you kept" } else { "a checkpoint in the ledger" }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(event) => write!(f, "event {event} was changed"),
            Self::Removed(event) => write!(f, "event {event} was removed"),
            Self::Added(event) => write!(f, "event {event} was added afterwards"),
            Self::Reordered(event) => {
                write!(f, "event {event} was moved: the order of events was changed from here on")
            }
            Self::Rewritten { from, to, kept } if from + 1 == *to => {
                let whose = whose(*kept);
                write!(
                    f,
                    "event {from} is not the one that was signed: the tree was computed anew, and {whose} over {to} events says so"
                )
            }
            Self::Rewritten { from, to, kept } => {
                let (last, whose) = (to.saturating_sub(1), whose(*kept));
                write!(
                    f,
                    "events {from} to {last} are not those that were signed: the tree was computed anew, and {whose} over {to} events says so"
                )
            }
            Self::Cut { from, left, signed, kept } => {
                let (gone, whose) = (signed.saturating_sub(*left), whose(*kept));
                write!(
                    f,
                    "{gone} events were removed, the first of them from event {from} on: {whose} covers {signed} events, and there are {left}"
                )
            }
            Self::Tree { event } => {
                write!(
                    f,
                    "the stored tree was altered at event {event}; the events themselves are those that were signed"
                )
            }
            Self::Tile(TileId { level, index }) => {
                write!(f, "tile {index} of level {level} in the stored tree was altered")
            }
            Self::Field { event, field } => {
                write!(f, "personal field `{field}` of event {event} is not the one that the event commits to")
            }
            Self::Column { event, field } => write!(f, "column `{field}` of event {event} is not what the event says"),
            Self::Acceptance { event, field: "hash" } => {
                write!(f, "event {event} tells of an accepted briefing, and the acceptance is not kept any more")
            }
            Self::Acceptance { event, field } => {
                write!(
                    f,
                    "the acceptance of a briefing that event {event} tells of was altered in the store: `{field}`"
                )
            }
            Self::Untold { acceptance } => {
                write!(f, "an acceptance of a briefing is kept of which no event tells: {acceptance}")
            }
            Self::Checkpoint { size, why } => write!(f, "the checkpoint over {size} events {why}"),
            Self::Size { said, found } => write!(f, "the ledger says that it has {said} events, and there are {found}"),
            Self::Head => f.write_str("the ledger's own root is not that of its events"),
            Self::Unsigned => f.write_str("no checkpoint covers any of the events"),
            Self::Origin { kept } => {
                write!(
                    f,
                    "the checkpoint that you kept is of the ledger `{kept}`: this one was begun anew since, and says something else"
                )
            }
            Self::More(count) => write!(f, "{count} more of the kind"),
        }
    }
}
