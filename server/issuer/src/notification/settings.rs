//! `[notification]` of the configuration.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use daypass_proto::duration::seconds;
use serde::Deserialize;
use url::Url;

/// No end of a grant is further away that anybody wants to hear of.
const LONGEST_AHEAD: i64 = 366 * 24 * 3600;
/// So many warnings of one end.
const MOST_AHEAD: usize = 8;
/// So often a message is tried, at most: some four days.
const MOST_ATTEMPTS: u32 = 30;
/// No command runs longer, in seconds.
const LONGEST_COMMAND: i64 = 300;

/// As it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    #[serde(default = "ahead")]
    ahead: Vec<String>,
    #[serde(default = "attempts")]
    attempts: u32,
    webhook: Option<RawWebhook>,
    command: Option<RawCommand>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebhook {
    url: String,
    secret: PathBuf,
    ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommand {
    run: Vec<String>,
    #[serde(default = "timeout")]
    timeout: String,
}

fn ahead() -> Vec<String> {
    ["14d", "3d", "1d"].map(str::to_owned).to_vec()
}

const fn attempts() -> u32 {
    15
}

fn timeout() -> String {
    "30s".to_owned()
}

impl Default for Raw {
    fn default() -> Self {
        Self { ahead: ahead(), attempts: attempts(), webhook: None, command: None }
    }
}

/// Who is told, and when.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long before a grant's end it is said, in seconds, ascending.
    pub ahead: Vec<i64>,
    /// How often a message is tried.
    pub attempts: u32,
    /// The webhook, if there is one.
    pub webhook: Option<WebhookSettings>,
    /// The command, if there is one.
    pub command: Option<CommandSettings>,
}

/// Where a webhook goes.
#[derive(Clone)]
pub struct WebhookSettings {
    /// An https URL. Its path may be a secret by itself, so nothing shows it.
    pub url: Url,
    /// The file with the secret.
    pub secret: PathBuf,
    /// The CA of its certificate in place of the system's.
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("at", &self.url.origin().ascii_serialization())
            .field("secret", &self.secret)
            .field("ca", &self.ca)
            .finish()
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// It is ended after so long.
    pub timeout: Duration,
}

impl Raw {
    /// Checks it; every fault goes to `faults`. Relative paths are relative to `folder`.
    pub(crate) fn check(self, folder: &Path, faults: &mut Vec<String>) -> Settings {
        let mut ahead = Vec::new();
        for text in &self.ahead {
            match seconds(text) {
                Ok(seconds) if seconds > LONGEST_AHEAD => {
                    faults.push(format!("`notification.ahead`: `{text}` is longer than 366d"));
                }
                Ok(seconds) => ahead.push(seconds),
                Err(error) => faults.push(format!("`notification.ahead`: {error}")),
            }
        }
        ahead.sort_unstable();
        ahead.dedup();
        if ahead.len() > MOST_AHEAD {
            faults.push(format!("`notification.ahead`: {MOST_AHEAD} durations at most"));
        }
        if !(1..=MOST_ATTEMPTS).contains(&self.attempts) {
            faults.push(format!("`notification.attempts`: needs a number from 1 to {MOST_ATTEMPTS}"));
        }
        let webhook = self.webhook.and_then(|webhook| webhook.check(folder, faults));
        let command = self.command.and_then(|command| command.check(faults));
        Settings { ahead, attempts: self.attempts, webhook, command }
    }
}

impl RawWebhook {
    fn check(self, folder: &Path, faults: &mut Vec<String>) -> Option<WebhookSettings> {
        let url = Url::parse(&self.url).ok().filter(|url| {
            url.scheme() == "https"
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        });
        let Some(url) = url else {
            // It is not repeated: it may be a secret.
            faults.push(
                "`notification.webhook.url`: needs an `https://` URL without a name, password or fragment".to_owned(),
            );
            return None;
        };
        Some(WebhookSettings { url, secret: folder.join(self.secret), ca: self.ca.map(|ca| folder.join(ca)) })
    }
}

