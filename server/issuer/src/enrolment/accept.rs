//! `POST /device/v1/invitations`: a machine that is enrolled takes what another invitation of the same collaborator carries.
//!
//! No key is made and none is certified: the device has proved its keys, and somebody has compared its code. Everything else is asked as of a machine that
//! enrols: the code is good, its EK is the one that the invitation names, if it names one, and each grant has its owners' approvals and passes the
//! guardrails before it comes into force. What gives the right to decide is approved with the machine alone, whose code nobody compares here: that takes
//! the machine's EK in the invitation.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use daypass_proto::{
    enrolment::{AcceptInvitation, AcceptedInvitation, DeviceLife},
    invitation::CodeSecret,
    json::read,
    ledger::EventKind,
    names::GrantId,
};
use daypass_service::Peer;

use super::{
    EnrolmentError,
    begin::usable,
    bind::{Bound, bind, to_bind, used, with_refusals},
    record, refusal,
};
use crate::{
    approval::{ApprovalError, Waiting},
    body::Body,
    caller::ApprovedDevice,
    device::{device_state, was_let_in},
    ending::Told,
    error::Refusal,
    issuer::Issuer,
    ledger::Source,
    policy::Role,
    store::{Change, DecideError, Decision, Device, Grant, GrantLife, Invitation, InvitationLife},
};

/// How often it is decided anew where somebody else decided about the same meanwhile: what is said is what there is then.
const TRIES: u32 = 4;

