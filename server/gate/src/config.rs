//! The configuration: a raw struct that mirrors the file, then the typed one. Every bad key is named, all at once.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use daypass_proto::{resource::Resource, time::Skew};
use serde::Deserialize;
use thiserror::Error;

use crate::upstream::Upstream;

/// The reference file: every key, commented. `init` writes it, a test parses it.
pub const REFERENCE: &str = include_str!("../gate.toml.example");

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file.
    #[error("could not read the configuration `{}`; run `daypass-gate init`, or name another file with `--config`", path.display())]
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
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: String,
    state_dir: PathBuf,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    #[serde(default = "poll_interval")]
    poll_interval: String,
    #[serde(default = "feed_max_age")]
    feed_max_age: String,
    #[serde(default = "clock_skew")]
    clock_skew: String,
    #[serde(default = "idle_timeout")]
    idle_timeout: String,
    nonce_key: Option<PathBuf>,
    #[serde(default)]
    allow_software_keys: bool,
    #[serde(default = "yes")]
    bind_nonce_to_address: bool,
    #[serde(default)]
    require_hardware_proofs: bool,
    resource: Vec<RawResource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResource {
    url: String,
    upstream: String,
    #[serde(default = "slash")]
    path_prefix: String,
    #[serde(default = "dot_git")]
    path_suffix: String,
}

fn poll_interval() -> String {
    "2s".to_owned()
}
fn feed_max_age() -> String {
    "60s".to_owned()
}
fn clock_skew() -> String {
    "30s".to_owned()
}
fn idle_timeout() -> String {
    "2m".to_owned()
}
fn slash() -> String {
    "/".to_owned()
}
fn dot_git() -> String {
    ".git".to_owned()
}
const fn yes() -> bool {
    true
}

/// One guarded resource.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// What is guarded.
    pub resource: Resource,
    /// What stands behind it.
    pub upstream: Upstream,
    /// Put before the repository's path.
    pub path_prefix: String,
    /// Put after it.
    pub path_suffix: String,
}

/// The configuration, checked. Durations are seconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on.
    pub listen: String,
    /// Keys and certificates.
    pub state_dir: PathBuf,
    /// The operator's certificate and key, where there are some.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How often the issuer is asked.
    pub poll_interval: i64,
    /// How long an answer of the issuer counts.
    pub feed_max_age: i64,
    /// The allowed skew.
    pub skew: Skew,
    /// How long a client in the middle of a request, or the upstream, may be silent.
    pub idle_timeout: Duration,
    /// The shared nonce key's file, where there is one.
    pub nonce_key: Option<PathBuf>,
    /// Loosening: tokens with software keys are taken.
    pub allow_software_keys: bool,
    /// Whether nonces are bound to the client's address; off is a loosening.
    pub bind_nonce_to_address: bool,
    /// Whether tokens with delegated keys are refused, whatever the role says.
    pub require_hardware_proofs: bool,
    /// What is guarded.
    pub resources: Vec<Guarded>,
}

impl Config {
    /// Reads and checks `path`; relative paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            daypass_service::read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks what stands in `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        raw.check(folder).map_err(|faults| ConfigError::Values { path: path.to_owned(), faults })
    }

    /// Every explicit loosening.
    pub fn loosenings(&self) -> Vec<&'static str> {
        let all = [
            (self.allow_software_keys, "allow_software_keys"),
            (!self.bind_nonce_to_address, "bind_nonce_to_address = false"),
        ];
        all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
    }
}

impl Raw {
    fn check(self, folder: &Path) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let mut duration = |key: &str, text: &str, most: i64| match daypass_proto::duration::seconds(text) {
            Ok(seconds) if seconds <= most => seconds,
            _ => {
                faults.push(format!("`{key}`: `{text}` is not a duration of 1s to {most}s"));
                1
            }
        };
        let poll_interval = duration("poll_interval", &self.poll_interval, 5);
        let feed_max_age = duration("feed_max_age", &self.feed_max_age, 3600);
        let skew = duration("clock_skew", &self.clock_skew, Skew::MAX_SECONDS);
        let idle_timeout = duration("idle_timeout", &self.idle_timeout, 3600);
        let tls = match (self.tls_certificate, self.tls_key) {
            (Some(certificate), Some(key)) => Some((folder.join(certificate), folder.join(key))),
            (None, None) => None,
            _ => {
                faults.push("`tls_certificate` and `tls_key` go together".to_owned());
                None
            }
        };
        let mut resources: Vec<Guarded> = Vec::new();
        for raw in self.resource {
            let plain = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)) && !text.contains("..")
            };
            if !plain(&raw.path_prefix)
                || !raw.path_prefix.starts_with('/')
                || !raw.path_prefix.ends_with('/')
                || !plain(&raw.path_suffix)
            {
                faults.push(format!(
                    "resource `{}`: `path_prefix` must begin and end with `/`; both are plain path text",
                    raw.url
                ));
            }
            match (raw.url.parse::<Resource>(), raw.upstream.parse::<Upstream>()) {
                (Ok(resource), Ok(_)) if resources.iter().any(|other| other.resource == resource) => {
                    faults.push(format!("resource `{resource}` stands there twice"));
                }
                (Ok(resource), Ok(upstream)) => {
                    resources.push(Guarded {
                        resource,
                        upstream,
                        path_prefix: raw.path_prefix,
                        path_suffix: raw.path_suffix,
                    });
                }
                (resource, upstream) => {
                    faults.extend(resource.err().map(|error| format!("resource: {error}")));
                    faults.extend(upstream.err().map(|error| format!("resource `{}`: {error}", raw.url)));
                }
            }
        }
        if resources.is_empty() && faults.is_empty() {
            faults.push("there is no `[[resource]]`".to_owned());
        }
        let Some(skew) = Skew::try_new(skew).filter(|_| faults.is_empty()) else { return Err(faults) };
        Ok(Config {
            listen: self.listen,
            state_dir: folder.join(self.state_dir),
            tls,
            poll_interval,
            feed_max_age,
            skew,
            idle_timeout: Duration::from_secs(idle_timeout.unsigned_abs()),
            nonce_key: self.nonce_key.map(|path| folder.join(path)),
            allow_software_keys: self.allow_software_keys,
            bind_nonce_to_address: self.bind_nonce_to_address,
            require_hardware_proofs: self.require_hardware_proofs,
            resources,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        toml::from_str::<Raw>(text).map_err(|error| vec![error.to_string()])?.check(Path::new("/etc/daypass"))
    }

    #[test]
    fn the_reference_file_is_the_default() {
        let config = parse(REFERENCE).unwrap();
        assert!(config.loosenings().is_empty(), "secure by default");
        assert_eq!(config.resources.len(), 1);
    }

    #[test]
    fn every_bad_value_is_named() {
        let text = REFERENCE
            .replace("poll_interval = \"2s\"", "poll_interval = \"6s\"")
            .replace("clock_skew = \"30s\"", "clock_skew = \"61s\"")
            .replace("idle_timeout = \"2m\"", "idle_timeout = \"2h\"")
            .replace("https://git", "http://git")
            .replace("unix:/run", "ftp:/run")
            .replace("path_prefix = \"/\"", "path_prefix = \"/../\"");
        let faults = parse(&text).unwrap_err();
        assert_eq!(faults.len(), 6, "{faults:?}");
        assert!(parse(&REFERENCE.replace("[[resource]]", "unknown = 1\n[[resource]]")).is_err());
    }
}
