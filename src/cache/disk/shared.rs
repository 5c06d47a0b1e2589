//! What the writer and those who ask share. Owns the locks, and in which order they are taken:
//! the queue before the index.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};

use crate::clock::{Clock, Instant};

use super::index::Index;
use super::queue::Queue;
use super::segment::Medium;

/// Bytes of a store at most: 32 segments, in each of which an offset has 32 bits.
const BYTES_MAX: u64 = 64 << 30;

/// And at least: segments of 16 KiB.
const BYTES_MIN: u64 = 64 << 10;

/// A segment is a 16th of the store between these, and a 32nd of it beyond: few descriptors.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Records at most: what a hash table of 2^20 places holds, 68 MB.
const RECORDS_MAX: usize = 900_000;

/// The same complaint is made once in so long.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// How much may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// All segments, in bytes.
    pub(super) bytes_max: u64,
    /// One segment, in bytes; so much of the store is left free for what compaction copies.
    pub(super) segment_bytes: u64,
    pub(super) records_max: usize,
}

impl Limits {
    pub(super) fn of(bytes_max: u64) -> Self {
        let bytes_max = bytes_max.clamp(BYTES_MIN, BYTES_MAX);
        let segment_bytes = (bytes_max / 16).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        Self {
            bytes_max,
            // a small store has four at least, a large one 32 at most
            segment_bytes: segment_bytes.min(bytes_max / 4).max(bytes_max / 32),
            records_max: RECORDS_MAX,
        }
    }
}

pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) medium: Box<dyn Medium>,
    pub(super) index: RwLock<Index>,
    pub(super) queue: Queue,
    pub(super) counts: Counts,
    /// Nothing is kept: the folder could not be opened.
    pub(super) closed: AtomicBool,
    pub(super) problem: Mutex<Option<String>>,
    complained: Mutex<Option<Instant>>,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Bytes of the segments, now.
    pub(super) bytes: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) evicted: AtomicU64,
}

impl Counts {
    pub(super) fn add(count: &AtomicU64, by: usize) {
        count.fetch_add(by as u64, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(
        folder: PathBuf,
        limits: Limits,
        clock: Clock,
        medium: Box<dyn Medium>,
    ) -> Self {
        Self {
            folder,
            limits,
            clock,
            medium,
            index: RwLock::default(),
            queue: Queue::default(),
            counts: Counts::default(),
            closed: AtomicBool::new(true),
            problem: Mutex::default(),
            complained: Mutex::default(),
        }
    }

    /// Unix time.
    pub(super) fn wall(&self) -> Duration {
        let wall = self.clock.wall(self.clock.now());
        wall.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }

    /// Whether a complaint about what was read is due; asking makes it.
    pub(super) fn may_complain(&self) -> bool {
        let now = self.clock.now();
        let mut last = self.complained.lock();
        let due = last.is_none_or(|last| now >= last + COMPLAINT_PAUSE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_few_segments_and_each_can_be_addressed() {
        for bytes_max in [
            0,
            1,
            4096,
            1 << 20,
            1 << 24,
            1 << 28,
            1 << 31,
            1 << 36,
            u64::MAX,
        ] {
            let limits = Limits::of(bytes_max);
            assert!(limits.segment_bytes <= u64::from(u32::MAX), "{limits:?}");
            assert!(limits.segment_bytes >= limits.bytes_max / 32, "{limits:?}");
            assert!(limits.segment_bytes <= limits.bytes_max / 4, "{limits:?}");
        }
        assert_eq!(Limits::of(512 << 20).segment_bytes, 32 << 20);
        assert_eq!(Limits::of(4 << 30).segment_bytes, 128 << 20);
    }
}
