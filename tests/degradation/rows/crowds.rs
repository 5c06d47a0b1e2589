//! Rows in which the load is what happens: steady, noisy, crowds, ramps, users; and a machine that is
//! slower than it was.

use super::{AS_IN_THE_TABLE, COMPOSER_BOUND, ON, Row, USUAL};
use crate::composer;
use crate::judge::{Hold, Unit, at_least, at_most, between};
use crate::load::Demand;
use crate::measure::{Recording, has_fresh_core, mean, share};
use crate::plant::{self, ADS, Costs, HEADLINES, NORMAL_RATE, OPTIONAL};
use crate::script::{Deed, Phases, Scene, Window, crowd, slow};
use crate::site::Settings;

/// An open load of patient readers.
const fn open(rate: fn(f64, &Phases) -> f64) -> Demand {
    Demand::Open {
        rate,
        is_impatient: false,
    }
}

/// The flash crowd: five times the load at once.
pub(super) const FLASH: Scene = Scene {
    demand: open(|at, phases| crowd(5.0, at, phases)),
    ..COMPOSER_BOUND
};

/// The same where origins and their database are the limit.
const FLASH_ON_ORIGINS: Scene = Scene {
    costs: Costs::Cheap,
    demand: open(|at, phases| crowd(5.0, at, phases)),
    ..AS_IN_THE_TABLE
};

/// A composer that is half as fast for a minute.
pub(super) const HALVED: Scene = Scene {
    script: |phases| {
        let order = |factor| Deed::Composer(composer::Order::Slow { factor });
        slow(order, 2.0, phases)
    },
    ..COMPOSER_BOUND
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "1",
            title: "steady x1",
            scene: Scene {
                phases: Phases::new(30.0, 0.0, 180.0, 0.0),
                ..COMPOSER_BOUND
            },
            judge: steady,
            is_drawn: false,
        },
        Row {
            name: "2",
            title: "noise: jobs of very different lengths, and 40 ms stalls every 2 s",
            scene: Scene {
                phases: Phases::new(30.0, 0.0, 120.0, 0.0),
                script: |phases| {
                    let noise = Deed::Composer(composer::Order::Noise);
                    vec![(phases.event_at(), noise)]
                },
                ..COMPOSER_BOUND
            },
            judge: noise,
            is_drawn: false,
        },
        Row {
            name: "3",
            title: "flash crowd x1, x5 for 60 s, x1; the composer is the limit",
            scene: FLASH,
            judge: flash,
            is_drawn: true,
        },
        Row {
            name: "4",
            title: "the same, origins are the limit",
            scene: FLASH_ON_ORIGINS,
            judge: flash_on_origins,
            is_drawn: true,
        },
        Row {
            name: "4off",
            title: "control: row 4 with the controller off, which must be bad",
            scene: Scene {
                settings: Settings { is_on: false, ..ON },
                ..FLASH_ON_ORIGINS
            },
            judge: |run| {
                let value = run.value(&run.phases.event());
                vec![at_most(
                    "value without a controller",
                    value,
                    0.05,
                    Unit::Percent,
                )]
            },
            is_drawn: true,
        },
        Row {
            name: "5",
            title: "flash crowd x10",
            scene: Scene {
                demand: open(|at, phases| crowd(10.0, at, phases)),
                ..COMPOSER_BOUND
            },
            judge: flash_of_ten,
            is_drawn: true,
        },
        Row {
            name: "6",
            title: "x5 of readers who ask again after 1.5 s, twice",
            scene: Scene {
                demand: Demand::Open {
                    rate: |at, phases| crowd(5.0, at, phases),
                    is_impatient: true,
                },
                ..COMPOSER_BOUND
            },
            judge: impatient,
            is_drawn: false,
        },
        Row {
            name: "7",
            title: "ramp x1 to x5 in 60 s and back",
            scene: Scene {
                demand: open(ramp),
                phases: Phases {
                    event: 120.0,
                    ..USUAL
                },
                ..COMPOSER_BOUND
            },
            judge: |run| {
                let event = run.phases.event();
                vec![
                    bad_seconds(run, &event, 2.0),
                    at_least("value", run.value(&event), 0.40, Unit::Percent),
                ]
            },
            is_drawn: false,
        },
        Row {
            name: "14",
            title: "the composer at half its speed for 60 s",
            scene: HALVED,
            judge: |run| {
                let event = run.phases.event();
                vec![
                    bad_seconds(run, &event, 3.0),
                    at_least("value", run.value(&event), 0.70, Unit::Percent),
                    value_back(run),
                ]
            },
            is_drawn: false,
        },
        Row {
            name: "18",
            title: "users 100, 400, 200, 800, 50, who think for 3 s; 60 s each",
            scene: Scene {
                demand: Demand::Closed { users },
                phases: Phases::new(30.0, 0.0, 300.0, 0.0),
                ..COMPOSER_BOUND
            },
            judge: |run| {
                let event = run.phases.event();
                vec![
                    bad_seconds(run, &event, 5.0),
                    at_least("value", run.value(&event), 0.50, Unit::Percent),
                ]
            },
            is_drawn: false,
        },
    ]
}

fn ramp(at: f64, phases: &Phases) -> f64 {
    let event = phases.event();
    if !event.contains(&at) {
        return NORMAL_RATE;
    }
    let half = phases.event / 2.0;
    let from_the_top = ((at - event.start) - half).abs() / half;
    NORMAL_RATE * (5.0 - 4.0 * from_the_top)
}

