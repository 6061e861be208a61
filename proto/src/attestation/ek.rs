//! Endorsement keys: the public area, the certificate, and how well both say which TPM this is (TCG EK Credential Profile 2.4).

use thiserror::Error;
use tpm2_protocol::data::{TpmAlgId, TpmtSymDefObject, TpmuPublicParms, TpmuSymKeyBits};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::X509Certificate,
    public_key::PublicKey,
};

use super::{
    chain::{ChainError, EkRoots, parse_certificate},
    public::{EccCurve, NameAlgorithm, PublicError, TpmPublic},
};
use crate::{encoding::sha256, enrolment::TrustTier, time::Timestamp};

/// fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt: what every EK has (section B.3 and B.4).
const NEEDED: u32 = 0x0003_0032;
/// sign, stClear, encryptedDuplication: what no EK has.
const FORBIDDEN: u32 = 0x0004_0804;
/// adminWithPolicy.
const ADMIN_WITH_POLICY: u32 = 0x0000_0080;
/// `PolicyA_SHA256`: `TPM2_PolicySecret(TPM_RH_ENDORSEMENT)` (section B.6.2).
const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7,
    0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// Extended key usage `tcg-kp-EKCertificate`.
const EKU_EK: &str = "2.23.133.8.1";
/// SAN attributes: manufacturer, model, version.
const SAN_MANUFACTURER: &str = "2.23.133.2.1";
const SAN_MODEL: &str = "2.23.133.2.2";

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
    /// Neither RSA 2048 to 4096 nor a NIST curve, with AES in CFB mode.
    #[error("the endorsement key is of a kind that is not supported")]
    Algorithm,
}

/// Why an EK certificate says nothing.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum EkCertificateError {
    /// There is none.
    #[error("there is no EK certificate")]
    Missing,
    /// Does not parse.
    #[error("the EK certificate does not parse")]
    Malformed,
    /// For another key.
    #[error("the EK certificate is for another key")]
    OtherKey,
    /// Not a certificate for an EK.
    #[error("the EK certificate has no extended key usage for endorsement keys")]
    Usage,
    /// A signing key: nothing can be activated against it.
    #[error("the EK certificate is for a key that signs, and cannot be activated against")]
    SigningOnly,
    /// A CA certificate.
    #[error("the EK certificate is a CA's")]
    Authority,
    /// The chain.
    #[error("the EK certificate {0}")]
    Chain(#[from] ChainError),
}

/// The key for `TPM2_MakeCredential`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EkKey {
    /// RSA: modulus and exponent.
    Rsa(Vec<u8>, u32),
    /// ECC: curve and coordinates.
    Ecc(EccCurve, Vec<u8>, Vec<u8>),
}

/// An EK's public area, of a form that the profile knows.
#[derive(Clone, Debug, PartialEq)]
pub struct EkPublic {
    public: TpmPublic,
    key: EkKey,
    symmetric_bits: u16,
}

impl EkPublic {
    /// Reads and checks a `TPMT_PUBLIC`.
    pub fn parse(bytes: &[u8]) -> Result<Self, EkError> {
        let public = TpmPublic::parse(bytes)?;
        let attributes = public.attributes();
        if attributes & NEEDED != NEEDED || attributes & FORBIDDEN != 0 {
            return Err(EkError::Attributes(attributes));
        }
        // Low-range templates have exactly PolicyA; high-range ones a PolicyOR whose value depends on the hash (section B.6).
        match (public.name_algorithm(), public.policy()) {
            (NameAlgorithm::Sha256, policy) if policy == POLICY_A_SHA256 && attributes & ADMIN_WITH_POLICY != 0 => {}
            (_, policy) if policy == policy_b(public.name_algorithm()) => {}
            _ => return Err(EkError::Policy),
        }
        let symmetric_bits = symmetric_bits(&public).ok_or(EkError::Algorithm)?;
        let key = match (public.rsa(), public.ecc_point()) {
            (Some((modulus, exponent)), _) if (256..=512).contains(&modulus.len()) => EkKey::Rsa(modulus, exponent),
            (_, Some((curve, x, y))) => EkKey::Ecc(curve, x, y),
            _ => return Err(EkError::Algorithm),
        };
        Ok(Self { public, key, symmetric_bits })
    }

    /// The key.
    pub fn key(&self) -> &EkKey {
        &self.key
    }

    /// The bits of its AES key, in CFB mode.
    pub fn symmetric_bits(&self) -> u16 {
        self.symmetric_bits
    }

    /// Whether its name algorithm is SHA-384 (else SHA-256).
    pub fn is_sha384(&self) -> bool {
        self.public.name_algorithm() == NameAlgorithm::Sha384
    }

    /// The EK hash: SHA-256 of its DER SubjectPublicKeyInfo.
    pub fn hash(&self) -> [u8; 32] {
        ek_hash(&self.key)
    }
}

/// `PolicyB`: PolicyOR of PolicyA and of the NV-index policy PolicyC (section B.6.4 to B.6.6), as published.
fn policy_b(algorithm: NameAlgorithm) -> &'static [u8] {
    const SHA256: [u8; 32] = [
        0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3, 0xa3, 0x85,
        0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
    ];
    const SHA384: [u8; 48] = [
        0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41,
        0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09,
        0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
    ];
    match algorithm {
        NameAlgorithm::Sha256 => &SHA256,
        NameAlgorithm::Sha384 => &SHA384,
    }
}

