//! How it went, second by second: what the dashboard's charts and its time machine are drawn from.
//! Owns the memory, which is bounded, and how seconds become tens of seconds; measures nothing.
//!
//! Invariant: what is thinned out never looks better than it was. Of ten seconds the worst delay, the
//! highest level and every missing block remain.

use std::collections::VecDeque;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

/// Seconds that are remembered one by one: ten minutes.
const SECONDS_MAX: usize = 600;

/// Rows of ten seconds that are remembered: six hours.
const TENS_MAX: usize = 2160;

/// Names that one row holds of each kind.
const NAMES_MAX: usize = 32;

/// Seconds in a row of those.
const TEN: usize = 10;

/// What happened between two looks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Beat {
    /// Its end, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it was, in seconds.
    pub span_s: f64,
    /// Pages that ended.
    pub pages: u64,
    /// Of which every block was there.
    pub complete: u64,
    /// Of which the reader got the page as it was before.
    pub snapshots: u64,
    /// Of which the core could not be had.
    pub unavailable: u64,
    /// Of which the reader did not wait for the end.
    pub left: u64,
    /// Half of the pages took no longer, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95 of 100 took no longer.
    pub p95_ms: Option<f64>,
    /// The longest that work waited.
    pub queue_delay_ms: f64,
    /// The least share of the optional work that was done.
    pub theta: f64,
    /// The least share of pages that were composed.
    pub admit: f64,
    /// The least share of optional requests that origins could take.
    pub phi: f64,
    /// The highest level that everybody's pages had.
    pub level: u8,
    /// Blocks that somebody did not get as declared.
    pub missing: Vec<String>,
    /// Origins that were not asked as ever.
    pub sick: Vec<String>,
}

impl Beat {
    /// Nothing happened, and nothing is given up.
    pub fn quiet(at_ms: u64, span_s: f64) -> Self {
        Self {
            at_ms,
            span_s,
            pages: 0,
            complete: 0,
            snapshots: 0,
            unavailable: 0,
            left: 0,
            p50_ms: None,
            p95_ms: None,
            queue_delay_ms: 0.0,
            theta: 1.0,
            admit: 1.0,
            phi: 1.0,
            level: 0,
            missing: Vec::new(),
            sick: Vec::new(),
        }
    }

    /// The same with names up to their bound.
    #[must_use]
    fn bounded(mut self) -> Self {
        self.missing.truncate(NAMES_MAX);
        self.sick.truncate(NAMES_MAX);
        self
    }

    /// Takes a later one in.
    fn add(&mut self, later: &Self) {
        self.at_ms = later.at_ms;
        self.span_s += later.span_s;
        self.pages += later.pages;
        self.complete += later.complete;
        self.snapshots += later.snapshots;
        self.unavailable += later.unavailable;
        self.left += later.left;
        self.p50_ms = worst(self.p50_ms, later.p50_ms);
        self.p95_ms = worst(self.p95_ms, later.p95_ms);
        self.queue_delay_ms = self.queue_delay_ms.max(later.queue_delay_ms);
        self.theta = self.theta.min(later.theta);
        self.admit = self.admit.min(later.admit);
        self.phi = self.phi.min(later.phi);
        self.level = self.level.max(later.level);
        join(&mut self.missing, &later.missing);
        join(&mut self.sick, &later.sick);
    }
}

fn worst(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, other) => one.or(other),
    }
}

fn join(names: &mut Vec<String>, more: &[String]) {
    for name in more {
        if names.len() < NAMES_MAX && !names.contains(name) {
            names.push(name.clone());
        }
    }
}

/// The last minutes by seconds, the last hours by tens of seconds.
#[derive(Debug, Default)]
pub struct History(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    seconds: VecDeque<Beat>,
    tens: VecDeque<Beat>,
    /// The row that is being filled, and how much is in it.
    filling: Option<(Beat, usize)>,
}

impl History {
    /// Remembers what happened.
    pub fn add(&self, beat: Beat) {
        let beat = beat.bounded();
        let mut rows = self.0.lock();
        rows.fill(&beat);
        push(&mut rows.seconds, beat, SECONDS_MAX);
    }

    /// What ended after this many milliseconds since 1970, the oldest first: by tens of seconds as far
    /// as that is all there is, then by seconds.
    pub fn since(&self, at_ms: u64) -> Vec<Beat> {
        let rows = self.0.lock();
        let first = rows.seconds.front().map_or(u64::MAX, |beat| beat.at_ms);
        let older = rows
            .tens
            .iter()
            .filter(|ten| ten.at_ms > at_ms && ten.at_ms < first);
        let newer = rows.seconds.iter().filter(|beat| beat.at_ms > at_ms);
        older.chain(newer).cloned().collect()
    }

    /// The last ones, the oldest first.
    pub fn last(&self, count: usize) -> Vec<Beat> {
        let rows = self.0.lock();
        let skipped = rows.seconds.len().saturating_sub(count);
        rows.seconds.iter().skip(skipped).cloned().collect()
    }
}

impl Rows {
    fn fill(&mut self, beat: &Beat) {
        let (row, count) = match self.filling.take() {
            None => (beat.clone(), 1),
            Some((mut row, count)) => {
                row.add(beat);
                (row, count + 1)
            }
        };
        if count < TEN {
            self.filling = Some((row, count));
        } else {
            push(&mut self.tens, row, TENS_MAX);
        }
    }
}

fn push(rows: &mut VecDeque<Beat>, beat: Beat, max: usize) {
    if rows.len() >= max {
        rows.pop_front();
    }
    rows.push_back(beat);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(second: u64) -> Beat {
        Beat {
            pages: 2,
            complete: 1,
            ..Beat::quiet(second * 1000, 1.0)
        }
    }

    #[test]
    fn ten_seconds_remember_their_worst() {
        let history = History::default();
        for second in 1..=620 {
            let odd = Beat {
                p95_ms: Some(900.0),
                level: 3,
                theta: 0.2,
                missing: vec!["slideshow".to_owned()],
                ..beat(second)
            };
            history.add(if second == 4 { odd } else { beat(second) });
        }
        let all = history.since(0);
        let first = &all[0];
        assert_eq!((first.at_ms, first.pages, first.complete), (10_000, 20, 10));
        assert_eq!(
            (first.level, first.theta, first.p95_ms),
            (3, 0.2, Some(900.0))
        );
        assert_eq!(first.missing, ["slideshow"]);
        // 1..=20 in two rows, then a row each
        assert_eq!(all.len(), 2 + 600);
        assert!(all.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms));
        assert_eq!(history.since(619_000).len(), 1);
        assert_eq!(history.last(3)[0].at_ms, 618_000);
    }

    #[test]
    fn it_does_not_grow() {
        let history = History::default();
        for second in 0..60_000 {
            history.add(Beat {
                missing: (0..99).map(|n| n.to_string()).collect(),
                ..Beat::quiet(second * 1000, 1.0)
            });
        }
        let rows = history.0.lock();
        assert_eq!((rows.seconds.len(), rows.tens.len()), (600, 2160));
        assert!(rows.tens.iter().all(|ten| ten.missing.len() == NAMES_MAX));
    }
}
