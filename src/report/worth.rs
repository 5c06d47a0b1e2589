//! What a page was worth to its reader, and what was lost of it. Owns which outcome is a loss, for
//! whoever counts: journal and metrics tell the same numbers.
//!
//! Invariant: a block counts on its page as served, as lost, or as neither, and never as two of these.

use super::{Cause, OmitReason, Outcome, PageReport};

/// Why something of value was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss(usize);

impl Loss {
    /// The level gave it up.
    pub const SHED: Self = Self(Cause::LABELS.len());
    /// There was no page: its reader got the error page.
    pub const UNAVAILABLE: Self = Self(Cause::LABELS.len() + 1);

    /// One word for each, by [`number`](Self::number).
    pub const LABELS: [&'static str; Cause::LABELS.len() + 2] = {
        let mut labels = [""; Cause::LABELS.len() + 2];
        let mut at = 0;
        while at < Cause::LABELS.len() {
            labels[at] = Cause::LABELS[at];
            at += 1;
        }
        labels[Self::SHED.0] = "shed";
        labels[Self::UNAVAILABLE.0] = "unavailable";
        labels
    };

    /// It could not be had.
    pub fn of(cause: &Cause) -> Self {
        Self(cause.number())
    }

    /// The place of its word in [`LABELS`](Self::LABELS).
    pub fn number(self) -> usize {
        self.0
    }

    /// One word for labels.
    pub fn label(self) -> &'static str {
        Self::LABELS[self.0]
    }
}

/// What a reader got of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// The block, if perhaps not of this moment.
    Shown,
    /// Something else, or a part of it.
    Instead,
    /// Nothing.
    Lost(Loss),
    /// What they were meant to get: nobody has asked for it, or there is nothing to it.
    Void,
}

impl Outcome {
    /// What a reader got.
    pub fn got(&self) -> Got {
        match self {
            Self::Cached | Self::Fetched | Self::Declared | Self::Stale(_) => Got::Shown,
            Self::Absent => Got::Void,
            Self::Omitted(OmitReason::Switched | OmitReason::Unneeded) => Got::Void,
            Self::Omitted(OmitReason::Shed(_)) => Got::Lost(Loss::SHED),
            Self::Omitted(OmitReason::Failed(cause)) => Got::Lost(Loss::of(cause)),
            Self::Sibling(_, cause)
            | Self::Static(cause)
            | Self::Inline(cause)
            | Self::DefaultData(cause)
                if *cause == Cause::Switched =>
            {
                Got::Void
            }
            Self::Partial { .. }
            | Self::Sibling(..)
            | Self::Static(_)
            | Self::Inline(_)
            | Self::DefaultData(_)
            | Self::Lazy(_) => Got::Instead,
        }
    }
}

impl PageReport<'_> {
    /// What its reader got, by the values of its blocks; what was lost goes to `lost`, with why. A
    /// snapshot is a whole page. What was never read to its end, and what is no page (a redirect, a
    /// page that there is not), has no value either way.
    pub fn value(&self, mut lost: impl FnMut(Loss, f64)) -> f64 {
        let sum = self.fragments.sum();
        match (self.finished, self.snapshot, self.status) {
            (true, Some(_), _) => sum.value,
            (true, None, 500..) => {
                lost(Loss::UNAVAILABLE, sum.value);
                0.0
            }
            (true, None, 200) => {
                if sum.is_lost {
                    for block in &self.fragments {
                        if let Got::Lost(loss) = block.outcome.got() {
                            lost(loss, block.value);
                        }
                    }
                }
                sum.shown
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::degradation::Level;
    use crate::report::example;
    use std::time::Duration;

    fn value(page: &PageReport<'_>) -> (f64, Vec<(&'static str, f64)>) {
        let mut losses = Vec::new();
        let served = page.value(|loss, value| losses.push((loss.label(), value)));
        (served, losses)
    }

    fn page(status: u16) -> PageReport<'static> {
        let blocks = [
            ("article", 100.0, Outcome::Fetched),
            ("old", 30.0, Outcome::Stale(Cause::Timeout)),
            ("teaser", 20.0, Outcome::Static(Cause::Open)),
            ("off", 9.0, Outcome::Omitted(OmitReason::Switched)),
            (
                "slow",
                5.0,
                Outcome::Omitted(OmitReason::Failed(Cause::Timeout)),
            ),
            (
                "shed",
                0.5,
                Outcome::Omitted(OmitReason::Shed(Level::new(1))),
            ),
        ];
        example::page(status, &blocks, 10)
    }

    #[test]
    fn what_is_shown_is_served_and_what_is_left_out_is_lost() {
        let (served, lost) = value(&page(200));
        assert_eq!(
            (served, lost),
            (130.0, vec![("timeout", 5.0), ("shed", 0.5)])
        );
    }

    #[test]
    fn an_error_page_loses_all_and_a_snapshot_nothing() {
        assert_eq!(value(&page(503)), (0.0, vec![("unavailable", 164.5)]));
        let snapshot = PageReport {
            snapshot: Some(Duration::from_secs(5)),
            ..page(200)
        };
        assert_eq!(value(&snapshot), (164.5, Vec::new()));
    }

    #[test]
    fn what_nobody_has_read_and_what_is_no_page_counts_as_neither() {
        let left = PageReport {
            finished: false,
            ..page(200)
        };
        for page in [left, page(404), page(302)] {
            assert_eq!(value(&page), (0.0, Vec::new()));
        }
    }

    #[test]
    fn each_loss_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Loss::LABELS.into_iter().collect();
        assert_eq!(words.len(), Loss::LABELS.len());
        assert_eq!(Loss::of(&Cause::Stopping).label(), "stopping");
    }
}
