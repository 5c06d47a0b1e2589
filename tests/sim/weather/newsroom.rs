//! The newsroom behind the site: its origins, how they are, and what is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, header};
use marbre::cache::entry::CLOCKS_APART;
use marbre::cache::purge::{Purge, Selector};
use marbre::clock::{Clock, Instant};
use marbre::fetch::{Origin, OriginRequest, OriginResponse};
use marbre::report::Cause;
use parking_lot::Mutex;

use super::declared::ORIGINS;
use crate::origin::{Fault, answer};
use crate::stage;

/// How an origin answers at present.
type Mood = Arc<dyn Fn() -> Fault + Send + Sync>;

/// A piece of a page: what it is, when it was made, and for whom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub(crate) source: String,
    pub(crate) id: String,
    /// Since the beginning of the run.
    pub(crate) made: Duration,
    /// Whom it was made for, if not for everybody.
    pub(crate) owner: Option<String>,
}

impl Piece {
    pub(crate) fn html(&self) -> String {
        let owner = self.owner.as_deref().unwrap_or("-");
        let made = self.made.as_micros();
        format!("<i>{}|{}|{made}|{owner}</i>", self.source, self.id)
    }

    /// Reads what is between the tags.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let (source, id) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let made = Duration::from_micros(parts.next()?.parse().ok()?);
        let owner = parts.next()?;
        let owner = (owner != "-").then(|| owner.to_owned());
        parts.next().is_none().then_some(Self {
            source,
            id,
            made,
            owner,
        })
    }

    /// The block whose source it is.
    pub(crate) fn name(&self) -> &str {
        self.source.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    pub(crate) fn target(&self) -> String {
        format!("/{}/{}", self.source, self.id)
    }

    pub(crate) fn tag(id: &str) -> String {
        format!("story-{id}")
    }

    fn is_meant(&self, selector: &Selector) -> bool {
        match selector {
            Selector::All => true,
            Selector::Fragment(name) => name == self.name(),
            Selector::Key { fragment, target } => {
                fragment == self.name() && *target == self.target()
            }
            Selector::Tag(tag) => *tag == Self::tag(&self.id),
        }
    }
}

/// The last time of something about a block, by source and id.
type Copies = BTreeMap<(String, String), Duration>;

/// By source and id: when each was made that was shown, and since when.
type Shown = BTreeMap<(String, String), Vec<(Duration, Duration)>>;

/// The origins, and all that is true of what they and the operators have said.
pub(crate) struct Newsroom {
    epoch: Instant,
    moods: Mutex<BTreeMap<&'static str, Mood>>,
    pub(crate) panics: AtomicUsize,
    /// When an origin said last that something is gone or that there is nothing.
    gone: Mutex<Copies>,
    others_purges: Mutex<Vec<(Duration, Purge)>>,
    purges: Mutex<Vec<(Duration, Purge)>>,
    /// When each server was started, and what its wall clock showed.
    starts: Mutex<Vec<(Duration, SystemTime)>>,
    /// Pieces that were shown to everybody: when each was made, and since when it has been seen.
    shown: Mutex<Shown>,
}

impl Newsroom {
    pub(crate) fn new() -> Arc<Self> {
        let newsroom = Self {
            epoch: Clock::start().now(),
            moods: Mutex::default(),
            panics: AtomicUsize::new(0),
            gone: Mutex::default(),
            others_purges: Mutex::default(),
            purges: Mutex::default(),
            starts: Mutex::default(),
            shown: Mutex::default(),
        };
        newsroom.all_well();
        Arc::new(newsroom)
    }

    /// Since the beginning of the run.
    pub(crate) fn now(&self) -> Duration {
        Clock::start().now().saturating_duration_since(self.epoch)
    }

    /// One origin is from now on as the seed says.
    pub(crate) fn turn(&self, origin: &'static str, rng: &mut Rng) {
        let mood = Arc::new(stage::weather(rng));
        self.moods.lock().insert(origin, mood);
    }

    pub(crate) fn all_well(&self) {
        let mut moods = self.moods.lock();
        for origin in ORIGINS {
            moods.insert(origin, Arc::new(|| Fault::Slow(Duration::from_millis(5))));
        }
    }

