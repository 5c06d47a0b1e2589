//! Documents as they came, kept by the rules of HTTP (shell). Owns which of them are kept, under what, who
//! waits for whom, and how they are renewed; what is kept is the document before anything was put into it.
//!
//! Only what its origin gives a lifetime is kept, and only if it is the same for every reader: what
//! varies with more than the coding is not, nor what came with a cookie for the reader, nor what was
//! asked for with one unless it says that it is public.
//!
//! # Who waits for whom
//!
//! Of those who ask for the same at the same time one asks, and the others wait for the copy. That it will
//! be none is known when its head is here: then they ask for themselves, and for a while nobody waits for
//! others. What is to be a copy is read at its own pace, not at that of the reader who has asked for it.
//!
//! Invariants: a document that broke off is never kept; what one reader is sent is never told to others
//! unless it may be kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, COOKIE,
    DATE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::cache::entry::{Head, Validators};
use crate::cache::freshness::{CacheControl, delta_seconds, initial_age, parse_date};
use crate::cache::surrogate::Surrogate;
use crate::cache::{Content, Entry, State};
use crate::clock::Instant;
use crate::compose::Composer;
use crate::compose::flight::{self, Came, Landed, Part, Pilot};
use crate::fetch::origin::BodyStream;
use crate::fragment::{Freshness, Reach, SourceRequest};
use crate::layout::parts::Parts;
use crate::report::Cause;

use super::Base;

/// Told from everything that fragments keep, whose keys are hashes of what is declared.
const FINGERPRINT: u64 = u64::from_be_bytes(*b"document");

/// Largest document that is kept.
const KEPT_MAX: usize = 2 * 1024 * 1024;

/// Pieces of a document that is read faster than its reader takes it; whoever waits for the copy waits for
/// that reader beyond this. Together they have no more than [`KEPT_MAX`] bytes.
const PIECES_AHEAD: usize = 4096;

/// The same of one that is too large to be kept, for which nobody waits.
const PIECES_AHEAD_TOO_LARGE: usize = 4;

/// A request for a document, as far as copies are concerned.
pub struct Wanted {
    /// What it is on its page, by name: what the copy is of.
    name: Arc<str>,
    key: Arc<SourceRequest>,
    /// Whether it tells who asks.
    is_personal: bool,
    began: Instant,
    /// Where it asks for others too.
    pilot: Option<Pilot>,
    /// The copy of which it asks whether it is right still.
    asked_about: Option<Arc<Entry>>,
}

/// A copy of a document.
pub struct Kept {
    /// Its headers, as they came, with its age.
    pub headers: HeaderMap,
    /// The copy itself, of something to show.
    pub entry: Arc<Entry>,
    /// How old it is.
    pub age: Duration,
    /// What it is good for.
    pub state: State,
}

impl Kept {
    fn of(composer: &Composer, entry: Arc<Entry>, state: State) -> Option<Self> {
        let Content::Html(_) = &entry.content else {
            return None;
        };
        let mut headers = headers_of(&entry);
        let age = entry.age(composer.clock.moment(composer.clock.now()));
        headers.insert(AGE, age.as_secs().into());
        Some(Self {
            headers,
            entry,
            age,
            state,
        })
    }
}

fn headers_of(entry: &Entry) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &entry.head.headers {
        headers.append(name.clone(), value.clone());
    }
    headers
}

impl Wanted {
    /// The request that `origin` would be sent, of what is called `name` on its page; `None` if no copy
    /// is an answer to it.
    pub fn new(
        composer: &Composer,
        (origin, name): (&str, &str),
        base: &Base,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let is_asked = *method == Method::GET || *method == Method::HEAD;
        if !is_asked || headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let key = SourceRequest {
            fingerprint: FINGERPRINT,
            target: base.target.clone(),
            // what origins are told of the address by which they are asked is in what they answer
            headers: vec![
                ("origin".to_owned(), origin.to_owned()),
                ("host".to_owned(), base.host.clone().unwrap_or_default()),
                ("scheme".to_owned(), base.scheme().to_owned()),
            ],
            params: Vec::new(),
        };
        Some(Self {
            name: name.into(),
            key: Arc::new(key),
            is_personal: headers.contains_key(COOKIE),
            began: composer.clock.now(),
            pilot: None,
            asked_about: None,
        })
    }

