//! Shell: how the log makes room. Owns which records are worth keeping; how they are written is
//! the log's own affair.
//!
//! Always the oldest segment goes, so that the store is a ring: what is still wanted is copied to
//! the end, what is not goes with the file. Pinned records are copied while they take up no more
//! than half of the store, others while all records do. Since at most half is ever copied, a lap
//! of the ring frees the other half, and compaction ends. One segment's length is left free, so
//! that the copies fit under the bound before the file goes.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;

use crate::cache::key::CopyId;

use super::{Log, Staged, What, label};
use crate::cache::disk::folder;
use crate::cache::disk::record::{HEAD, SEGMENT_HEAD};
use crate::cache::disk::segment::{Place, Segment, is_absence};
use crate::cache::disk::shared::Counts;
use crate::cache::disk::trouble::Trouble;

/// Segments at most, whatever their size: each is an open descriptor.
const SEGMENTS_MAX: usize = 40;

/// What of the oldest segment may pass through memory when there is no room to copy it first.
const CARRIED_BYTES_MAX: u64 = 16 << 20;

impl Log {
    /// Compacts until so many more bytes fit.
    pub(super) fn make_room(&mut self, size: u64) -> Result<(), Trouble> {
        // a lap and more without enough room: what is left is kept by no rule
        let mut patience = 2 * self.lens.len() + 2;
        while self.is_over(size) {
            self.write_out()?;
            self.reclaim(patience > 0)?;
            patience = patience.saturating_sub(1);
        }
        Ok(())
    }

    fn is_over(&self, size: u64) -> bool {
        let limits = &self.shared.limits;
        let bytes = self.lens.values().sum::<u64>() + self.batch.len() as u64;
        // the head of a segment that may have to be begun
        let bytes = bytes + size + SEGMENT_HEAD as u64;
        let records = self.shared.index.read().len() + self.staged.len();
        let spare = limits.bytes_max - limits.segment_bytes;
        self.lens.len() > 1
            && (bytes > spare || self.lens.len() > SEGMENTS_MAX || records >= limits.records_max)
    }

    /// Frees the oldest segment, copying from it what is still wanted.
    fn reclaim(&mut self, keeping: bool) -> Result<(), Trouble> {
        let Some(oldest) = self.oldest() else {
            return Ok(());
        };
        let Sorted { keep, drop } = self.sort(oldest.number, keeping);
        for (id, place) in &keep {
            let Ok(body) = oldest.read(place) else {
                self.refuse(id, place);
                continue;
            };
            self.add(&label(id, place), &body, What::Copy { from: *place })?;
        }
        match self.append() {
            Err(trouble @ Trouble::NoRoom(_)) => {
                self.take_unwritten();
                return self.give_up_oldest(trouble);
            }
            appended => appended?,
        }
        // the copies must be there before what they were made from goes
        self.sync()?;
        self.evict(&drop);
        self.delete(&oldest)
    }

    /// Frees the oldest segment without room to copy from it: what is pinned goes through memory.
    ///
    /// Gives the trouble back when that is too much, or when it was done before and has not helped:
    /// on a disk that another program fills, giving up more would only empty the store.
    pub(super) fn give_up_oldest(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let Some(oldest) = self.oldest().filter(|_| !self.gave_up) else {
            return Err(trouble);
        };
        let Sorted { keep, drop } = self.sort(oldest.number, true);
        let (carry, rest): (Vec<_>, Vec<_>) = keep.into_iter().partition(|(_, place)| place.pinned);
        let bytes: u64 = carry.iter().map(|(_, place)| place.record_len()).sum();
        if bytes > CARRIED_BYTES_MAX.min(self.lens[&oldest.number] / 2) {
            return Err(trouble);
        }
        let carried: Vec<(CopyId, Place, Bytes)> = carry
            .into_iter()
            .filter_map(|(id, place)| Some((id, place, oldest.read(&place).ok()?)))
            .collect();
        self.delete(&oldest)?;
        self.gave_up = true;
        tracing::warn!(
            folder = %self.shared.folder.display(),
            "no room in {}: the oldest copies are given up for new ones",
            self.shared.folder.display()
        );
        self.evict(&drop);
        self.evict(&rest);
        // not with the batch that waits: its places are where the file ends now
        let batch = std::mem::take(&mut self.batch);
        let staged = std::mem::take(&mut self.staged);
        let moved = self.move_in(&carried);
        if moved.is_err() {
            self.take_unwritten();
            let lost: Vec<_> = carried.iter().map(|(id, place, _)| (*id, *place)).collect();
            self.evict(&lost);
        }
        let restaged = self.restage(&batch, staged);
        moved.and(restaged)
    }

