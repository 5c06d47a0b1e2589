//! `[origins.…]` as it is written. Owns its keys, defaults and ranges.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{At, TimeSpan};

/// A named service that answers for fragments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its replicas: URLs of scheme and host only, or `unix:` and the path of a socket; may hold
    /// `${ENV}`. A table says more of one: `{ url = "…", weight = 5 }` is a canary that gets five
    /// percent of an equal share, `{ url = "…", role = "read-replica" }` is asked only while no
    /// other can answer.
    #[schemars(extend("x-env" = true), example = &"http://cms:8000", example = ["http://cms-1:8000", "http://cms-2:8000"])]
    pub urls: Replicas,
    /// Who is called when it is sick.
    #[schemars(example = &"newsroom-platform")]
    pub owner: Option<At<String>>,
    /// After this, whatever is still running at this origin is abandoned.
    #[serde(default = "five_seconds")]
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub timeout: At<TimeSpan>,
    /// For the connection alone, name look-up and TLS included: "1s", "300ms" where there is another
    /// replica to go to, or `timeout` if that is less.
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub connect_timeout: Option<At<TimeSpan>>,
    /// Requests in flight; more are refused, not queued.
    #[serde(default = "default_in_flight")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_in_flight: At<u32>,
    /// Of these, how many are for core and essential fragments only; a quarter, if absent, where
    /// optional fragments ask the same origin.
    #[schemars(range(min = 0, max = 100_000))]
    pub reserved: Option<At<u32>>,
    /// Unused connections that are kept, for each replica; as many as `max_in_flight` if absent.
    #[schemars(range(min = 0, max = 100_000))]
    pub idle_connections: Option<At<u32>>,
    /// How long an unused connection is kept: less than the origin keeps it.
    #[serde(default = "fifty_seconds")]
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub idle_timeout: At<TimeSpan>,
    /// Whether HTTP/2 is spoken: with TLS, or without where the origin expects it.
    #[serde(default = "no")]
    pub http2: At<bool>,
    /// A file of certificates (PEM), relative to this file: the only ones that may vouch for the
    /// origin. Those of the system if absent.
    #[schemars(length(min = 1), example = &"certs/internal-ca.pem")]
    pub ca: Option<At<String>>,
    /// How long the addresses of a name are good; they are then looked up in the background.
    #[serde(default = "thirty_seconds")]
    #[schemars(extend("x-range" = ["1s", "1h"]))]
    pub dns_ttl: At<TimeSpan>,
    /// When the origin is not worth asking.
    #[serde(default)]
    pub breaker: Breaker,
    /// When a request is made once more.
    #[serde(default)]
    pub retry: Retry,
    /// Percent of the requests that may be asked of a second replica because the first takes longer
    /// than 95 of 100 do. For core and essential fragments, and others with `hedge = true`.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 100))]
    pub hedge_budget: At<u8>,
    /// A question that is asked of each replica at intervals, to know it before readers do.
    pub health: Option<Health>,
    /// The share of the time that it promises to be up: `check` computes what pages can promise.
    #[schemars(range(min = 0.0, max = 1.0), example = &0.9999)]
    pub availability: Option<At<f64>>,
    /// Other origins without which it is not up.
    #[serde(default)]
    pub depends_on: Vec<At<String>>,
}

/// When an origin is not worth asking.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Whether it may be given up at all. It holds for its replicas too: without it none is left out,
    /// and no canary is withdrawn.
    pub enabled: At<bool>,
    /// What is looked at: the requests of so long.
    #[schemars(extend("x-range" = ["500ms", "10m"]))]
    pub window: At<TimeSpan>,
    /// With fewer requests than this in the window, their shares say nothing.
    #[schemars(range(min = 1, max = 100_000))]
    pub min_requests: At<u32>,
    /// Percent of the requests: when so many fail or miss their deadline, it is given up.
    #[schemars(range(min = 1, max = 100))]
    pub failed: At<u8>,
    /// Percent of the requests: when so many fail or are slow, it is given up for all but the core.
    #[schemars(range(min = 1, max = 100))]
    pub slow: At<u8>,
    /// Slow is what takes longer than so many times the origin's own median, and longer than half
    /// of the fragment's timeout.
    #[schemars(range(min = 2, max = 1000))]
    pub slow_factor: At<u32>,
    /// So many bad answers one after another, over 200 ms at least, are enough, however few requests
    /// there are. Of a replica that is not the only one 5 are, and 10 requests in the window.
    #[schemars(range(min = 2, max = 100_000))]
    pub in_a_row: At<u32>,
    /// How long it is left alone at first; twice as long after each further trip.
    #[schemars(extend("x-range" = ["10ms", "10m"]))]
    pub open: At<TimeSpan>,
    /// How long it is left alone at most. Where it can be asked without a reader who waits, it is after
    /// three seconds, or after `open` if that is longer.
    #[schemars(extend("x-range" = ["10ms", "1h"]))]
    pub open_max: At<TimeSpan>,
    /// How long 5, 20 and 60 percent of the requests are let through, each, before all are.
    #[schemars(extend("x-range" = ["10ms", "10m"]))]
    pub step: At<TimeSpan>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            enabled: At::unwritten(true),
            window: ms(10_000),
            min_requests: At::unwritten(20),
            failed: At::unwritten(50),
            slow: At::unwritten(50),
            slow_factor: At::unwritten(5),
            in_a_row: At::unwritten(10),
            open: ms(500),
            open_max: ms(10_000),
            step: ms(500),
        }
    }
}

