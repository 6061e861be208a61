//! Nonces: a MAC over time, a random part, scope and client address, under a key that all gates of one resource share. Nothing is stored, and
//! whoever was not given one here has none.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use daypass_proto::{
    encoding::{base64url, from_base64url},
    time::Timestamp,
};
use thiserror::Error;

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
    /// DPoP proofs at this resource.
    Dpop(&'a str),
}

impl<'a> Scope<'a> {
    fn parts(self) -> (u8, &'a str) {
        match self {
            Self::Presentation(repository) => (1, repository),
            Self::Dpop(resource) => (2, resource),
        }
    }
}

/// Why a nonce is not good here.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NonceError {
    /// Not one of ours for this scope and address.
    #[error("the nonce was not given out for this repository and this network address")]
    Foreign,
    /// From the future: the gates' clocks differ.
    #[error("the nonce is from the future: the clocks of the gates differ")]
    Future,
}

/// The key, and whether the client's address counts.
pub struct Nonces {
    key: hmac::Key,
    bind_address: bool,
}

impl Nonces {
    /// From the shared key.
    pub fn new(key: &[u8; 32], bind_address: bool) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), bind_address }
    }

    /// A nonce for this scope and client. `random` keeps the nonces of one second apart, and with them the credentials that are
    /// made of them: each is bound to its own first use.
    pub fn issue(&self, scope: Scope<'_>, client: IpAddr, now: Timestamp, random: [u8; RANDOM]) -> String {
        let mut head = [0; HEAD];
        let parts = now.seconds().to_be_bytes().into_iter().chain(random);
        head.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        let mac = hmac::sign(&self.key, &self.message(scope, client, &head));
        base64url(&[&head[..], mac.as_ref()].concat())
    }

    /// When this nonce was given out to this client for this scope.
    pub fn check(
        &self,
        nonce: &str,
        scope: Scope<'_>,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Timestamp, NonceError> {
        let bytes = from_base64url(nonce).ok_or(NonceError::Foreign)?;
        let (head, mac) = bytes.split_first_chunk::<HEAD>().ok_or(NonceError::Foreign)?;
        hmac::verify(&self.key, &self.message(scope, client, head), mac).map_err(|_| NonceError::Foreign)?;
        let (time, _) = head.split_first_chunk::<8>().ok_or(NonceError::Foreign)?;
        let issued = Timestamp::from_seconds(i64::from_be_bytes(*time));
        if issued > now.plus(daypass_proto::time::Skew::MAX_SECONDS) { Err(NonceError::Future) } else { Ok(issued) }
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
    use proptest::prelude::*;

    use super::*;

    const HERE: &str = "192.0.2.1";

    fn check(nonce: &str, scope: Scope<'_>, client: &str) -> Result<Timestamp, NonceError> {
        Nonces::new(&[7; 32], true).check(nonce, scope, client.parse().unwrap(), Timestamp::from_seconds(100))
    }

    #[test]
    fn a_nonce_is_good_for_its_scope_and_address_only() {
        let scope = Scope::Presentation("https://h/a");
        let nonce =
            Nonces::new(&[7; 32], true).issue(scope, HERE.parse().unwrap(), Timestamp::from_seconds(90), [1; RANDOM]);
        assert_eq!(check(&nonce, scope, HERE), Ok(Timestamp::from_seconds(90)));
        assert_eq!(check(&nonce, scope, "::ffff:192.0.2.1"), Ok(Timestamp::from_seconds(90)));
        for (scope, client) in [
            (scope, "192.0.2.2"),
            (scope, "2001:db8::1"),
            (Scope::Presentation("https://h/b"), HERE),
            (Scope::Dpop("https://h/a"), HERE),
        ] {
            assert_eq!(check(&nonce, scope, client), Err(NonceError::Foreign), "{scope:?} {client}");
        }
        let other =
            Nonces::new(&[8; 32], true).issue(scope, HERE.parse().unwrap(), Timestamp::from_seconds(90), [1; RANDOM]);
        assert_eq!(check(&other, scope, HERE), Err(NonceError::Foreign), "another gate's key");
        let (half, longer, padded) = (&nonce[..nonce.len() / 2], format!("{nonce}AAAA"), format!("{nonce}="));
        // 48 bytes are 64 characters without a rest: cutting four of them cuts three bytes of the MAC.
        for broken in ["", "AAAA", "!", &nonce[1..], half, &nonce[..nonce.len() - 4], &longer, &padded] {
            assert_eq!(check(broken, scope, HERE), Err(NonceError::Foreign), "{broken}");
        }
    }

    #[test]
    fn nonces_of_one_second_differ() {
        let issue = |random| {
            Nonces::new(&[7; 32], true).issue(
                Scope::Dpop("https://h/"),
                HERE.parse().unwrap(),
                Timestamp::from_seconds(1),
                random,
            )
        };
        assert_ne!(issue([1; RANDOM]), issue([2; RANDOM]));
    }

    #[test]
    fn ipv6_counts_by_network() {
        let nonces = Nonces::new(&[7; 32], true);
        let (scope, now) = (Scope::Dpop("https://h/"), Timestamp::from_seconds(100));
        let nonce = nonces.issue(scope, "2001:db8::1".parse().unwrap(), now, [1; RANDOM]);
        assert!(nonces.check(&nonce, scope, "2001:db8::2".parse().unwrap(), now).is_ok());
        assert!(nonces.check(&nonce, scope, "2001:db8:0:1::1".parse().unwrap(), now).is_err());
    }

    #[test]
    fn the_future_is_refused_and_the_address_can_be_left_out() {
        let (scope, now) = (Scope::Dpop("https://h/"), Timestamp::from_seconds(100));
        let nonces = Nonces::new(&[7; 32], false);
        let nonce = nonces.issue(scope, HERE.parse().unwrap(), now.plus(61), [1; RANDOM]);
        assert_eq!(nonces.check(&nonce, scope, "192.0.2.9".parse().unwrap(), now), Err(NonceError::Future));
        assert!(nonces.check(&nonce, scope, "192.0.2.9".parse().unwrap(), now.plus(1)).is_ok());
    }
    proptest! {
        #[test]
        fn nothing_that_was_not_given_out_is_one(text in "[A-Za-z0-9_=-]{0,90}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let scope = Scope::Presentation("https://h/a");
            prop_assert_eq!(check(&text, scope, HERE), Err(NonceError::Foreign));
            prop_assert_eq!(check(&base64url(&bytes), scope, HERE), Err(NonceError::Foreign));
        }
    }
}
