//! Which replica is asked. Owns the choice, and what each replica is known for; pure: time and chance
//! are arguments.
//!
//! # The choice
//!
//! Of two primaries at random the one with the lower cost is asked ("power of two choices";
//! Mitzenmacher, 2001), where cost is the peak-sensitive moving average of its answer times,
//! multiplied by the requests it has: what Finagle and linkerd call *peak EWMA*. A failure counts as an answer that took
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
//! was ejected a moment ago may have been started again, while those that have just stopped are not out
//! yet.

use std::time::Duration;

use crate::clock::Instant;
use crate::site::{OriginSpec, Role};

use super::breaker::{self, Breaker, Need, Pass};
use super::canary::Worse;
use super::replica::Replica;
use super::verdict::Verdict;

/// Below this nobody is an outlier, however much faster the others are.
const OUTLIER_MIN: Duration = Duration::from_millis(20);

/// A failure counts as an answer that took so many times what is typical.
const PENALTY: f64 = 4.0;

/// Who may be sent to a replica that may be dead still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daring {
    /// Whoever can do without the answer.
    Some,
    /// Who would be missed, when nobody else has found out for a second.
    Little,
    /// Whose reader has nothing else, when nobody else has found out for five.
    Least,
    /// What cannot be sent twice.
    None,
}

impl Daring {
    fn leaves_to_others(self) -> Option<Duration> {
        match self {
            Self::Some => Some(Duration::ZERO),
            Self::Little => Some(Duration::from_secs(1)),
            Self::Least => Some(Duration::from_secs(5)),
            Self::None => None,
        }
    }
}

/// Uniform in 0..1, as often as it is asked.
pub(super) type Chance<'c> = &'c mut dyn FnMut() -> f64;

/// The replicas of an origin.
#[derive(Debug)]
pub(super) struct Balance {
    replicas: Vec<Replica>,
    slow_factor: u32,
    is_enabled: bool,
}

/// Leave to ask one replica; to be given back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Which.
    pub(super) replica: usize,
    pass: Option<Pass>,
    pub(super) since: Instant,
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
    pub(super) asked: u64,
    pub(super) failed: u64,
    pub(super) typical: Option<Duration>,
    pub(super) is_healthy: bool,
    pub(super) is_put_aside: bool,
}

impl Balance {
    /// The replicas of an origin, of which nothing is known.
    pub(super) fn new(spec: &OriginSpec, now: Instant) -> Self {
        Self {
            replicas: spec
                .replicas
                .iter()
                .map(|replica| Replica::new(replica, &spec.breaker, now))
                .collect(),
            slow_factor: spec.breaker.slow_factor,
            is_enabled: spec.breaker.enabled,
        }
    }

    /// The site was declared anew, with the same replicas.
    pub(super) fn declare(&mut self, spec: &OriginSpec, now: Instant) {
        self.slow_factor = spec.breaker.slow_factor;
        self.is_enabled = spec.breaker.enabled;
        for replica in &mut self.replicas {
            replica.declare(&spec.breaker, now);
        }
    }

    /// Whom to ask first. Whether an ejected replica is well again is found out by whoever has `daring`.
    pub(super) fn choose(
        &mut self,
        daring: Daring,
        now: Instant,
        chance: Chance<'_>,
    ) -> (Turn, Option<breaker::Move>) {
        let replica = match &self.replicas[..] {
            [_] => 0,
            _ => self.pick(daring, now, chance),
        };
        self.turn(replica, now)
    }

