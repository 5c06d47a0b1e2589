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
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::sleep_until;

use crate::clock::Instant;
use crate::report::Cause;

use super::attempt::{self, Answer, Ask, Expect, Refusal};
use super::breaker::{Need, Verdict};
use super::door::{Door, Leave, Receipt, UnderWay};
use super::guards::{Asker, Ticket};
use super::lag::Lag;
use super::retry::{self, Again, Failed};
use super::verdict::is_failure;
use super::{Fetched, Terms};

/// Asks, and asks again where that is worth it.
pub(super) async fn run(
    door: &Arc<Door>,
    ask: &Ask<'_>,
    expect: &Expect<'_>,
    terms: Terms,
) -> Result<Fetched, Cause> {
    let is_required = terms.priority.rank().is_none();
    let asker = Asker {
        need: match (is_required, terms.has_instead) {
            (true, false) => Need::LastResort,
            (true, true) if terms.priority.is_core() => Need::Core,
            (true | false, _) => Need::Wanted,
        },
        is_required,
    };
    let (leave, first) = Leave::take(door, asker)?;
    let began = door.means.clock.now();
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
        running: FuturesUnordered::new(),
        leave: Some(leave),
    };
    exchange.hedge_at = exchange.hedge_after(began);
    exchange.start(first);
    exchange.wait().await
}

/// An attempt that has ended, when it was begun, and how it went.
type Ended = (UnderWay, Instant, Result<Answer, Refusal>);

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
    /// Of these, how many were asked because another one could not be reached.
    failovers: usize,
    /// Where in these the present attempt begins: each may go round all replicas.
    round: usize,
    /// Attempts under way.
    tickets: Vec<Ticket>,
    running: FuturesUnordered<BoxFuture<'a, Ended>>,
    /// Until it is settled, or goes with the answer.
    leave: Option<Leave>,
}

