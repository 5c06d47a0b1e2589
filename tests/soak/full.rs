//! The server at full speed: sixteen readers who ask as fast as they are answered. Judged is what comes after
//! a warm-up of a third of the time:
//!
//! | what | flat means |
//! |---|---|
//! | memory (RSS) | the line through the samples climbs by less than [`CLIMB_MAX`] of their mean, and none is above [`PEAK_MAX`] times their median |
//! | descriptors, threads | the most of the last third is not above the most of the middle third by more than [`SPREAD`] |
//! | state folder | never above its limit by more than [`FOLDER_SPARE`] |
//! | pages | every 200 is whole, in order, and has its core; none is waited for in vain |
//! | log | no panic |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use crate::figures::{CLIMB_MAX, FOLDER_SPARE, MIB, PEAK_MAX, SPREAD, climb, most};
use crate::origin::{origin, turn};
use crate::server::{Sample, Server};
use crate::site::{STATE_BYTES, free_port, store, write_site};
use crate::{ask, numbered, of, up};

const READERS: u64 = 16;
const SLUGS: u64 = 3000;

#[derive(Default)]
struct Tally {
    whole: AtomicU64,
    unavailable: AtomicU64,
    other: AtomicU64,
    /// A 200 that is not what it should be.
    bad: AtomicU64,
    lost: AtomicU64,
    purges: AtomicU64,
    pushes: AtomicU64,
    reloads: AtomicU64,
    refused: AtomicU64,
    examples: Mutex<Vec<String>>,
}

