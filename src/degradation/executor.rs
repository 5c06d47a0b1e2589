//! The bounded executor (shell): planning, rendering and assembling take turns, as many at once as
//! there are permits. Owns who is next, and how long everybody has waited: that wait is the signal of
//! the [law](super::law).
//!
//! Who is next is the [line](super::line)'s affair. A page that has waited too long is not begun at all
//! ([`Overdue`]).
//!
//! The turns alone do not tell of a machine whose cores are busy with other things: work that is ready
//! then waits in the runtime. So while the [lag](super::Lag) is notable a new page goes to the end of
//! what is ready before it takes its turn, and the time that takes is part of its wait.
//!
//! Invariants: there are never more turns than permits; a turn that is granted to somebody who has left
//! goes to the next; nobody waits while a permit is free.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout_at;

use crate::clock::{Clock, Instant};

use super::Lag;
use super::line::{Line, Stage, Waiting};

/// Work that takes a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job<'j> {
    /// Reading the request, planning the page, taking the copies that are at hand.
    Plan,
    /// Making a fragment, of this name, of an answer.
    Render(&'j str),
    /// Putting the page together.
    Assemble,
}

/// What a job takes at least, what it does and the way to its thread included: for rehearsals of load on a
/// machine that is faster than the load, whose results are then the same on any machine.
pub type Emulation = Arc<dyn Fn(Job<'_>) -> Duration + Send + Sync>;

/// How a job that is emulated lasts.
pub type Pause = fn(Duration) -> BoxFuture<'static, ()>;

/// The permits, and who waits for them.
pub struct Executor {
    permits: usize,
    busy: AtomicUsize,
    /// Those in the line, so that whoever gives a turn back need not look.
    waiting: AtomicUsize,
    line: Mutex<Line<oneshot::Sender<Turn>>>,
    waits: Waits,
    clock: Clock,
    lag: Arc<Lag>,
    emulation: Option<Emulation>,
    pause: Pause,
}

/// Waits since they were asked for last.
#[derive(Debug, Default)]
struct Waits {
    sum_us: AtomicU64,
    count: AtomicU64,
}

/// A page has waited too long to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue;

/// A permit, held. Given back when it is dropped.
pub struct Turn {
    executor: Arc<Executor>,
    began: Instant,
}

impl Executor {
    /// An executor that nobody waits for yet.
    pub fn new(permits: usize, clock: Clock, lag: Arc<Lag>) -> Self {
        Self {
            permits: permits.max(1),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
            waits: Waits::default(),
            clock,
            lag,
            emulation: None,
            pause: sleep_on_a_thread,
        }
    }

    /// The same with jobs that take longer than they do.
    #[must_use]
    pub fn emulating(self, emulation: Option<Emulation>) -> Self {
        Self { emulation, ..self }
    }

    /// The same, whose emulated jobs last as this lets them: on a clock that is not the machine's.
    #[must_use]
    pub fn pausing_by(self, pause: Pause) -> Self {
        Self { pause, ..self }
    }

    /// How many turns there are at once.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// A turn for a page that has not begun, which is worth nothing after `patience`.
    pub async fn begin(self: &Arc<Self>, patience: Duration) -> Result<Turn, Overdue> {
        let is_late = self.lag.is_notable();
        if !is_late && let Some(turn) = self.take_at_once() {
            return Ok(turn);
        }
        let since = self.clock.now();
        if is_late {
            yield_now().await;
            if self.clock.now().saturating_duration_since(since) > patience {
                self.waits.record(patience);
                return Err(Overdue);
            }
            if let Some(turn) = self.take_at_once() {
                self.waits
                    .lengthen(turn.began.saturating_duration_since(since));
                return Ok(turn);
            }
        }
        let turn = self.wait(Stage::New { patience }, since);
        match timeout_at(since + patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => {
                self.waits.record(patience);
                Err(Overdue)
            }
        }
    }

    /// A turn for a page that has begun.
    pub async fn go_on(self: &Arc<Self>) -> Turn {
        if let Some(turn) = self.take_at_once() {
            return turn;
        }
        let turn = self.wait(Stage::Begun, self.clock.now());
        turn.await.expect("who waits for a turn is not forgotten")
    }

    /// Does a job of a page that has begun, when it is its turn, and tells how long it took.
    pub async fn run<T>(self: &Arc<Self>, job: Job<'_>, work: impl FnOnce() -> T) -> (T, Duration) {
        let turn = self.go_on().await;
        let done = work();
        (done, turn.end(job).await)
    }

    /// The mean wait of what has begun, or was given up, since this was asked last; not less than half
    /// of what the oldest has waited for already.
    pub fn take_queue_delay(&self) -> Duration {
        let mean = self.waits.take_mean();
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return mean;
        }
        let now = self.clock.now();
        let oldest = self.line.lock().oldest(is_here);
        let age = oldest.map(|since| now.saturating_duration_since(since));
        mean.max(age.unwrap_or_default() / 2)
    }

    /// A turn, if nobody waits.
    fn take_at_once(self: &Arc<Self>) -> Option<Turn> {
        if self.waiting.load(Ordering::SeqCst) > 0 || !self.take_permit() {
            return None;
        }
        self.waits.record(Duration::ZERO);
        Some(Turn::new(self))
    }

    /// Who finds none leaves no trace: were it counted for a moment only, another who gives a permit
    /// back in that moment would find none for those who wait, and nobody would look again.
    fn take_permit(&self) -> bool {
        let one_more = |busy| (busy < self.permits).then_some(busy + 1);
        let taken = self
            .busy
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        taken.is_ok()
    }

    fn wait(self: &Arc<Self>, stage: Stage, since: Instant) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut line = self.line.lock();
            // those whose patience has ended are the oldest
            let gone = line.drop_gone(is_here);
            line.add(stage, since, sender);
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.waiting.fetch_sub(gone, Ordering::SeqCst);
        }
        // a permit may have been given back before anybody could see that there is who waits
        self.dispatch();
        receiver
    }

    /// Gives free permits to those who wait.
    fn dispatch(self: &Arc<Self>) {
        while self.waiting.load(Ordering::SeqCst) > 0 && self.take_permit() {
            let now = self.clock.now();
            let Some(next) = self.next(now) else {
                self.busy.fetch_sub(1, Ordering::SeqCst);
                continue;
            };
            self.waits.record(now.saturating_duration_since(next.since));
            // who has left in this very moment gives it back, which begins this anew
            drop(next.who.send(Turn::new(self)));
        }
    }

    /// Takes who is next off the line, and those before them who have left.
    fn next(&self, now: Instant) -> Option<Waiting<oneshot::Sender<Turn>>> {
        let mut line = self.line.lock();
        let (next, gone) = line.next(now, is_here);
        let taken = gone + usize::from(next.is_some());
        self.waiting.fetch_sub(taken, Ordering::SeqCst);
        next
    }

    fn give_back(self: &Arc<Self>) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.dispatch();
        }
    }
}

