//! A program of a service, from its command line to its exit code.

use std::{error::Error, process::ExitCode};

use clap::{
    Parser,
    error::{ContextKind, ContextValue},
};
use daypass_proto::redaction::{for_terminal, glimpse};

use crate::tell::{keep_memory_private, told};

/// Closes the process's memory to others, reads the command line, runs it, and says on standard error why it failed. Neither what was typed
/// nor what went wrong repeats a secret that stood in the wrong place, or anything that is not to be seen.
pub fn program<C: Parser, E: Error + 'static>(
    name: &str,
    run: impl FnOnce(C) -> Result<(), E>,
    exit_code: impl FnOnce(&E) -> ExitCode,
) -> ExitCode {
    if let Err(error) = keep_memory_private() {
        tell(name, &format!("could not close this program's memory to others: {error}"));
        return ExitCode::FAILURE;
    }
    let cli = match C::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            tell(name, &misunderstood(error));
            return ExitCode::from(2);
        }
        // Help and version.
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(name, &for_terminal(&told(&error)));
            exit_code(&error)
        }
    }
}

/// Why a command line is none, where what was typed may have been anything.
fn misunderstood(mut error: clap::Error) -> String {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(typed)) = error.get(kind) {
            let typed = glimpse(typed);
            error.insert(kind, ContextValue::String(typed));
        }
    }
    for_terminal(&error.render().to_string())
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn tell(name: &str, why: &str) {
    eprintln!("{name}: {why}");
}
