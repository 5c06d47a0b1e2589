//! The switches of this server (shell): which are set, where they are written down, and who is told.
//! Owns the order of things: what is set is in force at once, then told, then written. What a switch is,
//! and what all of them come to, is decided [elsewhere](crate::degradation::switches).
//!
//! # When the disk is in trouble
//!
//! A switch is set by somebody who has an incident to end, and a full disk may be part of it. So a
//! switch that cannot be written down is in force all the same, and whoever has set it is told that it
//! will not survive a restart. A disk that does not answer is waited for five seconds at most by whoever
//! has set it; the write goes on behind their back. While nothing can be read the server has no
//! switches: full pages by the law, which is what nobody has to know about to be safe. A file that is
//! damaged is set aside. One that cannot be read stays, and is tried again every `READ_AGAIN`: what it
//! holds comes into force then, but for what somebody has decided meanwhile.
//!
//! # By the clock, and by other nodes
//!
//! What the site schedules is not written down: it is declared, and comes with the site. What is set to
//! begin later is. Of both it is told when they begin and when they end. Nodes that share a store tell
//! each other what is decided: see `sharing`.
//!
//! Invariant: nothing here waits for the disk while a page would wait for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::degradation::switches::{Act, Key, Schedule, Subject, Unfit};
use crate::degradation::{Level, Overrides, Switch};
use crate::report::{Event, Observer, SwitchChange};
use crate::site::Site;

mod file;
mod held;
mod ledger;
mod record;
mod sharing;
pub mod shown;
mod writing;

pub use shown::{Planned, Shown, State};

use file::Folder;
use held::Held;
use ledger::{Ledger, Merged};
use sharing::Sharing;
use writing::{Ticket, Writing};

/// How long whoever sets a switch waits for the disk. It is in force by then.
const DISK_TIME: Duration = Duration::from_secs(5);

/// How often a file that could not be read is tried again: soon enough for a disk that was away for a
/// moment.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Who must be told at once, besides those who read reports.
type Publish = Box<dyn Fn(&Arc<Overrides>) + Send + Sync>;

/// The switches of one server.
pub struct Switchboard {
    clock: Clock,
    observers: Vec<Arc<dyn Observer>>,
    folder: Option<Folder>,
    held: Mutex<Held>,
    in_force: Arc<ArcSwap<Overrides>>,
    publish: Publish,
    writing: Writing,
    /// Up to which change the file has everything.
    written: AtomicU64,
    /// Why what is set would not survive a restart.
    trouble: Mutex<Option<String>>,
    changed: Notify,
    /// The other nodes, if there are any.
    sharing: Option<Sharing>,
}

impl Switchboard {
    /// The switches that were set before, as far as they can be read and are not over. Blocks.
    pub fn open(folder: Option<&Path>, clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        let folder = folder.map(Folder::new);
        let mut events = Vec::new();
        let recalled = folder.as_ref().map(Folder::read);
        let ledger = match recalled {
            Some(Ok(ledger)) => ledger,
            Some(Err(why)) => {
                events.push(Event::SwitchesLost(why));
                Ledger::default()
            }
            None => Ledger::default(),
        };
        let trouble = match folder {
            Some(_) => None,
            None => Some("the site declares no `state_dir`".to_owned()),
        };
        let board = Self {
            clock,
            observers,
            folder,
            held: Mutex::new(Held::new(ledger)),
            in_force: Arc::default(),
            publish: Box::new(|_| {}),
            writing: Writing::new(),
            written: AtomicU64::new(0),
            trouble: Mutex::new(trouble),
            changed: Notify::new(),
            sharing: None,
        };
        events.iter().for_each(|event| board.tell(event));
        let mut held = board.held.lock();
        let over = held.expire(board.now());
        // what is over is over whether or not the file says so
        held.changes = 0;
        let begun = board.take_effect(&mut held);
        drop(held);
        let over = over.into_iter().map(SwitchChange::Over);
        board.tell_all(over.chain(begun));
        board
    }

    /// What the site schedules, now and after each reload.
    pub fn declare(&self, schedules: &[Schedule]) {
        let mut held = self.held.lock();
        held.schedules = schedules.to_vec();
        let begun = self.take_effect(&mut held);
        drop(held);
        self.tell_all(begun);
    }

    /// The same, with somebody who is told at once of what is in force, now and whenever it changes.
    #[must_use]
    pub fn publishing(self, publish: impl Fn(&Arc<Overrides>) + Send + Sync + 'static) -> Self {
        publish(&self.in_force.load());
        Self {
            publish: Box::new(publish),
            ..self
        }
    }

    /// What is in force, whenever one looks.
    pub fn in_force(&self) -> &Arc<ArcSwap<Overrides>> {
        &self.in_force
    }

    /// Pins the level until this process ends, or somebody decides otherwise. A pin that lasts stays
    /// beneath it and is written down as it was.
    pub fn pin_for_this_run(&self, level: Level) {
        let (owner, reason) = ("command line", "the server was started at this level");
        let switch = Switch::of_this_run(Act::Pin { level }, owner, reason, self.now());
        let switch = switch.expect("who and why are given");
        let mut held = self.held.lock();
        let replaced = held.ledger.switches().get(&Subject::Pin).cloned();
        held.passing = Some(switch.clone());
        let begun = self.take_effect(&mut held);
        drop(held);
        self.tell(&Event::Switched(SwitchChange::Set { switch, replaced }));
        self.tell_all(begun);
    }

