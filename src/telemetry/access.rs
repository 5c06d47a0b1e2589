//! The access log: one record for each request that was answered. Owns which requests are recorded, and
//! the bounded queue between them and the thread that writes.
//!
//! Invariant: nobody waits here. When the disk is full or slow, or nobody reads standard output, records
//! are lost and counted, and nothing grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::site::AccessLogSettings;

mod output;
mod record;
mod writer;

pub use record::{Kind, PageRecord, Record, shown, visible};

use output::Output;
use writer::{Message, Writer};

/// Records that may wait to be written.
const QUEUE_RECORDS: usize = 4096;

/// How long a stopped server waits for its last records.
const LAST_WRITES: Duration = Duration::from_millis(500);

/// Takes records.
pub struct AccessLog {
    settings: AccessLogSettings,
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the thread that writes. Records that are lost are counted in `lost`. Until `stop` the file
    /// is opened anew on SIGHUP.
    pub fn start(
        settings: AccessLogSettings,
        lost: Arc<AtomicU64>,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_RECORDS);
        let output = Output::new(settings.to.clone());
        let is_json = settings.format.is_json(output.is_terminal());
        let writer = Writer::new(output, is_json, Arc::clone(&lost), clock);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(&messages))?;
        let hangup = queue.clone();
        tasks.spawn(async move {
            // where it cannot be listened to, a file that was moved away is noticed all the same
            let Ok(mut signal) = signal(SignalKind::hangup()) else {
                return;
            };
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = signal.recv() => {
                        // a full queue is looked after by the next look at the file
                        let _ = hangup.try_send(Message::Reopen);
                    }
                }
            }
        });
        Ok(Self {
            settings,
            queue,
            lost,
        })
    }

    /// What is recorded, and how.
    pub fn settings(&self) -> &AccessLogSettings {
        &self.settings
    }

    /// Takes a record, or counts it as lost.
    pub fn write(&self, record: Record) {
        let record = Message::Record(Box::new(record));
        if self.queue.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when what was taken so far is written, or will not be in time. Blocks.
    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            // an output that takes nothing must not keep the process from ending
            let _ = flushed.recv_timeout(LAST_WRITES);
        }
    }
}
