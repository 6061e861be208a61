//! Asking for longer, or for more: what a device asks its issuer, and what has become of it (docs/wire.md section 5.6).
//!
//! ```text
//! requested ──► approved     as it was asked for
//!     ├───────► narrowed     less than was asked for
//!     ├───────► refused      by an owner
//!     ├───────► withdrawn    by whoever asked
//!     └───────► lapsed       there was nothing left to decide
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names::{Collaborator, DeviceId, GrantId, ProjectName, RequestId, RoleName},
    time::Timestamp,
};

/// What is asked for.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "wanted", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wanted {
    /// A later end of a grant.
    Extension {
        /// Which.
        grant: GrantId,
    },
    /// Another role: a grant of its own, for the same device.
    Scopes {
        /// The project.
        project: ProjectName,
        /// The role in it.
        role: RoleName,
    },
}

impl Wanted {
    /// Its word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Extension { .. } => "extension",
            Self::Scopes { .. } => "scopes",
        }
    }
}

/// `POST /device/v1/requests`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What.
    pub what: Wanted,
    /// Until when, as people write it: a date, a time or a duration, in the project's time zone. Without it, an extension is for as long again as the
    /// grant was given for, as far as its role allows, and another role until the end of what the device has in the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why: as [`crate::words`] has it.
    pub reason: String,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestLife {
    /// It waits.
    Requested,
    /// Given as it was asked for.
    Approved,
    /// Less was given.
    Narrowed,
    /// Refused by an owner.
    Refused,
    /// Taken back by whoever asked.
    Withdrawn,
    /// There was nothing left to decide: its time, its grant or its device was over.
    Lapsed,
}

impl RequestLife {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Requested, Self::Approved, Self::Narrowed, Self::Refused, Self::Withdrawn, Self::Lapsed];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Narrowed => "narrowed",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
        }
    }
}

impl std::fmt::Display for RequestLife {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request, as whoever asked and whoever decides see it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct AccessRequest {
    /// Its name.
    pub request: RequestId,
    /// What was asked for.
    pub what: Wanted,
    /// For whom.
    pub collaborator: Collaborator,
    /// From which device.
    pub device: DeviceId,
    /// In which project.
    pub project: ProjectName,
    /// The role that it is about.
    pub role: RoleName,
    /// The end that was asked for.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Where it is.
    pub state: RequestLife,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// What was said to it.
    pub answer: Option<String>,
    /// What was given, or would be with the next approval, where that is less than was asked for.
    pub narrowed_to: Option<Narrowed>,
    /// The owners who can still approve it.
    pub waits_for: Vec<String>,
}

/// Less than was asked for.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Narrowed {
    /// The role.
    pub role: RoleName,
    /// The end.
    pub until: Timestamp,
}

/// `POST /device/v1/requests/withdraw`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Withdraw {
    /// Which.
    pub request: RequestId,
}

/// `GET /device/v1/requests`: the device's own, the newest first.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Requests {
    /// All that are kept.
    pub requests: Vec<AccessRequest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_one_of_two_things_and_nothing_beside() {
        let ask = |text: &str| serde_json::from_str::<Ask>(text);
        let good = r#"{"what":{"wanted":"extension","grant":"gr-3k7q0x9a1b2c3d4e"},"until":"30d","reason":"not done"}"#;
        assert_eq!(serde_json::to_string(&ask(good).unwrap()).unwrap(), good);
        for (from, to) in [
            ("extension", "scopes"),
            ("extension", "everything"),
            (r#""grant""#, r#""role":"x","grant""#),
            (r#""reason":"not done""#, r#""until":"1d""#),
            (r#""reason""#, r#""yes":1,"reason""#),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            assert!(ask(&text).is_err(), "{text}");
        }
        for life in RequestLife::ALL {
            assert_eq!(serde_json::to_value(life).unwrap(), life.as_str());
        }
    }
}
