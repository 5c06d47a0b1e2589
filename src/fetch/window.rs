//! Counts over the last so long. Owns the sliding; pure: time is an argument, and one that steps
//! back or far ahead does no harm.

use std::time::Duration;

use crate::clock::Instant;

/// Into how many pieces the window is cut: it slides by a tenth of itself.
const BUCKETS: usize = 10;

/// Counts of `N` kinds over a sliding window.
#[derive(Debug)]
pub(super) struct Window<const N: usize> {
    bucket: Duration,
    /// When the newest bucket was begun.
    begun: Instant,
    newest: usize,
    buckets: [[u32; N]; BUCKETS],
    sums: [u32; N],
}

impl<const N: usize> Window<N> {
    /// An empty window of this span.
    pub(super) fn new(span: Duration, now: Instant) -> Self {
        Self {
            // never zero, which could not be divided by
            bucket: (span / BUCKETS as u32).max(Duration::from_micros(1)),
            begun: now,
            newest: 0,
            buckets: [[0; N]; BUCKETS],
            sums: [0; N],
        }
    }

    /// Counts one of a kind.
    pub(super) fn add(&mut self, kind: usize, now: Instant) {
        self.slide(now);
        let count = &mut self.buckets[self.newest][kind];
        *count = count.saturating_add(1);
        self.sums[kind] = self.sums[kind].saturating_add(1);
    }

    /// The counts of each kind within the window.
    pub(super) fn sums(&mut self, now: Instant) -> [u32; N] {
        self.slide(now);
        self.sums
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, now: Instant) {
        self.begun = now;
        self.buckets = [[0; N]; BUCKETS];
        self.sums = [0; N];
    }

    fn slide(&mut self, now: Instant) {
        // a clock that has stepped back counts into the newest bucket
        let past = now.saturating_duration_since(self.begun);
        if past < self.bucket {
            return;
        }
        let steps = past.as_nanos() / self.bucket.as_nanos();
        if steps >= BUCKETS as u128 {
            self.clear(now);
            return;
        }
        for _ in 0..steps {
            self.newest = (self.newest + 1) % BUCKETS;
            let left = std::mem::replace(&mut self.buckets[self.newest], [0; N]);
            for (sum, left) in self.sums.iter_mut().zip(left) {
                *sum -= left;
            }
            self.begun += self.bucket;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_older_than_the_window_is_forgotten_a_tenth_at_a_time() {
        let now = Clock::start().now();
        let mut window = Window::<2>::new(10 * SECOND, now);
        window.add(0, now);
        window.add(1, now + SECOND);
        window.add(1, now + 9 * SECOND);
        assert_eq!(window.sums(now + 9 * SECOND), [1, 2]);
        assert_eq!(window.sums(now + 10 * SECOND), [0, 2]);
        assert_eq!(window.sums(now + 11 * SECOND), [0, 1]);
        assert_eq!(window.sums(now + 19 * SECOND), [0, 0]);
    }

    #[test]
    fn a_clock_that_jumps_does_no_harm() {
        let now = Clock::start().now() + 1000 * SECOND;
        let mut window = Window::<1>::new(10 * SECOND, now);
        window.add(0, now);
        window.add(0, now - 500 * SECOND);
        assert_eq!(window.sums(now), [2], "back: counted as now");
        assert_eq!(window.sums(now + 100_000 * SECOND), [0], "ahead");
        window.add(0, now);
        assert_eq!(window.sums(now), [1]);
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_the_last_ten_buckets(
            steps in prop::collection::vec((0u64..3000, 0usize..3), 1..200)
        ) {
            let mut now = Clock::start().now();
            let begun = now;
            let mut window = Window::<3>::new(10 * SECOND, now);
            let mut all = Vec::new();
            for (pause, kind) in steps {
                now += Duration::from_millis(pause);
                window.add(kind, now);
                all.push((now, kind));
                let sums = window.sums(now);
                let count = |after: Duration| {
                    let recent = all.iter().filter(|(at, _)| now - *at < after);
                    recent.count() as u32
                };
                let sum = sums.iter().sum::<u32>();
                // exact to a bucket: never fewer than the last nine, never more than the last ten
                prop_assert!(sum >= count(9 * SECOND), "{sums:?} since {begun:?}");
                prop_assert!(sum <= count(10 * SECOND + Duration::from_millis(1)), "{sums:?}");
            }
        }
    }
}
