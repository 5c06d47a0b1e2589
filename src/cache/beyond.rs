//! Copies beyond memory: this node's disk, and the store and the messages that nodes share. Owns what
//! is written there, what is taken back, and what nodes tell one another.
//!
//! Nothing here is on a page's path but a read that is bounded in time: writes wait in the stores'
//! own queues. Invariant: whatever comes from beyond memory has passed its checksum, answers the
//! whole request that was asked, and has met every purge that is known here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::clock::{Clock, Moment};
use crate::fragment::{Freshness, Reach, SourceRequest};
use crate::report::Untold;

use super::disk::Disk;
use super::entry::{Content, Entry};
use super::frame::{self, Decoded};
use super::purge::{Purge, Purges, Touched};
use super::shared::{Lease, Shared, Stamp};
use super::{Cache, CopyId, newer};

/// A page that can still ask an origin waits no longer for a disk. One that works answers in well
/// under a millisecond.
pub const DISK_TIME: Duration = Duration::from_millis(100);

/// Copies without a ttl are made anew for each page; what lies beyond memory is then not older than
/// this.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// What is good for nothing is remembered for so long, to be newer than what others may bring.
const WITHDRAWN_KEEP: Duration = Duration::from_secs(24 * 3600);

/// For how long the record of purges is kept: longer than any copy that one of them may have meant.
const PURGES_KEEP: Duration = Duration::from_secs(366 * 24 * 3600);

/// For how long a copy that another node was given is kept on this disk.
const ADOPTED_KEEP: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often it is asked whether messages may have been missed, and the record of purges must be read
/// again.
const PURGES_PAUSE: Duration = Duration::from_secs(2);

fn purges_id() -> CopyId {
    CopyId::named("purges")
}

/// What one node tells the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// Something was purged.
    Purge(Purge),
    /// The shared store has a copy that was pushed, or the word that there is none any more.
    Changed(String),
    /// An operator has decided something: what, others know.
    Switch(Value),
}

/// The message by which the other nodes are told what an operator has decided.
pub fn switch_message(decision: Value) -> Bytes {
    message(&Message::Switch(decision))
}

/// What came of looking for a copy beyond memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recalled {
    /// Whether it was a search to the end: a disk may have been too slow.
    pub is_whole: bool,
    /// Whether the disk had one; `None` where it was not asked, or was too slow.
    pub on_disk: Option<bool>,
    /// Whether the shared store had one; `None` where there is none.
    pub in_store: Option<bool>,
}

impl Recalled {
    /// There is nowhere to look.
    pub const NOWHERE: Self = Self {
        is_whole: true,
        on_disk: None,
        in_store: None,
    };
}

/// What came of asking the other nodes for a newer copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This node is to ask the origin, for all of them.
    Ours,
    /// Another node is asking.
    Others,
    /// There is no telling: the store is not there.
    Unknown,
}

impl Cache {
    /// Keeps copies on this disk too, and remembers the purges that lie there; those of a folder that another
    /// process holds, as soon as it is this one's.
    pub fn with_disk(mut self, disk: Arc<Disk>, now: Moment) -> Self {
        *self.purges_read.get_mut() = disk.is_open();
        if let Some(json) = disk.get_blocking(&purges_id()) {
            _ = self.remember_purges(&json, "on disk", now);
        }
        self.disk = Some(disk);
        self
    }

    /// Keeps copies in this store too.
    pub fn with_shared(mut self, shared: Arc<Shared>) -> Self {
        self.shared = Some(shared);
        self
    }

    /// The disk, if there is one.
    pub fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// The shared store, if there is one.
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// Whether copies that reach so far may be somewhere besides memory.
    pub fn reaches_beyond_memory(&self, reach: Reach) -> bool {
        (reach.disk && self.disk.is_some()) || (reach.shared && self.shared.is_some())
    }

    /// Whether this node has a copy for this request, in memory or on disk.
    pub fn may_hold(&self, key: &SourceRequest, reach: Reach) -> bool {
        let on_disk = || {
            let disk = self.disk.as_ref().filter(|_| reach.disk);
            disk.is_some_and(|disk| disk.contains(&CopyId::of(key)))
        };
        self.memory.peek(key).is_some() || on_disk()
    }

