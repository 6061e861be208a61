//! DPoP proofs (RFC 9449): making one, and the checks of section 4.3.
//!
//! Two checks stay with the caller, who has the memory for them: that the `jti` is new, and that the nonce is one of its own.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::{
    encoding::{base64url, sha256},
    jose::{EcPublicKey, Header, JoseError, UnverifiedJws, signing_input},
    time::{Skew, Timestamp},
};

/// The `typ` of a proof.
pub const TYP: &str = "dpop+jwt";
/// How long a proof is good for after its `iat`, in seconds, not counting the skew.
pub const LIFETIME: i64 = 60;
/// The longest `jti` that is remembered, in bytes.
pub const MAX_JTI: usize = 128;

/// The claims of a proof. Unknown ones are ignored (RFC 9449 section 4.2 allows more).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// Unique for each proof.
    pub jti: String,
    /// HTTP method.
    pub htm: String,
    /// HTTP URL without query and fragment.
    pub htu: String,
    /// When it was made.
    pub iat: Timestamp,
    /// base64url SHA-256 of the access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ath: Option<String>,
    /// The nonce that the server asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// Why a proof was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum DpopError {
    /// Not a JWS, or not signed by the key it names.
    #[error("the DPoP proof {0}")]
    Jose(#[from] JoseError),
    /// No `jwk`.
    #[error("the DPoP proof has no `jwk` in its header")]
    NoKey,
    /// `jti` empty or too long.
    #[error("the DPoP proof needs a `jti` of 1 to {MAX_JTI} bytes")]
    Jti,
    /// Another method.
    #[error("the DPoP proof is for method `{0}`")]
    Method(String),
    /// Another URL.
    #[error("the DPoP proof is for another URL than the one that was asked")]
    Url,
    /// Outside the window.
    #[error(
        "the DPoP proof was made at {made}, and it is {now}: too old, or the clocks differ by more than is allowed"
    )]
    Time {
        /// `iat`.
        made: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
    /// `ath` missing or another token's.
    #[error("the DPoP proof is not for this access token")]
    TokenHash,
    /// Another key than the token's.
    #[error("the DPoP proof is signed by another key than the access token is bound to")]
    Key,
}

/// What a proof must be, here and now.
pub struct Expected<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's URL, as the client addressed it; query and fragment do not count.
    pub url: &'a str,
    /// The access token that came along, with the key it is bound to.
    pub token: Option<(&'a str, &'a EcPublicKey)>,
    /// The clock.
    pub now: Timestamp,
    /// The allowed skew.
    pub skew: Skew,
}

/// A proof that fits the request. Whether its `jti` is new and its nonce known is not yet said.
#[derive(Clone, Debug)]
pub struct VerifiedDpop {
    key: EcPublicKey,
    claims: Claims,
}

impl VerifiedDpop {
    /// The key that signed it.
    pub fn key(&self) -> &EcPublicKey {
        &self.key
    }

    /// Its identifier, for the replay memory.
    pub fn jti(&self) -> &str {
        &self.claims.jti
    }

    /// When it was made.
    pub fn iat(&self) -> Timestamp {
        self.claims.iat
    }

    /// The nonce in it.
    pub fn nonce(&self) -> Option<&str> {
        self.claims.nonce.as_deref()
    }

    /// Until when its `jti` must be remembered: life and twice the skew.
    pub fn remember_until(&self, skew: Skew) -> Timestamp {
        self.claims.iat.plus(LIFETIME + 2 * skew.seconds())
    }
}

/// The `ath` of an access token.
pub fn token_hash(token: &str) -> String {
    base64url(&sha256(&[token.as_bytes()]))
}

/// What the proof key signs.
pub fn proof_input(key: &EcPublicKey, claims: &Claims) -> Result<String, JoseError> {
    signing_input(&Header { typ: TYP, kid: None, jwk: Some(key) }, claims)
}

