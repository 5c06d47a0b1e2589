//! One connection to the store, kept up in the background. Owns when it is made, given up and
//! replaced, and the breaker around its calls; knows no command but its own probe.
//!
//! # Why not the library's connection manager
//!
//! It makes the caller wait while it reconnects, and it does not know sentinels. Here a call either
//! finds a connection that has answered, or returns at once; connecting and probing are the
//! keeper's, so that no page ever pays for them.
//!
//! Invariants: a call waits `timeout` at most, and not even that once others have found out that
//! the store does not answer; what becomes of a call on a connection that was given up says
//! nothing of the one that follows.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::address::Address;
use super::breaker::Breaker;
use super::trouble::{Gravity, Part, Tell, Trouble, Troubles};

/// For name resolution, connection, TLS and login; nobody waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often an idle connection is tried, so that what became of it is known before a page asks.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A connection of either kind; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    One(MultiplexedConnection),
    /// To the nodes of a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    async fn one(&self, command: &Cmd) -> RedisResult<Value> {
        match self.clone() {
            Self::One(mut connection) => command.query_async(&mut connection).await,
            Self::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }

    async fn several(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        match self.clone() {
            Self::One(mut connection) => commands.query_async(&mut connection).await,
            Self::Cluster(mut connection) => commands.query_async(&mut connection).await,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no connection, or it was given up meanwhile: nothing was waited for.
    Away,
    /// None within the timeout.
    Silent,
    /// An error instead.
    Error(Trouble),
}

/// A connection that has answered its probe.
#[derive(Clone)]
struct Line {
    connection: Connection,
    /// Cancelled when it is given up.
    lost: CancellationToken,
}

/// How a link is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Which it is.
    pub(super) part: Part,
    /// For each answer.
    pub(super) timeout: Duration,
    /// Whether it is tried when idle.
    pub(super) heartbeat: bool,
}

/// A connection, while there is one.
pub(super) struct Link {
    usage: Usage,
    address: Arc<Address>,
    /// A key that holds nothing; reading it needs what reading a frame needs.
    probe: Cmd,
    clock: Clock,
    troubles: Arc<Troubles>,
    line: watch::Sender<Option<Line>>,
    /// Connections made so far.
    made: AtomicU64,
    breaker: Mutex<Breaker>,
    /// Wakes the keeper.
    opened: Notify,
    latency: Mutex<Option<Duration>>,
    upset: Option<Arc<dyn Upset>>,
}

/// Whatever makes the store misbehave on purpose.
pub trait Upset: Send + Sync {
    /// What comes before a call that is about to be made; `None`: nothing. An error is as if the store
    /// had made it.
    fn call(&self) -> Option<BoxFuture<'static, io::Result<()>>>;
}

