//! Asking origins. Owns the one door to each origin and the guards in front of it, in order: breaker,
//! bulkhead, choice of a replica, attempt under a deadline, retry, hedge. Knows nothing of caches, pages
//! or templates.
//!
//! What is decided (by breaker, bulkhead, balance, budgets) is pure and behind one lock for each
//! origin; what is done is in the exchange. Invariants: what comes out is a whole answer that satisfied
//! every limit, or a [`Cause`], never a part of a body; and what one origin does costs no other one
//! anything, because nothing here is shared between two of them.

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::degradation::Lag;
use crate::fragment::{Grade, OriginId, Priority};
use crate::report::{Cause, Observer};
use crate::site::{OriginSpec, Site};

pub mod attempt;
mod balance;
mod breaker;
mod budget;
mod bulkhead;
mod canary;
pub mod dns;
mod door;
mod exchange;
mod guards;
mod health;
pub mod http;
mod latency;
pub(crate) mod limiter;
pub mod origin;
mod replica;
mod retry;
pub mod state;
mod verdict;
mod window;

pub use attempt::{Answer, Ask, Content, Expect, WithoutContent};
pub use door::Receipt;
pub use origin::{Origin, OriginRequest, OriginResponse};

use door::{Door, UnderWay};
use verdict::Verdict;

/// The doors to the origins of one site.
pub struct Fetcher {
    doors: Vec<Arc<Door>>,
}

/// What the doors need of the world.
#[derive(Clone)]
pub struct Means {
    /// The time.
    pub clock: Clock,
    /// How late this process is.
    pub lag: Arc<Lag>,
    /// Who is told what happens to an origin.
    pub observers: Vec<Arc<dyn Observer>>,
}

impl Means {
    /// A process that is not late, until somebody measures it.
    pub fn new(clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        Self {
            clock,
            lag: Arc::default(),
            observers,
        }
    }
}

/// On which terms something is fetched.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
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
        Ok(Self {
            doors: site
                .origins
                .iter()
                .map(open)
                .collect::<Result<_, Cause>>()?,
        })
    }

    /// Asks an origin for a whole answer.
    pub async fn fetch(
        &self,
        id: OriginId,
        ask: &Ask<'_>,
        expect: &Expect<'_>,
        terms: Terms,
    ) -> Result<Fetched, Cause> {
        exchange::run(&self.doors[id.index()], ask, expect, terms).await
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
            let under_way = UnderWay::new(door, ticket);
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

    /// Whether requests of this grade are not made at present, but for those that find out how the
    /// origin is.
    pub fn is_left_alone(&self, id: OriginId, grade: Grade) -> bool {
        self.doors[id.index()].is_left_alone(grade)
    }

    /// How an origin is.
    pub fn state(&self, id: OriginId) -> state::OriginState {
        state::of(&self.doors[id.index()])
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
