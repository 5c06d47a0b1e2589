//! The scenarios of the law, played in virtual time: each gives the trace that stands beside it, and
//! keeps the bounds that it declares. `MARBRE_REWRITE=1 cargo test --test law` writes the traces anew, to
//! be read before they are committed.
//!
//! And loads and faults of random shape, from many seeds, which keep what must be kept whatever comes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails is meant to panic, and says what to do"
)]

use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;
use marbre::clock::{Clock, Instant};
use marbre::simulate::{self, Run, Scenario};

/// What others build upon; not a scenario itself.
const PLANT: &str = "newsroom.toml";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/law")
}

fn read(name: &str, text: &str) -> Scenario {
    let fetch = |name: &str| fs::read_to_string(folder().join(name)).map_err(|e| e.to_string());
    simulate::read(name, text, &fetch).unwrap_or_else(|found| panic!("{name}:\n{found}"))
}

fn scenarios() -> Vec<PathBuf> {
    let files = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter(|path| path.file_name().is_some_and(|name| name != PLANT))
        .collect();
    files.sort();
    files
}

/// Does something for each of so many, on as many threads as there are cores; what goes wrong is told
/// together.
fn each(count: usize, work: impl Fn(usize) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            loop {
                let one = next.fetch_add(1, Ordering::Relaxed);
                if one >= count {
                    return wrong;
                }
                wrong.extend(work(one).err());
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let wrong = threads.into_iter().map(|thread| thread.join().unwrap());
        wrong.flatten().collect()
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn now() -> Instant {
    Clock::start().now()
}

#[test]
fn every_scenario_gives_its_trace_and_keeps_its_bounds() {
    let (files, start) = (scenarios(), now());
    assert!(files.len() >= 32, "the scenarios are where they were");
    let rewrites = std::env::var_os("MARBRE_REWRITE").is_some();
    each(files.len(), |index| {
        let path = &files[index];
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let scenario = read(&name, &fs::read_to_string(path).unwrap());
        let run = simulate::run(&scenario, scenario.seed, start);
        let trace = simulate::trace(&scenario, &run);
        let beside = path.with_extension("trace");
        if rewrites {
            fs::write(&beside, &trace).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if trace != expected {
            let told = difference(&expected, &trace);
            return Err(format!(
                "{name}: another trace than the one beside it:\n{told}"
            ));
        }
        match run.broken.is_empty() {
            true => Ok(()),
            false => Err(format!("{name}: {:?}", run.broken)),
        }
    });
}

/// The lines that differ.
fn difference(expected: &str, got: &str) -> String {
    let mut told = String::new();
    let (mut one, mut other) = (expected.lines(), got.lines());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return told,
            (one, other) if one == other => {}
            (one, other) => {
                let _ = one.map(|line| writeln!(told, "- {line}"));
                let _ = other.map(|line| writeln!(told, "+ {line}"));
            }
        }
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let path = folder().join("compound.toml");
    let scenario = read("compound.toml", &fs::read_to_string(path).unwrap());
    let trace = |seed| simulate::trace(&scenario, &simulate::run(&scenario, seed, now()));
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// Seeds of random loads and faults.
const SEEDS: u64 = 200;

/// How long the load and the faults change, and how long all is calm behind that; in seconds.
const WILD: u64 = 14;
const CALM: u64 = 20;

/// Turns of theta that each change of the load or of the plant may cause, and that may come by chance in
/// the whole of a run.
const SWINGS: (f64, f64) = (3.0, 8.0);

/// A scenario of random shape, as a file, and how often something changes in it.
fn wild(seed: u64) -> (String, u32) {
    let mut rng = Rng::with_seed(seed);
    let mut text = format!(
        "about = \"random loads and faults, seed {seed}\"\nplant = \"{PLANT}\"\n\n[run]\nfor = \"{}s\"\nevent = [\"0s\", \"{}s\"]\n\n[scale]\nservers = {}\ncosts = {}\n",
        WILD + CALM,
        WILD + CALM,
        [1, 2, 4][rng.usize(0..3)],
        [0.3, 1.0, 1.0, 1.5][rng.usize(0..4)],
    );
    // what is usual must be known to be missed
    text.push_str("\n[[load]]\nat = \"0s\"\nrate = 120\n");
    let mut changes = 1;
    let mut at = 3000;
    while at < WILD * 1000 {
        let rate = [5, 30, 120, 120, 300, 600, 900][rng.usize(0..7)];
        let _ = write!(text, "\n[[load]]\nat = \"{at}ms\"\nrate = {rate}\n");
        if rng.bool() {
            let _ = writeln!(text, "ramp = {}", rng.u32(5..700));
        }
        changes += 1;
        at += rng.u64(300..5000);
    }
    let _ = write!(text, "\n[[load]]\nat = \"{}s\"\nrate = 60\n", WILD + 1);
    let origins = [
        "headlines",
        "related",
        "livefeed",
        "comments",
        "agenda",
        "slideshow",
        "ads",
        "article",
        "*",
    ];
    for _ in 0..rng.usize(0..4) {
        let (at, lasts) = (rng.u64(3..WILD - 3) * 1000, rng.u64(500..6000));
        let lasts = lasts.min(WILD * 1000 - at);
        let with = match rng.usize(0..5) {
            0 => "shared = \"db\"".to_owned(),
            _ => format!("origin = \"{}\"", origins[rng.usize(0..origins.len())]),
        };
        let kind = ["slow", "slow", "hang", "flap"][rng.usize(0..4)];
        let factor = [2, 3, 10, 30][rng.usize(0..4)];
        let _ = write!(
            text,
            "\n[[fault]]\n{with}\nat = \"{at}ms\"\nfor = \"{lasts}ms\"\nkind = \"{kind}\"\nfactor = {factor}\nevery = \"700ms\"\n"
        );
        changes += 2;
    }
    if rng.usize(0..3) == 0 {
        let _ = write!(
            text,
            "\n[[composer.speed]]\nat = \"3s\"\nfactor = {}\n\n[[composer.speed]]\nat = \"{WILD}s\"\nfactor = 1\n",
            [0.25, 0.5, 2.0][rng.usize(0..3)]
        );
        changes += 2;
    }
    (text, changes)
}

/// What must be kept whatever comes.
fn kept(run: &Run, changes: u32) -> Result<(), String> {
    let summary = &run.summary;
    let minutes = (WILD + CALM) as f64 / 60.0;
    let (each, chance) = SWINGS;
    let (swings, most) = (summary.swings * minutes, each * f64::from(changes) + chance);
    match () {
        () if summary.unanswered > 0.0 => {
            Err(format!("{} pages without an article", summary.unanswered))
        }
        () if swings > most => Err(format!(
            "theta has turned {swings:.0} times, and {most:.0} is the most"
        )),
        () if summary.slowest_ms > 1500.0 => {
            Err(format!("a page took {:.0} ms", summary.slowest_ms))
        }
        () if !summary.is_full_at_end => Err("it has not come back to full pages".to_owned()),
        () => Ok(()),
    }
}

#[test]
fn whatever_comes_every_page_has_its_article_and_all_comes_back() {
    let start = now();
    each(SEEDS as usize, |seed| {
        let seed = seed as u64;
        let (text, changes) = wild(seed);
        let scenario = read(&format!("seed {seed}"), &text);
        let run = simulate::run(&scenario, seed, start);
        kept(&run, changes).map_err(|why| format!("seed {seed}: {why}\n{text}"))
    });
}
