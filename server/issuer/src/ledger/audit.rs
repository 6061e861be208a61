//! Checking a whole ledger, event by event, with nothing but the public keys of its checkpoints, and older checkpoints where somebody kept some.
//!
//! The audit is fed in the order of the numbers: what each event says now, beside the leaf hash that the stored tree has in that place. Two
//! trees are computed from it on the way, in memory for one path each, and both are compared with every checkpoint:
//!
//! * Event and tree differ: the first place is named, and what became of it is told by whether its two hashes turn up elsewhere.
//! * Both agree and the checkpoint does not: the tree was computed anew. Then the hash that stood there is lost, and what can be named is
//!   between which two checkpoints it stood.
//!
//! A forger who has the key of the checkpoints can sign all of it again. He is caught by any checkpoint that somebody else has kept.

mod acceptances;
mod export;
mod finding;
mod part;
mod store;

use std::collections::BTreeMap;

use daypass_proto::{
    encoding::{from_base64url, sha256},
    ledger::{
        checkpoint::{CheckpointKey, Origin, VerifiedCheckpoint},
        leaf_hash,
        tree::{Frontier, Head},
    },
};
use serde_json::Value;

pub use self::{
    export::{ExportError, Judge, audit_export},
    finding::Finding,
    store::{audit_store, certified_keys},
};

/// More findings than this are counted and not kept.
const KEPT: usize = 100;

/// What an event is now.
#[derive(Debug)]
pub struct Event<'a> {
    /// The leaf.
    pub leaf: &'a [u8],
    /// Salt and value of each personal field that is there.
    pub personal: Vec<(&'a str, &'a [u8], &'a str)>,
    /// What lists go by, where it stands beside the leaf.
    pub columns: Option<Columns<'a>>,
}

/// What lists go by.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The kind.
    pub kind: &'a str,
    /// The time.
    pub at: i64,
    /// The device.
    pub device: Option<&'a str>,
    /// The project.
    pub project: Option<&'a str>,
    /// Whether the event is found by its collaborator.
    pub by_collaborator: bool,
}

/// Event and tree differ.
#[derive(Clone, Copy, Debug)]
struct Mismatch {
    at: u64,
    event: Option<[u8; 32]>,
    tree: Option<[u8; 32]>,
    /// The event's hash stands elsewhere in the tree.
    event_elsewhere: bool,
    /// The tree's hash belongs to an event with another number, or to this number's event out of its place.
    tree_elsewhere: bool,
}

/// What an audit came to.
#[derive(Debug)]
pub struct Report {
    /// The ledger.
    pub origin: Origin,
    /// How many events were read.
    pub events: u64,
    /// How many personal fields were erased.
    pub erased: u64,
    /// How many checkpoints hold.
    pub checkpoints: u64,
    /// How many events a checkpoint covers that holds.
    pub covered: u64,
    /// Events without a number.
    pub unnumbered: u64,
    /// What is wrong, the first event first.
    pub findings: Vec<Finding>,
}

/// An audit under way.
#[derive(Debug)]
pub struct Audit {
    origin: Origin,
    keys: Vec<CheckpointKey>,
    /// Checkpoints that somebody kept, smallest last.
    kept: Vec<VerifiedCheckpoint>,
    other_origin: Option<String>,
    by_events: Frontier,
    by_tree: Frontier,
    mismatch: Option<Mismatch>,
    /// The events are not all there, or not those of the checkpoints.
    events_left: bool,
    /// The largest size at which all was well by the checkpoints in the ledger, and by those that somebody kept.
    good: u64,
    good_by_kept: u64,
    /// The first checkpoint in the ledger that disagrees, and the first that somebody kept.
    disagree: [Option<Finding>; 2],
    events: u64,
    erased: u64,
    checkpoints: u64,
    findings: Vec<Finding>,
    more: u64,
}

