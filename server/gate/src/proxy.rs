//! One request through the gate: routed, authenticated, covered, and only then rebuilt for the upstream.

use std::{collections::BTreeSet, convert::Infallible, net::IpAddr, sync::Arc};

use daypass_proto::{
    authorization::{GitAccess, GitAction},
    token::AccessTokenClaims,
};
use daypass_service::Peer;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::io::AsyncReadExt as _;

use crate::{
    authentication::{Authenticated, authenticate, uses_dpop},
    config::Guarded,
    flow::{self, Failed, Input, Owner},
    gate::Gate,
    git::{Head, PushHead, Verdict, read_head, report},
    probe::probed,
    refusal::{Refusal, full},
    route::{self, Endpoint, Route, Service},
    upstream::Body,
};

/// Serves one request.
pub async fn handle(gate: Arc<Gate>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let client = request.extensions().get::<Peer>().map(|peer| peer.address.ip().to_canonical());
    let response = match client {
        Some(client) => serve(gate, request, client).await.unwrap_or_else(|refusal| {
            tracing::info!(%method, path, %client, status = refusal.status().as_u16(), why = refusal.text(), "refused");
            refusal.into_response()
        }),
        None => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection has no address").into_response(),
    };
    Ok(response)
}

async fn serve(gate: Arc<Gate>, request: Request<Incoming>, client: IpAddr) -> Result<Response<Body>, Refusal> {
    let (parts, mut body) = request.into_parts();
    let resources: Vec<_> = gate.config().resources.iter().map(|guarded| guarded.resource.clone()).collect();
    let route = route::parse(&parts.method, &parts.uri, &parts.headers, &resources)
        .map_err(|error| Refusal::of_route(&error))?;
    if let Some(service) = probed(route.endpoint, &parts.headers, &mut body).await {
        return Ok(git_answer(service, Vec::new()));
    }
    let target = parts.uri.path();
    let who = authenticate(&gate, &route, parts.method.as_str(), &parts.headers, client, target)
        .await
        .map_err(|error| Refusal::of_authentication(&error, &gate, &route, client, uses_dpop(&parts.headers)))?;
    if !who.claims().authorization_details.allows(GitAccess::Read(&route.repository)) {
        let text = format!("`{}` is not granted to this machine", route.repository);
        return Err(Refusal::not_granted(text, uses_dpop(&parts.headers)));
    }
    let guarded = gate
        .guarded(&route)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "nothing stands behind this resource"))?;
    let owner = Owner::new(&gate, who.claims());
    let call = Call { gate: &gate, guarded, route: &route, who: &who, owner, headers: &parts.headers };
    match route.endpoint {
        Endpoint::Advertise(_) => {
            call.note([GitAction::Read]);
            call.forward(Method::GET, (full(""), Failed::default())).await
        }
        Endpoint::Call(Service::UploadPack) => {
            let input = call.input(body)?;
            call.note([GitAction::Read]);
            call.forward(Method::POST, flow::upward(call.owner.clone(), Vec::new(), input)).await
        }
        Endpoint::Call(Service::ReceivePack) => {
            let input = call.input(body)?;
            call.push(input).await
        }
    }
}

/// A request that was authenticated.
struct Call<'a> {
    gate: &'a Arc<Gate>,
    guarded: &'a Guarded,
    route: &'a Route,
    who: &'a Authenticated,
    owner: Owner,
    headers: &'a HeaderMap,
}

