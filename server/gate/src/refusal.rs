//! What a refused client sees: a status, a fresh nonce where one helps, and text that git shows after `remote:`.

use bytes::Bytes;
use daypass_proto::redaction::redacted;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

use crate::{
    authentication::AuthenticationError,
    flow::Cut,
    gate::Gate,
    nonce::Scope,
    replay::ReplayError,
    route::{Route, RouteError},
    upstream::Body,
};

/// A refusal, ready to leave.
pub struct Refusal {
    status: StatusCode,
    text: String,
    headers: Box<HeaderMap>,
}

impl Refusal {
    /// With a status and a text.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        // Some of it repeats the request, which may have had a secret in the wrong place.
        Self { status, text: redacted(&text.into()).into_owned(), headers: Box::default() }
    }

    /// Of a request that is not routed.
    pub fn of_route(error: &RouteError) -> Self {
        let status = match error {
            RouteError::Host => StatusCode::MISDIRECTED_REQUEST,
            RouteError::Method => StatusCode::METHOD_NOT_ALLOWED,
            RouteError::Endpoint | RouteError::Repository(_) => StatusCode::NOT_FOUND,
        };
        Self::new(status, error.to_string())
    }

    /// Of somebody who may not do this.
    pub fn not_granted(text: impl Into<String>, uses_dpop: bool) -> Self {
        let mut refusal = Self::new(StatusCode::FORBIDDEN, text);
        if uses_dpop {
            refusal.add(header::WWW_AUTHENTICATE, "DPoP algs=\"ES256\", error=\"insufficient_scope\"");
        }
        refusal
    }

    /// Of a request that nobody good made; carries a fresh nonce where one helps.
    pub fn of_authentication(
        error: &AuthenticationError,
        gate: &Gate,
        route: &Route,
        client: std::net::IpAddr,
        uses_dpop: bool,
    ) -> Self {
        use AuthenticationError as E;
        let status = status_of(error, uses_dpop);
        let mut refusal = Self::new(status, error.to_string());
        if status != StatusCode::UNAUTHORIZED {
            return refusal;
        }
        let dpop_error = match error {
            E::NoNonce | E::Nonce(_) | E::Replay(_) => ", error=\"use_dpop_nonce\"",
            E::Proof(_) | E::ProofHeader => ", error=\"invalid_dpop_proof\"",
            E::Token(_) | E::Bearer | E::Dead(_) | E::Software | E::Delegated => ", error=\"invalid_token\"",
            _ => "",
        };
        let resource = route.resource.as_str();
        let challenge = format!("DPoP algs=\"ES256\"{dpop_error}");
        if uses_dpop {
            // One challenge for one question: OAuth clients look at the first, or for a single one. And a nonce only where a new proof
            // is asked for: there are clients that try again whenever they get one, and a token that is no good stays so.
            refusal.add(header::WWW_AUTHENTICATE, &challenge);
        } else {
            let nonce = gate.fresh_nonce(Scope::Presentation(route.repository.as_str()), client);
            // Ours first: git tries schemes in its own order, helpers read them in this one.
            refusal.add(header::WWW_AUTHENTICATE, &format!("Daypass realm=\"{resource}\", nonce=\"{nonce}\""));
            refusal.add(header::WWW_AUTHENTICATE, &challenge);
            refusal.add(header::WWW_AUTHENTICATE, "Basic realm=\"Daypass\"");
        }
        if !uses_dpop || dpop_error.contains("use_dpop_nonce") {
            let nonce = gate.fresh_nonce(Scope::Dpop(resource), client);
            refusal.add(header::HeaderName::from_static("dpop-nonce"), &nonce);
        }
        refusal
    }

    /// Of somebody whose request was good when it began.
    pub fn of_cut(cut: &Cut) -> Self {
        let status = match cut {
            Cut::Ended(AuthenticationError::Unheard(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Cut::Ended(_) | Cut::TooOld => StatusCode::FORBIDDEN,
        };
        Self::new(status, cut.to_string())
    }

    fn add(&mut self, name: header::HeaderName, value: &str) {
        // Every part is ASCII of our own making.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let text = self.text.lines().map(|line| format!("daypass: {line}\n")).collect::<String>();
        let mut response = Response::new(full(text));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn status_of(error: &AuthenticationError, uses_dpop: bool) -> StatusCode {
    use AuthenticationError as E;
    match error {
        E::Unheard(_) | E::Replay(ReplayError::Full) => StatusCode::SERVICE_UNAVAILABLE,
        // Whoever asks too much is not asked for another nonce: it would try again.
        E::Replay(ReplayError::TooMany) => StatusCode::TOO_MANY_REQUESTS,
        E::NotGuarded => StatusCode::FORBIDDEN,
        // RFC 6750 section 3.1 has 401 for these. git would ask for a username then, and not show the reason.
        E::Dead(_) | E::Software | E::Delegated if !uses_dpop => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// A body that is there already.
pub fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_is_no_question_for_a_nonce() {
        for uses_dpop in [true, false] {
            let status = |error| status_of(&AuthenticationError::Replay(error), uses_dpop).as_u16();
            assert_eq!(status(ReplayError::Used), 401);
            assert_eq!(status(ReplayError::TooLate), 401);
            assert_eq!(status(ReplayError::TooMany), 429);
            assert_eq!(status(ReplayError::Full), 503);
        }
    }
}
