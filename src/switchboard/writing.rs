//! Whose turn it is to write the file of switches. Owns that it is written by one at a time and that what
//! was asked for last is written last; does not know what is written.

use parking_lot::Mutex;
use tokio::sync::watch;

/// The number of a request to write; they go up.
pub(super) type Ticket = u64;

/// Who has asked for a write, and what has come of it.
pub(super) struct Writing {
    asked: Mutex<Asked>,
    done: watch::Sender<Done>,
}

#[derive(Default)]
struct Asked {
    last: Ticket,
    is_running: bool,
}

/// The last attempt that has come to its end.
#[derive(Clone)]
pub(super) struct Done {
    /// All that was asked for up to here is part of it.
    pub(super) ticket: Ticket,
    /// Why it failed, if it did.
    pub(super) result: Result<(), String>,
}

impl Writing {
    pub(super) fn new() -> Self {
        let nothing = Done {
            ticket: 0,
            result: Ok(()),
        };
        Self {
            asked: Mutex::default(),
            done: watch::Sender::new(nothing),
        }
    }

    /// Asks for an attempt that begins after this; whether the caller must see to it that there is one
    /// who goes on with [`next`](Self::next) until there is nothing.
    pub(super) fn ask(&self) -> (Ticket, bool) {
        let mut asked = self.asked.lock();
        asked.last += 1;
        let is_idle = !std::mem::replace(&mut asked.is_running, true);
        (asked.last, is_idle)
    }

    /// What the next attempt is for; `None`: nobody has asked since the last.
    pub(super) fn next(&self) -> Option<Ticket> {
        let mut asked = self.asked.lock();
        asked.is_running = asked.last > self.done.borrow().ticket;
        asked.is_running.then_some(asked.last)
    }

    /// An attempt has come to its end.
    pub(super) fn finish(&self, ticket: Ticket, result: Result<(), String>) {
        self.done.send_replace(Done { ticket, result });
    }

    /// The result of an attempt, if it has come to its end.
    pub(super) fn result(&self, ticket: Ticket) -> Option<Result<(), String>> {
        let done = self.done.borrow();
        (done.ticket >= ticket).then(|| done.result.clone())
    }

    /// Waits for the end of an attempt.
    pub(super) async fn wait(&self, ticket: Ticket) {
        let mut done = self.done.subscribe();
        // the sender is as old as this
        let _ = done.wait_for(|done| done.ticket >= ticket).await;
    }
}
