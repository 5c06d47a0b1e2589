//! `marbre simulate`: what would be given up, and when would it come back?
//!
//! Exit codes: 0 it went as it should; 1 a bound of `[expect]` was not kept, or what was asked for could
//! not be written; 2 the scenario, the trace or the command is wrong.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::clock::Clock;
use crate::config;
use crate::degradation::Law;
use crate::simulate::{self, Control, Scenario, Trace};
use crate::site::LawSpec;

use super::output;

const EXAMPLES: &str = "\
Examples:
  marbre simulate crowd.toml --plot crowd.svg
      Plays a scenario, prints what is given up and when, and draws it.
  curl -s 'http://127.0.0.1:8081/samples?since=0' > night.jsonl
  marbre simulate night.jsonl --law aimd
      Plays the last ten minutes of a server, as its admin address tells them, through the other law,
      and says where that decides otherwise. What was seen stays as it was, whatever is decided.

Exit codes: 0 it went as it should; 1 a bound of [expect] was not kept, or something could not be
written; 2 the scenario, the trace or the command is wrong.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Simulate {
    /// A scenario, or a recorded trace: JSON lines as `GET /samples?since=0` of the admin address gives
    /// them and as `--samples` writes them.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// More scenarios: a table of all of them is printed, in Markdown.
    #[arg(value_name = "FILE", conflicts_with_all = ["samples", "plot", "json"])]
    more: Vec<PathBuf>,
    /// Print the table also of a single scenario.
    #[arg(long, conflicts_with_all = ["samples", "plot", "json"])]
    table: bool,
    /// Of scenarios: no limiters, no breakers, no snapshots, nothing but deadlines and what decides.
    /// What a scenario expects is then not checked.
    #[arg(long)]
    bare: bool,
    /// Where chance begins [default: as the scenario says].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write what the law was told and what it answered at each tick, as JSON lines; `-` is standard
    /// output, where nothing else is printed then.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Draw load, page times, queue delay, what the law says and the level over time, as SVG; `-` is
    /// standard output, where nothing else is printed then.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print the figures and every second as one JSON object.
    #[arg(long)]
    json: bool,
    /// What decides, with its usual constants: of a scenario instead of what it says, and what it expects
    /// is then not checked; of a trace work-rate, unless this or --site says otherwise.
    #[arg(long, value_enum, value_name = "LAW", conflicts_with = "site")]
    law: Option<LawName>,
    /// Of a trace: the declaration of a site whose law, with its constants, it is played through.
    #[arg(long, value_name = "FILE")]
    site: Option<PathBuf>,
    /// Of a trace: the cores of the machine on which it was recorded [default: the fewest that the rates
    /// in it fit].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    cores: Option<u16>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LawName {
    WorkRate,
    Aimd,
    /// Nobody: pages are full, come what may.
    None,
    /// To compare with: a ladder on the p95 of five seconds, with fifteen seconds' hold.
    LadderP95,
    /// To compare with: a ladder on the p95 of one second, with five seconds' hold.
    LadderP95Fast,
}

/// Why there is no result.
enum Failed {
    /// Something could not be written.
    Unwritten(String),
    /// The scenario, the trace or the command is wrong.
    Wrong(String),
}

