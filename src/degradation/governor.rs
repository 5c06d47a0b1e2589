//! From what was seen in one tick to what pages are planned by in the next. Owns the order of things:
//! costs, sample, law, cut; pure: whoever looks and publishes is [elsewhere](crate::app).

use std::sync::Arc;
use std::time::Duration;

use super::costs::{Charge, CostBook, Shape};
use super::law::{Law, State};
use super::meters::Counted;
use super::mode::{Effect, Mode};
use super::{Cut, Overrides, Sample};

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(100);

/// Pages that are late while work hardly waits are not late because of this process: their origins are
/// slow, and giving up blocks of others would gain nothing.
const LATENESS_WAIT_MIN: Duration = Duration::from_millis(2);

/// What was seen in a tick.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Since the last tick.
    pub span: Duration,
    /// What was counted.
    pub counted: Counted,
    /// How long work waited, see [`Sample::queue_delay`].
    pub queue_delay: Duration,
    /// See [`Sample::lateness`].
    pub lateness: Option<f64>,
    /// Processor time of the process; `None` where it cannot be known.
    pub cpu: Option<Duration>,
    /// Of each fragment, what is to be made of its cost.
    pub charges: Vec<Charge>,
    /// What is done with what the law decides.
    pub effect: Effect,
    /// What operators have decided.
    pub overrides: Arc<Overrides>,
}

/// What the governor makes of a tick.
#[derive(Debug, Clone)]
pub struct Turned {
    /// What pages are planned by from now on.
    pub mode: Mode,
    /// What the law was told.
    pub sample: Sample,
}

/// The loop's memory.
#[derive(Debug)]
pub struct Governor {
    law: Law,
    state: State,
    shape: Shape,
    costs: CostBook,
}

impl Governor {
    /// Begins with what was learned before a restart, if anything was.
    pub fn new(law: Law, shape: Shape, rate: Option<f64>) -> Self {
        Self {
            state: law.begin(rate),
            costs: CostBook::new(&shape, None),
            law,
            shape,
        }
    }

    /// The site was declared anew: what is known of fragments stays, by their names, and so does the
    /// rate, within the bounds of the law that is declared now.
    pub fn declare(&mut self, law: Law, shape: Shape) {
        if law != self.law {
            self.state = law.begin(self.state.rate());
            self.law = law;
        }
        if shape != self.shape {
            self.costs = CostBook::new(&shape, Some((&self.shape, &self.costs)));
            self.shape = shape;
        }
    }

    /// What is worth keeping over a restart, see [`State::rate`].
    pub fn rate(&self) -> Option<f64> {
        self.state.rate()
    }

    /// What one use of each fragment costs, in milliseconds of work.
    pub fn block_costs(&self) -> impl Iterator<Item = (&str, f64)> {
        let names = self.shape.names.iter().enumerate();
        names.map(|(place, name)| (name.as_str(), self.costs.block(place)))
    }

    /// One tick.
    pub fn tick(&mut self, seen: Seen) -> Turned {
        let Seen {
            span,
            counted,
            queue_delay,
            lateness,
            cpu,
            charges,
            effect,
            overrides,
        } = seen;
        let inflation = self.costs.learn(&counted, cpu, span);
        let (costs, steps) = self.costs.costs(&self.shape, &charges);
        let arrivals = counted.pages.iter().sum::<u64>();
        let sample = Sample {
            span,
            arrivals: u32::try_from(arrivals).unwrap_or(u32::MAX),
            queue_delay,
            lateness: lateness.filter(|_| queue_delay >= LATENESS_WAIT_MIN),
            inflation,
            costs,
        };
        let state = self.state.clone().freeze(overrides.is_frozen);
        let (state, decision) = self.law.step(state, &sample);
        self.state = state;
        let decided = Mode {
            cut: Cut::at(decision.theta, &steps),
            decision,
            phi: 1.0,
            origins_cut: Cut::NONE,
            overrides,
            effect,
        };
        let mode = match effect {
            Effect::GivesUp | Effect::DryRun => decided,
            Effect::None => Mode {
                overrides: decided.overrides,
                ..Mode::full()
            },
        };
        Turned { mode, sample }
    }
}
