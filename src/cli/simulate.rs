//! `marbre simulate`: what would be given up, and when would it come back?

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::clock::Clock;
use crate::degradation::Law;
use crate::simulate::{self, Control, Run, Scenario};

use super::output;

/// Plays a scenario of readers, origins and faults in virtual time: seconds of waiting for hours of
/// load. The law, the limiters and the breakers are those that serve pages.
///
/// A scenario is a TOML file in the words of fragments.toml; those of marbre itself are in
/// tests/scenarios/law. A file that ends with .jsonl is a trace that was recorded (GET /samples of the
/// admin listener): it is played through the law alone.
///
/// Exit codes: 0 all is as the scenario expects; 1 something is not; 2 a file cannot be used.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Simulate {
    /// Scenarios, or one recorded trace. Of several scenarios a table is printed, in Markdown.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What decides, instead of what the scenario says. What it expects is then not checked.
    #[arg(long, value_enum)]
    law: Option<LawName>,
    /// No limiters, no breakers, no snapshots: nothing but deadlines and what decides. What the
    /// scenario expects is then not checked.
    #[arg(long)]
    bare: bool,
    /// Where chance begins [default: as the scenario says].
    #[arg(long)]
    seed: Option<u64>,
    /// Cores of the machine that a recorded trace is of [default: as many as this one has].
    #[arg(long)]
    cores: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print the table also of a single scenario.
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// Draw the run of a single scenario into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write what the law was told and what it answered, as JSON lines: a trace to be played again.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
}

/// What decides.
#[derive(Clone, Copy, ValueEnum)]
enum LawName {
    /// The work-rate law.
    WorkRate,
    /// AIMD on the queue delay.
    Aimd,
    /// Nobody: pages are full, come what may.
    None,
    /// To compare with: a ladder on the p95 of five seconds, fifteen seconds' hold.
    LadderP95,
    /// To compare with: a ladder on the p95 of one second, five seconds' hold.
    LadderP95Fast,
}

/// A file could not be read or written, or is not what it should be.
const UNUSABLE: u8 = 2;

impl Simulate {
    pub(super) fn run(self) -> ExitCode {
        match self.play() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                output::message(&why);
                ExitCode::from(UNUSABLE)
            }
        }
    }

    /// Whether all is as it is expected.
    fn play(self) -> Result<bool, String> {
        let is_trace = |path: &PathBuf| path.extension().is_some_and(|e| e == "jsonl");
        if let [path] = &self.files[..]
            && is_trace(path)
        {
            return self.replay(path);
        }
        if let Some(path) = self.files.iter().find(|path| is_trace(path)) {
            let path = path.display();
            return Err(format!("error: {path} is a trace: play it alone"));
        }
        if self.files.len() > 1 && (self.plot.is_some() || self.samples.is_some()) {
            return Err("error: `--plot` and `--samples` are of a single scenario".to_owned());
        }
        let mut played = Vec::new();
        for path in &self.files {
            let scenario = self.changed(read(path)?);
            let seed = self.seed.unwrap_or(scenario.seed);
            let run = simulate::run(&scenario, seed, Clock::start().now());
            played.push((scenario, run));
        }
        if let [(scenario, run)] = &played[..] {
            if let Some(path) = &self.plot {
                write(path, &simulate::plot(scenario, run))?;
            }
            if let Some(path) = &self.samples {
                write(path, &run.samples())?;
            }
        }
        let is_checked = self.law.is_none() && !self.bare;
        self.print(&played, is_checked);
        let is_kept = |(_, run): &(Scenario, Run)| run.broken.is_empty();
        Ok(!is_checked || played.iter().all(is_kept))
    }

    fn changed(&self, scenario: Scenario) -> Scenario {
        let mut scenario = match self.bare {
            true => scenario.bare(),
            false => scenario,
        };
        if let Some(control) = self.control(scenario.composer.workers) {
            scenario.degradation.control = control;
        }
        scenario
    }

    fn control(&self, cores: usize) -> Option<Control> {
        let name = self.law?.to_possible_value()?;
        Control::called(name.get_name(), cores)
    }

    fn print(&self, played: &[(Scenario, Run)], is_checked: bool) {
        if self.json {
            let runs: Vec<_> = played
                .iter()
                .map(|(s, run)| as_json(s, run, is_checked))
                .collect();
            return match &runs[..] {
                [run] => output::json(run),
                runs => output::json(&runs),
            };
        }
        match played {
            [(scenario, run)] if !self.table => output::result(&simulate::trace(scenario, run)),
            played => output::result(&simulate::table(played.iter().map(|(s, run)| (s, run)))),
        }
        for (scenario, run) in played.iter().filter(|_| is_checked) {
            for broken in &run.broken {
                output::message(&format!("error: {}: expected {broken}", scenario.name));
            }
        }
    }

    fn replay(&self, path: &Path) -> Result<bool, String> {
        if self.bare || self.plot.is_some() || self.samples.is_some() || self.table {
            let message = "error: of a recorded trace there is no plot, no table and no samples";
            return Err(message.to_owned());
        }
        let own = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let cores = self.cores.unwrap_or_else(own);
        let law = match self.control(cores) {
            Some(Control::Law(law)) => law,
            None => Law::for_cores(cores),
            Some(Control::None | Control::Ladder { .. }) => {
                return Err("error: a trace is played through `work-rate` or `aimd`".to_owned());
            }
        };
        let text = load(path)?;
        let played = simulate::replay(&law, None, &text)
            .map_err(|why| format!("error: {}: {why}", path.display()))?;
        match self.json {
            true => output::json(&played),
            false => output::result(&played.text()),
        }
        Ok(true)
    }
}

fn as_json(scenario: &Scenario, run: &Run, is_checked: bool) -> serde_json::Value {
    let broken = if is_checked { &run.broken[..] } else { &[] };
    json!({
        "scenario": scenario.name,
        "about": scenario.about,
        "law": scenario.degradation.control.name(),
        "seconds": scenario.lasts.as_secs_f64(),
        "event_s": [scenario.event.0.as_secs_f64(), scenario.event.1.as_secs_f64()],
        "summary": run.summary,
        "broken": broken,
    })
}

fn read(path: &Path) -> Result<Scenario, String> {
    let text = load(path)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let fetch =
        |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|why| why.to_string());
    simulate::read(&path.display().to_string(), &text, &fetch)
        .map_err(|found| found.render(output::colours()))
}

fn load(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|why| format!("error: {} cannot be read: {why}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text)
        .map_err(|why| format!("error: {} cannot be written: {why}", path.display()))
}
