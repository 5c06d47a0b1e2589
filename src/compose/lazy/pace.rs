//! When browsers ask once more. Owns the rate at which all of them together may.
//!
//! A block that is missing on every page is asked for by every reader. Were they only told to wait a
//! random time, they would ask as often as pages are asked for, and all those who were there when it
//! broke would ask in the same few seconds. So each tag is given a place in a row, where a hundred a
//! second ask; the script spreads them further. Who would stand too far behind is not told to ask: they
//! have read the page by then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// Between two places: a small share of what one core composes.
const EVERY: Duration = Duration::from_millis(10);

/// Over how long the script itself spreads who may ask at once; `spread` there. Whoever stands no further
/// behind need not be told.
const SPREAD: Duration = Duration::from_secs(4);

/// Who reads a page for longer than a minute can do without the block.
const LAST: Duration = Duration::from_secs(60);

/// The row.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the next place is, in microseconds since 1970.
    next: AtomicU64,
}

impl Pace {
    /// How long a browser waits, besides what its script does by itself; `None` if it is not to ask.
    pub(super) fn place(&self, now: Moment) -> Option<Duration> {
        let every = micros(EVERY);
        let last = now.micros().saturating_add(micros(LAST));
        let taken = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                let place = next.max(now.micros());
                (place <= last).then(|| place.saturating_add(every))
            });
        let place = taken.ok()?.max(now.micros());
        let wait = Duration::from_micros(place - now.micros());
        Some(if wait > SPREAD { wait } else { Duration::ZERO })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::lazy::SCRIPT;

    /// When each of these pages' browsers ask, in milliseconds, as the script has it.
    fn asked(pages: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (pace, mut chance) = (Pace::default(), fastrand::Rng::with_seed(7));
        let start = Moment::from_micros(1_700_000_000_000_000);
        let mut asked = Vec::new();
        for at_ms in pages {
            let now = start.after(Duration::from_millis(at_ms));
            if let Some(wait) = pace.place(now) {
                let wait = u64::try_from(wait.as_millis()).unwrap();
                asked.push(at_ms + wait + 1000 + chance.u64(0..4000));
            }
        }
        asked
    }

    fn most_in_a_second(asked: &[u64]) -> usize {
        let last = asked.iter().max().copied().unwrap_or(0);
        let mut seconds = vec![0; usize::try_from(last / 1000).unwrap() + 1];
        for at in asked {
            seconds[usize::try_from(at / 1000).unwrap()] += 1;
        }
        seconds.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn the_script_waits_as_it_is_counted_on() {
        assert!(SCRIPT.contains("soonest = 1000, spread = 4000;"));
        assert_eq!(SPREAD, Duration::from_millis(4000));
    }

    #[test]
    fn a_hundred_thousand_browsers_do_not_storm() {
        // all at once, within a second, and for a minute: a hundred a second, as chance has it
        for span_ms in [0, 1_000, 60_000] {
            let asked = asked((0..100_000).map(|page| page * span_ms / 100_000));
            let most = most_in_a_second(&asked);
            assert!(most <= 140, "{most} in a second, pages within {span_ms} ms");
            assert!(asked.len() >= 6_000, "{} ask at all", asked.len());
            let last = asked.iter().max().unwrap();
            assert!(*last <= span_ms + 66_000, "the last asks after {last} ms");
        }
    }

    #[test]
    fn few_browsers_are_not_held_up() {
        let pace = Pace::default();
        for second in 0..1000 {
            let now = Moment::from_micros(1_000_000 * second);
            for _ in 0..100 {
                assert_eq!(pace.place(now), Some(Duration::ZERO));
            }
        }
    }

    #[test]
    fn after_a_crowd_there_is_room_again() {
        let (pace, now) = (Pace::default(), Moment::from_micros(1_000_000));
        let places = (0..10_000).filter(|_| pace.place(now).is_some()).count();
        assert_eq!(places, 6_001);
        assert_eq!(pace.place(now), None);
        assert!(pace.place(now.after(EVERY)).is_some());
        let later = now.after(Duration::from_secs(70));
        assert_eq!(pace.place(later), Some(Duration::ZERO));
    }
}
