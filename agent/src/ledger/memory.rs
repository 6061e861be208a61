//! What an agent remembers of a ledger, in one file beside the enrolment: the newest checkpoint, the leaves that it was promised, what it found.
//!
//! Nothing in it is secret. It is believed no further than it can be verified: a checkpoint that does not verify under the issuer's root, or a file that
//! does not read or is gone, is said and never silently begun anew, or whoever can delete a file could make a fork disappear.

use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
};

use daypass_proto::{
    encoding::Fixed,
    ledger::{
        api::LogKey,
        checkpoint::{CheckpointKey, VerifiedCheckpoint},
    },
    local_api::ledger::Evidence,
    pin::Pin,
    time::Timestamp,
    token::Promise,
};
use serde::{Deserialize, Serialize};

use super::finding::{Found, What};
use crate::state::{Folder, StateError};

/// The file's name.
const FILE: &str = "ledger.json";
/// The version of its form.
const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// How many promises are kept: a day's of a machine that asks every minute for many resources.
const MAX_PROMISES: usize = 4096;
/// How many findings are kept.
const MAX_FINDINGS: usize = 32;

/// A checkpoint that was verified, and the key that signed it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) checkpoint: VerifiedCheckpoint,
    pub(crate) key: LogKey,
}

impl Kept {
    /// Verified anew under the pin.
    fn verify(note: &str, key: LogKey, pin: &Pin) -> Option<Self> {
        let public = CheckpointKey::certified(&key.chain.first()?.0, &key.chain, pin).ok()?;
        let checkpoint = VerifiedCheckpoint::verify_any(note, &[public]).ok()?;
        Some(Self { checkpoint, key })
    }
}

#[derive(Deserialize, Serialize)]
struct StoredCheckpoint {
    note: String,
    key: LogKey,
}

#[derive(Deserialize, Serialize)]
struct StoredPromise {
    leaf: Fixed<32>,
    issued: Timestamp,
}

#[derive(Deserialize, Serialize)]
struct Stored {
    version: u32,
    kept: Option<StoredCheckpoint>,
    checked_at: Option<Timestamp>,
    promises: Vec<StoredPromise>,
    unkept: u64,
    findings: Vec<Found>,
    findings_so_far: u64,
    more_findings: u64,
}

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Memory {
    folder: Folder,
    pub(crate) kept: Option<Kept>,
    pub(crate) checked_at: Option<Timestamp>,
    pub(crate) promises: Vec<Promise>,
    pub(crate) unkept: u64,
    pub(crate) findings: Vec<Found>,
    findings_so_far: u64,
    pub(crate) more_findings: u64,
}

/// How a file was found.
enum Read {
    Good(Box<Stored>),
    Absent,
    Bad(String),
}

impl Memory {
    /// Of a ledger that was never seen.
    fn empty(folder: Folder) -> Self {
        Self {
            folder,
            kept: None,
            checked_at: None,
            promises: Vec::new(),
            unkept: 0,
            findings: Vec::new(),
            findings_so_far: 0,
            more_findings: 0,
        }
    }

    /// Reads what was kept; `begun` says that there was something. What is wrong with it is a finding.
    pub(crate) fn open(folder: Folder, pin: &Pin, begun: bool, now: Timestamp) -> Self {
        let mut memory = Self::empty(folder);
        let lost = match memory.read() {
            Read::Good(stored) => memory.take_in(*stored, pin),
            Read::Absent => begun.then(|| "its file is gone".to_owned()),
            Read::Bad(why) => Some(match memory.move_aside(now) {
                Some(aside) => format!("{why}; it was moved to `{}`", aside.display()),
                None => why,
            }),
        };
        if let Some(why) = lost {
            memory.add(What::MemoryLost { why }, Evidence::default(), now);
        }
        memory
    }

    fn take_in(&mut self, stored: Stored, pin: &Pin) -> Option<String> {
        self.checked_at = stored.checked_at;
        self.promises = stored
            .promises
            .into_iter()
            .map(|StoredPromise { leaf, issued }| Promise { leaf, issued })
            .take(MAX_PROMISES)
            .collect();
        self.unkept = stored.unkept;
        self.findings = stored.findings;
        self.findings_so_far = stored.findings_so_far;
        self.more_findings = stored.more_findings;
        let kept = stored.kept?;
        self.kept = Kept::verify(&kept.note, kept.key, pin);
        self.kept.is_none().then(|| "the checkpoint in it does not verify under the issuer's root".to_owned())
    }

