//! Faults that are set on purpose (shell): which are in force, what they have hit, and when they end. Owns
//! that each has an end, however it comes; what a fault does to a request is decided in [`faults`], and done
//! by an [`Origin`](crate::fetch::Origin) that stands [in front](Faulty) of the real one. What comes of it
//! goes its usual way: the breaker counts a failure that was made here as any other, and the page takes its
//! chain.
//!
//! # How a fault ends
//!
//! By itself when its time is over, or when as many pages as it may have had it; at once when somebody says
//! so, when an error budget burns, and when the site declares it no more. A server that starts knows of
//! none but those that its site declares for this moment: a restart is always a way out.
//!
//! # Who is hit
//!
//! A fault for all is the origin's own state: health checks and probes meet it as pages do. One for a share
//! of the pages, or for those with a token, is for these only: what is asked for them is shared with no
//! other page and kept as no copy, so that nobody else sees anything of it.
//!
//! Invariant: while no fault is in force a request costs one look at a flag.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Instant, Moment};
use crate::degradation::Reader;
use crate::degradation::switches::Window;
use crate::fetch::origin::{Drawn, Whom};
use crate::fragment::FragmentId;
use crate::report::{Event, FaultChange, FaultEnd, Observer, PageReport, Signature, SloChange};
use crate::site::chaos::{FaultRoom, FaultSpec, Harm, HarmKind, StopOn, Target};
use crate::site::{Address, Page, Site};

pub mod faults;
mod names;
mod origin;
pub mod shown;
mod store;
mod wanted;

pub use origin::Faulty;
pub use shown::State;
pub use wanted::Wanted;

use faults::{Asked, Effect, Rule};

/// Faults at once: more than anybody could tell apart.
pub const FAULTS_MAX: usize = 16;

/// Of the faults that are over, so many are remembered.
const PAST_MAX: usize = 32;

/// The faults of one server.
pub struct Chaos {
    clock: Clock,
    observers: Vec<Arc<dyn Observer>>,
    /// Whether any is in force: all that a request looks at while none is.
    is_active: AtomicBool,
    running: ArcSwap<Vec<Arc<Running>>>,
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Default)]
struct Held {
    declared: Vec<FaultSpec>,
    /// The hosts of each origin, by its name.
    hosts: BTreeMap<String, Vec<String>>,
    /// Windows of declared faults that were ended before their time.
    done: BTreeMap<String, Window>,
    /// What the error budgets leave room for.
    room: FaultRoom,
    past: VecDeque<Past>,
    /// Requests that faults have hit since the start, by what was done on what.
    counts: BTreeMap<(Target, HarmKind), Arc<AtomicU64>>,
}

/// Requests that faults have hit since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// What was done, in one word.
    pub harm: &'static str,
    /// On what.
    pub on: String,
    /// So often.
    pub requests: u64,
}

/// A fault that is in force.
pub struct Running {
    spec: FaultSpec,
    seed: u64,
    since: Instant,
    began: Moment,
    until: Moment,
    /// Whether it has begun because the site says so.
    is_by_clock: bool,
    hosts: Vec<String>,
    pages: AtomicU64,
    requests: AtomicU64,
    /// The same of all faults that do this on this.
    of_kind: Arc<AtomicU64>,
    number: AtomicU64,
    /// Cancelled at its end: whatever it holds up goes on.
    over: CancellationToken,
}

/// A fault that is over.
#[derive(Debug, Clone)]
struct Past {
    spec: FaultSpec,
    began: Moment,
    ended: Moment,
    how: FaultEnd,
    signed: Signature,
    pages: u64,
    requests: u64,
}

/// Why a fault was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What is promised to readers leaves no room for it.
    #[error("{0}")]
    Forbidden(String),
    /// There are as many as there may be.
    #[error("{FAULTS_MAX} faults are in force already: end some of them first")]
    Full,
}

impl Running {
    fn rule(&self) -> Rule<'_> {
        Rule {
            spec: &self.spec,
            seed: self.seed,
            since: self.since,
        }
    }

    /// What it does, to whom, by whom.
    pub fn spec(&self) -> &FaultSpec {
        &self.spec
    }

    fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.of_kind.fetch_add(1, Ordering::Relaxed);
    }

    /// The next request that it could hit.
    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }
}

