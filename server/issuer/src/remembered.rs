//! What was read of devices that asked for tokens lately: enough to decide by, and never the last word.
//!
//! Another issuer, or a command, may have changed any of it since. So a decision that is made of it carries, as its condition, the very texts that
//! were read ([`Change::RequireSeen`](crate::store::Change::RequireSeen)): it happens only if certificate, device and grant stand so in the store at the moment at which
//! it becomes durable. Nobody is refused by what is remembered: whoever would be is looked up anew first. It can be lost at any time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::store::KnownDevice;

/// How many devices are remembered; some kilobytes each.
const MOST: usize = 4096;

/// Devices by the hash of the certificate that they present.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<HashMap<[u8; 32], Arc<KnownDevice>>>);

impl Remembered {
    fn map(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<KnownDevice>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, certificate: &[u8; 32]) -> Option<Arc<KnownDevice>> {
        self.map().get(certificate).map(Arc::clone)
    }

    pub(crate) fn put(&self, device: &Arc<KnownDevice>) {
        let mut map = self.map();
        // Those that still come are back with their next request.
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(device.certificate_hash, Arc::clone(device));
    }

    pub(crate) fn forget(&self, certificate: &[u8; 32]) {
        self.map().remove(certificate);
    }
}
