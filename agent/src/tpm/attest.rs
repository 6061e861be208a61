//! Certifying and quoting: statements that the restricted AK signs, each over the `extraData` that the issuer's challenge asks for.

use daypass_proto::{encoding::Bytes, enrolment::Attestation};
use tss_esapi::{
    Error as TssError, abstraction,
    interface_types::{algorithm::HashingAlgorithm, session_handles::AuthSession},
    structures::{Attest, Data, PcrSelectionList, PcrSlot, Signature},
    traits::Marshall as _,
};

use super::{
    KeyFile, Quote,
    connection::{Connection, ecdsa_sha256},
    error::TpmError,
};

fn statement((attest, signature): (Attest, Signature)) -> Result<Attestation, TssError> {
    Ok(Attestation { attest: Bytes(attest.marshall()?), signature: Bytes(signature.marshall()?) })
}

impl Connection {
    /// `TPM2_Certify` of `subject` by the AK.
    pub(super) fn certify(
        &mut self,
        attestation: &KeyFile,
        subject: &KeyFile,
        extra: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let failed = |error| TpmError::from_tss("certify a key", error);
        let extra = Data::try_from(extra.to_vec()).map_err(failed)?;
        let ak = self.load(attestation, &[])?;
        let subject = self.load(subject, &[ak])?;
        let made = self.with_room("certify a key", &[ak, subject], |context| {
            context.execute_with_sessions((Some(AuthSession::Password), Some(AuthSession::Password), None), |context| {
                context.certify(subject.into(), ak, extra.clone(), ecdsa_sha256())
            })
        })?;
        statement(made).map_err(failed)
    }

    /// `TPM2_Quote`, and the values of the PCRs. A PCR that changes in between gives a quote that does not fit, and the issuer says so.
    pub(super) fn quote(&mut self, attestation: &KeyFile, pcrs: &[u8], extra: [u8; 32]) -> Result<Quote, TpmError> {
        let failed = |error| TpmError::from_tss("quote", error);
        let slots = pcrs
            .iter()
            .map(|pcr| 1_u32.checked_shl(u32::from(*pcr)).and_then(|bit| PcrSlot::try_from(bit).ok()))
            .collect::<Option<Vec<_>>>()
            .ok_or(TpmError::Unexpected("the issuer asked for a PCR that does not exist"))?;
        let selection =
            PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots).build().map_err(failed)?;
        let extra = Data::try_from(extra.to_vec()).map_err(failed)?;
        let values = abstraction::pcr::read_all(&mut self.context, selection.clone()).map_err(failed)?;
        let bank = values
            .pcr_bank(HashingAlgorithm::Sha256)
            .ok_or(TpmError::Unexpected("there is no SHA-256 bank of PCRs"))?;
        let values = slots
            .iter()
            .map(|slot| bank.get_digest(*slot).and_then(|digest| digest.value().try_into().ok()))
            .collect::<Option<Vec<[u8; 32]>>>()
            .ok_or(TpmError::Unexpected("a PCR of the SHA-256 bank cannot be read"))?;
        let ak = self.load(attestation, &[])?;
        let made = self.with_room("quote", &[ak], |context| {
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.quote(ak, extra.clone(), ecdsa_sha256(), selection.clone())
            })
        })?;
        Ok(Quote { attestation: statement(made).map_err(failed)?, values })
    }
}
