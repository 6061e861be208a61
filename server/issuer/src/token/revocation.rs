//! `POST /oauth/revoke` (RFC 7009): a device ends a token of its own.

use std::sync::Arc;

use axum::{
    Extension, Form,
    extract::{State, rejection::FormRejection},
    http::StatusCode,
};
use daypass_proto::{encoding::base64url, json::fault, ledger::EventKind};
use daypass_service::Peer;
use serde::Deserialize;

use super::own_token;
use crate::{
    caller::ApprovedDevice,
    error::Refusal,
    issuer::Issuer,
    store::{Change, Condition, DecideError, Decision},
};

#[derive(Debug, Deserialize)]
pub(crate) struct RevocationForm {
    token: String,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<String>,
}

/// The endpoint. A token that is unknown, over, or somebody else's is 200 as well (section 2.2): nothing is learned from it.
pub async fn revoke(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    form: Result<Form<RevocationForm>, FormRejection>,
) -> Result<StatusCode, Refusal> {
    let caller = ApprovedDevice::identify(&issuer, &peer).await?;
    let Form(form) = form.map_err(|error| Refusal::malformed(fault(&error)))?;
    // Who it is, the certificate has said already; somebody who names another is mixed up (RFC 8705 section 2).
    if form.client_id.is_some_and(|named| named != caller.device().id.client_id()) {
        return Err(super::request::TokenError::ClientMismatch.into());
    }
    let own = own_token(&issuer, &form.token).filter(|claims| claims.daypass.device == caller.device().id);
    if let Some(claims) = own {
        let environment = &issuer.environment;
        let event = environment
            .event(EventKind::TokenRevoked)
            .text("jti", &claims.jti)
            .text("token_hash", base64url(&claims.hash()))
            .text("grant", &claims.daypass.grant)
            .text("project", &claims.daypass.project)
            .text("resource", &claims.aud)
            .number("exp", claims.exp.seconds());
        let event = environment.asked(environment.of_device(event, caller.device()), &(&peer).into());
        match issuer.store.decide(Decision::new(event).change(Change::RevokeToken(claims.jti))).await {
            // Revoked before, and written down then.
            Ok(()) | Err(DecideError::Conflict(Condition::TokenIsGood)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StatusCode::OK)
}
