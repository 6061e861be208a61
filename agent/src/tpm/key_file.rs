//! TSS2 key files: a TPM key as everybody's tools keep it, useless off the chip that made it.

use der::{
    Decode as _, EncodePem as _, Sequence,
    asn1::{Int, ObjectIdentifier, OctetString},
    pem::{LineEnding, PemLabel},
};
use thiserror::Error;
use tss_esapi::{
    structures::{Private, Public},
    traits::{Marshall as _, UnMarshall as _},
};

/// `id-loadablekey`: a key that its parent loads.
const LOADABLE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.10.1.3");
/// The persistent storage root key.
pub const SRK: u32 = 0x8100_0001;
/// The owner hierarchy: the parent is a primary made from the standard template.
pub const OWNER: u32 = 0x4000_0001;
/// Explanatory text before the PEM (RFC 7468 section 5.2), which other tools pass over: by which endorsement key the TPM is known that made
/// the key,
const MADE_BY: &str = "Endorsement-Key-SHA256: ";
/// and whether it is below a storage root key of another template than the standard one.
const BELOW_OTHER: &str = "Storage-Root-Key: other";
/// The largest file that is read, in bytes.
const MAX_FILE: usize = 8 * 1024;

/// Why a key file was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum KeyFileError {
    /// Not PEM with a TSS2 key.
    #[error("this is not a TSS2 PRIVATE KEY in PEM")]
    Form,
    /// A key of another kind, or under another parent.
    #[error("this TSS2 key is not a loadable key with an empty authorization under the storage root key")]
    Kind,
}

/// `TPMKey` (draft-woodhouse-cert-best-practice-01, appendix A).
#[derive(Sequence)]
struct TpmKey {
    kind: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    empty_auth: Option<bool>,
    parent: Int,
    public: OctetString,
    private: OctetString,
}

impl PemLabel for TpmKey {
    const PEM_LABEL: &'static str = "TSS2 PRIVATE KEY";
}

/// A key that only the TPM that made it can load.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFile {
    parent: u32,
    /// `TPMT_PUBLIC`.
    public: Vec<u8>,
    /// `TPM2B_PRIVATE` without its size: encrypted by the parent.
    private: Vec<u8>,
    origin: Origin,
}

/// Where a key came from. Evidence for people, and nothing else.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Origin {
    /// The EK hash of the TPM that made it, where that was told.
    pub(super) endorsement: Option<[u8; 32]>,
    /// Whether it was made below a storage root key of another template than the standard one.
    pub(super) below_other: bool,
}

impl Origin {
    fn to_text(self) -> String {
        let made_by = self.endorsement.map(|hash| format!("{MADE_BY}{}\n", hex::encode(hash)));
        let below = self.below_other.then(|| format!("{BELOW_OTHER}\n"));
        [made_by, below].into_iter().flatten().collect()
    }

    fn from_text(text: &str) -> Self {
        let endorsement = text.lines().find_map(|line| line.strip_prefix(MADE_BY)).and_then(|hash| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash.trim(), &mut bytes).ok().map(|()| bytes)
        });
        Self { endorsement, below_other: text.lines().any(|line| line.trim() == BELOW_OTHER) }
    }
}

impl KeyFile {
    pub(super) fn new(
        parent: u32,
        public: &Public,
        private: &Private,
        origin: Origin,
    ) -> Result<Self, tss_esapi::Error> {
        Ok(Self { parent, public: public.marshall()?, private: private.value().to_vec(), origin })
    }

    #[cfg(test)]
    pub(super) fn for_fake(public: Vec<u8>, private: Vec<u8>) -> Self {
        Self { parent: SRK, public, private, origin: Origin { endorsement: Some([7; 32]), below_other: true } }
    }

    /// `TPMT_PUBLIC`.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    pub(super) fn parent(&self) -> u32 {
        self.parent
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn parts(&self) -> Result<(Public, Private), tss_esapi::Error> {
        Ok((Public::unmarshall(&self.public)?, Private::try_from(self.private.clone())?))
    }

    /// As PEM.
    pub fn to_pem(&self) -> Result<String, KeyFileError> {
        let sized = |bytes: &[u8]| {
            let size = u16::try_from(bytes.len()).map_err(|_| KeyFileError::Form)?;
            OctetString::new([&size.to_be_bytes()[..], bytes].concat()).map_err(|_| KeyFileError::Form)
        };
        // An ASN.1 INTEGER is signed: a leading zero keeps 0x81000001 positive.
        let parent = self.parent.to_be_bytes();
        let parent = if self.parent > 0x7fff_ffff { [&[0], &parent[..]].concat() } else { parent.to_vec() };
        let key = TpmKey {
            kind: LOADABLE,
            empty_auth: Some(true),
            parent: Int::new(&parent).map_err(|_| KeyFileError::Form)?,
            public: sized(&self.public)?,
            private: sized(&self.private)?,
        };
        let pem = key.to_pem(LineEnding::LF).map_err(|_| KeyFileError::Form)?;
        Ok(self.origin.to_text() + &pem)
    }

    /// From PEM.
    pub fn from_pem(pem: &str) -> Result<Self, KeyFileError> {
        if pem.len() > MAX_FILE {
            return Err(KeyFileError::Form);
        }
        let (label, der) = der::pem::decode_vec(pem.as_bytes()).map_err(|_| KeyFileError::Form)?;
        if label != TpmKey::PEM_LABEL {
            return Err(KeyFileError::Form);
        }
        let key = TpmKey::from_der(&der).map_err(|_| KeyFileError::Form)?;
        let parent = key
            .parent
            .as_bytes()
            .iter()
            .try_fold(0_u64, |value, byte| (value < 1 << 32).then_some((value << 8) | u64::from(*byte)));
        let parent = parent.and_then(|parent| u32::try_from(parent).ok()).ok_or(KeyFileError::Kind)?;
        if key.kind != LOADABLE || key.empty_auth != Some(true) || !matches!(parent, SRK | OWNER) {
            return Err(KeyFileError::Kind);
        }
        let sized = |bytes: &[u8]| {
            let (size, rest) = bytes.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*size)) == rest.len()).then(|| rest.to_vec())
        };
        let origin = Origin::from_text(pem);
        match (sized(key.public.as_bytes()), sized(key.private.as_bytes())) {
            (Some(public), Some(private)) => Ok(Self { parent, public, private, origin }),
            _ => Err(KeyFileError::Form),
        }
    }
}
