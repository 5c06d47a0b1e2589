//! Copies of fragments. Owns what a copy is good for now, and where copies are; the stores below it
//! only store. Knows nothing of origins or pages, and nothing of time of its own but when it
//! has complained last: `now` is an argument.
//!
//! Invariants: a copy that is too old is a miss for whoever asks, whether it has left its store or
//! not; a store that fails is a miss and never an error; what is older never takes the place of what
//! is newer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::clock::{Clock, Moment};
use crate::fragment::{Freshness, Reach, SourceRequest};
use crate::report::Throttle;

pub mod beyond;
pub mod coded;
pub mod disk;
pub mod entry;
pub mod frame;
pub mod freshness;
pub mod key;
mod memory;
pub mod newer;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
pub mod purge;
pub mod shared;
pub mod surrogate;

pub use entry::{Content, Entry, Head, Ingredient, Validators};
pub use freshness::State;
pub use key::CopyId;
pub use purge::{Purge, Selector};

use disk::Disk;
use entry::CLOCKS_APART;
use memory::Memory;
use newer::Stamp;
use purge::{Purges, Touched};
use shared::Shared;

/// The copies of one server.
pub struct Cache {
    memory: Memory,
    /// Held while a copy is compared with the one that it would replace.
    storing: Mutex<()>,
    purges: RwLock<Purges>,
    /// Whether the record of purges on disk may not be the latest.
    purges_unwritten: AtomicBool,
    /// Whether the record of purges on disk was read.
    purges_read: AtomicBool,
    /// Whether the record of purges in the shared store may lack one.
    purges_untold: AtomicBool,
    /// Whether the shared store was asked what has been purged, and whether it has ever answered.
    purges_asked: AtomicBool,
    purges_heard: AtomicBool,
    disk: Option<Arc<Disk>>,
    shared: Option<Arc<Shared>>,
    /// The bits of a float.
    ttl_factor: AtomicU64,
    /// What was said in the log about copies that are not what they should be.
    complaints: Throttle,
    clock: Clock,
}

/// A copy and what it is good for.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The copy.
    pub entry: Arc<Entry>,
    /// What it is good for now.
    pub state: State,
}

/// The least time between two moments.
const TICK: Duration = Duration::from_micros(1);

/// A copy that was brought and kept.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// As it is kept.
    pub entry: Arc<Entry>,
    /// Whether there was something in its place.
    pub replaced: bool,
}

/// Why a copy that was brought is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {known} is known already")]
pub struct Older {
    /// The version that is known.
    pub known: u64,
}

/// How long whoever brings a copy waits for the disk's word of the one before.
const PATIENT: Duration = Duration::from_secs(2);

