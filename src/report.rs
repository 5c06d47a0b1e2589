//! The account of a page: what was asked, what each slot got, from where and how long it took.
//! Owns the vocabulary that headers, logs, metrics and the admin state share; measures nothing.
//!
//! Invariant: one [`PageReport`] per request for a page, with one [`FragmentReport`] per fragment
//! of the page, whatever happened.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::clock::Moment;
use crate::degradation::{Decision, Level, Sample, Switch};
use crate::fragment::Grade;

mod looked;
pub mod story;
mod throttle;
mod told;
mod trail;
mod worth;

pub use looked::{Found, Looked, Tier};
pub use story::{Afforded, Story};
pub use throttle::{Throttle, Untold};
pub use trail::{Attempt, Rung, Trail, TriedRung};
pub use worth::{Got, Loss};

/// Why content could not be had from a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The deadline passed; says what was being waited for.
    #[error("timeout")]
    Timeout,
    /// No connection: refused, unreachable, name not found, TLS failure.
    #[error("connect: {0}")]
    Connect(String),
    /// The connection broke or the peer does not speak HTTP.
    #[error("broken: {0}")]
    Transport(String),
    /// The body ended early, or its coding is damaged.
    #[error("truncated: {0}")]
    Truncated(String),
    /// A status that is not a usable answer.
    #[error("status {0}")]
    Status(u16),
    /// A redirect that is not followed: to another host, without `Location`, or one too many.
    #[error("redirect: {0}")]
    Redirect(String),
    /// More bytes than the fragment may have.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// A media type that the fragment does not accept.
    #[error("content type {0}")]
    ContentType(String),
    /// Nothing in it.
    #[error("empty")]
    Empty,
    /// Fewer bytes than the fragment must have.
    #[error("smaller than {0} bytes")]
    TooSmall(usize),
    /// Without a text that the fragment must hold.
    #[error("does not contain `{0}`")]
    Lacks(String),
    /// Of a list: so many of its items could be had, which is not enough.
    #[error("too few items, {had} of {of}")]
    TooFew {
        /// Items that could be had.
        had: usize,
        /// Items that there are.
        of: usize,
    },
    /// JSON or text that cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// The template failed on this content.
    #[error("template: {0}")]
    Template(String),
    /// It comes by being pushed, and nothing was, or not lately.
    #[error("nothing was pushed")]
    NotPushed,
    /// The origin already has as many requests in flight as it may have.
    #[error("origin is at its limit in flight")]
    Busy,
    /// The origin is slower than usual, and this block asks less of it, or nothing for this reader.
    #[error("its origin is slower than usual, and this block gives way")]
    Limited,
    /// The origin fails or is slow, and is left alone for a while.
    #[error("breaker open")]
    Open,
    /// An operator has switched the fragment off.
    #[error("switched off")]
    Switched,
    /// The work panicked.
    #[error("panic")]
    Panic,
    /// The server is stopping.
    #[error("shutting down")]
    Stopping,
}

impl Cause {
    /// One word for headers and labels, by [`number`](Self::number).
    pub const LABELS: [&'static str; 21] = [
        "timeout",
        "connect",
        "transport",
        "truncated",
        "status",
        "redirect",
        "too_large",
        "content_type",
        "empty",
        "too_small",
        "lacks",
        "too_few",
        "unreadable",
        "template",
        "not_pushed",
        "busy",
        "limited",
        "open",
        "switched",
        "panic",
        "stopping",
    ];

    /// Which of the causes it is: the place of its word in [`LABELS`](Self::LABELS).
    pub fn number(&self) -> usize {
        match self {
            Self::Timeout => 0,
            Self::Connect(_) => 1,
            Self::Transport(_) => 2,
            Self::Truncated(_) => 3,
            Self::Status(_) => 4,
            Self::Redirect(_) => 5,
            Self::TooLarge(_) => 6,
            Self::ContentType(_) => 7,
            Self::Empty => 8,
            Self::TooSmall(_) => 9,
            Self::Lacks(_) => 10,
            Self::TooFew { .. } => 11,
            Self::Unreadable(_) => 12,
            Self::Template(_) => 13,
            Self::NotPushed => 14,
            Self::Busy => 15,
            Self::Limited => 16,
            Self::Open => 17,
            Self::Switched => 18,
            Self::Panic => 19,
            Self::Stopping => 20,
        }
    }

