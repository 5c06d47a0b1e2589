//! `marbre chaos monkey` (shell): one experiment of a folder, drawn by chance, while somebody is there. Owns
//! the draw.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::config::values;
use crate::experiment::monkey::{self, Watch};

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
    let watch = watch(monkey)?;
    let files = experiments(&monkey.folder)?;
    let clock = Clock::start();
    if !watch.holds(clock.moment(clock.now())) {
        let hours = match &monkey.hours {
            Some(hours) => hours.clone(),
            None => format!("within the hours of {}", file(&monkey.folder).display()),
        };
        output::message(&format!("nothing is done: it is not {hours}"));
        return Ok(None);
    }
    let seed = monkey.seed.unwrap_or_else(|| fastrand::u64(..));
    let file = &files[fastrand::Rng::with_seed(seed).usize(..files.len())];
    output::message(&format!("seed {seed}: {}", file.display()));
    Ok(Some(file.clone()))
}

/// When somebody is there: as the folder declares it, and as is said besides.
fn watch(monkey: &Monkey) -> Result<Watch, String> {
    let zone = |name: &String| values::zone(name).map_err(|_| format!("there is no zone `{name}`"));
    let said = monkey.zone.as_ref().map(zone).transpose()?;
    if let Some(hours) = &monkey.hours {
        let hours = hours.parse().map_err(|why| format!("{why}"))?;
        return Ok(Watch {
            hours: vec![hours],
            zone: said.unwrap_or(TimeZone::UTC),
        });
    }
    let file = file(&monkey.folder);
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(&file)
        .map_err(|why| format!("no --hours, and {shown} cannot be read: {why}"))?;
    let declared = monkey::read(&shown, &text).map_err(|found| found.to_string())?;
    Ok(Watch {
        zone: said.unwrap_or(declared.zone),
        ..declared
    })
}

/// Where a folder of experiments declares when they may be carried out.
fn file(folder: &Path) -> PathBuf {
    folder.join(monkey::FILE)
}

/// The experiments of a folder, in the order of their names.
fn experiments(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = folder.display();
    let found =
        std::fs::read_dir(folder).map_err(|why| format!("{shown} cannot be read: {why}"))?;
    let paths = found.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .filter(|path| path.file_name().is_none_or(|name| name != monkey::FILE))
        .collect();
    files.sort();
    match files.is_empty() {
        true => Err(format!("{shown} holds no experiment, `*.toml`")),
        false => Ok(files),
    }
}
