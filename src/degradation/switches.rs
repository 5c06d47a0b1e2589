//! What operators have decided over the law's head. Owns the words of a switch, what makes one fit to be
//! set, and what all of them come to; pure: where they are kept and who is told is elsewhere.
//!
//! Every switch says who has set it and why, and has an end: an override that nobody remembers is worse
//! than none. There is one switch for each subject, and a new one takes the place of the one before. Those
//! that begin later stand beside it, one for each beginning, and so do those that the site
//! [schedules](schedule): of several about the same subject, the one that began last counts, and when it
//! is over the one before counts again. Where a floor comes to lie above a cap that way, the floor counts.
//!
//! Invariant: what is held here is fit, so whoever reads it checks nothing again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::fragment::quantity::show_duration;

use super::Level;

mod act;
mod key;
mod overrides;
pub mod schedule;
mod standing;

pub use act::{Act, Factor, NoFactor, NoSubject, Subject};
pub use key::Key;
pub use overrides::Overrides;
pub use schedule::{Schedule, Window};
pub use standing::Standing;

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

/// How long before its beginning a switch can be set: an election is known a year ahead.
pub const AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Longest name of a block or a schedule, in bytes.
const NAME_BYTES_MAX: usize = 256;

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
    /// When that was decided.
    pub set: Moment,
    /// Since when, if it was to begin later than it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Moment>,
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
        /// The owner, the reason, or who takes it back.
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
    /// Its end is before its beginning, or behind us.
    #[error("it would be over before it begins")]
    Backwards,
    /// Whoever is there by then would know nothing of it.
    #[error("it would begin in {}: a switch can be set {} ahead", show_duration(*.0), show_duration(AHEAD_MAX))]
    Ahead(Duration),
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
        let (owner, reason) = signed(owner, reason)?;
        if !(SPAN_MIN..=SPAN_MAX).contains(&span) {
            return Err(Unfit::Span(span));
        }
        let (set, until) = (now, now.after(span));
        Ok(Self {
            act,
            owner,
            reason,
            set,
            from: None,
            until,
        })
    }

    /// A switch that is set at `now`, and is in force from one moment to another. One that has begun by
    /// then is set now.
    pub fn planned(
        act: Act,
        owner: &str,
        reason: &str,
        now: Moment,
        from: Moment,
        until: Moment,
    ) -> Result<Self, Unfit> {
        let (owner, reason) = signed(owner, reason)?;
        let begins = from.max(now);
        if until <= begins {
            return Err(Unfit::Backwards);
        }
        let switch = Self {
            act,
            owner,
            reason,
            set: now,
            from: (from > now).then_some(from),
            until,
        };
        switch.check_times()?;
        Ok(switch)
    }

    fn check_times(&self) -> Result<(), Unfit> {
        let (ahead, span) = (self.begin().since(self.set), self.until.since(self.begin()));
        if ahead > AHEAD_MAX {
            return Err(Unfit::Ahead(ahead));
        }
        // what is skipped may be far ahead
        let span_max = match matches!(self.act, Act::Skip { .. }) {
            true => AHEAD_MAX + SPAN_MAX,
            false => SPAN_MAX,
        };
        match (SPAN_MIN..=span_max).contains(&span) {
            true => Ok(()),
            false => Err(Unfit::Span(span)),
        }
    }

    /// Since when it is in force.
    pub fn begin(&self) -> Moment {
        self.from.unwrap_or(self.set)
    }

    /// Whether it has begun by `now`. One that was not set to begin later has, also where it comes from a
    /// node whose clock is ahead.
    pub fn has_begun(&self, now: Moment) -> bool {
        self.from.is_none_or(|from| from <= now)
    }

    /// Its address.
    pub fn key(&self) -> Key {
        let (subject, from) = (self.act.subject(), self.from);
        Key { subject, from }
    }

    /// From its beginning to its end.
    pub fn window(&self) -> Window {
        let (from, until) = (self.begin(), self.until);
        Window { from, until }
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

    /// Whether it could have been set as it is: what was written down may have been changed by hand, and
    /// what comes from elsewhere by anything.
    pub fn is_fit(&self) -> bool {
        let is_possible = match &self.act {
            Act::Ttl { factor } => Factor::new(factor.get()) == Ok(*factor),
            Act::Off { block: name } | Act::On { block: name } | Act::Skip { schedule: name } => {
                !name.is_empty() && name.len() <= NAME_BYTES_MAX
            }
            Act::Pin { .. } | Act::Floor { .. } | Act::Cap { .. } | Act::Freeze | Act::DryRun => {
                true
            }
        };
        let is_signed = signed(&self.owner, &self.reason)
            .is_ok_and(|(owner, reason)| owner == self.owner && reason == self.reason);
        let is_later = self.from.is_none_or(|from| from > self.set);
        is_possible && is_signed && is_later && self.check_times().is_ok()
    }

    /// How long it has still.
    pub fn left(&self, now: Moment) -> Duration {
        self.until.since(now)
    }
}

