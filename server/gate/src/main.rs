//! `daypass-gate`: stands in front of a git server and lets through what a bound token covers.

mod authentication;
mod commands;
mod config;
mod flow;
mod gate;
mod git;
mod nonce;
mod proxy;
mod refusal;
mod replay;
mod route;
mod serve;
mod trust;
mod upstream;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Err(error) = daypass_service::keep_memory_private() {
        tell(&format!("could not close this program's memory to others: {error}"));
        return ExitCode::FAILURE;
    }
    match commands::run(commands::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&daypass_service::told(&error));
            error.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn tell(why: &str) {
    eprintln!("daypass-gate: {why}");
}
