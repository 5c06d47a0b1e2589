//! Durations, counted in buckets. Owns the numbers; one atomic addition for a bucket and one for the
//! sum, each thread to its own, and no reader or page ever waits for another one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::name::BUCKETS;
use crate::clock::Moment;
use crate::striped::Striped;

/// One more than there are ends: the last bucket has none.
const COUNTS: usize = BUCKETS.len() + 1;

/// Those ends in nanoseconds: what is counted for every page is counted in whole numbers.
const ENDS_NS: [u64; BUCKETS.len()] = {
    let mut ends = [0; BUCKETS.len()];
    let mut bucket = 0;
    while bucket < ends.len() {
        ends[bucket] = (BUCKETS[bucket] * 1e9 + 0.5) as u64;
        bucket += 1;
    }
    ends
};

/// An example stays for so long, in microseconds: whoever scrapes sees one of them only, and a new one for
/// each page would cost more than all the rest.
const EXAMPLE_STAYS_US: u64 = 1_000_000;

/// How long things took.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: Striped<Counts>,
    examples: [Mutex<Option<Example>>; COUNTS],
    /// Until when each of them stays, in microseconds since 1970.
    examples_stay: [AtomicU64; COUNTS],
}

#[derive(Debug, Default)]
struct Counts {
    by_bucket: [AtomicU64; COUNTS],
    sum_us: AtomicU64,
}

/// One of those that were counted in a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Example {
    /// The trace of its page.
    pub(super) trace_id: u128,
    /// How long it took, in seconds.
    pub(super) seconds: f64,
    /// When that was.
    pub(super) at: Moment,
}

/// The numbers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counted {
    /// For each of [`BUCKETS`], and then for what is longer, how many were not longer than that.
    pub(super) up_to: [u64; COUNTS],
    /// Of all, in seconds.
    pub(super) sum: f64,
    /// One for each bucket.
    pub(super) examples: [Option<Example>; COUNTS],
}

impl Counted {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.up_to[COUNTS - 1]
    }

    /// Adds others to them.
    pub(super) fn add(&mut self, more: &Self) {
        self.sum += more.sum;
        for (bucket, up_to) in more.up_to.iter().enumerate() {
            self.up_to[bucket] += up_to;
            let at = |example: &Option<Example>| example.map(|example| example.at);
            if at(&more.examples[bucket]) > at(&self.examples[bucket]) {
                self.examples[bucket] = more.examples[bucket];
            }
        }
    }
}

impl Histogram {
    /// Counts one, and remembers the trace that it belongs to, and when it was, if that is known.
    pub(super) fn add(&self, took: Duration, of: Option<(u128, Moment)>) {
        let nanos = took.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(took.subsec_nanos()));
        let bucket = ENDS_NS.partition_point(|end| *end < nanos);
        let counts = self.counts.mine();
        counts.add(&counts.by_bucket[bucket], 1);
        counts.add(&counts.sum_us, nanos / 1000);
        // whoever would have to wait leaves the example of another page
        if let Some((trace_id, at)) = of
            && at.micros() >= self.examples_stay[bucket].load(Ordering::Relaxed)
            && let Some(mut example) = self.examples[bucket].try_lock()
        {
            *example = Some(Example {
                trace_id,
                seconds: took.as_secs_f64(),
                at,
            });
            let stays = at.micros().saturating_add(EXAMPLE_STAYS_US);
            self.examples_stay[bucket].store(stays, Ordering::Relaxed);
        }
    }

    /// The numbers now.
    pub(super) fn counted(&self) -> Counted {
        let mut sum = 0;
        let up_to = std::array::from_fn(|bucket| {
            let of_one = |counts: &Counts| counts.by_bucket[bucket].load(Ordering::Relaxed);
            sum += self.counts.sum(of_one);
            sum
        });
        Counted {
            up_to,
            sum: self
                .counts
                .sum(|counts| counts.sum_us.load(Ordering::Relaxed)) as f64
                / 1e6,
            examples: std::array::from_fn(|bucket| *self.examples[bucket].lock()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_belongs_to_its_bucket_and_what_is_longer_to_the_last() {
        let histogram = Histogram::default();
        for ms in [1, 2, 800, 801, 60_000] {
            histogram.add(
                Duration::from_millis(ms),
                Some((u128::from(ms), Moment::default())),
            );
        }
        let counted = histogram.counted();
        assert_eq!(counted.up_to, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 4, 4, 4, 5]);
        assert!((counted.sum - 61.604).abs() < 1e-9);
        let traces = counted.examples.map(|e| e.map_or(0, |e| e.trace_id));
        assert_eq!(
            traces,
            [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 800, 801, 0, 0, 60_000]
        );
    }

    #[test]
    fn an_end_is_the_same_in_nanoseconds() {
        for (end, nanos) in BUCKETS.into_iter().zip(ENDS_NS) {
            assert_eq!(Duration::from_secs_f64(end).as_nanos(), u128::from(nanos));
        }
    }

    #[test]
    fn who_would_have_to_wait_for_an_example_does_without() {
        let histogram = Histogram::default();
        let held = histogram.examples[0].lock();
        histogram.add(Duration::ZERO, Some((1, Moment::default())));
        drop(held);
        let counted = histogram.counted();
        assert_eq!((counted.up_to[0], counted.examples[0]), (1, None));
    }

    #[test]
    fn an_example_stays_for_a_second() {
        let histogram = Histogram::default();
        let traced = |trace_id: u128, ms: u64| {
            let at = Moment::from_micros(1000 * ms);
            histogram.add(Duration::from_millis(1), Some((trace_id, at)));
            histogram.counted().examples[0].map(|example| example.trace_id)
        };
        assert_eq!(traced(1, 5000), Some(1));
        assert_eq!(traced(2, 5999), Some(1));
        assert_eq!(traced(3, 6000), Some(3));
    }
}
