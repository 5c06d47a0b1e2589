//! Plain validated numbers: for how long a copy is good, and what an answer must satisfy. Owns no
//! behaviour; the arithmetic is in [`cache::freshness`](crate::cache::freshness).

use std::time::Duration;

/// For how long a stored copy is good, and for what.
///
/// The three follow one another: fresh for `ttl`, then stale for `grace`, then kept for `keep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Served without asking the origin. `None`: as the origin's `Cache-Control` says, or not at all.
    pub ttl: Option<Duration>,
    /// After `ttl`: served if the origin does not answer within `patience`
    /// (stale-while-revalidate and stale-if-error of RFC 5861).
    pub grace: Duration,
    /// After `grace`: served only if the origin fails.
    pub keep: Duration,
    /// How long a page that holds a stale copy waits for a fresh one.
    pub patience: Duration,
}

/// What an origin's answer must satisfy to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes after decompression.
    pub size_max: usize,
    /// Accepted media types, lower case, without parameters; empty accepts what the kind of
    /// source implies (JSON for templates, HTML otherwise).
    pub accept: Vec<String>,
}
