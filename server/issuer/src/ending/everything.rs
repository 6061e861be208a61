//! Ending everything of a person, of a project, or of a phase of it, by one decision.
//!
//! A person loses open invitations, requests that wait, grants and devices. A project or a phase loses open invitations and grants, and every device that ever had one of
//! those goes with them where it is left with nothing: it stays where it has a grant elsewhere that lives. The last conditions of the decision are that nothing is left: an
//! invitation that somebody made meanwhile, which nobody was told of, makes it a conflict.

use std::collections::BTreeSet;

use daypass_proto::{
    access_request::RequestLife,
    enrolment::DeviceLife,
    ledger::{Event, EventKind},
    names::{Collaborator, DeviceId, GrantId},
};

use super::{EndError, GrantVerb, Told};
use crate::{
    issuer::Issuer,
    ledger::Source,
    requests,
    store::{Change, Decision, Device, Find, Grant, GrantLife, Invitation, InvitationLife, Request, Scope},
};

/// How many of each one decision takes: while it is written, nothing else is.
const MOST: u32 = 10_000;
/// How many people the event and the message of it name.
const NAMED: usize = 20;
const LIVE: [GrantLife; 4] = [GrantLife::Requested, GrantLife::Active, GrantLife::Grace, GrantLife::Suspended];

const COLLABORATOR_OFFBOARDED: &str = "collaborator_offboarded";
const PROJECT_ENDED: &str = "project_ended";
const PHASE_ENDED: &str = "phase_ended";

/// Whether an event with this rule is one of those that come after [`EventKind::EverythingEnded`], which says it for all of them.
pub(crate) fn is_of_everything(rule: &str) -> bool {
    [COLLABORATOR_OFFBOARDED, PROJECT_ENDED, PHASE_ENDED].contains(&rule)
}

/// What is to end.
#[derive(Debug)]
pub struct Ending {
    /// Whose.
    pub scope: Scope,
    /// Open invitations.
    pub invitations: Vec<Invitation>,
    /// Grants that live.
    pub grants: Vec<Grant>,
    /// Requests that wait. A phase's rest on its grants, and lapse with them.
    pub requests: Vec<Request>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Devices that stay, since they have other grants.
    pub staying: Vec<DeviceId>,
}

impl Ending {
    /// Whether there is nothing to end.
    pub fn is_empty(&self) -> bool {
        self.invitations.is_empty() && self.requests.is_empty() && self.grants.is_empty() && self.devices.is_empty()
    }

    /// Who loses something by it.
    fn people(&self) -> BTreeSet<&Collaborator> {
        let invited = self.invitations.iter().map(|it| &it.collaborator);
        let granted = self.grants.iter().map(|it| &it.collaborator);
        let asking = self.requests.iter().map(|it| &it.collaborator);
        invited.chain(granted).chain(asking).chain(self.devices.iter().map(|it| &it.collaborator)).collect()
    }

    const fn rule(&self) -> &'static str {
        match self.scope {
            Scope::Collaborator(_) => COLLABORATOR_OFFBOARDED,
            Scope::Project(_) => PROJECT_ENDED,
            Scope::Phase(..) => PHASE_ENDED,
        }
    }
}

/// What there is to end of theirs.
pub async fn look(issuer: &Issuer, scope: Scope) -> Result<Ending, EndError> {
    let store = &issuer.store;
    let theirs = || match &scope {
        Scope::Collaborator(name) => Find { collaborator: Some(name.clone()), ..Find::up_to(MOST + 1) },
        Scope::Project(name) => Find { project: Some(name.clone()), ..Find::up_to(MOST + 1) },
        Scope::Phase(project, phase) => {
            Find { project: Some(project.clone()), phase: Some(phase.clone()), ..Find::up_to(MOST + 1) }
        }
    };
    let grants = store.find_grants(&Find { states: LIVE.map(GrantLife::as_str).to_vec(), ..theirs() }).await?;
    let open = Find { states: vec![InvitationLife::Open.as_str()], ..theirs() };
    let mut invitations = store.find_invitations(&open).await?;
    let waiting = Find { states: vec![RequestLife::Requested.as_str()], ..theirs() };
    let requests = match &scope {
        Scope::Collaborator(_) | Scope::Project(_) => store.find_requests(&waiting).await?,
        Scope::Phase(..) => Vec::new(),
    };
    let devices = store.devices_of(&scope, MOST + 1).await?;
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    if [grants.len(), invitations.len(), requests.len(), devices.len()].iter().any(|count| *count > most) {
        return Err(EndError::TooMany { scope, most: MOST });
    }
    // A code that carries something of another project stays for that.
    if !matches!(scope, Scope::Collaborator(_)) {
        let ending: BTreeSet<GrantId> = grants.iter().map(|grant| grant.id.clone()).collect();
        let mut alone = Vec::new();
        for invitation in invitations {
            let carried = super::carried(issuer, &invitation).await?;
            if !carried.iter().any(|grant| LIVE.contains(&grant.state) && !ending.contains(&grant.id)) {
                alone.push(invitation);
            }
        }
        invitations = alone;
    }
    let (devices, staying) = match &scope {
        Scope::Collaborator(_) => (devices, Vec::new()),
        Scope::Project(_) | Scope::Phase(..) => left_with_nothing(issuer, devices, &grants).await?,
    };
    let ending = Ending { scope, invitations, grants, requests, devices, staying };
    // A name that was misspelt is told from one that has nothing any more.
    let in_policy = match &ending.scope {
        Scope::Project(name) => issuer.policy().project(name).is_some(),
        Scope::Phase(project, name) => {
            issuer.policy().project(project).is_some_and(|project| project.phase(name).is_some())
        }
        Scope::Collaborator(_) => false,
    };
    if ending.is_empty() && !in_policy && !store.knows(&ending.scope).await? {
        return Err(EndError::Unknown(ending.scope));
    }
    Ok(ending)
}

