//! `TPMT_PUBLIC` (TPM 2.0 Library, Part 2, section 12.2.4): the public area of an object, and its name.

use std::fmt;

use aws_lc_rs::digest;
use thiserror::Error;
use tpm2_protocol::{
    TpmUnmarshal as _,
    data::{TpmAlgId, TpmEccCurve, TpmtPublic, TpmuPublicId, TpmuPublicParms},
};

/// The largest public area that is looked at, in bytes.
const MAX_PUBLIC: usize = 1024;

/// Why a public area was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PublicError {
    /// Not a `TPMT_PUBLIC`, or bytes after it.
    #[error("is not a TPMT_PUBLIC")]
    Malformed,
    /// A name algorithm other than SHA-256 and SHA-384.
    #[error("has a name algorithm other than SHA-256 and SHA-384")]
    NameAlgorithm,
}

/// The NIST curves that are understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EccCurve {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// P-521.
    P521,
}

impl fmt::Display for EccCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        })
    }
}

impl EccCurve {
    /// The length of a coordinate in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// A public area with its bytes: names are computed over what was sent, never over what was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct TpmPublic {
    bytes: Vec<u8>,
    parsed: Box<TpmtPublic>,
    name_algorithm: NameAlgorithm,
}

/// The hash in a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NameAlgorithm {
    Sha256,
    Sha384,
}

impl TpmPublic {
    /// Reads a public area, whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, PublicError> {
        if bytes.len() > MAX_PUBLIC {
            return Err(PublicError::Malformed);
        }
        let (parsed, rest) = TpmtPublic::unmarshal(bytes).map_err(|_| PublicError::Malformed)?;
        if !rest.is_empty() {
            return Err(PublicError::Malformed);
        }
        let name_algorithm = match parsed.name_alg {
            TpmAlgId::Sha256 => NameAlgorithm::Sha256,
            TpmAlgId::Sha384 => NameAlgorithm::Sha384,
            _ => return Err(PublicError::NameAlgorithm),
        };
        Ok(Self { bytes: bytes.to_vec(), parsed: Box::new(parsed), name_algorithm })
    }

    /// The bytes as they were sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The object's name (Part 1, section 16): name algorithm, and the hash of the public area.
    pub fn name(&self) -> Vec<u8> {
        let (id, algorithm) = match self.name_algorithm {
            NameAlgorithm::Sha256 => (0x000b_u16, &digest::SHA256),
            NameAlgorithm::Sha384 => (0x000c, &digest::SHA384),
        };
        [&id.to_be_bytes()[..], digest::digest(algorithm, &self.bytes).as_ref()].concat()
    }

    /// The raw attributes (`TPMA_OBJECT`).
    pub fn attributes(&self) -> u32 {
        self.parsed.object_attributes.bits()
    }

    /// The authorization policy.
    pub fn policy(&self) -> &[u8] {
        &self.parsed.auth_policy
    }

    pub(super) fn parsed(&self) -> &TpmtPublic {
        &self.parsed
    }

    pub(super) fn name_algorithm(&self) -> NameAlgorithm {
        self.name_algorithm
    }

    /// Curve and coordinates (padded to the curve's size), where it is an ECC key on a curve that is understood.
    pub fn ecc_point(&self) -> Option<(EccCurve, Vec<u8>, Vec<u8>)> {
        let (TpmuPublicParms::Ecc(parameters), TpmuPublicId::Ecc(point)) =
            (&self.parsed.parameters, &self.parsed.unique)
        else {
            return None;
        };
        let curve = match parameters.curve_id {
            TpmEccCurve::NistP256 => EccCurve::P256,
            TpmEccCurve::NistP384 => EccCurve::P384,
            TpmEccCurve::NistP521 => EccCurve::P521,
            _ => return None,
        };
        Some((curve, padded(&point.x, curve.size())?, padded(&point.y, curve.size())?))
    }

    /// The modulus and exponent, where it is an RSA key.
    pub fn rsa(&self) -> Option<(Vec<u8>, u32)> {
        let (TpmuPublicParms::Rsa(parameters), TpmuPublicId::Rsa(modulus)) =
            (&self.parsed.parameters, &self.parsed.unique)
        else {
            return None;
        };
        // Part 2, section 12.2.3.5: zero stands for 2^16 + 1.
        let exponent = match parameters.exponent.value() {
            0 => 65_537,
            exponent => exponent,
        };
        (modulus.len() * 8 == usize::from(parameters.key_bits.value())).then(|| (modulus.to_vec(), exponent))
    }
}

/// `bytes` with leading zeros up to `size`; TPMs may leave them out.
pub(super) fn padded(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let missing = size.checked_sub(bytes.len())?;
    Some([&vec![0; missing][..], bytes].concat())
}
