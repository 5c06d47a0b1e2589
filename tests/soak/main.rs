//! A soak: the release build at full speed for some minutes, while its origins are slow, wrong,
//! silent and cut off by turns, copies are purged and pushed, and the site is reloaded. Run by
//! `tests/soak/run MINUTES`; prints a report of one page, and fails if something grows.
//!
//! Judged is what comes after a warm-up of a third of the time:
//!
//! | what | flat means |
//! |---|---|
//! | memory (RSS) | the line through the samples climbs by less than [`CLIMB_MAX`] of their mean, and none is above [`PEAK_MAX`] times their median |
//! | descriptors, threads | the most of the last third is not above the most of the middle third by more than [`SPREAD`] |
//! | state folder | never above its limit by more than [`FOLDER_SPARE`] |
//! | pages | every 200 is whole, in order, and has its core; none is waited for in vain |
//! | log | no panic |

#![allow(
    clippy::unwrap_used,
    reason = "a soak that cannot run is meant to panic"
)]
#![allow(clippy::print_stdout, reason = "it prints a report")]

#[path = "../it/support/numbered.rs"]
mod numbered;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::TaskTracker;

const CLIMB_MAX: f64 = 0.10;
const PEAK_MAX: f64 = 1.30;
const SPREAD: f64 = 40.0;
const STATE_BYTES: u64 = 64 << 20;
const FOLDER_SPARE: u64 = 1 << 20;

const READERS: u64 = 16;
const SLUGS: u64 = 3000;
const MINUTES: u64 = 10;
const MINUTES_MAX: u64 = 24 * 60;
/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How an origin answers.
const HEALTHY: u8 = 0;
const SLOW: u8 = 1;
const WRONG: u8 = 2;
const SILENT: u8 = 3;
const CUT: u8 = 4;
const DRIP: u8 = 5;
const MOODS: [&str; 6] = ["healthy", "slow", "wrong", "silent", "cut", "drip"];

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
    number: AtomicU64,
    examples: Mutex<Vec<String>>,
}

