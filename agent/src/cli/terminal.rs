//! Where a command's words go, and where its questions are answered.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use serde::Serialize;

use super::failure::Failure;

/// Output and questions of a command; a buffer stands in for it in tests.
pub(crate) trait Terminal {
    /// Whether stdout is for a program.
    fn json(&self) -> bool;
    /// What was asked for.
    fn out(&mut self) -> &mut dyn Write;
    /// What goes with it: progress, problems.
    fn err(&mut self) -> &mut dyn Write;
    /// Whether a person reads what goes with it.
    fn watched(&self) -> bool;
    /// Asks for yes or no; `None` where there is nobody to ask.
    fn confirm(&mut self, question: &str) -> Option<bool>;
    /// Reads one line of stdin.
    fn line(&mut self) -> io::Result<String>;
    /// Lets some time pass.
    fn pause(&mut self, time: std::time::Duration);
}

impl dyn Terminal + '_ {
    /// One JSON document.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).map_err(|error| Failure::output(error.into()))?;
        self.words(&text)
    }

    /// Some lines on stdout.
    pub(crate) fn words(&mut self, text: &str) -> Result<(), Failure> {
        written(writeln!(self.out(), "{text}").and_then(|()| self.out().flush()))
    }

    /// Some lines on stderr, which nobody may be reading.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.err(), "{text}");
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::output(error)),
        _ => Ok(()),
    }
}

/// The process's own streams.
pub(crate) struct StandardTerminal {
    json: bool,
    out: io::Stdout,
    err: io::Stderr,
}

impl StandardTerminal {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: io::stdout(), err: io::stderr() }
    }
}

impl Terminal for StandardTerminal {
    fn json(&self) -> bool {
        self.json
    }

    fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    fn err(&mut self) -> &mut dyn Write {
        &mut self.err
    }

    fn watched(&self) -> bool {
        !self.json && self.err.is_terminal()
    }

    fn confirm(&mut self, question: &str) -> Option<bool> {
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let _ = write!(self.err, "{question} [y/N] ");
        let _ = self.err.flush();
        let answer = self.line().ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        io::Read::take(io::stdin().lock(), 4096).read_line(&mut line)?;
        Ok(line)
    }

    fn pause(&mut self, time: std::time::Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
pub(crate) mod buffer {
    use std::collections::VecDeque;

    use super::*;

    /// A terminal that keeps what it was told and gives prepared answers.
    #[derive(Default)]
    pub(crate) struct Buffer {
        pub(crate) json: bool,
        pub(crate) out: Vec<u8>,
        pub(crate) err: Vec<u8>,
        pub(crate) answer: Option<bool>,
        pub(crate) lines: VecDeque<String>,
        pub(crate) pauses: usize,
        pub(crate) watched: bool,
    }

    impl Buffer {
        pub(crate) fn said(&self) -> String {
            String::from_utf8(self.out.clone()).unwrap()
        }

        pub(crate) fn noted(&self) -> String {
            String::from_utf8(self.err.clone()).unwrap()
        }

        pub(crate) fn parsed(&self) -> serde_json::Value {
            serde_json::from_slice(&self.out).unwrap()
        }
    }

    impl Terminal for Buffer {
        fn json(&self) -> bool {
            self.json
        }

        fn out(&mut self) -> &mut dyn Write {
            &mut self.out
        }

        fn err(&mut self) -> &mut dyn Write {
            &mut self.err
        }

        fn watched(&self) -> bool {
            self.watched
        }

        fn confirm(&mut self, question: &str) -> Option<bool> {
            self.note_question(question);
            self.answer
        }

        fn line(&mut self) -> io::Result<String> {
            Ok(self.lines.pop_front().unwrap_or_default())
        }

        fn pause(&mut self, _: std::time::Duration) {
            self.pauses += 1;
        }
    }

    impl Buffer {
        fn note_question(&mut self, question: &str) {
            writeln!(self.err, "{question}").unwrap();
        }
    }
}