impl RawCommand {
    fn check(self, faults: &mut Vec<String>) -> Option<CommandSettings> {
        let timeout = match seconds(&self.timeout) {
            Ok(seconds @ 1..=LONGEST_COMMAND) => u64::try_from(seconds).ok().map(Duration::from_secs),
            Ok(_) => {
                faults.push("`notification.command.timeout`: 5m at most".to_owned());
                None
            }
            Err(error) => {
                faults.push(format!("`notification.command.timeout`: {error}"));
                None
            }
        };
        let mut words = self.run.into_iter();
        let program = words.next().map(PathBuf::from).filter(|program| program.is_absolute());
        let arguments: Vec<String> = words.collect();
        let whole = |text: &str| !text.contains('\0');
        let Some(program) = program.filter(|program| program.to_str().is_some_and(whole)) else {
            faults.push(
                "`notification.command.run`: needs a program by its absolute path, and then its arguments".to_owned(),
            );
            return None;
        };
        if !arguments.iter().all(|argument| whole(argument)) {
            faults.push("`notification.command.run`: no argument can have a NUL".to_owned());
            return None;
        }
        Some(CommandSettings { program, arguments, timeout: timeout? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Settings, Vec<String>> {
        let raw: Raw = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
        let mut faults = Vec::new();
        let settings = raw.check(Path::new("/etc/daypass"), &mut faults);
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    #[test]
    fn nobody_is_told_unless_somebody_says_whom() {
        let settings = check("").unwrap();
        assert!(settings.webhook.is_none() && settings.command.is_none());
        assert_eq!((settings.ahead, settings.attempts), (vec![86_400, 3 * 86_400, 14 * 86_400], 15));
    }

    #[test]
    fn the_commented_example_reads() {
        let example: String = crate::config::REFERENCE
            .lines()
            .skip_while(|line| !line.contains("[notification]"))
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .map(|line| format!("{}\n", line.replace("[notification.", "[").replace("[notification]", "")))
            .collect();
        let settings = check(&example).unwrap();
        assert_eq!(settings.webhook.unwrap().secret, Path::new("/etc/daypass/webhook.secret"));
        assert!(settings.command.unwrap().program.is_absolute());
    }

    #[test]
    fn every_bad_value_is_named() {
        let bad = [
            ("ahead = [\"soon\"]", "notification.ahead"),
            ("ahead = [\"367d\"]", "366d"),
            ("ahead = [\"1d\", \"2d\", \"3d\", \"4d\", \"5d\", \"6d\", \"7d\", \"8d\", \"9d\"]", "8 durations"),
            ("attempts = 0", "from 1 to 30"),
            ("attempts = 31", "from 1 to 30"),
            ("[webhook]\nurl = \"http://h/\"\nsecret = \"s\"", "https://"),
            ("[webhook]\nurl = \"https://u:p@h/\"\nsecret = \"s\"", "without a name"),
            ("[webhook]\nurl = \"https://h/#f\"\nsecret = \"s\"", "fragment"),
            ("[webhook]\nurl = \"https://h/\"", "secret"),
            ("[command]\nrun = []", "absolute path"),
            ("[command]\nrun = [\"mail\"]", "absolute path"),
            ("[command]\nrun = [\"/bin/true\", \"a\\u0000\"]", "NUL"),
            ("[command]\nrun = [\"/bin/true\"]\ntimeout = \"6m\"", "5m at most"),
            ("[command]\nrun = [\"/bin/true\"]\nshell = true", "shell"),
        ];
        for (text, word) in bad {
            let faults = check(text).unwrap_err();
            assert!(faults.iter().any(|fault| fault.contains(word)), "{text}: {faults:?}");
            assert!(!faults.iter().any(|fault| fault.contains("u:p")), "{faults:?}");
        }
    }

    #[test]
    fn a_url_that_may_be_a_secret_is_not_shown() {
        let settings = check("[webhook]\nurl = \"https://h/T0/secret\"\nsecret = \"s\"").unwrap();
        assert!(!format!("{settings:?}").contains("T0"), "{settings:?}");
    }
}
