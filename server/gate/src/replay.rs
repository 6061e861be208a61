//! What was used before. A DPoP proof is used once; a presentation is bound by its first use to one service of its repository, since one
//! git command makes several requests with it.
//!
//! The memory is the process's own, and empty after a start. A proof cannot come back then: its nonce is under a key of the process
//! ([`crate::nonce`]). A presentation can, within [`FIRST_USE`] of its nonce and from its address, and is bound anew by its next use: a git
//! command that was under way across a restart goes on.
//!
//! Each device has a shelf of its own, so that one that fills its shelf is refused, and nobody else.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use daypass_proto::{names::DeviceId, time::Timestamp};
use thiserror::Error;

use crate::{nonce::FIRST_USE, route::Service, trust::Moment};

/// How many uses are remembered of one device: more than a hundred proofs a second.
const PER_DEVICE: usize = 20_000;
/// How many of all; beyond it new ones are refused rather than old ones forgotten.
const CAPACITY: usize = 200_000;

/// Why a use is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ReplayError {
    /// A proof that was used.
    #[error("the DPoP proof was used before")]
    Used,
    /// A presentation that was first used for the other service.
    #[error("the credential was first used for the other git service")]
    OtherService,
    /// A nonce that waited too long.
    #[error("the credential was not used within {FIRST_USE} seconds after its nonce was given out")]
    TooLate,
    /// The device's shelf is full.
    #[error(
        "this machine has used more credentials within minutes than the gate remembers of one machine; make fewer requests, and try again in a minute"
    )]
    TooMany,
    /// The memory is full.
    #[error("the gate remembers as many credentials as it can; try again shortly")]
    Full,
}

/// One use, by whom and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// Hash of what was used.
    pub id: [u8; 32],
    /// Whose it is.
    pub device: &'a DeviceId,
    /// The seconds since its nonce was given out.
    pub nonce_age: i64,
    /// Until when nobody takes it any more, by the time of day.
    pub until: Timestamp,
}

struct Entry {
    until: Moment,
    service: Option<Service>,
}

impl Entry {
    /// By both clocks: setting the one forgets nothing.
    fn is_over(&self, now: Moment) -> bool {
        self.until.at < now.at && self.until.since_boot < now.since_boot
    }
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<[u8; 32], Entry>,
    swept: Option<i64>,
}

impl Shelf {
    /// Forgets what is over; gives how much that was.
    fn sweep(&mut self, now: Moment) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !entry.is_over(now));
        self.swept = Some(now.since_boot);
        before - self.entries.len()
    }
}

#[derive(Default)]
struct Memory {
    shelves: HashMap<DeviceId, Shelf>,
    entries: usize,
    swept: Option<i64>,
}

/// The memory.
pub struct Replay {
    per_device: usize,
    capacity: usize,
    memory: Mutex<Memory>,
}

impl Default for Replay {
    fn default() -> Self {
        Self::new(PER_DEVICE, CAPACITY)
    }
}

impl Replay {
    /// With room for so many uses of one device, and of all.
    pub fn new(per_device: usize, capacity: usize) -> Self {
        Self { per_device, capacity, memory: Mutex::default() }
    }

    /// A presentation is used for `service`.
    pub fn presentation(&self, using: Use<'_>, service: Service, now: Moment) -> Result<(), ReplayError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match memory.find(&using) {
            Some(entry) if entry.service == Some(service) => Ok(()),
            Some(_) => Err(ReplayError::OtherService),
            None => self.first(&mut memory, using, Some(service), now),
        }
    }

    /// A DPoP proof is used, once.
    pub fn proof(&self, using: Use<'_>, now: Moment) -> Result<(), ReplayError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match memory.find(&using) {
            Some(_) => Err(ReplayError::Used),
            None => self.first(&mut memory, using, None, now),
        }
    }

    fn first(
        &self,
        memory: &mut Memory,
        using: Use<'_>,
        service: Option<Service>,
        now: Moment,
    ) -> Result<(), ReplayError> {
        if using.nonce_age > FIRST_USE {
            return Err(ReplayError::TooLate);
        }
        // Kept at least for as long as its nonce is fresh: whoever sets the clock back meanwhile finds it here.
        let left = using.until.since(now.at).max(FIRST_USE - using.nonce_age);
        let until = Moment { at: now.at.plus(left), since_boot: now.since_boot.saturating_add(left) };
        memory.make_room(using.device, self.per_device, self.capacity, now)?;
        let shelf = memory.shelves.entry(using.device.clone()).or_default();
        shelf.entries.insert(using.id, Entry { until, service });
        memory.entries += 1;
        Ok(())
    }
}

impl Memory {
    fn find(&self, using: &Use<'_>) -> Option<&Entry> {
        self.shelves.get(using.device)?.entries.get(&using.id)
    }

    /// Forgetting what is over costs a pass. A pass before a map doubles costs little; where there is no room, one a second does.
    fn make_room(
        &mut self,
        device: &DeviceId,
        per_device: usize,
        capacity: usize,
        now: Moment,
    ) -> Result<(), ReplayError> {
        let full = self.entries >= capacity;
        let doubles = self.shelves.len() == self.shelves.capacity() && !self.shelves.contains_key(device);
        if (full || doubles) && self.swept != Some(now.since_boot) {
            self.sweep(now);
        }
        if let Some(shelf) = self.shelves.get_mut(device) {
            let full = shelf.entries.len() >= per_device && shelf.swept != Some(now.since_boot);
            let doubles = shelf.entries.len() == shelf.entries.capacity() && shelf.entries.len() < per_device;
            if full || doubles {
                self.entries -= shelf.sweep(now);
            }
            if shelf.entries.len() >= per_device {
                return Err(ReplayError::TooMany);
            }
        }
        if self.entries >= capacity { Err(ReplayError::Full) } else { Ok(()) }
    }

