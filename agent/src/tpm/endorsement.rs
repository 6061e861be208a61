//! Endorsement keys: found by their certificates in NV, used from where the maker put them, or made from the template.

use daypass_proto::attestation::EkPublic;
use tss_esapi::{
    Error as TssError,
    abstraction::{AsymmetricAlgorithmSelection as Selection, ek, nv},
    constants::response_code::Tss2ResponseCodeKind as Kind,
    handles::{KeyHandle, NvIndexTpmHandle, PersistentTpmHandle, TpmHandle},
    interface_types::{
        ecc::EccCurve,
        key_bits::RsaKeyBits,
        resource_handles::{Hierarchy, NvAuth},
        session_handles::AuthSession,
    },
    traits::Marshall as _,
};

use super::{
    EndorsementKey,
    connection::Connection,
    error::{Authorized, TpmError},
};

/// One template of the TCG EK Credential Profile: where its certificate and its key are, and how the key is made.
pub(super) struct Template {
    certificate: u32,
    persistent: u32,
    selection: Selection,
    /// Whether its policy is the high range's PolicyOR with SHA-384 (section B.6).
    pub(super) high_range: bool,
}

/// L-1, L-2, H-3.
pub(super) const TEMPLATES: [Template; 3] = [
    Template {
        certificate: 0x01c0_0002,
        persistent: 0x8101_0001,
        selection: Selection::Rsa(RsaKeyBits::Rsa2048),
        high_range: false,
    },
    Template {
        certificate: 0x01c0_000a,
        persistent: 0x8101_0002,
        selection: Selection::Ecc(EccCurve::NistP256),
        high_range: false,
    },
    Template {
        certificate: 0x01c0_0016,
        persistent: 0x8101_0016,
        selection: Selection::Ecc(EccCurve::NistP384),
        high_range: true,
    },
];

/// An EK that is ready for use, and whether it has to be flushed afterwards.
pub(super) struct Ready {
    pub(super) handle: KeyHandle,
    transient: bool,
}

impl Connection {
    /// Every EK with a certificate; where none has one, the RSA one without.
    pub(super) fn endorsement_keys(&mut self) -> Result<Vec<EndorsementKey>, TpmError> {
        let mut keys = Vec::new();
        for template in &TEMPLATES {
            if let Some(certificate) = self.certificate(template)? {
                let public = self.endorsement_public(template)?;
                keys.push(EndorsementKey { public, certificate: Some(certificate) });
            }
        }
        if let (true, [first, ..]) = (keys.is_empty(), &TEMPLATES) {
            keys.push(EndorsementKey { public: self.endorsement_public(first)?, certificate: None });
        }
        Ok(keys)
    }

    /// Takes an EK that was made for one command out of the chip again.
    pub(super) fn release(&mut self, ready: Ready) -> Result<(), TpmError> {
        if ready.transient { self.flush(ready.handle.into()) } else { Ok(()) }
    }

    /// The hashes of this TPM's EKs, by which it is known.
    pub(super) fn identity(&mut self) -> Result<Vec<[u8; 32]>, TpmError> {
        let keys = self.endorsement_keys()?;
        Ok(keys.iter().filter_map(|key| EkPublic::parse(&key.public).ok()).map(|key| key.hash()).collect())
    }

    fn certificate(&mut self, template: &Template) -> Result<Option<Vec<u8>>, TpmError> {
        let failed = |error| TpmError::from_tss("read an EK certificate", error);
        let index = NvIndexTpmHandle::new(template.certificate).map_err(failed)?;
        let handle = match self.context.tr_from_tpm_public(TpmHandle::NvIndex(index)) {
            Ok(handle) => handle,
            Err(TssError::Tss2Error(code)) if code.kind() == Some(Kind::Handle) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let bytes = self
            .context
            .execute_with_session(Some(AuthSession::Password), |context| {
                nv::read_full(context, NvAuth::NvIndex(handle.into()), index)
            })
            .map_err(failed)?;
        Ok(Some(trimmed(bytes)))
    }

    fn endorsement_public(&mut self, template: &Template) -> Result<Vec<u8>, TpmError> {
        let failed = |error| TpmError::from_tss("read an endorsement key", error);
        let ready = self.endorsement(template)?;
        let public = self.context.read_public(ready.handle).and_then(|(public, ..)| public.marshall()).map_err(failed);
        self.release(ready)?;
        public
    }

    /// The EK of a template: the maker's persistent one, else a primary.
    pub(super) fn endorsement(&mut self, template: &Template) -> Result<Ready, TpmError> {
        let failed = |error| TpmError::from_tss("find an endorsement key", error);
        let persistent = PersistentTpmHandle::new(template.persistent).map_err(failed)?;
        let wanted = ek::create_ek_public_from_default_template_2(template.selection, None).map_err(failed)?;
        match self.context.tr_from_tpm_public(TpmHandle::Persistent(persistent)) {
            Ok(object) => {
                let handle = KeyHandle::from(object);
                let (public, ..) = self.context.read_public(handle).map_err(failed)?;
                // Another key at this place is somebody else's business: the primary is made instead.
                if public.object_attributes() == wanted.object_attributes()
                    && public.auth_policy() == wanted.auth_policy()
                {
                    return Ok(Ready { handle, transient: false });
                }
            }
            Err(TssError::Tss2Error(code)) if code.kind() == Some(Kind::Handle) => {}
            Err(error) => return Err(failed(error)),
        }
        let made = self
            .with_room("make an endorsement key", &[], |context| {
                context.execute_with_session(Some(AuthSession::Password), |context| {
                    context.create_primary(Hierarchy::Endorsement, wanted.clone(), None, None, None, None)
                })
            })
            .map_err(|error| error.with_authorization_of(Authorized::Endorsement))?;
        Ok(Ready { handle: made.key_handle, transient: true })
    }

    /// The template of the EK with this public area.
    pub(super) fn template_of(&mut self, public: &[u8]) -> Result<&'static Template, TpmError> {
        let mut missing = TpmError::Unexpected("the issuer chose an endorsement key that this TPM does not have");
        for template in &TEMPLATES {
            match self.endorsement_public(template) {
                Ok(own) if own == public => return Ok(template),
                Ok(_) => {}
                Err(error) if error.is_lost() || error.may_pass() => return Err(error),
                // A chip need not know every algorithm; but where none fits, this may be why.
                Err(error) => missing = error,
            }
        }
        Err(missing)
    }
}

/// DER without the padding that makers leave in NV.
fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = match bytes.as_slice() {
        [0x30, short @ 0..=0x7f, ..] => Some(usize::from(*short) + 2),
        [0x30, 0x81, one, ..] => Some(usize::from(*one) + 3),
        [0x30, 0x82, high, low, ..] => Some(usize::from(u16::from_be_bytes([*high, *low])) + 4),
        _ => None,
    };
    if let Some(length) = length {
        bytes.truncate(length);
    }
    bytes
}
