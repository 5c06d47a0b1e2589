//! Counts by time: buckets of the same span, the newest first, of which there are so many and no more.
//! Owns the passing of time in them; pure: it is told what time it is.
//!
//! Invariants: what was added is in exactly one bucket until it is too old; and time that goes back takes
//! nothing away and counts nothing twice, it only stands still.

use std::collections::VecDeque;
use std::ops::{Add, AddAssign};
use std::time::Duration;

use crate::clock::Moment;

/// What was measured, and how much of it missed the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Pages, or what their blocks are worth.
    pub(super) measured: u64,
    /// Of these, what readers did not get.
    pub(super) missed: u64,
    /// Pages on which something was missed.
    pub(super) missed_pages: u64,
}

impl Counts {
    pub(super) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// How much was counted since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            measured: self.measured.saturating_sub(before.measured),
            missed: self.missed.saturating_sub(before.missed),
            missed_pages: self.missed_pages.saturating_sub(before.missed_pages),
        }
    }

    /// The share that was missed; none of nothing. Of a page that is being counted, one half may be in
    /// this bucket and the other in the next.
    pub(super) fn missed_share(&self) -> f64 {
        match self.measured {
            0 => 0.0,
            // counts are far below 2^53
            measured => (self.missed as f64 / measured as f64).min(1.0),
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            measured: self.measured.saturating_add(other.measured),
            missed: self.missed.saturating_add(other.missed),
            missed_pages: self.missed_pages.saturating_add(other.missed_pages),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ring {
    span: Duration,
    length: usize,
    /// The newest first, and never none.
    buckets: VecDeque<Counts>,
    /// Until when time has passed.
    now: Moment,
    /// How much of the newest bucket has passed.
    within: Duration,
}

impl Ring {
    /// Buckets of `span` for the last `reach`, and the one that is being filled.
    pub(super) fn new(span: Duration, reach: Duration, now: Moment) -> Self {
        Self {
            span,
            length: length(span, reach),
            buckets: [Counts::default()].into(),
            now,
            within: Duration::ZERO,
        }
    }

    /// Another reach from now on.
    pub(super) fn reaching(mut self, reach: Duration) -> Self {
        self.length = length(self.span, reach);
        self.buckets.truncate(self.length);
        self
    }

    /// What was written down at `now`: counts, by how many buckets ago; `None` if that cannot be.
    pub(super) fn recalled(
        empty: Self,
        within: Duration,
        counts: impl IntoIterator<Item = (usize, Counts)>,
    ) -> Option<Self> {
        let mut ring = empty;
        if within >= ring.span {
            return None;
        }
        ring.within = within;
        for (ago, counts) in counts {
            // a longer period was declared then
            if ago >= ring.length {
                continue;
            }
            let known = ring.buckets.len().max(ago + 1);
            ring.buckets.resize(known, Counts::default());
            ring.buckets[ago] += counts;
        }
        Some(ring)
    }

    /// Counts that are not nothing, by how many buckets ago, and how much of the newest has passed.
    pub(super) fn counted(&self) -> (Duration, impl Iterator<Item = (usize, Counts)>) {
        let buckets = self.buckets.iter().copied().enumerate();
        (self.within, buckets.filter(|(_, counts)| !counts.is_zero()))
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, now: Moment) {
        let passed = self.within + now.since(self.now);
        // if it went back, it goes on from there
        self.now = now;
        let steps = passed.as_nanos() / self.span.as_nanos();
        self.within = Duration::from_nanos_u128(passed.as_nanos() % self.span.as_nanos());
        for _ in 0..steps.min(self.length as u128) {
            self.buckets.push_front(Counts::default());
        }
        self.buckets.truncate(self.length);
    }

    /// Adds what has been counted just now.
    pub(super) fn add(&mut self, counts: Counts) {
        self.buckets[0] += counts;
    }

    /// All of the last `window`, the bucket that is being filled included.
    pub(super) fn sum(&self, window: Duration) -> Counts {
        let buckets = self.buckets.iter().take(length(self.span, window));
        buckets.fold(Counts::default(), |sum, counts| sum + *counts)
    }
}

fn length(span: Duration, reach: Duration) -> usize {
    let length = reach.as_nanos().div_ceil(span.as_nanos()).max(1);
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    fn pages(measured: u64, missed: u64) -> Counts {
        Counts {
            measured,
            missed,
            missed_pages: missed,
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_is_older_than_the_window_is_not_in_it() {
        let mut ring = Ring::new(SPAN, seconds(300), at(0));
        ring.add(pages(10, 1));
        ring.pass(at(60));
        ring.add(pages(5, 0));
        assert_eq!(ring.sum(seconds(30)), pages(5, 0));
        assert_eq!(ring.sum(seconds(90)), pages(15, 1));
        ring.pass(at(299));
        assert_eq!(ring.sum(seconds(300)), pages(15, 1));
        ring.pass(at(300));
        assert_eq!(ring.sum(seconds(300)), pages(5, 0));
        ring.pass(at(1_000_000_000));
        assert_eq!(ring.sum(seconds(300)), pages(0, 0));
        assert!(ring.buckets.len() <= 10);
    }

    #[test]
    fn time_that_goes_back_stands_still() {
        let mut ring = Ring::new(SPAN, seconds(300), at(1000));
        ring.add(pages(10, 1));
        ring.pass(at(10));
        ring.add(pages(1, 1));
        assert_eq!(
            ring.sum(SPAN),
            pages(11, 2),
            "nothing is lost, nothing twice"
        );
        // and goes on from there
        ring.pass(at(40));
        assert_eq!(ring.sum(SPAN), pages(0, 0));
        assert_eq!(ring.sum(seconds(60)), pages(11, 2));
    }

    #[test]
    fn what_cannot_have_been_counted_is_not_recalled() {
        let empty = || Ring::new(SPAN, seconds(300), at(0));
        assert!(Ring::recalled(empty(), SPAN, []).is_none());
        let far = Ring::recalled(empty(), seconds(1), [(usize::MAX, pages(2, 1))]).unwrap();
        assert_eq!(far.sum(seconds(300)), pages(0, 0));
        assert_eq!(far.buckets.len(), 1, "no memory is taken for it");
    }

    proptest! {
        /// Whatever the clock does, what is in the ring is what was added, and what is written down is
        /// recalled as it was.
        #[test]
        fn nothing_is_lost_or_counted_twice(steps in prop::collection::vec((0u64..400, 0u64..9), 1..50)) {
            // no two readings are more than 400 s apart, and fifty of them are less than six hours
            let reach = seconds(6 * 3600);
            let mut ring = Ring::new(SPAN, reach, at(0));
            let mut added = Counts::default();
            for (second, count) in steps {
                ring.pass(at(second));
                let counts = pages(count, count / 2);
                ring.add(counts);
                added += counts;
            }
            prop_assert_eq!(ring.sum(reach), added);
            let (within, counted) = ring.counted();
            let empty = Ring::new(SPAN, reach, ring.now);
            let recalled = Ring::recalled(empty, within, counted).unwrap();
            prop_assert_eq!(recalled.sum(reach), added);
            prop_assert_eq!(recalled.within, ring.within);
        }
    }
}
