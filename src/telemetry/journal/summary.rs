//! What readers got for a while, as numbers. Owns the counters that every page adds to, and what is
//! made of them; pure: it is told how much time has passed.
//!
//! Invariant: a page waits for no lock here, and adds to counters that are there already; the first
//! block that is lost for a new cause makes room for its counter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{Got, Loss, PageReport};
use crate::striped::{self, Striped};
use crate::telemetry::amount::Amount;

/// Buckets of page times for each doubling: the width of one is an eighth of what it stands for.
const PER_DOUBLING: u32 = 8;

/// Enough for 2^36 µs, which is 19 hours.
const BUCKETS: usize = 34 * PER_DOUBLING as usize;

/// Blocks that were lost, by fragment and cause.
type Lost = BTreeMap<String, BTreeMap<String, u64>>;

/// The counters of lost blocks, by fragment and cause. A new one means a new map.
type Rows = BTreeMap<String, BTreeMap<&'static str, Arc<AtomicU64>>>;

/// What was lost, by why.
type Losses = [Amount; Loss::LABELS.len()];

/// What readers got between two moments.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Tally")]
pub struct Summary {
    /// How long it was, in seconds.
    pub span_s: f64,
    /// Pages that readers asked for. Each of them is counted by one of the next five, or was neither a
    /// page nor an error page: a redirect, a page that there is not.
    pub pages: u64,
    /// On which every block was there.
    pub full: u64,
    /// On which a block was missing, or something stood in for it.
    pub degraded: u64,
    /// Which were answered with their snapshot.
    pub snapshots: u64,
    /// Whose core could not be had: error pages.
    pub unavailable: u64,
    /// Whose reader left before the end.
    pub left: u64,
    /// Blocks for which something else stood in.
    pub stand_ins: u64,
    /// Blocks that were left out: fragment → cause → how many.
    pub lost: Lost,
    /// What readers got, in the site's own unit: each block counts with its `value`.
    pub value_served: f64,
    /// What they did not get, by cause: what was left out, and all of a page that was an error page.
    pub value_lost: BTreeMap<String, f64>,
    /// Half of the pages took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95 of 100 took no longer, in milliseconds.
    pub p95_ms: Option<f64>,
    /// The level that everybody's pages have at least, at the end.
    pub level: u8,
    /// Whether all is well: nothing lost, level 0, all origins asked as ever.
    pub well: bool,
    /// Whether it is not over yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub so_far: bool,
}

/// What readers got since the process began: counts that only grow, so that the difference of two looks is
/// what they got between them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Readers {
    /// A number of this run: with another one counting has begun anew.
    pub run: u64,
    /// Pages that readers asked for. Each of them is counted by one of the next five, or was neither a
    /// page nor an error page.
    pub pages: u64,
    /// On which every block was there.
    pub full: u64,
    /// On which a block was missing, or something stood in for it.
    pub degraded: u64,
    /// Which were answered with their snapshot.
    pub snapshots: u64,
    /// Whose core could not be had: error pages.
    pub unavailable: u64,
    /// Whose reader left before the end.
    pub left: u64,
    /// Blocks for which something else stood in.
    pub stand_ins: u64,
    /// Blocks that were left out: fragment → cause → how many.
    pub lost: Lost,
    /// What readers got, in the site's own unit.
    pub value_served: f64,
    /// What they did not get, by cause.
    pub value_lost: BTreeMap<String, f64>,
    /// How long pages took: pairs of milliseconds, at least which they took, to an eighth, and how many.
    pub times_ms: Vec<(f64, u64)>,
}

