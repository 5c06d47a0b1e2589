//! Ticks as JSON lines, as `GET /samples` gives them: what a law was told and what it answered. Owns the
//! format of a recorded trace; a trace is played again by [`replay`](super::replay).

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

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
struct Told {
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

/// A line of a trace that is played again.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Line {
    /// Milliseconds since any moment.
    pub(super) at_ms: u64,
    #[serde(flatten)]
    told: Told,
    pub(super) theta: f64,
    pub(super) admit: f64,
    pub(super) rate: f64,
}

impl Line {
    /// Reads a line; says what is wrong with one that cannot be.
    pub(super) fn read(text: &str) -> Result<(Self, Sample), String> {
        let line: Self = serde_json::from_str(text).map_err(|why| not_a_tick(&why))?;
        for (key, share) in [("theta", line.theta), ("admit", line.admit)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("`{key}` is {share}, and must be from 0 to 1"));
            }
        }
        let told = &line.told;
        let numbers = [
            ("span_ms", told.span_ms),
            ("queue_delay_ms", told.queue_delay_ms),
            ("lateness", told.lateness.unwrap_or(0.0)),
            ("inflation", told.inflation.unwrap_or(0.0)),
            ("base_ms", told.base_ms),
            ("optional_ms", told.optional_ms),
            ("rate", line.rate),
        ];
        for (key, number) in numbers {
            if number < 0.0 {
                return Err(format!("`{key}` is {number}, and must not be less than 0"));
            }
        }
        let sample = told.sample().ok_or_else(|| {
            "`span_ms` or `queue_delay_ms` is more than any time can be".to_owned()
        })?;
        Ok((line, sample))
    }
}

impl Told {
    /// The sample; `None` if it holds a time that cannot be.
    fn sample(&self) -> Option<Sample> {
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

/// What is wrong with a line, which is always the first of what is parsed.
fn not_a_tick(why: &serde_json::Error) -> String {
    let column = why.column();
    let said = why.to_string();
    let place = format!(" at line {} column {column}", why.line());
    let said = said.strip_suffix(&place).unwrap_or(&said);
    match why.classify() {
        Category::Data => format!("{said} (column {column})"),
        Category::Eof => format!("it breaks off: {said} (column {column})"),
        Category::Syntax | Category::Io => format!("it is not JSON: {said} (column {column})"),
    }
}
