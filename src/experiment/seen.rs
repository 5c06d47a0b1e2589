//! What readers got in a part of an experiment. Owns how the server's own counts and what the experiment's
//! readers saw go together; pure.
//!
//! The server counts pages; a page that it never answered, because it was dead, only its reader can count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::telemetry::journal::Readers;

/// What the readers of an experiment saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Own {
    /// By status, how many pages came whole.
    pub answered: BTreeMap<u16, u64>,
    /// For how many there was no whole answer.
    pub unanswered: u64,
    /// How long each page took to its last byte, of those that came whole.
    pub times: Vec<Duration>,
}

impl Own {
    /// Pages that were asked for.
    pub fn asked(&self) -> u64 {
        self.answered() + self.unanswered
    }

    /// Pages that came whole.
    pub fn answered(&self) -> u64 {
        self.answered.values().sum()
    }

    /// Takes in what others saw.
    pub fn add(&mut self, other: Self) {
        for (status, count) in other.answered {
            *self.answered.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.times.extend(other.times);
    }
}

/// What readers got.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Seen {
    /// What the server counted.
    pub readers: Readers,
    /// What the experiment's own readers saw.
    pub own: Own,
}

impl Seen {
    /// Pages that readers waited for to the end.
    pub fn asked(&self) -> u64 {
        self.counted() + self.own.unanswered
    }

    fn counted(&self) -> u64 {
        self.readers.pages.saturating_sub(self.readers.left)
    }

    /// Pages of which readers got nothing: error pages, and those that were never answered.
    pub fn without_core(&self) -> u64 {
        self.readers.unavailable + self.own.unanswered
    }

    /// Pages with their core, or with its own verdict that there is no such page.
    pub fn with_core(&self) -> u64 {
        self.asked().saturating_sub(self.without_core())
    }

    /// Pages with all of their blocks.
    pub fn full(&self) -> u64 {
        let reduced = self.readers.degraded + self.readers.snapshots;
        self.with_core().saturating_sub(reduced)
    }

    /// Pages with this block, or with something in its place.
    pub fn with_block(&self, name: &str) -> u64 {
        let lost = self.readers.lost.get(name);
        let lost: u64 = lost.map_or(0, |causes| causes.values().sum());
        self.with_core().saturating_sub(lost)
    }

    /// Pages that were there within a time, and of how many. Of its own readers an experiment knows it
    /// exactly, of others to an eighth.
    pub fn within(&self, time: Duration) -> (u64, u64) {
        if self.own.asked() > 0 {
            let good = self.own.times.iter().filter(|took| **took <= time).count();
            return (good as u64, self.own.asked());
        }
        let most = time.as_secs_f64() * 1e3;
        let times = self.readers.times_ms.iter();
        let good: u64 = times.filter(|(ms, _)| *ms <= most).map(|(_, n)| n).sum();
        (good, self.asked())
    }

    /// The time within which this share of the pages were there, in milliseconds.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        if self.own.times.is_empty() {
            return self.readers.quantile_ms(share);
        }
        let mut times = self.own.times.clone();
        times.sort_unstable();
        let place = (times.len() as f64 * share).ceil() as usize;
        let found = times.get(place.saturating_sub(1))?;
        Some((found.as_secs_f64() * 1e4).round() / 10.0)
    }
}
