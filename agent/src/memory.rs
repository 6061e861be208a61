//! What these programs hold in memory stays there.
//!
//! Tokens, proofs and invitations pass through all of them, the command line and git's helper included, and a crash or a `SIGQUIT` must
//! not write them to disk. A core file is one way, a handler that the kernel pipes the core to is another, which no limit of size stops;
//! `PR_SET_DUMPABLE` stops both, and closes `/proc/PID/mem`, `environ` and `ptrace` to other processes of the same user.

use std::io;

use nix::sys::{
    prctl::set_dumpable,
    resource::{Resource, setrlimit},
};

/// Closes this process's memory to everybody but itself and the kernel. The programs that it starts begin anew.
pub fn keep_private() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(set_dumpable(false)?)
}
