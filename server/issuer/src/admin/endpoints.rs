//! The admin API's router: one handler for every route of the table.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{RawPathParams, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use daypass_proto::{authorization::HttpMethod, ledger::EventKind};
use daypass_service::Peer;

use super::{
    caller::{self, Decider},
    perform::{Asked, perform},
    route::{ROUTES, Route},
};
use crate::{
    actor::Actor,
    body::Body,
    caller::EnrolledDevice,
    error::{NEVER_STORED, Refusal},
    issuer::Issuer,
    store::Decision,
};

/// Each path of the admin API with what serves it.
pub fn routes() -> impl Iterator<Item = (&'static str, MethodRouter<Arc<Issuer>>)> {
    ROUTES.iter().map(|route| {
        let handler = move |State(issuer): State<Arc<Issuer>>,
                            Extension(peer): Extension<Peer>,
                            params: RawPathParams,
                            uri: Uri,
                            headers: HeaderMap,
                            Body(body): Body| async move {
            let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let asked = Asked { params, query: uri.query().unwrap_or_default().to_owned(), body };
            Box::pin(serve(&issuer, route, &peer, uri.path(), &headers, asked)).await
        };
        let service = match route.method {
            HttpMethod::Get => get(handler),
            _ => post(handler),
        };
        (route.path, service)
    })
}

async fn serve(
    issuer: &Issuer,
    route: &Route,
    peer: &Peer,
    path: &str,
    headers: &HeaderMap,
    asked: Asked,
) -> Result<Response, Refusal> {
    let caller = EnrolledDevice::identify(issuer, peer).await;
    let known = match &caller {
        Ok(caller) => Some(caller.device().clone()),
        Err(error) => match error.device() {
            Some(id) => issuer.store.device(&id).await?,
            None => None,
        },
    };
    let device = match (caller.and_then(EnrolledDevice::approved), known) {
        (Ok(device), _) => device,
        (Err(error), Some(known)) => {
            let actor =
                Actor::Person { collaborator: known.collaborator, device: known.id, address: peer.address.ip() };
            return Err(refuse(issuer, route, &actor, error.to_string(), error.into()).await?);
        }
        (Err(error), None) => return Err(error.into()),
    };
    let decided = async {
        let decider = Decider::admit(issuer, &device, peer, (route.method, path), headers).await?;
        decider.standing.may(route.operation)?;
        perform(issuer, &decider, route.operation, asked).await
    };
    match Box::pin(decided).await {
        Ok(answer) => Ok((NEVER_STORED, Json(answer)).into_response()),
        Err(error) => Err(refuse(issuer, route, &caller::actor(&device, peer), error.to_string(), error.into()).await?),
    }
}

/// Writes the refusal down.
async fn refuse(
    issuer: &Issuer,
    route: &Route,
    actor: &Actor,
    why: String,
    refusal: Refusal,
) -> Result<Refusal, Refusal> {
    if refusal.cannot_be_recorded() {
        return Ok(refusal);
    }
    if let Actor::Person { device, .. } = actor {
        issuer.one_more(EventKind::AdministrationRefused, device)?;
    }
    let event = issuer.environment.event(EventKind::AdministrationRefused).text("operation", route.operation.name());
    let event = issuer.environment.decided(event, actor);
    let event = issuer.environment.refused(event, refusal.reason(), &why);
    issuer.store.decide(Decision::new(event)).await?;
    Ok(refusal)
}
