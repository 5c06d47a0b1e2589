//! The journal: what has happened to this server, and what readers got meanwhile, one entry for each
//! thing, so that somebody who comes later can tell what it was. Owns the newest entries in memory, who
//! is told of new ones, and when it is summed up what readers got; where it is kept is in [`folder`],
//! what it says in [`entry`].
//!
//! What readers got is summed up every [`TICK`] while not all is well, and every [`CALM`] otherwise;
//! where nobody reads, nothing is written.
//!
//! Invariants: a page adds to counters and does nothing else here; whoever tells of an event waits for no
//! disk; memory, queue and disk have their bounds, and what does not fit is counted and said.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::report::{Event, Observer, PageReport};

pub mod entry;
pub mod folder;
mod pending;
pub mod postmortem;
pub mod summary;
mod writer;

pub use entry::{Entry, Kind, NoKind, What};
pub use folder::{Found, Settings};
pub use summary::{Around, Readers, Summary};

use pending::Pending;
use summary::Counters;
use writer::Writer;

/// How often it is looked at how readers are.
pub const TICK: Duration = Duration::from_secs(10);

/// How often it is summed up what readers got while all is well.
pub const CALM: Duration = Duration::from_secs(60);

/// Entries in memory: a long incident, or a day in which nothing happens.
const REMEMBERED: usize = 2000;

/// Entries that somebody who is told of new ones may be behind.
const BEHIND_MAX: usize = 256;

/// How long the end of the process waits for the last entries.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The journal of one server.
pub struct Journal {
    clock: Clock,
    memory: Mutex<Memory>,
    feed: broadcast::Sender<Arc<Entry>>,
    /// `None`: it is nowhere but in memory.
    writer: Option<Writer>,
    counters: Counters,
    /// A number that no other run has.
    run: u64,
    pending: Mutex<Pending>,
    is_after_crash: bool,
}

struct Memory {
    entries: VecDeque<Arc<Entry>>,
    /// Whether there were older ones.
    is_cut: bool,
}

/// What is remembered.
pub struct Remembered {
    /// The oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// From when on nothing is missing, in milliseconds since 1970; `None` if nothing ever was.
    pub complete_since_ms: Option<u64>,
}

impl Journal {
    /// Begins with what was known before a restart, as far as it can be read. Blocks.
    pub fn open(settings: Option<Settings>, clock: Clock) -> Self {
        let now = clock.moment(clock.now());
        let found = settings.as_ref().map(recalled);
        let found = found.unwrap_or_else(|| Ok(Found::default()));
        let (found, unread) = match found {
            Ok(found) => (found, None),
            Err(error) => (Found::default(), Some(error)),
        };
        let ended = |entry: &Entry| matches!(entry.what, What::Stop { finished: Some(_) });
        let journal = Self {
            clock,
            is_after_crash: found.entries.back().is_some_and(|last| !ended(last)),
            memory: Mutex::new(Memory {
                entries: found.entries.into_iter().map(Arc::new).collect(),
                is_cut: found.is_cut,
            }),
            feed: broadcast::Sender::new(BEHIND_MAX),
            writer: settings.map(|settings| Writer::start(settings, clock)),
            counters: Counters::new(),
            // JSON numbers are whole up to 2^53 everywhere
            run: fastrand::u64(1..1 << 53),
            pending: Mutex::new(Pending::new(now)),
        };
        if found.damaged > 0 {
            let says = match found.damaged {
                1 => {
                    "a line of the journal of before cannot be read, and is passed over".to_owned()
                }
                lines => format!(
                    "{lines} lines of the journal of before cannot be read, and are passed over"
                ),
            };
            tracing::warn!("{says}");
            journal.add(
                &says,
                What::Journal {
                    lost: found.damaged,
                },
            );
        }
        if let Some(error) = unread {
            let says = format!("the journal of before cannot be read: {error}");
            tracing::warn!("{says}");
            journal.add(&says, What::Journal { lost: 0 });
        }
        journal
    }

    /// Whether the process before this one ended without saying so.
    pub fn is_after_crash(&self) -> bool {
        self.is_after_crash
    }

    /// Why what happens at present does not survive a restart, if it does not.
    pub fn trouble(&self) -> Option<String> {
        match &self.writer {
            None => Some("the site declares no `state_dir`".to_owned()),
            Some(writer) => writer.trouble(),
        }
    }

    /// What is remembered of the time since then.
    pub fn since(&self, at: Moment) -> Remembered {
        let at_ms = at.micros() / 1000;
        let memory = self.memory.lock();
        let entries = memory.entries.iter().filter(|entry| entry.at_ms >= at_ms);
        let first = memory.entries.front().filter(|_| memory.is_cut);
        Remembered {
            entries: entries.cloned().collect(),
            complete_since_ms: first.map(|first| first.at_ms),
        }
    }

