//! The work of one flight: fetch → check → render → store. Owns what an answer becomes; who waits
//! for it is the [flight](super)'s affair.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{CACHE_CONTROL, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem;
use tokio::time::sleep;

use crate::cache::beyond::{DISK_TIME, Turn};
use crate::cache::freshness::{delta_seconds, initial_age, parse_date};
use crate::cache::surrogate::Surrogate;
use crate::cache::{Entry, State, Validators, entry};
use crate::clock::{Instant, Moment};
use crate::compose::weave::TTL;
use crate::compose::{Composer, Order};
use crate::degradation::Job;
use crate::fetch::origin::Whom;
use crate::fetch::{self, Answer, Ask, Content, Expect, Fetched, Terms, WithoutContent};
use crate::fragment::{Fragment, FragmentId, OriginId, Priority, Source, SourceRequest, Tags};
use crate::layout::parts::Parts;
use crate::render::{self, RenderError};
use crate::report::Cause;

use super::list::{self, Assembled};
use super::said::{Said, VERDICT_HEADERS, head, picked};
use super::{Came, Landed, Landing, NoPage};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Brings what is asked for; a list is to be handed over at `by`.
pub(super) async fn fly(
    order: Arc<Order>,
    id: FragmentId,
    request: Arc<SourceRequest>,
    by: Instant,
) -> Landing {
    let fragment = order.edition.site.fragment(id);
    let Source::Http { origin, .. } = fragment.source else {
        unreachable!("content that was declared in place is never fetched")
    };
    let mut turn = None;
    if takes_turns(&order, fragment) {
        match take_turn(&order, fragment, &request).boxed().await {
            Ok(taken) => turn = taken,
            Err(newer) => {
                return Ok(Landed::Entry {
                    entry: newer,
                    shared: true,
                    came: Came::Brought,
                });
            }
        }
    }
    let landing = fetch(&order, id, origin, &request, by).await;
    drop(turn);
    landing
}

/// Longest time for which one node renews a copy for all.
const LEASE_MAX: Duration = Duration::from_secs(2);

/// Between two looks at what another node is renewing, at random between these milliseconds; later
/// a tenth of what was waited already, for each look brings the whole copy.
const LOOK_PAUSE: Range<u64> = 5..15;

/// This node's turn to ask; it is over when this is dropped, after what was stored meanwhile.
struct Ours<'o> {
    composer: &'o Composer,
    request: &'o SourceRequest,
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        self.composer.cache.turn_over(self.request);
    }
}

/// Whether nodes share what is fetched, so that one of them is to ask for all.
fn takes_turns(order: &Order, fragment: &Fragment) -> bool {
    let is_shared = order.composer.cache.shared().is_some() && fragment.reach.shared;
    // what is drawn for a fault is nobody else's
    is_shared && order.drawn.is_none() && super::may_share(fragment)
}

/// Waits for this node's turn to ask the origin. `Err` is what another
/// node has brought instead. Nobody is waited for beyond half of the time that a page has for this:
/// the rest is for asking after all.
async fn take_turn<'o>(
    order: &'o Order,
    fragment: &Fragment,
    request: &'o Arc<SourceRequest>,
) -> Result<Option<Ours<'o>>, Arc<Entry>> {
    let (composer, reach) = (&order.composer, fragment.reach);
    let began = composer.clock.now();
    let until = began + fragment.timeout / 2;
    let before = composer.cache.peek(request).map(|known| known.stored_at);
    let lease = fragment.timeout.min(LEASE_MAX);
    loop {
        let turn = composer.cache.take_turn(request, reach, lease).await;
        let ours = (turn == Turn::Ours).then_some(Ours { composer, request });
        let now = composer.clock.now();
        let copy = composer.copy(request, fragment, now);
        if let Some(copy) = copy.filter(|copy| copy.state == State::Fresh)
            && before.is_none_or(|before| copy.entry.stored_at > before)
        {
            return Err(copy.entry);
        }
        if turn != Turn::Others || now >= until {
            return Ok(ours);
        }
        let pause = Duration::from_millis(fastrand::u64(LOOK_PAUSE));
        sleep(pause.max((now - began) / 10)).await;
    }
}

