//! The page handler: one request, one edition, one level, one plan, one page. Owns the journey and
//! the response head; every decision on the way is made elsewhere.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt as _;
use http::header::{AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, USER_AGENT, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::clock::{Clock, Instant};
use crate::compose::{
    self, BodyCoding, Composed, Edition, PageBody, PageHead, Unbegun, Verdict, Wanted, made,
};
use crate::degradation::{Admission, Level, Mode, Reader, Turn};
use crate::fetch::origin::Drawn;
use crate::fragment::facts::Facts;
use crate::fragment::trace;
use crate::plan::{self, Plan, request};
use crate::report::Afforded;
use crate::site::{ForCrawlers, PageId, Site};

use super::accept::Who;
use super::answered::Asked as Answered;
use super::chaos::{self, Signed};
use super::conditional::{self, Known, entity_tag};
use super::debug::Debugging;
use super::in_flight::{PagePlace, Shed};
use super::keeping::Keeping;
use super::reader::{Reading, who_reads};
use super::{ServerState, coding, error_page, late};

const LEVEL: HeaderName = HeaderName::from_static("marbre-level");
/// The trace of the page: what operators find it by.
const TRACE: HeaderName = HeaderName::from_static("marbre-trace");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
pub(super) const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// How long a page that cannot be composed waits for its snapshot where that is not in memory.
const SNAPSHOT_TIME: Duration = Duration::from_millis(50);

pub(super) async fn answer(
    state: &ServerState,
    who: &Who,
    edition: Arc<Edition>,
    id: PageId,
    params: Vec<(String, String)>,
    head: &Parts,
    answered: Option<&Arc<Answered>>,
) -> Response {
    let clock = state.composer.clock();
    let debugging = Debugging::of(&edition.site, &head.headers, clock.moment(clock.now()));
    debugging.tell(state);
    if let (Debugging::Shown { .. }, Some(answered)) = (&debugging, answered) {
        answered.show();
    }
    let is_shown = matches!(debugging, Debugging::Shown { .. });
    let signed = Signed::of(&edition.site, &head.headers, clock.moment(clock.now()));
    signed.tell(state);
    let asked = (head, is_shown, signed.is_good());
    let mut answer = page(state, who, edition, id, params, asked, answered).await;
    signed.put_into(answer.headers_mut());
    if is_shown {
        // what is written behind the page would be outside its coding
        answer.extensions_mut().remove::<BodyCoding>();
    }
    debugging.put_into(answer, answered, &head.method).await
}

async fn page(
    state: &ServerState,
    who: &Who,
    edition: Arc<Edition>,
    id: PageId,
    params: Vec<(String, String)>,
    (head, is_shown, is_signed): (&Parts, bool, bool),
    answered: Option<&Arc<Answered>>,
) -> Response {
    let site = &edition.site;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut refused = error_page::plain(site, status, "a page can be read with GET or HEAD");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    edition.meters.arrived(id.index());
    let reading = reading(site, who, head, state.composer.clock());
    let page = Asked {
        state,
        edition: &edition,
        mode: state.mode.load_full(),
        drawn: drawn(state, site, id, (head, is_signed), reading.reader),
        reading,
        id,
        head,
        arrived: state.composer.clock().now(),
        answered,
        is_shown,
    };
    let answered = page.answer(params).await;
    match answered {
        Some(composed) => page.respond(composed),
        None => error_page::unavailable(site),
    }
}

/// What can be afforded at present.
pub(super) fn afforded(mode: &Mode) -> Afforded {
    Afforded {
        theta: mode.decision.theta,
        admission: mode.decision.admit,
        phi: mode.phi,
    }
}

/// Who reads, as far as it is known.
fn reading(site: &Site, who: &Who, head: &Parts, clock: Clock) -> Reading {
    let client = who.client(&head.headers).address;
    let now = clock.moment(clock.now());
    who_reads(&site.degradation, &head.headers, client, now)
}

/// The faults that this page has and others have not.
fn drawn(
    state: &ServerState,
    site: &Site,
    id: PageId,
    (head, is_signed): (&Parts, bool),
    reader: Reader,
) -> Option<Arc<Drawn>> {
    let page = (site.page(id), head.uri.path());
    state.chaos.draw(site, page, reader, is_signed)
}

/// A page that is asked for.
struct Asked<'a> {
    state: &'a ServerState,
    edition: &'a Arc<Edition>,
    mode: Arc<Mode>,
    reading: Reading,
    drawn: Option<Arc<Drawn>>,
    id: PageId,
    head: &'a Parts,
    arrived: Instant,
    answered: Option<&'a Arc<Answered>>,
    /// Whether it tells how it was made.
    is_shown: bool,
}

