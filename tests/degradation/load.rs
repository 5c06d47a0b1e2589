//! The load: readers who ask for pages. Owns when each page is asked for, by whom, and how long its
//! reader waits.
//!
//! The open load does not care how the server is: a page is due when it is due, and its time counts
//! from then, so that a server that stalls cannot hide it. The closed load are users who read what they
//! get, think, and ask for the next page.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::header::COOKIE;
use marbre::clock::{Clock, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::page::Page;
use super::plant::exponential;
use super::script::Phases;
use super::site::STORIES;

/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an impatient reader waits, and how often they ask again.
const IMPATIENT: Duration = Duration::from_millis(1500);
const RETRIES: u8 = 2;

/// How long a user thinks between two pages, on average.
const THINKING_S: f64 = 3.0;

/// Readers of the open load.
pub(crate) const SESSIONS: u32 = 800;

/// Who asks, as the server can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The same for each page of a session.
    Steady,
    /// A new one for each page.
    Random,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Demand {
    /// Pages a second at each second of the run, whatever becomes of them.
    Open {
        rate: fn(f64, &Phases) -> f64,
        is_impatient: bool,
    },
    /// Users at each second of the run.
    Closed { users: fn(f64, &Phases) -> u32 },
}

/// The readers and what they got.
pub(crate) struct Readers {
    client: reqwest::Client,
    url: String,
    pub(crate) clock: Clock,
    pub(crate) began: Instant,
    began_ms: f64,
    pages: RefCell<Vec<Page>>,
    rng: RefCell<fastrand::Rng>,
    /// How cookies are at a second of the run.
    cookie: fn(f64, &Phases) -> Cookie,
    phases: Phases,
}

impl Readers {
    pub(crate) fn new(
        pages: std::net::SocketAddr,
        clock: Clock,
        seed: u64,
        cookie: fn(f64, &Phases) -> Cookie,
        phases: Phases,
    ) -> Rc<Self> {
        Rc::new(Self {
            client: client(PATIENCE),
            url: format!("http://{pages}/page"),
            clock,
            began: clock.now(),
            began_ms: since_1970().as_secs_f64() * 1000.0,
            pages: RefCell::default(),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            cookie,
            phases,
        })
    }

    /// Seconds since the load began.
    pub(crate) fn elapsed(&self) -> f64 {
        (self.clock.now() - self.began).as_secs_f64()
    }

    /// When it began, in milliseconds since 1970.
    pub(crate) fn began_ms(&self) -> f64 {
        self.began_ms
    }

    /// What everybody got, by when it was due.
    pub(crate) fn pages(&self) -> Vec<Page> {
        let mut pages = self.pages.borrow().clone();
        pages.sort_by(|a, b| a.due.total_cmp(&b.due));
        pages
    }

    /// Asks for pages to the end of the run, and returns when nobody waits for one any more.
    pub(crate) async fn read(self: &Rc<Self>, demand: Demand) {
        match demand {
            Demand::Open { rate, is_impatient } => self.open(rate, is_impatient).await,
            Demand::Closed { users } => self.closed(users).await,
        }
    }

    async fn open(self: &Rc<Self>, rate: fn(f64, &Phases) -> f64, is_impatient: bool) {
        let end = self.phases.end();
        // the highest rate of the run, from which the others are thinned
        let seconds = (0..(end * 10.0) as u32).map(|tenth| f64::from(tenth) / 10.0);
        let most = seconds.map(|at| rate(at, &self.phases)).fold(1.0, f64::max);
        let mut readers = JoinSet::new();
        let mut due = 0.0;
        loop {
            let (step, kept) = {
                let mut rng = self.rng.borrow_mut();
                (exponential(&mut rng, 1.0 / most), rng.f64())
            };
            due += step;
            if due >= end {
                break;
            }
            if kept * most >= rate(due, &self.phases) {
                continue;
            }
            let at = self.began + Duration::from_secs_f64(due);
            if at > self.clock.now() {
                sleep_until(at).await;
            }
            let session = self.rng.borrow_mut().u32(..SESSIONS);
            let readers_ = Rc::clone(self);
            readers.spawn_local(async move {
                if is_impatient {
                    readers_.insist(due, session).await;
                } else {
                    readers_.ask(due, session, 0, PATIENCE).await;
                }
            });
            while readers.try_join_next().is_some() {}
        }
        while readers.join_next().await.is_some() {}
    }

    async fn closed(self: &Rc<Self>, users: fn(f64, &Phases) -> u32) {
        let mut there = JoinSet::new();
        let end = self.phases.end();
        let mut number = 0;
        loop {
            let now = self.elapsed();
            if now >= end {
                break;
            }
            while number < users(now, &self.phases) {
                let readers = Rc::clone(self);
                there.spawn_local(async move { readers.use_site(number, users).await });
                number += 1;
            }
            number = number.min(users(now, &self.phases));
            sleep(Duration::from_millis(100)).await;
            while there.try_join_next().is_some() {}
        }
        while there.join_next().await.is_some() {}
    }

    /// A user, until there are too many or the run is over.
    async fn use_site(self: &Rc<Self>, number: u32, users: fn(f64, &Phases) -> u32) {
        loop {
            let thinking = exponential(&mut self.rng.borrow_mut(), THINKING_S);
            sleep(Duration::from_secs_f64(thinking)).await;
            let now = self.elapsed();
            if now >= self.phases.end() || number >= users(now, &self.phases) {
                return;
            }
            self.ask(now, number, 0, PATIENCE).await;
        }
    }

    /// A reader who does not wait long, but asks again.
    async fn insist(self: &Rc<Self>, due: f64, session: u32) {
        for retry in 0..=RETRIES {
            let due = due + f64::from(retry) * IMPATIENT.as_secs_f64();
            let at = self.began + Duration::from_secs_f64(due);
            sleep_until(at).await;
            if self.ask(due, session, retry, IMPATIENT).await == 200 {
                return;
            }
        }
    }

    /// Asks for a page, and gives its status.
    async fn ask(self: &Rc<Self>, due: f64, session: u32, retry: u8, patience: Duration) -> u16 {
        let (story, random) = {
            let mut rng = self.rng.borrow_mut();
            (rng.u64(..STORIES), rng.u64(..))
        };
        let name = match (self.cookie)(due, &self.phases) {
            Cookie::Steady => format!("session={session}"),
            Cookie::Random => format!("session={random:x}"),
        };
        let asked_at = u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX);
        let mut page = Page::missing(due, session, retry);
        let request = self.client.get(format!("{}/{story}", self.url));
        let request = request.header(COOKIE, name);
        let answer = async {
            let answer = request.send().await?;
            let (status, head) = (answer.status().as_u16(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, head, answer.bytes().await?))
        };
        if let Ok(Ok((status, head, body))) = timeout(patience, answer).await {
            page.took_ms = (self.elapsed() - due) * 1000.0;
            page.status = status;
            page.read(&head, &body, asked_at);
        }
        self.pages.borrow_mut().push(page);
        page.status
    }
}

/// A client that keeps its connections.
pub(crate) fn client(patience: Duration) -> reqwest::Client {
    // the first caller installs it; later calls find it installed
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(patience);
    client.build().expect("a client can be made")
}

fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
