//! The one string that somebody is sent: an invitation for a device, or a code for a gate (docs/wire.md section 2).
//!
//! Only letters, digits, `-` and `_`: a double click selects it whole. The checksum tells a truncated or mistyped code from
//! a wrong one before anything is sent anywhere.

use std::{fmt, str::FromStr};

use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    encoding::{base64url, from_base64url, sha256},
    pin::Pin,
};

/// What a code lets its holder enrol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CodeKind {
    /// One device, for one collaborator.
    Invitation,
    /// One gate.
    Gate,
}

impl CodeKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Invitation => "dpinv1_",
            Self::Gate => "dpgate1_",
        }
    }
}

/// Why a string is not a code. Never shows the string: it may hold a secret that works.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CodeError {
    /// Another prefix, or none.
    #[error("this is not {}: it should begin with `{}`", match .0 { CodeKind::Invitation => "an invitation", CodeKind::Gate => "a gate code" }, .0.prefix())]
    Prefix(CodeKind),
    /// A good-looking code of the other kind.
    #[error("{}", match .0 { CodeKind::Invitation => "this is a gate's code, which `daypass-gate enrol` takes; an invitation begins with `dpinv1_`", CodeKind::Gate => "this is an invitation, which `daypass enroll` takes; a gate code begins with `dpgate1_`" })]
    OtherKind(CodeKind),
    /// The checksum does not fit, or characters are missing.
    #[error("the code is truncated or mistyped: its checksum does not fit; copy the whole of it, in one piece")]
    Checksum,
    /// The checksum fits, so whoever made it made it wrong.
    #[error("the code holds an issuer address that is not an `https://` origin")]
    Issuer,
}

/// The secret half of a code; zeroized when dropped, and never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct CodeSecret(Zeroizing<[u8; 16]>);

impl CodeSecret {
    /// The secret made of these random bytes.
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// The form in which the issuer stores it.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[b"daypass/v1/code-secret", self.0.as_slice()])
    }

    /// The bytes, to be sent to the issuer once.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for CodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeSecret(…)")
    }
}

/// An invitation or a gate code, read whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Code {
    /// What it is for.
    pub kind: CodeKind,
    /// The issuer's root.
    pub pin: Pin,
    /// What the issuer will recognise.
    pub secret: CodeSecret,
    issuer: String,
}

impl Code {
    /// A code; `issuer` must be an `https` origin, with or without a final slash.
    pub fn try_new(kind: CodeKind, pin: Pin, secret: CodeSecret, issuer: &str) -> Result<Self, CodeError> {
        let issuer = canonical_issuer(issuer).ok_or(CodeError::Issuer)?;
        Ok(Self { kind, pin, secret, issuer })
    }

    /// Reads a code of this kind; white space around it is taken off.
    pub fn parse(kind: CodeKind, text: &str) -> Result<Self, CodeError> {
        let text = text.trim();
        let other = match kind {
            CodeKind::Invitation => CodeKind::Gate,
            CodeKind::Gate => CodeKind::Invitation,
        };
        if text.starts_with(other.prefix()) {
            return Err(CodeError::OtherKind(kind));
        }
        let body = text.strip_prefix(kind.prefix()).ok_or(CodeError::Prefix(kind))?;
        if body.len() > 1024 {
            return Err(CodeError::Checksum);
        }
        let bytes = Zeroizing::new(from_base64url(body).ok_or(CodeError::Checksum)?);
        let (content, checksum) =
            bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at)).ok_or(CodeError::Checksum)?;
        if sha256(&[kind.prefix().as_bytes(), content]).get(..4) != Some(checksum) {
            return Err(CodeError::Checksum);
        }
        let (pin, rest) = content.split_at_checked(32).ok_or(CodeError::Checksum)?;
        let (secret, issuer) = rest.split_at_checked(16).ok_or(CodeError::Checksum)?;
        let pin = Pin(pin.try_into().map_err(|_| CodeError::Checksum)?);
        let secret = CodeSecret::from_random(secret.try_into().map_err(|_| CodeError::Checksum)?);
        let issuer = std::str::from_utf8(issuer).map_err(|_| CodeError::Issuer)?;
        Self::try_new(kind, pin, secret, issuer)
    }

    /// The issuer's URL, an origin without a final slash: the `issuer` of RFC 8414.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The string to hand over: whoever has it can use it, so it is not `Display`.
    pub fn expose(&self) -> Zeroizing<String> {
        let content = [&self.pin.0[..], self.secret.expose(), self.issuer.as_bytes()].concat();
        let checksum = sha256(&[self.kind.prefix().as_bytes(), &content]);
        let all = Zeroizing::new([&content[..], checksum.get(..4).unwrap_or_default()].concat());
        Zeroizing::new(format!("{}{}", self.kind.prefix(), base64url(&all)))
    }
}

