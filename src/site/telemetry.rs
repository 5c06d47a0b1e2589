//! What the server writes down of each request, and how: the access log, the pages that are remembered,
//! the form of lines. Owns these settings once they have been found valid; pure.

use std::path::PathBuf;
use std::time::Duration;

/// How the lines of a log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineFormat {
    /// For people where the log goes to a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LineFormat {
    /// Whether lines are JSON, in front of a terminal or not.
    pub fn is_json(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => !is_terminal,
            Self::Human => false,
            Self::Json => true,
        }
    }
}

/// Where records of requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessTarget {
    /// To standard output.
    Stdout,
    /// To this file, which may be rotated.
    File(PathBuf),
}

/// What a record says of who has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientShown {
    /// Nothing.
    #[default]
    Off,
    /// The address without what tells one household from another.
    Truncated,
    /// The address.
    Full,
}

/// `[telemetry.access_log]`: one record for each request that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLogSettings {
    /// Where to.
    pub to: AccessTarget,
    /// How its lines look.
    pub format: LineFormat,
    /// The share of requests of which a record is written.
    pub sample: f64,
    /// A record is written in any case of what took longer.
    pub slow: Duration,
    /// Whether a record shows the query of what was asked for.
    pub query: bool,
    /// What it says of who has asked.
    pub client: ClientShown,
}

/// The share of requests is a number, not the lack of one.
impl Eq for AccessLogSettings {}

/// `[telemetry.recent]`: which pages are remembered for whoever asks about one.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentSettings {
    /// What they may take in memory, in bytes; 0: none is remembered.
    pub bytes_max: usize,
    /// The share of all pages.
    pub sample: f64,
    /// How many a second are remembered as part of that share.
    pub sample_max: u32,
    /// A page that took longer is remembered in any case.
    pub slow: Duration,
    /// How many a second are remembered because they were slow, degraded or failed.
    pub notable_max: u32,
}

/// The share of pages is a number, not the lack of one.
impl Eq for RecentSettings {}
