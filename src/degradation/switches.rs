//! What operators have decided over the law's head. Owns the words of a switch, what makes one fit to be
//! set, and what all of them come to; pure: where they are kept and who is told is elsewhere.
//!
//! Every switch says who has set it and why, and has an end: an override that nobody remembers is worse
//! than none. There is one switch for each subject, and a new one takes the place of the one before.
//!
//! Invariant: what is held here is fit, so whoever reads it checks nothing again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::fragment::quantity::show_duration;

use super::Level;

/// Switches at once: more than a site has blocks, and not more than an operator can read.
pub const SWITCHES_MAX: usize = 1000;

/// Longest owner, in characters.
pub const OWNER_MAX: usize = 64;

/// Longest reason, in characters: what fits on two lines of a screen.
pub const REASON_MAX: usize = 280;

/// For how long a switch is set where nobody says: a shift, and the night that follows it.
pub const SPAN: Duration = Duration::from_secs(12 * 3600);

/// For how long a switch can be set at most. What is to stay longer belongs in the site's declaration.
pub const SPAN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// For how long a switch is set at least: a shorter one nobody would see.
pub const SPAN_MIN: Duration = Duration::from_secs(1);

/// What a switch does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What a ttl is multiplied by: 0.1 to 100, in thousandths, so that it is the same wherever it is
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Factor(u32);

/// An act, whose it is, why, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// What it does.
    #[serde(flatten)]
    pub act: Act,
    /// Who has decided so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub set: Moment,
    /// Until when.
    pub until: Moment,
}

/// Why a switch cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nobody can be asked about it.
    #[error("say who decides so: `owner` is empty")]
    NoOwner,
    /// The next shift would not know whether it is still needed.
    #[error("say why: `reason` is empty")]
    NoReason,
    /// It would not fit where it is shown.
    #[error("`{what}` is too long: {length} characters, at most {max} are kept")]
    TooLong {
        /// The owner or the reason.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// It would be shown as something else.
    #[error("`{0}` holds characters that cannot be shown, such as line ends")]
    Unprintable(&'static str),
    /// It would be over at once, or outlive those who remember it.
    #[error("a switch can be set for {} to {}, not for {}",
        show_duration(SPAN_MIN), show_duration(SPAN_MAX), show_duration(*.0))]
    Span(Duration),
    /// The two contradict each other.
    #[error(
        "the floor {floor} would be above the cap {cap}: `{other}` was set by {owner} ({reason}); clear it first"
    )]
    Crossed {
        /// The lowest level.
        floor: Level,
        /// The highest level.
        cap: Level,
        /// Which of the two is set already.
        other: Subject,
        /// By whom.
        owner: String,
        /// Why.
        reason: String,
    },
    /// There are as many as there may be.
    #[error("there are {SWITCHES_MAX} switches already: clear some of them first")]
    Full,
}

/// A factor that a ttl cannot be multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a ttl can be multiplied by 0.1 to 100, not by {0}")]
pub struct NoFactor(f64);

