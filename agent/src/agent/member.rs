//! One complete enrolment, as the running agent holds it.

use std::sync::{Mutex as Lock, PoisonError, RwLock};

use daypass_proto::{enrolment::DeviceState, local_api::Problem, time::Timestamp};
use reqwest::Client;
use tokio::sync::Mutex;

use crate::{
    clock::Moment,
    error::AgentError,
    ledger::Follower,
    notices::Notices,
    state::{Completed, Folder},
    tpm::DeviceKeys,
};

/// A clock that was set by no more than this many seconds was not set: both clocks are read in whole seconds, one after the other, and time
/// synchronisation moves one of them a little.
const UNMOVED: i64 = 2;

/// An enrolment that is complete: its device has a certificate.
pub(crate) struct Member {
    pub(super) uid: u32,
    pub(super) issuer: String,
    pub(super) folder: Folder,
    pub(super) keys: DeviceKeys,
    pub(super) completed: RwLock<Completed>,
    /// Kept, so that connections are; replaced with the certificate.
    pub(super) client: RwLock<Client>,
    /// What went wrong last, and has not gone well since.
    pub(super) problem: RwLock<Option<Problem>>,
    /// What is known of the issuer's clock.
    pub(super) time: IssuerTime,
    /// One change of the record at a time.
    pub(super) writing: Mutex<()>,
    /// One renewal of the certificate at a time.
    pub(super) renewing: Mutex<()>,
    /// What is known of the issuer's ledger.
    pub(super) ledger: Follower,
    /// What was decided about the device.
    pub(super) notices: Notices,
    /// When the issuer last could not be asked for something that nobody waits for.
    pub(super) failed: Lock<Option<Moment>>,
}

impl Member {
    pub(super) fn completed(&self) -> Completed {
        self.completed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn device(&self) -> DeviceState {
        self.completed().device
    }

    pub(super) fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note<T>(&self, result: Result<T, AgentError>) -> Result<T, AgentError> {
        let problem = result.as_ref().err().map(AgentError::problem);
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
        result
    }
}

/// What is known of the issuer's clock: how it stands to this machine's. Used in proofs, never to lengthen a token's life.
///
/// Learned from answers that came fast, against the clock that nobody sets; so a time of day that is set moves no proof. Until something
/// was learned in this run, what the last run wrote down counts.
#[derive(Default)]
pub(super) struct IssuerTime(Lock<Option<Learned>>);

#[derive(Clone, Copy)]
struct Learned {
    /// The issuer's time when this machine started.
    at_boot: Timestamp,
    /// When it was learned.
    at: Moment,
}

impl IssuerTime {
    /// The issuer said that it is `theirs`, at `at` here.
    pub(super) fn learn(&self, theirs: Timestamp, at: Moment) {
        let at_boot = theirs.plus(at.since_boot.saturating_neg());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Learned { at_boot, at });
    }

    /// The issuer's time; `offset` is what an earlier run learned.
    pub(super) fn now(&self, here: Moment, offset: Option<i64>) -> Timestamp {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(learned) => learned.at_boot.plus(here.since_boot),
            None => here.now.plus(offset.unwrap_or(0)),
        }
    }

    /// Whether this machine's time of day was set since the issuer was last asked: ask again, since one of the two clocks moved, and which one
    /// cannot be told from here. Says so once.
    pub(super) fn is_in_doubt(&self, here: Moment) -> bool {
        let mut learned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match learned.as_mut() {
            Some(learned) if here.set_since(learned.at).abs() > UNMOVED => {
                learned.at = here;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(now: i64, since_boot: i64) -> Moment {
        Moment { now: Timestamp::from_seconds(now), since_boot }
    }

    #[test]
    fn what_was_learned_outlives_a_clock_that_is_set() {
        let time = IssuerTime::default();
        assert_eq!(time.now(clocks(1000, 50), None).seconds(), 1000);
        assert_eq!(time.now(clocks(1000, 50), Some(-30)).seconds(), 970, "what an earlier run learned");
        time.learn(Timestamp::from_seconds(5000), clocks(1000, 50));
        assert_eq!(time.now(clocks(1010, 60), Some(-30)).seconds(), 5010);
        for set in [-100_000_000, -300, 300, 100_000_000] {
            assert_eq!(time.now(clocks(set, 60), None).seconds(), 5010, "set to {set}");
        }
        assert_eq!(time.now(clocks(1000, 3650), None).seconds(), 8600, "an hour's sleep counts");
    }

    #[test]
    fn a_clock_that_was_set_casts_doubt_once() {
        let time = IssuerTime::default();
        assert!(!time.is_in_doubt(clocks(0, 0)), "nothing was learned that could be wrong");
        time.learn(Timestamp::from_seconds(5000), clocks(1000, 50));
        assert!(!time.is_in_doubt(clocks(1100, 150)));
        assert!(!time.is_in_doubt(clocks(1102, 150)), "a reading apart");
        assert!(time.is_in_doubt(clocks(1200, 150)));
        assert!(!time.is_in_doubt(clocks(1201, 151)));
        assert!(time.is_in_doubt(clocks(1101, 151)), "back again");
    }
}
