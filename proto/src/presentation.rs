//! Presentations: an access token and a key-binding JWT in one string, for clients such as git that can send one credential.
//!
//! The form is SD-JWT+KB without disclosures (RFC 9901 section 4): `<access token>~<KB-JWT>`. The KB-JWT is signed by the key in the
//! token's `cnf.jwk` and names the repository, a nonce of the gate and the hash of the token. Whether the nonce is good for this
//! client, and was used before, is for the gate to say.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    dpop::token_hash,
    encoding::sha256,
    jose::{Header, JoseError, MAX_JWS, UnverifiedJws, signing_input},
    resource::Repository,
    time::Timestamp,
    token::{self, TokenError, VerifiedToken},
};

/// The `typ` of a key-binding JWT (RFC 9901 section 4.3).
pub const TYP: &str = "kb+jwt";
/// The authentication scheme that carries a presentation.
pub const SCHEME: &str = "Daypass";
/// The username that carries a presentation in `Basic`.
pub const BASIC_USERNAME: &str = "daypass";

/// The claims of a key-binding JWT.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyBindingClaims {
    /// The canonical repository.
    pub aud: String,
    /// The gate's nonce.
    pub nonce: String,
    /// When it was made.
    pub iat: Timestamp,
    /// base64url SHA-256 over everything up to and including `~`.
    pub sd_hash: String,
}

/// Why a presentation was refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PresentationError {
    /// Not `<token>~<KB-JWT>`.
    #[error("the credential is not an access token and a key-binding JWT")]
    Form,
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key-binding JWT's form or signature.
    #[error("the key-binding JWT {0}")]
    Jose(#[from] JoseError),
    /// Another repository.
    #[error("the credential was made for another repository")]
    Repository,
    /// Another token.
    #[error("the key-binding JWT was made for another access token")]
    TokenHash,
    /// Older than its token, or from the future.
    #[error("the key-binding JWT was made at {made}, and it is {now}: the clocks differ by more than is allowed")]
    Time {
        /// `iat`.
        made: Timestamp,
        /// The clock here.
        now: Timestamp,
    },
}

/// What the proof key signs to present `access_token` for `repository`.
pub fn key_binding_input(
    access_token: &str,
    repository: &Repository,
    nonce: &str,
    iat: Timestamp,
) -> Result<String, JoseError> {
    let claims = KeyBindingClaims {
        aud: repository.as_str().to_owned(),
        nonce: nonce.to_owned(),
        iat,
        sd_hash: token_hash(&format!("{access_token}~")),
    };
    signing_input(&Header { typ: TYP, ..Header::default() }, &claims)
}

/// The presentation of a token and its assembled KB-JWT.
pub fn present(access_token: &str, key_binding: &str) -> String {
    format!("{access_token}~{key_binding}")
}

/// The access token within a presentation, unverified: for telling whether a refused credential is ours.
pub fn token_of(presentation: &str) -> Option<&str> {
    presentation.split_once('~').map(|(token, _)| token)
}

/// A presentation that fits this repository. Its nonce is not yet checked.
#[derive(Clone, Debug)]
pub struct VerifiedPresentation {
    token: VerifiedToken,
    nonce: String,
    hash: [u8; 32],
}

