//! What is wrong with a policy, where, and the line itself.

use std::{cell::RefCell, fmt, ops::Range};

use daypass_proto::words::is_shown;
use serde::Serialize;

/// The most of a line that is shown.
const SHOWN: usize = 160;

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Fault {
    /// The file, below the policy folder.
    pub file: String,
    /// The line, from 1; none where the file itself is wrong.
    pub line: Option<usize>,
    /// The line itself.
    pub text: Option<String>,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl Fault {
    /// The file itself is wrong.
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, text: None, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, &self.text) {
            (Some(line), Some(text)) => write!(f, "{}:{line}: {}\n    {text}", self.file, self.message),
            _ => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// As it may stand on a terminal: a file can come from anybody who asks for a review.
fn plain(c: char) -> char {
    if c == '\n' || is_shown(c) { c } else { '\u{fffd}' }
}

/// One file while it is read: every fault is put down, and reading goes on.
pub(super) struct Reading<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    faults: RefCell<Vec<Fault>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, faults: RefCell::default() }
    }

    /// Something at this place in the text is wrong.
    pub(super) fn fault(&self, at: &Range<usize>, message: impl Into<String>) {
        self.faults.borrow_mut().push(self.told(at, message));
    }

    /// Something to be said of this place in the text.
    pub(super) fn told(&self, at: &Range<usize>, message: impl Into<String>) -> Fault {
        let before = self.text.as_bytes().get(..at.start.min(self.text.len())).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        let text = self.text.lines().nth(line).unwrap_or_default().trim();
        let shown = text.chars().take(SHOWN).map(plain).collect();
        let message = message.into().chars().map(plain).collect();
        Fault { file: self.file.to_owned(), line: Some(line + 1), text: Some(shown), message }
    }

    /// The file itself is wrong.
    pub(super) fn fault_of_file(&self, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault::of_file(self.file, message));
    }

    /// How many faults there are so far.
    pub(super) fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// What was found: `read`, if nothing was wrong.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Vec<Fault>> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        match read {
            Some(read) if faults.is_empty() => Ok(read),
            _ => Err(faults),
        }
    }
}