impl Simulate {
    pub(super) fn run(self) -> ExitCode {
        match self.played() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(Failed::Unwritten(why)) => {
                output::message(&format!("error: {why}"));
                ExitCode::FAILURE
            }
            Err(Failed::Wrong(why)) => {
                output::message(&why);
                ExitCode::from(2)
            }
        }
    }

    /// Whether all is as it should be.
    fn played(&self) -> Result<bool, Failed> {
        self.check_outputs().map_err(Failed::Wrong)?;
        if self.table || !self.more.is_empty() {
            return self.compare();
        }
        let text = fs::read_to_string(&self.file)
            .map_err(|why| wrong(format!("{} cannot be read: {why}", self.file.display())))?;
        match is_trace(&self.file, &text) {
            true => self.replay(&text),
            false => self.play(&text),
        }
    }

    /// Standard output takes one thing.
    fn check_outputs(&self) -> Result<(), String> {
        let on_stdout = [
            ("--samples -", is_stdout(self.samples.as_deref())),
            ("--plot -", is_stdout(self.plot.as_deref())),
            ("--json", self.json),
        ];
        let names: Vec<&str> = on_stdout
            .iter()
            .filter_map(|(name, is)| is.then_some(*name))
            .collect();
        match names.len() {
            0 | 1 => Ok(()),
            _ => Err(format!(
                "error: {} go to standard output, which takes one of them: write the rest to files",
                names.join(" and ")
            )),
        }
    }

    fn play(&self, text: &str) -> Result<bool, Failed> {
        let of_traces = [
            ("--site", self.site.is_some()),
            ("--cores", self.cores.is_some()),
        ];
        refuse(
            &of_traces,
            "is for a recorded trace; a scenario says it in [degradation]",
        )?;
        let scenario = self.changed(read(&self.file, text).map_err(Failed::Wrong)?);
        let seed = self.seed.unwrap_or(scenario.seed);
        let run = simulate::run(&scenario, seed, Clock::start().now());
        if let Some(path) = &self.samples {
            write(path, &run.samples())?;
        }
        if let Some(path) = &self.plot {
            write(path, &simulate::run_plot(&scenario, &run))?;
        }
        if self.json {
            print(&json(&simulate::run_json(&scenario, seed, &run)))?;
        } else if !self.is_stdout_taken() {
            print(&simulate::trace(&scenario, &run))?;
        } else {
            for broken in &run.broken {
                output::message(&format!("broken: {broken}"));
            }
        }
        Ok(run.broken.is_empty() || !self.is_as_declared())
    }

    /// Plays several scenarios and prints a table of them.
    fn compare(&self) -> Result<bool, Failed> {
        let mut played = Vec::new();
        for path in std::iter::once(&self.file).chain(&self.more) {
            let shown = path.display();
            let text = fs::read_to_string(path)
                .map_err(|why| wrong(format!("{shown} cannot be read: {why}")))?;
            if is_trace(path, &text) {
                let why = format!("error: {shown} is a recorded trace: play it alone");
                return Err(Failed::Wrong(why));
            }
            let scenario = self.changed(read(path, &text).map_err(Failed::Wrong)?);
            let seed = self.seed.unwrap_or(scenario.seed);
            let run = simulate::run(&scenario, seed, Clock::start().now());
            played.push((scenario, run));
        }
        print(&simulate::table(
            played.iter().map(|(scenario, run)| (scenario, run)),
        ))?;
        let mut is_kept = true;
        for (scenario, run) in played.iter().filter(|_| self.is_as_declared()) {
            for broken in &run.broken {
                is_kept = false;
                output::message(&format!("{}: broken: {broken}", scenario.name));
            }
        }
        Ok(is_kept)
    }

    /// Whether a scenario is played as it says, so that what it expects means something.
    fn is_as_declared(&self) -> bool {
        self.law.is_none() && !self.bare
    }

    /// A scenario with what this command says instead of it.
    fn changed(&self, scenario: Scenario) -> Scenario {
        let mut scenario = match self.bare {
            true => scenario.bare(),
            false => scenario,
        };
        let control = self.law.and_then(|name| {
            let name = name.to_possible_value()?;
            Control::called(name.get_name(), scenario.composer.workers)
        });
        if let Some(control) = control {
            scenario.degradation.control = control;
        }
        scenario
    }

    fn replay(&self, text: &str) -> Result<bool, Failed> {
        let of_scenarios = [
            ("--seed", self.seed.is_some()),
            ("--samples", self.samples.is_some()),
        ];
        refuse(
            &of_scenarios,
            "is for a scenario; in a recorded trace there is no chance, and it is recorded already",
        )?;
        let shown = self.file.display().to_string();
        let trace = Trace::read(text).map_err(|why| wrong(format!("error: in {shown}:\n{why}")))?;
        let cores = self.cores.map_or_else(|| trace.cores(), usize::from);
        let law = self.law(cores).map_err(Failed::Wrong)?;
        let replay = trace.replay(&law);
        if let Some(path) = &self.plot {
            write(path, &simulate::replay_plot(&shown, &replay))?;
        }
        if self.json {
            print(&json(&simulate::replay_json(&shown, &replay)))?;
        } else if !self.is_stdout_taken() {
            let count = match cores {
                1 => "1 core".to_owned(),
                _ => format!("{cores} cores"),
            };
            let so = match (&law, self.cores) {
                (Law::Aimd(_) | Law::Own(_), _) => String::new(),
                (Law::WorkRate(_), Some(_)) => format!(" for {count}"),
                (Law::WorkRate(_), None) => format!(
                    " for {count}, the fewest that its rates fit (--cores N if there were more)"
                ),
            };
            let head = format!("{shown}: through {}{so}\n\n", law.name());
            print(&(head + &replay.text()))?;
        }
        Ok(true)
    }

    fn law(&self, cores: usize) -> Result<Law, String> {
        let spec = match (&self.site, self.law) {
            (Some(path), _) => {
                let loaded = config::load(path, &|name| std::env::var(name).ok());
                let loaded = loaded.map_err(|found| found.render(output::colours()))?;
                loaded.site.degradation.law.clone()
            }
            (None, Some(LawName::Aimd)) => LawSpec::Aimd(Default::default()),
            (None, Some(LawName::WorkRate) | None) => LawSpec::default(),
            (None, Some(LawName::None | LawName::LadderP95 | LawName::LadderP95Fast)) => {
                let why = "error: a recorded trace is played through a law of the server: --law \
                           work-rate or --law aimd";
                return Err(why.to_owned());
            }
        };
        Ok(spec.for_cores(cores))
    }

    fn is_stdout_taken(&self) -> bool {
        is_stdout(self.samples.as_deref()) || is_stdout(self.plot.as_deref())
    }
}

/// No scenario begins with a brace.
fn is_trace(path: &Path, text: &str) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("jsonl" | "ndjson")) || text.trim_start().starts_with('{')
}

fn read(path: &Path, text: &str) -> Result<Scenario, String> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let fetch = |name: &str| fs::read_to_string(folder.join(name)).map_err(|why| why.to_string());
    simulate::read(&path.display().to_string(), text, &fetch)
        .map_err(|found| found.render(output::colours()))
}

fn refuse(options: &[(&str, bool)], why: &str) -> Result<(), Failed> {
    match options.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(wrong(format!("error: {option} {why}"))),
        None => Ok(()),
    }
}

fn wrong(why: String) -> Failed {
    Failed::Wrong(why)
}

fn is_stdout(path: Option<&Path>) -> bool {
    path == Some(Path::new("-"))
}

fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn write(path: &Path, text: &str) -> Result<(), Failed> {
    if is_stdout(Some(path)) {
        return print(text);
    }
    fs::write(path, text)
        .map_err(|why| Failed::Unwritten(format!("{} cannot be written: {why}", path.display())))
}

/// A reader who closes the pipe early is no error; a full disk is.
fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Failed::Unwritten(format!(
            "standard output cannot be written: {why}"
        ))),
        Ok(()) | Err(_) => Ok(()),
    }
}
