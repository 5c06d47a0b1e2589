//! What readers got since the last look: pages, how long they took, and what each block came to. Owns
//! the counters of the present second; what is remembered of them is in [`history`](super::history).
//!
//! Invariants: a page waits for no lock here, unless it is the first with its fragment; what somebody
//! looked at to see a level counts as nothing that a reader got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::report::{Event, FragmentReport, Observer, OmitReason, Outcome, PageReport};
use crate::striped::{self, Striped};
use crate::telemetry::metrics::AtHand;
use crate::telemetry::named::Named;

use super::Beat;

/// Steps of the durations between one and its double: a step is 4.4 % wide.
const STEPS: f64 = 16.0;

/// Durations from 0.1 ms to two minutes, at these steps.
const DURATIONS: usize = 336;

/// The counters.
pub struct Pulse {
    pages: Striped<Pages>,
    blocks: ArcSwap<Named<Counters>>,
    /// What somebody else counts of the same pages, and how much of it was told.
    at_hand: Option<Beside>,
}

/// Pages by what became of them.
struct Pages {
    all: AtomicU64,
    complete: AtomicU64,
    snapshots: AtomicU64,
    unavailable: AtomicU64,
    left: AtomicU64,
    durations: Vec<AtomicU64>,
}

/// What somebody else counts.
struct Beside {
    counts: Arc<AtHand>,
    /// By fragment.
    told: Mutex<BTreeMap<String, u64>>,
}

/// The counters of one block.
#[derive(Default)]
struct Counters {
    shown: AtomicU64,
    old: AtomicU64,
    instead: AtomicU64,
    missing: AtomicU64,
    given_up: AtomicU64,
    /// What went wrong last, where something did.
    cause: Mutex<Option<String>>,
}

/// What one block came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockBeat {
    /// Shown as it is meant to be.
    pub shown: u64,
    /// From a copy that was beyond its ttl.
    pub old: u64,
    /// Something stood in for it, or for a part of it.
    pub instead: u64,
    /// Nothing was there.
    pub missing: u64,
    /// It was given up, or switched off.
    pub given_up: u64,
    /// What went wrong last.
    pub cause: Option<String>,
}

impl Default for Pulse {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let pages = || Pages {
            all: zero(),
            complete: zero(),
            snapshots: zero(),
            unavailable: zero(),
            left: zero(),
            durations: striped::row(DURATIONS),
        };
        Self {
            pages: Striped::of(pages),
            blocks: ArcSwap::default(),
            at_hand: None,
        }
    }
}

impl Pulse {
    /// The same, with `at_hand` counting the blocks of pages that had all of theirs at hand.
    pub fn beside(self, at_hand: Arc<AtHand>) -> Self {
        Self {
            at_hand: Some(Beside {
                counts: at_hand,
                told: Mutex::default(),
            }),
            ..self
        }
    }

    /// What happened since the last turn, which everything is counted from again.
    pub fn turn(&self, at_ms: u64, span: Duration) -> (Beat, BTreeMap<String, BlockBeat>) {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let durations = (0..DURATIONS).map(|step| self.pages.sum(|of| take(&of.durations[step])));
        let durations: Vec<u64> = durations.collect();
        let beat = Beat {
            pages: self.pages.sum(|of| take(&of.all)),
            complete: self.pages.sum(|of| take(&of.complete)),
            snapshots: self.pages.sum(|of| take(&of.snapshots)),
            unavailable: self.pages.sum(|of| take(&of.unavailable)),
            left: self.pages.sum(|of| take(&of.left)),
            p50_ms: quantile(&durations, 0.5),
            p95_ms: quantile(&durations, 0.95),
            ..Beat::quiet(at_ms, round(span.as_secs_f64()))
        };
        let blocks = self.blocks.load();
        let blocks = blocks.iter().map(|(name, counters)| {
            let block = BlockBeat {
                shown: take(&counters.shown),
                old: take(&counters.old),
                instead: take(&counters.instead),
                missing: take(&counters.missing),
                given_up: take(&counters.given_up),
                cause: counters.cause.lock().take(),
            };
            (name.clone(), block)
        });
        let mut blocks: BTreeMap<_, _> = blocks.collect();
        if let Some(Beside { counts, told }) = &self.at_hand {
            let now = counts.counts();
            let before = std::mem::replace(&mut *told.lock(), now.clone());
            for (name, count) in now {
                let since = count.saturating_sub(before.get(&name).copied().unwrap_or_default());
                let block: &mut BlockBeat = blocks.entry(name).or_default();
                block.shown += since;
            }
        }
        (beat, blocks)
    }