pub(crate) async fn soak(seconds: u64, seed: u64) -> bool {
    println!("soak of {seconds} s, MARBRE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (tasks, tally) = (TaskTracker::new(), Arc::new(Tally::default()));
    let over = Arc::new(AtomicBool::new(false));
    let numbers = Arc::new(AtomicU64::default());
    let mut origins = Vec::new();
    for _ in 0..3 {
        origins.push(origin(&tasks, &numbers, rng.fork()).await);
    }
    let port = free_port();
    let store = store(port);
    let port = store.as_ref().map(|_| port);
    let site = tempfile::tempdir().unwrap();
    write_site(&site, &origins, port, 1);
    let mut server = Server::start(site.path());
    let (client, pages, admin) = (server.client.clone(), server.pages, server.admin);
    for _ in 0..READERS {
        let (client, tally, over) = (client.clone(), Arc::clone(&tally), Arc::clone(&over));
        tasks.spawn(read(client, pages, tally, over, rng.fork()));
    }
    let has_push = client.get(format!("http://{admin}/fragments")).send().await;
    let has_push =
        has_push.is_ok_and(|answer| answer.status() != 404) || server.has("/fragments/").await;

    let mut samples: Vec<Sample> = Vec::new();
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0..seconds {
        every.tick().await;
        samples.push(server.sample(site.path(), &tally.whole).await);
        if second % 2 == 0 {
            for (_, mood) in &origins {
                turn(mood, &mut rng);
            }
        }
        if has_push {
            let slug = rng.u64(..SLUGS);
            let what = match rng.u8(..20) {
                0 => r#"{"all": true}"#.to_owned(),
                1..4 => r#"{"fragment": "live"}"#.to_owned(),
                _ => format!(
                    r#"{{"fragment": "article", "key": "/article/{slug}", "hard": {}}}"#,
                    rng.bool()
                ),
            };
            let purge = client.post(format!("http://{admin}/purge")).body(what);
            ask(
                purge.header("content-type", "application/json"),
                &tally.purges,
                &tally.refused,
            )
            .await;
            for _ in 0..10 {
                let name = format!("/article/{}", rng.u64(..SLUGS));
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let body = numbered::piece_within(&name, number, &(500..=5000));
                let push = client
                    .put(format!("http://{admin}/fragments/article{name}"))
                    .body(body);
                ask(
                    push.header("content-type", "text/html"),
                    &tally.pushes,
                    &tally.refused,
                )
                .await;
            }
        }
        if second % 5 == 4 {
            write_site(&site, &origins, port, rng.u64(1..4));
            let reload = client.post(format!("http://{admin}/reload"));
            ask(reload, &tally.reloads, &tally.refused).await;
        }
        if second % 30 == 0 {
            tell(second, samples.last().unwrap());
        }
    }
    let runs = server.runs();
    let state = server.state().await;
    over.store(true, Ordering::Relaxed);
    report(
        &samples,
        &tally,
        of(&server.panics),
        runs,
        &state,
        store.is_some(),
        has_push,
    )
}

/// Some stories are read far more than others.
fn any_slug(rng: &mut fastrand::Rng) -> u64 {
    (rng.f64().powi(3) * SLUGS as f64) as u64
}

async fn read(
    client: reqwest::Client,
    pages: SocketAddr,
    tally: Arc<Tally>,
    over: Arc<AtomicBool>,
    mut rng: fastrand::Rng,
) {
    while !over.load(Ordering::Relaxed) {
        let slug = any_slug(&mut rng);
        let answer = client.get(format!("http://{pages}/p/{slug}")).send().await;
        let Ok(answer) = answer else {
            up(&tally.lost);
            continue;
        };
        let status = answer.status().as_u16();
        let Ok(body) = answer.text().await else {
            up(&tally.lost);
            continue;
        };
        up(match status {
            200 => match numbered::pieces(&body) {
                Ok(found) if found.contains_key(&format!("/article/{slug}")) => &tally.whole,
                other => {
                    let mut examples = tally.examples.lock();
                    if examples.len() < 3 {
                        examples.push(format!("page {slug}: {other:?}"));
                    }
                    &tally.bad
                }
            },
            503 => &tally.unavailable,
            _ => &tally.other,
        });
    }
}

fn tell(second: u64, sample: &Sample) {
    if second == 0 {
        println!("     s  RSS MiB   fds  threads  folder MiB  cache MiB      pages");
    }
    println!(
        "{second:6}  {:7.1}  {:4}  {:7}  {:10.1}  {:9.1}  {:9}",
        sample.rss,
        sample.descriptors,
        sample.threads,
        sample.folder as f64 / MIB,
        sample.cache as f64 / MIB,
        sample.pages
    );
}

fn report(
    samples: &[Sample],
    tally: &Tally,
    panics: u64,
    runs: bool,
    state: &Value,
    has_store: bool,
    has_push: bool,
) -> bool {
    let third = samples.len() / 3;
    tell(samples.len() as u64, samples.last().unwrap());
    let (middle, last) = (&samples[third..2 * third], &samples[2 * third..]);
    let rss: Vec<f64> = samples[third..].iter().map(|sample| sample.rss).collect();
    let mut sorted = rss.clone();
    sorted.sort_by(f64::total_cmp);
    let (mean, median) = (
        rss.iter().sum::<f64>() / rss.len() as f64,
        sorted[sorted.len() / 2],
    );
    let (climbs, peak) = (climb(&rss) / mean, sorted[sorted.len() - 1] / median);
    let (fds, threads) = (|s: &Sample| s.descriptors, |s: &Sample| s.threads);
    let folder = samples
        .iter()
        .map(|sample| sample.folder)
        .max()
        .unwrap_or_default();
    let mut is_well = true;
    let mut row = |what: &str, seen: String, bound: String, ok: bool| {
        is_well &= ok;
        println!(
            "| {what} | {seen} | {bound} | {} |",
            if ok { "ok" } else { "FAILED" }
        );
    };
    println!("\n| what | seen | bound | |\n|---|---|---|---|");
    row(
        "memory, climb after warm-up",
        format!("{:+.1} % of {mean:.1} MiB", climbs * 100.0),
        format!("{:.0} %", CLIMB_MAX * 100.0),
        climbs < CLIMB_MAX,
    );
    row(
        "memory, peak over median",
        format!("{peak:.2}"),
        format!("{PEAK_MAX}"),
        peak < PEAK_MAX,
    );
    for (what, of) in [
        ("descriptors", &fds as &dyn Fn(&Sample) -> f64),
        ("threads", &threads),
    ] {
        let (before, after) = (most(middle, of), most(last, of));
        row(
            what,
            format!("most {before}, then {after}"),
            format!("+{SPREAD}"),
            after <= before + SPREAD,
        );
    }
    row(
        "state folder",
        format!("{:.1} MiB", folder as f64 / MIB),
        format!("{:.1} MiB", (STATE_BYTES + FOLDER_SPARE) as f64 / MIB),
        folder <= STATE_BYTES + FOLDER_SPARE,
    );
    row(
        "whole pages",
        of(&tally.whole).to_string(),
        "> 0".to_owned(),
        of(&tally.whole) > 0,
    );
    row(
        "wrong pages",
        of(&tally.bad).to_string(),
        "0".to_owned(),
        of(&tally.bad) == 0,
    );
    row(
        "no answer",
        of(&tally.lost).to_string(),
        "0".to_owned(),
        of(&tally.lost) == 0,
    );
    row(
        "other statuses",
        of(&tally.other).to_string(),
        "0".to_owned(),
        of(&tally.other) == 0,
    );
    row("panics", panics.to_string(), "0".to_owned(), panics == 0);
    row("runs to the end", runs.to_string(), "true".to_owned(), runs);
    println!(
        "\n503: {}; purges {}, pushes {} ({}); reloads {}; refused by the admin API {}; shared store {}\n\
         disk: {}\nshared: {}",
        of(&tally.unavailable),
        of(&tally.purges),
        of(&tally.pushes),
        if has_push { "tried" } else { "no such API" },
        of(&tally.reloads),
        of(&tally.refused),
        if has_store {
            "on"
        } else {
            "off: no redis-server"
        },
        state["disk"],
        state["shared"]
    );
    for example in tally.examples.lock().iter() {
        println!("wrong: {}", example.chars().take(400).collect::<String>());
    }
    println!("{}", if is_well { "flat" } else { "FAILED" });
    is_well
}
