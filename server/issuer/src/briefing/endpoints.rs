//! `GET /device/v1/briefings/{grant}`, `POST /device/v1/briefings/accept`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use daypass_proto::{
    briefing::{AcceptRequest, Briefing},
    json,
    names::GrantId,
};
use daypass_service::Peer;

use super::{BriefingError, accept, of};
use crate::{body::Body, caller::ApprovedDevice, error::Refusal, issuer::Issuer, ledger::Source};

/// The briefing of a grant of the device's own.
pub async fn read(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Path(grant): Path<String>,
) -> Result<Json<Briefing>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let id: GrantId = grant.parse().map_err(|error| BriefingError::Malformed(format!("the grant's name: {error}")))?;
    let found = caller.grants().iter().find(|grant| grant.id == id).ok_or(BriefingError::NoGrant(id))?;
    let now = issuer.environment.now();
    Ok(Json(of(&issuer.policy(), &issuer.config.issuer_url, found, now)?))
}

/// Accepts it.
pub async fn accepted(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    Body(body): Body,
) -> Result<Json<Briefing>, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let asked: AcceptRequest = json::read(&body).map_err(BriefingError::Malformed)?;
    Ok(Json(accept(&issuer, &caller, &asked, &Source::from(&peer)).await?))
}
