//! One request to an origin, from its leave to its answer (shell): attempts one after another or side by
//! side, under the deadline. Owns the waiting; whether something is tried again is decided in
//! [`retry`](super::retry) and by the [guards](super::guards).
//!
//! The deadline and the end are two instants. At the deadline the origin has missed it: that is held
//! against it, and nothing new is begun. What is under way goes on until the end, because a late answer
//! is worth having for the next page.
//!
//! Invariant: the first whole answer wins and whatever else is under way is dropped; one that fails
//! while another is under way leaves the answer to that one.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, poll_fn};
use tokio::time::sleep_until;

use crate::clock::Instant;
use crate::report::Cause;

use super::attempt::{self, Answer, Ask, Expect, Refusal};
use super::blocks::Admission;
use super::breaker::Need;
use super::door::{Door, Leave, Receipt, UnderWay};
use super::guards::{Asker, Elsewhere, Permit, Ticket};
use super::limiter::Outcome;
use super::retry::{self, Again, Failed};
use super::verdict::Verdict;
use super::{Fetched, Terms};
use crate::degradation::Lag;

/// Asks, and asks again where that is worth it.
pub(super) async fn run(
    door: &Arc<Door>,
    ask: &Ask<'_>,
    expect: &Expect<'_>,
    terms: Terms,
    admission: Admission,
) -> Result<Fetched, Cause> {
    let asker = Asker {
        grade: terms.priority.grade(),
        need: match (terms.priority.is_core(), terms.has_instead) {
            _ if terms.is_probe => Need::Probe,
            (true, false) => Need::LastResort,
            (true, true) | (false, _) => Need::Wanted,
        },
    };
    let (leave, first) = Leave::take(door, asker)?;
    let began = first.since;
    let mut exchange = Exchange {
        door,
        ask,
        expect,
        asker,
        deadline: began + terms.timeout,
        end: began + terms.end_after.max(terms.timeout),
        terms,
        is_missed: false,
        hedge_at: None,
        hedged: None,
        retry: None,
        tried: Vec::new(),
        failovers: 0,
        round: 0,
        tickets: Vec::new(),
        running: Running::default(),
        leave: Some(leave),
        admission,
    };
    exchange.hedge_at = exchange.hedge_after(began);
    exchange.start(first);
    exchange.wait().await
}

/// An attempt that has ended, when it has, and how it went.
type Ended = (UnderWay, Instant, Result<Answer, Refusal>);

/// An attempt, and perhaps one beside it.
#[derive(Default)]
struct Running<'a>([Option<BoxFuture<'a, Ended>>; 2]);

impl<'a> Running<'a> {
    fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn push(&mut self, attempt: BoxFuture<'a, Ended>) {
        let free = self.0.iter_mut().find(|slot| slot.is_none());
        *free.expect("there are never more than two at a time") = Some(attempt);
    }

    /// The first to end; never, if there is none.
    async fn next(&mut self) -> Ended {
        poll_fn(|cx| {
            for slot in &mut self.0 {
                if let Some(attempt) = slot
                    && let Poll::Ready(ended) = attempt.poll_unpin(cx)
                {
                    *slot = None;
                    return Poll::Ready(ended);
                }
            }
            Poll::Pending
        })
        .await
    }
}

struct Exchange<'a> {
    door: &'a Arc<Door>,
    ask: &'a Ask<'a>,
    expect: &'a Expect<'a>,
    asker: Asker,
    terms: Terms,
    /// When the origin has missed its time.
    deadline: Instant,
    /// When nobody waits any more.
    end: Instant,
    is_missed: bool,
    /// When a second replica is asked.
    hedge_at: Option<Instant>,
    /// Which one was.
    hedged: Option<usize>,
    /// When it is tried again, and what went wrong before.
    retry: Option<(Instant, Cause)>,
    /// Replicas that were asked.
    tried: Vec<usize>,
    /// How many of them because another one could not be reached.
    failovers: usize,
    /// Where in these the present attempt begins: each may go round all replicas.
    round: usize,
    /// Attempts under way.
    tickets: Vec<Ticket>,
    running: Running<'a>,
    /// Until it is settled, or goes with the answer.
    leave: Option<Leave>,
    /// What the fragment's limiter is to be told.
    admission: Admission,
}