    fn move_in(&mut self, carried: &[(CopyId, Place, Bytes)]) -> Result<(), Trouble> {
        for (id, place, body) in carried {
            self.add(&label(id, place), body, What::Copy { from: *place })?;
        }
        self.append()
    }

    /// Stages again what was staged in a batch of its own, where the log ends now.
    fn restage(&mut self, batch: &[u8], staged: Vec<Staged>) -> Result<(), Trouble> {
        let mut rest = batch;
        let mut result = Ok(());
        for Staged { id, what, place } in staged {
            let (record, after) = rest.split_at(place.record_len() as usize);
            rest = after;
            let mut label = label(&id, &place);
            label.removed = what == What::Removal;
            if result.is_ok() {
                result = self.add(&label, &record[HEAD..], what);
            }
            if result.is_err() {
                // for whoever counts what could not be written
                self.staged.push(Staged { id, what, place });
            }
        }
        result
    }

    /// The oldest segment that is not written.
    fn oldest(&self) -> Option<Arc<Segment>> {
        let active = self.active.as_ref().map(|active| active.segment.number);
        let index = self.shared.index.read();
        let (number, oldest) = index.segments.first_key_value()?;
        (Some(*number) != active).then(|| Arc::clone(oldest))
    }

    /// What becomes of the records of a segment.
    fn sort(&self, segment: u32, keeping: bool) -> Sorted {
        let limits = &self.shared.limits;
        let now = u64::try_from(self.shared.wall().as_millis()).unwrap_or(u64::MAX);
        let index = self.shared.index.read();
        let (mut live, mut pinned, mut records) = (index.live(), index.pinned(), index.len());
        let mut sorted = Sorted::default();
        for (id, place) in index.select(|_, place| place.segment == segment) {
            let half = limits.bytes_max / 2;
            let room = live <= half || (place.pinned && pinned <= half);
            let room = room && records <= limits.records_max / 2;
            if keeping && room && place.good_until > now {
                sorted.keep.push((id, place));
                continue;
            }
            live -= place.record_len();
            pinned -= if place.pinned { place.record_len() } else { 0 };
            records -= 1;
            sorted.drop.push((id, place));
        }
        sorted
    }

    fn evict(&self, records: &[(CopyId, Place)]) {
        let mut index = self.shared.index.write();
        let gone = records.iter().filter(|(id, place)| index.forget(id, place));
        Counts::add(&self.shared.counts.evicted, gone.count());
    }

    fn refuse(&self, id: &CopyId, place: &Place) {
        if self.shared.index.write().forget(id, place) {
            Counts::add(&self.shared.counts.refused, 1);
        }
    }

    fn delete(&mut self, segment: &Segment) -> Result<(), Trouble> {
        // what stands in its place by now may be someone else's
        if segment.is_in_place() {
            match fs::remove_file(&segment.path) {
                Err(error) if !is_absence(&error) => {
                    return Err(Trouble::of("remove", &segment.path, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.shared.index.write().segments.remove(&segment.number);
        self.lens.remove(&segment.number);
        self.tell_bytes();
        folder::sync(&self.shared.folder)
    }
}

/// The records of a segment, by what becomes of them.
#[derive(Default)]
struct Sorted {
    keep: Vec<(CopyId, Place)>,
    drop: Vec<(CopyId, Place)>,
}
