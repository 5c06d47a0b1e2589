//! The store that all nodes share (Valkey or Redis; shell): frames by id, short leases on
//! refreshing them, and messages between nodes. Owns what is asked of it and how long that may
//! take. It knows nothing of fragments: a frame is bytes, and its [`Stamp`] says which of two stays.
//!
//! Losing the store costs hit rate, nothing else; a slow store costs nothing. So:
//!
//! - a page's call waits [`Settings::timeout`] at most; a breaker stops calls to a store that does
//!   not answer, and probes are made in the background (`breaker`, `link`);
//! - writes wait in a bounded queue and are made by one task, on a connection of their own, so that
//!   a large frame on its way out is never in front of a page's question (`queue`, `writer`);
//! - messages go through a stream, which outlives a cut connection, and are read on a third
//!   connection (`inbox`).
//!
//! Invariants: every failure is a miss for whoever asks; a newer frame is never replaced by an
//! older one; the password of the address is shown nowhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::key::CopyId;
use crate::clock::Clock;

mod address;
mod breaker;
mod counts;
mod inbox;
mod keys;
mod link;
mod queue;
mod stamp;
mod trouble;
mod writer;

pub use address::{BadAddress, Dial, Stream};
pub use link::Upset;
pub use stamp::Stamp;

use address::Address;
use counts::{Counts, add};
use inbox::Inbox;
use keys::Keys;
use link::{Failure, Link, Usage, tell};
use queue::{Job, Put, Queue};
use trouble::{Gravity, Part, Trouble, Troubles};
use writer::Writer;

#[cfg(any(test, feature = "fuzzing"))]
pub(super) use stamp::hold as hold_of_stamp;

/// Questions in flight; beyond it, the answer is a miss at once.
const CALLS_MAX: usize = 256;

/// For each write; no page waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Before each try of somebody who must know.
const PATIENCE: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// Beyond what the server holds an answer to the listener back.
const LISTEN_SLACK: Duration = Duration::from_secs(1);

/// Messages of other nodes that wait here; more wait in the store.
const MESSAGES_MAX: usize = 1024;

/// Bytes of a message. Ten thousand are kept by the store, so that they must be small: what is
/// large is [`put`](Shared::put), and the message names it.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What [`Settings::timeout`] may be.
const TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(1);

/// Where the store is, and how long a page waits for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://`, `redis+sentinel://a,b/NAME`,
    /// `redis+cluster://a,b`; with user, password and database.
    pub url: String,
    /// The beginning of every key, so that several sites can share a store.
    pub prefix: String,
    /// How long a page waits for an answer: 1 ms to 1 s, and cut to that.
    pub timeout: Duration,
}

/// Without the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Address::read(&self.url).map(|address| address.to_string());
        f.debug_struct("Settings")
            .field("url", &url.as_deref().unwrap_or("cannot be read"))
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// How the store is reached where that is not the usual way.
#[derive(Default)]
pub struct Way {
    /// What makes it misbehave on purpose.
    pub upset: Option<Arc<dyn Upset>>,
    /// What makes connections to it, instead of the network.
    pub dial: Option<Arc<dyn Dial>>,
}

/// The store, for as long as it is held and its tasks are not stopped.
pub struct Shared {
    address: Arc<Address>,
    keys: Arc<Keys>,
    clock: Clock,
    reading: Arc<Link>,
    listening: Arc<Link>,
    writer: Arc<Writer>,
    calls: Semaphore,
    counts: Arc<Counts>,
    troubles: Arc<Troubles>,
    messages: Mutex<Option<mpsc::Receiver<Bytes>>>,
}

/// Settings that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedError {
    /// The address cannot be read.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// The prefix cannot begin a key.
    #[error(
        "the prefix `{0}` of the shared store cannot begin its keys: write letters, digits, `-`, \
         `_`, `.` or `:`, at least one and at most 64"
    )]
    Prefix(String),
}

/// Whether a store can be looked for at this address, and its keys begin so. Asks nobody.
pub fn check(url: &str, prefix: &str) -> Result<(), SharedError> {
    Address::read(url)?;
    read_prefix(prefix.to_owned()).map(|_| ())
}

/// The store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared store does not answer")]
pub struct NoAnswer;

/// Who refreshes a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// This node.
    Mine,
    /// Another node, or another flight of this one.
    Others,
    /// The store cannot say.
    Unknown,
}

/// The store at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct SharedState {
    /// Where it is, without its password.
    pub url: String,
    /// The random name of this process among the nodes.
    pub node: String,
    /// Whether frames are asked for; if not, every question is a miss at once.
    pub reading: bool,
    /// Whether frames and messages are written.
    pub writing: bool,
    /// Whether messages of other nodes arrive.
    pub listening: bool,
    /// What is wrong, and what to do.
    pub problem: Option<String>,
    /// How long the last probe took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Frames found.
    pub hits: u64,
    /// Frames not found.
    pub misses: u64,
    /// Questions not asked: no connection, or too many in flight.
    pub skipped: u64,
    /// Calls without an answer in time, probes not counted.
    pub timeouts: u64,
    /// Calls answered by an error, or cut off, probes not counted.
    pub errors: u64,
    /// Frames stored.
    pub stored: u64,
    /// Frames not stored since the store had a newer one.
    pub older: u64,
    /// Frames and messages given up: no room in the queue, refused, or too old when their turn came.
    pub dropped: u64,
    /// Writes that wait.
    pub waiting: usize,
    /// Messages of other nodes that were delivered.
    pub messages_in: u64,
    /// Messages that the store has taken.
    pub messages_out: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.address)
    }
}

