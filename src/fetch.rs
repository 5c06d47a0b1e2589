//! Asking origins. Owns the one door to each origin and the guards in front of it, in order: breaker,
//! bulkhead, choice of a replica, attempt under a deadline, retry, hedge. Knows nothing of caches, pages
//! or templates.
//!
//! What is decided (by [breaker](self), bulkhead, balance, budgets) is pure and behind one lock for each
//! origin; what is done is in the exchange. Invariants: what comes out is a whole answer that satisfied
//! every limit, or a [`Cause`], never a part of a body; and what one origin does costs no other one
//! anything, because nothing here is shared between two of them.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::fragment::{OriginId, Priority};
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
mod lag;
mod latency;
pub mod origin;
mod retry;
pub mod state;
mod verdict;
mod window;

pub use attempt::{Answer, Ask, Content, Expect, WithoutContent};
pub use door::Receipt;
pub use lag::Lag;
pub use origin::{Origin, OriginRequest, OriginResponse};

use balance::Turn;
use breaker::Verdict;
use door::{Door, UnderWay};

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
    /// replicas, in their order. A door of `previous` whose declaration has not changed is taken over,
    /// with its connections, what it has in flight and all that is known of the origin.
    pub fn new(
        site: &Site,
        previous: Option<&Self>,
        means: &Means,
        mut connect: impl FnMut(&OriginSpec) -> Result<Vec<Arc<dyn Origin>>, Cause>,
    ) -> Result<Self, Cause> {
        let open = |spec: &OriginSpec| {
            let known = previous.and_then(|p| p.doors.iter().find(|door| door.spec == *spec));
            match known {
                Some(door) => Ok(Arc::clone(door)),
                None => {
                    let replicas = connect(spec)?;
                    Ok(Arc::new(Door::new(spec.clone(), replicas, means.clone())))
                }
            }
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
        loop {
            let under_way = pass_through(door, &tried);
            let Turn { replica, .. } = under_way.ticket.turn;
            tried.push(replica);
            // a replica that refuses the connection has not seen the request: the next one may have it
            let again = request.copy();
            let sent = under_way.origin().send(request).await;
            match (sent, again) {
                (Ok(mut response), _) => {
                    under_way.settle(Verdict::Good, false);
                    response.hold(permit);
                    return Ok(response);
                }
                (Err(cause @ Cause::Connect(_)), again) => {
                    under_way.settle(Verdict::Failed, false);
                    let has_next = door.guards.lock().balance.has_next(&tried);
                    request = again.filter(|_| has_next).ok_or(cause)?;
                }
                (Err(cause), _) => return Err(cause),
            }
        }
    }

    /// Asks the replicas of every origin that has a health check, at its intervals, for as long as
    /// there is a fetcher with this door.
    pub fn check_health(&self, tasks: &tokio_util::task::TaskTracker) {
        for door in &self.doors {
            health::begin(door, tasks);
        }
    }

    /// How an origin is.
    pub fn state(&self, id: OriginId) -> state::OriginState {
        state::of(&self.doors[id.index()])
    }

    /// Requests in flight at an origin, and how many it may have.
    pub fn in_flight(&self, id: OriginId) -> (usize, usize) {
        let door = &self.doors[id.index()];
        let taken = door.guards.lock().bulkhead.in_flight();
        (taken, door.spec.max_in_flight)
    }
}

fn pass_through(door: &Arc<Door>, tried: &[usize]) -> UnderWay {
    let now = door.means.clock.now();
    let ticket =
        door.with(|guards, news| guards.pass_through(tried, now, &mut fastrand::f64, news));
    UnderWay::new(door, ticket)
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.doors.iter().map(|door| &door.spec.name))
            .finish()
    }
}
