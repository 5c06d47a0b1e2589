//! The log on standard error (shell). Owns how its lines look, and who has a say in that: the command
//! line, then the declaration, then whether anybody sits in front of it.
//!
//! A line is written once, where something is handled; what happens with every request is said once in
//! a while, and how often it was not said (see [`Throttle`](crate::report::Throttle)).

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::site::LineFormat;

use super::lossy::{LogGuard, Lossy};

/// How log lines look, as the command line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people when the log goes to a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Whether lines are JSON at present. There is one log in a process.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether the command line has said so: the declaration has no say then.
static IS_SETTLED: AtomicBool = AtomicBool::new(false);

/// Starts the log on standard error. A second call in one process changes nothing. The last lines
/// are written when the guard is dropped.
pub fn init_log(format: Option<LogFormat>, verbose: bool) -> LogGuard {
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("marbre", level);
    let chosen = match format {
        None | Some(LogFormat::Auto) => LineFormat::Auto,
        Some(LogFormat::Human) => LineFormat::Human,
        Some(LogFormat::Json) => LineFormat::Json,
    };
    choose(chosen);
    IS_SETTLED.store(format.is_some(), Ordering::Relaxed);
    let (writer, guard) = Lossy::start(std::io::stderr(), is_json);
    let is_terminal = std::io::stderr().is_terminal();
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let either = Either {
        human: tracing_subscriber::fmt::format().with_target(false),
        json: tracing_subscriber::fmt::format().json(),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .event_format(either)
        .with_writer(writer);
    let registry = tracing_subscriber::registry().with(targets);
    // fails only when a log was started before, which then goes on
    let _ = registry.with(layer).try_init();
    guard
}

/// What the declaration says of it, which holds unless the command line has said something.
pub fn prefer(format: LineFormat) {
    if !IS_SETTLED.load(Ordering::Relaxed) {
        choose(format);
    }
}

fn choose(format: LineFormat) {
    let json = format.is_json(std::io::stderr().is_terminal());
    IS_JSON.store(json, Ordering::Relaxed);
}

fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Both forms of a line; which one is asked anew for each.
struct Either {
    human: Format<Full>,
    json: Format<Json>,
}

impl<S, N> FormatEvent<S, N> for Either
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match is_json() {
            true => self.json.format_event(context, writer, event),
            false => self.human.format_event(context, writer, event),
        }
    }
}