    /// Looks for a copy beyond memory, and puts the newest that it finds there. Both places are
    /// looked at, at once: what lies on the disk of a node that was away may have been replaced, or
    /// taken back, by the others. The disk has `disk_time`.
    pub async fn recall(
        &self,
        key: &Arc<SourceRequest>,
        reach: Reach,
        disk_time: Duration,
    ) -> Recalled {
        let id = CopyId::of(key);
        let disk = self.disk.as_ref().filter(|_| reach.disk);
        let on_disk = async {
            let Some(disk) = disk else {
                return (true, None);
            };
            if !disk.contains(&id) {
                return (true, Some(false));
            }
            let reading = async {
                match self.read_purges(disk).await {
                    true => Some(disk.get(id).await),
                    false => None,
                }
            };
            let Ok(Some(frame)) = timeout(disk_time, reading).await else {
                return (false, None);
            };
            if let Some(frame) = &frame {
                self.take_in(key, frame, "on disk");
            }
            (true, Some(frame.is_some()))
        };
        let in_store = async {
            let shared = self.shared.as_ref().filter(|_| reach.shared)?;
            let frame = shared.get(id).await;
            Some(frame.filter(|_| self.knows_purges()))
        };
        // the disk's is in memory by the time that the store's is compared with it
        let ((is_whole, on_disk), answer) = futures::join!(on_disk, in_store);
        let in_store = answer.as_ref().map(Option::is_some);
        if let Some(frame) = answer.flatten() {
            self.take_from_store(key, reach, frame);
        }
        Recalled {
            is_whole,
            on_disk,
            in_store,
        }
    }

    /// Takes in what the other nodes have, and asks whose turn it is to renew it: the one whose turn
    /// it is keeps it for `lease`, or until it has given it [back](Self::turn_over).
    pub async fn take_turn(&self, key: &Arc<SourceRequest>, reach: Reach, lease: Duration) -> Turn {
        let Some(shared) = self.shared.as_ref().filter(|_| reach.shared) else {
            return Turn::Unknown;
        };
        let (frame, lease) = shared.get_or_lease(CopyId::of(key), lease).await;
        if let Some(frame) = frame.filter(|_| self.knows_purges()) {
            self.take_from_store(key, reach, frame);
        }
        match lease {
            Lease::Mine => Turn::Ours,
            Lease::Others => Turn::Others,
            Lease::Unknown => Turn::Unknown,
        }
    }

    /// The turn is over: whatever was stored meanwhile is there before others see that it is.
    pub fn turn_over(&self, key: &SourceRequest) {
        if let Some(shared) = &self.shared {
            shared.release(CopyId::of(key));
        }
    }

    /// Takes in what another node has put into the store, and keeps it on this disk as if this
    /// node had asked for it: it is to be there when the store is not.
    fn take_from_store(&self, key: &Arc<SourceRequest>, reach: Reach, frame: Bytes) {
        if let Some(entry) = self.take_in(key, &frame, "in the shared store") {
            self.keep_frame(CopyId::of(key), &entry, reach, frame);
        }
    }

    fn keep_frame(&self, id: CopyId, entry: &Entry, reach: Reach, frame: Bytes) {
        let Some(disk) = self.disk.as_ref().filter(|_| reach.disk) else {
            return;
        };
        let is_worth_it = match entry.content {
            Content::Html(_) => true,
            Content::Absent | Content::Withdrawn => disk.contains(&id),
        };
        if is_worth_it {
            // what it is good for is decided by whoever reads it
            let good_until = millis(entry.stored_at.after(ADOPTED_KEEP));
            let frame = Box::new(move || frame.to_vec());
            disk.put(id, entry.weight(), reach.pinned, good_until, frame);
        }
    }

