//! How a slot was filled, or why it was not. Owns the words that headers, logs, metrics and the admin state
//! have for it.

use std::fmt;

use crate::degradation::Level;

/// Why content could not be had from a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
