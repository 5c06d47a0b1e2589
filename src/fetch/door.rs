//! The door to one origin (shell): its guards behind a lock, its replicas, and who is told what happens.
//! Owns the rule that whatever was taken from the guards is given back, also when the work that took it
//! is dropped half-way.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::clock::Instant;
use crate::fragment::Grade;
use crate::report::{Cause, Event, Observer, OriginChange};
use crate::site::OriginSpec;

use super::Means;
use super::balance::News;
use super::breaker;
use super::guards::{Asker, Guards, Permit, Ticket, Tidings};
use super::origin::Origin;
use super::verdict::{Verdict, is_failure};

/// What outlives an edition, as long as the origin has the same replicas.
pub(super) struct Door {
    pub(super) spec: OriginSpec,
    pub(super) replicas: Vec<Arc<dyn Origin>>,
    pub(super) guards: Arc<Mutex<Guards>>,
    /// Apart from the fragments' places: a stream may stay open for hours.
    pub(super) streams: Arc<Semaphore>,
    pub(super) means: Means,
    /// Whether its health is being checked.
    pub(super) is_checked: AtomicBool,
}

impl Door {
    pub(super) fn new(spec: OriginSpec, replicas: Vec<Arc<dyn Origin>>, means: Means) -> Self {
        debug_assert_eq!(spec.replicas.len(), replicas.len());
        let guards = Guards::new(&spec, means.clock.now());
        Self {
            guards: Arc::new(Mutex::new(guards)),
            streams: Arc::new(Semaphore::new(spec.max_in_flight)),
            spec,
            replicas,
            means,
            is_checked: AtomicBool::new(false),
        }
    }

    /// The same origin, declared anew; `None` if its replicas, or the connections to them, are others.
    /// What is known of it and what is under way is kept.
    pub(super) fn declared(&self, spec: &OriginSpec) -> Option<Self> {
        let known = &self.spec;
        let is_same = known.replicas == spec.replicas
            && known.connections == spec.connections
            && known.connect_timeout == spec.connect_timeout;
        if !is_same {
            return None;
        }
        self.guards.lock().declare(spec, self.means.clock.now());
        let streams = match known.max_in_flight == spec.max_in_flight {
            true => Arc::clone(&self.streams),
            false => Arc::new(Semaphore::new(spec.max_in_flight)),
        };
        Some(Self {
            spec: spec.clone(),
            replicas: self.replicas.clone(),
            guards: Arc::clone(&self.guards),
            streams,
            means: self.means.clone(),
            is_checked: AtomicBool::new(false),
        })
    }

    /// Does something with the guards, and tells what came of it when they are free again.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Guards, &mut Tidings) -> T) -> T {
        let mut tidings = Tidings::default();
        let done = work(&mut self.guards.lock(), &mut tidings);
        self.tell(tidings);
        done
    }

    fn tell(&self, tidings: Tidings) {
        for (grade, moved) in tidings.origin {
            self.tell_of(None, of_breaker(Some(grade), moved));
        }
        for (replica, news) in tidings.replicas {
            let change = match news {
                News::Moved(moved) => of_breaker(None, moved),
                News::Withdrawn(worse) => OriginChange::CanaryWithdrawn {
                    why: worse.to_string(),
                },
            };
            self.tell_of(Some(replica), change);
        }
    }

    pub(super) fn tell_of(&self, replica: Option<usize>, change: OriginChange) {
        let event = Event::Origin {
            origin: self.spec.name.clone(),
            replica: replica.map(|index| self.spec.replicas[index].to_string()),
            owner: self.spec.owner.clone(),
            change,
        };
        let tell = |observer: &Arc<dyn Observer>| observer.event(&event);
        self.means.observers.iter().for_each(tell);
    }
}

fn of_breaker(of: Option<Grade>, moved: breaker::Move) -> OriginChange {
    OriginChange::Breaker {
        of,
        from: moved.from,
        to: moved.to,
        why: moved.why.to_string(),
        pause: moved.pause,
    }
}

/// Leave for one request, given back when it is dropped.
pub(super) struct Leave {
    door: Arc<Door>,
    permit: Option<Permit>,
}

