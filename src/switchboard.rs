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
//! Invariant: nothing here waits for the disk while a page would wait for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::degradation::switches::{Subject, Unfit};
use crate::degradation::{Level, Overrides, Switch, Switches, switches::Act};
use crate::report::{Event, Observer, SwitchChange};
use crate::site::Site;

mod file;
pub mod fit;
mod record;
mod writing;

use file::Folder;
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
}

struct Held {
    /// Those that last, which are written down.
    switches: Switches,
    /// The pin of this process, which is above the one that lasts until somebody decides about pins.
    passing: Option<Switch>,
    /// Goes up with each change of those that last.
    changes: u64,
    /// What was decided about while the file could not be read.
    decided: BTreeSet<Subject>,
}

/// A switch as people and programs are shown it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Switch")]
pub struct Shown {
    /// What it is about: its address below `/switches/`.
    pub subject: String,
    /// What it does.
    #[serde(flatten)]
    pub act: Act,
    /// The same in words.
    pub says: String,
    /// Who has decided so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Since when, RFC 3339.
    pub set: String,
    /// Until when, RFC 3339; absent if it lasts as long as the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How long it has still, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// Why it does less than it says on the present site, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Switches")]
pub struct State {
    /// By subject.
    pub switches: Vec<Shown>,
    /// Why they would not survive a restart, if they would not.
    pub trouble: Option<String>,
}

impl Switchboard {
    /// The switches that were set before, as far as they can be read and are not over. Blocks.
    pub fn open(folder: Option<&Path>, clock: Clock, observers: Vec<Arc<dyn Observer>>) -> Self {
        let folder = folder.map(Folder::new);
        let mut events = Vec::new();
        let recalled = folder.as_ref().map(Folder::read);
        let mut switches = match recalled {
            Some(Ok(switches)) => switches,
            Some(Err(why)) => {
                events.push(Event::SwitchesLost(why));
                Switches::default()
            }
            None => Switches::default(),
        };
        let now = clock.moment(clock.now());
        let over = switches.expire(now);
        events.extend(
            over.into_iter()
                .map(SwitchChange::Over)
                .map(Event::Switched),
        );
        let in_force = Arc::new(ArcSwap::from_pointee(switches.in_force(now)));
        let trouble = match folder {
            Some(_) => None,
            None => Some("the site declares no `state_dir`".to_owned()),
        };
        let board = Self {
            clock,
            observers,
            folder,
            held: Mutex::new(Held {
                switches,
                passing: None,
                changes: 0,
                decided: BTreeSet::new(),
            }),
            in_force,
            publish: Box::new(|_| {}),
            writing: Writing::new(),
            written: AtomicU64::new(0),
            trouble: Mutex::new(trouble),
            changed: Notify::new(),
        };
        events.iter().for_each(|event| board.tell(event));
        board
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
        let replaced = held.switches.get(&Subject::Pin).cloned();
        held.passing = Some(switch.clone());
        self.take_effect(&held);
        drop(held);
        self.tell(&Event::Switched(SwitchChange::Set { switch, replaced }));
    }

    /// Sets a switch, and gives the one whose place it takes. It is in force when this returns, and not
    /// written down yet.
    pub fn set(&self, switch: Switch) -> Result<Option<Switch>, Unfit> {
        let mut held = self.held.lock();
        // one that is over and has not been seen to be is not replaced, nor does it stand in the way
        let over = held.expire(self.now());
        let set = held.switches.set(switch.clone());
        let above = set
            .is_ok()
            .then(|| self.decided(&mut held, switch.act.subject()));
        self.take_effect(&held);
        drop(held);
        over.into_iter().for_each(|switch| self.tell_over(switch));
        let replaced = above.flatten().or(set?);
        self.tell(&Event::Switched(SwitchChange::Set {
            switch,
            replaced: replaced.clone(),
        }));
        Ok(replaced)
    }

    /// Takes a switch back on behalf of `by`, and gives the one that was in force; `None` if there is no
    /// such switch.
    pub fn clear(&self, subject: &Subject, by: &str) -> Option<Switch> {
        let mut held = self.held.lock();
        let lasting = held.switches.clear(subject);
        let above = match &lasting {
            Some(_) => self.decided(&mut held, subject.clone()),
            // what is written down is as it was
            None => held.passing.take_if(|_| *subject == Subject::Pin),
        };
        if lasting.is_none() && above.is_none() {
            return None;
        }
        self.take_effect(&held);
        drop(held);
        for switch in above.iter().chain(&lasting) {
            self.tell(&Event::Switched(SwitchChange::Cleared {
                switch: switch.clone(),
                by: by.to_owned(),
            }));
        }
        above.or(lasting)
    }

