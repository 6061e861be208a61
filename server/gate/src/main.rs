//! `daypass-gate`: stands in front of a git server and lets through what a bound token covers.

mod authentication;
mod commands;
mod config;
mod flow;
mod gate;
mod git;
mod nonce;
mod probe;
mod proxy;
mod refusal;
mod replay;
mod route;
mod serve;
mod trust;
mod upstream;

use std::process::ExitCode;

use clap::Parser as _;
use daypass_proto::redaction::redacted;

fn main() -> ExitCode {
    if let Err(error) = daypass_service::keep_memory_private() {
        tell(&format!("could not close this program's memory to others: {error}"));
        return ExitCode::FAILURE;
    }
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // It repeats what was typed, which may have been a secret in the wrong place.
            tell(&redacted(&error.render().to_string()));
            return ExitCode::from(2);
        }
        // Help and version.
        Err(error) => error.exit(),
    };
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&redacted(&daypass_service::told(&error)));
            error.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn tell(why: &str) {
    eprintln!("daypass-gate: {why}");
}
