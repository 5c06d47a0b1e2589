//! The work of one flight: fetch → check → render → store. Owns what an answer becomes; who waits
//! for it is the [flight](super)'s affair.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, LINK, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::timeout;

use crate::cache::freshness::CacheControl;
use crate::cache::{Entry, Head, entry};
use crate::clock::Instant;
use crate::compose::Order;
use crate::fetch::{self, Answer, Ask, Content, Expect, WithoutContent};
use crate::fragment::{Fragment, FragmentId, OriginId, Priority, Source, SourceRequest};
use crate::layout::parts::Parts;
use crate::render::{self, RenderError};
use crate::report::Cause;

use super::{Landed, Landing, NoPage};

/// Response headers of a core fragment that become the page's. An answer with `Set-Cookie` is
/// personal, so a cookie never comes from a copy.
static CORE_HEADERS: [HeaderName; 4] = [
    CONTENT_LANGUAGE,
    LINK,
    HeaderName::from_static("x-robots-tag"),
    SET_COOKIE,
];

/// The same where there is no page: a redirect may set the cookie that ends it, and a refusal says
/// what would be accepted.
static VERDICT_HEADERS: [HeaderName; 2] = [SET_COOKIE, WWW_AUTHENTICATE];

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
        Answer::Redirect(status, location, headers) => {
            return Ok(no_page(NoPage::Redirect(status, location), &headers));
        }
        Answer::Refused(status, headers) => {
            withdraw(&order, began, request, status);
            return Ok(no_page(NoPage::Refused(status), &headers));
        }
        Answer::Absent(headers) => {
            let answer = Answered::new(fragment, &headers);
            return Ok(answer.store(&order, began, request, entry::Content::Absent));
        }
    };
    let Content { headers, body } = content;
    let answer = Answered::new(fragment, &headers);
    let Some(html) = html(&order, fragment, &request, body)? else {
        return match fragment.priority {
            Priority::Core => {
                withdraw(&order, began, request, StatusCode::NOT_FOUND);
                Ok(no_page(NoPage::Refused(StatusCode::NOT_FOUND), &headers))
            }
            Priority::Essential => Err(Cause::Empty),
            Priority::Optional(_) => {
                Ok(answer.store(&order, began, request, entry::Content::Absent))
            }
        };
    };
    let parts = Parts::split(html);
    if parts.is_empty() {
        return Err(Cause::Empty);
    }
    Ok(answer.store(&order, began, request, entry::Content::Html(parts)))
}

/// What an answer says about itself.
struct Answered<'f> {
    fragment: &'f Fragment,
    says: CacheControl,
    head: Head,
    /// Whether it may be given to other readers.
    shared: bool,
}

impl<'f> Answered<'f> {
    fn new(fragment: &'f Fragment, headers: &HeaderMap) -> Self {
        let says = cache_control(headers);
        let shared = is_shared(headers, &says);
        // where the site declares a ttl it knows better than a framework's habit of saying no-store
        let undeclared = says.no_store && fragment.freshness.ttl.is_none();
        Self {
            fragment,
            says,
            head: head(fragment, headers),
            shared: shared && !undeclared,
        }
    }

    /// Keeps the answer as a copy, if it may and will be of use, and hands it over.
    fn store(
        self,
        order: &Order,
        began: Instant,
        request: Arc<SourceRequest>,
        content: entry::Content,
    ) -> Landed {
        let Self {
            fragment,
            says,
            head,
            shared,
        } = self;
        let stored_at = order.composer.clock.now();
        let entry = Entry {
            content,
            head,
            stored_at,
            says,
        };
        let is_useful = entry.lifetime(&fragment.freshness).is_worth_storing();
        // "nothing to show" takes the place of what was shown, however short it lives
        let replaces = entry.content == entry::Content::Absent;
        if !shared || !(is_useful || replaces) {
            if replaces {
                keep_withdrawn(order, began, request);
            }
            return Landed::Entry {
                entry: Arc::new(entry),
                shared,
            };
        }
        let entry = Arc::new(entry.compacted());
        order
            .composer
            .cache
            .store(request, Arc::clone(&entry), began);
        Landed::Entry { entry, shared }
    }
}

fn is_shared(headers: &HeaderMap, says: &CacheControl) -> bool {
    !says.private && !headers.contains_key(SET_COOKIE)
}

/// What was withdrawn must not come back as a stale copy.
fn withdraw(order: &Order, began: Instant, request: Arc<SourceRequest>, status: StatusCode) {
    if !matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return;
    }
    keep_withdrawn(order, began, request);
}

/// In the place of what was shown, and of what a flight may bring that was launched before.
fn keep_withdrawn(order: &Order, began: Instant, request: Arc<SourceRequest>) {
    let withdrawn = Entry {
        content: entry::Content::Withdrawn,
        head: Head::default(),
        stored_at: order.composer.clock.now(),
        says: CacheControl::default(),
    };
    order
        .composer
        .cache
        .store(request, Arc::new(withdrawn), began);
}

/// A verdict is kept for nobody, and shared with those who wait for the same unless it is personal.
fn no_page(why: NoPage, headers: &HeaderMap) -> Landed {
    let says = cache_control(headers);
    Landed::NoPage {
        why,
        head: picked(&VERDICT_HEADERS, headers),
        shared: is_shared(headers, &says) && !says.no_store,
    }
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
    picked(says_of_page, headers)
}

fn picked(names: &[HeaderName], headers: &HeaderMap) -> Head {
    let lines = |name: &HeaderName| {
        let name = name.clone();
        headers
            .get_all(&name)
            .iter()
            .map(move |value| (name.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    Head {
        headers: names.iter().flat_map(lines).collect(),
    }
}

/// The answer as HTML; `None` if the template says that there is nothing to show.
fn html(
    order: &Order,
    fragment: &Fragment,
    request: &SourceRequest,
    body: Bytes,
) -> Result<Option<Bytes>, Cause> {
    let Some(template) = &fragment.template else {
        return Ok(Some(body));
    };
    let site = &order.edition.site;
    let output_max = site.limits.template_output_max;
    let params = &request.params;
    match render::html(
        &site.templates,
        template,
        &body,
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
