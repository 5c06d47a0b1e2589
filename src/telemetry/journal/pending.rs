//! What readers got and the journal does not say yet: when it is due. Owns the rhythm; pure.
//!
//! While not all is well each look is an entry of its own. What was gathered while all was well is an
//! entry of its own too, so that the numbers of an incident begin with it.

use crate::clock::Moment;

use super::CALM;
use super::summary::Counted;

/// What is to be summed up.
#[derive(Debug, PartialEq)]
pub(super) struct Due {
    pub(super) since: Moment,
    pub(super) until: Moment,
    pub(super) counted: Counted,
}

/// What was seen last, and what was told last.
pub(super) struct Pending {
    told: (Moment, Counted),
    seen: (Moment, Counted),
}

impl Pending {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            told: (now, Counted::default()),
            seen: (now, Counted::default()),
        }
    }

    /// What is due now, the older first.
    pub(super) fn turn(
        &mut self,
        counted: Counted,
        now: Moment,
        is_well: bool,
        is_last: bool,
    ) -> Vec<Due> {
        let lately = counted.since(&self.seen.1);
        let is_ill = !is_well || lately.is_ill();
        let mut due = Vec::new();
        let is_due = is_ill || is_last || now.since(self.told.0) >= CALM;
        if is_ill && self.seen.0 > self.told.0 {
            due.push(Due {
                since: self.told.0,
                until: self.seen.0,
                counted: self.seen.1.since(&self.told.1),
            });
            self.told = self.seen.clone();
        }
        if is_due {
            due.push(Due {
                since: self.told.0,
                until: now,
                counted: counted.since(&self.told.1),
            });
            self.told = (now, counted.clone());
        }
        self.seen = (now, counted);
        due
    }

    /// What would be due if this were the last time; `None` if nobody has read anything.
    pub(super) fn so_far(&self, counted: Counted, now: Moment) -> Option<Due> {
        let counted = counted.since(&self.told.1);
        (!counted.is_empty()).then_some(Due {
            since: self.told.0,
            until: now,
            counted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::journal::TICK;

    fn pages(full: u64, degraded: u64) -> Counted {
        Counted::of(full, degraded)
    }

    fn at(tick: u32) -> Moment {
        Moment::from_micros(1_000_000_000).after(TICK * tick)
    }

    #[test]
    fn a_calm_minute_is_one_entry_and_an_incident_begins_its_own() {
        let mut pending = Pending::new(at(0));
        for tick in 1..6 {
            assert!(
                pending
                    .turn(pages(10 * u64::from(tick), 0), at(tick), true, false)
                    .is_empty()
            );
        }
        let due = pending.turn(pages(60, 0), at(6), true, false);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].since, due[0].until), (at(0), at(6)));
        assert_eq!(due[0].counted, pages(60, 0));
        assert!(pending.turn(pages(70, 0), at(7), true, false).is_empty());
        // what came before is not counted with the incident
        let due = pending.turn(pages(71, 5), at(8), true, false);
        let spans: Vec<_> = due.iter().map(|due| (due.since, due.until)).collect();
        assert_eq!(spans, [(at(6), at(7)), (at(7), at(8))]);
        assert_eq!(
            (&due[0].counted, &due[1].counted),
            (&pages(10, 0), &pages(1, 5))
        );
        // each look while it lasts, also by what is known around it
        let due = pending.turn(pages(80, 5), at(9), false, false);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].counted, pages(9, 0));
        assert!(pending.turn(pages(90, 5), at(10), true, false).is_empty());
        assert_eq!(
            pending.so_far(pages(91, 5), at(10)).unwrap().counted,
            pages(11, 0)
        );
        let due = pending.turn(pages(92, 5), at(11), true, true);
        assert_eq!(due[0].counted, pages(12, 0));
        assert_eq!(pending.so_far(pages(92, 5), at(12)), None);
    }
}
