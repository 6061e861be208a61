//! What was used before. A DPoP proof is used once; a presentation is bound by its first use to one service of its repository, since one
//! git command makes several requests with it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use daypass_proto::time::Timestamp;
use thiserror::Error;

use crate::{nonce::FIRST_USE, route::Service};

/// How many uses are remembered; beyond it new ones are refused rather than old ones forgotten.
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
    /// The memory is full.
    #[error("the gate remembers as many credentials as it can; try again shortly")]
    Full,
}

struct Entry {
    until: Timestamp,
    service: Option<Service>,
}

/// The memory. Empty after a start: what it forgot can be used once more while its nonce is fresh, 120 s at most, from the same address.
#[derive(Default)]
pub struct Replay(Mutex<HashMap<[u8; 32], Entry>>);

impl Replay {
    /// A presentation is used for `service`; its nonce was given out at `issued`.
    pub fn presentation(
        &self,
        hash: [u8; 32],
        service: Service,
        issued: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), ReplayError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&hash) {
            Some(entry) if entry.service == Some(service) => Ok(()),
            Some(_) => Err(ReplayError::OtherService),
            None if now.since(issued) > FIRST_USE => Err(ReplayError::TooLate),
            None => insert(&mut seen, hash, Entry { until, service: Some(service) }, now),
        }
    }

    /// A DPoP proof is used, once; its nonce was given out at `issued`.
    pub fn proof(&self, id: [u8; 32], issued: Timestamp, until: Timestamp, now: Timestamp) -> Result<(), ReplayError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(&id) {
            Some(_) => Err(ReplayError::Used),
            None if now.since(issued) > FIRST_USE => Err(ReplayError::TooLate),
            None => insert(&mut seen, id, Entry { until, service: None }, now),
        }
    }
}

fn insert(seen: &mut HashMap<[u8; 32], Entry>, id: [u8; 32], entry: Entry, now: Timestamp) -> Result<(), ReplayError> {
    // Forgetting what is over costs a pass; a pass every time the memory has doubled costs little.
    if seen.len() >= CAPACITY || seen.len() == seen.capacity() {
        seen.retain(|_, entry| entry.until >= now);
    }
    if seen.len() >= CAPACITY {
        return Err(ReplayError::Full);
    }
    seen.insert(id, entry);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_presentation_belongs_to_its_first_service() {
        let replay = Replay::default();
        let using = |service, now| replay.presentation([1; 32], service, at(0), at(600), at(now));
        assert_eq!(using(Service::UploadPack, 120), Ok(()));
        assert_eq!(using(Service::UploadPack, 500), Ok(()), "again within its life");
        assert_eq!(using(Service::ReceivePack, 500), Err(ReplayError::OtherService));
        assert_eq!(
            replay.presentation([2; 32], Service::UploadPack, at(0), at(600), at(121)),
            Err(ReplayError::TooLate)
        );
    }

    #[test]
    fn a_proof_is_used_once() {
        let replay = Replay::default();
        assert_eq!(replay.proof([1; 32], at(0), at(100), at(1)), Ok(()));
        assert_eq!(replay.proof([1; 32], at(0), at(100), at(1)), Err(ReplayError::Used));
        assert_eq!(replay.proof([2; 32], at(0), at(300), at(121)), Err(ReplayError::TooLate));
    }

    #[test]
    fn what_is_over_makes_room() {
        let replay = Replay::default();
        for n in 0..1000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            replay.proof(id, at(i64::from(n)), at(i64::from(n) + 1), at(i64::from(n))).unwrap();
        }
        assert!(replay.0.lock().unwrap().len() < 1000);
    }
}
