//! Time and randomness, handed in through constructors: the only place of both programs that reads either from the system.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use daypass_proto::time::Timestamp;

/// What tells the time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How much of the second has passed, in parts of 65,536, where the clock knows that: what is made at once can be put in order by it, and nothing is
    /// decided by it.
    fn fraction(&self) -> u16 {
        0
    }

    /// Seconds since the machine started, those that it slept included: this goes on evenly, whoever sets the time of day.
    fn since_boot(&self) -> i64;
}

/// The system's clock.
pub fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place of both programs that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    fn fraction(&self) -> u16 {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME);
        let parts = time.map_or(0, |time| (time.tv_nsec() << 16) / 1_000_000_000);
        u16::try_from(parts).unwrap_or(u16::MAX)
    }

    fn since_boot(&self) -> i64 {
        // Linux has had this clock since 2.6.39; without it nothing could be told from a clock that was set, so nothing is.
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec())
    }
}

/// Random bytes from the system.
pub fn random(bytes: &mut [u8]) {
    if SystemRandom::new().fill(bytes).is_err() {
        // No identifier, nonce, key or salt may be guessable: stop at once rather than go on without randomness.
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_sleep_counts() -> daypass_tests::Story {
        daypass_tests::goes_by_boot_time("clock::tests::the_machines_sleep_counts", || system_clock().since_boot())
    }
}
