//! Which record of which segment is the latest for an id. Owns the map and its sums; pure.
//!
//! About 110 bytes of memory a record: 65 for an entry, and the free places of a hash table that
//! doubles. Invariant: the sums are those of the places in the map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cache::key::CopyId;

use super::record::Head;
use super::segment::{Place, Segment};

/// The map, and the segments that it points into.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashMap<CopyId, Place>,
    pub(super) segments: BTreeMap<u32, Arc<Segment>>,
    live: u64,
    pinned: u64,
}

impl Index {
    pub(super) fn get(&self, id: &CopyId) -> Option<Place> {
        self.places.get(id).copied()
    }

    pub(super) fn locate(&self, id: &CopyId) -> Option<(Place, Arc<Segment>)> {
        let place = self.get(id)?;
        let segment = self.segments.get(&place.segment)?;
        Some((place, Arc::clone(segment)))
    }

    pub(super) fn contains(&self, id: &CopyId) -> bool {
        self.places.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the records in the map, heads included.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Of which are pinned.
    pub(super) fn pinned(&self) -> u64 {
        self.pinned
    }

    /// A record found while opening, in the order of the log.
    pub(super) fn replay(&mut self, head: &Head, place: Place) {
        if self.get(&head.id).is_some_and(|known| known.seq > head.seq) {
            return;
        }
        if head.removed {
            self.remove(&head.id);
        } else {
            self.insert(head.id, place);
        }
    }

    pub(super) fn insert(&mut self, id: CopyId, place: Place) {
        self.remove(&id);
        self.live += place.record_len();
        self.pinned += if place.pinned { place.record_len() } else { 0 };
        self.places.insert(id, place);
    }

    pub(super) fn remove(&mut self, id: &CopyId) {
        if let Some(place) = self.places.remove(id) {
            self.live -= place.record_len();
            self.pinned -= if place.pinned { place.record_len() } else { 0 };
        }
    }

    /// Removes the record if it is still this one; says whether it was.
    pub(super) fn forget(&mut self, id: &CopyId, place: &Place) -> bool {
        let same = self.get(id) == Some(*place);
        if same {
            self.remove(id);
        }
        same
    }

    /// What is in the map and for which `wanted` holds, in the order of the log.
    pub(super) fn select(&self, wanted: impl Fn(&CopyId, &Place) -> bool) -> Vec<(CopyId, Place)> {
        let all = self.places.iter().map(|(id, place)| (*id, *place));
        let mut selected: Vec<_> = all.filter(|(id, place)| wanted(id, place)).collect();
        selected.sort_unstable_by_key(|(_, place)| (place.segment, place.offset));
        selected
    }
}
