//! Globs over refs: `*` matches any bytes within one component, `**` as a whole component matches one or more components.
//! Bytes, case-sensitive. `refs/` and the namespace after it are literal: whoever means `refs/notes/` writes it.

use std::{fmt, str::FromStr};

use thiserror::Error;

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

const ACROSS: &[u8] = b"**";

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
        if text.split('/').any(|part| part.contains("**") && part != "**") {
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
        if name.iter().any(|part| part.is_empty()) {
            return false;
        }
        wildcard(&self.parts(), &name, |part| *part == ACROSS, 1, |glob, part| component_matches(glob, part))
    }

    /// Whether every ref that matches `self` evidently matches `outer`: the wildcards of `self` count as symbols that only
    /// the same or a wider wildcard of `outer` takes. Never yes where the truth is no; may be no where the truth is yes.
    pub fn is_within(&self, outer: &Self) -> bool {
        wildcard(
            &outer.parts(),
            &self.parts(),
            |part| *part == ACROSS,
            1,
            |glob, part| *part != ACROSS && component_matches(glob, part),
        )
    }

    fn parts(&self) -> Vec<&[u8]> {
        self.0.as_bytes().split(|byte| *byte == b'/').collect()
    }
}

/// Within one component `*` takes any run of bytes; a `*` in `part` (when patterns are compared) is a byte that only `*` takes,
/// since no glob has it as a literal.
fn component_matches(glob: &[u8], part: &[u8]) -> bool {
    wildcard(glob, part, |symbol| *symbol == b'*', 0, |one, other| one == other && *other != b'*')
}

/// Wildcard matching over any symbols: greedy with one point to return to, so quadratic at worst and without recursion.
/// A wildcard takes at least `least` symbols.
fn wildcard<T>(
    pattern: &[T],
    text: &[T],
    is_wild: impl Fn(&T) -> bool,
    least: usize,
    equal: impl Fn(&T, &T) -> bool,
) -> bool {
    // INVARIANT: `back` is the last wildcard met, and how much of the text it has taken so far.
    let (mut at, mut seen, mut back) = (0, 0, None);
    loop {
        match (pattern.get(at), text.get(seen)) {
            (Some(symbol), _) if is_wild(symbol) => {
                at += 1;
                seen += least;
                if seen > text.len() {
                    return false;
                }
                back = Some((at, seen));
            }
            (Some(symbol), Some(other)) if equal(symbol, other) => {
                at += 1;
                seen += 1;
            }
            (None, None) => return true,
            (_, None) => return false,
            (_, Some(_)) => match back {
                Some((after, taken)) => {
                    at = after;
                    seen = taken + 1;
                    back = Some((after, seen));
                }
                None => return false,
            },
        }
    }
}
