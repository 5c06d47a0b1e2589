//! What the server says about itself. Owns the log's set-up; the counts that operators read are in
//! [`tally`], those that machines read in [`metrics`], and what has happened in the [`journal`]. Nothing here
//! decides anything, and nothing here may slow a page down.

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub mod alerts;
mod amount;
mod collector;
mod exports;
pub mod history;
pub mod journal;
mod lossy;
pub mod metrics;
mod muted;
pub mod pulse;
mod resource;
pub mod samples;
pub mod slo;
pub mod tally;
mod throttle;
mod traces;

pub use exports::Exports;
pub use history::{Beat, History};
pub use journal::Journal;
pub use lossy::LogGuard;
pub use metrics::Metrics;
pub use muted::Muted;
pub use pulse::Pulse;
pub use samples::Samples;
pub use slo::Slos;
pub use tally::Tally;
pub use throttle::Throttle;
pub use traces::Traces;

use lossy::Lossy;

/// How long a server that stops waits for a collector.
const FAREWELL: Duration = Duration::from_secs(1);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people when the log goes to a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts the log on standard error. A second call in one process changes nothing. The last lines
/// are written when the guard is dropped.
pub fn init_log(format: LogFormat, verbose: bool) -> LogGuard {
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("marbre", level);
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    let (writer, guard) = Lossy::start(std::io::stderr());
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    // fails only when a log was started before, which then goes on
    let _ = if json {
        registry.with(layer.json()).try_init()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        registry
            .with(layer.with_ansi(colours).with_target(false))
            .try_init()
    };
    guard
}
