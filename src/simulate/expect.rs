//! What must come of a scenario. Owns the bounds that one can declare and how they are held against a
//! [`Summary`]; measures nothing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::summary::Summary;

/// Bounds on what comes of a scenario, within its event unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Seconds of the whole run whose 95th percentile is over the target, at most.
    pub bad_seconds_max: Option<f64>,
    /// The same, at least: for what is known to do badly.
    pub bad_seconds_min: Option<f64>,
    /// The median page, milliseconds at most.
    pub p50_max: Option<f64>,
    /// The 95th percentile, milliseconds at most.
    pub p95_max: Option<f64>,
    /// The slowest page of the whole run, milliseconds at most.
    pub slowest_max: Option<f64>,
    /// Pages of the whole run that were never answered, at most: none, unless it is said.
    pub unanswered_max: Option<f64>,
    /// Pages of the whole run that were answered without an article, at most: none, unless it is said.
    pub without_core_max: Option<f64>,
    /// Percent of pages with an article that its origin has just given, at least.
    pub fresh_core_min: Option<f64>,
    /// Percent of pages answered with a snapshot, at most.
    pub snapshots_max: Option<f64>,
    /// Percent of pages answered with a snapshot, at least.
    pub snapshots_min: Option<f64>,
    /// Percent of the value of optional blocks that readers have got, at least.
    pub value_min: Option<f64>,
    /// The same, at most: for what is known to do badly.
    pub value_max: Option<f64>,
    /// Percent of the value of blocks with nothing wrong at their origin, at least.
    pub kept_min: Option<f64>,
    /// Percent of degraded pages whose blocks are the most important ones, those of sick origins aside,
    /// at least.
    pub prefix_min: Option<f64>,
    /// The utility of the pages, 0 to 1, at least.
    pub utility_min: Option<f64>,
    /// Percent of the optional blocks that were not asked for, at most.
    pub skipped_max: Option<f64>,
    /// Theta throughout, at least.
    pub theta_min: Option<f64>,
    /// Phi throughout, at least.
    pub phi_min: Option<f64>,
    /// Seconds from the beginning of the event until theta is 0.15 or less, at most.
    pub descends_within: Option<f64>,
    /// Seconds from the end of the event until nine tenths of the value are back, at most.
    pub recovers_within: Option<f64>,
    /// Turns of theta by a tenth and more, a minute of the event, at most.
    pub swings_max: Option<f64>,
    /// How often breakers shut an origin or opened it again, at most.
    pub breaker_moves_max: Option<f64>,
    /// Blocks that appear or disappear between two pages of one reader, for each page, at most.
    pub flips_max: Option<f64>,
    /// Answers that came too late, for each page, at most.
    pub wasted_max: Option<f64>,
    /// Whether pages are full in the last second of the run.
    pub full_at_end: Option<bool>,
}

/// A bound that was not kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Broken {
    /// The key in `[expect]`.
    pub key: &'static str,
    /// What it asks for.
    pub bound: f64,
    /// What there was; `None` if there was no such thing.
    pub got: Option<f64>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.got {
            Some(got) => write!(f, "{} = {}, and it is {got:.2}", self.key, self.bound),
            None => write!(
                f,
                "{} = {}, and it never came to that",
                self.key, self.bound
            ),
        }
    }
}

impl Expect {
    /// The bounds that were not kept.
    pub fn check(&self, summary: &Summary) -> Vec<Broken> {
        let mut broken = Vec::new();
        let mut most = |key, bound: Option<f64>, got: Option<f64>| {
            if let Some(bound) = bound
                && got.is_none_or(|got| got > bound)
            {
                broken.push(Broken { key, bound, got });
            }
        };
        let s = summary;
        let unanswered = Some(self.unanswered_max.unwrap_or(0.0));
        let without_core = Some(self.without_core_max.unwrap_or(0.0));
        most("bad_seconds_max", self.bad_seconds_max, Some(s.bad_seconds));
        most("p50_max", self.p50_max, Some(s.p50_ms));
        most("p95_max", self.p95_max, Some(s.p95_ms));
        most("slowest_max", self.slowest_max, Some(s.slowest_ms));
        most("unanswered_max", unanswered, Some(s.unanswered));
        most("without_core_max", without_core, Some(s.without_core));
        most("snapshots_max", self.snapshots_max, Some(s.snapshots));
        most("value_max", self.value_max, Some(s.value));
        most("skipped_max", self.skipped_max, Some(s.skipped));
        most("descends_within", self.descends_within, s.descends_s);
        most("recovers_within", self.recovers_within, s.recovers_s);
        most("swings_max", self.swings_max, Some(s.swings));
        most(
            "breaker_moves_max",
            self.breaker_moves_max,
            Some(s.breaker_moves),
        );
        most("flips_max", self.flips_max, Some(s.flips));
        most("wasted_max", self.wasted_max, Some(s.wasted));
        let mut least = |key, bound: Option<f64>, got: Option<f64>| {
            if let Some(bound) = bound
                && got.is_none_or(|got| got < bound)
            {
                broken.push(Broken { key, bound, got });
            }
        };
        least("bad_seconds_min", self.bad_seconds_min, Some(s.bad_seconds));
        least("fresh_core_min", self.fresh_core_min, Some(s.fresh_core));
        least("snapshots_min", self.snapshots_min, Some(s.snapshots));
        least("value_min", self.value_min, Some(s.value));
        least("kept_min", self.kept_min, s.kept);
        // where nothing was given up the order was kept
        least(
            "prefix_min",
            self.prefix_min,
            Some(s.prefix.unwrap_or(100.0)),
        );
        least("utility_min", self.utility_min, Some(s.utility));
        least("theta_min", self.theta_min, Some(s.theta_least));
        least("phi_min", self.phi_min, Some(s.phi_least));
        let full = self.full_at_end.map(|full| f64::from(u8::from(full)));
        least(
            "full_at_end",
            full,
            Some(f64::from(u8::from(s.is_full_at_end))),
        );
        broken
    }
}