async fn fetch(
    order: &Order,
    id: FragmentId,
    origin: OriginId,
    request: &Arc<SourceRequest>,
    by: Instant,
) -> Landing {
    let fragment = order.edition.site.fragment(id);
    // not when this node's turn was waited for: what came meanwhile is older than this answer
    let began = order.composer.clock.now();
    // a list is made of other answers too, of which a 304 says nothing
    let known = match fragment.list {
        Some(_) => None,
        None => renewable(order, request),
    };
    let validators = known.as_deref().map(|known| &known.validators);
    let asked = ask(order, id, origin, request, validators, Purpose::Content).await;
    if !matches!(asked, Err(Cause::Open | Cause::Busy | Cause::Limited)) {
        order.edition.meters.fetched(id.index());
    }
    let Fetched { answer, receipt } = asked?;
    let took = order.composer.clock.now().saturating_duration_since(began);
    let content = match answer {
        Answer::Content(content) => content,
        Answer::NotModified(headers) => {
            let known = known.expect("304 is an answer only to who has a copy");
            let answer = Answered::new(order, fragment, &headers, began);
            order.composer.requests.landed(fragment, request, took);
            return Ok(answer.renew(order, Arc::clone(request), &known, &headers));
        }
        Answer::Redirect(status, location, headers) => {
            return Ok(no_page(NoPage::Redirect(status, location), &headers));
        }
        Answer::Refused(status, headers) => {
            let withdrawn = withdraw(order, fragment, began, Arc::clone(request), status);
            withdrawn.boxed().await;
            return Ok(no_page(NoPage::Refused(status), &headers));
        }
        Answer::Absent(headers) => {
            let answer = Answered::new(order, fragment, &headers, began);
            return Ok(answer.store(order, Arc::clone(request), entry::Content::Absent));
        }
    };
    let landing = land(order, id, request, content, began, by).await;
    match &landing {
        Ok(_) => order.composer.requests.landed(fragment, request, took),
        Err(cause) => receipt.spoiled_by(cause),
    }
    landing
}

/// Makes of an answer what the fragment is.
async fn land(
    order: &Order,
    id: FragmentId,
    request: &Arc<SourceRequest>,
    content: Content,
    began: Instant,
    by: Instant,
) -> Landing {
    let fragment = order.edition.site.fragment(id);
    let Content {
        status,
        headers,
        body,
    } = content;
    let mut answer = Answered::new(order, fragment, &headers, began);
    answer.entry.head.status = status;
    answer.lives_as_told(request);
    let html = match &fragment.list {
        None => {
            let job = Job::Render(&fragment.name);
            // looked at when it is its turn: until then it may have become too late
            let work = || match is_of_no_use(order, fragment, by) {
                true => Err(Cause::Timeout),
                false => html(order, fragment, request, body),
            };
            let (html, took) = order.composer.executor.run(job, work).await;
            order.edition.meters.worked(id.index(), took);
            html?
        }
        Some(list) => {
            let assembled = list::assemble(order, id, list, request, &body, by);
            let assembled = assembled.boxed().await?;
            answer.take_over(order, assembled)
        }
    };
    let Some(html) = html else {
        return match fragment.priority {
            Priority::Core => {
                let status = StatusCode::NOT_FOUND;
                let withdrawn = withdraw(order, fragment, began, Arc::clone(request), status);
                withdrawn.boxed().await;
                Ok(no_page(NoPage::Refused(status), &headers))
            }
            Priority::Essential => Err(Cause::Empty),
            Priority::Optional(_) => {
                Ok(answer.store(order, Arc::clone(request), entry::Content::Absent))
            }
        };
    };
    check_content(fragment, &html)?;
    let parts = match fragment.limits.take_anything() {
        true => Parts {
            main: html,
            named: Vec::new(),
        },
        false => Parts::split(html),
    };
    if parts.is_empty() && !fragment.limits.take_anything() {
        return Err(Cause::Empty);
    }
    Ok(answer.store(order, Arc::clone(request), entry::Content::Html(parts)))
}