fn up(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn of(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[derive(Clone, Default)]
struct Sample {
    rss: f64,
    descriptors: f64,
    threads: f64,
    folder: u64,
    cache: u64,
    pages: u64,
}

/// A process that ends with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> ExitCode {
    let minutes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let minutes: u64 = minutes.unwrap_or(MINUTES).clamp(1, MINUTES_MAX);
    let seed = std::env::var("MARBRE_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().worker_threads(2).build().unwrap();
    let is_well = runtime.block_on(soak(minutes * 60, seed));
    runtime.shutdown_background();
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn soak(seconds: u64, seed: u64) -> bool {
    println!("soak of {seconds} s, MARBRE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (tasks, tally) = (TaskTracker::new(), Arc::new(Tally::default()));
    let over = Arc::new(AtomicBool::new(false));
    let mut origins = Vec::new();
    for _ in 0..3 {
        origins.push(origin(&tasks, &tally, rng.fork()).await);
    }
    let store = store();
    let site = tempfile::tempdir().unwrap();
    write_site(&site, &origins, store.as_ref().map(|(_, port)| *port), 1);
    let mut server = Command::new(env!("CARGO_BIN_EXE_marbre"));
    server
        .arg("serve")
        .current_dir(site.path())
        .env("NO_COLOR", "1");
    let spawned = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut server = Process(spawned.unwrap());
    let pid = server.0.id();
    let (panics, mut lines) = (Arc::new(AtomicU64::new(0)), {
        BufReader::new(server.0.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok)
    });
    let mut address = |what: &str| -> SocketAddr {
        let line = lines
            .find(|line| line.starts_with(what))
            .expect("it starts");
        let url = line.rsplit("http://").next().unwrap();
        url.trim_end_matches('/').parse().unwrap()
    };
    let (pages, admin) = (address("pages"), address("operators"));
    let panicked = Arc::clone(&panics);
    std::thread::spawn(move || {
        for line in lines.filter(|line| line.contains("panicked")) {
            println!("{line}");
            up(&panicked);
        }
    });

    let client = client();
    for _ in 0..READERS {
        let (client, tally, over) = (client.clone(), Arc::clone(&tally), Arc::clone(&over));
        tasks.spawn(read(client, pages, tally, over, rng.fork()));
    }
    let has_push = client.get(format!("http://{admin}/fragments")).send().await;
    let has_push = has_push.is_ok_and(|answer| answer.status() != 404)
        || has_operator(&client, admin, "/fragments/").await;

    let mut samples: Vec<Sample> = Vec::new();
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0..seconds {
        every.tick().await;
        samples.push(sample(pid, &client, admin, site.path(), &tally).await);
        if second % 2 == 0 {
            for (_, mood) in &origins {
                // half of the time all is well
                let turn = rng.u8(..MOODS.len() as u8 * 2);
                mood.store(
                    if turn < MOODS.len() as u8 {
                        turn
                    } else {
                        HEALTHY
                    },
                    Ordering::Relaxed,
                );
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
                let number = tally.number.fetch_add(1, Ordering::Relaxed);
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
            write_site(
                &site,
                &origins,
                store.as_ref().map(|(_, port)| *port),
                rng.u64(1..4),
            );
            let reload = client.post(format!("http://{admin}/reload"));
            ask(reload, &tally.reloads, &tally.refused).await;
        }
        if second % 30 == 0 {
            tell(second, samples.last().unwrap());
        }
    }
    let runs = server.0.try_wait().unwrap().is_none();
    let state = state(&client, admin).await;
    over.store(true, Ordering::Relaxed);
    report(
        &samples,
        &tally,
        of(&panics),
        runs,
        &state,
        store.is_some(),
        has_push,
    )
}

async fn has_operator(client: &reqwest::Client, admin: SocketAddr, path: &str) -> bool {
    let index = client.get(format!("http://{admin}/")).send().await;
    let Ok(index) = index else { return false };
    index.text().await.is_ok_and(|text| text.contains(path))
}

async fn ask(request: reqwest::RequestBuilder, done: &AtomicU64, refused: &AtomicU64) {
    let answer = request.send().await;
    up(
        match answer.is_ok_and(|answer| answer.status().is_success()) {
            true => done,
            false => refused,
        },
    );
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    client.build().unwrap()
}

fn write_site(site: &TempDir, origins: &[(String, Arc<AtomicU8>)], store: Option<u16>, ttl: u64) {
    let mut toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_size = \"{}MiB\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [limits]\ncache_size = \"32MiB\"\n",
        STATE_BYTES >> 20
    );
    if let Some(port) = store {
        write!(toml, "[shared]\nvalkey = \"redis://127.0.0.1:{port}\"\n").unwrap();
    }
    for (name, (url, _)) in ["cms", "web", "ads"].iter().zip(origins) {
        write!(
            toml,
            "[origins.{name}]\nurls = [\"{url}\"]\ntimeout = \"1s\"\n"
        )
        .unwrap();
    }
    let required = format!("ttl = \"{ttl}s\"");
    for (name, priority, source, more) in [
        (
            "article",
            "\"core\"",
            "cms:/article/{slug}",
            required.as_str(),
        ),
        (
            "aside",
            "\"essential\"",
            "web:/aside/{slug}",
            "ttl = \"2s\"",
        ),
        (
            "live",
            "60",
            "web:/live/{slug}",
            "ttl = \"1s\"\nkeep = \"1h\"\ndurable = true",
        ),
        ("ticker", "50", "ads:/ticker", "ttl = \"0s\""),
        ("ad", "10", "ads:/ad", "ttl = \"1s\"\nkeep = \"10m\""),
    ] {
        write!(
            toml,
            "[fragments.{name}]\npriority = {priority}\nsource = '{source}'\n{more}\n"
        )
        .unwrap();
    }
    toml += "[pages.page]\nroute = \"/p/{slug}\"\nlayout = \"page.html\"\nbudget = \"2s\"\n";
    let slot = |name: &str| format!("<fragment name=\"{name}\"></fragment>");
    let layout: String = ["article", "aside", "live", "ticker", "ad"]
        .map(slot)
        .concat();
    fs::create_dir_all(site.path().join("templates")).unwrap();
    fs::write(site.path().join("templates/page.html"), layout).unwrap();
    // whole or not at all: the server watches this file
    let (new, file) = (
        site.path().join("new.toml"),
        site.path().join("fragments.toml"),
    );
    fs::write(&new, toml).unwrap();
    fs::rename(new, file).unwrap();
}

/// A Redis or Valkey that keeps nothing on disk, if one is installed.
fn store() -> Option<(Process, u16)> {
    let port = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for program in ["valkey-server", "redis-server"] {
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
        ]);
        command.args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
        if let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            return Some((Process(child), port));
        }
    }
    None
}

async fn origin(
    tasks: &TaskTracker,
    tally: &Arc<Tally>,
    mut rng: fastrand::Rng,
) -> (String, Arc<AtomicU8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mood = Arc::new(AtomicU8::new(HEALTHY));
    let (shown, within, tally) = (Arc::clone(&mood), tasks.clone(), Arc::clone(tally));
    tasks.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let (mood, tally, rng) = (Arc::clone(&shown), Arc::clone(&tally), rng.fork());
            within.spawn(async move { drop(answer(stream, &mood, &tally, rng).await) });
        }
    });
    (url, mood)
}

