//! Holding on to the process at the other end of a connection.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use daypass_proto::caller::IdentifiedBy;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::process::start_time;

/// A process that connected, and a descriptor of it: as long as that says that it lives, its process id is its own.
#[derive(Debug)]
pub struct Peer {
    pid: i32,
    descriptor: OwnedFd,
    identified_by: IdentifiedBy,
}

impl Peer {
    /// The process that connected this socket: the descriptor that the kernel gives with it (Linux 6.5), or one that is opened by process id,
    /// where the process is older than this moment and so cannot have taken the id over later.
    pub fn of(socket: &impl AsFd) -> Option<Self> {
        if let Ok(descriptor) = getsockopt(socket, sockopt::PeerPidfd) {
            let pid = pid_of(&descriptor)?;
            return Some(Self { pid, descriptor, identified_by: IdentifiedBy::PeerPidfd });
        }
        let credentials = getsockopt(socket, sockopt::PeerCredentials).ok()?;
        Self::by_pid(credentials.pid())
    }

    /// The fallback: the process with this id. Its start time is read before the descriptor is opened and after; the same process has the same.
    fn by_pid(pid: i32) -> Option<Self> {
        let before = start_time(pid)?;
        let descriptor = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let peer = Self { pid, descriptor, identified_by: IdentifiedBy::PidfdOpen };
        (peer.is_alive() && start_time(pid)? == before).then_some(peer)
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
        os::unix::net::UnixStream,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_process_that_ended_is_noticed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let peer = Peer::by_pid(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(peer.is_alive());
        assert_eq!(peer.identified_by(), IdentifiedBy::PidfdOpen);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!peer.is_alive());
        assert!(Peer::by_pid(i32::try_from(child.id()).unwrap()).is_none());
    }

    #[test]
    fn the_other_end_of_a_socket_is_found() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(u32::try_from(peer.pid()).unwrap(), std::process::id());
        assert!(peer.is_alive());
    }
}
