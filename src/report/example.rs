//! A page for the tests of whoever reads reports: read to its end, at the full level.

use std::borrow::Cow;
use std::time::Duration;

use super::{FragmentReport, Looked, Outcome, PageReport};
use crate::clock::Moment;
use crate::degradation::Level;

/// A page with these blocks, each with its value and outcome, that took so many milliseconds.
pub(crate) fn page(
    status: u16,
    blocks: &[(&'static str, f64, Outcome)],
    ms: u64,
) -> PageReport<'static> {
    let duration = Duration::from_millis(ms);
    let fragments = blocks.iter().enumerate();
    let fragments = fragments.map(|(place, (name, value, outcome))| FragmentReport {
        name: (*name).into(),
        place,
        outcome: Cow::Owned(outcome.clone()),
        value: *value,
        looked: Looked::default(),
        age: None,
        duration,
        span_id: 0,
    });
    PageReport {
        page: "p".into(),
        place: 0,
        path: "/".into(),
        trace_id: 1,
        span_id: 1,
        parent_id: 0,
        is_sampled: false,
        began: Moment::default(),
        level: Level::FULL,
        is_rehearsal: false,
        status,
        head_after: Duration::ZERO,
        duration,
        finished: true,
        snapshot: None,
        fragments: fragments.collect(),
        attempts: Vec::new(),
    }
}
