//! Rows in which one origin, or what origins share, is sick while the load is as always. Who is not
//! sick must not notice.

use super::crowds::{mean_shown, value_back};
use super::{AS_IN_THE_TABLE, Row, USUAL};
use crate::judge::{Hold, Unit, at_least, at_most};
use crate::load::Demand;
use crate::measure::{Recording, has_fresh_core, mean, share};
use crate::origins;
use crate::page::Core;
use crate::plant::{ADS, AGENDA, CORE, HEADLINES, LIVEFEED, RELATED, SLIDESHOW, TARGET_MS};
use crate::script::{Deed, Phases, Scene, Script, hang, slow};

/// How long an origin that flaps is away, and how long it is there.
const FLAP_S: f64 = 5.0;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "8",
            title: "one origin hangs: livefeed",
            scene: Scene {
                script: |phases| hang(LIVEFEED, phases),
                ..AS_IN_THE_TABLE
            },
            judge: |run| hung(run, &[LIVEFEED]),
            is_drawn: false,
        },
        Row {
            name: "9",
            title: "an important origin is ten times as slow: related",
            scene: Scene {
                script: |phases| {
                    let order = |factor| {
                        Deed::Origins(origins::Order::Slow {
                            block: RELATED,
                            factor,
                        })
                    };
                    slow(order, 10.0, phases)
                },
                ..AS_IN_THE_TABLE
            },
            judge: slow_related,
            is_drawn: false,
        },
        Row {
            name: "10",
            title: "two hang at once: livefeed and agenda",
            scene: Scene {
                script: |phases| {
                    let mut script = hang(LIVEFEED, phases);
                    script.extend(hang(AGENDA, phases));
                    script
                },
                ..AS_IN_THE_TABLE
            },
            judge: |run| hung(run, &[LIVEFEED, AGENDA]),
            is_drawn: false,
        },
        Row {
            name: "11",
            title: "the core's origin hangs",
            scene: Scene {
                script: |phases| hang(CORE, phases),
                ..AS_IN_THE_TABLE
            },
            judge: core_hung,
            is_drawn: false,
        },
        Row {
            name: "12",
            title: "an origin flaps, 5 s away and 5 s there, for 60 s: livefeed",
            scene: Scene {
                script: flap,
                ..AS_IN_THE_TABLE
            },
            judge: |run| {
                let event = run.phases.event();
                let others = run.least_of_others(&event, &[LIVEFEED]);
                let a_minute = run.turns(&event) as f64 * 60.0 / run.phases.event;
                vec![
                    at_least("other blocks, the worst", others, 0.97, Unit::Percent),
                    at_most("breaker turns in a minute", a_minute, 14.0, Unit::Number),
                ]
            },
            is_drawn: false,
        },
        Row {
            name: "13",
            title: "the shared database is three times as slow",
            scene: Scene {
                script: |phases| {
                    let order = |factor| Deed::Origins(origins::Order::Database { factor });
                    slow(order, 3.0, phases)
                },
                ..AS_IN_THE_TABLE
            },
            judge: slow_database,
            is_drawn: true,
        },
        Row {
            name: "15",
            title: "night: 6 pages/s, and livefeed hangs",
            scene: Scene {
                demand: Demand::Open {
                    rate: |_, _| 6.0,
                    is_impatient: false,
                },
                phases: Phases {
                    after: 0.0,
                    ..USUAL
                },
                script: |phases| hang(LIVEFEED, phases),
                ..AS_IN_THE_TABLE
            },
            judge: |run| {
                let event = run.phases.event();
                let others = run.least_of_others(&event, &[LIVEFEED]);
                let opened = run.opens_after(event.start, LIVEFEED);
                vec![
                    at_least("other blocks, the worst", others, 0.97, Unit::Percent),
                    at_least("least theta", run.least_theta(&event), 1.0, Unit::Number),
                    at_most("breaker open after", opened, 4.0, Unit::Seconds),
                ]
            },
            is_drawn: false,
        },
    ]
}

