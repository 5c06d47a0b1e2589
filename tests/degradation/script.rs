//! What happens in a run and when. Owns the phases and the words for what can be done to the plant.

use super::composer;
use super::load::{Cookie, Demand};
use super::origins;
use super::plant::{Costs, NORMAL_RATE};
use super::site::Settings;

/// The parts of a run, in seconds each.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Phases {
    /// Nothing is measured yet: caches, snapshots and baselines are made.
    pub(crate) warm: f64,
    /// Nothing happens: what is measured here is what the rest is compared with.
    pub(crate) calm: f64,
    /// What the row is about.
    pub(crate) event: f64,
    /// And afterwards.
    pub(crate) after: f64,
}

/// From here to there, in seconds of the run.
pub(crate) type Window = std::ops::Range<f64>;

impl Phases {
    pub(crate) const fn new(warm: f64, calm: f64, event: f64, after: f64) -> Self {
        Self {
            warm,
            calm,
            event,
            after,
        }
    }

    /// When it begins to happen.
    pub(crate) fn event_at(&self) -> f64 {
        self.warm + self.calm
    }

    /// When it has happened.
    pub(crate) fn over_at(&self) -> f64 {
        self.event_at() + self.event
    }

    pub(crate) fn end(&self) -> f64 {
        self.over_at() + self.after
    }

    pub(crate) fn calm(&self) -> Window {
        self.warm..self.event_at()
    }

    pub(crate) fn event(&self) -> Window {
        self.event_at()..self.over_at()
    }

    /// A part of what happens, in hundredths of it.
    pub(crate) fn part(&self, from: f64, to: f64) -> Window {
        let at = |percent: f64| self.event_at() + self.event * percent / 100.0;
        at(from)..at(to)
    }

    /// The same for trying out. What is known of origins takes its time: `knows_origins` says whether
    /// the row is about that.
    pub(crate) fn shortened(&self, knows_origins: bool) -> Self {
        let warm = if knows_origins { 24.0 } else { 8.0 };
        Self {
            warm: self.warm.min(warm),
            calm: self.calm.min(5.0),
            event: self.event.min(20.0),
            after: self.after.min(12.0),
        }
    }
}

/// Something that is done to the plant.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Origins(origins::Order),
    Composer(composer::Order),
    /// What an operator does: a path of the admin API and what is put there.
    Operator {
        path: &'static str,
        body: &'static str,
    },
}

/// What is done at which second of the run.
pub(crate) type Script = Vec<(f64, Deed)>;

/// All that makes a run.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    /// How many times the places of the table the origins and their database have.
    pub(crate) places: usize,
    pub(crate) costs: Costs,
    pub(crate) settings: Settings,
    pub(crate) demand: Demand,
    pub(crate) cookie: fn(f64, &Phases) -> Cookie,
    pub(crate) phases: Phases,
    pub(crate) script: fn(&Phases) -> Script,
}

/// So many times the normal load while it happens, and the normal load otherwise.
pub(crate) fn crowd(times: f64, at: f64, phases: &Phases) -> f64 {
    let is_there = phases.event().contains(&at);
    NORMAL_RATE * if is_there { times } else { 1.0 }
}

/// `at` in the middle of the run, one block hangs.
pub(crate) fn hang(block: usize, phases: &Phases) -> Script {
    let order = |hangs| Deed::Origins(origins::Order::Hang { block, hangs });
    vec![
        (phases.event_at(), order(true)),
        (phases.over_at(), order(false)),
    ]
}

/// While it happens something takes so many times its time.
pub(crate) fn slow(order: impl Fn(f64) -> Deed, factor: f64, phases: &Phases) -> Script {
    vec![
        (phases.event_at(), order(factor)),
        (phases.over_at(), order(1.0)),
    ]
}
