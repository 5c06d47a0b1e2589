//! The HTTP/1.1 connections to one replica (shell). Owns which of them a request goes out on, and how
//! long one is kept that nobody uses.
//!
//! A connection has no task of its own: whoever waits for its answer drives it, so that an answer wakes
//! one task and not two, and goes through no channel between them. While it is kept nobody drives it; what
//! happens to it meanwhile is seen when the next request is about to be written on it, or when the kept ones
//! are looked at.
//!
//! Invariants: a request goes out on a connection that was alive a moment ago, and a second time only if
//! nothing of it was written the first time; and a connection is kept only if nothing is left on it of the
//! answer before.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use futures::{FutureExt as _, Stream};
use http::{Request, Response, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;
use tokio::time::sleep;
use tower::Service as _;

use crate::clock::{Clock, Instant};
use crate::report::Cause;

use super::connect::{Connector, Failure, Stream as Io};
use super::{Sent, innermost};

/// How often the kept connections are looked at, so that one that the other side has closed does not stay
/// half open for as long as it might be kept.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// What is read at a time, and what the head of an answer may have. Most fragments come in one piece then,
/// which spares a turn for each further one and the copying together of all.
const READ_BYTES: usize = 32 << 10;

/// The connections to one place. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

/// How long, and how many, connections are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Without being used.
    pub(super) time: Duration,
    /// At most.
    pub(super) max: usize,
}

struct Shared {
    connector: Connector,
    /// Where it leads.
    place: Uri,
    keep: Keep,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By when they were used last. Each in one place for as long as it lives: it is passed on twice for
    /// every request, and is large.
    lines: VecDeque<(Box<Line>, Instant)>,
    is_looked_at: bool,
}

/// A connection, with the end that takes requests.
struct Line {
    sender: SendRequest<Sent>,
    /// `None` once it has ended.
    connection: Option<Connection<Io, Sent>>,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// There is no connection.
    Connect(Failure),
    /// It has failed.
    Transport(hyper::Error),
    /// It has ended without any word.
    Ended,
}

