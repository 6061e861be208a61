//! How our own programs ask the agent: one request a connection, blocking, over the Unix socket.
//!
//! `git-credential-daypass` is started for every git command, so there is no async runtime here, and nothing is read from disk
//! beyond the socket's path. What comes back is bounded before it is kept; it may hold a token, so it is wiped after use.

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use daypass_proto::local_api::{ErrorAnswer, ErrorCode};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use zeroize::Zeroizing;

/// Where the system service listens.
pub const SYSTEM_SOCKET: &str = "/run/daypass/agent.sock";
/// Where the system service is configured.
pub const SYSTEM_CONFIG: &str = "/etc/daypass/agent.toml";
/// The variable that names another socket.
pub const SOCKET_VARIABLE: &str = "DAYPASS_SOCKET";
/// The variable that names another configuration.
pub const CONFIG_VARIABLE: &str = "DAYPASS_CONFIG";

/// For requests that the agent answers from what it knows.
pub const SHORT: Duration = Duration::from_secs(15);
/// For requests that may wait for a TPM, the issuer and a gate.
pub const LONG: Duration = Duration::from_secs(90);
/// For enrolment: real TPMs take many seconds to make a key.
pub const ENROLMENT: Duration = Duration::from_secs(300);

const MAX_HEAD: usize = 16 * 1024;
const MAX_ANSWER: usize = 4 * 1024 * 1024;
const MAX_HEADERS: usize = 64;

/// Why the agent gave no answer that can be used.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection: the agent is not there, or not for us.
    #[error("could not reach the agent at `{}`: {}", socket.display(), unreachable_cause(.source))]
    Unreachable {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection ended or went silent in the middle.
    #[error("the agent at `{}` did not answer `{request}`: {}", socket.display(), broken_cause(.source))]
    Broken {
        /// The socket that was tried.
        socket: PathBuf,
        /// Method and path.
        request: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something answered that is no agent of this version.
    #[error("what listens at `{}` answered `{request}` in a form that this version does not know: {what}", socket.display())]
    NotAnAgent {
        /// The socket that was tried.
        socket: PathBuf,
        /// Method and path.
        request: String,
        /// What did not fit.
        what: &'static str,
    },
    /// The agent answered, and refused.
    #[error("{}", .0.message)]
    Refused(ErrorAnswer),
}

impl ClientError {
    /// The cause, for exit codes.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::NotAnAgent { .. } => ErrorCode::AgentUnreachable,
            Self::Refused(answer) => answer.error,
        }
    }

    /// What to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::Unreachable { socket, source } => match source.kind() {
                ErrorKind::PermissionDenied => format!(
                    "let this user use the socket (`ls -l {}` shows who may), or name your own agent's with `--socket` or {SOCKET_VARIABLE}",
                    socket.display()
                ),
                _ => format!(
                    "start the agent (`daypass agent`, or the service that runs it here), or name its socket with `--socket` or {SOCKET_VARIABLE}"
                ),
            },
            Self::Broken { .. } => "try again; if it stays so, the agent's log says more".to_owned(),
            Self::NotAnAgent { .. } => {
                "check the socket's path, and that agent and command are of the same version (`daypass --version`)"
                    .to_owned()
            }
            Self::Refused(answer) => answer.next_step.clone(),
        }
    }
}

fn unreachable_cause(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such socket".to_owned(),
        ErrorKind::ConnectionRefused => "the socket is there, but nobody listens on it".to_owned(),
        ErrorKind::PermissionDenied => "this user may not use that socket".to_owned(),
        _ => error.to_string(),
    }
}

fn broken_cause(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it took too long".to_owned(),
        ErrorKind::UnexpectedEof => "the connection ended early".to_owned(),
        _ => error.to_string(),
    }
}

/// Where the agent listens, found in this order: the command line, `DAYPASS_SOCKET`, the `socket` of the configuration that
/// `DAYPASS_CONFIG` (or the command line) names, the system's configuration, the system's socket, this user's own.
pub fn find_socket(named: Option<&Path>, config: Option<&Path>) -> PathBuf {
    find_socket_in(named, config, &|name| env::var_os(name))
}

fn find_socket_in(named: Option<&Path>, config: Option<&Path>, variable: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    let path_of = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(socket) = named.map(Path::to_owned).or_else(|| path_of(SOCKET_VARIABLE)) {
        return socket;
    }
    let config = config.map(Path::to_owned).or_else(|| path_of(CONFIG_VARIABLE));
    if let Some(socket) = socket_in_config(config.as_deref().unwrap_or(Path::new(SYSTEM_CONFIG))) {
        return socket;
    }
    let system = PathBuf::from(SYSTEM_SOCKET);
    if system.exists() {
        return system;
    }
    // An agent that this user started by hand listens where `config` puts it.
    let own = [
        path_of("XDG_RUNTIME_DIR").map(|folder| folder.join("daypass/agent.sock")),
        path_of("XDG_STATE_HOME")
            .or_else(|| path_of("HOME").map(|home| home.join(".local/state")))
            .map(|folder| folder.join("daypass/run/agent.sock")),
    ];
    own.into_iter().flatten().find(|socket| socket.exists()).unwrap_or(system)
}

