//! How long an HTTP/2 connection has been without a stream. Owns the count of the streams that are
//! open, and knows nothing of what travels on them.
//!
//! The HTTP library closes an HTTP/1.1 connection on which no request comes; an HTTP/2 connection
//! it keeps for as long as the other side answers its pings.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

/// The streams of one connection.
pub(super) struct Streams(Arc<watch::Sender<usize>>);

/// A stream that is open until this is dropped.
pub(super) struct Stream(Arc<watch::Sender<usize>>);

impl Streams {
    pub(super) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(super) fn open(&self) -> Stream {
        self.0.send_modify(|open| *open += 1);
        Stream(Arc::clone(&self.0))
    }

    /// Returns when there has been no stream for so long.
    pub(super) async fn none_for(&self, limit: Duration) {
        let mut open = self.0.subscribe();
        loop {
            let idle = *open.borrow_and_update() == 0;
            // the sender is held here: what is waited for is a change, or its absence
            let changed = open.changed();
            if !idle {
                let _ = changed.await;
            } else if timeout(limit, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Stream {
    /// Stays open until the answer has been handed over or dropped.
    pub(super) fn with<B>(self, answer: Response<B>) -> Response<Carried<B>> {
        answer.map(|body| Carried { body, _on: self })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// A body and the stream that it travels on.
pub(super) struct Carried<B> {
    body: B,
    _on: Stream,
}

impl<B: Body + Unpin> Body for Carried<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
