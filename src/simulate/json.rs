//! A run and a replay as JSON. Owns the keys, which say their units as those of `/state` do; percents are
//! 0 to 100, shares 0 to 1. Numbers are rounded, so that they are the same on every machine.

use serde_json::{Map, Value, json};

use super::replay::text::rows;
use super::{Replay, Run, Scenario, Summary, levels};

pub(super) fn of_run(scenario: &Scenario, seed: u64, run: &Run) -> Value {
    let (from, to) = scenario.event;
    rounded(json!({
        "scenario": scenario.name,
        "about": scenario.about,
        "control": scenario.degradation.control.name(),
        "seed": seed,
        "lasts_s": scenario.lasts.as_secs_f64(),
        "event_from_s": from.as_secs_f64(),
        "event_to_s": to.as_secs_f64(),
        "target_ms": scenario.degradation.target.as_secs_f64() * 1e3,
        "steps": scenario.steps,
        "ok": run.broken.is_empty(),
        "broken": run.broken,
        "summary": summary(&run.summary),
        "levels": levels::rows(scenario, run),
    }))
}

pub(super) fn of_replay(name: &str, replay: &Replay) -> Value {
    let otherwise = replay.otherwise.iter().map(|spell| {
        let most = &spell.widest;
        json!({
            "from_s": spell.from_s,
            "to_s": spell.to_s,
            "ticks": spell.ticks,
            "most_at_s": most.at_s,
            "theta": most.theta,
            "admit": most.admit,
            "was_theta": most.was_theta,
            "was_admit": most.was_admit,
        })
    });
    rounded(json!({
        "trace": name,
        "control": replay.law,
        "lasts_s": replay.lasts_s(),
        "ticks": replay.ticks(),
        "ticks_otherwise": replay.ticks_otherwise(),
        "otherwise": otherwise.collect::<Vec<_>>(),
        "levels": rows(replay),
    }))
}

fn summary(summary: &Summary) -> Value {
    let Summary {
        pages,
        unanswered,
        without_core,
        bad_seconds,
        slowest_ms,
        worst_second_p99_ms,
        p50_ms,
        p95_ms,
        p99_ms,
        in_target,
        fresh_core,
        snapshots,
        value,
        goodput,
        utility,
        kept,
        prefix,
        skipped,
        shares,
        wasted,
        flips,
        swings,
        breaker_moves,
        theta_least,
        admit_least,
        phi_least,
        descends_s,
        recovers_s,
        is_full_at_end,
    } = summary;
    let shown = shares.iter();
    let shown: Map<_, _> = shown
        .map(|(block, percent)| (block.clone(), json!(percent)))
        .collect();
    json!({
        "pages": count(*pages),
        "unanswered": count(*unanswered),
        "without_core": count(*without_core),
        "bad_seconds": count(*bad_seconds),
        "slowest_ms": slowest_ms,
        "worst_second_p99_ms": worst_second_p99_ms,
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
        "p99_ms": p99_ms,
        "in_target_percent": in_target,
        "fresh_core_percent": fresh_core,
        "snapshots_percent": snapshots,
        "value_percent": value,
        "goodput_percent": goodput,
        "utility": utility,
        "kept_percent": kept,
        "prefix_percent": prefix,
        "skipped_percent": skipped,
        "shown_percent": shown,
        "wasted_per_page": wasted,
        "flips_per_page": flips,
        "swings_per_min": swings,
        "breaker_moves": count(*breaker_moves),
        "theta_least": theta_least,
        "admit_least": admit_least,
        "phi_least": phi_least,
        "descends_s": descends_s,
        "recovers_s": recovers_s,
        "full_at_end": is_full_at_end,
    })
}

/// A number of things.
fn count(number: f64) -> u64 {
    number as u64
}

/// To the fourth digit after the point.
fn rounded(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(values) => {
            let values = values.into_iter();
            values.map(|(key, value)| (key, rounded(value))).collect()
        }
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            json!((number * 1e4).round() / 1e4)
        }
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => value,
    }
}
