//! `daypass-issuer`; see the library of the same name.

use std::process::ExitCode;

use clap::Parser as _;
use daypass_issuer::commands::{Cli, run};
use daypass_proto::redaction::redacted;

fn main() -> ExitCode {
    if let Err(error) = daypass_service::keep_memory_private() {
        tell(&format!("could not close this program's memory to others: {error}"));
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // It repeats what was typed, which may have been a secret in the wrong place.
            tell(&redacted(&error.render().to_string()));
            return ExitCode::from(2);
        }
        // Help and version.
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&redacted(&daypass_service::told(&error)));
            error.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn tell(why: &str) {
    eprintln!("daypass-issuer: {why}");
}
