//! Everything that stands before one origin: breaker, bulkhead, choice of a replica, budgets, and what
//! is known of its speed. Owns the order in which they are asked and told; pure: time and chance are
//! arguments. The requests themselves are made [elsewhere](super::exchange).
//!
//! Invariant: whatever was taken here (a pass, a place, a turn) is given back once.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Instant;
use crate::report::Cause;
use crate::site::OriginSpec;

use super::balance::{Balance, Chance, News, Turn};
use super::breaker::{self, Breaker, Need, Pass, Verdict};
use super::budget::Budget;
use super::bulkhead::{Bulkhead, Place};
use super::latency::Latency;

/// Retries in ten seconds that a quiet origin is allowed.
const RETRY_FLOOR: u32 = 3;

/// Hedges in ten seconds that a quiet origin is allowed: none, because the share is a promise.
const HEDGE_FLOOR: u32 = 0;

/// What a request is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) need: Need,
    pub(super) is_required: bool,
}

impl Asker {
    fn is_core(self) -> bool {
        self.need >= Need::Core
    }
}

/// A request under way at one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) turn: Turn,
    place: Option<Place>,
}

/// How often what has happened, since the origin was declared as it is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counts {
    /// Requests that fragments have asked for.
    pub requests: u64,
    /// Of which refused because the breaker was not closed.
    pub refused_open: u64,
    /// Of which refused because the origin was at its limit in flight.
    pub refused_busy: u64,
    /// Of which failed, a missed deadline included.
    pub failed: u64,
    /// Of which answered, but slowly.
    pub slow: u64,
    /// Attempts made in all.
    pub attempts: u64,
    /// Of which again after a failure.
    pub retries: u64,
    /// Of which at another replica because one could not be reached.
    pub failovers: u64,
    /// Of which at a second replica because the first was slow.
    pub hedges: u64,
    /// Of which the second was faster.
    pub hedges_won: u64,
}

/// What stands before an origin.
#[derive(Debug)]
pub(super) struct Guards {
    pub(super) breaker: Breaker,
    pub(super) bulkhead: Bulkhead,
    pub(super) balance: Balance,
    pub(super) latency: Latency,
    pub(super) counts: Counts,
    retries: Budget,
    hedges: Budget,
    slow_factor: u32,
}

impl Guards {
    /// All open, nothing known.
    pub(super) fn new(spec: &OriginSpec, now: Instant) -> Self {
        Self {
            breaker: Breaker::new(spec.breaker.clone(), breaker::RUN_TIME, now),
            bulkhead: Bulkhead::new(spec.max_in_flight, spec.reserved),
            balance: Balance::new(spec, now),
            latency: Latency::new(now),
            counts: Counts::default(),
            retries: Budget::new(spec.retry.budget_percent, RETRY_FLOOR, now),
            hedges: Budget::new(spec.hedge_percent, HEDGE_FLOOR, now),
            slow_factor: spec.breaker.slow_factor,
        }
    }

