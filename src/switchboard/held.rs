//! What a switchboard holds: what was decided, what is scheduled, the pin of this run, and what of it has
//! begun. Owns what is in force of all that at a moment, and what has changed since the last; pure.

use std::collections::BTreeSet;

use super::ledger::Ledger;
use crate::clock::Moment;
use crate::degradation::switches::{Act, Key, Schedule, Standing, Subject};
use crate::degradation::{Overrides, Switch};
use crate::report::SwitchChange;

/// All that is decided under one lock.
pub(super) struct Held {
    /// Those that last, which are written down.
    pub(super) ledger: Ledger,
    /// What the site schedules.
    pub(super) schedules: Vec<Schedule>,
    /// Up to when it was looked at what begins and ends.
    pub(super) seen: Moment,
    /// Those that have begun by the clock, as far as that was told.
    pub(super) begun: Vec<(Switch, Option<String>)>,
    /// The pin of this process, which is above the one that lasts until somebody decides about pins.
    pub(super) passing: Option<Switch>,
    /// Goes up with each change of those that last.
    pub(super) changes: u64,
    /// What was decided about while the file could not be read.
    pub(super) decided: BTreeSet<Key>,
}

impl Held {
    /// With what was decided before.
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            schedules: Vec::new(),
            seen: Moment::default(),
            begun: Vec::new(),
            passing: None,
            changes: 0,
            decided: BTreeSet::new(),
        }
    }

    /// Takes those back that are over, and gives them.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Switch> {
        let over = self.ledger.expire(now);
        self.changes += u64::from(!over.is_empty());
        over
    }

    /// Those that stand by what is written down and scheduled; a pin of this run is above any other.
    pub(super) fn standing(&self, now: Moment) -> Vec<Standing> {
        let standing = self.ledger.switches().standing(&self.schedules, now);
        let is_pin = |one: &Standing| one.switch.act.subject() == Subject::Pin;
        let standing = standing.into_iter();
        standing
            .filter(|one| self.passing.is_none() || !is_pin(one))
            .collect()
    }

    /// The address of what somebody means who names its subject.
    pub(super) fn meant(&self, key: Key, now: Moment) -> Key {
        if key.from.is_some() || self.ledger.switches().get(&key).is_some() {
            return key;
        }
        let standing = self.standing(now).into_iter().rev();
        let mut own = standing.filter(|one| one.schedule.is_none());
        let begun = own.find(|one| one.switch.act.subject() == key.subject);
        begun.map_or(key, |one| one.switch.key())
    }

    /// What has begun by the clock since the last time, and what has ended of what the site schedules:
    /// the others are told when they are taken out.
    pub(super) fn turn(&mut self, now: Moment) -> Vec<SwitchChange> {
        self.seen = now;
        let standing = self.ledger.switches().standing(&self.schedules, now);
        let by_clock = standing
            .into_iter()
            .filter(|one| one.schedule.is_some() || one.switch.from.is_some());
        let begun: Vec<_> = by_clock.map(|one| (one.switch, one.schedule)).collect();
        let before = std::mem::replace(&mut self.begun, begun);
        let is_over = |(switch, schedule): &&(Switch, Option<String>)| {
            schedule.is_some() && switch.until <= now
        };
        let over = before.iter().filter(is_over);
        let over = over.map(|(switch, _)| SwitchChange::Over(switch.clone()));
        let new = self.begun.iter().filter(|one| !before.contains(one));
        let new = new.map(|(switch, schedule)| SwitchChange::Begun {
            switch: switch.clone(),
            schedule: schedule.clone(),
        });
        over.chain(new).collect()
    }

    pub(super) fn in_force(&self, now: Moment) -> Overrides {
        let overrides = self.ledger.switches().in_force_with(&self.schedules, now);
        match self.passing.as_ref().map(|switch| &switch.act) {
            Some(&Act::Pin { level }) => Overrides {
                pin: Some(level),
                ..overrides
            },
            _ => overrides,
        }
    }
}
