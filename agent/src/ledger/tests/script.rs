//! An issuer from a script: a real tree, real checkpoints under a real root, and an operator who can do with them as he likes.

use std::sync::atomic::{AtomicI64, Ordering};

use daypass_proto::{
    encoding::{Bytes, sha256},
    ledger::{
        Event, EventKind,
        api::{Consistency, Inclusion, Log, LogKey, MERGE_DELAY},
        checkpoint::{CheckpointSigner, KEY_NAME, Origin},
        leaf_hash,
        tree::{Extension, Head, Tiles, extend, prove_consistency, prove_inclusion},
    },
    oauth_error::{ErrorBody, OAuthError, Reason},
    time::Timestamp,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

use super::*;

/// A root that certifies checkpoint keys.
pub(super) struct Root {
    der: Vec<u8>,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Root {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: rcgen::Issuer::new(params, key) }
    }

    pub(super) fn pin(&self) -> Pin {
        Pin::of_certificate(&self.der).unwrap()
    }

    /// A key of its own, and what is published of it.
    pub(super) fn key(&self, origin: &Origin) -> (CheckpointSigner, LogKey) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, KEY_NAME);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let signer = CheckpointSigner::from_pkcs8(&key.serialize_der()).unwrap();
        let verifier_key = signer.public().verifier_key(origin);
        (signer, LogKey { verifier_key, chain: vec![certificate.der().to_vec().into(), self.der.clone().into()] })
    }
}

pub(super) fn name(text: &str) -> Origin {
    format!("issuer.test/ledger/{text}").parse().unwrap()
}

pub(super) fn leaf(number: u64) -> [u8; 32] {
    sha256(&[b"leaf", &number.to_be_bytes()])
}

/// The issuer.
pub(super) struct Script {
    pub(super) root: Root,
    pub(super) origin: Origin,
    signer: CheckpointSigner,
    keys: Vec<LogKey>,
    /// Leaf hashes by number.
    pub(super) leaves: Vec<[u8; 32]>,
    /// Recorded and without a number.
    pub(super) waiting: Vec<[u8; 32]>,
    pub(super) beginnings: Vec<Bytes>,
    /// Another checkpoint than the honest one.
    pub(super) note: Option<String>,
    /// Whether proofs are other hashes than they must be.
    pub(super) bad_proofs: bool,
    /// What proofs of consistency are refused with.
    pub(super) refusal: Option<Reason>,
    pub(super) down: bool,
    asked: AtomicI64,
}

impl Script {
    pub(super) fn new(events: u64) -> Self {
        let (root, origin) = (Root::new(), name("a"));
        let (signer, key) = root.key(&origin);
        Self {
            root,
            origin,
            signer,
            keys: vec![key],
            leaves: (0..events).map(leaf).collect(),
            waiting: Vec::new(),
            beginnings: Vec::new(),
            note: None,
            bad_proofs: false,
            refusal: None,
            down: false,
            asked: AtomicI64::new(0),
        }
    }

    pub(super) fn grow(&mut self, by: u64) {
        let size = self.leaves.len() as u64;
        self.leaves.extend((size..size + by).map(leaf));
    }

    fn tree(&self) -> Extension {
        extend(&Head::empty(), &Tiles::default(), &self.leaves).unwrap()
    }

    pub(super) fn sign(&self) -> String {
        self.signer.sign(&self.origin, &self.tree().head).unwrap()
    }

    /// A new key signs from now on; the old one stays published.
    pub(super) fn rotate(&mut self) {
        let (signer, key) = self.root.key(&self.origin);
        self.signer = signer;
        self.keys.push(key);
    }

    /// Somebody else's key signs, with a certificate of somebody else's root.
    pub(super) fn forge(&mut self) {
        let (signer, key) = Root::new().key(&self.origin);
        self.signer = signer;
        self.keys.push(key);
    }

    /// A new key signs, whose name is longer than anybody would keep.
    pub(super) fn bloat(&mut self) {
        self.rotate();
        self.keys.last_mut().unwrap().verifier_key = "k".repeat(16 * 1024);
    }

