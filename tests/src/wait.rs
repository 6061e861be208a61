//! Waiting for a condition, with an end. The one place of the harness that looks at the clock or lets time pass.
#![expect(clippy::disallowed_methods, reason = "a deadline for programs that run beside us needs the real clock")]

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::Failure;

/// How long anything may take to come up or to end. Generous: a loaded machine is not a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Looks for something until it is there; `None` when patience is over.
pub(crate) fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        // Not a guess about how long something takes: only how often we look.
        thread::sleep(Duration::from_millis(10));
    }
}

/// Lets a moment pass, where a story is about the moment at which something is killed; nothing may depend on its length.
pub fn a_moment(length: Duration) {
    thread::sleep(length);
}

/// Asks until there is an answer; what another program does a moment later is waited for with this.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    match until(|| ask().transpose()) {
        Some(answer) => answer,
        None => Err(Failure::unexpected(what, format!("nothing of the kind within {} s", PATIENCE.as_secs()))),
    }
}

/// Seconds since the epoch, of the machine's own clock.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

/// How long `work` took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}
