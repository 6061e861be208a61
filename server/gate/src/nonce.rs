//! Nonces: a MAC over time, a random part, scope and client address. Nothing is stored, and whoever was not given one here has none.
//!
//! A presentation serves several requests of one git command, which may reach any gate of the resource and does not retry: its nonce is
//! under a key that all of them share. A DPoP proof is used once, and clients take the nonce of a refusal and try again: its nonce is under
//! a key that is made at the gate's start and leaves it never. So a proof is good at the one process that can remember it, and neither a
//! restart nor a sister gate takes it a second time.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use daypass_proto::{
    encoding::{base64url, from_base64url},
    time::Skew,
};
use thiserror::Error;

use crate::trust::Moment;

/// How long a nonce may wait for its first use, in seconds.
pub const FIRST_USE: i64 = 120;

/// The random part, in bytes.
pub const RANDOM: usize = 8;
/// What stands before the MAC: time and random part.
const HEAD: usize = 8 + RANDOM;

/// What a nonce is for: one made for a presentation is of no use in a DPoP proof, and the other way round.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// A presentation for this canonical repository.
    Presentation(&'a str),
    /// DPoP proofs at this resource, to this gate.
    Dpop(&'a str),
}

impl<'a> Scope<'a> {
    fn parts(self) -> (u8, &'a str) {
        match self {
            Self::Presentation(repository) => (1, repository),
            Self::Dpop(resource) => (2, resource),
        }
    }

    /// The clock that counts. Gates share the time of day alone; within one process there is a clock that nobody sets.
    fn clock(self, now: Moment) -> i64 {
        match self {
            Self::Presentation(_) => now.at.seconds(),
            Self::Dpop(_) => now.since_boot,
        }
    }
}

/// Why a nonce is not good here.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NonceError {
    /// Not one of ours for this scope and address.
    #[error("the nonce was not given out for this repository and this network address")]
    Foreign,
    /// Not one of this process for this resource and address.
    #[error(
        "the nonce was not given out by this gate, since its start, for this network address; take the one of this answer"
    )]
    ForeignToGate,
    /// From the future: the gates' clocks differ.
    #[error("the nonce is from the future: the clocks of the gates differ")]
    Future,
}

/// The keys, and whether the client's address counts.
pub struct Nonces {
    shared: hmac::Key,
    own: hmac::Key,
    bind_address: bool,
}

impl Nonces {
    /// From the key that all gates of a resource share, and from one that was made for this process alone.
    pub fn new(shared: &[u8; 32], own: &[u8; 32], bind_address: bool) -> Self {
        let key = |bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { shared: key(shared), own: key(own), bind_address }
    }

    /// A nonce for this scope and client. `random` keeps the nonces of one second apart, and with them the credentials that are
    /// made of them: each is bound to its own first use.
    pub fn issue(&self, scope: Scope<'_>, client: IpAddr, now: Moment, random: [u8; RANDOM]) -> String {
        let mut head = [0; HEAD];
        let parts = scope.clock(now).to_be_bytes().into_iter().chain(random);
        head.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let mac = hmac::sign(self.key(scope), &self.message(scope, client, &head));
        base64url(&[&head[..], mac.as_ref()].concat())
    }

    /// How many seconds ago this nonce was given out to this client for this scope.
    pub fn age(&self, nonce: &str, scope: Scope<'_>, client: IpAddr, now: Moment) -> Result<i64, NonceError> {
        let foreign = match scope {
            Scope::Presentation(_) => NonceError::Foreign,
            Scope::Dpop(_) => NonceError::ForeignToGate,
        };
        let bytes = from_base64url(nonce).ok_or(foreign)?;
        let (head, mac) = bytes.split_first_chunk::<HEAD>().ok_or(foreign)?;
        hmac::verify(self.key(scope), &self.message(scope, client, head), mac).map_err(|_| foreign)?;
        let (time, _) = head.split_first_chunk::<8>().ok_or(foreign)?;
        let age = scope.clock(now).saturating_sub(i64::from_be_bytes(*time));
        if age < -Skew::MAX_SECONDS { Err(NonceError::Future) } else { Ok(age) }
    }

    fn key(&self, scope: Scope<'_>) -> &hmac::Key {
        match scope {
            Scope::Presentation(_) => &self.shared,
            Scope::Dpop(_) => &self.own,
        }
    }

    fn message(&self, scope: Scope<'_>, client: IpAddr, head: &[u8; HEAD]) -> Vec<u8> {
        let (kind, name) = scope.parts();
        let address = if self.bind_address { network(client) } else { Vec::new() };
        let length = (name.len() as u64).to_be_bytes();
        [b"daypass/v1/nonce", &[kind][..], head, &length, name.as_bytes(), &address].concat()
    }
}

/// What counts of an address: all of IPv4, the first 64 bits of IPv6, since a machine changes the rest by itself.
fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}

#[cfg(test)]
mod tests {
    use daypass_proto::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const HERE: &str = "192.0.2.1";

    fn clocks(at: i64, since_boot: i64) -> Moment {
        Moment { at: Timestamp::from_seconds(at), since_boot }
    }

    fn gate(shared: u8, own: u8) -> Nonces {
        Nonces::new(&[shared; 32], &[own; 32], true)
    }

