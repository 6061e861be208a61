//! Looking for secrets in whatever was written: known ones in every form that programs write bytes in, and the shapes of those that nobody
//! knows beforehand.
//!
//! Where a secret may stand is an explicit list, [`Home`], checked in both directions: what stands elsewhere is a leak, and what does not
//! stand where it should means that the search looked at the wrong things.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use daypass_proto::encoding::{base64url, from_base64url, sha256};

use crate::{Failure, Story, files};

/// What is compared first; no shorter secret is looked for.
const HEAD: usize = 8;

/// Something that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where: a path, or what printed it.
    pub place: String,
    /// What.
    pub bytes: Vec<u8>,
    /// Who may read it, where it is a file.
    pub mode: Option<u32>,
}

/// A place where a secret may stand, and must.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// The secret's name.
    pub secret: &'a str,
    /// The place, whole; with `*` at the end, whatever begins so.
    pub place: &'a str,
    /// The mode, where it is a file.
    pub mode: Option<u32>,
}

/// A secret that was found.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Found {
    /// Its name, or its shape.
    pub secret: String,
    /// In which form.
    pub form: &'static str,
    /// Where.
    pub place: String,
    mode: Option<u32>,
}

struct Needle {
    secret: String,
    form: &'static str,
    bytes: Vec<u8>,
}

/// What is looked for.
pub struct Secrets {
    needles: Vec<Needle>,
    by_head: HashMap<[u8; HEAD], Vec<usize>>,
    hashes: HashMap<[u8; 32], String>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new()
    }
}

impl Secrets {
    /// The shapes of secrets: private keys, codes, and (by [`Self::find`] itself) anything signed.
    pub fn new() -> Self {
        let mut secrets = Self { needles: Vec::new(), by_head: HashMap::new(), hashes: HashMap::new() };
        // PKCS#8 (RFC 5208) and SEC 1 (RFC 5915) of P-256, up to where the key begins.
        const PKCS8: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20";
        secrets.add("a private key", PKCS8);
        for kind in ["", "EC ", "RSA ", "ENCRYPTED "] {
            secrets.needle("a private key", "PEM", format!("-----BEGIN {kind}PRIVATE KEY-----").into_bytes());
        }
        secrets
    }