impl VerifiedPresentation {
    /// The token in it.
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The nonce in it.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// SHA-256 of the signed part of the key-binding JWT, for the replay memory: an ECDSA signature can be re-randomised without the
    /// key, what it signs cannot.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// Checks a presentation for `repository`; `expected.resource` is the repository's.
pub fn verify(
    presentation: &str,
    repository: &Repository,
    expected: &token::Expected<'_>,
) -> Result<VerifiedPresentation, PresentationError> {
    if presentation.len() > 2 * MAX_JWS + 1 {
        return Err(PresentationError::Form);
    }
    let (access_token, key_binding) = presentation.split_once('~').ok_or(PresentationError::Form)?;
    if key_binding.contains('~') {
        return Err(PresentationError::Form);
    }
    let token = token::verify(access_token, expected)?;
    let jws = UnverifiedJws::parse(key_binding, TYP)?;
    let signed = key_binding.rsplit_once('.').map_or(key_binding, |(signed, _)| signed);
    let hash = sha256(&[signed.as_bytes()]);
    let claims: KeyBindingClaims = jws.verify(&token.claims().cnf.jwk)?.claims()?;
    if claims.aud != repository.as_str() {
        return Err(PresentationError::Repository);
    }
    if claims.sd_hash != token_hash(&format!("{access_token}~")) {
        return Err(PresentationError::TokenHash);
    }
    let (now, skew) = (expected.now, expected.skew.seconds());
    if claims.iat > now.plus(skew) || claims.iat < token.claims().iat.plus(-skew) {
        return Err(PresentationError::Time { made: claims.iat, now });
    }
    Ok(VerifiedPresentation { token, nonce: claims.nonce, hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        jose::SoftwareKey,
        time::Skew,
        token::tests::{claims, key, sign},
    };

    struct Scene {
        issuer: SoftwareKey,
        holder: SoftwareKey,
        repository: Repository,
    }

    impl Scene {
        fn new() -> Self {
            Self { issuer: key(), holder: key(), repository: "https://h/team/app".parse().unwrap() }
        }

        fn kb(&self, signer: &SoftwareKey, typ: &str, change: impl Fn(&mut KeyBindingClaims), token: &str) -> String {
            let mut claims = KeyBindingClaims {
                aud: self.repository.as_str().into(),
                nonce: "n".into(),
                iat: Timestamp::from_seconds(1100),
                sd_hash: token_hash(&format!("{token}~")),
            };
            change(&mut claims);
            signer.sign(&Header { typ, ..Header::default() }, &claims).unwrap()
        }

        fn check(&self, presentation: &str, now: i64) -> Result<VerifiedPresentation, PresentationError> {
            verify(
                presentation,
                &self.repository,
                &token::Expected {
                    issuer: "https://issuer.test",
                    resource: &self.repository.resource(),
                    now: Timestamp::from_seconds(now),
                    skew: Skew::try_new(30).unwrap(),
                    key: &|_| Some(*self.issuer.public()),
                },
            )
        }
    }

    #[test]
    fn what_we_make_verifies() {
        let scene = Scene::new();
        let token = sign(&scene.issuer, &claims(&scene.holder));
        let input = key_binding_input(&token, &scene.repository, "n", Timestamp::from_seconds(1100)).unwrap();
        assert!(input.starts_with("eyJhbGciOiJFUzI1NiIsInR5cCI6ImtiK2p3dCJ9."));
        let presentation = present(&token, &scene.kb(&scene.holder, TYP, |_| (), &token));
        let verified = scene.check(&presentation, 1100).unwrap();
        assert_eq!(verified.nonce(), "n");
        assert_eq!(token_of(&presentation), Some(token.as_str()));
    }

    #[test]
    fn each_part_is_checked() {
        let scene = Scene::new();
        let token = sign(&scene.issuer, &claims(&scene.holder));
        let other = key();
        let refused = |kb: String| scene.check(&present(&token, &kb), 1100).unwrap_err();
        assert_eq!(refused(scene.kb(&other, TYP, |_| (), &token)), PresentationError::Jose(JoseError::Signature));
        assert!(matches!(
            refused(scene.kb(&scene.holder, "JWT", |_| (), &token)),
            PresentationError::Jose(JoseError::Type { .. })
        ));
        assert_eq!(
            refused(scene.kb(&scene.holder, TYP, |c| c.aud = "https://h/team/b".into(), &token)),
            PresentationError::Repository
        );
        assert_eq!(refused(scene.kb(&scene.holder, TYP, |_| (), "another")), PresentationError::TokenHash);
        for (iat, good) in [(969, false), (970, true), (1130, true), (1131, false)] {
            let kb = scene.kb(&scene.holder, TYP, |c| c.iat = Timestamp::from_seconds(iat), &token);
            assert_eq!(scene.check(&present(&token, &kb), 1100).is_ok(), good, "{iat}");
        }
        let good = scene.kb(&scene.holder, TYP, |_| (), &token);
        assert_eq!(scene.check(&format!("{token}~~{good}"), 1100).unwrap_err(), PresentationError::Form);
        assert_eq!(scene.check(&token, 1100).unwrap_err(), PresentationError::Form);
        let long = present(&token, &"a".repeat(2 * MAX_JWS));
        assert_eq!(scene.check(&long, 1100).unwrap_err(), PresentationError::Form);
        let whole = present(&token, &good);
        for cut in 0..whole.len() {
            assert!(scene.check(&whole[..cut], 1100).is_err(), "cut at {cut}");
        }
        assert!(scene.check(&format!("{whole}{whole}"), 1100).is_err(), "twice");
        assert!(scene.check(&format!("{whole}\u{e9}"), 1100).is_err());
        assert!(scene.check(&present(&token, &good), 1630).is_err(), "expired");
    }
}
