//! From an EK certificate to a configured root. A web PKI verifier cannot do it: EK certificates have an empty subject, and mark
//! a SAN of directory names as critical. The signatures are the library's; the walk is ours, and short.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use thiserror::Error;
use x509_parser::{prelude::X509Certificate, public_key::PublicKey};

use super::ek::is_understood;
use crate::time::Timestamp;

/// The longest chain: EK, three intermediates, root.
const MAX_CHAIN: usize = 5;

/// Why a chain ends nowhere.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ChainError {
    /// No configured certificate has issued it.
    #[error("was not issued by any configured root or intermediate (issuer `{0}`)")]
    UnknownIssuer(String),
    /// A signature does not verify, or is of a kind that is not accepted, such as SHA-1.
    #[error("has a signature that does not verify, or is of a kind that is not accepted")]
    Signature,
    /// Before its begin or after its end.
    #[error("has a certificate in its chain that is valid from {from} to {to}, and it is {now}")]
    Validity {
        /// Begin.
        from: Timestamp,
        /// End.
        to: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// An issuer that is no CA.
    #[error("was issued by a certificate that is not a CA's")]
    NotAuthority,
    /// A critical extension that is not understood.
    #[error("has a critical extension that is not understood")]
    Critical,
    /// Longer than any real one.
    #[error("has a chain of more than {MAX_CHAIN} certificates")]
    TooLong,
}

/// A certificate as NV holds it: DER, and padding after it, which is cut off (0xff or 0x00, as the makers do).
pub(super) fn parse_certificate(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let padding = |byte: u8| rest.iter().all(|other| *other == byte);
    (padding(0xff) || padding(0x00)).then_some(certificate)
}

/// The roots and intermediates of TPM makers that the administrator configured. All of them are trusted to lead to a root; a chain ends
/// at one that is self-signed.
#[derive(Clone, Debug, Default)]
pub struct EkRoots(Vec<Vec<u8>>);

impl EkRoots {
    /// From certificates in DER; gives back how many did not parse.
    pub fn new(certificates: Vec<Vec<u8>>) -> (Self, usize) {
        let all = certificates.len();
        let good: Vec<_> = certificates.into_iter().filter(|der| parse_certificate(der).is_some()).collect();
        let bad = all - good.len();
        (Self(good), bad)
    }

    /// How many certificates there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none, so that no TPM is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Walks from `leaf` to a self-signed configured certificate, checking each step.
    pub(super) fn verify(&self, leaf: &X509Certificate<'_>, now: Timestamp) -> Result<(), ChainError> {
        let authorities: Vec<_> = self.0.iter().filter_map(|der| parse_certificate(der)).collect();
        let mut current = leaf;
        for _ in 1..MAX_CHAIN {
            check(current, now)?;
            let mut issuers = authorities
                .iter()
                .filter(|authority| authority.subject().as_raw() == current.issuer().as_raw())
                .peekable();
            if issuers.peek().is_none() {
                return Err(ChainError::UnknownIssuer(current.issuer().to_string().chars().take(200).collect()));
            }
            let issuer = issuers.find(|issuer| signed_by(current, issuer)).ok_or(ChainError::Signature)?;
            let may_sign =
                issuer.is_ca() && issuer.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
            if !may_sign {
                return Err(ChainError::NotAuthority);
            }
            if issuer.subject().as_raw() == issuer.issuer().as_raw() {
                return check(issuer, now);
            }
            current = issuer;
        }
        Err(ChainError::TooLong)
    }
}

fn check(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), ChainError> {
    let validity = certificate.validity();
    let (from, to) = (
        Timestamp::from_seconds(validity.not_before.timestamp()),
        Timestamp::from_seconds(validity.not_after.timestamp()),
    );
    if now < from || now > to {
        return Err(ChainError::Validity { from, to, now });
    }
    if certificate
        .extensions()
        .iter()
        .any(|extension| extension.critical && !is_understood(extension.parsed_extension()))
    {
        return Err(ChainError::Critical);
    }
    Ok(())
}

fn signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let curve = match issuer.public_key().parsed() {
        Ok(PublicKey::EC(point)) => Some(point.key_size()),
        Ok(PublicKey::RSA(_)) => None,
        _ => return false,
    };
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    // SHA-1 is not here, and will not be.
    let verifier: &'static dyn VerificationAlgorithm = match (algorithm.as_str(), curve) {
        ("1.2.840.113549.1.1.11", None) => &RSA_PKCS1_2048_8192_SHA256,
        ("1.2.840.113549.1.1.12", None) => &RSA_PKCS1_2048_8192_SHA384,
        ("1.2.840.113549.1.1.13", None) => &RSA_PKCS1_2048_8192_SHA512,
        ("1.2.840.10045.4.3.2", Some(256)) => &ECDSA_P256_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", Some(256)) => &ECDSA_P256_SHA384_ASN1,
        ("1.2.840.10045.4.3.2", Some(384)) => &ECDSA_P384_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", Some(384)) => &ECDSA_P384_SHA384_ASN1,
        ("1.2.840.10045.4.3.2", Some(521 | 528)) => &ECDSA_P521_SHA256_ASN1,
        ("1.2.840.10045.4.3.3", Some(521 | 528)) => &ECDSA_P521_SHA384_ASN1,
        ("1.2.840.10045.4.3.4", Some(521 | 528)) => &ECDSA_P521_SHA512_ASN1,
        _ => return false,
    };
    UnparsedPublicKey::new(verifier, &issuer.public_key().subject_public_key.data)
        .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .is_ok()
}
