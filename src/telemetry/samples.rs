//! What the law was told and what it answered, tick by tick, of the last minutes. Owns the memory, which
//! is bounded; written by the governor's loop and read by operators.

use std::collections::VecDeque;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Moment;
use crate::degradation::Level;
use crate::degradation::governor::Turned;
use crate::degradation::law::Reason;

/// Ticks that are remembered: ten minutes.
const TICKS_MAX: usize = 6000;

/// One tick.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Tick {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Milliseconds since the tick before.
    pub span_ms: f64,
    /// Pages asked for in that time.
    pub arrivals: u32,
    /// How long work waits.
    pub queue_delay_ms: f64,
    /// The 95th percentile of page times over their targets, in the last second.
    pub lateness: Option<f64>,
    /// Work as measured over what it costs usually.
    pub inflation: Option<f64>,
    /// What every page costs, in milliseconds of work.
    pub base_ms: f64,
    /// What the optional blocks of a page cost.
    pub optional_ms: f64,
    /// The share of the optional work that is done.
    pub theta: f64,
    /// The share of pages that are composed.
    pub admit: f64,
    /// The share of optional requests that origins can take.
    pub phi: f64,
    /// Work that is known to get done, in milliseconds a second.
    pub rate: f64,
    /// Why.
    pub reason: Reason,
    /// Steps of the ladder that everybody gives up; one more than there are when pages are answered
    /// from snapshots.
    pub level: u8,
}

/// The last ticks.
#[derive(Debug, Default)]
pub struct Samples(Mutex<VecDeque<Tick>>);

impl Samples {
    /// Remembers a tick.
    pub fn add(&self, turned: &Turned, at: Moment, text_only: Level) {
        let (mode, sample) = (&turned.mode, &turned.sample);
        let level = mode.by_law(text_only).get();
        let tick = Tick {
            at_ms: at.micros() / 1000,
            span_ms: sample.span.as_secs_f64() * 1e3,
            arrivals: sample.arrivals,
            queue_delay_ms: sample.queue_delay.as_secs_f64() * 1e3,
            lateness: sample.lateness,
            inflation: sample.inflation,
            base_ms: sample.costs.base_ms,
            optional_ms: sample.costs.optional_ms,
            theta: mode.decision.theta,
            admit: mode.decision.admit,
            phi: mode.phi,
            rate: mode.decision.rate,
            reason: mode.decision.reason,
            level,
        };
        let mut ticks = self.0.lock();
        if ticks.len() >= TICKS_MAX {
            ticks.pop_front();
        }
        ticks.push_back(tick);
    }

    /// Those after this many milliseconds since 1970, the oldest first.
    pub fn since(&self, at_ms: u64) -> Vec<Tick> {
        let ticks = self.0.lock();
        let first = ticks.partition_point(|tick| tick.at_ms <= at_ms);
        ticks.range(first..).copied().collect()
    }

    /// The last one.
    pub fn last(&self) -> Option<Tick> {
        self.0.lock().back().copied()
    }
}
