//! Rehearsal in virtual time: a scenario of readers, origins and faults goes through the very code that
//! degrades pages, in seconds instead of hours. Owns the plant that such a scenario is played in and
//! what is said of it; decides nothing that the product decides.
//!
//! # What is real, and what is not
//!
//! Real are the law, the governor and its meters, the cut of the ladder, the limiters of blocks, and the
//! breakers of origins with all that judges them. Not real are time and chance, which are arguments, and
//! what they befall: a composer of ideal cores, origins of so many servers each with what they have
//! behind them, and readers who come by chance or one page after another. There are no caches in the
//! plant: every page asks for all that it shows, which is the worst of days.
//!
//! Invariant: a run is a function of its scenario and its seed.

use serde_json::Value;

use crate::clock::Instant;
use crate::config::Diagnostics;

mod chance;
mod composer;
pub mod expect;
mod file;
mod governor;
mod json;
mod levels;
mod meter;
mod origin;
mod page;
mod plant;
mod plot;
mod read;
mod record;
pub mod replay;
pub mod scenario;
pub mod summary;
mod table;
mod text;
mod time;

pub use expect::{Broken, Expect};
pub use replay::{NoTrace, Replay, Trace};
pub use scenario::{Control, Scenario};
pub use summary::Summary;
pub use table::table;
pub use text::trace;

use meter::Meter;
use plant::Plant;

/// What came of a scenario.
#[derive(Debug)]
pub struct Run {
    /// The figures.
    pub summary: Summary,
    /// The bounds that were not kept.
    pub broken: Vec<Broken>,
    meter: Meter,
}

/// Reads a scenario. People know the text as `shown`; `fetch` gives the text of the plant that it builds
/// upon, or says why not.
pub fn read(
    shown: &str,
    text: &str,
    fetch: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Scenario, Diagnostics> {
    read::read(shown, text, fetch)
}

/// Plays a scenario with chance from `seed`; `start` is any instant, from which virtual time counts.
pub fn run(scenario: &Scenario, seed: u64, start: Instant) -> Run {
    let meter = Plant::new(scenario, seed, start).run();
    let summary = Summary::of(scenario, &meter);
    Run {
        broken: scenario.expect.check(&summary),
        summary,
        meter,
    }
}

/// The figures of a run, the bounds that were not kept, and every second of it, as JSON.
pub fn run_json(scenario: &Scenario, seed: u64, run: &Run) -> Value {
    json::of_run(scenario, seed, run)
}

/// Every second of a replay and where it is decided otherwise, as JSON.
pub fn replay_json(name: &str, replay: &Replay) -> Value {
    json::of_replay(name, replay)
}

/// A graph of a run, as SVG.
pub fn run_plot(scenario: &Scenario, run: &Run) -> String {
    plot::of_run(scenario, run)
}

/// A graph of a replay, as SVG.
pub fn replay_plot(name: &str, replay: &Replay) -> String {
    plot::of_replay(name, replay)
}

impl Run {
    /// What the law was told and what it answered at each tick, as JSON lines.
    pub fn samples(&self) -> String {
        let ticks = self.meter.ticks.iter();
        let lines = ticks.map(|ticked| serde_json::to_string(&record::Recorded::of(&ticked.tick)));
        let lines = lines.map(|line| line.expect("a tick has string keys") + "\n");
        lines.collect()
    }

    /// How much has happened in it.
    pub fn events(&self) -> u64 {
        self.meter.events
    }
}
