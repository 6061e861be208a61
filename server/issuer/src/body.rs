//! Bodies of requests: within a limit, whole in time, and all that are in memory together within a room.
//!
//! A body is read before anybody can know who sends it. So each kind of body has its own limit, and each listener has two rooms: one for
//! those few endpoints that take much (an event log), one for all others, so that whoever fills the first keeps nobody from the second.
//! Only bytes that have come take room; what is merely announced takes none. They hold it until the answer is made, since what was
//! read of them is in memory as long. Nobody holds more than a share of a room: by his certificate where there is one, which a suspended
//! device has as well, and by his address elsewhere.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, request::Parts},
    middleware::Next,
    response::Response,
};
use daypass_proto::oauth_error::{OAuthError, Reason};
use daypass_service::Peer;
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

/// Which part of a room one holder may have: of the larger room, two of the largest bodies.
const SHARES: usize = 4;
/// How many bits of an IPv6 address are one holder's: what a home or a rented machine is given.
const NETWORK: u32 = 56;

/// What the bodies of some endpoints may take together.
#[derive(Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    /// How much each has who has anything.
    held: Arc<Mutex<HashMap<Holder, usize>>>,
    share: usize,
}

impl Room {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes)), held: Arc::default(), share: bytes / SHARES }
    }

    /// For bodies of at most `most` bytes.
    pub fn each(&self, most: usize) -> Bounds {
        Bounds { most, room: self.clone() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who sends: as far as it is known before anything was read.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Holder {
    /// SHA-256 over whom the client certificate names, and by which CA: a device with several certificates is one, whatever it may do.
    Certified([u8; 32]),
    /// The address; of IPv6, its network.
    Address(IpAddr),
}

impl From<&Peer> for Holder {
    fn from(peer: &Peer) -> Self {
        match (&peer.certificate, peer.address.ip().to_canonical()) {
            (Some(certificate), _) => Self::Certified(certificate.names()),
            (None, IpAddr::V6(address)) => {
                let host = Ipv6Addr::BITS - NETWORK;
                Self::Address(Ipv6Addr::from_bits(address.to_bits() >> host << host).into())
            }
            (None, address) => Self::Address(address),
        }
    }
}

/// What one request has taken; it is given back with it.
struct Taken {
    room: Room,
    holder: Holder,
    bytes: usize,
    permit: OwnedSemaphorePermit,
}

impl Taken {
    fn nothing(room: &Room, holder: Holder) -> Result<Self, Refusal> {
        let permit = Arc::clone(&room.free).try_acquire_many_owned(0).map_err(|_| full())?;
        Ok(Self { room: room.clone(), holder, bytes: 0, permit })
    }

    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        {
            let mut held = self.room.held();
            let own = held.entry(self.holder).or_default();
            if bytes > self.room.share.saturating_sub(*own) {
                return Err(too_many());
            }
            *own += bytes;
            self.bytes += bytes;
        }
        let length = u32::try_from(bytes).map_err(|_| too_large())?;
        self.permit.merge(Arc::clone(&self.room.free).try_acquire_many_owned(length).map_err(|_| full())?);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut held = self.room.held();
        let left = held.get(&self.holder).map_or(0, |own| own.saturating_sub(self.bytes));
        if left == 0 {
            held.remove(&self.holder);
        } else {
            held.insert(self.holder, left);
        }
    }
}

/// What one endpoint takes.
#[derive(Clone)]
pub struct Bounds {
    most: usize,
    room: Room,
}

impl Bounds {
    async fn whole(&self, holder: Holder, mut body: axum::body::Body) -> Result<(Vec<u8>, Taken), Refusal> {
        if body.size_hint().lower() > u64::try_from(self.most).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        let mut taken = Taken::nothing(&self.room, holder)?;
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::malformed("the request's body could not be read"))?;
            let Ok(chunk) = frame.into_data() else { continue };
            if chunk.len() > self.most - whole.len() {
                return Err(too_large());
            }
            taken.take(chunk.len())?;
            whole.extend_from_slice(&chunk);
        }
        Ok((whole, taken))
    }
}

/// Before the handler of every endpoint that takes a body.
pub async fn bounded(State(bounds): State<Bounds>, request: Request, next: Next) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    let holder = parts.extensions.get::<Peer>().map(Holder::from).ok_or_else(|| Refusal::internal(&Unknown))?;
    let (whole, _taken) = timeout(IN_TIME, bounds.whole(holder, body)).await.map_err(|_| too_slow())??;
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

fn too_many() -> Refusal {
    Refusal::new(
        OAuthError::TemporarilyUnavailable,
        Reason::SlowDown,
        "the requests that are being read from this device, or from its address, take all the room that one may have",
        format!("let them come to their end; try again in {AGAIN} seconds"),
    )
    .with_status(StatusCode::TOO_MANY_REQUESTS)
    .with_retry_after(AGAIN)
}

