//! What operators have decided over the law's head.

use std::collections::BTreeSet;

use super::Level;

/// Switches that are set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Switches {}

/// What the switches in force come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Overrides {
    /// Fragments that are off, by name.
    pub off: BTreeSet<String>,
    /// Fragments that no level gives up, by name.
    pub on: BTreeSet<String>,
    /// Every page is planned at this level.
    pub pin: Option<Level>,
    /// No page is planned below this level.
    pub floor: Option<Level>,
    /// No page is planned above this level.
    pub cap: Option<Level>,
    /// The learned rate stays as it is.
    pub is_frozen: bool,
    /// The law decides and reports, and nothing is given up.
    pub is_dry_run: bool,
    /// What every ttl is multiplied by.
    pub ttl_factor: f64,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            off: BTreeSet::new(),
            on: BTreeSet::new(),
            pin: None,
            floor: None,
            cap: None,
            is_frozen: false,
            is_dry_run: false,
            ttl_factor: 1.0,
        }
    }
}

impl Overrides {
    /// The level of a page for which the law has decided on `level`.
    pub fn level(&self, level: Level) -> Level {
        let level = self.cap.map_or(level, |cap| level.min(cap));
        let level = self.floor.map_or(level, |floor| level.max(floor));
        self.pin.unwrap_or(level)
    }
}
