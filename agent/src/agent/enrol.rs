//! Enrolling a user with an invitation, or adding what it carries to an enrolment that is there.

use std::sync::{Arc, PoisonError};

use daypass_proto::{
    encoding::Fixed,
    enrolment::{AcceptInvitation, AcceptedInvitation},
    invitation::Code,
    local_api::Enrolment,
    oauth_error::Reason,
};

use super::{Agent, Member, upkeep::is_certificate_outside_its_time};
use crate::{enrolment::Enroller, error::AgentError, state::Folder};

/// Where an enrolled device shows another invitation.
const PATH: &str = "/device/v1/invitations";

impl Agent {
    /// Enrols this user with an invitation; one who is enrolled with its issuer already gets what it carries added.
    pub async fn enrol(&self, uid: u32, invitation: &str) -> Result<Enrolment, AgentError> {
        let code: Code = invitation.parse()?;
        let key = (uid, code.issuer().to_owned());
        let lock = {
            let mut enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(enrolling.entry(key.clone()).or_default())
        };
        let _one_at_a_time = lock.lock().await;
        let folder = Folder::new(&self.config.state_dir, uid, code.issuer());
        let enroller =
            Enroller { tpm: &self.tpm, config: &self.config.tpm, clock: self.clock.as_ref(), folder: &folder };
        let record = enroller.enrol(&code).await.map_err(|error| self.explained(not_yet(error)))?;
        let enrolled_with_it = record.invitation == Fixed(code.secret.hash());
        if let Ok(member) = self.member(uid, &key.1) {
            if !enrolled_with_it {
                return self.accept(&member, &code).await;
            }
            // It is enrolled with this very invitation. What has become of it since, the issuer knows.
            return match self.ask_state(&member).await {
                // Suspended or revoked: that is its state now.
                Ok(()) | Err(AgentError::Refused(_)) => Ok(self.describe(&member)),
                Err(error) => Err(error),
            };
        }
        let keys = folder.keys()?.ok_or_else(|| AgentError::NotEnrolled(code.issuer().to_owned()))?;
        tracing::info!(uid, issuer = record.issuer, "enrolled");
        self.admit(uid, folder, record, keys)?;
        let member = self.member(uid, &key.1)?;
        Ok(self.describe(&member))
    }

    /// Shows another invitation of the same issuer with the device's certificate: no key is made, and none is proved anew.
    async fn accept(&self, member: &Member, code: &Code) -> Result<Enrolment, AgentError> {
        if code.pin.find(&[member.completed().root]).is_none() {
            return Err(AgentError::OtherRoot(member.issuer.clone()));
        }
        let accepted = match self.show(member, code).await {
            Err(error) if is_certificate_outside_its_time(&error) => {
                self.renew_certificate(member).await?;
                self.show(member, code).await
            }
            other => other,
        };
        let accepted = accepted.map_err(|error| match error {
            AgentError::Refused(body)
                if matches!(body.daypass_reason, Reason::DeviceRevoked | Reason::CertificateUnknown) =>
            {
                AgentError::EnrolmentOver(body)
            }
            other => not_yet(other),
        })?;
        tracing::info!(uid = member.uid, issuer = member.issuer, "accepted another invitation");
        Ok(Enrolment { added: accepted, ..self.describe(member) })
    }

    async fn show(&self, member: &Member, code: &Code) -> Result<Vec<daypass_proto::names::GrantId>, AgentError> {
        let before = self.clock.moment();
        let url = format!("{}{PATH}", member.device().mtls_url);
        let request = AcceptInvitation { secret: Fixed(*code.secret.expose()) };
        let answer: AcceptedInvitation = self.answer(member, &url, member.client().post(&url).json(&request)).await?;
        self.heard(member, answer.device, before).await?;
        Ok(answer.accepted)
    }
}

/// Whoever has not heard of the issuer has nothing that goes on meanwhile.
fn not_yet(error: AgentError) -> AgentError {
    match error {
        AgentError::IssuerUnreachable { url, why } => AgentError::NoIssuer { url, why },
        other => other,
    }
}
