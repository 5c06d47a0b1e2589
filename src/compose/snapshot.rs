//! Snapshots: the last complete copy of a whole page, for the day its core cannot be had. Owns when
//! one is taken, what it is kept under, and when it is the page.
//!
//! A snapshot is a copy like any other: it lies in the same stores, is purged by the same tags, and
//! is found again after a restart. Invariant: it holds a page that was complete and for everybody.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout_at;
use xxhash_rust::xxh3::Xxh3;

use crate::cache::beyond::DISK_TIME;
use crate::cache::{Content, Entry, Head, State};
use crate::clock::{Instant, Moment};
use crate::degradation::Level;
use crate::fragment::facts::Facts;
use crate::fragment::{Freshness, Reach, SourceRequest, Tags};
use crate::layout::parts::Parts;
use crate::site::Page;

use super::account::Account;
use super::slot::Fill;
use super::{Order, flight};

/// Between two snapshots of whatever pages: 50 a second, which writes a few megabytes and costs a
/// core less than a hundredth of its time.
const INTERVAL: Duration = Duration::from_millis(20);

/// Where snapshots are kept besides memory.
const REACH: Reach = Reach {
    disk: true,
    shared: true,
    pinned: false,
};

/// Pages that are remembered as asked for once.
const SEEN_MAX: usize = 4096;

