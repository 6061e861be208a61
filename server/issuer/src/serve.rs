//! The running issuer: two listeners and the work between requests, one lifecycle.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use daypass_proto::{
    admin_api::MAX_POLICY,
    enrolment::{MAX_BEGIN, MAX_COMPLETE},
    ledger::api,
    oauth_error::{OAuthError, Reason},
};
use daypass_service::{ClientCertificates, Limits, Listener, ServeError, TlsError, server_config, told};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin,
    body::{LARGE, Room, SMALL, bounded},
    briefing, device,
    ending::mark_over,
    enrolment,
    error::Refusal,
    gates,
    issuer::{Issuer, PolicyReload},
    ledger, metadata,
    notification::{self, Sinks},
    requests,
    store::DecideError,
    token,
};

/// What no other endpoint needs more than, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How often keys are looked for and what is over is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How often a new policy is looked for.
const FOLLOW: Duration = Duration::from_secs(1);

/// Why the issuer stops.
#[derive(Debug, Error)]
pub enum RunError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port.
    #[error(transparent)]
    Listen(#[from] ServeError),
    /// The first event.
    #[error("could not record the start")]
    Record(#[from] DecideError),
}

/// Serves until `stop`, then drains; `sinks` are told what waits for somebody.
pub async fn serve(issuer: Arc<Issuer>, sinks: Sinks, stop: CancellationToken) -> Result<(), RunError> {
    issuer.record_start().await?;
    let keyring = issuer.keyring();
    let (chain, key) = keyring.tls();
    let certificates: Vec<CertificateDer<'static>> = chain.iter().map(|der| der.clone().into()).collect();
    let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
    let client_cas = keyring.client_cas().map(|der| der.to_vec().into()).collect();
    let public = server_config(certificates.clone(), key(), ClientCertificates::None)?;
    let mtls = server_config(certificates, key(), ClientCertificates::Required(client_cas))?;
    let config = &issuer.config;
    let public = Listener::bind(&config.public_listen, public, Limits::default()).await?;
    let mtls = Listener::bind(&config.mtls_listen, mtls, Limits::default()).await?;
    tracing::info!(issuer = config.issuer_url, public = config.public_listen, mtls = config.mtls_listen, "serving");
    // Under a service manager only; elsewhere there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let tasks = TaskTracker::new();
    tasks.spawn(public.serve(RouterService(public_routes(Arc::clone(&issuer))), stop.clone()));
    tasks.spawn(mtls.serve(RouterService(mtls_routes(Arc::clone(&issuer))), stop.clone()));
    tasks.spawn(housekeeping(Arc::clone(&issuer), stop.clone()));
    tasks.spawn(notification::run(Arc::clone(&issuer), sinks, stop.clone()));
    tasks.close();
    // It ends after all others: what they decide last gets its number too.
    let decided = CancellationToken::new();
    let integrator = tokio::spawn(ledger::run(issuer, decided.clone()));
    tasks.wait().await;
    decided.cancel();
    // It could only have panicked; the next start goes on from what is stored.
    let _ = integrator.await;
    Ok(())
}

/// A router as a hyper service.
#[derive(Clone)]
struct RouterService(Router);

impl tower_service::Service<axum::http::Request<hyper::body::Incoming>> for RouterService {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <Router as tower_service::Service<axum::http::Request<axum::body::Body>>>::Future;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<hyper::body::Incoming>) -> Self::Future {
        self.0.call(request.map(axum::body::Body::new))
    }
}

async fn not_found() -> Refusal {
    Refusal::new(
        OAuthError::InvalidRequest,
        Reason::NotFound,
        "there is no such endpoint on this listener",
        "see docs/wire.md",
    )
    .with_status(axum::http::StatusCode::NOT_FOUND)
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(
        OAuthError::InvalidRequest,
        Reason::NotFound,
        "this endpoint takes another method",
        "see docs/wire.md, or the `Allow` header of this answer",
    )
    .with_status(axum::http::StatusCode::METHOD_NOT_ALLOWED)
}