    fn issue(nonces: &Nonces, scope: Scope<'_>, now: Moment) -> String {
        nonces.issue(scope, HERE.parse().unwrap(), now, [1; RANDOM])
    }

    fn age(nonces: &Nonces, nonce: &str, scope: Scope<'_>, now: Moment) -> Result<i64, NonceError> {
        nonces.age(nonce, scope, HERE.parse().unwrap(), now)
    }

    #[test]
    fn a_nonce_is_good_for_its_scope_and_address_only() {
        let (nonces, scope, now) = (gate(7, 9), Scope::Presentation("https://h/a"), clocks(100, 5));
        let nonce = issue(&nonces, scope, clocks(90, 4));
        let from = |client: &str, scope| nonces.age(&nonce, scope, client.parse().unwrap(), now);
        assert_eq!(from(HERE, scope), Ok(10));
        assert_eq!(from("::ffff:192.0.2.1", scope), Ok(10));
        for (scope, client) in
            [(scope, "192.0.2.2"), (scope, "2001:db8::1"), (Scope::Presentation("https://h/b"), HERE)]
        {
            assert_eq!(from(client, scope), Err(NonceError::Foreign), "{scope:?} {client}");
        }
        assert_eq!(from(HERE, Scope::Dpop("https://h/a")), Err(NonceError::ForeignToGate));
        assert_eq!(age(&gate(8, 9), &nonce, scope, now), Err(NonceError::Foreign), "another resource's key");
        let (half, longer, padded) = (&nonce[..nonce.len() / 2], format!("{nonce}AAAA"), format!("{nonce}="));
        for cut in ["", half, &longer, &padded] {
            assert_eq!(age(&nonces, cut, scope, now), Err(NonceError::Foreign), "{cut}");
        }
    }

    #[test]
    fn a_presentation_s_nonce_is_good_at_every_gate_and_a_proof_s_at_the_one_that_gave_it() {
        let (here, sister, now) = (gate(7, 9), gate(7, 10), clocks(100, 5));
        let presentation = Scope::Presentation("https://h/a");
        assert_eq!(age(&sister, &issue(&here, presentation, now), presentation, now), Ok(0));
        let dpop = Scope::Dpop("https://h/");
        let nonce = issue(&here, dpop, now);
        assert_eq!(age(&here, &nonce, dpop, now), Ok(0));
        // A sister gate, or the same one after a restart.
        assert_eq!(age(&sister, &nonce, dpop, now), Err(NonceError::ForeignToGate));
        // Neither does the one key stand in for the other.
        assert_eq!(age(&gate(9, 7), &issue(&gate(7, 9), dpop, now), dpop, now), Err(NonceError::ForeignToGate));
    }

    #[test]
    fn nobody_makes_a_proof_s_nonce_young_by_setting_the_clock() {
        let (nonces, dpop) = (gate(7, 9), Scope::Dpop("https://h/"));
        let nonce = issue(&nonces, dpop, clocks(100_000, 50));
        for at in [1, 100_000, 200_000] {
            assert_eq!(age(&nonces, &nonce, dpop, clocks(at, 171)), Ok(121));
        }
    }

    #[test]
    fn nonces_of_one_second_differ() {
        let here = HERE.parse().unwrap();
        let issue = |random| gate(7, 9).issue(Scope::Dpop("https://h/"), here, clocks(1, 1), random);
        assert_ne!(issue([1; RANDOM]), issue([2; RANDOM]));
    }

    #[test]
    fn ipv6_counts_by_network() {
        let (nonces, scope, now) = (gate(7, 9), Scope::Dpop("https://h/"), clocks(100, 100));
        let nonce = nonces.issue(scope, "2001:db8::1".parse().unwrap(), now, [1; RANDOM]);
        assert!(nonces.age(&nonce, scope, "2001:db8::2".parse().unwrap(), now).is_ok());
        assert!(nonces.age(&nonce, scope, "2001:db8:0:1::1".parse().unwrap(), now).is_err());
    }

    #[test]
    fn the_future_is_refused_and_the_address_can_be_left_out() {
        let (scope, elsewhere) = (Scope::Presentation("https://h/a"), "192.0.2.9".parse().unwrap());
        let nonces = Nonces::new(&[7; 32], &[9; 32], false);
        let nonce = issue(&nonces, scope, clocks(161, 1));
        assert_eq!(nonces.age(&nonce, scope, elsewhere, clocks(100, 1)), Err(NonceError::Future));
        assert_eq!(nonces.age(&nonce, scope, elsewhere, clocks(101, 1)), Ok(-60));
    }

    proptest! {
        #[test]
        fn nothing_that_was_not_given_out_is_one(text in "[A-Za-z0-9_=-]{0,90}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let (nonces, now) = (gate(7, 9), clocks(100, 100));
            for nonce in [text, base64url(&bytes)] {
                let scope = Scope::Presentation("https://h/a");
                prop_assert_eq!(age(&nonces, &nonce, scope, now), Err(NonceError::Foreign));
                prop_assert_eq!(age(&nonces, &nonce, Scope::Dpop("https://h/"), now), Err(NonceError::ForeignToGate));
            }
        }
    }
}
