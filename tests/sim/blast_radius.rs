//! One sick origin costs its own blocks only: eight origins, one of them sick in each of twelve ways.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use marbre::clock::Instant;
use marbre::fetch::Origin;
use marbre::report::{BreakerState, OriginChange};
use tokio::time::sleep_until;

use crate::service::{Course, Service, WAYS, Way};
use crate::stage::Stage;
use crate::virtual_time;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn priority(name: &str) -> &'static str {
    let priorities = [
        "\"core\"",
        "\"essential\"",
        "70",
        "60",
        "50",
        "40",
        "30",
        "10",
    ];
    let index = NAMES.iter().position(|known| *known == name);
    priorities[index.expect("it is one of the eight")]
}

/// Pages a second where eight origins are looked at.
const RATE: f64 = 25.0;

/// The fragments' timeout.
const TIMEOUT: Duration = Duration::from_millis(250);

/// Fragments, each of an origin of its own, never copied. `sick` has four replicas.
fn declaration(names: &[&str], sick: &str) -> String {
    let mut toml = String::from(
        "[pages.p]\nroute = \"/p/{id}\"\nlayout = \"layout.html\"\nbudget = \"500ms\"\n\
         snapshot_keep = \"0s\"\n",
    );
    for name in names {
        let replicas = if *name == sick { 4 } else { 2 };
        let urls: Vec<String> = (0..replicas)
            .map(|replica| format!("\"http://{name}-{replica}.invalid\""))
            .collect();
        let _ = write!(
            toml,
            "[origins.{name}]\nurls = [{}]\ntimeout = \"2s\"\n\
             [fragments.{name}]\npriority = {}\nsource = \"{name}:/{name}\"\n\
             timeout = \"{}ms\"\nttl = \"0s\"\n",
            urls.join(", "),
            priority(name),
            TIMEOUT.as_millis(),
        );
    }
    toml
}

/// What became of one block of one page.
struct Block {
    at: Instant,
    is_whole: bool,
    took: Duration,
}

/// A run of pages.
struct Run {
    course: Course,
    blocks: BTreeMap<String, Vec<Block>>,
    /// When each replica of the sick origin was asked.
    asked: Vec<Vec<Instant>>,
    /// What the breaker of the sick origin did.
    moves: Vec<(Instant, BreakerState)>,
}

/// Pages at random moments while one origin is well, sick and well again.
async fn run(
    seed: u64,
    rate: f64,
    names: &[&str],
    sick: &str,
    way: Option<Way>,
    course: Course,
) -> Run {
    let mut sick_replicas = Vec::new();
    let stage = Stage::with_replicas(&declaration(names, sick), names, |spec| {
        let is_sick = spec.name == sick;
        let replicas = (0..spec.replicas.len()).map(|replica| {
            let way = way.filter(|_| is_sick);
            Service::new(&spec.name, seed, way, course, replica)
        });
        let replicas: Vec<Service> = replicas.collect();
        if is_sick {
            sick_replicas.clone_from(&replicas);
        }
        let replicas = replicas.into_iter();
        replicas
            .map(|service| Arc::new(service) as Arc<dyn Origin>)
            .collect()
    });
    let mut blocks: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    let mut rng = Rng::with_seed(seed);
    let (mut next, mut pages) = (course.begins, FuturesUnordered::new());
    let mut note = |at: Instant, page: crate::stage::Asked| {
        for fragment in &page.report.fragments {
            let block = Block {
                at,
                is_whole: fragment.outcome.is_whole(),
                took: fragment.duration,
            };
            blocks
                .entry(fragment.name.to_string())
                .or_default()
                .push(block);
        }
    };
    while next < course.ends {
        let arrival = async {
            sleep_until(next).await;
            None
        };
        let stage = &stage;
        let done = tokio::select! {
            biased;
            Some(done) = pages.next() => Some(done),
            none = arrival => none,
        };
        match done {
            Some((at, page)) => note(at, page),
            None => {
                let at = next;
                pages.push(async move { (at, stage.ask(0).await) });
                next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
            }
        }
    }
    while let Some((at, page)) = pages.next().await {
        note(at, page);
    }
    drop(pages);
    let moves = stage
        .changes()
        .into_iter()
        .filter_map(|(at, origin, change)| match change {
            OriginChange::Breaker { to, .. } => {
                assert_eq!(
                    origin, sick,
                    "another origin than the sick one moves: {to:?}"
                );
                Some((at, to))
            }
            OriginChange::CanaryWithdrawn { .. } | OriginChange::Health { .. } => None,
        });
    Run {
        course,
        blocks,
        asked: sick_replicas.iter().map(Service::asked).collect(),
        moves: moves.collect(),
    }
}

