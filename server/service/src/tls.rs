//! The server side of TLS: version 1.3 only, no early data.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    server::{
        ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use thiserror::Error;

/// Why no TLS configuration could be made.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Certificate and key do not fit, or cannot be used.
    #[error("could not use the server certificate and its key")]
    Certificate(#[source] rustls::Error),
    /// A client CA cannot be used.
    #[error("could not use the CA of the client certificates: {0}")]
    ClientCa(String),
}

/// What is asked of clients.
pub enum ClientCertificates {
    /// Nothing.
    None,
    /// A certificate under one of these CAs (DER), or no connection. Its time is *not* checked here: whoever maps it to rights checks that on
    /// every request, since a resumed session runs no verifier, and can say then what is wrong, which a TLS alert cannot.
    Required(Vec<CertificateDer<'static>>),
}

/// Everything of a client certificate is checked but whether this is its time: outside it, the chain must have been good when it was.
#[derive(Debug)]
struct AtAnyTime(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AtAnyTime {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        let its_time = match &verified {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => *not_after,
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                *not_before
            }
            _ => return verified,
        };
        self.0.verify_client_cert(end_entity, intermediates, its_time)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Replaces the certificate of a running listener: connections from then on see the new one.
#[derive(Debug)]
pub struct Reload(Arc<Current>);

impl Reload {
    /// Serves with another chain and key from now on.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = certified(chain, key)?;
        Ok(())
    }
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<CertifiedKey>, TlsError> {
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map(Arc::new).map_err(TlsError::Certificate)
}

/// A TLS 1.3 configuration. `chain` begins with the server's own certificate; what follows is sent as it stands, roots included.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: ClientCertificates,
) -> Result<Arc<ServerConfig>, TlsError> {
    reloadable_server_config(chain, key, clients).map(|(config, _)| config)
}

/// The same, with a handle to replace the certificate.
pub fn reloadable_server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: ClientCertificates,
) -> Result<(Arc<ServerConfig>, Reload), TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        ClientCertificates::None => Arc::new(NoClientAuth),
        ClientCertificates::Required(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority).map_err(|error| TlsError::ClientCa(error.to_string()))?;
            }
            let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| TlsError::ClientCa(error.to_string()))?;
            Arc::new(AtAnyTime(inner))
        }
    };
    let current = Arc::new(Current(RwLock::new(certified(chain, key)?)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // INVARIANT: no early data. A request that comes before the handshake ends could be replayed (RFC 8446 section 8).
    config.max_early_data_size = 0;
    Ok((Arc::new(config), Reload(current)))
}