impl<'a> Exchange<'a> {
    async fn wait(mut self) -> Result<Fetched, Cause> {
        let mut timer = pin!(sleep_until(self.wake_at()));
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.running.next() => Some(ended),
                () = &mut timer => None,
            };
            let result = match ended {
                Some(ended) => self.ended(ended),
                None => self.woken(),
            };
            if let Some(result) = result {
                return result;
            }
            let wake_at = self.wake_at();
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
        }
    }

    /// When there is something to do next, whether anybody answers or not.
    fn wake_at(&self) -> Instant {
        let retry_at = self.retry.as_ref().map(|(at, _)| *at);
        let deadline = (!self.is_missed).then_some(self.deadline);
        let all = [self.hedge_at, retry_at, deadline, Some(self.end)];
        all.into_iter().flatten().min().expect("there is an end")
    }

    fn woken(&mut self) -> Option<Result<Fetched, Cause>> {
        let now = self.door.means.clock.now();
        if now >= self.deadline && !self.is_missed {
            self.miss(now);
        }
        if now >= self.end {
            return Some(Err(Cause::Timeout));
        }
        let is_missed = self.is_missed;
        if let Some((_, cause)) = self.retry.take_if(|(at, _)| is_missed || now >= *at)
            && (is_missed || !self.again(false))
        {
            return Some(self.fail(cause));
        }
        if self.hedge_at.take_if(|at| now >= *at).is_some() {
            self.hedge(now);
        }
        None
    }

    /// The deadline has passed: that speaks against the origin, and against whoever was asked, unless
    /// it was this process that had no time.
    fn miss(&mut self, now: Instant) {
        self.is_missed = true;
        self.hedge_at = None;
        let is_own_fault =
            self.is_late_itself() || Lag::was_kept_waiting(self.deadline, self.terms.timeout, now);
        // what is under way is so until the end, and so is its place
        if !is_own_fault {
            self.admission.missed(self.terms.timeout);
        }
        let Some(mut leave) = self.leave.take() else {
            return;
        };
        if is_own_fault {
            leave.abandon();
            return;
        }
        leave.settle(Verdict::Missed);
        // whoever was asked a moment ago has missed nothing
        let had_time = |ticket: &&Ticket| now >= ticket.turn.since + self.terms.timeout / 2;
        self.door.with(|guards, news| {
            for ticket in self.tickets.iter().filter(had_time) {
                guards.failed(*ticket, now, fastrand::f64(), news);
            }
        });
    }

    /// Whether this process has been so late that an answer may seem late because of it.
    fn is_late_itself(&self) -> bool {
        self.door.means.lag.is_large_for(self.terms.timeout)
    }

    fn start(&mut self, under_way: UnderWay) {
        let since = under_way.since;
        self.tried.push(under_way.ticket.turn.replica);
        self.tickets.push(under_way.ticket);
        let (ask, expect, clock) = (self.ask, self.expect, self.door.means.clock);
        let span_id = fastrand::u64(1..);
        let replica = under_way.ticket.turn.replica;
        ask.trail
            .begin(self.terms.fragment, replica, span_id, since);
        let attempt = async move {
            let origin = under_way.origin();
            let result = attempt::run(&*origin, ask, expect, span_id).await;
            let cause = result.as_ref().err().map(|refusal| &refusal.cause);
            let ended = clock.now();
            ask.trail.end(span_id, ended, cause);
            (under_way, ended, result)
        };
        self.running.push(attempt.boxed());
    }

    fn ended(&mut self, (under_way, now, result): Ended) -> Option<Result<Fetched, Cause>> {
        let ticket = under_way.ticket;
        self.tickets.retain(|known| *known != ticket);
        let refusal = match result {
            Ok(answer) => return Some(Ok(self.answered(answer, under_way, now))),
            Err(refusal) => refusal,
        };
        // a connection that could not be made in time may be this process's own fault
        let is_own_fault = matches!(refusal.cause, Cause::Connect(_)) && self.is_late_itself();
        match self.is_missed || is_own_fault {
            true => drop(under_way),
            false => under_way.settle(Verdict::of(&refusal.cause)),
        }
        let wait = self.wait_asked(&refusal);
        if self.running.len() > 0 {
            return None;
        }
        match self.decide(&refusal.cause, wait) {
            Again::FailOver if self.again(true) => None,
            Again::After(pause) => {
                self.retry = Some((now + pause, refusal.cause));
                self.hedge_at = None;
                None
            }
            Again::No | Again::FailOver => Some(self.fail(refusal.cause)),
        }
    }

    fn answered(&mut self, answer: Answer, under_way: UnderWay, now: Instant) -> Fetched {
        let (door, ticket) = (self.door, under_way.ticket);
        let took = now.saturating_duration_since(under_way.since);
        let is_own_fault = self.is_late_itself();
        let says_nothing = self.is_missed || is_own_fault;
        // the limiter looks at less than a deadline, so what is this process's own is taken off
        let took_there = took.saturating_sub(door.means.lag.own_time());
        self.admission.settle(match says_nothing {
            true => Outcome::Abandoned,
            false => Outcome::Answered(took_there),
        });
        let permit = self.leave.as_ref().and_then(Leave::permit);
        let is_slow = under_way.settle_with(now, |guards, news| {
            let is_slow = guards.is_slow(took, self.terms.timeout, now);
            if says_nothing {
                guards.abandoned(ticket);
            } else {
                guards.attempted(ticket, Verdict::Good, now, fastrand::f64(), news);
            }
            if !is_own_fault {
                guards.answered(permit, ticket, took, self.hedged, now);
                for loser in &self.tickets {
                    guards.outrun(*loser, now, fastrand::f64(), news);
                }
            }
            is_slow
        });
        let verdict = match is_slow && !is_own_fault {
            true => Verdict::Slow,
            false => Verdict::Good,
        };
        Fetched {
            answer,
            receipt: Receipt::new(door, self.leave.take(), ticket, verdict),
        }
    }

    /// The failure is the result.
    fn fail(&mut self, cause: Cause) -> Result<Fetched, Cause> {
        if let Some(mut leave) = self.leave.take() {
            leave.settle(Verdict::of(&cause));
        }
        Err(cause)
    }

    fn decide(&self, cause: &Cause, wait: Option<Duration>) -> Again {
        let now = self.door.means.clock.now();
        let permit = self.leave.as_ref().and_then(Leave::permit);
        let guards = self.door.guards.lock();
        let is_free = permit.is_some_and(|permit| guards.is_free(permit));
        // to find out whether anybody answers two are asked, and not all
        let is_enough = permit.is_none_or(Permit::is_probe) && self.tried.len() > 1;
        let has_other = !is_enough && guards.balance.has_other(&self.tried[self.round..]);
        let failed = Failed {
            cause,
            // what one replica asks for is not asked of another
            wait: wait.filter(|_| !has_other),
            attempts: u32::try_from(self.tried.len() - self.failovers).unwrap_or(u32::MAX),
            has_other,
            left: self.deadline.saturating_duration_since(now),
            is_free: is_free && !self.terms.is_frugal,
        };
        retry::decide(&self.door.spec.retry, &failed, fastrand::f64())
    }

    /// One more attempt, if there is a place and a budget for it, and the breaker is closed still.
    fn again(&mut self, is_failover: bool) -> bool {
        let now = self.door.means.clock.now();
        if !is_failover && !self.is_free() {
            return false;
        }
        let permit = self.leave.as_ref().and_then(Leave::permit);
        let (why, tried) = match (is_failover, permit.is_some_and(Permit::is_probe)) {
            (true, true) => (Elsewhere::Probe, &self.tried[self.round..]),
            (true, false) => (Elsewhere::Failover, &self.tried[self.round..]),
            (false, _) => (Elsewhere::Retry, &self.tried[..]),
        };
        let asker = self.asker;
        let ticket = self
            .door
            .with(|guards, news| guards.again(asker, why, tried, now, &mut fastrand::f64, news));
        let Some(ticket) = ticket else { return false };
        match is_failover {
            true => self.failovers += 1,
            false => self.round = self.tried.len(),
        }
        self.start(UnderWay::new(self.door, ticket, now));
        true
    }

    /// When a second replica is asked, if one may be.
    fn hedge_after(&self, began: Instant) -> Option<Instant> {
        let may_hedge = self.terms.hedge
            && !self.terms.is_frugal
            && self.door.spec.hedge_percent > 0
            && self.door.replicas.len() > 1;
        let permit = self.leave.as_ref().and_then(Leave::permit);
        let permit = permit.filter(|_| may_hedge)?;
        let after = self.door.guards.lock().hedge_after(permit, began)?;
        (after < self.terms.timeout).then(|| began + after)
    }

    fn is_free(&self) -> bool {
        let permit = self.leave.as_ref().and_then(Leave::permit);
        permit.is_some_and(|permit| self.door.guards.lock().is_free(permit))
    }

    fn hedge(&mut self, now: Instant) {
        if self.running.len() != 1 || !self.is_free() {
            return;
        }
        let (asker, tried) = (self.asker, &self.tried);
        let ticket = self
            .door
            .with(|guards, news| guards.hedge(asker, tried, now, &mut fastrand::f64, news));
        if let Some(ticket) = ticket {
            self.hedged = Some(ticket.turn.replica);
            self.start(UnderWay::new(self.door, ticket, now));
        }
    }

    /// How long the origin asks to be left alone; it will be, should its breaker open.
    fn wait_asked(&self, refusal: &Refusal) -> Option<Duration> {
        let value = refusal.retry_after.as_ref()?.to_str().ok()?;
        let clock = self.door.means.clock;
        let now = clock.now();
        let wait = retry::wait_asked(value, clock.wall(now))?;
        let permit = self.leave.as_ref().and_then(Leave::permit);
        if let Some(permit) = permit.filter(|_| self.door.replicas.len() == 1) {
            self.door.guards.lock().hold(permit, wait, now);
        }
        Some(wait)
    }
}
