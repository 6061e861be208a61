//! Requests as text, and what every answer must be.

use axum::{Router, body::Body};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower_service::Service as _;

/// The longest answer that a refusal may be: what somebody sent is never thrown back at length.
const MAX_REFUSAL: usize = 4 * 1024;

/// `METHOD target LF`, `name: value LF` …, an empty line, and the body.
pub(crate) fn request(text: &[u8]) -> Option<Request<Body>> {
    let mut rest = text;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, behind) = rest.split_at(end);
        rest = &behind[1..];
        Some(line)
    };
    let mut words = line()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    while let Some(header) = line().filter(|line| !line.is_empty()) {
        let mut parts = header.splitn(2, |byte| *byte == b':');
        request = request.header(parts.next()?, parts.next()?.trim_ascii());
    }
    request.body(Body::from(rest.to_vec())).ok()
}

/// Asks, and reads the answer to its end.
pub(crate) async fn ask(routes: &Router, request: Request<Body>) -> Response<Vec<u8>> {
    let answer = routes.clone().call(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    if !parts.status.is_success() {
        assert!(body.len() <= MAX_REFUSAL, "a refusal of {} bytes", body.len());
    }
    Response::from_parts(parts, body)
}
