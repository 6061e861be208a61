//! Bodies of requests: within a limit, whole in time, and all that are in memory together within a room.
//!
//! A body is read before anybody can know who sends it. So each kind of body has its own limit, and each listener has two rooms: one for
//! those few endpoints that take much (an event log), one for all others, so that whoever fills the first keeps nobody from the second.
//! Only bytes that have come take room; what is merely announced takes none. They hold it until the answer is made, since what was
//! read of them is in memory as long.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};
use daypass_proto::oauth_error::{OAuthError, Reason};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::Refusal;

/// All bodies of a listener's endpoints that take much, together, in bytes: eight of the largest, some hundred of the usual ones.
pub const LARGE: usize = 32 * 1024 * 1024;
/// All bodies of a listener's other endpoints, together, in bytes.
pub const SMALL: usize = 8 * 1024 * 1024;
/// From the end of a request's head to the end of its body.
const IN_TIME: Duration = Duration::from_secs(60);
/// When a listener that is full is worth another try, in seconds. A room is held for `IN_TIME` at the longest.
const AGAIN: u32 = 10;

/// What the bodies of some endpoints may take together.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// For bodies of at most `most` bytes.
    pub fn each(&self, most: usize) -> Bounds {
        Bounds { most, room: self.clone() }
    }
}

/// What one endpoint takes.
#[derive(Clone)]
pub struct Bounds {
    most: usize,
    room: Room,
}

impl Bounds {
    async fn whole(&self, mut body: axum::body::Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal> {
        if body.size_hint().lower() > u64::try_from(self.most).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        let mut taken = Arc::clone(&self.room.0).try_acquire_many_owned(0).map_err(|_| full())?;
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::malformed("the request's body could not be read"))?;
            let Ok(chunk) = frame.into_data() else { continue };
            if chunk.len() > self.most - whole.len() {
                return Err(too_large());
            }
            let length = u32::try_from(chunk.len()).map_err(|_| too_large())?;
            taken.merge(Arc::clone(&self.room.0).try_acquire_many_owned(length).map_err(|_| full())?);
            whole.extend_from_slice(&chunk);
        }
        Ok((whole, taken))
    }
}

/// Before the handler of every endpoint that takes a body.
pub async fn bounded(State(bounds): State<Bounds>, request: Request, next: Next) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let (whole, _taken) = timeout(IN_TIME, bounds.whole(body)).await.map_err(|_| too_slow())??;
    let whole = Bytes::from(whole);
    parts.extensions.insert(Whole(whole.clone()));
    Ok(next.run(Request::from_parts(parts, whole.into())).await)
}