impl Readers {
    /// What was got since an earlier look; all of it, where counting has begun anew since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if self.run != before.run {
            return self.clone();
        }
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let mut lost = Lost::new();
        for (name, causes) in &self.lost {
            for (cause, count) in causes {
                let then = before.lost.get(name).and_then(|causes| causes.get(cause));
                let count = less(*count, then.copied().unwrap_or(0));
                if count > 0 {
                    let causes = lost.entry(name.clone()).or_default();
                    causes.insert(cause.clone(), count);
                }
            }
        }
        let then = |at: f64| before.times_ms.iter().find(|(ms, _)| *ms == at);
        let times = self.times_ms.iter().map(|(ms, count)| {
            let then = then(*ms).map_or(0, |(_, count)| *count);
            (*ms, less(*count, then))
        });
        let value = |(cause, now): (&String, &f64)| {
            let then = before.value_lost.get(cause).copied().unwrap_or(0.0);
            (cause.clone(), grown(*now, then))
        };
        Self {
            run: self.run,
            pages: less(self.pages, before.pages),
            full: less(self.full, before.full),
            degraded: less(self.degraded, before.degraded),
            snapshots: less(self.snapshots, before.snapshots),
            unavailable: less(self.unavailable, before.unavailable),
            left: less(self.left, before.left),
            stand_ins: less(self.stand_ins, before.stand_ins),
            lost,
            value_served: grown(self.value_served, before.value_served),
            value_lost: self.value_lost.iter().map(value).collect(),
            times_ms: times.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// Takes what was counted elsewhere, or later, in.
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.full += other.full;
        self.degraded += other.degraded;
        self.snapshots += other.snapshots;
        self.unavailable += other.unavailable;
        self.left += other.left;
        self.stand_ins += other.stand_ins;
        for (name, causes) in &other.lost {
            for (cause, count) in causes {
                let known = self.lost.entry(name.clone()).or_default();
                *known.entry(cause.clone()).or_default() += count;
            }
        }
        self.value_served += other.value_served;
        for (cause, value) in &other.value_lost {
            *self.value_lost.entry(cause.clone()).or_default() += value;
        }
        for (ms, count) in &other.times_ms {
            match self.times_ms.iter_mut().find(|(known, _)| known == ms) {
                Some((_, known)) => *known += count,
                None => self.times_ms.push((*ms, *count)),
            }
        }
        self.times_ms.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// The time within which this share of the pages were there, in milliseconds, to an eighth.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let all: u64 = self.times_ms.iter().map(|(_, count)| count).sum();
        let wanted = (all as f64 * share).ceil();
        let mut seen = 0;
        let found = self.times_ms.iter().find(|(_, count)| {
            seen += count;
            *count > 0 && seen as f64 >= wanted
        });
        found.map(|(ms, _)| *ms)
    }
}

/// How things are, besides what readers get.
#[derive(Debug, Clone, Copy)]
pub struct Around {
    /// The level that everybody's pages have at least.
    pub level: u8,
    /// Whether nothing is given up and no origin is left alone.
    pub is_well: bool,
}

/// The counters.
pub(super) struct Counters {
    pages: Striped<Pages>,
    stand_ins: AtomicU64,
    pushed: AtomicU64,
    lost: ArcSwap<Rows>,
}

/// Pages by what became of them, and what they were worth.
struct Pages {
    all: AtomicU64,
    full: AtomicU64,
    degraded: AtomicU64,
    snapshots: AtomicU64,
    unavailable: AtomicU64,
    left: AtomicU64,
    value_served: Amount,
    value_lost: Losses,
    times: Vec<AtomicU64>,
}

/// The counters at one moment, or how much they have grown between two.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Counted {
    pages: u64,
    full: u64,
    degraded: u64,
    snapshots: u64,
    unavailable: u64,
    left: u64,
    stand_ins: u64,
    pub(super) pushed: u64,
    lost: Lost,
    value_served: f64,
    value_lost: BTreeMap<String, f64>,
    times: Vec<u64>,
}

