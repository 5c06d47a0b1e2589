//! Plain validated numbers: for how long a copy is good, and what an answer must satisfy. Owns no
//! behaviour; the arithmetic is in [`cache::freshness`](crate::cache::freshness).

use std::time::Duration;

/// For how long a stored copy is good, and for what.
///
/// The three spans follow one another: fresh for `ttl`, then stale for `grace`, then kept for
/// `keep`. What is not declared is as the origin's `Cache-Control` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Served without asking the origin. `None`: as the origin's `max-age` says, or not at all.
    pub ttl: Option<Duration>,
    /// After `ttl`: served if the origin does not answer within `patience`. `None`: as the origin's
    /// `stale-while-revalidate` says (RFC 5861, 3), or not at all.
    pub grace: Option<Duration>,
    /// After `grace`: served only if the origin fails. `None`: as the origin's `stale-if-error` says
    /// (RFC 5861, 4), but not less than `keep_unsaid`.
    pub keep: Option<Duration>,
    /// What `keep` is at least where it is not declared: an article must be there on the day its
    /// origin is dead, whether or not anybody has thought of that day.
    pub keep_unsaid: Duration,
    /// How long a page that holds a stale copy waits for a fresh one.
    pub patience: Duration,
    /// Percent of `ttl`, 0 to 50, by which copies are made to go stale at different times.
    pub jitter: u8,
    /// Whether a copy that is asked for often is renewed before it goes stale.
    pub early: bool,
    /// Whether it depends on who asks: what is one reader's own is never held longer than this says.
    pub is_personal: bool,
}

impl Freshness {
    /// For what only its own ttl limits.
    pub const NONE: Self = Self {
        ttl: None,
        grace: None,
        keep: None,
        keep_unsaid: Duration::ZERO,
        patience: Duration::ZERO,
        jitter: 0,
        early: false,
        is_personal: false,
    };
}

/// Where copies of a fragment are kept besides memory. What is for one reader only is kept nowhere
/// else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// On this node's disk, for the next start.
    pub disk: bool,
    /// In the store that all nodes share.
    pub shared: bool,
    /// Whether nobody can be asked for it again: it is then not given up for want of room.
    pub pinned: bool,
}

/// What an origin's answer must satisfy to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes after decompression.
    pub size_max: usize,
    /// Accepted media types, lower case, without parameters; empty accepts what the kind of
    /// source implies (JSON for templates, HTML otherwise).
    pub accept: Vec<String>,
    /// Smallest body, in bytes after decompression.
    pub size_min: usize,
    /// What the HTML must hold, each of them, to be used: what an error page that says 200 lacks.
    pub must_contain: Vec<String>,
}

/// Stands for every media type among those that are accepted. No declaration can say it.
const ANY_TYPE: &str = "*/*";

impl Limits {
    /// For what is taken as it is, whatever it is, up to a size.
    pub fn anything(size_max: usize) -> Self {
        Self {
            size_max,
            accept: vec![ANY_TYPE.to_owned()],
            size_min: 0,
            must_contain: Vec::new(),
        }
    }

    /// Whether an answer is taken as it is: empty, of any type, in any character set.
    pub fn take_anything(&self) -> bool {
        self.accept.iter().any(|accept| accept == ANY_TYPE)
    }
}
