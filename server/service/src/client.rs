//! A client's connection as `hyper` gets to see it: its framing has one reading, and it does not fall silent inside a body.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::{framing::Framing, idle::Idle};

/// No head and no size of a chunk may hold it: `hyper` answers 400 and closes.
const REFUSED: u8 = 0;

/// The connection of one client.
pub(crate) struct Client {
    stream: TlsStream<Idle<TcpStream>>,
    framing: Framing,
    refused: bool,
}

impl Client {
    pub(crate) fn new(stream: TlsStream<Idle<TcpStream>>) -> Self {
        Self { stream, framing: Framing::default(), refused: false }
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.refused {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let this = &mut *self;
        // Before and between requests `hyper` has its own limit.
        this.stream.get_mut().0.let_be_silent(!this.framing.is_inside_body());
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let seen = this.framing.see(buffer.filled().get(before..).unwrap_or_default());
        if let Err((good, error)) = seen {
            debug!(%error, "a request has more than one reading, and is refused");
            this.refused = true;
            buffer.set_filled(before + good);
            buffer.put_slice(&[REFUSED]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
