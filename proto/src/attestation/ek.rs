//! Endorsement keys: the public area, and with the certificate, how well both say which TPM this is (TCG EK Credential Profile 2.4).

use std::fmt;

use thiserror::Error;

use super::{
    certificate::{EkCertificate, EkCertificateError},
    chain::EkRoots,
    public::{EccCurve, PublicError, TpmPublic},
    template::{EkTemplate, Miss},
};
use crate::{encoding::sha256, enrolment::TrustTier, time::Timestamp};

/// Why an EK was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum EkError {
    /// The public area.
    #[error("the endorsement key {0}")]
    Public(#[from] PublicError),
    /// Attributes of another kind of key.
    #[error(
        "the endorsement key has attributes {0:#010x}, which are not those of an EK: activation would prove nothing"
    )]
    Attributes(u32),
    /// A policy that is not one of the profile's.
    #[error("the endorsement key has another policy than the TCG profile's")]
    Policy,
    /// Neither RSA 2048 to 4096 nor P-256 or P-384, or with another name algorithm than its template has.
    #[error("the endorsement key is of a kind that is not supported")]
    Algorithm,
    /// Another symmetric algorithm than its template has, or a scheme, which no template has.
    #[error("the endorsement key has other parameters than its TCG template")]
    Parameters,
}

/// The key for `TPM2_MakeCredential`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EkKey {
    /// RSA: modulus and exponent.
    Rsa(Vec<u8>, u32),
    /// ECC: curve and coordinates.
    Ecc(EccCurve, Vec<u8>, Vec<u8>),
}

impl fmt::Display for EkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(modulus, _) => write!(f, "RSA {}", modulus.len() * 8),
            Self::Ecc(curve, ..) => write!(f, "ECC {curve}"),
        }
    }
}

/// An EK's public area, of a form that the profile knows.
#[derive(Clone, Debug, PartialEq)]
pub struct EkPublic {
    key: EkKey,
    template: EkTemplate,
}

impl EkPublic {
    /// Reads and checks a `TPMT_PUBLIC`.
    pub fn parse(bytes: &[u8]) -> Result<Self, EkError> {
        let public = TpmPublic::parse(bytes)?;
        let key = match (public.rsa(), public.ecc_point()) {
            (Some((modulus, exponent)), _) => EkKey::Rsa(modulus, exponent),
            (_, Some((curve, x, y))) => EkKey::Ecc(curve, x, y),
            _ => return Err(EkError::Algorithm),
        };
        let template = EkTemplate::of(&public, &key).map_err(|miss| match miss {
            Miss::Kind => EkError::Algorithm,
            Miss::Policy => EkError::Policy,
            Miss::Attributes => EkError::Attributes(public.attributes()),
            Miss::Parameters => EkError::Parameters,
        })?;
        Ok(Self { key, template })
    }

    /// The key.
    pub fn key(&self) -> &EkKey {
        &self.key
    }

    /// The template that it was made from.
    pub fn template(&self) -> EkTemplate {
        self.template
    }

    /// The EK hash: SHA-256 of its DER SubjectPublicKeyInfo.
    pub fn hash(&self) -> [u8; 32] {
        ek_hash(&self.key)
    }
}

/// SHA-256 of the DER SubjectPublicKeyInfo of an EK: the only form in which an EK is stored.
pub fn ek_hash(key: &EkKey) -> [u8; 32] {
    sha256(&[&key.to_spki_der()])
}

impl EkKey {
    /// The DER SubjectPublicKeyInfo (RFC 3279, RFC 5480).
    pub fn to_spki_der(&self) -> Vec<u8> {
        spki_der(self)
    }
}

fn spki_der(key: &EkKey) -> Vec<u8> {
    const RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let (algorithm, bits) = match key {
        EkKey::Rsa(modulus, exponent) => {
            let integers = [der_integer(modulus), der_integer(&exponent.to_be_bytes())].concat();
            (RSA.to_vec(), der(0x30, &integers))
        }
        EkKey::Ecc(curve, x, y) => {
            let curve: &[u8] = match curve {
                EccCurve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
                EccCurve::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
                EccCurve::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
            };
            (der(0x30, &[EC, curve].concat()), [&[4], &x[..], y].concat())
        }
    };
    der(0x30, &[algorithm, der(0x03, &[&[0], &bits[..]].concat())].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = match significant.as_slice() {
        [] => vec![tag, 0],
        [short] if *short < 0x80 => vec![tag, *short],
        long => [&[tag, 0x80 | u8::try_from(long.len()).unwrap_or(0x7f)], long].concat(),
    };
    [head, content.to_vec()].concat()
}

fn der_integer(bytes: &[u8]) -> Vec<u8> {
    let trimmed: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    let sign = trimmed.first().is_none_or(|first| *first >= 0x80);
    der(0x02, &[if sign { &[0][..] } else { &[] }, &trimmed].concat())
}

/// An EK with what is known of it.
#[derive(Clone, Debug)]
pub struct AssessedEk {
    public: EkPublic,
    certificate: Result<TrustTier, EkCertificateError>,
}

impl AssessedEk {
    /// Assesses one EK. A certificate that says nothing leaves the EK unknown, and says why; a key that is no EK is refused.
    pub fn assess(public: &[u8], certificate: Option<&[u8]>, roots: &EkRoots, now: Timestamp) -> Result<Self, EkError> {
        let public = EkPublic::parse(public)?;
        let certificate = certificate.ok_or(EkCertificateError::Missing).and_then(|der| {
            let certificate = EkCertificate::parse(der)?;
            if certificate.key() != Some(&public.key) {
                return Err(EkCertificateError::OtherKey);
            }
            let judged = certificate.judge(roots, now);
            judged.faults.into_iter().next().map_or(Ok(judged.tier), Err)
        });
        Ok(Self { public, certificate })
    }

    /// The EK.
    pub fn public(&self) -> &EkPublic {
        &self.public
    }

    /// How well it is known; `registered` where its hash was registered beforehand. A virtual TPM stays one however good its chain:
    /// whoever runs the host holds its keys.
    pub fn tier(&self, registered: bool) -> TrustTier {
        match &self.certificate {
            Ok(tier) => *tier,
            Err(_) if registered => TrustTier::EkRegistered,
            Err(_) => TrustTier::EkUnknown,
        }
    }

    /// Why the certificate says nothing, where it does not.
    pub fn certificate_error(&self) -> Option<&EkCertificateError> {
        self.certificate.as_ref().err()
    }
}
