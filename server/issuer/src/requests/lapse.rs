//! Requests that waited until there was nothing left to decide.

use daypass_proto::{
    access_request::{RequestLife, Wanted},
    enrolment::DeviceLife,
    ledger::EventKind,
};

use super::about;
use crate::{
    ending::standing,
    grant::Standing,
    issuer::Issuer,
    store::{Change, DecideError, Decision, Find, GrantLife, Request, StoreError},
};

/// How many are looked at at once.
const AT_ONCE: u32 = 1000;

/// Marks those whose wanted end has come, or whose grant or device is over.
pub async fn lapse(issuer: &Issuer) -> Result<(), DecideError> {
    let waiting = Find { states: vec![RequestLife::Requested.as_str()], ..Find::up_to(AT_ONCE) };
    for from in issuer.store.find_requests(&waiting).await? {
        if !is_over(issuer, &from).await? {
            continue;
        }
        let environment = &issuer.environment;
        let to = Request { state: RequestLife::Lapsed, decided_at: Some(environment.now()), ..from.clone() };
        let event = about(issuer, environment.event(EventKind::RequestLapsed), &to, &issuer.policy());
        let change = Change::Request { to: Box::new(to), from: Box::new(from) };
        match issuer.store.decide(Decision::new(event).change(change)).await {
            // Somebody decided meanwhile.
            Ok(()) | Err(DecideError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn is_over(issuer: &Issuer, request: &Request) -> Result<bool, StoreError> {
    if request.given_until <= issuer.environment.now() {
        return Ok(true);
    }
    let device = issuer.store.device(&request.device).await?;
    if device.is_none_or(|device| device.state == DeviceLife::Revoked) {
        return Ok(true);
    }
    let Wanted::Extension { grant } = &request.what else { return Ok(false) };
    Ok(issuer.store.grant(grant).await?.is_none_or(|grant| match grant.state {
        GrantLife::Revoked | GrantLife::Ended => true,
        GrantLife::Active | GrantLife::Grace | GrantLife::Suspended => standing(issuer, &grant) == Standing::Over,
        GrantLife::Requested => false,
    }))
}
