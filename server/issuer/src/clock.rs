//! Clock and randomness together, as most decisions need them; handed in through constructors.

use std::sync::Arc;

use daypass_proto::{
    ledger::{Event, EventKind},
    time::Timestamp,
};
pub use daypass_service::Clock;
use daypass_service::system_clock;

/// What fills bytes at random.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Clock and randomness together, since most decisions need both.
#[derive(Clone)]
pub struct Environment {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Environment {
    /// From parts, for tests.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// The system's.
    pub fn system() -> Self {
        Self::new(system_clock(), Arc::new(SystemEntropy))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How much of the second has passed, in parts of 65,536.
    pub fn fraction(&self) -> u16 {
        self.clock.fraction()
    }

    /// Seconds since the machine started, by the clock that nobody sets.
    pub fn since_boot(&self) -> i64 {
        self.clock.since_boot()
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// An event that happens now.
    pub fn event(&self, kind: EventKind) -> Event {
        Event::new(self.random(), kind, self.now())
    }

    /// The event, with a field that tells of a person.
    pub fn personal(&self, event: Event, name: &'static str, value: impl ToString) -> Event {
        event.personal(name, self.random(), value)
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        daypass_service::random(bytes);
    }
}
