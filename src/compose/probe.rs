//! Asking origins off the page (shell): how is what is left alone, and what nobody's page shows at
//! present? Owns the rhythm, and which request is made; whether an origin is asked at all is decided by
//! its guards.
//!
//! # Why off the page
//!
//! Somebody has to find out whether a sick origin is well again, and a reader whose page does it waits
//! for the deadline. So pages leave that to this, wherever there is a request that can be made without
//! them. And a block that is given up is not asked for by anybody: were it not asked here, nobody would
//! know how its origin is when it comes back.
//!
//! # What is asked
//!
//! What pages ask: the last request for the fragment that was answered, or the one that is the same for
//! every page. Of several fragments of an origin, the one that was answered last, and the next one if that
//! is answered no more: one broken address must not keep an origin from coming back. Nothing that is one
//! reader's own is remembered, and nothing of the answer is kept.
//!
//! Invariants: of those who ask an origin as one grade, one at a time finds out; nothing is rendered and
//! nobody waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock::Instant;
use crate::degradation::{Level, Reader};
use crate::fragment::facts::{Facts, Trace};
use crate::fragment::{Fragment, FragmentId, Grade, OriginId, Source, SourceRequest};
use crate::report::Cause;
use crate::site::Site;

use super::flight::work;
use super::{Composer, Edition, Order};

/// Between two looks at who is to be asked. Three good answers end a breaker's pause, so they take three
/// of these at least.
const LOOK: Duration = Duration::from_millis(50);

/// For how long pages leave it to this to find out how an origin is, after each look.
const LEASE: Duration = Duration::from_secs(1);

/// Between two requests for a block that nobody's page shows.
const GIVEN_UP_PAUSE: Duration = Duration::from_millis(500);

/// The requests that can be made without a page.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whether anybody makes them.
    is_kept: AtomicBool,
    answered: Mutex<Answered>,
}

#[derive(Debug, Default)]
struct Answered {
    /// Answers so far.
    count: u64,
    /// By the fragment's name: its last request, and which answer that was.
    last: BTreeMap<String, (u64, Arc<SourceRequest>)>,
}

impl Memory {
    /// A request was answered.
    pub(super) fn answered(&self, fragment: &Fragment, request: &Arc<SourceRequest>) {
        if !self.is_kept.load(Ordering::Relaxed) || fragment.is_personal() {
            return;
        }
        let Answered { count, last } = &mut *self.answered.lock();
        *count += 1;
        match last.get_mut(&fragment.name) {
            Some(known) => *known = (*count, Arc::clone(request)),
            None => _ = last.insert(fragment.name.clone(), (*count, Arc::clone(request))),
        }
    }

    /// Which answer was the last, and what was asked; nought, where there was none and the request is
    /// known all the same.
    fn request(&self, fragment: &Fragment) -> Option<(u64, Arc<SourceRequest>)> {
        let last = self.answered.lock().last.get(&fragment.name).cloned();
        let same = || Some((0, Arc::clone(fragment.same_request.as_ref()?)));
        last.or_else(same)
    }

    /// Forgets what this site would not ask.
    fn keep_to(&self, site: &Site) {
        let is_asked = |name: &str, request: &SourceRequest| {
            let mut fragments = site.fragments.iter();
            let fragment = fragments.find(|fragment| fragment.name == name);
            fragment.is_some_and(|fragment| {
                let target = fragment.source.target();
                let made = target.and_then(|target| target.params_of(&request.target));
                request.fingerprint == fragment.fingerprint
                    && made.is_some()
                    && !fragment.is_personal()
            })
        };
        let mut answered = self.answered.lock();
        answered
            .last
            .retain(|name, (_, request)| is_asked(name, request));
    }
}

/// Asks until `stop`. `is_off` says of a fragment of the site whether nobody's page shows it at present.
pub async fn run(
    composer: Arc<Composer>,
    edition: Arc<ArcSwap<Edition>>,
    is_off: impl Fn(&Site, FragmentId) -> bool,
    stop: CancellationToken,
) {
    composer.requests.is_kept.store(true, Ordering::Relaxed);
    let clock = composer.clock;
    let mut prober = Prober::new(composer, edition.load_full());
    let mut under_way = FuturesUnordered::new();
    loop {
        let next = clock.now() + LOOK;
        prober.follow(edition.load_full());
        under_way.extend(prober.look(&is_off, clock.now()));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = under_way.next(), if !under_way.is_empty() => prober.ended(ended),
                () = sleep_until(next) => break,
            }
        }
    }
}

/// What a request is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// To find out how an origin is that is left alone by those of a grade.
    Breaker(OriginId, Grade),
    /// To know how the origin of a block is that nobody's page shows.
    Block(FragmentId),
}

/// A request that has come to its end, and whether it was answered.
type Ended = (Matter, bool);

/// What can be asked at present.
struct Known {
    /// The place of its target.
    target: usize,
    /// Which answer was its last.
    answered: u64,
    request: Arc<SourceRequest>,
}

/// Which of several fragments is asked for: of those answered last, the first, until it fails.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// The last answer of all of them at that time.
    answered: u64,
    failures: usize,
}

/// What can be asked.
struct Target {
    id: FragmentId,
    origin: OriginId,
    grade: Grade,
}