/// Adds what an invitation carries to the device that calls.
pub async fn accept(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<AcceptedInvitation>, Refusal> {
    let mut tries = 0;
    let (caller, accepted) = loop {
        tries += 1;
        let caller = ApprovedDevice::identify(&issuer, &peer).await?;
        match decide(&issuer, caller.device(), &body, &Source::from(&peer)).await {
            Ok(accepted) => break (caller, accepted),
            Err(EnrolmentError::Decide(DecideError::Conflict(_))) if tries < TRIES => {}
            Err(error) => {
                tracing::info!(%error, device = %caller.device().id, "an invitation was not accepted");
                return Err(error.into());
            }
        }
    };
    // What is remembered of it has less.
    caller.forget(&issuer);
    let device = device_state(&issuer, caller.device(), caller.not_after()).await?;
    Ok(Json(AcceptedInvitation { device, accepted }))
}

async fn decide(
    issuer: &Issuer,
    device: &Device,
    body: &[u8],
    source: &Source,
) -> Result<Vec<GrantId>, EnrolmentError> {
    let request: AcceptInvitation = read(body).map_err(EnrolmentError::Malformed)?;
    let secret = CodeSecret::from_random(request.secret.0);
    let invitation = issuer.store.invitation_by_secret(secret.hash()).await?.ok_or(EnrolmentError::UnknownCode)?;
    let accepted = judge(issuer, device, &invitation, source).await;
    if let Err(error) = &accepted
        && error.reason().is_some()
    {
        issuer.one_more(EventKind::EnrolmentRefused, &device.id)?;
        let event = refusal(issuer, &invitation, source, error).text("device", &device.id);
        record(issuer, Decision::new(event)).await;
    }
    accepted
}

async fn judge(
    issuer: &Issuer,
    device: &Device,
    invitation: &Invitation,
    source: &Source,
) -> Result<Vec<GrantId>, EnrolmentError> {
    // Before anything else: whoever holds somebody else's code learns nothing of what has become of it.
    if invitation.collaborator != device.collaborator {
        return Err(EnrolmentError::OtherPerson(device.collaborator.clone()));
    }
    if invitation.state == InvitationLife::Used {
        // Of another device nothing is told, what became of it since least of all.
        let same = invitation.device.as_ref() == Some(&device.id);
        return if same { Ok(invitation.grants().cloned().collect()) } else { Err(EnrolmentError::CodeUsed) };
    }
    usable(issuer, invitation, issuer.environment.now()).await?;
    is_for(device, invitation)?;
    let grants = to_bind(issuer, invitation).await?;
    let there = issuer.store.grants_of(&device.id).await?;
    // Whoever invites somebody can let a machine on in their name; that it is theirs, an owner has said with the first grant that came into force.
    if !was_let_in(there.iter().map(|grant| grant.state)) {
        return Err(EnrolmentError::NothingYet);
    }
    let is_held_back = |new: &Grant, old: &Grant| {
        old.state == GrantLife::Suspended && (&old.project, &old.role) == (&new.project, &new.role)
    };
    if let Some(held) = there.iter().find(|old| grants.iter().any(|new| is_held_back(new, old))) {
        return Err(EnrolmentError::HeldBack(held.id.clone()));
    }
    if invitation.ek_hash.is_none() {
        let policy = issuer.policy();
        let decides = |grant: &Grant| policy.role(&grant.project, &grant.role).is_some_and(Role::is_built_in);
        if let Some(grant) = grants.iter().find(|grant| decides(grant)) {
            return Err(EnrolmentError::Uncompared(grant.role.clone()));
        }
    }
    let mut bound = Vec::new();
    for grant in grants {
        bound.push(Bound::judge(issuer, device, grant).await?);
    }
    let told = Told { source, rule: Some("invitation_accepted"), reason: None };
    if bound.iter().any(|bound| bound.refused.is_some()) {
        // It waits for nobody on this machine, and the code may be of use on another one, or later.
        issuer.one_more(EventKind::ApprovalRefused, &device.id)?;
        record(issuer, with_refusals(issuer, Decision::default(), device, &bound, &told)).await;
    }
    if let Some((grant, error)) =
        bound.iter_mut().find_map(|bound| Some((bound.grant.id.clone(), bound.refused.take()?)))
    {
        return Err(EnrolmentError::NotGiven { grant, error: Box::new(error) });
    }
    for one in &bound {
        match one.without_predecessor(issuer).await {
            None => {}
            Some(ApprovalError::Store(error)) => return Err(error.into()),
            Some(error) => {
                return Err(EnrolmentError::NotGiven { grant: one.grant.id.clone(), error: Box::new(error) });
            }
        }
    }
    let accepted = bound.iter().map(|bound| bound.grant.id.clone()).collect();
    let mut decision = Decision::default();
    for Bound { grant, waiting, .. } in &bound {
        decision = decision.event(event(issuer, invitation, device, grant, waiting.as_ref(), source));
    }
    decision =
        used(decision, invitation, device).change(Change::RequireDevice(device.id.clone(), DeviceLife::Approved));
    issuer.store.decide(bind(issuer, decision, device, bound, &told).await?).await?;
    Ok(accepted)
}

/// Whether the invitation is one for this machine.
fn is_for(device: &Device, invitation: &Invitation) -> Result<(), EnrolmentError> {
    let Some(keys) = &device.keys else { return Err(EnrolmentError::NoTpm) };
    if invitation.ek_hash.is_some_and(|named| named != keys.ek_hash) {
        return Err(EnrolmentError::EkMismatch);
    }
    if invitation.replaces.as_ref() == Some(&device.id) {
        return Err(EnrolmentError::Replaced);
    }
    Ok(())
}

fn event(
    issuer: &Issuer,
    invitation: &Invitation,
    device: &Device,
    grant: &Grant,
    waiting: Option<&Waiting>,
    source: &Source,
) -> daypass_proto::ledger::Event {
    let environment = &issuer.environment;
    let grant = Grant { device: Some(device.id.clone()), ..grant.clone() };
    let event = environment.event(EventKind::InvitationAccepted).text("invitation", &invitation.id);
    let event = environment.asked(environment.of_grant(event, &grant, &issuer.policy()), source);
    match waiting {
        Some(waiting) => waiting.counted(event),
        None => event,
    }
}

#[cfg(test)]
mod tests;
