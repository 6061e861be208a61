//! From an EK certificate to a configured root. A web PKI verifier cannot do it: EK certificates have an empty subject, and mark
//! a SAN of directory names as critical. The signatures are the library's; the walk is ours, and short.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use thiserror::Error;
use x509_parser::{
    prelude::X509Certificate,
    public_key::PublicKey,
    x509::{SubjectPublicKeyInfo, X509Name},
};

use super::certificate::is_understood;
use crate::time::Timestamp;

const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
const SHA384_WITH_RSA: &str = "1.2.840.113549.1.1.12";
const SHA512_WITH_RSA: &str = "1.2.840.113549.1.1.13";
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_WITH_SHA384: &str = "1.2.840.10045.4.3.3";
const ECDSA_WITH_SHA512: &str = "1.2.840.10045.4.3.4";
/// The longest chain: EK, three intermediates, root.
const MAX_CHAIN: usize = 5;
/// The longest name that is repeated to anybody.
const LONGEST_NAME: usize = 200;

/// Why a chain ends nowhere.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum ChainError {
    /// No configured certificate has issued it.
    #[error("was not issued by any configured root or intermediate (issuer `{0}`)")]
    UnknownIssuer(String),
    /// A signature does not verify under any certificate with the issuer's name.
    #[error(
        "has a certificate in its chain whose signature is not by the configured certificate with its issuer's name"
    )]
    Signature,
    /// A signature of a kind that is not accepted, such as SHA-1.
    #[error("has a certificate in its chain that is signed with {0}, which is not accepted")]
    SignatureKind(String),
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
    /// An issuer that is no CA, or whose key usage does not let it sign certificates.
    #[error("was issued by a certificate that is not a CA's")]
    NotAuthority,
    /// A CA below one that lets no, or fewer, CAs stand below it.
    #[error("has more CAs in its chain than one of them allows")]
    PathLength,
    /// A critical extension that is not understood.
    #[error("has a critical extension that is not understood")]
    Critical,
    /// Longer than any real one.
    #[error("has a chain of more than {MAX_CHAIN} certificates")]
    TooLong,
}

/// One configured certificate on the way from an EK certificate to a root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its subject.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its end.
    pub to: Timestamp,
    /// How it signed what is below it.
    pub signature: String,
}

/// The way from a certificate to a root, as far as it goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Walk {
    /// The configured certificates on it, the issuer first. Each has signed what is below it.
    pub links: Vec<Link>,
    /// Whether the last one is a root; else why it goes no further.
    pub end: Result<(), ChainError>,
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
    /// From certificates in DER, each kept once; gives back how many did not parse.
    pub fn new(certificates: Vec<Vec<u8>>) -> (Self, usize) {
        let mut good: Vec<Vec<u8>> = Vec::new();
        let mut bad = 0;
        for der in certificates {
            if parse_certificate(&der).is_none() {
                bad += 1;
            } else if !good.contains(&der) {
                good.push(der);
            }
        }
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

    /// Walks from `leaf` to a self-signed configured certificate, checking each step. Makers have had roots with one name and one key in
    /// several certificates (renewed, cross-signed), so every certificate that did sign is tried; where none leads to a root, the way that
    /// went furthest says why.
    pub(super) fn walk(&self, leaf: &X509Certificate<'_>, now: Timestamp) -> Walk {
        let authorities: Vec<_> = self.0.iter().filter_map(|der| parse_certificate(der)).collect();
        climb(leaf, &authorities, 0, now)
    }
}

/// Walks on from `current`, below which there are `below` CAs.
fn climb(current: &X509Certificate<'_>, authorities: &[X509Certificate<'_>], below: usize, now: Timestamp) -> Walk {
    let ends = |error| Walk { links: Vec::new(), end: Err(error) };
    if let Err(error) = check(current, now) {
        return ends(error);
    }
    let named: Vec<_> =
        authorities.iter().filter(|authority| authority.subject().as_raw() == current.issuer().as_raw()).collect();
    if named.is_empty() {
        return ends(ChainError::UnknownIssuer(shortened(current.issuer())));
    }
    let kind = current.signature_algorithm.algorithm.to_id_string();
    let verifiable: Vec<_> = named
        .into_iter()
        .filter_map(|issuer| verifier(&kind, issuer.public_key()).map(|verifier| (issuer, verifier)))
        .collect();
    if verifiable.is_empty() {
        return ends(ChainError::SignatureKind(signature_name(current)));
    }
    let mut furthest = ends(ChainError::Signature);
    for (issuer, verifier) in verifiable {
        let (signed, signature) = (current.tbs_certificate.as_ref(), &current.signature_value.data);
        if !is_signed(signed, signature, issuer.public_key(), verifier) {
            continue;
        }
        let walk = through(current, issuer, authorities, below, now);
        if walk.end.is_ok() {
            return walk;
        }
        if walk.links.len() > furthest.links.len() {
            furthest = walk;
        }
    }
    furthest
}

