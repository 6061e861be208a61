//! Bytes as text: base64url in JSON, Crockford base32 for people.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// SHA-256 over the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// base64url without padding (RFC 4648 section 5).
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads base64url without padding; refuses padding, other alphabets and stray trailing bits.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Bytes that stand in JSON as base64url.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64url(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        from_base64url(&text).map(Self).ok_or_else(|| de::Error::custom("expected base64url without padding"))
    }
}

/// Exactly `N` bytes that stand in JSON as base64url.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Hashes and coordinates, of which there are many, need no room of their own for it.
        let mut text = [0; 64];
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).ok().and_then(|length| text.get(..length));
        match written.map(std::str::from_utf8) {
            Some(Ok(text)) => serializer.serialize_str(text),
            _ => serializer.serialize_str(&base64url(&self.0)),
        }
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Bytes(bytes) = Bytes::deserialize(deserializer)?;
        let length = bytes.len();
        bytes.try_into().map(Self).map_err(|_| de::Error::custom(format!("expected {N} bytes, got {length}")))
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Crockford base32, lower case, most significant bits first. The bit count of `bytes` must be a multiple of five
/// for the text to be exact; both users here (40 and 80 bits) are.
pub fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let index = (buffer >> bits) & 31;
            if let Some(symbol) = CROCKFORD.get(index as usize) {
                out.push(char::from(*symbol));
            }
            buffer &= (1 << bits) - 1;
        }
    }
    out
}

/// Whether `text` is lower-case Crockford base32 of exactly `length` characters.
pub fn is_base32(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| CROCKFORD.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_exact_for_whole_groups() {
        assert_eq!(base32(&[0; 5]), "00000000");
        assert_eq!(base32(&[0xff; 5]), "zzzzzzzz");
        assert_eq!(base32(&[0x08, 0x42, 0x10, 0x84, 0x21]), "11111111");
    }

    #[test]
    fn json_bytes_refuse_padding_and_wrong_length() {
        assert!(serde_json::from_str::<Bytes>("\"AA==\"").is_err());
        assert_eq!(serde_json::from_str::<Bytes>("\"AA\"").unwrap().0, [0]);
        assert!(serde_json::from_str::<Bytes>("\"AB\"").is_err(), "stray trailing bits");
        assert!(serde_json::from_str::<Fixed<2>>("\"AA\"").is_err());
    }
}