impl FromStr for Code {
    type Err = CodeError;

    /// Reads an invitation, which is what a person is usually given.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        Self::parse(CodeKind::Invitation, text)
    }
}

/// `issuer` as an origin without a final slash, or `None` where it is anything but an `https` origin.
pub fn canonical_issuer(issuer: &str) -> Option<String> {
    let url = Url::parse(issuer).ok().filter(|_| issuer.len() <= 512)?;
    let plain = url.scheme() == "https"
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    plain.then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code() -> Code {
        Code::try_new(CodeKind::Invitation, Pin([3; 32]), CodeSecret::from_random([9; 16]), "https://issuer.test:8443/")
            .unwrap()
    }

    #[test]
    fn comes_back_whole_and_prints_no_secret() {
        let text = code().expose();
        assert_eq!(format!(" {}\n", *text).parse::<Code>().unwrap(), code());
        assert_eq!(code().issuer(), "https://issuer.test:8443");
        assert!(!format!("{:?}", code()).contains('9'));
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let text = code().expose();
        assert_eq!("hello".parse::<Code>(), Err(CodeError::Prefix(CodeKind::Invitation)));
        assert_eq!(Code::parse(CodeKind::Gate, &text), Err(CodeError::OtherKind(CodeKind::Gate)));
        for cut in "dpinv1_".len()..text.len() {
            assert_eq!(text[..cut].parse::<Code>(), Err(CodeError::Checksum), "cut at {cut}");
        }
        assert_eq!(
            Code::try_new(CodeKind::Invitation, Pin([0; 32]), CodeSecret::from_random([0; 16]), "http://a/"),
            Err(CodeError::Issuer)
        );
    }

    /// A code with a checksum that fits.
    fn sealed(content: &[u8]) -> String {
        let checksum = sha256(&[b"dpinv1_", content]);
        format!("dpinv1_{}", base64url(&[content, &checksum[..4]].concat()))
    }

    #[test]
    fn what_is_no_code_behind_a_good_checksum() {
        let (head, issuer) = ([3; 48], b"https://issuer.test");
        assert!(sealed(&[&head[..], issuer].concat()).parse::<Code>().is_ok());
        assert_eq!(sealed(&[&head[..], b"https://\xff"].concat()).parse::<Code>(), Err(CodeError::Issuer), "no UTF-8");
        assert_eq!(sealed(&[&head[..], issuer, issuer].concat()).parse::<Code>(), Err(CodeError::Issuer), "twice");
        assert_eq!(sealed(&head[..40]).parse::<Code>(), Err(CodeError::Checksum), "no whole secret");
        assert_eq!(sealed(&[]).parse::<Code>(), Err(CodeError::Checksum));
        let long = format!("https://{}.test", "a".repeat(600));
        assert_eq!(sealed(&[&head[..], long.as_bytes()].concat()).parse::<Code>(), Err(CodeError::Issuer));
        assert_eq!(sealed(&[9; 100_000]).parse::<Code>(), Err(CodeError::Checksum), "too long to be looked at");
        let text = code().expose();
        assert_eq!(format!("{}{}", *text, *text).parse::<Code>(), Err(CodeError::Checksum));
        assert_eq!(format!("{}\u{fffd}", *text).parse::<Code>(), Err(CodeError::Checksum));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(dpinv1_)?[A-Za-z0-9_-]{0,300}") {
            prop_assert!(text.parse::<Code>().is_err());
        }

        #[test]
        fn what_is_sealed_comes_back_or_is_refused(content in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(code) = sealed(&content).parse::<Code>() {
                prop_assert_eq!(code.expose().parse::<Code>(), Ok(code));
            }
        }
    }
}
