//! Warnings ahead: in every status, and once a day where somebody uses what comes to its end.

use daypass_proto::{
    enrolment::GrantState,
    local_api::{Warning, Warnings, WarningsRequest},
    resource::Resource,
};

use super::{Agent, Member};
use crate::{error::AgentError, warning};

impl Agent {
    /// What of these grants comes to its end, by the issuer's clock.
    pub(super) fn warnings(&self, member: &Member, grants: &[GrantState]) -> Vec<Warning> {
        let now = self.issuer_time(member);
        grants.iter().flat_map(|grant| warning::of(grant, now, self.config.warn_before)).collect()
    }

    /// What is to be said to whoever uses this resource or repository now. It counts as said before it is.
    pub async fn warnings_due(&self, uid: u32, request: &WarningsRequest) -> Result<Warnings, AgentError> {
        let resource = Resource::of_url(&request.location).map_err(AgentError::Url)?;
        let path = request.location.strip_prefix(resource.as_str()).unwrap_or_default();
        let repository = resource.repository(path).ok();
        let mut due = Vec::new();
        for member in self.members_of(uid) {
            let grants = member.device().grants;
            let used = grants.iter().filter(|grant| {
                let details = &grant.authorization_details;
                match &repository {
                    Some(repository) => !details.at_repository(repository).is_empty(),
                    None => !details.at_resource(&resource).is_empty(),
                }
            });
            let now = self.issuer_time(&member);
            let warnings: Vec<_> = used.flat_map(|grant| warning::of(grant, now, self.config.warn_before)).collect();
            // Nothing is written where there is nothing to say, which is nearly always.
            if warnings.is_empty() {
                continue;
            }
            self.change(&member, |completed| {
                due.extend(warning::due(&mut completed.said, &grants, warnings, self.clock.now()));
            })
            .await?;
        }
        Ok(Warnings { warnings: due })
    }
}