/// Only the one key: whether the rest is right is for the agent to judge.
fn socket_in_config(path: &Path) -> Option<PathBuf> {
    let text = crate::file_kind::read_text(path).ok()?;
    let table: toml::Table = text.parse().ok()?;
    let socket = table.get("socket")?.as_str()?;
    Some(path.parent().unwrap_or(Path::new(".")).join(socket))
}

/// The agent, seen from a program of ours.
#[derive(Clone, Debug)]
pub struct LocalClient {
    socket: PathBuf,
}

impl LocalClient {
    /// The agent at `socket`; nothing is connected yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`ClientError`]: no agent, no answer, or a refusal.
    pub fn get<A: DeserializeOwned>(&self, path: &str, patience: Duration) -> Result<A, ClientError> {
        let request = format!("GET {path}");
        let answer = self.exchange(&request, &[], patience)?;
        self.parse(&request, &answer)
    }

    /// `POST path` with `body` as JSON.
    ///
    /// # Errors
    /// [`ClientError`]: no agent, no answer, or a refusal.
    pub fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<A, ClientError> {
        let request = format!("POST {path}");
        let answer = self.send(&request, body, patience)?;
        self.parse(&request, &answer)
    }

    /// `POST path`, where there is nothing to be answered.
    ///
    /// # Errors
    /// [`ClientError`]: no agent, no answer, or a refusal.
    pub fn post_only(&self, path: &str, body: &impl Serialize, patience: Duration) -> Result<(), ClientError> {
        self.send(&format!("POST {path}"), body, patience).map(drop)
    }

    fn send(
        &self,
        request: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let body = serde_json::to_vec(body)
            .map(Zeroizing::new)
            .map_err(|_| self.not_an_agent(request, "the request cannot be written as JSON"))?;
        self.exchange(request, &body, patience)
    }

    fn parse<A: DeserializeOwned>(&self, request: &str, body: &[u8]) -> Result<A, ClientError> {
        serde_json::from_slice(body).map_err(|_| self.not_an_agent(request, "the answer has other fields"))
    }

    fn not_an_agent(&self, request: &str, what: &'static str) -> ClientError {
        ClientError::NotAnAgent { socket: self.socket.clone(), request: request.to_owned(), what }
    }

    fn exchange(&self, request: &str, body: &[u8], patience: Duration) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { socket: self.socket.clone(), source };
        let broken = |source| ClientError::Broken { socket: self.socket.clone(), request: request.to_owned(), source };
        let mut stream = UnixStream::connect(&self.socket).map_err(unreachable)?;
        stream.set_read_timeout(Some(patience)).map_err(unreachable)?;
        stream.set_write_timeout(Some(patience)).map_err(unreachable)?;
        let head = format!(
            "{request} HTTP/1.1\r\nHost: daypass\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut message = Zeroizing::new(head.into_bytes());
        message.extend_from_slice(body);
        // An agent that refuses a request early closes while we write; what it answered is read all the same.
        let written = stream.write_all(&message);
        let mut received = Zeroizing::new(Vec::with_capacity(16 * 1024));
        let limit = u64::try_from(MAX_HEAD + MAX_ANSWER).unwrap_or(u64::MAX);
        match stream.take(limit).read_to_end(&mut received) {
            Err(error) if received.is_empty() => return Err(broken(written.err().unwrap_or(error))),
            Ok(_) if received.is_empty() => {
                return Err(broken(written.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())));
            }
            Ok(_) | Err(_) => {}
        }
        let (status, body) = match split(&received) {
            Split::Whole { status, body } => (status, body),
            Split::CutOff => return Err(broken(ErrorKind::UnexpectedEof.into())),
            Split::Foreign(what) => return Err(self.not_an_agent(request, what)),
        };
        if (200..300).contains(&status) {
            return Ok(Zeroizing::new(body.to_vec()));
        }
        Err(match serde_json::from_slice(body) {
            Ok(answer) => ClientError::Refused(answer),
            Err(_) => self.not_an_agent(request, "an error answer without our fields"),
        })
    }
}

/// An answer, taken apart.
#[derive(Debug, Eq, PartialEq)]
pub enum Split<'a> {
    /// All of it is there.
    Whole {
        /// HTTP status.
        status: u16,
        /// As many bytes as it says.
        body: &'a [u8],
    },
    /// More was to come.
    CutOff,
    /// It is no answer of an agent's: why.
    Foreign(&'static str),
}

