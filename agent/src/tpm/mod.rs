//! The TPM: one small seam, behind which one thread owns the chip.
//!
//! ```text
//! everybody ──► dyn Tpm ──► TpmOwner (a queue with deadlines) ──► Chip (patience) ──► Connection (SRK, loaded keys, sessions)
//! ```
//!
//! What is *not* trusted here: that the chip is there, that it is the one that made the keys, that it answers in time, that a handle
//! still means what it meant. What is trusted: that it keeps keys inside, and signs only when asked.

mod activate;
mod attest;
mod chip;
mod connection;
mod endorsement;
mod error;
mod key_file;
mod keys;
mod owner;
mod pace;
mod reachability;
mod signature;
mod storage;
mod tcti;

#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin};

use daypass_proto::enrolment::Attestation;
use zeroize::Zeroizing;

pub use self::{
    error::{Authorized, TpmError},
    key_file::{KeyFile, KeyFileError},
    owner::{Rest, TpmOwner},
    pace::{Deadlines, Pace, real as real_pace},
    reachability::{Surroundings, explain_missing},
    tcti::{Tcti, TctiError},
};

/// How the TPM is reached and what may be changed in it.
#[derive(Clone, Debug)]
pub struct TpmConfig {
    /// The transport.
    pub tcti: Tcti,
    /// Whether a missing storage root key may be made persistent at `0x81000001`.
    pub provision_srk: bool,
}

/// An EK as the chip holds it.
#[derive(Clone, Debug)]
pub struct EndorsementKey {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// The certificate in NV, DER without padding, where there is one.
    pub certificate: Option<Vec<u8>>,
}

/// The three keys of one enrolment.
#[derive(Clone, Debug)]
pub struct DeviceKeys {
    /// The AK: restricted, signs what the TPM made.
    pub attestation: KeyFile,
    /// The identity key, for mTLS.
    pub identity: KeyFile,
    /// The proof key.
    pub proof: KeyFile,
}

/// What the issuer asks at enrolment.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// `TPMT_PUBLIC` of the EK that the credential was made for.
    pub endorsement_key: Vec<u8>,
    /// `TPMS_ID_OBJECT`.
    pub credential_blob: Vec<u8>,
    /// The encrypted seed.
    pub encrypted_secret: Vec<u8>,
    /// `extraData` for certifying the identity key.
    pub identity_extra: [u8; 32],
    /// `extraData` for certifying the proof key.
    pub proof_extra: [u8; 32],
    /// `extraData` for the quote.
    pub quote_extra: [u8; 32],
    /// The PCRs to quote.
    pub pcrs: Vec<u8>,
}

/// What the chip answers.
pub struct ChallengeAnswer {
    /// What the credential held.
    pub secret: Zeroizing<Vec<u8>>,
    /// Certification of the identity key.
    pub identity: Attestation,
    /// Certification of the proof key.
    pub proof: Attestation,
    /// The quote.
    pub quote: Quote,
}

/// A quote and the values it is over.
#[derive(Clone, Debug)]
pub struct Quote {
    /// Statement and signature.
    pub attestation: Attestation,
    /// The PCRs' values, in the order that was asked for.
    pub values: Vec<[u8; 32]>,
}

/// An answer that takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, TpmError>> + Send + 'a>>;

/// The hardware seam.
pub trait Tpm: Send + Sync {
    /// What the chip says of itself: manufacturer and firmware.
    fn describe(&self) -> Answer<'_, String>;
    /// Whether the chip can be used as it is: to enrol, or, where there are keys, with those. Signs once with the proof key.
    fn check<'a>(&'a self, keys: Option<&'a DeviceKeys>) -> Answer<'a, ()>;
    /// Every EK that has a certificate; one without where none has.
    fn endorsement_keys(&self) -> Answer<'_, Vec<EndorsementKey>>;
    /// Makes the three keys of an enrolment.
    fn create_keys(&self) -> Answer<'_, DeviceKeys>;
    /// Activates the credential, certifies both keys, quotes.
    fn answer<'a>(&'a self, keys: &'a DeviceKeys, challenge: &'a Challenge) -> Answer<'a, ChallengeAnswer>;
    /// Quotes `pcrs` of the SHA-256 bank.
    fn quote<'a>(&'a self, attestation: &'a KeyFile, pcrs: &'a [u8], extra: [u8; 32]) -> Answer<'a, Quote>;
    /// Signs a SHA-256 digest with ECDSA; gives `r ‖ s`.
    fn sign<'a>(&'a self, key: &'a KeyFile, digest: [u8; 32]) -> Answer<'a, [u8; 64]>;
    /// The same for callers that cannot wait asynchronously, such as a TLS handshake.
    fn sign_blocking(&self, key: &KeyFile, digest: [u8; 32]) -> Result<[u8; 64], TpmError>;
}
