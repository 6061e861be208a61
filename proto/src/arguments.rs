//! What the commands of every program take as a value, whatever it means: one line of what is to be seen.
//!
//! A value comes from wherever somebody copied it. With a character that turns the direction of writing, or none that is seen, it would be another one than
//! it looks like, in the command, in the refusal that repeats it, and in the record that keeps it.

use std::{ffi::OsString, net::IpAddr, ops::RangeInclusive, path::PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::words::{WordsError, is_shown, words};

/// The longest path that Linux takes, in bytes.
const LONGEST_PATH: usize = 4095;

/// The longest method, in letters.
const LONGEST_METHOD: usize = 16;

/// Why a value is none.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ValueError {
    /// Not a line of words.
    #[error("the value {0}")]
    Words(#[from] WordsError),
    /// Too long for a path.
    #[error("the path has {0} bytes, and at most {LONGEST_PATH} are possible; name the file by a shorter one")]
    Path(usize),
    /// No number, or too small or large.
    #[error("expected a whole number from {} to {}", .0.start(), .0.end())]
    Number(RangeInclusive<u64>),
    /// No address.
    #[error("expected an IP address such as `192.0.2.7` or `2001:db8::7`")]
    Address,
    /// No method.
    #[error("expected an HTTP method in upper case, such as `GET`")]
    Method,
}

/// A text, without white space around it.
pub fn text(given: &str) -> Result<String, ValueError> {
    Ok(words(given)?.to_owned())
}

/// The name of a file or folder. One that is no text is taken as it is: it is the disk's.
pub fn path(given: OsString) -> Result<PathBuf, ValueError> {
    if given.is_empty() {
        return Err(WordsError::Empty.into());
    }
    if given.len() > LONGEST_PATH {
        return Err(ValueError::Path(given.len()));
    }
    let hidden = given.to_str().and_then(|text| text.chars().find(|c| !is_shown(*c)));
    match hidden {
        Some(character) => Err(WordsError::Character(character).into()),
        None => Ok(given.into()),
    }
}

/// A whole number in a range.
pub fn number<T: TryFrom<u64>>(given: &str, range: RangeInclusive<u64>) -> Result<T, ValueError> {
    let number = given.parse().ok().filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
    number.ok_or(ValueError::Number(range))
}

/// An address.
pub fn address(given: &str) -> Result<IpAddr, ValueError> {
    given.parse().map_err(|_| ValueError::Address)
}

/// An HTTP method (RFC 9110 section 9.1), of capital letters alone.
pub fn method(given: &str) -> Result<String, ValueError> {
    let fits = (1..=LONGEST_METHOD).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_uppercase());
    if fits { Ok(given.to_owned()) } else { Err(ValueError::Method) }
}

/// A value by its word on the wire. The refusal says which words there are, and leaves what was given to whoever tells of it.
pub fn word<T: DeserializeOwned>(given: &str) -> Result<T, String> {
    serde_json::from_value(given.into()).map_err(|error: serde_json::Error| {
        let error = error.to_string();
        error.rsplit_once("expected ").map_or_else(|| error.clone(), |(_, known)| format!("expected {known}"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_path_is_one_that_is_seen_or_no_text_at_all() {
        assert_eq!(path("/srv/büro 7".into()), Ok("/srv/büro 7".into()));
        let bytes = OsString::from_vec(vec![b'/', 0xff]);
        assert_eq!(path(bytes.clone()), Ok(bytes.into()));
        assert_eq!(path("".into()), Err(WordsError::Empty.into()));
        assert_eq!(path("x".repeat(4095).into()).map(|path| path.as_os_str().len()), Ok(4095));
        assert_eq!(path("x".repeat(4096).into()), Err(ValueError::Path(4096)));
        for (bad, character) in [("a\u{202e}b", '\u{202e}'), ("a\nb", '\n'), ("\u{200b}", '\u{200b}')] {
            assert_eq!(path(bad.into()), Err(WordsError::Character(character).into()));
        }
    }

    #[test]
    fn a_word_that_is_none_is_told_which_there_are() {
        use crate::enrolment::DeviceLife;
        assert_eq!(word("approved"), Ok(DeviceLife::Approved));
        let known = "expected one of `pending`, `approved`, `suspended`, `revoked`";
        for bad in ["", "Approved", "x`, expected `y", "a\nb"] {
            assert_eq!(word::<DeviceLife>(bad), Err(known.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_number_says_its_range() {
        assert_eq!(number::<u32>("7", 1..=1000), Ok(7));
        for bad in ["0", "1001", "-1", "+ 1", "1.5", "", "x", "99999999999999999999999"] {
            let refused = number::<u32>(bad, 1..=1000).unwrap_err();
            assert_eq!(refused.to_string(), "expected a whole number from 1 to 1000", "{bad}");
        }
        assert!(number::<u8>("256", 0..=300).is_err(), "no number is cut");
    }
}
