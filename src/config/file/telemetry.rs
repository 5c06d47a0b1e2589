//! The table `[telemetry]` of `fragments.toml`. Owns its keys, defaults and ranges; what is written down
//! of each request is in `records`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AccessLog, At, Log, Name, Recent, Secret, TimeSpan};

/// What is told to other systems and to whoever looks after the site. Taken at start; a reload changes
/// nothing but the secret of debug tokens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Whether anything is counted of pages: without it there are no page metrics, traces, tallies in
    /// the journal and charts. It is there to measure what they cost.
    pub enabled: At<bool>,
    /// Pages as OpenTelemetry traces.
    pub traces: Traces,
    /// What `/metrics` tells, sent to an OpenTelemetry collector as well.
    pub metrics: Metrics,
    /// The log on standard error.
    pub log: Log,
    /// One record for each request that was answered.
    pub access_log: AccessLog,
    /// Pages that are remembered for `marbre explain --trace`.
    pub recent: Recent,
    /// What tokens for `Marbre-Debug` are signed with (`marbre token debug`), best kept out of the file:
    /// `${MARBRE_DEBUG_SECRET}`. Without it nobody is shown how a page was made.
    #[schemars(example = &"${MARBRE_DEBUG_SECRET}", extend("x-env" = true))]
    pub debug_secret: Option<At<Secret>>,
    /// The file that holds it instead, relative to the main file, on one line of 16 or more characters; may hold
    /// `${ENV}`.
    #[schemars(length(min = 1), example = &"${CREDENTIALS_DIRECTORY}/debug-secret", extend("x-env" = true))]
    pub debug_secret_file: Option<At<String>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            enabled: At::unwritten(true),
            traces: Traces::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            access_log: AccessLog::default(),
            recent: Recent::default(),
            debug_secret: None,
            debug_secret_file: None,
        }
    }
}

/// Pages as OpenTelemetry traces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// Where the collector takes OTLP over HTTP; may hold `${ENV}`. Without it nothing is exported.
    #[schemars(example = &"http://127.0.0.1:4318/v1/traces", extend("x-env" = true))]
    pub endpoint: Option<At<Secret>>,
    /// What is sent with each request, such as what the collector knows senders by; may hold `${ENV}`.
    #[schemars(with = "BTreeMap<Name, At<Secret>>", extend("x-env" = true))]
    pub headers: BTreeMap<String, At<Secret>>,
    /// The files that hold values of more headers, relative to the main file, each on one line; may hold `${ENV}`.
    #[schemars(with = "BTreeMap<Name, At<String>>", extend("x-env" = true))]
    pub header_files: BTreeMap<String, At<String>>,
    /// Whether what is sent is packed.
    pub gzip: At<bool>,
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
            headers: BTreeMap::new(),
            header_files: BTreeMap::new(),
            gzip: At::unwritten(true),
            sample: At::unwritten(0.01),
            slow: At::unwritten(TimeSpan::from_millis(1000)),
            notable_max: At::unwritten(10),
        }
    }
}

/// What `/metrics` tells, sent to an OpenTelemetry collector as well.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Where the collector takes OTLP over HTTP; may hold `${ENV}`. Without it nothing is sent.
    #[schemars(example = &"http://127.0.0.1:4318/v1/metrics", extend("x-env" = true))]
    pub endpoint: Option<At<Secret>>,
    /// From one export to the next.
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub interval: At<TimeSpan>,
    /// What is sent with each request, such as what the collector knows senders by; may hold `${ENV}`.
    #[schemars(with = "BTreeMap<Name, At<Secret>>", extend("x-env" = true))]
    pub headers: BTreeMap<String, At<Secret>>,
    /// The files that hold values of more headers, relative to the main file, each on one line; may hold `${ENV}`.
    #[schemars(with = "BTreeMap<Name, At<String>>", extend("x-env" = true))]
    pub header_files: BTreeMap<String, At<String>>,
    /// Whether what is sent is packed.
    pub gzip: At<bool>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            endpoint: None,
            interval: At::unwritten(TimeSpan::from_millis(15_000)),
            headers: BTreeMap::new(),
            header_files: BTreeMap::new(),
            gzip: At::unwritten(true),
        }
    }
}
