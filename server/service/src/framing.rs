//! Where one request ends and the next begins (RFC 9112 sections 2, 5, 6 and 7), for those requests that have one reading only.
//!
//! `hyper` repairs what RFC 9112 lets a server repair: it drops a `Content-Length` beside a `Transfer-Encoding`, takes `identity,
//! chunked` for `chunked`, a line feed for an end of line, and skips chunk extensions. Whoever stands in front of us may have repaired it
//! the other way, and then one connection carries somebody else's request (RFC 9112 section 11.2). No client of ours sends any of it, so
//! all of it is refused here, before `hyper` sees it. What passes is read by both alike, and everything else in a head is for `hyper` to judge.

use std::mem;

use thiserror::Error;

/// As much of a line as is kept. A header that decides framing is shorter, or refused.
const KEPT: usize = 512;
/// The most digits of a chunk's size: 64 bits.
const SIZE_DIGITS: u8 = 16;

/// What has more than one reading.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FramingError {
    /// RFC 9112 section 2.2.
    #[error("a line of the head ends without a carriage return, or has one inside")]
    LineEnd,
    /// RFC 9112 section 3.2: a target has no fragment; `hyper` would drop one.
    #[error("the target of the request has a fragment")]
    Fragment,
    /// RFC 9112 section 5.2.
    #[error("a header goes on in the next line")]
    Folded,
    /// RFC 9112 section 5.1: also whitespace before the colon.
    #[error("a line of the head is not a name, a colon and a value")]
    Field,
    /// RFC 9112 section 6.3, rules 3 and 5.
    #[error("the length of the body is given twice")]
    Twice,
    /// RFC 9112 section 6.3, rule 5.
    #[error("`Content-Length` is not a number")]
    Length,
    /// RFC 9112 section 6.1.
    #[error("`Transfer-Encoding` is not `chunked`")]
    Coding,
    /// RFC 9112 section 7.1; extensions and trailers are not served.
    #[error("the chunks of the body are not plain")]
    Chunk,
}

/// How far the reading of a connection has come.
pub struct Framing(State);

enum State {
    Head(Head),
    /// So many bytes of a body are to come.
    Length(u64),
    Chunk(Chunk),
    Refused(FramingError),
}

#[derive(Default)]
struct Head {
    line: Vec<u8>,
    carriage_return: bool,
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy)]
enum Chunk {
    Size { digits: u8, size: u64 },
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    DataEnded,
    End,
    Ended,
}

const FIRST_CHUNK: State = State::Chunk(Chunk::Size { digits: 0, size: 0 });

impl Default for Framing {
    fn default() -> Self {
        Self(State::Head(Head::default()))
    }
}

impl Framing {
    /// Whether more of a body is to come.
    pub fn is_inside_body(&self) -> bool {
        matches!(self.0, State::Length(_) | State::Chunk(_))
    }

    /// Looks at the next bytes of the connection; on an error also says how many of them were good. There is no way on after one.
    pub fn see(&mut self, bytes: &[u8]) -> Result<(), (usize, FramingError)> {
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            if let State::Head(head) = &mut self.0 {
                let plain = head.take_plain(rest);
                if plain > 0 {
                    rest = rest.get(plain..).unwrap_or_default();
                    continue;
                }
            }
            let whole = match &mut self.0 {
                State::Length(left) | State::Chunk(Chunk::Data(left)) => {
                    let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= u64::try_from(taken).unwrap_or(*left);
                    rest = rest.get(taken..).unwrap_or_default();
                    *left == 0
                }
                _ => {
                    if let Err(error) = self.take(*first) {
                        self.0 = State::Refused(error);
                        return Err((bytes.len() - rest.len(), error));
                    }
                    rest = behind;
                    false
                }
            };
            if whole {
                self.0 = match self.0 {
                    State::Chunk(_) => State::Chunk(Chunk::DataEnd),
                    _ => State::Head(Head::default()),
                };
            }
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) -> Result<(), FramingError> {
        match &mut self.0 {
            State::Head(head) => {
                if let Some(next) = head.take(byte)? {
                    self.0 = next;
                }
            }
            State::Chunk(chunk) => match chunk.take(byte)? {
                Some(next) => *chunk = next,
                None => self.0 = State::Head(Head::default()),
            },
            State::Refused(error) => return Err(*error),
            // Taken in one piece by the caller.
            State::Length(_) => {}
        }
        Ok(())
    }
}

