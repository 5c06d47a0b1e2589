//! Replicas that nobody here wrote: nginx, killed and started again under the eyes of readers, who
//! notice nothing.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Duration, sleep, timeout};

use crate::support::program::seed;
use crate::support::{Newsroom, Port, newsroom};

/// What has not come by then does not come: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

const READERS: usize = 6;

/// A reader who has read so many has read enough, whatever happens to the replicas.
const PAGES_MAX: usize = 20_000;

const ARTICLE: &str = "<article>La criée ouvre à cinq heures.</article>";
const WEATHER: &str = "<aside>Vent d’ouest, force 6.</aside>";
const TIDES: &str = "<ul><li>Marée haute à 06:12</li></ul>";

/// One nginx at a port that stays its own while it is down.
struct Nginx {
    port: Port,
    folder: TempDir,
    running: Option<Child>,
}

impl Nginx {
    async fn start() -> Self {
        let (port, folder) = (Port::held(), tempfile::tempdir().unwrap());
        for (name, text) in [("article", ARTICLE), ("weather", WEATHER), ("tides", TIDES)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = config(folder.path(), &port);
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Self {
            port,
            folder,
            running: None,
        };
        nginx.restart().await;
        nginx
    }

    /// Returns when it takes connections.
    async fn restart(&mut self) {
        let folder = self.folder.path();
        let log = std::fs::File::create(folder.join("said")).unwrap();
        // should these tests be killed, so is nginx
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "/usr/sbin/nginx", "-e"])
            .arg(folder.join("nginx.log"))
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(log);
        self.running = Some(command.spawn().expect("nginx is installed by tests/run"));
        let listening = timeout(PATIENCE, async {
            while TcpStream::connect(self.port.address).await.is_err() {
                let ended = self.running.as_mut().map(Child::try_wait);
                assert!(matches!(ended, Some(Ok(None))), "{}", self.said());
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(listening.await.is_ok(), "{}", self.said());
    }

    fn said(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name));
        format!("{:?}\n{:?}", read("said"), read("nginx.log"))
    }

    /// Sends a signal; returns when nginx has ended, with all its workers.
    async fn end(&mut self, signal: &str) {
        let mut child = self.running.take().expect("it is running");
        let pid = child.id();
        // the master tells its workers, unless it cannot
        let whom = match signal {
            "KILL" => format!("-{pid}"),
            _ => pid.to_string(),
        };
        send(signal, &whom);
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let ended = timeout(PATIENCE, ended).await;
        assert!(ended.is_ok(), "it does not end: {}", self.said());
        let gone = timeout(PATIENCE, async {
            while TcpStream::connect(self.port.address).await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(gone.await.is_ok(), "somebody listens still");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            send("KILL", &format!("-{}", child.id()));
            let _ = child.wait();
        }
    }
}

/// To a process that was started here, or to it and its children.
fn send(signal: &str, whom: &str) {
    let mut kill = Command::new("sh");
    let sent = kill.args(["-c", "kill -s $0 -- $1", signal, whom]).status();
    assert!(sent.expect("a shell").success(), "{signal} to {whom}");
}

fn config(folder: &Path, port: &Port) -> String {
    // nobody else may read the temporary folder
    let is_root = folder.metadata().unwrap().uid() == 0;
    let user = if is_root { "user root;" } else { "" };
    let folder = folder.display();
    let address = port.address;
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|name| format!("{name}_temp_path {folder}/{name};"));
    format!(
        "daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n access_log off; default_type text/html; charset utf-8; {}\n\
         server {{ listen {address}; root {folder}; }}\n}}\n",
        paths.concat()
    )
}

/// Readers who read on and on, until they are told that it is enough.
struct Readers {
    is_over: Arc<AtomicBool>,
    read: Arc<watch::Sender<usize>>,
}

impl Readers {
    /// Returns when this many more pages have been read.
    async fn have_read(&self, more: usize) {
        let mut read = self.read.subscribe();
        let enough = *read.borrow() + more;
        let waited = timeout(PATIENCE, read.wait_for(|read| *read >= enough)).await;
        assert!(waited.is_ok(), "the readers have stopped");
    }
}

