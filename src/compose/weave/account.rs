//! The account of a woven page: what each of its includes has come to. Owns its memory, which is bounded,
//! and the report that is made of it at the end, for those who read the reports of pages.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use crate::clock::Instant;
use crate::compose::Order;
use crate::compose::slot::Settled;
use crate::fragment::{FragmentId, Source};
use crate::report::{Attempt, AttemptReport, FragmentReport, Looked, Outcome, PageReport};

/// Includes of one page that are told of.
const TOLD_MAX: usize = 512;

/// What is known of a woven page.
pub(super) struct Account {
    /// The route of the proxy: what the page is called.
    pub(super) page: String,
    pub(super) path: String,
    pub(super) status: StatusCode,
    pub(super) arrived: Instant,
    includes: Mutex<Vec<Told>>,
}

struct Told {
    fragment: FragmentId,
    outcome: Outcome,
    looked: Looked,
    age: Option<Duration>,
    at: Instant,
}

impl Account {
    pub(super) fn new(page: String, path: String, status: StatusCode, arrived: Instant) -> Self {
        Self {
            page,
            path,
            status,
            arrived,
            includes: Mutex::default(),
        }
    }

    /// An include has come to this.
    pub(super) fn settle(&self, fragment: FragmentId, settled: &Settled) {
        let mut includes = self.includes.lock();
        if includes.len() < TOLD_MAX {
            includes.push(Told {
                fragment,
                outcome: settled.outcome.clone(),
                looked: settled.looked,
                age: settled.age,
                at: settled.at,
            });
        }
    }

    /// The page has ended, with its last byte or without.
    pub(super) fn close(&self, order: &Order, head_after: Duration, is_finished: bool) {
        let composer = &order.composer;
        if !composer.is_observed {
            return;
        }
        let (site, trace) = (&order.edition.site, &order.trace);
        let after = |at: Instant| at.saturating_duration_since(self.arrived);
        let includes = std::mem::take(&mut *self.includes.lock());
        let includes = includes.into_iter().enumerate();
        let fragments = includes.map(|(index, told)| {
            let fragment = site.fragment(told.fragment);
            FragmentReport {
                name: Cow::Borrowed(&*fragment.name),
                place: told.fragment.index(),
                outcome: Cow::Owned(told.outcome),
                value: fragment.value,
                looked: told.looked,
                age: told.age,
                duration: after(told.at),
                span_id: trace.slot(index),
            }
        });
        let attempts = order.trail.take().into_iter();
        let attempts = attempts.map(|attempt| attempt_report(order, attempt, self.arrived));
        let report = PageReport {
            page: Cow::Borrowed(&self.page),
            path: Cow::Borrowed(&self.path),
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            parent_id: trace.parent_id,
            is_sampled: trace.sampled,
            began: composer.clock.moment(self.arrived),
            level: order.level,
            is_rehearsal: false,
            status: self.status.as_u16(),
            head_after,
            duration: after(composer.clock.now()),
            finished: is_finished,
            snapshot: None,
            fragments: fragments.collect(),
            attempts: attempts.collect(),
        };
        for observer in composer.observers() {
            observer.page(&report);
        }
    }
}

fn attempt_report(order: &Order, attempt: Attempt, arrived: Instant) -> AttemptReport<'_> {
    let site = &order.edition.site;
    let after = |at: Instant| at.saturating_duration_since(arrived);
    let fragment = site.fragment(attempt.fragment);
    let origin = match &fragment.source {
        Source::Http { origin, .. } => site.origin(*origin).name.as_str(),
        Source::Ready(_) | Source::Push(_) => "",
    };
    let (ended, cause) = match attempt.ended {
        Some((at, cause)) => (Some(after(at)), cause),
        None => (None, None),
    };
    AttemptReport {
        fragment: Cow::Borrowed(&*fragment.name),
        origin: Cow::Borrowed(origin),
        replica: attempt.replica,
        span_id: attempt.span_id,
        began: after(attempt.since),
        ended,
        cause,
    }
}
