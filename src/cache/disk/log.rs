//! Shell: the log, as its one writer sees it. Owns which segment is written and when the next
//! begins, and makes room by [`compaction`]; does not decide when to write, nor what to do about
//! trouble.
//!
//! # Why a copy is never written behind what undoes it
//!
//! Records are appended in the order in which they were asked for, and compaction appends a copy
//! of a record only while it is the latest of its id. So whatever supersedes or removes a record
//! stands behind every copy of it, and reading the log from front to back ends at the truth. It
//! also means that a removal in the oldest segment has nothing left to undo, and goes with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ring::rand::{SecureRandom, SystemRandom};

use crate::cache::key::CopyId;

use super::folder;
use super::index::Index;
use super::record::{HEAD, Head, Label, SEGMENT_HEAD};
use super::segment::{self, Place, Segment};
use super::shared::{Counts, Shared};
use super::trouble::Trouble;

mod compaction;

/// Written at a time.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// One body at most, if a segment is larger than that; it is read into memory.
const BODY_BYTES_MAX: usize = 64 << 20;

pub(super) struct Log {
    shared: Arc<Shared>,
    /// Held, not read: the folder is ours while it is.
    lock: Option<File>,
    /// Lengths of the segments, in bytes.
    lens: BTreeMap<u32, u64>,
    active: Option<Active>,
    /// The highest number that a file in the folder has, or had.
    last_number: u32,
    /// Where the last segment may be continued, in bytes.
    resume_at: Option<u64>,
    seq: u64,
    batch: Vec<u8>,
    staged: Vec<Staged>,
    dirty: bool,
    /// A segment was given up for want of room, and nothing was written since.
    gave_up: bool,
}

/// The segment that is written.
struct Active {
    segment: Arc<Segment>,
    file: File,
    end: u64,
}

/// A record in the batch, which is not in the index yet.
pub(super) struct Staged {
    pub(super) id: CopyId,
    pub(super) what: What,
    place: Place,
}

/// Why a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Someone stores it.
    New {
        /// A removal was asked for before, and is not on disk.
        after_removal: bool,
    },
    /// Someone removes it.
    Removal,
    /// It was the latest at this place, and is moved.
    Copy { from: Place },
    /// It was the latest in a log that this one takes the place of.
    Rescue,
}

impl Log {
    /// Locks the folder and looks through its segments; writes nothing but names.
    pub(super) fn open(shared: &Arc<Shared>) -> Result<(Self, Index), Trouble> {
        let lock = folder::lock(&shared.folder)?;
        let mut log = Self {
            shared: Arc::clone(shared),
            lock,
            lens: BTreeMap::new(),
            active: None,
            last_number: 0,
            resume_at: None,
            // so that records of two logs can be told apart by age, should one replace the other
            seq: u64::try_from(shared.wall().as_micros()).unwrap_or(u64::MAX / 2),
            batch: Vec::new(),
            staged: Vec::new(),
            dirty: false,
            gave_up: false,
        };
        let mut index = Index::default();
        let listing = folder::segments(&shared.folder)?;
        log.last_number = listing.last_number;
        for segment in listing.segments {
            log.look_through(&segment, &mut index);
            index.segments.insert(segment.number, segment);
        }
        log.tell_bytes();
        Ok((log, index))
    }

    /// What cannot be read costs the rest of this segment, not the store.
    fn look_through(&mut self, segment: &Segment, index: &mut Index) {
        let mut seq = self.seq;
        let scan = segment.scan(|head, offset| {
            index.replay(head, Place::of(head, segment.number, offset));
            seq = seq.max(head.seq.saturating_add(1));
        });
        self.seq = seq;
        self.lens
            .insert(segment.number, segment.file_len().unwrap_or(0));
        let path = segment.path.display();
        match scan {
            Ok(scan) => {
                self.resume_at = Some(scan.end);
                if scan.gaps > 0 {
                    tracing::warn!(
                        file = %path,
                        offset = scan.first_gap,
                        passed_over_bytes = scan.passed_over,
                        "{path} is damaged in {} place(s), the first at byte {}: {} bytes passed over",
                        scan.gaps,
                        scan.first_gap,
                        scan.passed_over
                    );
                }
            }
            Err(error) => {
                self.resume_at = None;
                tracing::error!(
                    file = %path,
                    "{path} cannot be read to its end: {error}; its other records are kept"
                );
            }
        }
    }

