//! `git-credential-daypass`: git's way to the agent (gitcredentials(7), "custom helpers").
//!
//! `get` asks the agent for a presentation for this one repository; `erase`, which git sends after a 401 and then gives up, has
//! the agent drop what it handed out; `store` does nothing. A host that is nobody's is left to git's other helpers without a word.
//!
//! What is handed out must not reach a disk. To a git that announces `authtype` (2.46) it goes as a credential without password and
//! marked `ephemeral`, which helpers that store passwords leave alone. An older git takes only a password, and hands it to every
//! helper on its list to be stored: so, before answering one, we look at that list and refuse while there is anybody else on it.

mod attributes;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::{Read, Write},
    path::PathBuf,
};

use daypass_proto::{
    arguments::{ValueError, path},
    local_api::{ErrorCode, GitCredential, GitCredentialRequest, GitEraseRequest, Warnings, WarningsRequest},
    redaction::glimpse,
};
use thiserror::Error;

pub use self::attributes::{Attributes, FormatError};
use crate::{
    git_config::{self, GitConfigError, HelperEntry},
    local_client::{self, LocalClient},
};

/// What stands on the helper's line in git's configuration besides the operation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invocation {
    /// Another socket than the usual one.
    pub socket: Option<PathBuf>,
    /// The line is scoped to resources of ours, so nobody else can help: stop git instead of letting it prompt.
    pub exclusive: bool,
    /// `get`, `store`, `erase`, `capability`, or something that a later git says.
    pub operation: Option<String>,
}

/// The helper's usage, for whoever runs it by hand.
pub const USAGE: &str = "usage: git-credential-daypass [--socket PATH] [--exclusive] get|store|erase|capability
git runs this; `daypass setup git` writes the configuration for it";

/// Why a command line is none of the helper's.
#[derive(Debug, Error)]
pub enum InvocationError {
    /// It says nothing.
    #[error("no operation was given: git says `get`, `store`, `erase` or `capability`")]
    NoOperation,
    /// It says more than one thing.
    #[error("`{0}` is one operation too many: git gives one")]
    Another(String),
    /// Something else.
    #[error("`{0}` is no option of this helper: it has `--socket PATH` and `--exclusive`")]
    Unknown(String),
    /// No socket.
    #[error("`--socket` needs the path of the agent's socket behind it")]
    NoSocket,
    /// Not a path.
    #[error("`--socket`: {0}")]
    Socket(#[source] ValueError),
}

impl Invocation {
    /// Reads the command line. What an operation of a later git is called does not matter: it is left alone.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, InvocationError> {
        let mut invocation = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let given = argument.to_string_lossy();
            match &*given {
                "--exclusive" => invocation.exclusive = true,
                "--socket" => {
                    let given = arguments.next().ok_or(InvocationError::NoSocket)?;
                    invocation.socket = Some(path(given).map_err(InvocationError::Socket)?);
                }
                flag if flag.starts_with('-') => return Err(InvocationError::Unknown(glimpse(flag))),
                more if invocation.operation.is_some() => return Err(InvocationError::Another(glimpse(more))),
                operation => invocation.operation = Some(operation.to_owned()),
            }
        }
        if invocation.operation.as_deref().unwrap_or_default().is_empty() {
            return Err(InvocationError::NoOperation);
        }
        Ok(invocation)
    }
}

/// What the helper needs from around it.
pub struct Surroundings<'a> {
    /// The agent.
    pub agent: LocalClient,
    /// Reads the helper lines of git's configuration.
    pub helpers: &'a dyn Fn() -> Result<Vec<HelperEntry>, GitConfigError>,
    /// Whether a person sits in front of git and sees what we say: a warning is for nobody else.
    pub watched: bool,
}

impl Surroundings<'_> {
    /// Whether warnings disturb nobody: git hands its own standard error on to us, so where that is a terminal a person reads it, and where it is
    /// none a program may. `GIT_TERMINAL_PROMPT=0` says that nobody is there.
    pub fn is_watched(stderr_is_a_terminal: bool, terminal_prompt: Option<&OsStr>) -> bool {
        let no = |value: &OsStr| ["", "0", "false", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no));
        stderr_is_a_terminal && !terminal_prompt.is_some_and(no)
    }
}

/// Why git gets no credential, for whoever sits in front of git.
struct Complaint {
    code: ErrorCode,
    message: String,
    next_step: String,
    /// Whether git should stop here and not prompt for a password that nobody has.
    stop: bool,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "daypass: {}\ndaypass: next step: {}", self.message, self.next_step)
    }
}

