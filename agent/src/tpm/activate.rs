//! `TPM2_ActivateCredential`: the one command here whose answer is a secret, so a salted session encrypts it on the bus.

use tss_esapi::{
    Context, Error as TssError,
    attributes::SessionAttributesBuilder,
    constants::SessionType,
    handles::{AuthHandle, KeyHandle},
    interface_types::{
        algorithm::HashingAlgorithm,
        session_handles::{AuthSession, PolicySession},
    },
    structures::{Digest, DigestList, EncryptedSecret, IdObject, Nonce, SymmetricDefinition},
};
use zeroize::Zeroizing;

use super::{
    Challenge, KeyFile,
    connection::Connection,
    endorsement::Template,
    error::{Authorized, TpmError},
};

/// `PolicyC_SHA384`: TPM2_PolicyAuthorizeNV of the EK policy index (EK Credential Profile, section B.6.5).
const POLICY_C_SHA384: [u8; 48] = [
    0xd6, 0x03, 0x2c, 0xe6, 0x1f, 0x2f, 0xb3, 0xc2, 0x40, 0xeb, 0x3c, 0xf6, 0xa3, 0x32, 0x37, 0xef, 0x2b, 0x6a, 0x16,
    0xf4, 0x29, 0x3c, 0x22, 0xb4, 0x55, 0xe2, 0x61, 0xcf, 0xfd, 0x21, 0x7a, 0xd5, 0xb4, 0x94, 0x7c, 0x2d, 0x73, 0xe6,
    0x30, 0x05, 0xee, 0xd2, 0xdc, 0x2b, 0x35, 0x93, 0xd1, 0x65,
];

impl Connection {
    /// Opens the credential: gives the secret that only this TPM, with this AK beside the EK, can see.
    pub(super) fn activate(
        &mut self,
        attestation: &KeyFile,
        challenge: &Challenge,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let template = self.template_of(&challenge.endorsement_key)?;
        let ek = self.endorsement(template)?;
        let opened = self.activate_with(attestation, challenge, template, ek.handle);
        self.release(ek)?;
        opened
    }

    fn activate_with(
        &mut self,
        attestation: &KeyFile,
        challenge: &Challenge,
        template: &Template,
        ek: KeyHandle,
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let failed = |error| TpmError::from_tss("activate the credential", error);
        let blob = IdObject::try_from(challenge.credential_blob.clone()).map_err(failed)?;
        let secret = EncryptedSecret::try_from(challenge.encrypted_secret.clone()).map_err(failed)?;
        let ak = self.load(attestation, &[])?;
        let policy = self
            .with_room("open a policy session", &[ak], |context| policy_session(context, template))
            .and_then(|policy| match satisfy(&mut self.context, template, policy) {
                Ok(()) => Ok(policy),
                Err(error) => {
                    self.end(policy)?;
                    Err(TpmError::from_tss("use the endorsement key", error)
                        .with_authorization_of(Authorized::Endorsement))
                }
            })?;
        let salted = self.with_room("open a salted session", &[ak], |context| salted_session(context, ek));
        let salted = match salted {
            Ok(salted) => salted,
            Err(error) => {
                self.end(policy)?;
                return Err(error);
            }
        };
        let opened = encrypting(&mut self.context, salted).map_err(failed).and_then(|()| {
            self.with_room("activate the credential", &[ak], |context| {
                context.execute_with_sessions((Some(AuthSession::Password), Some(policy), Some(salted)), |context| {
                    context.activate_credential(ak, ek, blob.clone(), secret.clone())
                })
            })
        });
        self.end(policy)?;
        self.end(salted)?;
        Ok(Zeroizing::new(opened?.value().to_vec()))
    }
}

fn started(session: Option<AuthSession>) -> Result<AuthSession, TssError> {
    session.ok_or(TssError::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm))
}

/// A session for the EK's policy.
fn policy_session(context: &mut Context, template: &Template) -> Result<AuthSession, TssError> {
    let hash = if template.high_range { HashingAlgorithm::Sha384 } else { HashingAlgorithm::Sha256 };
    started(context.start_auth_session(
        None,
        None,
        None,
        SessionType::Policy,
        SymmetricDefinition::AES_128_CFB,
        hash,
    )?)
}

/// Does in the session what the EK's policy asks for.
fn satisfy(context: &mut Context, template: &Template, session: AuthSession) -> Result<(), TssError> {
    let policy = PolicySession::try_from(session)?;
    context.execute_with_session(Some(AuthSession::Password), |context| {
        context.policy_secret(
            policy,
            AuthHandle::Endorsement,
            Nonce::default(),
            Digest::default(),
            Nonce::default(),
            None,
        )
    })?;
    if template.high_range {
        let mut branches = DigestList::new();
        branches.add(context.policy_get_digest(policy)?)?;
        branches.add(Digest::try_from(POLICY_C_SHA384.to_vec())?)?;
        context.policy_or(policy, branches)?;
    }
    Ok(())
}

/// A session salted to the EK.
fn salted_session(context: &mut Context, ek: KeyHandle) -> Result<AuthSession, TssError> {
    started(context.start_auth_session(
        Some(ek),
        None,
        None,
        SessionType::Hmac,
        SymmetricDefinition::AES_128_CFB,
        HashingAlgorithm::Sha256,
    )?)
}

/// From now on answers are encrypted under the session: the bus sees no secret.
fn encrypting(context: &mut Context, session: AuthSession) -> Result<(), TssError> {
    let (attributes, mask) = SessionAttributesBuilder::new().with_encrypt(true).with_continue_session(true).build();
    context.tr_sess_set_attributes(session, attributes, mask)
}
