//! The issuer's ledger, as a device sees to it: that what it was promised is there, and that what was there stays.
//!
//! Every token names the leaf of its event. A [`Follower`] keeps, for one enrolment, the newest checkpoint that it has verified and the leaves that
//! it was promised. From time to time it has the issuer show the newest checkpoint, the proof that it begins with the kept one, and each promised leaf.
//!
//! ```text
//! token ──► promise, on disk ──► check ──► shown: forgotten
//!                                  │  └──► not yet, for longer than the merge delay; unknown: a finding
//!                                  └─────► newest checkpoint ──► kept, whatever it is; where it cannot come from the former one, a finding
//! ```
//!
//! It reports and does not judge: tokens are served all the same. A finding holds both checkpoints, is said once, and stays until a person has accepted it. What was
//! shown last is followed from there, so that what is done next is seen as well.

mod check;
mod continuity;
mod finding;
mod memory;
mod schedule;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use daypass_proto::{
    encoding::Fixed,
    local_api::{
        ErrorCode, Problem,
        ledger::{Evidence, Ledger, Unchecked},
    },
    pin::Pin,
    token::Promise,
};

pub(crate) use self::source::Issuer;
use self::{
    check::{Checked, check},
    finding::What,
    memory::{Kept, Memory},
    schedule::Schedule,
    source::Source,
};
use crate::{
    clock::Moment,
    error::AgentError,
    state::{Folder, StateError},
};

/// How much longer than the merge delay a leaf may be on its way, in seconds: for an issuer that was started this moment.
const SLACK: i64 = 30;

/// Follows one ledger for one enrolment.
pub(crate) struct Follower {
    issuer: String,
    pin: Pin,
    state: Mutex<State>,
    /// One check at a time: two would take each other's answers for a ledger that shrinks.
    checking: tokio::sync::Mutex<()>,
}

struct State {
    memory: Memory,
    schedule: Schedule,
    unchecked: Option<Unchecked>,
    /// When a leaf was first said not to be covered yet, by the clock that nobody sets.
    not_yet: HashMap<[u8; 32], i64>,
    /// Why something that is remembered could not be written down.
    unsaved: Option<Problem>,
}

impl State {
    fn save(&mut self, issuer: &str) -> Result<(), StateError> {
        let saved = self.memory.save();
        match &saved {
            Ok(()) => self.unsaved = None,
            Err(error) => {
                if self.unsaved.is_none() {
                    tracing::error!(issuer, %error, "could not write down what is known of the issuer's ledger");
                }
                let next_step = "make room or repair the disk of the agent's state; it is tried again by itself";
                self.unsaved = Some(Problem {
                    error: ErrorCode::Configuration,
                    message: format!("{error}: what is known of the issuer's ledger would be lost by a restart"),
                    next_step: next_step.to_owned(),
                });
            }
        }
        saved
    }

    fn add(&mut self, issuer: &str, what: What, evidence: Evidence, now: Moment) {
        if let Some(found) = self.memory.add(what, evidence, now.now) {
            let (kind, message) = (found.what.kind(), found.what.message());
            tracing::error!(issuer, finding = found.number, ?kind, "{message}");
        }
    }
}

