//! What is watched while a run goes on: the server's ticks, its breakers, and the processors. Owns the
//! questions and how their answers are read; a server that does not know a question is not watched that
//! way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::load::{Readers, client};
use super::plant;

/// One tick of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// In seconds of the run.
    pub(crate) at: f64,
    pub(crate) theta: f64,
    pub(crate) admit: f64,
    /// Work that can be done, in milliseconds a second.
    pub(crate) rate: f64,
    pub(crate) queue_delay_ms: f64,
}

/// A breaker has opened, or has closed again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// In seconds of the run.
    pub(crate) at: f64,
    pub(crate) block: usize,
    pub(crate) is_open: bool,
}

/// What the processors did in one second, each as a share of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Busy {
    /// Server, origins and load.
    pub(crate) rig: f64,
    pub(crate) server: f64,
    /// The whole machine.
    pub(crate) machine: f64,
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) ticks: Vec<Tick>,
    pub(crate) turns: Vec<Turn>,
    /// One a second.
    pub(crate) busy: Vec<Busy>,
}

/// An answer that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks at the breakers.
const LOOK: Duration = Duration::from_millis(100);

/// Looks at the breakers between two looks at the ticks.
const LOOKS_A_FETCH: u64 = 5;

/// Looks at the breakers between two looks at the processors.
const LOOKS_A_SECOND: u64 = 10;

/// Watches until it is dropped.
pub(crate) async fn watch(
    readers: Rc<Readers>,
    admin: SocketAddr,
    server: u32,
    origins: u32,
    seen: Rc<RefCell<Seen>>,
) {
    let client = client(PATIENCE);
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let began_ms = readers.began_ms();
    let mut since = began_ms;
    let mut open = BTreeMap::new();
    let mut before = Used::now(server, origins);
    for look in 0_u64.. {
        every.tick().await;
        let state = get(&client, format!("http://{admin}/state")).await;
        if let Some(state) = state.and_then(|text| serde_json::from_str(&text).ok()) {
            let turns = turns(&state, readers.elapsed(), &mut open);
            seen.borrow_mut().turns.extend(turns);
        }
        if look % LOOKS_A_FETCH == 0 {
            let url = format!("http://{admin}/samples?since={since:.0}");
            let text = get(&client, url).await.unwrap_or_default();
            let new = ticks(&text, began_ms);
            if let Some(last) = new.last() {
                since = last.at * 1000.0 + began_ms;
            }
            seen.borrow_mut().ticks.extend(new);
        }
        if look % LOOKS_A_SECOND == LOOKS_A_SECOND - 1 {
            let now = Used::now(server, origins);
            seen.borrow_mut().busy.push(now.since(&before));
            before = now;
        }
    }
}

async fn get(client: &reqwest::Client, url: String) -> Option<String> {
    let answer = client.get(url).send().await.ok()?;
    let answer = answer.error_for_status().ok()?;
    answer.text().await.ok()
}

/// Ticks of these lines, each of JSON; `began_ms` is when the run began, in milliseconds since 1970.
fn ticks(lines: &str, began_ms: f64) -> Vec<Tick> {
    let tick = |line: &str| {
        let tick: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| tick[name].as_f64();
        Some(Tick {
            at: (number("at_ms")? - began_ms) / 1000.0,
            theta: number("theta")?,
            admit: number("admit")?,
            rate: number("rate").unwrap_or(f64::NAN),
            queue_delay_ms: number("queue_delay_ms").unwrap_or(f64::NAN),
        })
    };
    lines.lines().filter_map(tick).collect()
}

/// Breakers that have turned since `open`, which says of each whether it was open. Whether an origin is
/// being tried out is no matter here: it is closed again when its pages ask it.
fn turns(state: &Value, at: f64, open: &mut BTreeMap<usize, bool>) -> Vec<Turn> {
    let mut turns = Vec::new();
    for (block, plan) in plant::BLOCKS.iter().enumerate() {
        let grade = if block == plant::CORE {
            "core"
        } else {
            "optional"
        };
        let Some(state) = state["origins"][plan.name]["breaker"][grade]["state"].as_str() else {
            continue;
        };
        let is_open = matches!(state, "open" | "half_open");
        let was_open = open.insert(block, is_open).unwrap_or(false);
        if is_open != was_open {
            turns.push(Turn { at, block, is_open });
        }
    }
    turns
}

/// Processor time that was used up to a moment, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    server: f64,
    rig: f64,
    machine: f64,
    all: f64,
}

impl Used {
    fn now(server: u32, origins: u32) -> Self {
        let server = of_process(server);
        let rig = server + of_process(origins) + of_process(std::process::id());
        let (machine, all) = of_machine();
        Self {
            server,
            rig,
            machine,
            all,
        }
    }

    fn since(&self, before: &Self) -> Busy {
        let all = (self.all - before.all).max(1.0);
        Busy {
            rig: (self.rig - before.rig) / all,
            server: (self.server - before.server) / all,
            machine: (self.machine - before.machine) / all,
        }
    }
}

/// User and system time of a process.
fn of_process(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    next().unwrap_or_default() + next().unwrap_or_default()
}

/// Time in which the machine did something, and all of it.
fn of_machine() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1);
    // user, nice, system, idle, iowait, irq, softirq, steal
    let numbers: Vec<f64> = numbers
        .take(8)
        .map(|n| n.parse().unwrap_or_default())
        .collect();
    let all: f64 = numbers.iter().sum();
    let idle: f64 = numbers.iter().skip(3).take(2).sum();
    (all - idle, all)
}
