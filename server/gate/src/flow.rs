//! Bodies on their way: inflated once, cut when their token dies, never collected.
//!
//! A body may be under way for longer than its token lives. It is judged anew for every chunk: by its grant's hard end, which stands in the
//! token, and by the issuer's newest word on its token, its device and its grant. It is cut when that word is missing, or the body is too old
//! for the issuer to still speak of it.

use std::{
    future::ready,
    io,
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use daypass_proto::{gate_api::FLOW_OUTLIVES_TOKEN, token::AccessTokenClaims};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use thiserror::Error;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{
    authentication::{AuthenticationError, still_good},
    gate::Gate,
    inflate::Inflated,
    trust::Moment,
    upstream::Body,
};

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// A request's body, inflated.
pub type Input = Pin<Box<dyn AsyncRead + Send + Sync>>;

/// A content coding that is not served.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the request's content coding is not served here; only `gzip` is")]
pub struct CodingError;

/// The request's body as bytes to read: one `gzip` is taken off, anything else is refused.
pub fn input(headers: &HeaderMap, body: Incoming) -> Result<Input, CodingError> {
    let reader = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (codings.next().map(|coding| coding.as_bytes()), codings.next()) {
        (None, _) => Ok(Box::pin(reader)),
        (Some(b"gzip" | b"x-gzip"), None) => Ok(Box::pin(Inflated::new(Box::pin(reader)))),
        _ => Err(CodingError),
    }
}

/// Reads and drops the rest of a request: git looks at no answer before it has sent everything.
pub async fn drain(mut input: Input) {
    if let Err(error) = tokio::io::copy(&mut input, &mut tokio::io::sink()).await {
        tracing::debug!(%error, "a refused request ended early");
    }
}

/// Why a flow is cut.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Cut {
    /// Its token would not be taken now.
    #[error(transparent)]
    Ended(#[from] AuthenticationError),
    /// The issuer no longer speaks of its token.
    #[error("the request has been under way for too long; begin it anew")]
    TooOld,
}

/// Whose token a flow belongs to, and since when it flows.
#[derive(Clone)]
pub struct Owner {
    gate: Arc<Gate>,
    claims: Arc<AccessTokenClaims>,
    begun: Moment,
}

/// Whether a flow that was begun at `begun` is too old for the issuer to name what is dead of it.
fn too_old(claims: &AccessTokenClaims, begun: Moment, now: Moment) -> bool {
    now.since(begun) > claims.exp.since(begun.at).saturating_add(FLOW_OUTLIVES_TOKEN)
}

impl Owner {
    /// Of a flow that begins now.
    pub fn new(gate: &Arc<Gate>, claims: &AccessTokenClaims) -> Self {
        Self { gate: Arc::clone(gate), claims: Arc::new(claims.clone()), begun: gate.moment() }
    }

    /// Whether it may go on.
    pub fn may_go_on(&self) -> Result<(), Cut> {
        if too_old(&self.claims, self.begun, self.gate.moment()) {
            return Err(Cut::TooOld);
        }
        Ok(still_good(&self.gate, &self.claims, self.begun)?)
    }

    /// Passes chunks on for as long as it may: a push that is cut never reaches its last byte.
    fn watch<E: Into<crate::upstream::BodyError>>(
        self,
        stream: impl Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
    ) -> impl Stream<Item = Result<Frame<Bytes>, crate::upstream::BodyError>> + Send + Sync + 'static {
        stream.map(move |chunk| match self.may_go_on() {
            Ok(()) => chunk.map(Frame::data).map_err(Into::into),
            Err(cut) => {
                tracing::info!(device = %self.claims.daypass.device, jti = self.claims.jti, why = %cut, "cut a request that was under way");
                Err(cut.into())
            }
        })
    }
}

/// A body upstream: `head`, and then the rest of the input; and whether it was the input that failed.
pub fn upward(owner: Owner, head: Vec<u8>, input: Input) -> (Body, Failed) {
    let failed = Failed::default();
    let noted = failed.clone();
    let head = futures_util::stream::iter((!head.is_empty()).then(|| Ok(Bytes::from(head))));
    let rest = ReaderStream::with_capacity(input, CHUNK).inspect_err(move |error| {
        tracing::debug!(%error, "a request's body ended early");
        noted.0.store(true, Ordering::Release);
    });
    (BodyExt::boxed(StreamBody::new(owner.watch(held_back(head.chain(rest))))), failed)
}

