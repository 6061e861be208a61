//! A version of the policy, as it is named on the command line: a folder, the beginning of its hash, or `in-force`.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{CommandError, open, read};
use crate::{
    clock::Environment,
    issuer::Issuer,
    policy::{Files, Policy, Version},
};

/// What is in force.
pub(super) const IN_FORCE: &str = "in-force";
/// The fewest characters of a hash that name a version.
const FEWEST: usize = 4;

/// Why a name is no version.
#[derive(Debug, Error)]
pub enum VersionError {
    /// Nothing was loaded.
    #[error("no policy is in force; name a folder, or run `daypass-issuer policy load`")]
    NoneInForce,
    /// Not there.
    #[error(
        "`{0}` is neither a folder, nor `in-force`, nor the first characters of a version that was in force; see `daypass-issuer policy list`"
    )]
    Unknown(String),
    /// More than one.
    #[error("`{0}` begins more than one version's hash; write more of it")]
    Several(String),
}

/// One version.
pub(super) struct Chosen {
    pub(super) files: Files,
    pub(super) policy: Policy,
}

impl Chosen {
    pub(super) fn version(&self) -> Version<'_> {
        Version { files: &self.files, policy: &self.policy }
    }
}

/// The issuer, where there is one on this machine: policy is compared where it is written, too.
pub(super) struct Here {
    opened: Result<Issuer, CommandError>,
}

impl Here {
    pub(super) async fn look(config: &Path, environment: Environment) -> Self {
        Self { opened: open(config, environment).await }
    }

    pub(super) fn issuer(&self) -> Option<&Issuer> {
        self.opened.as_ref().ok()
    }

    /// The issuer; or why it cannot be had.
    pub(super) fn needed(self) -> Result<Issuer, CommandError> {
        self.opened
    }

    /// What `name` names; nothing, where it takes an issuer to know, and there is none.
    pub(super) async fn version(&self, name: &str) -> Result<Option<Chosen>, CommandError> {
        let folder = PathBuf::from(name);
        if name != IN_FORCE && folder.is_dir() {
            let (files, policy) = read(&folder)?;
            return Ok(Some(Chosen { files, policy }));
        }
        let Some(issuer) = self.issuer() else { return Ok(None) };
        let files = if name == IN_FORCE {
            issuer.store.newer_policy(0).await?.ok_or(VersionError::NoneInForce)?.files
        } else {
            let prefix = name.to_ascii_lowercase();
            let mut fitting: Vec<_> = issuer.store.policies().await?;
            fitting.retain(|version| prefix.len() >= FEWEST && hex::encode(version.hash.0).starts_with(&prefix));
            // The same files may have been in force more than once.
            fitting.dedup_by_key(|version| version.hash);
            fitting.sort_by_key(|version| version.hash.0);
            fitting.dedup_by_key(|version| version.hash);
            match <[_; 1]>::try_from(fitting) {
                Ok([version]) => version.files,
                Err(none) if none.is_empty() => return Err(VersionError::Unknown(name.to_owned()).into()),
                Err(_) => return Err(VersionError::Several(name.to_owned()).into()),
            }
        };
        let policy = Policy::check(&files)?;
        Ok(Some(Chosen { files, policy }))
    }
}
