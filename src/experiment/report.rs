//! The report of an experiment, in Markdown. Owns its form: the verdict, what held and what did not, what
//! readers lost, and what happened when; pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::site::slo::percent;

use super::{Experiment, Outcome, Phase, Seen, Told, Verdict, judge, remarks};

/// The report.
pub fn markdown(experiment: &Experiment, told: &Told) -> String {
    let verdict = judge(experiment, told);
    let mut text = format!(
        "# Experiment: {}\n\n**{}**",
        experiment.title,
        verdict.says()
    );
    if let Outcome::Aborted(why) = &told.outcome {
        let _ = write!(text, " {why}");
    }
    for remark in remarks(told) {
        let _ = write!(text, "\n\n{remark}");
    }
    let _ = write!(text, "\n\nOwner: {}.", experiment.owner);
    if !experiment.about.trim().is_empty() {
        let _ = write!(text, " {}", experiment.about.trim());
    }
    text += "\n\n## What must hold\n\n| | before | during | after |\n|---|---|---|---|\n";
    for steady in &experiment.steady {
        let cell = |phase: &Phase| match told.phases.get(phase) {
            _ if !steady.phases.contains(phase) => "(not asked)".to_owned(),
            None => "(not reached)".to_owned(),
            Some(seen) => match steady.measured(seen) {
                None => "no pages".to_owned(),
                Some(share) if steady.holds(seen) => percent(share),
                Some(share) => format!("**{}**", percent(share)),
            },
        };
        let cells = Phase::ALL.iter().map(cell).collect::<Vec<_>>().join(" | ");
        let _ = writeln!(text, "| {steady} | {cells} |");
    }
    text += "\n## What readers lost\n\n";
    let nothing = Seen::default();
    let during = told.phases.get(&Phase::During).unwrap_or(&nothing);
    lost(&mut text, during);
    times(&mut text, told);
    match (verdict, told.recovered) {
        (Verdict::Unsteady, _) => {}
        (_, Some(took)) => {
            let _ = writeln!(
                text,
                "- The steady state held again {} after all was rolled back.",
                seconds(took)
            );
        }
        (_, None) => {
            text += "- The steady state did not hold again in time after all was rolled back.\n";
        }
    }
    if !told.left_behind.is_empty() {
        text += "\n## What could not be rolled back\n\n";
        for what in &told.left_behind {
            let _ = writeln!(text, "- {what}");
        }
    }
    text += "\n## What happened\n\n";
    for (at, what) in &told.timeline {
        let line = what.lines().next().unwrap_or_default();
        let _ = writeln!(text, "- {}: {line}", seconds(*at));
    }
    text
}

/// What readers did without.
fn lost(text: &mut String, seen: &Seen) {
    let asked = seen.asked();
    let of = |count: u64| match asked {
        0 => String::new(),
        asked => format!(" ({})", percent(count as f64 / asked as f64)),
    };
    let _ = writeln!(text, "Of {asked} pages:\n");
    let mut rows = Vec::new();
    let counts = [
        (seen.own.unanswered, "were not answered"),
        (
            seen.readers.unavailable,
            "were error pages, without their article",
        ),
        (seen.readers.snapshots, "were from their snapshot"),
        (
            seen.readers.degraded,
            "had blocks missing, or something in their place",
        ),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        rows.push(format!("{count}{} {what}", of(count)));
    }
    for (block, causes) in &seen.readers.lost {
        let count: u64 = causes.values().sum();
        let causes = causes
            .iter()
            .map(|(cause, count)| format!("{cause} {count}"));
        let causes = causes.collect::<Vec<_>>().join(", ");
        rows.push(format!(
            "{count}{} did not show {block} ({causes})",
            of(count)
        ));
    }
    if seen.readers.stand_ins > 0 {
        rows.push(format!(
            "{} blocks had something in their place",
            seen.readers.stand_ins
        ));
    }
    let value: f64 = seen.readers.value_lost.values().sum();
    if value > 0.0 {
        let all = value + seen.readers.value_served;
        rows.push(format!("{value:.6} of {all:.6} in value were lost"));
    }
    if rows.is_empty() {
        rows.push("nothing was missing from any".to_owned());
    }
    for row in rows {
        let _ = writeln!(text, "- {row}");
    }
}

fn times(text: &mut String, told: &Told) {
    let of = |seen: &Seen| seen.quantile_ms(0.5).zip(seen.quantile_ms(0.95));
    let before = told.phases.get(&Phase::Before).and_then(of);
    let during = told.phases.get(&Phase::During).and_then(of);
    if let (Some((p50, p95)), Some((then50, then95))) = (during, before) {
        let _ = writeln!(
            text,
            "- Half of the pages were there within {p50} ms ({then50} ms before), 95 of 100 within {p95} ms \
             ({then95} ms before)."
        );
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