impl Counters {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let pages = || Pages {
            all: zero(),
            full: zero(),
            degraded: zero(),
            snapshots: zero(),
            unavailable: zero(),
            left: zero(),
            value_served: Amount::default(),
            value_lost: std::array::from_fn(|_| Amount::default()),
            times: striped::row(BUCKETS),
        };
        Self {
            pages: Striped::of(pages),
            stand_ins: zero(),
            pushed: zero(),
            lost: ArcSwap::default(),
        }
    }

    pub(super) fn pushed(&self) {
        self.pushed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn page(&self, report: &PageReport<'_>) {
        let pages = self.pages.mine();
        let add = |counter: &AtomicU64| pages.add(counter, 1);
        add(&pages.all);
        if !report.finished {
            add(&pages.left);
            return;
        }
        add(&pages.times[bucket(report.took())]);
        let lost = |loss: Loss, value| pages.value_lost[loss.number()].add(&pages, value);
        pages.value_served.add(&pages, report.value(lost));
        if report.snapshot.is_some() {
            add(&pages.snapshots);
        } else if report.is_unavailable() {
            add(&pages.unavailable);
        } else if report.is_complete() {
            add(&pages.full);
        } else if report.status == 200 {
            add(&pages.degraded);
            for fragment in &report.fragments {
                match fragment.outcome.got() {
                    Got::Shown | Got::Void => {}
                    Got::Instead => _ = self.stand_ins.fetch_add(1, Ordering::Relaxed),
                    Got::Lost(loss) => self.block(&fragment.name, loss.label()),
                }
            }
        }
    }

    fn block(&self, name: &str, cause: &'static str) {
        let known = |lost: &Rows| lost.get(name)?.get(cause).cloned();
        let counter = known(&self.lost.load()).or_else(|| {
            self.lost.rcu(|lost| {
                let mut lost = Rows::clone(lost);
                let causes = lost.entry(name.to_owned()).or_default();
                causes.entry(cause).or_default();
                lost
            });
            known(&self.lost.load())
        });
        // no counter is ever taken away
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lost = self.lost.load();
        let lost = lost.iter().map(|(name, causes)| {
            let causes = causes
                .iter()
                .map(|(cause, n)| ((*cause).to_owned(), read(n)));
            (name.clone(), causes.collect())
        });
        let amount = |of: &dyn Fn(&Pages) -> f64| self.pages.all().map(of).sum();
        let value_lost = Loss::LABELS.into_iter().enumerate().map(|(place, cause)| {
            let lost = amount(&|pages| pages.value_lost[place].read());
            (cause.to_owned(), lost)
        });
        let times = (0..BUCKETS).map(|place| self.pages.sum(|pages| read(&pages.times[place])));
        Counted {
            pages: self.pages.sum(|pages| read(&pages.all)),
            full: self.pages.sum(|pages| read(&pages.full)),
            degraded: self.pages.sum(|pages| read(&pages.degraded)),
            snapshots: self.pages.sum(|pages| read(&pages.snapshots)),
            unavailable: self.pages.sum(|pages| read(&pages.unavailable)),
            left: self.pages.sum(|pages| read(&pages.left)),
            stand_ins: read(&self.stand_ins),
            pushed: read(&self.pushed),
            lost: lost.collect(),
            value_served: amount(&|pages| pages.value_served.read()),
            value_lost: value_lost.collect(),
            times: times.collect(),
        }
    }
}

impl Counted {
    #[cfg(test)]
    pub(super) fn of(full: u64, degraded: u64) -> Self {
        Self {
            pages: full + degraded,
            full,
            degraded,
            ..Self::default()
        }
    }

