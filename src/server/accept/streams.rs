//! How long an HTTP/2 connection has been without a stream. Owns the count of the streams that are
//! open, and knows nothing of what travels on them.
//!
//! The HTTP library closes an HTTP/1.1 connection on which no request comes; an HTTP/2 connection
//! it keeps for as long as the other side answers its pings.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

use super::unsent;

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
        unsent::waits_for_reader();
        answer.map(|body| Carried {
            body,
            rest: Bytes::new(),
            _on: self,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// A body and the stream that it travels on, which is handed over a piece at a time.
pub(super) struct Carried<B> {
    body: B,
    /// What of the last chunk has not been.
    rest: Bytes,
    _on: Stream,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Carried<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else {
                unsent::waits_for_server();
                return Poll::Pending;
            };
            match next.map(|next| next.map(Frame::into_data)) {
                Some(Ok(Ok(chunk))) => self.rest = chunk,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        unsent::waits_for_reader();
        let piece = unsent::piece_of(&mut self.rest);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        // the upper bound first: it may not be less than the lower one
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(of_body.lower() + rest);
        hint
    }
}
