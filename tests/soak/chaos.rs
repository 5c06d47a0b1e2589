//! Moderate load, and faults on purpose all the time: origins that err, hang, drip, are cut off and answer
//! garbage, a shared store that is gone, reloads, purges, pushes, pins with an end, readers who hang up. All of
//! it is drawn from one seed. What is promised to readers is looked at with each page:
//!
//! - every 200 is whole and has its core;
//! - a page that was seen once is never an error page again;
//! - no page takes longer than its budget and [`GRACE`], but for the time by which this program itself was late;
//! - every request has an answer.
//!
//! In the end memory, descriptors, threads and tasks are flat: see [`report`].

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::TaskTracker;

use crate::figures::SPREAD;
use crate::origin::{HEALTHY, Origin, origin, turn};
use crate::server::{Sample, Server};
use crate::site::{Process, free_port, store, write_site};
use crate::{ask, numbered, of};

mod readers;
mod report;

use readers::{Late, Seen};

/// Beyond its budget, what a page has for being asked for, carried and read on a machine that does other
/// things too.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// Readers, each of whom reads for a while: together some 25 pages a second.
const READERS: u64 = 10;

/// Different pages, all of which fit into the copies.
const SLUGS: u64 = 300;

/// Faults in force at the same time.
const FAULTS_MAX: usize = 4;

/// How long the shared store is gone, in seconds, and how often that is.
const STORE_GONE: u64 = 10;
const STORE_GONE_EVERY: u64 = 50;

/// How long the server has to come to rest in the end, in seconds.
const REST: u64 = 60;

/// What was done to the server.
#[derive(Default)]
struct Done {
    faults: AtomicU64,
    purges: AtomicU64,
    pushes: AtomicU64,
    reloads: AtomicU64,
    switches: AtomicU64,
    store_gone: AtomicU64,
    refused: AtomicU64,
}

/// All that a report is made of.
struct Told {
    minutes: u64,
    seed: u64,
    has_store: bool,
    runs: bool,
    panics: u64,
    idle: [Sample; 2],
    samples: Vec<Sample>,
    /// Faults that had been set by each sample.
    faults: Vec<u64>,
    seen: Arc<Seen>,
    done: Done,
}

