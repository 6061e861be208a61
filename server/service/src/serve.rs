//! Accepting, shaking hands, and serving until told to stop.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::debug;

use crate::{certificate::ClientCertificate, client::Client, idle::Idle};

/// Why a listener could not be opened.
#[derive(Debug, Error)]
#[error("could not listen on `{address}`")]
pub struct ServeError {
    address: String,
    #[source]
    source: io::Error,
}

/// What a listener puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// How long a client may be silent inside a body, or take nothing of an answer.
    pub idle: Duration,
    /// How long running requests may take after the stop was asked for.
    pub drain: Duration,
    /// All headers of a request, in bytes.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            header_bytes: 64 * 1024,
        }
    }
}

/// Who is at the other end of a connection. In the extensions of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address as the socket sees it.
    pub address: SocketAddr,
    /// The client certificate, where one was asked for.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// An open port with a TLS configuration.
pub struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
    limits: Limits,
}

impl Listener {
    /// Opens `address` (`host:port`).
    pub async fn bind(address: &str, tls: Arc<ServerConfig>, limits: Limits) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address: address.to_owned(), source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self { socket, tls: TlsAcceptor::from(tls), limits })
    }

    /// The address that was opened.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`, then lets running requests end within the drain time.
    pub async fn serve<S, B>(self, service: S, stop: CancellationToken)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let graceful = GracefulShutdown::new();
        while let Some((stream, address, place)) = self.next(&places, &stop).await {
            let (tls, limits, service) = (self.tls.clone(), self.limits, service.clone());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let _place = place;
                let Some((stream, peer)) = shake_hands(&tls, stream, address, &limits).await else { return };
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.headers)
                    .max_buf_size(limits.header_bytes)
                    .serve_connection(TokioIo::new(Client::new(stream)), WithPeer { inner: service, peer });
                if let Err(error) = watcher.watch(connection).await {
                    debug!(%address, %error, "connection ended early");
                }
            });
        }
        drop(self.socket);
        if timeout(self.limits.drain, graceful.shutdown()).await.is_err() {
            debug!("requests were still running after the drain time, and are cut off");
        }
    }

    async fn next(
        &self,
        places: &Arc<Semaphore>,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => return None,
                place = Arc::clone(places).acquire_owned() => place.ok()?,
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return None,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => return Some((stream, address, place)),
                Err(error) => {
                    // Out of descriptors, or a connection that was gone at once: breathe, and go on.
                    debug!(%error, "could not accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

async fn shake_hands(
    tls: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    limits: &Limits,
) -> Option<(TlsStream<Idle<TcpStream>>, Peer)> {
    // Small answers go out at once: nothing here gains from Nagle's delay.
    let _ = stream.set_nodelay(true);
    match timeout(limits.handshake, tls.accept(Idle::new(stream, limits.idle))).await {
        Ok(Ok(stream)) => {
            let certificate = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(<[_]>::first)
                .map(|certificate| Arc::new(certificate.to_vec().into()));
            Some((stream, Peer { address, certificate }))
        }
        Ok(Err(error)) => {
            debug!(%address, %error, "the TLS handshake failed");
            None
        }
        Err(_) => {
            debug!(%address, "the TLS handshake took too long");
            None
        }
    }
}

/// Puts the [`Peer`] into each request's extensions.
#[derive(Clone)]
struct WithPeer<S> {
    inner: S,
    peer: Peer,
}

impl<S: Service<Request<Incoming>> + Clone> hyper::service::Service<Request<Incoming>> for WithPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.inner.clone().call(request)
    }
}
