//! What is read at the moment of a scrape, because somebody else keeps it anyway. Owns only how it is
//! told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::CacheStats;
use crate::degradation::Level;
use crate::fetch::state::{BlockState, OriginState};
use crate::fragment::Grade;
use crate::report::BreakerState;
use crate::telemetry::samples::Tick;
use crate::telemetry::slo::SloState;

use super::name::{Metric, REFUSALS};
use super::text::Text;

/// How it is now.
pub struct Reading {
    /// Since the start.
    pub uptime: Duration,
    /// The level that everybody's pages have at least.
    pub level: Level,
    /// What the law alone has decided.
    pub by_law: Level,
    /// What it was told and has answered last.
    pub tick: Option<Tick>,
    /// How late timers are.
    pub lag: Duration,
    /// Pages being composed.
    pub pages_in_flight: usize,
    /// Flights under way.
    pub flights: usize,
    /// Copies in memory.
    pub cache: CacheStats,
    /// Copies that were pushed or withdrawn.
    pub pushed: u64,
    /// The origins, by their names.
    pub origins: Vec<(String, OriginState)>,
    /// The optional fragments, by their names.
    pub blocks: BTreeMap<String, BlockState>,
    /// The objectives.
    pub slos: Vec<SloState>,
}

impl Reading {
    /// Writes all of it.
    pub(super) fn write(&self, text: &mut Text) {
        self.write_process(text);
        self.write_blocks(text);
        self.write_origins(text);
        self.write_slos(text);
    }

    fn write_process(&self, text: &mut Text) {
        let mut one = |metric: Metric, labels: &[&str], number: f64| {
            text.begin(metric);
            text.number(metric, labels, number);
        };
        one(Metric::Build, &[env!("CARGO_PKG_VERSION")], 1.0);
        one(Metric::Uptime, &[], self.uptime.as_secs_f64());
        one(Metric::Level, &[], f64::from(self.level.get()));
        one(Metric::LevelByLaw, &[], f64::from(self.by_law.get()));
        if let Some(tick) = &self.tick {
            one(Metric::Theta, &[], tick.theta);
            one(Metric::Admission, &[], tick.admit);
            one(Metric::Phi, &[], tick.phi);
            one(Metric::WorkRate, &[], tick.rate / 1e3);
            one(Metric::QueueDelay, &[], tick.queue_delay_ms / 1e3);
        }
        one(Metric::Lag, &[], self.lag.as_secs_f64());
        one(Metric::PagesInFlight, &[], self.pages_in_flight as f64);
        one(Metric::Flights, &[], self.flights as f64);
        one(Metric::CacheEntries, &[], self.cache.entries as f64);
        one(Metric::CacheBytes, &[], self.cache.bytes as f64);
        one(Metric::CacheBytesMax, &[], self.cache.bytes_max as f64);
        one(Metric::Pushed, &[], self.pushed as f64);
    }

    fn write_blocks(&self, text: &mut Text) {
        text.begin(Metric::BlockLimited);
        for (name, block) in &self.blocks {
            text.number(Metric::BlockLimited, &[name], block.refused as f64);
        }
        text.begin(Metric::BlockShare);
        for (name, block) in &self.blocks {
            text.number(Metric::BlockShare, &[name], block.share);
        }
    }

    fn write_slos(&self, text: &mut Text) {
        type Read = fn(&SloState) -> f64;
        let each: [(Metric, Read); 5] = [
            (Metric::SloMeasured, |slo| slo.since_start[0] as f64),
            (Metric::SloMissed, |slo| slo.since_start[1] as f64),
            (Metric::SloMissedPages, |slo| slo.since_start[2] as f64),
            (Metric::SloObjective, |slo| slo.objective),
            (Metric::SloBudgetLeft, |slo| slo.budget_left),
        ];
        for (metric, read) in each {
            text.begin(metric);
            for slo in &self.slos {
                text.number(metric, &[&slo.name], read(slo));
            }
        }
        text.begin(Metric::SloBurn);
        for slo in &self.slos {
            for burn in &slo.burn {
                text.number(Metric::SloBurn, &[&slo.name, burn.window], burn.rate);
            }
        }
    }

    fn write_origins(&self, text: &mut Text) {
        type Read = fn(&OriginState) -> f64;
        let each: [(Metric, Read); 10] = [
            (Metric::OriginRequests, |o| o.counts.requests as f64),
            (Metric::OriginFailed, |o| o.counts.failed as f64),
            (Metric::OriginSlow, |o| o.counts.slow as f64),
            (Metric::OriginAttempts, |o| o.counts.attempts as f64),
            (Metric::OriginRetries, |o| o.counts.retries as f64),
            (Metric::OriginFailovers, |o| o.counts.failovers as f64),
            (Metric::OriginHedges, |o| o.counts.hedges as f64),
            (Metric::OriginHedgesWon, |o| o.counts.hedges_won as f64),
            (Metric::OriginInFlight, |o| o.in_flight as f64),
            (Metric::OriginInFlightMax, |o| o.max_in_flight as f64),
        ];
        for (metric, read) in each {
            text.begin(metric);
            for (name, origin) in &self.origins {
                text.number(metric, &[name], read(origin));
            }
        }
        text.begin(Metric::OriginRefused);
        for (name, origin) in &self.origins {
            let counts = [origin.counts.refused_open, origin.counts.refused_busy];
            for (cause, count) in REFUSALS.into_iter().zip(counts) {
                text.number(Metric::OriginRefused, &[name, cause], count as f64);
            }
        }
        text.begin(Metric::BreakerState);
        for (name, origin) in &self.origins {
            for grade in Grade::ALL.map(Grade::label) {
                let present = origin.breaker.get(grade).map(|breaker| breaker.state);
                for state in BreakerState::ALL.map(BreakerState::label) {
                    let is_it = f64::from(u8::from(present == Some(state)));
                    text.number(Metric::BreakerState, &[name, grade, state], is_it);
                }
            }
        }
    }
}
