//! What is counted while pages are composed, to be read once a tick. Owns the counters: each is one
//! atomic number of a thread that only grows, so that nobody waits for a lock, for a reader or for another core.
//!
//! One set belongs to one declaration of a site; its places are the indices of that declaration.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::striped::{self, Striped};

/// The counters of one site.
#[derive(Debug)]
pub struct Meters {
    counts: Striped<Counts>,
    /// How long pages took.
    pub times: PageTimes,
}

#[derive(Debug)]
struct Counts {
    pages: Vec<AtomicU64>,
    woven: AtomicU64,
    composed: AtomicU64,
    /// Times that a page was planned or assembled.
    page_jobs: AtomicU64,
    /// Nanoseconds of that.
    page_work: AtomicU64,
    blocks: Vec<BlockMeter>,
}

#[derive(Debug, Default)]
struct BlockMeter {
    woven: AtomicU64,
    uses: AtomicU64,
    fetches: AtomicU64,
    items: AtomicU64,
    jobs: AtomicU64,
    /// Nanoseconds.
    work: AtomicU64,
}

/// What was counted since the counters were made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Requests of each page, however they were answered.
    pub pages: Vec<u64>,
    /// Pages that documents were woven into.
    pub woven: u64,
    /// Pages that were composed.
    pub composed: u64,
    /// Times that a page was planned or assembled.
    pub page_jobs: u64,
    /// Nanoseconds of that.
    pub page_work: u64,
    /// Of each fragment.
    pub blocks: Vec<BlockCounted>,
}

/// What was counted of one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockCounted {
    /// Times that a woven page was to show it, whether or not that was given up: what is on such a page
    /// is declared nowhere, and is learned from this.
    pub woven: u64,
    /// Slots that were to show it.
    pub uses: u64,
    /// Times that its origin was asked.
    pub fetches: u64,
    /// Of a list: slots of its items.
    pub items: u64,
    /// Times that it was made.
    pub jobs: u64,
    /// Nanoseconds of that.
    pub work: u64,
}

impl Meters {
    /// For a site of so many pages and fragments.
    pub fn new(pages: usize, fragments: usize) -> Self {
        let counts = || Counts {
            pages: striped::row(pages),
            woven: AtomicU64::new(0),
            composed: AtomicU64::new(0),
            page_jobs: AtomicU64::new(0),
            page_work: AtomicU64::new(0),
            blocks: striped::row(fragments),
        };
        Self {
            counts: Striped::of(counts),
            times: PageTimes::default(),
        }
    }

    /// A page was asked for.
    pub fn arrived(&self, page: usize) {
        let counts = self.counts.mine();
        counts.add(&counts.pages[page], 1);
    }

    /// A document is being woven into a page.
    pub fn weaving(&self) {
        let counts = self.counts.mine();
        counts.add(&counts.woven, 1);
    }

    /// A woven page is to show a fragment, unless it is given up.
    pub fn included(&self, fragment: usize) {
        let counts = self.counts.mine();
        counts.add(&counts.blocks[fragment].woven, 1);
    }

    /// A page is being composed.
    pub fn composing(&self) {
        let counts = self.counts.mine();
        counts.add(&counts.composed, 1);
    }

    /// A page was planned or assembled.
    pub fn page_worked(&self, took: Duration) {
        let counts = self.counts.mine();
        counts.add(&counts.page_jobs, 1);
        counts.add(&counts.page_work, nanos(took));
    }

    /// A slot is to show a fragment.
    pub fn used(&self, fragment: usize) {
        let counts = self.counts.mine();
        counts.add(&counts.blocks[fragment].uses, 1);
    }

    /// Slots are to show these fragments.
    pub fn used_all(&self, fragments: impl IntoIterator<Item = usize>) {
        let counts = self.counts.mine();
        for fragment in fragments {
            counts.add(&counts.blocks[fragment].uses, 1);
        }
    }

    /// A list is to show so many items, which are fragments too.
    pub fn listed(&self, fragment: usize, item: usize, items: usize) {
        let (counts, items) = (self.counts.mine(), items as u64);
        counts.add(&counts.blocks[fragment].items, items);
        counts.add(&counts.blocks[item].uses, items);
    }

    /// The origin of a fragment is being asked.
    pub fn fetched(&self, fragment: usize) {
        let counts = self.counts.mine();
        counts.add(&counts.blocks[fragment].fetches, 1);
    }

    /// A fragment was made of an answer.
    pub fn worked(&self, fragment: usize, took: Duration) {
        let counts = self.counts.mine();
        let block = &counts.blocks[fragment];
        counts.add(&block.jobs, 1);
        counts.add(&block.work, nanos(took));
    }

    /// What was counted until now.
    pub fn counted(&self) -> Counted {
        let all = self.counts.all().map(Counts::counted);
        let sum = all.reduce(|sum, more| sum.and(&more));
        sum.expect("there is a counter for each thread, and one at least")
    }
}