/// Runs one operation; the answer is the exit code, of which git takes no notice.
pub fn run(
    invocation: &Invocation,
    surroundings: &Surroundings<'_>,
    input: &mut dyn Read,
    output: &mut dyn Write,
    complaints: &mut dyn Write,
) -> u8 {
    let done = match invocation.operation.as_deref() {
        Some("get") => Attributes::read(input).map_err(Complaint::from).and_then(|request| {
            let Some(answer) = get(&request, invocation.exclusive, surroundings)? else { return Ok(()) };
            write_answer(&answer, output)?;
            if surroundings.watched {
                warn(&request, &surroundings.agent, complaints);
            }
            Ok(())
        }),
        Some("erase") => {
            // git has given up already; whether the agent heard of it is nothing it could act on.
            if let Ok(request) = Attributes::read(input) {
                erase(&request, &surroundings.agent);
            }
            Ok(())
        }
        Some("capability") => {
            let _ = output.write_all(b"version 0\ncapability authtype\n");
            Ok(())
        }
        // `store`, and what a later git may say: read, so that git meets no broken pipe, and forgotten.
        _ => {
            let _ = Attributes::read(input);
            Ok(())
        }
    };
    match done {
        Ok(()) => 0,
        Err(complaint) => {
            let _ = writeln!(complaints, "{complaint}");
            if complaint.stop {
                let _ = output.write_all(b"quit=1\n\n");
            }
            complaint.code.exit_code()
        }
    }
}

fn get(
    request: &Attributes,
    exclusive: bool,
    surroundings: &Surroundings<'_>,
) -> Result<Option<GitCredential>, Complaint> {
    let (Some(protocol), Some(host)) = (request.protocol(), request.host()) else { return Ok(None) };
    if !matches!(protocol, "https" | "http") {
        return Ok(None);
    }
    let question = GitCredentialRequest {
        protocol: protocol.to_owned(),
        host: host.to_owned(),
        path: request.path().map(str::to_owned),
        wwwauth: request.wwwauth().to_vec(),
        authtype: request.takes_authtype(),
        scoped: exclusive,
    };
    let credential: GitCredential = match surroundings.agent.post("/v1/git-credentials", &question, local_client::LONG)
    {
        Ok(credential) => credential,
        Err(error) => {
            let code = error.code();
            // Whether the host is ours is not known where there is no agent to ask, or nothing enrolled.
            let perhaps_not_ours = matches!(code, ErrorCode::AgentUnreachable | ErrorCode::NotEnrolled);
            if code == ErrorCode::UnknownHost || code == ErrorCode::NotEnrolled && !exclusive {
                return Ok(None);
            }
            let stop = exclusive || !perhaps_not_ours;
            return Err(Complaint { code, message: error.to_string(), next_step: error.next_step(), stop });
        }
    };
    if matches!(credential, GitCredential::Basic { .. }) {
        let entries = (surroundings.helpers)().map_err(|error| Complaint {
            code: ErrorCode::Configuration,
            message: format!("could not see which other helpers git would hand the credential to: {error}"),
            next_step: "run `daypass doctor`".to_owned(),
            stop: true,
        })?;
        if let Some(other) = git_config::others(&entries, protocol, host, request.path()).first() {
            return Err(Complaint {
                code: ErrorCode::Configuration,
                message: format!(
                    "git would hand the credential for `{protocol}://{host}/` to the helper `{other}` too, which may write it to the disk"
                ),
                next_step: format!(
                    "run `daypass setup git` again, which puts an empty `helper =` after it, or take `{other}` out of this repository's configuration"
                ),
                stop: true,
            });
        }
    }
    Ok(Some(credential))
}

/// Says what comes to its end, at most once a day: the agent counts. Whatever stands in the way, git has what it came for.
fn warn(request: &Attributes, agent: &LocalClient, complaints: &mut dyn Write) {
    let (Some(protocol), Some(host), Some(path)) = (request.protocol(), request.host(), request.path()) else { return };
    let asked = WarningsRequest { location: format!("{protocol}://{host}/{path}") };
    let Ok(Warnings { warnings }) = agent.post("/v1/warnings", &asked, local_client::SHORT) else { return };
    for warning in warnings {
        let _ = writeln!(complaints, "daypass: {}\ndaypass: {}", warning.message, warning.next_step);
    }
}

fn erase(request: &Attributes, agent: &LocalClient) {
    let (Some(protocol), Some(host), Some(secret)) = (request.protocol(), request.host(), request.secret()) else {
        return;
    };
    let refused = GitEraseRequest {
        protocol: protocol.to_owned(),
        host: host.to_owned(),
        path: request.path().map(str::to_owned),
        secret: secret.to_owned(),
    };
    let _ = agent.post_only("/v1/git-credentials/erase", &refused, local_client::SHORT);
}

fn write_answer(credential: &GitCredential, output: &mut dyn Write) -> Result<(), Complaint> {
    let lines = attributes::answer(credential).map_err(Complaint::from)?;
    // git that has gone away needs no answer.
    let _ = output.write_all(lines.as_bytes());
    let _ = output.flush();
    Ok(())
}

impl From<FormatError> for Complaint {
    fn from(error: FormatError) -> Self {
        Self {
            code: ErrorCode::Malformed,
            message: error.to_string(),
            next_step: "run this through git, not by hand; `daypass doctor` checks how git is set up".to_owned(),
            stop: false,
        }
    }
}

#[cfg(test)]
mod tests;
