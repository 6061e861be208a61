//! `GET /gate/v1/revocations`: which live-looking tokens are dead. A gate asks often; a feed takes this place later.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use daypass_proto::{
    enrolment::DeviceLife,
    gate_api::{Revocations, RevokedToken},
    oauth_error::Reason,
};
use daypass_service::Peer;

use crate::{caller::EnrolledGate, error::Refusal, issuer::Issuer, store::DeadReason};

/// The endpoint.
pub async fn revocations(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Revocations>, Refusal> {
    let caller = EnrolledGate::identify(&issuer, &peer).await?;
    let as_of = issuer.environment.now();
    let resources = caller.gate().resources.clone();
    let dead = issuer.store.dead_tokens(&resources, as_of, issuer.config.allow_software_keys).await?;
    let tokens = dead.into_iter().map(|(jti, reason)| RevokedToken { jti, reason: wire_reason(reason) }).collect();
    Ok(Json(Revocations { as_of, resources, tokens }))
}

const fn wire_reason(reason: DeadReason) -> Reason {
    match reason {
        DeadReason::Device(DeviceLife::Suspended) => Reason::DeviceSuspended,
        DeadReason::Device(_) => Reason::DeviceRevoked,
        DeadReason::Grant => Reason::GrantEnded,
        DeadReason::Software => Reason::SoftwareKeysOff,
        DeadReason::Token => Reason::TokenRevoked,
    }
}