struct Prober {
    composer: Arc<Composer>,
    edition: Arc<Edition>,
    targets: Vec<Target>,
    under_way: BTreeSet<Matter>,
    /// Which of the fragments of an origin and grade is asked for.
    turns: BTreeMap<(OriginId, Grade), Turn>,
    /// When a block that is given up was asked for last.
    asked: BTreeMap<FragmentId, Instant>,
}

impl Prober {
    fn new(composer: Arc<Composer>, edition: Arc<Edition>) -> Self {
        Self {
            targets: targets(&edition.site),
            composer,
            edition,
            under_way: BTreeSet::new(),
            turns: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    fn follow(&mut self, edition: Arc<Edition>) {
        if Arc::ptr_eq(&edition, &self.edition) {
            return;
        }
        self.composer.requests.keep_to(&edition.site);
        self.targets = targets(&edition.site);
        self.turns.clear();
        self.asked.clear();
        self.edition = edition;
    }

    /// What is to be asked now.
    fn look(
        &mut self,
        is_off: &impl Fn(&Site, FragmentId) -> bool,
        now: Instant,
    ) -> Vec<BoxFuture<'static, Ended>> {
        let edition = Arc::clone(&self.edition);
        let (known, targets) = (self.known(), &self.targets);
        let known = &known;
        let of = move |origin: OriginId, grade: Grade| {
            known.iter().filter(move |known| {
                let target = &targets[known.target];
                target.origin == origin && target.grade == grade
            })
        };
        let is_known = |origin, grade| of(origin, grade).next().is_some();
        let due = edition.fetcher.probes_due(is_known, now + LEASE);
        let mut turns = std::mem::take(&mut self.turns);
        let of_breakers = due.into_iter().filter_map(|(origin, grade)| {
            let answered = of(origin, grade).next()?.answered;
            let turn = turns.entry((origin, grade)).or_default();
            if turn.answered != answered {
                let failures = 0;
                *turn = Turn { answered, failures };
            }
            let count = of(origin, grade).count();
            let known = of(origin, grade).nth(turn.failures % count.max(1))?;
            let id = self.targets[known.target].id;
            let request = Arc::clone(&known.request);
            Some((Matter::Breaker(origin, grade), id, request))
        });
        let of_blocks = known.iter().filter_map(|known| {
            let target = &self.targets[known.target];
            let asked = self.asked.get(&target.id);
            let is_soon =
                asked.is_some_and(|at| now.saturating_duration_since(*at) < GIVEN_UP_PAUSE);
            let is_left_alone = edition.fetcher.is_left_alone(target.origin, target.grade);
            let is_asked = !is_soon && !is_left_alone && is_off(&edition.site, target.id);
            let request = || Arc::clone(&known.request);
            is_asked.then(|| (Matter::Block(target.id), target.id, request()))
        });
        let all: Vec<_> = of_breakers.chain(of_blocks).collect();
        self.turns = turns;
        let begun = all.into_iter().filter_map(|(matter, id, request)| {
            if !self.under_way.insert(matter) {
                return None;
            }
            if let Matter::Block(id) = matter {
                self.asked.insert(id, now);
            }
            let order = order(&self.composer, &edition);
            let asking = async move {
                let answered = work::probe(&order, id, &request).await;
                // who was not let in has found out nothing
                let says_nothing = [Cause::Open, Cause::Busy, Cause::Limited];
                let is_answered = answered.err().is_none_or(|e| says_nothing.contains(&e));
                (matter, is_answered)
            };
            Some(asking.boxed())
        });
        begun.collect()
    }

    fn ended(&mut self, (matter, is_answered): Ended) {
        self.under_way.remove(&matter);
        if let (Matter::Breaker(origin, grade), false) = (matter, is_answered) {
            let turn = self.turns.entry((origin, grade)).or_default();
            turn.failures = turn.failures.wrapping_add(1);
        }
    }

    /// What can be asked at present, what was answered last first.
    fn known(&self) -> Vec<Known> {
        let targets = self.targets.iter().enumerate();
        let known = targets.filter_map(|(index, target)| {
            let fragment = self.edition.site.fragment(target.id);
            let (answered, request) = self.composer.requests.request(fragment)?;
            Some(Known {
                target: index,
                answered,
                request,
            })
        });
        let mut known: Vec<Known> = known.collect();
        known.sort_by_key(|known| Reverse(known.answered));
        known
    }
}

/// What of a site can be asked for without a reader.
fn targets(site: &Site) -> Vec<Target> {
    let fragments = site.fragments.iter().enumerate();
    let targets = fragments.filter_map(|(index, fragment)| {
        let Source::Http { origin, .. } = fragment.source else {
            return None;
        };
        let target = Target {
            id: FragmentId(index),
            origin,
            grade: fragment.priority.grade(),
        };
        (!fragment.is_personal()).then_some(target)
    });
    targets.collect()
}

/// What there is to know of a request that is made for nobody.
fn order(composer: &Arc<Composer>, edition: &Arc<Edition>) -> Order {
    Order {
        composer: Arc::clone(composer),
        edition: Arc::clone(edition),
        trace: Trace {
            trace_id: fastrand::u128(1..),
            ..Trace::default()
        },
        facts: Arc::new(Facts::default()),
        level: Level::FULL,
        reader: Reader::NOBODY,
        overrides: Arc::default(),
        is_frugal: true,
        is_rehearsal: false,
        lazy_on: None,
    }
}
