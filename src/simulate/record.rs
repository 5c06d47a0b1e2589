//! Ticks as JSON lines, as `GET /samples` gives them: what a law was told and what it answered. Owns the
//! format of a recorded trace; a trace is played again by [`replay`](super::replay).

use serde::{Deserialize, Serialize};

use crate::degradation::law::Reason;
use crate::degradation::sample::Costs;
use crate::degradation::{Decision, Sample};

use super::governor::Tick;

/// A tick of a run.
#[derive(Debug, Serialize)]
pub(super) struct Recorded {
    at_ms: u64,
    #[serde(flatten)]
    told: Told,
    #[serde(flatten)]
    answered: Answered,
}

/// What a law was told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Told {
    span_ms: f64,
    arrivals: u32,
    queue_delay_ms: f64,
    #[serde(default)]
    lateness: Option<f64>,
    #[serde(default)]
    inflation: Option<f64>,
    base_ms: f64,
    optional_ms: f64,
}

#[derive(Debug, Serialize)]
struct Answered {
    theta: f64,
    admit: f64,
    phi: f64,
    rate: f64,
    reason: Reason,
    level: u8,
}

impl Recorded {
    pub(super) fn of(tick: &Tick) -> Self {
        let (
            sample,
            Decision {
                theta,
                admit,
                rate,
                reason,
            },
        ) = (&tick.sample, tick.mode.decision);
        Self {
            at_ms: u64::try_from(tick.at.duration().as_millis()).unwrap_or(u64::MAX),
            told: Told {
                span_ms: sample.span.as_secs_f64() * 1e3,
                arrivals: sample.arrivals,
                queue_delay_ms: sample.queue_delay.as_secs_f64() * 1e3,
                lateness: sample.lateness,
                inflation: sample.inflation,
                base_ms: sample.costs.base_ms,
                optional_ms: sample.costs.optional_ms,
            },
            answered: Answered {
                theta,
                admit,
                phi: tick.mode.phi,
                rate,
                reason,
                level: tick.level,
            },
        }
    }
}

impl Told {
    /// The sample; `None` if it holds a time that cannot be.
    pub(super) fn sample(&self) -> Option<Sample> {
        let span = |ms: f64| std::time::Duration::try_from_secs_f64(ms / 1e3).ok();
        Some(Sample {
            span: span(self.span_ms)?,
            arrivals: self.arrivals,
            queue_delay: span(self.queue_delay_ms)?,
            lateness: self.lateness,
            inflation: self.inflation,
            costs: Costs {
                base_ms: self.base_ms,
                optional_ms: self.optional_ms,
            },
        })
    }
}
