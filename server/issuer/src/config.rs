//! The configuration: a raw struct that mirrors the file, then the typed one. Every bad key is named, all at once.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use daypass_proto::{duration::seconds, invitation::canonical_issuer, resource::Resource, time::Skew};
use serde::Deserialize;
use thiserror::Error;

use daypass_service as service;

use crate::notification;

/// The reference file: every key, commented. `init` writes it, a test parses it.
pub const REFERENCE: &str = include_str!("../issuer.toml.example");

/// Each may end up on the list that gates ask for all the time.
const MAX_TOKENS_PER_DEVICE: u32 = 100_000;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file.
    #[error("could not read the configuration `{}`; run `daypass-issuer init`, or name another file with `--config`", path.display())]
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
        /// The parser's words, with line and column.
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
    issuer_url: String,
    mtls_url: String,
    public_listen: String,
    mtls_listen: String,
    database: PathBuf,
    master_key: PathBuf,
    root_certificate: PathBuf,
    root_key: PathBuf,
    policy: PathBuf,
    ek_roots: PathBuf,
    #[serde(default = "defaults::pcrs")]
    pcrs: Vec<u8>,
    #[serde(default = "defaults::challenge_lifetime")]
    challenge_lifetime: String,
    #[serde(default = "defaults::device_certificate_lifetime")]
    device_certificate_lifetime: String,
    #[serde(default = "defaults::gate_certificate_lifetime")]
    gate_certificate_lifetime: String,
    #[serde(default = "defaults::code_lifetime")]
    code_lifetime: String,
    #[serde(default = "defaults::key_overlap")]
    key_overlap: String,
    #[serde(default = "defaults::clock_skew")]
    clock_skew: String,
    #[serde(default = "defaults::tokens_per_device")]
    tokens_per_device: u32,
    #[serde(default)]
    allow_software_keys: bool,
    #[serde(default)]
    accept_unknown_ek: bool,
    #[serde(default)]
    approve_on_behalf: bool,
    #[serde(default)]
    notification: notification::Raw,
}

mod defaults {
    pub(super) fn pcrs() -> Vec<u8> {
        (0..=7).collect()
    }
    pub(super) fn challenge_lifetime() -> String {
        "5m".to_owned()
    }
    pub(super) fn device_certificate_lifetime() -> String {
        "7d".to_owned()
    }
    pub(super) fn gate_certificate_lifetime() -> String {
        "30d".to_owned()
    }
    pub(super) fn code_lifetime() -> String {
        "7d".to_owned()
    }
    pub(super) fn key_overlap() -> String {
        "4h".to_owned()
    }
    pub(super) fn clock_skew() -> String {
        "30s".to_owned()
    }
    pub(super) fn tokens_per_device() -> u32 {
        1000
    }
}

/// The configuration, checked. Durations are seconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The issuer's identifier: an origin without a final slash.
    pub issuer_url: String,
    /// The origin of the mTLS listener.
    pub mtls_url: String,
    /// The resource that tokens for the admin API are for: what is behind the mTLS listener.
    pub admin: Resource,
    /// Address of the public listener.
    pub public_listen: String,
    /// Address of the mTLS listener.
    pub mtls_listen: String,
    /// The SQLite file.
    pub database: PathBuf,
    /// The key that wraps the private keys in the store.
    pub master_key: PathBuf,
    /// The root's certificate.
    pub root_certificate: PathBuf,
    /// The root's private key; needed at `init` and `key rotate` only.
    pub root_key: PathBuf,
    /// The policy folder: what `policy load` puts in force.
    pub policy: PathBuf,
    /// Folder of EK root and intermediate certificates.
    pub ek_roots: PathBuf,
    /// The PCRs of the SHA-256 bank to be quoted, ascending.
    pub pcrs: Vec<u8>,
    /// Life of an enrolment or renewal challenge.
    pub challenge_lifetime: i64,
    /// Life of a device certificate.
    pub device_certificate_lifetime: i64,
    /// Life of a gate's certificates.
    pub gate_certificate_lifetime: i64,
    /// Life of an invitation's or gate's code.
    pub code_lifetime: i64,
    /// How long an old token key is published beside a new one.
    pub key_overlap: i64,
    /// The allowed skew.
    pub skew: Skew,
    /// How many tokens a device may have that live, or were revoked and gates are still told of.
    pub tokens_per_device: u32,
    /// Loosening: software clients may be registered and get tokens.
    pub allow_software_keys: bool,
    /// Loosening: a TPM whose EK is unknown may enrol and be reviewed.
    pub accept_unknown_ek: bool,
    /// Loosening: accounts on the issuer's machine may approve on behalf of owners, where a role asks for one approver.
    pub approve_on_behalf: bool,
    /// Who is told what waits for somebody, and when.
    pub notification: notification::Settings,
}