/// The `htu` of a URL: without query and fragment.
pub fn htu(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

/// Checks a proof as RFC 9449 section 4.3 demands. That there is exactly one `DPoP` header is for the caller to see.
pub fn verify(proof: &str, expected: &Expected<'_>) -> Result<VerifiedDpop, DpopError> {
    let jws = UnverifiedJws::parse(proof, TYP)?;
    let key = *jws.jwk().ok_or(DpopError::NoKey)?;
    let claims: Claims = jws.verify(&key)?.claims()?;
    if claims.jti.is_empty() || claims.jti.len() > MAX_JTI {
        return Err(DpopError::Jti);
    }
    if claims.htm != expected.method {
        return Err(DpopError::Method(claims.htm.chars().take(20).collect()));
    }
    match (normalised(&claims.htu), normalised(expected.url)) {
        (Some(theirs), Some(ours)) if theirs == ours => {}
        _ => return Err(DpopError::Url),
    }
    let skew = expected.skew.seconds();
    let age = expected.now.since(claims.iat);
    if age > LIFETIME + skew || age < -skew {
        return Err(DpopError::Time { made: claims.iat, now: expected.now });
    }
    if let Some((token, bound)) = expected.token {
        if claims.ath.as_deref() != Some(token_hash(token).as_str()) {
            return Err(DpopError::TokenHash);
        }
        if key != *bound {
            return Err(DpopError::Key);
        }
    }
    Ok(VerifiedDpop { key, claims })
}

/// The URL in the form in which two are compared: without query and fragment, after syntax- and scheme-based normalisation
/// (RFC 3986 sections 6.2.2 and 6.2.3). The URL parser does case, dots and ports; percent-encoding is done here.
fn normalised(url: &str) -> Option<String> {
    // The parser repairs what is no URI (RFC 3986 section 2): it drops line ends, takes `\` for `/`, and finds a host without `//`.
    let (scheme, rest) = url.split_once("://")?;
    let is_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    if !is_web || rest.starts_with('/') || !rest.bytes().all(is_uri) {
        return None;
    }
    let url = htu(url)?;
    let mut out = String::with_capacity(url.len());
    let mut rest = url.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        // `from_str_radix` would take a sign.
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = after.get(2..)?;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jose::SoftwareKey, token::tests::key};

    // RFC 9449 section 4.1.
    const RFC_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

    fn expected<'a>(method: &'a str, url: &'a str, now: i64) -> Expected<'a> {
        Expected { method, url, token: None, now: Timestamp::from_seconds(now), skew: Skew::try_new(10).unwrap() }
    }

    #[test]
    fn rfc_9449_section_4_1() {
        let proof = verify(RFC_PROOF, &expected("POST", "https://server.example.com/token", 1_562_262_616)).unwrap();
        assert_eq!(proof.key().thumbprint(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(proof.jti(), "-BwC3ESc6acc2lTc");
    }

    #[test]
    fn rfc_9449_section_7_1_token_hash() {
        assert_eq!(
            token_hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
            "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
        );
    }

    fn claims() -> Claims {
        Claims {
            jti: "1".into(),
            htm: "GET".into(),
            htu: "https://h/a".into(),
            iat: Timestamp::from_seconds(1000),
            ath: Some(token_hash("t")),
            nonce: None,
        }
    }

    fn sign(key: &SoftwareKey, claims: &Claims) -> String {
        key.sign(&Header { typ: TYP, kid: None, jwk: Some(key.public()) }, claims).unwrap()
    }

    #[test]
    fn each_claim_is_checked() {
        let (holder, other) = (key(), key());
        let check = |signer: &SoftwareKey, change: &dyn Fn(&mut Claims), now| {
            let mut claims = claims();
            change(&mut claims);
            let mut expected = expected("GET", "https://h/a?q=1", now);
            expected.token = Some(("t", holder.public()));
            verify(&sign(signer, &claims), &expected).map(|_| ())
        };
        assert_eq!(check(&holder, &|_| (), 1000), Ok(()));
        assert_eq!(check(&other, &|_| (), 1000), Err(DpopError::Key));
        assert_eq!(check(&holder, &|c| c.ath = None, 1000), Err(DpopError::TokenHash));
        assert_eq!(check(&holder, &|c| c.ath = Some(token_hash("u")), 1000), Err(DpopError::TokenHash));
        assert_eq!(check(&holder, &|c| c.htm = "get".into(), 1000), Err(DpopError::Method("get".into())));
        assert_eq!(check(&holder, &|c| c.htu = "https://h/b".into(), 1000), Err(DpopError::Url));
        assert_eq!(check(&holder, &|c| c.htu = "http://h/a".into(), 1000), Err(DpopError::Url));
        assert_eq!(check(&holder, &|c| c.jti = String::new(), 1000), Err(DpopError::Jti));
        assert_eq!(check(&holder, &|c| c.jti = "x".repeat(129), 1000), Err(DpopError::Jti));
        for (now, good) in [(989, false), (990, true), (1070, true), (1071, false)] {
            assert_eq!(check(&holder, &|_| (), now).is_ok(), good, "at {now}");
        }
    }

    #[test]
    fn urls_are_compared_after_normalisation() {
        for same in
            ["HTTPS://H/a", "https://h:443/a", "https://h/./a", "https://h/%61", "https://h/a#f", "https://h/a?x=y"]
        {
            assert_eq!(normalised(same), normalised("https://h/a"), "{same}");
        }
        assert_eq!(normalised("https://h/%2f"), normalised("https://h/%2F"));
        assert_ne!(normalised("https://h/%2F"), normalised("https://h//"));
        for bad in ["https://h/%zz", "https://h/%+1", "https://h/%-1", "https://h/%1", "https://h/%"] {
            assert_eq!(normalised(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_proof_without_its_key_is_refused() {
        let holder = key();
        let proof = holder.sign(&Header { typ: TYP, kid: None, jwk: None }, &claims()).unwrap();
        assert_eq!(verify(&proof, &expected("GET", "https://h/a", 1000)).unwrap_err(), DpopError::NoKey);
    }
}
