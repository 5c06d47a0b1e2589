//! From what was seen in one tick to what pages are planned by in the next. Owns the order of things:
//! costs, sample, law, cut; pure: whoever looks and publishes is [elsewhere](crate::app).

use std::sync::Arc;
use std::time::Duration;

use super::costs::{Charge, CostBook, Shape};
use super::law::{Decision, Law, Reason, State};
use super::meters::Counted;
use super::mode::{Effect, Mode};
use super::strain::{self, Look, Relief, Strained};
use super::{BlockReading, Cut, Overrides, Sample};

/// Between two ticks.
/// From: simulation, 100 ms, of which 50 to 250 cost less than 0.002 of the utility.
pub const TICK: Duration = Duration::from_millis(100);

/// Pages that are late while work hardly waits are not late because of this process: their origins are
/// slow, and giving up blocks of others would gain nothing. Two fifths of what work may wait: with less
/// than four fifths of the machine in use chance alone makes no such queue.
/// From: found by hand. Differs: in the simulation lateness always counted: a slow article alone made theta
/// fall.
const LATENESS_WAIT_MIN: Duration = Duration::from_millis(10);

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
    /// What was seen of each optional fragment that is asked of an origin, the same ones in the same
    /// order at each tick.
    pub asked: Vec<Asked>,
    /// What is done with what the law decides.
    pub effect: Effect,
    /// What operators have decided.
    pub overrides: Arc<Overrides>,
}

/// What was seen of an optional fragment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    /// Its place in the declaration.
    pub place: usize,
    /// The place of its origin.
    pub origin: usize,
    /// What its limiter has seen.
    pub reading: BlockReading,
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
    strain: strain::State,
    /// Which fragments are short of breath together with others, by their places.
    shared: Vec<bool>,
}