    /// One word for headers and labels.
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.number()]
    }
}

/// How a slot was filled, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A fresh copy.
    Cached,
    /// An answer of this moment.
    Fetched,
    /// An answer of this moment: a list some of whose items could not be had, also where something
    /// stands in for them.
    Partial {
        /// Items that are missing.
        missing: usize,
        /// Items that there are.
        of: usize,
    },
    /// Content that the site declared in place.
    Declared,
    /// The origin says that there is nothing to show here.
    Absent,
    /// A copy beyond its ttl, because of `Cause`.
    Stale(Cause),
    /// Another fragment, named, because of `Cause`.
    Sibling(String, Cause),
    /// A static file of the site, because of `Cause`.
    Static(Cause),
    /// Inline HTML, because of `Cause`.
    Inline(Cause),
    /// Default data, because of `Cause`.
    DefaultData(Cause),
    /// A tag by which the browser asks once more, because of `Cause`.
    Lazy(Cause),
    /// Left out.
    Omitted(OmitReason),
}

/// Why a slot was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OmitReason {
    /// The level gives it up.
    Shed(Level),
    /// An operator has switched it off.
    Switched,
    /// Nothing could be had.
    Failed(Cause),
    /// The page became something else (a redirect, a 404, an error page) before it was needed.
    Unneeded,
}

impl Outcome {
    /// One word for headers and labels, by [`number`](Self::number).
    pub const LABELS: [&'static str; 15] = [
        "cached",
        "fetched",
        "declared",
        "absent",
        "stale",
        "sibling",
        "static",
        "inline",
        "default_data",
        "shed",
        "failed",
        "unneeded",
        "partial",
        "lazy",
        "switched",
    ];

    /// Which of the kinds of outcome it is: the place of its word in [`LABELS`](Self::LABELS).
    pub fn number(&self) -> usize {
        match self {
            Self::Cached => 0,
            Self::Fetched => 1,
            Self::Declared => 2,
            Self::Absent => 3,
            Self::Stale(_) => 4,
            Self::Sibling(..) => 5,
            Self::Static(_) => 6,
            Self::Inline(_) => 7,
            Self::DefaultData(_) => 8,
            Self::Omitted(OmitReason::Shed(_)) => 9,
            Self::Omitted(OmitReason::Failed(_)) => 10,
            Self::Omitted(OmitReason::Unneeded) => 11,
            Self::Partial { .. } => 12,
            Self::Lazy(_) => 13,
            Self::Omitted(OmitReason::Switched) => 14,
        }
    }

    /// One word for headers and labels.
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.number()]
    }

    /// Whether readers see what the editors meant them to see. What an operator has switched off is
    /// meant not to be seen, for as long as that may be.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Cached | Self::Fetched | Self::Declared | Self::Absent | Self::Stale(_) => true,
            Self::Omitted(OmitReason::Switched) => true,
            Self::Sibling(_, cause)
            | Self::Static(cause)
            | Self::Inline(cause)
            | Self::DefaultData(cause) => *cause == Cause::Switched,
            Self::Partial { .. } | Self::Lazy(_) | Self::Omitted(_) => false,
        }
    }

    /// Whether the page became something else before anybody waited for it.
    pub fn is_unneeded(&self) -> bool {
        matches!(self, Self::Omitted(OmitReason::Unneeded))
    }

    /// What went wrong, if something did.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Stale(cause)
            | Self::Sibling(_, cause)
            | Self::Static(cause)
            | Self::Inline(cause)
            | Self::DefaultData(cause)
            | Self::Lazy(cause)
            | Self::Omitted(OmitReason::Failed(cause)) => Some(cause),
            Self::Cached
            | Self::Fetched
            | Self::Partial { .. }
            | Self::Declared
            | Self::Absent
            | Self::Omitted(OmitReason::Shed(_) | OmitReason::Switched | OmitReason::Unneeded) => {
                None
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self {
            Self::Sibling(name, cause) => write!(f, " {name} ({cause})"),
            Self::Partial { missing, of } => write!(f, " ({missing} of {of} missing)"),
            Self::Omitted(OmitReason::Shed(level)) => write!(f, " (level {level})"),
            Self::Cached
            | Self::Fetched
            | Self::Declared
            | Self::Absent
            | Self::Stale(_)
            | Self::Static(_)
            | Self::Inline(_)
            | Self::DefaultData(_)
            | Self::Lazy(_)
            | Self::Omitted(OmitReason::Failed(_) | OmitReason::Switched | OmitReason::Unneeded) => {
                self.cause().map_or(Ok(()), |cause| write!(f, " ({cause})"))
            }
        }
    }
}

