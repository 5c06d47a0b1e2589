//! `[slo.NAME]`: what is promised to readers. Owns its keys, defaults and ranges.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{At, TimeSpan};

/// A share of pages that keeps a promise, as readers feel it. Pages that are looked at in a rehearsal, and
/// those whose core says that there is no such page, or that it is elsewhere, do not count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The share that keeps it: 0.999 means that one page in a thousand may miss it.
    #[schemars(range(min = 0.5, max = 0.99999), example = &0.999)]
    pub objective: At<f64>,
    /// A good page is there within this time, however slowly it is then read.
    #[schemars(extend("x-range" = ["10ms", "60s"]), example = &"1s")]
    pub within: Option<At<TimeSpan>>,
    /// What a good page holds: its "core", were it from its snapshot, or "all" its blocks.
    #[schemars(example = &"core")]
    pub complete: Option<At<Complete>>,
    /// A good page holds no stale copy that is older than this.
    #[schemars(extend("x-range" = ["1s", "365d"]), example = &"10m")]
    pub stale_max: Option<At<TimeSpan>>,
    /// Not pages are counted, but what their blocks are worth: an optional one its rank, any other 100.
    #[schemars(example = &false)]
    pub value: Option<At<bool>>,
    /// Of which pages: names from `[pages.…]`, and routes of proxies with `markup`; of all if absent.
    #[serde(default)]
    pub pages: SomePages,
    /// Over how long it is to be kept.
    #[serde(default = "thirty_days")]
    #[schemars(extend("x-range" = ["1d", "90d"]))]
    pub period: At<TimeSpan>,
    /// When nothing is left of the error budget: it is only told ("tell"), or faults that are set on
    /// purpose end, and none can be set until some of it is back ("stop-faults"), or canaries are not
    /// asked meanwhile either ("stop-experiments").
    #[serde(default = "tell")]
    pub when_spent: At<WhenSpent>,
}

/// What a good page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Complete {
    /// Its core.
    Core,
    /// All its blocks.
    All,
}

impl JsonSchema for Complete {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Complete".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["core", "all"] })
    }
}

/// What becomes of faults when the budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenSpent {
    /// It is only told.
    Tell,
    /// They end.
    StopFaults,
    /// They end, and canaries are not asked.
    StopExperiments,
}

impl JsonSchema for WhenSpent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WhenSpent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["tell", "stop-faults", "stop-experiments"] })
    }
}

/// One page, or several: the check makes a list of the one.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct SomePages(pub Vec<At<String>>);

impl JsonSchema for SomePages {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SomePages".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-one-or-many": true,
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
            ],
        })
    }
}

fn thirty_days() -> At<TimeSpan> {
    At::unwritten(TimeSpan::from_millis(30 * 24 * 3600 * 1000))
}

fn tell() -> At<WhenSpent> {
    At::unwritten(WhenSpent::Tell)
}
