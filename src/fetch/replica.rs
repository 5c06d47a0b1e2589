//! What one replica is known for: how fast it is, what it has to do, whether it is ejected. Owns the
//! arithmetic of its cost; pure. Who is asked is decided in [`balance`](super::balance).

use std::time::Duration;

use crate::clock::Instant;
use crate::site::{BreakerPolicy, ReplicaSpec, Role};

use super::breaker::{self, Breaker};
use super::canary::Trial;

/// How fast a peak of the answer time is forgotten; linkerd's and Finagle's default.
const PEAK_DECAY: Duration = Duration::from_secs(10);

/// Answers in a row that must be bad for a replica to be ejected, at most.
const RUN_MAX: u32 = 5;

/// Requests in a replica's window whose shares say something, at most.
const REQUESTS_MIN: u32 = 10;

/// For how long what a replica took says something of the others.
const LATELY: Duration = Duration::from_secs(30);

/// The weight of one answer in what is typical of a replica.
const TYPICAL_GAIN: f64 = 0.1;

/// The same in what its last answers were like.
const RECENT_GAIN: f64 = 0.3;

/// What is known of one replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) role: Role,
    /// Percent of an equal share.
    pub(super) weight: u8,
    pub(super) breaker: Breaker,
    pub(super) in_flight: u32,
    /// Times that it was asked.
    pub(super) asked: u64,
    /// Of which it failed, a missed deadline included.
    pub(super) failed: u64,
    pub(super) peak: Peak,
    /// Typical time of a good answer, in seconds.
    pub(super) typical: Option<f64>,
    /// Time of its last good answers, in seconds.
    recent: f64,
    answered_at: Instant,
    pub(super) is_healthy: bool,
    /// Whether what it was asked last went well.
    pub(super) is_answering: bool,
    /// Of a canary: how it compares, until it was found to be worse.
    pub(super) trial: Trial,
    pub(super) is_withdrawn: bool,
    /// Of a canary: whether there is no time for trials at present.
    pub(super) is_paused: bool,
}

/// A moving average that rises at once and falls slowly, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peak {
    value: f64,
    at: Instant,
}

impl Replica {
    /// One of which nothing is known. It is given up sooner than an origin: there are others.
    pub(super) fn new(spec: &ReplicaSpec, policy: &BreakerPolicy, now: Instant) -> Self {
        Self {
            role: spec.role,
            weight: spec.weight,
            breaker: Breaker::new(of_replica(policy), breaker::RUN_TIME, now),
            in_flight: 0,
            asked: 0,
            failed: 0,
            peak: Peak::none(now),
            typical: None,
            recent: 0.0,
            answered_at: now,
            is_healthy: true,
            is_answering: true,
            trial: Trial::default(),
            is_withdrawn: false,
            is_paused: false,
        }
    }

    /// The site was declared anew.
    pub(super) fn declare(&mut self, policy: &BreakerPolicy, now: Instant) {
        self.breaker.declare(of_replica(policy), now);
    }

    /// Whether it is a new version on trial.
    pub(super) fn is_canary(&self) -> bool {
        self.weight < 100
    }

    /// Whether it is what the others are compared with.
    pub(super) fn is_full_primary(&self) -> bool {
        self.role == Role::Primary && !self.is_canary()
    }

    /// What it took lately, in seconds: the worse of what is typical and of its last answers, which tell
    /// sooner that it has become slow. `None` if it has not answered for a while.
    pub(super) fn lately(&self, now: Instant) -> Option<f64> {
        let is_lately = now.saturating_duration_since(self.answered_at) < LATELY;
        let typical = self.typical.filter(|_| is_lately);
        typical.map(|typical| typical.max(self.recent))
    }

    /// What it has to show for itself when it comes back: what was typical, and not its failures.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.peak = Peak {
            value: self.typical.unwrap_or_default(),
            at: now,
        };
    }

    pub(super) fn is_out(&self) -> bool {
        !self.is_healthy || self.is_put_aside() || self.breaker.is_open()
    }

    /// Whether it is a canary that is not asked, whatever its breaker says.
    pub(super) fn is_put_aside(&self) -> bool {
        self.is_withdrawn || self.is_paused
    }

    pub(super) fn answered(&mut self, took: Duration, now: Instant) {
        self.peak.observe(took, now);
        let took = took.as_secs_f64();
        let typical = self.typical.unwrap_or(took);
        self.typical = Some(typical + TYPICAL_GAIN * (took - typical));
        self.recent += RECENT_GAIN * (took - self.recent);
        self.answered_at = now;
    }

    pub(super) fn cost(&self, now: Instant) -> f64 {
        // of two that have never answered the one with less to do
        let least = 1e-4;
        self.peak.at(now).max(least) * f64::from(self.in_flight + 1)
    }
}

impl Peak {
    pub(super) fn none(now: Instant) -> Self {
        Self {
            value: 0.0,
            at: now,
        }
    }

    pub(super) fn observe(&mut self, took: Duration, now: Instant) {
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
    pub(super) fn at(&self, now: Instant) -> f64 {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.value * (-past / PEAK_DECAY.as_secs_f64()).exp()
    }
}

fn of_replica(policy: &BreakerPolicy) -> BreakerPolicy {
    BreakerPolicy {
        run_max: policy.run_max.min(RUN_MAX),
        requests_min: policy.requests_min.min(REQUESTS_MIN),
        ..policy.clone()
    }
}
