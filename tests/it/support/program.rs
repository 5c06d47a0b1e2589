//! The program itself as a process of its own: started, asked, read, killed.

#![allow(
    clippy::print_stderr,
    reason = "a seed is for whoever reads why a test failed"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

/// What has not come by then does not come: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that nothing tells of.
const PAUSE: Duration = Duration::from_millis(20);

/// A running server, killed when the test ends in whichever way.
pub(crate) struct Program {
    child: Mutex<Child>,
    pub(crate) pages: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// All that it has said, growing; closed when it has ended.
    log: watch::Receiver<String>,
    pub(super) client: reqwest::Client,
}

impl Program {
    /// Serves the `fragments.toml` of this folder; returns when both listeners are open.
    pub(crate) async fn start(folder: &Path, client: &reqwest::Client) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        command.arg("serve").current_dir(folder);
        Self::start_as(command, client).await
    }

    pub(crate) async fn start_as(mut command: Command, client: &reqwest::Client) -> Self {
        command.env("NO_COLOR", "1").env_remove("RUST_LOG");
        let spawned = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the program was built");
        let said = BufReader::new(child.stderr.take().expect("it is piped"));
        let (log, mut seen) = watch::channel(String::new());
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                log.send_modify(|log| *log += &(line + "\n"));
            }
        });
        let both = |log: &String| address(log, "pages").zip(address(log, "operators"));
        let opening = async { both(&*seen.wait_for(|log| both(log).is_some()).await.ok()?) };
        let addresses = timeout(PATIENCE, opening).await.ok().flatten();
        let Some((pages, admin)) = addresses else {
            // it has ended already, or hangs
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not start:\n{}", *seen.borrow());
        };
        Self {
            child: Mutex::new(child),
            pages,
            admin,
            log: seen,
            client: client.clone(),
        }
    }

    /// Status and body of a page, or that there is no whole answer.
    pub(crate) async fn try_get(&self, path: &str) -> Result<(u16, String), reqwest::Error> {
        let url = format!("http://{}{path}", self.pages);
        let answer = self.client.get(url).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> impl Future<Output = (u16, String)> {
        let answer = self.try_get(path);
        async move { answer.await.expect("the server answers") }
    }

    pub(crate) async fn try_state(&self) -> Result<Value, reqwest::Error> {
        let url = format!("http://{}/state", self.admin);
        let answer = self.client.get(url).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&answer).expect("/state is JSON"))
    }

    pub(crate) async fn state(&self) -> Value {
        self.try_state().await.expect("the server answers")
    }

    /// The state once it is so.
    pub(crate) async fn state_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut state = Value::Null;
        let seen = timeout(PATIENCE, async {
            loop {
                state = self.state().await;
                if is_so(&state) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        let seen = seen.await;
        assert!(seen.is_ok(), "no {what}: {state:#}\n{}", self.log());
        state
    }

    /// Returns when everything that was stored is written.
    pub(crate) async fn has_written(&self) {
        let is_done = |state: &Value| state["disk"]["pending"] == 0;
        self.state_when("empty queue", is_done).await;
    }

    /// All that it has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Returns when it has said this.
    pub(crate) async fn says(&self, what: &str) {
        let mut log = self.log.clone();
        let said = timeout(PATIENCE, log.wait_for(|log| log.contains(what))).await;
        let is_said = said.is_ok_and(|said| said.is_ok());
        assert!(is_said, "it does not say {what:?}:\n{}", self.log());
    }

    /// SIGKILL, at once, while others still ask.
    pub(crate) fn send_kill(&self) {
        self.child.lock().kill().expect("a child");
    }

    /// SIGKILL, at once; all that it has said.
    pub(crate) fn kill(self) -> String {
        self.send_kill();
        let status = self.child.lock().wait().expect("a child");
        let log = self.log();
        assert_eq!(status.code(), None, "it had ended by itself:\n{log}");
        log
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().id()
    }

    /// Returns when it has ended, however that came.
    pub(crate) fn wait_for_end(self) {
        let _ = self.child.lock().wait();
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.lock().id().to_string();
        let mut send = Command::new("sh");
        let sent = send
            .args(["-c", "kill -\"$1\" \"$0\"", &pid, name])
            .status();
        assert!(sent.expect("a shell").success());
    }

    /// SIGTERM, and all that it has ever said.
    pub(crate) async fn stop(self) -> String {
        self.signal("TERM");
        let mut log = self.log.clone();
        let ended = timeout(PATIENCE, async { while log.changed().await.is_ok() {} }).await;
        assert!(ended.is_ok(), "it does not stop:\n{}", self.log());
        let status = self.child.lock().wait().expect("a child");
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // unless it has ended before
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A client that opens a connection for each request: none is left from a process that is no more.
pub(crate) fn unpooled() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .pool_max_idle_per_host(0)
        .build()
        .expect("a plain client can be built")
}

/// `pages      http://127.0.0.1:1234/` → the address.
fn address(log: &str, what: &str) -> Option<SocketAddr> {
    let line = log.lines().find_map(|line| line.strip_prefix(what))?;
    let url = line.trim().strip_prefix("http://")?;
    url.trim_end_matches('/').parse().ok()
}

/// The number that a run of chance begins with: `MARBRE_SEED`, or another each time. Printed, so
/// that a run that fails can be run again.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("MARBRE_SEED").ok();
    let seed = given.map_or_else(
        || fastrand::u64(..),
        |seed| seed.parse().expect("MARBRE_SEED is a number"),
    );
    eprintln!("MARBRE_SEED={seed}");
    seed
}
