//! Keeping secrets out of words.
//!
//! An error repeats what it refuses, so that a person sees what was wrong. A client that mixes up its variables sends a token where a name
//! should be, and the error, the log and the ledger would have it from then on. Whatever of a request may come back in words goes through
//! here first.

use std::{borrow::Cow, io};

use crate::words::is_shown;

/// Longer runs of base64url are tokens, proofs, signatures and codes. Names, thumbprints and hashes in hex are shorter.
const LONGEST: usize = 64;
/// What is left of a longer one: enough to know it again.
const SHOWN: usize = 12;
/// The most characters of what was given that an error repeats: it is no place for a megabyte.
const REPEATED: usize = 80;
/// Stands for a character that is not shown.
const HIDDEN: char = '\u{fffd}';

/// `text` with every run of more than 64 characters of base64url cut down to its first twelve.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let in_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.split(|c| !in_run(c)).any(|run| run.len() > LONGEST) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(|c| !in_run(c)) {
        let run = part.trim_end_matches(|c| !in_run(c));
        match run.get(..SHOWN) {
            Some(shown) if run.len() > LONGEST => {
                out.push_str(shown);
                out.push_str("...");
                out.push_str(part.get(run.len()..).unwrap_or_default());
            }
            _ => out.push_str(part),
        }
    }
    Cow::Owned(out)
}

/// What an error repeats of what it was given: without secrets, in one line of what is to be seen, and not all of it where it is long.
pub fn glimpse(given: &str) -> String {
    glimpse_up_to(REPEATED, given)
}

/// The same with another length, in characters.
pub fn glimpse_up_to(longest: usize, given: &str) -> String {
    redacted(given).chars().take(longest).map(|c| if is_shown(c) { c } else { HIDDEN }).collect()
}

/// What a program tells whoever typed its command: without secrets, and with nothing that is not shown but the ends of its lines.
pub fn for_terminal(text: &str) -> String {
    redacted(text).chars().map(|c| if c == '\n' || is_shown(c) { c } else { HIDDEN }).collect()
}

/// A log without secrets: what is written to it goes on redacted. Each write is taken for whole lines, as a log's are.
pub struct Redacting<W>(pub W);

impl<W: io::Write> io::Write for Redacting<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write_all(redacted(&String::from_utf8_lossy(lines)).as_bytes())?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_cut_and_words_are_not() {
        let hash = "0123456789abcdef".repeat(4);
        for words in ["", "`team/app` is not granted", "é", hash.as_str(), "https://git.example.com/team/app"] {
            assert_eq!(redacted(words), words);
        }
        let part = "eyJhbGciOiJFUzI1NiIs".repeat(4);
        assert_eq!(
            redacted(&format!("`{part}.{part}.{part}` is no resource, é {part}")),
            "`eyJhbGciOiJF....eyJhbGciOiJF....eyJhbGciOiJF...` is no resource, é eyJhbGciOiJF..."
        );
        assert_eq!(redacted(&format!("https://h/dpinv1_{part}/x")), "https://h/dpinv1_eyJhb.../x");
        assert_eq!(redacted(&"x".repeat(65)), "xxxxxxxxxxxx...");
        assert_eq!(redacted(&"é".repeat(65)), "é".repeat(65));
    }

    #[test]
    fn what_is_repeated_is_one_short_line_of_what_is_to_be_seen() {
        assert_eq!(glimpse("team/app, é"), "team/app, é");
        assert_eq!(glimpse("a\nb\u{202e}c\u{1b}[2J"), "a\u{fffd}b\u{fffd}c\u{fffd}[2J");
        assert_eq!(glimpse(&"word ".repeat(1000)).chars().count(), 80);
        let behind = format!("{} {}", "x".repeat(40), "s".repeat(65));
        assert!(glimpse(&behind).ends_with(" ssssssssssss..."), "cut as a secret, and not into what is none");
    }

    #[test]
    fn what_is_told_keeps_its_lines_and_nothing_hidden() {
        assert_eq!(for_terminal("`a\u{202e}b` is wrong\n\tand\r so"), "`a\u{fffd}b` is wrong\n\u{fffd}and\u{fffd} so");
        assert_eq!(for_terminal(&"x".repeat(65)), "xxxxxxxxxxxx...");
    }

    #[test]
    fn a_log_takes_lines_and_says_that_it_took_them() {
        use io::Write as _;
        let mut log = Redacting(Vec::new());
        writeln!(log, "WARN token={} refused", "t".repeat(900)).unwrap();
        log.flush().unwrap();
        assert_eq!(log.0, b"WARN token=tttttttttttt... refused\n");
    }
}
