//! The tables and graphs of `docs/simulation.md`, made of runs. Owns which row and which column is which
//! run; the words around them are written by people.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use marbre::simulate::{self, Control, Scenario, Summary};

/// The scenarios whose graphs are shown.
const GRAPHS: [&str; 4] = ["db3", "flash5", "flash5_ladder_fast", "users"];

/// Who else could decide, in the order of the columns.
const DECIDE: [&str; 4] = ["work-rate", "ladder-p95", "ladder-p95-fast", "none"];

/// How a table begins.
const FIGURES: &str = "| scenario | utility | value % |";
const RIVALS: &str = "| scenario | work_rate | ladder-p95 |";

fn docs(name: &str) -> PathBuf {
    super::root().join("docs").join(name)
}

/// Sets the rows of the tables that begin like this, the first of them, the second and so on, to what `row`
/// makes of a table's number and a row's cells.
fn rewritten(text: &str, head: &str, row: impl Fn(usize, &[&str]) -> Vec<String>) -> String {
    let (mut lines, mut table, mut is_within) = (Vec::new(), 0, false);
    for line in text.lines() {
        let is_head = line.starts_with(head);
        if is_within && !line.starts_with('|') {
            (is_within, table) = (false, table + 1);
        }
        let is_row = is_within && !line.starts_with("|--");
        is_within |= is_head;
        if !is_row {
            lines.push(line.to_owned());
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        lines.push(format!("| {} |", row(table, &cells).join(" | ")));
    }
    lines.join("\n") + "\n"
}

/// To so many digits, without those that say nothing.
fn short(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What stands in the columns of the first table for this build.
fn figures(summary: &Summary) -> [String; 7] {
    [
        format!("{:.3}", summary.utility),
        format!("{:.0}", summary.value),
        short(summary.fresh_core, 1),
        short(summary.snapshots, 1),
        format!("{:.0}", summary.p95_ms),
        format!("{:.0}", summary.bad_seconds),
        summary
            .recovers_s
            .map_or_else(|| "–".to_owned(), |s| format!("{s:.0}")),
    ]
}

/// Holds the first table against runs of all scenarios, or writes it.
pub(crate) fn check_figures(runs: &BTreeMap<String, Summary>, is_rewritten: bool) {
    let path = docs("simulation.md");
    let text = fs::read_to_string(&path).unwrap();
    let made = rewritten(&text, FIGURES, |_, cells| {
        let mut cells = cells.iter();
        let name = cells.next().unwrap().to_string();
        let summary = runs
            .get(&name)
            .unwrap_or_else(|| panic!("no scenario {name}"));
        let figures = figures(summary).into_iter().zip(cells);
        let beside = |(mine, cell): (String, &&str)| match cell.split_once(" / ") {
            Some((_, simulated)) => format!("{mine} / {simulated}"),
            None => panic!("{name}: what is after the stroke in `{cell}`?"),
        };
        std::iter::once(name.clone())
            .chain(figures.map(beside))
            .collect()
    });
    if is_rewritten {
        fs::write(&path, &made).unwrap();
        return;
    }
    let differs = made.lines().zip(text.lines()).find(|(made, is)| made != is);
    assert!(
        differs.is_none(),
        "docs/simulation.md has other figures than the runs: {differs:#?}\n\
         MARBRE_REWRITE=1 cargo test --test law writes them anew"
    );
}

fn scenario(name: &str) -> Scenario {
    let file = format!("{name}.toml");
    let text = fs::read_to_string(super::folder().join(&file)).unwrap();
    super::read(&file, &text)
}

/// The first cells of the rows of the tables that begin like this.
fn names(text: &str, head: &str) -> Vec<String> {
    let names = Mutex::new(Vec::new());
    rewritten(text, head, |table, cells| {
        if table == 0 {
            names.lock().unwrap().push(cells[0].to_owned());
        }
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    });
    names.into_inner().unwrap()
}

#[test]
#[ignore = "two hundred runs: by hand, after a change of the law"]
fn the_tables_of_who_else_could_decide_are_what_runs_come_to() {
    let (path, start) = (docs("simulation.md"), super::now());
    let text = fs::read_to_string(&path).unwrap();
    let names = names(&text, RIVALS);
    let (last, names) = names.split_last().unwrap();
    assert_eq!((last.as_str(), names.len()), ("mean, sum", 23));
    // of each table, scenario and column: utility and bad seconds
    let got = Mutex::new(BTreeMap::new());
    super::each(2 * names.len() * DECIDE.len(), |index| {
        let (table, rest) = (
            index / (names.len() * DECIDE.len()),
            index % (names.len() * DECIDE.len()),
        );
        let (name, column) = (&names[rest / DECIDE.len()], rest % DECIDE.len());
        let mut scenario = match table {
            0 => scenario(name),
            _ => scenario(name).bare(),
        };
        let workers = scenario.composer.workers;
        scenario.degradation.control = Control::called(DECIDE[column], workers).unwrap();
        let summary = simulate::run(&scenario, scenario.seed, start).summary;
        let cell = (summary.utility, summary.bad_seconds);
        got.lock()
            .unwrap()
            .insert((table, name.clone(), column), cell);
        Ok(())
    });
    let got = got.into_inner().unwrap();
    let shown = |(utility, bad): (f64, f64)| format!("{utility:.3}, {bad:.0} s");
    // it may have been written to meanwhile
    let text = fs::read_to_string(&path).unwrap();
    let made = rewritten(&text, RIVALS, |table, cells| {
        let name = cells[0];
        let of = |column: usize| match name {
            "mean, sum" => {
                let all = names.iter().map(|name| got[&(table, name.clone(), column)]);
                let sum = all.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                shown((sum.0 / names.len() as f64, sum.1))
            }
            _ => shown(got[&(table, name.to_owned(), column)]),
        };
        let columns = (0..DECIDE.len()).map(of);
        std::iter::once(name.to_owned()).chain(columns).collect()
    });
    if super::rewrites() {
        fs::write(&path, &made).unwrap();
        for name in GRAPHS {
            let scenario = scenario(name);
            let run = simulate::run(&scenario, scenario.seed, start);
            let graph = simulate::run_plot(&scenario, &run);
            fs::write(docs("simulation").join(format!("{name}.svg")), graph).unwrap();
        }
        return;
    }
    let differs = made.lines().zip(text.lines()).find(|(made, is)| made != is);
    assert!(
        differs.is_none(),
        "docs/simulation.md has other figures than the runs: {differs:#?}\n\
         MARBRE_REWRITE=1 cargo test --test law -- --ignored writes them anew"
    );
}
