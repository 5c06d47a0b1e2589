//! What the server says about itself. The [`log`] is for whoever looks after it; the counts that
//! operators read are in [`tally`], those that machines read in [`metrics`], what has happened in the
//! [`journal`], what was answered in the [`access`] log, and the latest pages that somebody may ask
//! about in [`recent`]. Nothing here decides anything, and nothing here may slow a page down.

pub mod access;
pub mod alerts;
pub mod history;
pub mod journal;
pub mod log;
mod lossy;
pub mod metrics;
pub mod pulse;
pub mod recent;
pub mod samples;
pub mod tally;
mod traces;

pub use access::AccessLog;
pub use history::{Beat, History};
pub use journal::Journal;
pub use log::{LogFormat, init_log};
pub use lossy::LogGuard;
pub use metrics::Metrics;
pub use pulse::Pulse;
pub use recent::Recent;
pub use samples::Samples;
pub use tally::Tally;
pub use traces::Traces;