impl Run {
    /// How many of the blocks of these moments are whole, and what 99 of 100 take at most.
    fn of(&self, name: &str, from: Instant, until: Instant) -> (f64, Duration) {
        let blocks = self.blocks[name].iter();
        let blocks: Vec<&Block> = blocks.filter(|b| b.at >= from && b.at < until).collect();
        let whole = blocks.iter().filter(|block| block.is_whole).count();
        let mut took: Vec<Duration> = blocks.iter().map(|block| block.took).collect();
        took.sort_unstable();
        (
            whole as f64 / blocks.len() as f64,
            took[took.len() * 99 / 100],
        )
    }

    /// Requests to the sick origin within the spans, and the seconds that they last.
    fn asked_within(&self, spans: &[(Instant, Instant)]) -> (usize, f64) {
        let is_within = |at: &&Instant| spans.iter().any(|(a, b)| *at >= a && *at < b);
        let asked = self.asked.iter().flatten().filter(is_within).count();
        let seconds = spans
            .iter()
            .map(|(a, b)| b.saturating_duration_since(*a).as_secs_f64());
        (asked, seconds.sum())
    }

    fn first_trip(&self) -> Option<Instant> {
        let trip = self.moves.iter().find(|(_, to)| *to == BreakerState::Open);
        trip.map(|(at, _)| *at)
    }

    /// The spans in which the sick origin is out, and known to be.
    fn out(&self, way: Way) -> Vec<(Instant, Instant)> {
        let downs = if way == Way::Flapping {
            self.course.downs()
        } else {
            vec![(self.course.sick_from, self.course.well_from)]
        };
        let known = downs.into_iter().filter_map(|(down, up)| {
            let before = self.moves.iter().rfind(|(at, _)| *at <= down);
            let is_open = before.is_some_and(|(_, to)| *to == BreakerState::Open);
            let opens = self.moves.iter();
            let mut opens = opens.filter(|(at, to)| *at > down && *to == BreakerState::Open);
            let known = if is_open { down } else { opens.next()?.0 };
            // a moment for what is under way
            let from = known + Duration::from_millis(50);
            (from < up).then_some((from, up))
        });
        known.collect()
    }
}

/// Ways in which an origin is out; in the others it still gives most of what it is asked.
fn is_out(way: Way) -> bool {
    !matches!(way, Way::ThirtyPercent | Way::HalfDead)
}

#[test]
fn the_other_seven_do_not_notice() {
    let seed = 7;
    // an essential one, a middling one and the least important one
    for (sick, ways) in ["b", "d", "h"].into_iter().zip(WAYS.chunks(4)) {
        let healthy = virtual_time(async {
            fastrand::seed(seed);
            run(seed, RATE, &NAMES, sick, None, Course::seconds(15, 30, 30)).await
        });
        for way in ways.iter().copied() {
            let run = virtual_time(async {
                fastrand::seed(seed);
                run(
                    seed,
                    RATE,
                    &NAMES,
                    sick,
                    Some(way),
                    Course::seconds(15, 30, 30),
                )
                .await
            });
            let others = NAMES.iter().filter(|name| **name != sick);
            for name in others {
                let (course, same) = (run.course, healthy.course);
                let (whole, p99) = run.of(name, course.sick_from, course.well_from);
                let (whole_then, p99_then) = healthy.of(name, same.sick_from, same.well_from);
                assert!(
                    whole >= whole_then - 0.001,
                    "{sick} is sick ({way:?}): {whole:.4} of {name} are whole, {whole_then:.4} else"
                );
                assert!(
                    p99 <= p99_then.mul_f64(1.05),
                    "{sick} is sick ({way:?}): p99 of {name} is {p99:?}, {p99_then:?} else"
                );
            }
            eprintln!("{}", check_sick(&run, sick, way));
        }
    }
}

