//! Everything that stands before one origin: breaker, bulkhead, choice of a replica, budgets, and what
//! is known of its speed. Owns the order in which they are asked and told; pure: time and chance are
//! arguments. The requests themselves are made [elsewhere](super::exchange).
//!
//! Invariant: whatever was taken here (a pass, a place, a turn) is given back once.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Instant;
use crate::fragment::Grade;
use crate::report::Cause;
use crate::site::OriginSpec;

use super::balance::{Balance, Chance, Daring, News, Turn};
use super::breaker::{self, Breaker, Need, Pass};
use super::budget::Budget;
use super::bulkhead::{Bulkhead, Place};
use super::latency::Latency;
use super::shared_fault::{Late, Lateness};
use super::verdict::Verdict;

/// Retries in ten seconds that a quiet origin is allowed.
const RETRY_FLOOR: u32 = 3;

/// Requests that may go to another replica because one could not be reached: not more than there are
/// requests, so that it costs one more attempt at most, on average, when all of them are gone.
const FAILOVER_PERCENT: u8 = 100;

/// The same in ten seconds for a quiet origin.
const FAILOVER_FLOOR: u32 = 50;

/// Hedges in ten seconds that a quiet origin is allowed: none, because the share is a promise.
const HEDGE_FLOOR: u32 = 0;

/// What a request is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// Whose breaker, and whose places.
    pub(super) grade: Grade,
    pub(super) need: Need,
}

impl Asker {
    fn is_required(self) -> bool {
        self.grade != Grade::Optional
    }

    /// Whether it may be what finds out that an ejected replica is well again.
    fn daring(self) -> Daring {
        match (self.grade, self.need) {
            (_, Need::LastResort) => Daring::Least,
            (Grade::Core | Grade::Essential, Need::Wanted) => Daring::Little,
            (Grade::Optional, Need::Wanted) | (_, Need::Probe) => Daring::Some,
        }
    }
}

/// Why there is one more attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// The one before failed.
    Retry,
    /// The replica could not be reached.
    Failover,
    /// The same, of what is to find out whether anybody answers.
    Probe,
}

/// Leave to make one request; to be given back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    grade: Grade,
    pass: Pass,
}

impl Permit {
    /// Whether it is to find out how the origin is.
    pub(super) fn is_probe(self) -> bool {
        self.pass.is_probe()
    }
}

/// A request under way at one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) turn: Turn,
    place: Option<Place>,
}

/// How often what has happened, since the origin has these replicas.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
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
    /// One for each grade, in their order: each is judged by its own results.
    breakers: [Breaker; Grade::ALL.len()],
    pub(super) bulkhead: Bulkhead,
    pub(super) balance: Balance,
    pub(super) latency: Latency,
    pub(super) counts: Counts,
    lateness: Lateness,
    retries: Budget,
    failovers: Budget,
    hedges: Budget,
    slow_factor: u32,
}

impl Guards {
    /// Everybody is let in, and nothing is known.
    pub(super) fn new(spec: &OriginSpec, now: Instant) -> Self {
        Self {
            breakers: Grade::ALL.map(|grade| {
                let breaker = Breaker::new(spec.breaker.clone(), breaker::RUN_TIME, now);
                match grade {
                    Grade::Core => breaker.pauses_at_most(breaker::CORE_PAUSE_MAX),
                    Grade::Essential | Grade::Optional => breaker,
                }
            }),
            bulkhead: Bulkhead::new(spec.max_in_flight, spec.reserved),
            balance: Balance::new(spec, now),
            latency: Latency::new(now),
            counts: Counts::default(),
            lateness: Lateness::new(now),
            retries: Budget::new(spec.retry.budget_percent, RETRY_FLOOR, now),
            failovers: Budget::new(FAILOVER_PERCENT, FAILOVER_FLOOR, now),
            hedges: Budget::new(spec.hedge_percent, HEDGE_FLOOR, now),
            slow_factor: spec.breaker.slow_factor,
        }
    }

    /// The site was declared anew, with the same replicas: what is known of them stays.
    pub(super) fn declare(&mut self, spec: &OriginSpec, now: Instant) {
        for breaker in &mut self.breakers {
            breaker.declare(spec.breaker.clone(), now);
        }
        self.bulkhead.declare(spec.max_in_flight, spec.reserved);
        self.balance.declare(spec, now);
        self.retries.declare(spec.retry.budget_percent);
        self.hedges.declare(spec.hedge_percent);
        self.slow_factor = spec.breaker.slow_factor;
    }