/// When a request is made once more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included; 1 for no retry.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: At<u32>,
    /// Percent of the requests of the last ten seconds that may be made once more; but three, unless it
    /// is 0. To ask the next replica where one could not be reached is not a retry.
    #[schemars(range(min = 0, max = 100))]
    pub budget: At<u8>,
    /// The pause before a retry is random below this, and below twice as much for each further one.
    #[schemars(extend("x-range" = ["0s", "10s"]))]
    pub backoff: At<TimeSpan>,
    /// Statuses that another attempt may change. What is an answer to a fragment (404, or 401 to a core)
    /// never is tried again.
    #[schemars(inner(range(min = 400, max = 599)), example = [500, 502, 503, 504])]
    pub statuses: Vec<At<u16>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: At::unwritten(2),
            budget: At::unwritten(20),
            backoff: ms(20),
            statuses: [502, 503, 504].map(At::unwritten).to_vec(),
        }
    }
}

/// A question that is asked of each replica at intervals.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path and query; a 2xx is a good answer.
    #[schemars(pattern("^/"), example = &"/healthz")]
    pub path: At<String>,
    /// From one to the next.
    #[serde(default = "five_seconds")]
    #[schemars(extend("x-range" = ["100ms", "10m"]))]
    pub interval: At<TimeSpan>,
    /// For the whole answer.
    #[serde(default = "one_second")]
    #[schemars(extend("x-range" = ["1ms", "60s"]))]
    pub timeout: At<TimeSpan>,
}

/// One replica, or several: the check makes a list of the one.
#[derive(Debug, Deserialize)]
pub struct Replicas(pub Vec<At<Replica>>);

impl JsonSchema for Replicas {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Replicas".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = ReplicaTable::json_schema(generator);
        json_schema!({
            "x-one-or-many": true,
            "anyOf": [
                { "type": "string" },
                {
                    "type": "array",
                    "items": { "anyOf": [{ "type": "string" }, table] },
                    "minItems": 1,
                },
            ],
        })
    }
}

/// One replica: its URL, or a table that says more.
#[derive(Debug)]
pub struct Replica {
    /// Where it is.
    pub url: String,
    /// Percent of an equal share.
    pub weight: u8,
    /// What it is for.
    pub role: Role,
}

/// What a replica is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Answers whenever it can.
    #[default]
    Primary,
    /// Answers only while no primary can.
    ReadReplica,
}

impl JsonSchema for Role {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Role".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["primary", "read-replica"] })
    }
}

/// A replica of which more is said than its URL.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReplicaTable {
    /// Scheme and host only, or `unix:` and the path of a socket.
    #[schemars(example = &"http://cms-3:8000")]
    url: String,
    /// Percent of an equal share that it gets. Below 100 it is a canary: one that fails or is slow
    /// significantly more often than the others gets nothing any more.
    #[serde(default = "all")]
    #[schemars(range(min = 1, max = 100))]
    weight: u8,
    /// "read-replica": it is asked only while no other can answer.
    #[serde(default)]
    role: Role,
}

impl<'de> Deserialize<'de> for Replica {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Replica;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a table with a `url`")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<Replica, E> {
                Ok(Replica {
                    url: url.to_owned(),
                    weight: all(),
                    role: Role::Primary,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Replica, A::Error> {
                let ReplicaTable { url, weight, role } =
                    ReplicaTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Replica { url, weight, role })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn ms(n: u64) -> At<TimeSpan> {
    At::unwritten(TimeSpan::from_millis(n))
}

fn one_second() -> At<TimeSpan> {
    ms(1000)
}

fn five_seconds() -> At<TimeSpan> {
    ms(5000)
}

fn thirty_seconds() -> At<TimeSpan> {
    ms(30_000)
}

/// Below the 60 s after which many servers close what is unused.
fn fifty_seconds() -> At<TimeSpan> {
    ms(50_000)
}

fn default_in_flight() -> At<u32> {
    At::unwritten(256)
}

fn five() -> At<u8> {
    At::unwritten(5)
}

fn no() -> At<bool> {
    At::unwritten(false)
}

fn all() -> u8 {
    100
}