/// Who and why, as they are kept.
fn signed(owner: &str, reason: &str) -> Result<(String, String), Unfit> {
    let owner = said("owner", owner, OWNER_MAX)?.ok_or(Unfit::NoOwner)?;
    let reason = said("reason", reason, REASON_MAX)?.ok_or(Unfit::NoReason)?;
    Ok((owner, reason))
}

/// The name of whoever takes a switch back, as it is kept; `None` if it is nothing. It is held to what an
/// owner is held to.
pub fn name_of(by: &str) -> Result<Option<String>, Unfit> {
    said("by", by, OWNER_MAX)
}

/// Why somebody asks for what is no switch, as it is kept; `None` if it is nothing. It is held to what the
/// reason of a switch is held to.
pub fn reason_of(reason: &str) -> Result<Option<String>, Unfit> {
    said("reason", reason, REASON_MAX)
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

/// Switches that are set, one for each subject, and those that begin later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    by_key: BTreeMap<Key, Switch>,
}

impl Switches {
    /// Those that were written down; `None` if they cannot have been.
    pub fn recalled(written: Vec<Switch>) -> Option<Self> {
        let count = written.len();
        let is_fit = count <= SWITCHES_MAX && written.iter().all(Switch::is_fit);
        let by_key: BTreeMap<_, _> = written
            .into_iter()
            .map(|switch| (switch.key(), switch))
            .collect();
        (is_fit && by_key.len() == count).then_some(Self { by_key })
    }

    /// All of them, by subject, and those that begin later after the one of now.
    pub fn iter(&self) -> impl Iterator<Item = &Switch> {
        self.by_key.values()
    }

    /// The switch of this address.
    pub fn get(&self, key: impl Into<Key>) -> Option<&Switch> {
        self.by_key.get(&key.into())
    }

    /// Sets a switch, and gives the one whose place it takes.
    pub fn set(&mut self, switch: Switch) -> Result<Option<Switch>, Unfit> {
        self.check_crossed(&switch)?;
        self.put(switch)
    }

    /// Sets a switch that another node has set, whatever stands against it there or here.
    pub fn put(&mut self, switch: Switch) -> Result<Option<Switch>, Unfit> {
        let key = switch.key();
        if self.by_key.len() >= SWITCHES_MAX && !self.by_key.contains_key(&key) {
            return Err(Unfit::Full);
        }
        Ok(self.by_key.insert(key, switch))
    }

    /// Those of now are compared; where later ones cross, the floor counts.
    fn check_crossed(&self, switch: &Switch) -> Result<(), Unfit> {
        let other = match switch.act.subject() {
            Subject::Floor => Subject::Cap,
            Subject::Cap => Subject::Floor,
            Subject::Block(_)
            | Subject::Pin
            | Subject::Freeze
            | Subject::DryRun
            | Subject::Ttl
            | Subject::Schedule(_) => return Ok(()),
        };
        let other = self.get(&other).filter(|_| switch.from.is_none());
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
    pub fn clear(&mut self, key: impl Into<Key>) -> Option<Switch> {
        self.by_key.remove(&key.into())
    }

    /// Takes those back that are over at `now`, and gives them.
    pub fn expire(&mut self, now: Moment) -> Vec<Switch> {
        let over = |switch: &Switch| switch.until <= now;
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.by_key)
            .into_iter()
            .partition(|(_, switch)| over(switch));
        self.by_key = left.into_iter().collect();
        gone.into_iter().map(|(_, switch)| switch).collect()
    }

    /// What they come to at `now`.
    pub fn in_force(&self, now: Moment) -> Overrides {
        self.in_force_with(&[], now)
    }
}

#[cfg(test)]
mod tests;
