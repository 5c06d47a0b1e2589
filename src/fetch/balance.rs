//! Which replica is asked. Owns the choice, and what each replica is known for; pure: time and chance
//! are arguments.
//!
//! # The choice
//!
//! Of two primaries at random the one with the lower cost is asked ("power of two choices";
//! Mitzenmacher, 2001), where cost is the peak-sensitive moving average of its answer times times the
//! requests it has: what Finagle and linkerd call *peak EWMA*. A failure counts as an answer that took
//! several times as long as usual, so a replica that fails fast does not look fast. A canary gets its share
//! by lot and is not compared by cost: its weight is what was declared.
//!
//! # Ejection
//!
//! Each replica has a [breaker](super::breaker) of its own, for which slow means many times slower than
//! the best of the others, not than its own past: when all are slow nobody is an outlier. No more than
//! half of the primaries are ejected at once, unless there is a read-replica to go to. When an ejected one
//! returns, the breaker's recovery is its slow start. A replica whose health check fails is out as well.
//!
//! # Who is asked at last
//!
//! Read-replicas, when every primary is out; all primaries, when there is nobody else: asking one that
//! is probably dead is better than asking nobody. So there is always an answer to "who". For the same
//! reason a request that one replica has refused goes to each of the others before it fails: whoever
//! was ejected a moment ago may have been started again, while those that have just stopped are not out yet.

use std::time::Duration;

use crate::clock::Instant;
use crate::site::{BreakerPolicy, OriginSpec, Role};

use super::breaker::{self, Breaker, Need, Pass, Verdict};
use super::canary::{Trial, Worse};

/// How fast a peak of the answer time is forgotten; linkerd's and Finagle's default.
const PEAK_DECAY: Duration = Duration::from_secs(10);

/// Answers in a row that must be bad for a replica to be ejected, at most.
const RUN_MAX: u32 = 5;

/// Requests in a replica's window whose shares say something, at most.
const REQUESTS_MIN: u32 = 10;

/// Below this nobody is an outlier, however much faster the others are.
const OUTLIER_MIN: Duration = Duration::from_millis(20);

/// The weight of one answer in what is typical of a replica.
const TYPICAL_GAIN: f64 = 0.1;

/// A failure counts as an answer that took so many times what is typical.
const PENALTY: f64 = 4.0;

/// For how long the core leaves it to others to try a replica that was ejected.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);

/// Uniform in 0..1, as often as it is asked.
pub(super) type Chance<'c> = &'c mut dyn FnMut() -> f64;

/// The replicas of an origin.
#[derive(Debug)]
pub(super) struct Balance {
    replicas: Vec<Replica>,
    slow_factor: u32,
    is_enabled: bool,
}

/// What is known of one replica.
#[derive(Debug)]
struct Replica {
    role: Role,
    /// Percent of an equal share.
    weight: u8,
    breaker: Breaker,
    in_flight: u32,
    peak: Peak,
    /// Typical time of a good answer, in seconds.
    typical: Option<f64>,
    is_healthy: bool,
    /// Of a canary: how it compares, until it was found to be worse.
    trial: Trial,
    is_withdrawn: bool,
}

/// A moving average that rises at once and falls slowly, in seconds.
#[derive(Debug, Clone, Copy)]
struct Peak {
    value: f64,
    at: Instant,
}

/// Leave to ask one replica; to be given back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which.
    pub(super) replica: usize,
    pass: Option<Pass>,
    since: Instant,
}

/// What is worth telling of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It was ejected, or is coming back.
    Moved(breaker::Move),
    /// It is a canary that is worse than the others: it is asked no more.
    Withdrawn(Worse),
}

/// How a replica is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'b> {
    pub(super) breaker: &'b Breaker,
    pub(super) in_flight: u32,
    pub(super) typical: Option<Duration>,
    pub(super) is_healthy: bool,
    pub(super) is_withdrawn: bool,
}

impl Balance {
    /// The replicas of an origin, of which nothing is known.
    pub(super) fn new(spec: &OriginSpec, now: Instant) -> Self {
        let replica = |declared: &crate::site::ReplicaSpec| Replica {
            role: declared.role,
            weight: declared.weight,
            breaker: Breaker::new(of_replica(&spec.breaker), breaker::RUN_TIME, now),
            in_flight: 0,
            peak: Peak {
                value: 0.0,
                at: now,
            },
            typical: None,
            is_healthy: true,
            trial: Trial::default(),
            is_withdrawn: false,
        };
        Self {
            replicas: spec.replicas.iter().map(replica).collect(),
            slow_factor: spec.breaker.slow_factor,
            is_enabled: spec.breaker.enabled,
        }
    }

