//! The table `[telemetry]` of `fragments.toml`. Owns its keys, defaults and ranges; what is written down
//! of each request is in `records`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AccessLog, At, Log, Recent, TimeSpan};

/// What is told to other systems and to whoever looks after the site. Taken at start; a reload changes
/// nothing but `debug_secret`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Pages as OpenTelemetry traces.
    pub traces: Traces,
    /// The log on standard error.
    pub log: Log,
    /// One record for each request that was answered.
    pub access_log: AccessLog,
    /// Pages that are remembered for `marbre explain --trace`.
    pub recent: Recent,
    /// What tokens for `Marbre-Debug` are signed with (`marbre token debug`), best kept out of the file:
    /// `${MARBRE_DEBUG_SECRET}`. Without it nobody is shown how a page was made.
    #[schemars(example = &"${MARBRE_DEBUG_SECRET}", extend("x-env" = true))]
    pub debug_secret: Option<At<String>>,
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