impl Call<'_> {
    /// The body, where its type is the service's own.
    fn input(&self, body: Incoming) -> Result<Input, Refusal> {
        let service = self.route.endpoint.service();
        if !service.is_type_of(self.headers) {
            let text = format!("the request must be `{}`", service.request_type());
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        flow::input(self.headers, body)
            .map_err(|error| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()))
    }

    /// Counts the request as let through: by what it was decided, and not by what the git server makes of it.
    fn note(&self, actions: impl IntoIterator<Item = GitAction>) {
        let actions: BTreeSet<_> = actions.into_iter().collect();
        self.gate.usage().note(&self.who.claims().daypass.grant, &self.route.repository, &actions, self.gate.now());
    }

    async fn push(&self, mut input: Input) -> Result<Response<Body>, Refusal> {
        let head = match read_head(&mut input).await {
            Ok(Head::Push(head)) => head,
            // Nothing goes upstream: git's server would answer an empty list with nothing, too.
            Ok(Head::Probe) => {
                return match input.read(&mut [0]).await {
                    Ok(0) => Ok(git_answer(Service::ReceivePack, Vec::new())),
                    _ => {
                        Err(Refusal::new(StatusCode::BAD_REQUEST, "the push has no commands, and goes on behind them"))
                    }
                };
            }
            Err(error) => {
                flow::drain(input).await;
                return Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string()));
            }
        };
        match self.refused_refs(&head) {
            None => {
                self.note(head.commands().iter().map(crate::git::Command::action));
                self.forward(Method::POST, flow::upward(self.owner.clone(), head.serialize(), input)).await
            }
            Some((verdicts, message)) => {
                tracing::info!(repository = %self.route.repository, device = %self.who.claims().daypass.device, why = message, "push refused");
                let answer = report(&head, &verdicts, &message);
                flow::drain(input).await;
                match answer {
                    Some(answer) => Ok(git_answer(Service::ReceivePack, answer)),
                    None => Err(Refusal::not_granted(message, uses_dpop(self.headers))),
                }
            }
        }
    }

    /// Every ref with its verdict, where one ref at least is not covered: then none of them is updated.
    fn refused_refs<'h>(&self, head: &'h PushHead) -> Option<(Vec<Verdict<'h>>, String)> {
        let details = &self.who.claims().authorization_details;
        let covered = |command: &crate::git::Command| {
            let (action, reference) = (command.action(), command.reference().as_bytes());
            details.allows(GitAccess::Write { repository: &self.route.repository, action, reference })
        };
        let first = head.commands().iter().find(|command| !covered(command))?;
        let verdicts = head
            .commands()
            .iter()
            .map(|command| {
                let reason = if covered(command) {
                    "not updated, because another ref of this push is not granted".to_owned()
                } else {
                    format!("not granted: {} {}", command.action(), command.reference())
                };
                Verdict { reference: command.reference(), reason }
            })
            .collect();
        let message = format!(
            "daypass: this push was refused: `{}` of `{}` is not granted to this machine.\ndaypass: nothing was changed. `daypass status` shows what is granted; ask an owner of the project for more.",
            first.action(),
            first.reference(),
        );
        Some((verdicts, message))
    }

    /// Builds the upstream request anew, and passes the answer on.
    async fn forward(&self, method: Method, (body, failed): (Body, Failed)) -> Result<Response<Body>, Refusal> {
        let service = self.route.endpoint.service();
        let tail = match self.route.endpoint {
            Endpoint::Advertise(_) => format!("info/refs?service={}", service.name()),
            Endpoint::Call(_) => service.name().to_owned(),
        };
        let Guarded { path_prefix, path_suffix, upstream, .. } = self.guarded;
        let uri = format!("{path_prefix}{}{path_suffix}/{tail}", self.route.repository.path());
        let mut request = Request::builder().method(&method).uri(uri).header(header::HOST, "upstream");
        if method == Method::POST {
            request = request
                .header(header::CONTENT_TYPE, service.request_type())
                .header(header::ACCEPT, format!("application/x-{}-result", service.name()));
        }
        if let Some(version) = protocol_version(self.headers) {
            request = request.header("git-protocol", version);
        }
        for (name, value) in identity(self.who.claims()) {
            request = request.header(name, value);
        }
        let bad = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "could not ask the upstream");
            Refusal::new(
                StatusCode::BAD_GATEWAY,
                "the git server behind this gate gave no answer; tell its administrator",
            )
        };
        let request = request.body(body).map_err(|error| bad(&error))?;
        let idle = self.gate.config().idle_timeout;
        let answer = upstream.send(request, idle).await;
        // Ended on the way or while the upstream was thinking: said in words, where the flow could only be cut.
        self.owner.may_go_on().map_err(|cut| Refusal::of_cut(&cut))?;
        let answer = answer.map_err(|error| match failed.has() {
            true => Refusal::new(
                StatusCode::BAD_REQUEST,
                "the body of the request ended early, or does not inflate; nothing was changed, try again",
            ),
            false => bad(&error),
        })?;
        match answer.status() {
            StatusCode::OK => Ok(self.pass_on(answer)),
            StatusCode::NOT_FOUND => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                format!("`{}` does not exist at the git server", self.route.repository),
            )),
            other => Err(bad(&format!("status {other}"))),
        }
    }

    fn pass_on(&self, answer: Response<Incoming>) -> Response<Body> {
        let (parts, body) = answer.into_parts();
        let mut response = Response::new(flow::downward(self.owner.clone(), body));
        for name in [header::CONTENT_TYPE, header::CACHE_CONTROL, header::EXPIRES, header::PRAGMA] {
            if let Some(value) = parts.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// The protocol version that git asks for, where it is one that exists (gitprotocol-http(5)).
fn protocol_version(headers: &HeaderMap) -> Option<&'static str> {
    let asked = headers.get("git-protocol")?.as_bytes();
    ["version=2", "version=1", "version=0"].into_iter().find(|version| version.as_bytes() == asked)
}

/// Who is asking, for the upstream. These headers come from here alone: nothing of the client's headers is passed on.
fn identity(claims: &AccessTokenClaims) -> [(&'static str, String); 4] {
    [
        ("daypass-collaborator", claims.sub.to_string()),
        ("daypass-device", claims.daypass.device.to_string()),
        ("daypass-grant", claims.daypass.grant.to_string()),
        ("daypass-project", claims.daypass.project.to_string()),
    ]
}

fn git_answer(service: Service, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(body));
    let kind = match service {
        Service::UploadPack => "application/x-git-upload-pack-result",
        Service::ReceivePack => "application/x-git-receive-pack-result",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
