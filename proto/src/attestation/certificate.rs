//! EK certificates (TCG EK Credential Profile 2.4, section 3): what one says, and whether that may be believed.
//!
//! Real ones are odd: NV pads them with 0xff, the subject is empty and the critical SAN holds a directory name with the TPM's maker, model
//! and version, some makers' names are sets in the wrong order. All of that is read. What is not taken is a certificate that could have been
//! made for another kind of key, or that does not say which TPM it is of.

use thiserror::Error;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::X509Certificate,
    public_key::PublicKey,
};

use super::{
    chain::{ChainError, EkRoots, Walk, parse_certificate},
    ek::{EkKey, ek_hash},
    public::EccCurve,
    template::EkTemplate,
};
use crate::{enrolment::TrustTier, time::Timestamp};

/// Extended key usage `tcg-kp-EKCertificate` (section 3.5.6).
const EKU_EK: &str = "2.23.133.8.1";
/// SAN attributes (section 3.1.2): manufacturer, model, version.
const SAN_MANUFACTURER: &str = "2.23.133.2.1";
const SAN_MODEL: &str = "2.23.133.2.2";
const SAN_VERSION: &str = "2.23.133.2.3";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// Why an EK certificate says nothing.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum EkCertificateError {
    /// There is none.
    #[error("there is no EK certificate")]
    Missing,
    /// Does not parse.
    #[error("the EK certificate does not parse")]
    Malformed,
    /// Two extensions of one kind, or one of those that count does not read: two readers could see two certificates.
    #[error("the EK certificate has an extension twice, or one that does not read")]
    Extensions,
    /// For another key.
    #[error("the EK certificate is for another key")]
    OtherKey,
    /// A key that no template makes.
    #[error("the EK certificate is for a key ({0}) that is of no EK template that is taken here")]
    Key(String),
    /// A CA certificate.
    #[error("the EK certificate is a CA's")]
    Authority,
    /// No key usage.
    #[error("the EK certificate has no key usage, and could be one for a key that signs")]
    NoKeyUsage,
    /// A key that does not decrypt: nothing can be activated against it.
    #[error(
        "the EK certificate is for a key with the usage `{found}` and without `{needed}`, which cannot be activated against"
    )]
    KeyUsage {
        /// What an EK of this kind has.
        needed: &'static str,
        /// As it stands there.
        found: String,
    },
    /// Not a certificate for an EK.
    #[error("the EK certificate has no extended key usage for endorsement keys ({EKU_EK})")]
    Usage,
    /// The SAN does not say which TPM this is, so that nobody knows whether it is a virtual one.
    #[error("the EK certificate does not name the TPM's {0} in its subject alternative name")]
    Unnamed(&'static str),
    /// The chain.
    #[error("the EK certificate {0}")]
    Chain(#[from] ChainError),
}

/// What a certificate says of the TPM, as text of whoever made the certificate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TpmDescription {
    /// The maker, as `id:` and its TCG vendor ID.
    pub manufacturer: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The firmware's version.
    pub version: Option<String>,
}

/// An EK certificate that reads. Nothing in it is believed yet.
#[derive(Clone, Debug)]
pub struct EkCertificate {
    der: Vec<u8>,
    padding: usize,
    subject: String,
    issuer: String,
    serial: String,
    tpm: TpmDescription,
    key: Option<EkKey>,
    key_name: String,
    key_usage: Option<String>,
    is_for_ek: bool,
    is_authority: bool,
    from: Timestamp,
    to: Timestamp,
    faults: Vec<EkCertificateError>,
}

/// What there is to say of an EK certificate under some roots, at some time.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Everything that is wrong with it, the first being what an enrolment is told; none where it is believed.
    pub faults: Vec<EkCertificateError>,
    /// Its way to a root.
    pub walk: Walk,
    /// How well it makes an EK known.
    pub tier: TrustTier,
}

