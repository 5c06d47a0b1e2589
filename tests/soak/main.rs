//! A soak: the release build for some minutes or hours, while its origins are slow, wrong, silent and cut off
//! by turns, copies are purged and pushed, and the site is reloaded. Run by `tests/soak/run`; says what it has
//! seen, and fails if something grows or a promise is broken.
//!
//! - without more: [at full speed](full);
//! - with `--chaos`: [with moderate load](chaos), and faults on purpose all the time, drawn from a seed.

#![allow(
    clippy::unwrap_used,
    reason = "a soak that cannot run is meant to panic"
)]
#![allow(clippy::print_stdout, reason = "it prints a report")]

#[path = "../it/support/numbered.rs"]
mod numbered;

mod chaos;
mod figures;
mod full;
mod origin;
mod server;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The release build for so long, with faults; then a report, and 0 if nothing leaks.
#[derive(Parser)]
#[command(name = "tests/soak/run")]
struct Arguments {
    /// For how long [default: 10].
    #[arg(value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=1440))]
    said: Option<u64>,
    /// The same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1440), conflicts_with = "said")]
    minutes: Option<u64>,
    /// Moderate load, and faults on purpose all the time.
    #[arg(long)]
    chaos: bool,
    /// Write the report there, in Markdown, besides printing it.
    #[arg(long, value_name = "FILE", requires = "chaos")]
    report: Option<PathBuf>,
    /// Where chance begins; printed, so that a run can be had again.
    #[arg(long, env = "MARBRE_SEED", value_name = "N")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let minutes = arguments.minutes.or(arguments.said).unwrap_or(10);
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().worker_threads(2).build().unwrap();
    let is_well = runtime.block_on(async {
        match arguments.chaos {
            true => chaos::soak(minutes, seed, arguments.report.as_deref()).await,
            false => full::soak(minutes * 60, seed).await,
        }
    });
    runtime.shutdown_background();
    match is_well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn up(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn of(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

async fn ask(request: reqwest::RequestBuilder, done: &AtomicU64, refused: &AtomicU64) {
    let answer = request.send().await;
    up(
        match answer.is_ok_and(|answer| answer.status().is_success()) {
            true => done,
            false => refused,
        },
    );
}
