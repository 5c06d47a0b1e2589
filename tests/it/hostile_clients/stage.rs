//! Where attacks are played: a site, the server as a process of its own, an honest reader, and a look at what
//! the server holds.

#![allow(
    clippy::print_stdout,
    reason = "what was held is for whoever reads why a test failed"
)]

use std::cell::Cell;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::origin::spawn;
use crate::support::program::unpooled;
use crate::support::{Origin, Program, html, newsroom, origin};

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

/// What is not so by then never is: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pages that the honest reader gets while an attack is at its full strength, before anybody looks.
const PAGES_BESIDE: u64 = 10;

/// Pages before the first look: by then what the server needs for any page is there.
const PAGES_BEFORE: u64 = 100;

/// What an attack may cost apart from what it holds: freed memory that the allocator keeps, code that was not in
/// memory before, the stacks of threads. It is the same for every attack, however large.
const SLACK: u64 = 24 * MIB;

/// How often an attack is played at most. What is lost stays each time, and what the allocator keeps does not:
/// after a time that leaves more than the one before it there is another.
const TIMES_MAX: u32 = 5;

/// What may stay from one time to the next of the same attack, besides half of what it may hold: each thread has
/// memory of its own that it keeps, and not every thread has had its share of the first one. Twelve hundred
/// requests that leave 14 KiB each are beyond it every time.
const LEFT_MAX: u64 = 12 * MIB;

/// The most that a connection holds before a request is answered: the buffer that the HTTP library reads into
/// (`BUFFER_BYTES_MIN` of `server::accept`, as `max_header_size` is smaller), room for as much again, which it
/// makes before it reads, and its task.
pub(super) const CONNECTION: u64 = 2 * 64 * KIB + TASK;

/// The future of a connection or a stream, its timers and what it shares: 16 KiB in a debug build.
pub(super) const TASK: u64 = 16 * KIB;

/// A page of about 8 KiB, which ends with this.
const END: &str = "<!-- the end of the page --></html>";
pub(super) const PAGE: u64 = 8 * KIB;

/// What the system keeps of an answer on the reader's side, in bytes: next to nothing, so that what is not
/// read is soon the server's to hold.
const RECEIVED_MAX: u32 = 8 << 10;

/// Copies in memory.
pub(super) const CACHE: u64 = 4 * MIB;

/// The site, served.
pub(super) struct Stage {
    pub(super) program: Program,
    _cms: Origin,
    _folder: TempDir,
    /// How many pages the honest reader has got.
    pages: watch::Sender<u64>,
    reader: reqwest::Client,
    next: Cell<u64>,
}

impl Stage {
    /// No time limit of the server ends an attack before it has been looked at.
    pub(super) async fn set() -> Self {
        let text = "<p>text of the article</p>\n".repeat(300);
        let cms = origin()
            .on("/article", html(&text))
            .on("/block", html("<p>block</p>"))
            .on("/upload", html("<p>thanks</p>"))
            .start()
            .await;
        let pit = pit();
        let folder = newsroom()
            .server("state_dir = \"\"\nheader_timeout = \"10m\"\nidle_timeout = \"1h\"\nbody_timeout = \"10m\"")
            .toml(&format!("[limits]\ncache_size = \"{}MiB\"", CACHE / MIB))
            // no connection is kept: descriptors come back to what they were
            .toml(&format!(
                "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"\nidle_connections = 0",
                cms.url()
            ))
            .toml(&format!(
                "[origins.pit]\nurls = [\"http://{pit}\"]\ntimeout = \"20s\"\nidle_connections = 0"
            ))
            .core("article", "cms:/article")
            .fragment("one", "\"core\"", "cms:/article?slug={slug}", "ttl = \"1h\"")
            .fragment(
                "block",
                "\"essential\"",
                "cms:/block?q={query.q}&c={cookie.id}",
                "ttl = \"1h\"",
            )
            .page_within("front", "/", &format!("<html>[article][block]{END}"), "60s")
            .page_within("one", "/articles/{slug}", &format!("<html>[one]{END}"), "60s")
            .toml("[[proxy]]\nroute = \"/upload\"\norigin = \"cms\"\ntimeout = \"60s\"")
            .toml("[[proxy]]\nroute = \"/pit\"\norigin = \"pit\"\ntimeout = \"20s\"")
            .written();
        let reader = unpooled();
        let program = Program::start(folder.path(), &reader).await;
        let stage = Self {
            program,
            _cms: cms,
            _folder: folder,
            pages: watch::Sender::new(0),
            reader,
            next: Cell::new(0),
        };
        for _ in 0..PAGES_BEFORE {
            stage.reads_a_page().await;
        }
        stage
    }

