//! How fast an error budget is used, and how much of it is left. Owns the arithmetic and the rules by
//! which somebody is called; pure.
//!
//! The budget of an objective of 99.9 % is one page in a thousand, over its period. A burn rate of 1 uses
//! exactly all of it in that time. The rules are those of the Google SRE workbook, chapter 5, table 5-8
//! (<https://sre.google/workbook/alerting-on-slos/>): a long window, so that a few bad pages call nobody,
//! and a short one, so that it is over soon after it has ended. For a period of 30 days they stand for 2 %
//! of the budget in an hour, 5 % in six hours, 10 % in three days.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::report::SloChange;

use super::ring::Counts;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The windows in which it is measured how fast, and their words.
pub const WINDOWS: [(Duration, &str); 5] = [
    (Duration::from_secs(5 * MINUTE), "5m"),
    (Duration::from_secs(30 * MINUTE), "30m"),
    (Duration::from_secs(HOUR), "1h"),
    (Duration::from_secs(6 * HOUR), "6h"),
    (Duration::from_secs(72 * HOUR), "3d"),
];

/// When somebody is called: it burns so fast in both windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The long window's place in [`WINDOWS`].
    pub long: usize,
    /// The short one's.
    pub short: usize,
    /// How many times as fast as it may be.
    pub rate: f64,
    /// `page` wakes somebody, `ticket` waits for the morning.
    pub severity: &'static str,
}

/// The fastest first.
pub const RULES: [Rule; 3] = [
    Rule {
        long: 2,
        short: 0,
        rate: 14.4,
        severity: "page",
    },
    Rule {
        long: 3,
        short: 1,
        rate: 6.0,
        severity: "page",
    },
    Rule {
        long: 4,
        short: 3,
        rate: 1.0,
        severity: "ticket",
    },
];

/// Fewer bad pages than these call nobody, and spend nothing, however few pages there are: of ten pages in a quiet
/// night one bad one is a hundred times as many as there may be.
pub const FEW: u64 = 5;

/// A budget that was spent is one again when so much of it is left.
const RESTORED_FROM: f64 = 0.1;

impl Rule {
    /// The share of what is measured that is missed at this rate.
    pub fn share(&self, allowed: f64) -> f64 {
        self.rate * allowed
    }

    fn holds(&self, burn: &Burn) -> bool {
        let [long, short] = [self.long, self.short].map(|window| burn.rates[window]);
        long > self.rate && short > self.rate && burn.missed_pages[self.long] >= FEW
    }
}

/// How fast a budget is used at present.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Burn {
    /// How many times as fast as it may be, by window.
    pub(super) rates: [f64; WINDOWS.len()],
    /// Pages on which something was missed, by window.
    missed_pages: [u64; WINDOWS.len()],
}

impl Burn {
    /// By what was counted in each window.
    pub(super) fn of(counts: [Counts; WINDOWS.len()], allowed: f64) -> Self {
        Self {
            rates: counts.map(|counts| counts.missed_share() / allowed),
            missed_pages: counts.map(|counts| counts.missed_pages),
        }
    }

    /// The first rule by which somebody is called.
    fn rule(&self) -> Option<usize> {
        RULES.iter().position(|rule| rule.holds(self))
    }
}

/// How much is left of the budget of what was counted over its period: 1 is all of it, and less than 0
/// is more missed than may be.
pub(super) fn left(counts: Counts, allowed: f64) -> f64 {
    if counts.missed == 0 || counts.missed_pages == 0 {
        return 1.0;
    }
    // counts are far below 2^53
    let (missed, pages) = (counts.missed as f64, counts.missed_pages as f64);
    let least = FEW as f64 * missed / pages;
    1.0 - missed / (allowed * counts.measured as f64).max(least)
}

/// What was told last of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standing {
    /// By which of [`RULES`] it burns.
    pub(super) burns_by: Option<usize>,
    /// Whether nothing was left of its budget, and not enough is since.
    pub(super) is_spent: bool,
}

impl Standing {
    /// Whether it can have been so.
    pub(super) fn can_be(&self) -> bool {
        self.burns_by.is_none_or(|rule| rule < RULES.len())
    }

