//! A run as text: each change of the level on a line, and the figures. Owns the layout, which is also
//! that of the golden files: figures are rounded so that they are the same on every machine.

use std::fmt::Write as _;

use super::Run;
use super::levels;
use super::scenario::Scenario;
use super::summary::Summary;

/// The trace of a run.
pub fn trace(scenario: &Scenario, run: &Run) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(&format!("{}: {}", scenario.name, scenario.about));
    line("");
    line("     at  level  theta  admit    phi  pages/s  waits ms  because");
    for said in lines(scenario, run) {
        line(&said);
    }
    line("");
    for (name, value) in figures(&run.summary) {
        line(&format!("{name:>23}  {value}"));
    }
    for broken in &run.broken {
        line(&format!("broken: {broken}"));
    }
    text
}

/// A line for each second in which the level is another than in the last line.
fn lines(scenario: &Scenario, run: &Run) -> impl Iterator<Item = String> {
    let steps = scenario.steps;
    let rows = levels::changes(levels::rows(scenario, run)).into_iter();
    rows.map(move |row| {
        format!(
            "{:6.0}s  {:>5}  {:5.2}  {:5.2}  {:5.2}  {:7.0}  {:8.0}  {}",
            row.at_s,
            level_name(row.level, steps),
            row.theta,
            row.admit,
            row.phi,
            row.arrivals_per_s,
            row.queue_delay_ms,
            row.reason,
        )
    })
}

/// What people call a level.
pub(super) fn level_name(level: u8, steps: usize) -> String {
    match usize::from(level) {
        level if level > steps => "snap".to_owned(),
        level => level.to_string(),
    }
}

/// The figures, each with its name and its unit.
fn figures(summary: &Summary) -> Vec<(&'static str, String)> {
    let s = summary;
    let some = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    };
    let shares: Vec<String> = s
        .shares
        .iter()
        .map(|(name, share)| format!("{name} {share:.0}"))
        .collect();
    vec![
        (
            "pages",
            format!("{:.0}, {:.0} unanswered", s.pages, s.unanswered),
        ),
        ("bad seconds", format!("{:.0}", s.bad_seconds)),
        (
            "p50, p95, p99",
            format!("{:.0}, {:.0}, {:.0} ms", s.p50_ms, s.p95_ms, s.p99_ms),
        ),
        (
            "worst second's p99",
            format!("{:.0} ms", s.worst_second_p99_ms),
        ),
        ("slowest", format!("{:.0} ms", s.slowest_ms)),
        ("within target", format!("{:.1} %", s.in_target)),
        ("fresh article", format!("{:.1} %", s.fresh_core)),
        ("snapshots", format!("{:.1} %", s.snapshots)),
        ("value", format!("{:.1} %", s.value)),
        ("utility", format!("{:.3}", s.utility)),
        ("kept beside faults", format!("{} %", some(s.kept, 1))),
        ("in order", format!("{} %", some(s.prefix, 1))),
        ("skipped by level", format!("{:.1} %", s.skipped)),
        ("late answers", format!("{:.2} a page", s.wasted)),
        ("blocks that flip", format!("{:.2} a page", s.flips)),
        ("swings of theta", format!("{:.1} a minute", s.swings)),
        ("breaker moves", format!("{:.0}", s.breaker_moves)),
        (
            "least theta, admit, phi",
            format!(
                "{:.2}, {:.2}, {:.2}",
                s.theta_least, s.admit_least, s.phi_least
            ),
        ),
        ("theta low after", format!("{} s", some(s.descends_s, 1))),
        ("value back after", format!("{} s", some(s.recovers_s, 1))),
        ("full at the end", s.is_full_at_end.to_string()),
        ("shown", format!("{} %", shares.join(", "))),
    ]
}