impl Asked<'_> {
    /// The page: composed, or its snapshot, or at least its text. `None` where not even that can be
    /// begun.
    async fn answer(&self, params: Vec<(String, String)>) -> Option<Composed> {
        let mut unbegun = Waiting::to_begin(self);
        let executor = self.state.composer.executor();
        let wait_max = self.edition.site.degradation.wait_max;
        let place = self.state.pages.enter();
        let why = match (self.admission(), place) {
            (Admission::Compose(level), Some(place)) => {
                let turn = match self.mode.gives_up_pages() {
                    true => executor.begin(wait_max).await.ok(),
                    false => Some(executor.go_on().await),
                };
                if let Some(turn) = turn {
                    unbegun.begins();
                    return Some(self.compose(params, level, turn, place).await);
                }
                Shed::Late
            }
            (Admission::Snapshot, _) => Shed::Admission,
            (Admission::Compose(_), None) => Shed::Full,
        };
        self.state.pages.sheds(why);
        let facts = self.facts(params.clone());
        let now = self.state.composer.clock().now();
        let (composer, wanted) = (&self.state.composer, self.wanted());
        let times = (now, now + SNAPSHOT_TIME);
        let found = compose::snapshot_instead(
            composer,
            self.edition,
            self.id,
            wanted,
            &facts,
            self.arrived,
            times,
        );
        let found = found.boxed().await;
        if found.is_some() {
            unbegun.begins();
            return found;
        }
        // nobody has been refused so far, and the article is worth more than the rest of the page
        let Some(place) = self.state.pages.enter_as_text() else {
            self.state.pages.sheds(Shed::Refused);
            unbegun.ends(Unbegun::TurnedAway);
            return None;
        };
        let turn = executor.go_on().await;
        unbegun.begins();
        let text_only = self.edition.site.ladder.text_only();
        Some(self.compose(params, text_only, turn, place).boxed().await)
    }

    fn admission(&self) -> Admission {
        let text_only = self.edition.site.ladder.text_only();
        self.reading.admission(&self.mode, text_only)
    }

    fn facts(&self, params: Vec<(String, String)>) -> Facts {
        let (site, head) = (&self.edition.site, self.head);
        request::facts(site, &head.uri, &head.headers, params, fastrand::u128(..))
    }

    async fn compose(
        &self,
        params: Vec<(String, String)>,
        level: Level,
        turn: Turn,
        place: PagePlace,
    ) -> Composed {
        let facts = self.facts(params);
        let now = self.state.composer.clock().now();
        let mut wanted = self.wanted();
        // how it comes out does not depend on who reads it, as long as nothing is given up
        if level == Level::FULL && self.reading.rehearsal.is_none() && self.drawn.is_none() {
            let asked = made::Question {
                edition: self.edition,
                page: self.id,
                overrides: &self.mode.overrides,
                facts: &facts,
            };
            match self.state.composer.made(&asked, now) {
                made::Known::Made(made) => {
                    let (composer, times) = (&self.state.composer, (self.arrived, now));
                    let (edition, turn) = (self.edition, (turn, place));
                    return made::again(composer, edition, made, wanted, facts, times, turn).await;
                }
                made::Known::Not(note) => wanted.note = Some(note),
            }
        }
        let plan = Plan {
            reader: self.reading.reader,
            is_rehearsal: self.reading.rehearsal.is_some(),
            is_frugal: level > Level::FULL || self.mode.is_frugal(),
            ..plan::plan(
                &self.edition.site,
                self.id,
                &facts,
                level,
                &self.mode.overrides,
                now,
            )
        }
        .of_request_at(self.arrived, &self.edition.site);
        let (composer, edition) = (&self.state.composer, Arc::clone(self.edition));
        compose::compose(composer, edition, plan, wanted, facts, (turn, place)).await
    }

    /// What takes the page's place if something of it is given up and a crawler asks: not where that is
    /// asked for.
    fn for_crawler(&self) -> Option<ForCrawlers> {
        let agent = self.head.headers.get(USER_AGENT)?;
        let policy = self.edition.site.crawlers.policy_for(agent.as_bytes());
        policy.filter(|_| self.reading.rehearsal.is_none())
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            path: self.head.uri.path(),
            afforded: afforded(&self.mode),
            witness: self.answered.map(|answered| Arc::clone(answered) as _),
            takes_late_slots: late::shows_late_slots(&self.head.headers),
            for_crawler: self.for_crawler(),
            drawn: self.drawn.clone(),
            note: None,
        }
    }
}

/// A page that waits to be begun. Were it only forgotten when its reader leaves, nobody would know of
/// those who wait longest.
struct Waiting<'a> {
    /// Until it is begun, or is accounted for.
    page: Option<&'a Asked<'a>>,
}

impl<'a> Waiting<'a> {
    fn to_begin(page: &'a Asked<'a>) -> Self {
        Self { page: Some(page) }
    }

    /// It has an account of its own from now on.
    fn begins(&mut self) {
        self.page = None;
    }

    fn ends(&mut self, ending: Unbegun) {
        let Some(page) = self.page.take() else {
            return;
        };
        let site = &page.edition.site;
        let plan = Plan {
            is_rehearsal: page.reading.rehearsal.is_some(),
            ..plan::nothing(site, page.id, site.ladder.text_only(), page.arrived)
        };
        let (wanted, facts) = (page.wanted(), page.facts(Vec::new()));
        let composer = &page.state.composer;
        compose::account_for(composer, page.edition, (&plan, wanted, facts), ending);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.ends(Unbegun::Left);
    }
}

