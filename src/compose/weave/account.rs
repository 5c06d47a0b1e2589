//! The account of a woven page: what each of its includes has come to. Owns its memory, which is bounded,
//! and the report that is made of it at the end, for those who read the reports of pages.
//!
//! Invariant: it is closed once, by whoever comes first: the page that has ended, or the reader who has
//! left it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use crate::clock::Instant;
use crate::compose::slot::Settled;
use crate::compose::{Order, head, story};
use crate::fragment::FragmentId;
use crate::plan::Action;
use crate::plan::explain::StepExplanation;
use crate::report::{Afforded, FragmentReport, Looked, Observer, Outcome, PageReport};

/// Includes of one page that are told of.
const TOLD_MAX: usize = 512;

/// Includes of one page that its `Server-Timing` names: it is a line of the head.
const TIMED_MAX: usize = 32;

/// What is known of a woven page.
pub(super) struct Account {
    order: Arc<Order>,
    /// The route of the proxy: what the page is called.
    page: String,
    path: String,
    arrived: Instant,
    budget: Duration,
    afforded: Afforded,
    witness: Option<Arc<dyn Observer>>,
    /// `None` once it is closed.
    open: Mutex<Option<Open>>,
}

/// What changes until it is closed.
#[derive(Default)]
struct Open {
    /// What was sent, if anything was.
    status: Option<StatusCode>,
    head_after: Duration,
    includes: Vec<Told>,
}

struct Told {
    fragment: FragmentId,
    /// What was planned, in a word, and how long its slot could wait.
    plan: (&'static str, Duration),
    outcome: Outcome,
    looked: Looked,
    age: Option<Duration>,
    at: Instant,
}

/// How a page has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its last byte.
    Whole,
    /// Broken off, through no fault of its reader.
    Broken,
    /// Its reader did not wait.
    Left,
}

/// What the head says of what is known by then.
#[derive(Default)]
pub(super) struct KnownByNow {
    pub(super) off: Vec<String>,
    pub(super) server_timing: String,
}

/// Which page it is of, and who wants to know.
pub(super) struct About {
    pub(super) page: String,
    pub(super) path: String,
    pub(super) arrived: Instant,
    pub(super) afforded: Afforded,
    pub(super) witness: Option<Arc<dyn Observer>>,
}

impl Account {
    pub(super) fn new(order: Arc<Order>, about: About) -> Self {
        let About {
            page,
            path,
            arrived,
            afforded,
            witness,
        } = about;
        Self {
            budget: order.edition.site.markup.budget,
            order,
            page,
            path,
            arrived,
            afforded,
            witness,
            open: Mutex::new(Some(Open::default())),
        }
    }

    /// An include, of which this was [`planned`], has come to something.
    pub(super) fn settle(
        &self,
        fragment: FragmentId,
        plan: (&'static str, Duration),
        settled: &Settled,
    ) {
        if let Some(open) = &mut *self.open.lock()
            && open.includes.len() < TOLD_MAX
        {
            open.includes.push(Told {
                fragment,
                plan,
                outcome: settled.outcome.clone(),
                looked: settled.looked,
                age: settled.age,
                at: settled.at,
            });
        }
    }

    /// The head leaves now, with this status. Tells what is known of the includes.
    pub(super) fn head_settled(&self, status: StatusCode) -> KnownByNow {
        let now = self.order.composer.clock.now();
        let mut open = self.open.lock();
        let Some(open) = &mut *open else {
            return KnownByNow::default();
        };
        open.status = Some(status);
        open.head_after = self.after(now);
        let site = &self.order.edition.site;
        let known = open.includes.iter().map(|told| {
            let name = site.fragment(told.fragment).name.as_str();
            (name, &told.outcome, self.after(told.at))
        });
        let mut off = head::off(known.clone());
        off.sort_unstable();
        off.dedup();
        KnownByNow {
            off,
            server_timing: head::server_timing(known.take(TIMED_MAX)),
        }
    }

    /// The page has ended.
    pub(super) fn close(&self, ending: Ending) {
        let Some(open) = self.open.lock().take() else {
            return;
        };
        let order = &self.order;
        if order.observers().is_empty() && self.witness.is_none() {
            return;
        }
        let report = self.report(&open, ending);
        let story = || {
            let steps = open.includes.iter().map(|told| {
                let (action, time) = told.plan;
                let site = &order.edition.site;
                let says = StepExplanation::new(site, told.fragment, action, "", time);
                (told.fragment, says)
            });
            let terms = (self.budget, self.afforded);
            story::of_woven(order, terms, steps.collect(), &report)
        };
        order.tell(self.witness.as_ref(), &report, story);
    }

    fn report<'r>(&'r self, open: &'r Open, ending: Ending) -> PageReport<'r> {
        let (site, trace) = (&self.order.edition.site, &self.order.trace);
        let includes = open.includes.iter().enumerate();
        let fragments = includes.map(|(index, told)| {
            let fragment = site.fragment(told.fragment);
            FragmentReport {
                name: Cow::Borrowed(&*fragment.name),
                place: told.fragment.index(),
                outcome: Cow::Borrowed(&told.outcome),
                value: fragment.value,
                looked: told.looked,
                age: told.age,
                duration: self.after(told.at),
                span_id: trace.slot(index),
            }
        });
        let status = match ending {
            Ending::Broken => Some(StatusCode::BAD_GATEWAY),
            Ending::Whole | Ending::Left => open.status,
        };
        let clock = self.order.composer.clock;
        PageReport {
            page: Cow::Borrowed(&self.page),
            path: Cow::Borrowed(&self.path),
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            parent_id: trace.parent_id,
            is_sampled: trace.sampled,
            began: clock.moment(self.arrived),
            level: self.order.level,
            is_rehearsal: self.order.is_rehearsal,
            status: status.map_or(0, |status| status.as_u16()),
            head_after: open.head_after,
            duration: self.after(clock.now()),
            finished: ending != Ending::Left,
            snapshot: None,
            fragments: fragments.collect(),
            attempts: self.order.attempts(self.arrived),
        }
    }

    fn after(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.arrived)
    }
}

/// What is planned for an include at `now`, for the account.
pub(super) fn planned(action: &Action, now: Instant) -> (&'static str, Duration) {
    let time = match action {
        Action::Serve(serve) | Action::StandIn(serve) => serve.deadline,
        Action::Omit(_) => now,
    };
    (action.word(), time.saturating_duration_since(now))
}
