//! The readers of a rehearsal (shell): they ask for pages when these are due, however the server is, and
//! count for themselves what they get. Owns their connections and their patience.
//!
//! They have a thread of their own: were they to take turns with the server at its runtime, what they do
//! would look like its work.
//!
//! Invariant: there are at most [`WAITING_MAX`] who wait at once, which is what a process may have in open
//! files; a page that is due then is not asked for, and that is counted.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join;
use futures::stream::FuturesUnordered;
use http::header::USER_AGENT;
use reqwest::redirect::Policy;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::seen::{Answer, Seen};
use super::{Script, Visit};
use crate::clock::{Clock, Instant};
use crate::demo::{Change, Dials};

/// Each is a connection, which has two ends in this process; a thousand files are what is usual.
pub const WAITING_MAX: usize = 192;

/// Nobody waits longer: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often each page is read before the incident begins: of a page that is read for the second time there
/// is a snapshot.
const BEFORE: usize = 2;

/// Between two of those, so that they are no crowd.
const BEFORE_PAUSE: Duration = Duration::from_millis(100);

/// What is played, and on what.
pub struct Play {
    /// The incident.
    pub script: Script,
    /// How long it lasts.
    pub length: Duration,
    /// Who asks for what and when.
    pub visits: Vec<Visit>,
    /// What is read before, page after page, and counts as well.
    pub before: Vec<String>,
    /// Where pages are.
    pub pages: SocketAddr,
    /// What the script turns.
    pub dials: Dials,
    /// The time.
    pub clock: Clock,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Played {
    /// What the readers got.
    pub seen: Seen,
    /// Pages that were due and not asked for: too many were waiting.
    pub unasked: u64,
}

impl Play {
    /// Plays it to its end, or until `stop`, on this thread, and tells when a phase begins. Returns when
    /// nobody waits for a page any more.
    pub fn run(self, tell: impl Fn(usize), stop: CancellationToken) -> io::Result<Played> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build()?;
        let client = client().map_err(io::Error::other)?;
        let seen = RefCell::new(Seen::default());
        let all = async {
            for path in std::iter::repeat_n(&self.before, BEFORE).flatten() {
                let due = self.clock.now();
                self.visit(&client, &seen, (path.as_str(), 0), due).await;
                sleep(BEFORE_PAUSE).await;
            }
            let began = self.clock.now();
            let reading = self.read(began, &client, &seen);
            let (unasked, ()) = join(reading, self.phases(began, tell)).await;
            Played {
                seen: seen.take(),
                unasked,
            }
        };
        let playing = async {
            tokio::select! {
                () = stop.cancelled() => Played::default(),
                played = all => played,
            }
        };
        Ok(runtime.block_on(playing))
    }

    async fn phases(&self, began: Instant, tell: impl Fn(usize)) {
        let begins = self.script.begins(self.length).into_iter();
        for (number, (phase, begins)) in self.script.phases.iter().zip(begins).enumerate() {
            sleep_until(began + begins).await;
            tell(number);
            if let Some((origin, form)) = phase.turn {
                let change = Change::parse(form).expect("scripts turn dials that there are");
                self.dials.turn(origin, &change);
            }
        }
        sleep_until(began + self.length).await;
    }

    /// Asks for pages when they are due, and tells how many were not asked for.
    async fn read(&self, began: Instant, client: &reqwest::Client, seen: &RefCell<Seen>) -> u64 {
        let mut unasked = 0;
        let mut waiting = FuturesUnordered::new();
        for visit in &self.visits {
            let due = began + visit.at;
            let mut next = pin!(sleep_until(due));
            loop {
                tokio::select! {
                    biased;
                    () = &mut next => break,
                    Some(()) = waiting.next() => {}
                }
            }
            if waiting.len() >= WAITING_MAX {
                unasked += 1;
                continue;
            }
            waiting.push(self.visit(client, seen, (visit.path.as_str(), visit.reader), due));
        }
        while waiting.next().await.is_some() {}
        unasked
    }

    /// One page that was due then, read by one reader.
    async fn visit(
        &self,
        client: &reqwest::Client,
        seen: &RefCell<Seen>,
        (path, reader): (&str, u32),
        due: Instant,
    ) {
        let url = format!("http://{}{path}", self.pages);
        let answer = timeout(PATIENCE, ask(client, &url, reader)).await;
        let took = self.clock.now().saturating_duration_since(due);
        let answer = answer.ok().and_then(Result::ok);
        let answer = match &answer {
            Some((status, head, body)) => Answer::Whole {
                status: *status,
                head,
                body,
            },
            None => Answer::Broken,
        };
        seen.borrow_mut().add(path, &answer, took);
    }
}

async fn ask(
    client: &reqwest::Client,
    url: &str,
    reader: u32,
) -> reqwest::Result<(u16, http::HeaderMap, bytes::Bytes)> {
    let asking = client
        .get(url)
        .header(USER_AGENT, format!("reader {reader}"));
    let answer = asking.send().await?;
    let (status, head) = (answer.status().as_u16(), answer.headers().clone());
    Ok((status, head, answer.bytes().await?))
}

/// It takes pages as they are: what is compressed would be work, and a redirect is an answer.
fn client() -> reqwest::Result<reqwest::Client> {
    // the first caller installs it; later calls find it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .redirect(Policy::none())
        .build()
}
