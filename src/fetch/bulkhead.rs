//! How many requests an origin may have at once. Owns the count, and the rule that optional fragments
//! leave the others their places; pure. Full means refused at once, never queued: whoever waits here
//! waits on the reader's time.
//!
//! Invariant: however many optional fragments ask, core and essential ones find `reserved` places that
//! no optional one can take.

/// The places of one origin.
#[derive(Debug)]
pub(super) struct Bulkhead {
    max: usize,
    /// What optional fragments may take of them: a limiter that learns would move this, and never
    /// `max`.
    optional_max: usize,
    required: usize,
    optional: usize,
}

/// A place that was taken; it is to be given back as what it was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// By a core or essential fragment.
    Required,
    /// By an optional one.
    Optional,
}

impl Bulkhead {
    /// `max` places, of which `reserved` are never an optional fragment's.
    pub(super) fn new(max: usize, reserved: usize) -> Self {
        Self {
            max,
            optional_max: max.saturating_sub(reserved),
            required: 0,
            optional: 0,
        }
    }

    /// The site was declared anew: who is in stays in.
    pub(super) fn declare(&mut self, max: usize, reserved: usize) {
        self.max = max;
        self.optional_max = max.saturating_sub(reserved);
    }

    /// Takes a place, if there is one for this kind of fragment.
    pub(super) fn take(&mut self, is_required: bool) -> Option<Place> {
        if self.in_flight() >= self.max {
            return None;
        }
        if is_required {
            self.required += 1;
            return Some(Place::Required);
        }
        if self.optional >= self.optional_max {
            return None;
        }
        self.optional += 1;
        Some(Place::Optional)
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, place: Place) {
        match place {
            Place::Required => self.required -= 1,
            Place::Optional => self.optional -= 1,
        }
    }

    /// Places that are taken.
    pub(super) fn in_flight(&self) -> usize {
        self.required + self.optional
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn optional_fragments_never_take_the_last_place() {
        let mut bulkhead = Bulkhead::new(4, 1);
        let taken = (0..9).filter_map(|_| bulkhead.take(false)).count();
        assert_eq!(taken, 3);
        assert_eq!(bulkhead.take(true), Some(Place::Required));
        assert_eq!(bulkhead.take(true), None, "full is full");
        bulkhead.give_back(Place::Optional);
        assert_eq!(bulkhead.take(true), Some(Place::Required));
        assert_eq!(bulkhead.take(false), None);
    }

    #[test]
    fn required_fragments_may_take_all() {
        let mut bulkhead = Bulkhead::new(4, 1);
        assert_eq!((0..9).filter_map(|_| bulkhead.take(true)).count(), 4);
    }

    proptest! {
        #[test]
        fn the_reserve_holds(
            max in 1usize..20, reserved in 0usize..20,
            moves in prop::collection::vec((any::<bool>(), any::<bool>()), 0..200)
        ) {
            let mut bulkhead = Bulkhead::new(max, reserved);
            let mut taken = Vec::new();
            for (takes, required) in moves {
                if takes {
                    taken.extend(bulkhead.take(required));
                } else if let Some(place) = taken.pop() {
                    bulkhead.give_back(place);
                }
                prop_assert_eq!(bulkhead.in_flight(), taken.len());
                prop_assert!(taken.len() <= max);
                let optional = taken.iter().filter(|place| **place == Place::Optional).count();
                prop_assert!(optional <= max.saturating_sub(reserved));
                // what is free is free for whoever is required
                let is_free = taken.len() < max;
                let mut probe = Bulkhead { ..bulkhead };
                prop_assert_eq!(probe.take(true).is_some(), is_free);
                bulkhead = Bulkhead { required: taken.len() - optional, optional, ..probe };
            }
        }
    }
}