impl Head {
    /// Takes what stands first and is nothing but a part of its line, in one piece; gives how much.
    fn take_plain(&mut self, bytes: &[u8]) -> usize {
        if self.carriage_return {
            return 0;
        }
        let plain = bytes.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n' | b'#')).count();
        let kept = plain.min(KEPT.saturating_sub(self.line.len()));
        self.line.extend_from_slice(bytes.get(..kept).unwrap_or_default());
        plain
    }

    fn take(&mut self, byte: u8) -> Result<Option<State>, FramingError> {
        match (mem::replace(&mut self.carriage_return, byte == b'\r'), byte) {
            (true, b'\n') => return self.end_line(),
            (true, _) | (false, b'\n') => return Err(FramingError::LineEnd),
            (false, b'\r') => {}
            (false, b'#') if !self.begun => return Err(FramingError::Fragment),
            (false, byte) if self.line.len() < KEPT => self.line.push(byte),
            (false, _) => {}
        }
        Ok(None)
    }

    fn end_line(&mut self) -> Result<Option<State>, FramingError> {
        let mut line = mem::take(&mut self.line);
        let ended = match (line.is_empty(), self.begun) {
            // RFC 9112 section 2.2 lets empty lines stand before a request.
            (true, false) => Ok(None),
            (true, true) => self.end().map(Some),
            (false, false) => {
                self.begun = true;
                Ok(None)
            }
            (false, true) => self.field(&line).map(|()| None),
        };
        // The next line takes its room.
        line.clear();
        self.line = line;
        ended
    }

    fn field(&mut self, line: &[u8]) -> Result<(), FramingError> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(FramingError::Folded);
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { return Err(FramingError::Field) };
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(FramingError::Field);
        }
        let value = trimmed(value);
        let cut = line.len() >= KEPT;
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok()).filter(|_| !cut).ok_or(FramingError::Length)?;
            if self.length.replace(length).is_some() {
                return Err(FramingError::Twice);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if cut || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingError::Coding);
            }
            if mem::replace(&mut self.chunked, true) {
                return Err(FramingError::Twice);
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<State, FramingError> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(FramingError::Twice),
            (None, true) => Ok(FIRST_CHUNK),
            (None | Some(0), false) => Ok(State::Head(Self::default())),
            (Some(length), false) => Ok(State::Length(length)),
        }
    }
}

impl Chunk {
    /// The next state; `None` where the body has ended.
    fn take(self, byte: u8) -> Result<Option<Self>, FramingError> {
        Ok(Some(match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeEnd(size),
            (Self::Size { digits: ..SIZE_DIGITS, size }, byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let Self::Size { digits, .. } = self else { return Err(FramingError::Chunk) };
                Self::Size { digits: digits + 1, size: size << 4 | digit }
            }
            (Self::SizeEnd(0), b'\n') => Self::End,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataEnded,
            (Self::DataEnded, b'\n') => Self::Size { digits: 0, size: 0 },
            (Self::End, b'\r') => Self::Ended,
            (Self::Ended, b'\n') => return Ok(None),
            _ => return Err(FramingError::Chunk),
        }))
    }
}