    fn sweep(&mut self, now: Moment) {
        for shelf in self.shelves.values_mut() {
            self.entries -= shelf.sweep(now);
        }
        self.shelves.retain(|_, shelf| !shelf.entries.is_empty());
        self.swept = Some(now.since_boot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(at: i64, since_boot: i64) -> Moment {
        Moment { at: Timestamp::from_seconds(at), since_boot }
    }

    fn at(seconds: i64) -> Moment {
        clocks(seconds, seconds)
    }

    fn device(n: u8) -> DeviceId {
        DeviceId::from_random([n; 10])
    }

    fn id(n: u32) -> [u8; 32] {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        id
    }

    /// Something whose nonce was given out so long ago, and which lives until then.
    fn using(n: u32, device: &DeviceId, nonce_age: i64, until: i64) -> Use<'_> {
        Use { id: id(n), device, nonce_age, until: Timestamp::from_seconds(until) }
    }

    #[test]
    fn a_presentation_belongs_to_its_first_service() {
        let (replay, device) = (Replay::default(), device(1));
        let using = |n, service, now| replay.presentation(using(n, &device, now, 600), service, at(now));
        assert_eq!(using(1, Service::UploadPack, 120), Ok(()));
        assert_eq!(using(1, Service::UploadPack, 500), Ok(()), "again within its life");
        assert_eq!(using(1, Service::ReceivePack, 500), Err(ReplayError::OtherService));
        assert_eq!(using(2, Service::UploadPack, 121), Err(ReplayError::TooLate));
    }

    #[test]
    fn a_proof_is_used_once() {
        let (replay, device) = (Replay::default(), device(1));
        assert_eq!(replay.proof(using(1, &device, 1, 100), at(1)), Ok(()));
        assert_eq!(replay.proof(using(1, &device, 1, 100), at(1)), Err(ReplayError::Used));
        assert_eq!(replay.proof(using(2, &device, 121, 300), at(121)), Err(ReplayError::TooLate));
    }

    #[test]
    fn what_is_over_makes_room() {
        let (replay, device) = (Replay::default(), device(1));
        for n in 0..1000_u32 {
            let now = i64::from(n) * 10;
            replay.proof(using(n, &device, FIRST_USE, now + 1), at(now)).unwrap();
        }
        let memory = replay.memory.lock().unwrap();
        assert!(memory.entries < 1000);
        assert_eq!(memory.entries, memory.shelves.values().map(|shelf| shelf.entries.len()).sum::<usize>());
    }

    #[test]
    fn a_device_that_fills_its_shelf_is_refused_and_nobody_else() {
        let (replay, greedy, other) = (Replay::new(3, 5), device(1), device(2));
        let use_at = |n, device, now| replay.proof(using(n, device, 0, now + 10), at(now));
        for n in 0..3 {
            assert_eq!(use_at(n, &greedy, 0), Ok(()));
        }
        assert_eq!(use_at(3, &greedy, 0), Err(ReplayError::TooMany));
        assert_eq!(use_at(0, &greedy, 0), Err(ReplayError::Used), "nothing was forgotten for it");
        assert_eq!(use_at(3, &other, 0), Ok(()));
        // Room for all is bounded too, and comes back with time.
        assert_eq!(use_at(4, &other, 0), Ok(()));
        assert_eq!(use_at(5, &other, 0), Err(ReplayError::Full));
        assert_eq!(use_at(5, &greedy, 0), Err(ReplayError::TooMany));
        let later = FIRST_USE + 1;
        assert_eq!(use_at(5, &greedy, later), Ok(()));
        assert_eq!(use_at(5, &other, later), Ok(()));
        assert_eq!(replay.memory.lock().unwrap().entries, 2);
    }

    #[test]
    fn a_presentation_in_use_goes_on_where_there_is_no_more_room() {
        let (replay, device) = (Replay::new(1, 1), device(1));
        let use_it = |n| replay.presentation(using(n, &device, 0, 600), Service::ReceivePack, at(1));
        assert_eq!(use_it(1), Ok(()));
        assert_eq!(use_it(2), Err(ReplayError::TooMany));
        assert_eq!(use_it(1), Ok(()));
    }

    #[test]
    fn setting_the_clock_forgets_nothing() {
        let (replay, device) = (Replay::new(1, 1), device(1));
        assert_eq!(replay.proof(using(1, &device, 0, 1090), clocks(1000, 10)), Ok(()));
        // Ahead, so that it would be over; then back again, within its nonce's time.
        assert_eq!(replay.proof(using(2, &device, 0, 99_000), clocks(90_000, 11)), Err(ReplayError::TooMany));
        assert_eq!(replay.proof(using(1, &device, 2, 1090), clocks(1001, 12)), Err(ReplayError::Used));
        // Its own life is over by both clocks, and its nonce would still be fresh if the clock were put back now.
        assert_eq!(replay.proof(using(2, &device, 0, 2000), clocks(1100, 110)), Err(ReplayError::TooMany));
        assert_eq!(replay.proof(using(1, &device, 101, 1090), clocks(1000, 111)), Err(ReplayError::Used));
    }
}