/// A text that names no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no switch: they are block/NAME, pin, floor, cap, freeze, dry-run, ttl")]
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
            _ => match text.strip_prefix("block/") {
                Some(name) if !name.is_empty() => Self::Block(name.to_owned()),
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

impl Switch {
    /// A switch that is set at `now`, for so long.
    pub fn new(
        act: Act,
        owner: &str,
        reason: &str,
        now: Moment,
        span: Duration,
    ) -> Result<Self, Unfit> {
        let owner = said("owner", owner, OWNER_MAX)?.ok_or(Unfit::NoOwner)?;
        let reason = said("reason", reason, REASON_MAX)?.ok_or(Unfit::NoReason)?;
        if !(SPAN_MIN..=SPAN_MAX).contains(&span) {
            return Err(Unfit::Span(span));
        }
        let (set, until) = (now, now.after(span));
        Ok(Self {
            act,
            owner,
            reason,
            set,
            until,
        })
    }

    /// Whether it could have been set as it is: what was written down may have been changed by hand.
    fn is_fit(&self) -> bool {
        let span = self.until.since(self.set);
        let again = Self::new(self.act.clone(), &self.owner, &self.reason, self.set, span);
        let is_possible = match &self.act {
            Act::Ttl { factor } => Factor::new(factor.get()) == Ok(*factor),
            Act::Off { block } | Act::On { block } => !block.is_empty(),
            Act::Pin { .. } | Act::Floor { .. } | Act::Cap { .. } | Act::Freeze | Act::DryRun => {
                true
            }
        };
        is_possible && again.as_ref() == Ok(self)
    }

    /// How long it has still.
    pub fn left(&self, now: Moment) -> Duration {
        self.until.since(now)
    }
}

/// What somebody has said, if it can be kept; `None` if it is nothing.
fn said(what: &'static str, text: &str, max: usize) -> Result<Option<String>, Unfit> {
    let text = text.trim();
    let length = text.chars().count();
    if length > max {
        return Err(Unfit::TooLong { what, length, max });
    }
    if text.chars().any(is_unprintable) {
        return Err(Unfit::Unprintable(what));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// What ends a line, moves the cursor, or makes a text read in another order than it is written.
fn is_unprintable(c: char) -> bool {
    let reorders =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || reorders
}

/// Switches that are set, one for each subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    by_subject: BTreeMap<Subject, Switch>,
}

impl Switches {
    /// Those that were written down; `None` if they cannot have been.
    pub fn recalled(written: Vec<Switch>) -> Option<Self> {
        let count = written.len();
        let is_fit = count <= SWITCHES_MAX && written.iter().all(Switch::is_fit);
        let by_subject: BTreeMap<_, _> = written
            .into_iter()
            .map(|switch| (switch.act.subject(), switch))
            .collect();
        (is_fit && by_subject.len() == count).then_some(Self { by_subject })
    }

    /// All of them, by subject.
    pub fn iter(&self) -> impl Iterator<Item = &Switch> {
        self.by_subject.values()
    }

    /// The switch of this subject.
    pub fn get(&self, subject: &Subject) -> Option<&Switch> {
        self.by_subject.get(subject)
    }

    /// Sets a switch, and gives the one whose place it takes.
    pub fn set(&mut self, switch: Switch) -> Result<Option<Switch>, Unfit> {
        let subject = switch.act.subject();
        self.check_crossed(&switch)?;
        if self.by_subject.len() >= SWITCHES_MAX && !self.by_subject.contains_key(&subject) {
            return Err(Unfit::Full);
        }
        Ok(self.by_subject.insert(subject, switch))
    }

    fn check_crossed(&self, switch: &Switch) -> Result<(), Unfit> {
        let other = match switch.act.subject() {
            Subject::Floor => self.by_subject.get(&Subject::Cap),
            Subject::Cap => self.by_subject.get(&Subject::Floor),
            Subject::Block(_) | Subject::Pin | Subject::Freeze | Subject::DryRun | Subject::Ttl => {
                None
            }
        };
        let Some(other) = other else { return Ok(()) };
        match (&switch.act, &other.act) {
            (&Act::Floor { level: floor }, &Act::Cap { level: cap })
            | (&Act::Cap { level: cap }, &Act::Floor { level: floor })
                if floor > cap =>
            {
                Err(Unfit::Crossed {
                    floor,
                    cap,
                    other: other.act.subject(),
                    owner: other.owner.clone(),
                    reason: other.reason.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Takes a switch back, and gives it.
    pub fn clear(&mut self, subject: &Subject) -> Option<Switch> {
        self.by_subject.remove(subject)
    }

    /// Takes those back that are over at `now`, and gives them.
    pub fn expire(&mut self, now: Moment) -> Vec<Switch> {
        let over = |switch: &Switch| switch.until <= now;
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.by_subject)
            .into_iter()
            .partition(|(_, switch)| over(switch));
        self.by_subject = left.into_iter().collect();
        gone.into_iter().map(|(_, switch)| switch).collect()
    }

    /// When the first of them is over.
    pub fn next_end(&self) -> Option<Moment> {
        self.iter().map(|switch| switch.until).min()
    }

    /// What they come to at `now`.
    pub fn in_force(&self, now: Moment) -> Overrides {
        let mut overrides = Overrides::default();
        for switch in self.iter().filter(|switch| switch.until > now) {
            overrides.add(&switch.act);
        }
        overrides
    }
}

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

    /// Whether a fragment is off.
    pub fn is_off(&self, fragment: &str) -> bool {
        // most sites, most of the time, have none
        !self.off.is_empty() && self.off.contains(fragment)
    }

    /// Whether no level gives a fragment up.
    pub fn is_on(&self, fragment: &str) -> bool {
        !self.on.is_empty() && self.on.contains(fragment)
    }

    fn add(&mut self, act: &Act) {
        match act {
            Act::Off { block } => _ = self.off.insert(block.clone()),
            Act::On { block } => _ = self.on.insert(block.clone()),
            Act::Pin { level } => self.pin = Some(*level),
            Act::Floor { level } => self.floor = Some(*level),
            Act::Cap { level } => self.cap = Some(*level),
            Act::Freeze => self.is_frozen = true,
            Act::DryRun => self.is_dry_run = true,
            Act::Ttl { factor } => self.ttl_factor = factor.get(),
        }
    }
}

#[cfg(test)]
mod tests;
