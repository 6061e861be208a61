//! Bodies on their way: inflated once, cut when their token dies, never collected.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_compression::tokio::bufread::GzipDecoder;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::{gate::Gate, upstream::Body};

/// The most that a compressed request may become. git compresses negotiations and command lists, never packs.
const MAX_INFLATED: u64 = 64 * 1024 * 1024;
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
        (Some(b"gzip" | b"x-gzip"), None) => {
            let inflated = GzipDecoder::new(BufReader::new(reader));
            Ok(Box::pin(Limited { inner: Box::pin(inflated.take(MAX_INFLATED + 1)), left: MAX_INFLATED }))
        }
        _ => Err(CodingError),
    }
}

/// An input that fails, rather than ends, beyond its limit: a cut-off request must not pass for a whole one.
struct Limited {
    inner: Input,
    left: u64,
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = self.inner.as_mut().poll_read(cx, buffer);
        let read = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        match self.left.checked_sub(read) {
            Some(left) => {
                self.left = left;
                result
            }
            None => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the compressed request is larger than is served",
            ))),
        }
    }
}

/// Reads and drops the rest of a request: git looks at no answer before it has sent everything.
pub async fn drain(mut input: Input) {
    if let Err(error) = tokio::io::copy(&mut input, &mut tokio::io::sink()).await {
        tracing::debug!(%error, "a refused request ended early");
    }
}

/// Whose token a flow belongs to.
#[derive(Clone)]
pub struct Owner {
    /// The gate.
    pub gate: Arc<Gate>,
    /// The token.
    pub jti: String,
}

impl Owner {
    /// Passes chunks on for as long as the token lives: a push that is cut never reaches its last byte.
    fn watch<E: Into<crate::upstream::BodyError>>(
        self,
        stream: impl Stream<Item = Result<Bytes, E>> + Send + Sync + 'static,
    ) -> impl Stream<Item = Result<Frame<Bytes>, crate::upstream::BodyError>> + Send + Sync + 'static {
        stream.map(move |chunk| match self.gate.view().dead(&self.jti) {
            Some(_) => Err("the access was ended while it was in use".into()),
            None => chunk.map(Frame::data).map_err(Into::into),
        })
    }
}

/// A body upstream: `head`, and then the rest of the input.
pub fn upward(owner: Owner, head: Vec<u8>, input: Input) -> Body {
    let head = futures_util::stream::iter((!head.is_empty()).then(|| Ok(Bytes::from(head))));
    BodyExt::boxed(StreamBody::new(owner.watch(head.chain(ReaderStream::with_capacity(input, CHUNK)))))
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
