//! The blocks of a page in its account, and what they come to together. Owns when their entries are made:
//! of most pages nobody reads more than the sum.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Found, FragmentReport, Got, Looked, Outcome, Tier};

/// One entry for each fragment of a page, made when somebody reads them.
pub struct Blocks<'p> {
    sum: Sum,
    entries: OnceLock<Vec<FragmentReport<'p>>>,
    make: Option<Make<'p>>,
}

/// Makes the entries.
pub type Make<'p> = &'p (dyn Fn() -> Vec<FragmentReport<'p>> + Sync);

/// What the blocks of a page come to together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    /// How many there are.
    pub blocks: usize,
    /// Whether every block that anybody waited for was there.
    pub is_complete: bool,
    /// Whether one of them is beyond its ttl.
    pub is_stale: bool,
    /// Whether one of them has nothing in its place that it was to have.
    pub is_lost: bool,
    /// What all of them are worth.
    pub value: f64,
    /// What those are worth that are there.
    pub shown: f64,
    /// From the start of the page to when the last one was settled that anybody waited for.
    pub settled: Duration,
    /// From the start of the page to when all of them were, at once, from memory and fresh; `None` of any
    /// other page.
    pub at_hand: Option<Duration>,
}

impl Sum {
    /// Of blocks with these outcomes, each with what one view is worth, where a copy was looked for, and
    /// when it was settled.
    pub fn of<'o>(blocks: impl IntoIterator<Item = (&'o Outcome, f64, Looked, Duration)>) -> Self {
        let in_memory = Looked::default().with(Tier::Memory, Found::Fresh);
        let mut sum = Self {
            blocks: 0,
            is_complete: true,
            is_stale: false,
            is_lost: false,
            value: 0.0,
            shown: 0.0,
            settled: Duration::ZERO,
            at_hand: None,
        };
        let (mut at_hand, mut is_at_hand) = (None, true);
        for (outcome, value, looked, settled) in blocks {
            sum.blocks += 1;
            sum.value += value;
            match outcome.got() {
                Got::Shown => sum.shown += value,
                Got::Lost(_) => sum.is_lost = true,
                Got::Instead | Got::Void => {}
            }
            is_at_hand &= matches!(outcome, Outcome::Cached)
                && looked == in_memory
                && *at_hand.get_or_insert(settled) == settled;
            if outcome.is_unneeded() {
                continue;
            }
            sum.is_complete &= outcome.is_whole();
            sum.is_stale |= matches!(outcome, Outcome::Stale(_));
            sum.settled = sum.settled.max(settled);
        }
        sum.at_hand = at_hand.filter(|_| is_at_hand);
        sum
    }
}

impl<'p> Blocks<'p> {
    /// Of this sum, the entries of which are made by `make`.
    pub fn new(sum: Sum, make: Make<'p>) -> Self {
        Self {
            sum,
            entries: OnceLock::new(),
            make: Some(make),
        }
    }

    /// What they come to together.
    pub fn sum(&self) -> &Sum {
        &self.sum
    }

    /// The entries.
    pub fn into_entries(self) -> Vec<FragmentReport<'p>> {
        let make = self.make;
        let made = || make.map_or_else(Vec::new, |make| make());
        self.entries.into_inner().unwrap_or_else(made)
    }
}

impl<'p> FromIterator<FragmentReport<'p>> for Blocks<'p> {
    fn from_iter<I: IntoIterator<Item = FragmentReport<'p>>>(entries: I) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let told = entries.iter();
        let sum = Sum::of(told.map(|f| (&*f.outcome, f.value, f.looked, f.duration)));
        Self {
            sum,
            entries: OnceLock::from(entries),
            make: None,
        }
    }
}

impl<'p> Deref for Blocks<'p> {
    type Target = [FragmentReport<'p>];

    fn deref(&self) -> &Self::Target {
        let made = || self.make.map_or_else(Vec::new, |make| make());
        self.entries.get_or_init(made)
    }
}

impl<'b, 'p> IntoIterator for &'b Blocks<'p> {
    type Item = &'b FragmentReport<'p>;
    type IntoIter = std::slice::Iter<'b, FragmentReport<'p>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Clone for Blocks<'_> {
    fn clone(&self) -> Self {
        self.iter().cloned().collect()
    }
}

impl PartialEq for Blocks<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Blocks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::report::{Cause, OmitReason, example};

    fn sum(blocks: &[(Outcome, u64)]) -> Sum {
        let looked = Looked::default().with(Tier::Memory, Found::Fresh);
        Sum::of(blocks.iter().map(|(outcome, ms)| {
            let settled = Duration::from_millis(*ms);
            (outcome, 10.0, looked, settled)
        }))
    }

    #[test]
    fn a_page_from_memory_is_at_hand_and_no_other_is() {
        let at_once = sum(&[(Outcome::Cached, 0), (Outcome::Cached, 0)]);
        assert_eq!(at_once.at_hand, Some(Duration::ZERO));
        assert!(at_once.is_complete);
        for other in [
            &[(Outcome::Cached, 0), (Outcome::Cached, 7)][..],
            &[(Outcome::Cached, 0), (Outcome::Fetched, 0)],
            &[
                (Outcome::Cached, 0),
                (Outcome::Omitted(OmitReason::Unneeded), 0),
            ],
            &[],
        ] {
            assert_eq!(sum(other).at_hand, None, "{other:?}");
        }
        let on_disk = Looked::default().with(Tier::Disk, Found::Fresh);
        let found = [(&Outcome::Cached, 10.0, on_disk, Duration::ZERO)];
        assert_eq!(Sum::of(found).at_hand, None);
    }

    #[test]
    fn the_sum_is_what_the_entries_say() {
        let failed = Outcome::Omitted(OmitReason::Failed(Cause::Timeout));
        let some = sum(&[
            (Outcome::Fetched, 5),
            (Outcome::Stale(Cause::Timeout), 3),
            (Outcome::Omitted(OmitReason::Unneeded), 90),
            (failed, 8),
        ]);
        assert!(some.is_stale && some.is_lost && !some.is_complete);
        assert_eq!((some.value, some.shown), (40.0, 20.0));
        assert_eq!(some.settled, Duration::from_millis(8));
    }

    #[test]
    fn entries_are_made_once_and_only_when_they_are_read() {
        let calls = AtomicU32::new(0);
        let page = example::page(200, &[("a", 1.0, Outcome::Fetched)], 5);
        let make = || {
            calls.fetch_add(1, Ordering::Relaxed);
            page.fragments.to_vec()
        };
        let blocks = Blocks::new(*page.fragments.sum(), &make);
        assert!(blocks.sum().is_complete);
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert_eq!((blocks.len(), &*blocks[0].name), (1, "a"));
        assert_eq!(blocks[..], page.fragments[..]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
