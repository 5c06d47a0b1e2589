//! Working hours: when somebody is there who can look after an experiment that goes wrong. Owns how they are
//! written and whether a moment is in them; pure.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use crate::clock::Moment;

/// From when to when on which days of the week, by the clocks of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    days: Vec<Weekday>,
    from: Time,
    /// `None`: the end of the day, which no clock shows.
    until: Option<Time>,
}

/// What is no working hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no working hours: they are like `mon-thu 09:30-16:30` or `tue,wed 10:00-12:00`")]
pub struct NoHours(String);

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl FromStr for Hours {
    type Err = NoHours;

    fn from_str(text: &str) -> Result<Self, NoHours> {
        let no = || NoHours(text.to_owned());
        let (days, times) = text.trim().split_once(' ').ok_or_else(no)?;
        let place = |name: &str| DAYS.iter().position(|(known, _)| *known == name);
        let mut known = Vec::new();
        for part in days.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (place(first).ok_or_else(no)?, place(last).ok_or_else(no)?);
            let range = DAYS.get(first..=last).filter(|range| !range.is_empty());
            known.extend(range.ok_or_else(no)?.iter().map(|(_, day)| *day));
        }
        let (from, until) = times.trim().split_once('-').ok_or_else(no)?;
        let time = |text: &str| text.trim().parse::<Time>().map_err(|_| no());
        let from = time(from)?;
        let until = match until.trim() {
            "24:00" => None,
            until => Some(time(until)?),
        };
        match until.is_none_or(|until| from < until) {
            true => Ok(Self {
                days: known,
                from,
                until,
            }),
            false => Err(no()),
        }
    }
}

impl Hours {
    /// Whether somebody is there at this moment.
    pub fn holds(&self, now: Moment, zone: &TimeZone) -> bool {
        let Ok(now) = Timestamp::try_from(now.wall()) else {
            return false;
        };
        let local = now.to_zoned(zone.clone());
        let time = local.time();
        self.days.contains(&local.weekday())
            && self.from <= time
            && self.until.is_none_or(|until| time < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        Moment::of(std::time::SystemTime::from(
            text.parse::<Timestamp>().unwrap(),
        ))
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        let hours: Hours = "mon-thu 09:30-16:30".parse().unwrap();
        let paris = TimeZone::get("Europe/Paris").unwrap();
        for (moment, holds) in [
            ("2026-11-26T08:29:59Z", false),
            ("2026-11-26T08:30:00Z", true),
            ("2026-11-26T15:29:59Z", true),
            ("2026-11-26T15:30:00Z", false),
            // a Friday
            ("2026-11-27T10:00:00Z", false),
        ] {
            assert_eq!(hours.holds(at(moment), &paris), holds, "{moment}");
        }
        let some: Hours = "tue,sat 10:00-12:00".parse().unwrap();
        assert!(some.holds(at("2026-11-28T10:00:00Z"), &TimeZone::UTC));
        let all: Hours = "mon-sun 00:00-24:00".parse().unwrap();
        let evening: Hours = "thu 22:00-24:00".parse().unwrap();
        for (moment, is_evening) in [
            ("2026-11-26T21:59:59Z", false),
            ("2026-11-26T22:00:00Z", true),
            ("2026-11-26T23:59:59.999999999Z", true),
            ("2026-11-27T00:00:00Z", false),
        ] {
            assert!(all.holds(at(moment), &TimeZone::UTC), "{moment}");
            assert_eq!(
                evening.holds(at(moment), &TimeZone::UTC),
                is_evening,
                "{moment}"
            );
        }
        for wrong in [
            "mon 24:00-24:00",
            "mon 09:00-24:01",
            "",
            "mon",
            "mon 9",
            "thu-mon 09:00-10:00",
            "mon 10:00-09:00",
            "day 09:00-10:00",
        ] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }
}
