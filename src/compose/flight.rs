//! Flights: one fetch → check → render → store per request, however many pages wait for it. Owns
//! the shared work and the table of what is under way. A flight is a task of its own: it outlives
//! its pages, within the origin's timeout, and its late answer fills the cache.
//!
//! What may not be shared is not: a fragment without a ttl is fetched for each page on its own, and
//! an answer that turns out to be personal (`private`, `Set-Cookie`) goes to the page that asked
//! and to no other. Invariant: a panic in a flight costs that flight; whoever waits is told.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, LINK, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::cache::freshness::{CacheControl, Lifetime};
use crate::cache::{Entry, Head};
use crate::fetch::{Answer, Ask, Content, Expect, WithoutContent};
use crate::fragment::{Fragment, FragmentId, OriginId, Priority, Source, SourceRequest};
use crate::layout::parts::Parts;
use crate::render::{self, RenderError};
use crate::report::Cause;

use super::Order;

/// Response headers of a core fragment that become the page's. An answer with `Set-Cookie` is
/// personal, so a cookie never comes from a copy.
static CORE_HEADERS: [HeaderName; 4] = [
    CONTENT_LANGUAGE,
    LINK,
    HeaderName::from_static("x-robots-tag"),
    SET_COOKIE,
];

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The same where the core is JSON: `Link` and `X-Robots-Tag` are then about the JSON. WordPress
/// sends `noindex` with every answer of its REST interface.
static JSON_CORE_HEADERS: [HeaderName; 2] = [CONTENT_LANGUAGE, SET_COOKIE];

/// What a flight brings back.
#[derive(Debug, Clone)]
pub(crate) enum Landed {
    /// Content; `shared` when any page may use it.
    Entry { entry: Arc<Entry>, shared: bool },
    /// Core only.
    Redirect(StatusCode, HeaderValue),
    /// Core only.
    Refused(StatusCode),
}

type Landing = Result<Landed, Cause>;

/// What is under way.
#[derive(Default)]
pub(crate) struct Flights {
    shared: Mutex<HashMap<Arc<SourceRequest>, watch::Receiver<Option<Landing>>>>,
    count: AtomicUsize,
}