/// Without spaces and tabs around it (RFC 9112 section 5).
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn see(text: &str) -> Result<bool, FramingError> {
        let mut framing = Framing::default();
        let whole = framing.see(text.as_bytes()).map(|()| framing.is_inside_body());
        // Byte by byte it is the same.
        let mut framing = Framing::default();
        let bytes: Result<Vec<()>, _> = text.bytes().map(|byte| framing.see(&[byte])).collect();
        assert_eq!(
            whole.map_err(|(_, error)| error),
            bytes.map(|_| framing.is_inside_body()).map_err(|(_, error)| error)
        );
        whole.map_err(|(_, error)| error)
    }

    #[test]
    fn plain_requests_follow_each_other() {
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let chunked =
            "\r\nPOST / HTTP/1.1\r\ntransfer-encoding:chunked\r\n\r\n1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(see(&[get, post, chunked, get, post].concat()), Ok(false));
        assert_eq!(see(&post[..post.len() - 1]), Ok(true), "one byte short");
        assert_eq!(see(&chunked[..chunked.len() - 1]), Ok(true), "one byte short");
        // What looks like a head in a body is a body.
        assert_eq!(see("POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n \n\r\r\n:"), Ok(false));
    }

    #[test]
    fn whatever_has_two_readings_is_refused() {
        use FramingError as E;
        for (lines, expected) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", E::Twice),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", E::Twice),
            ("Content-Length: 1\r\nContent-Length: 1\r\n\r\n", E::Twice),
            ("Content-Length: 1\r\ncontent-LENGTH: 2\r\n\r\n", E::Twice),
            ("Content-Length: 1, 1\r\n\r\n", E::Length),
            ("Content-Length: +1\r\n\r\n", E::Length),
            ("Content-Length: 0x1\r\n\r\n", E::Length),
            ("Content-Length:\r\n\r\n", E::Length),
            ("Content-Length: 99999999999999999999\r\n\r\n", E::Length),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", E::Twice),
            ("Transfer-Encoding: identity, chunked\r\n\r\n", E::Coding),
            ("Transfer-Encoding: chunked, identity\r\n\r\n", E::Coding),
            ("Transfer-Encoding: gzip\r\n\r\n", E::Coding),
            ("Transfer-Encoding: \"chunked\"\r\n\r\n", E::Coding),
            ("Transfer-Encoding:\x0bchunked\r\n\r\n", E::Coding),
            ("Transfer-Encoding: chunked\r\n chunked\r\n\r\n", E::Folded),
            ("X: a\r\n\tb\r\n\r\n", E::Folded),
            ("Content-Length : 1\r\n\r\n", E::Field),
            ("Transfer-Encoding\t: chunked\r\n\r\n", E::Field),
            ("nothing\r\n\r\n", E::Field),
            (": x\r\n\r\n", E::Field),
            ("X: a\nContent-Length: 1\r\n\r\n", E::LineEnd),
            ("X: a\r\n\n", E::LineEnd),
            ("X: a\rContent-Length: 1\r\n\r\n", E::LineEnd),
        ] {
            assert_eq!(see(&format!("POST / HTTP/1.1\r\n{lines}")), Err(expected), "{lines:?}");
        }
        assert_eq!(see("GET /a#b HTTP/1.1\r\n\r\n"), Err(E::Fragment));
        for chunks in [
            "1;x=y\r\na\r\n",
            "1;\r\na\r\n",
            "1 \r\na\r\n",
            " 1\r\na\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "\r\n",
            "-1\r\n",
            "0x1\r\n",
            "00000000000000001\r\n",
            "0\r\nTrailer: x\r\n\r\n",
            "0\r\n\n",
        ] {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
            assert_eq!(see(&text), Err(E::Chunk), "{chunks:?}");
        }
    }

    #[test]
    fn it_keeps_little_and_stays_refused() {
        let mut framing = Framing::default();
        framing.see(b"GET / HTTP/1.1\r\nX: ").unwrap();
        framing.see(&vec![b'a'; 100_000]).unwrap();
        assert!(matches!(&framing.0, State::Head(head) if head.line.len() <= KEPT));
        assert_eq!(framing.see(b"aa\nb"), Err((2, FramingError::LineEnd)));
        assert_eq!(framing.see(b"GET"), Err((0, FramingError::LineEnd)));
        // Where the length stands beyond what is kept, it is refused rather than missed.
        let long = format!("POST / HTTP/1.1\r\nContent-Length:{}1\r\n\r\n", " ".repeat(KEPT));
        assert_eq!(see(&long), Err(FramingError::Length));
        let long = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked{}, identity\r\n\r\n", " ".repeat(KEPT));
        assert_eq!(see(&long), Err(FramingError::Coding));
    }
    proptest! {
        /// However a connection's bytes come in, they say the same.
        #[test]
        fn pieces_are_read_as_the_whole(
            parts in prop::collection::vec(prop_oneof![
                Just("POST / HTTP/1.1\r\n".to_owned()), Just("Content-Length: 3\r\n".to_owned()), Just("\r\n".to_owned()),
                Just("Transfer-Encoding: chunked\r\n".to_owned()), Just("0\r\n\r\n".to_owned()), Just("3\r\nabc\r\n".to_owned()),
                "[ -~\r\n]{0,6}",
            ], 0..12),
            cuts in prop::collection::vec(1..9_usize, 1..40),
        ) {
            let bytes = parts.concat().into_bytes();
            let mut whole = Framing::default();
            let expected = whole.see(&bytes);
            let (mut framing, mut seen, mut at) = (Framing::default(), Ok(()), 0);
            for length in cuts.iter().cycle() {
                if at >= bytes.len() || seen.is_err() {
                    break;
                }
                let end = bytes.len().min(at + length);
                seen = framing.see(&bytes[at..end]).map_err(|(good, error)| (at + good, error));
                at = end;
            }
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(framing.is_inside_body(), whole.is_inside_body());
        }
    }
}
