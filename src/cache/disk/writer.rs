//! Shell: the one thread that writes. Owns when the log is written, made durable, opened and tried
//! again; and what happens to what cannot be written.
//!
//! Invariant: no trouble ends the process, and none lasts longer than its cause by more than
//! [`BACKOFF_MAX`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::key::CopyId;
use crate::clock::Instant;

use super::log::{self, Log, What};
use super::queue::{Operation, Put};
use super::record::Label;
use super::segment::{Place, Segment};
use super::shared::{Counts, Shared};
use super::trouble::Trouble;

/// Written records are made durable this often at most: a power cut costs what is younger.
const SYNC_PAUSE: Duration = Duration::from_secs(1);

/// After trouble, first and at most.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

struct Writer {
    shared: Arc<Shared>,
    log: Option<Log>,
    /// Opening the folder is no sign that the trouble has ended: it came while writing.
    needs_proof: bool,
    /// Something was not written since the last flush was answered.
    lost: bool,
    backoff: Duration,
    retry_at: Option<Instant>,
    synced_at: Option<Instant>,
}

/// Writes until the queue is stopped; says `opened` when the folder has been tried. A panic costs
/// what was in hand: the log is opened anew.
pub(super) fn run(shared: Arc<Shared>, opened: &SyncSender<()>) {
    let mut writer = Writer {
        shared,
        log: None,
        needs_proof: false,
        lost: false,
        backoff: BACKOFF_MIN,
        retry_at: None,
        synced_at: None,
    };
    let mut said = false;
    loop {
        let run = catch_unwind(AssertUnwindSafe(|| {
            if writer.log.is_none() && writer.is_due() {
                writer.open();
            }
            if !std::mem::replace(&mut said, true) {
                // whoever opened the store may have stopped waiting
                let _ = opened.try_send(());
            }
            writer.round()
        }));
        match run {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => writer.recover_from_panic(),
        }
    }
}

impl Writer {
    fn is_due(&self) -> bool {
        let now = self.shared.clock.now();
        self.retry_at.is_none_or(|at| now >= at)
    }

    /// One call of the queue; says whether there is to be another.
    fn round(&mut self) -> bool {
        let call = self.shared.queue.next(self.pause(), self.is_due());
        let urgent = call.stop || !call.flushes.is_empty();
        let mut all_written = false;
        if self.log.is_none() && urgent {
            self.open();
        }
        if self.log.is_none() {
            self.lose(call.operations);
        } else if urgent || self.is_due() {
            self.retry_at = None;
            let is_proof = !call.operations.is_empty();
            let written = self.write(call.operations);
            let written = written.and_then(|()| self.sync_if_due(urgent));
            all_written = written.is_ok();
            match written {
                Ok(()) if is_proof || !self.needs_proof => self.rest(),
                Ok(()) => {}
                Err(trouble) => self.fail(&trouble),
            }
        }
        self.shared.queue.done();
        all_written &= !self.lost;
        self.lost &= call.flushes.is_empty();
        for flush in call.flushes {
            // whoever asked may have gone
            let _ = flush.send(all_written);
        }
        !call.stop
    }

