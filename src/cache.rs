//! Copies of fragments. Owns what a copy is good for now; the stores below it only store. Knows
//! nothing of origins, pages or time of its own: `now` is an argument.
//!
//! Invariant: a copy that is too old is a miss for whoever asks, whether it has left memory or not.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Instant;
use crate::fragment::{Freshness, SourceRequest};

pub mod entry;
pub mod freshness;
pub mod key;
mod memory;

pub use entry::{Content, Entry, Head};
pub use freshness::State;
pub use key::CopyId;

use memory::Memory;

/// The copies of one server.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
    /// Held while a copy is compared with the one that it would replace.
    storing: Mutex<()>,
}

/// A copy and what it is good for.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The copy.
    pub entry: Arc<Entry>,
    /// What it is good for now.
    pub state: State,
}

impl Cache {
    /// An empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            memory: Memory::new(bytes_max),
            storing: Mutex::new(()),
        }
    }

    /// Changes the limit; what no longer fits is evicted.
    pub fn resize(&self, bytes_max: usize) {
        self.memory.resize(bytes_max);
    }

    /// The copy for this request, unless it is dead by the present declaration.
    pub fn lookup(&self, key: &SourceRequest, declared: &Freshness, now: Instant) -> Option<Copy> {
        let entry = self.memory.get(key)?;
        let state = entry.lifetime(declared).state(entry.age(now));
        (state != State::Dead).then_some(Copy { entry, state })
    }

    /// Keeps a copy, unless a newer one was kept since `began`: whoever set out before must not put
    /// an old answer over a newer one.
    pub fn store(&self, key: Arc<SourceRequest>, entry: Arc<Entry>, began: Instant) {
        let _one_at_a_time = self.storing.lock();
        let known = self.memory.get(&key);
        if known.is_none_or(|known| known.stored_at <= began) {
            self.memory.put(key, entry);
        }
    }

    /// How full it is.
    pub fn stats(&self) -> CacheStats {
        self.memory.stats()
    }
}

/// How full a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CacheStats {
    /// Copies.
    pub entries: usize,
    /// Bytes of copies.
    pub bytes: u64,
    /// Limit in bytes.
    pub bytes_max: u64,
}
