//! The storage root key: the standard one at `0x81000001` where it is there, made there where that is allowed, a transient
//! primary otherwise.
//!
//! Which authorizations this takes: loading and making keys below a persistent storage root key takes that key's own (empty) one and
//! nobody else's. Making a primary and making it persistent takes the owner hierarchy's. So where the owner hierarchy has a password,
//! everything works that finds its storage root key in place, and nothing that does not.

use std::time::Duration;

use tss_esapi::{
    Context, Error as TssError,
    attributes::{ObjectAttributes, ObjectAttributesBuilder},
    constants::response_code::Tss2ResponseCodeKind as Kind,
    handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, TpmHandle},
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
    connection::Connection,
    error::{Authorized, TpmError},
    key_file::SRK,
};

/// A storage root key that asked for a password is left alone for this long: where it is subject to the lockout, each try counts
/// towards it.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// What is at `0x81000001`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Empty,
    /// A storage root key of the standard template: a transient primary is the same key.
    Standard(KeyHandle, Vec<u8>),
    /// Another storage key, which does as well. With its name.
    Foreign(KeyHandle, Vec<u8>),
    /// Something that is no storage key. Somebody else's business.
    Taken,
}

/// The storage root key, as this TPM has it.
pub struct Storage {
    pub(super) place: Place,
    /// Whether an empty place may be filled.
    may_provision: bool,
    /// That the persistent key asked for a password, and when.
    refused: Option<(TpmError, Duration)>,
}

impl Storage {
    /// Looks. Changes nothing.
    pub(super) fn look(context: &mut Context, may_provision: bool) -> Result<Self, TpmError> {
        let failed = |error| TpmError::from_tss("look for the storage root key", error);
        let handle = TpmHandle::Persistent(srk_handle().map_err(failed)?);
        let place = match context.tr_from_tpm_public(handle) {
            Ok(object) => {
                let (public, name, _) = context.read_public(object.into()).map_err(failed)?;
                let name = name.value().to_vec();
                match kind(&public, &standard().map_err(failed)?) {
                    Some(true) => Place::Standard(object.into(), name),
                    Some(false) => Place::Foreign(object.into(), name),
                    None => {
                        forget(context, object);
                        Place::Taken
                    }
                }
            }
            Err(TssError::Tss2Error(code)) if code.kind() == Some(Kind::Handle) => Place::Empty,
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { place, may_provision, refused: None })
    }

    /// The same place as before?
    pub(super) fn is_where_it_was(&self, context: &mut Context) -> Result<bool, TpmError> {
        let now = Self::look(context, self.may_provision)?.place;
        if let Place::Standard(handle, _) | Place::Foreign(handle, _) = &now {
            forget(context, (*handle).into());
        }
        Ok(match (&self.place, &now) {
            (Place::Standard(_, before), Place::Standard(_, now))
            | (Place::Foreign(_, before), Place::Foreign(_, now)) => before == now,
            (before, now) => before == now,
        })
    }
}

impl Connection {
    /// Whether there is a persistent storage root key. Where there was none, it looks again: somebody may have made one meanwhile.
    pub(super) fn look_for_root(&mut self) -> Result<bool, TpmError> {
        if matches!(self.storage.place, Place::Empty | Place::Taken) {
            self.storage.place = Storage::look(&mut self.context, self.storage.may_provision)?.place;
        }
        Ok(matches!(self.storage.place, Place::Standard(..) | Place::Foreign(..)))
    }