    /// Much that nobody needs comes with the keys.
    pub(super) fn pad(&mut self) {
        for key in &mut self.keys {
            key.chain.extend(std::iter::repeat_n(Bytes::from(Vec::new()), 100_000));
        }
    }

    /// The event by which the ledger comes by a name; gives its hash.
    pub(super) fn begin(&mut self, to: &str, continues: Option<&str>, instead_of: Option<&str>, size: u64) -> [u8; 32] {
        let mut event =
            Event::new([9; 16], EventKind::LedgerBegun, Timestamp::from_seconds(5000)).text("origin", name(to));
        if let Some(from) = continues {
            event =
                event.text("continues", name(from)).number("size", size.try_into().unwrap()).number("made_at", 4000);
        }
        if let Some(other) = instead_of {
            event = event.text("instead_of", name(other));
        }
        self.beginnings.push(event.leaf().into());
        self.origin = name(to);
        for key in &mut self.keys {
            key.verifier_key = String::new();
        }
        leaf_hash(&event.leaf())
    }

    /// A store that is put back to `size` events and goes on under another name.
    pub(super) fn restore(&mut self, to: &str, from: &str, size: u64) {
        self.leaves.truncate(usize::try_from(size).unwrap());
        let begun = self.begin(to, Some(from), None, size);
        self.leaves.push(begun);
    }

    pub(super) fn asked(&self) -> i64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn up(&self) -> Result<(), AgentError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down {
            return Err(AgentError::IssuerUnreachable { url: "https://issuer.test".into(), why: "down".into() });
        }
        Ok(())
    }

    fn hashes(&self, mut proof: Vec<Fixed<32>>) -> Vec<Fixed<32>> {
        if self.bad_proofs {
            proof.push(Fixed([1; 32]));
        }
        proof
    }
}

fn refused(reason: Reason) -> AgentError {
    AgentError::Refused(Box::new(ErrorBody {
        error: OAuthError::InvalidRequest,
        error_description: "refused".into(),
        daypass_reason: reason,
        daypass_next_step: String::new(),
    }))
}

impl Source for Script {
    async fn log(&self) -> Result<Log, AgentError> {
        self.up()?;
        let (origin, keys, beginnings) = (self.origin.clone(), self.keys.clone(), self.beginnings.clone());
        Ok(Log { origin, merge_delay: MERGE_DELAY, keys, beginnings })
    }

    async fn checkpoint(&self) -> Result<String, AgentError> {
        self.up()?;
        Ok(self.note.clone().unwrap_or_else(|| self.sign()))
    }

    async fn consistency(&self, first: u64, second: u64) -> Result<Consistency, AgentError> {
        self.up()?;
        if let Some(reason) = self.refusal {
            return Err(refused(reason));
        }
        let tree = self.tree();
        let mut tiles = Tiles::default();
        tree.tiles.into_iter().for_each(|(id, hashes)| tiles.insert(id, hashes));
        let proof = prove_consistency(&tree.head, &tiles, first, second).map_err(|_| refused(Reason::Malformed))?;
        Ok(Consistency { first, second, hashes: self.hashes(proof) })
    }

    async fn inclusion(&self, leaf: Fixed<32>, size: u64) -> Result<Inclusion, AgentError> {
        self.up()?;
        let Some(index) = self.leaves.iter().position(|known| *known == leaf.0) else {
            let waits = self.waiting.contains(&leaf.0);
            return Err(refused(if waits { Reason::LeafNotYet } else { Reason::LeafUnknown }));
        };
        let tree = self.tree();
        let mut tiles = Tiles::default();
        tree.tiles.into_iter().for_each(|(id, hashes)| tiles.insert(id, hashes));
        let leaf_index = index as u64;
        let proof = prove_inclusion(&tree.head, &tiles, size, leaf_index).map_err(|_| refused(Reason::LeafNotYet))?;
        Ok(Inclusion { leaf_index, tree_size: size, hashes: self.hashes(proof), checkpoint: None })
    }
}
