//! Graphs of a run and of a replay, as SVG: load, page times, queue delay, what the law says, and the
//! level, one under the other, with what goes wrong as shaded spans. Owns what is shown; pure.

use super::meter::Meter;
use super::replay::Played;
use super::scenario::{FaultKind, Scenario, With};
use super::summary::quantile;
use super::text::level_name;
use super::time::Span;
use super::{Replay, Run};

use svg::{BLUE, Chart, GREEN, GREY, INK, Line, ORANGE, Panel, SPAN, Shade};

mod svg;

/// Page times beyond so many times the target leave through the top: one that hangs would make all the
/// others flat.
const SLOWEST: f64 = 5.0;

pub(super) fn of_run(scenario: &Scenario, run: &Run) -> String {
    let lasts_s = scenario.lasts.as_secs_f64();
    let ticks = &run.meter.ticks;
    let by_tick = |of: &dyn Fn(&super::governor::Tick) -> f64| {
        means(ticks, &|ticked| {
            (ticked.tick.at.seconds(), of(&ticked.tick))
        })
    };
    let wide = second(lasts_s);
    let load = by_time(lasts_s, wide, &|buckets| {
        for ticked in ticks {
            let at = ticked.tick.at.seconds() - 1e-6;
            buckets[bucket(at, wide, buckets.len())] += f64::from(ticked.tick.sample.arrivals);
        }
    });
    let p95 = p95(&run.meter, lasts_s, wide);
    let target = scenario.degradation.target.as_secs_f64() * 1e3;
    let waits = by_tick(&|tick| tick.sample.queue_delay.as_secs_f64() * 1e3);
    let mut times = Panel::up_to(
        "page time, ms",
        most(&p95, target * 1.2).min(SLOWEST * target),
        vec![line("p95", BLUE, p95)],
    );
    times.limit = Some((target, "target".to_owned()));
    let control = share_panel(
        "theta, admission, phi (shares)",
        vec![
            line(
                "admission",
                ORANGE,
                by_tick(&|tick| tick.mode.decision.admit),
            ),
            line("phi", GREEN, by_tick(&|tick| tick.mode.phi)),
            line("theta", BLUE, by_tick(&|tick| tick.mode.decision.theta)),
        ],
    );
    let levels = ticks.iter().map(|ticked| {
        let tick = &ticked.tick;
        (tick.at.seconds(), Some(f64::from(tick.level)))
    });
    let chart = Chart {
        title: scenario.name.clone(),
        about: scenario.about.clone(),
        lasts_s,
        shades: shades(scenario),
        panels: vec![
            Panel::up_to(
                "load, pages/s",
                most(&load, 1.0),
                vec![line("asked for", INK, load)],
            ),
            times,
            Panel::up_to(
                "queue delay, ms",
                most(&waits, 10.0),
                vec![line("work waits", INK, waits)],
            ),
            control,
            level_panel(scenario.steps, levels.collect()),
        ],
    };
    chart.svg()
}

pub(super) fn of_replay(name: &str, replay: &Replay) -> String {
    let lasts_s = replay.lasts_s();
    let by_tick = |of: &dyn Fn(&Played) -> f64| means(&replay.ticks, &|tick| (tick.at_s, of(tick)));
    let wide = second(lasts_s);
    let load = by_time(lasts_s, wide, &|buckets| {
        for tick in &replay.ticks {
            let at = bucket(tick.at_s - 1e-6, wide, buckets.len());
            buckets[at] += f64::from(tick.sample.arrivals);
        }
    });
    let waits = by_tick(&|tick| tick.sample.queue_delay.as_secs_f64() * 1e3);
    let rate = by_tick(&|tick| tick.rate);
    let now_and_then = |name: &str, now: &dyn Fn(&Played) -> f64, was: &dyn Fn(&Played) -> f64| {
        share_panel(
            name,
            vec![
                dashed(line("recorded", GREY, by_tick(was))),
                line("now", BLUE, by_tick(now)),
            ],
        )
    };
    let chart = Chart {
        title: name.to_owned(),
        about: format!("a recorded trace, through {}", replay.law),
        lasts_s,
        shades: replay
            .otherwise
            .iter()
            .map(|spell| (spell.from_s, spell.to_s))
            .take(SHADES_MAX)
            .map(|(from_s, to_s)| Shade {
                says: "decided otherwise".to_owned(),
                from_s,
                to_s,
            })
            .collect(),
        panels: vec![
            Panel::up_to(
                "load, pages/s",
                most(&load, 1.0),
                vec![line("asked for", INK, load)],
            ),
            Panel::up_to(
                "queue delay, ms",
                most(&waits, 10.0),
                vec![line("work waits", INK, waits)],
            ),
            now_and_then("theta (share)", &|tick| tick.theta, &|tick| tick.was_theta),
            now_and_then("admission (share)", &|tick| tick.admit, &|tick| {
                tick.was_admit
            }),
            Panel::up_to(
                "rate, ms of work/s",
                most(&rate, 100.0),
                vec![line("now", BLUE, rate)],
            ),
        ],
    };
    chart.svg()
}

/// Spans that are shaded; with more of them there would be nothing but spans.
const SHADES_MAX: usize = 24;

