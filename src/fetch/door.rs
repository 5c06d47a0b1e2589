//! The door to one origin (shell): its guards behind a lock, its replicas, and who is told what happens.
//! Owns the rule that whatever was taken from the guards is given back, also when the work that took it
//! is dropped half-way.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::report::{Cause, Event, Observer, OriginChange};
use crate::site::OriginSpec;

use super::Means;
use super::balance::News;
use super::breaker::{self, Pass, Verdict};
use super::guards::{Asker, Guards, Ticket, Tidings};
use super::origin::Origin;
use super::verdict::is_failure;

/// What outlives an edition, as long as the origin is declared as it is.
pub(super) struct Door {
    pub(super) spec: OriginSpec,
    pub(super) replicas: Vec<Arc<dyn Origin>>,
    pub(super) guards: Mutex<Guards>,
    /// Apart from the fragments' places: a stream may stay open for hours.
    pub(super) streams: Arc<Semaphore>,
    pub(super) means: Means,
    /// Whether its health is being checked.
    pub(super) is_checked: AtomicBool,
}

impl Door {
    pub(super) fn new(spec: OriginSpec, replicas: Vec<Arc<dyn Origin>>, means: Means) -> Self {
        debug_assert_eq!(spec.replicas.len(), replicas.len());
        Self {
            guards: Mutex::new(Guards::new(&spec, means.clock.now())),
            streams: Arc::new(Semaphore::new(spec.max_in_flight)),
            spec,
            replicas,
            means,
            is_checked: AtomicBool::new(false),
        }
    }

    /// Does something with the guards, and tells what came of it when they are free again.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Guards, &mut Tidings) -> T) -> T {
        let mut tidings = Tidings::default();
        let done = work(&mut self.guards.lock(), &mut tidings);
        self.tell(tidings);
        done
    }

    fn tell(&self, tidings: Tidings) {
        for moved in tidings.origin {
            self.tell_of(None, of_breaker(moved));
        }
        for (replica, news) in tidings.replicas {
            let change = match news {
                News::Moved(moved) => of_breaker(moved),
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

fn of_breaker(moved: breaker::Move) -> OriginChange {
    OriginChange::Breaker {
        from: moved.from,
        to: moved.to,
        why: moved.why.to_string(),
        pause: moved.pause,
    }
}

/// Leave for one request, given back when it is dropped.
pub(super) struct Leave {
    door: Arc<Door>,
    pass: Option<Pass>,
}

impl Leave {
    /// Lets a request in, with the ticket of its first attempt.
    pub(super) fn take(door: &Arc<Door>, asker: Asker) -> Result<(Self, UnderWay), Cause> {
        let now = door.means.clock.now();
        let entered = door.with(|guards, news| guards.enter(asker, now, &mut fastrand::f64, news));
        let (pass, ticket) = entered?;
        let leave = Self {
            door: Arc::clone(door),
            pass: Some(pass),
        };
        Ok((leave, UnderWay::new(door, ticket)))
    }

    /// What was let through, until it is settled.
    pub(super) fn pass(&self) -> Option<Pass> {
        self.pass
    }

    /// Says what became of the request; the first word counts.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        let Some(pass) = self.pass.take() else { return };
        let now = self.door.means.clock.now();
        self.door
            .with(|guards, news| guards.settled(pass, verdict, now, fastrand::f64(), news));
    }

    /// Says that what became of it says nothing of the origin.
    pub(super) fn abandon(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.door.guards.lock().breaker.abandon(pass);
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
    is_settled: bool,
}

impl UnderWay {
    pub(super) fn new(door: &Arc<Door>, ticket: Ticket) -> Self {
        Self {
            door: Arc::clone(door),
            ticket,
            is_settled: false,
        }
    }

    /// Whom it asks.
    pub(super) fn origin(&self) -> Arc<dyn Origin> {
        Arc::clone(&self.door.replicas[self.ticket.turn.replica])
    }

    /// Says what became of it; `is_judged` if it was held against the replica already that this took
    /// too long.
    pub(super) fn settle(mut self, verdict: Verdict, is_judged: bool) {
        self.is_settled = true;
        let (now, ticket) = (self.door.means.clock.now(), self.ticket);
        self.door.with(|guards, news| match is_judged {
            true => guards.abandoned(ticket, now),
            false => guards.attempted(ticket, verdict, now, fastrand::f64(), news),
        });
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_settled {
            let now = self.door.means.clock.now();
            self.door.guards.lock().abandoned(self.ticket, now);
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
        self.door.with(|guards, news| {
            let found = guards.balance.spoiled(ticket.turn, now, fastrand::f64());
            let found = found.into_iter().map(|found| (ticket.turn.replica, found));
            news.replicas.extend(found);
        });
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
