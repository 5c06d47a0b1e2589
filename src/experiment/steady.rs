//! What must hold of the pages of a site. Owns how it is measured; pure.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::fragment::quantity::show_duration;
use crate::site::slo::percent;

use super::Seen;

/// A part of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing has been done yet.
    Before,
    /// From the first step to the last.
    During,
    /// All is rolled back.
    After,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// Pages with their core.
    Core,
    /// Pages with all their blocks.
    Full,
    /// Pages that are there within this.
    Within(Duration),
    /// Pages with this block.
    Block(String),
}

/// A share of pages of which something must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Steady {
    /// What.
    pub measure: Measure,
    /// Of which share of pages, 0 to 1.
    pub share: f64,
    /// When.
    pub phases: Vec<Phase>,
}

impl Steady {
    /// The share of pages that it holds of; `None` where there were none.
    pub fn measured(&self, seen: &Seen) -> Option<f64> {
        let (good, all) = match &self.measure {
            Measure::Core => (seen.with_core(), seen.asked()),
            Measure::Full => (seen.full(), seen.asked()),
            Measure::Block(name) => (seen.with_block(name), seen.asked()),
            Measure::Within(time) => seen.within(*time),
        };
        (all > 0).then(|| good as f64 / all as f64)
    }

    /// Whether it holds. Of no pages nothing does.
    pub fn holds(&self, seen: &Seen) -> bool {
        // what is a whole number of pages is not lost to rounding
        self.measured(seen)
            .is_some_and(|share| share >= self.share - 1e-9)
    }
}

impl fmt::Display for Steady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the pages ", percent(self.share))?;
        match &self.measure {
            Measure::Core => f.write_str("have their article"),
            Measure::Full => f.write_str("have all their blocks"),
            Measure::Within(time) => write!(f, "are there within {}", show_duration(*time)),
            Measure::Block(name) => write!(f, "show {name}"),
        }
    }
}
