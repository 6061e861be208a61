//! Holding on to the process at the other end of a connection.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use daypass_proto::caller::IdentifiedBy;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::process::start_time;

/// What is asked of the kernel about the other end of a socket.
trait Kernel {
    /// A descriptor of the process that connected; `None` before Linux 6.5.
    fn peer_pidfd(&self, socket: BorrowedFd<'_>) -> Option<OwnedFd>;
    /// The process id that it had when it connected.
    fn peer_pid(&self, socket: BorrowedFd<'_>) -> Option<i32>;
    /// A descriptor of whatever process has this id now.
    fn pidfd_open(&self, pid: i32) -> Option<OwnedFd>;
    /// When the process that has this id now started.
    fn start_time(&self, pid: i32) -> Option<u64>;
}

struct Linux;

impl Kernel for Linux {
    fn peer_pidfd(&self, socket: BorrowedFd<'_>) -> Option<OwnedFd> {
        getsockopt(&socket, sockopt::PeerPidfd).ok()
    }

    fn peer_pid(&self, socket: BorrowedFd<'_>) -> Option<i32> {
        getsockopt(&socket, sockopt::PeerCredentials).ok().map(|credentials| credentials.pid())
    }

    fn pidfd_open(&self, pid: i32) -> Option<OwnedFd> {
        pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
    }

    fn start_time(&self, pid: i32) -> Option<u64> {
        start_time(pid)
    }
}

/// A process that connected, and a descriptor of it: as long as that says that it lives, its process id is its own.
#[derive(Debug)]
pub struct Peer {
    pid: i32,
    descriptor: OwnedFd,
    identified_by: IdentifiedBy,
}

impl Peer {
    /// The process that connected this socket: the descriptor that the kernel gives with it (Linux 6.5), or one that is opened by process id.
    /// The second cannot tell who had that id before the connection was accepted, so a report says which it was.
    pub fn of(socket: &impl AsFd) -> Option<Self> {
        Self::told_by(&Linux, socket.as_fd())
    }

    fn told_by(kernel: &impl Kernel, socket: BorrowedFd<'_>) -> Option<Self> {
        if let Some(descriptor) = kernel.peer_pidfd(socket) {
            let pid = pid_of(&descriptor)?;
            return Some(Self { pid, descriptor, identified_by: IdentifiedBy::PeerPidfd });
        }
        Self::by_pid(kernel, kernel.peer_pid(socket)?)
    }

    /// The fallback: the process with this id. Its start time is read before the descriptor is opened and after; the same process has the same.
    fn by_pid(kernel: &impl Kernel, pid: i32) -> Option<Self> {
        let before = kernel.start_time(pid)?;
        let descriptor = kernel.pidfd_open(pid)?;
        let peer = Self { pid, descriptor, identified_by: IdentifiedBy::PidfdOpen };
        (peer.is_alive() && kernel.start_time(pid)? == before).then_some(peer)
    }

    /// Its process id; another's once the process has ended.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it is held on to.
    pub fn identified_by(&self) -> IdentifiedBy {
        self.identified_by
    }

    /// Whether the process id is still this process's.
    pub fn is_alive(&self) -> bool {
        pid_of(&self.descriptor) == Some(self.pid)
    }
}

/// The process id behind a pidfd (proc(5), `fdinfo`); `None` when the process has ended, or is in a namespace that is not seen from here.
fn pid_of(descriptor: &OwnedFd) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
    let pid: i32 = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        os::unix::net::UnixStream,
        process::{Child, Command, Stdio},
    };

    use daypass_proto::caller::Evidence;

    use super::*;
    use crate::caller::evidence::Witness;

    /// A kernel from before Linux 6.5, on which something may happen between the first look and the descriptor.
    struct Older<'a> {
        peer: i32,
        meanwhile: RefCell<Box<dyn FnMut() + 'a>>,
        /// The process that has the id in the end started so much later than the one that had it first.
        later: RefCell<u64>,
    }

    impl<'a> Older<'a> {
        fn new(peer: i32) -> Self {
            Self { peer, meanwhile: RefCell::new(Box::new(|| {})), later: RefCell::new(0) }
        }
    }

    impl Kernel for Older<'_> {
        fn peer_pidfd(&self, _: BorrowedFd<'_>) -> Option<OwnedFd> {
            None
        }

        fn peer_pid(&self, _: BorrowedFd<'_>) -> Option<i32> {
            Some(self.peer)
        }

        fn pidfd_open(&self, pid: i32) -> Option<OwnedFd> {
            (self.meanwhile.borrow_mut())();
            Linux.pidfd_open(pid)
        }

        fn start_time(&self, pid: i32) -> Option<u64> {
            Some(Linux.start_time(pid)? - self.later.replace(0))
        }
    }

    /// A process that lives until it is ended.
    fn process() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn id(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn end(child: &mut Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    fn told_by(kernel: &impl Kernel) -> Option<Peer> {
        let (here, _there) = UnixStream::pair().unwrap();
        Peer::told_by(kernel, here.as_fd())
    }

    #[test]
    fn the_other_end_of_a_socket_is_found() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(u32::try_from(peer.pid()).unwrap(), std::process::id());
        assert!(peer.is_alive());
        // Both ways lead to the same process.
        assert_eq!(Linux.peer_pid(here.as_fd()), Some(peer.pid()));
    }

    #[test]
    fn without_a_descriptor_from_the_kernel_one_is_opened_by_process_id() {
        let mut child = process();
        let peer = told_by(&Older::new(id(&child))).unwrap();
        assert_eq!((peer.pid(), peer.identified_by()), (id(&child), IdentifiedBy::PidfdOpen));
        let witness = Witness::new(None);
        let report = witness.report(Some(&peer));
        assert_eq!(report.identified_by, IdentifiedBy::PidfdOpen);
        assert_ne!(report, Evidence::unavailable());
        // What was held on to has ended, whoever has its id now.
        end(&mut child);
        assert!(!peer.is_alive());
        assert_eq!(witness.report(Some(&peer)), Evidence::unavailable());
    }

    #[test]
    fn a_process_that_ends_before_it_is_held_on_to_is_nobody() {
        let child = RefCell::new(process());
        let peer = id(&child.borrow());
        let kernel = Older { meanwhile: RefCell::new(Box::new(|| end(&mut child.borrow_mut()))), ..Older::new(peer) };
        assert!(told_by(&kernel).is_none());
        // And one that had ended before anything was asked.
        assert!(told_by(&Older::new(peer)).is_none());
    }

    #[test]
    fn a_process_id_that_went_to_another_process_meanwhile_is_nobodys() {
        let mut child = process();
        let kernel = Older { later: RefCell::new(1), ..Older::new(id(&child)) };
        let peer = told_by(&kernel);
        assert!(peer.is_none(), "it lives, and is not who connected");
        assert_eq!(Witness::new(None).report(peer.as_ref()), Evidence::unavailable());
        end(&mut child);
    }
}
