//! What an experiment has shown. Owns when its hypothesis holds; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::report::FaultEnd;

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

/// What became of a fault that a step has begun.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// Pages that have had it.
    pub pages: u64,
    /// Requests that it has hit.
    pub requests: u64,
    /// How it ended, as the server says it: `full` when as many pages as may have had it.
    pub how: Option<String>,
}

/// What came of an experiment.
#[derive(Debug, Clone)]
pub struct Told {
    /// What became of the steps.
    pub outcome: Outcome,
    /// What readers got.
    pub phases: Phases,
    /// The faults that its steps have begun.
    pub faults: Vec<Tried>,
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
    /// It did, but a fault has hit nothing: nothing is shown.
    Untried,
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
            Self::Untried => {
                "Nothing was tried: the steady state held, and a fault has hit nothing."
            }
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
    let is_tried = told.faults.iter().all(|fault| fault.requests > 0);
    match holds && told.left_behind.is_empty() {
        true if is_tried => Verdict::Holds,
        true => Verdict::Untried,
        false => Verdict::Fails,
    }
}

/// What makes the faults less than they were meant to be, in sentences.
pub fn remarks(told: &Told) -> Vec<String> {
    let mut remarks = Vec::new();
    for Tried {
        name,
        pages,
        requests,
        how,
    } in &told.faults
    {
        // of one that was broken off nobody knows what it would have hit
        if *requests == 0 && told.outcome == Outcome::Done {
            remarks.push(format!(
                "The fault {name} has hit no request: while it was in force nothing was asked of what it is on. \
                 Copies that are fresh hide it (a step `purge` makes them stale), as does a `share`, or \
                 `signed`, that leaves out all pages that were read."
            ));
        }
        if how.as_deref() == Some(FaultEnd::Full.label()) {
            remarks.push(format!(
                "The fault {name} was over before its time: {pages} pages have had it, and `pages_max` lets no \
                 more."
            ));
        }
    }
    remarks
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
