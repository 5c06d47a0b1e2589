//! Switches that begin and end by the clock on the wall. Owns when that is: local times, the days of the
//! week, and the two nights a year on which a local time comes twice or not at all. Pure: `now` is an
//! argument, and a zone is what it was when the site was read.
//!
//! # Where the clocks are changed
//!
//! A window is all that lies between two local times. So where a local time does not exist, because the
//! clocks are put forward over it, a window begins or ends at that jump; one that lies within it has
//! nothing left, and does not take place. Where a local time comes twice, a window begins with the first
//! and ends with the second: what is doubtful is covered. Whoever means another moment writes its offset.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Moment;

use super::{Act, Switch};

/// Switches that are declared with the site, and when they are in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// What is so meanwhile.
    pub acts: Vec<Act>,
    /// Who has decided so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When.
    pub when: When,
    /// By whose clock.
    pub zone: TimeZone,
}

/// When a schedule is in force.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// Once.
    Once(Window),
    /// On these days of each week, from one local time to another; beyond midnight where the second is
    /// not later than the first.
    Weekly {
        /// The days on which it begins, Monday first.
        days: Vec<Weekday>,
        /// From then on.
        from: Time,
        /// Until then.
        until: Time,
    },
}

/// From one moment to another, which is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its first moment.
    pub from: Moment,
    /// The first moment after it.
    pub until: Moment,
}

/// Which end of a window a local time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Its beginning.
    From,
    /// Its end.
    Until,
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no moment: write `2026-11-03T20:00`, by the site's zone, or `2026-11-03T20:00+01:00`"
)]
pub struct NoMoment(pub String);

/// Days that are looked at: a week, what began the day before, and what the clocks' change may skip.
const DAYS: usize = 16;

impl Window {
    /// Whether a moment is in it.
    pub fn holds(&self, at: Moment) -> bool {
        self.from <= at && at < self.until
    }
}

impl Schedule {
    /// The window that `now` is in, or the next; `None` if the last one is over.
    pub fn window(&self, now: Moment) -> Option<Window> {
        match &self.when {
            When::Once(window) => Some(*window).filter(|window| window.until > now),
            When::Weekly { days, from, until } => {
                let today = local(now, &self.zone).date();
                // what began yesterday may go on
                let first = today.yesterday().unwrap_or(today);
                let dates = first.series(jiff::Span::new().days(1));
                let dates = dates.take(DAYS);
                let mut windows = dates
                    .filter(|date| days.contains(&date.weekday()))
                    .filter_map(|date| daily(date, *from, *until, &self.zone));
                windows.find(|window| window.until > now)
            }
        }
    }

    /// What is set while `window` lasts.
    pub fn switches(&self, window: Window) -> impl Iterator<Item = Switch> {
        self.acts.iter().map(move |act| Switch {
            act: act.clone(),
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            set: window.from,
            from: None,
            until: window.until,
        })
    }
}

/// The window that begins on this day, unless the clocks' change leaves nothing of it.
fn daily(date: Date, from: Time, until: Time, zone: &TimeZone) -> Option<Window> {
    let last = match until > from {
        true => date,
        false => date.tomorrow().ok()?,
    };
    let window = Window {
        from: moment(date.to_datetime(from), zone, Edge::From)?,
        until: moment(last.to_datetime(until), zone, Edge::Until)?,
    };
    (window.from < window.until).then_some(window)
}

/// The moment of a local time, or of one that says its offset itself.
pub fn read_moment(text: &str, zone: &TimeZone, edge: Edge) -> Result<Moment, NoMoment> {
    let no = || NoMoment(text.to_owned());
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return of_timestamp(timestamp).ok_or_else(no);
    }
    // a date alone is no moment
    let civil = text.contains(':').then(|| text.parse::<DateTime>().ok());
    let civil = civil.flatten().ok_or_else(no)?;
    moment(civil, zone, edge).ok_or_else(no)
}

fn moment(civil: DateTime, zone: &TimeZone, edge: Edge) -> Option<Moment> {
    let found = zone.to_ambiguous_timestamp(civil);
    let timestamp = match (found.offset(), edge) {
        (AmbiguousOffset::Unambiguous { .. }, _) => found.compatible(),
        (AmbiguousOffset::Fold { .. }, Edge::From) => found.earlier(),
        (AmbiguousOffset::Fold { .. }, Edge::Until) => found.later(),
        (AmbiguousOffset::Gap { .. }, _) => {
            let before = found.earlier().ok()?;
            return of_timestamp(zone.following(before).next()?.timestamp());
        }
    };
    of_timestamp(timestamp.ok()?)
}

fn of_timestamp(timestamp: Timestamp) -> Option<Moment> {
    let micros = u64::try_from(timestamp.as_microsecond()).ok()?;
    Some(Moment::from_micros(micros))
}

/// What the clocks of a zone show at a moment.
fn local(at: Moment, zone: &TimeZone) -> jiff::Zoned {
    let timestamp = Timestamp::try_from(at.wall()).unwrap_or(Timestamp::MAX);
    timestamp.to_zoned(zone.clone())
}

/// A moment as the clocks of a zone show it, with its offset: `2026-11-03T20:00+01:00`.
pub fn show_local(at: Moment, zone: &TimeZone) -> String {
    let local = local(at, zone);
    let second = if local.second() == 0 { "" } else { ":%S" };
    local
        .strftime(&format!("%Y-%m-%dT%H:%M{second}%:z"))
        .to_string()
}

/// A moment for people: `Tue 3 Nov 2026 20:00 CET`.
pub fn say_local(at: Moment, zone: &TimeZone) -> String {
    local(at, zone)
        .strftime("%a %-d %b %Y %H:%M %Z")
        .to_string()
}

#[cfg(test)]
mod tests;
