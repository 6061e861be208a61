//! `daypass`: what a person types.
//!
//! Every command asks the agent and shows its answer: in words, or with `--json` as one JSON document on stdout, refusals
//! included. Exit codes are the same everywhere and stand in `daypass help`. Secrets go to stdout where they were asked for and nowhere
//! else.

mod access;
mod admin;
mod arguments;
mod briefing;
mod device;
mod doctor;
mod enrol;
mod failure;
mod generate;
mod inspector;
mod leave;
mod ledger;
mod notices;
mod request;
mod setup_git;
mod status;
mod terminal;
mod values;

use std::{io::Write as _, process::ExitCode};

use clap::{
    Parser as _,
    error::{ContextKind, ContextValue},
};
use daypass_proto::{
    local_api::ErrorCode,
    redaction::{for_terminal, glimpse},
};

pub use self::arguments::{Arguments, Command};
use self::{
    arguments::SetupCommand,
    failure::Failure,
    terminal::{StandardTerminal, Terminal},
};
use crate::file_kind::read_text;
use crate::local_client::{LocalClient, find_socket};

/// Parses the command line, does what it says, and ends with the exit code of the cause. `agent` is the daemon, which alone of all
/// commands needs an async runtime.
pub fn main(agent: impl FnOnce(&Arguments) -> ExitCode) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            let _ = write!(std::io::stderr(), "{}", misunderstood(error));
            return ExitCode::from(2);
        }
        // Help and version.
        Err(error) => error.exit(),
    };
    if matches!(arguments.command, Command::Agent) {
        return agent(&arguments);
    }
    let mut terminal = StandardTerminal::new(arguments.json);
    match run(&arguments, &mut terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show(&mut terminal);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Why a command line is none. It repeats what was typed, which may have been a token in place of a resource, or anything.
fn misunderstood(mut error: clap::Error) -> String {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(typed)) = error.get(kind) {
            let typed = glimpse(typed);
            error.insert(kind, ContextValue::String(typed));
        }
    }
    for_terminal(&error.render().to_string())
}

fn run(arguments: &Arguments, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    // The agent judges what is in it; but one that was named and is not there is not passed over for another agent.
    if let (None, Some(config)) = (&arguments.socket, &arguments.config)
        && let Err(error) = read_text(config)
    {
        return Err(Failure::new(
            ErrorCode::Configuration,
            format!("could not read the configuration `{}`: {error}", config.display()),
            "name the agent's configuration with `--config`, or its socket with `--socket`",
        ));
    }
    let socket = find_socket(arguments.socket.as_deref(), arguments.config.as_deref());
    let agent = LocalClient::new(socket);
    match &arguments.command {
        Command::Enroll(enroll) => enrol::run(enroll, &agent, terminal),
        Command::Status(status) => status::run(status, &agent, terminal),
        Command::Extend(asked) => request::extend(asked, &agent, terminal),
        Command::Request(asked) => request::request(asked, &agent, terminal),
        Command::Requests(asked) => request::requests(asked, &agent, terminal),
        Command::Briefing(asked) => briefing::run(asked, &agent, terminal),
        Command::Device(asked) => device::run(asked, &agent, terminal),
        Command::Notices(asked) => notices::run(asked, &agent, terminal),
        Command::Token(token) => access::token(token, &agent, terminal),
        Command::Proof(proof) => access::proof(proof, &agent, terminal),
        Command::Setup(SetupCommand::Git(git)) => setup_git::run(git, &agent, terminal),
        Command::Ledger(asked) => ledger::run(asked, &agent, terminal),
        Command::Admin(asked) => admin::run(asked, &agent, terminal),
        Command::Doctor => doctor::run(&agent, terminal),
        Command::Inspector(asked) => inspector::run(asked),
        Command::Leave(leave) => leave::run(leave, &agent, terminal),
        Command::Completions { shell } => generate::completions(*shell, terminal),
        Command::Man { out } => generate::man(out.as_deref(), terminal),
        // Taken by `main`.
        Command::Agent => Ok(()),
    }
}
