//! One copy of one fragment: rendered HTML, split into its parts, and what came with it. Owns the
//! age of the copy; immutable once made.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::clock::Instant;
use crate::fragment::Freshness;
use crate::layout::parts::Parts;

use super::freshness::{CacheControl, Lifetime};

/// What a core fragment says about the page's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Response headers that the reader gets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What an answer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Something to show.
    Html(Parts),
    /// There is nothing to show.
    Absent,
    /// There was something and it was taken back. Good for nothing but to be newer than what a
    /// flight may bring that was launched before.
    Withdrawn,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What there is to show.
    pub content: Content,
    /// For the page's head, when the fragment is its core.
    pub head: Head,
    /// When the answer was complete.
    pub stored_at: Instant,
    /// What the origin said about its lifetime.
    pub says: CacheControl,
}

impl Entry {
    /// How old the copy is.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.stored_at)
    }

    /// For how long the copy is good, by the present declaration. "Nothing to show" is worth
    /// nothing once it is stale.
    pub fn lifetime(&self, declared: &Freshness) -> Lifetime {
        let lifetime = Lifetime::new(declared, &self.says);
        match self.content {
            Content::Html(_) => lifetime,
            Content::Absent => Lifetime::only_fresh(lifetime.ttl),
            Content::Withdrawn => Lifetime::only_fresh(Duration::ZERO),
        }
    }

    /// The same with bytes of its own. What comes off the wire is a slice of a larger buffer, which
    /// a copy that is kept would keep whole.
    pub fn compacted(mut self) -> Self {
        if let Content::Html(parts) = &mut self.content {
            parts.compact();
        }
        self
    }

    /// Bytes that the copy takes in memory, roughly.
    pub fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Html(parts) => parts.len(),
            Content::Absent | Content::Withdrawn => 0,
        };
        let headers = self.head.headers.iter();
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
        size_of::<Self>() + content + headers.sum::<usize>()
    }
}
