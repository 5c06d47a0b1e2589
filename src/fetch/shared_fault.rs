//! Whether origins are late because of something that they have in common. Owns the rule; pure: time is
//! an argument.
//!
//! A slow database behind ten services makes all of them slow. Were each given up for that, a page would
//! lose all its blocks at once, the important ones with the others, and get them back in no order. So
//! while the third-worst of them is late the breakers count errors only, and what may be missed least is
//! kept by how much each block asks of its origin. One or two sick origins are the fault of nobody else,
//! and are given up as ever.

use std::time::Duration;

use crate::clock::Instant;

use super::verdict::Verdict;
use super::window::Window;

/// What is looked at: the requests of so long.
/// From: simulation, 0.5 s.
const SPAN: Duration = Duration::from_millis(500);

/// With fewer requests than this in that time an origin says nothing.
/// From: found by hand.
const REQUESTS_MIN: u32 = 4;

/// Which of them, the worst first, says that it is none of one origin's own.
/// From: simulation, the third worst.
const WITNESS: usize = 3;

/// Percent of its requests that must be late.
/// From: simulation, 20.
const LATE_PERCENT: u32 = 20;

/// For how long it is so at least: what is asked a moment later may be missed still.
/// From: found by hand. Differs: the simulation let go at once.
const HOLD: Duration = Duration::from_millis(500);

const ALL: usize = 0;
const LATE: usize = 1;

/// What an origin's requests came to lately.
#[derive(Debug)]
pub(super) struct Lateness(Window<2>);

/// How many requests there were, and how many of them were late.
pub(super) type Late = (u32, u32);

impl Lateness {
    /// Nothing was asked.
    pub(super) fn new(now: Instant) -> Self {
        Self(Window::new(SPAN, now))
    }

    /// A request has come to its end.
    pub(super) fn note(&mut self, verdict: Verdict, now: Instant) {
        self.0.add(ALL, now);
        if matches!(verdict, Verdict::Slow | Verdict::Missed) {
            self.0.add(LATE, now);
        }
    }

    /// What there was lately.
    pub(super) fn lately(&mut self, now: Instant) -> Late {
        let sums = self.0.sums(now);
        (sums[ALL], sums[LATE])
    }
}

/// Whether there is a fault that origins share.
#[derive(Debug, Default)]
pub(super) struct SharedFault {
    until: Option<Instant>,
}

impl SharedFault {
    /// Looks at all origins, and tells whether it is so now.
    pub(super) fn look(&mut self, origins: impl IntoIterator<Item = Late>, now: Instant) -> bool {
        if is_shared(origins) {
            self.until = Some(now + HOLD);
        }
        self.is_present(now)
    }

    /// Whether it is so at `now`, by what was seen last.
    pub(super) fn is_present(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

fn is_shared(origins: impl IntoIterator<Item = Late>) -> bool {
    let is_late = |(all, late): &Late| *all >= REQUESTS_MIN && late * 100 >= *all * LATE_PERCENT;
    origins.into_iter().filter(is_late).count() >= WITNESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn three_that_are_late_are_late_for_a_common_reason() {
        let well = (60, 2);
        for (origins, expected) in [
            (vec![], false),
            (vec![(60, 60), (60, 60)], false),
            (vec![(60, 60), (60, 60), well, well, well], false),
            (vec![(60, 60), (60, 12), well, (60, 30)], true),
            (vec![(60, 60), (60, 11), well, (60, 30)], false),
            // two of three requests at night are no reason
            (vec![(60, 60), (3, 3), (60, 30)], false),
            (vec![(4, 1), (4, 1), (4, 1)], true),
        ] {
            assert_eq!(is_shared(origins.clone()), expected, "{origins:?}");
        }
    }

    #[test]
    fn errors_and_good_answers_are_not_late_and_all_is_forgotten_soon() {
        let now = Clock::start().now();
        let mut lateness = Lateness::new(now);
        for verdict in [
            Verdict::Good,
            Verdict::Slow,
            Verdict::Missed,
            Verdict::Failed,
        ] {
            lateness.note(verdict, now);
        }
        assert_eq!(lateness.lately(now), (4, 2));
        assert_eq!(lateness.lately(now + SPAN), (0, 0));
    }

    #[test]
    fn it_lasts_a_moment_longer_than_it_is_seen() {
        let now = Clock::start().now();
        let mut fault = SharedFault::default();
        assert!(fault.look([(10, 5); 3], now));
        assert!(fault.look([(10, 0); 3], now + ms(499)));
        assert!(!fault.look([(10, 0); 3], now + ms(500)));
        assert!(!fault.is_present(now + ms(500)));
    }

    proptest! {
        #[test]
        fn two_sick_ones_are_never_taken_for_more(
            sick in prop::collection::vec((0u32..1000, 0u32..1000), 0..=2),
            well in prop::collection::vec(0u32..1000, 0..20),
        ) {
            let sick = sick.into_iter().map(|(all, late)| (all.max(late), late));
            let well = well.into_iter().map(|all| (all, all / 6));
            prop_assert!(!is_shared(sick.chain(well)));
        }
    }
}
