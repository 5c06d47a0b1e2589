//! A log that never holds anybody up (shell). Owns the thread that writes and the bounded queue in
//! front of it: when whoever reads the log does not keep up, lines are lost and counted, and the
//! server goes on.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 4096;
/// How long the end of the process waits for the last lines, once there is room for them in the queue.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(500);
/// Between two looks at whether there is room in the queue at the end of the process.
const RETRY: Duration = Duration::from_millis(1);
/// How many looks.
const RETRIES_MAX: usize = 500;

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Takes lines; cheap to clone.
#[derive(Clone)]
pub(super) struct Lossy {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Writes the last lines when it is dropped.
#[must_use = "the last lines are written when this is dropped"]
pub struct LogGuard(SyncSender<Message>);

impl Lossy {
    /// Starts the thread that writes to `sink`.
    /// `is_json` says how a line about lines is to look.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        is_json: fn() -> bool,
    ) -> (Self, LogGuard) {
        let (queue, lines) = sync_channel(QUEUE_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&lines, &counted, sink, is_json))
            .expect("a thread can be started when the process starts");
        let guard = LogGuard(queue.clone());
        (Self { queue, lost }, guard)
    }
}

fn write_all(
    lines: &Receiver<Message>,
    lost: &AtomicU64,
    mut sink: impl Write,
    is_json: fn() -> bool,
) {
    while let Ok(message) = lines.recv() {
        // a log that cannot be written has nowhere to say so
        let _ = match message {
            Message::Line(line) => sink.write_all(&line),
            Message::Flush(done) => {
                let flushed = sink.flush();
                let _ = done.try_send(());
                flushed
            }
        };
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let text = format!("{count} log lines were lost: the log is not read fast enough");
            let _ = match is_json() {
                true => {
                    let fields = serde_json::json!({ "message": text, "count": count });
                    let line = serde_json::json!({ "level": "WARN", "fields": fields });
                    writeln!(sink, "{line}")
                }
                false => writeln!(sink, "{text}"),
            };
        }
    }
}

impl Write for Lossy {
    /// One event is one call: the subscriber formats a whole line before it writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lossy {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // a reader who does not read must not keep the process from ending
        let (done, flushed) = sync_channel(1);
        let mut message = Message::Flush(done);
        for _ in 0..RETRIES_MAX {
            match self.0.try_send(message) {
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return,
                Ok(()) => {
                    let _ = flushed.recv_timeout(FLUSH_TIME_MAX);
                    return;
                }
            }
            std::thread::sleep(RETRY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_sink_loses_lines_and_blocks_nobody() {
        let sink = Sink::default();
        let blocked = sink.0.lock();
        let (mut log, guard) = Lossy::start(sink.clone(), || false);
        for _ in 0..QUEUE_LINES + 10 {
            log.write_all(b"line\n").unwrap();
        }
        drop(blocked);
        // a full queue drains before there is room for the last lines
        while log
            .queue
            .try_send(Message::Line(b"last\n".to_vec()))
            .is_err()
        {
            std::thread::yield_now();
        }
        drop(guard);
        let written = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert!(
            written.contains("log lines were lost"),
            "{} bytes",
            written.len()
        );
        assert!(written.contains("last\n"));
    }
}