    /// Somebody has decided about one that lasts. Gives the pin of this run, if that has ended it.
    fn decided(&self, held: &mut Held, subject: Subject) -> Option<Switch> {
        held.changes += 1;
        let above = held.passing.take_if(|_| subject == Subject::Pin);
        if self.folder.as_ref().is_some_and(Folder::is_unread) {
            held.decided.insert(subject);
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
        let (switches, changes) = {
            let held = self.held.lock();
            let switches: Vec<Switch> = held.switches.iter().cloned().collect();
            (switches, held.changes)
        };
        let is_new = self.written.load(Ordering::Relaxed) != changes;
        if is_new || self.trouble.lock().is_some() {
            folder.write(&switches)?;
            self.written.store(changes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The file could be read after all.
    fn take_over(&self, mut found: Switches) {
        let mut held = self.held.lock();
        let over = found.expire(self.now());
        let decided = std::mem::take(&mut held.decided);
        let mut taken = Vec::new();
        let undecided = |switch: &&Switch| !decided.contains(&switch.act.subject());
        for switch in found.iter().filter(undecided) {
            match held.switches.set(switch.clone()) {
                Ok(_) => taken.push(switch.clone()),
                Err(why) => tracing::warn!("a switch of before is passed over: {why}"),
            }
        }
        self.take_effect(&held);
        drop(held);
        tracing::info!("the file of switches can be read again");
        over.into_iter().for_each(|switch| self.tell_over(switch));
        for switch in taken {
            let replaced = None;
            self.tell(&Event::Switched(SwitchChange::Set { switch, replaced }));
        }
    }

    /// Ends the switches that are over, until `stop`.
    pub async fn tend(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let next = self.held.lock().switches.next_end();
            let over = async {
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
                () = over => self.end_what_is_over(),
                () = again => {
                    self.begin_writing();
                }
            }
        }
    }

    fn end_what_is_over(self: &Arc<Self>) {
        let over = {
            let mut held = self.held.lock();
            let over = held.expire(self.now());
            if over.is_empty() {
                return;
            }
            self.take_effect(&held);
            over
        };
        over.into_iter().for_each(|switch| self.tell_over(switch));
        // what is over is over whether or not the file says so: it has its end beside it
        self.begin_writing();
    }

    /// What is set, as it is on this site.
    pub fn state(&self, site: &Site) -> State {
        let (held, now) = (self.held.lock(), self.now());
        let switches = held.counting().map(|s| Shown::new(s, site, now));
        State {
            switches: switches.collect(),
            trouble: self.trouble.lock().clone(),
        }
    }

    /// A switch, as it is on this site.
    pub fn shown(&self, switch: &Switch, site: &Site) -> Shown {
        Shown::new(switch, site, self.now())
    }

    /// Puts what is held in force.
    fn take_effect(&self, held: &Held) {
        let overrides = Arc::new(held.in_force(self.now()));
        // within the lock, so that what was decided last is what counts
        self.in_force.store(Arc::clone(&overrides));
        (self.publish)(&overrides);
        self.changed.notify_one();
    }

    fn tell_over(&self, switch: Switch) {
        self.tell(&Event::Switched(SwitchChange::Over(switch)));
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

impl Held {
    /// Takes those back that are over, and gives them.
    fn expire(&mut self, now: Moment) -> Vec<Switch> {
        let over = self.switches.expire(now);
        self.changes += u64::from(!over.is_empty());
        over
    }

    /// Those that count, by subject.
    fn counting(&self) -> impl Iterator<Item = &Switch> {
        let above = self.passing.iter();
        let is_pin = |switch: &Switch| switch.act.subject() == Subject::Pin;
        let lasting = self.switches.iter();
        let lasting = lasting.filter(move |s| self.passing.is_none() || !is_pin(s));
        above.chain(lasting)
    }

    fn in_force(&self, now: Moment) -> Overrides {
        let overrides = self.switches.in_force(now);
        match self.passing.as_ref().map(|switch| &switch.act) {
            Some(&Act::Pin { level }) => Overrides {
                pin: Some(level),
                ..overrides
            },
            _ => overrides,
        }
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

/// Whole seconds, a part of one being one: what has just been set for two hours has two hours left.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

impl Shown {
    fn new(switch: &Switch, site: &Site, now: Moment) -> Self {
        Self {
            subject: switch.act.subject().to_string(),
            says: switch.act.to_string(),
            owner: switch.owner.clone(),
            reason: switch.reason.clone(),
            set: switch.set.to_string(),
            until: switch.end().map(|end| end.to_string()),
            left_s: switch.end().map(|end| seconds(end.since(now))),
            note: fit::fits(site, &switch.act)
                .err()
                .map(|why| why.to_string()),
            act: switch.act.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