impl Pool {
    /// Without any connection yet.
    pub(super) fn new(connector: Connector, place: Uri, keep: Keep, clock: Clock) -> Self {
        let shared = Shared {
            connector,
            place,
            keep,
            clock,
            kept: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Sends a request, whose address is its target alone, and gives the head of its answer.
    pub(super) async fn send(
        &self,
        mut request: Request<Sent>,
    ) -> Result<Response<Body>, Unanswered> {
        loop {
            let (mut line, was_kept) = match self.shared.take() {
                Some(line) => (line, true),
                None => {
                    let line = Shared::connect(&self.shared).boxed().await;
                    (line.map_err(Unanswered::Connect)?, false)
                }
            };
            let answer = line.sender.try_send_request(request);
            let mut answer = pin!(answer);
            let driven = poll_fn(|cx| line.drive(cx, |quiet| answer.as_mut().poll(quiet))).await;
            match driven.ok_or(Unanswered::Ended)? {
                Ok(response) => {
                    let pool = &self.shared;
                    return Ok(response.map(|body| Body::new(body, line, pool)));
                }
                Err(mut refused) => match refused.take_message().filter(|_| was_kept) {
                    // closed by the other side while it was kept
                    Some(unsent) => request = unsent,
                    None => return Err(Unanswered::Transport(refused.into_error())),
                },
            }
        }
    }
}

impl Shared {
    async fn connect(self: &Arc<Self>) -> Result<Box<Line>, Failure> {
        let io = self.connector.clone().call(self.place.clone()).await?;
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(Some(READ_BYTES));
        let (sender, connection) = builder.handshake(io).await?;
        let mut line = Box::new(Line {
            sender,
            connection: Some(connection),
        });
        // it takes a request when it has been looked at once
        let ready = poll_fn(|cx| {
            line.go_on(cx);
            line.sender.poll_ready(cx)
        });
        ready.await?;
        Ok(line)
    }

    /// The one that was used last, if there is one: the others may be left to end. Whether the other side
    /// has closed it meanwhile is looked at before anything is written on it.
    fn take(&self) -> Option<Box<Line>> {
        let now = self.clock.now();
        loop {
            let (line, since) = self.kept.lock().lines.pop_back()?;
            if now < since + self.keep.time && line.is_ready() {
                return Some(line);
            }
        }
    }

    fn keep(self: &Arc<Self>, line: Box<Line>) {
        if self.keep.max == 0 {
            return;
        }
        let now = self.clock.now();
        let mut kept = self.kept.lock();
        let oldest = match kept.lines.len() < self.keep.max {
            true => None,
            false => kept.lines.pop_front(),
        };
        kept.lines.push_back((line, now));
        if !kept.is_looked_at
            && let Ok(runtime) = Handle::try_current()
        {
            kept.is_looked_at = true;
            runtime.spawn(look_after(Arc::downgrade(self), self.keep.time));
        }
        drop(kept);
        drop(oldest);
    }

    /// Lets those go that have ended or were not used for long. Says whether any are left.
    fn look(&self) -> bool {
        let now = self.clock.now();
        let mut gone = Vec::new();
        let mut kept = self.kept.lock();
        for (mut line, since) in std::mem::take(&mut kept.lines) {
            match now < since + self.keep.time && line.is_free() {
                true => kept.lines.push_back((line, since)),
                false => gone.push(line),
            }
        }
        kept.is_looked_at = !kept.lines.is_empty();
        kept.is_looked_at
    }
}

/// Looks at the kept connections for as long as there are any.
async fn look_after(pool: Weak<Shared>, time: Duration) {
    loop {
        sleep(LOOK_PAUSE.min(time)).await;
        match pool.upgrade() {
            Some(pool) if pool.look() => {}
            Some(_) | None => return,
        }
    }
}

impl Line {
    /// Waits for what comes over the connection, driving it meanwhile; `None` if it has ended before.
    /// `poll` is not woken by what it waits for, which only the connection can bring about.
    fn drive<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        self.go_on(cx);
        match quietly(&mut poll) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending if self.connection.is_none() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Lets the connection read and write what it can. An error is told to whoever waits for an answer.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.poll_unpin(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether it can take a request, as far as is known: nothing is left of what was before.
    fn is_ready(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// The same, and the other side has not closed it.
    fn is_free(&mut self) -> bool {
        let _ = quietly(|quiet| {
            self.go_on(quiet);
            Poll::Ready(())
        });
        self.is_ready()
    }
}

/// Looks at what nobody is to be woken for. A task that has done its share of work finds nothing ready until
/// its next turn, for which it is woken: here nobody would be, so that its share does not count.
fn quietly<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let look = pin!(unconstrained(poll_fn(poll)));
    look.poll(&mut Context::from_waker(Waker::noop()))
}

/// The body of an answer. Read to its end, it leaves its connection to the next request.
pub(super) struct Body {
    /// `None` when nothing more comes.
    under_way: Option<(Incoming, Box<Line>)>,
    /// Why not, until it is told.
    failed: Option<Cause>,
    pool: Arc<Shared>,
}

impl Body {
    fn new(incoming: Incoming, line: Box<Line>, pool: &Arc<Shared>) -> Self {
        Self {
            under_way: Some((incoming, line)),
            failed: None,
            pool: Arc::clone(pool),
        }
    }

    /// Nothing more is read.
    fn end(&mut self) {
        let Some((incoming, mut line)) = self.under_way.take() else {
            return;
        };
        drop(incoming);
        // what was read to its end has left it ready; else the first look takes in what was left of the body,
        // and the second one sees that nothing is
        if line.is_ready() || line.is_free() || line.is_free() {
            self.pool.keep(line);
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Cause>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some((incoming, line)) = &mut this.under_way else {
            return Poll::Ready(this.failed.take().map(Err));
        };
        let mut frame = |quiet: &mut Context<'_>| Pin::new(&mut *incoming).poll_frame(quiet);
        loop {
            // what has been taken in already is there without looking at the connection
            let came = match quietly(&mut frame) {
                Poll::Ready(came) => Some(came),
                Poll::Pending => ready!(line.drive(cx, &mut frame)),
            };
            let cause = match came {
                Some(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => {
                        // the next request need not wait until somebody asks for more
                        if incoming.is_end_stream() {
                            this.end();
                        }
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    // trailers say nothing to anybody here
                    Err(_) => continue,
                },
                Some(None) => {
                    this.end();
                    return Poll::Ready(None);
                }
                Some(Some(Err(error))) => innermost(&error),
                None => "the connection has ended".to_owned(),
            };
            this.under_way = None;
            this.failed = Some(Cause::Truncated(cause));
            // told a turn later: whoever passes the body on has written then what came before
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    }
}

impl Drop for Body {
    /// What is left unread may be here by now, and is then no reason to give the connection up.
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::coop::{has_budget_remaining, poll_proceed};

    use super::*;

    #[tokio::test]
    async fn an_answer_is_seen_by_a_task_that_has_done_its_share() {
        let (sender, mut answer) = oneshot::channel();
        sender.send("here").expect("it is waited for");
        let seen = poll_fn(|cx| {
            while has_budget_remaining() {
                if let Poll::Ready(share) = poll_proceed(cx) {
                    share.made_progress();
                }
            }
            assert!(answer.poll_unpin(cx).is_pending(), "its share is done");
            Poll::Ready(quietly(|quiet| answer.poll_unpin(quiet)))
        });
        assert_eq!(seen.await, Poll::Ready(Ok("here")));
    }
}
