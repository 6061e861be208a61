//! The names of things on the wire, each a type of its own, so that one cannot be passed for another.
//!
//! Devices and collaborators live in disjoint namespaces: a device's `client_id` is a URN, and a collaborator's
//! name has no colon (RFC 9700 section 4.15: a client must not be confusable with a person).

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    encoding::{base32, is_base32},
    redaction::glimpse,
};

/// A name that is not in its allowed form.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{given}` is not a {what}: expected {expected}")]
pub struct NameError {
    what: &'static str,
    expected: &'static str,
    given: String,
}

impl NameError {
    fn new(what: &'static str, expected: &'static str, given: &str) -> Self {
        Self { what, expected, given: glimpse(given) }
    }
}

/// Serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string"})
            }
        }
    };
}
pub(crate) use serde_as_text;

/// An identifier: a prefix and 80 random bits.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// The identifier made of these random bytes.
            pub fn from_random(random: [u8; 10]) -> Self {
                Self(format!(concat!($prefix, "{}"), base32(&random)))
            }

            /// The identifier as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match text.strip_prefix($prefix) {
                    Some(rest) if is_base32(rest, 16) => Ok(Self(text.to_owned())),
                    _ => Err(NameError::new($what, concat!("`", $prefix, "` and 16 letters and digits"), text)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serde_as_text!($name);
    };
}

identifier!(
    /// One machine with one TPM, enrolled for one collaborator.
    DeviceId, "dev-", "device"
);
identifier!(
    /// A time-boxed right.
    GrantId, "gr-", "grant"
);
identifier!(
    /// A single-use code's record.
    InvitationId, "inv-", "invitation"
);
identifier!(
    /// Somebody's request for longer, or for more.
    RequestId, "req-", "request"
);
identifier!(
    /// One enrolment in flight.
    EnrolmentId, "enr-", "enrolment"
);
identifier!(
    /// A policy that waits for a second administrator.
    ProposalId, "prop-", "proposal"
);
identifier!(
    /// One certificate renewal in flight.
    RenewalId, "ren-", "renewal"
);

const GATE_URI_PREFIX: &str = "urn:daypass:gate:";

impl DeviceId {
    /// What stands before a device's name in its `client_id`.
    pub const CLIENT_ID_PREFIX: &str = "urn:daypass:device:";

    /// The device's OAuth `client_id`, and the one URI SAN of its certificate (RFC 8705 section 2.1.2).
    pub fn client_id(&self) -> String {
        format!("{}{}", Self::CLIENT_ID_PREFIX, self.0)
    }

    /// The device that a `client_id` names.
    pub fn from_client_id(client_id: &str) -> Result<Self, NameError> {
        client_id
            .strip_prefix(Self::CLIENT_ID_PREFIX)
            .and_then(|rest| rest.parse().ok())
            .ok_or_else(|| NameError::new("client_id", "`urn:daypass:device:` and a device", client_id))
    }
}

/// A name with an allow-list of its own.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// The name as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(NameError::new($what, $expected, text)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serde_as_text!($name);
    };
}

fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

checked_name!(
    /// The person who gets temporary access; the `sub` of a token. Without a colon, so that it can never be a `client_id`.
    Collaborator, "collaborator", "1 to 128 visible ASCII characters without `:`",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
);
checked_name!(
    /// A project, as its file is called.
    ProjectName, "project name", "1 to 63 of `a-z`, `0-9`, `-`, beginning with a letter or digit", is_label
);
checked_name!(
    /// A role of a project.
    RoleName, "role name", "1 to 63 of `a-z`, `0-9`, `-`, beginning with a letter or digit", is_label
);
checked_name!(
    /// A phase of a project.
    PhaseName, "phase name", "1 to 63 of `a-z`, `0-9`, `-`, beginning with a letter or digit", is_label
);
checked_name!(
    /// A gate, as it is registered with the issuer.
    GateName, "gate name", "1 to 63 of `a-z`, `0-9`, `-`, beginning with a letter or digit", is_label
);

impl GateName {
    /// The one URI SAN of the gate's client certificate.
    pub fn uri(&self) -> String {
        format!("{GATE_URI_PREFIX}{}", self.0)
    }

    /// The gate that a certificate's URI SAN names.
    pub fn from_uri(uri: &str) -> Result<Self, NameError> {
        uri.strip_prefix(GATE_URI_PREFIX)
            .and_then(|rest| rest.parse().ok())
            .ok_or_else(|| NameError::new("gate URI", "`urn:daypass:gate:` and a gate name", uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_their_kind() {
        let device = DeviceId::from_random([7; 10]);
        assert_eq!(device.as_str().parse::<DeviceId>().unwrap(), device);
        assert!(device.as_str().parse::<GrantId>().is_err());
        assert_eq!(DeviceId::from_client_id(&device.client_id()).unwrap(), device);
        assert!(DeviceId::from_client_id(device.as_str()).is_err());
        assert!("dev-ILOU000000000000".parse::<DeviceId>().is_err());
    }

    #[test]
    fn a_collaborator_is_never_a_client_id() {
        assert!("alice@example.com".parse::<Collaborator>().is_ok());
        for bad in ["", "urn:daypass:device:dev-0000000000000000", "a b", "ü", "a\nb"] {
            assert!(bad.parse::<Collaborator>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_is_short_and_printable() {
        let error = "x\n".repeat(1000).parse::<ProjectName>().unwrap_err().to_string();
        assert!(error.len() < 400 && !error.contains('\n'));
        let error = "a\u{202e}b".parse::<ProjectName>().unwrap_err().to_string();
        assert!(!error.contains('\u{202e}'), "{error}");
    }
}