impl Counts {
    fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let blocks = self.blocks.iter().map(|block| BlockCounted {
            woven: read(&block.woven),
            uses: read(&block.uses),
            fetches: read(&block.fetches),
            items: read(&block.items),
            jobs: read(&block.jobs),
            work: read(&block.work),
        });
        Counted {
            pages: self.pages.iter().map(read).collect(),
            woven: read(&self.woven),
            composed: read(&self.composed),
            page_jobs: read(&self.page_jobs),
            page_work: read(&self.page_work),
            blocks: blocks.collect(),
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Counted {
    /// What was counted since `earlier`, of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, |now, then| now - then)
    }

    /// Both together.
    fn and(&self, other: &Self) -> Self {
        self.with(other, |one, other| one.wrapping_add(other))
    }

    fn with(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        let pages = self.pages.iter().zip(&other.pages);
        let blocks = self.blocks.iter().zip(&other.blocks);
        let blocks = blocks.map(|(one, other)| BlockCounted {
            woven: of(one.woven, other.woven),
            uses: of(one.uses, other.uses),
            fetches: of(one.fetches, other.fetches),
            items: of(one.items, other.items),
            jobs: of(one.jobs, other.jobs),
            work: of(one.work, other.work),
        });
        Self {
            pages: pages.map(|(one, other)| of(*one, *other)).collect(),
            woven: of(self.woven, other.woven),
            composed: of(self.composed, other.composed),
            page_jobs: of(self.page_jobs, other.page_jobs),
            page_work: of(self.page_work, other.page_work),
            blocks: blocks.collect(),
        }
    }
}

/// Buckets of page times: each is a twelfth longer than the one before, from a thirty-second of the
/// target to thirty-two times it.
const BUCKETS: usize = 88;
const BUCKETS_PER_OCTAVE: f64 = 8.65;
const OCTAVES_BELOW: f64 = 5.0;

/// Spans that are kept apart, each as long as a tick.
/// From: simulation, the pages of the last second.
const SPANS: usize = 10;

/// Pages under which a percentile says nothing.
/// From: simulation, 20.
const PAGES_MIN: u32 = 20;

type Spans = [[AtomicU32; BUCKETS]; SPANS];

/// How long the pages of the last ticks took, each as a share of its target.
#[derive(Debug)]
pub struct PageTimes {
    spans: Striped<Spans>,
    /// Where pages that end now are counted.
    present: AtomicU64,
}

impl Default for PageTimes {
    fn default() -> Self {
        Self {
            spans: Striped::of(|| [const { [const { AtomicU32::new(0) }; BUCKETS] }; SPANS]),
            present: AtomicU64::new(0),
        }
    }
}

impl PageTimes {
    /// A page took so long, of so much.
    pub fn record(&self, took: Duration, target: Duration) {
        let share = took.as_secs_f64() / target.as_secs_f64().max(1e-6);
        let octave = share.max(1e-9).log2() + OCTAVES_BELOW;
        let bucket = (octave * BUCKETS_PER_OCTAVE).clamp(0.0, (BUCKETS - 1) as f64) as usize;
        self.spans.mine()[self.present()][bucket].fetch_add(1, Ordering::Relaxed);
    }

    fn present(&self) -> usize {
        self.present.load(Ordering::Relaxed) as usize % SPANS
    }

    /// The 95th percentile of what was recorded since the tenth call before this one, in shares of the
    /// target; this ends the present span. `None` where there were fewer than twenty pages.
    pub fn turn(&self) -> Option<f64> {
        let mut counts = [0u32; BUCKETS];
        for span in self.spans.all().flatten() {
            for (sum, bucket) in counts.iter_mut().zip(span) {
                *sum += bucket.load(Ordering::Relaxed);
            }
        }
        let next = (self.present() + 1) % SPANS;
        for bucket in self.spans.all().flat_map(|spans| &spans[next]) {
            bucket.store(0, Ordering::Relaxed);
        }
        self.present.store(next as u64, Ordering::Relaxed);
        let pages: u32 = counts.iter().sum();
        if pages < PAGES_MIN {
            return None;
        }
        let rank = (f64::from(pages) * 0.95).ceil();
        let mut seen = 0.0;
        let bucket = counts.iter().position(|count| {
            seen += f64::from(*count);
            seen >= rank
        })?;
        // the middle of the bucket
        let octave = (bucket as f64 + 0.5) / BUCKETS_PER_OCTAVE - OCTAVES_BELOW;
        Some(octave.exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Duration = Duration::from_millis(300);

    #[test]
    fn what_was_counted_since() {
        let meters = Meters::new(2, 1);
        meters.arrived(1);
        let before = meters.counted();
        meters.arrived(1);
        meters.composing();
        meters.page_worked(Duration::from_micros(3));
        meters.weaving();
        meters.included(0);
        meters.used(0);
        meters.fetched(0);
        meters.worked(0, Duration::from_micros(5));
        let since = meters.counted().since(&before);
        let block = BlockCounted {
            woven: 1,
            uses: 1,
            fetches: 1,
            items: 0,
            jobs: 1,
            work: 5000,
        };
        let expected = Counted {
            pages: vec![0, 1],
            woven: 1,
            composed: 1,
            page_jobs: 1,
            page_work: 3000,
            blocks: vec![block],
        };
        assert_eq!(since, expected);
    }

    #[test]
    fn page_times_are_forgotten_after_ten_turns() {
        let times = PageTimes::default();
        for _ in 0..30 {
            times.record(TARGET * 2, TARGET);
        }
        for turn in 0..SPANS {
            assert!(times.turn().is_some_and(|p95| p95 > 1.8), "turn {turn}");
        }
        assert_eq!(times.turn(), None);
    }

    #[test]
    fn a_few_pages_say_nothing() {
        let times = PageTimes::default();
        for _ in 0..PAGES_MIN - 1 {
            times.record(TARGET, TARGET);
        }
        assert_eq!(times.turn(), None);
    }

    proptest! {
        #[test]
        fn the_percentile_is_right_within_a_bucket(share in 0.04f64..30.0, outliers in 0usize..5) {
            let times = PageTimes::default();
            for page in 0..100 {
                let took = if page < outliers { TARGET * 40 } else { TARGET.mul_f64(share) };
                times.record(took, TARGET);
            }
            let p95 = times.turn().unwrap();
            prop_assert!((p95 / share).ln().abs() < 0.09, "{p95} for {share}");
        }
    }
}
