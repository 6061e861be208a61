//! Checkpoints: signed heads of the tree (C2SP `tlog-checkpoint` in a C2SP `signed-note`), and the key that signs them.
//!
//! The formats are the libraries' (`signed_note`, `tlog_tiles`); the signatures are `aws-lc-rs`'s, through the traits that the former
//! leaves for that. A [`VerifiedCheckpoint`] exists only behind a good signature.

use std::{fmt, str::FromStr};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use signed_note::{Note, Signature, Verifier, VerifierList, is_key_name_valid, key_id};
use thiserror::Error;
use tlog_tiles::{Checkpoint, Hash};
use x509_parser::prelude::X509Certificate;

use super::tree::Head;
use crate::pin::Pin;

/// The longest checkpoint that is looked at, in bytes.
pub const MAX_CHECKPOINT: usize = 16 * 1024;
/// The signature type of C2SP `signed-note`.
const ED25519_TYPE: u8 = 0x01;
/// The common name of the key's certificate: the root certifies other keys too.
pub const KEY_NAME: &str = "Daypass checkpoint key";
/// OID of Ed25519 (RFC 8410 section 3).
const ED25519_OID: &str = "1.3.101.112";

/// Why a checkpoint or a key was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CheckpointError {
    /// Not a signed note with a checkpoint in it.
    #[error("is not a checkpoint: {0}")]
    Malformed(&'static str),
    /// Another log's.
    #[error("is of the ledger `{got}`, and `{expected}` is meant")]
    Origin {
        /// The ledger that is meant.
        expected: Origin,
        /// The one in it, shortened.
        got: String,
    },
    /// No key that is known has signed it.
    #[error("is signed by no checkpoint key that is known")]
    UnknownKey,
    /// A key that is known has not signed it as it stands.
    #[error("has a signature of a known checkpoint key that does not verify")]
    Signature,
    /// Not a key.
    #[error("is not a checkpoint key: {0}")]
    Key(&'static str),
}

/// The name of a ledger: the first line of its checkpoints, and the name of the key that signs them. It has the form of a URL without a scheme, and changes
/// when a ledger begins anew.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// The longest, in bytes.
    const MAX: usize = 512;

    /// The ledger of an issuer, told from those that it had before by `random`.
    pub fn of_issuer(issuer: &str, random: [u8; 10]) -> Result<Self, CheckpointError> {
        let host = issuer.strip_prefix("https://").unwrap_or(issuer).trim_end_matches('/');
        format!("{host}/ledger/{}", crate::encoding::base32(&random)).parse()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let good = text.len() <= Self::MAX && is_key_name_valid(text) && !text.chars().any(char::is_control);
        if good { Ok(Self(text.to_owned())) } else { Err(CheckpointError::Malformed("its origin is not a name")) }
    }
}

impl TryFrom<String> for Origin {
    type Error = CheckpointError;

    fn try_from(text: String) -> Result<Self, CheckpointError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public half of a key that signs checkpoints: Ed25519.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CheckpointKey([u8; 32]);

impl CheckpointKey {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The RFC 8037 thumbprint, by which the issuer's lists name it.
    pub fn thumbprint(&self) -> String {
        use crate::encoding::{base64url, sha256};
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(&self.0));
        base64url(&sha256(&[jwk.as_bytes()]))
    }

    fn typed(&self) -> Vec<u8> {
        [&[ED25519_TYPE][..], &self.0].concat()
    }

    fn id(&self, origin: &Origin) -> u32 {
        key_id(origin.as_str(), &self.typed())
    }

    /// As `signed-note` writes verifier keys: `name+hash+key`.
    pub fn verifier_key(&self, origin: &Origin) -> String {
        format!("{origin}+{:08x}+{}", self.id(origin), STANDARD.encode(self.typed()))
    }

    /// Reads [`Self::verifier_key`].
    pub fn from_verifier_key(text: &str) -> Result<(Origin, Self), CheckpointError> {
        let form = CheckpointError::Key("expected `name+hash+key` as C2SP signed-note writes verifier keys");
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(form) };
        let origin: Origin = name.parse().map_err(|_| form.clone())?;
        let bytes = STANDARD.decode(key).map_err(|_| form.clone())?;
        let Some((&ED25519_TYPE, key)) = bytes.split_first() else {
            return Err(CheckpointError::Key("only Ed25519 (type 1) is in use"));
        };
        let key = Self(key.try_into().map_err(|_| form.clone())?);
        match id == format!("{:08x}", key.id(&origin)) {
            true => Ok((origin, key)),
            false => Err(CheckpointError::Key("its hash is not of its name and key")),
        }
    }

    /// From the key's certificate (DER), when the root in `chain` that has the pin signed it for this purpose. Its time does not matter: what it signed stays
    /// signed.
    pub fn certified<C: AsRef<[u8]>>(certificate: &[u8], chain: &[C], pin: &Pin) -> Result<Self, CheckpointError> {
        let root = pin.find(chain).ok_or(CheckpointError::Key("the issuer's root is not in its chain"))?;
        let parse = |der| x509_parser::parse_x509_certificate(der).ok().map(|(_, parsed)| parsed);
        let unreadable = CheckpointError::Key("its certificate does not read");
        let (Some(own), Some(root)) = (parse(certificate), parse(root.as_ref())) else { return Err(unreadable) };
        if !signed_by_p256(&own, &root) {
            return Err(CheckpointError::Key("the issuer's root has not signed its certificate"));
        }
        let named = own.subject().iter_common_name().any(|name| name.as_str() == Ok(KEY_NAME));
        let spki = own.public_key();
        if !named || own.is_ca() || spki.algorithm.algorithm.to_id_string() != ED25519_OID {
            return Err(CheckpointError::Key("its certificate is for something else"));
        }
        spki.subject_public_key.data.as_ref().try_into().map(Self).map_err(|_| unreadable)
    }
}

