//! The report: all results as a page of Markdown with graphs beside it. Owns its words.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::judge::Unit;
use super::plot;
use super::results::{Outcome, Results, Run};
use super::rows::{self, Row};
use super::script::Phases;

/// Writes the report of these results, and its graphs into a folder beside it.
pub(crate) fn write(results: &Results, file: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let name = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = file.with_extension("");
    fs::create_dir_all(&folder).map_err(failed)?;
    let rows = rows::all();
    let known = || {
        rows.iter()
            .filter_map(|row| Some((row, results.rows.get(row.name)?)))
    };
    for (row, outcome) in known().filter(|(row, _)| row.is_drawn) {
        if let Some(run) = drawn(outcome) {
            let title = format!("Row {}: {}", row.name, row.title);
            fs::write(folder.join(graph(row)), plot::svg(run, &title)).map_err(failed)?;
        }
    }
    let mut text = INTRODUCTION.to_owned();
    summary(&mut text, known());
    text += "\n## What was measured\n\nThe first column of figures is what a row is held to, the others \
             are its runs. A figure that does not hold is in bold.\n";
    for (row, outcome) in known() {
        section(&mut text, row, outcome, &name);
    }
    fs::write(file, text).map_err(failed)
}

const INTRODUCTION: &str = "\
# *Mode dégradé* in real time

Made by `tests/run degradation --report docs/degradation.md`. The whole server runs with emulated
work, so that a machine of two cores can play a crowd without being busy: its jobs hold their turn at
the executor until they have taken as long as the table of the plant says, what they really do and the
way to their thread included: a full page 20 ms and its text alone 5 ms, on two workers: 100 full pages
a second, or 400 of the text alone. Eight origins in a process of their own answer after lognormal
times, each with so many places, and share a database. A third process asks for 60 pages a second (x1), or as many as the row says, as a crowd does: whether or not
it has got those before. A page's time counts from the moment when it was due.

**Value** is what readers got of the optional blocks, each weighted by what it is worth, of all there
could be; a late page and a snapshot are worth nothing. A **bad second** is one in which more than one
page of twenty took over 300 ms. A row passes when more than half of its runs hold everything. Row
`4off` is the control: the same with the controller off has to be bad, or the rig is wrong.

Row 17 alone has the costs of the table as they are and 120 pages a second at x1: its bound is a ratio of
two figures with chance in them, and comes from a plant of that size.

Under each row are the seconds that its runs lasted: warming up, calm, what happens, afterwards; and how busy
the machine was, the rig and whatever else it had to do: other programs ran beside most runs, at the
lowest priority there is. Runs of a row may be of builds some commits apart; what is named is the last.
";

fn summary<'r>(text: &mut String, known: impl Iterator<Item = (&'r Row, &'r Outcome)>) {
    *text += "\n| row | what happens | runs that hold | verdict | rig's share of the machine | measured |\n\
              |---|---|---|---|---|---|\n";
    for (row, outcome) in known {
        let busy = outcome
            .runs
            .iter()
            .map(|run| run.busy.0)
            .fold(0.0, f64::max);
        let verdict = if outcome.has_passed() {
            "passed"
        } else {
            "**failed**"
        };
        let short = match outcome.runs.iter().filter(|run| is_short(row, run)).count() {
            0 => String::new(),
            all if all == outcome.runs.len() => " (short)".to_owned(),
            some => format!(" ({some} short)"),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} | {verdict}{short} | {} | {}, {} |",
            row.name,
            row.title,
            outcome.passed(),
            outcome.runs.len(),
            Unit::Percent.show(busy),
            outcome.date,
            if outcome.commit.is_empty() {
                "–"
            } else {
                &outcome.commit
            }
        );
    }
}

/// Whether its phases were shorter than the row's own.
fn is_short(row: &Row, run: &Run) -> bool {
    run.phases != row.scene.phases
}

fn section(text: &mut String, row: &Row, outcome: &Outcome, name: &str) {
    let _ = write!(text, "\n### Row {}: {}\n\n", row.name, row.title);
    let heads = outcome.runs.iter().zip(1..).map(|(run, number)| {
        let short = if is_short(row, run) { ", short" } else { "" };
        format!(" run {number}{short} |")
    });
    let heads: String = heads.collect();
    let lines = "---|".repeat(outcome.runs.len());
    let _ = writeln!(text, "| | held to |{heads}\n|---|---|{lines}");
    let Some(first) = outcome.runs.first() else {
        return;
    };
    for (number, hold) in first.holds.iter().enumerate() {
        let _ = write!(text, "| {} | {} |", hold.what, bound(outcome, number));
        for run in &outcome.runs {
            let Some(hold) = run.holds.get(number) else {
                continue;
            };
            let (bold, own) = (
                if hold.holds { "" } else { "**" },
                own_bound(outcome, number, run),
            );
            let _ = write!(text, " {bold}{}{bold}{own} |", hold.measured);
        }
        *text += "\n";
    }
    let seeds: Vec<String> = outcome
        .runs
        .iter()
        .map(|run| run.seed.to_string())
        .collect();
    let each = |of: fn(&Run) -> String| {
        let all: Vec<String> = outcome.runs.iter().map(of).collect();
        all.join(", ")
    };
    let _ = writeln!(
        text,
        "\nOn {}. Seeds: {}. Seconds: {}. Machine busy: {}.",
        outcome.machine,
        seeds.join(", "),
        each(|run| {
            let Phases {
                warm,
                calm,
                event,
                after,
            } = run.phases;
            format!("{warm:.0}/{calm:.0}/{event:.0}/{after:.0}")
        }),
        each(|run| Unit::Percent.show(run.machine_busy)),
    );
    if row.is_drawn && drawn(outcome).is_some() {
        let _ = writeln!(text, "\n![Row {}]({name}/{})", row.name, graph(row));
    }
}

/// What all runs are held to; where each has a bound of its own, what they are relative to is told
/// with each.
fn bound(outcome: &Outcome, number: usize) -> String {
    let mut bounds = outcome
        .runs
        .iter()
        .filter_map(|run| Some(&run.holds.get(number)?.bound));
    let first = bounds.next().cloned().unwrap_or_default();
    if bounds.all(|bound| *bound == first) {
        first
    } else {
        "see each".to_owned()
    }
}

fn own_bound(outcome: &Outcome, number: usize, run: &Run) -> String {
    match bound(outcome, number).as_str() {
        "see each" => format!(" ({})", run.holds[number].bound),
        _ => String::new(),
    }
}

/// The run that is shown: the last that holds, or the last.
fn drawn(outcome: &Outcome) -> Option<&Run> {
    let holds = outcome.runs.iter().rev().find(|run| run.holds());
    holds.or(outcome.runs.last())
}

fn graph(row: &Row) -> String {
    format!("row-{}.svg", row.name)
}