/// Whether the page that asked has gone on without it, and no other may have it. What others may have
/// is made of it although it is late: it spares the next page a request, which costs more.
fn is_of_no_use(order: &Order, fragment: &Fragment, by: Instant) -> bool {
    !super::may_share(fragment) && order.composer.clock.now() >= by
}

/// The copy whose validators may spare the origin a whole answer.
fn renewable(order: &Order, request: &SourceRequest) -> Option<Arc<Entry>> {
    let known = order.composer.cache.peek(request)?;
    let shows = matches!(known.content, entry::Content::Html(_));
    (shows && !known.validators.is_empty()).then_some(known)
}

/// What a whole answer holds and an error page that says 200 does not.
pub(in crate::compose) fn check_content(fragment: &Fragment, html: &[u8]) -> Result<(), Cause> {
    let must = &fragment.limits.must_contain;
    let lacking = must
        .iter()
        .find(|text| memmem::find(html, text.as_bytes()).is_none());
    lacking.map_or(Ok(()), |text| Err(Cause::Lacks(text.clone())))
}

/// What an answer says about itself.
struct Answered<'f> {
    fragment: &'f Fragment,
    /// What it will be as a copy, but for its content.
    entry: Entry,
    /// When it was asked for.
    began: Moment,
    /// Whether it may be given to other readers.
    shared: bool,
    /// Of a list: how many of its items could not be had, and of how many.
    missing: (usize, usize),
}

impl<'f> Answered<'f> {
    fn new(order: &Order, fragment: &'f Fragment, headers: &HeaderMap, began: Instant) -> Self {
        let clock = order.composer.clock;
        let now = clock.now();
        let took = now.saturating_duration_since(began);
        let said = Said::of(headers);
        let date = said.date.and_then(parse_date);
        let wall = clock.wall(now);
        let says = said.cache_control;
        let says = says.or_expires(said.expires, date.unwrap_or(wall));
        let says = match fragment.limits.take_anything() {
            true => Surrogate::of(headers).over(says),
            false => says,
        };
        let shared = said.is_shared(&says);
        // where the site declares a ttl it knows better than a framework's habit of saying no-store
        let undeclared = says.no_store && fragment.freshness.ttl.is_none();
        let age = said.age.and_then(delta_seconds);
        let entry = Entry {
            head: head(fragment, headers),
            initial_age: initial_age(date, age, took, wall),
            took,
            says,
            validators: said.validators,
            tags: said.tags,
            chance: fastrand::u8(..),
            ..Entry::new(
                fragment.name.as_str(),
                entry::Content::Absent,
                clock.moment(now),
            )
        };
        Self {
            fragment,
            entry,
            began: clock.moment(began),
            // what may have been spoiled for one page on purpose is for no other
            shared: shared && !undeclared && !order.is_drawn_for(fragment),
            missing: (0, 0),
        }
    }

    /// A document may say how long what it includes is good, unless nobody is to keep it.
    fn lives_as_told(&mut self, request: &SourceRequest) {
        let told = request.params.iter().find(|(name, _)| name == TTL);
        if let Some((_, ttl)) = told
            && self.fragment.limits.take_anything()
            && !self.entry.says.no_store
        {
            self.entry.says.max_age = delta_seconds(ttl);
        }
    }

    /// The answer is a list, and this is what its items have made of it.
    fn take_over(&mut self, order: &Order, assembled: Assembled) -> Option<Bytes> {
        let entry = &mut self.entry;
        entry.took = order
            .composer
            .clock
            .moment(order.composer.clock.now())
            .since(self.began);
        entry.validators = Validators::default();
        entry.tags = Tags::merged([&entry.tags, &assembled.tags]);
        entry.made_of = assembled.made_of;
        entry.says.private |= !assembled.is_shareable;
        // the next page is to ask again, with this at hand
        entry.purged |= assembled.is_stale;
        self.shared &= assembled.is_shareable;
        self.missing = (assembled.missing, assembled.of);
        assembled.html
    }