impl Audit {
    /// Of the ledger `origin`. `kept` are older checkpoints, whose signatures were verified.
    pub fn new(origin: Origin, keys: Vec<CheckpointKey>, mut kept: Vec<VerifiedCheckpoint>) -> Self {
        kept.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.head().size()));
        let other_origin = kept.iter().map(VerifiedCheckpoint::origin).find(|other| **other != origin);
        let other_origin = other_origin.map(ToString::to_string);
        Self {
            origin,
            keys,
            kept,
            other_origin,
            by_events: Frontier::default(),
            by_tree: Frontier::default(),
            mismatch: None,
            events_left: false,
            good: 0,
            good_by_kept: 0,
            disagree: [None, None],
            events: 0,
            erased: 0,
            checkpoints: 0,
            findings: Vec::new(),
            more: 0,
        }
    }

    /// Adds to what is wrong.
    pub fn find(&mut self, finding: Finding) {
        if self.findings.len() < KEPT { self.findings.push(finding) } else { self.more += 1 }
    }

    /// How many places were looked at.
    pub fn size(&self) -> u64 {
        self.by_tree.size()
    }

    /// Whether events or stored tree make this head.
    fn makes(&self, head: &Head) -> bool {
        head.size() == self.size() && (self.by_tree.root() == head.root() || self.by_events.root() == head.root())
    }

    /// One place: the event with this number, and the hash in the tree; either may be missing. Numbers go up; an event whose number has been is
    /// out of its place.
    pub fn step(&mut self, at: u64, event: Option<&Event<'_>>, tree: Option<[u8; 32]>) {
        let hash = event.map(|event| leaf_hash(event.leaf));
        if let Some(mismatch) = &mut self.mismatch {
            mismatch.event_elsewhere |= tree.is_some() && tree == mismatch.event;
            mismatch.tree_elsewhere |= hash.is_some() && (hash == mismatch.tree || at == mismatch.at);
        } else if hash.is_none() || hash != tree {
            self.mismatch = Some(Mismatch { at, event: hash, tree, event_elsewhere: false, tree_elsewhere: false });
        }
        if let Some(event) = event {
            self.events += 1;
            self.look_into(at, event);
        }
        if at < self.by_tree.size() {
            return;
        }
        self.events_left |= hash.is_none();
        // Where one of them is missing the other stands in; the mismatch is known already.
        if let Some(hash) = hash.or(tree) {
            self.by_events.push(hash);
        }
        if let Some(hash) = tree.or(hash) {
            self.by_tree.push(hash);
        }
        while self.kept.last().is_some_and(|kept| kept.head().size() <= self.by_tree.size()) {
            if let Some(kept) = self.kept.pop() {
                self.compare(kept.head(), true);
            }
        }
    }

    /// What stands beside the leaf, and is not in the tree.
    fn look_into(&mut self, at: u64, event: &Event<'_>) {
        let leaf: BTreeMap<String, Value> = serde_json::from_slice(event.leaf).unwrap_or_default();
        let committed = leaf.get("personal").and_then(Value::as_object);
        for (name, salt, value) in &event.personal {
            let commitment = committed.and_then(|all| all.get(*name)).and_then(Value::as_str).and_then(from_base64url);
            if commitment.as_deref() != Some(&sha256(&[salt, value.as_bytes()])[..]) {
                self.find(Finding::Field { event: at, field: (*name).to_owned() });
            }
        }
        let there = |name: &str| event.personal.iter().any(|(other, ..)| *other == name);
        let erased = committed.map_or(0, |all| all.keys().filter(|name| !there(name)).count());
        self.erased += u64::try_from(erased).unwrap_or(0);
        if let Some(columns) = event.columns {
            let field = |name| leaf.get("fields").and_then(|fields| fields.get(name)).and_then(Value::as_str);
            for (good, field) in [
                (leaf.get("kind").and_then(Value::as_str) == Some(columns.kind), "kind"),
                (leaf.get("at").and_then(Value::as_i64) == Some(columns.at), "at"),
                (field("device") == columns.device, "device"),
                (field("project") == columns.project, "project"),
                (there("collaborator") == columns.by_collaborator, "collaborator"),
            ] {
                if !good {
                    self.find(Finding::Column { event: at, field });
                }
            }
        }
    }

    /// A stored checkpoint, as soon as the events that it covers have been fed; `said` is what stands beside the note.
    pub fn checkpoint(&mut self, note: &str, said: Option<&Head>) {
        match VerifiedCheckpoint::verify(note, &self.origin, &self.keys) {
            Ok(checkpoint) if said.is_none_or(|said| said == checkpoint.head()) => {
                self.compare(checkpoint.head(), false);
            }
            Ok(checkpoint) => self.find(Finding::Checkpoint {
                size: checkpoint.head().size(),
                why: "says something else than the row that it stands in".to_owned(),
            }),
            Err(error) => {
                let size = said.map_or(self.by_tree.size(), Head::size);
                self.find(Finding::Checkpoint { size, why: error.to_string() });
            }
        }
    }

    /// A head, with or without a signature, of what has been fed so far.
    pub fn compare(&mut self, head: &Head, kept: bool) {
        let (size, left) = (head.size(), self.by_tree.size());
        if size < left {
            self.find(Finding::Checkpoint { size, why: "stands in the wrong place".to_owned() });
            return;
        }
        if self.makes(head) {
            self.checkpoints += 1;
            self.events_left |= self.by_events.root() != head.root();
            let good = if kept { &mut self.good_by_kept } else { &mut self.good };
            *good = size.max(*good);
            return;
        }
        self.events_left = true;
        // Those in the ledger may have been signed again by whoever rewrote it: they say nothing for it against one that somebody kept.
        let from = if kept { self.good_by_kept } else { self.good.max(self.good_by_kept) };
        let [ledger, keeper] = &mut self.disagree;
        (if kept { keeper } else { ledger }).get_or_insert(match size > left {
            true => Finding::Cut { from, left, signed: size, kept },
            false => Finding::Rewritten { from, to: size, kept },
        });
    }

    /// A checkpoint of another ledger is one of this one before it began anew, or of none at all.
    fn foreign(&self) -> Option<Finding> {
        let [_, spoke] = &self.disagree;
        let spoke = spoke.is_some();
        self.other_origin.clone().filter(|_| spoke).map(|kept| Finding::Origin { kept })
    }

    /// All was fed. `size` is what the ledger says of itself.
    pub fn finish(mut self, size: u64, unnumbered: u64) -> Report {
        for kept in std::mem::take(&mut self.kept).into_iter().rev() {
            self.compare(kept.head(), true);
        }
        if self.by_tree.size() != size {
            self.find(Finding::Size { said: size, found: self.by_tree.size() });
        }
        if size > 0 && self.checkpoints == 0 && self.disagree.iter().all(Option::is_none) {
            self.find(Finding::Unsigned);
        }
        let covered = self.good.max(self.good_by_kept);
        let named = self.mismatch.map(|mismatch| match classified(&mismatch) {
            // The events are those that were signed: it was the stored tree that was touched.
            named if !self.events_left && named.event() < covered => Finding::Tree { event: named.event() },
            named => named,
        });
        let foreign = self.foreign();
        self.findings.extend(foreign);
        self.findings.sort_by_key(Finding::event);
        // The event that explains the first checkpoint that disagrees says more than that checkpoint.
        let disagree: Vec<_> = self.disagree.into_iter().flatten().collect();
        let explains = |named: &Finding| disagree.iter().all(|finding| finding.covers(named.event()));
        let (before, after) = if named.as_ref().is_some_and(explains) { (named, None) } else { (None, named) };
        self.findings.splice(0..0, before.into_iter().chain(disagree).chain(after));
        if self.more > 0 {
            self.findings.push(Finding::More(self.more));
        }
        Report {
            origin: self.origin,
            events: self.events,
            erased: self.erased,
            checkpoints: self.checkpoints,
            covered,
            unnumbered,
            findings: self.findings,
        }
    }
}

/// What became of the first event that is not where the tree has it.
fn classified(mismatch: &Mismatch) -> Finding {
    let event = mismatch.at;
    match (mismatch.event, mismatch.tree) {
        (Some(_), None) => Finding::Added(event),
        (None, _) if mismatch.tree_elsewhere => Finding::Reordered(event),
        (None, _) => Finding::Removed(event),
        (Some(_), Some(_)) => match (mismatch.event_elsewhere, mismatch.tree_elsewhere) {
            (true, true) => Finding::Reordered(event),
            (true, false) => Finding::Removed(event),
            (false, true) => Finding::Added(event),
            (false, false) => Finding::Changed(event),
        },
    }
}
