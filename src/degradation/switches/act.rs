//! What a switch does, and what it is about. Owns these words and their spelling, which is the same in
//! the log, in the admin API and on the command line.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::degradation::Level;

/// What a switch does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum Act {
    /// This fragment is not asked for, and not shown: what can stand in for it does.
    Off {
        /// Its name.
        block: String,
    },
    /// This fragment is given up by no level.
    On {
        /// Its name.
        block: String,
    },
    /// Every page is planned at this level.
    Pin {
        /// The level.
        level: Level,
    },
    /// No page is planned below this level.
    Floor {
        /// The level.
        level: Level,
    },
    /// No page is planned above this level.
    Cap {
        /// The level.
        level: Level,
    },
    /// What the law has learned stays as it is.
    Freeze,
    /// The law decides and reports, and nothing is given up.
    DryRun,
    /// Every ttl is multiplied by this.
    Ttl {
        /// By what.
        factor: Factor,
    },
    /// What the site schedules under this name does not begin this time, or ends at once.
    Skip {
        /// Its name.
        schedule: String,
    },
}

/// What a switch is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The fragment of this name.
    Block(String),
    /// The level of all pages.
    Pin,
    /// The lowest level.
    Floor,
    /// The highest level.
    Cap,
    /// Whether the law learns.
    Freeze,
    /// Whether anything is given up.
    DryRun,
    /// How long copies are fresh.
    Ttl,
    /// The schedule of this name.
    Schedule(String),
}

/// What a ttl is multiplied by: 0.1 to 100, in thousandths, so that it is the same wherever it is
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Factor(u32);

/// A factor that a ttl cannot be multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a ttl can be multiplied by 0.1 to 100, not by {0}")]
pub struct NoFactor(f64);

/// A text that names no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no switch: they are block/NAME, pin, floor, cap, freeze, dry-run, ttl, schedule/NAME, and with `@` and a moment those that begin then"
)]
pub struct NoSubject(pub String);

impl Act {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Off { block } | Self::On { block } => Subject::Block(block.clone()),
            Self::Pin { .. } => Subject::Pin,
            Self::Floor { .. } => Subject::Floor,
            Self::Cap { .. } => Subject::Cap,
            Self::Freeze => Subject::Freeze,
            Self::DryRun => Subject::DryRun,
            Self::Ttl { .. } => Subject::Ttl,
            Self::Skip { schedule } => Subject::Schedule(schedule.clone()),
        }
    }
}

impl fmt::Display for Act {
    /// What is so while it is in force.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off { block } => write!(f, "{block} is off"),
            Self::On { block } => write!(f, "{block} is always on"),
            Self::Pin { level } => write!(f, "the level is pinned at {level}"),
            Self::Floor { level } => write!(f, "the level is at least {level}"),
            Self::Cap { level } => write!(f, "the level is at most {level}"),
            Self::Freeze => f.write_str("the law learns nothing"),
            Self::DryRun => f.write_str("the law decides, and nothing is given up"),
            Self::Ttl { factor } => write!(f, "every ttl is multiplied by {factor}"),
            Self::Skip { schedule } => write!(f, "{schedule} is skipped this time"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(name) => write!(f, "block/{name}"),
            Self::Pin => f.write_str("pin"),
            Self::Floor => f.write_str("floor"),
            Self::Cap => f.write_str("cap"),
            Self::Freeze => f.write_str("freeze"),
            Self::DryRun => f.write_str("dry-run"),
            Self::Ttl => f.write_str("ttl"),
            Self::Schedule(name) => write!(f, "schedule/{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        Ok(match text {
            "pin" => Self::Pin,
            "floor" => Self::Floor,
            "cap" => Self::Cap,
            "freeze" => Self::Freeze,
            "dry-run" => Self::DryRun,
            "ttl" => Self::Ttl,
            _ => match text.split_once('/') {
                Some(("block", name)) if !name.is_empty() => Self::Block(name.to_owned()),
                Some(("schedule", name)) if !name.is_empty() => Self::Schedule(name.to_owned()),
                _ => return Err(NoSubject(text.to_owned())),
            },
        })
    }
}

impl Factor {
    const ONE: f64 = 1000.0;

    /// The factor of this number.
    pub fn new(number: f64) -> Result<Self, NoFactor> {
        let thousandths = (number * Self::ONE).round();
        match (100.0..=100_000.0).contains(&thousandths) {
            // within range, so that it has no fraction and fits
            true => Ok(Self(thousandths as u32)),
            false => Err(NoFactor(number)),
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from(self.0) / Self::ONE
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
