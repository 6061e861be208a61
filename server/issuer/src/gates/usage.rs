//! `POST /gate/v1/usage`: what a gate let through. It is counted, and decides nothing; so it is no event, and the ledger does not grow with every
//! request. A gate speaks of its own resources alone: whoever tries another one is refused, and that is an event.

use std::sync::Arc;

use axum::{Extension, extract::State, http::StatusCode};
use daypass_proto::{
    gate_api::{MAX_USES, UsageReport},
    json::read,
};
use daypass_service::Peer;

use super::enrol::{GateError, refuse};
use crate::{
    body::Body,
    caller::EnrolledGate,
    error::Refusal,
    issuer::Issuer,
    ledger::Source,
    store::{Gate, GateReport},
};

/// The endpoint.
pub async fn usage(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<StatusCode, Refusal> {
    let caller = EnrolledGate::identify(&issuer, &peer).await?;
    let said: UsageReport = read(&body).map_err(|error| Refusal::from(GateError::Malformed(error)))?;
    let gate = caller.gate();
    if let Err(error) = may_say(gate, &said) {
        return Err(refuse(&issuer, &Source::from(&peer), gate, error).await);
    }
    let report = GateReport { gate: gate.name.clone(), said, at: issuer.environment.now() };
    issuer.store.count_uses(report).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn may_say(gate: &Gate, said: &UsageReport) -> Result<(), GateError> {
    if said.uses.len() > MAX_USES {
        return Err(GateError::Malformed(format!("more than {MAX_USES} `uses`")));
    }
    if said.number == 0 || said.uses.iter().any(|one| one.count == 0) {
        return Err(GateError::Malformed("`number` and each `count` begin at 1".to_owned()));
    }
    match said.uses.iter().map(|one| one.location.resource()).find(|resource| !gate.resources.contains(resource)) {
        None => Ok(()),
        Some(resource) => Err(GateError::NotGuarded { gate: gate.name.clone(), resource }),
    }
}

#[cfg(test)]
mod tests;