impl Leave {
    /// Lets a request in, with the ticket of its first attempt.
    pub(super) fn take(door: &Arc<Door>, asker: Asker) -> Result<(Self, UnderWay), Cause> {
        let now = door.means.clock.now();
        let entered = door.with(|guards, news| guards.enter(asker, now, &mut fastrand::f64, news));
        let (permit, ticket) = entered?;
        let leave = Self {
            door: Arc::clone(door),
            permit: Some(permit),
        };
        Ok((leave, UnderWay::new(door, ticket, now)))
    }

    /// What was let through, until it is settled.
    pub(super) fn permit(&self) -> Option<Permit> {
        self.permit
    }

    /// Says what became of the request; the first word counts.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let now = self.door.means.clock.now();
        self.door
            .with(|guards, news| guards.settled(permit, verdict, now, fastrand::f64(), news));
    }

    /// Says that what became of it says nothing of the origin.
    pub(super) fn abandon(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.door.guards.lock().let_go(permit);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// One attempt, counted for as long as it is under way.
pub(super) struct UnderWay {
    door: Arc<Door>,
    pub(super) ticket: Ticket,
    pub(super) since: Instant,
    is_settled: bool,
}

impl UnderWay {
    /// One that begins at `since`.
    pub(super) fn new(door: &Arc<Door>, ticket: Ticket, since: Instant) -> Self {
        Self {
            door: Arc::clone(door),
            ticket,
            since,
            is_settled: false,
        }
    }

    /// Whom it asks.
    pub(super) fn origin(&self) -> Arc<dyn Origin> {
        Arc::clone(&self.door.replicas[self.ticket.turn.replica])
    }

    /// Says what became of it. That it is not said, as when this is dropped, is that nothing can be
    /// said of it.
    pub(super) fn settle(mut self, verdict: Verdict) {
        self.is_settled = true;
        let (now, ticket) = (self.door.means.clock.now(), self.ticket);
        self.door.with(|guards, news| {
            guards.attempted(ticket, verdict, now, fastrand::f64(), news);
        });
        self.tell(now);
    }

    /// The same, together with what else is to be said; `work` gives the ticket back.
    pub(super) fn settle_with<T>(
        mut self,
        now: Instant,
        work: impl FnOnce(&mut Guards, &mut Tidings) -> T,
    ) -> T {
        self.is_settled = true;
        let done = self.door.with(work);
        self.tell(now);
        done
    }

    /// Tells how long it took.
    fn tell(&self, now: Instant) {
        let means = &self.door.means;
        let took = now.saturating_duration_since(self.since);
        let tell = |observer: &Arc<dyn Observer>| observer.attempt(&self.door.spec.name, took);
        means.observers.iter().for_each(tell);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_settled {
            self.door.guards.lock().abandoned(self.ticket);
            self.tell(self.door.means.clock.now());
        }
    }
}

/// An answer's way back: whoever finds that it is none says so. Dropped, it was a good one.
pub struct Receipt {
    door: Arc<Door>,
    /// `None` if the deadline was missed, and everything is said.
    leave: Option<Leave>,
    ticket: Ticket,
    verdict: Verdict,
}

impl Receipt {
    pub(super) fn new(
        door: &Arc<Door>,
        leave: Option<Leave>,
        ticket: Ticket,
        verdict: Verdict,
    ) -> Self {
        Self {
            door: Arc::clone(door),
            leave,
            ticket,
            verdict,
        }
    }

    /// What looked like an answer cannot be used, which may be the origin's fault.
    pub fn spoiled_by(mut self, cause: &Cause) {
        if !is_failure(cause) {
            return;
        }
        let Some(mut leave) = self.leave.take() else {
            return;
        };
        leave.settle(Verdict::Failed);
        let (now, ticket) = (self.door.means.clock.now(), self.ticket);
        self.door
            .with(|guards, news| guards.failed(ticket, now, fastrand::f64(), news));
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(leave) = &mut self.leave {
            leave.settle(self.verdict);
        }
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt")
            .field("origin", &self.door.spec.name)
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}
