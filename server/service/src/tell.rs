//! How a service tells what it does and why it failed, and what it keeps from being told.

use std::{error::Error, io};

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

/// Logs go to standard error; `DAYPASS_LOG` says how much.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("DAYPASS_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}

/// A crash must not write keys to disk.
pub fn forbid_core_dumps() {
    if let Err(error) = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0) {
        tracing::warn!(%error, "could not switch core dumps off");
    }
}