    /// Puts a copy from beyond memory into memory, unless what is there is newer or it is not what
    /// was looked for. Gives back what it has put.
    fn take_in(
        &self,
        key: &Arc<SourceRequest>,
        frame: &[u8],
        place: &'static str,
    ) -> Option<Arc<Entry>> {
        match frame::decode(frame) {
            Ok(decoded) if decoded.request == **key => self.adopt(Arc::clone(key), decoded.entry),
            Ok(decoded) => {
                let found = decoded.request.target;
                if let Some(untold) = self.complain("another's", place) {
                    let (wanted, count) = (&key.target, untold.0);
                    tracing::error!(
                        wanted,
                        found,
                        untold = count,
                        "a copy {place} is another's{untold}"
                    );
                }
                None
            }
            Err(error) => {
                if let Some(untold) = self.complain("unreadable", place) {
                    let (wanted, count) = (&key.target, untold.0);
                    tracing::warn!(
                        wanted,
                        untold = count,
                        "a copy {place} cannot be read: {error}{untold}"
                    );
                }
                None
            }
        }
    }

    /// Whether it is to be said now that copies there are not what they should be.
    fn complain(&self, what: &str, place: &str) -> Option<Untold> {
        let about = format!("{what} {place}");
        self.complaints.due(&about, self.clock.now())
    }

    /// A copy from elsewhere takes its place in memory, unless what is there is newer or a purge has
    /// taken it away.
    fn adopt(&self, key: Arc<SourceRequest>, mut entry: Entry) -> Option<Arc<Entry>> {
        let _one_at_a_time = self.storing.lock();
        let touched = self.made_of_kept(&key.target, &entry);
        if touched == Touched::Hard {
            return None;
        }
        entry.purged |= touched == Touched::Softly;
        entry.written_at = entry.stored_at;
        let known = self.memory.get(&key);
        let is_new = |known: &Arc<Entry>| {
            let (own, other) = (newer::Stamp::of(&entry), newer::Stamp::of(known));
            own != other && own.takes_the_place_of(other)
        };
        if known.is_some_and(|known| !is_new(&known)) {
            return None;
        }
        let entry = Arc::new(entry);
        self.memory.put(key, Arc::clone(&entry));
        Some(entry)
    }

    /// Writes a copy to disk, behind the page's back. What is called later is written later.
    pub(super) fn write_to_disk(
        &self,
        key: &Arc<SourceRequest>,
        entry: &Arc<Entry>,
        known: Option<&Entry>,
        declared: &Freshness,
        reach: Reach,
    ) {
        let Some(disk) = self.disk.as_ref().filter(|_| reach.disk) else {
            return;
        };
        let id = CopyId::of(key);
        let Some(keep) = keep(entry, known, declared, || disk.contains(&id)) else {
            return;
        };
        if is_gone(entry) {
            // a removal is tried until it is done, also on a disk that is full
            disk.remove(id);
            return;
        }
        let (key, again) = (Arc::clone(key), Arc::clone(entry));
        let frame = Box::new(move || frame::encode(&key, &again, reach));
        let good_until = millis(entry.stored_at.after(keep));
        disk.put(id, entry.weight(), reach.pinned, good_until, frame);
    }

    /// Writes a copy to the shared store, behind the page's back. The store keeps the newer one.
    pub(super) fn write_to_shared(
        &self,
        key: &Arc<SourceRequest>,
        entry: &Arc<Entry>,
        known: Option<&Entry>,
        declared: &Freshness,
        reach: Reach,
        began: Moment,
    ) {
        let Some(shared) = self.shared.as_ref().filter(|_| reach.shared) else {
            return;
        };
        let Some(keep) = keep(entry, known, declared, || false) else {
            return;
        };
        if is_gone(entry) {
            shared.remove(CopyId::of(key));
            return;
        }
        let stamp = Stamp {
            version: entry.version,
            stored_at: entry.stored_at.micros(),
            began: began.micros(),
        };
        let frame = frame::encode(key, entry, reach);
        shared.put(CopyId::of(key), stamp, keep, frame.into());
    }

    /// Tells the other nodes that a copy was pushed or withdrawn.
    pub(super) fn announce(&self, key: &SourceRequest, reach: Reach) {
        if let Some(shared) = self.shared.as_ref().filter(|_| reach.shared) {
            shared.publish(message(&Message::Changed(CopyId::of(key).to_string())));
        }
    }

    /// Remembers the purges beyond memory, and tells the other nodes of this one.
    pub(super) fn broadcast(&self, purges: &[Purge]) {
        let Some(last) = purges.last() else { return };
        self.write_purges(last.at);
        if let Some(shared) = &self.shared {
            for purge in purges {
                shared.publish(message(&Message::Purge(purge.clone())));
            }
        }
    }

