//! Writes behind the pages' backs (shell). Owns which failures are tried again: a removal or a
//! message until it is done, for the nodes would differ without it; a frame or a release never.
//!
//! One task, one job at a time, so that everything is written in the order it was asked for: a
//! message that speaks of a frame follows the frame. Doing a job twice is harmless: stamps order
//! frames, and messages have numbers by which the receiver knows them.
//!
//! Invariant: nobody waits for this task.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

use super::address::Address;
use super::counts::{Counts, add};
use super::keys::Keys;
use super::link::{Failure, Link, tell};
use super::queue::{Job, Put, Queue};
use super::trouble::{Gravity, Part, Trouble, Troubles};

/// Before what the server has refused is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a stopping server goes on writing what it has promised.
const FAREWELL: Duration = Duration::from_millis(500);

/// The writer of one store.
pub(super) struct Writer {
    pub(super) link: Arc<Link>,
    pub(super) address: Arc<Address>,
    pub(super) keys: Arc<Keys>,
    pub(super) counts: Arc<Counts>,
    pub(super) troubles: Arc<Troubles>,
    pub(super) clock: Clock,
    pub(super) queue: Mutex<Queue>,
    pub(super) added: Notify,
    /// Tells whoever waits that a job is not in the queue any more.
    pub(super) finished: Notify,
    /// The server's time of the last message that it took, in milliseconds since 1970.
    pub(super) latest: Mutex<Option<u64>>,
}

/// What became of a job.
enum Attempt {
    Done,
    /// It may be tried again when there is a connection.
    Away,
    /// It may be tried again after a while.
    Refused,
    Dropped,
}

impl Writer {
    /// Adds a job, and returns its place at once.
    pub(super) fn add(&self, job: Job) -> u64 {
        let (dropped, place) = {
            let mut queue = self.queue.lock();
            (queue.push(job), queue.last())
        };
        add(&self.counts.dropped, dropped as u64);
        self.added.notify_one();
        place
    }

    /// Whether no note up to this place waits any more.
    pub(super) fn has_written(&self, place: u64) -> bool {
        !self.queue.lock().has_notes_up_to(place)
    }

    /// Waits for that; `false`: there is no connection, and no telling when.
    pub(super) async fn written(&self, place: u64) -> bool {
        loop {
            let finished = self.finished.notified();
            if self.has_written(place) {
                return true;
            }
            if !self.link.is_up() {
                return false;
            }
            finished.await;
        }
    }

    /// Jobs that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().len()
    }

    /// Writes until `stop`, and then what can still be written in [`FAREWELL`].
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let writing = async {
            loop {
                let first = self.queue.lock().first();
                match first {
                    None => self.added.notified().await,
                    Some((number, job)) => self.finish(number, &job).await,
                }
            }
        };
        if stop.run_until_cancelled(writing).await.is_none() {
            _ = timeout(FAREWELL, self.empty()).await;
        }
    }

    async fn empty(&self) {
        loop {
            let first = self.queue.lock().first();
            let Some((number, job)) = first else { return };
            match self.attempt(number, &job).await {
                Attempt::Done | Attempt::Dropped => self.queue.lock().done(number),
                Attempt::Away | Attempt::Refused => return,
            }
        }
    }

    async fn finish(&self, number: u64, job: &Job) {
        loop {
            self.link.ready().await;
            match self.attempt(number, job).await {
                Attempt::Done => break,
                Attempt::Dropped => {
                    add(&self.counts.dropped, 1);
                    break;
                }
                Attempt::Away => {}
                Attempt::Refused => sleep(RETRY_PAUSE).await,
            }
        }
        self.queue.lock().done(number);
        self.finished.notify_waiters();
    }

    async fn attempt(&self, number: u64, job: &Job) -> Attempt {
        match job {
            Job::Put(put) => self.put(put).await,
            Job::Release(id) => match self.link.ask(&self.keys.release(*id)).await {
                Ok(_) => Attempt::Done,
                Err(Failure::Away) => Attempt::Away,
                // it runs out soon
                Err(failure) => self.dropped(&failure),
            },
            Job::Remove(id) => match self.link.ask(&self.keys.remove(*id)).await {
                Ok(_) => Attempt::Done,
                Err(failure) => self.again(Part::Storing, &failure),
            },
            Job::Message(message) => self.publish(number, message).await,
        }
    }

    async fn put(&self, put: &Put) -> Attempt {
        let waited = self.clock.now().saturating_duration_since(put.asked);
        let keep = put.keep.saturating_sub(waited);
        if keep.is_zero() {
            return Attempt::Dropped;
        }
        let command = self.keys.put(put.id, &put.stamp, keep, &put.frame);
        match self.link.ask(&command).await {
            Ok(answer) => {
                let is_older = answer == Value::Int(0);
                let counter = match is_older {
                    true => &self.counts.older,
                    false => &self.counts.stored,
                };
                add(counter, 1);
                tell(&self.address, self.troubles.end(Part::Storing));
                Attempt::Done
            }
            Err(Failure::Away) => Attempt::Away,
            Err(failure) => {
                if let Failure::Error(trouble) = &failure {
                    self.complain(Part::Storing, trouble);
                }
                self.dropped(&failure)
            }
        }
    }

    async fn publish(&self, number: u64, message: &Bytes) -> Attempt {
        let latest = *self.latest.lock();
        let command = self.keys.publish(number, message, latest);
        let added = match self.link.ask_all(&command).await {
            Ok(answers) => match answers.into_iter().next() {
                Some(answer) => answer.map_err(Failure::Error),
                None => Ok(Value::Nil),
            },
            Err(failure) => Err(failure),
        };
        match added {
            Ok(id) => {
                *self.latest.lock() = millis_of(&id).or(latest);
                add(&self.counts.messages_out, 1);
                tell(&self.address, self.troubles.end(Part::Publishing));
                Attempt::Done
            }
            Err(failure) => self.again(Part::Publishing, &failure),
        }
    }

    fn again(&self, part: Part, failure: &Failure) -> Attempt {
        self.counts.failed(failure);
        let Failure::Error(trouble) = failure else {
            return Attempt::Away;
        };
        match trouble.gravity {
            Gravity::Gone => Attempt::Away,
            Gravity::Down => Attempt::Refused,
            Gravity::Refused | Gravity::Replica => {
                self.complain(part, trouble);
                Attempt::Refused
            }
            Gravity::Wrong | Gravity::Foreign => {
                self.complain(part, trouble);
                Attempt::Dropped
            }
        }
    }

    fn dropped(&self, failure: &Failure) -> Attempt {
        self.counts.failed(failure);
        Attempt::Dropped
    }

    /// What the connection does not complain of itself.
    fn complain(&self, part: Part, trouble: &Trouble) {
        match trouble.gravity {
            Gravity::Gone | Gravity::Down => {}
            Gravity::Refused | Gravity::Replica | Gravity::Wrong | Gravity::Foreign => {
                let now = self.clock.now();
                let told = self.troubles.begin(part, &trouble.text, now);
                tell(&self.address, told);
            }
        }
    }
}

/// The time in the id of a message: its part before the hyphen (XADD).
fn millis_of(id: &Value) -> Option<u64> {
    let Value::BulkString(id) = id else {
        return None;
    };
    let (millis, _) = std::str::from_utf8(id).ok()?.split_once('-')?;
    millis.parse().ok()
}
