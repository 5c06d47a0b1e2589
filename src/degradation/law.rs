//! The control law: how much of a page can be afforded, from what the sensors say. Owns the contract
//! that every law keeps; pure.

use serde::{Deserialize, Serialize};

use super::Sample;

pub mod work_rate;

/// A law and its constants.
#[derive(Debug, Clone, PartialEq)]
pub enum Law {
    /// See [`work_rate`].
    WorkRate(work_rate::Constants),
}

/// What a law remembers from tick to tick.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// See [`work_rate`].
    WorkRate(work_rate::State),
}

/// What a law answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decision {
    /// The share of the optional work of a page that can be afforded: 1 is the full page.
    pub theta: f64,
    /// The share of the pages that can be composed at all.
    pub admit: f64,
    /// The work that can be done without a queue, in milliseconds a second.
    pub rate: f64,
    /// Why.
    pub reason: Reason,
}

/// Why a law has decided so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no pressure, and nothing is given up.
    Ample,
    /// More is asked for than can be done, at the rate that is known.
    Demand,
    /// Work has to wait.
    QueueDelay,
    /// Pages take longer than their target.
    PageTime,
    /// There is no pressure any more, and more is tried step by step.
    Recovering,
}

impl Law {
    /// The state to begin with; `rate` is what was learned before a restart.
    pub fn begin(&self, rate: Option<f64>) -> State {
        match self {
            Self::WorkRate(constants) => State::WorkRate(constants.begin(rate)),
        }
    }

    /// What to do about a sample.
    pub fn step(&self, state: State, sample: &Sample) -> (State, Decision) {
        match (self, state) {
            (Self::WorkRate(constants), State::WorkRate(state)) => {
                let (state, decision) = work_rate::step(constants, state, sample);
                (State::WorkRate(state), decision)
            }
        }
    }
}
