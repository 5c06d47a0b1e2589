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
        for (_, value) in &mut self.head.headers {
            *value = HeaderValue::from_bytes(value.as_bytes()).expect("it is a value already");
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::header::LINK;

    fn entry(html: Bytes, link: HeaderValue) -> Entry {
        Entry {
            content: Content::Html(Parts::split(html)),
            head: Head {
                headers: vec![(LINK, link)],
            },
            stored_at: crate::clock::Clock::start().now(),
            says: CacheControl::default(),
        }
    }

    #[test]
    fn a_compacted_copy_holds_nothing_of_the_buffer_it_came_in() {
        let mut wire = b"</a.css>; rel=preload\r\n\r\n".to_vec();
        let head_end = wire.len() - 4;
        wire.extend_from_slice(b"x<!--part head--><title>t</title><!--/part-->y");
        wire.resize(1 << 20, b' ');
        let wire = Bytes::from(wire);
        for to in [head_end + 4 + 1, head_end + 4 + 46] {
            let html = wire.slice(head_end + 4..to);
            let link = HeaderValue::from_maybe_shared(wire.slice(..head_end)).unwrap();
            let before = entry(html, link);
            let compacted = before.clone().compacted();
            assert_eq!(compacted, before, "the copy says the same");
            drop(before);
            let held = wire.as_ptr_range();
            let outside = |bytes: &[u8]| assert!(!held.contains(&bytes.as_ptr()));
            let Content::Html(parts) = &compacted.content else {
                unreachable!("it was made of HTML")
            };
            outside(&parts.main);
            parts.named.iter().for_each(|(_, part)| outside(part));
            outside(compacted.head.headers[0].1.as_bytes());
        }
        assert!(wire.is_unique(), "somebody holds the buffer still");
    }

    #[test]
    fn a_rendered_copy_holds_no_more_than_its_bytes() {
        let mut html = Vec::with_capacity(1 << 20);
        html.extend_from_slice(b"<p>few</p>");
        let entry = entry(html.into(), HeaderValue::from_static("x")).compacted();
        let Content::Html(parts) = entry.content else {
            unreachable!("it was made of HTML")
        };
        let bytes = parts.main.try_into_mut().expect("the copy has its own");
        assert!(bytes.capacity() < 1024, "{} bytes", bytes.capacity());
    }

    #[test]
    fn headers_weigh_too() {
        let html = Bytes::from_static(b"<p>x</p>");
        let light = entry(html.clone(), HeaderValue::from_static(""));
        let heavy = entry(html, HeaderValue::from_str(&"x".repeat(5000)).unwrap());
        assert_eq!(heavy.weight(), light.weight() + 5000);
    }
}