impl Governor {
    /// Begins with what was learned before a restart, if anything was.
    pub fn new(law: Law, shape: Shape, rate: Option<f64>) -> Self {
        Self {
            state: law.begin(rate),
            costs: CostBook::new(&shape, None),
            law,
            shape,
            strain: strain::State::default(),
            shared: Vec::new(),
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
            asked,
            effect,
            overrides,
        } = seen;
        let inflation = self.costs.learn(&counted, cpu, span);
        let (costs, steps) = self.costs.costs(&self.shape, &charges);
        let arrivals = counted.pages.iter().sum::<u64>() + counted.woven;
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
        let pages = counted.composed + counted.woven;
        let Relief { phi, cut } = self.relieve(&asked, pages, span);
        let theta_cut = Cut::at(decision.theta, &steps);
        let decision = Decision {
            reason: match cut.given_up > theta_cut.given_up {
                true => Reason::Origins,
                false => decision.reason,
            },
            ..decision
        };
        let decided = Mode {
            cut: theta_cut,
            decision,
            phi,
            origins_cut: cut,
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

    /// How much origins can take of what is asked of them.
    fn relieve(&mut self, asked: &[Asked], pages: u64, span: Duration) -> Relief {
        let requests = self.costs.requests(&self.shape);
        let step_of = |place: usize| {
            self.shape
                .steps
                .iter()
                .position(|step| step.contains(&place))
        };
        let strained = asked.iter().filter_map(|asked| {
            Some(Strained {
                place: asked.place,
                step: step_of(asked.place)?,
                origin: asked.origin,
                requests: requests[asked.place],
                reading: asked.reading,
            })
        });
        let blocks: Vec<Strained> = strained.collect();
        let look = Look {
            span,
            pages: pages as f64,
            blocks: &blocks,
            steps: self.shape.steps.len(),
        };
        let (state, relief) = strain::step(std::mem::take(&mut self.strain), &look);
        self.shared = vec![false; self.shape.names.len()];
        for (index, block) in blocks.iter().enumerate() {
            self.shared[block.place] = state.is_shared(index);
        }
        self.strain = state;
        relief
    }

    /// Whether a fragment is short of breath together with others, by its place: the ladder is cut for
    /// them then, and its limiter need not refuse a share of its own.
    pub fn is_shared(&self, place: usize) -> bool {
        self.shared.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::degradation::Level;
    use crate::degradation::meters::BlockCounted;

    /// One page with an article of 2 ms, related links of 3 ms and ads of 5 ms, which go first.
    fn governor() -> Governor {
        let shape = Shape {
            pages: vec![vec![0, 1, 2]],
            steps: vec![vec![2], vec![1]],
            names: ["article", "related", "ads"].map(str::to_owned).to_vec(),
            items: vec![None; 3],
        };
        Governor::new(Law::for_cores(1), shape, Some(1500.0))
    }

    fn seen(pages: u64, queue_delay_ms: u64, effect: Effect) -> Seen {
        let block = |ms: u64| BlockCounted {
            uses: pages,
            jobs: pages,
            work: pages * ms * 1_000_000,
            ..BlockCounted::default()
        };
        Seen {
            span: TICK,
            counted: Counted {
                pages: vec![pages],
                composed: pages,
                page_jobs: pages,
                blocks: vec![block(2), block(3), block(5)],
                ..Counted::default()
            },
            queue_delay: Duration::from_millis(queue_delay_ms),
            lateness: None,
            cpu: None,
            charges: Vec::new(),
            asked: Vec::new(),
            effect,
            overrides: Arc::default(),
        }
    }

    /// Ticks until what is known has settled.
    fn settled(governor: &mut Governor, seen: &Seen) -> Turned {
        for _ in 0..50 {
            governor.tick(seen.clone());
        }
        governor.tick(seen.clone())
    }

    #[test]
    fn a_crowd_gives_blocks_up_within_three_ticks_and_leaves_no_trace() {
        let mut governor = governor();
        let calm = seen(5, 0, Effect::GivesUp);
        let mode = settled(&mut governor, &calm).mode;
        assert_eq!((mode.cut, mode.decision.theta), (Cut::NONE, 1.0));
        // five times as much, of a machine that gets 1500 ms done in a second
        let crowd = seen(25, 0, Effect::GivesUp);
        let rate = governor.rate();
        let after_three = (0..3).map(|_| governor.tick(crowd.clone()).mode).last();
        let mode = after_three.unwrap();
        assert!(mode.decision.theta < 0.95, "{mode:?}");
        assert_eq!(governor.rate(), rate, "the machine is what it was");
        // 1500 ms for 250 pages: the text and four of eight, with the play of theta
        let mode = settled(&mut governor, &crowd).mode;
        assert!(mode.cut.kept < 0.3, "few keep the ads: {mode:?}");
        assert!((mode.decision.theta - 0.5).abs() <= 0.061, "{mode:?}");
        let mode = settled(&mut governor, &calm).mode;
        assert_eq!(mode.cut, Cut::NONE);
    }

    #[test]
    fn work_that_waits_lowers_the_rate_unless_it_is_frozen() {
        let waits = seen(25, 80, Effect::GivesUp);
        let frozen = Seen {
            overrides: Arc::new(Overrides {
                is_frozen: true,
                ..Overrides::default()
            }),
            ..waits.clone()
        };
        for (seen, falls) in [(waits, true), (frozen, false)] {
            let mut governor = governor();
            let before = governor.rate();
            settled(&mut governor, &seen);
            assert_eq!(governor.rate() < before, falls);
        }
    }

    #[test]
    fn what_costs_nothing_at_present_is_not_given_up_for_its_cost() {
        let mut governor = governor();
        let crowd = Seen {
            charges: vec![Charge::Usual, Charge::Nothing, Charge::Usual],
            ..seen(25, 0, Effect::GivesUp)
        };
        let turned = settled(&mut governor, &crowd);
        assert!(
            (turned.sample.costs.optional_ms - 5.0).abs() < 0.1,
            "{turned:?}"
        );
    }

    #[test]
    fn where_the_mode_is_off_operators_still_decide() {
        let overrides = Arc::new(Overrides {
            floor: Some(Level::new(1)),
            ..Overrides::default()
        });
        let seen = Seen {
            overrides: Arc::clone(&overrides),
            ..seen(250, 500, Effect::None)
        };
        let mode = settled(&mut governor(), &seen).mode;
        assert_eq!((mode.cut, mode.effect), (Cut::NONE, Effect::None));
        assert_eq!(mode.overrides, overrides);
        assert!(!mode.is_frugal());
    }

    #[test]
    fn pages_that_are_late_while_nothing_waits_are_late_for_their_origins() {
        let late = |queue_delay_ms| Seen {
            lateness: Some(3.0),
            ..seen(5, queue_delay_ms, Effect::GivesUp)
        };
        let mut governor = governor();
        assert_eq!(settled(&mut governor, &late(0)).sample.lateness, None);
        assert_eq!(settled(&mut governor, &late(5)).sample.lateness, None);
        assert_eq!(settled(&mut governor, &late(12)).sample.lateness, Some(3.0));
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_blocks_and_of_the_machine() {
        let mut governor = governor();
        settled(&mut governor, &seen(25, 80, Effect::GivesUp));
        let rate = governor.rate();
        let shape = Shape {
            pages: vec![vec![0, 1]],
            steps: vec![vec![0]],
            names: ["ads", "article"].map(str::to_owned).to_vec(),
            items: vec![None; 2],
        };
        governor.declare(Law::for_cores(1), shape);
        let costs: Vec<_> = governor.block_costs().collect();
        assert!((costs[0].1 - 5.0).abs() < 0.1 && (costs[1].1 - 2.0).abs() < 0.1);
        assert_eq!(governor.rate(), rate);
    }
}
