//! Asking, and taking it back.

use daypass_proto::{
    access_request::{Ask, LONGEST_REASON, RequestLife, Wanted},
    ledger::EventKind,
    names::{ProjectName, RequestId, RoleName},
    time::Timestamp,
};

use super::{RequestError, about, judge};
use crate::{
    approval::bar,
    issuer::Issuer,
    ledger::Source,
    store::{Approvals, Change, Decision, Device, Grant, GrantLife, Request},
    until::until,
};

/// States in which a grant gives somebody something to do with its project.
const LIVE: [GrantLife; 3] = [GrantLife::Active, GrantLife::Grace, GrantLife::Suspended];

/// Takes a request of this approved device down; gives it as it waits.
pub async fn ask(issuer: &Issuer, device: &Device, asked: &Ask, source: &Source) -> Result<Request, RequestError> {
    let environment = &issuer.environment;
    issuer.one_more(EventKind::RequestMade, &device.id)?;
    match judged(issuer, device, asked).await {
        Ok(request) => {
            let policy = issuer.policy();
            let bar = bar(&policy, &request.project, &request.role)?;
            let asked_by = Some(request.collaborator.clone());
            let waits = Approvals::new(request.id.to_string(), asked_by, request.asked_at, bar);
            let event = about(issuer, environment.event(EventKind::RequestMade), &request, &policy);
            let event = environment.personal(environment.asked(event, source), "why", &request.reason);
            let decision = Decision::new(event)
                .change(Change::RequireDevice(device.id.clone(), device.state))
                .change(Change::AddRequest(Box::new(request.clone())))
                .change(Change::Approvals(waits));
            issuer.store.decide(decision).await?;
            Ok(request)
        }
        Err(error) => {
            if let Some((_, reason, _)) = error.reason() {
                let event = environment.event(EventKind::RequestNotTaken).text("wanted", asked.what.as_str());
                let event = environment.refused(environment.of_device(event, device), reason, &error.to_string());
                issuer.store.decide(Decision::new(environment.asked(event, source))).await?;
            }
            Err(error)
        }
    }
}

async fn judged(issuer: &Issuer, device: &Device, asked: &Ask) -> Result<Request, RequestError> {
    let reason = asked.reason.trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        return Err(RequestError::Reason);
    }
    let (now, policy) = (issuer.environment.now(), issuer.policy());
    let grants = issuer.store.grants_of(&device.id).await?;
    let end = |project: &ProjectName, otherwise: Timestamp| match &asked.until {
        Some(text) => until(text, now, &policy.zone(project)),
        None => Ok(otherwise),
    };
    let (project, role, until) = match &asked.what {
        Wanted::Extension { grant } => {
            let found = grants.iter().find(|found| found.id == *grant);
            let grant = found.ok_or_else(|| RequestError::NoGrant(grant.clone()))?;
            let until = end(&grant.project, judge::as_long_again(issuer, grant)?)?;
            judge::extension(issuer, grant, until)?;
            (grant.project.clone(), grant.role.clone(), until)
        }
        Wanted::Scopes { project, role } => {
            let until = end(project, may_ask(&grants, project, role)?)?;
            judge::scopes(issuer, (project, role), &device.collaborator, until)?;
            (project.clone(), role.clone(), until)
        }
    };
    Ok(Request {
        id: RequestId::from_random(issuer.environment.random()),
        what: asked.what.clone(),
        device: device.id.clone(),
        collaborator: device.collaborator.clone(),
        project,
        given_role: role.clone(),
        role,
        until,
        given_until: until,
        reason: reason.to_owned(),
        state: RequestLife::Requested,
        asked_at: now,
        decided_at: None,
        answer: None,
    })
}

/// Whoever has something in a project may ask for more of it, and not for what is there; gives the end of what there is.
fn may_ask(grants: &[Grant], project: &ProjectName, role: &RoleName) -> Result<Timestamp, RequestError> {
    let own = || grants.iter().filter(|grant| grant.project == *project && LIVE.contains(&grant.state));
    let ends = own().map(|grant| grant.until).max().ok_or_else(|| RequestError::NoProject(project.clone()))?;
    match own().find(|grant| grant.role == *role) {
        Some(grant) => Err(RequestError::HasRole { role: role.clone(), grant: grant.id.clone() }),
        None => Ok(ends),
    }
}

/// Takes a request of this device back.
pub async fn withdraw(
    issuer: &Issuer,
    device: &Device,
    id: &RequestId,
    source: &Source,
) -> Result<Request, RequestError> {
    let found = issuer.store.request(id).await?.filter(|request| request.device == device.id);
    let from = found.ok_or_else(|| RequestError::NoRequest(id.clone()))?;
    if from.state != RequestLife::Requested {
        return Err(RequestError::NotWaiting { request: id.clone(), state: from.state });
    }
    let environment = &issuer.environment;
    let to = Request { state: RequestLife::Withdrawn, decided_at: Some(environment.now()), ..from.clone() };
    let event = about(issuer, environment.event(EventKind::RequestWithdrawn), &to, &issuer.policy());
    let change = Change::Request { to: Box::new(to.clone()), from: Box::new(from) };
    issuer.store.decide(Decision::new(environment.asked(event, source)).change(change)).await?;
    Ok(to)
}
