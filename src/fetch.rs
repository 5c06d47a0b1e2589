//! Asking origins. Owns the limiter of each optional fragment, the one door to each origin and the guards
//! in front of it, in order: breaker, bulkhead, choice of a replica, attempt under a deadline, retry,
//! hedge. Knows nothing of caches, pages or templates.
//!
//! What is decided (by breaker, bulkhead, balance, budgets) is pure and behind one lock for each
//! origin; what is done is in the exchange. Invariants: what comes out is a whole answer that satisfied
//! every limit, or a [`Cause`], never a part of a body; and what one origin does costs no other one
//! anything, because nothing here is shared between two of them but the knowledge that many are late at
//! once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::http::StatusCode;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Instant};
use crate::degradation::{BlockReading, Lag, Reader};
use crate::fragment::{FragmentId, Grade, OriginId, Priority};
use crate::report::{Cause, Observer};
use crate::site::{OriginSpec, Site};

pub mod attempt;
mod balance;
mod blocks;
mod breaker;
mod budget;
mod bulkhead;
mod canary;
pub mod dns;
mod door;
mod exchange;
mod guards;
mod health;
pub mod hop;
pub mod http;
pub mod inflate;
mod latency;
pub(crate) mod limiter;
pub mod origin;
pub(crate) mod rehearsal;
mod replica;
mod retry;
mod shared_fault;
pub mod state;
mod verdict;
mod window;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use retry::hold as hold_of_retry_after;

pub use attempt::{Answer, Ask, Content, Expect, WithoutContent};
pub use door::Receipt;
pub use origin::{Origin, OriginRequest, OriginResponse};
pub use state::BlockState;

use blocks::Blocks;
use door::{Door, UnderWay};
use shared_fault::SharedFault;
use verdict::Verdict;

/// The doors to the origins of one site.
pub struct Fetcher {
    doors: Vec<Arc<Door>>,
    blocks: Blocks,
    shared_fault: Mutex<SharedFault>,
    clock: Clock,
}

/// What the doors need of the world.
#[derive(Clone)]
pub struct Means {
    /// The time.
    pub clock: Clock,
    /// How late this process is.
    pub lag: Arc<Lag>,
    /// Whether blocks whose origin is slower than usual give way. That needs somebody who
    /// [ticks](Fetcher::tick), and is worse than nothing where the work of pages is not looked after as
    /// well: origins that answer again under a crowd would drown whoever composes.
    pub is_limiting: Arc<AtomicBool>,
    /// Who is told what happens to an origin.
    pub observers: Vec<Arc<dyn Observer>>,
}

impl Means {
    /// A process that is not late, until somebody measures it, and limits nobody.
    pub fn new(clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        Self {
            clock,
            lag: Arc::default(),
            is_limiting: Arc::default(),
            observers,
        }
    }
}

/// On which terms something is fetched.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// For which fragment.
    pub fragment: FragmentId,
    /// How much the page wants it.
    pub priority: Priority,
    /// Whether there is something to show instead, if nothing comes.
    pub has_instead: bool,
    /// When the origin has missed its time, from now.
    pub timeout: Duration,
    /// When even a late answer is not waited for any more, from now.
    pub end_after: Duration,
    /// Whether a second replica may be asked when the first is slow.
    pub hedge: bool,
    /// Whether nothing may be asked twice: the page gives blocks up already.
    pub is_frugal: bool,
    /// Whether nobody waits for it: it is to find out how the origin is.
    pub is_probe: bool,
}

/// A whole answer.
#[derive(Debug)]
pub struct Fetched {
    /// What was answered.
    pub answer: Answer,
    /// To say that it is none after all.
    pub receipt: Receipt,
}

impl Fetcher {
    /// Opens a door to each origin of the site; `connect` gives the connections to each of its
    /// replicas, in their order. Of a door of `previous` whose replicas have not changed everything is
    /// taken over: connections, what is in flight, and all that is known of the origin.
    pub fn new(
        site: &Site,
        previous: Option<&Self>,
        means: &Means,
        mut connect: impl FnMut(&OriginSpec) -> Result<Vec<Arc<dyn Origin>>, Cause>,
    ) -> Result<Self, Cause> {
        let open = |spec: &OriginSpec| {
            let mut doors = previous.map(|p| p.doors.iter()).into_iter().flatten();
            let known = doors.find(|door| door.spec.name == spec.name);
            match known {
                Some(door) if door.spec == *spec => return Ok(Arc::clone(door)),
                Some(door) if let Some(door) = door.declared(spec) => return Ok(Arc::new(door)),
                Some(_) | None => {}
            }
            let replicas = connect(spec)?;
            Ok(Arc::new(Door::new(spec.clone(), replicas, means.clone())))
        };
        let doors: Vec<Arc<Door>> = site.origins.iter().map(open).collect::<Result<_, _>>()?;
        let is_known = |origin: usize| {
            let mut known = previous.map(|p| p.doors.iter()).into_iter().flatten();
            known.any(|door| Arc::ptr_eq(&door.guards, &doors[origin].guards))
        };
        let blocks = Blocks::new(
            site,
            previous.map(|previous| &previous.blocks),
            means.clock,
            Arc::clone(&means.is_limiting),
            is_known,
        );
        Ok(Self {
            doors,
            blocks,
            shared_fault: Mutex::default(),
            clock: means.clock,
        })
    }

    /// Asks an origin for a whole answer.
    pub async fn fetch(
        &self,
        id: OriginId,
        ask: &Ask<'_>,
        expect: &Expect<'_>,
        mut terms: Terms,
    ) -> Result<Fetched, Cause> {
        let admission = self.blocks.admit(terms.fragment)?;
        // what gives way does not ask twice
        terms.is_frugal |= self.blocks.gives_way(terms.fragment);
        exchange::run(&self.doors[id.index()], ask, expect, terms, admission).await
    }