    /// Keeps the answer as a copy, if it may and will be of use, and hands it over.
    fn store(self, order: &Order, request: Arc<SourceRequest>, content: entry::Content) -> Landed {
        let Self {
            fragment,
            mut entry,
            began,
            shared,
            missing: (missing, of),
        } = self;
        entry.content = content;
        if missing > 0 {
            return Landed::Entry {
                entry: Arc::new(entry),
                shared,
                came: Came::Part { missing, of },
            };
        }
        let is_useful = entry.is_worth_storing(&fragment.freshness);
        // "nothing to show" takes the place of what was shown, however short it lives
        let replaces = entry.content == entry::Content::Absent;
        let came = Came::Fetched;
        if !shared || !(is_useful || replaces) {
            if replaces {
                keep_withdrawn(order, fragment, began, request);
            }
            return Landed::Entry {
                entry: Arc::new(entry),
                shared,
                came,
            };
        }
        let entry = entry.compacted();
        let cache = &order.composer.cache;
        Landed::Entry {
            entry: cache.store(request, entry, &fragment.freshness, fragment.reach, began),
            shared,
            came,
        }
    }

    /// The copy that the origin has found to be right still, as good as new. What the 304 says of
    /// itself counts from now on (RFC 9111, 3.2).
    fn renew(
        mut self,
        order: &Order,
        request: Arc<SourceRequest>,
        known: &Entry,
        headers: &HeaderMap,
    ) -> Landed {
        let says_nothing = !headers.contains_key(CACHE_CONTROL) && !headers.contains_key(EXPIRES);
        if says_nothing {
            self.entry.says = known.says;
        }
        let renewed = &mut self.entry;
        let before = known.validators.clone();
        let validators = &mut renewed.validators;
        validators.etag = validators.etag.take().or(before.etag);
        validators.last_modified = validators.last_modified.take().or(before.last_modified);
        if renewed.tags.is_empty() {
            renewed.tags = known.tags.clone();
        }
        renewed.head = known.head.clone();
        self.store(order, request, known.content.clone())
    }
}

/// What was withdrawn must not come back as a stale copy.
async fn withdraw(
    order: &Order,
    fragment: &Fragment,
    began: Instant,
    request: Arc<SourceRequest>,
    status: StatusCode,
) {
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        let (cache, began) = (&order.composer.cache, order.composer.clock.moment(began));
        // where every page asks anew, nobody has looked yet for what is to be taken back
        if !super::may_share(fragment) && cache.peek(&request).is_none() {
            cache.recall(&request, fragment.reach, DISK_TIME).await;
        }
        keep_withdrawn(order, fragment, began, request);
    }
}

/// In the place of what was shown, and of what a flight may bring that was launched before.
fn keep_withdrawn(order: &Order, fragment: &Fragment, began: Moment, request: Arc<SourceRequest>) {
    let now = order.composer.clock.moment(order.composer.clock.now());
    let withdrawn = Entry::new(fragment.name.as_str(), entry::Content::Withdrawn, now);
    let cache = &order.composer.cache;
    cache.store(
        request,
        withdrawn,
        &fragment.freshness,
        fragment.reach,
        began,
    );
}

/// A verdict is kept for nobody, and shared with those who wait for the same unless it is personal.
fn no_page(why: NoPage, headers: &HeaderMap) -> Landed {
    let said = Said::of(headers);
    let says = &said.cache_control;
    Landed::NoPage {
        why,
        head: picked(&VERDICT_HEADERS, headers),
        shared: said.is_shared(says) && !says.no_store,
    }
}

/// What an origin is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Something to show.
    Content,
    /// To know how it is.
    Probe,
}

/// Asks for what nobody waits for, to find out how the origin is. What it answers is looked at as far as
/// that can be done without rendering it.
pub(in crate::compose) async fn probe(
    order: &Order,
    id: FragmentId,
    request: &SourceRequest,
) -> Result<(), Cause> {
    let fragment = order.edition.site.fragment(id);
    let Source::Http { origin, .. } = fragment.source else {
        return Ok(());
    };
    let asked = ask(order, id, origin, request, None, Purpose::Probe).await;
    let Fetched { answer, receipt } = asked?;
    let Answer::Content(content) = answer else {
        return Ok(());
    };
    let sound = match fragment.takes_json() {
        true => render::check_json(&content.body).map_err(Cause::Unreadable),
        false => check_content(fragment, &content.body),
    };
    if let Err(cause) = &sound {
        receipt.spoiled_by(cause);
    }
    sound
}

