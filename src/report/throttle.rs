//! The same complaint once in a while, not once a request, and how often it was not made in between.
//! Owns the memory of what was complained about; bounded, also where what is complained about has no
//! name in the declaration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Instant;

/// The same complaint is made once in so long.
const PAUSE: Duration = Duration::from_secs(10);

/// Complaints that are told apart; beyond that the one that was made longest ago is forgotten.
const ABOUT_MAX: usize = 1024;

/// What was complained about, and when.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<BTreeMap<String, Last>>);

/// When it was complained about last, and how often it could have been since.
#[derive(Debug)]
struct Last {
    at: Instant,
    untold: u64,
}

/// How often a complaint was not made since it was made last: what its next line ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Untold(pub u64);

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (and once more since this was said last)"),
            count => write!(f, " (and {count} times more since this was said last)"),
        }
    }
}

impl Throttle {
    /// Whether a complaint is due, and how many like it were not made; asking makes it.
    pub fn due(&self, about: &str, now: Instant) -> Option<Untold> {
        self.due_after(PAUSE, about, now)
    }

    /// The same for what is said more seldom, or more often.
    pub fn due_after(&self, pause: Duration, about: &str, now: Instant) -> Option<Untold> {
        let mut known = self.0.lock();
        match known.get_mut(about) {
            Some(last) if now < last.at + pause => {
                last.untold += 1;
                None
            }
            Some(last) => {
                let untold = std::mem::take(&mut last.untold);
                last.at = now;
                Some(Untold(untold))
            }
            None => {
                if known.len() >= ABOUT_MAX {
                    let oldest = known.iter().min_by_key(|(_, last)| last.at);
                    let oldest = oldest.map(|(about, _)| about.clone());
                    oldest.and_then(|about| known.remove(&about));
                }
                let last = Last { at: now, untold: 0 };
                known.insert(about.to_owned(), last);
                Some(Untold::default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_same_complaint_waits_and_another_does_not() {
        let (throttle, now) = (Throttle::default(), Clock::start().now());
        assert_eq!(throttle.due("a", now), Some(Untold(0)));
        assert_eq!(throttle.due("a", now + Duration::from_secs(9)), None);
        assert_eq!(throttle.due("b", now), Some(Untold(0)));
        assert_eq!(throttle.due("a", now + PAUSE), Some(Untold(1)));
    }

    #[test]
    fn what_was_not_said_is_counted_and_told_once() {
        let (throttle, now) = (Throttle::default(), Clock::start().now());
        let told: Vec<_> = (0..25)
            .filter_map(|second| throttle.due("a", now + Duration::from_secs(second)))
            .collect();
        assert_eq!(told, [Untold(0), Untold(9), Untold(9)]);
        assert_eq!(
            told[1].to_string(),
            " (and 9 times more since this was said last)"
        );
        assert_eq!(told[0].to_string(), "");
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let (throttle, now) = (Throttle::default(), Clock::start().now());
        for n in 0..=ABOUT_MAX as u64 {
            let at = now + Duration::from_millis(n);
            assert!(throttle.due(&n.to_string(), at).is_some());
        }
        assert_eq!(throttle.0.lock().len(), ABOUT_MAX);
        let later = now + Duration::from_secs(2);
        assert!(throttle.due("0", later).is_some(), "it was forgotten");
        assert!(throttle.due("1024", later).is_none());
    }
}
