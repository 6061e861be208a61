//! This user's other devices, and the loss of one. The issuer decides; the agent passes on what its user says.

use daypass_proto::{
    local_api::{AllDevices, DevicesAt, ReportLost},
    own_devices::{OwnDevice, OwnDevices},
};

use super::Agent;
use crate::{error::AgentError, issuer};

const PATH: &str = "/device/v1/devices";

impl Agent {
    /// This user's devices; an issuer that does not say is told beside the others.
    pub async fn devices(&self, uid: u32) -> AllDevices {
        let mut issuers = Vec::new();
        for member in self.members_of(uid) {
            let url = format!("{}{PATH}", member.device().mtls_url);
            let (devices, problem) = match issuer::answer::<OwnDevices>(&url, member.client().get(&url)).await {
                Ok(answer) => (answer.devices, None),
                Err(error) => (Vec::new(), Some(error.problem())),
            };
            issuers.push(DevicesAt { issuer: member.issuer.clone(), devices, problem });
        }
        AllDevices { issuers }
    }

    /// Reports one as lost; gives it as it is then.
    pub async fn report_lost(&self, uid: u32, report: &ReportLost) -> Result<OwnDevice, AgentError> {
        let member = self.member(uid, &report.issuer)?;
        let url = format!("{}{PATH}/lost", member.device().mtls_url);
        self.answer(&member, &url, member.client().post(&url).json(&report.lost)).await
    }
}
