//! A loopback address of one's own, and ports on it. 127.0.0.0/8 is large enough that no two stories share an address, so a port
//! that was free a moment ago still is.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::Failure;

/// How many addresses this process has given out.
static GIVEN: AtomicU8 = AtomicU8::new(1);

/// A loopback address that is this story's alone.
#[derive(Clone, Copy, Debug)]
pub struct Loopback(Ipv4Addr);

impl Loopback {
    /// The next address. The upper bits come from the process, the lowest octet counts within it.
    pub fn next() -> Self {
        let [_, _, high, low] = process::id().to_be_bytes();
        // 127.0.x.y is where other people's services are.
        Self(Ipv4Addr::new(127, high.max(1), low, GIVEN.fetch_add(1, Ordering::Relaxed).max(1)))
    }

    /// The address.
    pub fn ip(self) -> IpAddr {
        IpAddr::V4(self.0)
    }

    /// A port that is free on it.
    pub fn port(self) -> Result<u16, Failure> {
        let finding = || Failure::machine(format!("find a free port on {}", self.0));
        TcpListener::bind((self.0, 0))
            .and_then(|listener| listener.local_addr())
            .map(|address| address.port())
            .map_err(finding())
    }
}
