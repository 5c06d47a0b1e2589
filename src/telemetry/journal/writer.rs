//! Who writes the journal down (shell): a thread of its own, and the bounded queue in front of it. When
//! the disk does not keep up entries are lost on disk, and counted, and nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Moment};

use super::entry::{Entry, What};
use super::folder::{Appender, Settings};

/// Entries that may wait to be written.
const QUEUE_ENTRIES: usize = 1024;

enum Message {
    Entry(Arc<Entry>),
    Sync(SyncSender<()>),
}

/// Hands entries to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Message>,
    known: Arc<Known>,
}

/// What is known of the writing.
#[derive(Debug, Default)]
struct Known {
    /// Entries that did not get to the disk and that it does not know of yet.
    lost: AtomicU64,
    /// Why the last entry could not be written, if it could not.
    trouble: Mutex<Option<String>>,
}

impl Writer {
    /// Starts the thread. Where none can be had nothing is written, and that is the trouble.
    pub(super) fn start(settings: Settings, clock: Clock) -> Self {
        let (queue, messages) = sync_channel(QUEUE_ENTRIES);
        let known = Arc::new(Known::default());
        let told = Arc::clone(&known);
        let started = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(&messages, &told, settings, clock));
        if let Err(error) = started {
            known.note(Some(format!("no thread can be had to write it: {error}")));
        }
        Self { queue, known }
    }

    /// Has an entry written.
    pub(super) fn write(&self, entry: Arc<Entry>) {
        if self.queue.try_send(Message::Entry(entry)).is_err() {
            self.known.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why what happens at present does not survive a restart.
    pub(super) fn trouble(&self) -> Option<String> {
        self.known.trouble()
    }

    /// Waits until what was handed over is on the disk, but not longer than that. Blocks.
    pub(super) fn sync(&self, patience: Duration) {
        let (done, synced) = sync_channel(1);
        let mut message = Message::Sync(done);
        let pause = Duration::from_millis(5);
        let mut left = patience;
        loop {
            match self.queue.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) if !left.is_zero() => message = again,
                Err(_) => return,
            }
            std::thread::sleep(pause);
            left = left.saturating_sub(pause);
        }
        // a disk that does not answer must not keep the process from ending
        let _ = synced.recv_timeout(left);
    }
}

impl Known {
    fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    fn note(&self, trouble: Option<String>) {
        let before = std::mem::replace(&mut *self.trouble.lock(), trouble.clone());
        match (before, trouble) {
            (None, Some(why)) => tracing::error!("the journal cannot be written: {why}"),
            (Some(_), None) => tracing::info!("the journal can be written again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn write_all(messages: &Receiver<Message>, known: &Known, settings: Settings, clock: Clock) {
    let mut appender = Appender::new(settings);
    while let Ok(message) = messages.recv() {
        let now = clock.moment(clock.now());
        match message {
            Message::Entry(entry) => write(&mut appender, known, &entry, now),
            Message::Sync(done) => {
                let synced = appender.sync();
                known.note(
                    synced
                        .err()
                        .map(|error| error.to_string())
                        .or(known.trouble()),
                );
                let _ = done.try_send(());
            }
        }
    }
}

/// Writes an entry, behind the word of those that are missing before it.
fn write(appender: &mut Appender, known: &Known, entry: &Entry, now: Moment) {
    let lost = known.lost.swap(0, Ordering::Relaxed);
    let says = format!("{lost} entries are missing here: the disk was in trouble");
    let gap = (lost > 0).then(|| Entry::new(now, &says, What::Journal { lost }));
    let mut added = Ok(());
    let mut missing = lost;
    if let Some(gap) = gap {
        added = appender.add(&gap.line(), now);
        missing = if added.is_ok() { 0 } else { lost };
    }
    let added = added.and_then(|()| appender.add(&entry.line(), now));
    if added.is_err() {
        known.lost.fetch_add(missing + 1, Ordering::Relaxed);
    }
    known.note(added.err().map(|error| error.to_string()));
}
