//! The server side of TLS: version 1.3 only, no early data.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
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
    /// A certificate under one of these CAs (DER), or no connection.
    Required(Vec<CertificateDer<'static>>),
}

/// A TLS 1.3 configuration. `chain` begins with the server's own certificate; what follows is sent as it stands, roots included.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: ClientCertificates,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        ClientCertificates::None => Arc::new(NoClientAuth),
        ClientCertificates::Required(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority).map_err(|error| TlsError::ClientCa(error.to_string()))?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| TlsError::ClientCa(error.to_string()))?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // INVARIANT: no early data. A request that comes before the handshake ends could be replayed (RFC 8446 section 8).
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
