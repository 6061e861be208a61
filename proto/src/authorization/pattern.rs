//! Globs over refs: `*` matches any bytes within one component, `**` as a whole component matches one or more components.
//! Bytes, case-sensitive. `refs/` and the namespace after it are literal: whoever means `refs/notes/` writes it.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::glob;
use crate::names::serde_as_text;

const MAX_LENGTH: usize = 256;

/// Why a text is not a ref pattern.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PatternError {
    /// Too long, or characters that no ref has.
    #[error(
        "ref pattern `{0}` is longer than {MAX_LENGTH} bytes, or has an empty component or characters that git allows in no ref"
    )]
    Form(String),
    /// The namespace is not spelled out.
    #[error("ref pattern `{0}` must begin with a literal namespace, such as `refs/heads/` or `refs/tags/`")]
    Namespace(String),
    /// `**` mixed with other characters.
    #[error("ref pattern `{0}` has `**` beside other characters; it must be a whole component")]
    Across(String),
}

/// A glob over full ref names.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RefPattern(String);

impl FromStr for RefPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let shown = || text.chars().take(MAX_LENGTH).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        // git-check-ref-format(1), less `*`, which is ours here.
        let forbidden = |byte: u8| byte <= b' ' || byte == 0x7f || b"~^:?[\\{}".contains(&byte);
        if text.len() > MAX_LENGTH
            || text.bytes().any(forbidden)
            || text.contains("..")
            || text.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock"))
            || text.ends_with('.')
        {
            return Err(PatternError::Form(shown()));
        }
        let mut parts = text.split('/');
        let literal = |part: Option<&str>| part.is_some_and(|part| !part.contains('*'));
        if parts.next() != Some("refs") || !literal(parts.next()) || parts.next().is_none() {
            return Err(PatternError::Namespace(shown()));
        }
        if text.split('/').any(glob::is_mixed) {
            return Err(PatternError::Across(shown()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RefPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(RefPattern);

impl RefPattern {
    /// Whether the ref with this full name matches.
    pub fn matches(&self, reference: &[u8]) -> bool {
        let name: Vec<&[u8]> = reference.split(|byte| *byte == b'/').collect();
        name.iter().all(|part| !part.is_empty()) && glob::matches(&self.parts(), &name)
    }

    /// Whether every ref that matches `self` evidently matches `outer`: the wildcards of `self` count as symbols that only
    /// the same or a wider wildcard of `outer` takes. Never yes where the truth is no; may be no where the truth is yes.
    pub fn is_within(&self, outer: &Self) -> bool {
        glob::is_within(&self.parts(), &outer.parts())
    }

    fn parts(&self) -> Vec<&[u8]> {
        self.0.as_bytes().split(|byte| *byte == b'/').collect()
    }
}