/// The account of one fragment in one page.
#[derive(Debug, Clone, PartialEq)]
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
}

/// The account of one page. It borrows what it names: whoever keeps it makes it their own.
#[derive(Debug, Clone, PartialEq)]
pub struct PageReport<'p> {
    /// The page's name in `fragments.toml`.
    pub page: Cow<'p, str>,
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
    /// The status that was sent; 0 when the reader had left before there was one.
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
    pub fragments: Vec<FragmentReport<'p>>,
    /// What was asked of origins, in the order in which it was begun. What other pages have asked and
    /// this one has waited for is theirs.
    pub attempts: Vec<AttemptReport<'p>>,
}

impl PageReport<'_> {
    /// The same, to keep.
    pub fn into_owned(self) -> PageReport<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let fragments = self.fragments.into_iter().map(|fragment| FragmentReport {
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
        let slots = self.fragments.iter();
        let slots = slots.filter(|f| !f.outcome.is_unneeded());
        let settled = slots.map(|fragment| fragment.duration).max();
        self.head_after.max(settled.unwrap_or_default())
    }

    /// Whether every block that anybody waited for was there.
    pub fn is_complete(&self) -> bool {
        let whole = |f: &FragmentReport<'_>| f.outcome.is_whole() || f.outcome.is_unneeded();
        self.status == 200 && self.snapshot.is_none() && self.fragments.iter().all(whole)
    }
}

/// Something an operator would want in the record that is not about one page.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new site is served.
    Reloaded(Vec<String>),
    /// A site was refused; the old one stays.
    ReloadRefused(String),
    /// An operator's switch was set, was taken back, or is over.
    Switched(SwitchChange),
    /// What was known of switches cannot be read; none is set.
    SwitchesLost(String),
    /// The law has moved the level that everybody's pages have at least.
    Degraded {
        /// Before.
        from: Level,
        /// After; one more than the ladder has where pages are answered from snapshots.
        to: Level,
        /// What the law was told.
        sample: Sample,
        /// What the law says.
        decision: Decision,
        /// Whether it only says so.
        is_dry_run: bool,
    },
    /// Copies were purged.
    Purged {
        /// What was meant.
        what: String,
        /// Whether they were thrown away.
        hard: bool,
        /// Copies in memory that were touched.
        copies: usize,
    },
    /// Something has happened to an origin.
    Origin {
        /// Its name.
        origin: String,
        /// Which of its replicas, if it is not about all of it.
        replica: Option<String>,
        /// Who is called when it is sick.
        owner: Option<String>,
        /// What.
        change: OriginChange,
    },
    /// The server begins to serve.
    Started {
        /// Of the program.
        version: &'static str,
        /// Whether the one before ended without saying so: a crash, a power cut.
        is_after_crash: bool,
    },
    /// The server has been asked to stop.
    Stopping,
    /// The server has stopped; whether what was in flight was finished.
    Stopped(bool),
    /// A copy was pushed or withdrawn. There are too many of these to be told one by one.
    Pushed,
    /// An origin is made to misbehave, or no longer, to see what comes of it.
    Fault {
        /// Its name.
        origin: String,
        /// How, in words; nothing where it is healthy again.
        trouble: Option<String>,
    },
    /// What is promised to readers is being missed too often, or no longer.
    Slo {
        /// The name of the objective.
        objective: String,
        /// What has become of its error budget.
        change: SloChange,
    },
}

/// What has become of the error budget of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SloChange {
    /// It is being used up too fast.
    Burning {
        /// How many times as fast as it may be.
        rate: f64,
        /// Measured over this long.
        over: Duration,
    },
    /// Nothing is left of it.
    Spent,
    /// Some of it is left again.
    Restored,
    /// It is used no faster than it may be again.
    Recovered,
}

