//! A run second by second: at which level pages were, and what the law saw and said. Owns how the ticks
//! of a second become one row; what is printed of the rows is decided elsewhere.

use serde::Serialize;

use super::Run;
use super::governor::Tick;
use super::scenario::Scenario;

/// A second of a run. What it says is the mean of the second's ticks unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// When it begins, since the run began.
    pub(super) at_s: f64,
    /// The level that most of it had: steps that everybody gives up; one more than there are when pages
    /// are answered from snapshots.
    pub(super) level: u8,
    pub(super) theta: f64,
    pub(super) admit: f64,
    pub(super) phi: f64,
    /// Pages asked for.
    pub(super) arrivals_per_s: f64,
    /// How long work waited.
    pub(super) queue_delay_ms: f64,
    /// Of its last tick.
    pub(super) reason: &'static str,
}

/// Every second of a run.
pub(super) fn rows(scenario: &Scenario, run: &Run) -> Vec<Row> {
    let per_second = (1.0 / scenario.degradation.tick.as_secs_f64()).max(1.0) as usize;
    let seconds = run.meter.ticks.chunks(per_second);
    seconds
        .map(|second| {
            let mut levels: Vec<u8> = second.iter().map(|ticked| ticked.tick.level).collect();
            levels.sort_unstable();
            let count = second.len() as f64;
            let mean = |of: &dyn Fn(&Tick) -> f64| {
                second.iter().map(|ticked| of(&ticked.tick)).sum::<f64>() / count
            };
            let last = &second[second.len() - 1].tick;
            Row {
                at_s: second[0].tick.at.seconds().floor(),
                level: levels[levels.len() / 2],
                theta: mean(&|tick| tick.mode.decision.theta),
                admit: mean(&|tick| tick.mode.decision.admit),
                phi: mean(&|tick| tick.mode.phi),
                arrivals_per_s: mean(&|tick| {
                    f64::from(tick.sample.arrivals) / tick.sample.span.as_secs_f64()
                }),
                queue_delay_ms: mean(&|tick| tick.sample.queue_delay.as_secs_f64() * 1e3),
                reason: last.mode.decision.reason.label(),
            }
        })
        .collect()
}

/// Those whose level is another than that of the row before.
pub(super) fn changes(mut rows: Vec<Row>) -> Vec<Row> {
    rows.dedup_by_key(|row| row.level);
    rows
}
