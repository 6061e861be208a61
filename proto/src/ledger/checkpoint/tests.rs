//! Notes against the published ones, and against signatures of an implementation that is not ours (`ed25519-dalek`, by way of `signed_note`).

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use signed_note::{StandardVerifier, VerifierList};

use super::*;
use crate::ledger::tree::tests::vectors;

fn origin() -> Origin {
    "issuer.example.com/ledger/1".parse().unwrap()
}

fn head() -> Head {
    Head::try_new(7, [9; 32]).unwrap()
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_pkcs8(&KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_der()).unwrap()
}

#[test]
fn what_is_signed_verifies_and_nothing_else() {
    let (ours, other) = (signer(), signer());
    let note = ours.sign(&origin(), &head()).unwrap();
    let keys = [other.public(), ours.public()];
    let checkpoint = VerifiedCheckpoint::verify(&note, &origin(), &keys).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.head(), checkpoint.note()), (&origin(), &head(), note.as_str()));
    let refused = |note: &str| VerifiedCheckpoint::verify(note, &origin(), &keys).unwrap_err();
    assert_eq!(refused(&note.replacen("\n7\n", "\n8\n", 1)), CheckpointError::Signature);
    assert_eq!(refused(&signer().sign(&origin(), &head()).unwrap()), CheckpointError::UnknownKey);
    let elsewhere: Origin = "issuer.example.com/ledger/2".parse().unwrap();
    assert!(matches!(refused(&ours.sign(&elsewhere, &head()).unwrap()), CheckpointError::Origin { .. }));
    assert!(VerifiedCheckpoint::verify_any(&ours.sign(&elsewhere, &head()).unwrap(), &keys).is_ok());
    // A witness that is not known adds its line, and nothing changes; a known key's bad line refuses the whole.
    let line = |note: &str| note.lines().last().unwrap().to_owned() + "\n";
    let stranger = line(&signer().sign(&origin(), &head()).unwrap());
    assert!(VerifiedCheckpoint::verify(&format!("{note}{stranger}"), &origin(), &keys).is_ok());
    let wrong = line(&other.sign(&origin(), &Head::try_new(8, [9; 32]).unwrap()).unwrap());
    assert_eq!(refused(&format!("{note}{wrong}")), CheckpointError::Signature);
}

#[test]
fn another_implementation_verifies_what_we_sign() {
    let signer = signer();
    let note = signer.sign(&origin(), &head()).unwrap();
    let verifier = StandardVerifier::new(&signer.public().verifier_key(&origin())).unwrap();
    let (good, unknown) =
        Note::from_bytes(note.as_bytes()).unwrap().verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((good.len(), unknown.len()), (1, 0));
}

/// The vectors are notes, not all of them checkpoints: they go through the same reading and the same verifier.
fn verify_note(note: &[u8], key: &str) -> Result<usize, ()> {
    let (origin, key) = CheckpointKey::from_verifier_key(key).map_err(|_| ())?;
    let parsed = Note::from_bytes(note).map_err(|_| ())?;
    let known = VerifierList::new(vec![Box::new(Known { origin, key })]);
    parsed.verify(&known).map(|(_, unknown)| unknown.len()).map_err(|_| ())
}

#[test]
fn published_notes() {
    let Some(folder) = vectors("notes") else { return };
    let vectors: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("signed-note.json")).unwrap()).unwrap();
    let valid = vectors["valid"].as_array().unwrap();
    assert_eq!(valid.len(), 3);
    for vector in valid {
        let (note, key) = (vector["note"].as_str().unwrap(), vector["vkey"].as_str().unwrap());
        let unknown = vector["unverified"].as_u64().unwrap_or(0);
        assert_eq!(verify_note(note.as_bytes(), key), Ok(unknown as usize), "{note}");
        let (origin, public) = CheckpointKey::from_verifier_key(key).unwrap();
        assert_eq!(public.verifier_key(&origin), key);
        // The rules that the file tells in words.
        let (text, signatures) = note.split_once("\n\n").unwrap();
        let last = note.lines().last().unwrap();
        let malformed: [Vec<u8>; 7] = [
            format!("{text}\n").into(),
            note.trim_end_matches('\n').into(),
            format!("\u{1}{note}").into(),
            [&[0xff], note.as_bytes()].concat(),
            note.replacen("\u{2014} ", "\u{2014} a b", 1).into(),
            format!("{note}more\n").into(),
            [text, "\n\n", signatures, &format!("{last}\n").repeat(100)].concat().into(),
        ];
        for note in malformed {
            assert!(verify_note(&note, key).is_err(), "{}", String::from_utf8_lossy(&note));
        }
        let altered = note.replacen(text.get(..3).unwrap(), "xyz", 1);
        assert!(verify_note(altered.as_bytes(), key).is_err());
        let sixteen = [text, "\n\n", &format!("{last}\n").repeat(15), signatures].concat();
        assert!(verify_note(sixteen.as_bytes(), key).is_ok(), "sixteen lines are not too many");
    }
}

