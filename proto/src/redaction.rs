//! Keeping secrets out of words.
//!
//! An error repeats what it refuses, so that a person sees what was wrong. A client that mixes up its variables sends a token where a name
//! should be, and the error, the log and the ledger would have it from then on. Whatever of a request may come back in words goes through
//! here first.

use std::{borrow::Cow, io};

/// Longer runs of base64url are tokens, proofs, signatures and codes. Names, thumbprints and hashes in hex are shorter.
const LONGEST: usize = 64;
/// What is left of a longer one: enough to know it again.
const SHOWN: usize = 12;

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
    fn a_log_takes_lines_and_says_that_it_took_them() {
        use io::Write as _;
        let mut log = Redacting(Vec::new());
        writeln!(log, "WARN token={} refused", "t".repeat(900)).unwrap();
        log.flush().unwrap();
        assert_eq!(log.0, b"WARN token=tttttttttttt... refused\n");
    }
}
