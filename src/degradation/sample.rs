//! What the sensors say of a moment. Owns the vocabulary; measures nothing.

use std::time::Duration;

/// What was seen since the sample before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Since the sample before.
    pub span: Duration,
    /// Pages asked for in that time, those that were answered from a snapshot included.
    pub arrivals: u32,
    /// How long work waits for its turn: the mean of what began in that time, and not less than half
    /// of what has waited longest; the lag of the runtime, where that is more.
    pub queue_delay: Duration,
    /// The 95th percentile of the pages of the last second, each as a share of its target; `None` where
    /// there were fewer than twenty.
    pub lateness: Option<f64>,
    /// Work as it was measured in that time over what the same work costs usually; `None` where there
    /// was none.
    pub inflation: Option<f64>,
    /// What a page costs usually.
    pub costs: Costs,
}

/// What a page costs usually, of the mix of pages that is asked for at present; milliseconds of work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Costs {
    /// What every page costs: planning, its core and essential fragments, assembling.
    pub base_ms: f64,
    /// All its optional fragments.
    pub optional_ms: f64,
}
