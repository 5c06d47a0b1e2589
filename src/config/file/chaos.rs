//! `[chaos.NAME]`: faults that are set on purpose. Owns their keys and what they mean.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{At, TimeSpan};
use crate::site::chaos::{HarmKind, StopOn};

/// A fault that can be set by its name, or that begins by the clock where it has a window: on one origin,
/// one fragment, or the store that nodes share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The origin that is made sick.
    #[schemars(example = &"media")]
    pub origin: Option<At<String>>,
    /// Or the fragment: what it asks of its origin.
    #[schemars(example = &"slideshow")]
    pub fragment: Option<At<String>>,
    /// Or the store that nodes share.
    pub store: Option<At<bool>>,
    /// What goes wrong: answers come later ("latency", or "slow-start" for a cold one), are errors ("error"),
    /// end half-way ("cut"), come a byte at a time ("drip"), hold no text ("garbage") or never come
    /// ("hang"); connections are refused ("refuse") or reset ("reset"); hosts have no addresses ("dns").
    #[schemars(example = &"hang")]
    pub harm: At<Harm>,
    /// Of "latency" and "slow-start": how much later.
    #[schemars(extend("x-range" = ["1ms", "10m"]), example = &"800ms")]
    pub latency: Option<At<TimeSpan>>,
    /// Of "latency": the delay is lognormal with `latency` as its median, and this is the deviation of its
    /// logarithm.
    #[schemars(range(min = 0.0, max = 3.0), example = 0.4)]
    pub spread: Option<At<f64>>,
    /// Of "error"; 503 if absent.
    #[schemars(range(min = 500, max = 599), example = 503)]
    pub status: Option<At<u16>>,
    /// Of "drip": between two bytes; 1s if absent.
    #[schemars(extend("x-range" = ["1ms", "10m"]), example = &"100ms")]
    pub every: Option<At<TimeSpan>>,
    /// Of "slow-start": after this it is as ever; 30s if absent.
    #[schemars(extend("x-range" = ["1ms", "10m"]), example = &"30s")]
    pub over: Option<At<TimeSpan>>,
    /// The share of requests that are hit; 1 if absent.
    #[schemars(range(min = 0.0001, max = 1.0), example = 0.5)]
    pub rate: Option<At<f64>>,
    /// The share of pages that have it, drawn by reader and path; 1 if absent.
    #[schemars(range(min = 0.0001, max = 1.0), example = 0.1)]
    pub share: Option<At<f64>>,
    /// Whether only pages have it whose request carries a token (`Marbre-Chaos`).
    pub signed: Option<At<bool>>,
    /// Who has decided so, and can be asked about it.
    #[schemars(length(min = 1, max = 64), example = &"newsroom-platform")]
    pub owner: At<String>,
    /// Why.
    #[schemars(length(min = 1, max = 280), example = &"do the pages do without the slideshows?")]
    pub reason: At<String>,
    /// How long it lasts once somebody has begun it. Where it has a window it lasts as long as that.
    #[serde(rename = "for")]
    #[schemars(extend("x-range" = ["1s", "24h"]), example = &"10m")]
    pub lasts: Option<At<TimeSpan>>,
    /// When it begins by itself: "2026-11-03T10:00" by the site's zone, or with an offset of its own.
    #[schemars(length(min = 1), example = &"2026-11-03T10:00")]
    pub from: Option<At<String>>,
    /// When it ends then, written like `from`, a day later at most.
    #[schemars(length(min = 1), example = &"2026-11-03T10:30")]
    pub until: Option<At<String>>,
    /// It ends when so many pages have had it.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 1000)]
    pub pages_max: Option<At<u32>>,
    /// What ends it before its time: an error budget that is used too fast ("burning"), or one of which
    /// nothing is left ("spent"); "burning" if absent.
    pub stop_on: Option<At<Stop>>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub struct Harm(pub HarmKind);

impl JsonSchema for Harm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Harm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = HarmKind::ALL.map(|(_, word)| word);
        json_schema!({ "type": "string", "enum": words })
    }
}

/// What ends a fault before its time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub struct Stop(pub StopOn);

impl JsonSchema for Stop {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StopOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["burning", "spent"] })
    }
}
