//! The certificate that a client has shown, and what is asked of it on every request of its connection.

use daypass_proto::encoding::sha256;

/// What is asked of a client certificate again and again, worked out once from its DER.
#[derive(Debug)]
pub struct ClientCertificate {
    hash: [u8; 32],
    names: [u8; 32],
}

impl ClientCertificate {
    /// SHA-256 of its DER.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// SHA-256 over whom it names, and by which CA: all certificates of one holder have the same.
    pub fn names(&self) -> [u8; 32] {
        self.names
    }
}

impl From<Vec<u8>> for ClientCertificate {
    fn from(der: Vec<u8>) -> Self {
        let hash = sha256(&[&der]);
        let names = match x509_parser::parse_x509_certificate(&der) {
            Ok((_, parsed)) => sha256(&[parsed.issuer().as_raw(), parsed.subject().as_raw()]),
            Err(_) => hash,
        };
        Self { hash, names }
    }
}
