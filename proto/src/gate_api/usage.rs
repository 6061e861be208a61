//! `POST /gate/v1/usage`: what was let through, counted by the gate that saw it.
//!
//! A report says what came since the one before it. It is sent again with its number until the issuer has answered, and counts once.

use serde::{Deserialize, Serialize};

use crate::{authorization::GitAction, encoding::Fixed, names::GrantId, resource::Repository, time::Timestamp};

/// The most entries of one report.
pub const MAX_USES: usize = 128;
/// How long the locations of one report may be together, in bytes, so that its text stays within what the issuer takes.
pub const MAX_LOCATIONS: usize = 32 * 1024;

/// A report.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UsageReport {
    /// This start of the gate, at random: its numbers begin anew with it.
    pub run: Fixed<16>,
    /// Counts up from 1; the first says that this gate reports, whatever it has to say.
    pub number: u32,
    /// What was let through since the report before.
    pub uses: Vec<GateUse>,
    /// How much since then is in no report, because the gate remembers only so much: one for each action of a request that had no room.
    pub dropped: u32,
}

/// Requests of one kind under one grant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GateUse {
    /// Under which grant.
    pub grant: GrantId,
    /// Where.
    pub location: Repository,
    /// What was done, by the gate's own reading of the request.
    pub action: GitAction,
    /// How many requests.
    pub count: u32,
    /// When the last one was, by the gate's clock.
    pub last: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_report_fits_a_small_body() {
        let one = GateUse {
            grant: GrantId::from_random([7; 10]),
            location: "https://h/a".parse().unwrap(),
            action: GitAction::Create,
            count: u32::MAX,
            last: Timestamp::from_seconds(i64::MAX),
        };
        let report =
            UsageReport { run: Fixed([7; 16]), number: u32::MAX, uses: vec![one; MAX_USES], dropped: u32::MAX };
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.len() + MAX_LOCATIONS < 64 * 1024, "{}", text.len());
        assert_eq!(serde_json::from_str::<UsageReport>(&text).unwrap(), report);
    }
}
