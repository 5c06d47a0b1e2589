//! Several runs side by side, as a table in Markdown. Owns its columns.

use std::fmt::Write as _;

use super::Run;
use super::scenario::Scenario;
use super::summary::Summary;

/// A column: its heading, and what stands in it.
type Column = (&'static str, fn(&Summary) -> String);

const COLUMNS: [Column; 15] = [
    ("utility", |s| format!("{:.3}", s.utility)),
    ("in target %", |s| format!("{:.1}", s.in_target)),
    ("fresh article %", |s| format!("{:.1}", s.fresh_core)),
    ("snapshots %", |s| format!("{:.1}", s.snapshots)),
    ("value %", |s| format!("{:.0}", s.value)),
    ("p50 ms", |s| format!("{:.0}", s.p50_ms)),
    ("p95 ms", |s| format!("{:.0}", s.p95_ms)),
    ("worst 1 s p99 ms", |s| {
        format!("{:.0}", s.worst_second_p99_ms)
    }),
    ("bad s", |s| format!("{:.0}", s.bad_seconds)),
    ("theta low after s", |s| some(s.descends_s, 1)),
    ("back after s", |s| some(s.recovers_s, 0)),
    ("swings/min", |s| format!("{:.1}", s.swings)),
    ("breaker moves", |s| format!("{:.0}", s.breaker_moves)),
    ("kept %", |s| some(s.kept, 0)),
    ("in order %", |s| some(s.prefix, 1)),
];

/// The table of these runs.
pub fn table<'r>(runs: impl IntoIterator<Item = (&'r Scenario, &'r Run)>) -> String {
    let mut text = String::from("| scenario |");
    for (heading, _) in COLUMNS {
        let _ = write!(text, " {heading} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(COLUMNS.len()));
    for (scenario, run) in runs {
        let _ = write!(text, "\n| {} |", scenario.name);
        for (_, of) in COLUMNS {
            let _ = write!(text, " {} |", of(&run.summary));
        }
    }
    text.push('\n');
    text
}

fn some(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
