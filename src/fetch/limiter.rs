//! How many requests of one optional fragment its origin may have at present. Owns what is usual of it,
//! the limit, and the share of the readers that ask at all; pure: time is an argument.
//!
//! Each optional fragment has one of its own, as those of one origin differ in what is usual. Core and
//! essential fragments have none: nothing here ever stands between a reader and the article.
//!
//! # When the limit moves
//!
//! The mean of a few answers is held against what is usual. While it is within the fragment's
//! *tolerance* the limit grows, if it is made use of; beyond, the limit shrinks in proportion, unless next to
//! nothing was under way that could be the reason: or the noise of a quiet night would wear it down. Before
//! the first answers nobody is refused, and the limit begins above what was let in by then: thirty items
//! of a list are asked for at once without anything being slow. The tolerance is graded by the fragment's place in the ladder: all that ask an origin, or a database
//! behind several of them, see the same slowness, and the least important ones give way first without
//! anybody telling them.
//!
//! # Who goes without
//!
//! A limit alone refuses whoever comes next, and a reader's block would come and go. So while more than
//! a few requests are refused, the *share* of the readers that ask shrinks until hardly anybody is
//! refused, and it is always the same readers that keep the block. It grows back within seconds. Where
//! many blocks are short at once the whole ladder is cut instead (that is decided elsewhere), and the
//! shares recover meanwhile.
//!
//! # What is usual
//!
//! Learned quickly at first, then slowly and only from what looks usual. An origin that stays slow with
//! next to nothing asked of it is not slow because of that: after a while its speed is learned anew.
//!
//! Invariants: the limit stays within [`LIMIT_MIN`] and its ceiling, the share within [`SHARE_MIN`] and
//! 1, and once there is something to judge by no request is admitted while as many as the limit are
//! under way.

use std::time::Duration;

use crate::clock::Instant;
use crate::degradation::BlockReading;

mod usual;

#[cfg(test)]
mod tests;

use usual::Usual;

/// Answers that are judged together.
/// From: simulation, 16.
const SAMPLE: u32 = 16;

/// With fewer answers than that, how long is waited for them; and what one sample counts for at most.
/// From: simulation, 1 s.
const SAMPLE_TIME: Duration = Duration::from_secs(1);

/// With fewer answers than this nothing is judged, however long that takes.
/// From: simulation, 2.
const SAMPLE_MIN: u32 = 2;

/// What a request that has missed its deadline is taken to have lasted, in deadlines: it has taken
/// longer, and how much longer is not known.
/// From: simulation, 1.5.
const MISS: f64 = 1.5;

/// What is quicker than this is measured of the network and of this machine's scheduler more than of an
/// origin, in milliseconds.
/// From: found by hand. Differs: the simulation had no network.
const USUAL_MIN_MS: f64 = 10.0;

/// For how long an origin is slow with next to nothing asked of it before that is its speed.
/// From: found by hand. Differs: in the simulation what is usual never became slower.
const SLOW_FOR_GOOD: Duration = Duration::from_secs(120);

/// The limit to begin with, or so many times what was under way at once by then; and its bounds: the
/// ceiling is raised where an origin may have more.
/// From: simulation, 20.
const LIMIT_BEGIN: f64 = 20.0;
/// From: found by hand. Differs: in the simulation nobody asked for thirty items of a list at once.
const LIMIT_BEGIN_PEAKS: f64 = 2.0;
/// At so many requests at once nothing is slow because of them.
/// From: simulation, 2.
const LIMIT_MIN: usize = 2;
/// From: simulation, 400.
const LIMIT_MAX: f64 = 400.0;

/// How quickly a low limit is forgotten while nobody asks.
/// From: found in the simulator. Differs: in the simulation a low limit stayed until somebody asked.
const FORGET_TAU: Duration = Duration::from_secs(2);

/// What a sample moves the limit by at most: the sample's share in the new limit, and the least that it
/// leaves of the old one.
/// From: simulation, 0.3.
const SAMPLE_WEIGHT: f64 = 0.3;
/// From: simulation, 0.5, that of Gradient2 of Netflix concurrency-limits.
const GRADIENT_MIN: f64 = 0.5;

/// The tolerance of the least important optional fragment, and of the most important one: times what is
/// usual.
/// From: simulation, 1.5 to 4.5.
const TOLERANCE: (f64, f64) = (1.5, 4.5);

/// How quickly the refused share of the requests is forgotten.
/// From: found in the simulator.
const REFUSED_TAU: Duration = Duration::from_millis(300);

/// The refused share beyond which fewer readers ask.
/// From: simulation, 0.05.
const REFUSED_MAX: f64 = 0.05;

/// What of the share is given up in a tenth of a second where everything is refused; no more than for
/// [`REFUSED_CAP`] of the requests, so that it takes a second to halve.
/// From: simulation, 0.1.
const SHARE_CUT: f64 = 0.1;
/// From: simulation, 0.8.
const REFUSED_CAP: f64 = 0.8;
/// From: simulation, a tick of 100 ms.
const SHARE_CUT_SPAN: f64 = 0.1;