    fn path(&self) -> PathBuf {
        self.folder.file(FILE)
    }

    fn read(&self) -> Read {
        let path = self.path();
        let bad = |error: &dyn std::fmt::Display| Read::Bad(format!("`{}` does not read: {error}", path.display()));
        let mut bytes = Vec::new();
        match fs::File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Absent,
            Err(error) => return bad(&error),
            Ok(length) if u64::try_from(length).is_ok_and(|length| length > MAX_FILE) => {
                return bad(&"it is too large");
            }
            Ok(_) => {}
        }
        match serde_json::from_slice::<Stored>(&bytes) {
            Ok(stored) if stored.version == VERSION => Read::Good(Box::new(stored)),
            Ok(stored) => bad(&format!("it has version {}, and this agent knows {VERSION}", stored.version)),
            Err(error) => bad(&error),
        }
    }

    /// Moves a file that does not read out of the way: there may be evidence in it.
    fn move_aside(&self, now: Timestamp) -> Option<PathBuf> {
        let aside = self.folder.file(&format!("{FILE}.damaged-{}", now.seconds()));
        fs::rename(self.path(), &aside).ok().map(|()| aside)
    }

    /// Writes it down, whole or not at all.
    pub(crate) fn save(&self) -> Result<(), StateError> {
        let stored = Stored {
            version: VERSION,
            kept: self
                .kept
                .as_ref()
                .map(|kept| StoredCheckpoint { note: kept.checkpoint.note().to_owned(), key: kept.key.clone() }),
            checked_at: self.checked_at,
            promises: self
                .promises
                .iter()
                .map(|promise| StoredPromise { leaf: promise.leaf, issued: promise.issued })
                .collect(),
            unkept: self.unkept,
            findings: self.findings.clone(),
            findings_so_far: self.findings_so_far,
            more_findings: self.more_findings,
        };
        let bytes = serde_json::to_vec(&stored).map_err(|source| StateError::Record { path: self.path(), source })?;
        self.folder.write(&self.path(), &bytes)
    }

    /// Remembers a promise.
    pub(crate) fn promised(&mut self, promise: Promise) {
        if self.promises.iter().any(|known| known.leaf == promise.leaf) {
            return;
        }
        if self.promises.len() < MAX_PROMISES {
            self.promises.push(promise);
        } else {
            self.unkept = self.unkept.saturating_add(1);
        }
    }

    /// Adds a finding, unless nobody has accepted one yet that says no less; gives it where it is new.
    pub(crate) fn add(&mut self, what: What, evidence: Evidence, now: Timestamp) -> Option<&Found> {
        let said = self.findings.iter().any(|found| {
            found.is_open()
                && match (&found.what, &what) {
                    // Each answer may have another text.
                    (What::BadSignature { .. }, What::BadSignature { .. }) => true,
                    (one, other) => one == other,
                }
        });
        if said {
            return None;
        }
        self.findings_so_far = self.findings_so_far.saturating_add(1);
        if self.findings.len() >= MAX_FINDINGS {
            match self.findings.iter().position(|found| !found.is_open()) {
                Some(oldest) => drop(self.findings.remove(oldest)),
                None => {
                    // The first ones tell how it began.
                    self.more_findings = self.more_findings.saturating_add(1);
                    return None;
                }
            }
        }
        let number = self.findings_so_far;
        self.findings.push(Found { number, what, found_at: now, accepted_at: None, evidence });
        self.findings.last()
    }

    /// Counts a token whose event is gone to the restore that took it; `false` where no restore can have.
    pub(crate) fn lost_by_restore(&mut self, promise: &Promise) -> bool {
        for found in self.findings.iter_mut().rev() {
            if let What::Restored { waiting, lost, .. } = &mut found.what
                && let Some(place) = waiting.iter().position(|leaf| *leaf == promise.leaf)
            {
                lost.push(waiting.swap_remove(place));
                return true;
            }
        }
        false
    }
}
