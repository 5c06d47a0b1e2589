//! `marbre simulate`: what would be given up, and when would it come back?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::clock::Clock;
use crate::simulate::{self, Scenario};

use super::output;

#[derive(Args)]
pub(super) struct Simulate {
    /// A scenario.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where chance begins [default: as the scenario says].
    #[arg(long)]
    seed: Option<u64>,
    /// Write what the law was told and what it answered at each tick, as JSON lines; `-` is standard
    /// output.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
}

impl Simulate {
    pub(super) fn run(self) -> ExitCode {
        let scenario = match read(&self.file) {
            Ok(scenario) => scenario,
            Err(why) => {
                output::message(&why);
                return ExitCode::from(2);
            }
        };
        let seed = self.seed.unwrap_or(scenario.seed);
        let run = simulate::run(&scenario, seed, Clock::start().now());
        if let Some(path) = &self.samples {
            std::fs::write(path, run.samples()).expect("TODO");
        }
        output::result(&simulate::trace(&scenario, &run));
        match run.broken.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

fn read(path: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let fetch =
        |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|why| why.to_string());
    simulate::read(&path.display().to_string(), &text, &fetch)
        .map_err(|found| found.render(output::colours()))
}