    /// The persistent storage root key; made so first, where it is missing and that is allowed. `None` where a transient primary has to do.
    fn persistent(&mut self, keep: &[KeyHandle]) -> Result<Option<KeyHandle>, TpmError> {
        self.look_for_root()?;
        match self.storage.place {
            Place::Standard(handle, _) | Place::Foreign(handle, _) => return Ok(Some(handle)),
            Place::Taken => return Ok(None),
            Place::Empty if !self.storage.may_provision => return Ok(None),
            Place::Empty => {}
        }
        let primary = self.primary(keep)?;
        let kept = self.context.execute_with_session(Some(AuthSession::Password), |context| {
            context.evict_control(Provision::Owner, primary.into(), Persistent::Persistent(srk_handle()?))
        });
        self.flush(primary.into())?;
        match kept.map_err(|error| TpmError::from_tss("keep the storage root key", error)) {
            Ok(_) => {
                // Not made twice over one connection.
                self.storage.may_provision = false;
                self.persistent(keep)
            }
            Err(error) if error.is_lost() || error.may_pass() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the storage root key stays transient: every key is loaded at a primary's cost");
                self.storage.may_provision = false;
                Ok(None)
            }
        }
    }

    /// A transient primary of the standard template. Whoever asks for it flushes it.
    fn primary(&mut self, keep: &[KeyHandle]) -> Result<KeyHandle, TpmError> {
        const ATTEMPTED: &str = "make the storage root key";
        let template = standard().map_err(|error| TpmError::from_tss(ATTEMPTED, error))?;
        self.with_room(ATTEMPTED, keep, |context| {
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.create_primary(Hierarchy::Owner, template.clone(), None, None, None, None)
            })
        })
        .map(|made| made.key_handle)
        .map_err(|error| error.with_authorization_of(Authorized::Owner))
    }

    /// Whether a transient primary can be made.
    pub(super) fn can_make_root(&mut self) -> Result<bool, TpmError> {
        match self.primary(&[]) {
            Ok(primary) => self.flush(primary.into()).map(|()| true),
            Err(error) if error.is_lost() || error.may_pass() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Runs `act` below the parent that a key file names (`below_srk`), or the one for new keys. `act` is told whether that is the
    /// persistent key. Where the persistent key does not do, the transient primary is tried, which is the same key if the persistent one
    /// once was of the standard template; where that does not help either, the first refusal counts.
    pub(super) fn below_root<T>(
        &mut self,
        below_srk: bool,
        keep: &[KeyHandle],
        mut act: impl FnMut(&mut Self, KeyHandle, bool) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let mut refused = None;
        if below_srk && let Some(parent) = self.persistent(keep)? {
            let done = match self.still_refused() {
                Some(error) => Err(error),
                None => {
                    act(self, parent, true).map_err(|error| error.with_authorization_of(Authorized::StorageRootKey))
                }
            };
            match done {
                Err(error) if self.may_do_without(&error) => refused = Some(error),
                other => return other,
            }
        }
        let parent = match (self.primary(keep), refused.clone()) {
            (Ok(parent), _) => parent,
            (Err(error), refused) => {
                return Err(refused.filter(|_| !error.is_lost() && !error.may_pass()).unwrap_or(error));
            }
        };
        let done = act(self, parent, false);
        self.flush(parent.into())?;
        match (done, refused) {
            (Err(error), Some(refused)) if !error.is_lost() && !error.may_pass() => Err(refused),
            (done, _) => done,
        }
    }

    /// Whether a transient primary may do where the persistent key did not.
    fn may_do_without(&mut self, error: &TpmError) -> bool {
        match error {
            TpmError::Authorization { .. } => {
                if self.storage.refused.is_none() {
                    self.storage.refused = Some((error.clone(), self.pace.now()));
                }
                true
            }
            // A key of the standard template is what the transient primary would be.
            TpmError::KeyOfAnotherTpm | TpmError::Lockout { .. } | TpmError::Tpm { .. } => {
                matches!(self.storage.place, Place::Foreign(..))
            }
            _ => false,
        }
    }

    fn still_refused(&mut self) -> Option<TpmError> {
        let now = self.pace.now();
        self.storage.refused.take_if(|(_, since)| now.saturating_sub(*since) >= LEFT_ALONE);
        self.storage.refused.as_ref().map(|(error, _)| error.clone())
    }
}

/// Has the stack forget what it knows of a persistent key. The key stays.
fn forget(context: &mut Context, mut object: ObjectHandle) {
    if let Err(error) = context.tr_close(&mut object) {
        tracing::debug!(%error, "the stack keeps what it knows of a key");
    }
}

fn srk_handle() -> Result<PersistentTpmHandle, TssError> {
    PersistentTpmHandle::new(SRK)
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
fn standard() -> Result<Public, TssError> {
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
}

/// Whether a public area is that of a storage root key (RSA or ECC, restricted, decrypting, fixed to its TPM), and whether of the standard one.
fn kind(public: &Public, standard: &Public) -> Option<bool> {
    let attributes = public.object_attributes();
    let is_storage_key = matches!(public, Public::Rsa { .. } | Public::Ecc { .. })
        && attributes.fixed_tpm()
        && attributes.fixed_parent()
        && attributes.sensitive_data_origin()
        && attributes.user_with_auth()
        && attributes.restricted()
        && attributes.decrypt()
        && !attributes.sign_encrypt();
    let is_standard = match (public, standard) {
        (
            Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, .. },
            Public::Ecc {
                object_attributes: wanted_attributes,
                name_hashing_algorithm: wanted_hashing,
                auth_policy: wanted_policy,
                parameters: wanted_parameters,
                ..
            },
        ) => {
            (object_attributes, name_hashing_algorithm, auth_policy, parameters)
                == (wanted_attributes, wanted_hashing, wanted_policy, wanted_parameters)
        }
        _ => false,
    };
    is_storage_key.then_some(is_standard)
}

/// ECDSA on P-256 with SHA-256; exactly what `proto::attestation` expects.
pub(super) fn signing_key(restricted: bool) -> Result<Public, TssError> {
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