    /// Whom to ask, of those not in `tried` if there are any. `is_core` leaves experiments to others.
    pub(super) fn choose(
        &mut self,
        tried: &[usize],
        is_core: bool,
        now: Instant,
        chance: Chance<'_>,
    ) -> (Turn, Option<breaker::Move>) {
        let replica = match &self.replicas[..] {
            [_] => 0,
            _ => self.pick(tried, is_core, now, chance),
        };
        self.turn(replica, now, chance)
    }

    /// Another replica than those in `tried`, if there is one worth asking.
    pub(super) fn choose_other(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<(Turn, Option<breaker::Move>)> {
        let pool = self.pool(chance);
        let others = pool.into_iter().filter(|replica| !tried.contains(replica));
        let replica = self.cheaper(others.collect(), now, chance)?;
        Some(self.turn(replica, now, chance))
    }

    /// Whom to ask where those in `tried` could not be reached: somebody else, also who is out if
    /// nobody else is left.
    pub(super) fn choose_next(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
    ) -> (Turn, Option<breaker::Move>) {
        let lot = chance();
        let is_drawn = |r: &Replica| r.is_healthy && r.breaker.lets_through(lot);
        let left = |role: Role, is_able: &dyn Fn(&Replica) -> bool| {
            let mut members = self.members(role, is_able);
            members.retain(|index| !tried.contains(index));
            members
        };
        let pools = [
            left(Role::Primary, &is_drawn),
            left(Role::ReadReplica, &is_drawn),
            left(Role::Primary, &|replica| !replica.is_out()),
            left(Role::Primary, &|_| true),
            left(Role::ReadReplica, &|_| true),
        ];
        let pool = pools.into_iter().find(|pool| !pool.is_empty());
        match self.cheaper(pool.unwrap_or_default(), now, chance) {
            Some(replica) => self.turn(replica, now, chance),
            None => self.choose(tried, true, now, chance),
        }
    }

    /// Whether there is a replica that is not in `tried`, out or not.
    pub(super) fn has_next(&self, tried: &[usize]) -> bool {
        let mut rest = self.replicas.iter().enumerate();
        rest.any(|(index, replica)| !tried.contains(&index) && !replica.is_withdrawn)
    }

    /// Whether there is a replica that is not in `tried` and is not out.
    pub(super) fn has_other(&self, tried: &[usize]) -> bool {
        let mut rest = self.replicas.iter().enumerate();
        rest.any(|(index, replica)| !tried.contains(&index) && !replica.is_out())
    }

    fn turn(
        &mut self,
        index: usize,
        now: Instant,
        chance: Chance<'_>,
    ) -> (Turn, Option<breaker::Move>) {
        let replica = &mut self.replicas[index];
        replica.in_flight += 1;
        // whoever was chosen because there is nobody else is asked, whatever its breaker says
        let (pass, moved) = replica.breaker.admit(Need::Wanted, now, chance());
        let turn = Turn {
            replica: index,
            pass,
            since: now,
        };
        (turn, moved)
    }

    fn pick(&self, tried: &[usize], is_core: bool, now: Instant, chance: Chance<'_>) -> usize {
        if tried.is_empty()
            && let Some(due) = self.due(is_core, now)
        {
            return due;
        }
        let mut pool = self.pool(chance);
        if pool.iter().any(|index| !tried.contains(index)) {
            pool.retain(|index| !tried.contains(index));
        }
        if tried.is_empty()
            && let Some(canary) = self.drawn_canary(&pool, chance)
        {
            return canary;
        }
        if pool.iter().any(|index| self.replicas[*index].weight == 100) {
            pool.retain(|index| self.replicas[*index].weight == 100);
        }
        self.cheaper(pool, now, chance)
            .expect("the pool is never empty")
    }

    /// An ejected replica that is to be tried again.
    fn due(&self, is_core: bool, now: Instant) -> Option<usize> {
        let left_to_others = if is_core {
            LEFT_TO_OTHERS
        } else {
            Duration::ZERO
        };
        let is_due = |replica: &Replica| {
            let since = replica.breaker.probe_due(now);
            replica.is_healthy
                && !replica.is_withdrawn
                && since.is_some_and(|since| now >= since + left_to_others)
        };
        self.replicas.iter().position(is_due)
    }

    /// Those who may be asked: never nobody.
    fn pool(&self, chance: Chance<'_>) -> Vec<usize> {
        let lot = chance();
        let is_drawn = |r: &Replica| r.is_healthy && r.breaker.lets_through(lot);
        let pools = [
            self.members(Role::Primary, &is_drawn),
            self.members(Role::ReadReplica, &is_drawn),
            // on their way back, and not drawn this time
            self.members(Role::Primary, &|replica| !replica.is_out()),
        ];
        let pool = pools.into_iter().find(|pool| !pool.is_empty());
        pool.unwrap_or_else(|| self.members(Role::Primary, &|_| true))
    }

    /// Those of this role that are able, but for canaries that were withdrawn.
    fn members(&self, role: Role, is_able: &dyn Fn(&Replica) -> bool) -> Vec<usize> {
        let members = self.replicas.iter().enumerate();
        let members = members.filter(|(_, replica)| {
            replica.role == role && !replica.is_withdrawn && is_able(replica)
        });
        members.map(|(index, _)| index).collect()
    }

    /// The canary whose turn it is by lot.
    fn drawn_canary(&self, pool: &[usize], chance: Chance<'_>) -> Option<usize> {
        let weight = |index: &usize| f64::from(self.replicas[*index].weight);
        let total: f64 = pool.iter().map(weight).sum();
        let mut drawn = chance() * total;
        let mut canaries = pool
            .iter()
            .filter(|index| self.replicas[**index].weight < 100);
        canaries.clone().next()?;
        canaries
            .find(|index| {
                drawn -= weight(index);
                drawn < 0.0
            })
            .copied()
    }

    /// The cheaper of two at random.
    fn cheaper(&self, mut pool: Vec<usize>, now: Instant, chance: Chance<'_>) -> Option<usize> {
        let mut draw = |pool: &mut Vec<usize>| {
            let at = (chance() * pool.len() as f64) as usize;
            let last = pool.len().checked_sub(1)?;
            Some(pool.swap_remove(at.min(last)))
        };
        let one = draw(&mut pool)?;
        let Some(other) = draw(&mut pool) else {
            return Some(one);
        };
        let cost = |index: usize| self.replicas[index].cost(now);
        Some(if cost(other) < cost(one) { other } else { one })
    }

    /// What a replica was asked has come to its end. `p95` is what 95 of 100 answers of the origin take at most.
    pub(super) fn settle(
        &mut self,
        turn: Turn,
        verdict: Verdict,
        p95: Option<Duration>,
        now: Instant,
        chance: f64,
    ) -> Vec<News> {
        let took = now.saturating_duration_since(turn.since);
        let verdict = self.compared(turn.replica, verdict, took, now);
        let as_long_as = self.penalty(turn.replica, now);
        let replica = &mut self.replicas[turn.replica];
        replica.in_flight = replica.in_flight.saturating_sub(1);
        match verdict {
            Verdict::Failed => replica.peak.observe(took.max(as_long_as), now),
            Verdict::Good | Verdict::Slow => replica.answered(took, now),
        }
        self.judge(
            turn,
            verdict,
            p95.is_some_and(|p95| took > p95),
            now,
            chance,
        )
    }

    /// An answer that was taken for a good one is none.
    pub(super) fn spoiled(&mut self, turn: Turn, now: Instant, chance: f64) -> Vec<News> {
        self.judge(turn, Verdict::Failed, false, now, chance)
    }

    /// A replica was asked in vain: somebody else was faster, or nobody wants to know any more.
    pub(super) fn abandon(&mut self, turn: Turn, now: Instant) {
        let replica = &mut self.replicas[turn.replica];
        replica.in_flight = replica.in_flight.saturating_sub(1);
        let waited = now.saturating_duration_since(turn.since);
        // it would have taken at least so long
        if waited.as_secs_f64() > replica.peak.at(now) {
            replica.peak.observe(waited, now);
        }
        if let Some(pass) = turn.pass {
            replica.breaker.abandon(pass);
        }
    }

    /// Slow is what the best of the others is many times faster than.
    fn compared(&self, index: usize, verdict: Verdict, took: Duration, now: Instant) -> Verdict {
        let best = self.best_of_others(index, now);
        let is_outlier = best.is_some_and(|best| {
            took > OUTLIER_MIN && took.as_secs_f64() > best * f64::from(self.slow_factor)
        });
        // slow by the origin's past is no reason to go elsewhere
        match (verdict, is_outlier) {
            (Verdict::Failed, _) => Verdict::Failed,
            (Verdict::Good | Verdict::Slow, true) => Verdict::Slow,
            (Verdict::Good | Verdict::Slow, false) => Verdict::Good,
        }
    }

    /// What the best of the others took lately, in seconds. A peak tells sooner than what is typical
    /// that they have become slow as well.
    fn best_of_others(&self, index: usize, now: Instant) -> Option<f64> {
        let others = self.replicas.iter().enumerate();
        let others = others.filter(|(other, replica)| *other != index && !replica.is_out());
        let lately =
            others.filter_map(|(_, replica)| Some(replica.typical?.max(replica.peak.at(now))));
        lately.min_by(f64::total_cmp)
    }

    /// As how long an answer a failure counts: long enough for the others to be preferred, and soon
    /// forgotten, for one failure is no reason to do without a replica.
    fn penalty(&self, index: usize, now: Instant) -> Duration {
        let usual = self.replicas[index]
            .typical
            .or(self.best_of_others(index, now));
        Duration::from_secs_f64(usual.unwrap_or_default() * PENALTY)
    }

    fn judge(
        &mut self,
        turn: Turn,
        verdict: Verdict,
        is_late: bool,
        now: Instant,
        chance: f64,
    ) -> Vec<News> {
        let mut news = Vec::new();
        if self.replicas.len() == 1 {
            return news;
        }
        let may_eject = self.may_eject(turn.replica);
        if let Some(worse) = self.on_trial(turn.replica, verdict, is_late) {
            self.replicas[turn.replica].is_withdrawn = true;
            news.push(News::Withdrawn(worse));
        }
        let breaker = &mut self.replicas[turn.replica].breaker;
        if let Some(pass) = turn.pass {
            let moved = breaker.settle(pass, verdict, may_eject, now, chance);
            if moved.is_some() && !breaker.is_open() {
                self.replicas[turn.replica].peak = Peak {
                    value: 0.0,
                    at: now,
                };
            }
            news.extend(moved.map(News::Moved));
        }
        news
    }

    /// Whether one more may be out: half of the primaries at most, unless somebody stands in for
    /// them. A read-replica may go whenever another stays.
    fn may_eject(&self, index: usize) -> bool {
        let role = self.replicas[index].role;
        let of = |role: Role| {
            let members = self.replicas.iter();
            members.filter(move |r| r.role == role && !r.is_withdrawn)
        };
        let out = of(role).filter(|replica| replica.is_out()).count();
        let already = usize::from(self.replicas[index].is_out());
        let stands_in = role == Role::Primary && of(Role::ReadReplica).any(|r| !r.is_out());
        stands_in || out + 1 - already <= of(role).count() / 2
    }

    /// Compares canaries with the others.
    fn on_trial(&mut self, index: usize, verdict: Verdict, is_late: bool) -> Option<Worse> {
        if !self.is_enabled || self.replicas[index].role != Role::Primary {
            return None;
        }
        if self.replicas[index].weight < 100 {
            let replica = &mut self.replicas[index];
            let worse = replica.trial.canary(verdict, is_late);
            return worse.filter(|_| !replica.is_withdrawn);
        }
        let canaries = self
            .replicas
            .iter_mut()
            .filter(|replica| replica.weight < 100);
        canaries.for_each(|canary| canary.trial.other(verdict, is_late));
        None
    }

    /// Whether it is a new version on trial.
    pub(super) fn is_canary(&self, index: usize) -> bool {
        self.replicas[index].weight < 100
    }

    /// A health check has said how a replica is; whether that is news.
    pub(super) fn checked(&mut self, index: usize, is_healthy: bool, now: Instant) -> bool {
        let replica = &mut self.replicas[index];
        let is_news = replica.is_healthy != is_healthy;
        replica.is_healthy = is_healthy;
        if is_news && is_healthy {
            replica.peak = Peak {
                value: 0.0,
                at: now,
            };
            replica.breaker.start_slowly(now);
        }
        is_news
    }

    /// How each replica is, in the order of the declaration.
    pub(super) fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        self.replicas.iter().map(|replica| Condition {
            breaker: &replica.breaker,
            in_flight: replica.in_flight,
            typical: replica.typical.map(Duration::from_secs_f64),
            is_healthy: replica.is_healthy,
            is_withdrawn: replica.is_withdrawn,
        })
    }
}