    fn sync_if_due(&mut self, urgent: bool) -> Result<(), Trouble> {
        let now = self.shared.clock.now();
        let due = self.synced_at.is_none_or(|at| now >= at + SYNC_PAUSE);
        match self.log.as_mut().filter(|log| log.is_dirty()) {
            Some(log) if urgent || due => {
                self.synced_at = Some(now);
                let synced = log.sync();
                self.lost |= synced.is_err();
                synced
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How long to wait for a call before there is something to do without one.
    fn pause(&self) -> Option<Duration> {
        let dirty = self.log.as_ref().is_some_and(Log::is_dirty);
        let sync_at = self.synced_at.filter(|_| dirty).map(|at| at + SYNC_PAUSE);
        let at = self.retry_at.or(sync_at)?;
        Some(at.saturating_duration_since(self.shared.clock.now()))
    }

    fn open(&mut self) {
        // lets go of the lock, which would keep us out too
        self.log = None;
        let opened = self.try_open();
        self.shared
            .closed
            .store(self.log.is_none(), Ordering::Relaxed);
        match opened {
            Ok(()) => self.rest(),
            Err(trouble) => self.fail_opening(&trouble),
        }
    }

    /// Opens the log in the folder. What was known before, and is not in it, is written to it: the
    /// folder may have been deleted, and its files live for as long as they are open.
    fn try_open(&mut self) -> Result<(), Trouble> {
        let (log, index) = Log::open(&self.shared)?;
        let lost = self.install(index);
        let log = self.log.insert(log);
        log.prepare()?;
        let records = lost.len();
        for (id, place, segment) in lost {
            if let Ok(body) = segment.read(&place) {
                log.stage(&log::label(&id, &place), &body, What::Rescue)?;
            }
        }
        log.write_out()?;
        log.sync()?;
        // said when it is true: whoever waits for it may end the process then
        if records > 0 {
            tracing::warn!(
                folder = %self.shared.folder.display(),
                records,
                "what was kept in {} had gone from it, and is written again",
                self.shared.folder.display()
            );
        }
        Ok(())
    }

    /// Shows a new index; returns what only the old one had.
    fn install(&self, mut new: super::index::Index) -> Vec<(CopyId, Place, Arc<Segment>)> {
        self.shared.queue.publish(|removes| {
            for (id, _) in new.select(|id, _| removes(id)) {
                new.remove(&id);
            }
            let mut index = self.shared.index.write();
            let is_lost = |id: &CopyId, place: &Place| {
                !removes(id) && new.get(id).is_none_or(|known| known.seq < place.seq)
            };
            let lost = index.select(is_lost).into_iter();
            let lost = lost.filter_map(|(id, place)| {
                let segment = index.segments.get(&place.segment)?;
                Some((id, place, Arc::clone(segment)))
            });
            let lost = lost.collect();
            *index = new;
            lost
        })
    }

    fn write(
        &mut self,
        operations: impl IntoIterator<Item = (CopyId, Operation)>,
    ) -> Result<(), Trouble> {
        let Some(log) = self.log.as_mut() else {
            return Ok(());
        };
        let mut result = log.prepare();
        let mut unwritten = Unwritten::default();
        for (id, operation) in operations {
            if result.is_err() {
                unwritten.count(id, &operation);
                continue;
            }
            let (label, body, what) = match operation {
                Operation::Remove => removal(log, id),
                Operation::Put(put) => match make(log, id, put) {
                    Made::Record(label, body, what) => (label, body, what),
                    Made::Nothing { after_removal } => {
                        Counts::add(&self.shared.counts.dropped, 1);
                        if !after_removal {
                            continue;
                        }
                        removal(log, id)
                    }
                },
            };
            result = log.stage(&label, &body, what);
            if result.is_err() {
                unwritten.count_staged(id, what);
            }
        }
        let result = result.and_then(|()| log.write_out());
        if result.is_err() {
            for staged in log.take_unwritten() {
                unwritten.count_staged(staged.id, staged.what);
            }
        }
        self.account(unwritten);
        result
    }

    /// What is in hand while there is no log.
    fn lose(&mut self, operations: impl IntoIterator<Item = (CopyId, Operation)>) {
        let mut unwritten = Unwritten::default();
        for (id, operation) in operations {
            unwritten.count(id, &operation);
        }
        self.account(unwritten);
    }

    /// Copies are lost; removals wait for the next try, or what was purged would come back.
    fn account(&mut self, unwritten: Unwritten) {
        self.lost |= unwritten.copies > 0;
        Counts::add(&self.shared.counts.dropped, unwritten.copies);
        for id in unwritten.removals {
            self.shared.queue.remove_again(id);
        }
    }

    /// All is well.
    fn rest(&mut self) {
        self.backoff = BACKOFF_MIN;
        self.retry_at = None;
        self.needs_proof = false;
        if self.shared.problem.lock().take().is_some() {
            tracing::info!(
                folder = %self.shared.folder.display(),
                "copies are kept in {} again",
                self.shared.folder.display()
            );
        }
    }

    fn fail(&mut self, trouble: &Trouble) {
        if trouble.is_loss() {
            tracing::warn!(folder = %self.shared.folder.display(), "{trouble}: it is opened anew");
            self.open();
        } else {
            self.fail_opening(trouble);
        }
    }

    /// Says it once, and waits before the next try.
    fn fail_opening(&mut self, trouble: &Trouble) {
        let said = trouble.to_string();
        let mut problem = self.shared.problem.lock();
        if problem.as_ref() != Some(&said) {
            tracing::error!(folder = %self.shared.folder.display(), "{said}");
            *problem = Some(said);
        }
        drop(problem);
        self.needs_proof = self.log.as_ref().is_some_and(Log::is_prepared);
        self.retry_at = Some(self.shared.clock.now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    fn recover_from_panic(&mut self) {
        self.log = None;
        self.shared.closed.store(true, Ordering::Relaxed);
        let said = "the writer of copies panicked; it starts again".to_owned();
        tracing::error!(folder = %self.shared.folder.display(), "{said}");
        *self.shared.problem.lock() = Some(said);
        self.retry_at = Some(self.shared.clock.now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

/// What was to be written and is not.
#[derive(Default)]
struct Unwritten {
    copies: usize,
    removals: Vec<CopyId>,
}

impl Unwritten {
    fn count(&mut self, id: CopyId, operation: &Operation) {
        let what = match operation {
            Operation::Remove => What::Removal,
            Operation::Put(put) => What::New {
                after_removal: put.after_removal,
            },
        };
        self.count_staged(id, what);
    }

    fn count_staged(&mut self, id: CopyId, what: What) {
        match what {
            What::Removal => self.removals.push(id),
            What::New { after_removal } => {
                self.copies += 1;
                self.removals.extend(after_removal.then_some(id));
            }
            // the original is still where it was
            What::Copy { .. } | What::Rescue => {}
        }
    }
}

enum Made {
    Record(Label, Bytes, What),
    /// The frame panicked, or is too large.
    Nothing {
        after_removal: bool,
    },
}

fn make(log: &mut Log, id: CopyId, put: Put) -> Made {
    let after_removal = put.after_removal;
    let Ok(body) = catch_unwind(AssertUnwindSafe(put.frame)) else {
        tracing::error!("a copy could not be made into bytes: it is not kept on disk");
        return Made::Nothing { after_removal };
    };
    if !log.fits(body.len()) {
        return Made::Nothing { after_removal };
    }
    let label = Label {
        id,
        pinned: put.pinned,
        removed: false,
        good_until: put.good_until,
        seq: log.next_seq(),
    };
    Made::Record(label, Bytes::from(body), What::New { after_removal })
}

fn removal(log: &mut Log, id: CopyId) -> (Label, Bytes, What) {
    let label = Label {
        id,
        pinned: false,
        removed: true,
        good_until: 0,
        seq: log.next_seq(),
    };
    (label, Bytes::new(), What::Removal)
}
