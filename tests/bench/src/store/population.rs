//! Who is in a seeded store. Names are made from numbers, so that nobody has to remember ten million of them.

use daypass_proto::{
    encoding::{base64url, sha256},
    names::{DeviceId, GrantId},
};

/// The one resource of all grants.
pub(crate) const RESOURCE: &str = "https://git.example.com/";

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Population {
    /// Grants, each with a device of its own, its certificate, one live token and one remembered proof.
    pub(crate) grants: u64,
    /// Events in the ledger.
    pub(crate) events: u64,
}

impl Population {
    pub(crate) fn device(number: u64) -> DeviceId {
        DeviceId::from_random(scattered(0, number))
    }

    pub(crate) fn grant(number: u64) -> GrantId {
        GrantId::from_random(scattered(1, number))
    }

    pub(crate) fn jti(number: u64) -> String {
        let [first, second] = [scattered(2, number), scattered(3, number)];
        // 128 bits, as in tokens.
        base64url(&first.into_iter().chain(second).take(16).collect::<Vec<_>>())
    }

    /// A hash that stands for a certificate or a proof.
    pub(crate) fn hash(kind: &str, number: u64) -> [u8; 32] {
        sha256(&[kind.as_bytes(), &number.to_be_bytes()])
    }
}

/// As good as random for an index, and the same every time (splitmix64).
fn scattered(kind: u8, number: u64) -> [u8; 10] {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(kind) << 32);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut bytes = [kind; 10];
    for (byte, value) in bytes.iter_mut().zip(mixed.to_be_bytes()) {
        *byte = value;
    }
    bytes
}