    /// Whether the pages of this reader ask for a fragment: while its origin is slower than usual, only
    /// those of some readers do, and always the same ones.
    pub fn is_asked_by(&self, id: FragmentId, reader: Reader) -> bool {
        self.blocks.is_asked_by(id, reader)
    }

    /// Looks at what has happened since the tick before, which was `span` ago: at whether origins are
    /// late for a common reason, and at each optional fragment. Where the shortage of a block `is_shared`
    /// by many, whole blocks are given up elsewhere and its share recovers. To be called ten times a
    /// second.
    pub fn tick(
        &self,
        span: Duration,
        is_shared: impl Fn(FragmentId) -> bool,
    ) -> Vec<(FragmentId, BlockReading)> {
        let now = self.clock.now();
        let late = self.doors.iter().map(|door| door.guards.lock().lately(now));
        let is_late_together =
            self.blocks.is_limiting() && self.shared_fault.lock().look(late, now);
        let mut is_open = Vec::with_capacity(self.doors.len());
        for (index, door) in self.doors.iter().enumerate() {
            // where less is asked of an origin already, because many are short, that is the remedy
            let is_short = self.blocks.of_origin(index).any(&is_shared);
            let mut guards = door.guards.lock();
            guards.inhibit(is_late_together || is_short);
            is_open.push(guards.breaker(Grade::Optional).is_open());
        }
        self.blocks.tick(span, is_shared, |origin| is_open[origin])
    }

    /// The origins, and the grades of those who ask, of which it is to be found out now how they are.
    /// For those that are `known` to be asked apart until `until`, no page does it.
    pub fn probes_due(
        &self,
        known: impl Fn(OriginId, Grade) -> bool,
        until: Instant,
    ) -> Vec<(OriginId, Grade)> {
        let now = self.clock.now();
        let doors = self.doors.iter().enumerate();
        let due = doors.flat_map(|(index, door)| {
            let id = OriginId(index);
            let mut guards = door.guards.lock();
            let due = guards.probes_due(&|grade| known(id, grade), until, now);
            due.into_iter().map(move |grade| (id, grade))
        });
        due.collect()
    }

    /// What an answer takes usually, by the fragment's name, in milliseconds: what is worth knowing
    /// after a restart.
    pub fn baselines(&self) -> BTreeMap<String, f64> {
        self.blocks.baselines()
    }

    /// What was known before a restart, for what has not been learned since. Names that the site does
    /// not have, and what cannot be a time, are left out.
    pub fn restore(&self, baselines: &BTreeMap<String, f64>) {
        self.blocks.restore(baselines, self.clock.now());
    }

    /// How each optional fragment is, by its name.
    pub fn block_states(&self) -> BTreeMap<String, BlockState> {
        self.blocks.state()
    }

    /// Passes a request through to an origin; the answer is streamed. As many streams may be open
    /// as fragments may be in flight, and neither takes the other's place. A connection that has
    /// left HTTP is a stream until it ends.
    ///
    /// The breaker has no say: what is passed through was asked for by a reader, who has nothing else.
    pub async fn pass(
        &self,
        id: OriginId,
        mut request: OriginRequest,
    ) -> Result<OriginResponse, Cause> {
        let door = &self.doors[id.index()];
        let permit = Arc::clone(&door.streams)
            .try_acquire_owned()
            .map_err(|_| Cause::Busy)?;
        let mut tried = Vec::new();
        let mut ticket = door.with(|guards, news| {
            let now = door.means.clock.now();
            guards.pass_through(request.body.is_none(), now, &mut fastrand::f64, news)
        });
        loop {
            let under_way = UnderWay::new(door, ticket, door.means.clock.now());
            tried.push(ticket.turn.replica);
            let copy = request.copy();
            let cause = match under_way.origin().send(request).await {
                Ok(mut response) => {
                    // how long it took is as much the reader's doing, who may have sent a film first
                    if is_gateway_failure(response.status) {
                        under_way.settle(Verdict::Failed);
                    }
                    response.hold(permit);
                    return Ok(response);
                }
                Err(cause) => cause,
            };
            under_way.settle(Verdict::of(&cause));
            let Cause::Connect(_) = cause else {
                return Err(cause);
            };
            // a replica that refuses the connection has not seen the request: the next one may have it
            request = copy.ok_or_else(|| cause.clone())?;
            let next = door.with(|guards, news| {
                let now = door.means.clock.now();
                guards.pass_on(&tried, now, &mut fastrand::f64, news)
            });
            ticket = next.ok_or(cause)?;
        }
    }

    /// Asks the replicas of every origin that has a health check, at its intervals, for as long as
    /// there is a fetcher with this door, and until `stop`.
    pub fn check_health(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for door in &self.doors {
            health::begin(door, tasks, stop);
        }
    }

    /// Whether canaries are not asked at present: there is no room for trials.
    pub fn pause_canaries(&self, are_paused: bool) {
        for door in &self.doors {
            door.guards.lock().balance.pause_canaries(are_paused);
        }
    }

    /// Whether requests of this grade are not made at present, but for those that find out how the
    /// origin is.
    pub fn is_left_alone(&self, id: OriginId, grade: Grade) -> bool {
        let guards = self.doors[id.index()].guards.lock();
        guards.breaker(grade).is_open()
    }

    /// How an origin is.
    pub fn state(&self, id: OriginId) -> state::OriginState {
        let shared_fault = self.shared_fault.lock().is_present(self.clock.now());
        state::of(&self.doors[id.index()], shared_fault)
    }
}

/// What a sick replica says, and what no reader's request can make a well one say.
fn is_gateway_failure(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.doors.iter().map(|door| &door.spec.name))
            .finish()
    }
}