impl Shared {
    /// Prepares the store. Connections are made in the background: a store that is down is no
    /// reason not to start. The tasks run on `tasks` and end at `stop`, the writer half a second
    /// later if there is still something to write. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Only where the address or the prefix cannot be read.
    pub fn connect(
        settings: Settings,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, SharedError> {
        Self::connect_by(settings, clock, tasks, stop, Way::default())
    }

    /// The same by another way than the usual one.
    ///
    /// # Errors
    ///
    /// Only where the address or the prefix cannot be read.
    pub fn connect_by(
        settings: Settings,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
        way: Way,
    ) -> Result<Self, SharedError> {
        // the first caller installs it; later calls find it installed
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = Arc::new(Address::read(&settings.url)?.dialled_by(way.dial));
        let keys = Arc::new(Keys::new(
            read_prefix(settings.prefix)?,
            format!("{:016x}", fastrand::u64(..)),
        ));
        let (counts, troubles) = (Arc::<Counts>::default(), Arc::<Troubles>::default());
        let link = |part, timeout, heartbeat| {
            let usage = Usage {
                part,
                timeout,
                heartbeat,
            };
            let (address, troubles) = (Arc::clone(&address), Arc::clone(&troubles));
            let upset = way.upset.clone();
            let link = Arc::new(Link::new(
                usage,
                address,
                keys.probe(),
                clock,
                troubles,
                upset,
            ));
            tasks.spawn(Arc::clone(&link).keep(stop.clone()));
            link
        };
        let timeout = settings.timeout.clamp(*TIMEOUT.start(), *TIMEOUT.end());
        let reading = link(Part::Reading, timeout, true);
        let writing = link(Part::Writing, WRITE_TIMEOUT, true);
        let listening = link(Part::Listening, inbox::WAIT + LISTEN_SLACK, false);

        let writer = Arc::new(Writer {
            link: writing,
            address: Arc::clone(&address),
            keys: Arc::clone(&keys),
            counts: Arc::clone(&counts),
            troubles: Arc::clone(&troubles),
            clock,
            queue: Mutex::new(Queue::default()),
            added: Notify::new(),
            finished: Notify::new(),
            latest: Mutex::new(None),
        });
        tasks.spawn(Arc::clone(&writer).run(stop.clone()));

        let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
        let inbox = Inbox {
            link: Arc::clone(&listening),
            address: Arc::clone(&address),
            keys: Arc::clone(&keys),
            counts: Arc::clone(&counts),
            troubles: Arc::clone(&troubles),
            clock,
            messages: sender,
        };
        tasks.spawn(inbox.run(stop));

        Ok(Self {
            address,
            keys,
            clock,
            reading,
            listening,
            writer,
            calls: Semaphore::new(CALLS_MAX),
            counts,
            troubles,
            messages: Mutex::new(Some(receiver)),
        })
    }

    /// The frame, unless there is none or the store is not usable.
    pub async fn get(&self, id: CopyId) -> Option<Bytes> {
        let _call = self.admit()?;
        match self.reading.ask(&self.keys.get(id)).await {
            Ok(value) => self.count(frame_of(value)),
            Err(failure) => self.miss(&failure),
        }
    }

    /// The same for who is not a page and must know: waits for a connection and an answer, some
    /// seconds in all, on the connection of the writes.
    ///
    /// # Errors
    ///
    /// Where the store does not answer, or not with a frame.
    pub async fn get_behind(&self, id: CopyId) -> Result<Option<Bytes>, NoAnswer> {
        let command = self.keys.get(id);
        for pause in PATIENCE {
            sleep(pause).await;
            let link = &self.writer.link;
            if timeout(WRITE_TIMEOUT, link.ready()).await.is_err() {
                continue;
            }
            match link.ask(&command).await {
                Ok(value) => return Ok(frame_of(value)),
                Err(Failure::Error(trouble)) if trouble.gravity == Gravity::Foreign => {
                    return Ok(None);
                }
                Err(Failure::Away | Failure::Silent | Failure::Error(_)) => {}
            }
        }
        Err(NoAnswer)
    }

    /// How many connections to hear the other nodes by there were so far.
    pub fn connections(&self) -> u64 {
        self.listening.made()
    }

    /// The frame, and in the same round trip a lease of `lease` on refreshing it, if no other node
    /// holds one. Whoever gets it gives it back with [`release`](Self::release), after the
    /// [`put`](Self::put).
    pub async fn get_or_lease(&self, id: CopyId, lease: Duration) -> (Option<Bytes>, Lease) {
        let Some(_call) = self.admit() else {
            return (None, Lease::Unknown);
        };
        let both = self.keys.get_or_lease(id, lease);
        let answers = match self.reading.ask_all(&both).await {
            Ok(answers) => answers,
            Err(failure) => return (self.miss(&failure), Lease::Unknown),
        };
        let mut answers = answers.into_iter();
        let frame = match answers.next() {
            Some(Ok(value)) => self.count(frame_of(value)),
            Some(Err(trouble)) => self.miss(&Failure::Error(trouble)),
            None => None,
        };
        let lease = match answers.next() {
            Some(Ok(Value::Okay)) => Lease::Mine,
            Some(Ok(_)) => Lease::Others,
            Some(Err(trouble)) => self.no_lease(&trouble),
            None => Lease::Unknown,
        };
        if lease != Lease::Unknown {
            tell(&self.address, self.troubles.end(Part::Leasing));
        }
        (frame, lease)
    }

    /// Gives this node's lease back, after all that was put before. A lease that another node has
    /// taken meanwhile stays. Returns at once.
    pub fn release(&self, id: CopyId) {
        self.writer.add(Job::Release(id));
    }

    /// Stores a frame for `keep` from now, unless the store has a newer one (see [`Stamp`]).
    /// Returns at once; beyond what the queue holds it is dropped, and counted.
    pub fn put(&self, id: CopyId, stamp: Stamp, keep: Duration, frame: Bytes) {
        self.writer.add(Job::Put(Put {
            id,
            stamp,
            keep,
            asked: self.clock.now(),
            frame,
        }));
    }

    /// Removes a frame. Returns at once; while the store is away, it is remembered.
    pub fn remove(&self, id: CopyId) {
        self.writer.add(Job::Remove(id));
    }

    /// Sends a message to the other nodes: those that listen, and for an hour (or ten thousand
    /// messages) those that are away or start. Returns at once; while the store is away, it is
    /// remembered. A message of more than [`MESSAGE_BYTES_MAX`] is dropped, and counted. Gives its place
    /// in the order of all that is written.
    pub fn publish(&self, message: Bytes) -> u64 {
        if message.len() > MESSAGE_BYTES_MAX {
            add(&self.counts.dropped, 1);
            return 0;
        }
        self.writer.add(Job::Message(message))
    }

    /// Whether the store has taken the message at this place, and all before it.
    pub fn has_written(&self, place: u64) -> bool {
        self.writer.has_written(place)
    }

    /// Waits until the store has taken the message at this place, and all before it. `false`: it is away.
    pub async fn written(&self, place: u64) -> bool {
        self.writer.written(place).await
    }

    /// The random name of this process among the nodes.
    pub fn node(&self) -> &str {
        self.keys.node()
    }

    /// Where the messages of other nodes arrive, each once, those of one node in its order, and
    /// never this node's own. Can be taken once.
    pub fn messages(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.messages.lock().take()
    }

    /// How it does.
    pub fn state(&self) -> SharedState {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        SharedState {
            url: self.address.to_string(),
            node: self.keys.node().to_owned(),
            reading: self.reading.is_up(),
            writing: self.writer.link.is_up(),
            listening: self.listening.is_up(),
            problem: self.troubles.first(),
            latency_ms: self.reading.latency().map(|took| took.as_secs_f64() * 1e3),
            hits: read(&counts.hits),
            misses: read(&counts.misses),
            skipped: read(&counts.skipped),
            timeouts: read(&counts.timeouts),
            errors: read(&counts.errors),
            stored: read(&counts.stored),
            older: read(&counts.older),
            dropped: read(&counts.dropped),
            waiting: self.writer.waiting(),
            messages_in: read(&counts.messages_in),
            messages_out: read(&counts.messages_out),
        }
    }

    fn admit(&self) -> Option<SemaphorePermit<'_>> {
        let call = self.calls.try_acquire().ok();
        if call.is_none() {
            add(&self.counts.skipped, 1);
        }
        call
    }

