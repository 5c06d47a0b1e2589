//! Rows about what the controller believes: of the machine, of what blocks cost; and whether readers
//! see its decisions as one.

use super::crowds::{FLASH, HALVED, bad_seconds};
use super::{COMPOSER_BOUND, ON, Row};
use crate::composer;
use crate::judge::{Hold, Unit, at_least, at_most};
use crate::load::{Cookie, Demand};
use crate::measure::Recording;
use crate::plant::{self, NORMAL_RATE};
use crate::script::{Deed, Phases, Scene, Window};
use crate::site::Settings;

/// A machine that is believed to be three times what it is.
const BOASTFUL: Settings = Settings {
    rate_max_factor: 3.0,
    ..ON
};

/// Parts of the row about stickiness, in hundredths of it: known readers, unknown ones, known ones again
/// with the rate frozen, and with the level pinned.
const KNOWN: (f64, f64) = (0.0, 35.0);
const UNKNOWN: (f64, f64) = (35.0, 70.0);
const FROZEN: (f64, f64) = (70.0, 90.0);
const PINNED: (f64, f64) = (92.0, 100.0);

/// How long more and fewer readers than on average come while the rate is frozen.
const TIDE_S: f64 = 5.0;

/// Two thetas that differ by less are the same: the costs that they are measured in move a little too.
const SAME_THETA: f64 = 0.01;

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
                // its bound comes from a plant of this size; at half the load there is more chance in it
                costs: plant::Costs::Simulated,
                demand: Demand::Open {
                    rate: |at, phases| {
                        // the baselines are made at the normal load
                        let times = if at < phases.warm { 1.0 } else { 2.2 };
                        // theta is to move while the rate cannot, or nothing is seen of its order
                        let tide = match part(phases, FROZEN).contains(&at) {
                            true if at % (2.0 * TIDE_S) < TIDE_S => 0.85,
                            true => 1.15,
                            false => 1.0,
                        };
                        2.0 * NORMAL_RATE * times * tide
                    },
                    is_impatient: false,
                },
                phases: Phases::new(30.0, 10.0, 150.0, 0.0),
                cookie: |at, phases| {
                    let is_random = part(phases, UNKNOWN).contains(&at);
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
                    let pin = Deed::Operator {
                        path: "/switches/pin",
                        body: r#"{"owner":"rig","reason":"row 17","for":"5m","level":3}"#,
                    };
                    let frozen = part(phases, FROZEN);
                    vec![(frozen.start, freeze), (frozen.end, pin)]
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
    let window = |(from, to)| run.phases.part(from, to);
    // what the server means to give: what an origin has not delivered in time has not gone
    let flips = |part| run.flips(&window(part), |page| !page.level.off);
    let (known, unknown, pinned) = (flips(KNOWN), flips(UNKNOWN), flips(PINNED));
    let against = run.against_theta(&window(FROZEN), SAME_THETA);
    let share = known.a_view() / unknown.a_view();
    let of_unknown = Hold {
        measured: format!(
            "{} ({} of {})",
            Unit::Percent.show(share),
            Unit::Number.show(known.a_view()),
            Unit::Number.show(unknown.a_view())
        ),
        ..at_most(
            "blocks that flip a view, of what they do for unknown readers",
            share,
            0.65,
            Unit::Percent,
        )
    };
    vec![
        of_unknown,
        at_least(
            "pairs of views at different theta, rate frozen",
            f64::from(against.pairs),
            100.0,
            Unit::Number,
        ),
        at_most(
            "blocks that are off at the higher theta and on at the lower",
            f64::from(against.flips),
            0.0,
            Unit::Number,
        ),
        at_least(
            "pairs of views, level pinned",
            f64::from(pinned.pairs),
            100.0,
            Unit::Number,
        ),
        at_most(
            "blocks that flip, level pinned",
            f64::from(pinned.flips),
            0.0,
            Unit::Number,
        ),
    ]
}
