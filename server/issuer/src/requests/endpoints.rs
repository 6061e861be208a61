//! `GET` and `POST /device/v1/requests`, `POST /device/v1/requests/withdraw`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use daypass_proto::access_request::{AccessRequest, Ask, Requests, Withdraw};
use daypass_service::Peer;
use serde::de::DeserializeOwned;

use super::{RequestError, ask, describe, withdraw};
use crate::{body::Body, caller::ApprovedDevice, error::Refusal, issuer::Issuer, ledger::Source};

/// How many a device is told of.
const TOLD: u32 = 200;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    daypass_proto::json::read(body).map_err(RequestError::Malformed)
}

/// Takes one down.
pub async fn make(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<AccessRequest>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let asked: Ask = read(&body)?;
    let request = ask(&issuer, caller.device(), &asked, &Source::from(&peer)).await?;
    Ok(Json(describe(&issuer, request).await?))
}

/// The device's own.
pub async fn list(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<Requests>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let found = issuer.store.requests_of(&caller.device().id, TOLD).await?;
    let mut requests = Vec::with_capacity(found.len());
    for request in found {
        requests.push(describe(&issuer, request).await?);
    }
    Ok(Json(Requests { requests }))
}

/// Takes one back.
pub async fn take_back(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<AccessRequest>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let asked: Withdraw = read(&body)?;
    let request = withdraw(&issuer, caller.device(), &asked.request, &Source::from(&peer)).await?;
    Ok(Json(describe(&issuer, request).await?))
}

#[cfg(test)]
mod tests;
