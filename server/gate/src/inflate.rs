//! A compressed request, inflated on its way: one gzip member (RFC 1952), up to a limit, and nothing behind it.
//!
//! Whatever is wrong with it is an error and never an end: a request that was cut must not pass for a whole one.

use std::{
    io,
    pin::Pin,
    task::{self, Context, Poll},
};

use async_compression::tokio::bufread::GzipDecoder;
use tokio::io::{AsyncBufRead as _, AsyncRead, BufReader, ReadBuf};

use crate::flow::Input;

/// The most that a compressed request may become. git compresses negotiations and command lists, never packs.
const MAX_INFLATED: u64 = 64 * 1024 * 1024;

/// One gzip member and nothing behind it. Beyond the limit it fails rather than ends: a cut-off request must not pass for a whole one.
pub struct Inflated {
    decoder: GzipDecoder<BufReader<Input>>,
    left: u64,
}

impl Inflated {
    /// Of what comes compressed.
    pub fn new(compressed: Input) -> Self {
        Self::up_to(MAX_INFLATED, compressed)
    }

    fn up_to(most: u64, compressed: Input) -> Self {
        Self { decoder: GzipDecoder::new(BufReader::new(compressed)), left: most }
    }
}

impl AsyncRead for Inflated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        task::ready!(Pin::new(&mut self.decoder).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        if read == 0 && buffer.remaining() > 0 {
            // Another decoder would go on with what stands here.
            let behind = task::ready!(Pin::new(&mut self.decoder).get_pin_mut().poll_fill_buf(cx))?;
            if !behind.is_empty() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes stand after the gzip")));
            }
        }
        match u64::try_from(read).ok().and_then(|read| self.left.checked_sub(read)) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Ok(()))
            }
            None => {
                // Whoever fails has read nothing.
                buffer.set_filled(before);
                let why = "the compressed request is larger than is served";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, why)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::LazyLock};

    use async_compression::tokio::write::GzipEncoder;
    use proptest::{prelude::*, sample::Index};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        runtime::{Builder, Runtime},
    };

    use super::*;

    async fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(plain).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    async fn inflate(compressed: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Inflated::new(Box::pin(io::Cursor::new(compressed))).read_to_end(&mut out).await?;
        Ok(out)
    }

    #[tokio::test]
    async fn one_whole_member_is_inflated_and_nothing_else() {
        let good = gzip(b"0000").await;
        assert_eq!(inflate(good.clone()).await.unwrap(), b"0000");
        for length in 0..good.len() {
            assert!(inflate(good[..length].to_vec()).await.is_err(), "cut after {length} bytes");
        }
        assert!(inflate([&good[..], b"garbage"].concat()).await.is_err(), "bytes behind it");
        assert!(inflate([&good[..], &[0]].concat()).await.is_err(), "padding behind it");
        assert!(inflate([&good[..], &good].concat()).await.is_err(), "a second member");
        let mut wrong = good.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(inflate(wrong).await.is_err(), "a wrong length");
        assert!(inflate(b"0000".to_vec()).await.is_err(), "not compressed at all");
    }

    #[tokio::test]
    async fn a_bomb_fails_rather_than_ends() {
        let limit = usize::try_from(MAX_INFLATED).unwrap();
        assert_eq!(inflate(gzip(&vec![0; limit]).await).await.unwrap().len(), limit);
        let error = inflate(gzip(&vec![0; limit + 1]).await).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    /// A body that comes in chunks, with a wait before each.
    struct Chunks(VecDeque<Vec<u8>>, bool);

    impl AsyncRead for Chunks {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.1 = !self.1;
            if self.1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(mut chunk) = self.0.pop_front() {
                let rest = chunk.split_off(chunk.len().min(buffer.remaining()));
                buffer.put_slice(&chunk);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().build().unwrap());
    /// Of these tests, so that a bomb is small.
    const MOST: usize = 5000;

    /// What comes out of `bytes`, cut into chunks and read by pieces; and how it ends.
    fn out_of(bytes: &[u8], chunks: &[usize], pieces: &[usize]) -> (Vec<u8>, Result<(), io::ErrorKind>) {
        let (mut queue, mut rest) = (VecDeque::new(), bytes);
        for length in chunks.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, behind) = rest.split_at(rest.len().min(*length));
            queue.push_back(chunk.to_vec());
            rest = behind;
        }
        let mut inflated = Inflated::up_to(u64::try_from(MOST).unwrap(), Box::pin(Chunks(queue, false)));
        let mut out = Vec::new();
        for length in pieces.iter().cycle() {
            let mut piece = vec![0; *length];
            match RUNTIME.block_on(inflated.read(&mut piece)) {
                Ok(0) => return (out, Ok(())),
                Ok(read) => out.extend_from_slice(&piece[..read]),
                Err(error) => return (out, Err(error.kind())),
            }
        }
        unreachable!("the pieces go round")
    }

    /// Bytes that compress well, badly, and to more than is let through.
    fn plain() -> impl Strategy<Value = Vec<u8>> {
        let noise = prop::collection::vec(any::<u8>(), 0..300);
        let runs = prop::collection::vec((any::<u8>(), 0..4000_usize), 0..4);
        (noise, runs).prop_map(|(mut bytes, runs)| {
            runs.into_iter().for_each(|(byte, times)| bytes.extend(std::iter::repeat_n(byte, times)));
            bytes
        })
    }

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1..700_usize, 1..5)
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        RUNTIME.block_on(gzip(plain))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_member_comes_out_as_it_went_in_up_to_the_limit(plain in plain(), chunks in lengths(), pieces in lengths()) {
            let (out, end) = out_of(&compressed(&plain), &chunks, &pieces);
            if plain.len() <= MOST {
                prop_assert_eq!((out, end), (plain, Ok(())));
            } else {
                prop_assert_eq!(end, Err(io::ErrorKind::FileTooLarge));
                prop_assert!(out.len() <= MOST && plain.starts_with(&out));
            }
        }

        #[test]
        fn a_member_that_is_cut_or_goes_on_never_ends_well(
            plain in plain(), chunks in lengths(), pieces in lengths(), cut in any::<Index>(),
            behind in prop_oneof![prop::collection::vec(any::<u8>(), 1..40), plain().prop_map(|plain| compressed(&plain))],
        ) {
            let good = compressed(&plain);
            let short = &good[..cut.index(good.len())];
            for bytes in [short.to_vec(), [&good[..], &behind].concat()] {
                let (out, end) = out_of(&bytes, &chunks, &pieces);
                prop_assert!(end.is_err());
                prop_assert!(out.len() <= MOST && plain.starts_with(&out));
            }
        }

        #[test]
        fn what_was_altered_ends_badly_or_is_the_same(
            plain in plain(), chunks in lengths(), pieces in lengths(), at in any::<Index>(), bit in 0..8_u8,
        ) {
            let mut bytes = compressed(&plain);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let (out, end) = out_of(&bytes, &chunks, &pieces);
            prop_assert!(out.len() <= MOST);
            if end.is_ok() {
                prop_assert_eq!(out, plain);
            }
        }

        #[test]
        fn noise_never_panics_and_never_grows_beyond_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..400), chunks in lengths(), pieces in lengths(),
        ) {
            // With a head that is one, so that the rest is inflated at all.
            for bytes in [bytes.clone(), [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &bytes].concat()] {
                prop_assert!(out_of(&bytes, &chunks, &pieces).0.len() <= MOST);
            }
        }
    }
}
