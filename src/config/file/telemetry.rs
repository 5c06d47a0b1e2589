//! The table `[telemetry]` of `fragments.toml`. Owns its keys, defaults and ranges.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, TimeSpan};

/// What is told to other systems. Taken at start; a reload does not change it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Pages as OpenTelemetry traces.
    pub traces: Traces,
}

/// Pages as OpenTelemetry traces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Where the collector takes OTLP over HTTP; may hold `${ENV}`. Without it nothing is exported.
    #[schemars(example = &"http://127.0.0.1:4318/v1/traces", extend("x-env" = true))]
    pub endpoint: Option<At<String>>,
    /// The share of pages that is exported.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: At<f64>,
    /// A page that takes longer is exported in any case, as are incomplete and failed ones.
    #[schemars(extend("x-range" = ["1ms", "10m"]))]
    pub slow: At<TimeSpan>,
    /// How many pages a second are exported in any case.
    #[schemars(range(min = 0, max = 10_000))]
    pub notable_max: At<u32>,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: At::unwritten(0.01),
            slow: At::unwritten(TimeSpan::from_millis(1000)),
            notable_max: At::unwritten(10),
        }
    }
}