fn too_large() -> Refusal {
    Refusal::new(
        OAuthError::InvalidRequest,
        Reason::TooLarge,
        "the request is larger than this endpoint takes",
        "send what docs/wire.md describes, within its limits",
    )
    .with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

fn too_slow() -> Refusal {
    Refusal::new(
        OAuthError::InvalidRequest,
        Reason::TooSlow,
        format!("the request did not come to its end within {} seconds", IN_TIME.as_secs()),
        "try again over a faster connection",
    )
    .with_status(StatusCode::REQUEST_TIMEOUT)
}

fn full() -> Refusal {
    tracing::warn!("refused a request: those that are being read take all the memory that is for them");
    Refusal::new(
        OAuthError::TemporarilyUnavailable,
        Reason::Busy,
        "the issuer is reading as many requests as it has room for",
        format!("try again in {AGAIN} seconds; if it stays, tell the issuer's administrator"),
    )
    .with_retry_after(AGAIN)
}

#[derive(Clone)]
struct Whole(Bytes);

/// An endpoint that was forgotten in [`bounded`] reads nothing.
#[derive(Debug, Error)]
#[error("this endpoint takes a body, and there are no bounds for it")]
struct Unbounded;

/// A request's body, as [`bounded`] has read it.
pub struct Body(pub Bytes);

impl<S: Sync> FromRequestParts<S> for Body {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let Whole(bytes) = parts.extensions.remove().ok_or_else(|| Refusal::internal(&Unbounded))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::{
        http::header,
        middleware::from_fn_with_state,
        routing::{Router, post},
    };
    use hyper::body::Frame;
    use tokio::{
        sync::{Notify, mpsc},
        time::{Instant, advance},
    };
    use tower_service::Service as _;

    use super::*;

    /// A body whose chunks come when the test sends them, and that ends when the sender is gone.
    struct Slow(mpsc::UnboundedReceiver<Bytes>);

    impl hyper::body::Body for Slow {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    pub(crate) fn slow() -> (mpsc::UnboundedSender<Bytes>, axum::body::Body) {
        let (send, receive) = mpsc::unbounded_channel();
        (send, axum::body::Body::new(Slow(receive)))
    }

    /// An endpoint that answers with how much it was sent, once it may.
    fn endpoint(room: &Room, most: usize, may: &Arc<Notify>) -> Router {
        let may = Arc::clone(may);
        let handler = move |Body(body): Body| async move {
            may.notified().await;
            body.len().to_string()
        };
        Router::new().route("/", post(handler).route_layer(from_fn_with_state(room.each(most), bounded)))
    }

    fn send(router: &Router, body: impl Into<axum::body::Body>) -> tokio::task::JoinHandle<Response> {
        let request = Request::post("/").body(body.into()).unwrap();
        let mut router = router.clone();
        tokio::spawn(async move { router.call(request).await.unwrap() })
    }

    async fn refused(response: Response) -> (StatusCode, Reason, Option<String>) {
        let again = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: daypass_proto::oauth_error::ErrorBody = serde_json::from_slice(&body).unwrap();
        (status, body.daypass_reason, again)
    }

    async fn settled() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_body_has_its_limit_announced_or_not() {
        let (room, may) = (Room::new(100), Arc::new(Notify::new()));
        let router = endpoint(&room, 10, &may);
        may.notify_one();
        assert_eq!(send(&router, vec![0; 10]).await.unwrap().status(), StatusCode::OK);
        let too_large = (StatusCode::PAYLOAD_TOO_LARGE, Reason::TooLarge, None);
        assert_eq!(refused(send(&router, vec![0; 11]).await.unwrap()).await, too_large);
        let (chunks, body) = slow();
        for _ in 0..11 {
            chunks.send(Bytes::from_static(b"x")).unwrap();
        }
        // It goes on, and nobody waits for its end.
        assert_eq!(refused(send(&router, body).await.unwrap()).await, too_large);
        assert_eq!(room.0.available_permits(), 100);
    }

    #[tokio::test]
    async fn bodies_have_one_room_together_until_they_are_answered() {
        let (room, may) = (Room::new(100), Arc::new(Notify::new()));
        let router = endpoint(&room, 60, &may);
        let (chunks, body) = slow();
        let first = send(&router, body);
        chunks.send(vec![0; 60].into()).unwrap();
        settled().await;
        assert_eq!(room.0.available_permits(), 40, "what has come takes room, before it is whole");
        let busy = (StatusCode::SERVICE_UNAVAILABLE, Reason::Busy, Some("10".to_owned()));
        assert_eq!(refused(send(&router, vec![0; 41]).await.unwrap()).await, busy);
        assert_eq!(room.0.available_permits(), 40, "a refused body gives back what it had");
        // What is announced takes nothing: a second large one has begun, and small ones are served.
        let (_others, other) = slow();
        let second = send(&router, other);
        settled().await;
        may.notify_one();
        assert_eq!(send(&router, vec![0; 40]).await.unwrap().status(), StatusCode::OK);
        // Whole, and not answered: it is still in memory.
        drop(chunks);
        settled().await;
        assert_eq!(room.0.available_permits(), 40);
        may.notify_one();
        assert_eq!(first.await.unwrap().status(), StatusCode::OK);
        assert_eq!(room.0.available_permits(), 100);
        // Whoever hangs up gives back what he had, too.
        second.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_ends_in_time() {
        let (room, may) = (Room::new(100), Arc::new(Notify::new()));
        let router = endpoint(&room, 100, &may);
        let (chunks, body) = slow();
        let begun = Instant::now();
        let trickle = send(&router, body);
        for _ in 0..5 {
            settled().await;
            chunks.send(Bytes::from_static(b"x")).unwrap();
            advance(IN_TIME / 6).await;
        }
        settled().await;
        assert!(!trickle.is_finished());
        assert_eq!(room.0.available_permits(), 95);
        chunks.send(Bytes::from_static(b"x")).unwrap();
        advance(IN_TIME / 6 + Duration::from_millis(1)).await;
        let slow = (StatusCode::REQUEST_TIMEOUT, Reason::TooSlow, None);
        assert_eq!(refused(trickle.await.unwrap()).await, slow);
        assert_eq!(begun.elapsed(), IN_TIME + Duration::from_millis(1));
        assert_eq!(room.0.available_permits(), 100);
        // The handler's own time is not counted.
        let whole = send(&router, vec![0; 10]);
        settled().await;
        advance(IN_TIME * 2).await;
        may.notify_one();
        assert_eq!(whole.await.unwrap().status(), StatusCode::OK);
    }
}