async fn answer(
    mut stream: TcpStream,
    mood: &AtomicU8,
    tally: &Tally,
    mut rng: fastrand::Rng,
) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut seen = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&seen, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
        seen.drain(..end);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let number = tally.number.fetch_add(1, Ordering::Relaxed);
        let body = numbered::piece_within(path, number, &(500..=5000));
        let head = |status: &str, len: usize| {
            format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {len}\r\n\r\n")
        };
        match mood.load(Ordering::Relaxed) {
            SLOW => sleep(Duration::from_millis(rng.u64(20..900))).await,
            WRONG => {
                let answer = head("500 Wrong", 5) + "wrong";
                stream.write_all(answer.as_bytes()).await?;
                continue;
            }
            SILENT => {
                sleep(PATIENCE).await;
                return Ok(());
            }
            CUT => {
                let half = head("200 OK", body.len()) + &body[..body.len() / 2];
                return stream.write_all(half.as_bytes()).await;
            }
            DRIP => {
                stream
                    .write_all(head("200 OK", body.len()).as_bytes())
                    .await?;
                for byte in body.as_bytes() {
                    sleep(Duration::from_millis(100)).await;
                    stream.write_all(&[*byte]).await?;
                }
                continue;
            }
            _ => {}
        }
        stream
            .write_all((head("200 OK", body.len()) + &body).as_bytes())
            .await?;
    }
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

async fn state(client: &reqwest::Client, admin: SocketAddr) -> Value {
    let Ok(answer) = client.get(format!("http://{admin}/state")).send().await else {
        return Value::Null;
    };
    let bytes = timeout(PATIENCE, answer.bytes()).await;
    let bytes = bytes.ok().and_then(Result::ok).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

async fn sample(
    pid: u32,
    client: &reqwest::Client,
    admin: SocketAddr,
    site: &Path,
    tally: &Tally,
) -> Sample {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).unwrap_or_default()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let state = state(client, admin).await;
    Sample {
        rss: field("VmRSS:") / 1024.0,
        descriptors: descriptors as f64,
        threads: field("Threads:"),
        folder: size(site.join("var")),
        cache: state["cache"]["bytes"].as_u64().unwrap_or_default(),
        pages: of(&tally.whole),
    }
}

fn size(folder: PathBuf) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let len = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(len).sum()
}

const MIB: f64 = 1_048_576.0;

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

fn most(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).fold(0.0, f64::max)
}

/// How much the line of least squares climbs from the first value to the last.
fn climb(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (mx, my) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        above += (x as f64 - mx) * (y - my);
        below += (x as f64 - mx).powi(2);
    }
    above / below * (n - 1.0)
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
