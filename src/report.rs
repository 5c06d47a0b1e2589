//! The account of a page: what was asked, what each slot got, from where and how long it took.
//! Owns the vocabulary that headers, logs, metrics and the admin state share; measures nothing.
//!
//! Invariant: one [`PageReport`] per request for a page, with one [`FragmentReport`] per fragment
//! of the page, whatever happened.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::degradation::Level;

mod acted;
mod blocks;
mod event;
mod looked;
mod outcome;
mod signature;
pub mod story;
mod throttle;
mod told;
mod trail;
mod worth;

pub use acted::{Acted, Given, KnownBy, NotAllowed};
pub use blocks::{Blocks, Make, Sum};
pub use event::{
    BreakerState, Event, FaultChange, FaultEnd, OriginChange, SloChange, SwitchChange,
};
pub use looked::{Found, Looked, Tier};
pub use outcome::{Cause, OmitReason, Outcome};
pub use signature::Signature;
pub use story::{Afforded, Story};
pub use throttle::{Throttle, Untold};
pub use trail::{Attempt, Rung, Trail, TriedRung};
pub use worth::{Got, Loss};

/// The account of one fragment in one page.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FragmentReport<'p> {
    /// The fragment's name.
    pub name: Cow<'p, str>,
    /// Its place in the declaration of the site that the page was made of: where to look first for what
    /// is kept by name.
    pub place: usize,
    /// How its slots were filled.
    pub outcome: Cow<'p, Outcome>,
    /// What one view of it is worth, as the site declares it.
    pub value: f64,
    /// Where a copy was looked for.
    pub looked: Looked,
    /// Age of the copy that was used.
    pub age: Option<Duration>,
    /// From the start of the page to the moment when the slot was settled.
    pub duration: Duration,
    /// Its span in the page's trace.
    pub span_id: u64,
}

/// The account of one request to an origin that a page has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptReport<'p> {
    /// For which fragment: one of the page, an item of its lists, or what stands in for one.
    pub fragment: Cow<'p, str>,
    /// The origin that was asked.
    pub origin: Cow<'p, str>,
    /// Which of its replicas, by its place in the declaration.
    pub replica: usize,
    /// Its span, of which the origin was told.
    pub span_id: u64,
    /// From the start of the page to its beginning.
    pub began: Duration,
    /// From the start of the page to its end; `None` where the page ended first, or where another
    /// attempt was the first to answer.
    pub ended: Option<Duration>,
    /// What went wrong.
    pub cause: Option<Cause>,
    /// The fault that was set on purpose and has hit it, whatever came of that.
    pub fault: Option<Arc<str>>,
}

/// The account of one page. It borrows what it names: whoever keeps it makes it their own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PageReport<'p> {
    /// The page's name in `fragments.toml`; of a document that is woven, the route of its proxy.
    pub page: Cow<'p, str>,
    /// Its place in that declaration, where it is declared: most likely still the place of that name.
    pub place: usize,
    /// The path that was asked for.
    pub path: Cow<'p, str>,
    /// The trace that the page belongs to; written as 32 hexadecimal digits.
    pub trace_id: u128,
    /// The page's own span in it.
    pub span_id: u64,
    /// The span of whoever has asked for the page; 0 where it does not say.
    pub parent_id: u64,
    /// Whether the trace is to be recorded, by the word of whoever has asked or by chance.
    pub is_sampled: bool,
    /// When it was asked for.
    pub began: Moment,
    /// The level it was planned at.
    pub level: Level,
    /// Whether somebody has chosen that level to see it, who is no reader then.
    pub is_rehearsal: bool,
    /// The status that was sent; 0 when the reader had left before there was one. Of an answer that
    /// broke off it is 502, whatever was sent before.
    pub status: u16,
    /// From the request to the response head.
    pub head_after: Duration,
    /// From the request to the last byte handed to the connection, or to the reader's leaving.
    pub duration: Duration,
    /// Whether the whole body was handed over.
    pub finished: bool,
    /// How old the snapshot is that was served, if the core had nothing else.
    pub snapshot: Option<Duration>,
    /// One entry a fragment.
    pub fragments: Blocks<'p>,
    /// What was asked of origins, in the order in which it was begun. What other pages have asked and
    /// this one has waited for is theirs.
    pub attempts: Vec<AttemptReport<'p>>,
}

impl PageReport<'_> {
    /// The same, to keep.
    pub fn into_owned(self) -> PageReport<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let fragments = self.fragments.into_entries().into_iter();
        let fragments = fragments.map(|fragment| FragmentReport {
            name: own(fragment.name),
            outcome: Cow::Owned(fragment.outcome.into_owned()),
            ..fragment
        });
        let attempts = self.attempts.into_iter().map(|attempt| AttemptReport {
            fragment: own(attempt.fragment),
            origin: own(attempt.origin),
            ..attempt
        });
        PageReport {
            page: own(self.page),
            path: own(self.path),
            fragments: fragments.collect(),
            attempts: attempts.collect(),
            ..self
        }
    }

    /// From the request to when all that it was made of was there, however slowly it was then read.
    pub fn took(&self) -> Duration {
        self.head_after.max(self.fragments.sum().settled)
    }

    /// Whether its reader got an error page, or an answer that broke off.
    pub fn is_unavailable(&self) -> bool {
        self.snapshot.is_none() && self.status >= 500
    }

    /// Whether every block that anybody waited for was there.
    pub fn is_complete(&self) -> bool {
        self.status == 200 && self.snapshot.is_none() && self.fragments.sum().is_complete
    }
}

/// Whoever reads reports. Called on the request path: must return at once.
pub trait Observer: Send + Sync {
    /// A page has ended.
    fn page(&self, report: &PageReport<'_>);
    /// Whether this page is to be told in full, which costs some work: what was planned, what was tried.
    fn wants_story(&self, _report: &PageReport<'_>) -> bool {
        false
    }
    /// A page in full, as it was wanted.
    fn story(&self, _story: Story) {}
    /// Something happened.
    fn event(&self, event: &Event);
    /// Whether it makes anything of pages: a report that nobody reads is not made.
    fn reads_pages(&self) -> bool {
        true
    }
    /// A try at an origin has come to its end, whatever that was.
    fn attempt(&self, _origin: &str, _took: Duration) {}
}

#[cfg(test)]
pub(crate) mod example;