fn users(at: f64, phases: &Phases) -> u32 {
    const STAGES: [u32; 5] = [100, 400, 200, 800, 50];
    let stage = (at - phases.event_at()) / phases.event * STAGES.len() as f64;
    STAGES[(stage.max(0.0) as usize).min(STAGES.len() - 1)]
}

pub(super) fn bad_seconds(run: &Recording, window: &Window, bound: f64) -> Hold {
    let bad = run.bad_seconds(window) as f64;
    at_most("seconds with p95 over 300 ms", bad, bound, Unit::Number)
}

pub(super) fn value_back(run: &Recording) -> Hold {
    let back = run.value_back_after(run.phases.over_at());
    at_most("value back to 90 % after", back, 5.0, Unit::Seconds)
}

fn steady(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    let ticks = run.ticks(&event);
    let full = ticks.iter().map(|tick| f64::from(tick.theta >= 0.9995));
    let admit = ticks.iter().map(|tick| tick.admit);
    let admit = admit.fold(f64::INFINITY, |least, admit| {
        if admit.is_nan() {
            admit
        } else {
            least.min(admit)
        }
    });
    vec![
        at_most(
            "optional blocks missing",
            run.skipped(&event),
            0.005,
            Unit::Percent,
        ),
        at_least("ticks with theta = 1", mean(full), 0.99, Unit::Percent),
        at_least("least admission", admit, 1.0, Unit::Number),
        at_most(
            "p95",
            run.quantile(&event, 0.95),
            plant::TARGET_MS,
            Unit::Ms,
        ),
    ]
}

fn noise(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    vec![
        at_most(
            "optional blocks missing",
            run.skipped(&event),
            0.03,
            Unit::Percent,
        ),
        at_most("snapshots", snapshots(run, &event), 0.01, Unit::Percent),
    ]
}

fn snapshots(run: &Recording, window: &Window) -> f64 {
    run.share(window, |page| page.is_snapshot)
}

fn flash(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    let settled = event.start + 3.0..event.end;
    let in_order = |page: &&crate::page::Page| page.is_composed();
    let composed: Vec<_> = run
        .within(&event)
        .iter()
        .filter(in_order)
        .copied()
        .collect();
    let in_order = share(&composed, |page| plant::is_prefix(page.shown));
    vec![
        bad_seconds(run, &event, 3.0),
        at_most(
            "theta at 0.2 or less after",
            run.theta_falls_after(event.start, 0.2),
            2.0,
            Unit::Seconds,
        ),
        at_most(
            "p95 but for the first 3 s",
            run.quantile(&settled, 0.95),
            plant::TARGET_MS,
            Unit::Ms,
        ),
        at_least(
            "fresh core",
            run.share(&event, has_fresh_core),
            0.97,
            Unit::Percent,
        ),
        at_most("snapshots", snapshots(run, &event), 0.03, Unit::Percent),
        at_least("value", run.value(&event), 0.18, Unit::Percent),
        at_least(
            "pages whose blocks go by priority",
            in_order,
            0.99,
            Unit::Percent,
        ),
        value_back(run),
        at_most(
            "swings of theta a minute",
            run.swings_a_minute(&event),
            6.0,
            Unit::Number,
        ),
    ]
}

fn flash_on_origins(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    let (most, least) = (run.shown(&event, HEADLINES), run.shown(&event, ADS));
    vec![
        at_most(
            "p95",
            run.quantile(&event, 0.95),
            plant::TARGET_MS,
            Unit::Ms,
        ),
        at_least("value", run.value(&event), 0.30, Unit::Percent),
        at_most(
            "late answers a page",
            run.late_answers_a_page(),
            0.1,
            Unit::Number,
        ),
        Hold {
            what: "headlines are shown as often as ads at least".to_owned(),
            bound: format!("≥ {}", Unit::Percent.show(least)),
            measured: Unit::Percent.show(most),
            holds: most >= least,
        },
        value_back(run),
    ]
}

fn flash_of_ten(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    let failed = run.share(&event, |page| page.status == 0 || page.status >= 500);
    let slowest = run.quantile(&event, 1.0);
    vec![
        bad_seconds(run, &event, 3.0),
        at_most("5xx, or no answer", failed, 0.0, Unit::Percent),
        at_most("slowest page", slowest, 1000.0, Unit::Ms),
        between(
            "snapshots",
            snapshots(run, &event),
            0.25,
            0.55,
            Unit::Percent,
        ),
        value_back(run),
    ]
}

fn impatient(run: &Recording) -> Vec<Hold> {
    let over = run.phases.over_at();
    let (calm, later) = (run.phases.calm(), over + 5.0..run.phases.end());
    let (before, after) = (run.quantile(&calm, 0.95), run.quantile(&later, 0.95));
    let mut holds = flash(run);
    holds.push(at_most(
        "p95 from 5 s after the crowd on",
        after,
        1.2 * before,
        Unit::Ms,
    ));
    holds
}

/// The mean share of pages of an optional block, the same for each.
pub(super) fn mean_shown(run: &Recording, window: &Window) -> f64 {
    mean(OPTIONAL.map(|block| run.shown(window, block)))
}
