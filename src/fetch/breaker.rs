//! When an origin, or one of its replicas, is not worth asking. Owns the rule by which requests stop
//! and come back; pure: time and chance are arguments. Knows neither what a request is nor who makes
//! it.
//!
//! # When it opens
//!
//! Breakers that count errors miss the common case, which is slow and not down. Three kinds of result
//! are counted over a sliding window: good, slow, failed (an error, or no answer by the deadline). It
//! opens
//!
//! - *failing*, when `failed_percent` of at least `requests_min` requests have failed;
//! - *slow*, when `slow_percent` of them have failed or were slow;
//! - when `run_max` in a row were bad, for at least [`RUN_TIME`]: at night there are never
//!   `requests_min`, and by day a blip of a few milliseconds is no reason.
//!
//! # Whose it is
//!
//! Of each origin the core, the essential and the optional fragments have one each, which is judged by
//! their own results: a block that misses a tight deadline, or one address that fails, takes no article
//! from anybody. For the core slow is not bad: an article that is late is worth more than no article.
//! And a core that has nothing at all to show instead may find out how the origin is before it is time,
//! one request at a time and no more than one in [`EARLY_PAUSE`]: that costs the origin little, and the
//! reader would get an error page. On the way back it is always let through.
//!
//! # What is held against nobody
//!
//! Where many origins are late at once the reason is elsewhere: a database behind all of them, or a
//! network. While that is so ([`inhibit`](Breaker::inhibit)) what was missed or slow is not counted: less
//! is asked of each of them meanwhile, and by what may be missed least. Errors count as ever.
//!
//! # Who finds out
//!
//! The request that finds out how an origin is should not be one that a reader waits for. Where somebody
//! [asks apart](Breaker::ask_apart) pages leave it to them, but for a core that has nothing else; and as
//! that costs no reader anything, the pause is [`APART_MAX`] at most, or the first one if that is longer.
//! For the core, which readers come for, it is never more than [`CORE_PAUSE_MAX`], whoever asks: one page a
//! second waits for an article that may be there again, and has the copy that the others have if it is not.
//!
//! # How it recovers
//!
//! After a pause (twice as long each time, up to `open_max`, a random quarter more, so that the nodes
//! of a fleet do not come back in step) one request at a time is let through; [`PROBES`] good ones in a
//! row begin the recovery: [`STEPS`] percent of the requests, a step at a time. A step needs a good
//! request, and is as long as four where there are none. On the way back a run of
//! [`RUN_MAX_RECOVERING`] opens it again. The pause starts anew only when it was closed for `open_max`.
//!
//! Invariant: open, there is always an instant from which a request is let through, and a request that
//! was let through before the last change of state changes nothing any more.

use std::fmt;
use std::time::Duration;

use crate::clock::Instant;
use crate::report::BreakerState;
use crate::site::BreakerPolicy;

use super::verdict::Verdict;
use super::window::Window;

/// How long a run of bad results lasts at least before it opens the breaker of an origin.
pub(super) const RUN_TIME: Duration = Duration::from_millis(200);

/// How long the other side is left alone at most where no reader waits for what finds out: a request
/// each three seconds is nothing to it, and blocks are back that much sooner.
const APART_MAX: Duration = Duration::from_secs(3);

/// How long the other side is left alone at most where it has the core: as often as a core that has nothing
/// else may ask.
pub(super) const CORE_PAUSE_MAX: Duration = EARLY_PAUSE;

/// Good requests in a row that begin the recovery.
const PROBES: u32 = 3;

/// Percent of the requests that are let through at each step of the recovery.
const STEPS: [u8; 3] = [5, 20, 60];

/// Between two requests of cores that have nothing else, to an origin that is left alone.
const EARLY_PAUSE: Duration = Duration::from_secs(1);

/// Bad results in a row that end a recovery.
const RUN_MAX_RECOVERING: u32 = 3;

/// Requests of one step of a recovery whose shares say something.
const REQUESTS_MIN_RECOVERING: u32 = 6;

const GOOD: usize = 0;
const SLOW: usize = 1;
const FAILED: usize = 2;

