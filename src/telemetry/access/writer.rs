//! The thread that writes records (shell). Owns how many are written at once, when a failed output is
//! tried again, and what is said of it in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::report::Throttle;

use super::Record;
use super::output::{Output, Short};

/// Lines that are written at once, in bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Between two looks at whether the file was moved away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An output that has failed is left alone for so long: records are lost meanwhile, and it is not tried
/// for each of them.
const PAUSE: Duration = Duration::from_secs(1);

/// What the thread is told.
pub(super) enum Message {
    Record(Box<Record>),
    /// Open the file anew.
    Reopen,
    /// Say when all that came before is written.
    Flush(SyncSender<()>),
}

pub(super) struct Writer {
    output: Output,
    is_json: bool,
    lost: Arc<AtomicU64>,
    /// How many lost ones were known when it was last looked.
    known_lost: u64,
    clock: Clock,
    looked: Instant,
    /// Until when it is left alone, if it has failed.
    failing: Option<Instant>,
    complaints: Throttle,
}

impl Writer {
    pub(super) fn new(output: Output, is_json: bool, lost: Arc<AtomicU64>, clock: Clock) -> Self {
        Self {
            output,
            is_json,
            lost,
            known_lost: 0,
            clock,
            looked: clock.now(),
            failing: None,
            complaints: Throttle::default(),
        }
    }

    /// Writes until nobody is left to send.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        if let Err(error) = self.output.open() {
            self.failed(0, 0, &error);
        }
        let (mut lines, mut count) = (Vec::with_capacity(BATCH_BYTES), 0);
        while let Ok(first) = messages.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Record(record) => {
                        record.line(&mut lines, self.is_json);
                        count += 1;
                    }
                    Message::Reopen => {
                        self.write(&mut lines, &mut count);
                        self.reopen();
                    }
                    Message::Flush(done) => {
                        self.write(&mut lines, &mut count);
                        let _ = done.try_send(());
                    }
                }
                let is_full = lines.len() >= BATCH_BYTES;
                next = (!is_full).then(|| messages.try_recv().ok()).flatten();
            }
            self.write(&mut lines, &mut count);
            self.tell_lost();
        }
    }

    fn write(&mut self, lines: &mut Vec<u8>, count: &mut u64) {
        let (batch, records) = (std::mem::take(lines), std::mem::take(count));
        if batch.is_empty() {
            return;
        }
        let now = self.clock.now();
        if self.failing.is_some_and(|until| now < until) {
            self.lose(records);
        } else {
            if now >= self.looked + LOOK_EVERY {
                self.looked = now;
                if self.output.was_moved() {
                    self.reopen();
                }
            }
            match self.output.write(&batch) {
                Ok(()) => self.works(),
                Err(Short { written, error }) => {
                    let whole = batch[..written].iter().filter(|b| **b == b'\n').count();
                    let lost = records.saturating_sub(whole as u64);
                    self.failed(lost, records, &error);
                }
            }
        }
        *lines = batch;
        lines.clear();
        lines.shrink_to(BATCH_BYTES);
    }

    fn reopen(&mut self) {
        if let Err(error) = self.output.reopen() {
            self.failed(0, 0, &error);
        }
    }

    fn works(&mut self) {
        if self.failing.take().is_some() {
            let name = self.output.name();
            tracing::info!("the access log can be written to {name} again");
        }
    }

    fn failed(&mut self, lost: u64, of: u64, error: &std::io::Error) {
        let now = self.clock.now();
        self.failing = Some(now + PAUSE);
        self.lose(lost);
        if let Some(untold) = self.complaints.due("output", now) {
            let (name, count) = (self.output.name(), untold.0);
            tracing::error!(
                lost,
                of,
                untold = count,
                "the access log cannot be written to {name}: {error}; pages are served, their records \
                 are lost until it can{untold}"
            );
        }
    }

    fn lose(&mut self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.known_lost += count;
    }

    /// Says that there were more records than could be written.
    fn tell_lost(&mut self) {
        let all = self.lost.load(Ordering::Relaxed);
        let records = all - self.known_lost;
        if records > 0 && self.complaints.due("queue", self.clock.now()).is_some() {
            self.known_lost = all;
            tracing::warn!(
                records,
                "{records} records of the access log were lost: it is not written fast enough"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::site::AccessTarget;
    use crate::telemetry::access::Kind;
    use std::sync::mpsc::sync_channel;

    fn record(path: &str) -> Message {
        Message::Record(Box::new(Record {
            at: Moment::from_micros(0),
            method: http::Method::GET,
            path: path.to_owned(),
            kind: Kind::Static,
            status: 200,
            bytes: 1,
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            is_left: false,
            page: None,
            client: None,
        }))
    }

    /// What was lost, once all of these were taken.
    fn write(to: AccessTarget, messages: impl IntoIterator<Item = Message>) -> u64 {
        let lost = Arc::<AtomicU64>::default();
        let (queue, taken) = sync_channel(64);
        messages
            .into_iter()
            .for_each(|message| queue.try_send(message).unwrap());
        drop(queue);
        let clock = Clock::start();
        Writer::new(Output::new(to), false, Arc::clone(&lost), clock).run(&taken);
        lost.load(Ordering::Relaxed)
    }

    #[test]
    fn records_are_written_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let lost = write(
            AccessTarget::File(file.clone()),
            ["/a", "/b", "/c"].map(record),
        );
        assert_eq!(lost, 0);
        let text = std::fs::read_to_string(file).unwrap();
        let paths = text.lines().map(|line| line.split(' ').nth(2).unwrap());
        assert_eq!(paths.collect::<Vec<_>>(), ["/a", "/b", "/c"]);
    }

    #[test]
    fn a_full_disk_and_a_folder_that_is_not_there_lose_all_and_count_it() {
        for path in ["/dev/full", "/nowhere/access.log"] {
            let lost = write(
                AccessTarget::File(path.into()),
                ["/a", "/b", "/c"].map(record),
            );
            assert_eq!(lost, 3, "{path}");
        }
    }

    #[test]
    fn a_line_that_was_torn_is_ended_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut output = Output::new(AccessTarget::File(path.clone()));
        assert!(output.write(b"whole\nto").is_ok());
        assert!(output.write(b"next\n").is_ok());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nto\nnext\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("old"));
        let mut output = Output::new(AccessTarget::File(path.clone()));
        assert!(output.write(b"first\n").is_ok());
        assert!(!output.was_moved());
        std::fs::rename(&path, &old).unwrap();
        assert!(output.was_moved());
        output.reopen().unwrap();
        assert!(!output.was_moved());
        assert!(output.write(b"second\n").is_ok());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "first\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
        // nor is one that another has taken the place of
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(output.was_moved());
    }
}
