//! How a service tells what it does and why it failed, and what it keeps from being told.

use std::{
    error::Error,
    io::{self, IsTerminal as _},
};

use daypass_proto::redaction::Redacting;
use nix::sys::{
    prctl::set_dumpable,
    resource::{Resource, setrlimit},
};
use tracing_subscriber::EnvFilter;

/// An error with all its sources, in one line.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Logs go to standard error; `DAYPASS_LOG` says how much. Whatever a request or a library brings into them, no token comes through.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("DAYPASS_LOG").unwrap_or_else(|_| "info".into());
    // Colours are for eyes: in a file or a journal they are bytes that searches stumble over.
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(|| Redacting(io::stderr())).init();
}

/// Closes this process's memory, with the keys in it, to everybody but itself and the kernel: no core file, no handler that cores are piped
/// to (which no limit of size stops), and `/proc/PID/mem`, `environ` and `ptrace` for no other process of the same user.
pub(crate) fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(set_dumpable(false)?)
}