/// Walks on through `issuer`, which has signed `current`.
fn through(
    current: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    authorities: &[X509Certificate<'_>],
    below: usize,
    now: Timestamp,
) -> Walk {
    let link = Link {
        subject: shortened(issuer.subject()),
        issuer: shortened(issuer.issuer()),
        to: Timestamp::from_seconds(issuer.validity().not_after.timestamp()),
        signature: signature_name(current),
    };
    let ends = |end| Walk { links: vec![link.clone()], end };
    if let Err(error) = may_sign(issuer, below) {
        return ends(Err(error));
    }
    if issuer.subject().as_raw() == issuer.issuer().as_raw() {
        return ends(check(issuer, now));
    }
    // The leaf, the CAs below this one, this one, and one more at least.
    if below + 3 > MAX_CHAIN {
        return ends(Err(ChainError::TooLong));
    }
    let Walk { mut links, end } = climb(issuer, authorities, below + 1, now);
    links.insert(0, link.clone());
    Walk { links, end }
}

/// RFC 5280 section 6.1.4 (k) to (n): a CA, whose key may sign certificates, and that lets as many CAs stand below it as there are.
fn may_sign(issuer: &X509Certificate<'_>, below: usize) -> Result<(), ChainError> {
    let constraints = match issuer.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => constraints.value,
        _ => return Err(ChainError::NotAuthority),
    };
    if !matches!(issuer.key_usage(), Ok(usage) if usage.as_ref().is_none_or(|usage| usage.value.key_cert_sign())) {
        return Err(ChainError::NotAuthority);
    }
    let longest = constraints.path_len_constraint.map(usize::try_from);
    if longest.is_some_and(|longest| longest.is_ok_and(|longest| below > longest)) {
        return Err(ChainError::PathLength);
    }
    Ok(())
}

fn shortened(name: &X509Name<'_>) -> String {
    name.to_string().chars().take(LONGEST_NAME).collect()
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

/// What verifies a signature of this kind (its object identifier) by that key; `None` for kinds that are not accepted.
fn verifier(kind: &str, key: &SubjectPublicKeyInfo<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let curve = match key.parsed() {
        Ok(PublicKey::EC(point)) => Some(point.key_size()),
        Ok(PublicKey::RSA(_)) => None,
        _ => return None,
    };
    // SHA-1 is not here, and will not be.
    Some(match (kind, curve) {
        (SHA256_WITH_RSA, None) => &RSA_PKCS1_2048_8192_SHA256,
        (SHA384_WITH_RSA, None) => &RSA_PKCS1_2048_8192_SHA384,
        (SHA512_WITH_RSA, None) => &RSA_PKCS1_2048_8192_SHA512,
        (ECDSA_WITH_SHA256, Some(256)) => &ECDSA_P256_SHA256_ASN1,
        (ECDSA_WITH_SHA384, Some(256)) => &ECDSA_P256_SHA384_ASN1,
        (ECDSA_WITH_SHA256, Some(384)) => &ECDSA_P384_SHA256_ASN1,
        (ECDSA_WITH_SHA384, Some(384)) => &ECDSA_P384_SHA384_ASN1,
        (ECDSA_WITH_SHA256, Some(521 | 528)) => &ECDSA_P521_SHA256_ASN1,
        (ECDSA_WITH_SHA384, Some(521 | 528)) => &ECDSA_P521_SHA384_ASN1,
        (ECDSA_WITH_SHA512, Some(521 | 528)) => &ECDSA_P521_SHA512_ASN1,
        _ => return None,
    })
}

/// The signature's algorithm in words.
fn signature_name(certificate: &X509Certificate<'_>) -> String {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    let known = match oid.as_str() {
        "1.2.840.113549.1.1.5" => "RSA and SHA-1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        SHA256_WITH_RSA => "RSA and SHA-256",
        SHA384_WITH_RSA => "RSA and SHA-384",
        SHA512_WITH_RSA => "RSA and SHA-512",
        "1.2.840.10045.4.1" => "ECDSA and SHA-1",
        ECDSA_WITH_SHA256 => "ECDSA and SHA-256",
        ECDSA_WITH_SHA384 => "ECDSA and SHA-384",
        ECDSA_WITH_SHA512 => "ECDSA and SHA-512",
        _ => return format!("algorithm {oid}"),
    };
    known.to_owned()
}

fn is_signed(
    signed: &[u8],
    signature: &[u8],
    key: &SubjectPublicKeyInfo<'_>,
    verifier: &'static dyn VerificationAlgorithm,
) -> bool {
    UnparsedPublicKey::new(verifier, &key.subject_public_key.data).verify(signed, signature).is_ok()
}

#[cfg(test)]
mod tests;
