//! How telling goes, in numbers.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    issuer::Issuer,
    store::{StoreError, Waiting},
};

/// What was sent since the start.
#[derive(Debug, Default)]
pub struct Counters {
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    /// One more attempt.
    pub(super) fn count(&self, taken: bool) {
        let counter = if taken { &self.taken } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The part of `GET /metrics`, in Prometheus' text format.
pub(crate) async fn text(issuer: &Issuer) -> Result<String, StoreError> {
    let waiting = issuer.store.waiting().await?;
    let now = issuer.environment.now();
    let sum = |of: fn(&Waiting) -> u64| waiting.iter().map(of).fold(0, u64::saturating_add);
    let oldest = waiting.iter().filter_map(|sink| sink.oldest).min().map_or(0, |oldest| now.since(oldest).max(0));
    let sent = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &issuer.notified;
    let measured = [
        ("waiting", "gauge", "Notifications that a sink has not taken yet.", sum(|sink| sink.waiting)),
        ("dead", "gauge", "Notifications that are not tried any more.", sum(|sink| sink.dead)),
        (
            "oldest_seconds",
            "gauge",
            "Age of the oldest notification that is still tried.",
            u64::try_from(oldest).unwrap_or(0),
        ),
        ("taken_total", "counter", "Notifications that a sink took since the start.", sent(&counters.taken)),
        ("failed_total", "counter", "Attempts that failed since the start.", sent(&counters.failed)),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in measured {
        let name = format!("daypass_notifications_{name}");
        // Writing to a string does not fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    Ok(text)
}