#[test]
fn a_checkpoint_has_one_form() {
    let note = signer().sign(&origin(), &head()).unwrap();
    assert_eq!(peek(&note).unwrap(), (origin(), head()));
    for (from, to) in [
        ("\n7\n", "\n07\n"),
        ("\n7\n", "\n-7\n"),
        ("\n7\n", "\n9007199254740993\n"),
        ("CQk", "CQ"),
        ("issuer", "is suer"),
    ] {
        let broken = note.replacen(from, to, 1);
        assert_ne!(broken, note);
        assert!(matches!(peek(&broken), Err(CheckpointError::Malformed(_))), "{broken}");
    }
    assert!(matches!(peek(&"x".repeat(MAX_CHECKPOINT + 1)), Err(CheckpointError::Malformed("it is too long"))));
    assert!(matches!(peek(""), Err(CheckpointError::Malformed(_))));
}

#[test]
fn an_origin_names_the_issuer_and_the_beginning() {
    let origin = Origin::of_issuer("https://issuer.example.com:8443", [0; 10]).unwrap();
    assert_eq!(origin.as_str(), "issuer.example.com:8443/ledger/0000000000000000");
    for bad in ["", "a b", "a+b", "a\u{7f}", "a\nb", &"x".repeat(513)] {
        assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        assert!(serde_json::from_value::<Origin>(bad.into()).is_err());
    }
}

#[test]
fn a_verifier_key_has_one_form() {
    let text = signer().public().verifier_key(&origin());
    assert!(CheckpointKey::from_verifier_key(&text).is_ok());
    assert!(CheckpointKey::from_verifier_key(&format!("{text}\n")).is_ok());
    for bad in
        [text.replacen("issuer", "another", 1), text.replacen("+A", "+B", 1), text.replace('+', " "), String::new()]
    {
        assert!(matches!(CheckpointKey::from_verifier_key(&bad), Err(CheckpointError::Key(_))), "{bad}");
    }
}

/// A root, and a certificate under it of this name for this kind of key.
fn certified(name: &str, ca: bool, algorithm: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, Vec<u8>, KeyPair) {
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut own = CertificateParams::default();
    own.distinguished_name.push(DnType::CommonName, name);
    if ca {
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let own = own.signed_by(&key, &Issuer::new(root, root_key)).unwrap().der().to_vec();
    (own, root_der, key)
}

#[test]
fn a_key_is_good_under_the_pinned_root_for_this_purpose_alone() {
    let (own, root, key) = certified(KEY_NAME, false, &PKCS_ED25519);
    let pin = Pin::of_certificate(&root).unwrap();
    let chain = [own.clone(), root.clone()];
    let found = CheckpointKey::certified(&own, &chain, &pin).unwrap();
    assert_eq!(found, CheckpointSigner::from_pkcs8(&key.serialize_der()).unwrap().public());
    let refused = |own: &[u8], root: &[u8], pin: &Pin| {
        matches!(CheckpointKey::certified(own, &[own.to_vec(), root.to_vec()], pin), Err(CheckpointError::Key(_)))
    };
    let (foreign, other_root, _) = certified(KEY_NAME, false, &PKCS_ED25519);
    assert!(refused(&own, &other_root, &pin), "the root is not there");
    assert!(refused(&foreign, &root, &pin), "another root signed it");
    assert!(refused(&own[1..], &root, &pin));
    for (name, ca, algorithm) in [
        ("Daypass token key", false, &PKCS_ED25519),
        (KEY_NAME, true, &PKCS_ED25519),
        (KEY_NAME, false, &PKCS_ECDSA_P256_SHA256),
    ] {
        let (own, root, _) = certified(name, ca, algorithm);
        assert!(refused(&own, &root, &Pin::of_certificate(&root).unwrap()), "{name} {ca}");
    }
}