impl Follower {
    /// Takes up what is kept in `folder` of the ledger of `issuer`, whose root has this pin. `begun` says that something must be there.
    pub(crate) fn open(issuer: &str, device: &str, folder: Folder, pin: Pin, begun: bool, now: Moment) -> Self {
        let memory = Memory::open(folder, &pin, begun, now.now);
        let mut schedule = Schedule::new(device, now);
        if !memory.promises.is_empty() {
            schedule.promised(now);
        }
        for found in memory.findings.iter().filter(|found| found.is_open()) {
            let (kind, message) = (found.what.kind(), found.what.message());
            tracing::error!(issuer, finding = found.number, ?kind, "nobody has accepted yet: {message}");
        }
        let state = State { memory, schedule, unchecked: None, not_yet: HashMap::new(), unsaved: None };
        Self { issuer: issuer.to_owned(), pin, state: Mutex::new(state), checking: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what there is.
    pub(crate) fn save(&self) -> Result<(), StateError> {
        self.state().save(&self.issuer)
    }

    /// Remembers what a token promises, before anybody is handed the token. Where it cannot be written down it is remembered all the same.
    pub(crate) fn promised(&self, promise: Promise, now: Moment) {
        let mut state = self.state();
        state.memory.promised(promise);
        state.schedule.promised(now);
        let _ = state.save(&self.issuer);
    }

    /// Writes down what could not be written down before.
    pub(crate) fn tidy(&self) {
        let mut state = self.state();
        if state.unsaved.is_some() {
            let _ = state.save(&self.issuer);
        }
    }

    /// Whether it is time for a check.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.state().schedule.is_due(now)
    }

    /// Checks the ledger now. An error where it cannot be checked; what is wrong with the ledger stands in [`Self::view`].
    pub(crate) async fn check<S: Source>(&self, source: &S, now: impl Fn() -> Moment) -> Result<(), AgentError> {
        let _one_at_a_time = self.checking.lock().await;
        let (kept, promises) = {
            let state = self.state();
            (state.memory.kept.clone(), state.memory.promises.clone())
        };
        match check(source, &self.pin, kept.as_ref(), &promises).await {
            Ok(checked) => match self.learn(checked, now()) {
                Some(error) => self.failed(error, now()),
                None => Ok(()),
            },
            Err(error) => self.failed(error, now()),
        }
    }

    /// The check could not be made, or did not end.
    pub(crate) fn failed(&self, error: AgentError, now: Moment) -> Result<(), AgentError> {
        let mut state = self.state();
        state.schedule.failed(now);
        let problem = error.problem();
        match &mut state.unchecked {
            Some(unchecked) => unchecked.problem = problem,
            None => {
                tracing::warn!(issuer = self.issuer, %error, "could not check the issuer's ledger; it is tried again");
                state.unchecked = Some(Unchecked { since: now.now, problem });
            }
        }
        Err(error)
    }

    /// Takes in what a check came to; gives why it ended before its end, where it did.
    fn learn(&self, checked: Checked, now: Moment) -> Option<AgentError> {
        let mut state = self.state();
        let state = &mut *state;
        for (mut what, evidence) in checked.found {
            if let What::Restored { at, waiting, .. } = &mut what {
                let before = state.memory.promises.iter().filter(|promise| promise.issued <= *at);
                waiting.extend(before.map(|promise| promise.leaf));
            }
            state.add(&self.issuer, what, evidence, now);
        }
        if let Some((checkpoint, key)) = checked.kept {
            state.memory.kept = Some(Kept { checkpoint, key });
        }
        let late = checked.merge_delay.saturating_add(SLACK);
        for leaf in checked.not_yet {
            let first = *state.not_yet.entry(leaf.0).or_insert(now.since_boot);
            let waited = now.since_boot.saturating_sub(first);
            if waited >= late
                && let Some(promise) = state.memory.promises.iter().find(|promise| promise.leaf == leaf).copied()
            {
                let why = format!("no checkpoint of the last {waited} s covers it");
                let shown = state.memory.kept.as_ref();
                let evidence = Evidence {
                    shown: shown.map(|kept| kept.checkpoint.note().to_owned()),
                    keys: shown.map(|kept| kept.key.clone()).into_iter().collect(),
                    leaves: vec![leaf],
                    ..Evidence::default()
                };
                state.missing(&self.issuer, promise, why, evidence, now);
            }
        }
        for missing in checked.missing {
            if missing.unknown && state.memory.lost_by_restore(&missing.promise) {
                state.forget(missing.promise.leaf);
            } else {
                state.missing(&self.issuer, missing.promise, missing.why, missing.evidence, now);
            }
        }
        for leaf in checked.shown {
            state.forget(leaf);
        }
        if let Some(error) = checked.broke_off {
            let _ = state.save(&self.issuer);
            return Some(error);
        }
        if !checked.signed {
            // Nothing else could be looked at. The finding says so; it is asked again later and later.
            state.schedule.failed(now);
            let _ = state.save(&self.issuer);
            return None;
        }
        state.memory.checked_at = Some(now.now);
        if let Some(unchecked) = state.unchecked.take() {
            tracing::info!(issuer = self.issuer, since = %unchecked.since, "the issuer's ledger is checked again");
        }
        state.schedule.checked(now, !state.memory.promises.is_empty());
        let _ = state.save(&self.issuer);
        None
    }

    /// A person has seen to these findings. All of them or, where one is not there, none.
    pub(crate) fn accept(&self, findings: &[u64], now: Moment) -> Result<(), AgentError> {
        let mut state = self.state();
        let state = &mut *state;
        let open = |number: &u64| state.memory.findings.iter().any(|found| found.number == *number && found.is_open());
        if let Some(absent) = findings.iter().find(|number| !open(number)) {
            return Err(AgentError::NoFinding(*absent));
        }
        for found in &mut state.memory.findings {
            if findings.contains(&found.number) {
                found.accepted_at = Some(now.now);
                tracing::info!(issuer = self.issuer, finding = found.number, "accepted by the user");
            }
        }
        Ok(state.save(&self.issuer)?)
    }

    /// How the ledger stands. `whole` gives checkpoints, evidence and what was accepted as well.
    pub(crate) fn view(&self, whole: bool) -> Ledger {
        let state = self.state();
        let memory = &state.memory;
        let kept = memory.kept.as_ref();
        Ledger {
            origin: kept.map(|kept| kept.checkpoint.origin().clone()),
            size: kept.map(|kept| kept.checkpoint.head().size()),
            checkpoint: kept.filter(|_| whole).map(|kept| kept.checkpoint.note().to_owned()),
            key: kept.filter(|_| whole).map(|kept| kept.key.clone()),
            checked_at: memory.checked_at,
            outstanding: memory.promises.len().try_into().unwrap_or(u64::MAX),
            outstanding_since: memory.promises.iter().map(|promise| promise.issued).min(),
            unkept: memory.unkept,
            unchecked: state.unchecked.clone(),
            unsaved: state.unsaved.clone(),
            findings: memory
                .findings
                .iter()
                .filter(|found| whole || found.is_open())
                .map(|found| found.view(whole))
                .collect(),
            more_findings: memory.more_findings,
        }
    }
}

impl State {
    fn forget(&mut self, leaf: Fixed<32>) {
        self.memory.promises.retain(|promise| promise.leaf != leaf);
        self.not_yet.remove(&leaf.0);
    }

    fn missing(&mut self, issuer: &str, promise: Promise, why: String, evidence: Evidence, now: Moment) {
        let what = What::LeafMissing { leaf: promise.leaf, issued: promise.issued, why };
        self.add(issuer, what, evidence, now);
        self.forget(promise.leaf);
    }
}
