//! What may be asked in excess: retries, hedges. Owns the rule that all of them together are a share
//! of what was asked in the first place, so that whatever goes wrong the load grows by no more than
//! that share; pure.
//!
//! The form is Finagle's and linkerd's `RetryBudget` (a share of the requests of the last ten
//! seconds, and a floor), but for the floor: theirs is added, here it is what the share is at least,
//! so that under load the share is exact.

use std::time::Duration;

use crate::clock::Instant;

use super::window::Window;

/// What the share is of.
const SPAN: Duration = Duration::from_secs(10);

const ASKED: usize = 0;
const EXCESS: usize = 1;

/// A share of the requests of the last ten seconds.
#[derive(Debug)]
pub(super) struct Budget {
    window: Window<2>,
    percent: u32,
    floor: u32,
}

impl Budget {
    /// `percent` of the requests, and at least `floor` in ten seconds.
    pub(super) fn new(percent: u8, floor: u32, now: Instant) -> Self {
        Self {
            window: Window::new(SPAN, now),
            percent: u32::from(percent),
            floor,
        }
    }

    /// The site was declared anew.
    pub(super) fn declare(&mut self, percent: u8) {
        self.percent = u32::from(percent);
    }

    /// Something was asked that would have been asked anyway.
    pub(super) fn asked(&mut self, now: Instant) {
        self.window.add(ASKED, now);
    }

    /// Takes one out of the budget, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let [asked, excess] = self.window.sums(now);
        let share = u64::from(asked) * u64::from(self.percent) / 100;
        // who wants none gets none
        let floor = if self.percent == 0 { 0 } else { self.floor };
        let is_in_budget = u64::from(excess) < share.max(u64::from(floor));
        if is_in_budget {
            self.window.add(EXCESS, now);
        }
        is_in_budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    #[test]
    fn a_fifth_and_a_floor() {
        let now = Clock::start().now();
        let mut budget = Budget::new(20, 2, now);
        assert_eq!(
            [(); 4].map(|()| budget.take(now)),
            [true, true, false, false]
        );
        (0..50).for_each(|_| budget.asked(now));
        let granted = (0..50).filter(|_| budget.take(now)).count();
        assert_eq!(granted, 8, "ten in all");
        let later = now + SPAN;
        assert!(budget.take(later), "the floor is there again");
    }

    #[test]
    fn nothing_of_nothing() {
        let now = Clock::start().now();
        let mut budget = Budget::new(0, 10, now);
        (0..500).for_each(|_| budget.asked(now));
        assert!(!budget.take(now));
    }

    proptest! {
        /// Total failure: everything that is asked wants to be asked again, at once.
        #[test]
        fn the_load_grows_by_no_more_than_the_share(
            percent in 1u8..50, pauses in prop::collection::vec(0u64..20, 2000..4000)
        ) {
            let mut now = Clock::start().now();
            let (mut budget, mut granted) = (Budget::new(percent, 3, now), 0u32);
            for pause in &pauses {
                now += Duration::from_millis(*pause);
                budget.asked(now);
                granted += u32::from(budget.take(now));
            }
            let share = pauses.len() as f64 * f64::from(percent) / 100.0;
            prop_assert!(f64::from(granted) <= share + 3.0, "{granted} of {share}");
        }
    }
}
