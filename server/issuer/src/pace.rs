//! How many events somebody from outside may cause that give him nothing.
//!
//! A refusal is a decision, and every decision is an event: without an end to it, one device that nobody approved could fill the ledger.
//! So each device and each invitation may be refused [`AT_ONCE`] times, and then once every [`EVERY`] seconds; the same holds, by itself,
//! for the challenges that they ask for. Beyond that nothing is decided: the answer is 429 `slow_down` with `Retry-After`, the same for every
//! cause, and no event, but a number in the metrics. What is *given*, tokens and certificates, is never held up by it: a good
//! request for them is judged and served however many bad ones came before. A challenge gives nothing yet.
//!
//! It is kept in memory and counted by the clock that nobody sets. A restart, or a second issuer, gives everybody a new [`AT_ONCE`].

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::StatusCode;
use daypass_proto::{
    ledger::EventKind,
    oauth_error::{OAuthError, Reason},
};
use thiserror::Error;

use crate::error::Refusal;

/// So many without waiting: more than any person or program of ours has use for.
const AT_ONCE: i64 = 60;
/// And then one in so many seconds.
const EVERY: i64 = 60;

/// More than that. Nothing was decided.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("too many requests were refused, or challenges asked for, in a short time; this one was not decided")]
pub struct TooMany {
    again: u32,
}

impl From<TooMany> for Refusal {
    fn from(error: TooMany) -> Self {
        let TooMany { again } = error;
        Self::new(
            OAuthError::TemporarilyUnavailable,
            Reason::SlowDown,
            error.to_string(),
            format!("see to the cause, which the earlier answers named; try again in {again} seconds"),
        )
        .with_status(StatusCode::TOO_MANY_REQUESTS)
        .with_retry_after(again)
    }
}

/// Who has caused what.
#[derive(Debug, Default)]
pub struct Pace {
    /// By kind and cause: when, in seconds since boot, all that was caused will have been worked off.
    even_at: Mutex<HashMap<(EventKind, String), i64>>,
    held_up: AtomicU64,
}

impl Pace {
    /// Whether `who` may cause one more event of this kind at `now`, in seconds since boot.
    pub fn one_more(&self, kind: EventKind, who: impl ToString, now: i64) -> Result<(), TooMany> {
        let mut all = self.lock();
        let even_at = all.entry((kind, who.to_string())).or_insert(now);
        let ahead = (*even_at).max(now) - now - (AT_ONCE - 1) * EVERY;
        if ahead > 0 {
            if self.held_up.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
                tracing::warn!(?kind, who = who.to_string(), "held up whoever causes too many refusals");
            }
            return Err(TooMany { again: u32::try_from(ahead).unwrap_or(u32::MAX) });
        }
        *even_at = (*even_at).max(now) + EVERY;
        Ok(())
    }

    /// Forgets who is even.
    pub fn forget(&self, now: i64) {
        self.lock().retain(|_, even_at| *even_at > now);
    }

    /// How many were held up since the start.
    pub fn held_up(&self) -> u64 {
        self.held_up.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(EventKind, String), i64>> {
        // A panic leaves numbers, each of which is right or one short.
        self.even_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: EventKind = EventKind::TokenRefused;

    fn caused(pace: &Pace, who: &str, now: i64) -> i64 {
        (0..).take_while(|_| pace.one_more(KIND, who, now).is_ok()).count().try_into().unwrap()
    }

    #[test]
    fn so_many_at_once_and_then_one_by_one() {
        let pace = Pace::default();
        assert_eq!(caused(&pace, "a", 1000), AT_ONCE);
        assert_eq!(pace.one_more(KIND, "a", 1000), Err(TooMany { again: 60 }));
        assert_eq!(pace.one_more(KIND, "a", 1059), Err(TooMany { again: 1 }));
        assert_eq!(caused(&pace, "a", 1060), 1);
        assert_eq!(caused(&pace, "a", 1060 + 3 * EVERY), 3);
        // An hour's silence gives no more than there was at first.
        assert_eq!(caused(&pace, "a", 1_000_000), AT_ONCE);
        assert_eq!(pace.held_up(), 6);
    }

    #[test]
    fn each_by_itself_and_each_kind_by_itself() {
        let pace = Pace::default();
        caused(&pace, "a", 0);
        assert_eq!(caused(&pace, "b", 0), AT_ONCE);
        assert_eq!(pace.one_more(EventKind::RenewalBegun, "a", 0), Ok(()));
    }

    #[test]
    fn who_is_even_is_forgotten_and_nobody_else() {
        let pace = Pace::default();
        caused(&pace, "a", 0);
        pace.one_more(KIND, "b", 0).unwrap();
        pace.forget(EVERY);
        assert_eq!(pace.lock().len(), 1);
        assert_eq!(caused(&pace, "a", EVERY), 1);
        pace.forget(AT_ONCE * EVERY + EVERY);
        assert!(pace.lock().is_empty());
    }
}
