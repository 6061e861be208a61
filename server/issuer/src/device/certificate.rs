//! Device certificates: short-lived, for the identity key, named by the `client_id` (RFC 8705 section 2.1.2).

use daypass_proto::{
    encoding::{Bytes, sha256},
    time::Timestamp,
};

use crate::{
    issuer::Issuer,
    keys::{KeyError, Subject, not_before},
    store::{CertificateRecord, Change, Device, Holder},
};

/// A certificate that was signed and is not yet in force: it is when its [`Change`] is part of a decision.
pub struct Issued {
    chain: Vec<Bytes>,
    hash: [u8; 32],
    record: CertificateRecord,
}

impl Issued {
    /// What puts it in force.
    pub fn change(&self) -> Change {
        Change::AddCertificate { hash: self.hash, record: self.record.clone() }
    }

    /// Leaf and device CA, DER.
    pub fn chain(self) -> Vec<Bytes> {
        self.chain
    }

    /// Its end.
    pub fn not_after(&self) -> Timestamp {
        self.record.not_after
    }
}

/// Signs a certificate for the device's identity key.
pub fn issue_certificate(issuer: &Issuer, device: &Device) -> Result<Issued, KeyError> {
    let keyring = issuer.keyring();
    let now = issuer.environment.now();
    let not_after = now.plus(issuer.config.device_certificate_lifetime);
    let subject = Subject::Client { uri: device.id.client_id(), name: device.id.to_string() };
    let authority = keyring.device_ca();
    let der = authority.sign(&issuer.environment, &subject, &device.identity.to_spki_der(), not_after)?;
    Ok(Issued {
        hash: sha256(&[&der]),
        chain: vec![Bytes(der), Bytes(authority.der().to_vec())],
        record: CertificateRecord { holder: Holder::Device(device.id.clone()), not_before: not_before(now), not_after },
    })
}
