//! Which of several switches about one subject counts at a moment. Owns that it is the one that began last,
//! whoever has set it, and that those beneath it are known; pure.

use crate::clock::Moment;

use super::{Overrides, Schedule, Subject, Switch, Switches, Window};

/// One that is in force, or would be if no other about the same had begun later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The switch.
    pub switch: Switch,
    /// The schedule that has set it, if nobody has by hand.
    pub schedule: Option<String>,
    /// The one that counts instead: by whom it was set, and why.
    pub beneath: Option<String>,
}

impl Switches {
    /// When anything begins or ends for the first time after `now`.
    pub fn next_change(&self, schedules: &[Schedule], now: Moment) -> Option<Moment> {
        let own = self.iter().map(Switch::window);
        let declared = schedules.iter().filter_map(|schedule| schedule.window(now));
        let edges = own
            .chain(declared)
            .flat_map(|window| [window.from, window.until]);
        edges.filter(|edge| *edge > now).min()
    }

    /// Whether somebody has decided that a schedule does not begin, or go on, this time.
    pub fn skipped(&self, schedule: &str, window: Window) -> Option<&Switch> {
        let skip = self.get(&Subject::Schedule(schedule.to_owned()));
        skip.filter(|skip| skip.until >= window.until)
    }

    /// All that stand at `now`, by subject, and of each those that began first first.
    pub fn standing(&self, schedules: &[Schedule], now: Moment) -> Vec<Standing> {
        let own = self.iter();
        let own = own.filter(|switch| switch.has_begun(now) && switch.until > now);
        let mut standing: Vec<Standing> = own
            .map(|switch| Standing {
                switch: switch.clone(),
                schedule: None,
                beneath: None,
            })
            .collect();
        for schedule in schedules {
            let window = schedule.window(now).filter(|window| {
                window.holds(now) && self.skipped(&schedule.name, *window).is_none()
            });
            let switches = window.into_iter().flat_map(|w| schedule.switches(w));
            standing.extend(switches.map(|switch| Standing {
                switch,
                schedule: Some(schedule.name.clone()),
                beneath: None,
            }));
        }
        // who has set one by hand at the moment at which a schedule begins has meant something by it
        standing.sort_by_key(|one| {
            let by_hand = one.schedule.is_none();
            let begin = one.switch.begin();
            (
                one.switch.act.subject(),
                begin,
                by_hand,
                one.schedule.clone(),
            )
        });
        for at in (1..standing.len()).rev() {
            let (before, after) = (&standing[at - 1], &standing[at]);
            if before.switch.act.subject() == after.switch.act.subject() {
                let Switch { owner, reason, .. } = &after.switch;
                let above = after.beneath.clone();
                let above = above.unwrap_or_else(|| format!("{owner} ({reason})"));
                standing[at - 1].beneath = Some(above);
            }
        }
        standing
    }

    /// What they come to at `now`, with what the site schedules.
    pub fn in_force_with(&self, schedules: &[Schedule], now: Moment) -> Overrides {
        let mut overrides = Overrides::default();
        let standing = self.standing(schedules, now);
        for one in standing.iter().filter(|one| one.beneath.is_none()) {
            overrides.add(&one.switch.act);
        }
        overrides
    }
}