    /// A secret of 8 bytes or more.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        self.needle(name, "raw", secret.to_vec());
        for (skipped, form) in [(0, "base64url"), (1, "base64url, one byte on"), (2, "base64url, two bytes on")] {
            // In the middle of more: the characters at both ends belong to its neighbours too.
            let encoded = base64url(&[&vec![0; skipped], secret].concat());
            let from = if skipped == 0 { 0 } else { skipped + 1 };
            let to = encoded.len() - usize::from(!(skipped + secret.len()).is_multiple_of(3));
            let inner = encoded.get(from..to).unwrap_or_default();
            self.needle(name, form, inner.as_bytes().to_vec());
            let standard = inner.replace('-', "+").replace('_', "/");
            if standard != inner {
                self.needle(name, "base64", standard.into_bytes());
            }
        }
        let hex = secret.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        self.needle(name, "hex", hex.to_uppercase().into_bytes());
        self.needle(name, "hex", hex.into_bytes());
        for between in [",", ", "] {
            let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
            self.needle(name, "numbers", numbers.join(between).into_bytes());
        }
    }

    /// A secret of which only the SHA-256 is known, of 32 bytes.
    pub fn add_hash(&mut self, name: &str, hash: [u8; 32]) {
        self.hashes.insert(hash, name.to_owned());
    }

    /// How many are looked for by value.
    pub fn count(&self) -> usize {
        let named: BTreeSet<&str> = self.needles.iter().map(|needle| needle.secret.as_str()).collect();
        named.len() + self.hashes.len()
    }

    fn needle(&mut self, name: &str, form: &'static str, bytes: Vec<u8>) {
        let Some(head) = bytes.first_chunk::<HEAD>() else { return };
        self.by_head.entry(*head).or_default().push(self.needles.len());
        self.needles.push(Needle { secret: name.to_owned(), form, bytes });
    }

    /// Every secret that stands in it, each once.
    pub fn find(&self, written: &Written) -> Vec<Found> {
        let mut found = BTreeSet::new();
        let mut note = |secret: &str, form| {
            let (place, mode) = (written.place.clone(), written.mode);
            found.insert(Found { secret: secret.to_owned(), form, place, mode });
        };
        for (at, head) in written.bytes.windows(HEAD).enumerate() {
            let Ok(head) = <[u8; HEAD]>::try_from(head) else { continue };
            for needle in self.by_head.get(&head).into_iter().flatten().filter_map(|index| self.needles.get(*index)) {
                if written.bytes.get(at..).is_some_and(|rest| rest.starts_with(&needle.bytes)) {
                    note(&needle.secret, needle.form);
                }
            }
        }
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        for word in written.bytes.split(|byte| !in_word(byte)).filter_map(|word| std::str::from_utf8(word).ok()) {
            if is_signed(word) {
                note("something signed", "compact JWS");
            }
            if ["dpinv1_", "dpgate1_"].iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len() + 60) {
                note("a code", "text");
            }
            for part in word.split('.') {
                let bytes = if part.len() == 64 { from_hex(part) } else { None };
                let bytes = bytes.or_else(|| if part.len() == 43 { from_base64url(part) } else { None });
                if let Some(secret) = bytes.and_then(|bytes| self.hashes.get(&sha256(&[&bytes]))) {
                    note(secret, "by its hash");
                }
            }
        }
        if !self.hashes.is_empty() {
            for window in written.bytes.windows(32).filter(|window| !window.iter().all(u8::is_ascii)) {
                if let Some(secret) = self.hashes.get(&sha256(&[window])) {
                    note(secret, "raw, by its hash");
                }
            }
        }
        found.into_iter().collect()
    }

    /// Goes on only if every secret stands in its homes and nowhere else.
    pub fn stand_only(&self, written: &[Written], homes: &[Home<'_>]) -> Story {
        let found: Vec<Found> = written.iter().flat_map(|one| self.find(one)).collect();
        let at_home = |found: &Found, home: &Home<'_>| {
            let place = match home.place.strip_suffix('*') {
                Some(beginning) => found.place.starts_with(beginning),
                None => found.place == home.place,
            };
            place && found.secret == home.secret && (home.mode.is_none() || found.mode == home.mode)
        };
        let mut wrong: Vec<String> = found
            .iter()
            .filter(|found| !homes.iter().any(|home| at_home(found, home)))
            .map(|found| {
                let mode = found.mode.map_or_else(String::new, |mode| format!(" (mode {mode:o})"));
                format!("{} ({}) in {}{mode}", found.secret, found.form, found.place)
            })
            .collect();
        let empty = homes.iter().filter(|home| !found.iter().any(|found| at_home(found, home)));
        wrong.extend(empty.map(|home| format!("no {} in {}, where it should be", home.secret, home.place)));
        wrong.sort();
        wrong.dedup();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Failure::unexpected("secrets in their places only", wrong.join("\n")))
        }
    }
}

