//! The keys in use: read from the store, unwrapped, and chosen by time.

use std::path::Path;

use daypass_proto::{
    encoding::Bytes,
    jose::{EcPublicKey, SoftwareKey},
    ledger::checkpoint::{CheckpointKey, CheckpointSigner, KEY_NAME},
    pin::Pin,
    time::Timestamp,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _};
use zeroize::Zeroizing;

use super::{
    KeyError, MasterKey, MasterKeys,
    certify::{Authority, ROOT_LIFETIME, Root, Subject, load_certificate, pin_of},
};
use crate::{
    clock::Environment,
    config::Config,
    store::{KeyPurpose, KeyRecord, Store},
};

/// The issuer's own TLS certificate lives for a year; `check` says when it ends soon.
const TLS_LIFETIME: i64 = 365 * 24 * 3600;

/// A key that signs access tokens.
pub struct TokenKey {
    /// Its record: name, times, chain.
    pub record: KeyRecord,
    /// The key.
    pub key: SoftwareKey,
}

/// Every key that a running issuer uses.
pub struct Keyring {
    root: Vec<u8>,
    pin: Pin,
    device_ca: Authority,
    gate_ca: Authority,
    tls_chain: Vec<Vec<u8>>,
    tls_key: Zeroizing<Vec<u8>>,
    tokens: Vec<TokenKey>,
    checkpoint: Option<CheckpointSigner>,
    checkpoint_keys: Vec<(CheckpointKey, Vec<Bytes>)>,
    client_cas: Vec<Vec<u8>>,
}

impl Keyring {
    /// Reads and unwraps every key.
    pub async fn load(config: &Config, store: &dyn Store, now: Timestamp) -> Result<Self, KeyError> {
        let masters = MasterKeys::at(&config.master_key);
        let unwrap = |record: &KeyRecord| masters.find(&record.master)?.unwrap(&record.kid, &record.wrapped.0);
        let newest = async |purpose: KeyPurpose| {
            let keys = store.keys(purpose).await?;
            let record = keys.into_iter().rfind(|key| in_use(key, now)).ok_or(KeyError::Missing(purpose))?;
            let key = unwrap(&record)?;
            Ok::<_, KeyError>((record, key))
        };
        let authority = |(record, key): (KeyRecord, Zeroizing<Vec<u8>>)| {
            let own = record.chain.first().ok_or_else(|| KeyError::Stored(record.kid.clone()))?;
            Authority::new(&own.0, &key)
        };
        let device_ca = authority(newest(KeyPurpose::DeviceCa).await?)?;
        let gate_ca = authority(newest(KeyPurpose::GateCa).await?)?;
        let (tls, tls_key) = newest(KeyPurpose::Tls).await?;
        let mut tokens = Vec::new();
        for record in
            store.keys(KeyPurpose::Token).await?.into_iter().filter(|key| key.retire_at.is_none_or(|end| end > now))
        {
            let private = unwrap(&record)?;
            let key = SoftwareKey::from_pkcs8(&private).map_err(|_| KeyError::Stored(record.kid.clone()))?;
            tokens.push(TokenKey { record, key });
        }
        if !tokens.iter().any(|token| token.record.active_from <= now) {
            return Err(KeyError::Missing(KeyPurpose::Token));
        }
        // A store from before there was a tree has none until `key rotate checkpoint` has been run.
        let checkpoint = match newest(KeyPurpose::Checkpoint).await {
            Ok((record, key)) => {
                Some(CheckpointSigner::from_pkcs8(&key).map_err(|_| KeyError::Stored(record.kid.clone()))?)
            }
            Err(KeyError::Missing(_)) => None,
            Err(error) => return Err(error),
        };
        let root = load_certificate(&config.root_certificate)?;
        let pin = pin_of(&config.root_certificate)?;
        let mut checkpoint_keys = Vec::new();
        for KeyRecord { kid, chain, .. } in store.keys(KeyPurpose::Checkpoint).await? {
            let own = chain.first().ok_or_else(|| KeyError::Stored(kid.clone()))?;
            let key = CheckpointKey::certified(&own.0, &chain, &pin).map_err(|_| KeyError::Stored(kid))?;
            checkpoint_keys.push((key, chain));
        }
        let mut client_cas = Vec::new();
        for purpose in [KeyPurpose::DeviceCa, KeyPurpose::GateCa] {
            let current =
                store.keys(purpose).await?.into_iter().filter(|key| key.retire_at.is_none_or(|end| end > now));
            client_cas.extend(current.filter_map(|key| key.chain.into_iter().next()).map(|der| der.0));
        }
        Ok(Self {
            client_cas,
            root,
            pin,
            device_ca,
            gate_ca,
            tls_chain: tls.chain.into_iter().map(|certificate| certificate.0).collect(),
            tls_key,
            tokens,
            checkpoint,
            checkpoint_keys,
        })
    }

    /// The root's certificate, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The root's pin.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The CA of device certificates.
    pub fn device_ca(&self) -> &Authority {
        &self.device_ca
    }

