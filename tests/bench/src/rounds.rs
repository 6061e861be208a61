//! Measuring: how many, how long, and for how long a processor was busy with them.
#![expect(clippy::disallowed_methods, reason = "the one place of the bench that looks at the clock")]

use std::time::{Duration, Instant};

use daypass_tests::Failure;
use nix::time::{ClockId, clock_gettime};

/// What was seen in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// How many were done.
    pub(crate) done: usize,
    /// How long it took until the last of them was.
    pub(crate) took: Duration,
    /// Time on processors, user and system together, of the process that did them.
    pub(crate) busy: Duration,
}

/// The stopwatch of one measurement.
pub(crate) struct Stopwatch {
    started: Instant,
    busy: Duration,
}

impl Stopwatch {
    /// Starts; `busy` is what the process under measurement has done so far.
    pub(crate) fn start(busy: Duration) -> Self {
        Self { started: Instant::now(), busy }
    }

    /// How long it has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was done since the start in `took`; `busy` may come later, when what was put off is done too.
    pub(crate) fn sample(&self, done: usize, took: Duration, busy: Duration) -> Sample {
        Sample { done, took, busy: busy.saturating_sub(self.busy) }
    }
}

/// What this process has done so far.
pub(crate) fn own_busy() -> Result<Duration, Failure> {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|error| Failure::machine("read the processor time")(error.into()))
}