    fn count(&self, frame: Option<Bytes>) -> Option<Bytes> {
        let counter = match frame {
            Some(_) => &self.counts.hits,
            None => &self.counts.misses,
        };
        add(counter, 1);
        frame
    }

    fn miss(&self, failure: &Failure) -> Option<Bytes> {
        match failure {
            Failure::Error(trouble) if trouble.gravity == Gravity::Foreign => {
                return self.count(None);
            }
            Failure::Away | Failure::Silent | Failure::Error(_) => self.counts.failed(failure),
        }
        None
    }

    fn no_lease(&self, trouble: &Trouble) -> Lease {
        add(&self.counts.errors, 1);
        let now = self.clock.now();
        let told = self.troubles.begin(Part::Leasing, &trouble.text, now);
        tell(&self.address, told);
        Lease::Unknown
    }
}

fn frame_of(value: Value) -> Option<Bytes> {
    let Value::BulkString(value) = value else {
        return None;
    };
    stamp::frame(value.into())
}

fn read_prefix(prefix: String) -> Result<String, SharedError> {
    // no braces, which would be the hash tag of every key
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    match (1..=64).contains(&prefix.len()) && prefix.bytes().all(fits) {
        true => Ok(prefix),
        false => Err(SharedError::Prefix(prefix)),
    }
}