impl Chaos {
    /// No fault.
    pub fn new(clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        Self {
            clock,
            observers,
            is_active: AtomicBool::new(false),
            running: ArcSwap::default(),
            held: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether a fault is in force.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// What the site declares, now and after each reload. One that the clock has begun ends when it is
    /// declared no more, or as another one; what somebody has set stays.
    pub fn declare(&self, site: &Site) {
        let mut ended = Vec::new();
        {
            let mut held = self.held.lock();
            held.declared.clone_from(&site.faults);
            held.hosts = hosts(site);
            held.counts.retain(|(target, _), _| is_known(site, target));
            let declared = |running: &Arc<Running>| held.declared.contains(&running.spec);
            let running = self.running.load_full();
            let gone = running.iter().filter(|r| r.is_by_clock && !declared(r));
            for one in gone.cloned().collect::<Vec<_>>() {
                let why = Signature::because("the site does not declare it any more");
                ended.extend(self.stop(&mut held, &one.spec.name, FaultEnd::Undeclared, why));
            }
        }
        self.tell(ended);
        self.turn();
        self.changed.notify_one();
    }

    /// The fault of this name that the site declares.
    pub fn declared(&self, name: &str) -> Option<FaultSpec> {
        let held = self.held.lock();
        held.declared.iter().find(|spec| spec.name == name).cloned()
    }

    /// Begins a fault, and gives the one of the same name whose place it takes. It is in force when this
    /// returns.
    pub fn begin(&self, spec: FaultSpec) -> Result<Option<Arc<Running>>, Refused> {
        let name = spec.name.clone();
        let mut told = Vec::new();
        let replaced = {
            let mut held = self.held.lock();
            if let Some(why) = held.room.refuses(spec.stop_on) {
                return Err(Refused::Forbidden(why));
            }
            let before = self.running.load();
            let replaced = before.iter().find(|r| r.spec.name == name).cloned();
            if replaced.is_none() && before.len() >= FAULTS_MAX {
                return Err(Refused::Full);
            }
            let why = Signature::because("another takes its place");
            told.extend(self.stop(&mut held, &name, FaultEnd::Replaced, why));
            told.push(self.start(&mut held, spec, None));
            replaced
        };
        self.tell(told);
        self.changed.notify_one();
        Ok(replaced)
    }

    /// Ends a fault on behalf of somebody; `None` if there is none of this name.
    pub fn end(&self, name: &str, signed: Signature) -> Option<Arc<Running>> {
        let found = self.find(name)?;
        let told = {
            let mut held = self.held.lock();
            self.stop(&mut held, name, FaultEnd::Ended, signed)
        };
        self.tell(told);
        self.changed.notify_one();
        Some(found)
    }

    /// Requests that were hit since the start, by what was done and on what.
    pub fn counted(&self) -> Vec<Counted> {
        let held = self.held.lock();
        let counts = held.counts.iter();
        let counted = counts.map(|((target, harm), count)| Counted {
            harm: harm.label(),
            on: target.to_string(),
            requests: count.load(Ordering::Relaxed),
        });
        counted.collect()
    }

    /// The fault of this name that is in force.
    pub fn find(&self, name: &str) -> Option<Arc<Running>> {
        let running = self.running.load();
        running.iter().find(|r| r.spec.name == name).cloned()
    }

    /// From now on faults have the room that error budgets leave them: those that it refuses end, and none
    /// of them begins. `now` is asked once nobody else is, so that what was so before does not come after.
    pub fn heed(&self, now: impl FnOnce() -> FaultRoom) {
        let told = {
            let mut held = self.held.lock();
            held.room = now();
            let room = held.room.clone();
            self.abort(&mut held, |spec| room.refuses(spec.stop_on))
        };
        self.tell(told);
        self.changed.notify_one();
    }

    /// Ends those for which there is a reason.
    fn abort(&self, held: &mut Held, why: impl Fn(&FaultSpec) -> Option<String>) -> Vec<Event> {
        let running = self.running.load_full();
        let stop = |one: &Arc<Running>| {
            let signed = Signature::because(&why(&one.spec)?);
            self.stop(held, &one.spec.name, FaultEnd::Aborted, signed)
        };
        running.iter().filter_map(stop).collect()
    }

    /// Which faults that are not everybody's a page has, for this reader; what is in force for all it has
    /// at any rate. It is counted for each.
    pub fn draw(
        &self,
        site: &Site,
        (page, path): (&Page, &str),
        reader: Reader,
        is_signed: bool,
    ) -> Option<Arc<Drawn>> {
        if !self.is_active() {
            return None;
        }
        let running = self.running.load();
        let mut drawn = Drawn::default();
        for one in running.iter() {
            let hit = hit(site, page, &one.spec.target);
            let has_it = !hit.is_empty() && one.rule().is_for(reader, path, is_signed);
            if !has_it || !self.counts(one) || one.spec.reach.is_all() {
                continue;
            }
            drawn.faults.push(Arc::from(one.spec.name.as_str()));
            drawn.fragments.extend(hit);
        }
        (!drawn.faults.is_empty()).then(|| Arc::new(drawn))
    }

    /// Counts a page; tells whether it may have the fault. The first one that may not ends it.
    fn counts(&self, one: &Arc<Running>) -> bool {
        let before = one.pages.fetch_add(1, Ordering::Relaxed);
        if before == one.spec.pages_max {
            let why = format!("{before} pages have had it, as many as may");
            let told = {
                let mut held = self.held.lock();
                let signed = Signature::because(&why);
                self.stop(&mut held, &one.spec.name, FaultEnd::Full, signed)
            };
            self.tell(told);
            self.changed.notify_one();
        }
        before < one.spec.pages_max
    }

    /// What becomes of a request.
    fn hits(&self, origin: &str, whom: Whom<'_>) -> Vec<(Effect, Arc<Running>)> {
        let asked = Asked {
            origin,
            fragment: whom.fragment,
            drawn: whom.faults,
        };
        let now = self.clock.now();
        let running = self.running.load();
        let about = running.iter().filter(|one| one.rule().is_about(&asked));
        let hit = about.filter_map(|one| {
            let effect = one.rule().decide(&asked, one.next(), now)?;
            one.count_request();
            if let Some((trail, span_id)) = whom.attempt {
                trail.hit(span_id, &one.spec.name);
            }
            Some((effect, Arc::clone(one)))
        });
        hit.collect()
    }

    /// Begins and ends faults by the clock, until `stop`.
    pub async fn tend(self: Arc<Self>, stop: CancellationToken) {
        loop {
            self.turn();
            let next = self.next_change();
            let change = async {
                match next {
                    Some(next) => sleep(next.since(self.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = change => {}
            }
        }
    }

    fn next_change(&self) -> Option<Moment> {
        let now = self.now();
        let held = self.held.lock();
        let running = self.running.load();
        let ends = running.iter().map(|one| one.until);
        let windows = held.declared.iter().filter_map(|spec| spec.window);
        let begins = windows.map(|window| window.from).filter(|from| *from > now);
        ends.chain(begins).min()
    }

    /// Does what is due.
    fn turn(&self) {
        let now = self.now();
        let mut told = Vec::new();
        {
            let mut held = self.held.lock();
            let running = self.running.load_full();
            for one in running.iter().filter(|one| one.until <= now) {
                let signed = Signature::because("its time is over");
                told.extend(self.stop(&mut held, &one.spec.name, FaultEnd::Over, signed));
            }
            let due: Vec<FaultSpec> = held.due(now).cloned().collect();
            for spec in due {
                let running = self.running.load();
                let is_there = running.iter().any(|r| r.spec.name == spec.name);
                let is_refused = held.room.refuses(spec.stop_on).is_some();
                if is_there || is_refused || running.len() >= FAULTS_MAX {
                    continue;
                }
                let window = spec.window;
                told.push(self.start(&mut held, spec, window));
            }
        }
        self.tell(told);
    }

    /// Begins a fault, by hand or in a window of the clock.
    fn start(&self, held: &mut Held, spec: FaultSpec, window: Option<Window>) -> Event {
        let now = self.clock.now();
        let hosts = match (&spec.target, spec.harm) {
            (Target::Origin(name), Harm::Dns) => held.hosts.get(name).cloned(),
            _ => None,
        };
        let began = self.clock.moment(now);
        let until = window.map_or(began.after(spec.lasts), |window| window.until);
        let event = Event::Chaos {
            name: spec.name.clone(),
            on: spec.target.to_string(),
            change: FaultChange::Begun {
                says: spec.says(),
                lasts: until.since(began),
                pages_max: spec.pages_max,
            },
            signed: Signature {
                by: Some(spec.owner.clone()),
                reason: Some(spec.reason.clone()),
            },
        };
        let kind = (spec.target.clone(), spec.harm.kind());
        let one = Arc::new(Running {
            of_kind: Arc::clone(held.counts.entry(kind).or_default()),
            seed: faults::seed_of(&spec.name),
            spec,
            since: now,
            began,
            until,
            is_by_clock: window.is_some(),
            hosts: hosts.unwrap_or_default(),
            pages: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            number: AtomicU64::new(0),
            over: CancellationToken::new(),
        });
        let mut running = Vec::clone(&self.running.load());
        running.push(one);
        self.running.store(Arc::new(running));
        self.is_active.store(true, Ordering::Relaxed);
        event
    }

    fn stop(&self, held: &mut Held, name: &str, how: FaultEnd, signed: Signature) -> Option<Event> {
        let mut running = Vec::clone(&self.running.load());
        let place = running.iter().position(|one| one.spec.name == name)?;
        let one = running.remove(place);
        self.is_active.store(!running.is_empty(), Ordering::Relaxed);
        self.running.store(Arc::new(running));
        one.over.cancel();
        if let Some(window) = one.spec.window.filter(|_| one.is_by_clock) {
            held.done.insert(name.to_owned(), window);
        }
        let pages = one.pages.load(Ordering::Relaxed).min(one.spec.pages_max);
        let requests = one.requests.load(Ordering::Relaxed);
        held.past.push_front(Past {
            spec: one.spec.clone(),
            began: one.began,
            ended: self.now(),
            how,
            signed: signed.clone(),
            pages,
            requests,
        });
        held.past.truncate(PAST_MAX);
        Some(Event::Chaos {
            name: name.to_owned(),
            on: one.spec.target.to_string(),
            change: FaultChange::Ended {
                how,
                pages,
                requests,
            },
            signed,
        })
    }

    fn tell(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let tell = |observer: &Arc<dyn Observer>| observer.event(&event);
            self.observers.iter().for_each(tell);
        }
    }

    fn now(&self) -> Moment {
        self.clock.moment(self.clock.now())
    }
}

impl Held {
    /// What the clock says is to be in force.
    fn due(&self, now: Moment) -> impl Iterator<Item = &FaultSpec> {
        let is_done = |spec: &&FaultSpec| self.done.get(&spec.name) == spec.window.as_ref();
        let due = self.declared.iter().filter(move |spec| spec.is_due(now));
        due.filter(move |spec| !is_done(spec))
    }
}

impl Observer for Chaos {
    fn page(&self, _: &PageReport<'_>) {}

    fn event(&self, event: &Event) {
        let Event::Slo { objective, change } = event else {
            return;
        };
        let is_meant: fn(&FaultSpec) -> bool = match change {
            SloChange::Burning { .. } => |spec| spec.stop_on == StopOn::Burning,
            SloChange::Spent => |_| true,
            SloChange::Recovered | SloChange::Restored => return,
        };
        let why = format!("the objective {objective} {change}");
        let why = |spec: &FaultSpec| is_meant(spec).then(|| why.clone());
        let told = self.abort(&mut self.held.lock(), why);
        self.tell(told);
    }

    fn reads_pages(&self) -> bool {
        false
    }
}

/// What of a page something on this target hits.
fn hit(site: &Site, page: &Page, target: &Target) -> Vec<FragmentId> {
    let is_hit = |id: &FragmentId| {
        let fragment = site.fragment(*id);
        match target {
            Target::Fragment(name) => fragment.name == *name,
            Target::Origin(name) => {
                let origin = fragment.source.origin();
                origin.is_some_and(|origin| site.origin(origin).name == *name)
            }
            Target::Store => fragment.source.origin().is_some(),
        }
    };
    page.members
        .iter()
        .map(|member| member.fragment)
        .filter(is_hit)
        .collect()
}

/// Whether a site has it: the series of its counts are bounded by what is declared.
fn is_known(site: &Site, target: &Target) -> bool {
    match target {
        Target::Origin(name) => site.origins.iter().any(|origin| origin.name == *name),
        Target::Fragment(name) => site.fragment_named(name).is_some(),
        Target::Store => true,
    }
}

/// The hosts of each origin that have names.
fn hosts(site: &Site) -> BTreeMap<String, Vec<String>> {
    let of = |address: &Address| match address {
        Address::Url(url) => {
            let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let authority = authority.parse::<http::uri::Authority>().ok()?;
            Some(authority.host().to_owned())
        }
        Address::Unix(_) => None,
    };
    let origins = site.origins.iter().map(|origin| {
        let hosts = origin.replicas.iter().filter_map(|r| of(&r.address));
        (origin.name.clone(), hosts.collect())
    });
    origins.collect()
}