    /// Opens a segment for writing, unless one is: how a folder that cannot be written shows.
    pub(super) fn prepare(&mut self) -> Result<(), Trouble> {
        if self.active.is_some() {
            return Ok(());
        }
        if self.lock.is_none() {
            self.lock = folder::lock(&self.shared.folder)?;
        }
        let last = self.shared.index.read().segments.values().last().cloned();
        match (last, self.resume_at) {
            (Some(last), Some(at)) if at < self.shared.limits.segment_bytes => {
                self.resume(last, at)?;
            }
            _ => self.begin_segment()?,
        }
        self.resume_at = None;
        Ok(())
    }

    /// Goes on with the last segment where its last good record ends: behind garbage, a record
    /// might not be found again.
    fn resume(&mut self, last: Arc<Segment>, at: u64) -> Result<(), Trouble> {
        let opened = last.writable().and_then(|file| {
            file.set_len(at)?;
            Ok(file)
        });
        let file = opened.map_err(|error| Trouble::of("write", &last.path, error))?;
        self.lens.insert(last.number, at);
        self.active = Some(Active {
            segment: last,
            file,
            end: at,
        });
        self.tell_bytes();
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), Trouble> {
        let folder = &self.shared.folder;
        let number = self.last_number + 1;
        let path = segment::path(folder, number);
        let failed = |error| Trouble::of("write", &path, error);
        let made = Segment::create(path.clone(), number, salt(), &*self.shared.medium);
        let segment = Arc::new(made.map_err(failed)?);
        let file = segment.writable().map_err(failed)?;
        folder::sync(folder)?;
        let mut index = self.shared.index.write();
        index.segments.insert(number, Arc::clone(&segment));
        drop(index);
        let end = SEGMENT_HEAD as u64;
        self.last_number = number;
        self.lens.insert(number, end);
        self.active = Some(Active { segment, file, end });
        self.dirty = true;
        self.tell_bytes();
        Ok(())
    }

    /// Whether a body of so many bytes can be kept at all.
    pub(super) fn fits(&self, body: usize) -> bool {
        body <= BODY_BYTES_MAX
            && (SEGMENT_HEAD + HEAD + body) as u64 <= self.shared.limits.segment_bytes
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        let seq = self.seq;
        self.seq = seq.saturating_add(1);
        seq
    }

    /// Adds a record to the batch, and writes the batch if it is large enough.
    pub(super) fn stage(&mut self, label: &Label, body: &[u8], what: What) -> Result<(), Trouble> {
        match self.prepare() {
            Err(trouble @ Trouble::NoRoom(_)) => {
                self.give_up_oldest(trouble)?;
                self.prepare()?;
            }
            prepared => prepared?,
        }
        self.make_room((HEAD + body.len()) as u64)?;
        self.add(label, body, what)
    }

    fn add(&mut self, label: &Label, body: &[u8], what: What) -> Result<(), Trouble> {
        let size = HEAD + body.len();
        if self.batch.len() + size > BATCH_BYTES_MAX {
            self.write_out()?;
        }
        let end = |log: &Self| log.active().end + log.batch.len() as u64;
        self.prepare()?;
        while end(self) + size as u64 > self.shared.limits.segment_bytes {
            self.write_out()?;
            match self.rotate() {
                Err(trouble @ Trouble::NoRoom(_)) => self.give_up_oldest(trouble)?,
                rotated => rotated?,
            }
            self.prepare()?;
        }
        let (salt, number) = (self.active().segment.salt, self.active().segment.number);
        let head = Head::of(label, body, salt);
        let offset = u32::try_from(end(self)).expect("a segment is at most 4 GiB");
        self.batch.extend_from_slice(&head.encode(salt));
        self.batch.extend_from_slice(body);
        self.staged.push(Staged {
            id: label.id,
            what,
            place: Place::of(&head, number, offset),
        });
        Ok(())
    }

    fn active(&self) -> &Active {
        self.active.as_ref().expect("prepared before")
    }