/// What the share grows by in a second, at nothing and in addition at 1.
/// From: simulation, 0.2 + 0.2 × share.
const SHARE_GROWTH: (f64, f64) = (0.2, 0.2);

/// The share that always asks, so that it is known how the origin is.
/// From: simulation, 0.02.
const SHARE_MIN: f64 = 0.02;

/// The longest span of a tick that counts: beyond, the machine was asleep.
/// From: a bound against a machine that was asleep.
const SPAN_MAX: Duration = Duration::from_secs(1);

/// How much slower than usual a fragment's answers may be before it gives way, in times what is usual:
/// that of the fragment in this `step` of so many, first given up first.
pub(crate) fn tolerance(step: usize, steps: usize) -> f64 {
    let (least, most) = TOLERANCE;
    // who is alone is the most important one
    let place = match steps.saturating_sub(1) {
        0 => 1.0,
        last => step.min(last) as f64 / last as f64,
    };
    least + (most - least) * place
}

/// What has become of a request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered after so long, whether the answer was of use or not.
    Answered(Duration),
    /// It has missed its deadline, after so long, and was ended with that.
    Missed(Duration),
    /// Nothing that says how long an answer takes: it failed, was not made at all, or this process had
    /// no time for it.
    Abandoned,
}

/// What stands between the pages and one optional fragment.
#[derive(Debug)]
pub(crate) struct Limiter {
    tolerance: f64,
    limit: f64,
    ceiling: f64,
    /// Whether there was something to judge by.
    has_judged: bool,
    in_flight: usize,
    usual: Usual,
    sample: Sample,
    /// Since when it is slow with next to nothing asked of it.
    slow_since: Option<Instant>,
    /// The refused share of the requests, lately.
    refused: f64,
    share: f64,
    reading: BlockReading,
    /// Requests that were refused since it exists.
    refused_in_all: u64,
}

impl Limiter {
    /// A limiter that lets in what comes, until it knows what is usual. `baseline` is what was known of
    /// that before a restart.
    pub(crate) fn new(tolerance: f64, baseline: Option<Duration>, now: Instant) -> Self {
        Self {
            tolerance,
            limit: LIMIT_BEGIN,
            ceiling: LIMIT_MAX,
            has_judged: false,
            in_flight: 0,
            usual: Usual::new(baseline, now),
            sample: Sample::begin(0, now),
            slow_since: None,
            refused: 0.0,
            share: 1.0,
            reading: BlockReading::default(),
            refused_in_all: 0,
        }
    }

    /// Its place in the ladder is another one.
    pub(crate) fn declare(&mut self, tolerance: f64) {
        self.tolerance = tolerance;
    }

    /// Its origin may have so many requests at once: where that is more than the ceiling, the limit may
    /// grow up to it.
    pub(crate) fn raise_ceiling(&mut self, max_in_flight: usize) {
        self.ceiling = LIMIT_MAX.max(max_in_flight as f64);
        self.limit = self.limit.min(self.ceiling);
    }

    /// What was known before a restart, where nothing has been learned since.
    pub(crate) fn restore(&mut self, baseline: Duration, now: Instant) {
        if self.usual.ms.is_none() {
            self.usual = Usual::new(Some(baseline), now);
        }
    }

    /// Lets a request in, or not; what was let in is to be settled once.
    pub(crate) fn admit(&mut self) -> bool {
        self.reading.asked = self.reading.asked.saturating_add(1);
        if self.has_judged && self.in_flight >= self.limit() {
            self.reading.refused = self.reading.refused.saturating_add(1);
            self.sample.has_refused = true;
            self.refused_in_all += 1;
            return false;
        }
        self.enter();
        true
    }

    /// Lets a request in whatever the limit is, where nobody is to be refused: what is usual is learned
    /// all the same.
    pub(crate) fn let_in(&mut self) {
        self.reading.asked = self.reading.asked.saturating_add(1);
        self.enter();
    }

    fn enter(&mut self) {
        self.in_flight += 1;
        self.sample.peak = self.sample.peak.max(self.in_flight);
    }