    /// Sets a switch, and gives the one whose place it takes. It is in force when this returns, and not
    /// written down yet.
    pub fn set(&self, switch: Switch) -> Result<Option<Switch>, Unfit> {
        let (mut held, now) = (self.held.lock(), self.now());
        // one that is over and has not been seen to be is not replaced, nor does it stand in the way
        let over = held.expire(now);
        let set = held.ledger.set(switch.clone(), now, self.node());
        let above = set.is_ok().then(|| self.decided(&mut held, switch.key()));
        let begun = self.take_effect(&mut held);
        if let Ok((_, record)) = &set {
            self.spread(record, &held.ledger);
        }
        drop(held);
        self.tell_all(over.into_iter().map(SwitchChange::Over));
        let replaced = set.map(|(replaced, _)| above.flatten().or(replaced));
        if let Ok(replaced) = replaced.clone() {
            self.tell(&Event::Switched(SwitchChange::Set { switch, replaced }));
        }
        self.tell_all(begun);
        replaced
    }

    /// Takes a switch back on behalf of `by`, and gives the one that was in force; `None` if there is no
    /// such switch. Where none was set for now, it is the one that was set to begin later and has begun.
    pub fn clear(&self, key: impl Into<Key>, by: &str) -> Option<Switch> {
        let (mut held, now) = (self.held.lock(), self.now());
        let key = held.meant(key.into(), now);
        let lasting = held.ledger.clear(&key, by, now, self.node());
        let above = match &lasting {
            Some(_) => self.decided(&mut held, key),
            // what is written down is as it was
            None => held.passing.take_if(|_| key == Key::from(&Subject::Pin)),
        };
        if lasting.is_none() && above.is_none() {
            return None;
        }
        let begun = self.take_effect(&mut held);
        if let Some((_, record)) = &lasting {
            self.spread(record, &held.ledger);
        }
        drop(held);
        let lasting = lasting.map(|(switch, _)| switch);
        for switch in above.iter().chain(&lasting) {
            self.tell(&Event::Switched(SwitchChange::Cleared {
                switch: switch.clone(),
                by: by.to_owned(),
            }));
        }
        self.tell_all(begun);
        above.or(lasting)
    }

    /// The schedule that has set what is in force about this subject.
    pub fn scheduled_by(&self, subject: &Subject) -> Option<String> {
        let held = self.held.lock();
        let standing = held.standing(self.now());
        let mut about = standing.into_iter().rev();
        about
            .find(|one| one.switch.act.subject() == *subject)?
            .schedule
    }

    fn node(&self) -> &str {
        self.sharing.as_ref().map_or("", Sharing::node)
    }

    /// Somebody has decided about one that lasts. Gives the pin of this run, if that has ended it.
    fn decided(&self, held: &mut Held, key: Key) -> Option<Switch> {
        held.changes += 1;
        let is_pin = key == Key::from(&Subject::Pin);
        let above = held.passing.take_if(|_| is_pin);
        if self.folder.as_ref().is_some_and(Folder::is_unread) {
            held.decided.insert(key);
        }
        above
    }

    /// Writes down what is set, and waits for that, but not longer than `DISK_TIME`. `Err` says why it
    /// would not survive a restart.
    pub async fn keep(self: &Arc<Self>) -> Result<(), String> {
        if self.folder.is_none() {
            return self.trouble.lock().clone().map_or(Ok(()), Err);
        }
        let ticket = self.begin_writing();
        let _ = timeout(DISK_TIME, self.writing.wait(ticket)).await;
        let mut trouble = self.trouble.lock();
        // one that has come to its end has said so itself
        self.writing.result(ticket).unwrap_or_else(|| {
            let seconds = DISK_TIME.as_secs();
            let late = Err(format!("the disk has not answered for {seconds} s"));
            note(&mut trouble, &late);
            late
        })
    }

    /// Has what is set written down in the background.
    fn begin_writing(self: &Arc<Self>) -> Ticket {
        let (ticket, is_idle) = self.writing.ask();
        if is_idle {
            let board = Arc::clone(self);
            drop(tokio::task::spawn_blocking(move || board.write_all()));
        }
        ticket
    }

    /// Writes until nobody asks for more. Blocks.
    fn write_all(&self) {
        while let Some(ticket) = self.writing.next() {
            let written = self.folder.as_ref().map(|folder| self.write(folder));
            let written = written.unwrap_or(Ok(()));
            let mut trouble = self.trouble.lock();
            note(&mut trouble, &written);
            self.writing.finish(ticket, written);
        }
    }