    pub(crate) fn origin(self: &Arc<Self>, name: &str) -> Arc<dyn Origin> {
        let name = ORIGINS.into_iter().find(|known| *known == name);
        Arc::new(Service {
            name: name.expect("the origins are always the same"),
            newsroom: Arc::clone(self),
        })
    }

    /// Remembers what is purged from now on.
    pub(crate) fn purges(&self, purge: &Purge) {
        self.purges.lock().push((self.now(), purge.clone()));
    }

    /// Another node has purged: when this one hears of it, if ever, is the store's doing.
    pub(crate) fn others_purge(&self, purge: &Purge) {
        self.others_purges.lock().push((self.now(), purge.clone()));
    }

    /// Whether a piece that was made after a purge may go with what it meant: the purge is of a clock that was set back
    /// since, so nothing tells its moment from now, and this server may hear of it only from the store.
    fn may_go_with(&self, piece: &Piece, now: Duration) -> bool {
        let purges = self.purges.lock();
        purges.iter().any(|(at, purge)| {
            *at <= piece.made
                && purge.hard
                && piece.is_meant(&purge.selector)
                && self.was_set_back(*at, now)
        })
    }

    /// Whether a piece may have been thrown away, by this node or because of what another has purged: what was made
    /// in the same instant goes too.
    fn may_be_purged(&self, piece: &Piece) -> bool {
        let (own, others) = (self.purges.lock(), self.others_purges.lock());
        let mut purges = own.iter().chain(others.iter());
        purges.any(|(at, purge)| piece.made <= *at && purge.hard && piece.is_meant(&purge.selector))
    }

    /// Whether a piece was purged after it was made, and before a page began; `hard`: thrown away.
    pub(crate) fn is_purged(&self, piece: &Piece, hard: bool, began: Duration) -> bool {
        let purges = self.purges.lock();
        purges.iter().any(|(at, purge)| {
            let is_between = piece.made < *at && *at < began;
            is_between && purge.hard == hard && piece.is_meant(&purge.selector)
        })
    }

    /// A server starts, by whose wall clock it is so late.
    pub(crate) fn starts(&self, wall: SystemTime) {
        self.starts.lock().push((self.now(), wall));
    }

    /// What the wall clock showed, as the server had it that ran then.
    fn wall(&self, at: Duration) -> SystemTime {
        let starts = self.starts.lock();
        let start = starts.iter().rfind(|(start, _)| *start <= at);
        start.map_or(UNIX_EPOCH, |(start, wall)| *wall + (at - *start))
    }

    /// Whether the wall clock was set back between two moments.
    fn was_set_back(&self, from: Duration, to: Duration) -> bool {
        let starts = self.starts.lock();
        let mut pairs = starts.windows(2).map(|two| (two[0], two[1]));
        pairs.any(|((before, showed), (start, shows))| {
            from < start && start <= to && shows < showed + (start - before)
        })
    }

    /// How old something is by the wall clock, which is what servers go by: one that was set forward makes it older
    /// than it is.
    pub(crate) fn age_by_the_clock(&self, made: Duration, now: Duration) -> Duration {
        let age = self.wall(now).duration_since(self.wall(made));
        age.unwrap_or_default().max(now.saturating_sub(made))
    }

    /// Whether the time beside a piece can be compared with the present time.
    pub(crate) fn can_tell_age(&self, piece: &Piece) -> bool {
        !self.was_set_back(piece.made, self.now())
    }

    /// Whether the time beside a piece has not come yet by the present wall clock, and by more than clocks may
    /// be apart. What has less cannot be told from what was made since the clock was set back.
    pub(crate) fn is_of_the_future(&self, piece: &Piece, now: Duration) -> bool {
        self.wall(piece.made) > self.wall(now) + CLOCKS_APART
    }

