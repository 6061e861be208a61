//! Time and randomness, handed in through constructors: the only place of both programs that reads either from the system.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use daypass_proto::time::Timestamp;

/// What tells the time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
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
}

/// Random bytes from the system.
pub fn random(bytes: &mut [u8]) {
    if SystemRandom::new().fill(bytes).is_err() {
        // No identifier, nonce, key or salt may be guessable: stop at once rather than go on without randomness.
        std::process::abort();
    }
}
