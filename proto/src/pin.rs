//! Trust in an issuer before anything else is known of it: the pin of its root key.
//!
//! An invitation carries SHA-256 of the issuer root's SubjectPublicKeyInfo. A server is the issuer when the chain that it
//! sends contains a certificate with that key *and* the server's own certificate verifies under it, for the host that was
//! asked for. No other root is consulted, and there is no trust on first use.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::encoding::sha256;

/// SHA-256 of the DER SubjectPublicKeyInfo of an issuer's root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// The pin of a certificate, or `None` when it does not parse.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        rest.is_empty().then(|| Self(sha256(&[certificate.tbs_certificate.subject_pki.raw])))
    }

    /// The certificate of `chain` that has this pin.
    pub fn find<'a, C: AsRef<[u8]>>(&self, chain: &'a [C]) -> Option<&'a C> {
        chain.iter().find(|certificate| Self::of_certificate(certificate.as_ref()) == Some(*self))
    }
}

/// A [`ServerCertVerifier`] that trusts exactly the root with a pin, wherever in the chain the server sent it.
#[derive(Debug)]
pub struct PinnedRootVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedRootVerifier {
    /// A verifier for `pin` with the algorithms of `provider`.
    pub fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { pin, provider, algorithms }
    }
}

impl ServerCertVerifier for PinnedRootVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let root = self.pin.find(intermediates).ok_or(TlsError::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| TlsError::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Authority {
        der: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["issuer.test".into()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
        Authority { der, leaf: leaf.der().clone() }
    }

    fn check(pin: Pin, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], name: &'static str) -> bool {
        PinnedRootVerifier::new(pin, Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .verify_server_cert(
                leaf,
                rest,
                &ServerName::try_from(name).unwrap(),
                &[],
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000)),
            )
            .is_ok()
    }

    #[test]
    fn only_a_chain_under_the_pinned_root_is_the_issuer() {
        let (ours, other) = (authority(), authority());
        let pin = Pin::of_certificate(&ours.der).unwrap();
        assert!(check(pin, &ours.leaf, std::slice::from_ref(&ours.der), "issuer.test"));
        assert!(!check(pin, &ours.leaf, std::slice::from_ref(&ours.der), "elsewhere.test"), "another host");
        assert!(!check(pin, &ours.leaf, &[], "issuer.test"), "the root was not sent");
        assert!(!check(pin, &other.leaf, std::slice::from_ref(&other.der), "issuer.test"), "another root");
        assert!(
            !check(pin, &other.leaf, &[other.der.clone(), ours.der.clone()], "issuer.test"),
            "our root merely shown"
        );
    }
}