/// What the page says of its level: the level, and, where something is given up, the share of the
/// optional work and of the origins' requests that can be afforded, and what this reader does not get,
/// or that it is a snapshot. An item with parameters (RFC 9651, 3.3).
pub(super) fn level_header(mode: &Mode, site: &Site, level: Level, off: &[String]) -> HeaderValue {
    if level == Level::FULL && off.is_empty() && !mode.is_frugal() {
        return HeaderValue::from_static("0");
    }
    let mut text = format!("{level};theta={:.3}", mode.decision.theta);
    if mode.phi < 1.0 {
        text += &format!(";phi={:.3}", mode.phi);
    }
    if level == site.ladder.snapshot() {
        text += ";snapshot";
    } else if !off.is_empty() {
        text += &format!(";off=\"{}\"", off.join(" "));
    }
    // names are letters, digits and dashes
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from(u16::from(level.get())))
}

impl Asked<'_> {
    fn respond(&self, composed: Composed) -> Response {
        let Composed { mut head, body } = composed;
        let site = &self.edition.site;
        let mut response = match &head.verdict {
            Verdict::Page => {
                let keeping = self.keeping(&head);
                if keeping.is_shared() {
                    // a lifetime counts from now, and not from when a snapshot was taken
                    head.headers.retain(|(name, _)| *name != AGE);
                }
                self.page(&head, body, keeping)
            }
            Verdict::Redirect(status, location) => {
                let mut redirect = error_page::plain(site, *status, "this page has moved");
                redirect.headers_mut().insert(LOCATION, location.clone());
                redirect
            }
            Verdict::Refused(status @ (StatusCode::NOT_FOUND | StatusCode::GONE)) => {
                error_page::not_found(site, *status)
            }
            Verdict::Refused(status) => {
                error_page::plain(site, *status, "this page is not available to you")
            }
            Verdict::Unavailable => error_page::unavailable(site),
        };
        let level = level_header(&self.mode, site, head.level, &head.off);
        add_headers(response.headers_mut(), head, level);
        if let Some(drawn) = &self.drawn {
            chaos::mark(response.headers_mut(), drawn);
        }
        response
    }

    fn keeping(&self, head: &PageHead) -> Keeping {
        match (self.reading.rehearsal, &self.drawn) {
            (Some(_), _) | (None, Some(_)) => Keeping::Nobody,
            (None, None) => Keeping::of(&self.edition.site.page(self.id).cache, head),
        }
    }

    /// The page, or word that its reader has it already.
    fn page(&self, head: &PageHead, mut body: PageBody, keeping: Keeping) -> Response {
        let site = &self.edition.site;
        let may_be_kept = keeping.is_kept() && !self.is_shown;
        // made for those only who may come back with it
        let digest = may_be_kept.then(|| body.digest()).flatten();
        let tag = digest.map(entity_tag);
        if self.head.method == Method::HEAD {
            body.leave_unread();
        }
        let known = match may_be_kept {
            true => conditional::known(&self.head.headers, tag.as_ref()),
            false => Known::No,
        };
        let (mut response, tag) = match known {
            Known::No => {
                let mut page = coding::page(body, &self.head.headers);
                page.headers_mut().insert(CONTENT_TYPE, HTML);
                (page, tag)
            }
            Known::As(tag) => (unchanged(body), Some(tag)),
            Known::Any => (unchanged(body), None),
        };
        let is_known = response.status() == StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        headers.extend(tag.map(|tag| (ETAG, tag)));
        headers.insert(CACHE_CONTROL, keeping.cache_control());
        if self.head.headers.contains_key(SURROGATE_CAPABILITY) {
            headers.insert(SURROGATE_CONTROL, keeping.surrogate_control());
        }
        if let Some(vary) = &site.page(self.id).vary {
            headers.append(VARY, vary.clone());
        }
        if site.page(self.id).deferral.is_some() {
            headers.append(VARY, late::VARIES);
        }
        if is_known {
            // that the page itself may be coded is said where that is done
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        self.reading.mark(headers, &site.degradation, head.level);
        response
    }
}

/// Word that its reader has the page with this body.
fn unchanged(mut body: PageBody) -> Response {
    body.leave_unread();
    let mut unchanged = Response::new(Body::empty());
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    unchanged
}

fn add_headers(headers: &mut HeaderMap, head: PageHead, level: HeaderValue) {
    for (name, value) in head.headers {
        headers.append(name, value);
    }
    tell(headers, level, head.trace_id, head.server_timing);
}

/// What a page says of how it was made.
pub(super) fn tell(headers: &mut HeaderMap, level: HeaderValue, trace_id: u128, timing: String) {
    headers.insert(LEVEL, level);
    let trace = HeaderValue::try_from(trace::told(trace_id));
    headers.insert(TRACE, trace.expect("a trace is hexadecimal digits"));
    if let Ok(timing) = HeaderValue::try_from(timing) {
        headers.insert(SERVER_TIMING, timing);
    }
}