impl Config {
    /// Reads and checks `path`; relative paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = service::read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a configuration that is, or is going to be, at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        raw.check(folder).map_err(|faults| ConfigError::Values { path: path.to_owned(), faults })
    }

    /// Every explicit loosening, for `check`, the log and the ledger.
    pub fn loosenings(&self) -> Vec<&'static str> {
        let all = [
            (self.allow_software_keys, "allow_software_keys"),
            (self.accept_unknown_ek, "accept_unknown_ek"),
            (self.approve_on_behalf, "approve_on_behalf"),
        ];
        all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
    }

    /// The URL of a path on the mTLS listener.
    pub fn mtls_endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.mtls_url)
    }
}

impl Raw {
    fn check(self, folder: &Path) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let mut origin = |key: &str, text: &str| {
            canonical_issuer(text).unwrap_or_else(|| {
                faults.push(format!("`{key}`: `{text}` is not an `https://` origin"));
                String::new()
            })
        };
        let (issuer_url, mtls_url) = (origin("issuer_url", &self.issuer_url), origin("mtls_url", &self.mtls_url));
        if issuer_url == mtls_url && !issuer_url.is_empty() {
            faults.push("`mtls_url`: must differ from `issuer_url`; the mTLS listener is one of its own".to_owned());
        }
        for (key, text) in [("public_listen", &self.public_listen), ("mtls_listen", &self.mtls_listen)] {
            if text.parse::<SocketAddr>().is_err() {
                faults.push(format!("`{key}`: `{text}` is not an address with a port such as `0.0.0.0:8443`"));
            }
        }
        let mut seconds = |key: &str, text: &str| {
            seconds(text).unwrap_or_else(|error| {
                faults.push(format!("`{key}`: {error}"));
                1
            })
        };
        let challenge_lifetime = seconds("challenge_lifetime", &self.challenge_lifetime);
        let device_certificate_lifetime = seconds("device_certificate_lifetime", &self.device_certificate_lifetime);
        let gate_certificate_lifetime = seconds("gate_certificate_lifetime", &self.gate_certificate_lifetime);
        let code_lifetime = seconds("code_lifetime", &self.code_lifetime);
        let key_overlap = seconds("key_overlap", &self.key_overlap);
        let skew = seconds("clock_skew", &self.clock_skew);
        let skew = Skew::try_new(skew).unwrap_or_else(|| {
            faults.push("`clock_skew`: at most 60s".to_owned());
            Skew::default()
        });
        if self.pcrs.is_empty() || !self.pcrs.is_sorted_by(|a, b| a < b) || self.pcrs.iter().any(|pcr| *pcr > 23) {
            faults.push("`pcrs`: needs numbers from 0 to 23, ascending, each once".to_owned());
        }
        if !(1..=MAX_TOKENS_PER_DEVICE).contains(&self.tokens_per_device) {
            faults.push(format!("`tokens_per_device`: needs a number from 1 to {MAX_TOKENS_PER_DEVICE}"));
        }
        let notification = self.notification.check(folder, &mut faults);
        let admin = mtls_url.parse().map_err(|error| faults.push(format!("`mtls_url`: {error}")));
        let (Ok(admin), true) = (admin, faults.is_empty()) else { return Err(faults) };
        let path = |relative: PathBuf| folder.join(relative);
        Ok(Config {
            issuer_url,
            mtls_url,
            admin,
            public_listen: self.public_listen,
            mtls_listen: self.mtls_listen,
            database: path(self.database),
            master_key: path(self.master_key),
            root_certificate: path(self.root_certificate),
            root_key: path(self.root_key),
            policy: path(self.policy),
            ek_roots: path(self.ek_roots),
            pcrs: self.pcrs,
            challenge_lifetime,
            device_certificate_lifetime,
            gate_certificate_lifetime,
            code_lifetime,
            key_overlap,
            skew,
            tokens_per_device: self.tokens_per_device,
            allow_software_keys: self.allow_software_keys,
            accept_unknown_ek: self.accept_unknown_ek,
            approve_on_behalf: self.approve_on_behalf,
            notification,
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
        assert_eq!(config.database, Path::new("/etc/daypass/issuer.db"));
        assert!(config.loosenings().is_empty(), "secure by default");
    }

    #[test]
    fn every_bad_value_is_named() {
        let text = REFERENCE
            .replace("issuer_url = \"https", "issuer_url = \"http")
            .replace("clock_skew = \"30s\"", "clock_skew = \"61s\"")
            .replace("challenge_lifetime = \"5m\"", "challenge_lifetime = \"\"")
            .replace("pcrs = [0, 1", "pcrs = [1, 0")
            .replace("tokens_per_device = 1000", "tokens_per_device = 0")
            .replace("mtls_listen = \"0.0.0.0:8444\"", "mtls_listen = \"8444\"");
        let faults = parse(&text).unwrap_err();
        assert_eq!(faults.len(), 6, "{faults:?}");
        assert!(parse(&format!("{REFERENCE}\nunknown = 1\n")).unwrap_err()[0].contains("unknown"));
    }

    #[test]
    fn one_listener_cannot_be_both() {
        let text = REFERENCE.replace(
            "mtls_url = \"https://issuer.example.com:8444\"",
            "mtls_url = \"https://issuer.example.com:8443\"",
        );
        assert_eq!(parse(&text).unwrap_err().len(), 1);
    }
}