/// The same chunks, each once the next is there: the last leaves when the body has ended well, so that a server which sees by itself
/// where a push ends has not seen the end of one that failed or whose token died.
fn held_back<E: Send + Sync>(
    stream: impl Stream<Item = Result<Bytes, E>> + Send + Sync,
) -> impl Stream<Item = Result<Bytes, E>> + Send + Sync {
    let ended = futures_util::stream::iter([None]);
    let passed = stream.map(Some).chain(ended).scan(None, |held: &mut Option<Bytes>, next| {
        let passed = match next {
            Some(Ok(chunk)) => held.replace(chunk).map(Ok),
            Some(Err(error)) => {
                *held = None;
                Some(Err(error))
            }
            None => held.take().map(Ok),
        };
        ready(Some(passed))
    });
    passed.filter_map(ready)
}

/// Whether a client's body failed on its way: then it is the client, not the upstream, that is to blame for there being no answer.
#[derive(Clone, Default)]
pub struct Failed(Arc<AtomicBool>);

impl Failed {
    /// Whether it did.
    pub fn has(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// An answer's body down to the client.
pub fn downward(owner: Owner, body: Incoming) -> Body {
    let stream = SyncStream(Box::pin(body.into_data_stream()));
    BodyExt::boxed(StreamBody::new(owner.watch(stream)))
}

/// `Incoming` is `Send` and `Sync`; its stream form says so here.
struct SyncStream(Pin<Box<dyn Stream<Item = Result<Bytes, hyper::Error>> + Send + Sync>>);

impl Stream for SyncStream {
    type Item = Result<Bytes, hyper::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// Claims that end at `exp`.
#[cfg(test)]
pub fn sample_claims(exp: i64) -> AccessTokenClaims {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
    let jwk = daypass_proto::jose::EcPublicKey::from_spki_der(&spki).unwrap();
    let device = daypass_proto::names::DeviceId::from_random([1; 10]);
    serde_json::from_value(serde_json::json!({
        "iss": "https://issuer.example.com", "sub": "alice@example.com", "aud": "https://git.example.com/",
        "client_id": device.client_id(), "iat": 0, "nbf": 0, "exp": exp, "jti": "j",
        "cnf": {"jwk": jwk, "jkt": jwk.thumbprint()}, "authorization_details": [],
        "daypass": {
            "device": device, "grant": daypass_proto::names::GrantId::from_random([2; 10]), "grant_until": exp, "project": "apollo",
            "protection": "hardware", "leaf": daypass_proto::encoding::Fixed([0; 32]),
            "posture": {"trust_tier": "ek_chain", "secure_boot": null, "event_log": "absent"},
        },
    }))
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_chunk_waits_for_a_good_end() {
        async fn passed(chunks: Vec<Result<&'static [u8], &'static str>>) -> Vec<Result<Bytes, &'static str>> {
            let chunks = chunks.into_iter().map(|chunk| chunk.map(Bytes::from_static));
            held_back(futures_util::stream::iter(chunks)).collect().await
        }
        assert!(passed(vec![]).await.is_empty());
        assert_eq!(
            passed(vec![Ok(b"a"), Ok(b"b")]).await,
            [Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))]
        );
        assert_eq!(passed(vec![Ok(b"a"), Ok(b"b"), Err("x")]).await, [Ok(Bytes::from_static(b"a")), Err("x")]);
        assert_eq!(passed(vec![Ok(b"a"), Err("x")]).await, [Err("x")]);
    }

    #[test]
    fn a_flow_ends_before_the_issuer_forgets_its_token() {
        let at = |at, since_boot| Moment { at: daypass_proto::time::Timestamp::from_seconds(at), since_boot };
        let claims = sample_claims(1300);
        let last = 1300 + FLOW_OUTLIVES_TOKEN;
        assert!(!too_old(&claims, at(1000, 5), at(last, 5 + last - 1000)));
        assert!(too_old(&claims, at(1000, 5), at(last + 1, 5)));
        // A clock that is put back makes no flow young.
        assert!(too_old(&claims, at(1000, 5), at(1000, 6 + last - 1000)));
        // Begun within the skew after the token's end.
        assert!(!too_old(&claims, at(1330, 5), at(last, 5)));
        assert!(too_old(&claims, at(1330, 5), at(last + 1, 5)));
    }
}