    fn count_block(&self, known: &Named<Counters>, fragment: &FragmentReport<'_>) {
        match known.at(fragment.place, &fragment.name) {
            Some(counters) => counters.count(&fragment.outcome),
            None => {
                self.blocks.rcu(|blocks| blocks.with(&fragment.name));
                // no row is ever taken away
                if let Some(counters) = self.blocks.load().get(&fragment.name) {
                    counters.count(&fragment.outcome);
                }
            }
        }
    }
}

impl Counters {
    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Cached | Outcome::Fetched | Outcome::Declared | Outcome::Absent => &self.shown,
            Outcome::Stale(_) => &self.old,
            Outcome::Partial { .. }
            | Outcome::Sibling(..)
            | Outcome::Static(_)
            | Outcome::Inline(_)
            | Outcome::DefaultData(_)
            | Outcome::Lazy(_) => &self.instead,
            Outcome::Omitted(OmitReason::Failed(_)) => &self.missing,
            Outcome::Omitted(OmitReason::Shed(_) | OmitReason::Switched) => &self.given_up,
            Outcome::Omitted(OmitReason::Unneeded) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // whoever finds it taken has another cause of the same second to tell
        if let Some(cause) = outcome.cause()
            && let Some(mut last) = self.cause.try_lock()
            && last.is_none()
        {
            *last = Some(cause.to_string().chars().take(160).collect());
        }
    }
}

impl Observer for Pulse {
    fn page(&self, report: &PageReport<'_>) {
        if report.is_rehearsal {
            return;
        }
        let count = |counter: &AtomicU64| _ = counter.fetch_add(1, Ordering::Relaxed);
        let pages = self.pages.mine();
        count(&pages.all);
        match report {
            report if !report.finished => count(&pages.left),
            report if report.is_complete() => count(&pages.complete),
            report if report.snapshot.is_some() => count(&pages.snapshots),
            report if report.is_unavailable() => count(&pages.unavailable),
            // a redirect or a page that there is not is what it is meant to be
            report if report.status != 200 => count(&pages.complete),
            _ => {}
        }
        count(&pages.durations[place(report.duration)]);
        if report.fragments.sum().at_hand.is_none() || self.at_hand.is_none() {
            let known = self.blocks.load();
            for fragment in &report.fragments {
                self.count_block(&known, fragment);
            }
        }
    }

    fn event(&self, _: &Event) {}
}

/// Where a duration is counted.
fn place(duration: Duration) -> usize {
    let tenths = duration.as_secs_f64() * 1e4;
    let step = (tenths.max(1.0).log2() * STEPS).ceil();
    // not negative, and far below what a usize holds
    (step as usize).min(DURATIONS - 1)
}

/// The longest that this share of the pages took, in milliseconds.
fn quantile(durations: &[u64], share: f64) -> Option<f64> {
    let all: u64 = durations.iter().sum();
    let wanted = (all as f64 * share).ceil() as u64;
    let mut sum = 0;
    let found = durations.iter().position(|count| {
        sum += count;
        all > 0 && sum >= wanted
    });
    found.map(|step| round((step as f64 / STEPS).exp2() / 10.0))
}

/// A hundredth is more than anybody needs.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cause, example};

    fn page(ms: u64, outcome: Outcome) -> PageReport<'static> {
        example::page(200, &[("slideshow", 40.0, outcome)], ms)
    }

    #[test]
    fn a_turn_tells_what_readers_got_and_begins_anew() {
        let pulse = Pulse::default();
        for ms in 1..=100 {
            pulse.page(&page(ms, Outcome::Fetched));
        }
        let failed = Outcome::Omitted(OmitReason::Failed(Cause::Timeout));
        pulse.page(&page(5, failed.clone()));
        pulse.page(&PageReport {
            is_rehearsal: true,
            ..page(5000, failed)
        });
        let (beat, blocks) = pulse.turn(7, Duration::from_secs(1));
        assert_eq!((beat.pages, beat.complete), (101, 100));
        let p95 = beat.p95_ms.unwrap();
        assert!((94.0..=100.0).contains(&p95), "{p95}");
        let block = &blocks["slideshow"];
        assert_eq!((block.shown, block.missing), (100, 1));
        assert_eq!(block.cause.as_deref(), Some("timeout"));
        let (beat, blocks) = pulse.turn(8, Duration::from_secs(1));
        assert_eq!((beat.pages, beat.p95_ms), (0, None));
        assert_eq!(blocks["slideshow"], BlockBeat::default());
    }

    #[test]
    fn the_longest_and_the_shortest_have_a_place() {
        let pulse = Pulse::default();
        pulse.page(&page(0, Outcome::Fetched));
        pulse.page(&page(10_000_000, Outcome::Fetched));
        let (beat, _) = pulse.turn(1, Duration::from_secs(1));
        assert_eq!(beat.pages, 2);
        assert!(beat.p95_ms.unwrap() > 100_000.0);
    }
}
