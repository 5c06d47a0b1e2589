//! The present degradation. Owns the number and its order; what a level drops is the
//! [ladder](super::Ladder)'s.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How degraded pages are: 0 is the full page, each step up gives up one more rung of the ladder.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Level(u8);

impl Level {
    /// The full page.
    pub const FULL: Self = Self(0);

    /// A level; numbers beyond a site's ladder mean its last step.
    pub fn new(level: u8) -> Self {
        Self(level)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
