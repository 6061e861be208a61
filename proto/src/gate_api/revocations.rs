//! `GET /gate/v1/revocations`: JSON Lines, so that a list of any honest length arrives, and neither side holds its text.
//!
//! The first line says as of when and for what, then each line names one that is dead, and the last says how many there were: an answer
//! that was cut short, by whoever, is none.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    names::{DeviceId, GrantId},
    oauth_error::Reason,
    resource::Resource,
    time::Timestamp,
};

/// The longest line, in bytes. The first has every resource of a gate.
const MAX_LINE: usize = 256 * 1024;
/// The most that a gate takes. An issuer gives a device so many tokens only, so that more than this is no honest list.
pub const MAX_DEAD: usize = 1_000_000;
/// How much is written at a time, in bytes, about.
const BLOCK: usize = 64 * 1024;

/// What must be refused among all that had a token for these resources, live or ended no longer ago than
/// [`FLOW_OUTLIVES_TOKEN`](super::FLOW_OUTLIVES_TOKEN).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocations {
    /// The issuer's clock when it read its store.
    pub as_of: Timestamp,
    /// The resources that this gate guards today.
    pub resources: Vec<Resource>,
    /// Tokens that were revoked themselves, and whose device and grant are not dead anyway.
    pub tokens: Vec<RevokedToken>,
    /// Devices that may use none of theirs.
    pub devices: Vec<DeadDevice>,
    /// Grants under which none may be used.
    pub grants: Vec<DeadGrant>,
}

/// A token that must be refused before its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokedToken {
    /// Its `jti`.
    pub jti: String,
    /// Why.
    pub reason: Reason,
}

/// A device that may use none of its tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadDevice {
    /// Which.
    pub device: DeviceId,
    /// Why.
    pub reason: Reason,
}

/// A grant under which no token may be used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeadGrant {
    /// Which.
    pub grant: GrantId,
    /// Why.
    pub reason: Reason,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
enum Line {
    Begin { as_of: Timestamp, resources: Vec<Resource> },
    Token(RevokedToken),
    Device(DeadDevice),
    Grant(DeadGrant),
    End { dead: usize },
}

impl Revocations {
    /// Nothing is dead.
    pub const fn none(as_of: Timestamp, resources: Vec<Resource>) -> Self {
        Self { as_of, resources, tokens: Vec::new(), devices: Vec::new(), grants: Vec::new() }
    }

    /// How many are dead.
    pub const fn dead(&self) -> usize {
        self.tokens.len() + self.devices.len() + self.grants.len()
    }

