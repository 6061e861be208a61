//! When a ledger is checked: a pure function of clocks that go on while the machine sleeps.
//!
//! Some seconds after a token was got, one check for all that were got meanwhile; once an hour on a machine that does nothing, to see a fork; later and
//! later while the issuer is away. Each device is apart from the others by seconds of its own, so that a fleet does not come at once.

use daypass_proto::encoding::sha256;

use crate::clock::Moment;

/// How long after a token its leaf is looked for, in seconds. It is covered within a second nearly always.
const SETTLE: i64 = 5;
/// How far apart devices are, in seconds. With [`SETTLE`] it stays within the merge delay.
const SPREAD: i64 = 20;
/// How long nothing is asked on an idle machine, in seconds; up to a third more, by device.
const IDLE: i64 = 3600;
/// The first pause after a failure, in seconds; it doubles up to [`IDLE`].
const PAUSE: i64 = 60;

/// The times that decide.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Seconds of this device's own.
    spread: i64,
    begun: Moment,
    checked: Option<Moment>,
    /// Since when a leaf waits to be looked for.
    waiting: Option<Moment>,
    failed: Option<(Moment, u32)>,
}

impl Schedule {
    /// For a device, from now on.
    pub(super) fn new(device: &str, now: Moment) -> Self {
        let [byte, ..] = sha256(&[b"daypass ledger", device.as_bytes()]);
        Self { spread: i64::from(byte) * SPREAD / 256, begun: now, checked: None, waiting: None, failed: None }
    }

    /// A leaf waits.
    pub(super) fn promised(&mut self, now: Moment) {
        self.waiting.get_or_insert(now);
    }

    /// The check was made; `waiting` says that leaves are left to be looked for.
    pub(super) fn checked(&mut self, now: Moment, waiting: bool) {
        self.checked = Some(now);
        self.failed = None;
        self.waiting = waiting.then_some(now);
    }

    /// The check could not be made.
    pub(super) fn failed(&mut self, now: Moment) {
        let times = self.failed.map_or(0, |(_, times)| times);
        self.failed = Some((now, times.saturating_add(1)));
    }

    /// Whether to check now.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        if let Some((failed, times)) = self.failed {
            let pause = PAUSE.saturating_mul(1 << (times.saturating_sub(1)).min(6)).min(IDLE);
            return now.since(failed) >= pause + self.spread;
        }
        let settled = self.waiting.is_some_and(|waiting| now.since(waiting) >= SETTLE + self.spread);
        settled
            || match self.checked {
                Some(checked) => now.since(checked) >= IDLE + self.spread * IDLE / (3 * SPREAD),
                None => now.since(self.begun) >= self.spread,
            }
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::{ledger::api::MERGE_DELAY, time::Timestamp};

    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment { now: Timestamp::from_seconds(1_000_000 + seconds), since_boot: seconds }
    }

    /// The seconds from `from` on at which it is due first.
    fn due(schedule: &Schedule, from: i64) -> i64 {
        (from..from + 100_000).find(|second| schedule.is_due(at(*second))).unwrap()
    }

    #[test]
    fn a_leaf_is_looked_for_within_the_merge_delay_and_idle_machines_ask_hourly() {
        let mut moments = std::collections::BTreeSet::new();
        for device in 0..200 {
            let mut schedule = Schedule::new(&format!("dev-{device}"), at(0));
            assert!(due(&schedule, 0) < SPREAD, "soon after the start");
            schedule.checked(at(100), false);
            let idle = due(&schedule, 100) - 100;
            assert!((IDLE..IDLE * 4 / 3).contains(&idle), "{idle}");
            schedule.promised(at(200));
            schedule.promised(at(203));
            let looked = due(&schedule, 200) - 200;
            assert!((SETTLE..MERGE_DELAY).contains(&looked), "{looked}");
            moments.insert(looked);
            schedule.checked(at(230), false);
            assert!(due(&schedule, 230) >= 230 + IDLE, "one check for both");
        }
        assert!(moments.len() > 10, "devices are apart");
    }

    #[test]
    fn an_issuer_that_is_away_is_asked_later_and_later() {
        let mut schedule = Schedule::new("dev", at(0));
        schedule.promised(at(0));
        let (mut now, mut pauses) = (due(&schedule, 0), Vec::new());
        for _ in 0..10 {
            schedule.failed(at(now));
            let next = due(&schedule, now);
            pauses.push(next - now - schedule.spread);
            now = next;
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]);
        schedule.checked(at(now), true);
        assert!(due(&schedule, now) < now + MERGE_DELAY, "what waits is looked for as ever");
    }

    #[test]
    fn sleep_counts_and_a_clock_that_was_put_back_does_not_stop_it() {
        let mut schedule = Schedule::new("dev", at(0));
        schedule.checked(at(0), false);
        let back = Moment { now: Timestamp::from_seconds(5), since_boot: 2 * IDLE };
        assert!(schedule.is_due(back));
    }
}
