//! What commands print: text for people, JSON for programs.

use std::io::{IsTerminal as _, Write as _};

use daypass_proto::words::harmless;
use serde::Serialize;

use super::CommandError;

/// Prints one line.
pub(super) fn line(text: impl std::fmt::Display) -> Result<(), CommandError> {
    writeln!(std::io::stdout(), "{text}").map_err(CommandError::Output)
}

/// Prints a value as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CommandError::Output(error.into()))?;
    line(text)
}

/// Whether somebody is at the terminal who sees what is shown, and can answer.
pub(super) fn somebody_is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Asks whoever is at the terminal; where nobody is, or what was shown went elsewhere, the answer is no.
pub(super) fn confirm(question: &str) -> Result<bool, CommandError> {
    if !somebody_is_there() {
        return Ok(false);
    }
    let mut out = std::io::stdout();
    write!(out, "{question}").and_then(|()| out.flush()).map_err(CommandError::Output)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(CommandError::Output)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Asks before something that was shown is ended for good. Where JSON is wanted nobody is asked, and it takes `--yes`.
pub(super) fn ending(question: &str, json: bool) -> Result<(), CommandError> {
    if json || !confirm(question)? {
        return Err(CommandError::EndUnconfirmed);
    }
    Ok(())
}

/// What a machine says of itself, as it may stand on a terminal, and no longer than a line.
pub(super) fn untrusted(text: &str) -> String {
    untrusted_up_to(80, text)
}

/// The same with another length.
pub(super) fn untrusted_up_to(longest: usize, text: &str) -> String {
    harmless(&text.chars().take(longest).collect::<String>())
}

/// Prints rows under a heading, in columns as wide as their widest entry.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> Result<(), CommandError> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let print = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column))).collect();
        line(padded.join("  ").trim_end())
    };
    print(heading.to_vec())?;
    rows.iter().try_for_each(|row| print(row.iter().map(String::as_str).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_cannot_write_over_the_code() {
        let hostile = "laptop\r\n\u{1b}[2Acompare code    AAAA-AAAA\u{202e}\u{85}\u{200b}";
        let shown = untrusted(hostile);
        assert!(shown.starts_with("laptop\u{fffd}\u{fffd}\u{fffd}[2A"), "{shown:?}");
        assert!(shown.chars().all(|c| !c.is_control() && !matches!(c, '\u{202e}' | '\u{200b}')), "{shown:?}");
        assert_eq!(untrusted("büro-7 (Debian 12)"), "büro-7 (Debian 12)");
        assert_eq!(untrusted(&"x".repeat(5000)).len(), 80);
    }
}