fn symmetric_bits(public: &TpmPublic) -> Option<u16> {
    let symmetric: &TpmtSymDefObject = match &public.parsed().parameters {
        TpmuPublicParms::Rsa(parameters) => &parameters.symmetric,
        TpmuPublicParms::Ecc(parameters) => &parameters.symmetric,
        _ => return None,
    };
    match (&symmetric.key_bits, symmetric.algorithm) {
        (TpmuSymKeyBits::Aes(bits), TpmAlgId::Aes) if matches!(bits.value(), 128 | 256) => Some(bits.value()),
        _ => None,
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

/// What a good EK certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Certified {
    is_virtual: bool,
}

/// An EK with what is known of it.
#[derive(Clone, Debug)]
pub struct AssessedEk {
    public: EkPublic,
    certificate: Result<Certified, EkCertificateError>,
}

impl AssessedEk {
    /// Assesses one EK. A certificate that says nothing leaves the EK unknown, and says why; a key that is no EK is refused.
    pub fn assess(public: &[u8], certificate: Option<&[u8]>, roots: &EkRoots, now: Timestamp) -> Result<Self, EkError> {
        let public = EkPublic::parse(public)?;
        let certificate =
            certificate.ok_or(EkCertificateError::Missing).and_then(|der| check_certificate(&public, der, roots, now));
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
            Ok(certified) if certified.is_virtual => TrustTier::Virtual,
            Ok(_) => TrustTier::EkChain,
            Err(_) if registered => TrustTier::EkRegistered,
            Err(_) => TrustTier::EkUnknown,
        }
    }

    /// Why the certificate says nothing, where it does not.
    pub fn certificate_error(&self) -> Option<&EkCertificateError> {
        self.certificate.as_ref().err()
    }
}

fn check_certificate(
    public: &EkPublic,
    der: &[u8],
    roots: &EkRoots,
    now: Timestamp,
) -> Result<Certified, EkCertificateError> {
    let certificate = parse_certificate(der).ok_or(EkCertificateError::Malformed)?;
    if !is_key_of(&certificate, &public.key) {
        return Err(EkCertificateError::OtherKey);
    }
    if certificate.is_ca() {
        return Err(EkCertificateError::Authority);
    }
    let usage = certificate.extended_key_usage().ok().flatten().ok_or(EkCertificateError::Usage)?;
    if !usage.value.other.iter().any(|oid| oid.to_id_string() == EKU_EK) {
        return Err(EkCertificateError::Usage);
    }
    // Section 3.5.4: keyEncipherment for RSA, keyAgreement for ECC. A key that may only sign is no EK.
    if let Ok(Some(key_usage)) = certificate.key_usage() {
        let agrees = match public.key {
            EkKey::Rsa(..) => key_usage.value.key_encipherment(),
            EkKey::Ecc(..) => key_usage.value.key_agreement(),
        };
        if !agrees {
            return Err(EkCertificateError::SigningOnly);
        }
    }
    roots.verify(&certificate, now)?;
    Ok(Certified { is_virtual: is_virtual(&certificate) })
}

fn is_key_of(certificate: &X509Certificate<'_>, key: &EkKey) -> bool {
    match (certificate.public_key().parsed(), key) {
        (Ok(PublicKey::RSA(rsa)), EkKey::Rsa(modulus, exponent)) => {
            let theirs: Vec<u8> = rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
            theirs == *modulus && rsa.try_exponent().ok() == Some(u64::from(*exponent))
        }
        (Ok(PublicKey::EC(point)), EkKey::Ecc(_, x, y)) => point.data() == [&[4], &x[..], y].concat(),
        _ => false,
    }
}

/// Makers whose TPMs are software or live in a hypervisor, by the vendor IDs of the TCG registry, and models that say so.
fn is_virtual(certificate: &X509Certificate<'_>) -> bool {
    let attribute = |oid: &str| {
        let name = certificate.subject_alternative_name().ok().flatten();
        let names = name.into_iter().flat_map(|san| san.value.general_names.iter());
        names
            .filter_map(|name| match name {
                GeneralName::DirectoryName(name) => Some(name),
                _ => None,
            })
            .flat_map(|name| name.iter_attributes())
            .find(|attribute| attribute.attr_type().to_id_string() == oid)
            .and_then(|attribute| attribute.as_str().ok())
            .map(str::to_ascii_lowercase)
    };
    const MAKERS: [&str; 3] = ["id:00001014", "id:474f4f47", "id:4d534654"];
    let maker = attribute(SAN_MANUFACTURER).is_some_and(|maker| MAKERS.contains(&maker.as_str()));
    let model =
        attribute(SAN_MODEL).is_some_and(|model| ["swtpm", "vtpm", "virtual"].iter().any(|word| model.contains(word)));
    maker || model
}

/// Extensions that an EK certificate may mark as critical and that are understood here.
pub(super) fn is_understood(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
    )
}
