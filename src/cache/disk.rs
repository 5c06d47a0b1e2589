//! Shell: copies on disk, an append-only log of opaque records found by [`CopyId`]. Owns the folder
//! and everything in it; knows nothing of fragments, of ages, or of what a record means.
//!
//! A store on disk is there for the day when everything else is gone: the origins are dead and the
//! server was restarted. So what matters is what it does with what is damaged.
//!
//! # Why a log of our own, and not an embedded database
//!
//! In a tree of pages one flipped byte in the wrong page costs everything below it, often the
//! file, and with it the last good copy of every article. In a log a damaged record costs one
//! record: its checksums refuse it, and the next is found by its marker. Nothing else that a
//! database gives is needed: there are no transactions, no ranges, and a copy that is lost is
//! fetched again. The form is that of Bitcask (Sheehy and Smith, 2010): segments that are only
//! appended to, and an index in memory, of about 110 bytes a record.
//!
//! # What survives what
//!
//! | event | what is lost |
//! |---|---|
//! | the process is killed | what was queued and not written: usually milliseconds |
//! | power cut | what is younger than about a second |
//! | torn write | that record |
//! | a flipped byte | that record; an older version of it may be found at the next start |
//! | full disk, read-only or missing folder | new copies, while it lasts; reads go on |
//! | files deleted under the server | nothing: they are written again from what is still open |
//! | another format version, foreign files | they are set aside, never parsed |
//!
//! Invariants: what is returned is, byte for byte, something that was stored under that id; the
//! segments never take more than `bytes_max`; and nothing that happens to the folder is an error
//! for whoever asks, only a miss.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock::{Clock, Instant};

use super::key::CopyId;

mod folder;
mod index;
mod log;
mod queue;
mod record;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

use queue::Put;
use segment::{Medium, Platter, ReadError};
use shared::{Counts, Limits, Shared};

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use record::hold as hold_of_record;

/// Reads at once: a disk that hangs must not take every blocking thread with it.
const READERS_MAX: usize = 8;

/// When no read has ended for so long and all places are taken, the disk hangs.
const HANG: Duration = Duration::from_millis(250);

/// How long the start waits for a folder to be opened; it goes on being opened meanwhile.
const OPEN_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long the end waits for what is queued to be written.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Where, and how much.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder; made if it is not there. One process at a time.
    pub folder: PathBuf,
    /// Bytes of all segments at most, 64 KiB to 64 GiB. A record must fit in a segment: a 16th of
    /// that, or 1 MiB if it is more, but at most a quarter, and never more than 64 MiB. Larger ones
    /// are dropped. Files set aside, at most two, are not counted.
    pub bytes_max: u64,
}

/// What is to be written: made on the writer's thread.
pub type Frame = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// The store. Dropping it blocks while what is queued is written, for a few seconds at most.
pub struct Disk {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// Is disconnected when the writer has ended.
    ended: Mutex<Receiver<()>>,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiskState {
    /// Records that can be asked for.
    pub records: usize,
    /// Bytes of the segments.
    pub bytes: u64,
    /// Limit in bytes.
    pub bytes_max: u64,
    /// Operations queued or being written.
    pub pending: usize,
    /// Records written since the start.
    pub written: u64,
    /// Records and removals that were not written: no room in the queue, too large, or trouble.
    pub dropped: u64,
    /// Records that did not fit their checksum when they were read.
    pub refused: u64,
    /// Records that went to make room for others.
    pub evicted: u64,
    /// Why nothing is written at present, if so.
    pub problem: Option<String>,
}

impl Disk {
    /// Opens the folder, and blocks while its segments are looked through: for well under a second,
    /// and at most for half a minute if the disk does not answer.
    ///
    /// Never fails: while the folder cannot be used the store keeps nothing, says why in
    /// [`state`](Self::state) and once in the log, and tries again by itself.
    pub fn open(settings: Settings, clock: Clock) -> Self {
        let limits = Limits::of(settings.bytes_max);
        Self::open_on(settings.folder, limits, clock, Box::new(Platter))
    }

    fn open_on(folder: PathBuf, limits: Limits, clock: Clock, medium: Box<dyn Medium>) -> Self {
        let shared = Arc::new(Shared::new(folder, limits, clock, medium));
        // one place: the writer says it once, and never waits
        let (opened, ended) = sync_channel(1);
        let writing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("marbre-disk".to_owned());
        match thread.spawn(move || writer::run(writing, &opened)) {
            Err(error) => {
                tracing::error!("no thread for the copies on disk: {error}; none are kept");
                *shared.problem.lock() = Some(format!("no thread to write with: {error}"));
            }
            Ok(_) if ended.recv_timeout(OPEN_WAIT_MAX).is_err() => tracing::error!(
                folder = %shared.folder.display(),
                "{} does not answer: the server goes on without it until it does",
                shared.folder.display()
            ),
            Ok(_) => {}
        }
        Self {
            readers: Arc::new(Readers::new(clock)),
            shared,
            ended: Mutex::new(ended),
        }
    }

    /// Whether the folder is this store's: until then nothing is kept, and it may be another process's still.
    pub fn is_open(&self) -> bool {
        !self.shared.closed.load(Ordering::Relaxed)
    }

    /// Whether there is a record of this id. From memory; what is queued is not counted.
    pub fn contains(&self, id: &CopyId) -> bool {
        self.shared.index.read().contains(id)
    }

