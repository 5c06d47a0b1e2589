//! Copies in memory, bounded by bytes. Owns storage only: expiry stays with the entry, so that
//! virtual time works and an expired copy is still there when its origin dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::fragment::SourceRequest;

use super::{CacheStats, Entry};

/// The weight limit holds per shard, so a shard must hold several of the largest fragments: no
/// more shards than there are spans of 8 MiB, and 16 are enough for many cores.
const SHARD_BYTES_MIN: usize = 8 << 20;
const SHARDS_MAX: usize = 16;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Arc<SourceRequest>, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Arc<SourceRequest>, entry: &Arc<Entry>) -> u64 {
        let pairs = key.headers.iter().chain(&key.params);
        let pairs = pairs.map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>());
        let key = size_of::<SourceRequest>() + key.target.len() + pairs.sum::<usize>();
        (key + entry.weight()) as u64
    }
}

/// Counts what goes to make room for others. What is counted is dropped as it would be otherwise.
#[derive(Debug, Clone, Default)]
struct Evicting {
    count: Arc<AtomicU64>,
    dropping: DefaultLifecycle<Arc<SourceRequest>, Arc<Entry>>,
}

impl Lifecycle<Arc<SourceRequest>, Arc<Entry>> for Evicting {
    type RequestState = <DefaultLifecycle<Arc<SourceRequest>, Arc<Entry>> as Lifecycle<
        Arc<SourceRequest>,
        Arc<Entry>,
    >>::RequestState;

    fn on_evict(&self, state: &mut Self::RequestState, key: Arc<SourceRequest>, entry: Arc<Entry>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.dropping.on_evict(state, key, entry);
    }
}

#[derive(Debug)]
pub(super) struct Memory {
    copies: Cache<Arc<SourceRequest>, Arc<Entry>, ByBytes, DefaultHashBuilder, Evicting>,
    evicted: Arc<AtomicU64>,
    changes: AtomicU64,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        let options = OptionsBuilder::new()
            .weight_capacity(bytes_max as u64)
            .estimated_items_capacity((bytes_max / 8192).max(16))
            .shards((bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX))
            .build()
            .expect("both capacities are given");
        let (hasher, evicting) = (DefaultHashBuilder::default(), Evicting::default());
        let evicted = Arc::clone(&evicting.count);
        Self {
            copies: Cache::with_options(options, ByBytes, hasher, evicting),
            evicted,
            changes: AtomicU64::new(0),
        }
    }

    pub(super) fn resize(&self, bytes_max: usize) {
        self.copies.set_capacity(bytes_max as u64);
    }

    pub(super) fn get(&self, key: &SourceRequest) -> Option<Arc<Entry>> {
        self.copies.get(key)
    }

    pub(super) fn peek(&self, key: &SourceRequest) -> Option<Arc<Entry>> {
        self.copies.peek(key)
    }

    pub(super) fn put(&self, key: Arc<SourceRequest>, entry: Arc<Entry>) {
        entry.coded.keep_as(&key);
        self.copies.insert(key, entry);
        self.change();
    }

    /// The same copy, changed a little: as hot as it was.
    pub(super) fn replace(&self, key: Arc<SourceRequest>, entry: Arc<Entry>) {
        // it is gone if it was evicted meanwhile
        let _ = self.copies.replace(key, entry, true);
        self.change();
    }

    pub(super) fn remove(&self, key: &SourceRequest) {
        self.copies.remove(key);
        self.change();
    }

    /// Another number than before where anything that was looked up before may have another answer now.
    pub(super) fn generation(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What is looked up from now on may have another answer.
    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// All of them, as they are met: one that is put meanwhile may be missed.
    pub(super) fn all(&self) -> impl Iterator<Item = (Arc<SourceRequest>, Arc<Entry>)> {
        self.copies.iter()
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.copies.len(),
            bytes: self.copies.weight(),
            bytes_max: self.copies.capacity(),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Content;
    use crate::clock::Moment;

    fn absent() -> Arc<Entry> {
        let now = Moment::default();
        Arc::new(Entry::new("block", Content::Absent, now))
    }

    fn request(target: String, value: &str) -> Arc<SourceRequest> {
        Arc::new(SourceRequest {
            fingerprint: 1,
            target,
            headers: vec![("cookie".to_owned(), value.to_owned())],
            params: vec![("slug".to_owned(), value.to_owned())],
        })
    }

    #[test]
    fn what_is_asked_weighs_too() {
        let weight = |target: &str, value: &str| {
            ByBytes.weight(&request(target.to_owned(), value), &absent())
        };
        let kilobyte = "x".repeat(1000);
        assert_eq!(weight(&kilobyte, ""), weight("", "") + 1000);
        // once as a header, once as a parameter
        assert_eq!(weight("", &kilobyte), weight("", "") + 2000);
    }

    #[test]
    fn copies_of_nothing_fill_it_too() {
        let memory = Memory::new(64 << 10);
        for number in 0..10_000 {
            memory.put(request(format!("/{number}"), &"x".repeat(100)), absent());
        }
        let stats = memory.stats();
        assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
        assert!((1..=64 << 10 >> 8).contains(&stats.entries), "{stats:?}");
        let gone = 10_000 - u64::try_from(stats.entries).unwrap();
        assert_eq!(stats.evicted, gone);
    }

    #[test]
    fn pages_asked_for_once_do_not_evict_those_asked_for_often() {
        const HOT: usize = 500;
        const SCANNED: usize = 100_000;
        // room for a few times what is hot, and for a small part of what a crawler asks for
        let hot: Vec<_> = (0..HOT).map(|n| request(format!("/hot/{n}"), "")).collect();
        let weight = ByBytes.weight(&hot[0], &absent());
        let memory = Memory::new(usize::try_from(weight).unwrap() * HOT * 4);
        for _ in 0..3 {
            for key in &hot {
                if memory.get(key).is_none() {
                    memory.put(Arc::clone(key), absent());
                }
            }
        }
        for number in 0..SCANNED {
            let key = request(format!("/scan/{number}"), "");
            if memory.get(&key).is_none() {
                memory.put(key, absent());
            }
        }
        let kept = hot.iter().filter(|key| memory.get(key).is_some()).count();
        assert!(
            kept >= HOT * 95 / 100,
            "{kept} of {HOT} hot copies are left"
        );
    }
}
