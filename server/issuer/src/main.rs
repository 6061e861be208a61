//! `daypass-issuer`: decides who gets what, and writes every decision down.

mod caller;
mod clock;
mod commands;
mod config;
mod device;
mod enrolment;
mod error;
#[cfg(test)]
mod fixture;
mod gates;
mod invitation;
mod issuer;
mod keys;
mod metadata;
mod projects;
mod serve;
mod store;
mod token;
mod until;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Err(error) = daypass_service::keep_memory_private() {
        tell(&format!("could not close this program's memory to others: {error}"));
        return ExitCode::FAILURE;
    }
    let cli = commands::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&daypass_service::told(&error));
            error.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn tell(why: &str) {
    eprintln!("daypass-issuer: {why}");
}
