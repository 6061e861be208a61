//! Asking, and taking it back.

use daypass_proto::{
    access_request::{Ask, RequestLife, Wanted},
    ledger::EventKind,
    names::{GrantId, ProjectName, RequestId},
    time::Timestamp,
    words::words,
};

use super::{RequestError, about, judge};
use crate::{
    approval::bar,
    issuer::Issuer,
    ledger::Source,
    store::{Approvals, Change, Decision, Device, GrantLife, Request},
    until::until,
};

/// Takes a request of this approved device down; gives it as it waits.
pub async fn ask(issuer: &Issuer, device: &Device, asked: &Ask, source: &Source) -> Result<Request, RequestError> {
    let environment = &issuer.environment;
    issuer.one_more(EventKind::RequestMade, &device.id)?;
    match judged(issuer, device, asked).await {
        Ok((request, (has, state))) => {
            let policy = issuer.policy();
            let bar = bar(&policy, &request.project, &request.role)?;
            let asked_by = Some(request.collaborator.clone());
            let waits = Approvals::new(request.id.to_string(), asked_by, request.asked_at, bar);
            let event = about(issuer, environment.event(EventKind::RequestMade), &request, &policy);
            let event = environment.personal(environment.asked(event, source), "why", &request.reason);
            let decision = Decision::new(event)
                .change(Change::RequireDevice(device.id.clone(), device.state))
                .change(Change::RequireGrant(has, state))
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

/// The request as it would wait, and the grant of this device on which it rests.
async fn judged(
    issuer: &Issuer,
    device: &Device,
    asked: &Ask,
) -> Result<(Request, (GrantId, GrantLife)), RequestError> {
    let reason = words(&asked.reason)?;
    let (now, policy) = (issuer.environment.now(), issuer.policy());
    let grants = issuer.store.grants_of(&device.id).await?;
    let end = |project: &ProjectName, otherwise: Timestamp| match &asked.until {
        Some(text) => until(text, now, &policy.zone(project)),
        None => Ok(otherwise),
    };
    let (has, role, until) = match &asked.what {
        Wanted::Extension { grant } => {
            let found = grants.iter().find(|found| found.id == *grant);
            let grant = found.ok_or_else(|| RequestError::NoGrant(grant.clone()))?;
            let until = end(&grant.project, judge::as_long_again(issuer, grant)?)?;
            judge::extension(issuer, grant, until)?;
            (grant, grant.role.clone(), until)
        }
        Wanted::Scopes { project, role } => {
            let has = judge::beside(&grants, project, role)?;
            let until = end(project, has.until)?;
            judge::scopes(issuer, has, role, until)?;
            (has, role.clone(), until)
        }
    };
    let request = Request {
        id: RequestId::from_random(issuer.environment.random()),
        what: asked.what.clone(),
        device: device.id.clone(),
        collaborator: device.collaborator.clone(),
        project: has.project.clone(),
        given_role: role.clone(),
        role,
        until,
        given_until: until,
        reason: reason.to_owned(),
        state: RequestLife::Requested,
        asked_at: now,
        decided_at: None,
        answer: None,
    };
    Ok((request, (has.id.clone(), has.state)))
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
