//! `GET /device/v1/state` and `POST /device/v1/leave`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use daypass_proto::notice::StateAnswer;
use daypass_service::Peer;
use serde::Deserialize;

use super::{Verb, decide_life, device_state, notices::notices};
use crate::{caller::EnrolledDevice, error::Refusal, issuer::Issuer};

/// What is asked beside the state.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    notices_after: Option<u64>,
}

/// The device's state, and what happened since; the one thing that a pending device may ask for.
pub async fn state(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    // What is no number asks for nothing: an agent wants its state, whatever else it wants.
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<StateAnswer>, Refusal> {
    let caller = EnrolledDevice::identify(&issuer, &peer).await?;
    let device = device_state(&issuer, caller.device(), caller.not_after()).await?;
    let (notices, notices_next) = match asked.ok().and_then(|Query(asked)| asked.notices_after) {
        Some(after) => notices(&issuer, caller.device(), after).await?,
        None => (Vec::new(), None),
    };
    Ok(Json(StateAnswer { device, notices, notices_next }))
}

/// The device ends itself.
pub async fn leave(State(issuer): State<Arc<Issuer>>, Extension(peer): Extension<Peer>) -> Result<StatusCode, Refusal> {
    let caller = EnrolledDevice::identify(&issuer, &peer).await?;
    decide_life(&issuer, &caller.device().id, Verb::Leave, &(&peer).into(), None, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