impl EkCertificate {
    /// Reads one certificate in DER, padded as NV holds it or not.
    pub fn parse(bytes: &[u8]) -> Result<Self, EkCertificateError> {
        let certificate = parse_certificate(bytes).ok_or(EkCertificateError::Malformed)?;
        let length = certificate.as_raw().len();
        let key = key_of(&certificate);
        let key_usage = certificate.key_usage().ok().flatten().map(|usage| usage.value.to_string());
        let is_for_ek = certificate
            .extended_key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.other.iter().any(|oid| oid.to_id_string() == EKU_EK));
        let mut read = Self {
            der: bytes.get(..length).unwrap_or_default().to_vec(),
            padding: bytes.len().saturating_sub(length),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string(),
            tpm: description(&certificate),
            key_name: key.as_ref().map_or_else(|| name_of_key(&certificate), EkKey::to_string),
            key,
            key_usage,
            is_for_ek,
            is_authority: certificate.is_ca(),
            from: Timestamp::from_seconds(certificate.validity().not_before.timestamp()),
            to: Timestamp::from_seconds(certificate.validity().not_after.timestamp()),
            faults: Vec::new(),
        };
        read.faults = read.own_faults(&certificate);
        Ok(read)
    }

    /// What is wrong with it whatever its chain.
    fn own_faults(&self, certificate: &X509Certificate<'_>) -> Vec<EkCertificateError> {
        let mut faults = Vec::new();
        let unread = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::ParseError { .. });
        if certificate.extensions_map().is_err()
            || certificate.extensions().iter().any(|extension| unread(extension.parsed_extension()))
        {
            faults.push(EkCertificateError::Extensions);
        }
        if self.is_authority {
            faults.push(EkCertificateError::Authority);
        }
        if self.templates().next().is_none() {
            faults.push(EkCertificateError::Key(self.key_name.clone()));
        }
        // Section 3.5.4: keyEncipherment for RSA, keyAgreement for ECC. A key that may only sign is no EK.
        match certificate.key_usage() {
            Ok(Some(usage)) => {
                let (has, needed) = match self.key {
                    Some(EkKey::Ecc(..)) => (usage.value.key_agreement(), "Key Agreement"),
                    _ => (usage.value.key_encipherment(), "Key Encipherment"),
                };
                if !has {
                    faults.push(EkCertificateError::KeyUsage { needed, found: usage.value.to_string() });
                }
            }
            Ok(None) => faults.push(EkCertificateError::NoKeyUsage),
            // Said above already.
            Err(_) => {}
        }
        if !self.is_for_ek {
            faults.push(EkCertificateError::Usage);
        }
        if self.tpm.manufacturer.is_none() {
            faults.push(EkCertificateError::Unnamed("manufacturer"));
        }
        if self.tpm.model.is_none() {
            faults.push(EkCertificateError::Unnamed("model"));
        }
        faults
    }

    /// Whether it may be believed, under these roots, now.
    pub fn judge(&self, roots: &EkRoots, now: Timestamp) -> Judgement {
        let walk = match parse_certificate(&self.der) {
            Some(certificate) => roots.walk(&certificate, now),
            None => Walk { links: Vec::new(), end: Err(ChainError::Signature) },
        };
        let mut faults = self.faults.clone();
        faults.extend(walk.end.clone().err().map(EkCertificateError::Chain));
        let tier = match faults.is_empty() {
            true if self.is_of_virtual_tpm() => TrustTier::Virtual,
            true => TrustTier::EkChain,
            false => TrustTier::EkUnknown,
        };
        Judgement { faults, walk, tier }
    }

    /// Makers whose TPMs are software or live in a hypervisor, by the vendor IDs of the TCG registry, and models that say so.
    fn is_of_virtual_tpm(&self) -> bool {
        const MAKERS: [&str; 3] = ["id:00001014", "id:474f4f47", "id:4d534654"];
        let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().to_ascii_lowercase();
        let (maker, model) = (lower(&self.tpm.manufacturer), lower(&self.tpm.model));
        MAKERS.contains(&maker.as_str()) || ["swtpm", "vtpm", "virtual"].iter().any(|word| model.contains(word))
    }

    /// The EK, where it is of a kind that is understood.
    pub fn key(&self) -> Option<&EkKey> {
        self.key.as_ref()
    }

    /// The kind of key in words.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// The EK hash.
    pub fn hash(&self) -> Option<[u8; 32]> {
        self.key.as_ref().map(ek_hash)
    }

    /// The templates that such a key can be of.
    pub fn templates(&self) -> impl Iterator<Item = EkTemplate> + '_ {
        self.key.iter().flat_map(EkTemplate::for_key)
    }

    /// Bytes of padding behind it.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Its length in bytes, without padding.
    pub fn length(&self) -> usize {
        self.der.len()
    }

    /// Its subject; often empty.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Who issued it, by its own word.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Which TPM it says it is of.
    pub fn tpm(&self) -> &TpmDescription {
        &self.tpm
    }

    /// Its key usage in words, where it has one that reads.
    pub fn key_usage(&self) -> Option<&str> {
        self.key_usage.as_deref()
    }

    /// Whether its extended key usage says that it is for an EK.
    pub fn is_for_ek(&self) -> bool {
        self.is_for_ek
    }

    /// Whether it is a CA's.
    pub fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// Its begin and its end.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        (self.from, self.to)
    }
}

fn key_of(certificate: &X509Certificate<'_>) -> Option<EkKey> {
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(rsa) => {
            let modulus: Vec<u8> = rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
            Some(EkKey::Rsa(modulus, rsa.try_exponent().ok()?.try_into().ok()?))
        }
        PublicKey::EC(point) => {
            let parameters = certificate.public_key().algorithm.parameters.as_ref()?;
            let curve = match parameters.as_oid().ok()?.to_id_string().as_str() {
                P256 => EccCurve::P256,
                P384 => EccCurve::P384,
                P521 => EccCurve::P521,
                _ => return None,
            };
            let (4, coordinates) = point.data().split_first().map(|(form, rest)| (*form, rest))? else { return None };
            let (x, y) = coordinates.split_at_checked(curve.size())?;
            (y.len() == curve.size()).then(|| EkKey::Ecc(curve, x.to_vec(), y.to_vec()))
        }
        _ => None,
    }
}

/// For a key that is not understood: its algorithm.
fn name_of_key(certificate: &X509Certificate<'_>) -> String {
    format!("algorithm {}", certificate.public_key().algorithm.algorithm.to_id_string())
}

fn description(certificate: &X509Certificate<'_>) -> TpmDescription {
    let san = certificate.subject_alternative_name().ok().flatten();
    let attribute = |oid: &str| {
        san.iter()
            .flat_map(|san| san.value.general_names.iter())
            .filter_map(|name| match name {
                GeneralName::DirectoryName(name) => Some(name),
                _ => None,
            })
            .flat_map(|name| name.iter_attributes())
            .find(|attribute| attribute.attr_type().to_id_string() == oid)
            .and_then(|attribute| attribute.as_str().ok())
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    TpmDescription {
        manufacturer: attribute(SAN_MANUFACTURER),
        model: attribute(SAN_MODEL),
        version: attribute(SAN_VERSION),
    }
}

/// Extensions that an EK certificate or a maker's CA may mark as critical and that are understood here. Makers do mark their policies; any
/// policy does (RFC 5280 section 6.1.1 (c)), and what would demand one (policy constraints) is not understood.
pub(super) fn is_understood(extension: &ParsedExtension<'_>) -> bool {
    matches!(
        extension,
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_)
            | ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::CertificatePolicies(_)
    )
}
