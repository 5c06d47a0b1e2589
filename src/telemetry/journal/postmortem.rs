//! A draft of the account of an incident, in Markdown, made of what the journal says: what happened, what
//! readers lost, what the server and its operators did. Owns the words; pure. What only people know is
//! left blank for them: causes, and what is to be done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::clock::Moment;
use crate::fragment::quantity::show_duration;

use super::entry::{Entry, Kind, What};
use super::summary::Summary;

/// Lines of the timeline; an incident of more is told by its first ones, and that there were more.
const LINES_MAX: usize = 200;

/// What was lost that is named, the most first.
const LOSSES_MAX: usize = 20;

/// The draft. `note` says what the journal does not know, if it does not know all of it.
pub fn draft(entries: &[Entry], since: Moment, until: Moment, note: Option<&str>) -> String {
    let told = Told::new(entries);
    let mut text = format!(
        "# Post-mortem: (title)\n\n\
         *A draft from the journal of marbre: numbers and times are as they were recorded, what is in \
         brackets is to be written by people.*\n\n\
         - From {since} to {until} ({})\n",
        span(until.since(since))
    );
    if let Some(note) = note {
        let _ = writeln!(text, "- Incomplete: {note}");
    }
    match told.trouble {
        None => text += "- All was well for all of this time.\n",
        Some((first, last)) => {
            let (first, last) = (moment(first), moment(last));
            let _ = writeln!(
                text,
                "- First sign of trouble {first}, last one {last} ({})",
                span(last.since(first))
            );
        }
    }
    text += "- Written by: (name)\n\n## Summary\n\n(What happened, in three sentences that a reader of the site would understand.)\n\n";
    impact(&mut text, &told);
    section(&mut text, "Timeline", entries, is_told);
    section(&mut text, "What the server did", entries, |entry| {
        matches!(entry.kind(), Kind::Level | Kind::Breaker | Kind::Origin)
    });
    section(&mut text, "What operators did", entries, |entry| {
        matches!(
            entry.kind(),
            Kind::Switch | Kind::Reload | Kind::Purge | Kind::Fault | Kind::Certificate
        )
    });
    text += "## Causes\n\n(What made it possible, and what set it off.)\n\n\
             ## What went well, and where we were lucky\n\n( )\n\n\
             ## Actions\n\n\
             | what | who | until when |\n|---|---|---|\n| ( ) | ( ) | ( ) |\n";
    text
}

/// What the tallies come to.
struct Told {
    sum: Summary,
    worst_p95_ms: Option<f64>,
    level_max: u8,
    /// When not all was well, in milliseconds since 1970.
    trouble: Option<(u64, u64)>,
    /// Blocks that were lost: how many, fragment, cause.
    lost: Vec<(u64, String, String)>,
}

impl Told {
    fn new(entries: &[Entry]) -> Self {
        let mut told = Self {
            sum: Summary::default(),
            worst_p95_ms: None,
            level_max: 0,
            trouble: None,
            lost: Vec::new(),
        };
        for entry in entries {
            if is_trouble(entry) {
                // a tally is about the time before it
                let span = tally(entry).map_or(0, |summary| ms(summary.span_s));
                let begun = entry.at_ms.saturating_sub(span);
                let (first, last) = told.trouble.unwrap_or((begun, entry.at_ms));
                told.trouble = Some((first.min(begun), last.max(entry.at_ms)));
            }
            if let Some(summary) = tally(entry) {
                told.sum.add(summary);
                told.level_max = told.level_max.max(summary.level);
                if summary.p95_ms > told.worst_p95_ms {
                    told.worst_p95_ms = summary.p95_ms;
                }
            }
            if let What::Level { to, dry_run, .. } = &entry.what
                && !dry_run
            {
                told.level_max = told.level_max.max(*to);
            }
        }
        for (name, causes) in &told.sum.lost {
            let rows = causes
                .iter()
                .map(|(cause, n)| (*n, name.clone(), cause.clone()));
            told.lost.extend(rows);
        }
        told.lost
            .sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        told
    }
}

