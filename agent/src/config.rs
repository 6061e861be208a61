//! The configuration: a raw struct that mirrors the file, then the typed one. Every bad key is named, all at once.

use std::{
    io,
    path::{Path, PathBuf},
};

use daypass_proto::duration::seconds;
use serde::Deserialize;
use thiserror::Error;

use crate::{
    file_kind::read_text,
    tpm::{Tcti, TpmConfig},
};

/// The reference file: every key, commented.
pub const REFERENCE: &str = include_str!("../agent.toml.example");
/// Where the configuration of a system service is.
pub const SYSTEM: &str = "/etc/daypass/agent.toml";

/// How long before a grant's end it is said where nothing else is configured, in seconds: a week.
const WARN_BEFORE: i64 = 7 * 86_400;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file.
    #[error("could not read the configuration `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not TOML, or keys that are not known.
    #[error("the configuration `{}` does not read: {message}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// The parser's words.
        message: String,
    },
    /// Values that cannot be.
    #[error("the configuration `{}` has {} bad value(s):{}", path.display(), faults.len(), faults.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
    Values {
        /// Which.
        path: PathBuf,
        /// Each key with what is wrong.
        faults: Vec<String>,
    },
    /// The socket that the command line names.
    #[error("`{}` is no path for a socket", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No folder of this user's is known.
    #[error("this user has no home folder; name a configuration with `--config`")]
    NoHome,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    tcti: Option<String>,
    provision_srk: Option<bool>,
    socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    inspector: Option<PathBuf>,
    warn_before: Option<String>,
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The TPM.
    pub tpm: TpmConfig,
    /// The socket.
    pub socket: PathBuf,
    /// Enrolments and keys.
    pub state_dir: PathBuf,
    /// The inspector's socket, where one is installed.
    pub inspector: Option<PathBuf>,
    /// How long before a grant's end it is said at most, in seconds.
    pub warn_before: i64,
}

/// Where an agent's socket and state are when nothing says otherwise: the system's for root and for the service, this user's else.
struct Defaults {
    socket: PathBuf,
    state_dir: PathBuf,
}

impl Defaults {
    fn here() -> Result<Self, ConfigError> {
        if nix::unistd::geteuid().is_root() {
            return Ok(Self { socket: "/run/daypass/agent.sock".into(), state_dir: "/var/lib/daypass".into() });
        }
        let folders = directories::ProjectDirs::from("", "", "daypass").ok_or(ConfigError::NoHome)?;
        let state = folders.state_dir().unwrap_or_else(|| folders.data_local_dir()).to_owned();
        let runtime = folders.runtime_dir().map_or_else(|| state.join("run"), Path::to_owned);
        Ok(Self { socket: runtime.join("agent.sock"), state_dir: state.join("agent") })
    }
}

impl Config {
    /// Reads `path`, or the system's file where there is one; what neither says is the default. A `socket` from the command line outranks both.
    pub fn load(path: Option<&Path>, socket: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config = Self::read(path)?;
        if let Some(socket) = socket {
            config.socket = std::path::absolute(socket)
                .map_err(|source| ConfigError::Socket { path: socket.to_owned(), source })?;
        }
        Ok(config)
    }

    fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let system = Path::new(SYSTEM);
        match path.or_else(|| system.exists().then_some(system)) {
            Some(path) => {
                let text = read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                Self::parse(&text, path)
            }
            None => Raw::default().check(Path::new("(defaults)")),
        }
    }

    /// Checks what stands in `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        raw.check(path)
    }
}

impl Raw {
    fn check(self, path: &Path) -> Result<Config, ConfigError> {
        let mut faults = Vec::new();
        let folder = path.parent().unwrap_or(Path::new("."));
        let tcti = match self.tcti.as_deref().unwrap_or("device:/dev/tpmrm0").parse::<Tcti>() {
            Ok(tcti) => Some(tcti),
            Err(error) => {
                faults.push(format!("`tcti`: {error}"));
                None
            }
        };
        let warn_before = self.warn_before.as_deref().map_or(Ok(WARN_BEFORE), seconds);
        if let Err(error) = &warn_before {
            faults.push(format!("`warn_before`: {error}"));
        }
        // Only asked for where the file does not say it: a service may have no home.
        let (socket, state_dir) = match (self.socket, self.state_dir) {
            (Some(socket), Some(state_dir)) => (folder.join(socket), folder.join(state_dir)),
            (socket, state_dir) => {
                let defaults = Defaults::here()?;
                (
                    socket.map_or(defaults.socket, |path| folder.join(path)),
                    state_dir.map_or(defaults.state_dir, |path| folder.join(path)),
                )
            }
        };
        match (tcti, warn_before) {
            (Some(tcti), Ok(warn_before)) => Ok(Config {
                tpm: TpmConfig { tcti, provision_srk: self.provision_srk.unwrap_or(true) },
                socket,
                state_dir,
                inspector: self.inspector.map(|path| folder.join(path)),
                warn_before,
            }),
            _ => Err(ConfigError::Values { path: path.to_owned(), faults }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let raw: Raw = toml::from_str(text).map_err(|error| error.to_string())?;
        raw.check(Path::new("/etc/daypass/agent.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_reference_file_reads() {
        let config = parse(REFERENCE).unwrap();
        assert_eq!(config.tpm.tcti.to_string(), "device:/dev/tpmrm0");
        assert_eq!(config.state_dir, Path::new("/var/lib/daypass"));
        assert_eq!(config.warn_before, WARN_BEFORE);
        assert_eq!(parse("").unwrap().warn_before, WARN_BEFORE, "what the file says is what holds without it");
    }

    #[test]
    fn the_command_lines_socket_outranks_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        fs::write(&file, "socket = \"a.sock\"\nstate_dir = \"s\"\n").unwrap();
        assert_eq!(Config::load(Some(&file), None).unwrap().socket, folder.path().join("a.sock"));
        let named = Config::load(Some(&file), Some(Path::new("/run/b.sock"))).unwrap();
        assert_eq!((named.socket.as_path(), named.state_dir), (Path::new("/run/b.sock"), folder.path().join("s")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(parse("tcti = \"x\"\nsocket = \"s\"\nstate_dir = \"d\"").unwrap_err().contains("tcti"));
        let both = parse("tcti = \"x\"\nwarn_before = \"soon\"\nsocket = \"s\"\nstate_dir = \"d\"").unwrap_err();
        assert!(both.contains("`tcti`") && both.contains("`warn_before`: `soon` is not a duration"), "{both}");
        assert!(parse("tctl = \"x\"").unwrap_err().contains("tctl"));
    }
}
