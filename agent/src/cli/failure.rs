//! Why a command ended without having done what it was asked: one shape for words, JSON and exit code.

use std::io;

use daypass_proto::{
    local_api::{ErrorCode, Problem},
    redaction::for_terminal,
};
use serde::Serialize;
use thiserror::Error;

use super::terminal::Terminal;
use crate::local_client::ClientError;

/// The exit code for a command line that is not understood; clap's own, too.
const USAGE: u8 = 2;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The agent is not there, or refused.
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// A fault with a name and a way out.
    #[error("{}", .0.message)]
    Problem(Problem),
    /// Nobody is there to confirm, and `--yes` was not given.
    #[error("{0}, and there is no terminal to ask on")]
    Unconfirmed(&'static str),
    /// The question was answered with no.
    #[error("nothing was changed")]
    Declined,
    /// The answer could not be written.
    #[error("could not write the answer: {0}")]
    Output(#[source] io::Error),
    /// The answer was shown, and it was not a good one.
    #[error("{message}")]
    Found {
        /// What was found.
        message: String,
        /// What it counts as.
        error: ErrorCode,
    },
}

#[derive(Serialize)]
struct Shown<'a> {
    error: &'a str,
    message: String,
    next_step: String,
}

impl Failure {
    pub(crate) fn output(error: io::Error) -> Self {
        Self::Output(error)
    }

    pub(crate) fn new(error: ErrorCode, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::Problem(Problem { error, message: message.into(), next_step: next_step.into() })
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Agent(error) => error.code().exit_code(),
            Self::Problem(problem) => problem.error.exit_code(),
            Self::Found { error, .. } => error.exit_code(),
            Self::Unconfirmed(_) | Self::Declined => USAGE,
            Self::Output(_) => ErrorCode::Internal.exit_code(),
        }
    }

    fn next_step(&self) -> Option<String> {
        match self {
            Self::Agent(error) => Some(for_terminal(&error.next_step())),
            Self::Problem(problem) => Some(for_terminal(&problem.next_step)),
            Self::Unconfirmed(_) => Some("give `--yes` to go ahead".to_owned()),
            Self::Declined | Self::Output(_) | Self::Found { .. } => None,
        }
    }

    fn name(&self) -> String {
        let code = match self {
            Self::Agent(error) => error.code(),
            Self::Problem(problem) => problem.error,
            Self::Found { error, .. } => *error,
            Self::Unconfirmed(_) => return "unconfirmed".to_owned(),
            Self::Declined => return "declined".to_owned(),
            Self::Output(_) => ErrorCode::Internal,
        };
        code_name(code)
    }

    /// Some of it repeats what was typed, which may have been a token in place of a resource, or what others wrote.
    fn words(&self) -> String {
        for_terminal(&self.to_string())
    }

    /// Says it: in words on stderr, or as the one JSON document on stdout.
    pub(crate) fn show(&self, terminal: &mut dyn Terminal) {
        if terminal.json() {
            if !matches!(self, Self::Found { .. }) {
                let next_step = self.next_step().unwrap_or_default();
                let shown = Shown { error: &self.name(), message: self.words(), next_step };
                let _ = terminal.document(&shown);
            }
            return;
        }
        terminal.note(&format!("daypass: {}", self.words()));
        if let Some(next_step) = self.next_step().filter(|step| !step.is_empty()) {
            terminal.note(&format!("next step: {next_step}"));
        }
    }
}

/// The word for a cause, as it stands in JSON.
pub(crate) fn code_name(code: ErrorCode) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::buffer::Buffer;

    #[test]
    fn words_and_json_say_the_same() {
        let failure = Failure::new(ErrorCode::NotEnrolled, "there is no enrolment", "run `daypass enroll`");
        let mut words = Buffer::default();
        failure.show(&mut words);
        assert_eq!(words.noted(), "daypass: there is no enrolment\nnext step: run `daypass enroll`\n");
        assert_eq!(words.said(), "");
        let mut json = Buffer { json: true, ..Buffer::default() };
        failure.show(&mut json);
        assert_eq!(
            json.parsed(),
            serde_json::json!({"error":"not_enrolled","message":"there is no enrolment","next_step":"run `daypass enroll`"})
        );
        assert_eq!(json.noted(), "");
        assert_eq!(failure.exit_code(), 4);
    }
}
