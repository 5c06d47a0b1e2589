//! The switches of this server (shell): which are set, where they are written down, and who is told.
//! Owns the order of things: what is set is in force at once, then told, then written. What a switch is,
//! and what all of them come to, is decided [elsewhere](crate::degradation::switches).
//!
//! # When the disk is in trouble
//!
//! A switch is set by somebody who has an incident to end, and a full disk may be part of it. So a
//! switch that cannot be written down is in force all the same, and whoever has set it is told that it
//! will not survive a restart. A file that cannot be read is set aside, and the server begins without
//! switches: full pages by the law, which is what nobody has to know about to be safe.
//!
//! Invariant: nothing here waits for the disk while a page would wait for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::degradation::switches::{SPAN_MAX, Subject, Unfit};
use crate::degradation::{Level, Overrides, Switch, Switches, switches::Act};
use crate::report::{Event, Observer, SwitchChange};
use crate::site::Site;

mod file;
pub mod fit;
mod record;

use file::Folder;

/// How long whoever sets a switch waits for the disk. It is in force by then.
const DISK_TIME: Duration = Duration::from_secs(5);

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
    /// Held while the file is written.
    writing: Mutex<Written>,
    /// Why what is set would not survive a restart.
    trouble: Mutex<Option<String>>,
    changed: Notify,
}

struct Held {
    switches: Switches,
    /// Those of this process only, which are not written down.
    passing: BTreeSet<Subject>,
    /// Goes up with each change.
    count: u64,
}

/// Up to which change the file has everything.
struct Written(u64);

/// A switch as people and programs are shown it.
#[derive(Debug, Clone, Serialize)]
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
    /// Until when, RFC 3339.
    pub until: String,
    /// How long it has still, in seconds.
    pub left_s: u64,
    /// Why it does less than it says on the present site, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Serialize)]
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
                passing: BTreeSet::new(),
                count: 0,
            }),
            in_force,
            publish: Box::new(|_| {}),
            writing: Mutex::new(Written(0)),
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

    /// Pins the level until this process ends, or somebody decides otherwise.
    pub fn pin_for_this_run(&self, level: Level) {
        let (owner, reason) = ("command line", "the server was started at this level");
        let switch = Switch::new(Act::Pin { level }, owner, reason, self.now(), SPAN_MAX);
        let switch = switch.expect("who, why and until when are given");
        // a pin never contradicts another switch, and the first of all fits
        let _ = self.set_as(switch, true);
    }

    /// Sets a switch, and gives the one whose place it takes. It is in force when this returns, and not
    /// written down yet.
    pub fn set(&self, switch: Switch) -> Result<Option<Switch>, Unfit> {
        self.set_as(switch, false)
    }

    fn set_as(&self, switch: Switch, is_passing: bool) -> Result<Option<Switch>, Unfit> {
        let mut held = self.held.lock();
        // one that is over and has not been seen to be is not replaced, nor does it stand in the way
        let over = held.switches.expire(self.now());
        let set = held.switches.set(switch.clone());
        if let Ok(_replaced) = &set {
            let subject = switch.act.subject();
            match is_passing {
                true => _ = held.passing.insert(subject),
                false => _ = held.passing.remove(&subject),
            }
        }
        self.take_effect(&mut held);
        drop(held);
        over.into_iter().for_each(|switch| self.tell_over(switch));
        let replaced = set?;
        self.tell(&Event::Switched(SwitchChange::Set {
            switch,
            replaced: replaced.clone(),
        }));
        Ok(replaced)
    }

    /// Takes a switch back on behalf of `by`, and gives it; `None` if there is no such switch.
    pub fn clear(&self, subject: &Subject, by: &str) -> Option<Switch> {
        let mut held = self.held.lock();
        let switch = held.switches.clear(subject)?;
        held.passing.remove(subject);
        self.take_effect(&mut held);
        drop(held);
        self.tell(&Event::Switched(SwitchChange::Cleared {
            switch: switch.clone(),
            by: by.to_owned(),
        }));
        Some(switch)
    }

    /// Writes down what is set. `Err` says why it would not survive a restart.
    pub async fn keep(self: &Arc<Self>) -> Result<(), String> {
        let board = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || board.write());
        let written = written.await;
        written.unwrap_or_else(|_| Err("they could not be written down".to_owned()))
    }

    /// The same; blocks.
    fn write(&self) -> Result<(), String> {
        let Some(folder) = &self.folder else {
            return self.trouble.lock().clone().map_or(Ok(()), Err);
        };
        let Some(mut writing) = self.writing.try_lock_for(DISK_TIME) else {
            let seconds = DISK_TIME.as_secs();
            let why = format!("the disk has not answered for {seconds} s");
            return self.note(Err(why));
        };
        let (switches, count) = {
            let held = self.held.lock();
            let lasting = |switch: &&Switch| !held.passing.contains(&switch.act.subject());
            let switches: Vec<Switch> = held.switches.iter().filter(lasting).cloned().collect();
            (switches, held.count)
        };
        let is_new = writing.0 != count;
        let written = match is_new || self.trouble.lock().is_some() {
            true => folder.write(&switches),
            false => Ok(()),
        };
        if written.is_ok() {
            writing.0 = count;
        }
        drop(writing);
        self.note(written)
    }

    /// Remembers whether what is set would survive a restart, and says so when that changes.
    fn note(&self, written: Result<(), String>) -> Result<(), String> {
        let mut trouble = self.trouble.lock();
        match (&written, &*trouble) {
            (Ok(()), Some(_)) => tracing::info!("switches are written down again"),
            (Err(why), known) if known.as_ref() != Some(why) => {
                tracing::warn!("switches are in force, but would not survive a restart: {why}");
            }
            _ => {}
        }
        *trouble = written.clone().err();
        written
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
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = over => self.end_what_is_over().await,
            }
        }
    }

    async fn end_what_is_over(self: &Arc<Self>) {
        let over = {
            let mut held = self.held.lock();
            let over = held.switches.expire(self.now());
            if over.is_empty() {
                return;
            }
            for switch in &over {
                held.passing.remove(&switch.act.subject());
            }
            self.take_effect(&mut held);
            over
        };
        over.into_iter().for_each(|switch| self.tell_over(switch));
        // what is over is over whether or not the file says so: it has its end beside it
        let _ = self.keep().await;
    }

    /// What is set, as it is on this site.
    pub fn state(&self, site: &Site) -> State {
        let (held, now) = (self.held.lock(), self.now());
        let switches = held.switches.iter().map(|s| Shown::new(s, site, now));
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
    fn take_effect(&self, held: &mut Held) {
        held.count += 1;
        let overrides = Arc::new(held.switches.in_force(self.now()));
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
            until: switch.until.to_string(),
            left_s: seconds(switch.left(now)),
            note: fit::fits(site, &switch.act)
                .err()
                .map(|why| why.to_string()),
            act: switch.act.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
