//! `GET /gate/v1/revocations`: which tokens, devices and grants are dead. A gate asks often; a feed takes this place later.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use daypass_proto::{
    enrolment::DeviceLife,
    gate_api::{DeadDevice, DeadGrant, Revocations, RevokedToken},
    oauth_error::Reason,
};
use daypass_service::Peer;

use crate::{caller::EnrolledGate, error::Refusal, issuer::Issuer, store::DeviceEnd};

/// The endpoint. What is dead is small in memory; its text is made as it is sent.
pub async fn revocations(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    let caller = EnrolledGate::identify(&issuer, &peer).await?;
    let as_of = issuer.environment.now();
    let resources = caller.gate().resources.clone();
    let dead = issuer.store.dead(&resources, as_of, issuer.config.allow_software_keys).await?;
    let tokens = dead.tokens.into_iter().map(|jti| RevokedToken { jti, reason: Reason::TokenRevoked });
    let devices = dead.devices.into_iter().map(|(device, end)| DeadDevice { device, reason: wire_reason(end) });
    let grants = dead.grants.into_iter().map(|grant| DeadGrant { grant, reason: Reason::GrantEnded });
    let answer = Revocations {
        as_of,
        resources,
        tokens: tokens.collect(),
        devices: devices.collect(),
        grants: grants.collect(),
    };
    let lines = Body::from_stream(futures_util::stream::iter(answer.into_blocks()));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response())
}

const fn wire_reason(end: DeviceEnd) -> Reason {
    match end {
        DeviceEnd::Life(DeviceLife::Suspended) => Reason::DeviceSuspended,
        DeviceEnd::Life(_) => Reason::DeviceRevoked,
        DeviceEnd::Software => Reason::SoftwareKeysOff,
    }
}
