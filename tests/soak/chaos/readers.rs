//! Readers, some of whom hang up, and what they have seen.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use marbre::clock::Clock;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::server::client;
use crate::site::BUDGET_MS;
use crate::{PATIENCE, numbered, of, up};

use super::{GRACE, SLUGS};

/// Between two looks at how late this program is.
const LOOK: Duration = Duration::from_millis(20);

/// Examples of what is wrong that are kept.
const EXAMPLES_MAX: usize = 5;

/// What readers have got.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) whole: AtomicU64,
    /// Error pages of pages that nobody had seen before.
    pub(super) unseen: AtomicU64,
    /// Error pages of others: the core is lost.
    pub(super) lost: AtomicU64,
    /// A 200 that is not what it should be.
    pub(super) torn: AtomicU64,
    /// Other statuses.
    pub(super) other: AtomicU64,
    /// No answer, or half of one.
    pub(super) unanswered: AtomicU64,
    /// Longer than budget and grace.
    pub(super) overdue: AtomicU64,
    /// Readers who have hung up.
    pub(super) left: AtomicU64,
    pub(super) examples: Mutex<Vec<String>>,
    /// How long pages took, in milliseconds, second by second.
    pub(super) took_ms: Mutex<Vec<Vec<f64>>>,
    /// Error pages of pages that nobody had seen, by the end of each second.
    pub(super) unseen_by: Mutex<Vec<u64>>,
    known: Mutex<HashSet<u64>>,
}

impl Seen {
    /// A second is over.
    pub(super) fn next_second(&self) {
        self.took_ms.lock().push(Vec::new());
        self.unseen_by.lock().push(of(&self.unseen));
    }

    fn took(&self, took: Duration) {
        let mut seconds = self.took_ms.lock();
        if let Some(second) = seconds.last_mut() {
            second.push(took.as_secs_f64() * 1e3);
        }
    }

    fn is_wrong(&self, count: &AtomicU64, what: String) {
        up(count);
        let mut examples = self.examples.lock();
        if examples.len() < EXAMPLES_MAX {
            examples.push(what.chars().take(400).collect());
        }
    }
}

/// How late this program itself has been since it began, in microseconds.
#[derive(Clone)]
pub(super) struct Late {
    clock: Clock,
    total: Arc<AtomicU64>,
}

impl Late {
    /// Looks until it is over.
    pub(super) fn watch(tasks: &TaskTracker, over: &Arc<AtomicBool>) -> Self {
        let late = Self {
            clock: Clock::start(),
            total: Arc::default(),
        };
        let (looking, over) = (late.clone(), Arc::clone(over));
        tasks.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let before = looking.clock.now();
                sleep(LOOK).await;
                let by = looking.clock.now().saturating_duration_since(before + LOOK);
                let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
                looking.total.fetch_add(by, Ordering::Relaxed);
            }
        });
        late
    }

    fn total(&self) -> Duration {
        Duration::from_micros(of(&self.total))
    }
}

/// One who reads, and reads again.
pub(super) struct Reader {
    pub(super) pages: SocketAddr,
    pub(super) seen: Arc<Seen>,
    pub(super) over: Arc<AtomicBool>,
    pub(super) late: Late,
    pub(super) rng: fastrand::Rng,
}

impl Reader {
    /// Until it is over.
    pub(super) async fn read(mut self) {
        let client = client();
        while !self.over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(self.rng.u64(100..700))).await;
            // some stories are read far more than others
            let slug = (self.rng.f64().powi(3) * SLUGS as f64) as u64;
            match self.rng.u8(..20) {
                0 => self.hang_up(slug).await,
                _ => self.page(&client, slug).await,
            }
        }
    }

    /// Asks, reads a little or nothing, and is gone.
    async fn hang_up(&mut self, slug: u64) {
        let after = Duration::from_millis(self.rng.u64(..300));
        let asking = async {
            let mut stream = TcpStream::connect(self.pages).await?;
            let request = format!("GET /p/{slug} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut some = [0; 512];
            let _ = timeout(after, stream.read(&mut some)).await;
            Ok::<(), std::io::Error>(())
        };
        match timeout(PATIENCE, asking).await {
            Ok(Ok(())) => up(&self.seen.left),
            failed => {
                let what = format!("a reader who hangs up: {failed:?}");
                self.seen.is_wrong(&self.seen.unanswered, what);
            }
        }
    }

    async fn page(&self, client: &reqwest::Client, slug: u64) {
        let seen = &*self.seen;
        let was_known = seen.known.lock().contains(&slug);
        let (began, late) = (self.late.clock.now(), self.late.total());
        let answer = async {
            let answer = client
                .get(format!("http://{}/p/{slug}", self.pages))
                .send()
                .await?;
            let status = answer.status().as_u16();
            Ok::<_, reqwest::Error>((status, answer.text().await?))
        };
        let answer = answer.await;
        let took = self.late.clock.now().saturating_duration_since(began);
        seen.took(took);
        let late = self.late.total().saturating_sub(late);
        if took > Duration::from_millis(BUDGET_MS) + GRACE + late {
            seen.is_wrong(&seen.overdue, format!("page {slug} took {took:?}"));
        }
        match answer {
            Err(why) => seen.is_wrong(&seen.unanswered, format!("page {slug}: {why:?}")),
            Ok((200, body)) => match numbered::pieces(&body) {
                Ok(found) if found.contains_key(&format!("/article/{slug}")) => {
                    seen.known.lock().insert(slug);
                    up(&seen.whole);
                }
                other => seen.is_wrong(&seen.torn, format!("page {slug}: {other:?}")),
            },
            Ok((503, _)) if was_known => {
                seen.is_wrong(&seen.lost, format!("page {slug} was seen, and is 503"));
            }
            Ok((503, _)) => up(&seen.unseen),
            Ok((status, _)) => seen.is_wrong(&seen.other, format!("page {slug}: {status}")),
        }
    }
}
