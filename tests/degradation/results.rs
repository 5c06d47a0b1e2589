//! What came of the rows, as it is kept in a file: each row can be run again by itself. Owns the form.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::judge::Hold;
use super::measure::{self, Recording};
use super::page::Page;
use super::plant::{self, BLOCKS};
use super::script::Phases;
use super::watch::Turn;

/// Of all rows that were run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) rows: BTreeMap<String, Outcome>,
}

/// Of one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) title: String,
    pub(crate) is_short: bool,
    /// When, in UTC.
    pub(crate) date: String,
    /// Of the program, as the version control has it; empty if that is not known.
    pub(crate) commit: String,
    pub(crate) machine: String,
    pub(crate) runs: Vec<Run>,
    /// Runs that must hold.
    pub(crate) needed: usize,
}

/// One run of a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) holds: Vec<Hold>,
    /// What the rig took of the machine: on average, and in its busiest second.
    pub(crate) busy: (f64, f64),
    /// What the whole machine did, on average.
    pub(crate) machine_busy: f64,
    pub(crate) phases: Phases,
    pub(crate) seconds: Vec<Second>,
    pub(crate) ticks: Vec<Point>,
    /// Breakers that opened or closed.
    pub(crate) turns: Vec<Turn>,
}

/// One second of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Pages that were due.
    pub(crate) due: usize,
    pub(crate) p50_ms: Option<f64>,
    /// `None` where it never came.
    pub(crate) p95_ms: Option<f64>,
    pub(crate) value: f64,
    pub(crate) snapshots: f64,
    pub(crate) fresh: f64,
    /// Of each block, the pages that had it.
    pub(crate) shown: Vec<f64>,
}

/// The controller at a moment.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) theta: f64,
    pub(crate) admit: Option<f64>,
}

impl Outcome {
    pub(crate) fn passed(&self) -> usize {
        self.runs.iter().filter(|run| run.holds()).count()
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.passed() >= self.needed
    }
}

impl Run {
    pub(crate) fn of(recording: &Recording, holds: Vec<Hold>, seed: u64) -> Self {
        let whole = 0.0..recording.phases.end();
        let ticks = recording.ticks(&whole);
        let machine = recording.seen.busy.iter().map(|busy| busy.machine);
        let point = |tick: &super::watch::Tick| Point {
            at: digits(tick.at, 2),
            theta: digits(tick.theta, 3),
            admit: (!tick.admit.is_nan()).then(|| digits(tick.admit, 3)),
        };
        Self {
            seed,
            holds,
            busy: recording.busy(),
            machine_busy: measure::mean(machine),
            phases: recording.phases,
            seconds: recording.seconds(&whole).map(Second::of).collect(),
            ticks: ticks.iter().map(point).collect(),
            turns: recording.seen.turns.clone(),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds.iter().all(|hold| hold.holds)
    }
}

impl Second {
    fn of(pages: &[Page]) -> Self {
        let time = |q| Some(digits(measure::quantile(pages, q), 1)).filter(|ms| ms.is_finite());
        let share = |holds: fn(&Page) -> bool| digits(measure::share(pages, holds), 3);
        let shown = |block| {
            let is_shown = |page: &Page| page.is_composed() && page.shown & plant::bit(block) != 0;
            digits(measure::share(pages, is_shown), 3)
        };
        Self {
            due: pages.len(),
            p50_ms: time(0.5),
            p95_ms: time(0.95),
            value: digits(measure::value(pages), 3),
            snapshots: share(|page| page.is_snapshot),
            fresh: share(measure::has_fresh_core),
            shown: (0..BLOCKS.len()).map(shown).collect(),
        }
    }
}

fn digits(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    // JSON has no other numbers than finite ones
    let number = if number.is_nan() { 0.0 } else { number };
    (number * scale).round() / scale
}

impl Results {
    /// Those of a file, or none yet where there is none.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                format!("{}: {error}; move it away to begin anew", file.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", file.display())),
        }
    }

    /// Into a file, whole or not at all.
    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let new = file.with_extension("new");
        fs::write(&new, bytes).map_err(failed)?;
        fs::rename(&new, file).map_err(failed)
    }
}