/// Takes an answer apart. The agent's answers carry their length, so a shorter one was cut off.
pub fn split(received: &[u8]) -> Split<'_> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(received) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if received.len() < MAX_HEAD => return Split::CutOff,
        _ => return Split::Foreign("no HTTP/1.1"),
    };
    // RFC 9110 section 15: other numbers are no status.
    let Some(status) = response.code.filter(|status| (100..600).contains(status)) else {
        return Split::Foreign("no status");
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let body = received.get(head..).unwrap_or_default();
    match (status, length) {
        (204, _) => Split::Whole { status, body: &[] },
        (_, None) => Split::Foreign("no length"),
        (_, Some(length)) if length > MAX_ANSWER => Split::Foreign("an answer beyond every limit"),
        (_, Some(length)) => match body.get(..length) {
            Some(body) => Split::Whole { status, body },
            None => Split::CutOff,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use daypass_proto::local_api::Enrolments;
    use tempfile::TempDir;

    use super::*;
    use crate::mock_agent::MockAgent;

    #[test]
    fn an_answer_comes_back_as_its_type() {
        let agent = MockAgent::start([(200, r#"{"enrolments":[]}"#)]);
        let answer: Enrolments = agent.client().post("/v1/enrolments/refresh", &serde_json::json!({}), SHORT).unwrap();
        assert!(answer.enrolments.is_empty());
        let seen = agent.requests();
        assert!(seen[0].starts_with("POST /v1/enrolments/refresh HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(seen[0].ends_with("\r\n\r\n{}"));
    }

    #[test]
    fn a_refusal_keeps_cause_and_next_step() {
        let agent = MockAgent::start([(
            403,
            r#"{"error":"device_suspended","message":"device dev-1 is suspended","next_step":"ask an owner"}"#,
        )]);
        let error = agent.client().get::<Enrolments>("/v1/status", SHORT).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DeviceSuspended);
        assert_eq!(error.to_string(), "device dev-1 is suspended");
        assert_eq!(error.next_step(), "ask an owner");
    }

    #[test]
    fn every_way_of_not_being_there_is_told_apart() {
        let folder = TempDir::new().unwrap();
        let absent = LocalClient::new(folder.path().join("absent")).get::<Enrolments>("/v1/status", SHORT).unwrap_err();
        assert!(absent.to_string().ends_with("there is no such socket"), "{absent}");
        let dead = folder.path().join("dead");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let refused = LocalClient::new(dead.clone()).get::<Enrolments>("/v1/status", SHORT).unwrap_err();
        assert!(refused.to_string().ends_with("nobody listens on it"), "{refused}");
        if !nix::unistd::geteuid().is_root() {
            fs::set_permissions(&dead, fs::Permissions::from_mode(0o000)).unwrap();
            let forbidden = LocalClient::new(dead).get::<Enrolments>("/v1/status", SHORT).unwrap_err();
            assert!(forbidden.to_string().ends_with("may not use that socket"), "{forbidden}");
            assert!(forbidden.next_step().contains("ls -l"));
        }
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        for raw in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.1 020 OK\r\nContent-Length: 18\r\n\r\n{\"enrolments\":[ ]}",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}",
            "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ] {
            let agent = MockAgent::start_raw([raw.to_owned()]);
            let error = agent.client().get::<Enrolments>("/v1/status", SHORT).unwrap_err();
            assert!(matches!(error, ClientError::NotAnAgent { .. }), "{raw:?}: {error:?}");
        }
        for cut in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"enrolments\":[]"] {
            let agent = MockAgent::start_raw([cut.to_owned()]);
            let error = agent.client().get::<Enrolments>("/v1/status", SHORT).unwrap_err();
            assert!(matches!(error, ClientError::Broken { .. }), "{cut:?}: {error:?}");
        }
    }

    #[test]
    fn the_socket_is_found_in_one_order() {
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("agent.toml");
        fs::write(&config, "socket = \"/from/config\"\nlog = \"info\"\n").unwrap();
        let own = folder.path().join("daypass");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("agent.sock"), "").unwrap();
        let none = |_: &str| None;
        let all = |name: &str| match name {
            SOCKET_VARIABLE => Some(OsString::from("/from/variable")),
            CONFIG_VARIABLE => Some(config.clone().into_os_string()),
            "XDG_RUNTIME_DIR" => Some(folder.path().as_os_str().to_owned()),
            _ => None,
        };
        let without_socket = |name: &str| if name == SOCKET_VARIABLE { None } else { all(name) };
        assert_eq!(find_socket_in(Some(Path::new("/named")), None, &all), Path::new("/named"));
        assert_eq!(find_socket_in(None, None, &all), Path::new("/from/variable"));
        assert_eq!(find_socket_in(None, None, &without_socket), Path::new("/from/config"));
        assert_eq!(find_socket_in(None, Some(&config), &none), Path::new("/from/config"));
    }
}