/// Nobody can be held to a share.
#[derive(Debug, Error)]
#[error("it is not known who sends this request")]
struct Unknown;

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
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
    use tokio::{
        sync::{Notify, mpsc},
        time::{Instant, advance},
    };
    use tower_service::Service as _;

    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicU32, Ordering},
    };

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

    /// Each request comes from an address of its own.
    fn send(router: &Router, body: impl Into<axum::body::Body>) -> tokio::task::JoinHandle<Response> {
        static SENT: AtomicU32 = AtomicU32::new(0);
        send_as(router, peer(Ipv4Addr::from_bits(SENT.fetch_add(1, Ordering::Relaxed)).into(), None), body)
    }

    fn peer(address: IpAddr, certificate: Option<&[u8]>) -> Peer {
        let certificate = certificate.map(|der| Arc::new(der.to_vec().into()));
        Peer { address: (address, 1).into(), certificate }
    }

    fn send_as(router: &Router, peer: Peer, body: impl Into<axum::body::Body>) -> tokio::task::JoinHandle<Response> {
        let request = Request::post("/").extension(peer).body(body.into()).unwrap();
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
        let (room, may) = (Room { share: 100, ..Room::new(100) }, Arc::new(Notify::new()));
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
        assert_eq!(room.free.available_permits(), 100);
    }

    #[tokio::test]
    async fn bodies_have_one_room_together_until_they_are_answered() {
        let (room, may) = (Room { share: 100, ..Room::new(100) }, Arc::new(Notify::new()));
        let router = endpoint(&room, 60, &may);
        let (chunks, body) = slow();
        let first = send(&router, body);
        chunks.send(vec![0; 60].into()).unwrap();
        settled().await;
        assert_eq!(room.free.available_permits(), 40, "what has come takes room, before it is whole");
        let busy = (StatusCode::SERVICE_UNAVAILABLE, Reason::Busy, Some("10".to_owned()));
        assert_eq!(refused(send(&router, vec![0; 41]).await.unwrap()).await, busy);
        assert_eq!(room.free.available_permits(), 40, "a refused body gives back what it had");
        // What is announced takes nothing: a second large one has begun, and small ones are served.
        let (_others, other) = slow();
        let second = send(&router, other);
        settled().await;
        may.notify_one();
        assert_eq!(send(&router, vec![0; 40]).await.unwrap().status(), StatusCode::OK);
        // Whole, and not answered: it is still in memory.
        drop(chunks);
        settled().await;
        assert_eq!(room.free.available_permits(), 40);
        may.notify_one();
        assert_eq!(first.await.unwrap().status(), StatusCode::OK);
        assert_eq!(room.free.available_permits(), 100);
        // Whoever hangs up gives back what he had, too.
        second.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_ends_in_time() {
        let (room, may) = (Room { share: 100, ..Room::new(100) }, Arc::new(Notify::new()));
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
        assert_eq!(room.free.available_permits(), 95);
        chunks.send(Bytes::from_static(b"x")).unwrap();
        advance(IN_TIME / 6 + Duration::from_millis(1)).await;
        let slow = (StatusCode::REQUEST_TIMEOUT, Reason::TooSlow, None);
        assert_eq!(refused(trickle.await.unwrap()).await, slow);
        assert_eq!(begun.elapsed(), IN_TIME + Duration::from_millis(1));
        assert_eq!(room.free.available_permits(), 100);
        // The handler's own time is not counted.
        let whole = send(&router, vec![0; 10]);
        settled().await;
        advance(IN_TIME * 2).await;
        may.notify_one();
        assert_eq!(whole.await.unwrap().status(), StatusCode::OK);
    }

    /// A certificate for somebody of this name, with a key of its own.
    fn certificate(name: &str) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_share_of_a_room() {
        let (room, may) = (Room::new(40), Arc::new(Notify::new()));
        let router = endpoint(&room, 40, &may);
        let too_many = (StatusCode::TOO_MANY_REQUESTS, Reason::SlowDown, Some("10".to_owned()));
        let (here, there) = ("2001:db8::1".parse().unwrap(), "2001:db8:0:ff::2".parse().unwrap());
        let elsewhere = "192.0.2.1".parse().unwrap();
        let (first, renewed, other) = (certificate("a"), certificate("a"), certificate("b"));
        for (one, same, other) in [
            (peer(here, Some(&first)), peer(elsewhere, Some(&renewed)), peer(here, Some(&other))),
            (peer(here, Some(b"nonsense")), peer(elsewhere, Some(b"nonsense")), peer(here, Some(b"other"))),
            (peer(here, None), peer(there, None), peer("2001:db8:0:100::1".parse().unwrap(), None)),
        ] {
            let (chunks, body) = slow();
            let first = send_as(&router, one, body);
            chunks.send(vec![0; 6].into()).unwrap();
            settled().await;
            assert_eq!(refused(send_as(&router, same.clone(), vec![0; 5]).await.unwrap()).await, too_many);
            may.notify_one();
            assert_eq!(send_as(&router, other, vec![0; 10]).await.unwrap().status(), StatusCode::OK);
            drop(chunks);
            may.notify_one();
            assert_eq!(first.await.unwrap().status(), StatusCode::OK);
            // What is over takes nothing any more.
            may.notify_one();
            assert_eq!(send_as(&router, same, vec![0; 10]).await.unwrap().status(), StatusCode::OK);
            assert!(room.held().is_empty());
        }
        assert_eq!(room.free.available_permits(), 40);
    }
}
