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
//! What pages ask: the last request for the fragment whose answer was of use and in good time, or the one
//! that is the same for every page. Nothing that is one reader's own is remembered, nothing of the
//! address that a reader has come by, which may hold a token, and nothing of the answer is kept.
//!
//! # What is not asked any more
//!
//! An address may be slow or broken by itself, and asked again and again it would keep a block off for
//! everybody. So one that fails a few times in a row is forgotten, and pages find out with their own,
//! until one of them has landed. That no connection can be made says nothing of an address. What is the
//! only thing that is asked of an origin is not forgotten, for a page would ask the same; nor is what
//! nobody's page shows.
//!
//! Invariants: of those who ask an origin as one grade, one at a time finds out; nothing is rendered and
//! nobody waits.

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
use crate::fragment::facts::Facts;
use crate::fragment::source::{TargetTemplate, Variable};
use crate::fragment::{Fragment, FragmentId, Grade, OriginId, Source, SourceRequest, Trace};
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

/// Times in a row that a request fails before it is forgotten.
const FAILURES_MAX: u32 = 3;

/// Within so many quarters of the fragment's timeout a request is answered that is worth asking again: an
/// origin that comes back takes longer than usual.
const QUARTERS_MAX: u32 = 3;

/// The requests that can be made without a page.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Whether anybody makes them.
    is_kept: AtomicBool,
    /// By the fragment's name.
    requests: Mutex<BTreeMap<String, Known>>,
}

/// A request that can be made without a page.
#[derive(Debug)]
struct Known {
    request: Arc<SourceRequest>,
    /// Times in a row that it has failed.
    failed: u32,
}

impl Memory {
    /// A page's request was answered after so long, and the answer was of use.
    pub(super) fn landed(&self, fragment: &Fragment, request: &Arc<SourceRequest>, took: Duration) {
        if !self.is_kept.load(Ordering::Relaxed) || took > fragment.timeout / 4 * QUARTERS_MAX {
            return;
        }
        let mut requests = self.requests.lock();
        match requests.get_mut(&fragment.name) {
            Some(known) => {
                known.request.clone_from(request);
                known.failed = 0;
            }
            // what is the same for every page needs no remembering
            None if fragment.same_request.is_some() || !may_be_repeated(fragment) => {}
            None => {
                let known = Known {
                    request: Arc::clone(request),
                    failed: 0,
                };
                requests.insert(fragment.name.clone(), known);
            }
        }
    }

    /// A request that was made off the page was answered well, or not.
    fn asked(&self, fragment: &Fragment, request: &Arc<SourceRequest>, is_answered: bool) {
        let mut requests = self.requests.lock();
        match requests.get_mut(&fragment.name) {
            // a page has landed another one meanwhile
            Some(known) if known.request != *request => {}
            Some(known) if is_answered => known.failed = 0,
            Some(known) => known.failed = known.failed.saturating_add(1),
            None if is_answered || fragment.same_request.is_none() => {}
            None => {
                let known = Known {
                    request: Arc::clone(request),
                    failed: 1,
                };
                requests.insert(fragment.name.clone(), known);
            }
        }
    }

    /// What can be asked for a fragment; what has failed too often only if `is_all_there_is`.
    fn request(&self, fragment: &Fragment, is_all_there_is: bool) -> Option<Arc<SourceRequest>> {
        match self.requests.lock().get(&fragment.name) {
            Some(known) if known.failed >= FAILURES_MAX && !is_all_there_is => None,
            Some(known) => Some(Arc::clone(&known.request)),
            None => fragment.same_request.clone(),
        }
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
                    && may_be_repeated(fragment)
            })
        };
        let mut requests = self.requests.lock();
        requests.retain(|name, known| is_asked(name, &known.request));
    }
}

/// Whether what one reader's page asks for may be asked without them. What a reader's address says after
/// `?` may be a token that opens something once.
fn may_be_repeated(fragment: &Fragment) -> bool {
    let target = fragment.source.target();
    let variables = target.into_iter().flat_map(TargetTemplate::variables);
    let items = fragment.list.iter().flat_map(|list| &list.varies);
    let mut variables = variables.chain(items);
    let is_of_query = |variable: &Variable| matches!(variable, Variable::Query(_));
    !fragment.is_personal() && !variables.any(is_of_query)
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

/// A request that has come to its end.
struct Ended {
    matter: Matter,
    edition: Arc<Edition>,
    id: FragmentId,
    request: Arc<SourceRequest>,
    found: Found,
}

/// What a request has found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Well,
    Unwell,
    /// The origin cannot be reached, whatever it is asked.
    Unreached,
    /// Who was not let in has found out nothing.
    Nothing,
}

impl Found {
    fn of(answered: &Result<(), Cause>) -> Self {
        match answered {
            Ok(()) => Self::Well,
            Err(Cause::Open | Cause::Busy | Cause::Limited) => Self::Nothing,
            Err(Cause::Connect(_)) => Self::Unreached,
            Err(_) => Self::Unwell,
        }
    }
}

/// What can be asked.
struct Target {
    id: FragmentId,
    origin: OriginId,
    grade: Grade,
    /// Whether a page can ask nothing else of the origin as one of that grade.
    is_all_there_is: bool,
}

