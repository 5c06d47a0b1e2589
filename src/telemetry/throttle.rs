//! The same complaint once in a while, not once a request. Owns the memory of what was complained
//! about; bounded, because what is complained about has a name in the declaration.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Instant;

/// The same complaint is made once in so long.
const PAUSE: Duration = Duration::from_secs(10);

/// What was complained about, and when.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<BTreeMap<String, Instant>>);

impl Throttle {
    /// Whether a complaint is due; asking makes it.
    pub fn is_due(&self, about: &str, now: Instant) -> bool {
        let mut last = self.0.lock();
        let due = last.get(about).is_none_or(|last| now >= *last + PAUSE);
        if due {
            last.insert(about.to_owned(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_same_complaint_waits_and_another_does_not() {
        let (throttle, now) = (Throttle::default(), Clock::start().now());
        assert!(throttle.is_due("a", now));
        assert!(!throttle.is_due("a", now + Duration::from_secs(9)));
        assert!(throttle.is_due("b", now));
        assert!(throttle.is_due("a", now + PAUSE));
    }
}
