//! Attestation structures (Part 2, section 10.12): certifications and quotes, each signed by the AK.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use thiserror::Error;
use tpm2_protocol::{
    TpmUnmarshal as _,
    data::{TpmAlgId, TpmsAttest, TpmtSignature, TpmuAttest, TpmuSignature},
};

use super::{
    event_log::{self, EventLogError, SecureBoot},
    keys::{DeviceKey, DeviceKeySet},
    public::padded,
};
use crate::{
    encoding::sha256,
    enrolment::Attestation,
    jose::EcPublicKey,
    token::{EventLogState, Posture},
};

/// The largest statement that is looked at, in bytes.
const MAX_STATEMENT: usize = 2048;

/// Why a statement was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum StatementError {
    /// Not a `TPMS_ATTEST` with the TPM's magic value, or bytes after it.
    #[error("is not a TPMS_ATTEST that a TPM made")]
    Malformed,
    /// Not a `TPMT_SIGNATURE` with ECDSA and SHA-256.
    #[error("is not signed with ECDSA and SHA-256")]
    SignatureForm,
    /// The signature does not verify under the AK.
    #[error("is not signed by the attestation key")]
    Signature,
    /// Another `extraData`: a replay, another purpose, another CSR.
    #[error("answers another challenge, or is for another purpose")]
    ExtraData,
    /// Another kind of statement.
    #[error("is a statement of another kind")]
    Kind,
    /// About another object.
    #[error("is about another key")]
    Subject,
    /// Another PCR selection than exactly the one asked for.
    #[error("is over other PCRs than those that were asked for")]
    Selection,
    /// Values that do not hash to the quoted digest.
    #[error("does not fit the PCR values that came with it")]
    Values,
}

pub(super) fn parse(
    ak: &EcPublicKey,
    extra: &[u8; 32],
    attestation: &Attestation,
) -> Result<TpmsAttest, StatementError> {
    let bytes = &attestation.attest.0;
    if bytes.len() > MAX_STATEMENT || attestation.signature.0.len() > MAX_STATEMENT {
        return Err(StatementError::Malformed);
    }
    verify_signature(ak, bytes, &attestation.signature.0)?;
    let (statement, rest) = TpmsAttest::unmarshal(bytes).map_err(|_| StatementError::Malformed)?;
    if !rest.is_empty() {
        return Err(StatementError::Malformed);
    }
    if *statement.extra_data != extra[..] {
        return Err(StatementError::ExtraData);
    }
    Ok(statement)
}

pub(super) fn verify_signature(ak: &EcPublicKey, message: &[u8], signature: &[u8]) -> Result<(), StatementError> {
    let (parsed, rest) = TpmtSignature::unmarshal(signature).map_err(|_| StatementError::SignatureForm)?;
    let TpmuSignature::Ecdsa(ecdsa) = parsed.signature else { return Err(StatementError::SignatureForm) };
    if !rest.is_empty() || ecdsa.hash != TpmAlgId::Sha256 {
        return Err(StatementError::SignatureForm);
    }
    let (Some(r), Some(s)) = (padded(&ecdsa.signature_r, 32), padded(&ecdsa.signature_s, 32)) else {
        return Err(StatementError::SignatureForm);
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ak.to_sec1())
        .verify(message, &[r, s].concat())
        .map_err(|_| StatementError::Signature)
}

/// `TPM2_Certify` of `subject` by the AK of `keys`.
pub(super) fn verify_certify(
    keys: &DeviceKeySet,
    subject: &DeviceKey,
    extra: &[u8; 32],
    attestation: &Attestation,
) -> Result<(), StatementError> {
    let statement = parse(keys.attestation().point(), extra, attestation)?;
    let TpmuAttest::Certify(certify) = statement.attested else { return Err(StatementError::Kind) };
    if certify.name[..] == subject.public().name() { Ok(()) } else { Err(StatementError::Subject) }
}

/// A quote whose signature, selection and values were checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedQuote {
    event_log: EventLogState,
    dropped: Option<EventLogError>,
    secure_boot: Option<bool>,
}

impl VerifiedQuote {
    /// What became of the event log.
    pub fn event_log(&self) -> EventLogState {
        self.event_log
    }

    /// Why the event log was dropped, where it was.
    pub fn dropped(&self) -> Option<&EventLogError> {
        self.dropped.as_ref()
    }

    /// The posture that this quote gives to a device of this tier.
    pub fn posture(&self, trust_tier: crate::enrolment::TrustTier) -> Posture {
        Posture { trust_tier, secure_boot: self.secure_boot, event_log: self.event_log }
    }
}

/// `TPM2_Quote` by the AK over exactly `pcrs` of the SHA-256 bank. A log that does not replay to the values is dropped, and said so.
pub fn verify_quote(
    ak: &DeviceKey,
    pcrs: &[u8],
    values: &[[u8; 32]],
    extra: &[u8; 32],
    attestation: &Attestation,
    log: Option<&[u8]>,
) -> Result<VerifiedQuote, StatementError> {
    let statement = parse(ak.point(), extra, attestation)?;
    let TpmuAttest::Quote(quote) = statement.attested else { return Err(StatementError::Kind) };
    let [selection] = &quote.pcr_select[..] else { return Err(StatementError::Selection) };
    if selection.hash != TpmAlgId::Sha256 || selected(&selection.pcr_select) != pcrs || pcrs.is_empty() {
        return Err(StatementError::Selection);
    }
    let concatenated: Vec<&[u8]> = values.iter().map(<[u8; 32]>::as_slice).collect();
    if values.len() != pcrs.len() || quote.pcr_digest[..] != sha256(&concatenated) {
        return Err(StatementError::Values);
    }
    Ok(match log.map(|log| event_log::replay(log, pcrs, values)) {
        None => VerifiedQuote { event_log: EventLogState::Absent, dropped: None, secure_boot: None },
        Some(Ok(SecureBoot(secure_boot))) => {
            VerifiedQuote { event_log: EventLogState::Replayed, dropped: None, secure_boot }
        }
        Some(Err(error)) => {
            VerifiedQuote { event_log: EventLogState::Dropped, dropped: Some(error), secure_boot: None }
        }
    })
}

/// The PCR numbers in a selection's bit map (Part 2, section 10.6.1), ascending.
pub(super) fn selected(map: &[u8]) -> Vec<u8> {
    (0_u8..)
        .zip(map)
        .flat_map(|(octet, bits)| (0..8).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| octet * 8 + bit))
        .collect()
}
