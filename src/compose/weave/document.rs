//! Documents as they came, kept by the rules of HTTP (shell). Owns which of them are kept, and under
//! what; what is kept is the document before anything was put into it.
//!
//! Only what its origin gives a lifetime is kept, and only if it is the same for every reader: what
//! varies with more than the coding is not, nor what came with a cookie for the reader, nor what was
//! asked for with one unless it says that it is public. Invariant: a document that broke off is never
//! kept.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, COOKIE, DATE, EXPIRES, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::cache::entry::Head;
use crate::cache::freshness::{CacheControl, delta_seconds, initial_age, parse_date};
use crate::cache::surrogate::Surrogate;
use crate::cache::{Content, Entry, State};
use crate::clock::Instant;
use crate::compose::Composer;
use crate::fetch::origin::BodyStream;
use crate::fragment::{Freshness, Reach, SourceRequest};
use crate::layout::parts::Parts;

use super::Base;

/// What such copies are called.
const NAME: &str = "document";

/// Told from everything that fragments keep, whose keys are hashes of what is declared.
const FINGERPRINT: u64 = u64::from_be_bytes(*b"document");

/// Largest document that is kept.
const KEPT_MAX: usize = 2 * 1024 * 1024;

/// A request for a document, as far as copies are concerned.
#[derive(Debug, Clone)]
pub struct Wanted {
    key: Arc<SourceRequest>,
    /// Whether it tells who asks.
    is_personal: bool,
    began: Instant,
}

/// A copy of a document.
pub struct Kept {
    /// Its headers, as they came, with its age.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whether it is as good as a new answer.
    pub is_fresh: bool,
}

impl Wanted {
    /// The request that `origin` would be sent; `None` if no copy is an answer to it.
    pub fn new(
        composer: &Composer,
        origin: &str,
        base: &Base,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let is_asked = *method == Method::GET || *method == Method::HEAD;
        if !is_asked || headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let key = SourceRequest {
            fingerprint: FINGERPRINT,
            target: base.target.clone(),
            // what origins are told of the address by which they are asked is in what they answer
            headers: vec![
                ("origin".to_owned(), origin.to_owned()),
                ("host".to_owned(), base.host.clone().unwrap_or_default()),
                ("scheme".to_owned(), base.scheme().to_owned()),
            ],
            params: Vec::new(),
        };
        Some(Self {
            key: Arc::new(key),
            is_personal: headers.contains_key(COOKIE),
            began: composer.clock.now(),
        })
    }

    /// The copy, unless it is good for nothing any more.
    pub fn copy(&self, composer: &Composer) -> Option<Kept> {
        let now = composer.clock.moment(composer.clock.now());
        let copy = composer.cache.lookup(&self.key, &Freshness::NONE, now)?;
        let Content::Html(parts) = &copy.entry.content else {
            return None;
        };
        let mut headers: HeaderMap = HeaderMap::new();
        for (name, value) in &copy.entry.head.headers {
            headers.append(name.clone(), value.clone());
        }
        headers.insert(AGE, copy.entry.age(now).as_secs().into());
        Some(Kept {
            headers,
            body: parts.main.clone(),
            is_fresh: copy.state == State::Fresh,
        })
    }

    /// The body of the answer, which is kept when it has come to its end, if it may be.
    pub fn keep(
        self,
        composer: &Arc<Composer>,
        status: StatusCode,
        headers: &HeaderMap,
        body: BodyStream,
    ) -> BodyStream {
        let Some(entry) = self.entry(composer, status, headers) else {
            return body;
        };
        let keeping = Keeping {
            composer: Arc::clone(composer),
            wanted: self,
            entry,
            so_far: Some(BytesMut::new()),
        };
        stream::unfold((body, Some(keeping)), |(mut body, keeping)| async move {
            let chunk = body.next().await;
            match (chunk, keeping) {
                (Some(Ok(chunk)), Some(mut keeping)) => {
                    keeping.add(&chunk);
                    Some((Ok(chunk), (body, Some(keeping))))
                }
                (Some(chunk), _) => Some((chunk, (body, None))),
                (None, keeping) => {
                    if let Some(keeping) = keeping {
                        keeping.finish();
                    }
                    None
                }
            }
        })
        .fuse()
        .boxed()
    }

    /// What the answer will be as a copy, but for its content; `None` if it may not be one.
    fn entry(&self, composer: &Composer, status: StatusCode, headers: &HeaderMap) -> Option<Entry> {
        let now = composer.clock.now();
        let wall = composer.clock.wall(now);
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let lines = headers.get_all(CACHE_CONTROL).iter();
        let control: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let date = text(DATE).and_then(parse_date);
        let says = CacheControl::parse(control.iter().copied());
        let says = says.or_expires(text(EXPIRES), date.unwrap_or(wall));
        let surrogate = Surrogate::of(headers);
        let says = surrogate.over(says);
        let is_public = surrogate.max_age.is_some()
            || control.iter().any(|line| {
                let line = line.to_ascii_lowercase();
                line.contains("public") || line.contains("s-maxage")
            });
        let vary = headers.get_all(VARY).iter();
        let is_the_same = vary
            .flat_map(|line| line.as_bytes().split(|b| *b == b','))
            .all(|name| name.trim_ascii().eq_ignore_ascii_case(b"accept-encoding"));
        let is_for_all = !says.private
            && !says.no_store
            && is_the_same
            && !headers.contains_key(SET_COOKIE)
            && (is_public || !self.is_personal);
        if status != StatusCode::OK || !is_for_all {
            return None;
        }
        let took = now.saturating_duration_since(self.began);
        let age = text(AGE).and_then(delta_seconds);
        let kept = headers.iter().filter(|(name, _)| **name != AGE);
        let mut entry = Entry::new(NAME, Content::Absent, composer.clock.moment(now));
        entry.says = says;
        entry.took = took;
        entry.initial_age = initial_age(date, age, took, wall);
        entry.tags = super::super::flight::work::tags(headers);
        entry.head = Head {
            headers: kept.map(|(n, v)| (n.clone(), v.clone())).collect(),
        };
        // "nothing" has no afterlife: whether it is worth it is asked of what it will be
        entry.content = Content::Html(Parts::default());
        entry.is_worth_storing(&Freshness::NONE).then_some(entry)
    }
}

/// A document that is being kept while it passes.
struct Keeping {
    composer: Arc<Composer>,
    wanted: Wanted,
    entry: Entry,
    /// `None` when it has become too large.
    so_far: Option<BytesMut>,
}

impl Keeping {
    fn add(&mut self, chunk: &Bytes) {
        if let Some(so_far) = &mut self.so_far {
            so_far.extend_from_slice(chunk);
            if so_far.len() > KEPT_MAX {
                self.so_far = None;
            }
        }
    }

    fn finish(self) {
        let Some(so_far) = self.so_far else { return };
        let mut entry = self.entry;
        entry.content = Content::Html(Parts {
            main: so_far.freeze(),
            named: Vec::new(),
        });
        let began = self.composer.clock.moment(self.wanted.began);
        let entry = entry.compacted();
        let (cache, key) = (&self.composer.cache, self.wanted.key);
        cache.store(key, entry, &Freshness::NONE, Reach::default(), began);
    }
}
