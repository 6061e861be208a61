//! `POST /oauth/introspect` (RFC 7662), for gates and only about tokens for their own resources.

use std::sync::Arc;

use axum::{
    Extension, Form, Json,
    extract::{State, rejection::FormRejection},
    response::{IntoResponse as _, Response},
};
use daypass_proto::{enrolment::DeviceLife, json::fault, token::AccessTokenClaims};
use daypass_service::Peer;
use serde::Deserialize;
use serde_json::json;

use super::own_token;
use crate::{
    caller::EnrolledGate,
    error::{NEVER_STORED, Refusal},
    grant::Span,
    issuer::Issuer,
    store::{GrantLife, StoreError},
};

#[derive(Debug, Deserialize)]
pub(crate) struct IntrospectionForm {
    token: String,
    // A hint never limits the search; there is one type of token.
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<String>,
}

/// The endpoint. Whatever is not active, for whatever reason, is `{"active":false}` and nothing more (section 2.2).
pub async fn introspect(
    State(issuer): State<Arc<Issuer>>,
    Extension(peer): Extension<Peer>,
    form: Result<Form<IntrospectionForm>, FormRejection>,
) -> Result<Response, Refusal> {
    let caller = EnrolledGate::identify(&issuer, &peer).await?;
    let Form(form) = form.map_err(|error| Refusal::malformed(fault(&error)))?;
    let claims = own_token(&issuer, &form.token).filter(|claims| caller.gate().resources.contains(&claims.aud));
    let answer = match claims {
        Some(claims) if is_active(&issuer, &claims).await? => json!({
            "active": true, "token_type": "DPoP", "iss": claims.iss, "sub": claims.sub, "aud": claims.aud, "client_id": claims.client_id,
            "iat": claims.iat, "nbf": claims.nbf, "exp": claims.exp, "jti": claims.jti, "cnf": {"jkt": claims.cnf.jkt},
            "authorization_details": claims.authorization_details, "daypass": claims.daypass,
        }),
        _ => json!({"active": false}),
    };
    Ok((NEVER_STORED, Json(answer)).into_response())
}

/// Whether a token of ours is good now: it, its device and its grant.
pub(crate) async fn is_active(issuer: &Issuer, claims: &AccessTokenClaims) -> Result<bool, StoreError> {
    let Some(record) = issuer.store.token(&claims.jti).await? else { return Ok(false) };
    let Some(device) = issuer.store.device(&record.device).await? else { return Ok(false) };
    let Some(grant) = issuer.store.grant(&record.grant).await? else { return Ok(false) };
    Ok(!record.revoked
        && device.state == DeviceLife::Approved
        && (!device.is_software() || issuer.config.allow_software_keys)
        && matches!(grant.state, GrantLife::Active | GrantLife::Grace)
        && Span::recorded(&grant).over > issuer.environment.now())
}
