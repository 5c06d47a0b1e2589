//! How long an HTTP/1.1 connection may be quiet: while the head of a request is on its way, and between two
//! requests. Owns both limits, which the HTTP library does not tell apart.
//!
//! The connection is watched where it is read: a byte that comes while no request is being answered is the
//! first of the next head. Nothing is measured while one is, for then it is the page that takes time, or
//! the body of the request, which has a limit of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::task::AtomicWaker;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock::Clock;

/// How far a connection is, shared by its reading and its answering: its lowest two bits are the phase, the
/// rest counts requests, so that two phases of one kind are not taken for one.
#[derive(Debug, Default)]
pub(super) struct Phase {
    at: AtomicU64,
    /// Whoever waits to read while a request is being answered.
    reading: AtomicWaker,
}

const KIND: u64 = 0b11;
/// The head of a request is on its way; a connection begins like this.
const HEAD: u64 = 0;
/// A request is being answered.
const BUSY: u64 = 1;
/// Nothing is.
const IDLE: u64 = 2;
/// It does not speak HTTP any more: how long it may be quiet is decided by whoever has taken it over.
const TAKEN: u64 = 3;

impl Phase {
    fn get(&self) -> u64 {
        self.at.load(Ordering::Acquire)
    }

    /// A request has come in.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        let before = self.get();
        self.at
            .store((before & !KIND) + KIND + 1 + BUSY, Ordering::Release);
        Answering(Arc::clone(self))
    }

    fn end(&self) {
        let before = self.get();
        if before & KIND == TAKEN {
            return;
        }
        self.at.store((before & !KIND) + IDLE, Ordering::Release);
        // what it is read for from now on has a limit
        self.reading.wake();
    }

    /// Something has come; if no request is being answered it is the next one.
    fn heard(&self) {
        let before = self.get();
        if before & KIND == IDLE {
            self.at.store((before & !KIND) + HEAD, Ordering::Release);
        }
    }
}

/// A request is being answered until this is dropped.
pub(super) struct Answering(Arc<Phase>);

impl Answering {
    /// Until the answer has been handed over or dropped.
    pub(super) fn with<B>(self, answer: Response<B>) -> Response<Answer<B>> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.0.at.store(TAKEN, Ordering::Release);
        }
        answer.map(|body| Answer { body, _until: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer.
pub(super) struct Answer<B> {
    body: B,
    _until: Answering,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose reading fails when it has been quiet for too long.
pub(super) struct Watched<S> {
    stream: S,
    phase: Arc<Phase>,
    /// What the timer was set for last.
    timed: Option<u64>,
    timer: Pin<Box<Sleep>>,
    clock: Clock,
    head: Duration,
    idle: Duration,
}

impl<S> Watched<S> {
    /// A connection that has just begun: a head may take `head`, the time between two requests `idle`.
    pub(super) fn new(stream: S, phase: Arc<Phase>, head: Duration, idle: Duration) -> Self {
        Self {
            stream,
            phase,
            timed: None,
            timer: Box::pin(tokio::time::sleep(head)),
            clock: Clock::start(),
            head,
            idle,
        }
    }

    /// Nothing has come. Whether it has been so for too long.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.phase.get() & KIND, BUSY | TAKEN) {
            self.phase.reading.register(cx.waker());
        }
        let phase = self.phase.get();
        let limit = match phase & KIND {
            BUSY | TAKEN => return Poll::Pending,
            IDLE => self.idle,
            _ => self.head,
        };
        if self.timed != Some(phase) {
            self.timed = Some(phase);
            let until = self.clock.now() + limit;
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, into) {
            Poll::Pending => self
                .poll_limit(cx)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready => {
                if into.filled().len() > before {
                    self.phase.heard();
                }
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const HEAD_LIMIT: Duration = Duration::from_secs(10);
    const IDLE_LIMIT: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(10);

    fn pair() -> (DuplexStream, Watched<DuplexStream>, Arc<Phase>) {
        let (reader, server) = duplex(64);
        let phase = Arc::<Phase>::default();
        let watched = Watched::new(server, Arc::clone(&phase), HEAD_LIMIT, IDLE_LIMIT);
        (reader, watched, phase)
    }

    /// After how long the reading fails; `None` if it goes on for as long as anybody would look.
    async fn given_up_after(watched: &mut Watched<DuplexStream>) -> Option<Duration> {
        let clock = Clock::start();
        let began = clock.now();
        let mut byte = [0];
        let read = timeout(Duration::from_secs(1000), watched.read(&mut byte)).await;
        let failed = read.ok()?;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        Some(clock.now() - began)
    }

    fn is_about(found: Option<Duration>, limit: Duration) -> bool {
        found.is_some_and(|found| found >= limit - MOMENT && found <= limit + MOMENT)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_and_the_time_between_two_have_limits_of_their_own() {
        let (mut reader, mut watched, phase) = pair();
        assert!(is_about(given_up_after(&mut watched).await, HEAD_LIMIT));
        // while a request is answered there is none
        let answering = phase.begin();
        assert_eq!(given_up_after(&mut watched).await, None);
        drop(answering);
        assert!(is_about(given_up_after(&mut watched).await, IDLE_LIMIT));
        // the next one begins
        let (_, mut watched, phase) = {
            drop((reader, watched, phase));
            pair()
        };
        drop(phase.begin());
        reader = {
            let (mut other, server) = duplex(64);
            watched.stream = server;
            other.write_all(b"G").await.unwrap();
            other
        };
        assert_eq!(watched.read_u8().await.unwrap(), b'G');
        assert!(is_about(given_up_after(&mut watched).await, HEAD_LIMIT));
        drop(reader);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_gets_no_more_time() {
        let (mut reader, mut watched, _phase) = pair();
        let began = Clock::start();
        let since = began.now();
        let dripping = async {
            while reader.write_all(b"x").await.is_ok() {
                tokio::time::sleep(HEAD_LIMIT / 4).await;
            }
        };
        let reading = async {
            let mut byte = [0];
            loop {
                if watched.read(&mut byte).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = dripping => unreachable!("the reading ends first"),
            () = reading => {}
        }
        assert!(is_about(Some(began.now() - since), HEAD_LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_between_two_counts_for_whoever_was_reading_before_it_began() {
        let (_reader, mut watched, phase) = pair();
        let answering = phase.begin();
        let ending = async {
            tokio::time::sleep(HEAD_LIMIT).await;
            drop(answering);
        };
        let (given_up, ()) = tokio::join!(given_up_after(&mut watched), ending);
        assert!(is_about(given_up, HEAD_LIMIT + IDLE_LIMIT), "{given_up:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_speak_http_any_more_may_be_quiet() {
        let (_reader, mut watched, phase) = pair();
        let mut switched = Response::new(http_body_util::Empty::<bytes::Bytes>::new());
        *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        drop(phase.begin().with(switched));
        assert_eq!(given_up_after(&mut watched).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_time_between_two_requests_is_a_new_one() {
        let (_reader, mut watched, phase) = pair();
        for _ in 0..3 {
            drop(phase.begin());
            let half = timeout(IDLE_LIMIT / 2, watched.read_u8()).await;
            assert!(half.is_err(), "it is within the limit");
        }
    }
}