/// Why it is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// So many of so many requests failed.
    Failing { failed: u32, of: u32 },
    /// So many of so many requests failed or were slow.
    Slow { slow: u32, of: u32 },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failing { failed, of } => write!(
                f,
                "{failed} of {of} requests failed or missed their deadline"
            ),
            Self::Slow { slow, of } => write!(f, "{slow} of {of} requests were slow or failed"),
        }
    }
}

/// Leave to make one request; to be given back with what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    epoch: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Probe,
    /// A core that has nothing to show instead, at an open breaker.
    LastResort,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// There is something to show instead, or nothing is missed.
    Wanted,
    /// Without it there is no page.
    LastResort,
    /// Nobody waits for it: it is to find out how the other side is.
    Probe,
}

impl Pass {
    /// Whether it was let through by a breaker that is closed.
    pub(super) fn is_free(self, breaker: &Breaker) -> bool {
        self.kind == Kind::Normal && breaker.is_closed()
    }

    /// Whether it is to find out how the other side is.
    pub(super) fn is_probe(self) -> bool {
        matches!(self.kind, Kind::Probe | Kind::LastResort)
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: BreakerState,
    pub(super) to: BreakerState,
    /// What opened it last.
    pub(super) why: Why,
    /// How long it is left alone, if it is.
    pub(super) pause: Option<Duration>,
}

/// Whether requests are made.
#[derive(Debug)]
pub(super) struct Breaker {
    policy: BreakerPolicy,
    run_time: Duration,
    /// How long the pause is at most, whoever asks; `None`: as long as the policy says, or as somebody who
    /// asks apart may take.
    pause_max: Option<Duration>,
    phase: Phase,
    /// Counts the changes of state, so that what returns late is known.
    epoch: u32,
    window: Window<3>,
    run: Run,
    /// Times that it has opened without a good spell between.
    trips: u32,
    /// What opened it last.
    why: Option<Why>,
    early: Early,
    /// Until when somebody apart from pages finds out how the other side is.
    asked_apart: Option<Instant>,
    /// Whether what comes late is the fault of something that many have in common.
    is_inhibited: bool,
    /// Until when the other side has asked to be left alone.
    hold: Option<Instant>,
    changed: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { good: u32, is_asked: bool },
    Recovering { step: usize, good: u32 },
}

/// What those do who have nothing else.
#[derive(Debug, Clone, Copy, Default)]
struct Early {
    is_asked: bool,
    last: Option<Instant>,
}

impl Early {
    /// Takes the one request that there is at present, if there is.
    fn take(&mut self, now: Instant) -> bool {
        let is_soon = |last| now.saturating_duration_since(last) < EARLY_PAUSE;
        let is_free = !self.is_asked && !self.last.is_some_and(is_soon);
        if is_free {
            *self = Self {
                is_asked: true,
                last: Some(now),
            };
        }
        is_free
    }
}

/// Bad results in a row.
#[derive(Debug, Clone, Copy)]
struct Run {
    bad: u32,
    failed: u32,
    since: Instant,
}

impl Breaker {
    /// Closed. A run of bad results opens it after `run_time` at the earliest.
    pub(super) fn new(policy: BreakerPolicy, run_time: Duration, now: Instant) -> Self {
        Self {
            window: Window::new(policy.window, now),
            policy,
            run_time,
            pause_max: None,
            phase: Phase::Closed,
            epoch: 0,
            run: Run::none(now),
            trips: 0,
            why: None,
            early: Early::default(),
            asked_apart: None,
            is_inhibited: false,
            hold: None,
            changed: now,
        }
    }

    /// The same, with a pause of at most `pause_max`, or the first one if that is longer.
    pub(super) fn pauses_at_most(self, pause_max: Duration) -> Self {
        Self {
            pause_max: Some(pause_max),
            ..self
        }
    }

    /// The site was declared anew: what is known stays, and counts by the new numbers.
    pub(super) fn declare(&mut self, policy: BreakerPolicy, now: Instant) {
        if policy.window != self.policy.window {
            self.window = Window::new(policy.window, now);
        }
        if !policy.enabled && self.phase != Phase::Closed {
            self.become_(Phase::Closed, now);
        }
        self.policy = policy;
    }

