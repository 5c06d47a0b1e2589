//! What a soak with faults has come to, in Markdown: a line for each stretch of time, and what was promised
//! against what was seen.
//!
//! | what | flat means |
//! |---|---|
//! | memory (RSS) | over the last half, the line through the samples climbs by less than [`CLIMB_MAX`] of their mean |
//! | descriptors, threads, tasks | the most of the last quarter is not above the most of the quarter before by more than [`SPREAD`]; at rest there are not so many more than before the first reader |
//! | state folder | never above its limit by more than [`FOLDER_SPARE`] |

use std::fmt::Write as _;

use crate::figures::{CLIMB_MAX, FOLDER_SPARE, MIB, SPREAD, climb, most, percentile};
use crate::of;
use crate::server::Sample;
use crate::site::{BUDGET_MS, STATE_BYTES};

use super::{GRACE, Told, row};

/// Seconds of one line, unless the whole soak is shorter than three of them.
const STRETCH: usize = 600;

/// The report, and whether all was well.
pub(super) fn markdown(told: &Told) -> (String, bool) {
    let mut text = String::new();
    let Told {
        minutes,
        seed,
        done,
        ..
    } = told;
    let store = match told.has_store {
        true => format!("was gone {} times", of(&done.store_gone)),
        false => "there was none".to_owned(),
    };
    writeln!(
        text,
        "marbre {}, a release build, for {minutes} minutes; MARBRE_SEED={seed}. {} faults were set, sites reloaded \
         {} times, {} purges, {} pushes, {} switches; {} readers have hung up; the shared store {store}.\n",
        env!("CARGO_PKG_VERSION"),
        of(&done.faults),
        of(&done.reloads),
        of(&done.purges),
        of(&done.pushes),
        of(&done.switches),
        of(&told.seen.left),
    )
    .unwrap();
    stretches(told, &mut text);
    let is_well = verdict(told, &mut text);
    for example in told.seen.examples.lock().iter() {
        writeln!(text, "\nwrong: {example}").unwrap();
    }
    let says = match is_well {
        true => "Flat, and every promise was kept.",
        false => "**Failed.**",
    };
    writeln!(text, "\n{says}").unwrap();
    (text, is_well)
}

fn stretches(told: &Told, text: &mut String) {
    text.push_str(
        "| minutes | pages | 503, never seen | p50 ms | p99 ms | longest ms | memory MiB | descriptors | tasks | \
         threads | of a core | faults |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let samples = &told.samples;
    let (took, unseen) = (told.seen.took_ms.lock(), told.seen.unseen_by.lock());
    let long = STRETCH.min(samples.len() / 3).max(1);
    for begin in (0..samples.len()).step_by(long) {
        let end = (begin + long).min(samples.len());
        let (first, last) = (&samples[begin], &samples[end - 1]);
        let within = &samples[begin..end];
        let mut pages: Vec<f64> = took[begin..end].concat();
        pages.sort_by(f64::total_cmp);
        let mut rss: Vec<f64> = within.iter().map(|sample| sample.rss).collect();
        rss.sort_by(f64::total_cmp);
        let seconds = (end - begin).saturating_sub(1).max(1) as f64;
        row(
            text,
            &[
                format!("{:.0} to {:.0}", begin as f64 / 60.0, end as f64 / 60.0),
                (last.pages - first.pages).to_string(),
                (unseen[end - 1] - unseen[begin]).to_string(),
                format!("{:.1}", percentile(&pages, 50.0)),
                format!("{:.0}", percentile(&pages, 99.0)),
                format!("{:.0}", percentile(&pages, 100.0)),
                format!("{:.1}", percentile(&rss, 50.0)),
                format!("{:.0}", most(within, |sample| sample.descriptors)),
                format!("{:.0}", most(within, |sample| sample.tasks)),
                format!("{:.0}", most(within, |sample| sample.threads)),
                format!("{:.1} %", (last.cpu - first.cpu) / seconds * 100.0),
                (told.faults[end - 1] - told.faults[begin]).to_string(),
            ],
        );
    }
    text.push('\n');
}

fn verdict(told: &Told, text: &mut String) -> bool {
    text.push_str("| what | seen | bound | |\n|---|---|---|---|\n");
    let mut is_well = true;
    let mut judge = |what: &str, seen: String, bound: String, ok: bool| {
        is_well &= ok;
        let so = if ok { "ok" } else { "FAILED" };
        row(text, &[what.to_owned(), seen, bound, so.to_owned()]);
    };
    let (seen, samples) = (&told.seen, &told.samples);
    let quarter = samples.len() / 4;
    let half: Vec<f64> = samples[2 * quarter..].iter().map(|s| s.rss).collect();
    let mean = half.iter().sum::<f64>() / half.len() as f64;
    let climbs = climb(&half) / mean;
    judge(
        "memory, climb over the last half",
        format!("{:+.1} % of {mean:.1} MiB", climbs * 100.0),
        format!("{:.0} %", CLIMB_MAX * 100.0),
        climbs < CLIMB_MAX,
    );
    let (before, last) = (&samples[2 * quarter..3 * quarter], &samples[3 * quarter..]);
    type Read = fn(&Sample) -> f64;
    let each: [(&str, Read); 3] = [
        ("descriptors", |sample| sample.descriptors),
        ("threads", |sample| sample.threads),
        ("tasks", |sample| sample.tasks),
    ];
    for (what, read) in each {
        let (then, now) = (most(before, read), most(last, read));
        judge(
            &format!("{what}, last quarter"),
            format!("most {then}, then {now}"),
            format!("+{SPREAD}"),
            now <= then + SPREAD,
        );
        let [idle, rested] = told.idle.each_ref().map(read);
        judge(
            &format!("{what}, at rest"),
            format!("{idle} before, {rested} after"),
            format!("+{SPREAD}"),
            rested <= idle + SPREAD,
        );
    }
    let folder = samples.iter().map(|sample| sample.folder).max();
    let (folder, folder_max) = (folder.unwrap_or_default(), STATE_BYTES + FOLDER_SPARE);
    judge(
        "state folder",
        format!("{:.1} MiB", folder as f64 / MIB),
        format!("{:.1} MiB", folder_max as f64 / MIB),
        folder <= folder_max,
    );
    let whole = of(&seen.whole);
    judge(
        "whole pages",
        whole.to_string(),
        "> 0".to_owned(),
        whole > 0,
    );
    let overdue = format!("pages over {} s + {} s", BUDGET_MS / 1000, GRACE.as_secs());
    for (what, count) in [
        ("pages that were seen, and then an error page", &seen.lost),
        ("pages that are not whole, or have no core", &seen.torn),
        (&overdue, &seen.overdue),
        ("requests without an answer", &seen.unanswered),
        ("other statuses", &seen.other),
        ("refused by the admin API", &told.done.refused),
    ] {
        let count = of(count);
        judge(what, count.to_string(), "0".to_owned(), count == 0);
    }
    let panics = told.panics;
    judge("panics", panics.to_string(), "0".to_owned(), panics == 0);
    judge(
        "runs to the end",
        told.runs.to_string(),
        "true".to_owned(),
        told.runs,
    );
    is_well
}
