//! `daypass-gate`; see the library of the same name.

use std::process::ExitCode;

use daypass_gate::commands::{CommandError, run};

fn main() -> ExitCode {
    daypass_service::program("daypass-gate", run, CommandError::exit_code)
}
