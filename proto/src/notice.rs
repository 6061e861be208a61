//! What concerns the collaborator of a device: what was decided about it, its grants and its requests (docs/wire.md section 5.4).
//!
//! Each is an event of the ledger that names this device, said in the few words that its user may see: no owner's or account's name, no reason but
//! the answer to what they asked themselves.

use serde::{Deserialize, Serialize};

use crate::{
    enrolment::DeviceState,
    names::{GrantId, ProjectName, RequestId, RoleName},
    time::Timestamp,
};

/// How many are told at once at most, the newest ones.
pub const MOST: u32 = 100;

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The device may use its grants.
    DeviceApproved,
    /// The device was held back.
    DeviceSuspended,
    /// The device was let on again.
    DeviceResumed,
    /// What was asked for is given.
    RequestApproved,
    /// Less than was asked for is given.
    RequestNarrowed,
    /// An owner refused what was asked for.
    RequestRefused,
    /// A request waited until there was nothing left to decide.
    RequestLapsed,
    /// A grant came into force.
    GrantActivated,
    /// A grant's hard end was moved.
    GrantExtended,
    /// A grant was held back.
    GrantSuspended,
    /// A grant was let on again.
    GrantResumed,
    /// A grant's hard end came, and narrower rights are left.
    GrantGrace,
    /// A grant's time is over.
    GrantEnded,
    /// A grant was ended before its time.
    GrantRevoked,
    /// Something that a later issuer says.
    #[serde(other)]
    Other,
}

/// That something happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Notice {
    /// The number of its event.
    pub event: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub about: About,
    /// The grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// The role in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// The grant's hard end, or the one that a request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What an owner said to a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// The answer to `GET /device/v1/state?notices_after=NUMBER`: the state, and what happened since.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StateAnswer {
    /// The state.
    #[serde(flatten)]
    pub device: DeviceState,
    /// What happened, by number; empty while pending, and where nobody asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// The number to ask for next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices_next: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_issuer_says_breaks_nothing() {
        let text = r#"{"event":7,"at":1790000000,"about":"grant_lent","lender":"x"}"#;
        assert_eq!(serde_json::from_str::<Notice>(text).unwrap().about, About::Other);
        let known = r#"{"event":7,"at":1790000000,"about":"request_refused","answer":"no"}"#;
        let notice: Notice = serde_json::from_str(known).unwrap();
        assert_eq!(notice.about, About::RequestRefused);
        assert_eq!(serde_json::to_string(&notice).unwrap(), known);
    }
}