    /// How much was counted since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let mut lost = Lost::new();
        for (name, causes) in &self.lost {
            for (cause, count) in causes {
                let then = before.lost.get(name).and_then(|causes| causes.get(cause));
                let count = less(*count, then.copied().unwrap_or(0));
                if count > 0 {
                    lost.entry(name.clone())
                        .or_default()
                        .insert(cause.clone(), count);
                }
            }
        }
        let mut value_lost = BTreeMap::new();
        for (cause, value) in &self.value_lost {
            let then = before.value_lost.get(cause);
            let value = grown(*value, then.copied().unwrap_or(0.0));
            if value > 0.0 {
                value_lost.insert(cause.clone(), value);
            }
        }
        let times = self.times.iter().enumerate();
        Self {
            pages: less(self.pages, before.pages),
            full: less(self.full, before.full),
            degraded: less(self.degraded, before.degraded),
            snapshots: less(self.snapshots, before.snapshots),
            unavailable: less(self.unavailable, before.unavailable),
            left: less(self.left, before.left),
            stand_ins: less(self.stand_ins, before.stand_ins),
            pushed: less(self.pushed, before.pushed),
            lost,
            value_served: grown(self.value_served, before.value_served),
            value_lost,
            times: times
                .map(|(i, n)| less(*n, before.times.get(i).copied().unwrap_or(0)))
                .collect(),
        }
    }

    /// The same, for whoever looks twice.
    pub(super) fn readers(self, run: u64) -> Readers {
        let times = self.times.iter().enumerate();
        let times = times.filter(|(_, count)| **count > 0);
        Readers {
            run,
            pages: self.pages,
            full: self.full,
            degraded: self.degraded,
            snapshots: self.snapshots,
            unavailable: self.unavailable,
            left: self.left,
            stand_ins: self.stand_ins,
            lost: self.lost,
            value_served: self.value_served,
            value_lost: self.value_lost,
            times_ms: times
                .map(|(bucket, count)| ((least_us(bucket) / 10.0).round() / 100.0, *count))
                .collect(),
        }
    }

    /// Whether readers got less than they should.
    pub(super) fn is_ill(&self) -> bool {
        self.degraded + self.snapshots + self.unavailable > 0
    }

    /// Whether nobody has read anything.
    pub(super) fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// What it comes to.
    pub(super) fn summary(&self, span: Duration, around: &Around) -> Summary {
        Summary {
            span_s: (span.as_secs_f64() * 10.0).round() / 10.0,
            pages: self.pages,
            full: self.full,
            degraded: self.degraded,
            snapshots: self.snapshots,
            unavailable: self.unavailable,
            left: self.left,
            stand_ins: self.stand_ins,
            lost: self.lost.clone(),
            value_served: self.value_served,
            value_lost: self.value_lost.clone(),
            p50_ms: self.quantile(0.50),
            p95_ms: self.quantile(0.95),
            level: around.level,
            well: around.is_well && !self.is_ill(),
            so_far: false,
        }
    }

    /// The middle of the bucket in which this share of the pages is reached.
    fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.times.iter().sum();
        let wanted = (all as f64 * share).ceil();
        let mut seen = 0;
        let found = self.times.iter().position(|count| {
            seen += count;
            *count > 0 && seen as f64 >= wanted
        });
        found.map(|bucket| (middle_us(bucket) / 100.0).round() / 10.0)
    }
}

/// How much a sum of values has grown: to a millionth, which is finer than what adding costs.
fn grown(now: f64, then: f64) -> f64 {
    ((now - then).max(0.0) * 1e6).round() / 1e6
}

/// Where a time is counted.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(8);
    let doubling = micros.ilog2();
    let within = (micros >> (doubling - 3)) & 7;
    let bucket = u64::from((doubling - 3) * PER_DOUBLING) + within;
    usize::try_from(bucket)
        .unwrap_or(usize::MAX)
        .min(BUCKETS - 1)
}

/// Where a bucket begins, in microseconds.
fn least_us(bucket: usize) -> f64 {
    let per = PER_DOUBLING as usize;
    (8.0 + (bucket % per) as f64) * ((bucket / per) as f64).exp2()
}

/// What a bucket stands for, in microseconds.
fn middle_us(bucket: usize) -> f64 {
    let per = PER_DOUBLING as usize;
    let (doubling, within) = (bucket / per, bucket % per);
    let unit = (doubling as f64).exp2();
    (8.0 + within as f64 + 0.5) * unit
}

