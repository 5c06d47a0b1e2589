//! The work-rate law.

use super::{Decision, Reason};
use crate::degradation::Sample;

/// Its constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Constants {
    /// The most work that can be done, in milliseconds a second.
    pub rate_max: f64,
}

/// What it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    rate: f64,
}

impl Constants {
    /// For a machine of so many cores.
    pub fn for_cores(cores: usize) -> Self {
        Self {
            rate_max: 1500.0 * cores as f64,
        }
    }

    pub(super) fn begin(&self, rate: Option<f64>) -> State {
        State {
            rate: rate.unwrap_or(self.rate_max),
        }
    }
}

pub(super) fn step(_: &Constants, state: State, _: &Sample) -> (State, Decision) {
    let decision = Decision {
        theta: 1.0,
        admit: 1.0,
        rate: state.rate,
        reason: Reason::Ample,
    };
    (state, decision)
}
