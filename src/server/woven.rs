//! Documents of a `[[proxy]]` that are in a markup language. Owns what differs from an answer that is
//! passed through: what the origin is asked with, which answers are woven, which of their headers
//! still hold, and the copy that is used when the origin has no answer.
//!
//! Invariants: nobody is told a length, a validator or a range of a document as if it were that of the
//! woven page; what was woven is kept by nobody but its reader; what is not woven passes through.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, EXPIRES, HOST, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, PRAGMA, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::cache::State;
use crate::cache::surrogate::Surrogate;
use crate::compose::weave::document::{Kept, Wanted};
use crate::compose::weave::{self, Base, Document, Had, NoHead, Text};
use crate::compose::{Composer, Edition};
use crate::degradation::{Admission, Level, Mode};
use crate::fetch::hop;
use crate::fetch::origin::{BodyStream, OriginRequest};
use crate::fragment::FragmentId;
use crate::layout::esi::Esi;
use crate::layout::markup::{Asked, HeadChange, Limits, Machine};
use crate::layout::ssi::Ssi;
use crate::layout::tailor::Tailor;
use crate::plan::request;
use crate::report::{Cause, Found, Looked, OmitReason, Outcome, Tier};
use crate::site::markup::{Language, Marked};
use crate::site::{Proxy, Site};
use crate::telemetry::access::Kind;

use super::accept::Who;
use super::answered::Asked as Answered;
use super::debug::Debugging;
use super::page::{SURROGATE_CAPABILITY, afforded, level_header, tell};
use super::reader::{Reading, who_reads};
use super::{ServerState, error_page};

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// What `Server-Timing` calls a document.
const DOCUMENT: &str = "document";

/// What is about the document, and not about the page that is made of it.
static NOT_OF_THE_PAGE: [HeaderName; 12] = [
    CONTENT_LENGTH,
    ETAG,
    LAST_MODIFIED,
    ACCEPT_RANGES,
    CONTENT_RANGE,
    EXPIRES,
    PRAGMA,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("edge-control"),
];

/// What would make the answer a part, or none: a page is made of the whole document. Where something is to
/// be done, conditions are about that, and reach the origin.
static ASKS_FOR_LESS: [HeaderName; 6] = [
    RANGE,
    IF_RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
];

/// A woven page is made anew for each reader, and may lack what could not be had.
const FOR_NOBODY_ELSE: HeaderValue = HeaderValue::from_static("private, max-age=0");
const AS_TAILOR_SAYS: HeaderValue =
    HeaderValue::from_static("private, no-cache, no-store, must-revalidate");
const NOT_TO_BE_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

/// A request for a document that may be woven.
pub(super) struct Weaving<'a> {
    state: &'a ServerState,
    edition: Arc<Edition>,
    mode: Arc<Mode>,
    reading: Reading,
    language: Language,
    asked: Arc<Asked>,
    page: Begun,
    /// What the document is on its page.
    block: Option<FragmentId>,
    /// Why nothing has come of the request for it, if nothing has.
    failed_with: Option<Cause>,
    wanted: Option<Wanted>,
    debugging: Debugging,
    answered: Option<&'a Arc<Answered>>,
}

/// A page that has no account yet. Were it only forgotten when its reader leaves, nobody would know of
/// those who wait longest.
struct Begun {
    composer: Arc<Composer>,
    edition: Arc<Edition>,
    document: Option<Document>,
    /// Whether its reader looks for a page, as far as the request says.
    is_page: bool,
}

