//! Rows about what the controller believes: of the machine, of what blocks cost; and whether readers
//! see its decisions as one.

use super::crowds::{FLASH, HALVED, bad_seconds};
use super::{COMPOSER_BOUND, ON, Row};
use crate::composer;
use crate::judge::{Hold, Unit, at_least, at_most};
use crate::load::{Cookie, Demand};
use crate::measure::Recording;
use crate::page::Page;
use crate::plant::NORMAL_RATE;
use crate::script::{Deed, Phases, Scene, Window};
use crate::site::Settings;

/// A machine that is believed to be three times what it is.
const BOASTFUL: Settings = Settings {
    rate_max_factor: 3.0,
    ..ON
};

/// Parts of the row about stickiness, in hundredths of it.
const STEADY: (f64, f64) = (0.0, 40.0);
const RANDOM: (f64, f64) = (40.0, 80.0);
const FROZEN: (f64, f64) = (80.0, 100.0);

pub(super) fn rows() -> Vec<Row> {
    let judge: fn(&Recording) -> Vec<Hold> = |run| {
        let event = run.phases.event();
        vec![bad_seconds(run, &event, 6.0)]
    };
    let row = |name, title, scene| Row {
        name,
        title,
        scene,
        judge,
        is_drawn: false,
    };
    let believing = |scene| Scene {
        settings: BOASTFUL,
        ..scene
    };
    vec![
        row(
            "16a",
            "three times too high a limit is believed; row 3",
            believing(FLASH),
        ),
        row(
            "16b",
            "three times too high a limit is believed; row 14",
            believing(HALVED),
        ),
        row(
            "16c",
            "every second block costs twice as much all at once, the others half; row 3",
            Scene {
                script: |phases| vec![(phases.event_at(), scramble())],
                ..FLASH
            },
        ),
        row(
            "16d",
            "every second block costs twice as much all at once, the others half; row 14",
            Scene {
                script: |phases| {
                    let mut script = (HALVED.script)(phases);
                    script.push((phases.event_at(), scramble()));
                    script
                },
                ..HALVED
            },
        ),
        Row {
            name: "17",
            title: "stickiness: x2.2 all the time; readers that are known, readers that are not, theta frozen",
            scene: Scene {
                demand: Demand::Open {
                    rate: |at, phases| {
                        // the baselines are made at the normal load
                        let times = if at < phases.warm { 1.0 } else { 2.2 };
                        NORMAL_RATE * times
                    },
                    is_impatient: false,
                },
                phases: Phases::new(30.0, 10.0, 150.0, 0.0),
                cookie: |at, phases| {
                    let is_random = part(phases, RANDOM).contains(&at);
                    if is_random {
                        Cookie::Random
                    } else {
                        Cookie::Steady
                    }
                },
                script: |phases| {
                    let freeze = Deed::Operator {
                        path: "/switches/freeze",
                        body: r#"{"owner":"rig","reason":"row 17","for":"5m"}"#,
                    };
                    vec![(part(phases, FROZEN).start, freeze)]
                },
                ..COMPOSER_BOUND
            },
            judge: sticky,
            is_drawn: false,
        },
    ]
}

fn scramble() -> Deed {
    Deed::Composer(composer::Order::Scramble)
}

fn part(phases: &Phases, (from, to): (f64, f64)) -> Window {
    phases.part(from, to)
}

fn sticky(run: &Recording) -> Vec<Hold> {
    let flips = |(from, to), same_theta: bool| {
        let shown = |page: &Page| {
            if same_theta {
                !page.level.off
            } else {
                page.shown
            }
        };
        run.flips(&run.phases.part(from, to), shown, |before, page| {
            !same_theta || before.level.theta == page.level.theta
        })
    };
    let (steady, random) = (flips(STEADY, false), flips(RANDOM, false));
    let frozen = flips(FROZEN, true);
    vec![
        at_most(
            "blocks that flip a view, of what they do for readers that are not known",
            steady.a_view() / random.a_view(),
            0.65,
            Unit::Percent,
        ),
        at_least(
            "pairs of views at one theta, frozen",
            f64::from(frozen.pairs),
            100.0,
            Unit::Number,
        ),
        at_most(
            "blocks that flip a view at one theta, frozen",
            frozen.a_view(),
            0.0,
            Unit::Number,
        ),
    ]
}
