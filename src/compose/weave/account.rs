//! The account of a woven page: what its document and each of its includes have come to. Owns its memory, which is bounded,
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

use super::Had;

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
    /// What it should take, if that is to be measured.
    target: Option<Duration>,
    /// What its document is on it, and has come to, if that was known.
    document: Option<Told>,
    /// The path that its origin was asked for.
    source: String,
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
    /// When it was asked for, and when it was settled.
    asked: Instant,
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
    pub(super) document: Option<(FragmentId, Had)>,
    /// How long the document's origin may take, and the path that it was asked for.
    pub(super) timeout: Duration,
    pub(super) source: String,
    pub(super) target: Option<Duration>,
    pub(super) arrived: Instant,
    pub(super) afforded: Afforded,
    pub(super) witness: Option<Arc<dyn Observer>>,
}

impl Account {
    pub(super) fn new(order: Arc<Order>, about: About) -> Self {
        let About {
            page,
            path,
            document,
            timeout,
            source,
            target,
            arrived,
            afforded,
            witness,
        } = about;
        let document = document.map(|(fragment, had)| Told {
            fragment,
            plan: (SERVE, timeout),
            outcome: had.outcome,
            looked: had.looked,
            age: had.age,
            asked: arrived,
            at: had.at,
        });
        Self {
            budget: order.edition.site.markup.budget,
            order,
            page,
            path,
            arrived,
            target,
            document,
            source,
            afforded,
            witness,
            open: Mutex::new(Some(Open::default())),
        }
    }

    /// An include, of which this was [`planned`] when it was asked for, has come to something.
    pub(super) fn settle(
        &self,
        fragment: FragmentId,
        (asked, plan): (Instant, (&'static str, Duration)),
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
                asked,
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
        if let (Some(target), Some(_)) = (self.target, open.status)
            && ending != Ending::Broken
        {
            let took = self.took(&open);
            order.edition.meters.times.record(took, target);
        }
        if order.observers().is_empty() && self.witness.is_none() {
            return;
        }
        let report = self.report(&open, ending);
        let story = || {
            let site = &order.edition.site;
            let says = |told: &Told, target| {
                let (action, time) = told.plan;
                StepExplanation::new(site, told.fragment, action, target, time)
            };
            let document = self.document.iter().map(|told| {
                let says = StepExplanation {
                    chain: INSTEAD_OF_A_DOCUMENT.map(str::to_owned).to_vec(),
                    ..says(told, &self.source)
                };
                (told.fragment, says)
            });
            let includes = open.includes.iter();
            let includes = includes.map(|told| (told.fragment, says(told, "")));
            let steps = document.chain(includes);
            let terms = (self.budget, self.afforded);
            story::of_woven(order, terms, steps.collect(), &report)
        };
        order.tell(self.witness.as_ref(), &report, story);
    }

    /// How long it took to obtain what it is made of. What its document asks for later than the head has
    /// left counts from when it does: until then whoever sends the document, or reads the page, may have
    /// taken their time.
    fn took(&self, open: &Open) -> Duration {
        let head_at = self.arrived + open.head_after;
        let obtained = open.includes.iter().map(|told| {
            let late = told.asked.saturating_duration_since(head_at);
            self.after(told.at).saturating_sub(late)
        });
        obtained.fold(open.head_after, Duration::max)
    }

    /// All that it is made of: the document, then what that includes.
    fn blocks<'r>(&'r self, open: &'r Open) -> impl Iterator<Item = &'r Told> {
        self.document.iter().chain(&open.includes)
    }

    fn report<'r>(&'r self, open: &'r Open, ending: Ending) -> PageReport<'r> {
        let (site, trace) = (&self.order.edition.site, &self.order.trace);
        let blocks = self.blocks(open).enumerate();
        let fragments = blocks.map(|(index, told)| {
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
            // a document is declared nowhere
            place: usize::MAX,
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

/// What there is where no document can be had.
const INSTEAD_OF_A_DOCUMENT: [&str; 2] = ["its copy, if HTTP lets it be shown", "error page"];

/// What is planned for a document, in a word: it is asked for, or its copy is used.
const SERVE: &str = "serve";

/// What is planned for an include at `now`, for the account.
pub(super) fn planned(action: &Action, now: Instant) -> (&'static str, Duration) {
    let time = match action {
        Action::Serve(serve) | Action::StandIn(serve) => serve.deadline,
        Action::Omit(_) => now,
    };
    (action.word(), time.saturating_duration_since(now))
}
