//! Copies of fragments. Owns what a copy is good for now, and where copies are; the stores below it
//! only store. Knows nothing of origins or pages, and nothing of time of its own: `now` is an
//! argument.
//!
//! Invariants: a copy that is too old is a miss for whoever asks, whether it has left its store or
//! not; a store that fails is a miss and never an error; what is older never takes the place of what
//! is newer.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::clock::Moment;
use crate::fragment::{Freshness, Reach, SourceRequest};

pub mod entry;
pub mod frame;
pub mod freshness;
pub mod key;
mod memory;
pub mod purge;

pub use entry::{Content, Entry, Head, Ingredient, Validators};
pub use freshness::State;
pub use key::CopyId;
pub use purge::{Purge, Selector};

use memory::Memory;
use purge::{Purges, Touched};

/// The copies of one server.
#[derive(Debug)]
pub struct Cache {
    memory: Memory,
    /// Held while a copy is compared with the one that it would replace.
    storing: Mutex<()>,
    purges: RwLock<Purges>,
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
            purges: RwLock::default(),
        }
    }

    /// Changes the limit; what no longer fits is evicted.
    pub fn resize(&self, bytes_max: usize) {
        self.memory.resize(bytes_max);
    }

    /// The copy for this request, unless it is dead by the present declaration.
    pub fn lookup(&self, key: &SourceRequest, declared: &Freshness, now: Moment) -> Option<Copy> {
        let entry = self.memory.get(key)?;
        let state = entry.state(declared, now);
        (state != State::Dead).then_some(Copy { entry, state })
    }

    /// The copy for this request, however old.
    pub fn peek(&self, key: &SourceRequest) -> Option<Arc<Entry>> {
        self.memory.get(key)
    }

    /// Keeps a copy, unless a newer one was kept since `began`: whoever set out before must not put
    /// an old answer over a newer one. Gives back the copy as it would be kept.
    pub fn store(
        &self,
        key: Arc<SourceRequest>,
        mut entry: Entry,
        declared: &Freshness,
        reach: Reach,
        began: Moment,
    ) -> Arc<Entry> {
        let _ = (declared, reach);
        let _one_at_a_time = self.storing.lock();
        let known = self.memory.get(&key);
        if let Some(known) = &known {
            // what an origin says now has no count of its own, and is newer than what was counted
            entry.version = entry.version.or(known.version);
        }
        let touched = self.purges.read().touch(&key.target, &entry, began);
        entry.purged |= touched != Touched::Not;
        let entry = Arc::new(entry);
        let is_newer = known.is_none_or(|known| known.stored_at <= began);
        if is_newer && touched != Touched::Hard {
            self.memory.put(key, Arc::clone(&entry));
        }
        entry
    }

    /// Whether copies that reach so far may be somewhere besides memory.
    pub fn reaches_beyond_memory(&self, reach: Reach) -> bool {
        let _ = reach;
        false
    }

    /// Looks for a copy beyond memory, and puts what it finds there.
    pub async fn recall(&self, key: &Arc<SourceRequest>, reach: Reach) {
        let _ = (key, reach);
        std::future::ready(()).await;
    }

    /// Whether there may be a copy for this request somewhere.
    pub fn may_hold(&self, key: &SourceRequest, reach: Reach) -> bool {
        let _ = reach;
        self.memory.get(key).is_some()
    }

    /// Touches the copies that a purge selects, and remembers it for those that are not at hand.
    /// Tells how many in memory it has touched.
    pub fn purge(&self, purge: &Purge) -> usize {
        let _one_at_a_time = self.storing.lock();
        self.purges.write().add(purge);
        let mut touched = 0;
        for (key, entry) in self.memory.all() {
            let meant = entry.stored_at <= purge.at && purge.selector.selects(&key.target, &entry);
            if !meant || (entry.purged && !purge.hard) {
                continue;
            }
            touched += 1;
            if purge.hard {
                self.memory.remove(&key);
            } else {
                let mut purged = Entry::clone(&entry);
                purged.purged = true;
                self.memory.put(key, Arc::new(purged));
            }
        }
        touched
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
