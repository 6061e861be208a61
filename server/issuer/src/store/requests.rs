//! What is remembered of requests for longer, or for more.

use daypass_proto::{
    access_request::{RequestLife, Wanted},
    names::{Collaborator, DeviceId, ProjectName, RequestId, RoleName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// A request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// What is asked for.
    pub what: Wanted,
    /// From which device.
    pub device: DeviceId,
    /// For whom.
    pub collaborator: Collaborator,
    /// In which project.
    pub project: ProjectName,
    /// The role that is asked for; of an extension, the grant's.
    pub role: RoleName,
    /// The end that is asked for.
    pub until: Timestamp,
    /// The role that is given: the one that is asked for, until somebody narrows it.
    pub given_role: RoleName,
    /// The end that is given, in the same way.
    pub given_until: Timestamp,
    /// Why.
    pub reason: String,
    /// Where it is.
    pub state: RequestLife,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it was decided.
    #[serde(default)]
    pub decided_at: Option<Timestamp>,
    /// What was said to it.
    #[serde(default)]
    pub answer: Option<String>,
}

impl Request {
    /// Whether less is given than was asked for.
    pub fn is_narrowed(&self) -> bool {
        self.given_role != self.role || self.given_until != self.until
    }

    /// What it is about: of each, one request waits at a time.
    pub fn subject(&self) -> String {
        match &self.what {
            Wanted::Extension { grant } => grant.to_string(),
            Wanted::Scopes { project, role } => format!("{} {project} {role}", self.device),
        }
    }
}

/// Whether a request may go from one state to another. Nothing that was decided is decided again.
pub const fn request_may_become(from: RequestLife, to: RequestLife) -> bool {
    matches!(from, RequestLife::Requested) && !matches!(to, RequestLife::Requested)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_stays_so() {
        for from in RequestLife::ALL {
            for to in RequestLife::ALL {
                let allowed = from == RequestLife::Requested && to != from;
                assert_eq!(request_may_become(from, to), allowed, "{from} to {to}");
            }
        }
    }
}