/// When the next snapshot may be taken, and of what.
#[derive(Debug)]
pub(super) struct Gate {
    /// Microseconds since 1970.
    opens_at: AtomicU64,
    /// What was asked for once lately, by its hash, each at its own place.
    seen: Box<[AtomicU64]>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            opens_at: AtomicU64::new(0),
            seen: (0..SEEN_MAX).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Gate {
    /// Whether a page was asked for before: what a crawler sees once fills no disk.
    fn has_seen(&self, key: &SourceRequest) -> bool {
        let mut hasher = Xxh3::new();
        key.hash(&mut hasher);
        let hash = hasher.finish().max(1);
        let places = self.seen.len() as u64;
        let place = usize::try_from(hash % places).expect("there are few places");
        self.seen[place].swap(hash, Ordering::Relaxed) == hash
    }

    fn is_open(&self, now: Moment) -> bool {
        now.micros() >= self.opens_at.load(Ordering::Relaxed)
    }

    fn close(&self, now: Moment) {
        let next = now.after(INTERVAL).micros();
        self.opens_at.store(next, Ordering::Relaxed);
    }
}

/// What the snapshots of a page are kept under: everything that it varies with, but for who asks. A
/// snapshot is of the page of a reader who is nobody in particular, and it is for everybody.
pub(super) fn key(page: &Page, facts: &Facts) -> SourceRequest {
    let varies = page.snapshots.varies.iter();
    let varies = varies.filter(|variable| !variable.is_personal());
    let varies = varies.map(|variable| {
        let value = variable.value(facts).unwrap_or_default();
        (variable.to_string(), value.to_owned())
    });
    SourceRequest {
        fingerprint: page.snapshots.fingerprint,
        target: page.route.clone(),
        headers: varies.collect(),
        params: facts.params.clone(),
    }
}

/// For how long it is good: never fresh, for a page is composed wherever it can be.
fn freshness(page: &Page) -> Freshness {
    // no ttl is declared, so that its age counts from when the oldest thing on it was made
    Freshness {
        keep: Some(page.snapshots.keep),
        ..Freshness::NONE
    }
}

/// Takes a snapshot of a page that is being handed over, if it is time and worth it.
pub(super) fn consider(account: &Account, body: impl Fn() -> Option<Bytes>) {
    let (composer, page) = (&account.order().composer, account.declared());
    let is_one_readers = account.order().is_rehearsal;
    if page.snapshots.keep.is_zero() || account.level() != Level::FULL || is_one_readers {
        return;
    }
    let now = composer.clock.moment(composer.clock.now());
    if !composer.snapshots.is_open(now) || !account.is_for_everybody_and_whole() {
        return;
    }
    let key = key(page, account.facts());
    let known = composer.cache.peek(&key);
    let is_new = |entry: &Entry| now.since(entry.stored_at) < page.snapshots.every;
    if known.is_some_and(|known| is_new(&known) && !known.purged) {
        return;
    }
    if !composer.snapshots.has_seen(&key) {
        return;
    }
    let Some(html) = body() else { return };
    composer.snapshots.close(now);
    let content = Content::Html(Parts {
        main: html,
        named: Vec::new(),
    });
    let entry = Entry {
        head: Head {
            headers: account.headers().to_vec(),
            ..Head::default()
        },
        tags: Tags::merged(account.entries().map(|entry| &entry.tags)),
        made_of: account.made_of(),
        // as old as the oldest thing on it
        initial_age: account.age(now),
        ..Entry::new(name(page), content, now)
    };
    let began = composer.clock.moment(account.started());
    composer
        .cache
        .store(Arc::new(key), entry, &freshness(page), REACH, began);
}

fn name(page: &Page) -> String {
    format!("page:{}", page.name)
}

/// The snapshot that takes the place of a page that cannot be composed.
pub(super) async fn find(order: &Order, page: &Page, until: Instant) -> Option<Arc<Entry>> {
    let composer = &order.composer;
    if page.snapshots.keep.is_zero() {
        return None;
    }
    let key = Arc::new(key(page, &order.facts));
    let at_hand = || {
        let now = composer.clock.moment(composer.clock.now());
        let copy = composer.cache.lookup(&key, &freshness(page), now)?;
        debug_assert_ne!(copy.state, State::Fresh, "its ttl is zero");
        Some(copy.entry)
    };
    if let Some(found) = at_hand() {
        return Some(found);
    }
    let left = until.saturating_duration_since(composer.clock.now());
    let search = flight::recall(order, REACH, &key, left);
    let _ = timeout_at(until, search).await;
    at_hand()
}

/// The core has said that there is no such page: its snapshot must not come back.
pub(super) async fn withdraw(order: &Order, page: &Page) {
    let composer = &order.composer;
    if page.snapshots.keep.is_zero() {
        return;
    }
    let key = Arc::new(key(page, &order.facts));
    if !composer.cache.may_hold(&key, REACH) {
        composer.cache.recall(&key, REACH, DISK_TIME).await;
    }
    if composer.cache.may_hold(&key, REACH) {
        let now = composer.clock.moment(composer.clock.now());
        let gone = Entry::new(name(page), Content::Withdrawn, now);
        composer
            .cache
            .store(key, gone, &freshness(page), REACH, now);
    }
}

/// All that a body is written from, in one piece.
pub(super) fn concat(pieces: impl Iterator<Item = Option<Bytes>>) -> Option<Bytes> {
    let mut html = BytesMut::new();
    for piece in pieces {
        html.extend_from_slice(&piece?);
    }
    // a copy is kept for long and holds no more than its bytes
    Some(Bytes::copy_from_slice(&html))
}

impl Account {
    /// Whether every block was there, as the origins have it now, and for every reader.
    fn is_for_everybody_and_whole(&self) -> bool {
        !self.is_personal()
            && self.is_nobody_in_particular()
            && self.members().all(|(_, settled)| {
                settled.is_some_and(|settled| settled.is_shareable && settled.outcome.is_whole())
            })
    }

    /// Whether the reader has sent nothing by which a block of the page would know them.
    fn is_nobody_in_particular(&self) -> bool {
        let varies = self.declared().snapshots.varies.iter();
        let mut personal = varies.filter(|variable| variable.is_personal());
        personal.all(|variable| variable.value(self.facts()).is_none_or(str::is_empty))
    }

    /// The age of the oldest copy that the page is made of.
    fn age(&self, now: Moment) -> Duration {
        let ages = self.entries().map(|entry| entry.age(now));
        ages.max().unwrap_or_default()
    }

    /// The copies that the page is made of.
    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.members()
            .filter_map(|(_, settled)| match &settled?.content {
                Fill::Entry(entry) => Some(entry),
                Fill::Ready(_) | Fill::Nothing | Fill::NoPage(..) => None,
            })
    }
}