async fn ask(
    order: &Order,
    id: FragmentId,
    origin: OriginId,
    request: &SourceRequest,
    known: Option<&Validators>,
    purpose: Purpose,
) -> Result<Fetched, Cause> {
    let fragment = order.edition.site.fragment(id);
    let json = fragment.takes_json();
    let without_content = match fragment.priority {
        Priority::Core => WithoutContent::Verdict,
        // a document says itself what is to become of an include that fails
        Priority::Essential | Priority::Optional(_) if fragment.limits.take_anything() => {
            WithoutContent::Blank
        }
        Priority::Essential => WithoutContent::Failure,
        Priority::Optional(_) => WithoutContent::Absence,
    };
    let expect = Expect {
        limits: &fragment.limits,
        json,
        without_content,
        conditional: known.is_some(),
    };
    let ask = Ask {
        target: &request.target,
        headers: &|span_id| request_headers(order, request, json, known, span_id),
        trail: &order.trail,
        whom: Whom {
            fragment: Some(&fragment.name),
            faults: order.drawn.as_ref().map_or(&[], |drawn| &drawn.faults),
            // each attempt says so itself
            attempt: None,
        },
    };
    let has_copy = || {
        let now = order.composer.clock.now();
        order.composer.copy(request, fragment, now).is_some()
    };
    let terms = Terms {
        fragment: id,
        priority: fragment.priority,
        // of others it makes no difference
        has_instead: !fragment.priority.is_core() || !fragment.fallback.is_empty() || has_copy(),
        timeout: fragment.timeout,
        end_after: match purpose {
            Purpose::Content => order.edition.site.origin(origin).timeout,
            // a late answer is of no use to anybody
            Purpose::Probe => fragment.timeout,
        },
        hedge: fragment.hedge,
        // a page that gives blocks up does not spend more on those that are left
        is_frugal: order.is_frugal && !fragment.is_required(),
        is_probe: purpose == Purpose::Probe,
    };
    let fetcher = &order.edition.fetcher;
    fetcher.fetch(origin, &ask, &expect, terms).await
}

/// The headers of one attempt: a span of its own in the page's trace, and what the fragment may
/// pass on.
fn request_headers(
    order: &Order,
    request: &SourceRequest,
    json: bool,
    known: Option<&Validators>,
    span_id: u64,
) -> HeaderMap {
    // with those that every request has when it goes out: a map of six takes half the room of a larger one
    let own = usize::from(known.is_some()) * 2 + usize::from(order.trace.state.is_some());
    let mut headers = HeaderMap::with_capacity(6 + own + request.headers.len());
    if let Some(etag) = known.and_then(|known| known.etag.clone()) {
        headers.insert(IF_NONE_MATCH, etag);
    }
    if let Some(date) = known.and_then(|known| known.last_modified.clone()) {
        headers.insert(IF_MODIFIED_SINCE, date);
    }
    let (name, value) = fetch::http::accept(json);
    headers.insert(name, value);
    let traceparent = HeaderValue::try_from(order.trace.traceparent(span_id));
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

/// The answer as HTML; `None` if the template says that there is nothing to show.
pub(in crate::compose) fn html(
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
    rendered(render::html(
        &site.templates,
        template,
        &body,
        params,
        &fragment.name,
        output_max,
    ))
}

/// What a template has made; `None` if it says that there is nothing to show.
pub(super) fn rendered(html: Result<Bytes, RenderError>) -> Result<Option<Bytes>, Cause> {
    match html {
        Ok(html) => Ok(Some(html)),
        Err(RenderError::NotFound) => Ok(None),
        Err(RenderError::Json(message)) => Err(Cause::Unreadable(message)),
        Err(error @ RenderError::Template { .. }) => Err(Cause::Template(error.to_string())),
        Err(RenderError::TooLarge(max)) => Err(Cause::TooLarge(max)),
    }
}
