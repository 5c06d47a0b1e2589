//! Whatever a run was like, its graph is one that a browser can show.

use std::time::Duration;

use crate::clock::Clock;
use crate::degradation::Law;
use crate::simulate;
use crate::simulate::scenario::Fault;

use super::super::replay::tests::run;
use super::*;

/// Tags close in the order in which they have opened; what is between them is escaped.
fn check(svg: &str) {
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for nonsense in ["NaN", "inf", "&\u{20}", "\u{1b}"] {
        assert!(!svg.contains(nonsense), "{nonsense} in {svg}");
    }
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = |tag: &str| tag.split([' ', '/']).next().unwrap().to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed));
        } else if !tag.ends_with('/') {
            open.push(name(tag));
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn a_run_is_drawn_with_its_units_and_what_goes_wrong() {
    let (mut scenario, _) = run("");
    scenario.about = "more than <one> & \u{1b}all".to_owned();
    scenario.faults = vec![Fault {
        with: With::Origins,
        at: Duration::from_secs(6),
        until: Duration::from_secs(90),
        kind: FaultKind::Hang,
    }];
    scenario.composer.speed = vec![(Duration::from_secs(18), 0.5)];
    let play = || {
        let run = simulate::run(&scenario, 1, Clock::start().now());
        of_run(&scenario, &run)
    };
    let svg = play();
    check(&svg);
    for says in [
        "<title>crowd</title>",
        "more than &lt;one&gt; &amp; all",
        "load, pages/s",
        "page time, ms",
        "target",
        "queue delay, ms",
        "admission",
        "phi",
        "level: steps",
        "seconds",
        "all origins: hangs",
        "composer: speed ×0.5",
    ] {
        assert!(svg.contains(says), "{says}");
    }
    assert_eq!(svg, play(), "the same run is the same text");
}

#[test]
fn a_replay_is_drawn_with_what_was_recorded() {
    let (_, run) = run("");
    let trace = simulate::Trace::read(&run.samples()).unwrap();
    let svg = of_replay(
        "night & day.jsonl",
        &trace.replay(&Law::Aimd(Default::default())),
    );
    check(&svg);
    for says in [
        "night &amp; day.jsonl",
        "recorded",
        "decided otherwise",
        "through aimd",
    ] {
        assert!(svg.contains(says), "{says}");
    }
}

#[test]
fn one_tick_is_a_graph_too() {
    let (_, run) = run("");
    let first = run.samples().lines().next().unwrap().to_owned();
    let trace = simulate::Trace::read(&first).unwrap();
    check(&of_replay("one", &trace.replay(&Law::for_cores(1))));
}

#[test]
fn long_runs_are_no_longer_texts() {
    let ticks: Vec<f64> = (0..864_000).map(f64::from).collect();
    assert!(means(&ticks, &|at| (*at, 1.0)).len() <= SPAN as usize);
    assert!(buckets(86_400.0, second(86_400.0)) <= SPAN as usize);
}