    /// The same for nobody in particular, as it is asked behind the back of whoever is shown the copy.
    #[must_use]
    pub fn for_nobody(&self, composer: &Composer) -> Self {
        Self {
            name: Arc::clone(&self.name),
            key: Arc::clone(&self.key),
            is_personal: false,
            began: composer.clock.now(),
            pilot: None,
            asked_about: None,
        }
    }

    /// The copy, unless it is good for nothing any more.
    pub fn copy(&self, composer: &Composer) -> Option<Kept> {
        let now = composer.clock.moment(composer.clock.now());
        let copy = composer.cache.lookup(&self.key, &Freshness::NONE, now)?;
        Kept::of(composer, copy.entry, copy.state)
    }

    /// Waits for whoever asks for the same already, for so long at most. `None`: it is to be asked for.
    pub async fn shared(
        &mut self,
        composer: &Arc<Composer>,
        flights_max: usize,
        patience: Duration,
    ) -> Option<Kept> {
        let until = self.began + patience;
        loop {
            match flight::take_part(composer, &self.key, flights_max, patience) {
                Part::Leads(pilot) => {
                    // one may have landed since the copy was looked for
                    let copy = self.copy(composer);
                    let copy = copy.filter(|kept| kept.state == State::Fresh);
                    // without a pilot whoever waits looks for it too
                    self.pilot = copy.is_none().then_some(pilot);
                    return copy;
                }
                Part::Alone => return None,
                Part::Follows(mut landing, since) => {
                    let landed = timeout_at(until, landing.wait_for(Option::is_some)).await;
                    let landed = landed.map(|landed| landed.map(|landed| landed.clone()));
                    match landed {
                        Ok(Ok(Some(Ok(Landed::Entry {
                            entry,
                            shared: true,
                            ..
                        }))))
                            if !flight::is_gone(composer, &self.key, &entry, since) =>
                        {
                            return Kept::of(composer, entry, State::Fresh);
                        }
                        // it was thrown away before it came: somebody is to ask for it anew
                        Ok(Ok(Some(Ok(Landed::Entry { shared: true, .. })))) => {}
                        Ok(Ok(_)) => return None,
                        // whoever has asked is gone: somebody else is to ask
                        Ok(Err(_)) => {}
                        Err(_) => return None,
                    }
                }
            }
        }
    }

    /// The answer is for whoever has asked: nobody is to wait for the next one.
    pub fn is_for_nobody_else(&mut self, composer: &Composer) {
        if let Some(pilot) = self.pilot.take() {
            pilot.lands(Ok(personal(composer, &self.name)));
        }
    }

    /// There is no answer.
    pub fn fails(&mut self, cause: Cause) {
        if let Some(pilot) = self.pilot.take() {
            pilot.lands(Err(cause));
        }
    }

    /// Asks nobody for what another asks for at this moment. Whether it leads.
    pub fn leads(&mut self, composer: &Arc<Composer>, flights_max: usize, time: Duration) -> bool {
        match flight::take_part(composer, &self.key, flights_max, time) {
            Part::Leads(pilot) => self.pilot = Some(pilot),
            Part::Follows(..) | Part::Alone => return false,
        }
        true
    }

    /// Asks whether the copy is right still, if there is one of which that can be asked.
    pub fn ask_about_copy(&mut self, composer: &Composer, headers: &mut HeaderMap) {
        let known = composer.cache.peek(&self.key);
        let shows = |known: &Arc<Entry>| matches!(known.content, Content::Html(_));
        let Some(known) = known
            .filter(shows)
            .filter(|known| !known.validators.is_empty())
        else {
            return;
        };
        let Validators {
            etag,
            last_modified,
        } = &known.validators;
        headers.extend(etag.clone().map(|etag| (IF_NONE_MATCH, etag)));
        headers.extend(last_modified.clone().map(|at| (IF_MODIFIED_SINCE, at)));
        self.asked_about = Some(known);
    }

