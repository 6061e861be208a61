//! A token's identifier: when it was made, then 72 random bits, 22 characters of base64url in all.
//!
//! With the time in front, what is looked up by identifier grows in one place instead of everywhere, and the token's event is found among those
//! of one second. The time is no secret: the token says its second too (`iat`).

use crate::clock::Environment;
use daypass_proto::{
    encoding::{base64url, from_base64url},
    time::Timestamp,
};

/// Of 16 bytes, those of the time; 40 bits of seconds last for 34,000 years.
const TIME: usize = 5;

/// A new one, of the second `at`.
pub fn new_jti(environment: &Environment, at: Timestamp) -> String {
    made_of(at, environment.fraction(), environment.random())
}

fn made_of(at: Timestamp, fraction: u16, random: [u8; 16]) -> String {
    let mut bytes = random;
    let time = at.seconds().to_be_bytes().into_iter().skip(size_of::<i64>() - TIME).chain(fraction.to_be_bytes());
    bytes.iter_mut().zip(time).for_each(|(byte, of_time)| *byte = of_time);
    base64url(&bytes)
}

/// When it was made; `None` of what is none.
pub(crate) fn made_at(jti: &str) -> Option<Timestamp> {
    let bytes: [u8; 16] = from_base64url(jti)?.try_into().ok()?;
    let seconds = bytes.iter().take(TIME).fold(0, |seconds, byte| seconds << 8 | i64::from(*byte));
    Some(Timestamp::from_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_when_it_was_made_and_nothing_else_does() {
        for seconds in [0, 1_790_000_000, 1_790_000_001, (1 << 40) - 1] {
            let at = Timestamp::from_seconds(seconds);
            let (one, other) = (made_of(at, 9, [7; 16]), made_of(at, 9, [8; 16]));
            assert_eq!((made_at(&one), made_at(&other), one.len()), (Some(at), Some(at), 22));
            assert_ne!(one, other);
        }
        let place = |seconds, fraction, random| {
            from_base64url(&made_of(Timestamp::from_seconds(seconds), fraction, [random; 16])).unwrap()
        };
        assert!(place(255, 1, 0xff) < place(255, 2, 0) && place(255, 0xffff, 0xff) < place(256, 0, 0));
        let long = "A".repeat(43);
        for none in ["", "x", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA=", long.as_str()] {
            assert_eq!(made_at(none), None, "{none}");
        }
    }
}
