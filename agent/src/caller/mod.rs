//! Who is on the other end of the local socket.
//!
//! The *boundary* is the uid that the kernel reports at accept: a [`Caller`] reaches its own enrolments and nobody else's. Everything beside it
//! is *evidence* for the issuer ([`daypass_proto::caller`]): which executable, its hash, its unit, and, behind our own helper, the processes
//! that called it. Evidence may be forged by whoever runs as the same user, and may be missing.
//!
//! * [`peer`] holds on to the process from accept on, so that a process id that is given to another process is noticed;
//! * [`process`] reads what `/proc` says of a process;
//! * [`evidence`] puts a report together;
//! * [`inspector`] is the other process, with one capability, that may look at executables of other uids.

pub mod evidence;
pub mod inspector;
pub mod peer;
pub mod process;

use std::sync::Arc;

use tokio::net::UnixStream;

use self::peer::Peer;

/// Whoever is at the other end of a connection, taken from the kernel when it was accepted.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `None` where the kernel did not say: served nothing.
    pub uid: Option<u32>,
    /// The process that connected; `None` where it could not be held on to.
    pub peer: Option<Arc<Peer>>,
}

impl Caller {
    /// Whoever is at the other end of this connection.
    pub fn at(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()), peer: Peer::of(stream).map(Arc::new) }
    }
}
