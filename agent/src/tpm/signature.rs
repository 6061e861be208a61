//! Signatures as they leave the chip, looked at before anybody relies on them.
//!
//! On a bare TPM anybody can put another key behind a handle of ours, and a chip can answer with nonsense: a signature that its key did
//! not make is a lost connection, not a proof that fails at the gate.

use aws_lc_rs::{
    digest::{Digest, SHA256},
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use daypass_proto::attestation::TpmPublic;
use tss_esapi::structures::Signature;

use super::{error::TpmError, key_file::KeyFile};

/// `r ‖ s` of an ECDSA signature; a TPM may leave leading zeros out.
fn fixed(signature: &Signature) -> Result<[u8; 64], TpmError> {
    let Signature::EcDsa(ecdsa) = signature else { return Err(TpmError::Unexpected("a signature of another kind")) };
    let mut out = [0; 64];
    let (r, s) = out.split_at_mut(32);
    for (half, value) in [(r, ecdsa.signature_r().value()), (s, ecdsa.signature_s().value())] {
        let start = half.len().checked_sub(value.len()).ok_or(TpmError::Unexpected("a signature that is too long"))?;
        half.iter_mut().skip(start).zip(value).for_each(|(to, from)| *to = *from);
    }
    Ok(out)
}

/// The signature in its fixed form, if it is one by `key` over this SHA-256 digest.
pub(super) fn is_by(key: &KeyFile, digest: [u8; 32], signature: &Signature) -> Result<[u8; 64], TpmError> {
    let signature = fixed(signature)?;
    let (_, x, y) = TpmPublic::parse(key.public())
        .ok()
        .and_then(|public| public.ecc_point())
        .ok_or(TpmError::Unexpected("a key that is not on P-256"))?;
    let point = [&[4], &x[..], &y].concat();
    let genuine = Digest::import_less_safe(&digest, &SHA256)
        .and_then(|digest| UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify_digest(&digest, &signature));
    genuine
        .map(|()| signature)
        .map_err(|_| TpmError::lost("sign", "the signature is not by the key that was asked for"))
}
