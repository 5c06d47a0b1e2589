//! Who is next for a turn. Owns the order of work; pure: time is an argument. Knows neither what the work
//! is nor who does it.
//!
//! Work is done in the order in which it came, that of pages that have begun and that of new ones alike,
//! so that a wait is shared by all stages of a page and says how things are ([the law](super::law) is
//! tuned for that). When the oldest new page has waited for most of its patience ([`NEWEST_FIRST_AFTER`])
//! there is more than can be done in time. Then work of pages that have begun goes first, for such a page serves a reader sooner,
//! and of the new ones the newest is next: whoever has waited long has perhaps left, and serving in order
//! would make everybody late instead of some.
//!
//! Simulated over all scenarios: to put begun pages first always costs three to five pages of a hundred
//! at nine tenths of the load, because new pages then bear all of the wait.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Instant;

/// Once the oldest of the new pages has waited for this share of its patience the newest is next.
/// Maurer, "Fail at Scale", ACM Queue 13(8), 2015, calls this adaptive LIFO; three quarters leave the
/// rest to be served in time.
/// From: found in the simulator, after the adaptive LIFO of Maurer 2015. Differs: the simulation served in
/// order, up to 60 ms.
pub const NEWEST_FIRST_AFTER: f64 = 0.75;

/// How far a page is whose work waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was done for it.
    New {
        /// For how long it waits at most.
        patience: Duration,
    },
    /// Something was.
    Begun,
}

/// Who waits.
#[derive(Debug)]
pub struct Line<T> {
    begun: VecDeque<Waiting<T>>,
    new: VecDeque<Waiting<T>>,
}

/// Somebody who waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting<T> {
    /// Since when.
    pub since: Instant,
    /// Who.
    pub who: T,
    /// After how long a wait the newest is next in its place; who has begun is never passed over.
    newest_first_after: Duration,
}

impl<T> Line<T> {
    /// Somebody waits, since now or a moment ago.
    pub fn add(&mut self, stage: Stage, since: Instant, who: T) {
        let (line, newest_first_after) = match stage {
            Stage::New { patience } => (&mut self.new, patience.mul_f64(NEWEST_FIRST_AFTER)),
            Stage::Begun => (&mut self.begun, Duration::MAX),
        };
        line.push_back(Waiting {
            since,
            who,
            newest_first_after,
        });
    }

    /// Takes who is next of those who are still `here`, and says how many were taken off who are not.
    pub fn next(&mut self, now: Instant, here: impl Fn(&T) -> bool) -> (Option<Waiting<T>>, usize) {
        let mut gone = self.drop_gone(&here);
        loop {
            let next = self.first(now);
            match next {
                // among the newest one may have left, too
                Some(next) if !here(&next.who) => gone += 1,
                next => return (next, gone),
            }
        }
    }

    fn first(&mut self, now: Instant) -> Option<Waiting<T>> {
        let is_long = |oldest: &Waiting<T>| {
            now.saturating_duration_since(oldest.since) > oldest.newest_first_after
        };
        match (self.new.front(), self.begun.front()) {
            (None, _) => self.begun.pop_front(),
            (Some(new), Some(begun)) if begun.since <= new.since || is_long(new) => {
                self.begun.pop_front()
            }
            (Some(new), None) if is_long(new) => self.new.pop_back(),
            (Some(_), _) => self.new.pop_front(),
        }
    }

    /// Takes the oldest off who are not `here` any more, and says how many.
    pub fn drop_gone(&mut self, here: impl Fn(&T) -> bool) -> usize {
        let mut gone = 0;
        for line in [&mut self.begun, &mut self.new] {
            while line.front().is_some_and(|oldest| !here(&oldest.who)) {
                line.pop_front();
                gone += 1;
            }
        }
        gone
    }

    /// Takes the first of whom this is true.
    pub fn remove(&mut self, is: impl Fn(&T) -> bool) -> Option<Waiting<T>> {
        let lines = [&mut self.new, &mut self.begun];
        lines.into_iter().find_map(|line| {
            let place = line.iter().position(|waiting| is(&waiting.who))?;
            line.remove(place)
        })
    }

    /// Since when the oldest waits of those who are still `here`.
    pub fn oldest(&self, here: impl Fn(&T) -> bool) -> Option<Instant> {
        let oldest = [&self.begun, &self.new].map(|line| {
            let first = line.iter().find(|waiting| here(&waiting.who));
            first.map(|waiting| waiting.since)
        });
        oldest.into_iter().flatten().min()
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            begun: VecDeque::new(),
            new: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn order(line: &mut Line<char>, now: Instant, here: impl Fn(&char) -> bool) -> String {
        std::iter::from_fn(|| line.next(now, &here).0.map(|next| next.who)).collect()
    }

    fn line(start: Instant, patience: Duration) -> Line<char> {
        let (mut line, new) = (Line::default(), Stage::New { patience });
        line.add(new, start, 'a');
        line.add(Stage::Begun, start + 5 * MS, 'B');
        line.add(new, start + 10 * MS, 'c');
        line.add(Stage::Begun, start + 15 * MS, 'D');
        line.add(new, start + 20 * MS, 'e');
        line
    }

    #[test]
    fn in_order_while_the_wait_is_short_and_then_begun_and_newest_first() {
        let start = Clock::start().now();
        for (patience, wait, expected) in [
            (60, 45, "aBcDe"),
            (60, 46, "BDeca"),
            (60, 60, "BDeca"),
            (32, 24, "aBcDe"),
            (32, 25, "BDeca"),
            (1000, 750, "aBcDe"),
            (1000, 751, "BDeca"),
        ] {
            let mut line = line(start, patience * MS);
            let order = order(&mut line, start + wait * MS, |_| true);
            assert_eq!(order, expected, "after {wait} ms of {patience}");
        }
    }

    #[test]
    fn who_has_left_makes_nobody_wait_and_no_wait_long() {
        let start = Clock::start().now();
        // the one who has waited long has left: the others have not
        let order = order(&mut line(start, 60 * MS), start + 50 * MS, |who| {
            *who != 'a'
        });
        assert_eq!(order, "BcDe");
        let mut line = line(start, 60 * MS);
        assert_eq!(line.oldest(|who| *who != 'a'), Some(start + 5 * MS));
        assert_eq!(
            line.remove(|who| *who == 'c').unwrap().since,
            start + 10 * MS
        );
        let (next, gone) = line.next(start + 50 * MS, |who| *who == 'e');
        assert_eq!((next.unwrap().who, gone), ('e', 3));
    }

    proptest! {
        #[test]
        fn everybody_is_next_once(
            steps in prop::collection::vec((any::<bool>(), 0u64..40, any::<bool>()), 1..80)
        ) {
            let mut now = Clock::start().now();
            let (mut line, mut added, mut taken) = (Line::default(), 0, 0);
            for (is_new, pause, is_taken) in steps {
                now += pause as u32 * MS;
                let stage = match is_new {
                    true => Stage::New { patience: 60 * MS },
                    false => Stage::Begun,
                };
                line.add(stage, now, added);
                added += 1;
                if is_taken {
                    let (next, gone) = line.next(now, |who| who % 5 != 0);
                    taken += usize::from(next.is_some()) + gone;
                }
            }
            while let (Some(_), gone) = line.next(now, |_| true) {
                taken += 1 + gone;
            }
            prop_assert_eq!(taken, added);
        }
    }
}