    /// Says what has become of a request that was let in.
    pub(crate) fn settle(&mut self, outcome: Outcome, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Abandoned => {}
            Outcome::Answered(took) => self.learn(ms(took), now),
            Outcome::Missed(deadline) => self.missed(deadline, now),
        }
    }

    /// A request has missed its deadline, after so long. It is under way still, and keeps its place until
    /// it is settled: or an origin that has become slow would have many times the limit at work.
    pub(crate) fn missed(&mut self, deadline: Duration, now: Instant) {
        self.reading.missed = self.reading.missed.saturating_add(1);
        self.sample.has_missed = true;
        self.learn(ms(deadline) * MISS, now);
    }

    /// A request has lasted so long.
    fn learn(&mut self, took_ms: f64, now: Instant) {
        self.sample.add(took_ms);
        if self.sample.is_whole(now) {
            let next = Sample::begin(self.in_flight, now);
            let sample = std::mem::replace(&mut self.sample, next);
            self.judge(&sample, now);
        }
    }

    /// What was seen since the tick before, which was `span` ago; moves the share. Where the shortage
    /// `is_shared` with many other blocks, fewer blocks are asked for instead, and the share recovers.
    pub(crate) fn tick(&mut self, span: Duration, is_shared: bool) -> BlockReading {
        let span = span.min(SPAN_MAX).as_secs_f64();
        let BlockReading { asked, refused, .. } = self.reading;
        // that nobody asks is forgotten like that nobody is refused: or a quiet night would keep it
        let seen = f64::from(refused) / f64::from(asked.max(1));
        self.refused += (seen - self.refused) * weight(span, REFUSED_TAU);
        if self.refused > REFUSED_MAX && !is_shared {
            let kept = 1.0 - SHARE_CUT * self.refused.min(REFUSED_CAP);
            self.share *= kept.powf(span / SHARE_CUT_SPAN);
        } else {
            let (least, more) = SHARE_GROWTH;
            self.share += (least + more * self.share) * span;
        }
        self.share = self.share.clamp(SHARE_MIN, 1.0);
        if asked == 0 && self.in_flight == 0 {
            // nobody asks, and so nobody knows any more: what comes back is let in as at the beginning
            let back = (LIMIT_BEGIN - self.limit).max(0.0);
            self.limit += back * weight(span, FORGET_TAU);
        }
        let fresh = BlockReading {
            share: self.share,
            ..BlockReading::default()
        };
        let seen = std::mem::replace(&mut self.reading, fresh);
        BlockReading {
            share: self.share,
            tolerance: self.tolerance,
            ..seen
        }
    }

    /// What an answer takes usually, when that is known.
    pub(crate) fn baseline(&self) -> Option<Duration> {
        self.usual.ms.map(|ms| Duration::from_secs_f64(ms / 1e3))
    }

    /// The share of the readers whose pages ask.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    /// Requests that may be under way at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Requests that are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Requests that were refused since it exists.
    pub(crate) fn refused_in_all(&self) -> u64 {
        self.refused_in_all
    }

    fn judge(&mut self, sample: &Sample, now: Instant) {
        let Some(mean) = sample.mean() else { return };
        let is_free = !sample.has_refused && self.share >= 1.0;
        // what has missed its deadline is no answer time: nothing is learned from that
        if !sample.has_missed {
            self.usual.learn(mean, is_free, now);
        }
        // who has never answered is the breaker's affair
        let Some(usual) = self.usual.ms else { return };
        if !self.has_judged {
            self.has_judged = true;
            let begin = LIMIT_BEGIN_PEAKS * sample.peak as f64;
            self.limit = self.limit.max(begin).min(self.ceiling);
        }
        let usual = usual.max(USUAL_MIN_MS);
        self.reading.slowness = Some(mean / usual);
        let gradient = self.tolerance * usual / mean.max(f64::MIN_POSITIVE);
        let gradient = gradient.clamp(GRADIENT_MIN, 1.0);
        let is_used = sample.peak as f64 >= self.limit / 2.0;
        let (is_slow, is_idle) = (gradient < 1.0, sample.peak <= LIMIT_MIN);
        let target = match is_slow {
            false if is_used => self.limit + self.limit.sqrt(),
            true if !is_idle => self.limit * gradient,
            true | false => self.limit,
        };
        let weight = SAMPLE_WEIGHT * f64::from(sample.count.min(SAMPLE)) / f64::from(SAMPLE);
        let limit = self.limit + weight * (target - self.limit);
        self.limit = limit.clamp(LIMIT_MIN as f64, self.ceiling);
        self.note_slow(is_slow && is_idle, now);
    }

    /// Nothing is asked of it that could make it slow, and yet it is: that is its speed some time later.
    fn note_slow(&mut self, is_so: bool, now: Instant) {
        if !is_so {
            self.slow_since = None;
            return;
        }
        let since = *self.slow_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SLOW_FOR_GOOD {
            self.slow_since = None;
            self.usual.forget();
        }
    }
}

/// Answers that are judged together.
#[derive(Debug)]
struct Sample {
    begun: Instant,
    count: u32,
    sum_ms: f64,
    /// The most that were under way at once.
    peak: usize,
    has_refused: bool,
    has_missed: bool,
}

impl Sample {
    fn begin(in_flight: usize, now: Instant) -> Self {
        Self {
            begun: now,
            count: 0,
            sum_ms: 0.0,
            peak: in_flight,
            has_refused: false,
            has_missed: false,
        }
    }

    fn add(&mut self, ms: f64) {
        self.count += 1;
        self.sum_ms += ms;
    }

    fn is_whole(&self, now: Instant) -> bool {
        let is_time = now.saturating_duration_since(self.begun) >= SAMPLE_TIME;
        self.count >= SAMPLE || (is_time && self.count >= SAMPLE_MIN)
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_ms / f64::from(self.count))
    }
}

/// The weight of what was seen for `span` seconds, in a mean over `tau`.
fn weight(span: f64, tau: Duration) -> f64 {
    -(-span / tau.as_secs_f64()).exp_m1()
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