/// What goes wrong.
fn shades(scenario: &Scenario) -> Vec<Shade> {
    let end = scenario.lasts.as_secs_f64();
    let mut shades = Vec::new();
    let mut shade = |says: String, from_s: f64, to_s: f64| {
        shades.push(Shade { says, from_s, to_s });
    };
    for fault in &scenario.faults {
        let with = match fault.with {
            With::Origin(origin) => scenario.origins[origin].name.as_str(),
            With::Origins => "all origins",
            With::Shared(shared) => scenario.shared[shared].name.as_str(),
        };
        let what = match fault.kind {
            FaultKind::Slow(factor) => format!("slow ×{factor}"),
            FaultKind::Hang => "hangs".to_owned(),
            FaultKind::Flap(_) => "flaps".to_owned(),
        };
        let until = fault.until.as_secs_f64().min(end);
        shade(format!("{with}: {what}"), fault.at.as_secs_f64(), until);
    }
    let speeds = &scenario.composer.speed;
    for (number, (at, factor)) in speeds.iter().enumerate() {
        if *factor != 1.0 {
            let until = speeds
                .get(number + 1)
                .map_or(end, |next| next.0.as_secs_f64());
            shade(
                format!("composer: speed ×{factor}"),
                at.as_secs_f64(),
                until,
            );
        }
    }
    for deploys in scenario
        .composer
        .deploy
        .chunk_by(|one, other| one.0 == other.0)
    {
        let (at, block, factor) = deploys[0];
        if deploys.iter().any(|(_, _, factor)| *factor != 1.0) {
            let whom = match deploys {
                [_] => scenario.blocks[block].name.clone(),
                _ => format!("{} blocks", deploys.len()),
            };
            shade(format!("{whom}: work ×{factor}"), at.as_secs_f64(), end);
        }
    }
    for (at, lasts) in &scenario.stalls {
        let from = at.as_secs_f64();
        shade(
            "governor stalls".to_owned(),
            from,
            from + lasts.as_secs_f64(),
        );
    }
    shades.truncate(SHADES_MAX);
    shades
}

fn level_panel(steps: usize, points: Vec<(f64, Option<f64>)>) -> Panel {
    let top = u8::try_from(steps + 1).unwrap_or(u8::MAX);
    let every = usize::from(top).div_ceil(5);
    let mut marks: Vec<_> = (0..=top)
        .filter(|level| usize::from(*level).is_multiple_of(every) && top - level >= every as u8)
        .collect();
    marks.push(top);
    let mark = |level: u8| (f64::from(level), level_name(level, steps));
    Panel {
        name: "level: steps given up by all; snap = snapshots".to_owned(),
        top: f64::from(top),
        marks: marks.into_iter().map(mark).collect(),
        limit: None,
        lines: vec![line("level", INK, points)],
    }
}

fn share_panel(name: &str, lines: Vec<Line>) -> Panel {
    Panel::up_to(name, 1.0, lines)
}

fn line(name: &'static str, colour: &'static str, points: Vec<(f64, Option<f64>)>) -> Line {
    Line {
        name,
        colour,
        is_dashed: false,
        points,
    }
}

fn dashed(line: Line) -> Line {
    Line {
        is_dashed: true,
        ..line
    }
}

/// The highest of the points, and not less than `least`.
fn most(points: &[(f64, Option<f64>)], least: f64) -> f64 {
    let heights = points.iter().filter_map(|(_, height)| *height);
    heights.fold(least, f64::max)
}

/// A second, or more where a pixel is more.
fn second(lasts_s: f64) -> f64 {
    (lasts_s / SPAN).ceil().max(1.0)
}

fn bucket(at_s: f64, wide: f64, buckets: usize) -> usize {
    ((at_s / wide).max(0.0) as usize).min(buckets - 1)
}

fn buckets(lasts_s: f64, wide: f64) -> usize {
    ((lasts_s / wide - 1e-6).ceil() as usize).max(1)
}

/// What is counted in each bucket, a second.
fn by_time(lasts_s: f64, wide: f64, count: &dyn Fn(&mut [f64])) -> Vec<(f64, Option<f64>)> {
    let mut counts = vec![0.0; buckets(lasts_s, wide)];
    count(&mut counts);
    let counts = counts.into_iter().enumerate();
    counts
        .map(|(number, count)| {
            let from = number as f64 * wide;
            // the last one may be shorter
            let wide = wide.min(lasts_s - from).max(1e-3);
            (from, Some(count / wide))
        })
        .collect()
}

/// The 95th percentile of each bucket, by when pages were asked for; nothing of one without pages.
fn p95(meter: &Meter, lasts_s: f64, wide: f64) -> Vec<(f64, Option<f64>)> {
    let mut times: Vec<Vec<Span>> = vec![Vec::new(); buckets(lasts_s, wide)];
    for page in &meter.pages {
        let at = bucket(page.asked.seconds(), wide, times.len());
        times[at].push(page.took);
    }
    let times = times.iter_mut().enumerate();
    times
        .map(|(number, times)| {
            times.sort_unstable();
            let p95 = (!times.is_empty()).then(|| quantile(times, 0.95));
            (number as f64 * wide, p95)
        })
        .collect()
}

/// Means of as many ticks as make a pixel.
fn means<T>(ticks: &[T], of: &dyn Fn(&T) -> (f64, f64)) -> Vec<(f64, Option<f64>)> {
    let per_point = ticks.len().div_ceil(SPAN as usize).max(1);
    let chunks = ticks.chunks(per_point);
    chunks
        .map(|chunk| {
            let (at, _) = of(&chunk[0]);
            let sum: f64 = chunk.iter().map(|tick| of(tick).1).sum();
            (at, Some(sum / chunk.len() as f64))
        })
        .collect()
}

#[cfg(test)]
mod tests;
