//! Keys that are nobody's: the private scalar is one byte, repeated. They are always the same, so that a corpus can hold what they signed.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use daypass_proto::jose::{EcPublicKey, SoftwareKey};

/// The key with this byte, PKCS#8 (RFC 5915 without the public half).
pub(crate) fn pkcs8(byte: u8) -> Vec<u8> {
    const HEAD: [u8; 35] = [
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    [&HEAD[..], &[byte; 32]].concat()
}

pub(crate) fn software(byte: u8) -> SoftwareKey {
    SoftwareKey::from_pkcs8(&pkcs8(byte)).unwrap()
}

pub(crate) fn pair(byte: u8) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8(byte)).unwrap()
}

pub(crate) fn certifying(byte: u8) -> rcgen::KeyPair {
    rcgen::KeyPair::try_from(pkcs8(byte)).unwrap()
}

pub(crate) fn public(byte: u8) -> EcPublicKey {
    EcPublicKey::from_sec1(pair(byte).public_key().as_ref()).unwrap()
}

/// A PKCS#10 request, DER.
pub(crate) fn csr(byte: u8) -> Vec<u8> {
    rcgen::CertificateParams::default().serialize_request(&certifying(byte)).unwrap().der().to_vec()
}

/// `bytes` behind their length, as `TPM2B` structures are.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// What is different between the three kinds of TPM keys here.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Ek,
    Attestation,
    Signing,
}

/// `TPMT_PUBLIC` of the key with this byte, as a TPM would show it (Part 2, section 12.2.4; TCG EK Credential Profile, template L-2).
pub(crate) fn tpm_public(role: Role, byte: u8) -> Vec<u8> {
    const POLICY_A: [u8; 32] = [
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52,
        0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
    ];
    let (attributes, policy, scheme): (u32, &[u8], &[u8]) = match role {
        // AES-128 in CFB mode, no scheme.
        Role::Ek => (0x0003_00b2, &POLICY_A, &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10]),
        // No symmetric algorithm; ECDSA with SHA-256.
        Role::Attestation => (0x0005_0472, &[], &[0x00, 0x10, 0x00, 0x18, 0x00, 0x0b]),
        Role::Signing => (0x0004_0472, &[], &[0x00, 0x10, 0x00, 0x18, 0x00, 0x0b]),
    };
    let key = public(byte);
    let parts: [&[u8]; 7] = [
        &[0x00, 0x23, 0x00, 0x0b],
        &attributes.to_be_bytes(),
        &sized(policy),
        scheme,
        // P-256, no key derivation.
        &[0x00, 0x03, 0x00, 0x10],
        &sized(key.x()),
        &sized(key.y()),
    ];
    parts.concat()
}

/// The signature of the key with this byte, as a TPM writes it: `TPMT_SIGNATURE`, ECDSA with SHA-256.
pub(crate) fn tpm_signature(pair: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    let signature = pair.sign(&SystemRandom::new(), message).unwrap();
    let (r, s) = signature.as_ref().split_at(32);
    [&[0x00, 0x18, 0x00, 0x0b][..], &sized(r), &sized(s)].concat()
}

/// `TPMS_ATTEST` of a kind, with this `extraData` and body (Part 2, section 10.12).
pub(crate) fn attest(kind: u16, extra: &[u8; 32], body: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 6] = [
        &0xff54_4347_u32.to_be_bytes(),
        &kind.to_be_bytes(),
        &sized(&[0x00, 0x0b]),
        &sized(extra),
        // Clock, counters, `safe`, firmware version.
        &[0; 8 + 4 + 4 + 1 + 8],
        body,
    ];
    parts.concat()
}