struct Prober {
    composer: Arc<Composer>,
    edition: Arc<Edition>,
    targets: Vec<Target>,
    under_way: BTreeSet<Matter>,
    /// Which of the fragments of an origin and grade is asked for, where there are several: the same
    /// as long as it is answered.
    turns: BTreeMap<(OriginId, Grade), usize>,
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
        let known: Vec<(usize, Arc<SourceRequest>)> = self
            .targets
            .iter()
            .enumerate()
            .filter_map(|(index, target)| {
                let fragment = edition.site.fragment(target.id);
                // what no page shows no page can ask for
                let is_all = target.is_all_there_is || is_off(&edition.site, target.id);
                let request = self.composer.requests.request(fragment, is_all)?;
                Some((index, request))
            })
            .collect();
        let (known, targets) = (&known, &self.targets);
        let of = move |origin: OriginId, grade: Grade| {
            known.iter().filter(move |(index, _)| {
                let target = &targets[*index];
                target.origin == origin && target.grade == grade
            })
        };
        let is_known = |origin, grade| of(origin, grade).next().is_some();
        let due = edition.fetcher.probes_due(is_known, now + LEASE);
        let of_breakers = due.into_iter().filter_map(|(origin, grade)| {
            let turn = self.turns.get(&(origin, grade)).copied().unwrap_or(0);
            let count = of(origin, grade).count();
            let (index, request) = of(origin, grade).nth(turn % count.max(1))?;
            let id = self.targets[*index].id;
            Some((Matter::Breaker(origin, grade), id, Arc::clone(request)))
        });
        let of_blocks = known.iter().filter_map(|(index, request)| {
            let target = &self.targets[*index];
            let asked = self.asked.get(&target.id);
            let is_soon =
                asked.is_some_and(|at| now.saturating_duration_since(*at) < GIVEN_UP_PAUSE);
            let is_left_alone = edition.fetcher.is_left_alone(target.origin, target.grade);
            let is_asked = !is_soon && !is_left_alone && is_off(&edition.site, target.id);
            is_asked.then(|| (Matter::Block(target.id), target.id, Arc::clone(request)))
        });
        let all: Vec<_> = of_breakers.chain(of_blocks).collect();
        let begun = all.into_iter().filter_map(|(matter, id, request)| {
            if !self.under_way.insert(matter) {
                return None;
            }
            if let Matter::Block(id) = matter {
                self.asked.insert(id, now);
            }
            let order = order(&self.composer, &edition);
            let asking = async move {
                let found = Found::of(&work::probe(&order, id, &request).await);
                Ended {
                    matter,
                    edition: order.edition,
                    id,
                    request,
                    found,
                }
            };
            Some(asking.boxed())
        });
        begun.collect()
    }

    fn ended(&mut self, ended: Ended) {
        let (matter, found) = (ended.matter, ended.found);
        self.under_way.remove(&matter);
        let is_of_this_site = Arc::ptr_eq(&ended.edition, &self.edition);
        if is_of_this_site && matches!(found, Found::Well | Found::Unwell) {
            let fragment = ended.edition.site.fragment(ended.id);
            let requests = &self.composer.requests;
            requests.asked(fragment, &ended.request, found == Found::Well);
        }
        let has_failed = matches!(found, Found::Unwell | Found::Unreached);
        if let (Matter::Breaker(origin, grade), true) = (matter, has_failed) {
            let turn = self.turns.entry((origin, grade)).or_default();
            *turn = turn.wrapping_add(1);
        }
    }
}

/// What of a site can be asked for without a reader.
fn targets(site: &Site) -> Vec<Target> {
    let asked = |fragment: &Fragment| match fragment.source {
        Source::Http { origin, .. } => Some((origin, fragment.priority.grade())),
        Source::Push(_) | Source::Ready(_) => None,
    };
    // a document is what its proxy asks for
    let blocks = &site.markup.blocks;
    let is_document = |place: usize| blocks.contains(&Some(FragmentId(place)));
    let fragments = site.fragments.iter().enumerate();
    let fragments = fragments.filter(|(place, _)| !is_document(*place));
    let targets = fragments.filter_map(|(index, fragment)| {
        let (origin, grade) = asked(fragment)?;
        let of_same = site.fragments.iter().zip(0..);
        let of_same = of_same.filter(|(_, place)| !is_document(*place));
        let of_same = of_same.filter_map(|(fragment, _)| asked(fragment));
        let is_alone = of_same.filter(|of| *of == (origin, grade)).count() == 1;
        let target = Target {
            id: FragmentId(index),
            origin,
            grade,
            is_all_there_is: is_alone && fragment.same_request.is_some(),
        };
        may_be_repeated(fragment).then_some(target)
    });
    targets.collect()
}

/// What there is to know of a request that is made for nobody.
fn order(composer: &Arc<Composer>, edition: &Arc<Edition>) -> Order {
    Order {
        composer: Arc::clone(composer),
        edition: Arc::clone(edition),
        trace: Trace::random(fastrand::u128(..)),
        trail: Arc::default(),
        facts: Arc::new(Facts::default()),
        level: Level::FULL,
        reader: Reader::NOBODY,
        overrides: Arc::default(),
        is_frugal: true,
        is_rehearsal: false,
        drawn: None,
        lazy_on: None,
    }
}