    /// The CA of gates' certificates.
    pub fn gate_ca(&self) -> &Authority {
        &self.gate_ca
    }

    /// The issuer's own chain (leaf, root) and key (PKCS#8).
    pub fn tls(&self) -> (&[Vec<u8>], &[u8]) {
        (&self.tls_chain, &self.tls_key)
    }

    /// Every CA whose client certificates are taken: those before a rotation too, until they retire.
    pub fn client_cas(&self) -> impl Iterator<Item = &[u8]> {
        self.client_cas.iter().map(Vec::as_slice)
    }

    /// The key that signs checkpoints, where there is one.
    pub fn checkpoint(&self) -> Option<&CheckpointSigner> {
        self.checkpoint.as_ref()
    }

    /// Every key that checkpoints were ever signed with, each with its chain, oldest first: what was signed stays signed.
    pub fn checkpoint_keys(&self) -> &[(CheckpointKey, Vec<Bytes>)] {
        &self.checkpoint_keys
    }

    /// The key to sign with: the newest whose time has come.
    pub fn signing(&self, now: Timestamp) -> Option<&TokenKey> {
        self.tokens.iter().rfind(|token| in_use(&token.record, now))
    }

    /// Every key to publish: those to come, so that gates know them in time, and those that have tokens out.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &TokenKey> {
        self.tokens.iter().filter(move |token| token.record.retire_at.is_none_or(|end| end > now))
    }

    /// The published key with this `kid`.
    pub fn public(&self, kid: &str, now: Timestamp) -> Option<EcPublicKey> {
        self.published(now).find(|token| token.record.kid == kid).map(|token| *token.key.public())
    }
}

fn in_use(key: &KeyRecord, now: Timestamp) -> bool {
    key.active_from <= now && key.retire_at.is_none_or(|end| end > now)
}

/// The master key that the keys of this store are under.
pub async fn master_of(config: &Config, store: &dyn Store) -> Result<MasterKey, KeyError> {
    let record = store.keys(KeyPurpose::Token).await?.pop().ok_or(KeyError::Missing(KeyPurpose::Token))?;
    MasterKeys::at(&config.master_key).find(&record.master)
}

/// Every key that this store's checkpoints were ever signed with; no private key is needed for that.
pub async fn checkpoint_keys_of(store: &dyn Store, root_certificate: &Path) -> Result<Vec<CheckpointKey>, KeyError> {
    let pin = pin_of(root_certificate)?;
    let mut keys = Vec::new();
    for KeyRecord { kid, chain, .. } in store.keys(KeyPurpose::Checkpoint).await? {
        let own = chain.first().ok_or_else(|| KeyError::Stored(kid.clone()))?;
        keys.push(CheckpointKey::certified(&own.0, &chain, &pin).map_err(|_| KeyError::Stored(kid))?);
    }
    Ok(keys)
}

/// Makes a key, certified by the root and wrapped. `hosts` are those of the issuer, for its TLS certificate.
pub fn new_key(
    environment: &Environment,
    root: &Root,
    master: &MasterKey,
    purpose: KeyPurpose,
    hosts: &[String],
    active_from: Timestamp,
) -> Result<KeyRecord, KeyError> {
    // C2SP signed-note knows Ed25519 and no ECDSA.
    let algorithm = if purpose == KeyPurpose::Checkpoint { &PKCS_ED25519 } else { &PKCS_ECDSA_P256_SHA256 };
    let pair = KeyPair::generate_for(algorithm)
        .map_err(|source| KeyError::Certificate { attempted: "generate a key", source })?;
    let private = Zeroizing::new(pair.serialize_der());
    let spki = pair.subject_public_key_info();
    let form = |_| KeyError::Stored(purpose.to_string());
    let kid = if purpose == KeyPurpose::Checkpoint {
        CheckpointSigner::from_pkcs8(&private).map_err(|_| KeyError::Stored(purpose.to_string()))?.public().thumbprint()
    } else {
        EcPublicKey::from_spki_der(&spki).map_err(form)?.thumbprint()
    };
    let (subject, lifetime) = match purpose {
        KeyPurpose::Token => (Subject::Signing("Daypass token key"), ROOT_LIFETIME / 2),
        KeyPurpose::DeviceCa => (Subject::Authority("Daypass device CA"), ROOT_LIFETIME / 2),
        KeyPurpose::GateCa => (Subject::Authority("Daypass gate CA"), ROOT_LIFETIME / 2),
        KeyPurpose::Tls => (Subject::Server(hosts.to_vec()), TLS_LIFETIME),
        KeyPurpose::Checkpoint => (Subject::Signing(KEY_NAME), ROOT_LIFETIME / 2),
    };
    let now = environment.now();
    let own = root.authority().sign(environment, &subject, &spki, now.plus(lifetime))?;
    Ok(KeyRecord {
        wrapped: Bytes(master.wrap(environment, &kid, &private)?),
        master: master.id().to_owned(),
        kid,
        purpose,
        created_at: now,
        active_from,
        retire_at: None,
        chain: vec![Bytes(own), Bytes(root.authority().der().to_vec())],
    })
}
