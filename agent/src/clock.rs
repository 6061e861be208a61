//! Time and randomness, handed in through constructors: the only place of the agent that reads either from the system.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use daypass_proto::time::Timestamp;

/// What tells the time.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Seconds since the machine started, those that it slept included: this goes on evenly, whoever sets the time of day.
    fn since_boot(&self) -> i64;

    /// Both.
    fn moment(&self) -> Moment {
        Moment { now: self.now(), since_boot: self.since_boot() }
    }
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The time of day.
    pub now: Timestamp,
    /// Seconds since the machine started.
    pub since_boot: i64,
}

impl Moment {
    /// Seconds since `earlier`, by whichever clock says more: a clock that was put back makes nothing young again, and one that was put ahead
    /// ends things early rather than late.
    pub fn since(self, earlier: Self) -> i64 {
        self.now.since(earlier.now).max(self.since_boot.saturating_sub(earlier.since_boot))
    }

    /// By how many seconds the time of day was set ahead (or back, when negative) since `earlier`.
    pub fn set_since(self, earlier: Self) -> i64 {
        self.now.since(earlier.now).saturating_sub(self.since_boot.saturating_sub(earlier.since_boot))
    }
}

/// The system's clock.
pub fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place of the agent that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    fn since_boot(&self) -> i64 {
        // Linux has had this clock since 2.6.39; without it nothing could be told from a clock that was set, so nothing is.
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec())
    }
}

/// Random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // No identifier of a proof may be guessable: stop at once rather than go on without randomness.
        std::process::abort();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_sleep_counts() -> daypass_tests::Story {
        daypass_tests::goes_by_boot_time("clock::tests::the_machines_sleep_counts", || system().since_boot())
    }
}
