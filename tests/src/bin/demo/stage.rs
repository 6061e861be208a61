//! What the person who watches sees: a title, plain words, the real command, and what it printed.

use std::io::{IsTerminal as _, Write as _};

use daypass_tests::{Act, Failure, Ran};

/// Words longer than this are credentials and codes; their beginning and length are enough.
const LONGEST_WORD: usize = 96;
/// How much of such a word is shown.
const SHOWN: usize = 24;

/// The stage.
pub(crate) struct Stage {
    steps: u32,
    colours: bool,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { steps: 0, colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn line(&self, style: &str, text: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever closed the other end has seen enough.
        let _ = if self.colours { writeln!(out, "\x1b[{style}m{text}\x1b[0m") } else { writeln!(out, "{text}") };
    }

    /// The next step.
    pub(crate) fn title(&mut self, text: &str) {
        self.steps += 1;
        self.line("0", "");
        self.line("1", &format!("{}. {text}", self.steps));
    }

    /// Plain words.
    pub(crate) fn say(&self, text: &str) {
        self.line("0", &format!("   {text}"));
    }

    fn show(&self, who: &str, ran: &Ran) {
        self.line("36", &format!("   {who}$ {}", shortened(&ran.shown)));
        // Progress goes to standard error, before the outcome.
        let (progress, outcome) = (ran.complaints(), ran.text());
        for line in progress.lines().chain(outcome.lines()) {
            self.line("2", &format!("     {}", shortened(line)));
        }
    }

    /// Runs a command that must succeed, and shows it.
    pub(crate) fn does(&self, who: &str, act: &Act) -> Result<Ran, Failure> {
        let ran = act.run()?;
        self.show(who, &ran);
        ran.succeeded()
    }

    /// Runs a command that must be refused with these words, and shows it.
    pub(crate) fn is_refused(&self, who: &str, act: &Act, words: &[&str]) -> Result<Ran, Failure> {
        let ran = act.run()?;
        self.show(who, &ran);
        let ran = ran.refused(words)?;
        self.refused();
        Ok(ran)
    }

    /// Runs an HTTP request that must be refused with this status, and shows it.
    pub(crate) fn is_turned_away(
        &self,
        who: &str,
        request: &daypass_tests::Request,
        status: u16,
    ) -> Result<(), Failure> {
        let answer = request.send()?;
        self.line("36", &format!("   {who}$ {}", shortened(&answer.ran.shown)));
        let first = answer.ran.text();
        self.line("2", &format!("     {}", first.lines().next().unwrap_or_default()));
        for line in answer.body.lines() {
            self.line("2", &format!("     {}", shortened(line)));
        }
        answer.status(status)?;
        self.refused();
        Ok(())
    }

    fn refused(&self) {
        self.line("32", "   -> refused");
    }

    /// What went wrong.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.line("31", &format!("\nthe demo did not go as told: {failure}"));
    }
}

/// Cuts every long word.
fn shortened(line: &str) -> String {
    let cut = |word: &str| {
        let length = word.chars().count();
        if length <= LONGEST_WORD || word.starts_with('/') || word.starts_with("https://") {
            return word.to_owned();
        }
        let begin: String = word.chars().take(SHOWN).collect();
        format!("{begin}…[{length} characters]")
    };
    line.split(' ').map(cut).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn credentials_are_cut_and_words_are_not() {
        assert_eq!(shortened("a  plain line"), "a  plain line");
        let cut = shortened(&format!("password={}", "x".repeat(500)));
        assert!(cut.starts_with("password=xxx") && cut.ends_with("…[509 characters]"), "{cut}");
    }
}
