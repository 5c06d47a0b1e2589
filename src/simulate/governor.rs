//! What decides in a run: the product's governor, or one to compare it with. Owns the tick, and what is
//! remembered of it; the composer's meters are the product's own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::degradation::costs::{Charge, Shape};
use crate::degradation::governor::{Asked, Seen};
use crate::degradation::law::Reason;
use crate::degradation::meters::{Counted, Meters};
use crate::degradation::mode::Effect;
use crate::degradation::{Cut, Decision, Governor, Level, Mode, Overrides, Sample};

use super::scenario::{Control, Scenario};
use super::time::At;

/// A ladder's step up is taken when pages take less than this share of their target.
const LADDER_WELL: f64 = 0.8;

/// What one tick came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) at: At,
    pub(super) mode: ModeOf,
    pub(super) sample: Sample,
    /// Steps that everybody gives up; one more than there are when pages are answered from snapshots.
    pub(super) level: u8,
}

/// What is worth remembering of a mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModeOf {
    pub(super) decision: Decision,
    pub(super) phi: f64,
}

/// What decides.
#[derive(Debug)]
pub(super) struct Deciding {
    governor: Governor,
    rival: Rival,
    meters: Meters,
    before: Counted,
    then: At,
    /// How long pages took, and when that was.
    times: VecDeque<(At, f64)>,
    steps: Vec<f64>,
    mode: Mode,
}

/// What is compared with the product.
#[derive(Debug)]
enum Rival {
    /// Nothing is.
    Law,
    None,
    Ladder {
        window: Duration,
        down: Duration,
        hold: Duration,
        level: u8,
        /// When it took its last step down.
        stepped: Option<At>,
        /// Since when all is well.
        well: Option<At>,
    },
}

impl Deciding {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let blocks = &scenario.blocks;
        let of_step = |step: usize| {
            let of_step = |(place, block): (usize, &super::scenario::Block)| {
                (block.step == Some(step)).then_some(place)
            };
            blocks.iter().enumerate().filter_map(of_step).collect()
        };
        let shape = Shape {
            pages: vec![(0..blocks.len()).collect()],
            steps: (0..scenario.steps).map(of_step).collect(),
            names: blocks.iter().map(|block| block.name.clone()).collect(),
            items: vec![None; blocks.len()],
        };
        let cost = |step: &Vec<usize>| step.iter().map(|place| blocks[*place].cost_ms).sum();
        let steps = shape.steps.iter().map(cost).collect();
        let (law, rival) = match &scenario.degradation.control {
            Control::Law(law) => (law.clone(), Rival::Law),
            Control::None => (crate::degradation::Law::for_cores(1), Rival::None),
            Control::Ladder { window, down, hold } => (
                crate::degradation::Law::for_cores(1),
                Rival::Ladder {
                    window: *window,
                    down: *down,
                    hold: *hold,
                    level: 0,
                    stepped: None,
                    well: None,
                },
            ),
        };
        let meters = Meters::new(1, blocks.len());
        Self {
            governor: Governor::new(law, shape, scenario.learned_rate),
            rival,
            before: meters.counted(),
            meters,
            then: At::default(),
            times: VecDeque::new(),
            steps,
            mode: Mode::full(),
        }
    }

    /// What pages are planned by.
    pub(super) fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Whether a block is short of breath together with others.
    pub(super) fn is_shared(&self, block: usize) -> bool {
        self.governor.is_shared(block)
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// A page that was composed took so long from when it was asked for.
    pub(super) fn page_took(&mut self, waited: Duration, target: Duration, now: At) {
        self.meters.times.record(waited, target);
        if let Rival::Ladder { .. } = self.rival {
            let share = waited.as_secs_f64() / target.as_secs_f64();
            self.times.push_back((now, share));
        }
    }

    /// One tick.
    pub(super) fn tick(
        &mut self,
        queue_delay: Duration,
        charges: Vec<Charge>,
        asked: Vec<Asked>,
        now: At,
    ) -> Tick {
        let counted = self.meters.counted();
        let seen = Seen {
            span: now.since(self.then).duration(),
            counted: counted.since(&self.before),
            queue_delay,
            lateness: self.meters.times.turn(),
            cpu: None,
            charges,
            asked,
            effect: Effect::GivesUp,
            overrides: Arc::new(Overrides::default()),
        };
        (self.before, self.then) = (counted, now);
        let turned = self.governor.tick(seen);
        self.mode = match &self.rival {
            Rival::Law => turned.mode,
            Rival::None => Mode::full(),
            Rival::Ladder { .. } => self.climb(now),
        };
        let text_only = u8::try_from(self.steps.len()).unwrap_or(u8::MAX);
        let mode = &self.mode;
        let level = mode.by_law(Level::new(text_only)).get();
        Tick {
            at: now,
            mode: ModeOf {
                decision: mode.decision,
                phi: mode.phi,
            },
            sample: turned.sample,
            level,
        }
    }

    /// One tick of a ladder on the p95 of page times.
    fn climb(&mut self, now: At) -> Mode {
        let Rival::Ladder {
            window,
            down,
            hold,
            level,
            stepped,
            well,
        } = &mut self.rival
        else {
            return Mode::full();
        };
        while let Some((at, _)) = self.times.front()
            && now.since(*at).duration() > *window
        {
            self.times.pop_front();
        }
        let p95 = p95(self.times.iter().map(|(_, share)| *share));
        let is_due = stepped.is_none_or(|at| now.since(at).duration() >= *down);
        if p95 > 1.0 {
            *well = None;
            if is_due && usize::from(*level) < self.steps.len() {
                *level += 1;
                *stepped = Some(now);
            }
        } else if p95 < LADDER_WELL {
            let since = *well.get_or_insert(now);
            if *level > 0 && now.since(since).duration() >= *hold {
                *level -= 1;
                *well = Some(now);
            }
        } else {
            *well = None;
        }
        let kept: f64 = self.steps[usize::from(*level)..].iter().sum();
        let all: f64 = self.steps.iter().sum();
        let reason = match *level {
            0 => Reason::Ample,
            _ => Reason::PageTime,
        };
        Mode {
            decision: Decision {
                theta: if all > 0.0 { kept / all } else { 1.0 },
                reason,
                ..Decision::FULL
            },
            cut: Cut {
                given_up: Level::new(*level),
                kept: 1.0,
            },
            effect: Effect::GivesUp,
            ..Mode::full()
        }
    }
}

fn p95(shares: impl Iterator<Item = f64>) -> f64 {
    let mut shares: Vec<f64> = shares.collect();
    if shares.is_empty() {
        return 0.0;
    }
    let place = (shares.len() * 95).div_ceil(100) - 1;
    *shares.select_nth_unstable_by(place, f64::total_cmp).1
}