    /// What has changed.
    pub(super) fn turn(&mut self, burn: &Burn, left: f64) -> Vec<SloChange> {
        let mut changes = Vec::new();
        match (self.burns_by, burn.rule()) {
            // slower than before is no news: it ends when it ends
            (before, Some(rule)) if before.is_none_or(|before| rule < before) => {
                let window = RULES[rule].long;
                changes.push(SloChange::Burning {
                    rate: burn.rates[window],
                    over: WINDOWS[window].0,
                });
                self.burns_by = Some(rule);
            }
            (Some(_), None) if burn.rates[0] <= 1.0 => {
                changes.push(SloChange::Recovered);
                self.burns_by = None;
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        match self.is_spent {
            false if left <= 0.0 => {
                changes.push(SloChange::Spent);
                self.is_spent = true;
            }
            true if left >= RESTORED_FROM => {
                changes.push(SloChange::Restored);
                self.is_spent = false;
            }
            true | false => {}
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(measured: u64, missed: u64) -> Counts {
        Counts {
            measured,
            missed,
            missed_pages: missed,
        }
    }

    /// The same share is missed in every window.
    fn steady(missed_in_a_thousand: u64) -> Burn {
        Burn::of([pages(1000, missed_in_a_thousand); 5], 0.001)
    }

    #[test]
    fn a_budget_is_left_as_far_as_it_is_not_used() {
        for (counts, expected) in [
            (pages(0, 0), 1.0),
            (pages(100_000, 0), 1.0),
            (pages(100_000, 25), 0.75),
            (pages(100_000, 100), 0.0),
            (pages(100_000, 300), -2.0),
            // one page in a hundred is no budget: five are
            (pages(100, 1), 0.8),
            (pages(5, 5), 0.0),
        ] {
            let left = left(counts, 0.001);
            assert!((left - expected).abs() < 1e-9, "{counts:?}: {left}");
        }
        // worth: every bad page has lost 40
        let value = Counts {
            measured: 3000,
            missed: 80,
            missed_pages: 2,
        };
        assert!((left(value, 0.001) - 0.6).abs() < 1e-9);
    }

    #[test]
    fn the_rates_are_those_of_the_workbook() {
        for (missed, severity) in [
            (15, Some((0, "page"))),
            (14, Some((1, "page"))),
            (7, Some((1, "page"))),
            (6, Some((2, "ticket"))),
        ] {
            let rule = steady(missed).rule();
            let found = rule.map(|rule| (rule, RULES[rule].severity));
            assert_eq!(found, severity, "{missed}");
        }
        // one page more than may be is not enough pages to say so
        assert_eq!(steady(1).rule(), None);
        let slow = Burn::of([pages(10_000, 11); 5], 0.001);
        assert_eq!(slow.rule(), Some(2));
    }

    #[test]
    fn neither_window_alone_calls_anybody() {
        let mut counts = [pages(1000, 0); 5];
        counts[0] = pages(1000, 900);
        assert_eq!(Burn::of(counts, 0.001).rule(), None, "it has just begun");
        let mut counts = [pages(1000, 900); 5];
        (counts[0], counts[1], counts[3]) = (pages(1000, 0), pages(1000, 0), pages(1000, 0));
        assert_eq!(Burn::of(counts, 0.001).rule(), None, "it is over");
    }

    #[test]
    fn a_few_bad_pages_call_nobody() {
        assert_eq!(Burn::of([pages(4, 4); 5], 0.001).rule(), None);
        assert_eq!(Burn::of([pages(5, 5); 5], 0.001).rule(), Some(0));
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let mut standing = Standing::default();
        assert_eq!(standing.turn(&steady(0), 1.0), []);
        let changes = standing.turn(&steady(7), 0.5);
        let [SloChange::Burning { rate, over }] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!((rate.round(), over.as_secs()), (7.0, 6 * HOUR));
        assert_eq!(standing.turn(&steady(7), 0.5), []);
        // faster is news, slower is not
        let changes = standing.turn(&steady(20), -0.1);
        assert!(
            matches!(changes[..], [SloChange::Burning { .. }, SloChange::Spent]),
            "{changes:?}"
        );
        assert_eq!(standing.turn(&steady(7), -0.1), []);
        // no rule holds, but still more is used than may be
        assert_eq!(standing.turn(&steady(2), 0.0), []);
        assert_eq!(standing.turn(&steady(1), 0.05), [SloChange::Recovered]);
        assert_eq!(standing.turn(&steady(0), 0.1), [SloChange::Restored]);
        assert_eq!(standing, Standing::default());
    }
}
