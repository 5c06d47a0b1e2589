//! `[schedules.NAME]`: switches that begin and end by the clock. Owns their keys and what they mean.

use std::borrow::Cow;

use jiff::civil::Weekday;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::At;

/// Switches that begin and end by the clock, together: once, or every week.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Who has decided so, and can be asked about it.
    #[schemars(length(min = 1, max = 64), example = &"chief editor")]
    pub owner: At<String>,
    /// Why.
    #[schemars(length(min = 1, max = 280), example = &"results from eight")]
    pub reason: At<String>,
    /// When it begins: "2026-11-03T20:00" by the clocks of the zone, or with an offset of its own; of a
    /// weekly one the time alone, "20:00".
    #[schemars(length(min = 1), example = &"2026-11-03T20:00")]
    pub from: At<String>,
    /// When it ends, written like `from`. A weekly one whose end is not later than its beginning ends on the
    /// day after.
    #[schemars(length(min = 1), example = &"2026-11-04T02:00")]
    pub until: At<String>,
    /// The days of the week on which it begins: it is there every week then.
    #[serde(default)]
    #[schemars(length(min = 1), example = ["sun"])]
    pub days: Vec<At<Day>>,
    /// The zone of its local times; `site.zone` if absent.
    #[schemars(example = &"Europe/Paris")]
    pub zone: Option<At<String>>,
    /// No page is planned below this level.
    pub floor: Option<At<u8>>,
    /// No page is planned above this level.
    pub cap: Option<At<u8>>,
    /// Every page is planned at this level.
    pub pin: Option<At<u8>>,
    /// Every ttl is multiplied by this.
    #[schemars(range(min = 0.1, max = 100))]
    pub ttl: Option<At<f64>>,
    /// Fragments that are neither asked for nor shown.
    #[serde(default)]
    #[schemars(example = ["slideshow"])]
    pub off: Vec<At<String>>,
    /// Fragments that no level gives up.
    #[serde(default)]
    #[schemars(example = ["live"])]
    pub on: Vec<At<String>>,
    /// Whether what the law has learned stays as it is.
    pub freeze: Option<At<bool>>,
    /// Whether the law only says what it would give up.
    pub dry_run: Option<At<bool>>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// As calendars know it.
    pub fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

impl JsonSchema for Day {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Day".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        })
    }
}
