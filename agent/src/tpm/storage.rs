//! The storage root key: the standard one at `0x81000001` where it is there, made there where that is allowed, a transient
//! primary otherwise.

use tss_esapi::{
    Context, Error as TssError,
    attributes::{ObjectAttributes, ObjectAttributesBuilder},
    constants::response_code::Tss2ResponseCodeKind as Kind,
    handles::{KeyHandle, PersistentTpmHandle, TpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        dynamic_handles::Persistent,
        ecc::EccCurve,
        resource_handles::{Hierarchy, Provision},
        session_handles::AuthSession,
    },
    structures::{
        EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Public, PublicBuilder,
        PublicEccParametersBuilder, SymmetricDefinitionObject,
    },
};

use super::{
    error::TpmError,
    key_file::{KeyFile, OWNER, SRK},
};

/// The storage root key, as this TPM has it.
pub struct Storage {
    persistent: Option<KeyHandle>,
}

/// A parent that is ready for one command.
pub enum Parent {
    /// Persistent: stays.
    Persistent(KeyHandle),
    /// Transient: is flushed afterwards.
    Transient(KeyHandle),
}

impl Parent {
    pub(super) fn handle(&self) -> KeyHandle {
        match self {
            Self::Persistent(handle) | Self::Transient(handle) => *handle,
        }
    }

    /// What key files name as the parent.
    pub(super) fn id(&self) -> u32 {
        match self {
            Self::Persistent(_) => SRK,
            Self::Transient(_) => OWNER,
        }
    }

    pub(super) fn release(self, context: &mut Context) -> Result<(), TpmError> {
        match self {
            Self::Persistent(_) => Ok(()),
            Self::Transient(handle) => context
                .flush_context(handle.into())
                .map_err(|error| TpmError::from_tss("flush the storage root key", error)),
        }
    }
}

impl Storage {
    pub(super) fn open(context: &mut Context, provision: bool) -> Result<Self, TpmError> {
        if let Some(handle) = persistent(context)? {
            let (public, ..) =
                context.read_public(handle).map_err(|error| TpmError::from_tss("read the storage root key", error))?;
            return if is_storage_key(&public) {
                Ok(Self { persistent: Some(handle) })
            } else {
                Err(TpmError::SrkTaken)
            };
        }
        if !provision {
            return Ok(Self { persistent: None });
        }
        let primary = create(context)?;
        let made = context.execute_with_session(Some(AuthSession::Password), |context| {
            context.evict_control(Provision::Owner, primary.into(), Persistent::Persistent(srk_handle()?))
        });
        context
            .flush_context(primary.into())
            .map_err(|error| TpmError::from_tss("flush the storage root key", error))?;
        match made {
            Ok(handle) => Ok(Self { persistent: Some(handle.into()) }),
            // An owner authorization that is not ours to know: a transient primary needs it as well, so say it now.
            Err(error) => Err(TpmError::from_tss("keep the storage root key", error)),
        }
    }

    /// The parent that a key file names.
    pub(super) fn parent(&self, context: &mut Context, id: u32) -> Result<Parent, TpmError> {
        match (id, self.persistent) {
            (SRK, Some(handle)) => Ok(Parent::Persistent(handle)),
            // The persistent key was removed: keys below it cannot be loaded.
            (SRK, None) => Err(TpmError::KeyOfAnotherTpm),
            _ => create(context).map(Parent::Transient),
        }
    }

    /// The parent for new keys.
    pub(super) fn for_new_keys(&self, context: &mut Context) -> Result<Parent, TpmError> {
        match self.persistent {
            Some(handle) => Ok(Parent::Persistent(handle)),
            None => create(context).map(Parent::Transient),
        }
    }

    /// Makes one signing key under `parent`.
    pub(super) fn create_key(context: &mut Context, parent: &Parent, restricted: bool) -> Result<KeyFile, TssError> {
        let public = signing_key(restricted)?;
        let made = context.execute_with_session(Some(AuthSession::Password), |context| {
            context.create(parent.handle(), public, None, None, None, None)
        })?;
        KeyFile::new(parent.id(), &made.out_public, &made.out_private)
    }
}

fn srk_handle() -> Result<PersistentTpmHandle, TssError> {
    PersistentTpmHandle::new(SRK)
}

fn persistent(context: &mut Context) -> Result<Option<KeyHandle>, TpmError> {
    let failed = |error| TpmError::from_tss("look for the storage root key", error);
    let handle = TpmHandle::Persistent(srk_handle().map_err(failed)?);
    match context.tr_from_tpm_public(handle) {
        Ok(object) => Ok(Some(object.into())),
        Err(TssError::Tss2Error(code)) if code.kind() == Some(Kind::Handle) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn storage_attributes() -> Result<ObjectAttributes, TssError> {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()
}

/// The ECC template of the TCG provisioning guidance (section 7.5.1).
fn create(context: &mut Context) -> Result<KeyHandle, TpmError> {
    let failed = |error| TpmError::from_tss("make the storage root key", error);
    let public = || {
        PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(storage_attributes()?)
            .with_ecc_parameters(
                PublicEccParametersBuilder::new_restricted_decryption_key(
                    SymmetricDefinitionObject::AES_128_CFB,
                    EccCurve::NistP256,
                )
                .build()?,
            )
            .with_ecc_unique_identifier(EccPoint::default())
            .build()
    };
    let public = public().map_err(failed)?;
    context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Owner, public, None, None, None, None)
        })
        .map(|made| made.key_handle)
        .map_err(failed)
}

/// Whether a public area is that of a storage root key: RSA or ECC, restricted, decrypting, fixed to its TPM.
fn is_storage_key(public: &Public) -> bool {
    let attributes = public.object_attributes();
    let kind = matches!(public, Public::Rsa { .. } | Public::Ecc { .. });
    kind && attributes.fixed_tpm()
        && attributes.fixed_parent()
        && attributes.sensitive_data_origin()
        && attributes.user_with_auth()
        && attributes.restricted()
        && attributes.decrypt()
        && !attributes.sign_encrypt()
}

/// ECDSA on P-256 with SHA-256; exactly what `proto::attestation` expects.
fn signing_key(restricted: bool) -> Result<Public, TssError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(restricted)
        .with_sign_encrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(
            PublicEccParametersBuilder::new()
                .with_symmetric(SymmetricDefinitionObject::Null)
                .with_ecc_scheme(EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)))
                .with_curve(EccCurve::NistP256)
                .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                .with_is_signing_key(true)
                .with_is_decryption_key(false)
                .with_restricted(restricted)
                .build()?,
        )
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
