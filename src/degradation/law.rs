//! The control law: how much of a page can be afforded, from what the sensors say. Owns the contract
//! that every law keeps; pure.
//!
//! Every law keeps this: whatever the samples say, theta and admission stay within 0 and 1, and the
//! rate within its bounds; a sample that says nothing changes nothing; time is the sample's
//! [`span`](Sample::span), so that a late tick counts for as long as it has lasted.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sample;

pub mod aimd;
pub mod knob;
pub mod own;
pub mod work_rate;

pub use knob::{Knob, OutOfRange, Unit};
pub use own::{Own, OwnLaw};

/// A law and its constants.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a process, and nobody moves it"
)]
pub enum Law {
    /// See [`work_rate`].
    WorkRate(work_rate::Constants),
    /// See [`aimd`].
    Aimd(aimd::Constants),
    /// See [`own`].
    Own(Own),
}

/// What a law remembers from tick to tick.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// See [`work_rate`].
    WorkRate(work_rate::State),
    /// See [`aimd`].
    Aimd(aimd::State),
    /// See [`own`].
    Own(own::State),
}

/// What a law answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decision {
    /// The share of the optional work of a page that can be afforded: 1 is the full page.
    pub theta: f64,
    /// The share of the pages that can be composed at all.
    pub admit: f64,
    /// The work that can be done without a queue, in milliseconds a second; of a law that learns no
    /// rate, the work that theta and admission come to at present.
    pub rate: f64,
    /// Why.
    pub reason: Reason,
}

/// Why a law has decided so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// No law says so: several origins at once are short of breath, and less is asked of all of them.
    Origins,
}

impl Law {
    /// The law that is used where none is declared, for a machine of so many cores.
    pub fn for_cores(cores: usize) -> Self {
        Self::WorkRate(work_rate::Constants::for_cores(cores))
    }

    /// Its name in the configuration, or what its own program calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorkRate(_) => "work-rate",
            Self::Aimd(_) => "aimd",
            Self::Own(own) => own.name(),
        }
    }

    /// The state to begin with. `rate` is what was learned before a restart, in milliseconds of work a
    /// second; what cannot be right is not believed.
    pub fn begin(&self, rate: Option<f64>) -> State {
        match self {
            Self::WorkRate(constants) => State::WorkRate(constants.begin(rate)),
            Self::Aimd(constants) => State::Aimd(constants.begin()),
            Self::Own(own) => State::Own(own.begin(rate)),
        }
    }

    /// What to do about a sample. A state that another law has left, which a reload may hand over, is
    /// begun anew from the rate that it has learned.
    pub fn step(&self, state: State, sample: &Sample) -> (State, Decision) {
        match (self, state) {
            (Self::WorkRate(constants), State::WorkRate(state)) => {
                let (state, decision) = work_rate::step(constants, state, sample);
                (State::WorkRate(state), decision)
            }
            (Self::Aimd(constants), State::Aimd(state)) => {
                let (state, decision) = aimd::step(constants, state, sample);
                (State::Aimd(state), decision)
            }
            (Self::Own(own), State::Own(state)) => {
                let (state, decision) = own::step(own, state, sample);
                (State::Own(state), decision)
            }
            (Self::WorkRate(_), state @ (State::Aimd(_) | State::Own(_)))
            | (Self::Aimd(_), state @ (State::WorkRate(_) | State::Own(_)))
            | (Self::Own(_), state @ (State::WorkRate(_) | State::Aimd(_))) => {
                let (rate, is_frozen) = (state.rate(), state.is_frozen());
                self.step(self.begin(rate).freeze(is_frozen), sample)
            }
        }
    }
}

impl State {
    /// What was learned and is worth keeping over a restart, in milliseconds of work a second; `None`
    /// of a law that learns nothing of the kind.
    pub fn rate(&self) -> Option<f64> {
        match self {
            Self::WorkRate(state) => Some(state.rate()),
            Self::Aimd(_) => None,
            Self::Own(state) => state.rate(),
        }
    }

    /// The same, with what is learned held as it is, or let go again. What follows from it and from
    /// the load goes on being computed.
    #[must_use]
    pub fn freeze(self, is_frozen: bool) -> Self {
        match self {
            Self::WorkRate(state) => Self::WorkRate(state.freeze(is_frozen)),
            Self::Aimd(state) => Self::Aimd(state.freeze(is_frozen)),
            Self::Own(state) => Self::Own(state.freeze(is_frozen)),
        }
    }

    /// Whether what is learned is held.
    pub fn is_frozen(&self) -> bool {
        match self {
            Self::WorkRate(state) => state.is_frozen(),
            Self::Aimd(state) => state.is_frozen(),
            Self::Own(state) => state.is_frozen(),
        }
    }
}

impl Decision {
    /// The full page for everybody.
    pub const FULL: Self = Self {
        theta: 1.0,
        admit: 1.0,
        rate: 0.0,
        reason: Reason::Ample,
    };

    /// Whether something is given up.
    pub fn is_limited(&self) -> bool {
        self.theta < 1.0 || self.admit < 1.0
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Ample,
        Self::Demand,
        Self::QueueDelay,
        Self::PageTime,
        Self::Recovering,
        Self::Origins,
    ];

    /// The word for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Demand => "demand",
            Self::QueueDelay => "queue_delay",
            Self::PageTime => "page_time",
            Self::Recovering => "recovering",
            Self::Origins => "origins",
        }
    }
}

impl fmt::Display for Reason {
    /// What follows "because" in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ample => "there is room for everything",
            Self::Demand => "more is asked for than this server is known to get done",
            Self::QueueDelay => "work has to wait for its turn",
            Self::PageTime => "pages take longer than their target",
            Self::Recovering => "the pressure is gone, and more is tried step by step",
            Self::Origins => "several origins at once are short of breath",
        })
    }
}

#[cfg(test)]
mod tests;
