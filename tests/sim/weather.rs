//! The whole server minus its sockets under a weather that a seed draws: origins that turn sick, a store
//! that hangs, operators, other nodes, reloads, restarts and readers who leave, all in virtual time. After
//! each event all promises are checked that can be, in one place ([`promises`]).
//!
//! `MARBRE_SEED=N cargo test --test sim weather` plays one seed, and prints all that has happened in it.
//! `MARBRE_SEEDS=10000 cargo test --release --test sim weather` plays as many, or those of `FROM..TO`.

#![allow(
    clippy::print_stderr,
    reason = "whoever sees a seed fail is told how to see it again"
)]

mod broken;
mod declared;
mod events;
mod newsroom;
mod promises;
mod reader;
mod run;
mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use marbre::clock::Clock;
use parking_lot::Mutex;

use crate::{in_virtual_time, seed_to_replay};
use promises::Met;
use run::Run;

/// Seeds that are the same each time.
const FIXED: u64 = 200;

/// Seeds that nobody has played before.
const FRESH: u64 = 20;

/// Fresh seeds are beyond all that anybody plays by count.
const FRESH_FROM: u64 = 1 << 40;

fn play(seed: u64) -> Run {
    fastrand::seed(seed);
    in_virtual_time(run::play(seed))
}

/// Plays these seeds on all cores, one at a time on each, and tells what was met.
fn play_all(seeds: std::ops::Range<u64>) -> Met {
    let next = AtomicU64::new(seeds.start);
    let (met, failed) = (Mutex::new(Met::new()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match std::panic::catch_unwind(|| play(seed)) {
                        Ok(run) => {
                            let mut met = met.lock();
                            *met.entry("seeds").or_default() += 1;
                            for (what, count) in &run.met {
                                *met.entry(what).or_default() += count;
                            }
                            if let Some(broken) = run.broken {
                                failed.lock().push((seed, broken.to_string()));
                            }
                        }
                        Err(_) => failed.lock().push((seed, "it panics".to_owned())),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    for (seed, why) in &failed {
        eprintln!("seed {seed}: {why}\n  MARBRE_SEED={seed} cargo test --test sim weather");
    }
    let met = met.into_inner();
    eprintln!("{met:#?}");
    assert!(
        failed.is_empty(),
        "{} of {seeds:?} have a broken promise",
        failed.len()
    );
    met
}

/// What every long enough run must have met: where nothing goes wrong nothing is proved.
fn is_weather(met: &Met) {
    const KINDS: [&str; 45] = [
        "absent",
        "cached",
        "calms",
        "crowds",
        "degraded",
        "failed",
        "faults",
        "faults ended",
        "fetched",
        "full",
        "heads",
        "inline",
        "left before the head",
        "noise of other nodes",
        "pages",
        "panics of origins",
        "purges",
        "purges of other nodes",
        "readers",
        "recoveries",
        "refused",
        "reloads",
        "reloads refused",
        "restarts",
        "restarts with the clock off",
        "shed",
        "sibling",
        "snapshots",
        "stale",
        "switched",
        "switches",
        "switches cleared",
        "switches of other nodes",
        "ticks",
        "troubles of the store",
        "turns of origins",
        "unavailable",
        "unchanged",
        "found in the store",
        "not had of the store",
        "messages of other nodes",
        "changes of the level",
        "pages not composed in full",
        "origins left alone",
        "switches heard of",
    ];
    for kind in KINDS {
        assert!(
            met.get(kind).is_some_and(|count| *count > 0),
            "no {kind}: {met:#?}"
        );
    }
    assert!(met["pages"] >= 10_000, "{met:#?}");
}

/// The seeds that are wanted, if some are.
fn wanted() -> Option<std::ops::Range<u64>> {
    let wanted = std::env::var("MARBRE_SEEDS").ok()?;
    let number = |text: &str| {
        text.parse::<u64>()
            .expect("MARBRE_SEEDS is COUNT or FROM..TO")
    };
    Some(match wanted.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&wanted),
    })
}

#[test]
fn under_every_weather_the_promises_hold() {
    if let Some(seed) = seed_to_replay() {
        let run = play(seed);
        eprintln!("{}{:#?}", run.transcript, run.met);
        assert!(run.broken.is_none(), "seed {seed}: {}", run.broken.unwrap());
        return;
    }
    if let Some(seeds) = wanted() {
        is_weather(&play_all(seeds));
        return;
    }
    is_weather(&play_all(0..FIXED));
    let fresh = fresh();
    eprintln!("fresh seeds: {fresh:?}");
    play_all(fresh);
}

/// Other ones each second.
fn fresh() -> std::ops::Range<u64> {
    let clock = Clock::start();
    let seconds = clock.moment(clock.now()).micros() / 1_000_000;
    let from = FRESH_FROM + FRESH * seconds;
    from..from + FRESH
}

#[test]
fn a_seed_replays_exactly() {
    let mut others = Vec::new();
    for seed in (0..16).filter(|seed| !run::is_crowded(*seed)) {
        let (once, again) = (play(seed), play(seed));
        if once.digest() != again.digest() {
            let lines = once.transcript.lines().zip(again.transcript.lines());
            let other = lines.enumerate().find(|(_, (once, again))| once != again);
            others.push(format!("seed {seed}: {other:?}"));
        }
    }
    assert!(others.is_empty(), "not the same twice: {others:#?}");
}