impl Flights {
    pub(super) fn under_way(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Counts a flight for as long as it is under way, and takes it off the table at its end.
struct UnderWay {
    order: Order,
    listed: Option<Arc<SourceRequest>>,
}

impl UnderWay {
    fn begin(order: &Order) -> Result<Self, Cause> {
        let max = order.edition.site.limits.flights_max;
        if order.composer.flights.count.fetch_add(1, Ordering::Relaxed) >= max {
            order.composer.flights.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Cause::Busy);
        }
        Ok(Self {
            order: order.clone(),
            listed: None,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let flights = &self.order.composer.flights;
        if let Some(request) = self.listed.take() {
            flights.shared.lock().remove(&request);
        }
        flights.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the flight of this request, launching it if there is none.
pub(super) async fn obtain(order: &Order, id: FragmentId, request: &Arc<SourceRequest>) -> Landing {
    let fragment = order.edition.site.fragment(id);
    let may_share = fragment.freshness.ttl.is_none_or(|ttl| !ttl.is_zero());
    if !may_share {
        return alone(order, id, request).await;
    }
    let (mut landing, leads) = join_or_launch(order, id, request)?;
    let landed = landing
        .wait_for(Option::is_some)
        .await
        .map_err(|_| Cause::Stopping)?
        .clone();
    match landed.expect("a flight that is waited for has landed") {
        Ok(Landed::Entry { shared: false, .. }) if !leads => alone(order, id, request).await,
        landing => landing,
    }
}

fn join_or_launch(
    order: &Order,
    id: FragmentId,
    request: &Arc<SourceRequest>,
) -> Result<(watch::Receiver<Option<Landing>>, bool), Cause> {
    let mut shared = order.composer.flights.shared.lock();
    if let Some(flight) = shared.get(request) {
        return Ok((flight.clone(), false));
    }
    let mut under_way = UnderWay::begin(order)?;
    let (sender, receiver) = watch::channel(None);
    shared.insert(Arc::clone(request), receiver.clone());
    drop(shared);
    under_way.listed = Some(Arc::clone(request));
    let work = fly(order.clone(), id, Arc::clone(request));
    order.composer.tasks.spawn(async move {
        let landing = AssertUnwindSafe(work)
            .catch_unwind()
            .await
            .unwrap_or(Err(Cause::Panic));
        // off the table before it is told, so that nobody joins a flight that has landed
        drop(under_way);
        sender.send_replace(Some(landing));
    });
    Ok((receiver, true))
}

/// A flight for one page only. It runs within the page's own task, and becomes a task of its own
/// when the page goes on without it: its connection is worth keeping, and so may be its answer.
async fn alone(order: &Order, id: FragmentId, request: &Arc<SourceRequest>) -> Landing {
    let under_way = UnderWay::begin(order)?;
    let work = fly(order.clone(), id, Arc::clone(request));
    let work = async move {
        let landing = AssertUnwindSafe(work)
            .catch_unwind()
            .await
            .unwrap_or(Err(Cause::Panic));
        drop(under_way);
        landing
    };
    Adoptable {
        work: Some(work.boxed()),
        tasks: order.composer.tasks.clone(),
    }
    .await
}

/// Work that goes on as a task of its own when it is dropped before its end.
struct Adoptable {
    work: Option<BoxFuture<'static, Landing>>,
    tasks: TaskTracker,
}

impl Future for Adoptable {
    type Output = Landing;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Landing> {
        let work = self
            .work
            .as_mut()
            .expect("a future is not polled after its end");
        let landing = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(landing)
    }
}

impl Drop for Adoptable {
    fn drop(&mut self) {
        // outside a runtime nothing can go on
        if let Some(work) = self.work.take()
            && Handle::try_current().is_ok()
        {
            self.tasks.spawn(work);
        }
    }
}

async fn fly(order: Order, id: FragmentId, request: Arc<SourceRequest>) -> Landing {
    let site = &order.edition.site;
    let fragment = site.fragment(id);
    let Source::Http { origin, .. } = fragment.source else {
        unreachable!("content that was declared in place is never fetched")
    };
    let content = match ask(&order, fragment, origin, &request).await? {
        Answer::Content(content) => content,
        Answer::Redirect(status, location) => return Ok(Landed::Redirect(status, location)),
        Answer::Refused(status) => return Ok(refused(&order, &request, status)),
        Answer::Absent => return Ok(absent(&order, fragment, request, true)),
    };
    let says = cache_control(&content.headers);
    let shared = !says.private && !content.headers.contains_key(SET_COOKIE);
    let lifetime = Lifetime::new(&fragment.freshness, &says);
    let head = head(fragment, &content.headers);
    let Some(html) = html(&order, fragment, &request, content)? else {
        return match fragment.priority {
            Priority::Core => Ok(refused(&order, &request, StatusCode::NOT_FOUND)),
            Priority::Essential => Err(Cause::Empty),
            Priority::Optional(_) => Ok(absent(&order, fragment, request, shared)),
        };
    };
    let parts = Parts::split(html);
    if parts.is_empty() {
        return Err(Cause::Empty);
    }
    let stored_at = order.composer.clock.now();
    let entry = Arc::new(Entry {
        parts,
        absent: false,
        head,
        stored_at,
        lifetime,
    });
    if shared && lifetime.is_worth_storing() {
        order.composer.cache.store(request, Arc::clone(&entry));
    }
    Ok(Landed::Entry { entry, shared })
}

/// What was withdrawn must not come back as a stale copy.
fn refused(order: &Order, request: &SourceRequest, status: StatusCode) -> Landed {
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        order.composer.cache.remove(request);
    }
    Landed::Refused(status)
}

/// "Nothing to show" is kept as an answer is, so that it is not asked for again at once; but once
/// stale it is worth nothing, and it replaces whatever was shown before.
fn absent(order: &Order, fragment: &Fragment, request: Arc<SourceRequest>, shared: bool) -> Landed {
    let ttl = fragment.freshness.ttl.unwrap_or_default();
    let lifetime = Lifetime {
        ttl,
        grace: Duration::ZERO,
        keep: Duration::ZERO,
    };
    let (parts, head) = (Parts::default(), Head::default());
    let stored_at = order.composer.clock.now();
    let entry = Arc::new(Entry {
        parts,
        absent: true,
        head,
        stored_at,
        lifetime,
    });
    if shared && lifetime.is_worth_storing() {
        order.composer.cache.store(request, Arc::clone(&entry));
    } else if shared {
        order.composer.cache.remove(&request);
    }
    Landed::Entry { entry, shared }
}

async fn ask(
    order: &Order,
    fragment: &Fragment,
    origin: OriginId,
    request: &SourceRequest,
) -> Result<Answer, Cause> {
    let json = fragment.template.is_some();
    let without_content = match fragment.priority {
        Priority::Core => WithoutContent::Verdict,
        Priority::Essential => WithoutContent::Failure,
        Priority::Optional(_) => WithoutContent::Absence,
    };
    let expect = Expect {
        limits: &fragment.limits,
        json,
        without_content,
    };
    let ask = Ask {
        target: &request.target,
        headers: &|| request_headers(order, request, json),
    };
    let abandoned_after = order
        .edition
        .site
        .origin(origin)
        .timeout
        .max(fragment.timeout);
    timeout(
        abandoned_after,
        order.edition.fetcher.fetch(origin, &ask, &expect),
    )
    .await
    .unwrap_or(Err(Cause::Timeout))
}

/// The headers of one attempt: a span of its own in the page's trace, and what the fragment may
/// pass on.
fn request_headers(order: &Order, request: &SourceRequest, json: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4 + request.headers.len());
    let (name, value) = crate::fetch::http::accept(json);
    headers.insert(name, value);
    let traceparent = HeaderValue::try_from(order.trace.traceparent(fastrand::u64(..)));
    headers.insert(
        TRACEPARENT,
        traceparent.expect("a traceparent is hexadecimal digits"),
    );
    if let Some(state) = order
        .trace
        .state
        .as_deref()
        .and_then(|s| HeaderValue::from_str(s).ok())
    {
        headers.insert(TRACESTATE, state);
    }
    for (name, value) in &request.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

fn cache_control(headers: &HeaderMap) -> CacheControl {
    CacheControl::parse(
        headers
            .get_all(CACHE_CONTROL)
            .iter()
            .filter_map(|v| v.to_str().ok()),
    )
}

fn head(fragment: &Fragment, headers: &HeaderMap) -> Head {
    if !fragment.priority.is_core() {
        return Head::default();
    }
    let says_of_page: &[HeaderName] = if fragment.template.is_some() {
        &JSON_CORE_HEADERS
    } else {
        &CORE_HEADERS
    };
    let passed = says_of_page.iter().flat_map(|name| {
        headers
            .get_all(name)
            .iter()
            .map(|value| (name.clone(), value.clone()))
    });
    Head {
        headers: passed.collect(),
    }
}

/// The answer as HTML; `None` if the template says that there is nothing to show.
fn html(
    order: &Order,
    fragment: &Fragment,
    request: &SourceRequest,
    content: Content,
) -> Result<Option<Bytes>, Cause> {
    let Some(template) = &fragment.template else {
        return Ok(Some(content.body));
    };
    let site = &order.edition.site;
    let output_max = site.limits.template_output_max;
    let params = &request.params;
    match render::html(
        &site.templates,
        template,
        &content.body,
        params,
        &fragment.name,
        output_max,
    ) {
        Ok(html) => Ok(Some(html)),
        Err(RenderError::NotFound) => Ok(None),
        Err(RenderError::Json(message)) => Err(Cause::Unreadable(message)),
        Err(error @ RenderError::Template { .. }) => Err(Cause::Template(error.to_string())),
        Err(RenderError::TooLarge(max)) => Err(Cause::TooLarge(max)),
    }
}
