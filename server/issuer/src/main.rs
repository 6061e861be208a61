//! `daypass-issuer`: decides who gets what, and writes every decision down.

mod backup;
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
mod ledger;
mod metadata;
mod projects;
mod serve;
mod store;
mod token;
mod until;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
            {
                eprintln!("daypass-issuer: {}", daypass_service::told(&error));
            }
            error.exit_code()
        }
    }
}
