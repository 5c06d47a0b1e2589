//! Whether a page keeps a promise. Owns what counts and what does not; pure.
//!
//! A reader who leaves is no judgement, unless the time was over by then. Nor is a page of which the core
//! has said that there is none, or that it is elsewhere: that is what it is meant to be.

use crate::report::{FragmentReport, Outcome, PageReport};
use crate::site::{Good, Promise};

use super::ring::Counts;

/// What a page has come to, measured by a promise; `None` if it says nothing about it.
pub(super) fn judge(promise: Promise, page: &PageReport<'_>) -> Option<Counts> {
    // nobody's page
    if page.is_rehearsal {
        return None;
    }
    match promise {
        Promise::Pages(good) => is_good(good, page).map(of_page),
        Promise::Value => value(page),
    }
}

fn of_page(is_good: bool) -> Counts {
    let missed = u64::from(!is_good);
    Counts {
        measured: 1,
        missed,
        missed_pages: missed,
    }
}

fn of_value(measured: u64, missed: u64) -> Counts {
    Counts {
        measured,
        missed,
        missed_pages: u64::from(missed > 0),
    }
}

fn is_good(good: Good, page: &PageReport<'_>) -> Option<bool> {
    if !page.finished {
        let is_late = good.within.is_some_and(|within| page.duration > within);
        return is_late.then_some(false);
    }
    if page.status >= 500 {
        return Some(false);
    }
    if page.status != 200 {
        return None;
    }
    let is_in_time = good.within.is_none_or(|within| page.took() <= within);
    let is_complete = !good.is_complete || page.is_complete();
    let is_old = good.stale_max.is_some_and(|max| {
        let stale = |f: &FragmentReport<'_>| {
            matches!(*f.outcome, Outcome::Stale(_)) && f.age.is_some_and(|age| age > max)
        };
        let may_be = page.fragments.sum().is_stale;
        page.snapshot.is_some_and(|age| age > max) || (may_be && page.fragments.iter().any(stale))
    });
    Some(is_in_time && is_complete && !is_old)
}

/// What metrics and the journal count too, in thousandths, so that whole numbers add up to it. `None` where
/// nothing was to be had: by who left, and of what is no page.
fn value(page: &PageReport<'_>) -> Option<Counts> {
    let mut lost = 0.0;
    let served = page.value(|_, value| lost += value);
    let (served, lost) = (thousandths(served), thousandths(lost));
    (served + lost > 0).then(|| of_value(served + lost, lost))
}

fn thousandths(value: f64) -> u64 {
    (value * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::degradation::Level;
    use crate::report::{Cause, OmitReason, example};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn page(outcome: Outcome) -> PageReport<'static> {
        let blocks = [
            ("article", 100.0, Outcome::Fetched),
            ("more", 40.0, outcome),
        ];
        let mut page = example::page(200, &blocks, 5000);
        page.head_after = ms(10);
        let aged = |block: &FragmentReport<'static>| FragmentReport {
            age: Some(ms(90_000)),
            duration: ms(40),
            ..block.clone()
        };
        page.fragments = page.fragments.iter().map(aged).collect();
        page
    }

    fn counts(promise: Promise, page: &PageReport<'_>) -> Option<(u64, u64, u64)> {
        let counts = judge(promise, page)?;
        Some((counts.measured, counts.missed, counts.missed_pages))
    }

    const GOOD: Option<(u64, u64, u64)> = Some((1, 0, 0));
    const BAD: Option<(u64, u64, u64)> = Some((1, 1, 1));

    fn within(limit: Duration) -> Promise {
        Promise::Pages(Good {
            within: Some(limit),
            ..Good::default()
        })
    }

    const CORE: Promise = Promise::Pages(Good {
        within: None,
        is_complete: false,
        stale_max: None,
    });

    const ALL: Promise = Promise::Pages(Good {
        within: None,
        is_complete: true,
        stale_max: None,
    });

    fn fresh(max: Duration) -> Promise {
        Promise::Pages(Good {
            stale_max: Some(max),
            ..Good::default()
        })
    }

    #[test]
    fn a_slow_connection_is_no_late_page() {
        let page = page(Outcome::Fetched);
        assert_eq!(counts(within(ms(40)), &page), GOOD);
        assert_eq!(counts(within(ms(39)), &page), BAD);
    }

    #[test]
    fn who_leaves_has_waited_too_long_or_says_nothing() {
        let page = PageReport {
            finished: false,
            ..page(Outcome::Fetched)
        };
        assert_eq!(counts(within(ms(4999)), &page), BAD);
        for promise in [within(ms(5000)), CORE, ALL, Promise::Value] {
            assert_eq!(counts(promise, &page), None, "{promise:?}");
        }
    }

    #[test]
    fn a_missing_block_is_missed_where_all_is_promised() {
        let failed = page(Outcome::Omitted(OmitReason::Failed(Cause::Timeout)));
        assert_eq!(counts(CORE, &failed), GOOD);
        assert_eq!(counts(ALL, &failed), BAD);
        assert_eq!(counts(Promise::Value, &failed), Some((140_000, 40_000, 1)));
        let shed = page(Outcome::Omitted(OmitReason::Shed(Level::new(1))));
        assert_eq!(counts(Promise::Value, &shed), Some((140_000, 40_000, 1)));
        let off = page(Outcome::Omitted(OmitReason::Switched));
        assert_eq!(counts(ALL, &off), GOOD);
        assert_eq!(counts(Promise::Value, &off), Some((100_000, 0, 0)));
        let instead = page(Outcome::Static(Cause::Timeout));
        assert_eq!(counts(ALL, &instead), BAD);
        assert_eq!(counts(Promise::Value, &instead), Some((100_000, 0, 0)));
    }

    #[test]
    fn a_stale_copy_is_missed_when_it_is_too_old() {
        let stale = page(Outcome::Stale(Cause::Timeout));
        assert_eq!(counts(fresh(ms(90_000)), &stale), GOOD);
        assert_eq!(counts(fresh(ms(89_999)), &stale), BAD);
        // a copy that is good by its ttl is not stale, however old
        assert_eq!(counts(fresh(ms(1)), &page(Outcome::Cached)), GOOD);
        let snapshot = PageReport {
            snapshot: Some(ms(90_000)),
            ..page(Outcome::Fetched)
        };
        assert_eq!(counts(fresh(ms(89_999)), &snapshot), BAD);
        assert_eq!(counts(CORE, &snapshot), GOOD);
        assert_eq!(counts(ALL, &snapshot), BAD);
        assert_eq!(counts(Promise::Value, &snapshot), Some((140_000, 0, 0)));
    }

    #[test]
    fn an_error_page_keeps_no_promise_and_a_404_breaks_none() {
        let promises = [within(ms(9999)), CORE, ALL, fresh(ms(9_999_999))];
        for promise in promises {
            let failed = PageReport {
                status: 503,
                ..page(Outcome::Fetched)
            };
            assert_eq!(counts(promise, &failed), BAD, "{promise:?}");
            for status in [301, 404, 410] {
                let elsewhere = PageReport {
                    status,
                    ..page(Outcome::Fetched)
                };
                assert_eq!(counts(promise, &elsewhere), None, "{promise:?} {status}");
            }
            let rehearsed = PageReport {
                is_rehearsal: true,
                ..failed
            };
            assert_eq!(counts(promise, &rehearsed), None);
        }
        let failed = PageReport {
            status: 503,
            ..page(Outcome::Omitted(OmitReason::Unneeded))
        };
        assert_eq!(counts(Promise::Value, &failed), Some((140_000, 140_000, 1)));
    }
}
