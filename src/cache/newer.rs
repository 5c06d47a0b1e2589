//! Which of two copies of one key is the newer. Owns this rule, for answers of origins, for what is
//! pushed and for what other nodes tell; pure.
//!
//! Where both have a version and the versions differ, the higher one is newer, whenever either came:
//! messages of one publisher overtake one another. Else the later one is.

use crate::clock::Moment;

use super::entry::Entry;

/// What of a copy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its publisher's own count.
    pub version: Option<u64>,
    /// When it was stored; of an answer that is under way, when it was asked for.
    pub at: Moment,
}

impl Stamp {
    /// The stamp of a copy.
    pub fn of(entry: &Entry) -> Self {
        Self {
            version: entry.version,
            at: entry.stored_at,
        }
    }

    /// Whether a copy with this stamp takes the place of one with that. It does where nothing
    /// tells the two apart: whoever comes twice has not been understood the first time.
    pub fn takes_the_place_of(self, known: Self) -> bool {
        match (self.version, known.version) {
            (Some(new), Some(known)) if new != known => new > known,
            (Some(_) | None, Some(_) | None) => self.at >= known.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_version_else_by_time() {
        let stamp = |version, at| Stamp {
            version,
            at: Moment::from_micros(at),
        };
        for (new, known, takes) in [
            ((Some(2), 5), (Some(1), 9), true),
            ((Some(1), 9), (Some(2), 5), false),
            ((Some(0), 9), (Some(u64::MAX), 5), false),
            // one version: a retry, or a renewal that kept it
            ((Some(2), 5), (Some(2), 5), true),
            ((Some(2), 6), (Some(2), 5), true),
            ((Some(2), 5), (Some(2), 6), false),
            // what has no version is compared by time only
            ((None, 6), (Some(9), 5), true),
            ((None, 5), (Some(9), 6), false),
            ((Some(1), 6), (None, 5), true),
            ((Some(1), 5), (None, 6), false),
            ((None, 5), (None, 5), true),
            ((None, 6), (None, 5), true),
            ((None, 5), (None, 6), false),
        ] {
            let (new, known) = (stamp(new.0, new.1), stamp(known.0, known.1));
            assert_eq!(new.takes_the_place_of(known), takes, "{new:?} {known:?}");
        }
    }

    #[test]
    fn two_that_differ_never_take_each_others_place() {
        let stamps = (0..16u64).map(|n| Stamp {
            version: [None, Some(1), Some(2), Some(3)][(n % 4) as usize],
            at: Moment::from_micros(n / 4),
        });
        let stamps: Vec<Stamp> = stamps.collect();
        for a in &stamps {
            for b in stamps.iter().filter(|b| *b != a) {
                let both = a.takes_the_place_of(*b) && b.takes_the_place_of(*a);
                // of one time and not both counted: nothing tells them apart
                assert!(!both || a.at == b.at && (a.version.is_none() || b.version.is_none()));
                assert!(a.takes_the_place_of(*b) || b.takes_the_place_of(*a));
            }
        }
    }
}
