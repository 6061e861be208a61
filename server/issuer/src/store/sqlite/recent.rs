//! What the one writer knows of the last minutes without looking: which proofs were used, and how many tokens each device has that live.
//!
//! It is a copy of what stands in the store, which is read once and then followed by the ends of two tables that only grow there. Whoever holds the
//! write lock and has called [`Recent::catch_up`] under it knows all that anybody has written, this program or another. So a token costs no tree whose keys
//! are random, and nothing is forgotten by a restart.

use std::collections::{BTreeMap, HashMap};

use daypass_proto::time::{Skew, Timestamp};
use rusqlite::Connection;

use crate::store::IssuedToken;

pub(super) const ENDS: &str =
    "SELECT (SELECT COALESCE(MAX(id), 0) FROM events), (SELECT COALESCE(MAX(n), 0) FROM proofs_seen)";
const PROOFS: &str = "SELECT id, remember_until FROM proofs_seen WHERE n > ?1";
const LIVE: &str = "SELECT device, expires_at FROM tokens WHERE expires_at > ?1";
const ISSUED: &str = "SELECT device, json_extract(CAST(leaf AS TEXT), '$.fields.exp') FROM events WHERE id > ?1 AND kind = 'token_issued'";

/// Up to where the tables were read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ends {
    pub(super) events: i64,
    pub(super) proofs: i64,
}

/// The tokens of one device that live, by their ends.
#[derive(Debug, Default)]
struct Live {
    by_end: BTreeMap<i64, usize>,
    count: usize,
}

impl Live {
    fn add(&mut self, end: i64) {
        *self.by_end.entry(end).or_default() += 1;
        self.count += 1;
    }

    fn remove(&mut self, end: i64) {
        if let Some(count) = self.by_end.get_mut(&end) {
            *count -= 1;
            self.count -= 1;
            if *count == 0 {
                self.by_end.remove(&end);
            }
        }
    }

    fn forget(&mut self, until: i64) {
        while let Some(first) = self.by_end.first_entry()
            && *first.key() <= until
        {
            self.count -= first.remove();
        }
    }
}

/// What is not in the store yet.
#[derive(Debug)]
enum New {
    Proof([u8; 32]),
    Token(String, i64),
}

/// Proofs and live tokens.
#[derive(Debug, Default)]
pub(super) struct Recent {
    proofs: HashMap<[u8; 32], Timestamp>,
    tokens: HashMap<String, Live>,
    ends: Option<Ends>,
    new: Vec<New>,
}

impl Recent {
    /// Takes over what was written since it was last read. Under the write lock nothing is written afterwards. After a fault halfway all of it is read
    /// anew: what was taken over would count twice.
    pub(super) fn catch_up(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let caught = self.read_on(connection, now);
        if caught.is_err() {
            *self = Self::default();
        }
        caught
    }

    fn read_on(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let ends = connection
            .prepare_cached(ENDS)?
            .query_row([], |row| Ok(Ends { events: row.get(0)?, proofs: row.get(1)? }))?;
        if self.ends == Some(ends) {
            return Ok(());
        }
        let mut proofs = connection.prepare_cached(PROOFS)?;
        let mut proofs = proofs.query([self.ends.map_or(0, |ends| ends.proofs)])?;
        while let Some(row) = proofs.next()? {
            self.proofs.insert(row.get(0)?, Timestamp::from_seconds(row.get(1)?));
        }
        let (tokens, from) = match self.ends {
            None => (LIVE, now.plus(-Skew::MAX_SECONDS).seconds()),
            Some(ends) => (ISSUED, ends.events),
        };
        let mut tokens = connection.prepare_cached(tokens)?;
        let mut tokens = tokens.query([from])?;
        while let Some(row) = tokens.next()? {
            self.tokens.entry(row.get(0)?).or_default().add(row.get(1)?);
        }
        self.ends = Some(ends);
        Ok(())
    }

    /// How much is new: what to take back to.
    pub(super) fn mark(&self) -> usize {
        self.new.len()
    }

    /// Remembers a proof; `false` where it was seen before.
    pub(super) fn remember(&mut self, id: &[u8; 32], until: Timestamp) -> bool {
        if self.proofs.contains_key(id) {
            return false;
        }
        self.proofs.insert(*id, until);
        self.new.push(New::Proof(*id));
        true
    }

    /// How many tokens of this device live at `now`; anybody's clock may be behind.
    pub(super) fn live(&mut self, device: &str, now: Timestamp) -> usize {
        self.tokens.get_mut(device).map_or(0, |live| {
            live.forget(now.plus(-Skew::MAX_SECONDS).seconds());
            live.count
        })
    }

    /// One more.
    pub(super) fn add(&mut self, token: &IssuedToken) {
        let (device, end) = (token.device.to_string(), token.expires_at.seconds());
        self.tokens.entry(device.clone()).or_default().add(end);
        self.new.push(New::Token(device, end));
    }

    /// Forgets what is newer than a mark: it did not happen.
    pub(super) fn take_back(&mut self, mark: usize) {
        for new in self.new.drain(mark..) {
            match new {
                New::Proof(id) => drop(self.proofs.remove(&id)),
                New::Token(device, end) => {
                    if let Some(live) = self.tokens.get_mut(&device) {
                        live.remove(end);
                    }
                }
            }
        }
    }

    /// All that is new stands in the store, which reaches so far, where it was looked at.
    pub(super) fn keep(&mut self, ends: Option<Ends>) {
        self.new.clear();
        self.ends = ends.or(self.ends);
    }

    /// Up to where the tables were read.
    pub(super) fn ends(&self) -> Option<Ends> {
        self.ends
    }

    /// Forgets what no rule needs any more.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.proofs.retain(|_, until| *until >= now);
        let over = now.plus(-Skew::MAX_SECONDS).seconds();
        self.tokens.retain(|_, live| {
            live.forget(over);
            live.count > 0
        });
    }
}