/// Of these devices, those that have no grant that lives beside these, and those that have.
async fn left_with_nothing(
    issuer: &Issuer,
    devices: Vec<Device>,
    grants: &[Grant],
) -> Result<(Vec<Device>, Vec<DeviceId>), EndError> {
    let (mut ending, mut staying) = (Vec::new(), Vec::new());
    let ended: BTreeSet<&GrantId> = grants.iter().map(|grant| &grant.id).collect();
    for device in devices {
        let all = issuer.store.grants_of(&device.id).await?;
        if all.iter().any(|grant| LIVE.contains(&grant.state) && !ended.contains(&grant.id)) {
            staying.push(device.id);
        } else {
            ending.push(device);
        }
    }
    Ok((ending, staying))
}

/// A decision with the end of a device on top, which is still in state `from` and has nothing any more by what comes before here.
pub(crate) fn device_with_nothing(
    issuer: &Issuer,
    decision: Decision,
    device: &Device,
    from: DeviceLife,
    reason: &str,
    told: &Told<'_>,
) -> Decision {
    let event = issuer.environment.of_device(issuer.environment.event(EventKind::DeviceRevoked), device);
    let (id, to, reason) = (device.id.clone(), DeviceLife::Revoked, Some(reason.to_owned()));
    decision
        .event(told.on(issuer, event))
        .change(Change::DeviceLife { id: id.clone(), to, reason, from })
        .change(Change::RequireNoGrant(id))
}

/// What stands before the events of all that ends: whose it was, and how much. Whoever is told of the decision is told of this one.
fn everything_ended(issuer: &Issuer, ending: &Ending, told: &Told<'_>) -> Event {
    let (environment, policy) = (&issuer.environment, issuer.policy());
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let people = ending.people();
    let event = environment
        .event(EventKind::EverythingEnded)
        .number("invitations", number(ending.invitations.len()))
        .number("requests", number(ending.requests.len()))
        .number("grants", number(ending.grants.len()))
        .number("devices", number(ending.devices.len()))
        .number("people", number(people.len()))
        .text("policy", hex::encode(policy.hash()));
    let first: Vec<&Collaborator> = people.into_iter().take(NAMED).collect();
    let of_project = |event: Event, project| {
        let named = serde_json::to_string(&first).unwrap_or_default();
        environment.personal(
            environment.owned(event.text("project", project), project, &policy),
            "collaborators",
            named,
        )
    };
    let event = match &ending.scope {
        Scope::Collaborator(name) => environment.personal(event, "collaborator", name),
        Scope::Project(project) => of_project(event, project),
        Scope::Phase(project, phase) => of_project(event, project).text("phase", phase),
    };
    told.on(issuer, event)
}

/// Ends all of it, or nothing.
pub async fn end_everything(issuer: &Issuer, ending: Ending, source: &Source, reason: &str) -> Result<(), EndError> {
    let told = Told { source, rule: Some(ending.rule()), reason: Some(reason) };
    let mut decision = Decision::new(everything_ended(issuer, &ending, &told));
    for invitation in ending.invitations {
        decision = super::invitation::on(issuer, decision, invitation, &told);
    }
    for request in ending.requests {
        decision = requests::lapsed(issuer, decision, request, &told);
    }
    for grant in ending.grants {
        decision = GrantVerb::Revoke.on(issuer, decision, grant, &told);
    }
    for device in ending.devices {
        decision = device_with_nothing(issuer, decision, &device, device.state, reason, &told);
    }
    let decision = decision.change(Change::RequireNothingLeft(ending.scope));
    Ok(issuer.store.decide(decision).await?)
}

#[cfg(test)]
mod tests;