    /// The record of this id: `None` if there is none, if it does not fit its checksum, and on any
    /// error of the disk.
    ///
    /// Takes as long as the disk does: the caller bounds it. Must be called within a runtime. At
    /// most eight reads run at once; when they all hang it is `None` at once.
    pub async fn get(&self, id: CopyId) -> Option<Bytes> {
        if !self.contains(&id) {
            return None;
        }
        let place = self.readers.enter().await?;
        let shared = Arc::clone(&self.shared);
        let read = spawn_blocking(move || {
            let read = read(&shared, &id);
            drop(place);
            read
        });
        // an error is the end of the runtime
        read.await.ok().flatten()
    }

    /// [`get`](Self::get) on this thread, as long as it takes.
    pub fn get_blocking(&self, id: &CopyId) -> Option<Bytes> {
        read(&self.shared, id)
    }

    /// Queues a record and returns at once; the latest operation on an id wins.
    ///
    /// `weight` is about how many bytes `frame` holds: when too many are queued the record is
    /// dropped. One that is `pinned` survives those that are not when room is needed, as long as
    /// pinned ones take up no more than half of the store. After `good_until` (Unix milliseconds)
    /// it is the first to go.
    pub fn put(&self, id: CopyId, weight: usize, pinned: bool, good_until: u64, frame: Frame) {
        let put = Put {
            weight,
            pinned,
            good_until,
            frame,
            after_removal: false,
        };
        if self.shared.closed.load(Ordering::Relaxed) || !self.shared.queue.put(id, put) {
            Counts::add(&self.shared.counts.dropped, 1);
        }
    }

    /// Removes a record: at once for whoever asks for it, and soon on disk.
    pub fn remove(&self, id: CopyId) {
        let hide = || self.shared.index.write().remove(&id);
        if !self.shared.queue.remove(id, hide) {
            Counts::add(&self.shared.counts.dropped, 1);
        }
    }

    /// Waits until everything queued by now is on disk, and says whether it is, and whatever was
    /// queued since the last flush. The caller bounds the time.
    pub fn flush(&self) -> impl Future<Output = bool> + Send + use<> {
        let answered = self.shared.queue.ask_flush();
        async { answered.await.unwrap_or(false) }
    }

    /// [`flush`](Self::flush) outside a runtime.
    pub fn flush_blocking(&self) -> bool {
        self.shared
            .queue
            .ask_flush()
            .blocking_recv()
            .unwrap_or(false)
    }

    /// How it is.
    pub fn state(&self) -> DiskState {
        let counts = &self.shared.counts;
        // one lock after the other: within one expression the first would be held until its end, and
        // the writer takes them the other way round
        let records = self.shared.index.read().len();
        let pending = self.shared.queue.len();
        DiskState {
            records,
            bytes: counts.bytes.load(Ordering::Relaxed),
            bytes_max: self.shared.limits.bytes_max,
            pending,
            written: counts.written.load(Ordering::Relaxed),
            dropped: counts.dropped.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            evicted: counts.evicted.load(Ordering::Relaxed),
            problem: self.shared.problem.lock().clone(),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.queue.stop();
        let ended = self.ended.lock();
        let mut end = ended.recv_timeout(CLOSE_WAIT_MAX);
        if end.is_ok() {
            // that it was opened, which nobody waited for; then comes the end
            end = ended.recv_timeout(CLOSE_WAIT_MAX);
        }
        if end == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                folder = %self.shared.folder.display(),
                "{} does not answer: the latest copies may not be in it",
                self.shared.folder.display()
            );
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Disk").field(&self.state()).finish()
    }
}

fn read(shared: &Shared, id: &CopyId) -> Option<Bytes> {
    let (place, segment) = shared.index.read().locate(id)?;
    let error = match segment.read(&place) {
        Ok(body) => return Some(body),
        Err(error) => error,
    };
    // an error of the disk may pass; damage does not
    if matches!(error, ReadError::Damaged) && shared.index.write().forget(id, &place) {
        Counts::add(&shared.counts.refused, 1);
    }
    if shared.may_complain() {
        tracing::warn!(
            file = %segment.path.display(),
            offset = place.offset,
            "{} at byte {}: {error}; the copy is passed over",
            segment.path.display(),
            place.offset
        );
    }
    None
}

/// The places for reads.
struct Readers {
    clock: Clock,
    places: Arc<Semaphore>,
    /// When a read last began on an idle disk, or ended.
    moved_at: Mutex<Instant>,
}

/// One read's place.
struct Reading {
    readers: Arc<Readers>,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            places: Arc::new(Semaphore::new(READERS_MAX)),
            moved_at: Mutex::new(clock.now()),
        }
    }

    /// A place, at once or as soon as one is free; `None` if the disk hangs.
    async fn enter(self: &Arc<Self>) -> Option<Reading> {
        let reading = |place| Reading {
            readers: Arc::clone(self),
            _place: place,
        };
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            if self.places.available_permits() == READERS_MAX - 1 {
                *self.moved_at.lock() = self.clock.now();
            }
            return Some(reading(place));
        }
        if self.clock.now() >= *self.moved_at.lock() + HANG {
            return None;
        }
        let place = timeout(HANG, Arc::clone(&self.places).acquire_owned()).await;
        place.ok()?.ok().map(reading)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        *self.readers.moved_at.lock() = self.readers.clock.now();
    }
}