    /// Whom to ask, of those not in `tried`, to find out whether anybody answers: whoever answered last,
    /// ejected or not, since those that were ejected may be the ones that are well again. `None` when
    /// all were tried.
    pub(super) fn choose_probed(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<(Turn, Option<breaker::Move>)> {
        let pools = [
            self.members(Role::Primary, &|replica| replica.is_answering),
            self.members(Role::Primary, &|_| true),
            self.members(Role::ReadReplica, &|_| true),
        ];
        let lot = chance();
        let replica = pools.iter().find_map(|pool| {
            let others = untried(pool, tried);
            let at = (lot * others.len() as f64) as usize;
            others.get(at).copied()
        });
        Some(self.turn(replica?, now))
    }

    /// Whom to ask once more: another than those in `tried`, if there is one of their kind.
    pub(super) fn choose_again(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
    ) -> (Turn, Option<breaker::Move>) {
        let pool = self.pool(chance);
        let others = untried(&pool, tried);
        let pool = if others.is_empty() { pool } else { others };
        let replica = self.cheaper(self.without_canaries(pool), now, chance);
        self.turn(replica.expect("the pool is never empty"), now)
    }

    /// Whom to ask as well, while one of `tried` takes its time; `None` if there is no other.
    pub(super) fn choose_beside(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<(Turn, Option<breaker::Move>)> {
        let others = untried(&self.pool(chance), tried);
        let replica = self.cheaper(self.without_canaries(others), now, chance)?;
        Some(self.turn(replica, now))
    }

    /// Whom to ask instead, where none of `tried` could be reached: read-replicas too, and who is out if
    /// nobody else is left. `None` when all were tried.
    pub(super) fn choose_instead(
        &mut self,
        tried: &[usize],
        now: Instant,
        chance: Chance<'_>,
    ) -> Option<(Turn, Option<breaker::Move>)> {
        let is_in = |replica: &Replica| !replica.is_out();
        let pools = [
            self.members(Role::Primary, &is_in),
            self.members(Role::ReadReplica, &is_in),
            self.members(Role::Primary, &|_| true),
            self.members(Role::ReadReplica, &|_| true),
        ];
        let replica = pools
            .iter()
            .find_map(|pool| self.cheaper(untried(pool, tried), now, chance));
        Some(self.turn(replica?, now))
    }

    /// Whether [`choose_instead`](Self::choose_instead) would find somebody.
    pub(super) fn has_other(&self, tried: &[usize]) -> bool {
        let mut rest = self.replicas.iter().enumerate();
        rest.any(|(index, replica)| !tried.contains(&index) && !replica.is_put_aside())
    }

    fn turn(&mut self, index: usize, now: Instant) -> (Turn, Option<breaker::Move>) {
        let replica = &mut self.replicas[index];
        replica.in_flight += 1;
        replica.asked += 1;
        // the lot was drawn when it was chosen; whoever was chosen because there is nobody else is
        // asked whatever its breaker says
        let (pass, moved) = replica.breaker.admit(Need::Wanted, now, 0.0);
        let turn = Turn {
            replica: index,
            pass,
            since: now,
        };
        (turn, moved)
    }

    fn pick(&self, daring: Daring, now: Instant, chance: Chance<'_>) -> usize {
        if let Some(due) = self.due(daring, now) {
            return due;
        }
        let pool = self.pool(chance);
        if let Some(canary) = self.drawn_canary(&pool, chance) {
            return canary;
        }
        self.cheaper(self.without_canaries(pool), now, chance)
            .expect("the pool is never empty")
    }

    /// An ejected replica that is to be tried again. Read-replicas are, when they are needed.
    fn due(&self, daring: Daring, now: Instant) -> Option<usize> {
        let left_to_others = daring.leaves_to_others()?;
        let is_needed = |role: Role| {
            let is_in = |replica: &Replica| !replica.is_out();
            role == Role::Primary || self.members(Role::Primary, &is_in).is_empty()
        };
        let is_due = |replica: &Replica| {
            let since = replica.breaker.probe_due(now);
            replica.is_healthy
                && !replica.is_put_aside()
                && since.is_some_and(|since| now >= since + left_to_others)
                && is_needed(replica.role)
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

    /// The replicas of a role that are not put aside, and of which this is true.
    fn members(&self, role: Role, is_so: &dyn Fn(&Replica) -> bool) -> Vec<usize> {
        let members = self.replicas.iter().enumerate();
        let members = members.filter(|(_, replica)| {
            replica.role == role && !replica.is_put_aside() && is_so(replica)
        });
        members.map(|(index, _)| index).collect()
    }

    /// A canary gets its share by lot and no more, unless there is nobody else.
    fn without_canaries(&self, mut pool: Vec<usize>) -> Vec<usize> {
        if pool.iter().any(|index| !self.is_canary(*index)) {
            pool.retain(|index| !self.is_canary(*index));
        }
        pool
    }

    /// The canary whose turn it is by lot.
    fn drawn_canary(&self, pool: &[usize], chance: Chance<'_>) -> Option<usize> {
        let weight = |index: &usize| f64::from(self.replicas[*index].weight);
        let total: f64 = pool.iter().map(weight).sum();
        let mut drawn = chance() * total;
        let mut canaries = pool.iter().filter(|index| self.is_canary(**index));
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

    /// What a replica was asked has come to its end. `p95` is what 95 of 100 answers of the origin take
    /// at most.
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
            Verdict::Missed | Verdict::Failed => {
                replica.failed += 1;
                replica.peak.observe(took.max(as_long_as), now);
            }
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
        self.replicas[turn.replica].failed += 1;
        self.judge(turn, Verdict::Failed, false, now, chance)
    }

    /// A replica was asked, and what became of it says nothing of it.
    pub(super) fn abandon(&mut self, turn: Turn) {
        let replica = &mut self.replicas[turn.replica];
        replica.in_flight = replica.in_flight.saturating_sub(1);
        if let Some(pass) = turn.pass {
            replica.breaker.abandon(pass);
        }
    }

    /// Somebody else was faster, by so much that it can be said: it has been waited for so long, and
    /// would have taken longer.
    pub(super) fn outrun(
        &mut self,
        turn: Turn,
        p95: Option<Duration>,
        now: Instant,
        chance: f64,
    ) -> Vec<News> {
        let waited = now.saturating_duration_since(turn.since);
        // how much longer nobody knows: as long again
        let would_take = 2 * waited;
        if would_take.as_secs_f64() > self.replicas[turn.replica].peak.at(now) {
            self.replicas[turn.replica].peak.observe(would_take, now);
        }
        if p95.is_none_or(|p95| waited <= p95) {
            return Vec::new();
        }
        // who is on probation has to show that it is well; of others it is not known whether the answer
        // would have come in the next moment
        let is_on_probation = !self.replicas[turn.replica].breaker.is_closed();
        let verdict = self.compared(turn.replica, Verdict::Good, waited, now);
        match is_on_probation || verdict == Verdict::Slow {
            true => self.judge(turn, Verdict::Slow, true, now, chance),
            false => self.found_worse(turn.replica, Verdict::Good, true),
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
            (Verdict::Missed | Verdict::Failed, _) => Verdict::Failed,
            (Verdict::Good | Verdict::Slow, true) => Verdict::Slow,
            (Verdict::Good | Verdict::Slow, false) => Verdict::Good,
        }
    }

    /// What the best of the other primaries took lately, in seconds. What is on trial, or only stands
    /// in, is no measure for them.
    fn best_of_others(&self, index: usize, now: Instant) -> Option<f64> {
        let others = self.replicas.iter().enumerate();
        let others = others.filter(|(other, replica)| {
            *other != index && replica.is_full_primary() && !replica.is_out()
        });
        let lately = others.filter_map(|(_, replica)| replica.lately(now));
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
        self.replicas[turn.replica].is_answering = verdict != Verdict::Failed;
        let may_eject = self.may_eject(turn.replica);
        news.extend(self.found_worse(turn.replica, verdict, is_late));
        if !news.is_empty() {
            // that it is left alone for a while as well is no news
            return news;
        }
        let breaker = &mut self.replicas[turn.replica].breaker;
        if let Some(pass) = turn.pass {
            let moved = breaker.settle(pass, verdict, may_eject, now, chance);
            if moved.is_some() && !breaker.is_open() {
                self.replicas[turn.replica].forgive(now);
            }
            news.extend(moved.map(News::Moved));
        }
        news
    }

    /// Whether one more may be out: half of the primaries at most, unless somebody stands in for
    /// them. A canary may go, and a read-replica whenever another stays.
    fn may_eject(&self, index: usize) -> bool {
        let replica = &self.replicas[index];
        if replica.is_canary() {
            return true;
        }
        let kind = replica.is_full_primary();
        let alike = self.replicas.iter().filter(|r| match kind {
            true => r.is_full_primary(),
            false => r.role == Role::ReadReplica,
        });
        let (all, out) = (
            alike.clone().count(),
            alike.clone().filter(|r| r.is_out()).count(),
        );
        let already = usize::from(replica.is_out());
        let in_reserve = |r: &Replica| r.role == Role::ReadReplica && !r.is_out();
        let stands_in = kind && self.replicas.iter().any(in_reserve);
        stands_in || out + 1 - already <= all / 2
    }

    /// Withdraws a canary that is worse than the others.
    fn found_worse(&mut self, index: usize, verdict: Verdict, is_late: bool) -> Vec<News> {
        let worse = self.on_trial(index, verdict, is_late);
        self.replicas[index].is_withdrawn |= worse.is_some();
        worse.map(News::Withdrawn).into_iter().collect()
    }

    /// Compares canaries with the others.
    fn on_trial(&mut self, index: usize, verdict: Verdict, is_late: bool) -> Option<Worse> {
        if !self.is_enabled || self.replicas[index].role != Role::Primary {
            return None;
        }
        if self.is_canary(index) {
            let replica = &mut self.replicas[index];
            let worse = replica.trial.canary(verdict, is_late);
            return worse.filter(|_| !replica.is_withdrawn);
        }
        let canaries = self
            .replicas
            .iter_mut()
            .filter(|replica| replica.is_canary());
        canaries.for_each(|canary| canary.trial.other(verdict, is_late));
        None
    }

    /// Whether it is a new version on trial.
    pub(super) fn is_canary(&self, index: usize) -> bool {
        self.replicas[index].is_canary()
    }

    /// Whether canaries are not asked at present, however good they are.
    pub(super) fn pause_canaries(&mut self, are_paused: bool) {
        let canaries = self
            .replicas
            .iter_mut()
            .filter(|replica| replica.is_canary());
        canaries.for_each(|canary| canary.is_paused = are_paused);
    }

    /// A health check has said how a replica is; whether that is news.
    pub(super) fn checked(&mut self, index: usize, is_healthy: bool, now: Instant) -> bool {
        let replica = &mut self.replicas[index];
        let is_news = replica.is_healthy != is_healthy;
        replica.is_healthy = is_healthy;
        if is_news && is_healthy {
            replica.forgive(now);
            replica.breaker.start_slowly(now);
        }
        is_news
    }

    /// How each replica is, in the order of the declaration.
    pub(super) fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        self.replicas.iter().map(|replica| Condition {
            breaker: &replica.breaker,
            in_flight: replica.in_flight,
            asked: replica.asked,
            failed: replica.failed,
            typical: replica.typical.map(Duration::from_secs_f64),
            is_healthy: replica.is_healthy,
            is_put_aside: replica.is_put_aside(),
        })
    }
}

/// Those of a pool that were not tried.
fn untried(pool: &[usize], tried: &[usize]) -> Vec<usize> {
    let others = pool.iter().filter(|index| !tried.contains(index));
    others.copied().collect()
}

#[cfg(test)]
mod tests;
