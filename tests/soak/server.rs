//! The server: started as a process of its own, asked, and looked at from outside.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::time::timeout;

use crate::site::Process;
use crate::{PATIENCE, up};

/// A running server.
pub(crate) struct Server {
    process: Process,
    pub(crate) pages: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Panics that its log tells of.
    pub(crate) panics: Arc<AtomicU64>,
    pub(crate) client: reqwest::Client,
}

/// How it is at a moment.
#[derive(Clone, Default)]
pub(crate) struct Sample {
    /// Resident memory, in MiB.
    pub(crate) rss: f64,
    pub(crate) descriptors: f64,
    pub(crate) threads: f64,
    /// Tasks of its runtime that have not ended.
    pub(crate) tasks: f64,
    /// Processor time since its start, in seconds.
    pub(crate) cpu: f64,
    /// Bytes of its state folder, and of copies in memory.
    pub(crate) folder: u64,
    pub(crate) cache: u64,
    /// Whole pages that readers have got by then.
    pub(crate) pages: u64,
}

/// Ticks of a second in which `/proc` counts processor time, on every Linux that this runs on.
const TICKS: f64 = 100.0;

impl Server {
    /// Serves the site of this folder.
    pub(crate) fn start(site: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        command.arg("serve").current_dir(site).env("NO_COLOR", "1");
        let spawned = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut process = Process(spawned.unwrap());
        let mut lines = BufReader::new(process.0.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut address = |what: &str| -> SocketAddr {
            let line = lines.find(|line| line.starts_with(what));
            let line = line.expect("it starts");
            let url = line.rsplit("http://").next().unwrap();
            url.trim_end_matches('/').parse().unwrap()
        };
        let (pages, admin) = (address("pages"), address("operators"));
        let panics = Arc::new(AtomicU64::new(0));
        let panicked = Arc::clone(&panics);
        std::thread::spawn(move || {
            for line in lines.filter(|line| line.contains("panicked")) {
                println!("{line}");
                up(&panicked);
            }
        });
        Self {
            process,
            pages,
            admin,
            panics,
            client: client(),
        }
    }

    /// Whether it has not ended by itself.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    /// Whether operators can ask for something under this path.
    pub(crate) async fn has(&self, path: &str) -> bool {
        let index = self
            .client
            .get(format!("http://{}/", self.admin))
            .send()
            .await;
        let Ok(index) = index else { return false };
        index.text().await.is_ok_and(|text| text.contains(path))
    }

    /// Asks the admin API for something.
    pub(crate) fn operate(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.admin);
        self.client.request(method.parse().unwrap(), url)
    }

    pub(crate) async fn state(&self) -> Value {
        let Ok(answer) = self.operate("GET", "/state").send().await else {
            return Value::Null;
        };
        let bytes = timeout(PATIENCE, answer.bytes()).await;
        let bytes = bytes.ok().and_then(Result::ok).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// A number of `/metrics`.
    async fn metric(&self, name: &str) -> f64 {
        let Ok(answer) = self.operate("GET", "/metrics").send().await else {
            return 0.0;
        };
        let text = answer.text().await.unwrap_or_default();
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .and_then(|number| number.parse().ok())
            .unwrap_or_default()
    }

    /// How it is now; readers have got so many whole pages.
    pub(crate) async fn sample(&self, site: &Path, pages: &AtomicU64) -> Sample {
        let pid = self.process.0.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or_default()
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // its name, which may hold anything, ends with the last parenthesis
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|t| t.parse::<f64>().ok())
            .sum();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let state = self.state().await;
        Sample {
            rss: field("VmRSS:") / 1024.0,
            descriptors: descriptors as f64,
            threads: field("Threads:"),
            tasks: self.metric("marbre_tasks").await,
            cpu: ticks / TICKS,
            folder: size(site.join("var")),
            cache: state["cache"]["bytes"].as_u64().unwrap_or_default(),
            pages: pages.load(Ordering::Relaxed),
        }
    }
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    client.build().unwrap()
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
