//! Requests that waited until there was nothing left to decide.

use daypass_proto::{
    access_request::{RequestLife, Wanted},
    enrolment::DeviceLife,
    ledger::{Event, EventKind},
};

use super::{RequestError, about, judge::beside};
use crate::{
    ending::{Told, standing},
    grant::Standing,
    issuer::Issuer,
    store::{Change, DecideError, Decision, Find, GrantLife, Request, StoreError},
};

/// How many are looked at at once.
const AT_ONCE: u32 = 1000;

/// Marks those whose wanted end has come, or whose grant or device is over.
pub async fn lapse(issuer: &Issuer) -> Result<(), DecideError> {
    let mut waiting = Find { states: vec![RequestLife::Requested.as_str()], ..Find::up_to(AT_ONCE) };
    loop {
        let found = issuer.store.find_requests(&waiting).await?;
        waiting.after = found.last().map(|request| request.id.to_string());
        lapse_among(issuer, found).await?;
        if waiting.after.is_none() {
            return Ok(());
        }
    }
}

async fn lapse_among(issuer: &Issuer, found: Vec<Request>) -> Result<(), DecideError> {
    for from in found {
        if !is_over(issuer, &from).await? {
            continue;
        }
        let (event, change) = over(issuer, from);
        match issuer.store.decide(Decision::new(event).change(change)).await {
            // Somebody decided meanwhile.
            Ok(()) | Err(DecideError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A decision with the end of a request on top, whose reason is gone.
pub fn lapsed(issuer: &Issuer, decision: Decision, from: Request, told: &Told<'_>) -> Decision {
    let (event, change) = over(issuer, from);
    decision.event(told.on(issuer, event)).change(change)
}

fn over(issuer: &Issuer, from: Request) -> (Event, Change) {
    let environment = &issuer.environment;
    let to = Request { state: RequestLife::Lapsed, decided_at: Some(environment.now()), ..from.clone() };
    let event = about(issuer, environment.event(EventKind::RequestLapsed), &to, &issuer.policy());
    (event, Change::Request { to: Box::new(to), from: Box::new(from) })
}

async fn is_over(issuer: &Issuer, request: &Request) -> Result<bool, StoreError> {
    if request.given_until <= issuer.environment.now() {
        return Ok(true);
    }
    let device = issuer.store.device(&request.device).await?;
    if device.is_none_or(|device| device.state == DeviceLife::Revoked) {
        return Ok(true);
    }
    let grant = match &request.what {
        Wanted::Extension { grant } => grant,
        Wanted::Scopes { project, .. } => {
            let grants = issuer.store.grants_of(&request.device).await?;
            return Ok(matches!(beside(&grants, project, &request.given_role), Err(RequestError::NoProject(_))));
        }
    };
    Ok(issuer.store.grant(grant).await?.is_none_or(|grant| match grant.state {
        GrantLife::Revoked | GrantLife::Ended => true,
        GrantLife::Active | GrantLife::Grace | GrantLife::Suspended => standing(issuer, &grant) == Standing::Over,
        GrantLife::Requested => false,
    }))
}
