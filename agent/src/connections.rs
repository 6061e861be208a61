//! How many connections the local API holds open: a bound for each user, so that none takes the agent away from the others, and one for all.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use daypass_proto::local_api::{MAX_CONNECTIONS, MAX_CONNECTIONS_OF_USER};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream, unix::SocketAddr},
};

use crate::caller::Caller;

type Open = Arc<Mutex<BTreeMap<Option<u32>, usize>>>;

/// The agent's socket. Who comes when there is no room for them meets a closed connection, and finds the reason in the log.
#[derive(Debug)]
pub struct Bounded {
    listener: UnixListener,
    open: Open,
    of_user: usize,
    of_all: usize,
}

impl Bounded {
    /// This socket, within the limits of the local API.
    pub fn new(listener: UnixListener) -> Self {
        Self { listener, open: Open::default(), of_user: MAX_CONNECTIONS_OF_USER, of_all: MAX_CONNECTIONS }
    }

    fn room(&self, uid: Option<u32>) -> Option<Room> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= self.of_all {
            return None;
        }
        let own = open.entry(uid).or_default();
        if *own >= self.of_user {
            return None;
        }
        *own += 1;
        Some(Room { uid, open: Arc::clone(&self.open) })
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
            match self.room(uid) {
                Some(room) => return (Connection { stream, _room: room }, address),
                None => tracing::warn!(?uid, "turned a connection away: too many are open"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        Self::at(&stream.io().stream)
    }
}

/// A place among the open connections, given back when it is dropped.
#[derive(Debug)]
struct Room {
    uid: Option<u32>,
    open: Open,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

/// A connection that counts.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    _room: Room,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn who_has_too_many_open_is_turned_away_until_one_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let open = Open::default();
        for (of_user, of_all) in [(2, 10), (10, 2)] {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            let mut bounded = Bounded { listener, open: Arc::clone(&open), of_user, of_all };
            let connect = || UnixStream::connect(&path);
            let _here = (connect().await.unwrap(), connect().await.unwrap());
            let (one, _two) = (bounded.accept().await.0, bounded.accept().await.0);
            let mut third = connect().await.unwrap();
            let serving = tokio::spawn(async move { bounded.accept().await.0 });
            assert_eq!(third.read(&mut [0]).await.unwrap(), 0, "closed");
            drop(one);
            let _fourth = connect().await.unwrap();
            let (again, _two) = (serving.await.unwrap(), _two);
            assert_eq!(open.lock().unwrap().values().sum::<usize>(), 2);
            drop((again, _two));
            assert!(open.lock().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn one_user_leaves_room_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let bounded = Bounded::new(listener);
        let held: Vec<_> = (0..MAX_CONNECTIONS_OF_USER).map(|_| bounded.room(Some(1)).unwrap()).collect();
        assert!(bounded.room(Some(1)).is_none());
        assert!(bounded.room(Some(2)).is_some());
        drop(held);
        assert!(bounded.room(Some(1)).is_some());
    }
}
