//! Who asks the agent, as the agent reports it to the issuer (docs/wire.md section 6.2).
//!
//! This is *evidence*, and never a boundary: the boundary is the uid that the kernel reports. A descriptor can be passed to another
//! process, an interpreter is its own executable whatever script it runs, `LD_PRELOAD` changes a program under its hash. Policy may use
//! it to narrow. Whatever could not be learned is `unavailable`, and that is a normal value: an agent that is not privileged cannot
//! look at another uid's executable.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// The longest path of an executable or name of a unit, in bytes.
pub const MAX_TEXT: usize = 1024;
/// The most ancestors that are reported.
pub const MAX_VIA: usize = 8;
/// The longest evidence as JSON, in bytes.
pub const MAX_EVIDENCE: usize = 16 * 1024;

const UNAVAILABLE: &str = "unavailable";

/// Something that was looked for: its value, or that it could not be learned.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Reported<T> {
    /// What was found.
    Known(T),
    /// It could not be learned.
    #[default]
    Unavailable,
}

impl<T> From<Option<T>> for Reported<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unavailable, Self::Known)
    }
}

impl<T: fmt::Display> fmt::Display for Reported<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Unavailable => f.write_str(UNAVAILABLE),
        }
    }
}

impl<T: fmt::Display> Serialize for Reported<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: TryFrom<String, Error = CallerError>> Deserialize<'de> for Reported<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == UNAVAILABLE {
            return Ok(Self::Unavailable);
        }
        T::try_from(text).map(Self::Known).map_err(de::Error::custom)
    }
}

/// Why a report does not read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CallerError {
    /// Not an absolute path of printable UTF-8.
    #[error("an executable is an absolute path of at most {MAX_TEXT} bytes without control characters")]
    Executable,
    /// Not 64 hexadecimal digits.
    #[error("a hash is SHA-256 in 64 lower-case hexadecimal digits")]
    Hash,
    /// Not a unit's name.
    #[error("a unit is the name of a systemd unit, such as `cron.service`, of at most {MAX_TEXT} bytes")]
    Unit,
    /// Too many ancestors.
    #[error("at most {MAX_VIA} ancestors are reported")]
    Via,
}

/// The path of an executable, as the kernel shows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Executable(String);

impl TryFrom<String> for Executable {
    type Error = CallerError;

    fn try_from(text: String) -> Result<Self, CallerError> {
        let fits = text.starts_with('/') && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        if fits { Ok(Self(text)) } else { Err(CallerError::Executable) }
    }
}

/// SHA-256 of an executable's content.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ContentHash(String);

impl ContentHash {
    /// From the hash.
    pub fn new(hash: [u8; 32]) -> Self {
        Self(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl TryFrom<String> for ContentHash {
    type Error = CallerError;

    fn try_from(text: String) -> Result<Self, CallerError> {
        let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if fits { Ok(Self(text)) } else { Err(CallerError::Hash) }
    }
}

/// The systemd unit that a process belongs to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Unit(String);

impl TryFrom<String> for Unit {
    type Error = CallerError;

    fn try_from(text: String) -> Result<Self, CallerError> {
        let stem = [".service", ".scope"].into_iter().find_map(|kind| text.strip_suffix(kind));
        // systemd.unit(5): the characters of a unit's name.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        let fits = stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(plain)) && text.len() <= MAX_TEXT;
        if fits { Ok(Self(text)) } else { Err(CallerError::Unit) }
    }
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
shown_as_text!(Executable, ContentHash, Unit);

/// What is known of one process. No process id: it says nothing later, and would make every caller another one.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its executable.
    pub executable: Reported<Executable>,
    /// SHA-256 of the executable's content.
    pub sha256: Reported<ContentHash>,
    /// The unit it belongs to.
    pub unit: Reported<Unit>,
}

/// How the agent held on to the process while it looked: a process id alone may be another's by the time it is looked up.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifiedBy {
    /// The kernel gave a descriptor of the process with the connection (`SO_PEERPIDFD`, Linux 6.5).
    PeerPidfd,
    /// The agent opened one by process id right after accepting, and the process was older than the connection.
    PidfdOpen,
    /// Neither: nothing is known of the process.
    Nothing,
}

/// Who asked, as reported.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields, try_from = "RawEvidence")]
pub struct Evidence {
    /// How the process was held on to.
    pub identified_by: IdentifiedBy,
    /// The process on the socket.
    pub peer: Process,
    /// Its ancestors, nearest first, where the process on the socket is one of Daypass's own programs: what asked through it.
    pub via: Vec<Process>,
}

impl Evidence {
    /// Nothing could be learned.
    pub fn unavailable() -> Self {
        Self { identified_by: IdentifiedBy::Nothing, peer: Process::default(), via: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvidence {
    identified_by: IdentifiedBy,
    peer: Process,
    via: Vec<Process>,
}

impl TryFrom<RawEvidence> for Evidence {
    type Error = CallerError;

    fn try_from(raw: RawEvidence) -> Result<Self, CallerError> {
        if raw.via.len() > MAX_VIA {
            return Err(CallerError::Via);
        }
        Ok(Self { identified_by: raw.identified_by, peer: raw.peer, via: raw.via })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIT: &str = r#"{"identified_by":"peer_pidfd","peer":{"executable":"/usr/bin/git","sha256":"unavailable","unit":"session-1.scope"},"via":[]}"#;

    #[test]
    fn reads_what_it_writes() {
        let evidence: Evidence = serde_json::from_str(GIT).unwrap();
        assert_eq!(evidence.peer.sha256, Reported::Unavailable);
        assert_eq!(evidence.peer.executable.to_string(), "/usr/bin/git");
        assert_eq!(serde_json::to_string(&evidence).unwrap(), GIT);
        let nothing = serde_json::to_string(&Evidence::unavailable()).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&nothing).unwrap(), Evidence::unavailable());
        let hash = ContentHash::new([0xab; 32]);
        assert_eq!(ContentHash::try_from(hash.to_string()), Ok(hash));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let process = r#"{"executable":"unavailable","sha256":"unavailable","unit":"unavailable"}"#;
        let many = [process; MAX_VIA + 1].join(",");
        for bad in [
            GIT.replace("/usr/bin/git", "git"),
            GIT.replace("/usr/bin/git", "/usr/\\u0000git"),
            GIT.replace("/usr/bin/git", &format!("/{}", "x".repeat(MAX_TEXT))),
            GIT.replace("session-1.scope", "session 1.scope"),
            GIT.replace("session-1.scope", ".scope"),
            GIT.replace("session-1.scope", "session-1.slice"),
            GIT.replacen("unavailable", &"A".repeat(64), 1),
            GIT.replacen("unavailable", "unknown", 1),
            GIT.replace("peer_pidfd", "magic"),
            GIT.replace(r#""via":[]"#, &format!(r#""via":[{many}]"#)),
            GIT.replace(r#""via":[]"#, r#""via":[],"pid":1"#),
            GIT.replace(r#""via":[]"#, r#""via":[],"via":[]"#),
        ] {
            assert_ne!(bad, GIT);
            assert!(serde_json::from_str::<Evidence>(&bad).is_err(), "{bad}");
        }
    }
}