impl Link {
    /// Without a connection; [`keep`](Self::keep) makes one.
    pub(super) fn new(
        usage: Usage,
        address: Arc<Address>,
        probe: Cmd,
        clock: Clock,
        troubles: Arc<Troubles>,
        upset: Option<Arc<dyn Upset>>,
    ) -> Self {
        Self {
            upset,
            usage,
            address,
            probe,
            clock,
            troubles,
            line: watch::Sender::new(None),
            made: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(clock.now())),
            opened: Notify::new(),
            latency: Mutex::new(None),
        }
    }

    /// Whether calls are made.
    pub(super) fn is_up(&self) -> bool {
        self.line.borrow().is_some()
    }

    /// How many connections were made so far: whoever reads another number than before may have
    /// missed something.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// How long the last probe took.
    pub(super) fn latency(&self) -> Option<Duration> {
        *self.latency.lock()
    }

    /// Waits until calls are made.
    pub(super) async fn ready(&self) {
        let mut line = self.line.subscribe();
        let up = line.wait_for(Option::is_some).await;
        debug_assert!(up.is_ok(), "the link holds the sender");
    }

    /// One command.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        let line = self.present()?;
        self.wait(&line, line.connection.one(command)).await
    }

    /// Several commands in one round trip, each with its own answer, which may be an error.
    pub(super) async fn ask_all(
        &self,
        commands: &Pipeline,
    ) -> Result<Vec<Result<Value, Trouble>>, Failure> {
        let line = self.present()?;
        let answers = self.wait(&line, line.connection.several(commands)).await?;
        let answered = |value: Value| {
            value.extract_error().map_err(|error| {
                let trouble = self.judge(&error);
                self.leave_replica(&line, &trouble);
                trouble
            })
        };
        Ok(answers.into_iter().map(answered).collect())
    }

    /// Keeps a connection until `stop`.
    pub(super) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let keeping = async {
            loop {
                let due = self.breaker.lock().probe_at();
                match due {
                    Some(due) => {
                        sleep_until(due).await;
                        self.connect().await;
                    }
                    None => tokio::select! {
                        () = self.opened.notified() => {}
                        () = sleep(HEARTBEAT), if self.usage.heartbeat => self.beat().await,
                    },
                }
            }
        };
        stop.run_until_cancelled(keeping).await;
    }

    /// Makes a connection, and believes in it when it has answered within the timeout of a call.
    async fn connect(&self) {
        let dialling = async {
            self.upset().await?;
            self.address.dial(self.usage.timeout).await
        };
        let dialled = timeout(CONNECT_TIMEOUT, dialling).await;
        let answered = match dialled {
            Err(_) => Err(Trouble::silence(CONNECT_TIMEOUT)),
            Ok(Err(error)) => Err(self.judge(&error)),
            Ok(Ok(connection)) => self.probe(&connection).await.map(|()| connection),
        };
        match answered {
            Ok(connection) => {
                let lost = CancellationToken::new();
                let mut breaker = self.breaker.lock();
                breaker.probe_succeeded();
                self.made.fetch_add(1, Ordering::Relaxed);
                self.line.send_replace(Some(Line { connection, lost }));
                drop(breaker);
                self.tell(self.troubles.end(self.usage.part));
            }
            Err(trouble) => {
                let now = self.clock.now();
                self.breaker.lock().probe_failed(now, fastrand::f64());
                self.complain(&trouble);
            }
        }
    }

    async fn probe(&self, connection: &Connection) -> Result<(), Trouble> {
        let began = self.clock.now();
        let asking = async {
            self.upset().await?;
            connection.one(&self.probe).await
        };
        let asked = timeout(self.usage.timeout, asking);
        match asked.await {
            Err(_) => Err(Trouble::silence(self.usage.timeout)),
            Ok(Err(error)) => Err(self.judge(&error)),
            Ok(Ok(_)) => {
                *self.latency.lock() = Some(self.clock.now() - began);
                Ok(())
            }
        }
    }

    /// Its own failure is judged as any call's.
    async fn beat(&self) {
        let began = self.clock.now();
        if self.ask(&self.probe).await.is_ok() {
            *self.latency.lock() = Some(self.clock.now() - began);
        }
    }

    /// What is set on purpose comes first.
    async fn upset(&self) -> RedisResult<()> {
        let upset = self.upset.as_ref().and_then(|upset| upset.call());
        match upset {
            Some(upset) => Ok(upset.await?),
            None => Ok(()),
        }
    }

    fn present(&self) -> Result<Line, Failure> {
        self.line.borrow().clone().ok_or(Failure::Away)
    }

    async fn wait<T>(
        &self,
        line: &Line,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Failure> {
        let asked = async {
            self.upset().await?;
            asked.await
        };
        let answer = tokio::select! {
            biased;
            answer = timeout(self.usage.timeout, asked) => answer,
            () = line.lost.cancelled() => return Err(Failure::Away),
        };
        match answer {
            Ok(Ok(value)) => {
                self.count_success(line);
                Ok(value)
            }
            Ok(Err(error)) => {
                let trouble = self.judge(&error);
                match trouble.gravity {
                    Gravity::Gone => self.lose(line),
                    Gravity::Down => self.count_failure(line, &trouble),
                    // it answers, and quickly: that is all the breaker is about
                    Gravity::Refused | Gravity::Replica | Gravity::Wrong | Gravity::Foreign => {
                        self.count_success(line);
                        self.leave_replica(line, &trouble);
                    }
                }
                Err(Failure::Error(trouble))
            }
            Err(_) => {
                self.count_failure(line, &Trouble::silence(self.usage.timeout));
                Err(Failure::Silent)
            }
        }
    }

    fn count_success(&self, line: &Line) {
        let mut breaker = self.breaker.lock();
        if !line.lost.is_cancelled() {
            breaker.succeeded();
        }
    }

    fn count_failure(&self, line: &Line, trouble: &Trouble) {
        let mut breaker = self.breaker.lock();
        let is_present = !line.lost.is_cancelled();
        if is_present && breaker.failed(self.clock.now(), fastrand::f64()) {
            self.cut(line);
            drop(breaker);
            self.complain(trouble);
        }
    }

    /// After a failover, sentinels and clusters lead to another server.
    fn leave_replica(&self, line: &Line, trouble: &Trouble) {
        if trouble.gravity == Gravity::Replica && self.address.may_move() {
            self.lose(line);
        }
    }

    /// Whether it was bad luck or the store has gone, making it again will tell.
    fn lose(&self, line: &Line) {
        let mut breaker = self.breaker.lock();
        // of several calls that fail on one line, the first alone gives it up
        if !line.lost.is_cancelled() {
            breaker.lost(self.clock.now(), fastrand::f64());
            self.cut(line);
        }
    }

    /// The breaker is open, and locked.
    fn cut(&self, line: &Line) {
        line.lost.cancel();
        self.line.send_replace(None);
        self.opened.notify_one();
    }

    fn judge(&self, error: &RedisError) -> Trouble {
        let mut trouble = Trouble::of(error);
        trouble.text = self.address.scrub(trouble.text);
        trouble
    }

    fn complain(&self, trouble: &Trouble) {
        let now = self.clock.now();
        self.tell(self.troubles.begin(self.usage.part, &trouble.text, now));
    }

    fn tell(&self, what: Option<Tell>) {
        tell(&self.address, what);
    }
}

/// Tells the operator, if there is something to tell.
pub(super) fn tell(address: &Address, what: Option<Tell>) {
    match what {
        None => {}
        Some(Tell::Began(text)) => tracing::warn!(
            store = %address,
            "the shared store {address} is not usable, pages do without: {text}"
        ),
        Some(Tell::Ended) => {
            tracing::info!(store = %address, "the shared store {address} works again");
        }
    }
}
