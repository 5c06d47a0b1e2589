//! One copy of one fragment: rendered HTML, split into its parts, and what came with it. Owns the
//! age of the copy; immutable once made.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use crate::clock::Moment;
use crate::fragment::{Freshness, Tags};
use crate::layout::parts::Parts;

use super::coded::Coded;
use super::freshness::{CacheControl, Lifetime, State};

/// How far the clocks of two nodes, or of two runs, may be apart without a word.
pub const CLOCKS_APART: Duration = Duration::from_secs(5);

/// What a core fragment says about the page's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The status of its answer, where that came with content: 200, or another of its class.
    pub status: StatusCode,
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

/// By what an origin can be asked whether a copy is still right (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified`.
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    /// Whether there is anything to ask by.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// A fragment in a snapshot of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// The fragment's name.
    pub fragment: String,
    /// Path and query that it was asked for, encoded.
    pub target: String,
}

impl Ingredient {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.fragment.len() + self.target.len()
    }
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The fragment it is a copy of.
    pub fragment: Arc<str>,
    /// What there is to show.
    pub content: Content,
    /// For the page's head, when the fragment is its core.
    pub head: Head,
    /// When the answer was complete.
    pub stored_at: Moment,
    /// How old it was then, by its own headers.
    pub initial_age: Duration,
    /// How long it took to get it.
    pub took: Duration,
    /// What the origin said about its lifetime.
    pub says: CacheControl,
    /// By what it can be renewed.
    pub validators: Validators,
    /// By what it can be purged, besides its fragment and its key.
    pub tags: Tags,
    /// Of a whole page: what it is made of, so that it goes when one of these does.
    pub made_of: Vec<Ingredient>,
    /// Its publisher's own count; a copy with a lower one never takes its place.
    pub version: Option<u64>,
    /// Drawn once for each copy: how much earlier than others it goes stale, of the jitter allowed.
    pub chance: u8,
    /// Softly purged: stale whatever its age.
    pub purged: bool,
    /// When a copy for the same request was last written beyond memory.
    pub written_at: Moment,
    /// As it is sent compressed, and what it was read as.
    pub coded: Coded,
    /// A hash of its content, once somebody has asked for it.
    pub digest: Digest,
}

/// A hash that is made when it is asked for: it says nothing that the content does not say.
#[derive(Debug, Default)]
pub struct Digest(OnceLock<u128>);

impl Clone for Digest {
    /// What is cloned may be given other content.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Digest {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Digest {}

impl Entry {
    /// A copy of `content` that says nothing but that, stored at `now`.
    pub fn new(fragment: impl Into<Arc<str>>, content: Content, now: Moment) -> Self {
        Self {
            fragment: fragment.into(),
            content,
            head: Head::default(),
            stored_at: now,
            initial_age: Duration::ZERO,
            took: Duration::ZERO,
            says: CacheControl::default(),
            validators: Validators::default(),
            tags: Tags::default(),
            made_of: Vec::new(),
            version: None,
            chance: 0,
            purged: false,
            written_at: Moment::default(),
            coded: Coded::default(),
            digest: Digest::default(),
        }
    }

    /// A hash of its content, the same wherever the content is.
    pub fn digest(&self) -> u128 {
        *self.digest.0.get_or_init(|| {
            if let Content::Html(parts) = &self.content
                && parts.named.is_empty()
            {
                return xxh3_128(&parts.main);
            }
            let mut hasher = Xxh3Default::new();
            if let Content::Html(parts) = &self.content {
                hasher.update(&parts.main);
                for (name, part) in &parts.named {
                    // so that nothing runs into the next
                    hasher.update(&(name.len() as u64).to_le_bytes());
                    hasher.update(name.as_bytes());
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
            }
            hasher.digest128()
        })
    }

    /// When somebody set out for it: what was purged after that may be in it still.
    pub fn asked_at(&self) -> Moment {
        let took = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX);
        Moment::from_micros(self.stored_at.micros().saturating_sub(took))
    }

    /// How old the copy is: since its origin made it, as far as that is known.
    pub fn age(&self, now: Moment) -> Duration {
        self.initial_age.saturating_add(now.since(self.stored_at))
    }

    /// What the copy is good for by the present declaration, where every ttl is multiplied by `factor`.
    /// A declared ttl counts from when the answer came; the origin's own from when the answer was made.
    pub fn state(&self, declared: &Freshness, factor: f64, now: Moment) -> State {
        let age = self.counted_age(declared, now);
        let state = self.stretched(declared, factor).state(age);
        // a copy from the future is by a clock that was wrong: there is no telling how fresh it is
        if self.purged || self.stored_at > now.after(CLOCKS_APART) {
            state.max(State::Stale)
        } else {
            state
        }
    }

    /// How long it goes on being fresh, where every ttl is multiplied by `factor`.
    pub fn remains_fresh(&self, declared: &Freshness, factor: f64, now: Moment) -> Duration {
        let age = self.counted_age(declared, now);
        let ttl = self.stretched(declared, factor).ttl;
        ttl.saturating_sub(age)
    }

    fn stretched(&self, declared: &Freshness, factor: f64) -> Lifetime {
        let one_reader = declared.is_personal || self.says.private;
        self.lifetime(declared).stretched(factor, one_reader)
    }

    fn counted_age(&self, declared: &Freshness, now: Moment) -> Duration {
        match declared.ttl {
            Some(_) => now.since(self.stored_at),
            None => self.age(now),
        }
    }

    /// For how long the copy is good, by the present declaration. "Nothing to show" is worth
    /// nothing once it is stale.
    pub fn lifetime(&self, declared: &Freshness) -> Lifetime {
        let lifetime = Lifetime::new(declared, &self.says).jittered(declared.jitter, self.chance);
        match self.content {
            Content::Html(_) => lifetime,
            Content::Absent => Lifetime::only_fresh(lifetime.ttl),
            Content::Withdrawn => Lifetime::only_fresh(Duration::ZERO),
        }
    }

    /// Whether a copy like this is ever good for anything.
    pub fn is_worth_storing(&self, declared: &Freshness) -> bool {
        self.lifetime(declared).is_worth_storing()
    }

    /// The same with bytes of its own. What comes off the wire is a slice of a larger buffer, which
    /// a copy that is kept would keep whole.
    pub fn compacted(mut self) -> Self {
        if let Content::Html(parts) = &mut self.content {
            parts.compact();
        }
        let of_their_own = |value: &mut HeaderValue| {
            *value = HeaderValue::from_bytes(value.as_bytes()).expect("it is a value already");
        };
        let headers = self.head.headers.iter_mut().map(|(_, value)| value);
        let validators = [
            &mut self.validators.etag,
            &mut self.validators.last_modified,
        ];
        headers
            .chain(validators.into_iter().flatten())
            .for_each(of_their_own);
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
        let validators = [&self.validators.etag, &self.validators.last_modified];
        let validators = validators.into_iter().flatten().map(HeaderValue::len);
        size_of::<Self>()
            + content
            + headers.sum::<usize>()
            + validators.sum::<usize>()
            + self.tags.weight()
            + self.made_of.iter().map(Ingredient::weight).sum::<usize>()
            + self.coded.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::header::LINK;

    fn entry(html: Bytes, link: HeaderValue) -> Entry {
        let content = Content::Html(Parts::split(html));
        Entry {
            head: Head {
                headers: vec![(LINK, link)],
                ..Head::default()
            },
            ..Entry::new("block", content, Moment::default())
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
