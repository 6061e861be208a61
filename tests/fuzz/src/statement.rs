//! What a TPM signs: certifications and quotes, their signatures, and the event log that comes along.
//!
//! `a` and `b` sign the rest as a quote and as a certification, since nobody would guess a signature; `c` takes the rest as the
//! signature of a good quote; `d` as the event log beside one.

use std::sync::LazyLock;

use aws_lc_rs::signature::EcdsaKeyPair;
use daypass_proto::{
    attestation::{DeviceKeySet, Evidence, Expected, VerifiedQuote, verify_enrolment, verify_quote},
    encoding::sha256,
    enrolment::{Attestation, Purpose, extra_data},
    token::EventLogState,
};

use crate::{
    choice,
    keys::{Role, attest, pair, sized, tpm_public, tpm_signature},
    seed,
};

const NONCE: [u8; 32] = [1; 32];
const TRANSCRIPT: [u8; 32] = [2; 32];
const CSR: &[u8] = b"csr";
const PCRS: [u8; 2] = [0, 7];

struct Scene {
    ak: EcdsaKeyPair,
    keys: DeviceKeySet,
    values: [[u8; 32]; 2],
    good: [Attestation; 3],
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let keys = DeviceKeySet::parse(
        &tpm_public(Role::Attestation, 3),
        &tpm_public(Role::Signing, 4),
        &tpm_public(Role::Signing, 5),
    );
    let (ak, keys) = (pair(3), keys.unwrap());
    let good = [certify(&keys, Purpose::CertifyIdentity), certify(&keys, Purpose::CertifyProof), quote()];
    let good = good.map(|attest| signed(&ak, &attest));
    Scene { ak, keys, values: values(), good }
});

fn signed(ak: &EcdsaKeyPair, attest: &[u8]) -> Attestation {
    Attestation { signature: tpm_signature(ak, attest).into(), attest: attest.to_vec().into() }
}

fn extra(purpose: Purpose) -> [u8; 32] {
    extra_data(purpose, &NONCE, &TRANSCRIPT, CSR)
}

fn certify(keys: &DeviceKeySet, purpose: Purpose) -> Vec<u8> {
    let [_, identity, proof] = keys.names();
    let name = if purpose == Purpose::CertifyIdentity { identity } else { proof };
    attest(0x8017, &extra(purpose), &[sized(&name), sized(&name)].concat())
}

fn quote() -> Vec<u8> {
    let selection = [0, 0, 0, 1, 0x00, 0x0b, 3, 0x81, 0, 0];
    let digest = sha256(&values().each_ref().map(<[u8; 32]>::as_slice));
    attest(0x8018, &extra(Purpose::Quote), &[&selection[..], &sized(&digest)].concat())
}

/// The PCRs that [`log`] leads to.
fn values() -> [[u8; 32]; 2] {
    let mut values = [[0; 32]; 2];
    values[0][31] = 3;
    for (pcr, data) in measured() {
        let value = &mut values[usize::from(pcr == 7)];
        *value = sha256(&[&*value, &sha256(&[&data])]);
    }
    values
}

fn measured() -> [(u32, Vec<u8>); 3] {
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let guid = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
    let variable = [&guid[..], &10_u64.to_le_bytes(), &1_u64.to_le_bytes(), &name, &[1]].concat();
    [(0, b"firmware".to_vec()), (7, variable), (7, vec![0; 4])]
}

/// A log in the crypto-agile form with the banks of SHA-1 and SHA-256 (TCG PC Client Platform Firmware Profile, section 10).
fn log() -> Vec<u8> {
    let banks = [&2_u32.to_le_bytes()[..], &[4, 0, 20, 0], &[0x0b, 0, 32, 0]].concat();
    let spec = [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2], &banks, &[0]].concat();
    let mut out = [&[0; 28][..], &u32::try_from(spec.len()).unwrap().to_le_bytes(), &spec].concat();
    let mut event = |pcr: u32, kind: u32, data: &[u8]| {
        out.extend([pcr, kind, 2].map(u32::to_le_bytes).concat());
        out.extend([&[4, 0][..], &[0; 20], &[0x0b, 0], &sha256(&[data])].concat());
        out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        out.extend(data);
    };
    event(0, 3, b"StartupLocality\0\x03");
    for ((pcr, data), kind) in measured().iter().zip([8, 0x8000_0001, 4]) {
        event(*pcr, kind, data);
    }
    out
}

/// One statement, signature or log.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = choice(input, 4) else { return };
    let scene = &*SCENE;
    let [identity, proof, quote] = &scene.good;
    match kind {
        0 => {
            if let Some(verified) = judge(scene, &signed(&scene.ak, rest), None) {
                assert_eq!(verified.event_log(), EventLogState::Absent);
            }
        }
        1 => {
            let identity = signed(&scene.ak, rest);
            let expected =
                Expected { keys: &scene.keys, nonce: &NONCE, transcript: &TRANSCRIPT, csr: CSR, pcrs: &PCRS };
            let evidence = Evidence { identity: &identity, proof, quote, pcr_values: &scene.values, event_log: None };
            if verify_enrolment(&expected, &evidence).is_ok() {
                assert_ne!(identity.attest, proof.attest);
            }
        }
        2 => {
            let forged = Attestation { attest: quote.attest.clone(), signature: rest.to_vec().into() };
            let _ = (judge(scene, &forged, None), identity);
        }
        _ => {
            let verified = judge(scene, quote, Some(rest)).expect("a log makes no quote bad");
            assert_eq!(verified.dropped().is_some(), verified.event_log() == EventLogState::Dropped);
        }
    }
}

fn judge(scene: &Scene, quote: &Attestation, log: Option<&[u8]>) -> Option<VerifiedQuote> {
    verify_quote(scene.keys.attestation(), &PCRS, &scene.values, &extra(Purpose::Quote), quote, log).ok()
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let scene = &*SCENE;
    vec![
        seed(b'a', quote()),
        seed(b'b', certify(&scene.keys, Purpose::CertifyIdentity)),
        seed(b'c', &scene.good[2].signature),
        seed(b'd', log()),
    ]
}

#[cfg(test)]
mod tests {
    use daypass_proto::enrolment::TrustTier;

    use super::*;

    #[test]
    fn the_seeds_are_good() {
        let scene = &*SCENE;
        let verified = judge(scene, &scene.good[2], Some(&log())).unwrap();
        assert_eq!(verified.event_log(), EventLogState::Replayed);
        assert_eq!(verified.posture(TrustTier::EkChain).secure_boot, Some(true));
    }

    /// A signed statement that is cut, goes on, or says one bit else is not believed, and a log that is cut is dropped.
    #[test]
    fn every_bit_counts() {
        let scene = &*SCENE;
        let good = quote();
        for cut in 0..good.len() {
            assert!(judge(scene, &signed(&scene.ak, &good[..cut]), None).is_none(), "cut at {cut}");
        }
        assert!(judge(scene, &signed(&scene.ak, &[&good[..], &[0]].concat()), None).is_none());
        assert!(judge(scene, &signed(&scene.ak, &[&good[..], &good].concat()), None).is_none());
        assert!(judge(scene, &signed(&scene.ak, &vec![0; 10_000]), None).is_none());
        let log = log();
        for cut in 0..log.len() {
            assert_eq!(judge(scene, &scene.good[2], Some(&log[..cut])).unwrap().event_log(), EventLogState::Dropped);
        }
    }
}