impl Summary {
    /// In words.
    pub fn says(&self) -> String {
        let Self {
            span_s,
            pages,
            full,
            degraded,
            snapshots,
            unavailable,
            left,
            ..
        } = self;
        let noun = if *pages == 1 { "page" } else { "pages" };
        let mut text = format!("{pages} {noun} in {span_s} s");
        if full == pages {
            text += ", all of them full";
        }
        for (count, what) in [
            (degraded, "with blocks missing or replaced"),
            (snapshots, "from snapshots"),
            (unavailable, "error pages"),
            (left, "left by their readers"),
        ] {
            if *count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        if let Some((p50, p95)) = self.p50_ms.zip(self.p95_ms) {
            text += &format!("; half within {p50} ms, 95 % within {p95} ms");
        }
        let mut lost: Vec<(u64, &String, &String)> = Vec::new();
        for (name, causes) in &self.lost {
            lost.extend(causes.iter().map(|(cause, count)| (*count, name, cause)));
        }
        lost.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        if !lost.is_empty() {
            let named = lost.iter().take(3);
            let named: Vec<String> = named
                .map(|(count, name, cause)| format!("{name} {count} ({cause})"))
                .collect();
            let more = lost.len().saturating_sub(3);
            text += &format!("; lost: {}", named.join(", "));
            if more > 0 {
                text += &format!(" and {more} more");
            }
        }
        text
    }

    /// Takes what comes after it in: the counts of both together.
    pub fn add(&mut self, other: &Self) {
        self.span_s += other.span_s;
        self.pages += other.pages;
        self.full += other.full;
        self.degraded += other.degraded;
        self.snapshots += other.snapshots;
        self.unavailable += other.unavailable;
        self.left += other.left;
        self.stand_ins += other.stand_ins;
        for (name, causes) in &other.lost {
            for (cause, count) in causes {
                *self
                    .lost
                    .entry(name.clone())
                    .or_default()
                    .entry(cause.clone())
                    .or_default() += count;
            }
        }
        self.value_served += other.value_served;
        for (cause, value) in &other.value_lost {
            *self.value_lost.entry(cause.clone()).or_default() += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::degradation::Level;
    use crate::report::{Cause, OmitReason, Outcome, example};

    fn page(status: u16, blocks: &[(&'static str, Outcome)], ms: u64) -> PageReport<'static> {
        let value = |name| if name == "b" { 40.0 } else { 20.0 };
        let blocks = blocks
            .iter()
            .map(|(name, got)| (*name, value(*name), got.clone()));
        example::page(status, &blocks.collect::<Vec<_>>(), ms)
    }

    #[test]
    fn each_page_is_counted_once_and_each_lost_block_by_its_cause() {
        let counters = Counters::new();
        let shed = Outcome::Omitted(OmitReason::Shed(Level::new(1)));
        let slow = Outcome::Omitted(OmitReason::Failed(Cause::Timeout));
        counters.page(&page(
            200,
            &[("a", Outcome::Fetched), ("b", Outcome::Cached)],
            10,
        ));
        counters.page(&page(
            200,
            &[("a", Outcome::Fetched), ("b", shed.clone())],
            20,
        ));
        let before = counters.counted();
        counters.page(&page(200, &[("a", slow.clone()), ("b", shed)], 40));
        counters.page(&page(
            200,
            &[("a", Outcome::Static(Cause::Open)), ("b", slow)],
            40,
        ));
        counters.page(&page(
            503,
            &[("a", Outcome::Omitted(OmitReason::Failed(Cause::Open)))],
            1,
        ));
        counters.page(&page(404, &[], 1));
        counters.page(&PageReport {
            snapshot: Some(Duration::ZERO),
            ..page(200, &[], 1)
        });
        counters.page(&PageReport {
            finished: false,
            ..page(200, &[], 1)
        });
        let around = Around {
            level: 1,
            is_well: true,
        };
        let summary = counters
            .counted()
            .since(&before)
            .summary(Duration::from_secs(10), &around);
        let Summary {
            pages,
            full,
            degraded,
            snapshots,
            unavailable,
            left,
            stand_ins,
            ..
        } = summary;
        assert_eq!(
            [pages, full, degraded, snapshots, unavailable, left],
            [6, 0, 2, 1, 1, 1]
        );
        assert_eq!((stand_ins, summary.well), (1, false));
        assert_eq!(
            summary.lost["a"],
            BTreeMap::from([("timeout".to_owned(), 1)])
        );
        assert_eq!(summary.lost["b"].len(), 2);
        assert_eq!(summary.value_lost["timeout"], 60.0);
        assert_eq!(summary.value_lost["shed"], 40.0);
        // the error page had no more than the one block
        assert_eq!(summary.value_lost["unavailable"], 20.0);
        assert_eq!(summary.value_lost.len(), 3);
        assert_eq!(summary.value_served, 0.0);
        let all = counters.counted().since(&Counted::default());
        assert_eq!(all.summary(Duration::ZERO, &around).value_served, 80.0);
    }

    #[test]
    fn times_are_known_to_an_eighth() {
        for micros in [8, 9, 1000, 12_345, 250_000, 59_000_000] {
            let told = middle_us(bucket(Duration::from_micros(micros)));
            let off = told / micros as f64 - 1.0;
            assert!(off.abs() < 0.07, "{micros} us as {told}");
        }
        assert!(bucket(Duration::MAX) < BUCKETS);
        assert_eq!(Counted::default().quantile(0.5), None);
    }
}
