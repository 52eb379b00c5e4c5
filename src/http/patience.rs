//! A connection that is given up when its reader takes nothing, or next to nothing.
//!
//! Headers and bodies have their times elsewhere; an answer that nobody reads
//! would hold one of the connections, and the room of answers, for good. Waiting
//! uses up patience, bytes that are taken give it back: an answer holds what it
//! holds no longer than the patience and its length at [`LEAST_SPEED`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes a second of a reader that is waited for, on the average.
const LEAST_SPEED: usize = 16 << 10;

/// See the module's head.
#[derive(Debug)]
pub struct Patience<S> {
    stream: S,
    limit: Duration,
    /// What is left of it.
    left: Duration,
    /// While a write waits: since when, and until when it may.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Patience<S> {
    /// Waits for a reader that has room for nothing no longer than `limit`.
    pub fn new(stream: S, limit: Duration) -> Self {
        Patience { stream, limit, left: limit, waiting: None }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(taken) = written {
            let waited = self.waiting.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            let given_back = *taken.as_ref().unwrap_or(&0) as f64 / LEAST_SPEED as f64;
            let left = self.left.saturating_sub(waited) + Duration::from_secs_f64(given_back);
            self.left = left.min(self.limit);
            return Poll::Ready(taken);
        }
        let left = self.left;
        let begun = || (Instant::now(), Box::pin(tokio::time::sleep(left)));
        let (_, until) = self.waiting.get_or_insert_with(begun);
        ready!(until.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let limit = Duration::from_millis(20);
        let (ours, _theirs) = tokio::io::duplex(8);
        let begun = std::time::Instant::now();
        let written = Patience::new(ours, limit).write_all(&[0; 100]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= limit);
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let limit = Duration::from_millis(500);
        let writing = tokio::spawn(async move { Patience::new(ours, limit).write_all(&[7; 320_000]).await });
        // Far longer than the limit, but faster than the least speed.
        let mut part = [0; 16_000];
        for _ in 0..20 {
            theirs.read_exact(&mut part).await.unwrap();
            assert_eq!(part, [7; 16_000]);
            tokio::time::sleep(limit / 10).await;
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_takes_a_byte_now_and_then_is_given_up() {
        let limit = Duration::from_millis(50);
        let (ours, mut theirs) = tokio::io::duplex(1);
        let writing = tokio::spawn(async move { Patience::new(ours, limit).write_all(&[7; 500]).await });
        let mut taken = 0;
        while theirs.read_u8().await.is_ok() {
            taken += 1;
            tokio::time::sleep(limit / 10).await;
        }
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(taken < 50, "{taken}");
    }
}
