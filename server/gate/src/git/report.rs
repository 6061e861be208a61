//! The answer to a push that is refused here: a real `report-status` (gitprotocol-pack(5)), so that git shows each ref with its
//! reason, and a message that it shows after `remote:`.

use super::{
    commands::PushHead,
    pkt_line::{MAX_DATA, write_data, write_flush},
};

/// The longest reason that is shown for one ref.
const MAX_REASON: usize = 400;

/// What is said of one ref.
pub struct Verdict<'a> {
    /// The ref.
    pub reference: &'a str,
    /// Why it is not updated.
    pub reason: String,
}

/// The body of the answer; `None` where the client understands no report, and has to be told by status.
pub fn report(head: &PushHead, verdicts: &[Verdict<'_>], message: &str) -> Option<Vec<u8>> {
    if !head.has("report-status") && !head.has("report-status-v2") {
        return None;
    }
    let mut status = Vec::new();
    // The pack was never looked at: nothing is wrong with it, and `unpack` says so.
    write_data(&mut status, b"unpack ok\n");
    for Verdict { reference, reason } in verdicts {
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect();
        write_data(&mut status, format!("ng {reference} {reason}\n").as_bytes());
    }
    write_flush(&mut status);
    if !head.has("side-band-64k") {
        return Some(status);
    }
    let mut out = Vec::new();
    for line in message.lines() {
        write_data(&mut out, &[&[2], line.as_bytes(), b"\n"].concat());
    }
    for chunk in status.chunks(MAX_DATA - 1) {
        write_data(&mut out, &[&[1], chunk].concat());
    }
    write_flush(&mut out);
    Some(out)
}