/// What anybody may reach.
pub fn public_routes(issuer: Arc<Issuer>) -> Router {
    let (large, small) = (Room::new(LARGE), Room::new(SMALL));
    let within = |room: &Room, most| from_fn_with_state(room.each(most), bounded);
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata::metadata))
        .route("/jwks", get(metadata::jwks))
        .route("/healthz", get(metadata::healthz))
        .route("/metrics", get(ledger::metrics))
        .route(api::CHECKPOINT, get(ledger::checkpoint))
        .route(api::INCLUSION, get(ledger::inclusion))
        .route(api::CONSISTENCY, get(ledger::consistency))
        .route(api::LOG, get(ledger::log))
        .route("/enrolment/v1/begin", post(enrolment::begin).route_layer(within(&small, MAX_BEGIN)))
        .route("/enrolment/v1/complete", post(enrolment::complete).route_layer(within(&large, MAX_COMPLETE)))
        .route("/gate/v1/enrol", post(gates::enrol).route_layer(within(&small, MAX_BODY)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(issuer)
}

/// What a client certificate is needed for; each handler asks whose it is, on every request.
pub fn mtls_routes(issuer: Arc<Issuer>) -> Router {
    let (large, small) = (Room::new(LARGE), Room::new(SMALL));
    let within = |room: &Room, most| from_fn_with_state(room.each(most), bounded);
    let (policy, others): (Vec<_>, Vec<_>) = admin::routes().partition(|(path, _)| admin::takes_a_policy(path));
    let with = |router: Router<Arc<Issuer>>, (path, service)| router.route(path, service);
    let policy = policy.into_iter().fold(Router::new(), with).route_layer(within(&large, MAX_POLICY));
    others
        .into_iter()
        .fold(Router::new(), with)
        .route(token::PATH, post(token::token))
        .route("/oauth/introspect", post(token::introspect))
        .route("/oauth/revoke", post(token::revoke))
        .route("/device/v1/state", get(device::state))
        .route("/device/v1/leave", post(device::leave))
        .route("/device/v1/devices", get(device::list_own))
        .route("/device/v1/devices/lost", post(device::lost))
        .route("/device/v1/invitations", post(enrolment::accept))
        .route("/device/v1/requests", get(requests::list).post(requests::make))
        .route("/device/v1/requests/withdraw", post(requests::take_back))
        .route(&format!("{}{{grant}}", daypass_proto::briefing::PATH), get(briefing::read))
        .route(daypass_proto::briefing::ACCEPT_PATH, post(briefing::accepted))
        .route("/device/v1/renewal/begin", post(device::begin_renewal))
        .route("/gate/v1/revocations", get(gates::revocations))
        .route("/gate/v1/usage", post(gates::usage))
        .route("/gate/v1/renew", post(gates::renew))
        .route_layer(within(&small, MAX_BODY))
        .merge(policy)
        .route("/device/v1/renewal/complete", post(device::complete_renewal).route_layer(within(&large, MAX_COMPLETE)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(issuer)
}

async fn housekeeping(issuer: Arc<Issuer>, stop: CancellationToken) {
    let (mut tick, mut follow) = (tokio::time::interval(HOUSEKEEPING), tokio::time::interval(FOLLOW));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = follow.tick() => {
                // Where it is not understood, that was said already.
                if let Err(PolicyReload::Store(error)) = issuer.reload_policy().await {
                    tracing::error!(error = %told(&error), "could not look for a new policy; the old one stays in force");
                }
                continue;
            }
            _ = tick.tick() => {}
        }
        if let Err(error) = issuer.reload_keys().await {
            tracing::error!(error = %told(&error), "could not read the keys anew; the old ones stay in use");
        }
        issuer.forget_pace();
        // The store itself logs what it meets, once it fails and once it works again.
        let _ = issuer.store.probe().await;
        if issuer.store.fault().is_some() {
            continue;
        }
        if let Err(error) = issuer.store.sweep(issuer.environment.now()).await {
            tracing::error!(error = %told(&error), "could not forget what is over");
        }
        if let Err(error) = mark_over(&issuer).await {
            tracing::error!(error = %told(&error), "could not end grants whose time is over");
        }
        if let Err(error) = requests::lapse(&issuer).await {
            tracing::error!(error = %told(&error), "could not mark requests whose time is over");
        }
    }
}

#[cfg(test)]
mod tests;
