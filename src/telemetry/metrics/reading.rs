//! What is read at the moment of a scrape, because somebody else keeps it anyway. Owns only how it is
//! told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::CacheStats;
use crate::cache::disk::DiskState;
use crate::cache::shared::SharedState;
use crate::degradation::Level;
use crate::fetch::state::{BlockState, OriginState, ReplicaState};
use crate::fragment::Grade;
use crate::report::{BreakerState, Tier};
use crate::telemetry::samples::Tick;
use crate::telemetry::slo::SloState;

use super::name::{CALLS, Metric, PAGES_SHED, REFUSALS};
use super::series::Series;

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
    /// Tasks of the runtime that have not ended.
    pub tasks: usize,
    /// Pages being composed.
    pub pages_in_flight: usize,
    /// Pages that were not composed as they should be, in the order of [`PAGES_SHED`].
    pub pages_shed: [u64; PAGES_SHED.len()],
    /// Flights under way.
    pub flights: usize,
    /// Flights that were begun.
    pub flights_launched: u64,
    /// Slots that have waited for the flight of another.
    pub flights_joined: u64,
    /// Copies in memory.
    pub cache: CacheStats,
    /// Copies on this disk, if there are any.
    pub disk: Option<DiskState>,
    /// The store that nodes share, if they do.
    pub shared: Option<SharedState>,
    /// Copies that were pushed or withdrawn.
    pub pushed: u64,
    /// The origins, by their names.
    pub origins: Vec<(String, OriginState)>,
    /// The optional fragments, by their names.
    pub blocks: BTreeMap<String, BlockState>,
    /// Requests that faults on purpose have hit: what was done, on what, how often.
    pub faults: Vec<(&'static str, String, u64)>,
    /// The objectives.
    pub slos: Vec<SloState>,
}

impl Reading {
    /// Writes all of it.
    pub(super) fn write(&self, to: &mut dyn Series) {
        self.write_process(to);
        self.write_copies(to);
        self.write_blocks(to);
        self.write_origins(to);
        self.write_replicas(to);
        self.write_slos(to);
    }

