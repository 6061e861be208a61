//! A connection that is cut when nothing moves on it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A stream that fails with `TimedOut` when somebody waits for it and nothing moves for as long as the limit. Time counts only while
/// somebody waits: a reader who is busy elsewhere cuts nobody off.
#[derive(Debug)]
pub struct Idle<S> {
    inner: S,
    limit: Duration,
    may_be_silent: bool,
    reading: Watch,
    writing: Watch,
}

#[derive(Debug, Default)]
struct Watch {
    // Made once, and set anew for every wait.
    sleep: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl Watch {
    fn poll_expired(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let begins = !std::mem::replace(&mut self.waits, true);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        if begins {
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(cx)
    }

    fn prolong(&mut self, limit: Duration) {
        if let Some(sleep) = self.sleep.as_mut().filter(|_| self.waits) {
            sleep.as_mut().reset(Instant::now() + limit);
        }
    }
}

impl<S> Idle<S> {
    /// Watches `inner` in both directions. Whoever waits for an answer waits for as long as the question is still moving.
    pub fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, may_be_silent: false, reading: Watch::default(), writing: Watch::default() }
    }

    /// Whether the other side owes nothing just now, so that it may be silent for as long as it likes.
    pub(crate) fn let_be_silent(&mut self, may: bool) {
        self.may_be_silent = may;
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.writing.waits = false;
            self.reading.prolong(self.limit);
            return result;
        }
        ready!(self.writing.poll_expired(cx, self.limit));
        Poll::Ready(Err(timed_out("the other side took nothing for too long")))
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if result.is_ready() || this.may_be_silent {
            this.reading.waits = false;
            return result;
        }
        ready!(this.reading.poll_expired(cx, this.limit));
        Poll::Ready(Err(timed_out("the other side said nothing for too long")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::advance,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let (ours, mut theirs) = duplex(16);
        let mut idle = Idle::new(ours, LIMIT);
        let reading = tokio::spawn(async move {
            let mut seen = Vec::new();
            let end = idle.read_to_end(&mut seen).await.unwrap_err();
            (seen, end.kind(), idle)
        });
        // Slow is not silent.
        for byte in *b"slow" {
            tokio::task::yield_now().await;
            advance(LIMIT - Duration::from_millis(1)).await;
            theirs.write_all(&[byte]).await.unwrap();
        }
        // With nothing else to do the paused clock goes on by itself.
        let (seen, kind, mut idle) = reading.await.unwrap();
        assert_eq!((seen.as_slice(), kind), (&b"slow"[..], io::ErrorKind::TimedOut));
        // Nobody waited meanwhile: nothing is held against the other side.
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(idle.read_u8().await.unwrap(), b'x');
        advance(LIMIT * 2).await;
        let late = tokio::spawn(async move { idle.read_u8().await });
        tokio::task::yield_now().await;
        advance(LIMIT / 2).await;
        theirs.write_all(b"y").await.unwrap();
        assert_eq!(late.await.unwrap().unwrap(), b'y');
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_as_well() {
        let (ours, mut theirs) = duplex(16);
        let mut idle = Idle::new(ours, LIMIT);
        assert_eq!(idle.write_all(&[0; 17]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        theirs.read_exact(&mut [0; 16]).await.unwrap();
        idle.write_all(&[0; 16]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_is_still_moving_keeps_the_answer_waiting() {
        let (ours, mut theirs) = duplex(1024);
        let (mut reader, mut writer) = tokio::io::split(Idle::new(ours, LIMIT));
        let answer = tokio::spawn(async move { reader.read_u8().await });
        for _ in 0..5 {
            tokio::task::yield_now().await;
            advance(LIMIT * 2 / 3).await;
            writer.write_all(b"question").await.unwrap();
        }
        theirs.write_all(b"a").await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap(), b'a');
    }

    #[tokio::test(start_paused = true)]
    async fn who_owes_nothing_may_be_silent() {
        let (ours, mut theirs) = duplex(16);
        let mut idle = Idle::new(ours, LIMIT);
        idle.let_be_silent(true);
        let reading = tokio::spawn(async move { idle.read_u8().await });
        tokio::task::yield_now().await;
        advance(LIMIT * 100).await;
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), b'x');
    }
}
