//! Time as the owner thread sees it; handed in, so that no test waits for it.

use std::{sync::Arc, thread, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// What lets time pass, and tells how much has.
pub trait Pace: Send + Sync {
    /// Time since some fixed moment; goes on evenly.
    fn now(&self) -> Duration;
    /// Waits.
    fn pause(&self, length: Duration);
}

/// Real time.
pub fn real() -> Arc<dyn Pace> {
    Arc::new(Real)
}

struct Real;

impl Pace for Real {
    fn now(&self) -> Duration {
        // Monotonic, and without the time that the machine slept: a chip is not slow because the laptop was closed.
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
    }

    fn pause(&self, length: Duration) {
        thread::sleep(length);
    }
}

/// How long each kind of request may take, waiting in the queue included.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For looking at the chip: whoever asks for a status waits 15 s for all of it.
    pub look: Duration,
    /// For one signature: real chips take up to 600 ms, and others may be waiting.
    pub sign: Duration,
    /// For making keys and answering challenges: `CreatePrimary` alone takes seconds on real chips. A chip that is on one request for longer
    /// than this counts as hanging.
    pub slow: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { look: Duration::from_secs(5), sign: Duration::from_secs(15), slow: Duration::from_secs(90) }
    }
}
