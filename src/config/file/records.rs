//! The tables of `[telemetry]` about what is written down of each request: `log`, `access_log`, `recent`.
//! Owns their keys, defaults and ranges.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{At, ByteSize, TimeSpan};

/// The log on standard error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// "auto": for people where it goes to a terminal, JSON otherwise; "human"; "json". `marbre --log`
    /// and `MARBRE_LOG` are above it.
    pub format: At<LineFormat>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: At::unwritten(LineFormat::Auto),
        }
    }
}

/// One record for each request that was answered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// "off"; "stdout"; or a file, relative to this one: "file:/var/log/marbre/access.log". It is opened
    /// anew when it was moved away, and on SIGHUP.
    #[schemars(example = &"file:/var/log/marbre/access.log")]
    pub to: At<String>,
    /// "auto": for people where it goes to a terminal, JSON otherwise; "human"; "json".
    pub format: At<LineFormat>,
    /// The share of requests of which a record is written. What was degraded, slow or failed is
    /// written in any case.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: At<f64>,
    /// What takes longer is slow.
    #[schemars(extend("x-range" = ["1ms", "10m"]))]
    pub slow: At<TimeSpan>,
    /// Whether queries are written too: they may hold what is nobody's business.
    pub query: At<bool>,
    /// What is written of who has asked: "off"; "truncated", the first 24 bits of an IPv4 address and
    /// 48 of an IPv6 address; "full".
    pub client: At<ClientShown>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            to: At::unwritten("off".to_owned()),
            format: At::unwritten(LineFormat::Auto),
            sample: At::unwritten(1.0),
            slow: At::unwritten(TimeSpan::from_millis(1000)),
            query: At::unwritten(false),
            client: At::unwritten(ClientShown::Off),
        }
    }
}

/// Pages that are remembered for `marbre explain --trace`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recent {
    /// What they may take in memory; the oldest are forgotten first. "0B": none is remembered.
    #[schemars(extend("x-range" = ["0B", "1GiB"]))]
    pub size: At<ByteSize>,
    /// The share of pages that is remembered.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: At<f64>,
    /// How many pages a second are remembered as part of that share.
    #[schemars(range(min = 0, max = 10_000))]
    pub sample_max: At<u32>,
    /// A page that takes longer is remembered in any case, as are degraded and failed ones.
    #[schemars(extend("x-range" = ["1ms", "10m"]))]
    pub slow: At<TimeSpan>,
    /// How many pages a second are remembered in any case.
    #[schemars(range(min = 0, max = 10_000))]
    pub notable_max: At<u32>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            size: At::unwritten(ByteSize(8 << 20)),
            sample: At::unwritten(0.01),
            sample_max: At::unwritten(50),
            slow: At::unwritten(TimeSpan::from_millis(1000)),
            notable_max: At::unwritten(100),
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineFormat {
    /// As it fits.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

impl JsonSchema for LineFormat {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LineFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["auto", "human", "json"] })
    }
}

/// What is written of who has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientShown {
    /// Nothing.
    Off,
    /// A part of the address.
    Truncated,
    /// The address.
    Full,
}

impl JsonSchema for ClientShown {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClientShown".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["off", "truncated", "full"] })
    }
}