    /// Whether a piece was thrown away before a page began: by the clock that it was made by, or by the present
    /// one. What another one has thrown away since, which was set back and is started anew, is nobody's to
    /// know: nothing tells that moment from one before the piece was made.
    pub(crate) fn was_thrown_away(&self, piece: &Piece, began: Duration) -> bool {
        let start = self.starts.lock().last().map(|(start, _)| *start);
        let purges = self.purges.lock();
        purges.iter().any(|(at, purge)| {
            let is_between = piece.made < *at && *at < began;
            let is_known = Some(*at) >= start || !self.was_set_back(piece.made, *at);
            is_between && is_known && purge.hard && piece.is_meant(&purge.selector)
        })
    }

    /// A server without a disk has been stopped: what the store was never told of its purges nobody knows now.
    pub(crate) fn forgets_purges(&self, is_told: impl Fn(Duration, &Purge) -> bool) {
        let mut purges = self.purges.lock();
        let (told, forgotten): (Vec<_>, Vec<_>) = std::mem::take(&mut *purges)
            .into_iter()
            .partition(|(at, purge)| is_told(*at, purge));
        *purges = told;
        self.others_purges.lock().extend(forgotten);
    }

    /// Remembers what was shown by then: asked of another origin it is another copy.
    pub(crate) fn shows(&self, origin: &str, piece: &Piece, by: Duration) {
        let key = (format!("{origin}:{}", piece.source), piece.id.clone());
        self.shown
            .lock()
            .entry(key)
            .or_default()
            .push((piece.made, by));
    }

    /// All copies are lost.
    pub(crate) fn forget(&self) {
        self.shown.lock().clear();
    }

    /// When the copy of this was made that the server must have had when a page began, and still has.
    pub(crate) fn known(
        &self,
        (origin, source): (&str, &str),
        id: &str,
        began: Duration,
    ) -> Option<Duration> {
        let key = (source.to_owned(), id.to_owned());
        let copy = (format!("{origin}:{source}"), id.to_owned());
        let shown = self.shown.lock().get(&copy).cloned()?;
        let before = shown.into_iter().filter(|(_, by)| *by <= began);
        let made = before.map(|(made, _)| made).max()?;
        let piece = Piece {
            source: key.0.clone(),
            id: key.1.clone(),
            made,
            owner: None,
        };
        let now = self.now().max(began);
        let is_gone = self.gone.lock().get(&key).is_some_and(|at| *at >= made);
        let is_purged = self.may_be_purged(&piece) || self.may_go_with(&piece, now);
        (!is_gone && !is_purged).then_some(made)
    }

    /// Whether an origin has ever said that there is no such thing.
    pub(crate) fn has_refused(&self, source: &str, id: &str) -> bool {
        let key = (source.to_owned(), id.to_owned());
        self.gone.lock().contains_key(&key)
    }
}

struct Service {
    name: &'static str,
    newsroom: Arc<Newsroom>,
}

impl Origin for Service {
    fn send(&self, request: OriginRequest) -> BoxFuture<'static, Result<OriginResponse, Cause>> {
        let newsroom = Arc::clone(&self.newsroom);
        let fault = (newsroom.moods.lock()[self.name])();
        let mut path = request.target.trim_start_matches('/').split('/');
        let mut part = || path.next().unwrap_or_default().to_owned();
        let (source, id) = (part(), part());
        let cookie = request.headers.get(header::COOKIE);
        let owner = cookie.and_then(|cookie| cookie.to_str().ok()?.strip_prefix("who="));
        let owner = owner.map(str::to_owned);
        let piece = Piece {
            source,
            id,
            made: newsroom.now(),
            owner,
        };
        async move {
            let answered = answer(piece.html(), fault, &newsroom.panics).await;
            let mut response = answered?;
            if matches!(response.status.as_u16(), 204 | 404 | 410) {
                let key = (piece.source.clone(), piece.id.clone());
                newsroom.gone.lock().insert(key, newsroom.now());
            }
            let tag = HeaderValue::try_from(Piece::tag(&piece.id)).expect("a word");
            response.headers.insert("surrogate-key", tag);
            if piece.owner.is_some() {
                let private = HeaderValue::from_static("private");
                response.headers.insert(header::CACHE_CONTROL, private);
            }
            Ok(response)
        }
        .boxed()
    }
}
