//! The work of one flight: fetch → check → render → store. Owns what an answer becomes; who waits
//! for it is the [flight](super)'s affair.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, LINK, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::timeout;

use crate::cache::freshness::{CacheControl, Lifetime};
use crate::cache::{Entry, Head};
use crate::clock::Instant;
use crate::compose::Order;
use crate::fetch::{self, Answer, Ask, Content, Expect, WithoutContent};
use crate::fragment::{Fragment, FragmentId, OriginId, Priority, Source, SourceRequest};
use crate::layout::parts::Parts;
use crate::render::{self, RenderError};
use crate::report::Cause;

use super::{Landed, Landing};

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

pub(super) async fn fly(order: Order, id: FragmentId, request: Arc<SourceRequest>) -> Landing {
    let began = order.composer.clock.now();
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
        keep(&order, began, request, &entry);
    }
    Ok(Landed::Entry { entry, shared })
}

/// Stores a copy, unless one was stored while this flight was under way: a flight that hung must
/// not put its old answer over a newer one.
fn keep(order: &Order, began: Instant, request: Arc<SourceRequest>, entry: &Arc<Entry>) {
    let cache = &order.composer.cache;
    let newer = cache.lookup(&request, entry.stored_at);
    if newer.is_none_or(|copy| copy.entry.stored_at <= began) {
        cache.store(request, Arc::clone(entry));
    }
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
    let (name, value) = fetch::http::accept(json);
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