impl<'a> Exchange<'a> {
    async fn wait(mut self) -> Result<Fetched, Cause> {
        let mut timer = pin!(sleep_until(self.wake_at()));
        loop {
            let ended = tokio::select! {
                biased;
                Some(ended) = self.running.next() => Some(ended),
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
        if let Some((_, cause)) = self.retry.take_if(|(at, _)| now >= *at)
            && !self.again(false)
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
            self.door.means.lag.is_large() || Lag::was_kept_waiting(self.deadline, now);
        let Some(mut leave) = self.leave.take() else {
            return;
        };
        if is_own_fault {
            leave.abandon();
            return;
        }
        leave.settle(Verdict::Failed);
        self.door.with(|guards, news| {
            for ticket in &self.tickets {
                guards.missed(*ticket, now, fastrand::f64(), news);
            }
        });
    }

    fn start(&mut self, under_way: UnderWay) {
        let since = self.door.means.clock.now();
        self.tried.push(under_way.ticket.turn.replica);
        self.tickets.push(under_way.ticket);
        let (ask, expect) = (self.ask, self.expect);
        let attempt = async move {
            let origin = under_way.origin();
            let result = attempt::run(&*origin, ask, expect).await;
            (under_way, since, result)
        };
        self.running.push(attempt.boxed());
    }

    fn ended(&mut self, (under_way, since, result): Ended) -> Option<Result<Fetched, Cause>> {
        let ticket = under_way.ticket;
        self.tickets.retain(|known| *known != ticket);
        let refusal = match result {
            Ok(answer) => return Some(Ok(self.answered(answer, under_way, since))),
            Err(refusal) => refusal,
        };
        let verdict = verdict_of(&refusal.cause);
        under_way.settle(verdict, self.is_missed);
        let wait = self.wait_asked(&refusal);
        if !self.running.is_empty() {
            return None;
        }
        match self.decide(&refusal.cause, wait) {
            Again::FailOver if self.again(true) => None,
            Again::After(pause) => {
                let at = self.door.means.clock.now() + pause;
                self.retry = Some((at, refusal.cause));
                self.hedge_at = None;
                None
            }
            Again::No | Again::FailOver => Some(self.fail(refusal.cause)),
        }
    }

    fn answered(&mut self, answer: Answer, under_way: UnderWay, since: Instant) -> Fetched {
        let (door, ticket) = (self.door, under_way.ticket);
        let now = door.means.clock.now();
        let took = now.saturating_duration_since(since);
        under_way.settle(Verdict::Good, self.is_missed);
        let is_slow = door.with(|guards, _| {
            let is_slow = guards.is_slow(took, self.terms.timeout, now);
            guards.answered(ticket, took, self.hedged, now);
            is_slow
        });
        let verdict = match is_slow && !door.means.lag.is_large() {
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
            leave.settle(verdict_of(&cause));
        }
        Err(cause)
    }

    fn decide(&self, cause: &Cause, wait: Option<Duration>) -> Again {
        let now = self.door.means.clock.now();
        let pass = self.leave.as_ref().and_then(Leave::pass);
        let guards = self.door.guards.lock();
        let is_free = pass.is_some_and(|pass| pass.is_free(&guards.breaker));
        let is_probe = pass.is_none_or(|pass| pass.is_probe());
        let failed = Failed {
            cause,
            wait,
            attempts: u32::try_from(self.tried.len() - self.failovers).unwrap_or(u32::MAX),
            has_next: !is_probe && guards.balance.has_next(&self.tried[self.round..]),
            left: self.deadline.saturating_duration_since(now),
            is_free: is_free && !self.terms.is_frugal,
        };
        retry::decide(&self.door.spec.retry, &failed, fastrand::f64())
    }

    /// One more attempt, if there is a place and a budget for it.
    fn again(&mut self, is_failover: bool) -> bool {
        let now = self.door.means.clock.now();
        let asker = self.asker;
        let tried = match is_failover {
            true => &self.tried[self.round..],
            false => &self.tried[..],
        };
        let ticket = self.door.with(|guards, news| {
            guards.again(asker, is_failover, tried, now, &mut fastrand::f64, news)
        });
        let Some(ticket) = ticket else { return false };
        match is_failover {
            true => self.failovers += 1,
            false => self.round = self.tried.len(),
        }
        self.start(UnderWay::new(self.door, ticket));
        true
    }

    /// When a second replica is asked, if one may be.
    fn hedge_after(&self, began: Instant) -> Option<Instant> {
        let may_hedge = self.terms.hedge
            && !self.terms.is_frugal
            && self.door.spec.hedge_percent > 0
            && self.door.replicas.len() > 1;
        let pass = self.leave.as_ref().and_then(Leave::pass);
        let pass = pass.filter(|_| may_hedge)?;
        let after = self.door.guards.lock().hedge_after(pass, began)?;
        (after < self.terms.timeout).then(|| began + after)
    }

    fn hedge(&mut self, now: Instant) {
        if self.running.len() != 1 {
            return;
        }
        let (asker, tried) = (self.asker, &self.tried);
        let ticket = self
            .door
            .with(|guards, news| guards.hedge(asker, tried, now, &mut fastrand::f64, news));
        if let Some(ticket) = ticket {
            self.hedged = Some(ticket.turn.replica);
            self.start(UnderWay::new(self.door, ticket));
        }
    }

    /// How long the origin asks to be left alone; it will be, should its breaker open.
    fn wait_asked(&self, refusal: &Refusal) -> Option<Duration> {
        let value = refusal.retry_after.as_ref()?.to_str().ok()?;
        let clock = self.door.means.clock;
        let now = clock.now();
        let wait = retry::wait_asked(value, clock.wall(now))?;
        self.door.guards.lock().breaker.hold(wait, now);
        Some(wait)
    }
}

fn verdict_of(cause: &Cause) -> Verdict {
    match is_failure(cause) {
        true => Verdict::Failed,
        false => Verdict::Good,
    }
}
