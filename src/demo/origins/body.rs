//! The body of an origin's answer: whole, broken half-way, or a byte a second.
//!
//! It owns how a body is withheld. It must not know why. Its invariant: the announced length is
//! always that of the whole body, whatever is sent of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::{Interval, Sleep, interval, sleep};

/// One byte each; slow enough that any page's budget runs out first.
const DRIP_PERIOD: Duration = Duration::from_secs(1);

/// Between the first half and the break: lets the server flush the half, which an immediate
/// error would throw away with its buffer.
const CUT_DELAY: Duration = Duration::from_millis(20);

/// The connection is broken on purpose.
#[derive(Debug, thiserror::Error)]
#[error("cut by the dial")]
pub(super) struct Cut;

/// A body on its way out.
#[derive(Debug)]
pub(super) struct Body {
    rest: Bytes,
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    Whole,
    Drip(Interval),
    /// The bytes that will never be sent, and when the connection breaks.
    Cut(u64, Pin<Box<Sleep>>),
}

impl Body {
    /// All of it, at once.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            rest: bytes,
            pace: Pace::Whole,
        }
    }

    /// A byte a second.
    pub(super) fn dripping(bytes: Bytes) -> Self {
        Self {
            rest: bytes,
            pace: Pace::Drip(interval(DRIP_PERIOD)),
        }
    }

    /// Half of it, then an error.
    pub(super) fn cut(mut bytes: Bytes) -> Self {
        let lost = bytes.split_off(bytes.len() / 2);
        Self {
            rest: bytes,
            pace: Pace::Cut(lost.len() as u64, Box::pin(sleep(CUT_DELAY))),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Self { rest, pace } = &mut *self;
        let chunk = match pace {
            Pace::Cut(_, delay) if rest.is_empty() => {
                ready!(delay.as_mut().poll(context));
                return Poll::Ready(Some(Err(Cut)));
            }
            _ if rest.is_empty() => return Poll::Ready(None),
            Pace::Whole | Pace::Cut(..) => rest.split_off(0),
            Pace::Drip(ticks) => {
                ready!(ticks.poll_tick(context));
                rest.split_to(1)
            }
        };
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !matches!(self.pace, Pace::Cut(..))
    }

    fn size_hint(&self) -> SizeHint {
        let lost = match self.pace {
            Pace::Cut(lost, _) => lost,
            Pace::Whole | Pace::Drip(_) => 0,
        };
        SizeHint::with_exact(self.rest.remaining() as u64 + lost)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dripping_body_arrives_whole_a_byte_a_second() {
        let start = sleep(Duration::ZERO).deadline();
        let body = Body::dripping(Bytes::from_static(b"marbre"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "marbre");
        let end = sleep(Duration::ZERO).deadline();
        assert!(end - start >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_body_announces_all_sends_half_and_breaks() {
        let mut body = Body::cut(Bytes::from_static(b"marbre"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "mar"
        );
        assert!(body.frame().await.unwrap().is_err());
    }
}
