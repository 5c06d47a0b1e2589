//! The demo newspaper, running: its origins with their dials, and the server in front of them.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marbre::app::{App, Options};
use marbre::degradation::Level;
use marbre::demo::{self, Change, Demo};
use marbre::telemetry::slo::FaultGate;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::reader::{Reader, client};

/// The demo, with a declaration that a test has edited.
pub(crate) struct Running {
    pub(crate) demo: Demo,
    pub(crate) faults: FaultGate,
    /// The journal is told of every turn of a dial, as where the program runs.
    _told: JoinSet<Infallible>,
    pub(crate) app: App,
    _folder: TempDir,
    client: reqwest::Client,
}

/// A law that takes no machine for overloaded.
const PATIENT_LAW: &str = "[degradation.work_rate]\nqueue_target = \"1s\"\nrate_max = 1000000\n";

/// The demo as it is declared, but with timeouts that a busy machine does not reach.
pub(crate) async fn patient() -> Running {
    let edit = |name: &str, key: &str, value| match (name, key) {
        (origin, "timeout") if origin.starts_with("origins") => "25s",
        (_, "timeout") => "20s",
        // one more key than is declared
        ("degradation", "target") => "25s\"\nwait_max = \"10s",
        (_, "budget" | "target") => "25s",
        _ => value,
    };
    started_with(0, edit, PATIENT_LAW).await
}

/// The demo with each `key = "value"` of each `[name]` as `edit` wants it.
pub(crate) async fn started<'e>(
    level: u8,
    edit: impl Fn(&str, &str, &'e str) -> &'e str,
) -> Running {
    started_with(level, edit, "").await
}

/// The same, and more of `fragments.toml`.
pub(crate) async fn started_with<'e>(
    level: u8,
    edit: impl Fn(&str, &str, &'e str) -> &'e str,
    more: &str,
) -> Running {
    let declared: &'static str = include_str!("../../../fragments.toml");
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let templates = repository().join("templates");
    let mut text = String::new();
    let mut name = "";
    for line in declared.lines() {
        if let Some(header) = line.strip_prefix('[') {
            name = header.split(']').next().unwrap_or_default();
        }
        match line.split_once(" = ") {
            Some(("templates", _)) => writeln!(text, "templates = {templates:?}"),
            Some(("dir", value)) => {
                let below = value.trim_matches('"').trim_start_matches("templates/");
                writeln!(text, "dir = {:?}", templates.join(below))
            }
            Some((key, value)) => match value.strip_prefix('"').and_then(|v| v.split_once('"')) {
                Some((value, rest)) => {
                    writeln!(text, "{key} = \"{}\"{rest}", edit(name, key, value))
                }
                None => writeln!(text, "{line}"),
            },
            None => writeln!(text, "{line}"),
        }
        .expect("writing to a string cannot fail");
    }
    text += more;
    let file = folder.path().join("fragments.toml");
    std::fs::write(&file, text).expect("the temporary folder is writable");
    let demo = demo::start(true).await.expect("loopback has free ports");
    let variables = demo.variables();
    let faults = FaultGate::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let app = App::start(Options {
        level: Level::new(level),
        env: Arc::new(move |name| variables.get(name).cloned()),
        listen: Some(any),
        admin_listen: Some(any),
        admin_routes: Some(demo.newspaper().desk(faults.clone())),
        faults: faults.clone(),
        ..Options::new(&file)
    })
    .await
    .unwrap_or_else(|error| panic!("the demo does not start:\n{error}"));
    let mut told = JoinSet::new();
    told.spawn(demo.newspaper().dials().tell(app.teller()));
    Running {
        demo,
        faults,
        app,
        _told: told,
        _folder: folder,
        client: client(),
    }
}

/// A guard against tests that hang, not a measure.
pub(crate) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(90), work)
        .await
        .expect("it comes in a minute and a half")
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Running {
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.app.address)
    }

    /// One who comes again, on the connections that there are.
    pub(crate) fn regular(&self) -> Reader {
        Reader::again(self.app.address, &self.client)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.address)
    }

    pub(crate) fn desk(&self) -> String {
        format!("http://{}/dials", self.app.admin_address)
    }

    pub(crate) fn turn(&self, origin: &str, change: &str) {
        let change = Change::parse(change).expect("a change");
        self.demo
            .newspaper()
            .dials()
            .turn(origin, &change)
            .expect("an origin");
    }

    /// Returns when the origin's port is closed, with every connection to it.
    pub(crate) async fn kill(&self, origin: &str) {
        let addresses = self.demo.newspaper().addresses();
        let (_, address) = addresses
            .iter()
            .find(|(name, _)| *name == origin)
            .expect("an origin");
        self.turn(origin, "off=1");
        patiently(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    }

    pub(crate) async fn state(&self) -> Value {
        let url = format!("http://{}/state", self.app.admin_address);
        let answer = self
            .client
            .get(url)
            .send()
            .await
            .expect("the admin listener answers");
        serde_json::from_slice(&answer.bytes().await.expect("/state ends")).expect("JSON")
    }

    /// The state once this many pages have been accounted for, which is after their last byte.
    pub(crate) async fn state_after(&self, pages: u64) -> Value {
        patiently(async {
            loop {
                let state = self.state().await;
                if state["tally"]["pages"].as_u64() >= Some(pages) {
                    return state;
                }
            }
        })
        .await
    }
}
