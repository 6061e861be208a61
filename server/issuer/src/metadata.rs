//! What the issuer publishes: RFC 8414 metadata and its keys.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass_proto::authorization::AuthorizationDetail;
use serde_json::{Value, json};

use crate::{issuer::Issuer, store::DecideError, token::PATH as TOKEN};

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 section 3).
pub async fn metadata(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let config = &issuer.config;
    let endpoints = json!({
        "token_endpoint": config.mtls_endpoint(TOKEN),
        "introspection_endpoint": config.mtls_endpoint("/oauth/introspect"),
        "revocation_endpoint": config.mtls_endpoint("/oauth/revoke"),
    });
    let mut document = json!({
        "issuer": config.issuer_url,
        "jwks_uri": format!("{}/jwks", config.issuer_url),
        // There is no authorization endpoint, and so no response type. The member is required, and an empty array is not allowed
        // (section 3.2): the registered value that gives nothing back says what is true.
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "introspection_endpoint_auth_methods_supported": ["tls_client_auth"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "authorization_details_types_supported": AuthorizationDetail::TYPES,
        "mtls_endpoint_aliases": endpoints,
    });
    if let (Some(document), Some(endpoints)) = (document.as_object_mut(), endpoints.as_object()) {
        document.extend(endpoints.clone());
    }
    Json(document)
}

/// `GET /jwks` (RFC 7517): keys in use, keys to come, and keys whose tokens are still out.
pub async fn jwks(State(issuer): State<Arc<Issuer>>) -> Response {
    let now = issuer.environment.now();
    let keyring = issuer.keyring();
    let keys: Vec<Value> = keyring
        .published(now)
        .filter_map(|token| {
            let mut key = serde_json::to_value(token.key.public()).ok()?;
            let fields = key.as_object_mut()?;
            fields.insert("kid".into(), json!(token.record.kid));
            fields.insert("use".into(), json!("sig"));
            fields.insert("alg".into(), json!("ES256"));
            // RFC 7517 section 4.7: base64, not base64url.
            fields.insert(
                "x5c".into(),
                json!(token.record.chain.iter().map(|der| STANDARD.encode(&der.0)).collect::<Vec<_>>()),
            );
            Some(key)
        })
        .collect();
    let cache = format!("max-age={}", issuer.config.key_overlap / 4);
    ([(header::CACHE_CONTROL, cache)], Json(json!({ "keys": keys }))).into_response()
}

/// `GET /healthz`: whether the store answers, takes writes, and is not ahead of the clock.
pub async fn healthz(State(issuer): State<Arc<Issuer>>) -> (StatusCode, String) {
    let bad = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if let Some(fault) = issuer.store.fault() {
        return bad(fault.told());
    }
    match issuer.clock_is_right().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(DecideError::Store(error)) => bad(error.fault().told()),
        Err(error) => bad(&error.to_string()),
    }
}