/// The root is P-256 and signs with SHA-256, whatever else a certificate may say.
fn signed_by_p256(certificate: &X509Certificate<'_>, root: &X509Certificate<'_>) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &root.public_key().subject_public_key.data)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}

struct Known {
    origin: Origin,
    key: CheckpointKey,
}

impl Verifier for Known {
    fn name(&self) -> &str {
        self.origin.as_str()
    }

    fn key_id(&self) -> u32 {
        self.key.id(&self.origin)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key.0).verify(message, signature).is_ok()
    }
}

/// A key that signs checkpoints.
pub struct CheckpointSigner {
    pair: Ed25519KeyPair,
    public: CheckpointKey,
}

impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CheckpointSigner").field(&self.public).finish()
    }
}

impl CheckpointSigner {
    /// From PKCS#8 (RFC 8410 or 5958).
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CheckpointError> {
        let form = |_| CheckpointError::Key("expected an Ed25519 key in PKCS#8");
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(form)?;
        let public = pair.public_key().as_ref().try_into().map(CheckpointKey);
        Ok(Self { public: public.map_err(|_| CheckpointError::Key("expected an Ed25519 key in PKCS#8"))?, pair })
    }

    /// Its public half.
    pub fn public(&self) -> CheckpointKey {
        self.public
    }

    /// Signs a head. **Only for a head that the store has promised**: never two of one size.
    pub fn sign(&self, origin: &Origin, head: &Head) -> Result<String, CheckpointError> {
        let text = Checkpoint::new(origin.as_str(), head.size(), Hash(head.root()), "")
            .map_err(|_| CheckpointError::Malformed("its origin is not a name"))?
            .to_bytes();
        let signature = self.pair.sign(&text).as_ref().to_vec();
        let malformed = |_| CheckpointError::Malformed("its origin is not a name");
        let signature =
            Signature::new(origin.as_str().to_owned(), self.public.id(origin), signature).map_err(malformed)?;
        let note = Note::new(&text, &[signature]).map_err(malformed)?.to_bytes();
        String::from_utf8(note).map_err(|_| CheckpointError::Malformed("its origin is not a name"))
    }
}

/// A checkpoint that a known key has signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedCheckpoint {
    origin: Origin,
    head: Head,
    note: String,
}

impl VerifiedCheckpoint {
    /// Checks that `note` is a checkpoint of the ledger `origin`, signed by one of `keys`. Signatures of keys that are not known are
    /// passed over; one of a known key that does not verify refuses the whole.
    pub fn verify(note: &str, origin: &Origin, keys: &[CheckpointKey]) -> Result<Self, CheckpointError> {
        let (got, _) = peek(note)?;
        if got != *origin {
            let got = got.as_str().chars().take(200).collect();
            return Err(CheckpointError::Origin { expected: origin.clone(), got });
        }
        Self::verify_any(note, keys)
    }

    /// The same for a ledger of whatever name: for whoever goes by the keys alone.
    pub fn verify_any(note: &str, keys: &[CheckpointKey]) -> Result<Self, CheckpointError> {
        let (origin, head) = peek(note)?;
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed("it is not a note"))?;
        // The library's list owns its verifiers, so a set of keys that share a 32-bit id would be ambiguous: each is tried by itself.
        let mut good = false;
        for key in keys {
            let verifier = Known { origin: origin.clone(), key: *key };
            match parsed.verify(&VerifierList::new(vec![Box::new(verifier)])) {
                Ok(_) => good = true,
                Err(signed_note::NoteError::UnverifiedNote) => {}
                Err(_) => return Err(CheckpointError::Signature),
            }
        }
        if good { Ok(Self { origin, head, note: note.to_owned() }) } else { Err(CheckpointError::UnknownKey) }
    }

    /// Whose.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The tree that it signs.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The whole note, to be kept or handed on.
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// What a checkpoint says, **before** any signature was looked at.
pub fn peek(note: &str) -> Result<(Origin, Head), CheckpointError> {
    if note.len() > MAX_CHECKPOINT {
        return Err(CheckpointError::Malformed("it is too long"));
    }
    let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed("it is not a note"))?;
    let checkpoint =
        Checkpoint::from_bytes(parsed.text()).map_err(|_| CheckpointError::Malformed("its text is no tree head"))?;
    let head = Head::try_new(checkpoint.size(), checkpoint.hash().0)
        .map_err(|_| CheckpointError::Malformed("no tree has its size and root"))?;
    Ok((checkpoint.origin().parse()?, head))
}

#[cfg(test)]
mod tests;