fn impact(text: &mut String, told: &Told) {
    let sum = &told.sum;
    *text += "## Impact\n\n";
    if sum.pages == 0 {
        *text += "The journal knows of no page in this time.\n\n";
        return;
    }
    *text += "| readers got | pages | share |\n|---|---:|---:|\n";
    let other = sum.full + sum.degraded + sum.snapshots + sum.unavailable + sum.left;
    for (what, count) in [
        ("all pages", sum.pages),
        ("the full page", sum.full),
        ("a page with blocks missing or replaced", sum.degraded),
        ("the page as it was before (snapshot)", sum.snapshots),
        ("an error page", sum.unavailable),
        ("nothing to the end: they left", sum.left),
        (
            "redirects and pages that there are not",
            sum.pages.saturating_sub(other),
        ),
    ] {
        let _ = writeln!(text, "| {what} | {count} | {} |", share(count, sum.pages));
    }
    let lost: u64 = told.lost.iter().map(|(count, ..)| count).sum();
    let _ = writeln!(
        text,
        "\n{lost} blocks were left out; something stood in for {} more. The highest level was {}.",
        sum.stand_ins, told.level_max
    );
    let value: f64 = sum.value_lost.values().sum();
    let all = value + sum.value_served;
    let _ = match sum.value_served > 0.0 {
        true => writeln!(
            text,
            "Of the value of all pages, {}, {} was lost ({:.2} %), as blocks or as error pages.",
            amount(all),
            amount(value),
            100.0 * value / all
        ),
        // a journal of before this was counted
        false => writeln!(text, "Value lost: {}.", amount(value)),
    };
    if let Some(p95) = told.worst_p95_ms {
        let _ = writeln!(
            text,
            "In the worst moments 95 % of the pages took up to {p95} ms."
        );
    }
    if !told.lost.is_empty() {
        *text += "\n| block | cause | times |\n|---|---|---:|\n";
        for (count, name, cause) in told.lost.iter().take(LOSSES_MAX) {
            let _ = writeln!(text, "| {} | {} | {count} |", cell(name), cell(cause));
        }
        let more = told.lost.len().saturating_sub(LOSSES_MAX);
        if more > 0 {
            let _ = writeln!(text, "\n{more} more rows are in the journal.");
        }
    }
    if !sum.value_lost.is_empty() {
        *text += "\n| cause | value lost |\n|---|---:|\n";
        let by_cause: &BTreeMap<String, f64> = &sum.value_lost;
        for (cause, value) in by_cause {
            let _ = writeln!(text, "| {} | {} |", cell(cause), amount(*value));
        }
    }
    *text += "\n";
}

fn section(text: &mut String, title: &str, entries: &[Entry], is_in: impl Fn(&Entry) -> bool) {
    let _ = writeln!(text, "## {title}\n");
    let mut lines = entries.iter().filter(|entry| is_in(entry)).peekable();
    if lines.peek().is_none() {
        *text += "Nothing that the journal knows of.\n\n";
        return;
    }
    for entry in lines.by_ref().take(LINES_MAX) {
        let _ = writeln!(
            text,
            "- {} **{}** {}",
            entry.at,
            entry.kind(),
            line(&entry.says)
        );
    }
    let more = lines.count();
    if more > 0 {
        let _ = writeln!(text, "- and {more} more, which `marbre journal` prints");
    }
    *text += "\n";
}

/// Whether it belongs in the timeline: of the tallies those of bad times only.
fn is_told(entry: &Entry) -> bool {
    tally(entry).is_none_or(|summary| !summary.well)
}

fn tally(entry: &Entry) -> Option<&Summary> {
    match &entry.what {
        What::Tally(summary) => Some(summary),
        What::Start { .. }
        | What::Stop { .. }
        | What::Level { .. }
        | What::Breaker { .. }
        | What::Origin { .. }
        | What::Switch { .. }
        | What::Reload { .. }
        | What::Purge { .. }
        | What::Act { .. }
        | What::Refusal { .. }
        | What::Push { .. }
        | What::Fault { .. }
        | What::Certificate { .. }
        | What::Slo { .. }
        | What::Journal { .. }
        | What::Unknown => None,
    }
}

