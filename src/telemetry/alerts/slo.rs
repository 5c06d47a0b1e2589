//! Rules for the objectives of a site. Owns when their burn calls somebody, and what is said then; pure.
//!
//! The windows and rates are those by which the server itself tells of a burn: [`RULES`]. Several servers
//! are one here: their counts are added up.

use std::fmt::Write as _;
use std::time::Duration;

use crate::fragment::quantity::show_duration;
use crate::site::{Promise, SloSpec};
use crate::telemetry::slo::burn::{FEW, RULES, Rule, WINDOWS};

use super::{Alert, Metric, quoted, total};

/// The share that was missed, by window, which dashboards ask for too.
pub(super) fn recordings(text: &mut String) {
    let (missed, measured) = (total(Metric::SloMissed), total(Metric::SloMeasured));
    *text += "  - name: marbre-slo-recordings\n    rules:\n";
    for (_, window) in WINDOWS {
        let expression = format!(
            "sum by (slo) (rate({missed}[{window}])) / sum by (slo) (rate({measured}[{window}]))"
        );
        let _ = writeln!(text, "      - record: {}", recorded(window));
        let _ = writeln!(text, "        expr: {}", quoted(&expression));
    }
}

fn recorded(window: &str) -> String {
    format!("marbre:slo_missed:ratio_{window}")
}

/// What calls somebody for an objective: at once, and in the morning. A rule that no burn can reach, as
/// the objective is too low for it, is left out.
pub(super) fn of_slo(slo: &SloSpec) -> Vec<Alert> {
    let reachable = |rule: &&Rule| rule.share(slo.allowed()) < 1.0;
    let of = |severity: &str| -> Vec<&Rule> {
        let rules = RULES.iter().filter(reachable);
        rules.filter(|rule| rule.severity == severity).collect()
    };
    let mut alerts = Vec::new();
    if let rules @ [.., slowest] = &of("page")[..] {
        let lasts = slo.period.div_f64(slowest.rate);
        alerts.push(Alert {
            name: "MarbreSloBurnsFast",
            lasts: "1m",
            severity: "page",
            summary: format!(
                "Objective {} is being missed so often that its error budget would not last {}",
                slo.name,
                rounded(lasts)
            ),
            ..alert(slo, rules)
        });
    }
    if let rules @ [_, ..] = &of("ticket")[..] {
        alerts.push(Alert {
            name: "MarbreSloBurnsSlowly",
            lasts: "15m",
            severity: "ticket",
            summary: format!(
                "Objective {} has been missed more often than it may be, for days",
                slo.name
            ),
            ..alert(slo, rules)
        });
    }
    alerts
}

/// Hours or days, whole ones.
fn rounded(time: Duration) -> String {
    let hours = time.as_secs().div_ceil(3600);
    match hours {
        0..48 => format!("{hours} hours"),
        _ => format!("{} days", hours.div_ceil(24)),
    }
}

fn alert(slo: &SloSpec, rules: &[&Rule]) -> Alert {
    let each = rules.iter().map(|rule| format!("({})", holds(slo, rule)));
    Alert {
        name: "",
        expression: each.collect::<Vec<_>>().join(" or "),
        lasts: "",
        severity: "",
        labels: vec![("slo", slo.name.clone())],
        summary: String::new(),
        lost: lost(slo),
        action: action(slo),
    }
}

fn holds(slo: &SloSpec, rule: &Rule) -> String {
    let name = quoted(&slo.name);
    let share = format!("{:.8}", rule.share(slo.allowed()));
    let share = share.trim_end_matches('0');
    let [long, short] = [rule.long, rule.short].map(|window| WINDOWS[window].1);
    let pages = total(Metric::SloMissedPages);
    format!(
        "{}{{slo={name}}} > {share} and {}{{slo={name}}} > {share} \
         and sum by (slo) (increase({pages}{{slo={name}}}[{long}])) >= {FEW}",
        recorded(long),
        recorded(short),
    )
}

fn lost(slo: &SloSpec) -> String {
    let pages = slo.pages.iter().map(String::as_str);
    let of = match slo.pages.is_empty() {
        true => "all pages".to_owned(),
        false => format!("page {}", pages.collect::<Vec<_>>().join(", page ")),
    };
    let what = match slo.promise {
        Promise::Value => "Blocks are left out, and what they are worth with them".to_owned(),
        Promise::Pages(good) => {
            let mut ways = Vec::from(["are error pages".to_owned()]);
            if let Some(within) = good.within {
                ways.push(format!("come later than {}", show_duration(within)));
            }
            if good.is_complete {
                ways.push("lack blocks".to_owned());
            }
            if let Some(stale) = good.stale_max {
                ways.push(format!("show copies older than {}", show_duration(stale)));
            }
            format!("Too many pages {}", ways.join(", or "))
        }
    };
    let percent = crate::site::slo::percent(slo.objective);
    format!(
        "{what}. Promised of {of}: {percent} {}, over {}.",
        slo.promise,
        show_duration(slo.period)
    )
}

fn action(slo: &SloSpec) -> String {
    let first = match slo.promise {
        Promise::Value => {
            "See which blocks are left out, and whether load or a sick origin is the cause (its owner is called too): more servers for the one, `marbre switch off BLOCK --owner WHO --reason WHY` for the other."
        }
        Promise::Pages(good) if good.within.is_some() => {
            "See whether the level is up: then there is more to do than these servers can, add some. Otherwise a core's or essential block's origin is slow (its owner is called too)."
        }
        Promise::Pages(good) if good.is_complete => {
            "See which blocks are missing and why. A sick origin's owner is called too; where the level is up, more servers are needed. A block that will not be back soon is switched off: `marbre switch off BLOCK --owner WHO --reason WHY`."
        }
        Promise::Pages(good) if good.stale_max.is_some() => {
            "See which origin has not answered for so long: its last good copies are shown. Its owner is called too."
        }
        Promise::Pages(_) => {
            "See which origin of a core is sick (its owner is called too), and whether state_dir has been lost: it holds the copies that would be shown instead."
        }
    };
    format!(
        "{first} `marbre journal --since 6h` tells what has happened. Until it is over, deploy nothing else."
    )
}
