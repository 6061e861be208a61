//! What can go wrong in a story, sorted by who is to blame: this machine, a program that does not come up, or a program
//! that did something else than the story says.

use std::{fmt, io};

use crate::Ran;

/// What a story gives back.
pub type Story = Result<(), Failure>;

/// Why a story did not come out as told.
#[derive(thiserror::Error)]
pub enum Failure {
    /// This machine: a file, a socket, a process.
    #[error("could not {doing}: {source}")]
    Machine {
        /// What was attempted.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program that has to be installed or built first.
    #[error("`{program}` is missing; {next_step}")]
    Missing {
        /// Which.
        program: String,
        /// What to do.
        next_step: &'static str,
    },
    /// A service that ended, or never became ready.
    #[error("{service} {what}; its log:\n{log}")]
    Service {
        /// Which.
        service: String,
        /// What it did.
        what: String,
        /// The end of what it wrote.
        log: String,
    },
    /// A command that did not do what the story says.
    #[error("expected {expected}, but\n{ran}")]
    Surprise {
        /// What the story says.
        expected: String,
        /// What happened.
        ran: Box<Ran>,
    },
    /// Anything else that is not as the story says.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What the story says.
        expected: String,
        /// What there was.
        found: String,
    },
}

impl Failure {
    /// For `map_err`: what was attempted on this machine.
    pub fn machine(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Machine { doing, source }
    }

    /// Something is not as the story says.
    pub fn unexpected(expected: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::Unexpected { expected: expected.into(), found: found.to_string() }
    }
}

/// A test that returns an error prints it with `Debug`; a person reads it.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Goes on only when `holds`.
pub fn ensure(holds: bool, expected: impl Into<String>, found: impl fmt::Display) -> Story {
    if holds { Ok(()) } else { Err(Failure::unexpected(expected, found)) }
}
