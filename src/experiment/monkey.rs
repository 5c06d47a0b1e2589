//! When experiments may be drawn by chance, as a folder of them declares it in `monkey.toml`. Owns the keys
//! and what they mean.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::Moment;
use crate::config::diagnose::{FileId, Place};
use crate::config::file::At;
use crate::config::{Diagnostic, Diagnostics, document, values};

use super::hours::Hours;

/// What the file is called.
pub const FILE: &str = "monkey.toml";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "monkey")]
struct File {
    /// When somebody is there who can look after an experiment that goes wrong; any of these.
    #[schemars(length(min = 1))]
    hours: Vec<At<String>>,
    /// The zone of these hours; UTC if absent.
    #[schemars(example = "Europe/Paris")]
    zone: Option<At<String>>,
}

/// When somebody is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Any of these.
    pub hours: Vec<Hours>,
    /// By the clocks of this zone.
    pub zone: TimeZone,
}

impl Watch {
    /// Whether somebody is there at this moment.
    pub fn holds(&self, now: Moment) -> bool {
        self.hours.iter().any(|hours| hours.holds(now, &self.zone))
    }
}

/// Reads one; `shown` is what the file is called.
pub fn read(shown: &str, text: &str) -> Result<Watch, Diagnostics> {
    let mut found = Diagnostics::new();
    let Some((file, written)) = document::read::<File>(shown, text, &mut found) else {
        return Err(found);
    };
    let mut hours = Vec::new();
    for written in &written.hours {
        match written.parse::<Hours>() {
            Ok(read) => hours.push(read),
            Err(why) => found.push(wrong(why.to_string(), written, file)),
        }
    }
    let zone = match &written.zone {
        None => TimeZone::UTC,
        Some(name) => values::zone(name).unwrap_or_else(|_| {
            found.push(wrong(format!("there is no zone `{}`", **name), name, file));
            TimeZone::UTC
        }),
    };
    match found.has_errors() {
        true => Err(found),
        false => Ok(Watch { hours, zone }),
    }
}

fn wrong(what: String, written: &At<String>, file: FileId) -> Diagnostic {
    let finding = Diagnostic::error(what);
    match written.span() {
        Some(span) => finding.at(Place { file, span }, "written here"),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(text: &str) -> Moment {
        let moment = text.parse::<Timestamp>().unwrap();
        Moment::of(std::time::SystemTime::from(moment))
    }

    #[test]
    fn any_of_its_hours_by_the_clocks_of_its_zone() {
        let text =
            "hours = [\"mon-thu 09:30-16:30\", \"fri 09:30-12:00\"]\nzone = \"Europe/Paris\"\n";
        let watch = read(FILE, text).unwrap();
        for (moment, holds) in [
            // a Thursday, and the Friday after it
            ("2026-11-26T08:29:59Z", false),
            ("2026-11-26T14:00:00Z", true),
            ("2026-11-27T10:59:59Z", true),
            ("2026-11-27T11:00:00Z", false),
        ] {
            assert_eq!(watch.holds(at(moment)), holds, "{moment}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_where_it_is() {
        for (text, says) in [
            ("", "hours"),
            ("hours = []", "hours"),
            ("hours = [\"always\"]", "`always` is no working hours"),
            (
                "hours = [\"mon 09:00-10:00\"]\nzone = \"Paris\"",
                "no zone `Paris`",
            ),
            ("hour = [\"mon 09:00-10:00\"]", "hours"),
        ] {
            let told = read(FILE, text).unwrap_err().to_string();
            assert!(
                told.contains(says) && told.contains(FILE),
                "{text}:\n{told}"
            );
        }
    }
}