fn is_trouble(entry: &Entry) -> bool {
    match &entry.what {
        What::Tally(summary) => !summary.well,
        What::Level { to, dry_run, .. } => *to > 0 && !dry_run,
        What::Breaker { to, .. } => to == "open",
        What::Origin { good, .. } => !good,
        What::Start { after_crash, .. } => *after_crash,
        What::Slo { state, .. } => state != "recovered",
        What::Fault { trouble, .. } => trouble.is_some(),
        What::Certificate { refused } => *refused,
        What::Stop { .. }
        | What::Switch { .. }
        | What::Reload { .. }
        | What::Purge { .. }
        | What::Act { .. }
        | What::Refusal { .. }
        | What::Push { .. }
        | What::Journal { .. }
        | What::Unknown => false,
    }
}

fn share(count: u64, of: u64) -> String {
    // counts are far below 2^53
    format!("{:.2} %", 100.0 * count as f64 / of as f64)
}

/// An amount of value: in the site's own unit it may be far below one.
fn amount(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.6}").trim_end_matches('0').to_owned(),
    }
}

fn ms(seconds: f64) -> u64 {
    u64::try_from(
        Duration::try_from_secs_f64(seconds)
            .unwrap_or_default()
            .as_millis(),
    )
    .unwrap_or(u64::MAX)
}

fn moment(at_ms: u64) -> Moment {
    Moment::from_micros(at_ms.saturating_mul(1000))
}

/// To a second: nobody needs it finer.
fn span(span: Duration) -> String {
    show_duration(Duration::from_secs(span.as_secs()))
}

/// One line of Markdown, whatever was said.
fn line(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    text.replace('<', "&lt;")
        .replace('*', "\\*")
        .replace('`', "'")
}

fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::from_micros(1_764_156_000_000_000 + second * 1_000_000)
    }

    fn tally(second: u64, full: u64, degraded: u64) -> Entry {
        let lost = BTreeMap::from([(
            "video".to_owned(),
            BTreeMap::from([("open".to_owned(), degraded)]),
        )]);
        let summary = Summary {
            span_s: 10.0,
            pages: full + degraded,
            full,
            degraded,
            lost: if degraded > 0 { lost } else { BTreeMap::new() },
            value_served: 100.0 * full as f64 + 70.0 * degraded as f64,
            value_lost: BTreeMap::from([("open".to_owned(), 30.0 * degraded as f64)]),
            p95_ms: Some(100.0 + second as f64),
            well: degraded == 0,
            ..Summary::default()
        };
        Entry::new(at(second), &summary.says(), What::Tally(summary))
    }

    #[test]
    fn the_draft_adds_up_and_leaves_blank_what_only_people_know() {
        let fault = What::Fault {
            origin: "media".to_owned(),
            fault: None,
            trouble: Some("hang".to_owned()),
            how: None,
            pages: None,
            lasts_s: None,
            by: None,
            reason: None,
        };
        let entries = [
            tally(10, 50, 0),
            Entry::new(at(12), "media <b>hangs</b>\nnow", fault),
            tally(20, 30, 20),
            tally(30, 0, 50),
            tally(40, 50, 0),
        ];
        let text = draft(&entries, at(0), at(60), None);
        for line in [
            "| all pages | 200 | 100.00 % |",
            "| the full page | 130 | 65.00 % |",
            "| a page with blocks missing or replaced | 70 | 35.00 % |",
            "70 blocks were left out; something stood in for 0 more",
            "Of the value of all pages, 20000, 2100 was lost (10.50 %)",
            "| open | 2100 |",
            "| video | open | 70 |",
            "took up to 140 ms",
            "- 2025-11-26T11:20:12Z **fault** media &lt;b>hangs&lt;/b> now",
            "## Causes\n\n(",
            "## Actions",
            "First sign of trouble 2025-11-26T11:20:10Z, last one 2025-11-26T11:20:30Z (20s)",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("**tally** 50 pages in 10 s, all of them full"));
    }

    #[test]
    fn small_amounts_are_told_too() {
        let told = [0.0, 0.004, 0.25, 7.1234, 1234.5].map(amount);
        assert_eq!(told, ["0", "0.004", "0.25", "7.12", "1234"]);
    }

    #[test]
    fn a_calm_time_is_said_to_be_one() {
        let text = draft(&[], at(0), at(60), Some("older entries are gone"));
        assert!(text.contains("All was well"), "{text}");
        assert!(
            text.contains("- Incomplete: older entries are gone"),
            "{text}"
        );
        assert!(text.contains("knows of no page"), "{text}");
    }
}