/// Three parts, of which the first is a JOSE header: a token, a proof, a key binding, a delegation.
fn is_signed(word: &str) -> bool {
    word.match_indices("eyJ").any(|(at, _)| {
        let mut parts = word.get(at..).unwrap_or_default().split('.');
        let (Some(head), Some(body), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let head = from_base64url(head).and_then(|head| serde_json::from_slice::<serde_json::Value>(&head).ok());
        head.is_some_and(|head| head.get("alg").is_some()) && body.len() > 20 && signature.len() >= 80
    })
}

/// Whether an object of JSON in base64url begins anywhere in it, as tokens and what is made of them do. `eyJ` alone stands in keys now and then.
pub fn has_encoded_object(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, found)| {
        let begin = text.get(at..at + 8 * found.len()).and_then(from_base64url);
        begin.is_some_and(|bytes| bytes.iter().all(|byte| (b' '..=b'~').contains(byte)))
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect()
}

/// Every file below `folder`.
pub fn written_below(folder: &Path) -> Result<Vec<Written>, Failure> {
    let written = files(folder)?.into_iter().map(|(path, bytes)| {
        let mode = fs::metadata(&path).map(|file| file.permissions().mode() & 0o7777).ok();
        Written { place: path.display().to_string(), bytes, mode }
    });
    Ok(written.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: impl Into<Vec<u8>>) -> Written {
        Written { place: "a log".to_owned(), bytes: bytes.into(), mode: Some(0o600) }
    }

    fn names(secrets: &Secrets, bytes: impl Into<Vec<u8>>) -> Vec<String> {
        let mut names: Vec<String> = secrets.find(&written(bytes)).into_iter().map(|found| found.secret).collect();
        names.dedup();
        names
    }

    #[test]
    fn a_token_is_told_from_a_key_in_which_its_first_letters_stand() {
        let token = base64url(br#"{"alg":"ES256","typ":"at+jwt"}"#);
        assert!(has_encoded_object(&format!("password=x~{token}.e30.c2ln")));
        assert!(!has_encoded_object("AAAAeyJ4_9AAAAAAAAAAAAAAAAAAAAAAAAAA") && !has_encoded_object("eyJ"));
    }

    #[test]
    fn a_planted_secret_is_found_in_every_form() {
        let secret: Vec<u8> = (0..16).map(|n| 200_u8.wrapping_add(n * 11)).collect();
        let mut secrets = Secrets::new();
        secrets.add("the secret", &secret);
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut plants: Vec<Vec<u8>> = vec![
            [b"before", &secret[..], b"behind"].concat(),
            format!("[{hex}]").into(),
            hex.to_uppercase().into(),
            format!("{secret:?}").into(),
            serde_json::to_vec(&secret).unwrap(),
        ];
        for before in 0..4 {
            for behind in 0..4 {
                let inside = [&vec![7; before], &secret[..], &vec![9; behind]].concat();
                let url = base64url(&inside);
                plants.push(url.replace('-', "+").replace('_', "/").into());
                plants.push(format!("key={url}&").into());
            }
        }
        for plant in plants {
            assert_eq!(names(&secrets, plant.clone()), ["the secret"], "{}", String::from_utf8_lossy(&plant));
        }
        assert!(names(&secrets, format!("{:?}", &secret[1..])).is_empty(), "part of it is not it");
    }

    #[test]
    fn what_is_secret_by_its_shape_is_found() {
        let secrets = Secrets::new();
        let token = format!("{}.{}.{}", base64url(br#"{"alg":"ES256"}"#), base64url(&[1; 30]), base64url(&[2; 64]));
        for (plant, name) in [
            (format!("Authorization: DPoP {token}"), "something signed"),
            (format!("{token}~{token}"), "something signed"),
            (format!("--code=dpinv1_{}", "x".repeat(100)), "a code"),
            ("-----BEGIN PRIVATE KEY-----".to_owned(), "a private key"),
        ] {
            assert_eq!(names(&secrets, plant.as_str()), [name], "{plant}");
        }
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_der();
        for plant in [key.clone(), base64url(&key).into(), format!("{key:?}").into()] {
            assert_eq!(names(&secrets, plant), ["a private key"]);
        }
        assert!(names(&secrets, "GET /team/app.git/info/refs 401 daypass.io.example").is_empty());
    }

    #[test]
    fn a_secret_of_which_only_the_hash_is_known_is_found() {
        let mut secrets = Secrets::new();
        secrets.add_hash("the secret", sha256(&[&[0xc5; 32]]));
        for plant in [vec![0xc5; 32], base64url(&[0xc5; 32]).into(), format!("x={}", "c5".repeat(32)).into()] {
            assert_eq!(names(&secrets, plant), ["the secret"]);
        }
    }

    #[test]
    fn homes_are_checked_in_both_directions() {
        let mut secrets = Secrets::new();
        secrets.add("the secret", b"0123456789");
        let home = |place, mode| [Home { secret: "the secret", place, mode }];
        let there = [written("0123456789")];
        assert!(secrets.stand_only(&there, &home("a log", Some(0o600))).is_ok());
        assert!(secrets.stand_only(&there, &home("a *", None)).is_ok());
        assert!(secrets.stand_only(&there, &home("a log", Some(0o640))).is_err(), "another mode");
        assert!(secrets.stand_only(&there, &home("another log", None)).is_err(), "another place");
        assert!(secrets.stand_only(&there, &[]).is_err(), "nowhere");
        assert!(secrets.stand_only(&[written("nothing")], &home("a log", None)).is_err(), "not where it should be");
    }
}
