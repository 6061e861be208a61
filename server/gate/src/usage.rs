//! What was let through, counted for the issuer: an owner who is asked for more sees what was really used.
//!
//! Counting never holds a request up. What does not fit, or is refused, is lost, and how much that was is said.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use daypass_proto::{
    authorization::GitAction,
    encoding::Fixed,
    gate_api::{GateUse, MAX_LOCATIONS, MAX_USES, UsageReport},
    names::GrantId,
    resource::Repository,
    time::Timestamp,
};

/// How many (grant, repository, action) are counted between two reports.
const MOST: usize = 10_000;

/// The counts that no report has told yet, and the report that waits for its answer.
pub struct Usage {
    run: [u8; 16],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: HashMap<(GrantId, Repository, GitAction), (u32, Timestamp)>,
    dropped: u32,
    number: u32,
    waiting: Option<UsageReport>,
}

impl Usage {
    /// Nothing yet, in a start of the gate that is known by `run`, which is random.
    pub fn new(run: [u8; 16]) -> Self {
        Self { run, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked in between left a count of too little at most.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request was let through, for these actions.
    pub fn note(&self, grant: &GrantId, location: &Repository, actions: &BTreeSet<GitAction>, now: Timestamp) {
        let mut state = self.state();
        for action in actions {
            let key = (grant.clone(), location.clone(), *action);
            let room = state.counts.len() < MOST;
            match state.counts.get_mut(&key) {
                Some((count, last)) => (*count, *last) = (count.saturating_add(1), now.max(*last)),
                None if room => {
                    state.counts.insert(key, (1, now));
                }
                None => state.dropped = state.dropped.saturating_add(1),
            }
        }
    }

    /// What is to be told now: the report that has no answer yet, or else the next one. The first is made whatever there is.
    pub fn next(&self) -> Option<UsageReport> {
        let mut state = self.state();
        if state.waiting.is_none() && !(state.number > 0 && state.counts.is_empty() && state.dropped == 0) {
            state.number = state.number.saturating_add(1);
            let report = UsageReport {
                run: Fixed(self.run),
                number: state.number,
                uses: state.take(),
                dropped: std::mem::take(&mut state.dropped),
            };
            state.waiting = Some(report);
        }
        state.waiting.clone()
    }

    /// It was taken.
    pub fn taken(&self) {
        self.state().waiting = None;
    }

    /// It will never be taken; the next report says that it is lost.
    pub fn lost(&self) {
        let mut state = self.state();
        if let Some(report) = state.waiting.take() {
            let lost = report.uses.iter().fold(report.dropped, |lost, one| lost.saturating_add(one.count));
            state.dropped = state.dropped.saturating_add(lost);
        }
    }
}

impl State {
    /// As much as one report takes.
    fn take(&mut self) -> Vec<GateUse> {
        let (mut uses, mut room) = (Vec::new(), MAX_LOCATIONS);
        self.counts.retain(|(grant, location, action), (count, last)| {
            let left = room.checked_sub(location.as_str().len());
            let Some(left) = left.filter(|_| uses.len() < MAX_USES) else { return true };
            room = left;
            let (grant, location) = (grant.clone(), location.clone());
            uses.push(GateUse { grant, location, action: *action, count: *count, last: *last });
            false
        });
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(number: u8) -> GrantId {
        GrantId::from_random([number; 10])
    }

    fn at(path: &str) -> Repository {
        format!("https://git.example.com/{path}").parse().unwrap()
    }

    fn note(usage: &Usage, number: u8, path: &str, actions: &[GitAction], now: i64) {
        usage.note(&grant(number), &at(path), &actions.iter().copied().collect(), Timestamp::from_seconds(now));
    }

    #[test]
    fn requests_of_one_kind_are_one_entry_with_the_last_time() {
        let usage = Usage::new([1; 16]);
        let hello = usage.next().unwrap();
        assert_eq!((hello.number, hello.uses.len(), hello.dropped), (1, 0, 0), "the first says that this gate reports");
        usage.taken();
        assert_eq!(usage.next(), None);
        note(&usage, 1, "app", &[GitAction::Read], 100);
        note(&usage, 1, "app", &[GitAction::Push, GitAction::Create], 300);
        note(&usage, 1, "app", &[GitAction::Read], 200);
        note(&usage, 1, "app", &[GitAction::Read], 150);
        note(&usage, 1, "lib", &[GitAction::Read], 100);
        note(&usage, 2, "app", &[GitAction::Read], 100);
        let report = usage.next().unwrap();
        assert_eq!((report.run, report.number, report.dropped), (Fixed([1; 16]), 2, 0));
        let mut told: Vec<_> = report
            .uses
            .into_iter()
            .map(|one| (one.grant == grant(1), one.location, one.action, one.count, one.last.seconds()))
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                (false, at("app"), GitAction::Read, 1, 100),
                (true, at("app"), GitAction::Read, 3, 200),
                (true, at("app"), GitAction::Push, 1, 300),
                (true, at("app"), GitAction::Create, 1, 300),
                (true, at("lib"), GitAction::Read, 1, 100),
            ]
        );
    }

    #[test]
    fn a_report_without_an_answer_is_sent_again_as_it_was() {
        let usage = Usage::new([1; 16]);
        note(&usage, 1, "app", &[GitAction::Read], 100);
        let first = usage.next().unwrap();
        note(&usage, 1, "app", &[GitAction::Read], 101);
        assert_eq!(usage.next().unwrap(), first);
        usage.taken();
        let second = usage.next().unwrap();
        assert_eq!((second.number, second.uses.first().unwrap().count), (2, 1));
        usage.lost();
        let third = usage.next().unwrap();
        assert_eq!((third.number, third.uses.len(), third.dropped), (3, 0, 1));
    }

    #[test]
    fn what_is_remembered_and_what_one_report_has_is_bounded() {
        let usage = Usage::new([1; 16]);
        for number in 0..MOST + 5 {
            note(&usage, 1, &format!("r{number}"), &[GitAction::Read], 100);
        }
        // What is counted already is counted on.
        note(&usage, 1, "r0", &[GitAction::Read], 100);
        let (mut told, mut dropped) = (0, 0);
        while let Some(report) = usage.next() {
            assert!(report.uses.len() <= MAX_USES);
            told += report.uses.iter().map(|one| one.count).sum::<u32>();
            dropped += report.dropped;
            usage.taken();
        }
        assert_eq!((told as usize, dropped), (MOST + 1, 5));

        let long = format!("{}/", "b".repeat(90)).repeat(7);
        for number in 0..MAX_USES {
            note(&usage, 1, &format!("{long}{number}"), &[GitAction::Read], 100);
        }
        let report = usage.next().unwrap();
        assert!(report.uses.iter().map(|one| one.location.as_str().len()).sum::<usize>() <= MAX_LOCATIONS);
        assert!((1..MAX_USES).contains(&report.uses.len()), "{}", report.uses.len());
    }
}
