//! The table as a command: which rows, how often, where the results go. Owns the arguments and what is
//! printed on the way.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::judge::{Hold, Unit, at_most};
use super::results::{Outcome, Results, Run};
use super::rows::{self, Row};
use super::run::play;
use super::site::TRIED;

const USAGE: &str = "\
tests/run degradation [ROW...] [OPTION...]
tests/run degradation report [OPTION...]     no rows: only the report of what is known

Plays rows of the acceptance table in real time; all of them without ROW. A row passes when more than
half of its runs hold everything; it is not run again once that is decided.

  --runs N       runs of a row at most (3)
  --short        short phases, to try things out: what comes out says little
  --json FILE    where results are kept; those of other rows stay (target/degradation/results.json)
  --report FILE  write the report of all results there, with its graphs beside it
  --law KEY=VALUE  try this constant of the law instead of its default
  --list         say what the rows are
";

/// Of the machine; a busier rig measures itself.
const BUSY_MAX: f64 = 0.60;

struct Arguments {
    rows: Vec<Row>,
    runs: usize,
    is_short: bool,
    json: PathBuf,
    report: Option<PathBuf>,
}

/// Does what the arguments say.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    if words.contains(&"--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if words.contains(&"--list") {
        for row in rows::all() {
            println!("{:5}  {}", row.name, row.title);
        }
        return ExitCode::SUCCESS;
    }
    match Arguments::read(words).and_then(|arguments| run_rows(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    fn read(words: &[&str]) -> Result<Self, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        let mut arguments = Self {
            rows: Vec::new(),
            runs: 3,
            is_short: false,
            json: target.join("degradation/results.json"),
            report: None,
        };
        let mut tried = String::new();
        let mut names = Vec::new();
        let mut is_report_only = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next().copied();
                value.ok_or_else(|| format!("{word} wants a value; see --help"))
            };
            match *word {
                "--short" => arguments.is_short = true,
                "--json" => arguments.json = value()?.into(),
                "--report" => arguments.report = Some(value()?.into()),
                "--law" => tried += &format!("{}\n", value()?),
                "--runs" => {
                    let text = value()?;
                    let runs = text.parse().ok().filter(|runs| (1..=99).contains(runs));
                    arguments.runs =
                        runs.ok_or_else(|| format!("--runs {text}: a number from 1 to 99"))?;
                }
                "report" => is_report_only = true,
                name if name.starts_with('-') => return Err(format!("{name}: see --help")),
                name => names.push(name),
            }
        }
        TRIED.get_or_init(|| tried);
        if !is_report_only {
            arguments.rows = chosen(&names)?;
        }
        Ok(arguments)
    }
}

fn chosen(names: &[&str]) -> Result<Vec<Row>, String> {
    let is_asked = |row: &Row, name: &str| row.name == name || row.number() == name;
    for name in names {
        if !rows::all().iter().any(|row| is_asked(row, name)) {
            return Err(format!("there is no row {name}; see --list"));
        }
    }
    let asked = |row: &Row| names.is_empty() || names.iter().any(|name| is_asked(row, name));
    Ok(rows::all().into_iter().filter(asked).collect())
}

fn run_rows(arguments: &Arguments) -> Result<bool, String> {
    // before an hour of runs, not after it
    Results::read(&arguments.json)?;
    let mut have_passed = true;
    for row in &arguments.rows {
        let outcome = run_row(row, arguments);
        have_passed &= outcome.has_passed();
        // read again: another row may have been run meanwhile
        let mut results = Results::read(&arguments.json)?;
        results.rows.insert(row.name.to_owned(), outcome);
        results.write(&arguments.json)?;
    }
    if let Some(file) = &arguments.report {
        super::report::write(&Results::read(&arguments.json)?, file)?;
        println!("report: {}", file.display());
    }
    Ok(have_passed)
}

fn run_row(row: &Row, arguments: &Arguments) -> Outcome {
    let mut scene = row.scene;
    if arguments.is_short {
        scene.phases = scene.phases.shortened(scene.places == 1);
    }
    let mut outcome = Outcome {
        title: match TRIED.get().map_or("", |tried| tried.trim_end()) {
            "" => row.title.to_owned(),
            tried => format!("{}; with {}", row.title, tried.replace('\n', ", ")),
        },
        is_short: arguments.is_short,
        date: jiff::Timestamp::now()
            .strftime("%Y-%m-%d %H:%M")
            .to_string(),
        commit: commit(),
        machine: machine(),
        runs: Vec::new(),
        needed: arguments.runs / 2 + 1,
    };
    let is_drawn = if row.is_drawn { ", drawn" } else { "" };
    println!(
        "\nrow {}: {} ({:.0} s a run{is_drawn})",
        row.name,
        row.title,
        scene.phases.end()
    );
    let seed = std::env::var("MARBRE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for number in 1..=arguments.runs {
        let left = arguments.runs + 1 - number;
        if outcome.has_passed() || outcome.passed() + left < outcome.needed {
            break;
        }
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("run {number}, MARBRE_SEED={seed}");
        let recording = play(&scene, seed);
        let mut holds = (row.judge)(&recording);
        let (busy, busiest) = recording.busy();
        holds.push(at_most(
            "the rig's share of the machine",
            busy,
            BUSY_MAX,
            Unit::Percent,
        ));
        holds.iter().for_each(tell);
        let run = Run::of(&recording, holds, seed);
        println!(
            "  {} pages; of the machine: rig {}, at most {} in a second; all together {}",
            recording.pages.len(),
            Unit::Percent.show(busy),
            Unit::Percent.show(busiest),
            Unit::Percent.show(run.machine_busy)
        );
        outcome.runs.push(run);
    }
    let verdict = if outcome.has_passed() {
        "passed"
    } else {
        "FAILED"
    };
    println!(
        "row {} {verdict}: {} of {} runs",
        row.name,
        outcome.passed(),
        outcome.runs.len()
    );
    outcome
}

fn tell(hold: &Hold) {
    let mark = if hold.holds { "ok  " } else { "FAIL" };
    println!(
        "  {mark} {:<60} {:>10}   {}",
        hold.what, hold.measured, hold.bound
    );
}

/// What was measured, where that can be told.
fn commit() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return String::new();
    };
    let is_changed = git(&["status", "--porcelain", "src"]).is_some_and(|text| !text.is_empty());
    commit + if is_changed { ", changed" } else { "" }
}

/// Processor, cores and kernel.
fn machine() -> String {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let model = information
        .lines()
        .find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split_once(": "))
        .map_or("unknown processor", |m| m.1);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.split('-').next().unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}
