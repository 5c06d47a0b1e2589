//! An origin as it is declared: who answers, and how much of the site's fate may hang on it. Owns plain
//! validated numbers; what is made of them is [`fetch`](crate::fetch)'s.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

/// A named service that answers for some fragments.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginSpec {
    /// The name in `fragments.toml`.
    pub name: String,
    /// Who answers; never empty, and at least one of them is a primary.
    pub replicas: Vec<ReplicaSpec>,
    /// Who is called when it is sick.
    pub owner: Option<String>,
    /// After this, whatever is still running at this origin is abandoned.
    pub timeout: Duration,
    /// For the connection alone, TLS included.
    pub connect_timeout: Duration,
    /// Requests in flight; more are refused, not queued.
    pub max_in_flight: usize,
    /// Of these, how many optional fragments can never take.
    pub reserved: usize,
    /// What connections are like.
    pub connections: Connections,
    /// When it is not worth asking.
    pub breaker: BreakerPolicy,
    /// When it is asked once more.
    pub retry: RetryPolicy,
    /// Percent of the requests to it that may be asked of a second replica because the first is
    /// slow; 0 for none.
    pub hedge_percent: u8,
    /// How its replicas are looked after when nobody asks for anything.
    pub health: Option<HealthCheck>,
    /// The share of the time that it promises to be up.
    pub availability: Option<f64>,
    /// The origins, by name, without which it is not up.
    pub depends_on: Vec<String>,
}

/// One of the hosts that answer for an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSpec {
    /// Where.
    pub address: Address,
    /// Percent of an equal share that it gets, 1 to 100. One below 100 is a canary: it is compared
    /// with the rest and gets nothing any more when it is worse.
    pub weight: u8,
    /// What it is for.
    pub role: Role,
}

impl ReplicaSpec {
    /// Whether it is a new version on trial.
    pub fn is_canary(&self) -> bool {
        self.weight < 100
    }
}

impl fmt::Display for ReplicaSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Where a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Scheme and authority, without a trailing slash.
    Url(String),
    /// A socket of this machine, spoken to in plain HTTP.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a replica is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers whenever it can.
    Primary,
    /// Answers only while no primary can.
    ReadReplica,
}

/// What the connections to an origin are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// Unused connections that are kept, for each replica.
    pub idle_max: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Whether HTTP/2 is spoken, and nothing else.
    pub http2: bool,
    /// The only certificates that may vouch for it, PEM; `None`: those of the system.
    pub ca: Option<Bytes>,
    /// How long the addresses of a name are good before they are looked up again.
    pub dns_ttl: Duration,
    /// Whether no address of this machine or of a private network is connected to.
    pub public_only: bool,
}

/// When an origin is not worth asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Whether it may be given up at all.
    pub enabled: bool,
    /// What is looked at: the requests of so long.
    pub window: Duration,
    /// With fewer requests than this in the window their shares say nothing.
    pub requests_min: u32,
    /// Percent of them that may fail or miss their deadline.
    pub failed_percent: u8,
    /// Percent of them that may fail or be slow.
    pub slow_percent: u8,
    /// Slow is what takes longer than so many times the origin's own median.
    pub slow_factor: u32,
    /// So many failures one after another are enough, however few requests there are.
    pub run_max: u32,
    /// How long it is left alone after a first trip.
    pub open: Duration,
    /// How long it is left alone at most, however often it trips.
    pub open_max: Duration,
    /// How long each step of the recovery lasts at least.
    pub step: Duration,
}

/// When a request is made once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 1 for no retry.
    pub attempts: u32,
    /// Percent of the requests of the last seconds that may be made once more.
    pub budget_percent: u8,
    /// The pause before a retry is random below this, doubled for each further one.
    pub backoff: Duration,
    /// Statuses that another attempt may change.
    pub statuses: Vec<u16>,
}

/// A question that is asked of each replica at intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query.
    pub path: String,
    /// From one to the next.
    pub interval: Duration,
    /// For its whole answer, which must be a 2xx.
    pub timeout: Duration,
}