/// Runs for so long, and tells whether all was well.
pub(crate) async fn soak(minutes: u64, seed: u64, to: Option<&Path>) -> bool {
    println!("soak of {minutes} minutes with faults, MARBRE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let tasks = TaskTracker::new();
    let (numbers, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let mut origins = Vec::new();
    for _ in 0..3 {
        origins.push(origin(&tasks, &numbers, rng.fork()).await);
    }
    let port = free_port();
    let shared = store(port);
    let has_store = shared.is_some();
    let site = tempfile::tempdir().unwrap();
    write_site(&site, &origins, has_store.then_some(port), 1);
    let mut server = Server::start(site.path());
    let seen = Arc::new(Seen::default());
    let late = Late::watch(&tasks, &over);
    sleep(Duration::from_secs(2)).await;
    let idle = server.sample(site.path(), &seen.whole).await;
    for _ in 0..READERS {
        let reader = readers::Reader {
            pages: server.pages,
            seen: Arc::clone(&seen),
            over: Arc::clone(&over),
            late: late.clone(),
            rng: rng.fork(),
        };
        tasks.spawn(reader.read());
    }
    let mut desk = Desk {
        rng,
        faults: Vec::new(),
        shared,
        port,
        has_store,
        numbers,
        done: Done::default(),
    };
    let (mut samples, mut faults) = (Vec::new(), Vec::new());
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0..minutes * 60 {
        every.tick().await;
        samples.push(server.sample(site.path(), &seen.whole).await);
        faults.push(of(&desk.done.faults));
        seen.next_second();
        desk.disturb(second, &server, &origins).await;
        if second % 5 == 4 {
            let ttl = desk.rng.u64(1..4);
            write_site(&site, &origins, has_store.then_some(port), ttl);
            let reload = server.operate("POST", "/reload");
            ask(reload, &desk.done.reloads, &desk.done.refused).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    desk.rest(&server, &origins).await;
    let runs = server.runs();
    let rested = rested(&server, site.path(), &seen, &idle).await;
    let told = Told {
        minutes,
        seed,
        has_store,
        runs,
        panics: of(&server.panics),
        idle: [idle, rested],
        samples,
        faults,
        seen,
        done: desk.done,
    };
    let (text, is_well) = report::markdown(&told);
    println!("\n{text}");
    if let Some(path) = to {
        fs::write(path, text).unwrap();
    }
    is_well
}

/// How the server is once nobody asks for anything, as soon as it has come to rest.
async fn rested(server: &Server, site: &Path, seen: &Seen, idle: &Sample) -> Sample {
    let mut sample = Sample::default();
    for _ in 0..REST {
        sleep(Duration::from_secs(1)).await;
        sample = server.sample(site, &seen.whole).await;
        let is_near = |now: f64, then: f64| now <= then + SPREAD / 2.0;
        if is_near(sample.descriptors, idle.descriptors) && is_near(sample.tasks, idle.tasks) {
            break;
        }
    }
    sample
}

/// Whoever disturbs the server.
struct Desk {
    rng: fastrand::Rng,
    /// Faults in force, and the second in which each is over.
    faults: Vec<(String, u64)>,
    shared: Option<Process>,
    port: u16,
    has_store: bool,
    numbers: Arc<AtomicU64>,
    done: Done,
}

impl Desk {
    /// What happens in this second.
    async fn disturb(&mut self, second: u64, server: &Server, origins: &[Origin]) {
        if second.is_multiple_of(2) {
            for (_, mood) in origins {
                turn(mood, &mut self.rng);
            }
        }
        self.faults.retain(|(_, until)| *until > second);
        if self.faults.len() < FAULTS_MAX && self.rng.u8(..3) == 0 {
            self.fault(second, server).await;
        }
        self.purge_and_push(server).await;
        if second % 20 == 10 {
            let level = self.rng.u8(..3);
            self.switch(server, "pin", &json!({ "level": level })).await;
        }
        if second % 30 == 15 {
            self.switch(server, "block/ad", &json!({ "off": true }))
                .await;
        }
        if self.has_store {
            match second % STORE_GONE_EVERY {
                STORE_GONE => self.shared = store(self.port).or(self.shared.take()),
                0 if second > 0 => {
                    self.shared = None;
                    self.done.store_gone.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    /// A fault of any kind, on anything.
    async fn fault(&mut self, second: u64, server: &Server) {
        let on_store = self.has_store && self.rng.u8(..8) == 0;
        let (target, name) = match (on_store, self.rng.bool()) {
            (true, _) => ("store", json!(true)),
            (false, true) => ("origin", json!(self.rng.choice(["cms", "web", "ads"]))),
            (false, false) => {
                let blocks = ["article", "aside", "live", "ticker", "ad"];
                ("fragment", json!(self.rng.choice(blocks)))
            }
        };
        let harm = match on_store {
            true => self.rng.choice(["latency", "error", "refuse", "hang"]),
            false => self.rng.choice([
                "latency",
                "slow-start",
                "error",
                "refuse",
                "reset",
                "hang",
                "cut",
                "drip",
                "garbage",
            ]),
        };
        let lasts = self.rng.u64(2..=15);
        let mut fault = json!({
            "harm": harm, "for": format!("{lasts}s"), "owner": "soak", "reason": "a soak",
        });
        fault[target] = name;
        if matches!(harm, Some("latency" | "slow-start")) {
            fault["latency"] = json!(format!("{}ms", self.rng.u64(1..3000)));
        }
        if !on_store && self.rng.u8(..4) == 0 {
            fault["share"] = json!(0.3);
        }
        let name = format!("f{second}");
        let set = server.operate("PUT", &format!("/chaos/{name}"));
        let set = set.body(fault.to_string());
        ask(set, &self.done.faults, &self.done.refused).await;
        self.faults.push((name, second + lasts));
    }

    /// Copies are made stale, never thrown away: a page that was seen must come again.
    async fn purge_and_push(&mut self, server: &Server) {
        let slug = self.rng.u64(..SLUGS);
        let what = match self.rng.u8(..20) {
            0 => json!({ "all": true }),
            1..4 => json!({ "fragment": "live" }),
            _ => json!({ "fragment": "article", "key": format!("/article/{slug}") }),
        };
        let purge = server.operate("POST", "/purge").body(what.to_string());
        let purge = purge.header("content-type", "application/json");
        ask(purge, &self.done.purges, &self.done.refused).await;
        let name = format!("/article/{}", self.rng.u64(..SLUGS));
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let body = numbered::piece_within(&name, number, &(500..=5000));
        let push = server.operate("PUT", &format!("/fragments/article{name}"));
        let push = push.body(body).header("content-type", "text/html");
        ask(push, &self.done.pushes, &self.done.refused).await;
    }

    /// A switch that ends by itself.
    async fn switch(&mut self, server: &Server, subject: &str, what: &Value) {
        let mut body = json!({ "owner": "soak", "reason": "a soak", "for": "3s" });
        let keys = what.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(keys);
        let set = server.operate("PUT", &format!("/switches/{subject}"));
        let set = set.body(body.to_string());
        ask(set, &self.done.switches, &self.done.refused).await;
    }

    /// All is well again.
    async fn rest(&mut self, server: &Server, origins: &[Origin]) {
        for (_, mood) in origins {
            mood.store(HEALTHY, Ordering::Relaxed);
        }
        for (name, _) in std::mem::take(&mut self.faults) {
            // one that has ended by itself is refused
            let _ = server
                .operate("DELETE", &format!("/chaos/{name}"))
                .send()
                .await;
        }
        if self.has_store && self.shared.is_none() {
            self.shared = store(self.port);
        }
    }
}

/// A line of a table.
fn row(text: &mut String, cells: &[String]) {
    writeln!(text, "| {} |", cells.join(" | ")).unwrap();
}