/// Pages of an article and two blocks from these replicas, read while `trouble` goes on. Whatever
/// it is, each of them is whole.
async fn readers_notice_nothing(
    urls: &[String],
    keys: &str,
    trouble: impl AsyncFnOnce(&Readers, &Newsroom),
) {
    let patient = "timeout = \"20s\"\nttl = \"0s\"";
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = {urls:?}\ntimeout = \"60s\"\n{keys}"
        ))
        .fragment("article", "\"core\"", "cms:/article", patient)
        .fragment("weather", "40", "cms:/weather", patient)
        .fragment("tides", "30", "cms:/tides", patient)
        .page_within("page", "/", "[article][weather][tides]", "25s")
        .without_snapshots()
        .start()
        .await;
    let whole = format!("{ARTICLE}{WEATHER}{TIDES}");
    let readers = Readers {
        is_over: Arc::default(),
        read: Arc::new(watch::Sender::new(0)),
    };
    let reading = join_all((0..READERS).map(|_| {
        let (reader, whole) = (site.regular(), whole.clone());
        let (is_over, read) = (Arc::clone(&readers.is_over), Arc::clone(&readers.read));
        let site = &site;
        async move {
            for _ in 0..PAGES_MAX {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let page = reader.get("/").await;
                if (page.status, page.body.as_str()) != (200, &*whole) {
                    let state = site.state().await;
                    let lacking = &state["tally"]["incomplete"];
                    panic!("{page:#?}\n{lacking:#}\n{:#}", state["origins"]);
                }
                read.send_modify(|read| *read += 1);
            }
        }
    }));
    let trouble = async {
        trouble(&readers, &site).await;
        readers.is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(reading, trouble);
}

/// What was ejected is asked again soon.
const SOON: &str = "[origins.cms.breaker]\nopen = \"50ms\"\nopen_max = \"50ms\"\nstep = \"50ms\"";

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_notice_replicas_that_are_killed_and_started_again() {
    let mut replicas = [Nginx::start().await, Nginx::start().await];
    let urls = replicas.each_ref().map(|replica| replica.port.url());
    let mut rng = fastrand::Rng::with_seed(seed());
    readers_notice_nothing(&urls, SOON, async |readers, site| {
        readers.have_read(100).await;
        for _ in 0..3 {
            for replica in &mut replicas {
                replica.end("KILL").await;
                readers.have_read(rng.usize(20..200)).await;
                replica.restart().await;
                let are_back = |state: &Value| {
                    let replicas = state["origins"]["cms"]["replicas"].as_array().unwrap();
                    replicas
                        .iter()
                        .all(|replica| replica["breaker"]["state"] == "closed")
                };
                site.state_when("return", are_back).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_when_the_next_one_stops_as_soon_as_the_last_one_has_started() {
    let mut replicas = [Nginx::start().await, Nginx::start().await];
    let urls = replicas.each_ref().map(|replica| replica.port.url());
    let mut rng = fastrand::Rng::with_seed(seed());
    readers_notice_nothing(&urls, "", async |readers, _| {
        readers.have_read(100).await;
        for _ in 0..4 {
            for replica in &mut replicas {
                replica.end("QUIT").await;
                // long enough to be ejected for half a second, or not
                readers.have_read(rng.usize(1..200)).await;
                replica.restart().await;
            }
        }
        readers.have_read(100).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_when_one_of_three_after_the_other_is_stopped_in_whichever_way() {
    let mut replicas = [
        Nginx::start().await,
        Nginx::start().await,
        Nginx::start().await,
    ];
    let urls = replicas.each_ref().map(|replica| replica.port.url());
    let mut rng = fastrand::Rng::with_seed(seed());
    readers_notice_nothing(&urls, "", async |readers, _| {
        readers.have_read(100).await;
        for signal in ["QUIT", "TERM", "KILL", "QUIT"] {
            for replica in &mut replicas {
                replica.end(signal).await;
                readers.have_read(rng.usize(0..50)).await;
                replica.restart().await;
            }
        }
        readers.have_read(100).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_restarts_in_quick_succession() {
    let (mut one, other) = (Nginx::start().await, Nginx::start().await);
    let urls = [&one.port, &other.port].map(Port::url);
    readers_notice_nothing(&urls, "", async |readers, _| {
        for signal in [
            "TERM", "KILL", "QUIT", "KILL", "TERM", "QUIT", "KILL", "KILL",
        ] {
            readers.have_read(20).await;
            one.end(signal).await;
            one.restart().await;
        }
        readers.have_read(100).await;
    })
    .await;
}