/// A timer of the runtime counts in whole milliseconds, which is as long as a job.
fn sleep_on_a_thread(span: Duration) -> BoxFuture<'static, ()> {
    let sleeping = spawn_blocking(move || thread::sleep(span));
    async { sleeping.await.expect("sleeping does not panic") }.boxed()
}

/// Whether somebody is there to take a turn.
fn is_here(turn: &oneshot::Sender<Turn>) -> bool {
    !turn.is_closed()
}

impl Waits {
    fn record(&self, wait: Duration) {
        self.lengthen(wait);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was recorded already has waited so much more.
    fn lengthen(&self, wait: Duration) {
        if !wait.is_zero() {
            let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
            self.sum_us.fetch_add(wait, Ordering::Relaxed);
        }
    }

    fn take_mean(&self) -> Duration {
        let count = self.count.swap(0, Ordering::Relaxed);
        let sum = self.sum_us.swap(0, Ordering::Relaxed);
        Duration::from_micros(sum.checked_div(count).unwrap_or(0))
    }
}

impl Turn {
    fn new(executor: &Arc<Executor>) -> Self {
        Self {
            began: executor.clock.now(),
            executor: Arc::clone(executor),
        }
    }

    /// Gives it back, and tells how long it was held.
    pub async fn end(self, job: Job<'_>) -> Duration {
        if let Some(emulation) = &self.executor.emulation {
            let elapsed = self
                .executor
                .clock
                .now()
                .saturating_duration_since(self.began);
            let left = emulation(job).saturating_sub(elapsed);
            if !left.is_zero() {
                (self.executor.pause)(left).await;
            }
        }
        let now = self.executor.clock.now();
        now.saturating_duration_since(self.began)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.executor.give_back();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("permits", &self.permits)
            .field("busy", &self.busy)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
