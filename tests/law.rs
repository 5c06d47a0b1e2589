//! The scenarios of the law, played in virtual time: each gives the trace that stands beside it, and
//! keeps the bounds that it declares. `MARBRE_REWRITE=1 cargo test --test law` writes the traces anew, to
//! be read before they are committed, and the first table of `docs/simulation.md`; with `-- --ignored` the
//! other tables and the graphs.
//!
//! And loads and faults of random shape, from many seeds, which keep what must be kept whatever comes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails is meant to panic, and says what to do"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;
use marbre::clock::{Clock, Instant};
use marbre::simulate::{self, Run, Scenario};

#[path = "law/tables.rs"]
mod tables;

/// What others build upon; not a scenario itself.
const PLANT: &str = "newsroom.toml";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn folder() -> PathBuf {
    root().join("tests/scenarios/law")
}

/// Whether what is compared is to be written anew.
fn rewrites() -> bool {
    std::env::var_os("MARBRE_REWRITE").is_some()
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
    let (rewrites, figures) = (rewrites(), Mutex::new(BTreeMap::new()));
    each(files.len(), |index| {
        let path = &files[index];
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let scenario = read(&name, &fs::read_to_string(path).unwrap());
        let run = simulate::run(&scenario, scenario.seed, start);
        let trace = simulate::trace(&scenario, &run);
        let known = scenario.name.clone();
        figures.lock().unwrap().insert(known, run.summary.clone());
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
    tables::check_figures(&figures.into_inner().unwrap(), rewrites);
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

/// Seeds whose theta turns often where nothing holds it still.
const RESTLESS: [u64; 4] = [20, 39, 43, 48];

/// How long the load and the faults change, and how long all is calm behind that; in seconds.
const WILD: u64 = 14;
const CALM: u64 = 20;

/// Turns of theta by a tenth and more that a change of the load or of the composer's speed may cause. Between
/// two changes what can be afforded goes one way, or stays where it is, so theta has to turn once at most;
/// and the play with which it follows is more than chance and what is learned of R come to. Whatever origins
/// do gives it no reason to turn at all.
const TURNS: f64 = 1.0;

/// How long after the last change theta may be on its way back, in seconds. From then on it may not fall by
/// a tenth any more.
const SETTLES: u64 = 2;

/// A scenario of random shape, as a file, and how often something changes in it that theta is to follow: the
/// load, and the composer's speed. What origins do is none of that.
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

/// By how much theta falls at most from a moment on, in seconds.
fn falls(run: &Run, from: u64) -> f64 {
    let (mut highest, mut fall) = (0.0_f64, 0.0_f64);
    for line in run.samples().lines() {
        let tick: serde_json::Value = serde_json::from_str(line).unwrap();
        if tick["at_ms"].as_u64().unwrap() >= from * 1000 {
            let theta = tick["theta"].as_f64().unwrap();
            highest = highest.max(theta);
            fall = fall.max(highest - theta);
        }
    }
    fall
}

/// What must be kept whatever comes.
fn kept(run: &Run, changes: u32) -> Result<(), String> {
    let summary = &run.summary;
    let minutes = (WILD + CALM) as f64 / 60.0;
    let (turns, most) = (summary.swings * minutes, TURNS * f64::from(changes));
    // the load is half of the usual one a second after the wild time
    let fall = falls(run, WILD + 1 + SETTLES);
    match () {
        () if summary.unanswered > 0.0 => {
            Err(format!("{} pages were never answered", summary.unanswered))
        }
        () if summary.without_core > 0.0 => {
            Err(format!("{} pages without an article", summary.without_core))
        }
        () if turns > most + 1e-6 => Err(format!(
            "theta has turned {turns:.0} times, and {most:.0} is the most"
        )),
        () if fall >= 0.1 => Err(format!("theta falls by {fall:.2} while all is calm")),
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

/// What holds theta still is what keeps the bound on its turns: without it some seeds break that bound, and
/// so it says something.
#[test]
fn without_what_holds_it_still_theta_turns_too_often() {
    let knobs = "[degradation.work_rate]\ntheta_play = 0.0\narrivals_step = 1.0\nplateau_time = \"0s\"\n\
                 growth = 1.0\ndead_band = 0.0\n";
    let broken = Mutex::new(Vec::new());
    each(RESTLESS.len(), |index| {
        let seed = RESTLESS[index];
        let (text, changes) = wild(seed);
        let scenario = read(&format!("seed {seed}"), &format!("{text}\n{knobs}"));
        let run = simulate::run(&scenario, seed, now());
        broken.lock().unwrap().extend(kept(&run, changes).err());
        Ok(())
    });
    let broken = broken.into_inner().unwrap();
    assert!(
        broken.iter().any(|why| why.contains("has turned")),
        "{broken:?}"
    );
}

/// A page that nobody can give an article is one without it, and the claim above would fail for it.
#[test]
fn a_page_without_an_article_is_noticed() {
    let text = format!(
        "about = \"an article that nobody ever had\"\nplant = \"{PLANT}\"\n\
         [run]\nfor = \"6s\"\nevent = [\"0s\", \"6s\"]\n[[load]]\nat = \"0s\"\nrate = 20\n\
         [[fault]]\norigin = \"article\"\nat = \"0s\"\nfor = \"3s\"\nkind = \"hang\"\n"
    );
    let scenario = read("no article", &text);
    let run = simulate::run(&scenario, 1, now());
    let (without, pages) = (run.summary.without_core, run.summary.pages);
    assert!(without > 0.0 && without < pages, "{without} of {pages}");
    let keys: Vec<_> = run.broken.iter().map(|broken| broken.key).collect();
    assert!(keys.contains(&"without_core_max"), "{keys:?}");
    assert!(kept(&run, 0).unwrap_err().contains("without an article"));
}
