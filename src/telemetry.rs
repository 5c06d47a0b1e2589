//! What the server says about itself. The [`log`] is for whoever looks after it; the counts that
//! operators read are in [`tally`], those that machines read in [`metrics`], what has happened in the
//! [`journal`], what was answered in the [`access`] log, and the latest pages that somebody may ask
//! about in [`recent`]. Nothing here decides anything, and nothing here may slow a page down.

use std::time::Duration;

pub mod access;
pub mod alerts;
mod amount;
mod collector;
mod exports;
pub mod history;
pub mod journal;
pub mod log;
mod lossy;
pub mod metrics;
mod muted;
mod named;
pub mod pulse;
pub mod recent;
mod resource;
pub mod samples;
pub mod slo;
pub mod tally;
mod traces;

pub use access::AccessLog;
pub use exports::Exports;
pub use history::{Beat, History};
pub use journal::Journal;
pub use log::{LogFormat, init_log};
pub use lossy::LogGuard;
pub use metrics::Metrics;
pub use muted::Muted;
pub use pulse::Pulse;
pub use recent::Recent;
pub use samples::Samples;
pub use slo::Slos;
pub use tally::Tally;
pub use traces::Traces;

/// How long a server that stops waits for a collector.
const FAREWELL: Duration = Duration::from_secs(1);
