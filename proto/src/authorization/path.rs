//! Paths of HTTP requests in their one canonical form, and globs over them.
//!
//! Gate and policy must mean the same path as the server behind, and servers differ in what they decode, collapse and resolve. So a
//! path is taken only where there is nothing to decode, collapse or resolve: an allow-list, never a repair.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::glob;
use crate::names::serde_as_text;

/// The longest path of a request, in bytes.
const MAX_PATH: usize = 2048;
/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 256;

/// Why a text is not a path, or not a pattern of paths.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PathError {
    /// Not in the one form.
    #[error(
        "`{0}` is not a plain path: it must begin with `/`, without empty, `.` or `..` components, of letters, digits and `-._~!$&'()+,=:@`; only spaces and characters beyond ASCII are percent-encoded, as UTF-8 with capital digits"
    )]
    Form(String),
    /// Longer than any here.
    #[error("`{0}…` is longer than a path may be")]
    Length(String),
    /// `**` mixed with other characters, or before a final slash.
    #[error("path pattern `{0}` has `**` beside other characters or before a final `/`; it must be a whole component")]
    Across(String),
}

/// The path of an HTTP request, without its query: what a gate matches, and what it sends on.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ApiPath(String);

impl ApiPath {
    /// As it stands in the request line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        check(text, MAX_PATH, false)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ApiPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A glob over paths. `*` matches any bytes within one component; `**` one or more whole components, with or without a final
/// slash. Elsewhere a final slash is matched by a final slash only.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PathPattern(String);

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        check(text, MAX_PATTERN, true)?;
        if text.split('/').any(glob::is_mixed) || text.ends_with("/**/") {
            return Err(PathError::Across(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

serde_as_text!(PathPattern);

impl PathPattern {
    /// Whether this path matches.
    pub fn matches(&self, path: &ApiPath) -> bool {
        let (pattern, given) = (Parts::of(&self.0), Parts::of(&path.0));
        glob::matches(&pattern.components, &given.components)
            && (pattern.takes_either() || pattern.final_slash == given.final_slash)
    }

    /// Whether every path that matches `self` evidently matches `outer`. Never yes where the truth is no.
    pub fn is_within(&self, outer: &Self) -> bool {
        let (inner, outer) = (Parts::of(&self.0), Parts::of(&outer.0));
        glob::is_within(&inner.components, &outer.components)
            && (outer.takes_either() || (!inner.takes_either() && inner.final_slash == outer.final_slash))
    }
}

/// A path taken apart: `/` has no component, and a final slash.
struct Parts<'a> {
    components: Vec<&'a [u8]>,
    final_slash: bool,
}

impl<'a> Parts<'a> {
    fn of(path: &'a str) -> Self {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let components = inner.strip_suffix('/').unwrap_or(inner);
        Self {
            components: components.split('/').filter(|part| !part.is_empty()).map(str::as_bytes).collect(),
            final_slash: path.ends_with('/'),
        }
    }

    fn takes_either(&self) -> bool {
        self.components.last().is_some_and(|last| *last == glob::ACROSS)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_PATTERN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn check(text: &str, longest: usize, glob: bool) -> Result<(), PathError> {
    if text.len() > longest {
        return Err(PathError::Length(shown(text)));
    }
    let inner = text.strip_prefix('/').ok_or_else(|| PathError::Form(shown(text)))?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    // `/` alone is the root; everywhere else there is something between two slashes.
    let plain = text == "/" || inner.split('/').all(|part| is_component(part, glob));
    if plain { Ok(()) } else { Err(PathError::Form(shown(text))) }
}

/// The characters of RFC 3986's `pchar` that stand for themselves everywhere: without `*`, which is a glob here, and `;`, behind which
/// some servers see parameters and cut them off.
fn is_component(part: &str, glob: bool) -> bool {
    let literal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&byte);
    let mut encoded = Vec::new();
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (bytes.next().and_then(digit), bytes.next().and_then(digit)) else {
                return false;
            };
            let decoded = high << 4 | low;
            if decoded != b' ' && decoded.is_ascii() {
                return false;
            }
            encoded.push(decoded);
        } else if literal(byte) || (glob && byte == b'*') {
            encoded.push(byte);
        } else {
            return false;
        }
    }
    !matches!(part, "" | "." | "..")
        && std::str::from_utf8(&encoded).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// One capital hexadecimal digit.
const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
