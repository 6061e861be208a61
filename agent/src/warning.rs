//! Warnings ahead: which grants come to their end, and which of that was said to somebody lately.
//!
//! Both are pure functions of what is known and of the time. Warnings stand in every status; at a tool's use each is said once a day, and what was said
//! is written down before it is, so that an agent that starts again does not begin anew.

use daypass_proto::{
    enrolment::GrantState,
    local_api::{Ending, Warning},
    names::GrantId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// How often the same is said at a tool's use, in seconds.
const DAY: i64 = 86_400;
/// An end is said ahead for at most this part of the grant's length: one fifth.
const PART: i64 = 5;

/// What of this grant comes to its end, as far as `before` seconds ahead.
pub fn of(grant: &GrantState, now: Timestamp, before: i64) -> Vec<Warning> {
    let warning = |what, said: String, next_step: String| Warning {
        grant: grant.grant.clone(),
        what,
        message: format!("grant {} ({} as {}) {said}", grant.grant, grant.project, grant.role),
        next_step,
    };
    let extend = || format!("for longer: `daypass extend {} --reason …`", grant.grant);
    let mut warnings = Vec::new();
    match time_of(grant, now, before) {
        Some(Ending::Grace) => {
            let over = grant.grace_until.unwrap_or(grant.until);
            let said = format!("ended at {}; in grace, until {over}, it gives less than before", grant.until);
            warnings.push(warning(Ending::Grace, said, extend()));
        }
        Some(what) => {
            warnings.push(warning(what, format!("ends at {}, in {}", grant.until, length(grant.until, now)), extend()));
        }
        None => {}
    }
    if let (true, Some(uses), Some(left)) = (is_live(grant), grant.uses, grant.uses_left)
        && is_few(left, uses)
    {
        let said = match left {
            0 if uses == 1 => "has given its only token".to_owned(),
            0 => format!("has given all its {uses} tokens"),
            1 => format!("gives one more token, the last of {uses}"),
            _ => format!("gives {left} more tokens of {uses}"),
        };
        warnings.push(warning(Ending::Uses, said, "ask an owner of the project for another grant".to_owned()));
    }
    warnings
}

/// What its time says. A state that was heard before its end counts for nothing after it.
fn time_of(grant: &GrantState, now: Timestamp, before: i64) -> Option<Ending> {
    if !is_live(grant) {
        return None;
    }
    if now >= grant.until {
        return grant.grace_until.is_some_and(|over| now < over).then_some(Ending::Grace);
    }
    let ahead = match grant.begins {
        Some(begins) if now < begins => return None,
        Some(begins) => before.min(grant.until.since(begins) / PART),
        None => before,
    };
    (grant.until.since(now) <= ahead).then_some(Ending::Soon)
}

fn is_live(grant: &GrantState) -> bool {
    matches!(grant.state.as_str(), "active" | "grace")
}

/// A fifth, or the last one. A grant for a single token says nothing until it is used: that it is for one, was known.
fn is_few(left: u32, of: u32) -> bool {
    left < of && left <= (of / 5).max(1)
}

/// How long it is until then, in words.
fn length(time: Timestamp, now: Timestamp) -> String {
    match time.since(now) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / DAY),
    }
}

/// A warning that was said.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Said {
    /// About which grant.
    pub grant: GrantId,
    /// What of it.
    pub what: Ending,
    /// When, by this machine's clock.
    pub at: Timestamp,
}

/// Of these, those that are to be said now; they count as said from here on. What was said of grants that are no more is forgotten.
pub fn due(said: &mut Vec<Said>, grants: &[GrantState], warnings: Vec<Warning>, now: Timestamp) -> Vec<Warning> {
    said.retain(|one| grants.iter().any(|grant| grant.grant == one.grant));
    let mut due = Vec::new();
    for warning in warnings {
        let same = |one: &&mut Said| one.grant == warning.grant && one.what == warning.what;
        match said.iter_mut().find(same) {
            // A clock that was put back by more than a day silences nothing for longer.
            Some(one) if now.since(one.at).saturating_abs() < DAY => continue,
            Some(one) => one.at = now,
            None => said.push(Said { grant: warning.grant.clone(), what: warning.what, at: now }),
        }
        due.push(warning);
    }
    due
}

#[cfg(test)]
mod tests;