impl Replica {
    fn is_out(&self) -> bool {
        !self.is_healthy || self.is_withdrawn || self.breaker.is_open()
    }

    fn answered(&mut self, took: Duration, now: Instant) {
        self.peak.observe(took, now);
        let took = took.as_secs_f64();
        let typical = self.typical.unwrap_or(took);
        self.typical = Some(typical + TYPICAL_GAIN * (took - typical));
    }

    fn cost(&self, now: Instant) -> f64 {
        // one that has never answered is tried, but not by everybody at once
        let least = 1e-4;
        self.peak.at(now).max(least) * f64::from(self.in_flight + 1)
    }
}

impl Peak {
    fn observe(&mut self, took: Duration, now: Instant) {
        let took = took.as_secs_f64();
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        let kept = (-past / PEAK_DECAY.as_secs_f64()).exp();
        self.value = match took > self.value {
            true => took,
            false => self.value * kept + took * (1.0 - kept),
        };
        self.at = now;
    }

    /// Without news a peak is forgotten.
    fn at(&self, now: Instant) -> f64 {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.value * (-past / PEAK_DECAY.as_secs_f64()).exp()
    }
}

/// A replica is given up sooner than an origin: there are others.
fn of_replica(origin: &BreakerPolicy) -> BreakerPolicy {
    BreakerPolicy {
        run_max: origin.run_max.min(RUN_MAX),
        requests_min: origin.requests_min.min(REQUESTS_MIN),
        ..origin.clone()
    }
}

#[cfg(test)]
mod tests;
