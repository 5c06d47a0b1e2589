//! An origin that misbehaves in front of another (shell). Owns how each effect is carried out; what happens
//! to which request is decided elsewhere.
//!
//! Invariant: whatever a fault holds up goes on when it is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::fetch::origin::{BodyStream, Origin, OriginRequest, OriginResponse, Whom};
use crate::report::Cause;

use super::faults::Effect;
use super::{Chaos, Running};

/// No text begins so, in whichever encoding that is looked for.
const NO_TEXT: u8 = 0xff;

/// A replica of an origin, with the faults that are set on it.
pub struct Faulty {
    origin: String,
    inner: Arc<dyn Origin>,
    chaos: Arc<Chaos>,
}

impl Faulty {
    /// In front of a replica of the origin of this name.
    pub fn new(origin: &str, inner: Arc<dyn Origin>, chaos: &Arc<Chaos>) -> Self {
        Self {
            origin: origin.to_owned(),
            inner,
            chaos: Arc::clone(chaos),
        }
    }
}

impl Origin for Faulty {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        self.send_for(request, Whom::default())
    }

    fn send_for(
        &self,
        request: OriginRequest,
        whom: Whom<'_>,
    ) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        if !self.chaos.is_active() {
            return self.inner.send(request);
        }
        let hits = self.chaos.hits(&self.origin, whom);
        if hits.is_empty() {
            return self.inner.send(request);
        }
        let inner = Arc::clone(&self.inner);
        async move {
            for (effect, by) in &hits {
                if let Some(instead) = before(*effect, by).await {
                    return instead;
                }
            }
            let mut response = inner.send(request).await?;
            for (effect, by) in hits {
                response.body = spoiled(effect, &by, response.body);
            }
            Ok(response)
        }
        .boxed()
    }
}

/// What is answered instead of asking, if it is.
async fn before(effect: Effect, by: &Running) -> Option<Result<OriginResponse, Cause>> {
    let told = |what: &str| format!("{what} (fault {})", by.spec().name);
    match effect {
        Effect::Late(delay) => {
            wait(delay, &by.over).await;
            None
        }
        Effect::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            let body = Bytes::from(told("an error on purpose") + "\n");
            Some(Ok(OriginResponse::whole(status, headers, body)))
        }
        Effect::Unreachable => Some(Err(Cause::Connect(told("connection refused")))),
        Effect::Reset => Some(Err(Cause::Transport(told("connection reset")))),
        Effect::Hang => {
            by.over.cancelled().await;
            Some(Err(Cause::Transport(told("no answer until it was over"))))
        }
        Effect::Cut | Effect::Drip(_) | Effect::Garbage => None,
    }
}

/// Waits so long, or until the fault is over.
pub(super) async fn wait(delay: Duration, over: &CancellationToken) {
    tokio::select! {
        () = sleep(delay) => {}
        () = over.cancelled() => {}
    }
}

fn spoiled(effect: Effect, by: &Arc<Running>, body: BodyStream) -> BodyStream {
    match effect {
        Effect::Cut => cut(body, format!("cut off (fault {})", by.spec().name)),
        Effect::Drip(every) => drip(body, every, by.over.clone()),
        Effect::Garbage => body
            .map(|chunk| chunk.map(|bytes| Bytes::from(vec![NO_TEXT; bytes.len()])))
            .boxed(),
        Effect::Late(_)
        | Effect::Status(_)
        | Effect::Unreachable
        | Effect::Reset
        | Effect::Hang => body,
    }
}

/// Without the second half of its last piece, which is half of what comes in one piece.
fn cut(body: BodyStream, why: String) -> BodyStream {
    // what is asked once more after its end may be another fault, which is not to be
    let begun = (body.fuse(), None::<Bytes>, false);
    stream::unfold(
        (begun, why),
        |((mut body, mut held, is_over), why)| async move {
            if is_over {
                return None;
            }
            loop {
                let next = body.next().await;
                match (next, held.take()) {
                    (Some(Ok(bytes)), None) => held = Some(bytes),
                    (Some(Ok(bytes)), Some(before)) => {
                        return Some((Ok(before), ((body, Some(bytes), false), why)));
                    }
                    (Some(Err(cause)), _) => return Some((Err(cause), ((body, None, true), why))),
                    (None, Some(last)) if last.len() > 1 => {
                        let half = last.slice(..last.len() / 2);
                        return Some((Ok(half), ((body, None, false), why)));
                    }
                    (None, _) => {
                        let cut = Err(Cause::Truncated(why.clone()));
                        return Some((cut, ((body, None, true), why)));
                    }
                }
            }
        },
    )
    .boxed()
}

/// A byte at a time.
fn drip(body: BodyStream, every: Duration, over: CancellationToken) -> BodyStream {
    stream::unfold(
        (body.fuse(), Bytes::new(), over),
        move |(mut body, mut left, over)| async move {
            while left.is_empty() {
                match body.next().await? {
                    Ok(bytes) => left = bytes,
                    Err(cause) => return Some((Err(cause), (body, left, over))),
                }
            }
            if over.is_cancelled() {
                return Some((Ok(std::mem::take(&mut left)), (body, left, over)));
            }
            wait(every, &over).await;
            let byte = left.split_to(1);
            Some((Ok(byte), (body, left, over)))
        },
    )
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &[&'static str]) -> BodyStream {
        let pieces: Vec<_> = pieces.iter().map(|p| Ok(Bytes::from(*p))).collect();
        stream::iter(pieces).boxed()
    }

    async fn read(mut body: BodyStream) -> (String, Option<Cause>) {
        let mut text = String::new();
        while let Some(piece) = body.next().await {
            match piece {
                Ok(bytes) => text += std::str::from_utf8(&bytes).unwrap(),
                Err(cause) => return (text, Some(cause)),
            }
        }
        (text, None)
    }

    #[tokio::test]
    async fn what_is_spoiled_twice_ends_as_well() {
        for every in [Duration::ZERO, Duration::from_millis(1)] {
            let dripping = drip(body(&["ab", "c"]), every, CancellationToken::new());
            let (text, cause) = read(cut(dripping, "cut".to_owned())).await;
            assert_eq!(text, "ab", "the last piece is one byte");
            assert_eq!(cause, Some(Cause::Truncated("cut".to_owned())));
            let over = CancellationToken::new();
            over.cancel();
            let whole = drip(body(&["abcd"]), every, over);
            let (text, cause) = read(cut(whole, "cut".to_owned())).await;
            assert_eq!((text.as_str(), cause.is_some()), ("ab", true));
        }
    }

    #[tokio::test]
    async fn what_is_cut_ends_half_way_and_with_an_error() {
        for (pieces, left) in [
            (&["whole"][..], "wh"),
            (&["first", "last"], "firstla"),
            (&["x"], ""),
            (&[], ""),
        ] {
            let (text, cause) = read(cut(body(pieces), "cut".to_owned())).await;
            assert_eq!(text, left);
            assert_eq!(
                cause,
                Some(Cause::Truncated("cut".to_owned())),
                "{pieces:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_drips_is_whole_in_the_end_and_no_longer_slow_when_that_is_over() {
        let over = CancellationToken::new();
        let clock = crate::clock::Clock::start();
        let began = clock.now();
        let hour = Duration::from_secs(3600);
        let (text, cause) = read(drip(body(&["ab", "c"]), hour, over.clone())).await;
        assert_eq!((text.as_str(), cause), ("abc", None));
        assert_eq!(clock.now() - began, hour * 3);
        over.cancel();
        read(drip(body(&["ab", "c"]), hour, over)).await;
        assert_eq!(clock.now() - began, hour * 3);
    }
}
