//! Whoever has started this process and waits for its word (shell): systemd with `Type=notify` or
//! `notify-reload`, or another supervisor that speaks the protocol of `sd_notify(3)`. Owns the datagrams;
//! does not know what the server does.
//!
//! Invariants: nobody is told that the server is ready before it listens to readers; a supervisor that is
//! gone, or does not read, costs nothing but what it is not told.

use std::fmt;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::report::{Event, Observer, PageReport};

/// How long a supervisor may take to accept a datagram: it reads in microseconds, and events are told
/// one after another.
const PATIENCE: Duration = Duration::from_millis(250);

/// The longest state of the service that is told, in bytes. `systemctl status` shows one line.
const STATUS_BYTES_MAX: usize = 200;

/// Whoever waits for this process.
pub struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Between two signs of life.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The supervisor that the environment names, if it names one: `NOTIFY_SOCKET` is the path of a
    /// socket, or after `@` its abstract name; `WATCHDOG_USEC` is how long it waits for a sign of life
    /// before it takes the process for dead, in microseconds, if `WATCHDOG_PID` is this process or is
    /// not said. An address that is none of these, or a process without sockets, is an error.
    pub fn of(env: &dyn Fn(&str) -> Option<String>) -> io::Result<Option<Self>> {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Some(Self {
            socket,
            address: address(&name)?,
            watchdog: watchdog(env, std::process::id()),
        }))
    }

    /// The site is about to be read again. The next event says what came of it.
    pub fn reloading(&self, clock: Clock) {
        let now = clock.monotonic().unwrap_or_default().as_micros();
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reads the site again"
        ));
    }

    /// Gives signs of life, twice in the time that the supervisor waits for one, until `stop`. They come
    /// from the threads that make pages: where none of these gets on, there is none.
    pub async fn keep_alive(self: Arc<Self>, stop: CancellationToken) {
        let Some(every) = self.watchdog else { return };
        while timeout(every, stop.cancelled()).await.is_err() {
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, what: &str) {
        if let Err(error) = self.socket.send_to_addr(what.as_bytes(), &self.address) {
            tracing::debug!("the supervisor was not told: {error}");
        }
    }
}

impl Observer for Supervisor {
    fn page(&self, _: &PageReport<'_>) {}

    fn event(&self, event: &Event) {
        let state = match event {
            Event::Started { .. } | Event::Reloaded { .. } | Event::ReloadRefused { .. } => {
                "READY=1\n"
            }
            Event::Stopping => "STOPPING=1\n",
            Event::Degraded { .. } | Event::Stopped(_) => "",
            Event::Switched(_)
            | Event::SwitchesLost(_)
            | Event::Purged { .. }
            | Event::Origin { .. }
            | Event::Acted(_)
            | Event::ActRefused { .. }
            | Event::Pushed
            | Event::Fault { .. }
            | Event::Chaos { .. }
            | Event::Certificates(_)
            | Event::Slo { .. } => return,
        };
        self.say(&format!("{state}STATUS={}", status(&event.to_string())));
    }

    fn reads_pages(&self) -> bool {
        false
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt as _;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("`{name}` is neither a path nor an abstract name"),
        )),
    }
}

/// Between two signs of life that this process is to give.
fn watchdog(env: &dyn Fn(&str) -> Option<String>, pid: u32) -> Option<Duration> {
    let is_meant = env("WATCHDOG_PID").is_none_or(|meant| meant == pid.to_string());
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok()?;
    let every = Duration::from_micros(micros / 2);
    (is_meant && !every.is_zero()).then_some(every)
}

/// The first line, as much of it as is shown.
fn status(told: &str) -> &str {
    let line = told.lines().next().unwrap_or_default();
    &line[..line.floor_char_boundary(STATUS_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Signature;

    fn env<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    /// A supervisor that listens, and the name of its socket.
    fn listening(folder: &tempfile::TempDir) -> (UnixDatagram, String) {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        (socket, path.to_str().unwrap().to_owned())
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn nobody_is_told_where_nobody_has_asked() {
        assert!(Supervisor::of(&env(&[])).unwrap().is_none());
        let empty = [("NOTIFY_SOCKET", "")];
        assert!(Supervisor::of(&env(&empty)).unwrap().is_none());
    }

    #[test]
    fn an_address_of_another_kind_is_an_error() {
        for name in ["vsock:2:1234", "notify", "/no\0zeros"] {
            let named = [("NOTIFY_SOCKET", name)];
            assert!(Supervisor::of(&env(&named)).is_err(), "{name}");
        }
    }

    #[test]
    fn signs_of_life_come_twice_as_often_as_they_must() {
        let micros = ("WATCHDOG_USEC", "30000000");
        let every = Some(Duration::from_secs(15));
        assert_eq!(watchdog(&env(&[micros]), 7), every);
        assert_eq!(watchdog(&env(&[micros, ("WATCHDOG_PID", "7")]), 7), every);
        assert_eq!(watchdog(&env(&[micros, ("WATCHDOG_PID", "8")]), 7), None);
        assert_eq!(watchdog(&env(&[("WATCHDOG_USEC", "soon")]), 7), None);
        assert_eq!(watchdog(&env(&[("WATCHDOG_USEC", "1")]), 7), None);
        assert_eq!(watchdog(&env(&[]), 7), None);
    }

    #[test]
    fn a_reload_says_when_it_began_and_what_came_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, name) = listening(&folder);
        let named = [("NOTIFY_SOCKET", name.as_str())];
        let supervisor = Supervisor::of(&env(&named)).unwrap().unwrap();
        let clock = Clock::start();
        let before = clock.monotonic().unwrap().as_micros();
        supervisor.reloading(clock);
        let told = heard(&socket);
        let began = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let (began, _) = began.split_once("\nSTATUS=").unwrap();
        let began: u128 = began.parse().unwrap();
        assert!(began >= before && began <= clock.monotonic().unwrap().as_micros());
        supervisor.event(&Event::ReloadRefused {
            why: "error: one\n  --> fragments.toml:1:1".to_owned(),
            signed: Signature::default(),
        });
        assert_eq!(
            heard(&socket),
            "READY=1\nSTATUS=site not reloaded, the one before stays:"
        );
    }

    #[test]
    fn what_is_told_fits_one_line() {
        let long = "é".repeat(STATUS_BYTES_MAX);
        assert_eq!(status(&long).len(), STATUS_BYTES_MAX);
        assert_eq!(
            status(&format!("x{long}")).len(),
            STATUS_BYTES_MAX - 1,
            "no half of a letter"
        );
        assert_eq!(status("one\ntwo"), "one");
    }

    #[test]
    fn a_supervisor_that_is_gone_costs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, name) = listening(&folder);
        let named = [("NOTIFY_SOCKET", name.as_str())];
        let supervisor = Supervisor::of(&env(&named)).unwrap().unwrap();
        drop(socket);
        supervisor.event(&Event::Stopping);
    }
}
