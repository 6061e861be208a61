//! The local API: HTTP/1.1 and JSON on a Unix socket. Who asks is the uid that the kernel reports at accept, and nothing else.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use daypass_proto::local_api::{
    AskIssuer, BriefingAccepted, BriefingAsked, EnrolRequest, Enrolments, GitCredentialRequest, GitEraseRequest,
    LeaveRequest, MAX_BODY, ProofRequest, RefreshRequest, TokenRequest, WarningsRequest, WithdrawAsked,
    admin::AdminRequest, ledger::AcceptRequest,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{agent::Agent, caller::Caller, error::AgentError, large_body::Large};

impl IntoResponse for AgentError {
    fn into_response(self) -> Response {
        let answer = self.answer();
        let status = StatusCode::from_u16(answer.error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(answer)).into_response()
    }
}

/// A request's body, whole and within the limit.
struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = AgentError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AgentError> {
        let refused = |_| AgentError::Malformed(format!("the body is over {MAX_BODY} bytes, or broke off"));
        Bytes::from_request(request, state).await.map(Self).map_err(refused)
    }
}

fn uid(caller: &Caller) -> Result<u32, AgentError> {
    caller.uid.ok_or_else(|| AgentError::Malformed("the kernel did not say who is asking".to_owned()))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, AgentError> {
    daypass_proto::json::read(body).map_err(AgentError::Malformed)
}

/// An answer that may hold a credential: nobody on the way keeps it.
fn give(value: impl Serialize) -> Response {
    let mut response = Json(value).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Shared = State<Arc<Agent>>;
type Who = ConnectInfo<Caller>;

async fn status(State(agent): Shared, ConnectInfo(caller): Who) -> Result<Response, AgentError> {
    Ok(give(agent.status(uid(&caller)?).await?))
}

async fn enrol(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: EnrolRequest = read(&body)?;
    Ok(give(agent.enrol(uid(&caller)?, &request.invitation).await?))
}

async fn refresh(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: RefreshRequest = if body.is_empty() { RefreshRequest::default() } else { read(&body)? };
    Ok(give(Enrolments { enrolments: agent.refresh(uid(&caller)?, request.issuer.as_deref()).await? }))
}

async fn leave(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: LeaveRequest = read(&body)?;
    Ok(give(agent.leave(uid(&caller)?, &request.issuer).await?))
}

async fn ask(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: AskIssuer = read(&body)?;
    Ok(give(agent.ask(uid(&caller)?, &request).await?))
}

async fn requests(State(agent): Shared, ConnectInfo(caller): Who) -> Result<Response, AgentError> {
    Ok(give(agent.requests(uid(&caller)?).await))
}

async fn withdraw(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: WithdrawAsked = read(&body)?;
    Ok(give(agent.withdraw(uid(&caller)?, &request).await?))
}

async fn briefing(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: BriefingAsked = read(&body)?;
    Ok(give(agent.briefing(uid(&caller)?, &request).await?))
}

async fn accept_briefing(
    State(agent): Shared,
    ConnectInfo(caller): Who,
    Body(body): Body,
) -> Result<Response, AgentError> {
    let request: BriefingAccepted = read(&body)?;
    Ok(give(agent.accept_briefing(uid(&caller)?, &request).await?))
}

async fn token(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: TokenRequest = read(&body)?;
    Ok(give(agent.token(uid(&caller)?, &agent.evidence(&caller).await, &request).await?))
}

async fn proof(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: ProofRequest = read(&body)?;
    Ok(give(agent.proof(uid(&caller)?, &agent.evidence(&caller).await, &request).await?))
}

async fn git_credential(
    State(agent): Shared,
    ConnectInfo(caller): Who,
    Body(body): Body,
) -> Result<Response, AgentError> {
    let request: GitCredentialRequest = read(&body)?;
    Ok(give(agent.git_credential(uid(&caller)?, &agent.evidence(&caller).await, &request).await?))
}

async fn git_erase(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<StatusCode, AgentError> {
    let request: GitEraseRequest = read(&body)?;
    agent.git_erase(uid(&caller)?, &request);
    Ok(StatusCode::NO_CONTENT)
}

async fn devices(State(agent): Shared, ConnectInfo(caller): Who) -> Result<Response, AgentError> {
    Ok(give(agent.devices(uid(&caller)?).await))
}

async fn report_lost(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    Ok(give(agent.report_lost(uid(&caller)?, &read(&body)?).await?))
}

async fn notices(State(agent): Shared, ConnectInfo(caller): Who) -> Result<Response, AgentError> {
    Ok(give(agent.notices(uid(&caller)?).await))
}

async fn read_notices(
    State(agent): Shared,
    ConnectInfo(caller): Who,
    Body(body): Body,
) -> Result<StatusCode, AgentError> {
    agent.read_notices(uid(&caller)?, &read(&body)?)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn warnings(State(agent): Shared, ConnectInfo(caller): Who, Body(body): Body) -> Result<Response, AgentError> {
    let request: WarningsRequest = read(&body)?;
    Ok(give(agent.warnings_due(uid(&caller)?, &request).await?))
}

async fn ledgers(State(agent): Shared, ConnectInfo(caller): Who) -> Result<Response, AgentError> {
    Ok(give(agent.ledgers(uid(&caller)?)))
}

async fn check_ledgers(
    State(agent): Shared,
    ConnectInfo(caller): Who,
    Body(body): Body,
) -> Result<Response, AgentError> {
    let request: RefreshRequest = if body.is_empty() { RefreshRequest::default() } else { read(&body)? };
    Ok(give(agent.check_ledgers(uid(&caller)?, request.issuer.as_deref()).await?))
}

async fn accept_findings(
    State(agent): Shared,
    ConnectInfo(caller): Who,
    Body(body): Body,
) -> Result<Response, AgentError> {
    let request: AcceptRequest = read(&body)?;
    Ok(give(agent.accept_findings(uid(&caller)?, &request)?))
}

async fn administer(
    State(agent): Shared,
    ConnectInfo(caller): Who,
    Extension(large): Extension<Large>,
    request: Request,
) -> Result<Response, AgentError> {
    let uid = uid(&caller)?;
    let body = large.read(uid, request).await?;
    let request: AdminRequest = read(&body.bytes)?;
    Ok(give(agent.administer(uid, &agent.evidence(&caller).await, &request).await?))
}

async fn not_found() -> AgentError {
    AgentError::NotFound
}

/// The API's routes.
pub fn routes(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/enrolments", post(enrol))
        .route("/v1/enrolments/refresh", post(refresh))
        .route("/v1/leave", post(leave))
        .route("/v1/requests", get(requests).post(ask))
        .route("/v1/requests/withdraw", post(withdraw))
        .route("/v1/briefings", post(briefing))
        .route("/v1/briefings/accept", post(accept_briefing))
        .route("/v1/tokens", post(token))
        .route("/v1/proofs", post(proof))
        .route("/v1/git-credentials", post(git_credential))
        .route("/v1/git-credentials/erase", post(git_erase))
        .route("/v1/devices", get(devices))
        .route("/v1/devices/lost", post(report_lost))
        .route("/v1/notices", get(notices))
        .route("/v1/notices/read", post(read_notices))
        .route("/v1/warnings", post(warnings))
        .route("/v1/ledgers", get(ledgers))
        .route("/v1/ledgers/check", post(check_ledgers))
        .route("/v1/ledgers/accept", post(accept_findings))
        .route("/v1/admin", post(administer).layer(Extension(Large::default())))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_in_the_wrong_place_is_not_thrown_back() {
        for body in [
            r#""dpinv1_secret""#,
            r#"{"dpinv1_SECRET":1}"#,
            r#"{"invitation":["dpinv1_secret"]}"#,
            r#"{"invitation":{"a":"dpinv1_secret"}}"#,
        ] {
            let error = read::<EnrolRequest>(&Bytes::from_static(body.as_bytes())).err().unwrap().to_string();
            assert!(!error.contains("dpinv1_"), "{error}");
        }
        let error = read::<GitEraseRequest>(&Bytes::from_static(br#"{"secret":1,"host":"token"}"#)).err().unwrap();
        assert!(!error.to_string().contains("token"), "{error}");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_in_our_words() {
        let body = |size| Request::new(axum::body::Body::from(vec![0; size]));
        // Without a route's own limit, axum's of two megabytes holds.
        let refused = Body::from_request(body(3 * 1024 * 1024), &()).await.err().unwrap();
        assert!(refused.to_string().contains("bytes"), "{refused}");
        assert_eq!(Body::from_request(body(5), &()).await.unwrap().0.len(), 5);
    }
}