impl Cache {
    /// An empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            memory: Memory::new(bytes_max),
            storing: Mutex::new(()),
            purges: RwLock::default(),
            purges_unwritten: AtomicBool::new(false),
            purges_read: AtomicBool::new(false),
            purges_untold: AtomicBool::new(false),
            purges_asked: AtomicBool::new(false),
            purges_heard: AtomicBool::new(false),
            disk: None,
            shared: None,
            ttl_factor: AtomicU64::new(1.0_f64.to_bits()),
            complaints: Throttle::default(),
            clock: Clock::start(),
        }
    }

    /// Takes the time of this clock, where that is not the machine's.
    pub fn timed_by(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Changes the limit; what no longer fits is evicted.
    pub fn resize(&self, bytes_max: usize) {
        self.memory.resize(bytes_max);
    }

    /// The copy for this request, unless it is dead by the present declaration.
    pub fn lookup(&self, key: &SourceRequest, declared: &Freshness, now: Moment) -> Option<Copy> {
        let entry = self.memory.get(key)?;
        let state = entry.state(declared, self.ttl_factor(), now);
        (state != State::Dead).then_some(Copy { entry, state })
    }

    /// Multiplies every ttl by this, from now on and for the copies that are there.
    pub fn stretch(&self, factor: f64) {
        self.ttl_factor.store(factor.to_bits(), Ordering::Relaxed);
        self.memory.change();
    }

    /// A number of what is in memory: as long as it is the same, [`lookup`](Self::lookup) finds the same for as long
    /// as that is fresh. It does not tell of what has made room for something else.
    pub fn generation(&self) -> u64 {
        self.memory.generation()
    }

    /// What every ttl is multiplied by.
    pub fn ttl_factor(&self) -> f64 {
        f64::from_bits(self.ttl_factor.load(Ordering::Relaxed))
    }

    /// The copy for this request, however old. Asking does not make it any hotter.
    pub fn peek(&self, key: &SourceRequest) -> Option<Arc<Entry>> {
        self.memory.peek(key)
    }

    /// Keeps a copy, unless a newer one was kept since `began`: whoever set out before must not put
    /// an old answer over a newer one. It is written wherever it reaches, behind the page's back.
    /// Gives back the copy as it would be kept.
    pub fn store(
        &self,
        key: Arc<SourceRequest>,
        mut entry: Entry,
        declared: &Freshness,
        reach: Reach,
        began: Moment,
    ) -> Arc<Entry> {
        let storing = self.storing.lock();
        let known = self.memory.get(&key);
        if let Some(known) = &known {
            // what an origin says now has no count of its own, and is newer than what was counted
            entry.version = entry.version.or(known.version);
        }
        let touched = self.made_of_new(&key.target, &entry, began);
        entry.purged |= touched != Touched::Not;
        let newer = known.clone();
        let known = known.as_deref();
        let stamp = Stamp {
            version: entry.version,
            at: began,
        };
        let from_future = |known: &Entry| known.stored_at > entry.stored_at.after(CLOCKS_APART);
        let is_newer = known.is_none_or(|known| {
            stamp.takes_the_place_of(Stamp::of(known))
                || (from_future(known) && entry.version == known.version)
        });
        let is_due = beyond::is_due(&entry, known, declared);
        entry.written_at = match known {
            Some(known) if !is_due => known.written_at,
            Some(_) | None => entry.stored_at,
        };
        let entry = Arc::new(entry);
        if touched == Touched::Hard {
            return entry;
        }
        if !is_newer {
            // whoever waited for the older one is shown the newer one
            let shows = |known: &&Arc<Entry>| matches!(known.content, Content::Html(_));
            return newer.filter(|known| shows(&known)).unwrap_or(entry);
        }
        self.memory.put(Arc::clone(&key), Arc::clone(&entry));
        if is_due {
            self.write_to_disk(&key, &entry, known, declared, reach);
            // one at a time would be too slow for this, and the store knows the newer of two
            drop(storing);
            self.write_to_shared(&key, &entry, known, declared, reach, began);
        }
        entry
    }

    /// Keeps a copy that was brought, unless it has a lower version than the one that is known,
    /// wherever that is. Without a version it is the newest of all, and goes on with the version of
    /// the one before, so that what was counted below that stays older.
    pub async fn push(
        &self,
        key: Arc<SourceRequest>,
        mut entry: Entry,
        declared: &Freshness,
        reach: Reach,
    ) -> Result<Pushed, Older> {
        self.recall(&key, reach, PATIENT).await;
        let storing = self.storing.lock();
        let known = self.memory.get(&key);
        if let Some(known) = &known {
            // whoever comes later is later, also by a clock that lags behind another node's
            entry.stored_at = entry.stored_at.max(known.stored_at.after(TICK));
            if !Stamp::of(&entry).takes_the_place_of(Stamp::of(known)) {
                let known = known.version.expect("a later one is older only by version");
                return Err(Older { known });
            }
            entry.version = entry.version.or(known.version);
        }
        let touched = self.made_of_new(&key.target, &entry, entry.stored_at);
        entry.purged |= touched != Touched::Not;
        entry.written_at = entry.stored_at;
        let began = entry.stored_at;
        let entry = Arc::new(entry);
        if touched != Touched::Hard {
            let known = known.as_deref();
            self.memory.put(Arc::clone(&key), Arc::clone(&entry));
            self.write_to_disk(&key, &entry, known, declared, reach);
            drop(storing);
            self.write_to_shared(&key, &entry, known, declared, reach, began);
            self.announce(&key, reach);
        }
        Ok(Pushed {
            entry,
            replaced: known.is_some_and(|known| known.content != Content::Withdrawn),
        })
    }

    /// Touches the copies that a purge selects, remembers it for those that are not at hand, and
    /// tells the other nodes. Tells how many in memory it has touched.
    pub fn purge(&self, purges: &[Purge]) -> usize {
        let (touched, _) = self.apply(purges, true);
        self.broadcast(purges);
        touched
    }

    /// Whether what was asked for at `since` has been thrown away meanwhile: by a hard purge that selects it.
    pub fn has_thrown_away(&self, key: &SourceRequest, entry: &Entry, since: Moment) -> bool {
        self.made_of_new(&key.target, entry, since) == Touched::Hard
    }

    /// What purges make of a copy that has come at this moment, whatever the time beside it.
    fn made_of_new(&self, target: &str, entry: &Entry, since: Moment) -> Touched {
        let purges = self.purges.read();
        purges.touch(target, entry, since, entry.stored_at)
    }

    /// What purges make of a copy that has been kept somewhere.
    fn made_of_kept(&self, target: &str, entry: &Entry) -> Touched {
        let now = self.clock.moment(self.clock.now());
        let purges = self.purges.read();
        purges.touch(target, entry, entry.asked_at(), now)
    }

    /// Touches the copies in memory, those of a wrong clock's future too where the purges are of
    /// this moment. Tells how many, and whether any of the purges was not known.
    fn apply(&self, purges: &[Purge], now: bool) -> (usize, bool) {
        let present = self.clock.moment(self.clock.now());
        let _one_at_a_time = self.storing.lock();
        let is_news = {
            let mut known = self.purges.write();
            let news = purges.iter().map(|purge| match now {
                true => known.add_here(purge),
                false => known.add_up_to(purge, present),
            });
            news.fold(false, |any, news| any | news)
        };
        let mut touched = 0;
        for (key, entry) in self.memory.all() {
            let meant = |purge: &&Purge| {
                let is_later = now && entry.stored_at > purge.at.after(CLOCKS_APART);
                (is_later || entry.asked_at() <= purge.at)
                    && purge.selector.selects(&key.target, &entry)
            };
            let hard = purges.iter().filter(meant).map(|purge| purge.hard).max();
            if let Some(hard) = hard
                && self.touch(Arc::clone(&key), &entry, hard)
            {
                touched += 1;
            }
        }
        (touched, is_news)
    }

    /// Touches the copies in memory by everything that was ever purged.
    fn apply_all_purges(&self) {
        let _one_at_a_time = self.storing.lock();
        for (key, entry) in self.memory.all() {
            match self.made_of_kept(&key.target, &entry) {
                Touched::Not => {}
                Touched::Softly => _ = self.touch(key, &entry, false),
                Touched::Hard => _ = self.touch(key, &entry, true),
            }
        }
    }

    fn touch(&self, key: Arc<SourceRequest>, entry: &Entry, hard: bool) -> bool {
        if hard {
            self.memory.remove(&key);
        } else if entry.purged {
            return false;
        } else {
            let purged = Entry {
                purged: true,
                ..entry.clone()
            };
            self.memory.replace(key, Arc::new(purged));
        }
        true
    }

    /// Counts what has been made of a copy by now: its variants, its tokens.
    pub fn weigh(&self, entry: &Entry) {
        let Some(key) = entry.coded.key() else { return };
        let _one_at_a_time = self.storing.lock();
        // what has taken its place meanwhile has variants of its own
        let present = self.memory.peek(key);
        let present = present.filter(|present| present.coded.is_shared_with(&entry.coded));
        let Some(present) = present else { return };
        let coded = present.coded.counted();
        if coded.weight() != present.coded.weight() {
            let weighed = Entry {
                coded,
                ..Entry::clone(&present)
            };
            self.memory.replace(Arc::clone(key), Arc::new(weighed));
        }
    }

    /// How full it is.
    pub fn stats(&self) -> CacheStats {
        self.memory.stats()
    }
}

/// How full a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct CacheStats {
    /// Copies.
    pub entries: usize,
    /// Bytes of copies.
    pub bytes: u64,
    /// Limit in bytes.
    pub bytes_max: u64,
    /// Copies that went to make room for others.
    pub evicted: u64,
}
