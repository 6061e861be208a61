//! The head of a push: pkt-lines, the command list, and the report that refuses it.
//!
//! What is accepted is written as a head that reads as the same, takes nothing of the pack, and fits pkt-lines; so does the report. `a` takes
//! the rest as it stands; `b` makes a pkt-line of each line, and puts the flush behind them.

use daypass_gate::git::{Head, PushHead, Verdict, read_head, report};
use daypass_proto::authorization::GitAction;
use futures_util::FutureExt as _;

use crate::{choice, seed};

/// One head.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 2) else { return };
    let bytes = if kind == 0 { rest.to_vec() } else { packets(rest) };
    let Some((head, behind)) = read(&bytes) else { return };
    for command in head.commands() {
        let name = command.reference();
        assert!(name.starts_with("refs/") && name.len() <= 1024 && !name.contains("..") && !name.ends_with('/'));
        assert!(!name.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c)), "{name:?}");
        assert_ne!(command.action(), GitAction::Read);
    }
    let mut written = head.serialize();
    assert_eq!(lines(&written), head.serialize().len(), "nothing but pkt-lines");
    written.extend_from_slice(behind);
    let (again, left) = read(&written).expect("what goes upstream is understood as the same");
    assert_eq!(again, head);
    assert_eq!(left, behind, "the pack is left alone");

    let verdicts: Vec<_> = head
        .commands()
        .iter()
        .map(|command| Verdict { reference: command.reference(), reason: "not\ngranted".repeat(90) })
        .collect();
    if let Some(answer) = report(&head, &verdicts, "daypass: refused\nnothing was changed") {
        assert_eq!(lines(&answer), answer.len(), "nothing but pkt-lines");
    }
}

/// The head, and what stands behind it.
fn read(bytes: &[u8]) -> Option<(PushHead, &[u8])> {
    let mut rest = bytes;
    // Bytes in memory are always ready.
    match read_head(&mut rest).now_or_never()?.ok()? {
        Head::Push(head) => Some((head, rest)),
        Head::Probe => {
            assert!(bytes.starts_with(b"0000"));
            None
        }
    }
}

fn packets(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line.len() <= 65_516) {
        out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b"0000PACK");
    out
}

/// How many bytes are whole pkt-lines that git would take (gitprotocol-common(5)).
fn lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = bytes.get(at..at + 4) {
        at += match usize::from_str_radix(std::str::from_utf8(length).unwrap(), 16).unwrap() {
            0 => 4,
            length if (5..=65_520).contains(&length) => length,
            length => panic!("a pkt-line of {length} bytes"),
        };
    }
    at
}

/// Pushes of several kinds.
pub fn seeds() -> Vec<Vec<u8>> {
    let (zero, one, two) = ("0".repeat(40), "1".repeat(40), "2".repeat(40));
    let (long_one, long_two) = ("1".repeat(64), "2".repeat(64));
    let capabilities = "report-status-v2 side-band-64k object-format=sha1 agent=git/2.47";
    let several = format!(
        "shallow {one}\n{one} {two} refs/heads/a\0 {capabilities}\n{zero} {two} refs/heads/b\n{one} {zero} refs/tags/c"
    );
    let sha256 = format!("{long_one} {long_two} refs/heads/a\0report-status object-format=sha256");
    vec![
        seed(b'a', "0000"),
        seed(b'a', packets(several.as_bytes())),
        seed(b'b', several),
        seed(b'b', sha256),
        seed(b'b', format!("push-cert\0{capabilities}")),
        seed(b'b', format!("{one} {two} refs/heads/a\0push-options")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written may not outgrow a pkt-line: git's server would read the rest of it as something else.
    #[test]
    fn the_longest_first_line_still_fits() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let start = format!("{one} {two} refs/heads/a\0");
        for length in [100, 4_000, 5_000, 60_000, 65_516 - start.len()] {
            let agent = format!("agent={}", "x".repeat(length - 6));
            run(&seed(b'b', format!("{start}{agent}")));
        }
    }
}
