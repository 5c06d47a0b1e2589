//! The rows of the acceptance table: what each does to the plant, and what it is held to. Owns the
//! list and what rows have in common; the scenes are in `crowds`, `sick` and `knowledge`.

use super::judge::Hold;
use super::load::{Cookie, Demand};
use super::measure::Recording;
use super::plant::{AMPLE, Costs, NORMAL_RATE};
use super::script::{Phases, Scene, Script};
use super::site::Settings;

mod crowds;
mod knowledge;
mod sick;

/// A row, or a part of one that is a run of its own.
pub(crate) struct Row {
    /// Its number in the table, with a letter where it has several parts.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) scene: Scene,
    pub(crate) judge: fn(&Recording) -> Vec<Hold>,
    /// Whether a graph of it belongs in the report.
    pub(crate) is_drawn: bool,
}

impl Row {
    /// Its number in the table.
    pub(crate) fn number(&self) -> &str {
        self.name
            .trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
    }
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = crowds::rows();
    rows.extend(sick::rows());
    rows.extend(knowledge::rows());
    let number = |row: &Row| row.number().parse::<u32>().expect("a number");
    rows.sort_by_key(number);
    rows
}

/// The controller as it is.
const ON: Settings = Settings {
    is_on: true,
    rate_max_factor: 1.0,
};

/// What most rows last.
const USUAL: Phases = Phases::new(30.0, 20.0, 60.0, 30.0);

/// A scene in which the composer is the limit, at the normal load, and nothing happens.
const COMPOSER_BOUND: Scene = Scene {
    places: AMPLE,
    costs: Costs::Table,
    settings: ON,
    demand: Demand::Open {
        rate: |_, _| NORMAL_RATE,
        is_impatient: false,
    },
    cookie: |_, _| Cookie::Steady,
    phases: USUAL,
    script: nothing,
};

/// The same with origins that have what the table says.
const AS_IN_THE_TABLE: Scene = Scene {
    places: 1,
    ..COMPOSER_BOUND
};

fn nothing(_: &Phases) -> Script {
    Script::new()
}
