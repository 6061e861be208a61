//! `daypass-issuer`; see the library of the same name.

use std::process::ExitCode;

use daypass_issuer::commands::{CommandError, run};

fn main() -> ExitCode {
    daypass_service::program("daypass-issuer", run, CommandError::exit_code)
}