    /// The copy, of which the origin says by a 304 with these headers that it is right still (RFC 9111,
    /// 4.3.4); `None` if nobody has asked it that.
    pub fn renewed(&mut self, composer: &Arc<Composer>, headers: &HeaderMap) -> Option<Kept> {
        let known = self.asked_about.take()?;
        let mut merged = headers_of(&known);
        for name in headers.keys() {
            let is_of_content = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE].contains(name);
            if !is_of_content {
                merged.remove(name);
                for value in headers.get_all(name) {
                    merged.append(name.clone(), value.clone());
                }
            }
        }
        let entry = self.entry(composer, StatusCode::OK, &merged);
        let Some(mut entry) = entry else {
            // it is right for this reader, and for no other any more
            self.is_for_nobody_else(composer);
            return Some(Kept {
                headers: merged,
                entry: known,
                age: Duration::ZERO,
                state: State::Fresh,
            });
        };
        entry = entry.compacted();
        // the same bytes, and what was made of them
        entry.content = known.content.clone();
        entry.coded = known.coded.clone();
        let entry = store(composer, &self.key, entry, self.began);
        let kept = Kept::of(composer, Arc::clone(&entry), State::Fresh);
        if let Some(pilot) = self.pilot.take() {
            pilot.lands(Ok(for_all(entry)));
        }
        kept
    }

    /// The body of the answer, which is kept when it has come to its end, if it may be.
    pub fn keep(
        mut self,
        composer: &Arc<Composer>,
        status: StatusCode,
        headers: &HeaderMap,
        body: BodyStream,
    ) -> BodyStream {
        let Some(entry) = self.entry(composer, status, headers) else {
            self.is_for_nobody_else(composer);
            return body;
        };
        let keeping = Keeping {
            composer: Arc::clone(composer),
            key: self.key,
            began: self.began,
            pilot: self.pilot,
            entry,
            so_far: BytesMut::new(),
        };
        let (ahead, pieces) = mpsc::channel(PIECES_AHEAD);
        composer.tasks.spawn(keeping.read(body, ahead));
        let pieces = stream::unfold(Some(pieces), |pieces| async move {
            let mut pieces: mpsc::Receiver<_> = pieces?;
            match pieces.recv().await {
                Some(Piece::Of(bytes)) => Some((Ok(bytes), Some(pieces))),
                Some(Piece::Broken(cause)) => Some((Err(cause), None)),
                Some(Piece::End) => None,
                // whoever has read it is gone: this is not its end
                None => Some((Err(Cause::Panic), None)),
            }
        });
        pieces.fuse().boxed()
    }

    /// What the answer will be as a copy, but for its content; `None` if it may not be one.
    fn entry(&self, composer: &Composer, status: StatusCode, headers: &HeaderMap) -> Option<Entry> {
        let now = composer.clock.now();
        let wall = composer.clock.wall(now);
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let lines = headers.get_all(CACHE_CONTROL).iter();
        let control: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let date = text(DATE).and_then(parse_date);
        let says = CacheControl::parse(control.iter().copied());
        let says = says.or_expires(text(EXPIRES), date.unwrap_or(wall));
        let surrogate = Surrogate::of(headers);
        let says = surrogate.over(says);
        let is_public = surrogate.max_age.is_some()
            || control.iter().any(|line| {
                let line = line.to_ascii_lowercase();
                line.contains("public") || line.contains("s-maxage")
            });
        let vary = headers.get_all(VARY).iter();
        let is_the_same = vary
            .flat_map(|line| line.as_bytes().split(|b| *b == b','))
            .all(|name| name.trim_ascii().eq_ignore_ascii_case(b"accept-encoding"));
        let is_for_all = !says.private
            && !says.no_store
            && is_the_same
            && !headers.contains_key(SET_COOKIE)
            && (is_public || !self.is_personal);
        if status != StatusCode::OK || !is_for_all {
            return None;
        }
        let took = now.saturating_duration_since(self.began);
        let age = text(AGE).and_then(delta_seconds);
        let kept = headers.iter().filter(|(name, _)| **name != AGE);
        let now = composer.clock.moment(now);
        let mut entry = Entry::new(Arc::clone(&self.name), Content::Absent, now);
        entry.says = says;
        entry.took = took;
        entry.initial_age = initial_age(date, age, took, wall);
        entry.tags = flight::said::tags(headers);
        entry.validators = Validators {
            etag: headers.get(ETAG).cloned(),
            last_modified: headers.get(LAST_MODIFIED).cloned(),
        };
        entry.head = Head {
            headers: kept.map(|(n, v)| (n.clone(), v.clone())).collect(),
            ..Head::default()
        };
        // "nothing" has no afterlife: whether it is worth it is asked of what it will be
        entry.content = Content::Html(Parts::default());
        entry.is_worth_storing(&Freshness::NONE).then_some(entry)
    }
}