fn flap(phases: &Phases) -> Script {
    let order = |hangs| {
        Deed::Origins(origins::Order::Hang {
            block: LIVEFEED,
            hangs,
        })
    };
    let mut script = Script::new();
    let mut at = phases.event_at();
    while at < phases.over_at() {
        script.push((at, order(true)));
        script.push((at + FLAP_S, order(false)));
        at += 2.0 * FLAP_S;
    }
    script
}

fn hung(run: &Recording, sick: &[usize]) -> Vec<Hold> {
    let (event, over) = (run.phases.event(), run.phases.over_at());
    let settled = event.start + 2.0..event.end;
    let usual = run.quantile(&run.phases.calm(), 0.5);
    let opened = sick
        .iter()
        .map(|block| run.opens_after(event.start, *block));
    let back = sick.iter().map(|block| run.block_back_after(over, *block));
    vec![
        at_most("breaker open after", latest(opened), 1.5, Unit::Seconds),
        at_least(
            "other blocks, the worst",
            run.least_of_others(&event, sick),
            0.97,
            Unit::Percent,
        ),
        at_most(
            "p50 but for the first 2 s",
            run.quantile(&settled, 0.5),
            1.3 * usual,
            Unit::Ms,
        ),
        at_least("least theta", run.least_theta(&event), 0.95, Unit::Number),
        at_most("block back after", latest(back), 6.0, Unit::Seconds),
    ]
}

fn latest(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(0.0, f64::max)
}

fn slow_related(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    let a_minute = run.turns(&event) as f64 * 60.0 / run.phases.event;
    let back = run.block_back_after(run.phases.over_at(), RELATED);
    vec![
        at_least(
            "other blocks, the worst",
            run.least_of_others(&event, &[RELATED]),
            0.95,
            Unit::Percent,
        ),
        at_least("least theta", run.least_theta(&event), 0.95, Unit::Number),
        at_most("breaker turns a minute", a_minute, 12.0, Unit::Number),
        at_most("block back after", back, 8.0, Unit::Seconds),
    ]
}

fn core_hung(run: &Recording) -> Vec<Hold> {
    let (event, over) = (run.phases.event(), run.phases.over_at());
    let settled = event.start + 1.5..event.end;
    let has_article = |page: &crate::page::Page| page.status == 200 && page.core != Core::Absent;
    let old = run.within(&event).iter().copied();
    let old: Vec<_> = old
        .filter(|page| page.is_composed() && page.core == Core::Old)
        .collect();
    let back = run.back_after(over, |pages| share(pages, has_fresh_core));
    vec![
        at_least(
            "pages with an article",
            run.share(&event, has_article),
            1.0,
            Unit::Percent,
        ),
        at_most(
            "p95 from 1.5 s on",
            run.quantile(&settled, 0.95),
            TARGET_MS,
            Unit::Ms,
        ),
        at_least(
            "optional blocks",
            mean_shown(run, &event),
            0.95,
            Unit::Percent,
        ),
        at_least(
            "old cores that are said to be old",
            share(&old, |page| page.says_old),
            1.0,
            Unit::Percent,
        ),
        at_most("fresh core back after", back, 5.0, Unit::Seconds),
    ]
}

fn slow_database(run: &Recording) -> Vec<Hold> {
    let event = run.phases.event();
    let shown = |blocks: [usize; 2]| mean(blocks.map(|block| run.shown(&event, block)));
    let ratio = shown([HEADLINES, RELATED]) / shown([SLIDESHOW, ADS]);
    vec![
        at_most("p95", run.quantile(&event, 0.95), TARGET_MS, Unit::Ms),
        at_least(
            "fresh core",
            run.share(&event, has_fresh_core),
            0.93,
            Unit::Percent,
        ),
        at_least("value", run.value(&event), 0.50, Unit::Percent),
        at_least("top two blocks over bottom two", ratio, 1.5, Unit::Number),
        value_back(run),
    ]
}
