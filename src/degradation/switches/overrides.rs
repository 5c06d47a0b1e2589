//! What all switches in force come to. Owns how a page reads them.

use std::collections::BTreeSet;

use crate::degradation::Level;

use super::Act;

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

    /// Whether operators have less given up than the law wants, which is `wanted`.
    pub fn holds_down(&self, wanted: Level) -> bool {
        self.level(wanted) < wanted
    }

    /// Whether a fragment is off.
    pub fn is_off(&self, fragment: &str) -> bool {
        // most sites, most of the time, have none
        !self.off.is_empty() && self.off.contains(fragment)
    }

    /// Whether no level gives a fragment up.
    pub fn is_on(&self, fragment: &str) -> bool {
        !self.on.is_empty() && self.on.contains(fragment)
    }

    pub(super) fn add(&mut self, act: &Act) {
        match act {
            Act::Off { block } => _ = self.off.insert(block.clone()),
            Act::On { block } => _ = self.on.insert(block.clone()),
            Act::Pin { level } => self.pin = Some(*level),
            Act::Floor { level } => self.floor = Some(*level),
            Act::Cap { level } => self.cap = Some(*level),
            Act::Freeze => self.is_frozen = true,
            Act::DryRun => self.is_dry_run = true,
            Act::Ttl { factor } => self.ttl_factor = factor.get(),
            // it takes away what would else be here
            Act::Skip { .. } => {}
        }
    }
}
