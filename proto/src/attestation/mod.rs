//! What a TPM says, and whether to believe it. Every byte here comes from whoever wants to enrol, so it is parsed in safe
//! Rust, and nothing is used before the check that it depends on.
//!
//! The chain of belief: an EK is a TPM's because its certificate chains to a maker's root, or because its hash was registered.
//! The AK lives beside that EK because activation gave back a secret that only both together open. The identity and proof keys
//! live beside the AK because it certifies them, and it is *restricted*: it signs only what the TPM itself made. The PCRs are what
//! the AK quotes. All three signatures answer one nonce and one transcript.

mod certificate;
mod chain;
mod ek;
mod event_log;
mod keys;
mod public;
mod statement;
mod template;

use thiserror::Error;

pub use self::{
    certificate::{EkCertificate, EkCertificateError, Judgement, TpmDescription},
    chain::{ChainError, EkRoots, Link, Walk},
    ek::{AssessedEk, EkError, EkKey, EkPublic, ek_hash},
    event_log::{EventLogError, SecureBoot},
    keys::{DeviceKey, DeviceKeySet, KeyError, KeyRole},
    public::{EccCurve, PublicError, TpmPublic},
    statement::{StatementError, VerifiedQuote, verify_quote},
    template::EkTemplate,
};
use crate::{
    encoding::Bytes,
    enrolment::{Attestation, Purpose, extra_data},
};

/// Why an attestation was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AttestationError {
    /// The identity key's certification.
    #[error("the certification of the identity key {0}")]
    Identity(#[source] StatementError),
    /// The proof key's certification.
    #[error("the certification of the proof key {0}")]
    Proof(#[source] StatementError),
    /// The quote.
    #[error("the quote {0}")]
    Quote(#[source] StatementError),
}

/// What the three signatures must be about.
pub struct Expected<'a> {
    /// The keys, already checked.
    pub keys: &'a DeviceKeySet,
    /// The issuer's nonce.
    pub nonce: &'a [u8; 32],
    /// The transcript hash.
    pub transcript: &'a [u8; 32],
    /// The CSR, DER.
    pub csr: &'a [u8],
    /// The PCRs that were asked for.
    pub pcrs: &'a [u8],
}

/// What came back.
pub struct Evidence<'a> {
    /// Certification of the identity key.
    pub identity: &'a Attestation,
    /// Certification of the proof key.
    pub proof: &'a Attestation,
    /// The quote.
    pub quote: &'a Attestation,
    /// The quoted PCRs' values.
    pub pcr_values: &'a [[u8; 32]],
    /// The event log.
    pub event_log: Option<&'a Bytes>,
}

/// An enrolment whose signatures all hold: the keys live in one TPM, beside the AK that quoted these PCRs.
///
/// That the AK lives beside a known EK is what activation says, and is checked where the secret is.
#[derive(Clone, Debug)]
pub struct VerifiedAttestation {
    keys: DeviceKeySet,
    quote: VerifiedQuote,
}

impl VerifiedAttestation {
    /// The certified keys.
    pub fn keys(&self) -> &DeviceKeySet {
        &self.keys
    }

    /// What the quote said.
    pub fn quote(&self) -> &VerifiedQuote {
        &self.quote
    }
}

/// Checks both certifications and the quote.
pub fn verify_enrolment(
    expected: &Expected<'_>,
    evidence: &Evidence<'_>,
) -> Result<VerifiedAttestation, AttestationError> {
    let keys = expected.keys;
    let extra = |purpose| extra_data(purpose, expected.nonce, expected.transcript, expected.csr);
    statement::verify_certify(keys, keys.identity(), &extra(Purpose::CertifyIdentity), evidence.identity)
        .map_err(AttestationError::Identity)?;
    statement::verify_certify(keys, keys.proof(), &extra(Purpose::CertifyProof), evidence.proof)
        .map_err(AttestationError::Proof)?;
    let quote = verify_quote(
        keys.attestation(),
        expected.pcrs,
        evidence.pcr_values,
        &extra(Purpose::Quote),
        evidence.quote,
        evidence.event_log.map(|log| log.0.as_slice()),
    )
    .map_err(AttestationError::Quote)?;
    Ok(VerifiedAttestation { keys: keys.clone(), quote })
}

#[cfg(test)]
mod tests;
