//! How long whoever is being sent an answer may take none of it. Owns that limit where it can be seen: at the
//! socket, when it takes no more bytes, and on each stream of HTTP/2, when its window is closed.
//!
//! The kernel gives up a reader who has gone. One who is there, acknowledges everything and opens no window
//! would keep pages, and a place among the connections, for as long as it likes. One that takes a little now
//! and then is a slow reader, and is waited for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock::Clock;

/// So much of a body is handed over at once on a stream of HTTP/2, in bytes: as much as a frame holds unless the
/// reader wants larger ones (RFC 9113, 4.2). The library takes what it is handed whole, however little of it the
/// window lets through, and says nothing of when the rest goes.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// Fires when something that is waited for has not come for so long.
struct Patience {
    limit: Duration,
    clock: Clock,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Patience {
    fn of(limit: Duration) -> Self {
        Self {
            limit,
            clock: Clock::start(),
            timer: None,
            is_waiting: false,
        }
    }

    /// It has come.
    fn is_met(&mut self) {
        self.is_waiting = false;
    }

    /// It has not come yet.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.clock.now() + self.limit;
        let timer = match &mut self.timer {
            Some(timer) => {
                if !self.is_waiting {
                    timer.as_mut().reset(until);
                }
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(until))),
        };
        self.is_waiting = true;
        timer.as_mut().poll(cx)
    }
}

/// A connection whose writing fails when nothing of it has been taken for too long.
pub(super) struct Sending<S> {
    stream: S,
    patience: Patience,
}

impl<S> Sending<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        let patience = Patience::of(limit);
        Self { stream, patience }
    }

    fn within<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience.is_met();
            return written;
        }
        ready!(self.patience.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sending<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.within(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(shut, cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

tokio::task_local! {
    /// Of the stream that is being answered.
    static TURN: Cell<Turn>;
}

/// Who is waited for on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The answer, or more of its body.
    Server,
    /// The reader: so many times something was handed over, and the last of it is not taken.
    Reader(u64),
}

/// There is no more of the answer at present.
pub(super) fn waits_for_server() {
    // outside of a stream nothing is counted
    let _ = TURN.try_with(|turn| turn.set(Turn::Server));
}

/// A part of the answer has been handed over.
pub(super) fn waits_for_reader() {
    let _ = TURN.try_with(|turn| {
        turn.set(match turn.get() {
            Turn::Server => Turn::Reader(0),
            Turn::Reader(times) => Turn::Reader(times + 1),
        });
    });
}

/// As much of this as is handed over at once.
pub(super) fn piece_of(bytes: &mut Bytes) -> Bytes {
    bytes.split_to(bytes.len().min(PIECE_BYTES))
}

/// Answers on the streams of a connection, each as a task of its own, and gives up those of which nothing has
/// been taken for so long: the stream is reset.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) limit: Duration,
}

impl<F> Executor<F> for Answers
where
    F: Future<Output = ()> + Send + 'static,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "the connection waits for its streams, and a stopping server for the connection"
    )]
    fn execute(&self, stream: F) {
        tokio::spawn(taken_within(self.limit, stream));
    }
}

/// The stream's answer to its end, unless nothing of it is taken for so long.
async fn taken_within(limit: Duration, stream: impl Future<Output = ()>) {
    let answering = async {
        tokio::select! {
            // whose turn it is follows from this
            biased;
            () = stream => {}
            () = not_taken_for(limit) => {}
        }
    };
    TURN.scope(Cell::new(Turn::Server), answering).await;
}

async fn not_taken_for(limit: Duration) {
    let mut patience = Patience::of(limit);
    let mut seen = Turn::Server;
    std::future::poll_fn(|cx| {
        let turn = TURN.with(Cell::get);
        if turn != seen {
            seen = turn;
            patience.is_met();
        }
        match turn {
            Turn::Server => Poll::Pending,
            Turn::Reader(_) => patience.poll(cx),
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const LONG: Duration = Duration::from_secs(100_000);

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_given_up() {
        let (reader, server) = duplex(10);
        let mut sending = Sending::new(server, LIMIT);
        let clock = Clock::start();
        let began = clock.now();
        let failed = sending.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        assert_eq!((clock.now() - began).as_secs(), LIMIT.as_secs());
        drop(reader);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_a_little_is_waited_for() {
        let (mut reader, server) = duplex(10);
        let mut sending = Sending::new(server, LIMIT);
        let reading = async {
            while timeout(LONG, reader.read_u8()).await.unwrap().is_ok() {
                sleep(LIMIT * 9 / 10).await;
            }
        };
        let writing = async move { sending.write_all(&[0; 100]).await };
        let (written, ()) = tokio::join!(writing, reading);
        written.unwrap();
    }

    /// Hands a piece over at each of these times, in seconds; then the server takes so long for the rest.
    async fn ends_after(pieces: &[u64], rest: u64) -> u64 {
        let clock = Clock::start();
        let began = clock.now();
        let stream = async {
            sleep(LIMIT * 3).await;
            for wait in pieces {
                waits_for_reader();
                sleep(Duration::from_secs(*wait)).await;
            }
            waits_for_server();
            sleep(Duration::from_secs(rest)).await;
        };
        taken_within(LIMIT, stream).await;
        (clock.now() - began - LIMIT * 3).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_of_the_reader_counts() {
        assert_eq!(ends_after(&[50, 50, 50], 500).await, 650);
        assert_eq!(ends_after(&[50, 70, 50], 500).await, 110);
        assert_eq!(ends_after(&[], 500).await, 500);
    }
}
