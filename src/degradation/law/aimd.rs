//! Additive increase, multiplicative decrease on the queue delay: the law to fall back on.
//!
//! It learns no rate and needs no costs: theta is what it remembers. While work waits longer than the
//! target theta shrinks by a share of itself, else it grows by a step; once there is nothing left to
//! give up the same is done with admission, which comes back first. It gives away little against
//! [`work_rate`](super::work_rate) while a crowd lasts, swings more, and takes seconds where that one
//! takes one to come back: every crowd is its first.

use std::time::Duration;

use super::knob::{Knob, Unit, number, time};
use super::{Decision, Reason};
use crate::degradation::Sample;
use crate::degradation::arrivals::SPAN_MAX;

/// Its constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Constants {
    /// How long work may wait for its turn. At least eight times what one job takes, or mere chance is
    /// taken for a queue: 25 ms fits jobs of 3 ms and less.
    /// From: simulation, 25 ms.
    pub queue_target: Duration,
    /// What is left of theta, or of admission, after `cut_time` over the target.
    /// From: simulation, 0.85.
    pub cut: f64,
    /// See `cut`.
    /// From: simulation, 100 ms.
    pub cut_time: Duration,
    /// What theta, or admission, gains with each second under the target.
    /// From: simulation, 0.05.
    pub growth: f64,
    /// Theta under this is nothing: admission is next.
    /// From: found in the simulator.
    pub theta_min: f64,
    /// The share of pages that is composed at least, so that there is something to learn from.
    /// From: simulation, 0.05.
    pub admit_min: f64,
}

impl Constants {
    /// What a site may set.
    pub const KNOBS: &'static [Knob<Self>] = &[
        time!(queue_target, (0.002, 1.0)),
        number!(cut, Ratio, (0.3, 0.99)),
        time!(cut_time, (0.02, 2.0)),
        number!(growth, PerSecond, (0.005, 1.0)),
        number!(theta_min, Ratio, (0.001, 0.2)),
        number!(admit_min, Ratio, (0.01, 0.5)),
    ];

    pub(super) fn begin(&self) -> State {
        State {
            theta: 1.0,
            admit: 1.0,
            is_frozen: false,
        }
    }
}

impl Default for Constants {
    /// The constants of the simulations; they do not depend on the machine.
    fn default() -> Self {
        Self {
            queue_target: Duration::from_millis(25),
            cut: 0.85,
            cut_time: Duration::from_millis(100),
            growth: 0.05,
            theta_min: 0.02,
            admit_min: 0.05,
        }
    }
}

/// What it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    theta: f64,
    admit: f64,
    is_frozen: bool,
}

impl State {
    pub(super) fn freeze(mut self, is_frozen: bool) -> Self {
        self.is_frozen = is_frozen;
        self
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.is_frozen
    }
}

pub(super) fn step(constants: &Constants, mut state: State, sample: &Sample) -> (State, Decision) {
    let span = sample.span.min(SPAN_MAX).as_secs_f64();
    let is_over = sample.queue_delay > constants.queue_target;
    if !state.is_frozen {
        if is_over {
            let left = constants.cut.powf(span / constants.cut_time.as_secs_f64());
            state.shrink(constants, left);
        } else {
            state.grow(constants.growth * span);
        }
    }
    let reason = match () {
        () if is_over => Reason::QueueDelay,
        () if state.theta < 1.0 || state.admit < 1.0 => Reason::Recovering,
        () => Reason::Ample,
    };
    let decision = Decision {
        theta: state.theta,
        admit: state.admit,
        rate: state.work(sample),
        reason,
    };
    (state, decision)
}

impl State {
    fn shrink(&mut self, constants: &Constants, left: f64) {
        if self.theta > 0.0 {
            self.theta *= left;
            if self.theta < constants.theta_min {
                self.theta = 0.0;
            }
        } else {
            self.admit = (self.admit * left).max(constants.admit_min);
        }
    }

    fn grow(&mut self, by: f64) {
        if self.admit < 1.0 {
            self.admit = (self.admit + by).min(1.0);
        } else {
            self.theta = (self.theta + by).min(1.0);
        }
    }

    /// What is let through, in milliseconds of work a second.
    fn work(&self, sample: &Sample) -> f64 {
        let arrivals = f64::from(sample.arrivals) / sample.span.as_secs_f64().max(1e-3);
        let page = sample.costs.base_ms + self.theta * sample.costs.optional_ms;
        let work = arrivals * self.admit * page;
        if work.is_finite() { work.max(0.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests;
