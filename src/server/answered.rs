//! What became of one request, for the access log and for whoever may see how their page was made. Owns
//! what is noticed on the way: the page's own account, the first byte, the bytes, the end.
//!
//! Invariant: one record for each request that is answered, at the end of its answer or when its reader
//! has left; noticing it waits for nobody.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use http_body::{Body as _, Frame, SizeHint};

use crate::clock::{Clock, Instant};
use crate::fragment::trace;
use crate::report::{Event, Observer, PageReport, Story};
use crate::telemetry::AccessLog;
use crate::telemetry::access::{Kind, PageRecord, Record, shown};

use super::accept::Who;
use super::{ServerState, debug, reader};

/// One request.
pub(super) struct Asked {
    log: Option<Arc<AccessLog>>,
    clock: Clock,
    since: Instant,
    method: Method,
    path: String,
    client: Option<IpAddr>,
    /// What is recorded of the page; `None` within for one of which nothing is.
    page: OnceLock<Option<PageRecord>>,
    /// Whether whoever asks may see how the page was made.
    is_shown: AtomicBool,
    story: OnceLock<Story>,
}

impl Asked {
    /// A request that comes in; `None` where nobody wants to know what becomes of it.
    pub(super) fn begin<B>(
        state: &ServerState,
        who: &Who,
        request: &Request<B>,
    ) -> Option<Arc<Self>> {
        let log = state.access.clone();
        if log.is_none() && !debug::is_wanted(request.headers()) {
            return None;
        }
        let clock = state.composer.clock();
        let settings = log.as_ref().map(|log| log.settings());
        let client = settings.and_then(|settings| {
            let spec = &state.edition.load().site.degradation;
            let told = spec.reader_header.as_ref();
            let told = told.and_then(|header| reader::address(request.headers().get(header)?));
            let address = told.or_else(|| who.client(request.headers()).address)?;
            settings.client.of(address)
        });
        Some(Arc::new(Self {
            path: settings.map_or_else(String::new, |s| shown(request.uri(), s.query)),
            log,
            clock,
            since: clock.now(),
            method: request.method().clone(),
            client,
            page: OnceLock::new(),
            is_shown: AtomicBool::new(false),
            story: OnceLock::new(),
        }))
    }

    /// Whoever asks may see how the page is made.
    pub(super) fn show(&self) {
        self.is_shown.store(true, Ordering::Relaxed);
    }

    /// How the page was made, once it has ended.
    pub(super) fn story(&self) -> Option<&Story> {
        self.story.get()
    }

    /// Follows the answer to its end.
    pub(super) fn follow(self: Arc<Self>, answer: Response) -> Response {
        if self.log.is_none() {
            return answer;
        }
        let kind = answer.extensions().get::<Kind>().copied();
        let head = Head {
            kind: kind.unwrap_or(Kind::Refused),
            status: answer.status().as_u16(),
            after: self.clock.now().saturating_duration_since(self.since),
        };
        let announced = answer.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        answer.map(|body| {
            Body::new(Followed {
                // the HTTP library asks for nothing beyond what was announced
                announced: announced.or_else(|| body.size_hint().exact()),
                is_whole: self.method == Method::HEAD || body.is_end_stream(),
                body: Some(body),
                bytes: 0,
                head,
                asked: self,
            })
        })
    }

    fn ended(&self, head: Head, bytes: u64, is_whole: bool) {
        let Some(log) = &self.log else { return };
        let settings = log.settings();
        let is_notable = head.status >= 500 || head.after >= settings.slow;
        let page = self.page.get();
        let is_taken = match page {
            Some(Some(_)) => true,
            Some(None) => is_notable,
            None => is_notable || fastrand::f64() < settings.sample,
        };
        if !is_taken {
            return;
        }
        log.write(Record {
            at: self.clock.moment(self.since),
            method: self.method.clone(),
            path: self.path.clone(),
            kind: head.kind,
            status: head.status,
            bytes,
            first_byte: head.after,
            total: self.clock.now().saturating_duration_since(self.since),
            is_left: !is_whole,
            page: page.cloned().flatten(),
            client: self.client,
        });
    }
}

impl Observer for Asked {
    fn page(&self, report: &PageReport<'_>) {
        let Some(log) = &self.log else { return };
        let settings = log.settings();
        let is_degraded = report.level.get() > 0 || report.snapshot.is_some();
        let is_short = report.status == 200 && report.finished && !report.is_complete();
        let is_notable = is_degraded
            || is_short
            || report.status >= 500
            || report.took() >= settings.slow
            || trace::is_of(report.trace_id, settings.sample);
        // there is one page to a request
        let _ = self.page.set(is_notable.then(|| PageRecord::new(report)));
    }

    fn wants_story(&self, _: &PageReport<'_>) -> bool {
        self.is_shown.load(Ordering::Relaxed)
    }

    fn story(&self, story: Story) {
        let _ = self.story.set(story);
    }

    fn event(&self, _: &Event) {}
}

/// What is known when the head of an answer leaves.
#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    status: u16,
    after: Duration,
}

/// The body of an answer, whose end is noticed.
struct Followed {
    body: Option<Body>,
    bytes: u64,
    announced: Option<u64>,
    is_whole: bool,
    head: Head,
    asked: Arc<Asked>,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.bytes += bytes;
            }
            Poll::Ready(None) => self.is_whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let is_over = self.body.as_ref().is_none_or(Body::is_end_stream);
        let is_whole = self.is_whole || is_over || self.announced == Some(self.bytes);
        // a page that was left closes its account when its body goes
        self.body = None;
        self.asked.ended(self.head, self.bytes, is_whole);
    }
}
