//! `GET /device/v1/state` and `POST /device/v1/leave`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::StatusCode};
use daypass_proto::enrolment::DeviceState;
use daypass_service::Peer;

use super::{Verb, decide_life, device_state};
use crate::{caller::EnrolledDevice, error::Refusal, issuer::Issuer};

/// The device's state; the one thing that a pending device may ask for.
pub async fn state(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<DeviceState>, Refusal> {
    let caller = EnrolledDevice::identify(&issuer, &peer).await?;
    Ok(Json(device_state(&issuer, caller.device(), caller.not_after()).await?))
}

/// The device ends itself.
pub async fn leave(State(issuer): State<Arc<Issuer>>, Extension(peer): Extension<Peer>) -> Result<StatusCode, Refusal> {
    let caller = EnrolledDevice::identify(&issuer, &peer).await?;
    decide_life(&issuer, &caller.device().id, Verb::Leave, &(&peer).into(), None, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
