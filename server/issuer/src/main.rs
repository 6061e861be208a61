//! `daypass-issuer`; see the library of the same name.

use std::process::ExitCode;

use daypass_issuer::commands::{CommandError, run};
use mimalloc::MiMalloc;

/// A token is made of some hundred small pieces on one thread, many of which another one gives back; the system's allocator takes twice the time for that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    daypass_service::program("daypass-issuer", run, CommandError::exit_code)
}
