//! What was decided about this user's devices, and what comes to its end.

use daypass_proto::local_api::{AllNotices, NoticesAt, ReadNotices};

use super::Agent;
use crate::error::AgentError;

impl Agent {
    /// All that is kept, after the issuers were asked; one that does not say is told beside the others.
    pub async fn notices(&self, uid: u32) -> AllNotices {
        let mut issuers = Vec::new();
        for member in self.members_of(uid) {
            let problem = self.ask_state(&member).await.err().map(|error| error.problem());
            let device = member.device();
            issuers.push(NoticesAt {
                issuer: member.issuer.clone(),
                state: device.state,
                notices: member.notices.all(),
                warnings: self.warnings(&member, &device.grants),
                problem,
            });
        }
        AllNotices { issuers }
    }

    /// This user has read these.
    pub fn read_notices(&self, uid: u32, request: &ReadNotices) -> Result<(), AgentError> {
        Ok(self.member(uid, &request.issuer)?.notices.read(&request.events)?)
    }
}
