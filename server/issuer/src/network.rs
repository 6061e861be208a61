//! Networks, as people write them: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::{fmt, net::IpAddr, str::FromStr};

use daypass_proto::redaction::glimpse;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// Not a network.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NetworkError {
    /// Nothing of that form.
    #[error("`{0}` is no network: write one such as `192.0.2.0/24` or `2001:db8::/32`, or one address")]
    Form(String),
    /// An address inside of a network, so that it is not known which of both is meant.
    #[error("`{text}` has bits beyond `/{bits}`: write `{first}/{bits}` for the network, or the address alone")]
    Beyond {
        /// As it was written.
        text: String,
        /// The network's first address.
        first: IpAddr,
        /// How long it is.
        bits: u8,
    },
}

impl Network {
    /// Whether an address is in it. An IPv4 address that came over an IPv6 socket is the address that people write.
    pub fn contains(&self, address: IpAddr) -> bool {
        begin(address.to_canonical(), self.bits) == Some(self.first)
    }
}

/// The first address of the network of so many bits that `address` is in; none where it has fewer bits.
fn begin(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let rest = 32_u32.checked_sub(u32::from(bits))?;
            Some(IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()))
        }
        IpAddr::V6(address) => {
            let rest = 128_u32.checked_sub(u32::from(bits))?;
            Some(IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()))
        }
    }
}

const fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError::Form(glimpse(text));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let mapped = address.to_canonical() != address;
        let bits = match bits {
            None => length(address.to_canonical()),
            Some(bits) if !mapped && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        let address = address.to_canonical();
        let first = begin(address, bits).ok_or_else(wrong)?;
        if first != address {
            return Err(NetworkError::Beyond { text: glimpse(text), first, bits });
        }
        Ok(Self { first, bits })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_networks_that_begin_like_it() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} has {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} has not {outside}");
            assert_eq!(network.to_string().parse(), Ok(network));
            let stored = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<Network>(&stored).unwrap(), network);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_and_said() {
        for wrong in [
            "",
            "/",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "192.0.2.0/+8",
            "192.0.2.0/",
            "2001:db8::/129",
            "office",
            "::ffff:192.0.2.0/120",
        ] {
            assert_eq!(wrong.parse::<Network>(), Err(NetworkError::Form(wrong.to_owned())), "{wrong}");
        }
        let error = "192.0.2.7/24".parse::<Network>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`192.0.2.7/24` has bits beyond `/24`: write `192.0.2.0/24` for the network, or the address alone"
        );
    }
}
