//! What changed of `[degradation]`. Owns these lines; a token is said to have changed, never shown.

use std::time::Duration;

use super::{Changes, Lines, show_duration};
use crate::config::file::Tunable;
use crate::degradation::law::{Knob, Unit, work_rate};
use crate::site::{DegradationSpec, LawSpec, Site};

pub(super) fn degradation(old: &Site, new: &Site, lines: &mut Lines) {
    let mut out = Changes(Vec::new());
    let (a, b) = (&old.degradation, &new.degradation);
    out.value("mode", a.mode, b.mode);
    let target = |spec: &DegradationSpec| {
        let target = spec.target.map(show_duration);
        target.unwrap_or_else(|| "each page's budget".to_owned())
    };
    out.value("target", target(a), target(b));
    out.time("margin", a.margin, b.margin);
    law(&a.law, &b.law, &mut out);
    let cookie = |spec: &DegradationSpec| {
        let cookie = spec.reader_cookie.clone();
        cookie.unwrap_or_else(|| "none".to_owned())
    };
    out.value("reader_cookie", cookie(a), cookie(b));
    let header = |spec: &DegradationSpec| match &spec.reader_header {
        Some(header) => header.to_string(),
        None => "none".to_owned(),
    };
    out.value("reader_header", header(a), header(b));
    out.value("ladder", ladder(old), ladder(new));
    out.value("save_data", a.save_data, b.save_data);
    out.flag("rehearse_token", &a.rehearse_token, &b.rehearse_token);
    let workers = |spec: &DegradationSpec| match spec.workers {
        Some(workers) => workers.to_string(),
        None => "as many as cores".to_owned(),
    };
    if a.workers != b.workers {
        let (a, b) = (workers(a), workers(b));
        out.value("workers", a, format!("{b}, from the next start on"));
    }
    out.time("wait_max", a.wait_max, b.wait_max);
    lines.add("degradation", out);
}

fn law(old: &LawSpec, new: &LawSpec, out: &mut Changes) {
    out.value("law", old.label(), new.label());
    match (old, new) {
        (LawSpec::WorkRate { constants: a, .. }, LawSpec::WorkRate { constants: b, .. }) => {
            out.value("work_rate.rate_max", rate_max(old), rate_max(new));
            let knobs = work_rate::Constants::KNOBS.iter();
            constants(knobs.filter(|knob| knob.key != "rate_max"), &**a, &**b, out);
        }
        (LawSpec::Aimd(a), LawSpec::Aimd(b)) => constants(Tunable::KNOBS.iter(), a, b, out),
        (LawSpec::WorkRate { .. }, LawSpec::Aimd(_))
        | (LawSpec::Aimd(_), LawSpec::WorkRate { .. }) => {}
    }
}

fn rate_max(law: &LawSpec) -> String {
    match law {
        LawSpec::WorkRate {
            constants,
            rate_by_cores: false,
        } => constants.rate_max.to_string(),
        LawSpec::WorkRate { .. } | LawSpec::Aimd(_) => "by the cores".to_owned(),
    }
}

fn constants<'k, L: Tunable>(
    knobs: impl Iterator<Item = &'k Knob<L>>,
    old: &L,
    new: &L,
    out: &mut Changes,
) {
    for knob in knobs {
        let shown = |constants: &L| match knob.unit {
            Unit::Time => show_duration(Duration::from_secs_f64((knob.get)(constants))),
            Unit::Ratio | Unit::PerSecond | Unit::Work => (knob.get)(constants).to_string(),
        };
        let what = format!("{}.{}", L::TABLE, knob.key);
        out.value(&what, shown(old), shown(new));
    }
}

fn ladder(site: &Site) -> String {
    let steps = site.ladder.steps().iter().map(|step| {
        let blocks = step.blocks.iter();
        let blocks = blocks.map(|id| site.fragment(*id).name.as_str());
        let blocks = blocks.collect::<Vec<_>>().join(", ");
        match blocks == step.name {
            true => blocks,
            false => format!("{} ({blocks})", step.name),
        }
    });
    let steps = steps.collect::<Vec<_>>().join(" > ");
    if steps.is_empty() {
        return "none".to_owned();
    }
    steps
}
