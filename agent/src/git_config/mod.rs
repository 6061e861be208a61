//! What git's configuration says about credential helpers, read the way git reads it.
//!
//! git keeps one ordered list of helpers for a URL: every `credential.helper` and every `credential.<pattern>.helper` whose pattern
//! fits adds to it in the order of the files, whatever is more specific, and an empty value empties it. After a success
//! git hands the credential to *every* helper on that list, to be stored. So one `helper = store` that stands after ours puts a
//! presentation on the disk: [`others()`] finds such helpers, for `doctor`, `setup git` and the helper itself.

mod others;

use std::{
    ffi::OsStr,
    io,
    path::Path,
    process::{Command, Stdio},
};

use thiserror::Error;

pub use self::others::{is_ours, listed, others, program};

/// Why git's configuration could not be read.
#[derive(Debug, Error)]
pub enum GitConfigError {
    /// git did not start.
    #[error("could not run `git`: {0}")]
    Start(#[source] io::Error),
    /// git started and complained.
    #[error("`git config` failed: {0}")]
    Failed(String),
}

/// One `credential.*.helper` line, in the order in which git reads them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HelperEntry {
    /// The URL pattern; `None` for the helpers of every URL.
    pub pattern: Option<String>,
    /// The helper; empty where the list so far is dropped.
    pub helper: String,
}

/// Runs git for its configuration, in the current folder and with this process's environment.
pub struct Git<'a> {
    program: &'a OsStr,
    folder: Option<&'a Path>,
    environment: Vec<(&'a str, &'a OsStr)>,
}

impl Default for Git<'static> {
    fn default() -> Self {
        Self { program: OsStr::new("git"), folder: None, environment: Vec::new() }
    }
}

impl<'a> Git<'a> {
    /// A variable as git will see it; an empty one counts as none.
    pub fn sees(&self, name: &str) -> Option<std::ffi::OsString> {
        let own = self.environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        own.or_else(|| std::env::var_os(name)).filter(|value| !value.is_empty())
    }

    /// Another git than the one on `PATH`.
    #[must_use]
    pub fn program(self, program: &'a OsStr) -> Self {
        Self { program, ..self }
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn variable(mut self, name: &'a str, value: &'a OsStr) -> Self {
        self.environment.push((name, value));
        self
    }

    /// In another folder than the current one.
    #[must_use]
    pub fn folder(self, folder: &'a Path) -> Self {
        Self { folder: Some(folder), ..self }
    }

    /// `git --version`, as a text such as `2.47.3`.
    pub fn version(&self) -> Result<String, GitConfigError> {
        let output = self.run(&["--version"])?.unwrap_or_default();
        Ok(output.trim().trim_start_matches("git version ").split(' ').next().unwrap_or_default().to_owned())
    }

    /// Every helper line of every configuration file that counts here.
    pub fn helpers(&self) -> Result<Vec<HelperEntry>, GitConfigError> {
        let listed = self.run(&["config", "--null", "--get-regexp", r"^credential\.(.*\.)?helper$"])?;
        Ok(parse_helpers(&listed.unwrap_or_default()))
    }

    /// Whether the switch `key` (such as `credential.useHttpPath`) is on for `url`; `None` where nobody set it.
    pub fn is_on(&self, key: &str, url: &str) -> Result<Option<bool>, GitConfigError> {
        Ok(self.run(&["config", "--type=bool", "--get-urlmatch", key, url])?.map(|value| value.trim() == "true"))
    }

    /// The value of `key` (such as `http.sslCAInfo`) that counts for `url`.
    pub fn value_for(&self, key: &str, url: &str) -> Result<Option<String>, GitConfigError> {
        Ok(self.run(&["config", "--get-urlmatch", key, url])?.map(|value| value.trim_end_matches('\n').to_owned()))
    }

    /// What git prints; `None` where it ends with 1, its way of saying that there is no such key.
    fn run(&self, arguments: &[&str]) -> Result<Option<String>, GitConfigError> {
        let mut command = Command::new(self.program);
        command.args(arguments).stdin(Stdio::null()).envs(self.environment.iter().copied());
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        let output = command.output().map_err(GitConfigError::Start)?;
        match output.status.code() {
            Some(0) => Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned())),
            Some(1) => Ok(None),
            _ => Err(GitConfigError::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }
}

/// `--null` output: `key LF value NUL`; a key without a value (`helper` alone on its line) has no LF.
fn parse_helpers(output: &str) -> Vec<HelperEntry> {
    output
        .split('\0')
        .filter(|entry| !entry.is_empty())
        .filter_map(|entry| {
            let (key, helper) = entry.split_once('\n').unwrap_or((entry, ""));
            let key = key.strip_prefix("credential.")?;
            let pattern = key.strip_suffix("helper")?.strip_suffix('.').map(str::to_owned);
            Some(HelperEntry { pattern, helper: helper.to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_listing_is_taken_apart() {
        let output =
            "credential.helper\nstore\0credential.https://h:1/.helper\n\0credential.https://h:1/.helper\n/bin/x y\0";
        assert_eq!(
            parse_helpers(output),
            [(None, "store"), (Some("https://h:1/"), ""), (Some("https://h:1/"), "/bin/x y")].map(
                |(pattern, helper)| HelperEntry { pattern: pattern.map(str::to_owned), helper: helper.to_owned() }
            )
        );
    }

    #[test]
    fn a_missing_git_says_so() {
        let error = Git::default().program(OsStr::new("/nonexistent/git")).helpers().unwrap_err();
        assert!(matches!(error, GitConfigError::Start(_)));
    }
    proptest! {
        #[test]
        fn a_listing_of_anything_is_taken_apart(text in "(credential\\.)?[a-z.:/*\0\n]{0,40}(helper)?[a-z\0\n ]{0,20}") {
            for entry in parse_helpers(&text) {
                prop_assert!(text.contains(&entry.helper) && !entry.helper.contains('\0'));
            }
        }
    }
}