    fn write_process(&self, to: &mut dyn Series) {
        let mut one = |metric: Metric, labels: &[&str], number: f64| {
            to.begin(metric);
            to.number(metric, labels, number);
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
        one(Metric::Tasks, &[], self.tasks as f64);
        one(Metric::PagesInFlight, &[], self.pages_in_flight as f64);
        one(Metric::Flights, &[], self.flights as f64);
        one(Metric::FlightsLaunched, &[], self.flights_launched as f64);
        one(Metric::FlightsJoined, &[], self.flights_joined as f64);
        one(Metric::Pushed, &[], self.pushed as f64);
        to.begin(Metric::PagesShed);
        for (cause, count) in PAGES_SHED.into_iter().zip(self.pages_shed) {
            to.number(Metric::PagesShed, &[cause], count as f64);
        }
        to.begin(Metric::Faults);
        for (harm, on, requests) in &self.faults {
            to.number(Metric::Faults, &[harm, on], *requests as f64);
        }
    }

    fn write_slos(&self, to: &mut dyn Series) {
        type Read = fn(&SloState) -> f64;
        let each: [(Metric, Read); 5] = [
            (Metric::SloMeasured, |slo| slo.since_start[0] as f64),
            (Metric::SloMissed, |slo| slo.since_start[1] as f64),
            (Metric::SloMissedPages, |slo| slo.since_start[2] as f64),
            (Metric::SloObjective, |slo| slo.objective),
            (Metric::SloBudgetLeft, |slo| slo.budget_left),
        ];
        for (metric, read) in each {
            to.begin(metric);
            for slo in &self.slos {
                to.number(metric, &[&slo.name], read(slo));
            }
        }
        to.begin(Metric::SloBurn);
        for slo in &self.slos {
            for burn in &slo.burn {
                to.number(Metric::SloBurn, &[&slo.name, burn.window], burn.rate);
            }
        }
    }

    fn write_copies(&self, to: &mut dyn Series) {
        let mut each = |metric: Metric, memory: Option<u64>, disk: Option<u64>, store| {
            to.begin(metric);
            for (tier, number) in Tier::ALL.into_iter().zip([memory, disk, store]) {
                if let Some(number) = number {
                    to.number(metric, &[tier.label()], number as f64);
                }
            }
        };
        let (memory, disk, store) = (&self.cache, self.disk.as_ref(), self.shared.as_ref());
        let entries = |entries: usize| u64::try_from(entries).unwrap_or(u64::MAX);
        let records = disk.map(|disk| entries(disk.records));
        each(
            Metric::CacheEntries,
            Some(entries(memory.entries)),
            records,
            None,
        );
        let bytes = disk.map(|disk| disk.bytes);
        each(Metric::CacheBytes, Some(memory.bytes), bytes, None);
        let bytes_max = disk.map(|disk| disk.bytes_max);
        each(
            Metric::CacheBytesMax,
            Some(memory.bytes_max),
            bytes_max,
            None,
        );
        let evicted = disk.map(|disk| disk.evicted);
        each(Metric::CacheEvicted, Some(memory.evicted), evicted, None);
        let written = disk.map(|disk| disk.written);
        each(Metric::CacheWritten, None, written, store.map(|s| s.stored));
        let dropped = disk.map(|disk| disk.dropped);
        each(
            Metric::CacheDropped,
            None,
            dropped,
            store.map(|s| s.dropped),
        );
        if let Some(store) = store {
            let counts = [
                store.hits,
                store.misses,
                store.skipped,
                store.timeouts,
                store.errors,
            ];
            to.begin(Metric::SharedCalls);
            for (result, count) in CALLS.into_iter().zip(counts) {
                to.number(Metric::SharedCalls, &[result], count as f64);
            }
        }
    }

    fn write_blocks(&self, to: &mut dyn Series) {
        to.begin(Metric::BlockLimited);
        for (name, block) in &self.blocks {
            to.number(Metric::BlockLimited, &[name], block.refused as f64);
        }
        to.begin(Metric::BlockShare);
        for (name, block) in &self.blocks {
            to.number(Metric::BlockShare, &[name], block.share);
        }
    }

    fn write_origins(&self, to: &mut dyn Series) {
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
            to.begin(metric);
            for (name, origin) in &self.origins {
                to.number(metric, &[name], read(origin));
            }
        }
        to.begin(Metric::OriginRefused);
        for (name, origin) in &self.origins {
            let counts = [origin.counts.refused_open, origin.counts.refused_busy];
            for (cause, count) in REFUSALS.into_iter().zip(counts) {
                to.number(Metric::OriginRefused, &[name, cause], count as f64);
            }
        }
        to.begin(Metric::BreakerState);
        for (name, origin) in &self.origins {
            for grade in Grade::ALL.map(Grade::label) {
                let present = origin.breaker.get(grade).map(|breaker| breaker.state);
                for state in BreakerState::ALL.map(BreakerState::label) {
                    let is_it = f64::from(u8::from(present == Some(state)));
                    to.number(Metric::BreakerState, &[name, grade, state], is_it);
                }
            }
        }
    }

    /// Where there is one replica, it is the origin.
    fn write_replicas(&self, to: &mut dyn Series) {
        let several = self.origins.iter().filter(|(_, o)| o.replicas.len() > 1);
        let replicas = || {
            several.clone().flat_map(|(name, origin)| {
                let replicas = origin.replicas.iter();
                replicas.map(move |replica| (name.as_str(), replica))
            })
        };
        type Read = fn(&ReplicaState) -> Option<f64>;
        let each: [(Metric, Read); 6] = [
            (Metric::ReplicaAttempts, |r| Some(r.asked as f64)),
            (Metric::ReplicaFailed, |r| Some(r.failed as f64)),
            (Metric::ReplicaInFlight, |r| Some(f64::from(r.in_flight))),
            (Metric::ReplicaWeight, |r| Some(f64::from(r.weight) / 100.0)),
            (Metric::ReplicaTypical, |r| Some(r.typical_ms? / 1e3)),
            (Metric::ReplicaHealthy, |r| {
                Some(f64::from(u8::from(r.healthy?)))
            }),
        ];
        for (metric, read) in each {
            to.begin(metric);
            for (origin, replica) in replicas() {
                if let Some(number) = read(replica) {
                    to.number(metric, &[origin, &replica.url], number);
                }
            }
        }
        to.begin(Metric::ReplicaState);
        for (origin, replica) in replicas() {
            for state in BreakerState::ALL.map(BreakerState::label) {
                let is_it = f64::from(u8::from(replica.breaker.state == state));
                to.number(Metric::ReplicaState, &[origin, &replica.url, state], is_it);
            }
        }
    }
}