    /// Lets a request in, or says why not.
    pub(super) fn enter(
        &mut self,
        asker: Asker,
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Result<(Pass, Ticket), Cause> {
        self.counts.requests += 1;
        let (pass, moved) = self.breaker.admit(asker.need, now, chance());
        news.origin.extend(moved);
        let Some(pass) = pass else {
            self.counts.refused_open += 1;
            return Err(Cause::Open);
        };
        let Some(place) = self.bulkhead.take(asker.is_required) else {
            self.breaker.abandon(pass);
            self.counts.refused_busy += 1;
            return Err(Cause::Busy);
        };
        self.retries.asked(now);
        self.hedges.asked(now);
        let (turn, moved) = self.balance.choose(&[], asker.is_core(), now, chance);
        news.moved(turn.replica, moved);
        self.counts.attempts += 1;
        let place = Some(place);
        Ok((pass, Ticket { turn, place }))
    }

    /// One more attempt for a request that was let in, at a replica not in `tried` if there is one;
    /// `None` where there is no budget or no place for it.
    pub(super) fn again(
        &mut self,
        asker: Asker,
        is_failover: bool,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Option<Ticket> {
        if !is_failover && !self.retries.take(now) {
            return None;
        }
        let place = self.bulkhead.take(asker.is_required)?;
        let (turn, moved) = match is_failover {
            true => self.balance.choose_next(tried, now, chance),
            false => self.balance.choose(tried, asker.is_core(), now, chance),
        };
        news.moved(turn.replica, moved);
        self.counts.attempts += 1;
        match is_failover {
            true => self.counts.failovers += 1,
            false => self.counts.retries += 1,
        }
        let place = Some(place);
        Some(Ticket { turn, place })
    }

    /// When a second replica may be asked, if the first has not answered by then.
    pub(super) fn hedge_after(&mut self, pass: Pass, now: Instant) -> Option<Duration> {
        let is_open = !pass.is_free(&self.breaker);
        let known = self.latency.quantiles(now)?;
        (!is_open).then_some(known.p95)
    }

    /// A second attempt beside the first, at another replica; `None` where there is no other, no
    /// budget or no place for it.
    pub(super) fn hedge(
        &mut self,
        asker: Asker,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Option<Ticket> {
        if !self.balance.has_other(tried) || !self.hedges.take(now) {
            return None;
        }
        let place = self.bulkhead.take(asker.is_required)?;
        let Some((turn, moved)) = self.balance.choose_other(tried, now, chance) else {
            self.bulkhead.give_back(place);
            return None;
        };
        news.moved(turn.replica, moved);
        self.counts.attempts += 1;
        self.counts.hedges += 1;
        let place = Some(place);
        Some(Ticket { turn, place })
    }

    /// A turn at a replica for what is passed through: it has places of its own. Those in `tried` could
    /// not be reached.
    pub(super) fn pass_through(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Ticket {
        let (turn, moved) = match tried {
            [] => self.balance.choose(tried, true, now, chance),
            _ => self.balance.choose_next(tried, now, chance),
        };
        news.moved(turn.replica, moved);
        let place = None;
        Ticket { turn, place }
    }

    /// An attempt has come to its end.
    pub(super) fn attempted(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
        now: Instant,
        chance: f64,
        news: &mut Tidings,
    ) {
        self.leave(ticket);
        let p95 = self.latency.quantiles(now).map(|known| known.p95);
        let found = self.balance.settle(ticket.turn, verdict, p95, now, chance);
        news.replicas(ticket.turn.replica, found);
    }

    /// An attempt has missed its deadline, and goes on.
    pub(super) fn missed(&mut self, ticket: Ticket, now: Instant, chance: f64, news: &mut Tidings) {
        let found = self.balance.spoiled(ticket.turn, now, chance);
        news.replicas(ticket.turn.replica, found);
    }

    /// An attempt has brought an answer, `hedged` if a second replica was asked.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        took: Duration,
        hedged: Option<usize>,
        now: Instant,
    ) {
        self.counts.hedges_won += u64::from(hedged == Some(ticket.turn.replica));
        // what is usual is learned while all is well, and not from who is on trial
        if !self.breaker.is_open() && !self.balance.is_canary(ticket.turn.replica) {
            self.latency.record(took, now);
        }
    }

    /// An attempt was given up before its end.
    pub(super) fn abandoned(&mut self, ticket: Ticket, now: Instant) {
        self.leave(ticket);
        self.balance.abandon(ticket.turn, now);
    }

    fn leave(&mut self, ticket: Ticket) {
        if let Some(place) = ticket.place {
            self.bulkhead.give_back(place);
        }
    }

    /// Whether an answer that took so long is slow, by what is usual here and by the time there was.
    pub(super) fn is_slow(&mut self, took: Duration, timeout: Duration, now: Instant) -> bool {
        let usual = self.latency.quantiles(now).map(|known| known.p50);
        usual.is_some_and(|usual| took > usual * self.slow_factor && took > timeout / 2)
    }

    /// A request has come to its end.
    pub(super) fn settled(
        &mut self,
        pass: Pass,
        verdict: Verdict,
        now: Instant,
        chance: f64,
        news: &mut Tidings,
    ) {
        match verdict {
            Verdict::Good => {}
            Verdict::Slow => self.counts.slow += 1,
            Verdict::Failed => self.counts.failed += 1,
        }
        news.origin
            .extend(self.breaker.settle(pass, verdict, true, now, chance));
    }
}

/// What is worth telling, to be told when nobody waits for the guards.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    /// Of the origin.
    pub(super) origin: Vec<breaker::Move>,
    /// Of its replicas, by their place in the declaration.
    pub(super) replicas: Vec<(usize, News)>,
}

impl Tidings {
    fn moved(&mut self, replica: usize, moved: Option<breaker::Move>) {
        let news = moved.map(|moved| (replica, News::Moved(moved)));
        self.replicas.extend(news);
    }

    fn replicas(&mut self, replica: usize, found: Vec<News>) {
        let found = found.into_iter().map(|news| (replica, news));
        self.replicas.extend(found);
    }
}