fn store(
    composer: &Composer,
    key: &Arc<SourceRequest>,
    entry: Entry,
    began: Instant,
) -> Arc<Entry> {
    let began = composer.clock.moment(began);
    let key = Arc::clone(key);
    composer
        .cache
        .store(key, entry, &Freshness::NONE, Reach::default(), began)
}

/// What those get who have waited.
fn for_all(entry: Arc<Entry>) -> Landed {
    Landed::Entry {
        entry,
        shared: true,
        came: Came::Fetched,
    }
}

/// What tells them that it is for one reader only.
fn personal(composer: &Composer, name: &Arc<str>) -> Landed {
    let now = composer.clock.moment(composer.clock.now());
    Landed::Entry {
        entry: Arc::new(Entry::new(Arc::clone(name), Content::Absent, now)),
        shared: false,
        came: Came::Fetched,
    }
}

/// What its reader is handed.
enum Piece {
    Of(Bytes),
    Broken(Cause),
    End,
}

/// A document that is being kept while it is read.
struct Keeping {
    composer: Arc<Composer>,
    key: Arc<SourceRequest>,
    began: Instant,
    pilot: Option<Pilot>,
    entry: Entry,
    so_far: BytesMut,
}

impl Keeping {
    /// Reads the document to its end, also when its reader has left.
    async fn read(mut self, mut body: BodyStream, ahead: mpsc::Sender<Piece>) {
        loop {
            let last = match body.next().await {
                Some(Ok(piece)) => {
                    self.so_far.extend_from_slice(&piece);
                    let is_read = ahead.send(Piece::Of(piece)).await.is_ok();
                    if self.so_far.len() > KEPT_MAX {
                        if let Some(pilot) = self.pilot.take() {
                            pilot.lands(Ok(personal(&self.composer, &self.entry.fragment)));
                        }
                        drop(self);
                        if is_read {
                            pass(body, ahead).await;
                        }
                        return;
                    }
                    continue;
                }
                Some(Err(cause)) => {
                    if let Some(pilot) = self.pilot.take() {
                        pilot.lands(Err(cause.clone()));
                    }
                    Piece::Broken(cause)
                }
                None => {
                    self.finish();
                    Piece::End
                }
            };
            // whoever has left needs no end
            let _ = ahead.send(last).await;
            return;
        }
    }

    fn finish(self) {
        let mut entry = self.entry;
        entry.content = Content::Html(Parts {
            main: self.so_far.freeze(),
            named: Vec::new(),
        });
        let entry = store(&self.composer, &self.key, entry.compacted(), self.began);
        if let Some(pilot) = self.pilot {
            pilot.lands(Ok(for_all(entry)));
        }
    }
}

/// Hands over the rest of what is too large to be kept, no faster than it is taken.
async fn pass(mut body: BodyStream, ahead: mpsc::Sender<Piece>) {
    loop {
        let piece = match body.next().await {
            Some(Ok(piece)) => Piece::Of(piece),
            Some(Err(cause)) => Piece::Broken(cause),
            None => Piece::End,
        };
        let is_last = !matches!(piece, Piece::Of(_));
        let Ok(mut places) = ahead
            .reserve_many(PIECES_AHEAD - PIECES_AHEAD_TOO_LARGE)
            .await
        else {
            return;
        };
        if let Some(place) = places.next() {
            place.send(piece);
        }
        if is_last {
            return;
        }
    }
}