/// What has become of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchChange {
    /// It is in force.
    Set {
        /// The switch.
        switch: Switch,
        /// The one whose place it has taken.
        replaced: Option<Switch>,
    },
    /// Somebody has taken it back.
    Cleared {
        /// The switch.
        switch: Switch,
        /// Who.
        by: String,
    },
    /// It was set to begin later, by somebody or by the site's schedule of this name, and is in force.
    Begun {
        /// The switch.
        switch: Switch,
        /// The schedule.
        schedule: Option<String>,
    },
    /// It has come to its end.
    Over(Switch),
}

impl fmt::Display for SwitchChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { switch, replaced } => {
                let Switch {
                    act, owner, reason, ..
                } = switch;
                match switch.end() {
                    Some(until) if switch.from.is_some() => {
                        let from = switch.begin();
                        write!(f, "{act} from {from} until {until}, by {owner}: {reason}")?;
                    }
                    Some(until) => write!(f, "{act} until {until}, by {owner}: {reason}")?,
                    None => write!(f, "{act} for this run, by {owner}: {reason}")?,
                }
                match replaced {
                    Some(Switch {
                        act, owner, reason, ..
                    }) => write!(f, " (before: {act}, by {owner}: {reason})"),
                    None => Ok(()),
                }
            }
            Self::Cleared { switch, by } => {
                let Switch {
                    act, owner, reason, ..
                } = switch;
                write!(f, "taken back by {by}: {act}, by {owner}: {reason}")
            }
            Self::Begun { switch, schedule } => {
                let Switch {
                    act,
                    owner,
                    reason,
                    until,
                    ..
                } = switch;
                write!(f, "begun: {act} until {until}, by {owner}: {reason}")?;
                match schedule {
                    Some(schedule) => write!(f, " (schedule {schedule})"),
                    None => Ok(()),
                }
            }
            Self::Over(switch) => {
                let Switch {
                    act, owner, reason, ..
                } = switch;
                write!(f, "over: {act}, by {owner}: {reason}")
            }
        }
    }
}

/// Whether an origin, or a replica of one, is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All requests are made: it is healthy.
    Closed,
    /// None is made.
    Open,
    /// One at a time, to find out how it is.
    HalfOpen,
    /// A growing share of them.
    Recovering,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Recovering];

    /// One word for labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Recovering => "recovering",
        }
    }
}

/// What has happened to an origin, or to one of its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginChange {
    /// A breaker has moved.
    Breaker {
        /// Whose requests it stops; `None` for the breaker of a replica, which is everybody's.
        of: Option<Grade>,
        /// Before.
        from: BreakerState,
        /// After.
        to: BreakerState,
        /// What opened it last.
        why: String,
        /// How long it is left alone, if it is.
        pause: Option<Duration>,
    },
    /// A canary is worse than the others, and is asked no more.
    CanaryWithdrawn {
        /// In what.
        why: String,
    },
    /// Its health check has another result than before.
    Health {
        /// Whether it is a good one.
        is_healthy: bool,
        /// What the check has found.
        why: String,
    },
}

impl OriginChange {
    /// Whether it is only one more look at what is sick.
    pub fn is_routine(&self) -> bool {
        match self {
            Self::Breaker { from, to, .. } => {
                let is_again = *from == BreakerState::HalfOpen && *to == BreakerState::Open;
                is_again || *to == BreakerState::HalfOpen
            }
            Self::CanaryWithdrawn { .. } | Self::Health { .. } => false,
        }
    }
}

impl fmt::Display for OriginChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaker {
                of, to, why, pause, ..
            } => {
                let pause = pause.unwrap_or_default().as_millis();
                let by = of.map_or_else(String::new, |grade| {
                    format!(" by {} fragments", grade.label())
                });
                match to {
                    BreakerState::Closed => write!(f, "is asked as ever again{by}"),
                    BreakerState::Open => write!(
                        f,
                        "is left alone{by}, for {pause} ms and then longer and longer: {why}"
                    ),
                    BreakerState::HalfOpen => write!(f, "is tried{by} with single requests"),
                    BreakerState::Recovering => {
                        write!(f, "answers again, and is asked{by} step by step")
                    }
                }
            }
            Self::CanaryWithdrawn { why } => {
                write!(
                    f,
                    "is a canary and worse than the others, it gets nothing any more until it is \
                     declared anew: {why}"
                )
            }
            Self::Health {
                is_healthy: true, ..
            } => f.write_str("passes its health check again"),
            Self::Health { why, .. } => write!(f, "fails its health check: {why}"),
        }
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