    /// The answer, in blocks of whole lines.
    pub fn into_blocks(self) -> impl Iterator<Item = Result<Vec<u8>, serde_json::Error>> + Send {
        let end = Line::End { dead: self.dead() };
        let mut lines = std::iter::once(Line::Begin { as_of: self.as_of, resources: self.resources })
            .chain(self.devices.into_iter().map(Line::Device))
            .chain(self.grants.into_iter().map(Line::Grant))
            .chain(self.tokens.into_iter().map(Line::Token))
            .chain(std::iter::once(end));
        std::iter::from_fn(move || {
            let mut block = Vec::new();
            while block.len() < BLOCK {
                let Some(line) = lines.next() else { break };
                if let Err(error) = serde_json::to_writer(&mut block, &line) {
                    return Some(Err(error));
                }
                block.push(b'\n');
            }
            (!block.is_empty()).then_some(Ok(block))
        })
    }
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RevocationsError {
    /// A line that does not read, or stands where it must not.
    #[error("a line of the list does not read")]
    Line,
    /// A line that is too long.
    #[error("a line of the list is longer than {MAX_LINE} bytes")]
    Long,
    /// More than any issuer names.
    #[error("the list names more than {MAX_DEAD}")]
    Many,
    /// The end is missing, or counts otherwise.
    #[error("the list is not whole")]
    Short,
}

/// Reads an answer as it comes.
#[derive(Debug, Default)]
pub struct RevocationReader {
    /// What was seen of a line that has not ended.
    pending: Vec<u8>,
    revocations: Option<Revocations>,
    whole: bool,
}

impl RevocationReader {
    /// The next bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), RevocationsError> {
        let mut rest = bytes;
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(length);
            rest = behind.get(1..).unwrap_or_default();
            if self.pending.is_empty() {
                self.line(line)?;
            } else {
                self.hold(line)?;
                let pending = std::mem::take(&mut self.pending);
                self.line(&pending)?;
            }
        }
        self.hold(rest)
    }

    /// The answer, where its end has been seen.
    pub fn finish(self) -> Result<Revocations, RevocationsError> {
        match self.revocations {
            Some(revocations) if self.whole && self.pending.is_empty() => Ok(revocations),
            _ => Err(RevocationsError::Short),
        }
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), RevocationsError> {
        if self.pending.len() + part.len() > MAX_LINE {
            return Err(RevocationsError::Long);
        }
        self.pending.extend_from_slice(part);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), RevocationsError> {
        if self.whole {
            return Err(RevocationsError::Line);
        }
        let line = serde_json::from_slice(line).map_err(|_| RevocationsError::Line)?;
        let Some(so_far) = &mut self.revocations else {
            let Line::Begin { as_of, resources } = line else { return Err(RevocationsError::Line) };
            self.revocations = Some(Revocations::none(as_of, resources));
            return Ok(());
        };
        match line {
            Line::Begin { .. } => return Err(RevocationsError::Line),
            Line::End { dead } if dead == so_far.dead() => self.whole = true,
            Line::End { .. } => return Err(RevocationsError::Short),
            _ if so_far.dead() >= MAX_DEAD => return Err(RevocationsError::Many),
            Line::Token(token) => so_far.tokens.push(token),
            Line::Device(device) => so_far.devices.push(device),
            Line::Grant(grant) => so_far.grants.push(grant),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(tokens: usize) -> Revocations {
        let token = |n| RevokedToken { jti: format!("{n:022}"), reason: Reason::TokenRevoked };
        let mut sample =
            Revocations::none(Timestamp::from_seconds(5), vec!["https://git.example.com/".parse().unwrap()]);
        sample.tokens = (0..tokens).map(token).collect();
        sample.devices = vec![DeadDevice { device: DeviceId::from_random([1; 10]), reason: Reason::DeviceSuspended }];
        sample.grants = vec![DeadGrant { grant: GrantId::from_random([2; 10]), reason: Reason::GrantEnded }];
        sample
    }

    fn written(revocations: Revocations) -> Vec<u8> {
        revocations.into_blocks().map(Result::unwrap).collect::<Vec<_>>().concat()
    }

    fn read(text: &[u8], piece: usize) -> Result<Revocations, RevocationsError> {
        let mut reader = RevocationReader::default();
        text.chunks(piece).try_for_each(|piece| reader.take(piece))?;
        reader.finish()
    }

    #[test]
    fn a_list_has_a_beginning_an_end_and_a_line_for_each() {
        let text = String::from_utf8(written(sample(1))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"line":"begin","as_of":5,"resources":["https://git.example.com/"]}"#,
                r#"{"line":"device","device":"dev-040g2081040g2081","reason":"device_suspended"}"#,
                r#"{"line":"grant","grant":"gr-081040g2081040g2","reason":"grant_ended"}"#,
                r#"{"line":"token","jti":"0000000000000000000000","reason":"token_revoked"}"#,
                r#"{"line":"end","dead":3}"#,
            ]
        );
    }

    #[test]
    fn a_long_list_arrives_in_blocks_and_in_whatever_pieces() {
        // More than the eight megabytes that were once the end.
        let long = sample(150_000);
        assert!(long.clone().into_blocks().all(|block| block.unwrap().len() < BLOCK + MAX_LINE));
        let text = written(long.clone());
        assert!(text.len() > 8 * 1024 * 1024);
        assert_eq!(read(&text, 16 * 1024).unwrap(), long);
        assert_eq!(read(&written(sample(3)), 1).unwrap(), sample(3));
    }

    #[test]
    fn what_is_not_whole_is_no_answer() {
        let text = written(sample(2));
        for length in 0..text.len() {
            assert!(read(&text[..length], 64).is_err(), "cut after {length} bytes");
        }
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        for left_out in 0..lines.len() {
            let others = lines.iter().enumerate().filter(|(at, _)| *at != left_out);
            let others: Vec<u8> = others.flat_map(|(_, line)| line.iter().copied()).collect();
            assert!(read(&others, 64).is_err(), "without line {left_out}");
        }
        for behind in [&b"x"[..], b"\n", lines[1]] {
            assert!(read(&[&text, behind].concat(), 64).is_err());
        }
        assert_eq!(read(&[lines[0], lines[0]].concat(), 64), Err(RevocationsError::Line));
    }

    #[test]
    fn it_is_bounded() {
        assert_eq!(read(&vec![b' '; MAX_LINE + 1], 1000), Err(RevocationsError::Long));
        let mut reader = RevocationReader::default();
        let mut full = sample(0);
        full.tokens = vec![RevokedToken { jti: String::new(), reason: Reason::TokenRevoked }; MAX_DEAD - full.dead()];
        reader.revocations = Some(full);
        assert_eq!(
            reader.take(b"{\"line\":\"token\",\"jti\":\"j\",\"reason\":\"token_revoked\"}\n"),
            Err(RevocationsError::Many)
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _ = read(&text, piece);
        }
    }
}