    /// The breaker of a grade.
    pub(super) fn breaker(&self, grade: Grade) -> &Breaker {
        &self.breakers[grade as usize]
    }

    /// Whether its breaker is closed, and was when the request was let in.
    pub(super) fn is_free(&self, permit: Permit) -> bool {
        permit.pass.is_free(self.breaker(permit.grade))
    }

    /// Lets a request in, or says why not.
    pub(super) fn enter(
        &mut self,
        asker: Asker,
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Result<(Permit, Ticket), Cause> {
        self.counts.requests += 1;
        let breaker = &mut self.breakers[asker.grade as usize];
        let (pass, moved) = breaker.admit(asker.need, now, chance());
        news.origin.extend(moved.map(|moved| (asker.grade, moved)));
        let Some(pass) = pass else {
            self.counts.refused_open += 1;
            return Err(Cause::Open);
        };
        let Some(place) = self.bulkhead.take(asker.is_required()) else {
            breaker.abandon(pass);
            self.counts.refused_busy += 1;
            return Err(Cause::Busy);
        };
        self.retries.asked(now);
        self.failovers.asked(now);
        self.hedges.asked(now);
        let probed = match pass.is_probe() {
            true => self.balance.choose_probed(&[], now, chance),
            false => None,
        };
        let chosen = probed.unwrap_or_else(|| self.balance.choose(asker.daring(), now, chance));
        let (turn, moved) = chosen;
        news.moved(turn.replica, moved);
        self.counts.attempts += 1;
        let grade = asker.grade;
        let place = Some(place);
        Ok((Permit { grade, pass }, Ticket { turn, place }))
    }

    /// One more attempt for a request that was let in, of which `tried` have been asked; `None` where
    /// there is nobody, no budget or no place for it.
    pub(super) fn again(
        &mut self,
        asker: Asker,
        why: Elsewhere,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Option<Ticket> {
        let budget = match why {
            Elsewhere::Retry => &mut self.retries,
            Elsewhere::Failover | Elsewhere::Probe => &mut self.failovers,
        };
        if !budget.take(now) {
            return None;
        }
        let place = self.bulkhead.take(asker.is_required())?;
        let chosen = match why {
            Elsewhere::Retry => Some(self.balance.choose_again(tried, now, chance)),
            Elsewhere::Failover => self.balance.choose_instead(tried, now, chance),
            Elsewhere::Probe => self.balance.choose_probed(tried, now, chance),
        };
        let Some((turn, moved)) = chosen else {
            self.bulkhead.give_back(place);
            return None;
        };
        news.moved(turn.replica, moved);
        self.counts.attempts += 1;
        match why {
            Elsewhere::Retry => self.counts.retries += 1,
            Elsewhere::Failover | Elsewhere::Probe => self.counts.failovers += 1,
        }
        let place = Some(place);
        Some(Ticket { turn, place })
    }

    /// When a second replica may be asked, if the first has not answered by then.
    pub(super) fn hedge_after(&self, permit: Permit, now: Instant) -> Option<Duration> {
        let known = self.latency.quantiles(now)?;
        self.is_free(permit).then_some(known.p95)
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
        if !self.hedges.take(now) {
            return None;
        }
        let place = self.bulkhead.take(asker.is_required())?;
        let Some((turn, moved)) = self.balance.choose_beside(tried, now, chance) else {
            self.bulkhead.give_back(place);
            return None;
        };
        news.moved(turn.replica, moved);
        self.counts.attempts += 1;
        self.counts.hedges += 1;
        let place = Some(place);
        Some(Ticket { turn, place })
    }

    /// A turn at a replica for what is passed through: it has places of its own. What cannot be sent
    /// twice goes where it is most likely to arrive.
    pub(super) fn pass_through(
        &mut self,
        can_be_copied: bool,
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Ticket {
        let daring = match can_be_copied {
            true => Daring::Least,
            false => Daring::None,
        };
        let (turn, moved) = self.balance.choose(daring, now, chance);
        news.moved(turn.replica, moved);
        Ticket { turn, place: None }
    }

    /// The same at another replica, as none of `tried` could be reached; `None` if there is nobody.
    pub(super) fn pass_on(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
        news: &mut Tidings,
    ) -> Option<Ticket> {
        let (turn, moved) = self.balance.choose_instead(tried, now, chance)?;
        news.moved(turn.replica, moved);
        Some(Ticket { turn, place: None })
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

    /// An answer is none after all, or has not come by the deadline.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Instant, chance: f64, news: &mut Tidings) {
        let found = self.balance.spoiled(ticket.turn, now, chance);
        news.replicas(ticket.turn.replica, found);
    }

    /// An attempt has brought an answer, `hedged` if a second replica was asked.
    pub(super) fn answered(
        &mut self,
        permit: Option<Permit>,
        ticket: Ticket,
        took: Duration,
        hedged: Option<usize>,
        now: Instant,
    ) {
        self.counts.hedges_won += u64::from(hedged == Some(ticket.turn.replica));
        // what is usual is learned while all is well, and not from who is on trial
        let is_well = permit.is_some_and(|permit| self.is_free(permit));
        if is_well && !self.balance.is_canary(ticket.turn.replica) {
            self.latency.record(took, now);
        }
    }

    /// An attempt is given up because another one has brought an answer.
    pub(super) fn outrun(&mut self, ticket: Ticket, now: Instant, chance: f64, news: &mut Tidings) {
        let p95 = self.latency.quantiles(now).map(|known| known.p95);
        let found = self.balance.outrun(ticket.turn, p95, now, chance);
        news.replicas(ticket.turn.replica, found);
    }

    /// An attempt was given up before its end, or what became of it says nothing.
    pub(super) fn abandoned(&mut self, ticket: Ticket) {
        self.leave(ticket);
        self.balance.abandon(ticket.turn);
    }

    fn leave(&mut self, ticket: Ticket) {
        if let Some(place) = ticket.place {
            self.bulkhead.give_back(place);
        }
    }

    /// Whether an answer that took so long is slow, by what is usual here and by the time there was.
    pub(super) fn is_slow(&self, took: Duration, timeout: Duration, now: Instant) -> bool {
        let usual = self.latency.quantiles(now).map(|known| known.p50);
        usual.is_some_and(|usual| took > usual * self.slow_factor && took > timeout / 2)
    }

    /// A request has come to its end.
    pub(super) fn settled(
        &mut self,
        permit: Permit,
        verdict: Verdict,
        now: Instant,
        chance: f64,
        news: &mut Tidings,
    ) {
        let Permit { grade, pass } = permit;
        match verdict {
            Verdict::Good => {}
            Verdict::Slow => self.counts.slow += 1,
            Verdict::Missed | Verdict::Failed => self.counts.failed += 1,
        }
        self.lateness.note(verdict, now);
        let verdict = match (grade, verdict) {
            // late is better than not at all
            (Grade::Core, Verdict::Slow) => Verdict::Good,
            (Grade::Core | Grade::Essential | Grade::Optional, verdict) => verdict,
        };
        let breaker = &mut self.breakers[grade as usize];
        let moved = breaker.settle(pass, verdict, true, now, chance);
        news.origin.extend(moved.map(|moved| (grade, moved)));
    }

    /// A request has come to no end that says anything.
    pub(super) fn let_go(&mut self, permit: Permit) {
        self.breakers[permit.grade as usize].abandon(permit.pass);
    }

    /// How many requests there were lately, and how many of them were late.
    pub(super) fn lately(&mut self, now: Instant) -> Late {
        self.lateness.lately(now)
    }

    /// Whether what comes late from now on is the fault of something that origins have in common.
    pub(super) fn inhibit(&mut self, is_inhibited: bool) {
        for breaker in &mut self.breakers {
            breaker.inhibit(is_inhibited);
        }
    }

    /// The grades for which it is to be found out now how the origin is. For those that are `known` to
    /// be asked apart until then, no page does it.
    pub(super) fn probes_due(
        &mut self,
        known: &dyn Fn(Grade) -> bool,
        until: Instant,
        now: Instant,
    ) -> Vec<Grade> {
        let mut due = Vec::new();
        for grade in Grade::ALL.into_iter().filter(|grade| known(*grade)) {
            let breaker = &mut self.breakers[grade as usize];
            breaker.ask_apart(until);
            if breaker.probe_due(now).is_some() {
                due.push(grade);
            }
        }
        due
    }

    /// The origin has asked to be left alone for so long.
    pub(super) fn hold(&mut self, permit: Permit, span: Duration, now: Instant) {
        self.breakers[permit.grade as usize].hold(span, now);
    }
}

/// What is worth telling, to be told when nobody waits for the guards.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    /// Of the origin, as those of a grade see it.
    pub(super) origin: Vec<(Grade, breaker::Move)>,
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