/// What is asked of the one that is sick, and what it still gives; in words.
fn check_sick(run: &Run, sick: &str, way: Way) -> String {
    let course = run.course;
    let (whole, _) = run.of(sick, course.sick_from, course.well_from);
    let (whole_again, _) = run.of(sick, course.ends - Duration::from_secs(5), course.ends);
    assert!(
        whole_again > 0.999,
        "{way:?}: {whole_again:.3} are whole again"
    );
    if !is_out(way) {
        assert_eq!(
            run.first_trip(),
            None,
            "{way:?}: what still gives is not given up"
        );
        let expected = if way == Way::HalfDead { 0.98 } else { 0.6 };
        assert!(whole >= expected, "{way:?}: {whole:.3} are whole");
        return format!("{way:?} of {sick}: not given up, {whole:.3} of its blocks are whole");
    }
    let tripped = run
        .first_trip()
        .unwrap_or_else(|| panic!("{way:?} of {sick} is not noticed"));
    let noticed = tripped - course.sick_from;
    assert!(
        noticed < Duration::from_secs(12),
        "{way:?} is noticed after {noticed:?}"
    );
    let (asked, seconds) = run.asked_within(&run.out(way));
    let healthy = RATE * seconds;
    assert!(
        asked as f64 <= (healthy * 0.02).max(1.0),
        "{way:?}: asked {asked} times in {seconds:.0} s, where it is {healthy:.0} times in health"
    );
    format!(
        "{way:?} of {sick}: noticed after {noticed:.1?}, then asked {asked} times in {seconds:.0} s, \
         {:.2} % of {healthy:.0}",
        asked as f64 / healthy * 100.0
    )
}

/// When all requests are let through again, and how often it tripped after it was well.
fn recovery(run: &Run) -> (Duration, usize) {
    // a probe that was under way when it became well
    let settled = run.course.well_from + TIMEOUT;
    let back = run
        .moves
        .iter()
        .rev()
        .find(|(_, to)| *to == BreakerState::Closed);
    let back = back.map_or(Duration::MAX, |(at, _)| {
        at.saturating_duration_since(run.course.well_from)
    });
    let again = run
        .moves
        .iter()
        .filter(|(at, to)| *at > settled && *to == BreakerState::Open);
    (back, again.count())
}

#[test]
fn what_heals_is_back_within_thirty_seconds_and_does_not_trip_again() {
    const SEEDS: u64 = 20;
    let ways = WAYS.into_iter().filter(|way| is_out(*way));
    for way in ways.chain([Way::HalfReturns]) {
        let (mut relapsed, mut longest) = (Vec::new(), Duration::ZERO);
        for seed in 0..SEEDS {
            let rate = [6.0, 12.0, 18.0][seed as usize % 3];
            let run = virtual_time(async {
                fastrand::seed(seed);
                let course = Course::seconds(8, 10 + seed, 35);
                run(seed, rate, &["a", "d"], "d", Some(way), course).await
            });
            let (back, again) = recovery(&run);
            longest = longest.max(back);
            let limit = Duration::from_secs(30);
            assert!(back <= limit, "{way:?}, seed {seed}: back after {back:?}");
            if again > 0 {
                relapsed.push(seed);
            }
        }
        eprintln!("{way:?}: back after {longest:?} at most, a second trip in seeds {relapsed:?}");
        // where half of them stay dead a step too early is no wonder
        let is_few = relapsed.len() as u64 * 20 <= SEEDS || way == Way::HalfReturns;
        assert!(
            is_few,
            "{way:?}: a second trip in seeds {relapsed:?} of {SEEDS}"
        );
    }
}

/// One origin for the article and for two blocks, whose timeouts are shorter than what it takes: the
/// blocks are given up, and no article is.
#[test]
fn blocks_that_ask_too_much_of_an_origin_cost_it_no_article() {
    for seed in 0..5 {
        virtual_time(async {
            fastrand::seed(seed);
            let course = Course::seconds(0, 1, 0);
            let mut toml = String::from(
                "[pages.p]\nroute = \"/p/{id}\"\nlayout = \"layout.html\"\nbudget = \"1s\"\n\
                 snapshot_keep = \"0s\"\n[origins.a]\nurls = [\"http://a.invalid\"]\n",
            );
            for (name, priority, timeout) in [
                ("a", "\"core\"", "800ms"),
                ("b", "40", "10ms"),
                ("c", "30", "12ms"),
            ] {
                let _ = write!(
                    toml,
                    "[fragments.{name}]\npriority = {priority}\nsource = \"a:/{name}\"\n\
                     timeout = \"{timeout}\"\nttl = \"0s\"\n"
                );
            }
            let stage = Stage::with_replicas(&toml, &["a", "b", "c"], |_| {
                vec![Arc::new(Service::new("a", seed, None, course, 0)) as Arc<dyn Origin>]
            });
            for _ in 0..600 {
                let page = stage.ask(0).await;
                assert_eq!(
                    page.outcome("a"),
                    "fetched",
                    "seed {seed}: {:?}",
                    page.report
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let opened = stage.changes().into_iter().any(|(.., change)| {
                matches!(
                    change,
                    OriginChange::Breaker {
                        to: BreakerState::Open,
                        ..
                    }
                )
            });
            assert!(
                opened,
                "seed {seed}: blocks that are never given up prove nothing"
            );
        });
    }
}
