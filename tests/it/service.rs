//! Whoever has started the program is told when it serves, reads its site again, and stops: the datagrams of
//! `sd_notify`, on real sockets.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use marbre::clock::Clock;
use tempfile::TempDir;

use crate::support::program::{Program, unpooled};

/// What has not been told by then never is: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

const SITE: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[fragments.front]
priority = "core"
source = "inline:<p>one</p>"
[pages.front]
route = "/"
layout = "front.html"
"#;

fn site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), SITE);
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    let layout = "<main><fragment name=\"front\"></fragment></main>";
    std::fs::write(folder.path().join("templates/front.html"), layout).unwrap();
    folder
}

fn put(folder: &Path, site: &str) {
    let next = folder.join("next");
    std::fs::write(&next, site).unwrap();
    std::fs::rename(next, folder.join("fragments.toml")).unwrap();
}

/// A supervisor's socket, by its path or by an abstract name.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next thing that it is told.
    fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let count = self.0.recv(&mut bytes).expect("something is told");
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }
}

fn serve(folder: &TempDir, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command.arg("serve").current_dir(folder.path());
    command.envs(environment.iter().copied());
    command
}

#[tokio::test]
async fn a_supervisor_is_told_of_the_start_of_reloads_and_of_the_end() {
    let folder = site();
    let path = folder.path().join("notify");
    let supervisor = Supervisor::at(&SocketAddr::from_pathname(&path).unwrap());
    let named = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let program = Program::start_as(serve(&folder, &named), &unpooled()).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        supervisor.hears(),
        format!("READY=1\nSTATUS=marbre {version} serves")
    );
    let page = (200, "<main><p>one</p></main>".to_owned());
    assert_eq!(program.get("/").await, page, "it listens by then");

    let clock = Clock::start();
    let asked = clock.monotonic().unwrap().as_micros();
    program.hang_up();
    let told = supervisor.hears();
    let began = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    let (began, _) = began.split_once('\n').unwrap();
    let began: u128 = began.parse().unwrap();
    let now = clock.monotonic().unwrap().as_micros();
    assert!(
        (asked..=now).contains(&began),
        "systemd takes it for the answer to an earlier SIGHUP: {asked} {began} {now}"
    );
    assert_eq!(
        supervisor.hears(),
        "READY=1\nSTATUS=site reloaded: no change"
    );

    // a file that changes is a reload that nobody has asked for; a refused one ends too
    put(folder.path(), &SITE.replace("core", "cord"));
    assert!(supervisor.hears().starts_with("RELOADING=1\n"));
    assert_eq!(
        supervisor.hears(),
        "READY=1\nSTATUS=site not reloaded, the one before stays:"
    );
    assert_eq!(program.get("/").await, page);

    program.stop().await;
    assert_eq!(
        supervisor.hears(),
        "STOPPING=1\nSTATUS=stopping: pages in flight are being finished"
    );
    assert_eq!(
        supervisor.hears(),
        "STATUS=stopped: all that was in flight is finished"
    );
}

#[tokio::test]
async fn signs_of_life_reach_a_watchdog_behind_an_abstract_name() {
    let folder = site();
    let name = format!("marbre-{}", folder.path().display());
    let supervisor = Supervisor::at(&SocketAddr::from_abstract_name(&name).unwrap());
    let name = format!("@{name}");
    let environment = [("NOTIFY_SOCKET", name.as_str()), ("WATCHDOG_USEC", "50000")];
    let program = Program::start_as(serve(&folder, &environment), &unpooled()).await;
    let mut ready = false;
    let mut alive = 0;
    while !(ready && alive >= 3) {
        let told = supervisor.hears();
        ready |= told.starts_with("READY=1\n");
        alive += usize::from(told == "WATCHDOG=1");
    }
    program.kill();
}

#[tokio::test]
async fn a_supervisor_that_cannot_be_told_does_not_keep_the_server_from_serving() {
    let folder = site();
    let named = [("NOTIFY_SOCKET", "vsock:2:1234")];
    let program = Program::start_as(serve(&folder, &named), &unpooled()).await;
    assert_eq!(program.get("/").await.0, 200);
    let log = program.stop().await;
    assert!(
        log.contains("NOTIFY_SOCKET: `vsock:2:1234` is neither"),
        "{log}"
    );
}
