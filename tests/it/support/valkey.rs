//! A real Valkey or Redis on a port of its own, ended with the value.
//!
//! ```ignore
//! let mut store = Valkey::start();
//! node(&store.url());
//! store.pause();    // frozen: it accepts connections and answers nothing
//! store.resume();
//! store.kill();     // gone, and all it held
//! store.restart();  // back on the same port, empty
//! ```
//!
//! `MARBRE_TEST_STORE` names the program; without it, `valkey-server` is taken if it is in PATH,
//! else `redis-server`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::authority::Authority;

/// How often it is asked whether something has become so.
const TRIES: usize = 3000;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// A running store, or one that was killed.
pub(crate) struct Valkey {
    process: Option<Child>,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
    folder: TempDir,
}

impl Valkey {
    /// An empty store that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more of its options, such as `["--maxmemory", "10mb"]`.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut store = Self::prepare(options);
        store.restart();
        store
    }

    /// On a port of its own, and not started.
    pub(crate) fn prepare(options: &[&str]) -> Self {
        let password = options.iter().position(|option| *option == "--requirepass");
        let password = password.map(|at| options[at + 1].to_owned());
        Self {
            process: None,
            port: free_port(),
            arguments: options.iter().map(|option| (*option).to_owned()).collect(),
            password,
            folder: tempfile::tempdir().expect("the temporary folder is writable"),
        }
    }

    /// One node of a cluster, with all its slots.
    pub(crate) fn start_cluster() -> Self {
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let store = Self::start_with(&options);
        assert_eq!(
            store.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]),
            "+OK"
        );
        store.wait_now_for("a cluster that is whole", |store| {
            store
                .command(&["CLUSTER", "INFO"])
                .contains("cluster_state:ok")
        });
        store
    }

    /// A copy of `primary` that takes its place when a sentinel says so.
    pub(crate) fn start_replica(primary: &Self) -> Self {
        let port = primary.port.to_string();
        let replica = Self::start_with(&["--replicaof", "127.0.0.1", &port]);
        replica.wait_now_for("a replica in step", |replica| {
            let said = replica.command(&["INFO", "replication"]);
            said.contains("master_link_status:up") || said.contains("primary_link_status:up")
        });
        replica
    }

    /// A sentinel that knows `primary` as `name`, and replaces it half a second after its death.
    pub(crate) fn start_sentinel(name: &str, primary: &Self) -> Self {
        let mut sentinel = Self::prepare(&[]);
        let file = sentinel.folder.path().join("sentinel.conf");
        let text = format!(
            "sentinel monitor {name} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {name} 500\n\
             sentinel failover-timeout {name} 3000\n",
            primary.port
        );
        std::fs::write(&file, text).expect("the temporary folder is writable");
        // the file goes first, before any option
        sentinel.arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        sentinel.restart();
        sentinel
    }

    /// Speaks TLS, with a certificate of its own; the authority that must be trusted for it. Needs
    /// a program built with TLS, as Debian's are.
    pub(crate) fn start_tls() -> (Self, Authority) {
        let mut store = Self::prepare(&[]);
        let authority = Authority::new("store");
        let file = |path: PathBuf| path.display().to_string();
        let (key, certificate) = (file(authority.key()), file(authority.certificate()));
        let port = store.port.to_string();
        let tls = [
            "--tls-port",
            &port,
            "--port",
            "0",
            "--tls-auth-clients",
            "no",
        ];
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        store.arguments = tls.iter().chain(&files).map(|o| (*o).to_owned()).collect();
        store.restart();
        (store, authority)
    }

    /// `redis://127.0.0.1:PORT`, with its password if it has one.
    pub(crate) fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Where it listens on the loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Freezes it (SIGSTOP): the kernel still accepts connections, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on where it was (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Ends it at once (SIGKILL), with all it held.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is ours");
            process.wait().expect("it is ours");
        }
    }

    /// Starts it on its port, empty; ends it before if it runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new(program());
        let is_sentinel = self.arguments.iter().any(|option| option == "--sentinel");
        if is_sentinel {
            command.args(&self.arguments);
            command.args(["--port", &port, "--bind", "127.0.0.1"]);
        } else {
            command.args(["--port", &port, "--bind", "127.0.0.1"]);
            command.args(["--save", "", "--appendonly", "no"]);
            command.args(["--repl-diskless-sync-delay", "0"]);
            command.args(&self.arguments);
        }
        let log = std::fs::File::create(self.folder.path().join("log"));
        let log = log.expect("the temporary folder is writable");
        let process = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn();
        self.process = Some(process.unwrap_or_else(|error| {
            panic!("{} does not start ({error}): run tests/run", program())
        }));
        self.wait_now_for("a store that answers", |store| {
            // a TLS port answers nothing to this, and takes the connection
            let tls = store.arguments.iter().any(|option| option == "--tls-port");
            match tls {
                true => TcpStream::connect(("127.0.0.1", store.port)).is_ok(),
                false => store.is_ours(),
            }
        });
    }

    /// What it answers to a command, first line and bulk text, as on the wire.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Whether who answers is the process that we started.
    fn is_ours(&self) -> bool {
        let process = self.process.as_ref().map(Child::id);
        let said = self.try_command(&["INFO", "server"]);
        let ours = process.map(|id| format!("process_id:{id}\r\n"));
        said.ok()
            .zip(ours)
            .is_some_and(|(said, ours)| said.contains(&ours))
    }

    fn try_command(&self, words: &[&str]) -> std::io::Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port))?);
        stream
            .get_ref()
            .set_read_timeout(Some(Duration::from_secs(10)))?;
        if let Some(password) = &self.password {
            exchange(&mut stream, &["AUTH", password])?;
        }
        exchange(&mut stream, words)
    }

    /// Polls until it is so, while the test's own tasks go on.
    pub(crate) async fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..TRIES {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.in_vain(what);
    }

    fn wait_now_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..TRIES {
            if is_so(self) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        self.in_vain(what);
    }

    fn in_vain(&self, what: &str) -> ! {
        let log = self.folder.path().join("log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        panic!("waited in vain for {what}; its log:\n{log}");
    }

    fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args([name, &process.id().to_string()])
            .status();
        assert!(sent.expect("kill can be run").success());
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        // SIGKILL ends a frozen process too
        self.kill();
    }
}

fn program() -> String {
    let named = std::env::var("MARBRE_TEST_STORE").ok();
    let in_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| Path::new(&folder).join(name).exists())
    };
    named.unwrap_or_else(|| match in_path("valkey-server") {
        true => "valkey-server".to_owned(),
        false => "redis-server".to_owned(),
    })
}

/// Below the ports that the kernel gives to outgoing connections, so that no client takes it while
/// the store is away; whoever else takes it meanwhile fails the test loudly.
fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1000);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free = candidates.into_iter().find(is_free);
    free.expect("the loopback has free ports")
}

/// One command and its answer (RESP2; an array is read no further than its head).
fn exchange(stream: &mut BufReader<TcpStream>, words: &[&str]) -> std::io::Result<String> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.get_mut().write_all(request.as_bytes())?;
    let mut head = String::new();
    stream.read_line(&mut head)?;
    let head = head.trim_end().to_owned();
    let length = head.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
    let Some(length) = length else {
        return match head.is_empty() {
            true => Err(std::io::ErrorKind::UnexpectedEof.into()),
            false => Ok(head),
        };
    };
    let mut body = vec![0; length + 2];
    stream.read_exact(&mut body)?;
    body.truncate(length);
    Ok(String::from_utf8_lossy(&body).into_owned())
}