    /// Whether all requests are let through.
    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The state, what opened it last, and since when it is so.
    pub(super) fn state(&self) -> (BreakerState, Option<Why>, Instant) {
        let state = match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Recovering { .. } => BreakerState::Recovering,
        };
        (state, self.why, self.changed)
    }

    /// Percent of the requests that are let through, and when the next probe is, while it is open.
    pub(super) fn share(&self) -> (u8, Option<Instant>) {
        match self.phase {
            Phase::Closed => (100, None),
            Phase::Open { until } => (0, Some(until)),
            Phase::HalfOpen { .. } => (0, None),
            Phase::Recovering { step, .. } => (STEPS[step], None),
        }
    }

    /// Times that it has opened in a row.
    pub(super) fn trips(&self) -> u32 {
        self.trips
    }

    /// Whether requests are stopped, but for what finds out whether they should be.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::HalfOpen { .. })
    }

    /// Whether a probe is due, and since when.
    pub(super) fn probe_due(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => (now >= until).then_some(until),
            Phase::HalfOpen { is_asked, .. } => (!is_asked).then_some(self.changed),
            Phase::Closed | Phase::Recovering { .. } => None,
        }
    }

    /// Whether a request that is no probe would be let through. `chance` is uniform in 0..1.
    pub(super) fn lets_through(&self, chance: f64) -> bool {
        match self.phase {
            Phase::Closed => true,
            Phase::Open { .. } | Phase::HalfOpen { .. } => false,
            Phase::Recovering { step, .. } => chance * 100.0 < f64::from(STEPS[step]),
        }
    }

    /// Lets a request through, or not. `chance` is uniform in 0..1.
    pub(super) fn admit(
        &mut self,
        need: Need,
        now: Instant,
        chance: f64,
    ) -> (Option<Pass>, Option<Move>) {
        let mut moved = self.advance(now);
        let leaves_it = self.is_asked_apart(now) && need == Need::Wanted;
        if self.probe_due(now).is_some() && !leaves_it {
            let good = match self.phase {
                Phase::HalfOpen { good, .. } => good,
                Phase::Closed | Phase::Open { .. } | Phase::Recovering { .. } => 0,
            };
            let is_asked = true;
            let half_open = Phase::HalfOpen { good, is_asked };
            match self.phase {
                Phase::HalfOpen { .. } => self.phase = half_open,
                Phase::Closed | Phase::Open { .. } | Phase::Recovering { .. } => {
                    moved = self.become_(half_open, now);
                }
            }
            return (Some(self.pass(Kind::Probe)), moved);
        }
        let is_drawn = self.lets_through(chance);
        let kind = match self.phase {
            _ if is_drawn => Some(Kind::Normal),
            Phase::Recovering { .. } if need != Need::Wanted => Some(Kind::Normal),
            Phase::Open { .. } | Phase::HalfOpen { .. } if need == Need::LastResort => {
                self.early.take(now).then_some(Kind::LastResort)
            }
            Phase::Closed
            | Phase::Open { .. }
            | Phase::HalfOpen { .. }
            | Phase::Recovering { .. } => None,
        };
        (kind.map(|kind| self.pass(kind)), moved)
    }

    fn is_asked_apart(&self, now: Instant) -> bool {
        self.asked_apart.is_some_and(|until| now < until)
    }

    fn pass(&self, kind: Kind) -> Pass {
        Pass {
            epoch: self.epoch,
            kind,
        }
    }

    /// A request has come to its end. `may_open` is whether there is somebody else to ask, or nobody
    /// needs to be; `chance` is uniform in 0..1.
    pub(super) fn settle(
        &mut self,
        pass: Pass,
        verdict: Verdict,
        may_open: bool,
        now: Instant,
        chance: f64,
    ) -> Option<Move> {
        if pass.epoch != self.epoch || !self.policy.enabled {
            return None;
        }
        let is_late = matches!(verdict, Verdict::Slow | Verdict::Missed);
        if self.is_inhibited && is_late && pass.kind == Kind::Normal {
            return self.advance(now);
        }
        self.run.note(verdict, now);
        match pass.kind {
            Kind::LastResort => self.tried_early(verdict, now),
            Kind::Probe => self.probed(verdict, now, chance),
            Kind::Normal => {
                self.window.add(kind_of(verdict), now);
                if let Phase::Recovering { good, .. } = &mut self.phase {
                    *good += u32::from(verdict == Verdict::Good);
                }
                match self.wrong(now).filter(|_| may_open) {
                    Some(why) => self.open(why, now, chance),
                    None => self.advance(now),
                }
            }
        }
    }

    /// A request has come to no end that says anything.
    pub(super) fn abandon(&mut self, pass: Pass) {
        if pass.epoch != self.epoch {
            return;
        }
        match (pass.kind, &mut self.phase) {
            (Kind::Probe, Phase::HalfOpen { is_asked, .. }) => *is_asked = false,
            (Kind::LastResort, _) => self.early.is_asked = false,
            (Kind::Normal | Kind::Probe, _) => {}
        }
    }

    /// The other side has asked to be left alone for so long (`Retry-After`; RFC 9110, 10.2.3).
    pub(super) fn hold(&mut self, span: Duration, now: Instant) {
        let until = now + span.min(self.policy.open_max);
        self.hold = self.hold.max(Some(until));
    }

    /// Until then somebody apart from pages finds out how the other side is.
    pub(super) fn ask_apart(&mut self, until: Instant) {
        self.asked_apart = Some(until);
    }

    /// Whether what comes late from now on is the fault of something that many have in common.
    pub(super) fn inhibit(&mut self, is_inhibited: bool) {
        self.is_inhibited = is_inhibited;
    }

    /// What was away is back: it gets its share a step at a time.
    pub(super) fn start_slowly(&mut self, now: Instant) {
        if self.policy.enabled && !self.is_open() {
            self.become_(Phase::Recovering { step: 0, good: 0 }, now);
        }
    }

    /// What is wrong, if the results so far are reason to open.
    fn wrong(&mut self, now: Instant) -> Option<Why> {
        let is_recovering = match self.phase {
            Phase::Recovering { .. } => true,
            Phase::Closed => false,
            Phase::Open { .. } | Phase::HalfOpen { .. } => return None,
        };
        let [good, slow, failed] = self.window.sums(now);
        let (of, bad) = (good + slow + failed, slow + failed);
        let (run_max, run_time, requests_min) = match is_recovering {
            true => (
                self.policy.run_max.min(RUN_MAX_RECOVERING),
                Duration::ZERO,
                self.policy.requests_min.min(REQUESTS_MIN_RECOVERING),
            ),
            false => (self.policy.run_max, self.run_time, self.policy.requests_min),
        };
        let is_share = |part: u32, of: u32, percent: u8| {
            u64::from(part) * 100 >= u64::from(percent) * u64::from(of)
        };
        if of >= requests_min {
            if is_share(failed, of, self.policy.failed_percent) {
                return Some(Why::Failing { failed, of });
            }
            if is_share(bad, of, self.policy.slow_percent) {
                return Some(Why::Slow { slow: bad, of });
            }
        }
        let Run { bad, failed, since } = self.run;
        if bad < run_max || now.saturating_duration_since(since) < run_time {
            return None;
        }
        Some(match is_share(failed, bad, self.policy.failed_percent) {
            true => Why::Failing { failed, of: bad },
            false => Why::Slow { slow: bad, of: bad },
        })
    }

    /// A last resort has tried before it was time: a good answer is as good as a probe's, a bad one
    /// changes nothing.
    fn tried_early(&mut self, verdict: Verdict, now: Instant) -> Option<Move> {
        self.early.is_asked = false;
        let (good, is_asked) = match (self.phase, verdict) {
            (Phase::Open { .. }, Verdict::Good) => (1, false),
            (Phase::HalfOpen { good, is_asked }, Verdict::Good) => (good + 1, is_asked),
            (
                Phase::Open { .. } | Phase::HalfOpen { .. },
                Verdict::Slow | Verdict::Missed | Verdict::Failed,
            )
            | (Phase::Closed | Phase::Recovering { .. }, _) => return None,
        };
        // whoever has good news may bring more
        self.early.last = None;
        match self.phase {
            _ if good >= PROBES => self.become_(Phase::Recovering { step: 0, good: 0 }, now),
            Phase::HalfOpen { .. } => {
                self.phase = Phase::HalfOpen { good, is_asked };
                None
            }
            Phase::Open { .. } | Phase::Closed | Phase::Recovering { .. } => {
                self.become_(Phase::HalfOpen { good, is_asked }, now)
            }
        }
    }

    fn probed(&mut self, verdict: Verdict, now: Instant, chance: f64) -> Option<Move> {
        let Phase::HalfOpen { good, .. } = self.phase else {
            return None;
        };
        match verdict {
            Verdict::Good if good + 1 >= PROBES => {
                self.become_(Phase::Recovering { step: 0, good: 0 }, now)
            }
            Verdict::Good => {
                let is_asked = false;
                self.phase = Phase::HalfOpen {
                    good: good + 1,
                    is_asked,
                };
                None
            }
            Verdict::Slow => self.open(Why::Slow { slow: 1, of: 1 }, now, chance),
            Verdict::Missed | Verdict::Failed => {
                self.open(Why::Failing { failed: 1, of: 1 }, now, chance)
            }
        }
    }

    /// Takes the next step of a recovery when it is time.
    fn advance(&mut self, now: Instant) -> Option<Move> {
        let Phase::Recovering { step, good } = self.phase else {
            return None;
        };
        let past = now.saturating_duration_since(self.changed);
        let is_time = past >= self.policy.step && (good > 0 || past >= 4 * self.policy.step);
        if !is_time {
            return None;
        }
        match step + 1 {
            last if last >= STEPS.len() => self.become_(Phase::Closed, now),
            step => {
                // no news: it goes on recovering
                self.phase = Phase::Recovering { step, good: 0 };
                self.changed = now;
                self.window.clear(now);
                None
            }
        }
    }

    fn open(&mut self, why: Why, now: Instant, chance: f64) -> Option<Move> {
        let was_good =
            self.is_closed() && now.saturating_duration_since(self.changed) >= self.policy.open_max;
        self.trips = if was_good {
            1
        } else {
            self.trips.saturating_add(1)
        };
        let doubled = self
            .policy
            .open
            .saturating_mul(1 << self.trips.saturating_sub(1).min(20));
        let apart_max = self.is_asked_apart(now).then_some(APART_MAX);
        let longest = match self.pause_max.or(apart_max) {
            Some(max) => self.policy.open_max.min(max.max(self.policy.open)),
            None => self.policy.open_max,
        };
        let pause = doubled.min(longest).mul_f64(1.0 + chance / 4.0);
        let until = (now + pause).max(self.hold.take().unwrap_or(now));
        self.why = Some(why);
        let mut moved = self.become_(Phase::Open { until }, now);
        if let Some(moved) = &mut moved {
            moved.pause = Some(until - now);
        }
        moved
    }

    fn become_(&mut self, phase: Phase, now: Instant) -> Option<Move> {
        let (from, ..) = self.state();
        self.phase = phase;
        self.epoch = self.epoch.wrapping_add(1);
        self.changed = now;
        self.early.is_asked = false;
        self.window.clear(now);
        self.run = Run::none(now);
        let (to, ..) = self.state();
        self.why.map(|why| Move {
            from,
            to,
            why,
            pause: None,
        })
    }
}

impl Run {
    fn none(now: Instant) -> Self {
        Self {
            bad: 0,
            failed: 0,
            since: now,
        }
    }

    fn note(&mut self, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Good {
            *self = Self::none(now);
            return;
        }
        if self.bad == 0 {
            self.since = now;
        }
        self.bad = self.bad.saturating_add(1);
        let is_failed = matches!(verdict, Verdict::Missed | Verdict::Failed);
        self.failed = self.failed.saturating_add(u32::from(is_failed));
    }
}

fn kind_of(verdict: Verdict) -> usize {
    match verdict {
        Verdict::Good => GOOD,
        Verdict::Slow => SLOW,
        Verdict::Missed | Verdict::Failed => FAILED,
    }
}

#[cfg(test)]
mod tests;