    /// A number that has not been given before.
    pub(super) fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    pub(super) async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_recv_buffer_size(RECEIVED_MAX)
            .expect("a socket has options");
        let connected = socket.connect(self.program.pages).await;
        connected.expect("the server listens")
    }

    /// So many connections that have sent this.
    pub(super) async fn crowd(&self, count: usize, first: &[u8]) -> Vec<TcpStream> {
        let mut crowd = Vec::with_capacity(count);
        for _ in 0..count {
            let mut stream = self.connect().await;
            stream.write_all(first).await.expect("the server reads");
            crowd.push(stream);
        }
        crowd
    }

    /// The honest reader asks for the page.
    async fn reads_a_page(&self) {
        let url = format!("http://{}/", self.program.pages);
        let answer = self.reader.get(url).send().await;
        let answer = answer.expect("the honest reader is answered");
        let status = answer.status();
        let body = answer.text().await.expect("the honest page is whole");
        assert!(
            status == 200 && body.contains("<p>block</p>") && body.ends_with(END),
            "the honest reader gets {status}: {body}"
        );
        self.pages.send_modify(|pages| *pages += 1);
    }

    /// Returns when nothing more has been sent for as long as the honest reader needs for some pages.
    async fn stalls(&self, progress: &Progress) {
        let mut seen = None;
        while seen != Some(progress.0.get()) {
            seen = Some(progress.0.get());
            self.pages_are_read(PAGES_BESIDE).await;
        }
    }

    /// Returns when the honest reader has got so many more pages, which must be whole.
    pub(super) async fn pages_are_read(&self, count: u64) {
        let mut pages = self.pages.subscribe();
        let enough = *pages.borrow_and_update() + count;
        let read = timeout(PATIENCE, pages.wait_for(|pages| *pages >= enough)).await;
        assert!(read.is_ok(), "the honest reader gets no pages");
    }

    /// Plays an attack, with an honest reader beside it who reads from its beginning to its end. `begin` is over
    /// when all of its connections are there; `go_on` is played until it ends, or until the server takes no more of
    /// it. Then everything is looked at, and all of its connections are closed.
    ///
    /// `holds` is the most that the server may hold for it, in bytes.
    pub(super) async fn withstands(
        &self,
        holds: u64,
        begin: impl AsyncFn() -> Vec<TcpStream>,
        go_on: impl AsyncFn(&mut [TcpStream], &Progress),
    ) {
        let before = self.program.at_rest().await;
        let more_max = LEFT_MAX + holds / 2;
        let mut left = Vec::new();
        for _ in 0..TIMES_MAX {
            let reading = async {
                loop {
                    self.reads_a_page().await;
                }
            };
            let attack = async {
                let mut crowd = begin().await;
                let progress = Progress::default();
                let going_on = async {
                    go_on(crowd.as_mut_slice(), &progress).await;
                    pending::<()>().await;
                };
                tokio::select! {
                    () = going_on => unreachable!("it is pending"),
                    () = self.stalls(&progress) => {}
                }
                let during = self.program.held().await;
                drop(crowd);
                during
            };
            let during = tokio::select! {
                during = attack => during,
                () = reading => unreachable!("the honest reader never has enough"),
            };
            let after = self.program.back_to(&before).await;
            let base = before.rss.max(before.peak);
            let most = during.rss.max(after.peak).max(after.rss);
            println!(
                "before {} KiB, during {}, peak {}, after {}; may hold {} and {}; {} descriptors, {} tasks",
                before.rss / KIB,
                during.rss / KIB,
                after.peak / KIB,
                after.rss / KIB,
                holds / KIB,
                SLACK / KIB,
                during.descriptors,
                during.tasks,
            );
            assert!(
                most <= base + holds + SLACK,
                "it holds {} KiB more, not {}: {before:?} {during:?} {after:?}",
                (most - base) / KIB,
                (holds + SLACK) / KIB
            );
            let last = left.last().copied();
            left.push(after.rss);
            if last.is_some_and(|last| after.rss <= last + more_max) {
                return;
            }
        }
        panic!(
            "each time leaves at least {} KiB more than the one before: {left:?} bytes",
            more_max / KIB
        );
    }
}

/// An origin that takes connections and reads nothing from them.
fn pit() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(RECEIVED_MAX)
        .expect("a socket has options");
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(here).expect("loopback has free ports");
    let listener = socket.listen(64).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    address
}

/// How often an attack has been able to send something.
#[derive(Debug, Default)]
pub(super) struct Progress(Cell<u64>);

impl Progress {
    pub(super) fn made(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Sends this on each of these connections, at most so often and as far as the server takes it; reads nothing.
pub(super) async fn pour(
    crowd: &mut [TcpStream],
    times: u32,
    bytes: impl Fn(u32) -> Vec<u8>,
    progress: &Progress,
) {
    let bytes = &bytes;
    let pouring = crowd.iter_mut().map(async |stream| {
        for time in 0..times {
            // who is sent away has been dealt with
            if stream.write_all(&bytes(time)).await.is_err() {
                return;
            }
            progress.made();
        }
    });
    join_all(pouring).await;
}