    /// Writes the batch and shows what is in it. When there is no room, the oldest segment is
    /// given up and it is tried once more.
    pub(super) fn write_out(&mut self) -> Result<(), Trouble> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match self.append() {
            Err(trouble @ Trouble::NoRoom(_)) => {
                self.give_up_oldest(trouble)?;
                self.append()?;
            }
            appended => appended?,
        }
        self.gave_up = false;
        Ok(())
    }

    fn append(&mut self) -> Result<(), Trouble> {
        let Some(active) = self.active.as_mut().filter(|_| !self.batch.is_empty()) else {
            return Ok(());
        };
        let medium = &self.shared.medium;
        if let Err(error) = medium.write(&active.file, &self.batch, active.end) {
            // if this fails too, the next batch is written over what was left
            let _ = active.file.set_len(active.end);
            return Err(Trouble::of("write", &active.segment.path, error));
        }
        active.end += self.batch.len() as u64;
        self.lens.insert(active.segment.number, active.end);
        self.batch.clear();
        self.dirty = true;
        self.publish();
        self.tell_bytes();
        Ok(())
    }

    /// Puts what was written into the index.
    fn publish(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let shared = &self.shared;
        let news = |staged: &&Staged| matches!(staged.what, What::New { .. });
        Counts::add(&shared.counts.written, staged.iter().filter(news).count());
        shared.queue.publish(|removes| {
            let mut index = shared.index.write();
            for Staged { id, what, place } in &staged {
                match what {
                    What::Removal => index.remove(id),
                    // a removal came after it: it hides what was written meanwhile
                    _ if removes(id) => {}
                    What::Copy { from } if index.get(id) != Some(*from) => {}
                    What::New { .. } | What::Copy { .. } | What::Rescue => {
                        index.insert(*id, *place);
                    }
                }
            }
        });
    }

    /// What was staged and could not be written, which is forgotten.
    pub(super) fn take_unwritten(&mut self) -> Vec<Staged> {
        self.batch.clear();
        std::mem::take(&mut self.staged)
    }

    /// Makes durable what was written, and looks whether it is still in the folder.
    pub(super) fn sync(&mut self) -> Result<(), Trouble> {
        let Some(active) = self.active.as_ref().filter(|_| self.dirty) else {
            return Ok(());
        };
        self.dirty = false;
        if let Err(error) = self.shared.medium.sync(&active.file) {
            let trouble = Trouble::of("sync", &active.segment.path, error);
            if active.end == SEGMENT_HEAD as u64 {
                // nothing is in it: no need for another one
                self.dirty = true;
            } else {
                // what the system still had to write may be lost, and it says so only once: what
                // comes next goes elsewhere
                self.active = None;
            }
            return Err(trouble);
        }
        if active.segment.is_in_place() {
            return Ok(());
        }
        Err(Trouble::Gone(self.shared.folder.clone()))
    }

    /// Whether a segment is open for writing.
    pub(super) fn is_prepared(&self) -> bool {
        self.active.is_some()
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Ends the segment and begins the next; a moment to look whether all are there.
    fn rotate(&mut self) -> Result<(), Trouble> {
        self.sync()?;
        let segments: Vec<_> = self
            .shared
            .index
            .read()
            .segments
            .values()
            .cloned()
            .collect();
        if !segments.iter().all(|segment| segment.is_in_place()) {
            return Err(Trouble::Gone(self.shared.folder.clone()));
        }
        self.begin_segment()
    }

    fn tell_bytes(&self) {
        let bytes = self.lens.values().sum();
        self.shared.counts.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// The label of a record that is moved: it stays what it was.
pub(super) fn label(id: &CopyId, place: &Place) -> Label {
    Label {
        id: *id,
        pinned: place.pinned,
        removed: false,
        good_until: place.good_until,
        seq: place.seq,
    }
}

/// Nobody who writes fragments can know it. A system without randomness still has a log.
fn salt() -> u64 {
    let mut salt = [0; 8];
    match SystemRandom::new().fill(&mut salt) {
        Ok(()) => u64::from_le_bytes(salt),
        Err(ring::error::Unspecified) => fastrand::u64(..),
    }
}
