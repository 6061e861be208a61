//! The server behind the gate: one connection a request, over a Unix socket or loopback.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use bytes::Bytes;
use daypass_service::Idle;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How long the upstream may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Any error of a body in flight.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body in flight.
pub type Body = BoxBody<Bytes, BodyError>;

/// Where the upstream is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Upstream {
    /// A Unix socket.
    Unix(PathBuf),
    /// Host and port, without TLS: for loopback and private links.
    Tcp(String),
}

/// Not an upstream.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is not an upstream: expected `unix:/path` or `http://host:port`")]
pub struct UpstreamForm(String);

impl FromStr for Upstream {
    type Err = UpstreamForm;

    fn from_str(text: &str) -> Result<Self, UpstreamForm> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let host = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match host.and_then(|host| host.rsplit_once(':')) {
            Some((name, port))
                if !name.is_empty() && !name.contains(['/', '@', '?']) && port.parse::<u16>().is_ok() =>
            {
                Ok(Self::Tcp(format!("{name}:{port}")))
            }
            _ => Err(UpstreamForm(text.to_owned())),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host) => write!(f, "http://{host}"),
        }
    }
}

/// Why the upstream gave no answer.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// Not reached.
    #[error("could not connect to the upstream `{upstream}`")]
    Connect {
        /// Which.
        upstream: Upstream,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Reached, and no HTTP answer came.
    #[error("the upstream `{upstream}` gave no answer")]
    Exchange {
        /// Which.
        upstream: Upstream,
        /// Why.
        #[source]
        source: hyper::Error,
    },
}

impl Upstream {
    /// Sends a request and waits for the head of the answer, for as long as anything moves within `idle`.
    pub async fn send(&self, request: Request<Body>, idle: Duration) -> Result<Response<Incoming>, UpstreamError> {
        let failed = |source| UpstreamError::Connect { upstream: self.clone(), source };
        let too_slow = || failed(io::ErrorKind::TimedOut.into());
        match self {
            Self::Unix(path) => {
                let stream =
                    timeout(CONNECT, UnixStream::connect(path)).await.map_err(|_| too_slow())?.map_err(failed)?;
                self.exchange(Idle::new(stream, idle), request).await
            }
            Self::Tcp(host) => {
                let stream =
                    timeout(CONNECT, TcpStream::connect(host)).await.map_err(|_| too_slow())?.map_err(failed)?;
                self.exchange(Idle::new(stream, idle), request).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let failed = |source| UpstreamError::Exchange { upstream: self.clone(), source };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended early");
            }
        });
        sender.send_request(request).await.map_err(failed)
    }
}