impl Begun {
    /// It comes to nothing more than a status, or not even that.
    fn ends(&mut self, status: Option<StatusCode>) {
        if let Some(document) = self.document.take() {
            weave::account_for(&self.composer, &self.edition, &document, status);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.is_page {
            self.ends(None);
        }
    }
}

impl<'a> Weaving<'a> {
    /// What is to be known of a request before it is sent on as `sent`.
    pub(super) fn of(
        state: &'a ServerState,
        (who, answered): (&Who, Option<&'a Arc<Answered>>),
        edition: &Arc<Edition>,
        proxy: &Proxy,
        head: &Parts,
        sent: &mut OriginRequest,
    ) -> Option<Self> {
        let language = proxy.markup?;
        let (site, clock) = (&edition.site, state.composer.clock());
        let headers = head.headers.clone();
        prepare(sent, language);
        let client = who.client(&headers);
        let moment = clock.moment(clock.now());
        let debugging = Debugging::of(site, &headers, moment);
        debugging.tell(state);
        if let (Debugging::Shown { .. }, Some(answered)) = (&debugging, answered) {
            answered.show();
        }
        let mode = state.mode.load_full();
        let reading = who_reads(&site.degradation, &headers, client.address, moment);
        let text_only = site.ladder.text_only();
        let level = match reading.admission(&mode, text_only) {
            Admission::Compose(level) => level,
            Admission::Snapshot => text_only,
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| head.uri.authority().map(|a| a.as_str()));
        let base = Base {
            origin: proxy.origin,
            target: sent.target.clone(),
            host: host.map(str::to_owned),
            is_secure: client.is_secure,
        };
        let spec = &site.markup;
        let block = spec.blocks.get(proxy.origin.index()).copied().flatten();
        let name = block.map_or(DOCUMENT, |block| site.fragment(block).name.as_str());
        let named = (site.origin(proxy.origin).name.as_str(), name);
        let wanted = Wanted::new(&state.composer, named, &base, &sent.method, &headers);
        let scheme = base.scheme();
        let mut with_host = headers.clone();
        if let Some(host) = base.host.as_ref().and_then(|h| h.parse().ok()) {
            with_host.insert(HOST, host);
        }
        let document = Document {
            page: proxy.route.clone(),
            path: head.uri.path().to_owned(),
            arrived: clock.now(),
            base,
            language,
            facts: request::facts(site, &head.uri, &headers, Vec::new(), fastrand::u128(..)),
            headers: forwarded(spec.forward_headers.iter().map(String::as_str), &headers),
            cookies: spec.forwards_cookies.then(|| cookies(&headers)).flatten(),
            level,
            overrides: Arc::clone(&mode.overrides),
            reader: reading.reader,
            is_frugal: level > Level::FULL || mode.is_frugal(),
            is_rehearsal: reading.rehearsal.is_some(),
            afforded: afforded(&mode),
            witness: answered.map(|answered| Arc::clone(answered) as _),
            timeout: proxy.timeout,
            had: None,
        };
        let asked = Asked {
            method: head.method.clone(),
            scheme,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: with_host,
            client: client.address,
            unix_seconds: unix_seconds(state),
        };
        Some(Self {
            state,
            edition: Arc::clone(edition),
            mode,
            reading,
            language,
            asked: Arc::new(asked),
            page: Begun {
                composer: Arc::clone(&state.composer),
                edition: Arc::clone(edition),
                document: Some(document),
                is_page: asks_for_page(&headers),
            },
            block,
            failed_with: None,
            wanted,
            debugging,
            answered,
        })
    }

    /// The copy of the document, if it may be used: one that is fresh, or is to be renewed behind the
    /// reader's back, or any where `nobody` answers.
    pub(super) fn copy(&self, nobody: bool) -> Option<Kept> {
        let kept = self.wanted.as_ref()?.copy(&self.state.composer)?;
        let is_good = matches!(kept.state, State::Fresh | State::Stale);
        (is_good || nobody).then_some(kept)
    }

    /// What another reader asks for at this moment, once it is here; `None` where it is to be asked for.
    pub(super) async fn shared(&mut self, patience: Duration) -> Option<Kept> {
        let wanted = self.wanted.as_mut()?;
        if self.asked.method == Method::HEAD {
            return None;
        }
        let flights_max = self.edition.site.limits.flights_max;
        let composer = &self.state.composer;
        wanted.shared(composer, flights_max, patience).await
    }

    /// Asks whether the copy is right still, if there is one.
    pub(super) fn ask_about_copy(&mut self, sent: &mut OriginRequest) {
        if let Some(wanted) = &mut self.wanted
            && self.asked.method == Method::GET
        {
            wanted.ask_about_copy(&self.state.composer, &mut sent.headers);
        }
    }

    /// The copy, of which a 304 says that it is right still.
    pub(super) fn renewed(&mut self, headers: &HeaderMap) -> Option<Kept> {
        let wanted = self.wanted.as_mut()?;
        let renewed = wanted.renewed(&self.state.composer, headers);
        if renewed.is_some() {
            self.count_request();
        }
        renewed
    }

    /// The origin was asked for the document.
    fn count_request(&self) {
        if let Some(block) = self.block {
            self.edition.meters.fetched(block.index());
        }
    }

    /// What renews the copy behind the reader's back; `None` if that is under way, or cannot be done.
    pub(super) fn renewal(&self, time: Duration) -> Option<Wanted> {
        let composer = &self.state.composer;
        let mut wanted = self.wanted.as_ref()?.for_nobody(composer);
        let flights_max = self.edition.site.limits.flights_max;
        wanted.leads(composer, flights_max, time).then_some(wanted)
    }

    /// The page of a copy.
    pub(super) async fn of_copy(mut self, kept: Kept) -> Response {
        let (outcome, found) = match kept.state {
            State::Fresh => (Outcome::Cached, Found::Fresh),
            State::Stale | State::Kept | State::Dead => {
                // without a failure it is being renewed, and not waited for
                let why = self.failed_with.take().unwrap_or(Cause::Timeout);
                (Outcome::Stale(why), Found::Stale)
            }
        };
        let looked = Looked::default().with(Tier::Memory, found);
        self.has(outcome, looked, Some(kept.age));
        let text = Text::Kept(kept.entry);
        self.page(StatusCode::OK, kept.headers, text).await
    }

    /// This has come of the document.
    fn has(&mut self, outcome: Outcome, looked: Looked, age: Option<Duration>) {
        let at = self.state.composer.clock().now();
        if let Some(document) = &mut self.page.document {
            document.had = Some(Had {
                outcome,
                looked,
                age,
                at,
            });
        }
    }

    /// The page of an answer.
    pub(super) async fn answer(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        body: BodyStream,
    ) -> Response {
        self.count_request();
        let looked = match self.wanted {
            Some(_) => Looked::default().with(Tier::Memory, Found::Nothing),
            None => Looked::default(),
        };
        let outcome = match self.failed_with.take() {
            Some(cause) => Outcome::Omitted(OmitReason::Failed(cause)),
            None => Outcome::Fetched,
        };
        self.has(outcome, looked, None);
        let is_head = self.asked.method == Method::HEAD;
        let body = match self.wanted.take().filter(|_| !is_head) {
            Some(wanted) => wanted.keep(&self.state.composer, status, &headers, body),
            None => body,
        };
        self.page(status, headers, Text::Arrives(body)).await
    }

    /// The answer is none of a page's.
    pub(super) fn let_pass(mut self) {
        self.page.document = None;
        if let Some(wanted) = &mut self.wanted {
            wanted.is_for_nobody_else(&self.state.composer);
        }
    }

    /// Nothing has come of it, for this reason: whoever waits for it hears of that.
    pub(super) fn brings_nothing(&mut self, cause: Cause) {
        self.failed_with = Some(cause.clone());
        if let Some(wanted) = &mut self.wanted {
            wanted.fails(cause);
        }
    }

    /// There is no answer of which a page could be made, and this instead.
    pub(super) async fn fails(mut self, mut instead: Response) -> Response {
        if !self.page.is_page {
            self.page.document = None;
            return instead;
        }
        if let Some(cause) = self.failed_with.take() {
            let failed = Outcome::Omitted(OmitReason::Failed(cause));
            self.has(failed, Looked::default(), None);
        }
        self.page.ends(Some(instead.status()));
        instead.extensions_mut().insert(Kind::Page);
        self.tell(instead).await
    }

    /// Whether an answer is woven.
    pub(super) fn takes(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        is_woven(&self.edition.site, self.language, status, headers)
    }

    async fn page(mut self, status: StatusCode, mut headers: HeaderMap, text: Text) -> Response {
        let (composer, site) = (&self.state.composer, &self.edition.site);
        headers_of_page(self.language, &mut headers);
        let document = self.page.document.take();
        let Some(document) = document else {
            unreachable!("a document is woven once")
        };
        let level = document.level;
        let waited = composer.clock().now();
        let waited = waited.saturating_duration_since(document.arrived);
        let came = document.had.as_ref().map(|had| had.outcome.label());
        let came = came.unwrap_or("fetched");
        let mut timing = format!("{DOCUMENT};dur={:.1};desc={came}", millis(waited));
        if self.asked.method == Method::HEAD {
            let trace_id = document.facts.trace.trace_id;
            weave::account_for(composer, &self.edition, &document, Some(status));
            let level = level_header(&self.mode, site, level, &[]);
            tell(&mut headers, level, trace_id, timing);
            return self.tell(respond(status, headers, Body::empty())).await;
        }
        let machine = machine(self.language, &self.asked, site);
        let answer = (status, text);
        let woven = weave::weave(composer, &self.edition, document, machine, answer).await;
        let response = match woven {
            Ok(woven) => {
                change_head(woven.changes, &mut headers);
                if !woven.server_timing.is_empty() {
                    timing = format!("{timing}, {}", woven.server_timing);
                }
                let told = level_header(&self.mode, site, level, &woven.off);
                tell(&mut headers, told, woven.trace_id, timing);
                self.reading.mark(&mut headers, &site.degradation, level);
                respond(woven.status, headers, Body::from_stream(woven.body))
            }
            Err(none) => failed(self.state, &self.edition, &none),
        };
        self.tell(response).await
    }

    /// The page, and how it was made, for whoever may see that.
    async fn tell(&self, response: Response) -> Response {
        let method = &self.asked.method;
        self.debugging
            .put_into(response, self.answered, method)
            .await
    }
}

/// Whether an answer is woven that may be in this language.
pub(super) fn is_woven(
    site: &Site,
    language: Language,
    status: StatusCode,
    headers: &HeaderMap,
) -> bool {
    let has_body = !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let is_marked = Surrogate::of(headers).holds(language.token());
    has_body
        && !headers.contains_key(CONTENT_ENCODING)
        && can_hold_markup(headers)
        && match site.markup.documents {
            Marked::Never => false,
            Marked::Marked => is_marked,
            Marked::Always => true,
        }
}

/// Whether a request is for a page, as far as it says: browsers say for what they fetch something, and
/// what they would rather have.
fn asks_for_page(headers: &HeaderMap) -> bool {
    if let Some(dest) = headers.get(SEC_FETCH_DEST) {
        let pages = ["document", "iframe", "frame", "empty"];
        return pages.iter().any(|page| dest == page);
    }
    let accept = headers
        .get(ACCEPT)
        .map(|line| line.to_str().unwrap_or_default());
    let first = accept.map(|line| line.split([',', ';']).next().unwrap_or_default().trim());
    first.is_none_or(|first| {
        first == "*/*" || first.starts_with("text/html") || first == "application/xhtml+xml"
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn unix_seconds(state: &ServerState) -> i64 {
    let clock = state.composer.clock();
    let micros = clock.moment(clock.now()).micros();
    i64::try_from(micros / 1_000_000).unwrap_or(0)
}

fn machine(language: Language, asked: &Arc<Asked>, site: &Site) -> Box<dyn Machine> {
    let (asked, limits) = (Arc::clone(asked), Limits::default());
    match language {
        Language::Esi => {
            let machine = Esi::new(asked, limits, site.markup.is_escaping);
            Box::new(machine.with_chance(fastrand::u64(..)))
        }
        Language::Ssi => Box::new(Ssi::new(asked, limits, site.zone.clone())),
        Language::Tailor => Box::new(Tailor::new(limits)),
    }
}

/// Asks for the whole document, in a coding that can be undone, and says what can be done with it.
fn prepare(sent: &mut OriginRequest, language: Language) {
    if matches!(sent.method, Method::GET | Method::HEAD) {
        for name in &ASKS_FOR_LESS {
            sent.headers.remove(name);
        }
    }
    sent.headers.remove(ACCEPT_ENCODING);
    sent.raw = false;
    let mine = format!("marbre=\"{}\"", language.token());
    let lines = sent.headers.get_all(&SURROGATE_CAPABILITY).iter();
    let others = lines.filter_map(|line| line.to_str().ok());
    let all: Vec<&str> = others.chain([mine.as_str()]).collect();
    if let Ok(line) = HeaderValue::try_from(all.join(", ")) {
        sent.headers.insert(SURROGATE_CAPABILITY, line);
    }
}

fn forwarded<'n>(
    names: impl Iterator<Item = &'n str>,
    headers: &HeaderMap,
) -> Vec<(String, String)> {
    let names = names.chain(["authorization"]);
    let known = names.filter_map(|name| {
        let lines = headers.get_all(name).iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        (!lines.is_empty()).then(|| (name.to_owned(), lines.join(", ")))
    });
    known.collect()
}

fn cookies(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// HTML, XML and plain text, and what does not say what it is.
fn can_hold_markup(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    // what comes event by event is for a program, and never ends
    (media_type.starts_with("text/") && media_type != "text/event-stream")
        || matches!(media_type, "application/xml" | "application/json")
        || media_type.ends_with("+xml")
}

fn headers_of_page(language: Language, headers: &mut HeaderMap) {
    let is_kept_by_nobody = headers.get_all(CACHE_CONTROL).iter().any(|line| {
        let line = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        line.contains("no-store")
    });
    for name in NOT_OF_THE_PAGE.iter().chain([&SURROGATE_CONTROL]) {
        headers.remove(name);
    }
    let control = match language {
        Language::Tailor => AS_TAILOR_SAYS,
        Language::Esi | Language::Ssi if is_kept_by_nobody => NOT_TO_BE_KEPT,
        Language::Esi | Language::Ssi => FOR_NOBODY_ELSE,
    };
    headers.insert(CACHE_CONTROL, control);
    if language == Language::Tailor {
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
}

/// What the document says of the head, for which it was in time.
fn change_head(changes: Vec<HeadChange>, headers: &mut HeaderMap) {
    for change in changes {
        match change {
            HeadChange::Add(name, value) if may_be_added(&name) => {
                headers.append(name, value);
            }
            HeadChange::Set(name, value) if may_be_added(&name) => {
                headers.insert(name, value);
            }
            HeadChange::Redirect(location) => {
                headers.insert(LOCATION, location);
            }
            // a body is no part of the head, and is there already
            HeadChange::Add(..)
            | HeadChange::Set(..)
            | HeadChange::Status(_)
            | HeadChange::Body(_) => {}
        }
    }
}

/// What is about the connection, the length or who may keep it is not the document's to say.
fn may_be_added(name: &HeaderName) -> bool {
    let is_fixed = [CONTENT_ENCODING, CACHE_CONTROL].contains(name);
    !is_fixed && !hop::is_of_one_connection(name.as_str()) && !NOT_OF_THE_PAGE.contains(name)
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    response.extensions_mut().insert(Kind::Page);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn failed(state: &ServerState, edition: &Edition, none: &NoHead) -> Response {
    let now = state.composer.clock().now();
    let status = none.status();
    let text = match none.status {
        // an answer, and no failure: there is no such page, or not for everybody
        Some(status) => status.canonical_reason().unwrap_or("no page"),
        None => {
            let why = &none.why;
            if let Some(untold) = state.complaints.due("woven", now) {
                tracing::warn!(
                    untold = untold.0,
                    "a page could not be woven: {why}{untold}"
                );
            }
            "a part of this page could not be had"
        }
    };
    let mut page = error_page::plain(&edition.site, status, text);
    page.extensions_mut().insert(Kind::Page);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_browsers_go_to_and_programs_ask_for() {
        for (name, value, is_page) in [
            ("x-nothing", "", true),
            ("sec-fetch-dest", "document", true),
            ("sec-fetch-dest", "iframe", true),
            ("sec-fetch-dest", "empty", true),
            ("sec-fetch-dest", "image", false),
            ("sec-fetch-dest", "script", false),
            ("accept", "*/*", true),
            ("accept", "text/html,application/xhtml+xml;q=0.9", true),
            ("accept", "text/html;q=0.9", true),
            ("accept", "image/webp,*/*;q=0.8", false),
            ("accept", "text/css,*/*;q=0.1", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(asks_for_page(&headers), is_page, "{name}: {value}");
        }
    }
}