    fn write_purges(&self, now: Moment) {
        self.write_purges_to_disk(now);
        if let Some(shared) = &self.shared {
            self.purges_untold.store(true, Ordering::Relaxed);
            let json = self.purges.read().to_json();
            // it says more than any that was there, also where that has a time of a clock that was ahead
            let stamp = Stamp {
                version: None,
                stored_at: now.micros(),
                began: u64::MAX,
            };
            shared.put(purges_id(), stamp, PURGES_KEEP, json.into());
        }
    }

    /// Writes the record of purges again, until the disk has had room for all that it was given
    /// since: what was purged must not come back with the next start.
    pub async fn tend(&self, now: Moment) {
        let Some(disk) = &self.disk else { return };
        if self.purges_unwritten.load(Ordering::Relaxed) {
            // a folder that could not be had is tried again by this
            let is_there = self.read_purges(disk).await || disk.flush().await;
            if !is_there || !self.read_purges(disk).await {
                return;
            }
            self.write_purges_to_disk(now);
            if disk.flush().await {
                self.purges_unwritten.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Reads the record of purges on disk, if it was not read yet. A folder that another process held at the
    /// start has copies that were purged, and the record says so. Tells whether it is known.
    async fn read_purges(&self, disk: &Disk) -> bool {
        if self.purges_read.load(Ordering::Relaxed) {
            return true;
        }
        if !disk.is_open() {
            return false;
        }
        match disk.get(purges_id()).await {
            Some(json) => {
                let now = self.clock.moment(self.clock.now());
                if self.remember_purges(&json, "on disk", now).is_some() {
                    self.apply_all_purges();
                }
            }
            // the disk did not answer; what is damaged is not there any more
            None if disk.contains(&purges_id()) => return false,
            None => {}
        }
        self.purges_read.store(true, Ordering::Relaxed);
        true
    }

    fn write_purges_to_disk(&self, now: Moment) {
        if let Some(disk) = &self.disk {
            self.purges_unwritten.store(true, Ordering::Relaxed);
            if !self.purges_read.load(Ordering::Relaxed) {
                // it would take the place of what was purged before
                return;
            }
            let json = self.purges.read().to_json();
            let good_until = millis(now.after(PURGES_KEEP));
            disk.put(
                purges_id(),
                json.len(),
                true,
                good_until,
                Box::new(move || json),
            );
        }
    }

    fn remember_purges(&self, json: &[u8], place: &'static str, now: Moment) -> Option<Purges> {
        match Purges::from_json(json) {
            Ok(purges) => {
                self.purges.write().learn(&purges, now);
                Some(purges)
            }
            Err(error) => {
                tracing::error!("the record of purges {place} cannot be read: {error}");
                None
            }
        }
    }

    /// Learns from the shared record what was purged while this node was away for longer than the
    /// messages are kept, and tells it what it lacks: it may have been lost. Tells whether there
    /// was an answer.
    pub async fn exchange_purges(&self, clock: Clock) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        self.purges_asked.store(true, Ordering::Relaxed);
        let Ok(record) = shared.get_behind(purges_id()).await else {
            return false;
        };
        let now = clock.moment(clock.now());
        let theirs =
            record.and_then(|json| self.remember_purges(&json, "in the shared store", now));
        let theirs = theirs.unwrap_or_default();
        if !theirs.is_empty() {
            self.apply_all_purges();
            self.write_purges_to_disk(now);
        }
        let is_lacking = !theirs.covers(&self.purges.read());
        if is_lacking {
            self.write_purges(now);
        }
        self.purges_untold.store(is_lacking, Ordering::Relaxed);
        self.purges_heard.store(true, Ordering::Relaxed);
        true
    }

    /// Whether what is in the shared store can be shown: what was purged lies there still, and a process
    /// that has just begun has no record of its own. Once it has one, the messages keep it up.
    fn knows_purges(&self) -> bool {
        let is_waited_for = self.purges_asked.load(Ordering::Relaxed);
        !is_waited_for || self.purges_heard.load(Ordering::Relaxed)
    }

    /// Acts on what other nodes tell, until they cannot be heard any more; what their operators have
    /// decided is handed to `decided`.
    pub async fn follow(
        &self,
        mut messages: mpsc::Receiver<Bytes>,
        clock: Clock,
        decided: impl Fn(Value),
    ) {
        let Some(shared) = &self.shared else { return };
        // what was said between two connections may be forgotten by the time of the second
        let mut knows_since = None;
        let mut looked = clock.now();
        loop {
            let connections = shared.connections();
            // a store that answers by errors takes no record, and no connection ends by that
            let may_lack = self.purges_untold.load(Ordering::Relaxed);
            let looks_again = may_lack && clock.now() >= looked + PURGES_PAUSE;
            if looks_again || knows_since != Some(connections) {
                if self.exchange_purges(clock).await {
                    knows_since = Some(connections);
                }
                looked = clock.now();
            }
            match timeout(PURGES_PAUSE, messages.recv()).await {
                Ok(Some(message)) => self.heed(&message, clock, &decided).await,
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    async fn heed(&self, message: &[u8], clock: Clock, decided: impl Fn(Value)) {
        match serde_json::from_slice(message) {
            Ok(Message::Purge(purge)) => {
                let (touched, is_news) = self.apply(std::slice::from_ref(&purge), false);
                if is_news {
                    let (what, hard) = (&purge.selector, purge.hard);
                    tracing::info!(hard, touched, "purged by another node: {what}");
                    // the record that nodes share may have been written by two at once
                    self.write_purges(clock.moment(clock.now()));
                }
            }
            Ok(Message::Changed(id)) => self.take_changed(&id).await,
            Ok(Message::Switch(decision)) => decided(decision),
            Err(error) => {
                if let Some(untold) = self.complain("message", "of another node") {
                    let count = untold.0;
                    tracing::warn!(
                        untold = count,
                        "another node says what this one cannot read: {error}{untold}"
                    );
                }
            }
        }
    }

    async fn take_changed(&self, id: &str) {
        let (Some(shared), Some(id)) = (&self.shared, CopyId::parse(id)) else {
            return;
        };
        let frame = match shared.get_behind(id).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                if let Some(untold) = self.complain("changed", "of another node") {
                    let count = untold.0;
                    tracing::warn!(
                        untold = count,
                        "another node has a newer copy, which cannot be had: {error}{untold}"
                    );
                }
                return;
            }
        };
        let Ok(Decoded {
            request,
            entry,
            reach,
        }) = frame::decode(&frame)
        else {
            return;
        };
        if let Some(entry) = self.adopt(Arc::new(request), entry) {
            self.keep_frame(id, &entry, reach, frame);
        }
    }
}

/// Whether a copy is written beyond memory now, or was a moment ago and will be again in a moment.
pub(super) fn is_due(entry: &Entry, known: Option<&Entry>, declared: &Freshness) -> bool {
    let often = entry.lifetime(declared).ttl < WRITE_PAUSE && entry.version.is_none();
    let just_now = |known: &Entry| entry.stored_at.since(known.written_at) < WRITE_PAUSE;
    let as_before = |known: &Entry| {
        std::mem::discriminant(&known.content) == std::mem::discriminant(&entry.content)
    };
    !(often && known.is_some_and(|known| just_now(known) && as_before(known)))
}

/// Whether nothing is to be remembered of what was there, not even how it was counted.
fn is_gone(entry: &Entry) -> bool {
    entry.content == Content::Withdrawn && entry.version.is_none()
}

/// For how long a copy is worth having beyond memory. Nothing is written in the place of nothing: whoever
/// asks for what does not exist, a million times, fills no disk.
fn keep(
    entry: &Entry,
    known: Option<&Entry>,
    declared: &Freshness,
    is_there: impl Fn() -> bool,
) -> Option<Duration> {
    match entry.content {
        Content::Html(_) => Some(entry.lifetime(declared).whole()),
        Content::Absent | Content::Withdrawn => {
            let replaces = known.is_some() || entry.version.is_some() || is_there();
            replaces.then_some(WITHDRAWN_KEEP)
        }
    }
}

fn millis(moment: Moment) -> u64 {
    moment.micros() / 1000
}

fn message(message: &Message) -> Bytes {
    let json = serde_json::to_vec(message);
    json.expect("strings and numbers can be written").into()
}
