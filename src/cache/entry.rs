//! One copy of one fragment: rendered HTML, split into its parts, and what came with it. Owns the
//! age of the copy; immutable once made.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::clock::Instant;
use crate::layout::parts::Parts;

use super::freshness::{Lifetime, State};

/// What a core fragment says about the page's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Response headers that the reader gets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The HTML.
    pub parts: Parts,
    /// Whether the origin said that there is nothing to show.
    pub absent: bool,
    /// For the page's head, when the fragment is its core.
    pub head: Head,
    /// When the answer was complete.
    pub stored_at: Instant,
    /// For how long it is good, and for what.
    pub lifetime: Lifetime,
}

impl Entry {
    /// How old the copy is.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.stored_at)
    }

    /// What the copy is good for.
    pub fn state(&self, now: Instant) -> State {
        self.lifetime.state(self.age(now))
    }

    /// Bytes that the copy takes in memory, roughly.
    pub fn weight(&self) -> usize {
        let headers = self
            .head
            .headers
            .iter()
            .map(|(n, v)| n.as_str().len() + v.len());
        size_of::<Self>() + self.parts.len() + headers.sum::<usize>()
    }
}
