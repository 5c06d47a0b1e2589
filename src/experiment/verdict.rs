//! What an experiment has shown. Owns when its hypothesis holds; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Experiment, Phase, Seen};

/// What became of the steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All were done.
    Done,
    /// None was: the steady state did not hold before.
    Unsteady,
    /// They were broken off, for this reason.
    Aborted(String),
}

/// What readers got in each part of an experiment.
pub type Phases = BTreeMap<Phase, Seen>;

/// What came of an experiment.
#[derive(Debug, Clone)]
pub struct Told {
    /// What became of the steps.
    pub outcome: Outcome,
    /// What readers got.
    pub phases: Phases,
    /// How long it took until the steady state held again; `None`: it did not in time.
    pub recovered: Option<Duration>,
    /// What was done, and what happened, by the time since the beginning.
    pub timeline: Vec<(Duration, String)>,
    /// What could not be rolled back.
    pub left_behind: Vec<String>,
}

/// What an experiment has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The steady state held throughout.
    Holds,
    /// It did not.
    Fails,
    /// It was broken off: nothing is shown.
    Aborted,
    /// It was not begun: the steady state did not hold before.
    Unsteady,
}

impl Verdict {
    /// In a sentence.
    pub fn says(self) -> &'static str {
        match self {
            Self::Holds => "The steady state held.",
            Self::Fails => "The steady state did not hold.",
            Self::Aborted => "The experiment was broken off.",
            Self::Unsteady => "The experiment was not begun: the steady state did not hold before.",
        }
    }
}

/// What was shown.
pub fn judge(experiment: &Experiment, told: &Told) -> Verdict {
    match told.outcome {
        Outcome::Unsteady => return Verdict::Unsteady,
        Outcome::Aborted(_) => return Verdict::Aborted,
        Outcome::Done => {}
    }
    let holds = Phase::ALL
        .iter()
        .all(|phase| holds(experiment, *phase, &told.phases));
    match holds && told.left_behind.is_empty() {
        true => Verdict::Holds,
        false => Verdict::Fails,
    }
}

/// Whether all that must hold in this part does.
pub fn holds(experiment: &Experiment, phase: Phase, phases: &Phases) -> bool {
    let due = experiment
        .steady
        .iter()
        .filter(|s| s.phases.contains(&phase));
    let nothing = Seen::default();
    let seen = phases.get(&phase).unwrap_or(&nothing);
    due.into_iter().all(|steady| steady.holds(seen))
}