    fn write(&self, folder: &Folder) -> Result<(), String> {
        if folder.is_unread() {
            match folder.read() {
                Ok(found) => self.take_over(found),
                // nobody has decided anything yet, and it may be readable the next time
                Err(_) if folder.is_unread() && self.held.lock().changes == 0 => return Ok(()),
                Err(why) => tracing::warn!("{why}"),
            }
        }
        let (ledger, changes) = {
            let held = self.held.lock();
            (held.ledger.clone(), held.changes)
        };
        let is_new = self.written.load(Ordering::Relaxed) != changes;
        if is_new || self.trouble.lock().is_some() {
            folder.write(&ledger)?;
            self.written.store(changes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The file could be read after all.
    fn take_over(&self, mut found: Ledger) {
        let (mut held, now) = (self.held.lock(), self.now());
        let over = found.expire(now);
        let decided = std::mem::take(&mut held.decided);
        let mut taken = Vec::new();
        held.ledger
            .merge_forgotten(found.latest(), found.forgotten(), now);
        for record in found.records() {
            if decided.contains(&record.key) {
                continue;
            }
            match held.ledger.merge(record, now) {
                Ok(Merged::Set { switch, replaced }) => {
                    taken.push(SwitchChange::Set { switch, replaced });
                }
                Ok(Merged::Known | Merged::Silent | Merged::Cleared { .. }) => {}
                Err(why) => tracing::warn!("a switch of before is passed over: {why}"),
            }
        }
        let begun = self.take_effect(&mut held);
        drop(held);
        tracing::info!("the file of switches can be read again");
        self.tell_all(over.into_iter().map(SwitchChange::Over));
        self.tell_all(taken.into_iter().chain(begun));
    }

    /// Begins and ends switches by the clock, and keeps in step with other nodes, until `stop`.
    pub async fn tend(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.follow_the_clock(&stop), self.keep_in_step(&stop));
    }

    async fn follow_the_clock(self: &Arc<Self>, stop: &CancellationToken) {
        loop {
            let next = {
                let held = self.held.lock();
                let switches = held.ledger.switches();
                switches.next_change(&held.schedules, held.seen)
            };
            let change = async {
                match next {
                    Some(next) => sleep(next.since(self.now())).await,
                    None => std::future::pending().await,
                }
            };
            let again = async {
                match self.folder.as_ref().is_some_and(Folder::is_unread) {
                    true => sleep(READ_AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = change => self.turn(),
                () = again => {
                    self.begin_writing();
                }
            }
        }
    }

    /// Something begins or ends.
    fn turn(self: &Arc<Self>) {
        let (over, begun) = {
            let mut held = self.held.lock();
            let over = held.expire(self.now());
            (over, self.take_effect(&mut held))
        };
        let is_over = !over.is_empty();
        self.tell_all(over.into_iter().map(SwitchChange::Over).chain(begun));
        if is_over {
            // what is over is over whether or not the file says so: it has its end beside it
            self.begin_writing();
        }
    }

    /// What is set and scheduled, as it is on this site.
    pub fn state(&self, site: &Site) -> State {
        let (held, now) = (self.held.lock(), self.now());
        let passing = held.passing.iter().map(|s| Shown::new(s, site, now));
        // what has begun and ended is told first
        let standing = held.standing(held.seen);
        let standing = standing.iter().map(|one| Shown::standing(one, site, now));
        let switches = held.ledger.switches();
        State {
            switches: passing.chain(standing).collect(),
            scheduled: shown::scheduled(switches, site, held.seen),
            zone: site.zone.iana_name().unwrap_or("UTC").to_owned(),
            trouble: self.trouble.lock().clone(),
            shared: self.sharing_state(switches.iter().next().is_none()),
        }
    }

    /// The switch of this address, in force or to come.
    pub fn find(&self, key: &Key) -> Option<Switch> {
        self.held.lock().ledger.switches().get(key).cloned()
    }

    /// A switch, as it is on this site.
    pub fn shown(&self, switch: &Switch, site: &Site) -> Shown {
        Shown::new(switch, site, self.now())
    }

    /// Puts what is held in force; gives what has begun or ended by the clock.
    fn take_effect(&self, held: &mut Held) -> Vec<SwitchChange> {
        let now = self.now();
        let overrides = Arc::new(held.in_force(now));
        // within the lock, so that what was decided last is what counts
        self.in_force.store(Arc::clone(&overrides));
        (self.publish)(&overrides);
        self.changed.notify_one();
        held.turn(now)
    }

    fn tell_all(&self, changes: impl IntoIterator<Item = SwitchChange>) {
        for change in changes {
            self.tell(&Event::Switched(change));
        }
    }

    fn tell(&self, event: &Event) {
        self.observers
            .iter()
            .for_each(|observer| observer.event(event));
    }

    /// The present moment, by which switches begin and end.
    pub fn now(&self) -> Moment {
        self.clock.moment(self.clock.now())
    }
}

/// Remembers whether what is set would survive a restart, and says so when that changes.
fn note(trouble: &mut Option<String>, written: &Result<(), String>) {
    match (written, &*trouble) {
        (Ok(()), Some(_)) => tracing::info!("switches are written down again"),
        (Err(why), known) if known.as_ref() != Some(why) => {
            tracing::warn!("switches are in force, but would not survive a restart: {why}");
        }
        _ => {}
    }
    *trouble = written.clone().err();
}

#[cfg(test)]
mod tests;
