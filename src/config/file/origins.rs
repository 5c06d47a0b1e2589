//! `[origins.…]` as it is written. Owns its keys, defaults and ranges.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, OneOrMany, TimeSpan};

/// A named service that answers for fragments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Base URLs of its replicas, scheme and host only; may hold `${ENV}`.
    #[schemars(extend("x-env" = true), example = &"http://cms:8000", example = ["http://cms-1:8000", "http://cms-2:8000"])]
    pub urls: OneOrMany,
    /// Who is called when it is sick.
    #[schemars(example = &"newsroom-platform")]
    pub owner: Option<At<String>>,
    /// After this, whatever is still running at this origin is abandoned.
    #[serde(default = "five_seconds")]
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub timeout: At<TimeSpan>,
    /// For the connection alone, TLS included: "1s", or `timeout` if that is less.
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub connect_timeout: Option<At<TimeSpan>>,
    /// Requests in flight; more are refused, not queued.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: At<u32>,
}

fn five_seconds() -> At<TimeSpan> {
    At::unwritten(TimeSpan::from_millis(5000))
}

fn default_in_flight() -> At<u32> {
    At::unwritten(256)
}
