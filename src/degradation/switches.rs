//! What operators have decided over the law's head. Owns the words of a switch, what makes one fit to be
//! set, and what all of them come to; pure: where they are kept and who is told is elsewhere.
//!
//! Every switch says who has set it and why, and has an end: an override that nobody remembers is worse
//! than none. There is one switch for each subject, and a new one takes the place of the one before.
//!
//! Invariant: what is held here is fit, so whoever reads it checks nothing again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::fragment::quantity::show_duration;

use super::Level;

mod act;
mod overrides;

pub use act::{Act, Factor, NoFactor, NoSubject, Subject};
pub use overrides::Overrides;

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

/// The end of a switch that has none.
const NEVER: Moment = Moment::from_micros(u64::MAX);

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

    /// A switch that is set at `now` for as long as the process lasts.
    pub fn of_this_run(act: Act, owner: &str, reason: &str, now: Moment) -> Result<Self, Unfit> {
        let switch = Self::new(act, owner, reason, now, SPAN_MAX)?;
        let until = NEVER;
        Ok(Self { until, ..switch })
    }

    /// When it ends by itself, if it does.
    pub fn end(&self) -> Option<Moment> {
        (self.until != NEVER).then_some(self.until)
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

#[cfg(test)]
mod tests;
