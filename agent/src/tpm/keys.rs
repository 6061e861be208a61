//! The keys of an enrolment in the chip: made, loaded, and, where they cannot be loaded, why.

use tss_esapi::{
    Error as TssError,
    constants::{PropertyTag, response_code::Tss2ResponseCodeKind as Kind},
    handles::KeyHandle,
    interface_types::session_handles::AuthSession,
};

use super::{
    DeviceKeys,
    connection::Connection,
    error::{Authorized, TpmError},
    key_file::{KeyFile, OWNER, Origin, SRK},
    storage::{Place, signing_key},
};

/// `TPMA_PERMANENT` (Part 2, section 8.6).
const OWNER_AUTH_SET: u32 = 1 << 0;
const ENDORSEMENT_AUTH_SET: u32 = 1 << 1;

/// What a parent says to a key that is not its child.
fn of_another_parent(error: TpmError) -> TpmError {
    match error {
        TpmError::Tpm { source: TssError::Tss2Error(code), .. } if code.kind() == Some(Kind::Integrity) => {
            TpmError::KeyOfAnotherTpm
        }
        other => other,
    }
}

impl Connection {
    /// Makes the three keys of an enrolment.
    pub(super) fn create_keys(&mut self) -> Result<DeviceKeys, TpmError> {
        // Only to say later what became of the TPM; nothing depends on it.
        let endorsement = self.identity().ok().and_then(|hashes| hashes.first().copied());
        self.below_root(true, &[], |connection, parent, persistent| {
            let id = if persistent { SRK } else { OWNER };
            let below_other = persistent && matches!(connection.storage.place, Place::Foreign(..));
            let origin = Origin { endorsement, below_other };
            let mut create = |restricted| connection.create_key(parent, id, restricted, origin);
            Ok(DeviceKeys { attestation: create(true)?, identity: create(false)?, proof: create(false)? })
        })
    }

    fn create_key(
        &mut self,
        parent: KeyHandle,
        id: u32,
        restricted: bool,
        origin: Origin,
    ) -> Result<KeyFile, TpmError> {
        const ATTEMPTED: &str = "make a key";
        let failed = |error| TpmError::from_tss(ATTEMPTED, error);
        let public = signing_key(restricted).map_err(failed)?;
        let made = self.with_room(ATTEMPTED, &[], |context| {
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.create(parent, public.clone(), None, None, None, None)
            })
        })?;
        KeyFile::new(id, &made.out_public, &made.out_private, origin).map_err(failed)
    }

    /// The key, loaded; `keep` stays loaded too.
    pub(super) fn load(&mut self, key: &KeyFile, keep: &[KeyHandle]) -> Result<KeyHandle, TpmError> {
        if let Some(at) = self.loaded.iter().position(|(public, _)| public == key.public()) {
            let entry = self.loaded.remove(at);
            let handle = entry.1;
            self.loaded.push(entry);
            return Ok(handle);
        }
        let (public, private) = key.parts().map_err(|error| TpmError::from_tss("read a key", error))?;
        let loaded = self.below_root(key.parent() == SRK, keep, |connection, parent, _| {
            connection
                .with_room("load a key", keep, |context| {
                    context.execute_with_session(Some(AuthSession::Password), |context| {
                        context.load(parent, private.clone(), public.clone())
                    })
                })
                .map_err(of_another_parent)
        });
        match loaded {
            Ok(handle) => {
                self.loaded.push((key.public().to_vec(), handle));
                Ok(handle)
            }
            Err(TpmError::KeyOfAnotherTpm) => Err(self.why_it_is_not_ours(key)?),
            Err(error) => Err(error),
        }
    }

    /// The chip says that a key is not its own. By its endorsement key it is told what became of it: that one outlives a clearing
    /// (Part 1, section 14.3), and no two TPMs have the same.
    fn why_it_is_not_ours(&mut self, key: &KeyFile) -> Result<TpmError, TpmError> {
        if !self.storage.is_where_it_was(&mut self.context)? {
            return Ok(TpmError::lost("load a key", "the storage root key was changed meanwhile"));
        }
        let Some(maker) = key.origin().endorsement else { return Ok(TpmError::KeyOfAnotherTpm) };
        Ok(match self.identity() {
            Err(error) if error.is_lost() || error.may_pass() => return Err(error),
            // Whoever set the endorsement hierarchy's password keeps this from being told.
            Err(_) => TpmError::KeyOfAnotherTpm,
            Ok(hashes) if !hashes.contains(&maker) => TpmError::Moved,
            // The one that it was made below was somebody else's, and is not there now: cleared or exchanged, it is gone.
            Ok(_) if key.origin().below_other => TpmError::SrkTaken,
            // Below the standard one, which can be made again only where the owner hierarchy lets us: else nobody knows whether it would do.
            Ok(_) if matches!(self.storage.place, Place::Foreign(..)) && !self.can_make_root()? => TpmError::SrkTaken,
            Ok(_) => TpmError::Cleared,
        })
    }

    /// Whether the chip can be used as it is: to enrol, or, where there are keys, with those.
    pub(super) fn check(&mut self, keys: Option<&DeviceKeys>) -> Result<(), TpmError> {
        if let Some(keys) = keys {
            self.load(&keys.identity, &[])?;
            return self.sign(&keys.proof, [0; 32]).map(drop);
        }
        let attempted = "enrol this machine";
        let set = self
            .context
            .get_tpm_property(PropertyTag::Permanent)
            .map_err(|error| TpmError::from_tss(attempted, error))?
            .unwrap_or_default();
        let refused = |of| Err(TpmError::Authorization { attempted, of });
        if set & OWNER_AUTH_SET != 0 && !self.look_for_root()? {
            return refused(Authorized::Owner);
        }
        if set & ENDORSEMENT_AUTH_SET != 0 {
            return refused(Authorized::Endorsement);
        }
        Ok(())
    }
}