    /// New entries as they come, from now on.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.feed.subscribe()
    }

    /// What readers got since it was summed up last.
    pub fn so_far(&self, around: &Around) -> Option<Entry> {
        let now = self.clock.moment(self.clock.now());
        let due = self.pending.lock().so_far(self.counters.counted(), now)?;
        let summary = Summary {
            so_far: true,
            ..due.counted.summary(due.until.since(due.since), around)
        };
        Some(Entry::new(now, &summary.says(), What::Tally(summary)))
    }

    /// What readers got since the start.
    pub fn readers(&self) -> Readers {
        self.counters.counted().readers(self.run)
    }

    /// Sums up what readers got, as often as is worth it, until `stop`; `look` says how things are.
    pub async fn sum_up(
        self: Arc<Self>,
        look: impl Fn(&mut dyn FnMut(&Around)) + Send + Sync,
        stop: CancellationToken,
    ) {
        while timeout(TICK, stop.cancelled()).await.is_err() {
            look(&mut |around| self.turn(around, false));
        }
    }

    /// Sums up what readers got, if it is due, or if it is the last time.
    pub fn turn(&self, around: &Around, is_last: bool) {
        let now = self.clock.moment(self.clock.now());
        let due = {
            let counted = self.counters.counted();
            self.pending
                .lock()
                .turn(counted, now, around.is_well, is_last)
        };
        for due in due {
            let pushed = due.counted.pushed;
            if pushed > 0 {
                let says = format!("{pushed} copies were pushed or withdrawn");
                self.add(&says, What::Push { copies: pushed });
            }
            if !due.counted.is_empty() {
                let summary = due.counted.summary(due.until.since(due.since), around);
                self.add(&summary.says(), What::Tally(summary));
            }
        }
    }

    /// Waits until all of it is on the disk, but not for long. Blocks.
    pub fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.sync(LAST_WORDS);
        }
    }

    fn add(&self, says: &str, what: What) {
        let at = self.clock.moment(self.clock.now());
        self.take(Entry::new(at, says, what));
    }

    fn take(&self, entry: Entry) {
        let entry = Arc::new(entry);
        // within the lock, so that all who are told are told in the same order
        let mut memory = self.memory.lock();
        if memory.entries.len() >= REMEMBERED {
            memory.entries.pop_front();
            memory.is_cut = true;
        }
        memory.entries.push_back(Arc::clone(&entry));
        // nobody may be following
        let _ = self.feed.send(Arc::clone(&entry));
        if let Some(writer) = &self.writer {
            writer.write(entry);
        }
    }
}

fn recalled(settings: &Settings) -> io::Result<Found> {
    folder::read(&settings.folder, Moment::from_micros(0), REMEMBERED)
}

impl Observer for Journal {
    fn page(&self, report: &PageReport<'_>) {
        // nobody's page
        if !report.is_rehearsal {
            self.counters.page(report);
        }
    }

    fn event(&self, event: &Event) {
        if matches!(event, Event::Pushed) {
            self.counters.pushed();
        }
        let at = self.clock.moment(self.clock.now());
        if let Some(entry) = Entry::of_event(at, event) {
            self.take(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &std::path::Path) -> Settings {
        Settings {
            folder: folder.join("journal"),
            bytes_max: 1 << 20,
            keep: Duration::from_secs(86_400),
        }
    }

    fn started() -> Event {
        Event::Started {
            version: "1",
            is_after_crash: false,
        }
    }

    fn kinds(journal: &Journal) -> Vec<&'static str> {
        let remembered = journal.since(Moment::from_micros(0));
        remembered
            .entries
            .iter()
            .map(|e| e.kind().label())
            .collect()
    }

    #[tokio::test]
    async fn it_is_known_after_a_restart_and_tells_a_crash_from_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let first = Journal::open(Some(settings(folder.path())), clock);
        assert!(!first.is_after_crash());
        first.event(&started());
        first.close();
        drop(first);
        let second = Journal::open(Some(settings(folder.path())), clock);
        assert!(second.is_after_crash());
        second.event(&started());
        second.event(&Event::Stopped(true));
        second.close();
        drop(second);
        let third = Journal::open(Some(settings(folder.path())), clock);
        assert!(!third.is_after_crash());
        assert_eq!(kinds(&third), ["start", "start", "stop"]);
        assert_eq!(third.trouble(), None);
    }

    #[tokio::test]
    async fn a_disk_that_cannot_be_written_costs_the_disk_only() {
        let folder = tempfile::tempdir().unwrap();
        // a file where the folder should be
        std::fs::write(folder.path().join("journal"), "in the way").unwrap();
        let journal = Journal::open(Some(settings(folder.path())), Clock::start());
        let mut followed = journal.follow();
        journal.event(&started());
        journal.close();
        assert!(journal.trouble().is_some());
        assert_eq!(kinds(&journal).last(), Some(&"start"));
        assert_eq!(followed.recv().await.unwrap().kind(), Kind::Start);
        std::fs::remove_file(folder.path().join("journal")).unwrap();
        journal.event(&Event::Stopping);
        journal.close();
        assert_eq!(journal.trouble(), None);
        let found = recalled(&settings(folder.path())).unwrap();
        let found: Vec<&str> = found.entries.iter().map(|e| e.kind().label()).collect();
        assert_eq!(found, ["journal", "stop"], "the gap is told where it is");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_says_what_it_does_not_know() {
        let journal = Journal::open(None, Clock::start());
        assert!(journal.trouble().is_some());
        assert_eq!(
            journal.since(Moment::from_micros(0)).complete_since_ms,
            None
        );
        for _ in 0..REMEMBERED + 5 {
            journal.event(&Event::Stopping);
        }
        let known = journal.since(Moment::from_micros(0));
        assert_eq!(known.entries.len(), REMEMBERED);
        assert!(known.complete_since_ms.is_some());
    }
}
