//! `marbre chaos monkey` (shell): one experiment of a folder, drawn by chance, while somebody is there. Owns
//! the draw.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::config::values;
use crate::experiment::hours::Hours;

use super::{Monkey, Server, run};
use crate::cli::output;

pub(super) fn run(monkey: &Monkey, server: &Server) -> ExitCode {
    match drawn(monkey) {
        Ok(Some(file)) if !monkey.dry_run => run::carry_out(&file, &monkey.reading, server),
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            output::message(&format!("error: {why}"));
            ExitCode::from(2)
        }
    }
}

/// The experiment that is to be carried out; none outside of the working hours.
fn drawn(monkey: &Monkey) -> Result<Option<PathBuf>, String> {
    let hours: Hours = monkey.hours.parse().map_err(|why| format!("{why}"))?;
    let zone = match &monkey.zone {
        None => TimeZone::UTC,
        Some(name) => values::zone(name).map_err(|_| format!("there is no zone `{name}`"))?,
    };
    let files = experiments(&monkey.folder)?;
    let clock = Clock::start();
    if !hours.holds(clock.moment(clock.now()), &zone) {
        let hours = &monkey.hours;
        output::message(&format!("nothing is done: it is not {hours}"));
        return Ok(None);
    }
    let seed = monkey.seed.unwrap_or_else(|| fastrand::u64(..));
    let file = &files[fastrand::Rng::with_seed(seed).usize(..files.len())];
    output::message(&format!("seed {seed}: {}", file.display()));
    Ok(Some(file.clone()))
}

/// The experiments of a folder, in the order of their names.
fn experiments(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = folder.display();
    let found =
        std::fs::read_dir(folder).map_err(|why| format!("{shown} cannot be read: {why}"))?;
    let paths = found.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .collect();
    files.sort();
    match files.is_empty() {
        true => Err(format!("{shown} holds no experiment, `*.toml`")),
        false => Ok(files),
    }
}
