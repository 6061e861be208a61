//! What an invitation carries, bound to the device that uses it: one that enrols with it, or one that is enrolled and adds it.

use super::EnrolmentError;
use crate::{
    approval::{ApprovalError, Waiting, comes},
    ending::{GrantVerb, Told, carried},
    issuer::Issuer,
    replacement::{Succession, succeed},
    store::{Change, Decision, Device, Grant, GrantLife, Invitation, InvitationLife},
};
use daypass_proto::enrolment::DeviceLife;

/// A grant that is bound to a device, and whether it comes into force with that.
pub(super) struct Bound {
    pub(super) grant: Grant,
    pub(super) waiting: Option<Waiting>,
    /// With the guardrails that would forbid it, were they enforced: it comes into force.
    monitored: Option<Vec<String>>,
    /// Why it does not, though the owners have approved it.
    pub(super) refused: Option<ApprovalError>,
}

impl Bound {
    /// One that its device waits for.
    pub(super) const fn waits(grant: Grant) -> Self {
        Self { grant, waiting: None, monitored: None, refused: None }
    }

    /// One whose device is let on: the owners may have approved it while the code was under way.
    pub(super) async fn judge(issuer: &Issuer, device: &Device, grant: Grant) -> Result<Self, EnrolmentError> {
        let waiting = Waiting::of_grant(issuer, &grant).await?;
        let (monitored, refused) = match waiting.as_ref().and_then(|waiting| comes(issuer, device, &grant, waiting)) {
            Some(Ok(monitored)) => (Some(monitored), None),
            Some(Err(refused)) => (None, Some(refused)),
            None => (None, None),
        };
        Ok(Self { grant, waiting, monitored, refused })
    }

    /// Why a grant that could come into force has nothing to go on with, where it would take another's place.
    pub(super) async fn without_predecessor(&self, issuer: &Issuer) -> Option<ApprovalError> {
        self.monitored.as_ref()?;
        Succession::of(issuer, self.grant.clone()).await.err()
    }
}

/// The grants of an open invitation that still wait for a device.
pub(super) async fn to_bind(issuer: &Issuer, invitation: &Invitation) -> Result<Vec<Grant>, EnrolmentError> {
    let mut grants = carried(issuer, invitation).await?;
    grants.retain(|grant| grant.state == GrantLife::Requested);
    if grants.is_empty() { Err(EnrolmentError::CodeWithdrawn) } else { Ok(grants) }
}

/// The decision, with what speaks against the grants whose owners have approved them.
pub(super) fn with_refusals(
    issuer: &Issuer,
    mut decision: Decision,
    device: &Device,
    bound: &[Bound],
    told: &Told<'_>,
) -> Decision {
    let environment = &issuer.environment;
    for Bound { grant, refused, .. } in bound {
        let Some(event) = refused.as_ref().and_then(|error| error.event(environment)) else { continue };
        let event = environment.of_grant(event, grant, &issuer.policy());
        decision = decision.event(environment.asked(event.text("device", &device.id), told.source));
    }
    decision
}

/// The decision, with the end of the code.
pub(super) fn used(decision: Decision, invitation: &Invitation, device: &Device) -> Decision {
    let to = Invitation { state: InvitationLife::Used, device: Some(device.id.clone()), ..invitation.clone() };
    decision.change(Change::Invitation { to, from: InvitationLife::Open })
}

/// The decision, with each grant on its device, and in force where that and its owners let it.
pub(super) async fn bind(
    issuer: &Issuer,
    mut decision: Decision,
    device: &Device,
    bound: Vec<Bound>,
    told: &Told<'_>,
) -> Result<Decision, EnrolmentError> {
    let mut successions = Vec::new();
    for Bound { grant, waiting, monitored, .. } in bound {
        if let Some(waiting) = waiting {
            decision = decision.change(waiting.unchanged());
        }
        let grant = Grant { device: Some(device.id.clone()), ..grant };
        let given = match monitored.filter(|_| device.state == DeviceLife::Approved) {
            // What it would take the place of may have nothing to go on with, which whoever approves it is told.
            Some(monitored) => Succession::of(issuer, grant.clone()).await.ok().map(|given| (given, monitored)),
            None => None,
        };
        decision = match given {
            Some(((grant, succession), monitored)) => {
                successions.extend(succession);
                GrantVerb::Activate.noting(issuer, decision, grant, told, &monitored)
            }
            None => decision.change(Change::Grant { from: grant.state, to: grant }),
        };
    }
    Ok(succeed(issuer, decision, successions, told).await?)
}
