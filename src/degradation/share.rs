//! From theta to what one reader gets. Owns the mapping: cumulative cost in the order of the ladder, at
//! most one step that some readers keep and others do not, and always the same readers.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Level;

/// Where the ladder is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Steps that are given up by everybody.
    pub given_up: Level,
    /// The share of readers that keep the step after these.
    pub kept: f64,
}

impl Cut {
    /// Nothing is given up.
    pub const NONE: Self = Self {
        given_up: Level::FULL,
        kept: 1.0,
    };

    /// The cut that leaves `theta` of the cost of all steps, `costs` being that of each, first given up
    /// first.
    pub fn at(theta: f64, costs: &[f64]) -> Self {
        if theta >= 1.0 || costs.is_empty() {
            return Self::NONE;
        }
        let mut left = theta.max(0.0) * costs.iter().sum::<f64>();
        for (step, cost) in costs.iter().enumerate().rev() {
            if left > 0.0 && left >= *cost {
                left -= cost;
                continue;
            }
            let kept = if *cost > 0.0 { left / cost } else { 0.0 };
            let step = u8::try_from(step).unwrap_or(u8::MAX);
            return Self {
                given_up: Level::new(step),
                kept,
            };
        }
        Self::NONE
    }

    /// The level of one reader's pages.
    pub fn level(&self, reader: Reader) -> Level {
        let step = self.given_up.get();
        let keeps = self.kept >= 1.0 || reader.draw(u64::from(step)) < self.kept;
        Level::new(if keeps { step } else { step.saturating_add(1) })
    }
}

/// Who reads, as a number that tells nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader(u64);

impl Reader {
    /// Nobody in particular.
    pub const NOBODY: Self = Self(0);

    /// The reader of this name, which is a cookie's value or an address. `day` changes whom it hits.
    pub fn new(name: &[u8], day: u64) -> Self {
        Self(xxh3_64_with_seed(name, day))
    }

    /// Where this reader stands in a matter: uniform in [0, 1), the same on every node.
    pub fn draw(self, matter: u64) -> f64 {
        let hash = xxh3_64_with_seed(&self.0.to_le_bytes(), matter);
        // the 53 bits that a float has room for
        (hash >> 11) as f64 / (1u64 << 53) as f64
    }
}
