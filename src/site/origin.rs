//! An origin as it is declared: who answers, and how much of the site's fate may hang on it. Owns plain
//! validated numbers; what is made of them is [`fetch`](crate::fetch)'s.

use std::time::Duration;

/// A named service that answers for some fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginSpec {
    /// The name in `fragments.toml`.
    pub name: String,
    /// Replica base URLs, scheme and authority, without a trailing slash.
    pub urls: Vec<String>,
    /// Who is called when it is sick.
    pub owner: Option<String>,
    /// After this, whatever is still running at this origin is abandoned.
    pub timeout: Duration,
    /// For the connection alone, TLS included.
    pub connect_timeout: Duration,
    /// Requests in flight; more are refused, not queued.
    pub max_in_flight: usize,
}
