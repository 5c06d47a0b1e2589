//! Switches of several nodes (shell): what is decided on one is told to the others through the store that
//! they share, and what they hold is compared. Owns when that is done, and what is said where it cannot
//! be; which of two decisions stands is the [ledger](super::ledger)'s.
//!
//! Each decision is a message, which a node that is away for less than an hour hears later, and part of
//! the record that the store keeps of all of them. The record is read at the start, whenever the
//! connection is a new one, and every [`AGAIN`]: so that a node that starts, was away for days, or has
//! lost a message holds what the others do, and a store that has lost everything is told again.
//!
//! Invariant: nothing waits for the store but whoever has decided something, and not for longer than
//! [`SHARED_TIME`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Merged, Record};
use super::record::{self, Damage};
use super::{Switchboard, shown};
use crate::cache::CopyId;
use crate::cache::beyond;
use crate::cache::shared::{Shared, Stamp};
use crate::report::{Event, SwitchChange};

/// How long whoever has decided something waits for the store to take it.
const SHARED_TIME: Duration = Duration::from_secs(1);

/// How often it is looked whether the connection is another one.
const PAUSE: Duration = Duration::from_millis(500);

/// How often the record is compared in any case.
const AGAIN: Duration = Duration::from_secs(30);

/// For how long the store keeps the record that nobody writes: longer than any switch lasts.
const KEEP: Duration = Duration::from_secs(500 * 24 * 3600);

/// What is said of a decision that the others have not been told.
const HERE_ONLY: &str = "the shared store does not answer: so far this is so on this node only; the \
                         others are told when it is back";

/// The way to the other nodes.
pub(super) struct Sharing {
    store: Arc<Shared>,
    /// The place of the last message among all that is written.
    last: AtomicU64,
    /// Whether the record was read since the start.
    has_met: AtomicBool,
    /// What was found there and could not be heeded.
    damage: Mutex<Option<String>>,
}

fn record_id() -> CopyId {
    CopyId::named("switches")
}

impl Sharing {
    pub(super) fn new(store: Arc<Shared>) -> Self {
        Self {
            store,
            last: AtomicU64::new(0),
            has_met: AtomicBool::new(false),
            damage: Mutex::new(None),
        }
    }

    /// The name of this node among the others.
    pub(super) fn node(&self) -> &str {
        self.store.node()
    }

    /// Tells the other nodes of decisions, and has the record written anew.
    fn tell(&self, records: &[Record], all: &Ledger) {
        for record in records {
            let value = serde_json::to_value(record).expect("words and numbers are JSON");
            let place = self.store.publish(beyond::switch_message(value));
            self.last.fetch_max(place, Ordering::Relaxed);
        }
        self.write_record(all);
    }

    fn write_record(&self, all: &Ledger) {
        // by what it holds: a node whose clock is behind has something to say too
        let at = all.latest().micros();
        let stamp = Stamp {
            version: None,
            stored_at: at,
            began: at,
        };
        let bytes = Bytes::from(record::encode(all));
        self.store.put(record_id(), stamp, KEEP, bytes);
    }

    fn is_sent(&self, is_empty: bool) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        self.store.has_written(last) && (is_empty || self.has_met.load(Ordering::Relaxed))
    }

    fn complain(&self, what: String) {
        tracing::warn!("{what}");
        *self.damage.lock() = Some(what);
    }
}

impl Switchboard {
    /// The same, with other nodes that decide and are told.
    #[must_use]
    pub fn shared_through(self, store: Option<&Arc<Shared>>) -> Self {
        let sharing = store.map(|store| Sharing::new(Arc::clone(store)));
        Self { sharing, ..self }
    }

    /// Tells the other nodes of a decision.
    pub(super) fn spread(&self, record: &Record, all: &Ledger) {
        if let Some(sharing) = &self.sharing {
            sharing.tell(std::slice::from_ref(record), all);
        }
    }

    /// Whether the store has taken all that was decided here; waits for that, but not longer than
    /// a second, nor for a store that is known to be away. `None`: there are no other nodes.
    pub async fn sent(&self) -> Option<Result<(), String>> {
        let sharing = self.sharing.as_ref()?;
        let last = sharing.last.load(Ordering::Relaxed);
        let written = timeout(SHARED_TIME, sharing.store.written(last)).await;
        Some(match written {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(HERE_ONLY.to_owned()),
        })
    }

    pub(super) fn sharing_state(&self, is_empty: bool) -> Option<shown::Shared> {
        let sharing = self.sharing.as_ref()?;
        let sent = sharing.is_sent(is_empty);
        let damage = sharing.damage.lock().clone();
        Some(shown::Shared {
            sent,
            trouble: damage.or_else(|| (!sent).then(|| HERE_ONLY.to_owned())),
        })
    }

    /// Heeds what another node has decided.
    pub fn heed(self: &Arc<Self>, value: Value) {
        let Some(sharing) = &self.sharing else { return };
        let record = match serde_json::from_value::<Record>(value) {
            Ok(record) => record,
            Err(error) => {
                sharing.complain(format!(
                    "a switch that another node tells of is passed over: it cannot be read: {error}"
                ));
                return;
            }
        };
        if self.merge(vec![record]) {
            sharing.write_record(&self.held.lock().ledger);
        }
    }

    /// Heeds what was decided elsewhere; tells whether anything of it was new.
    fn merge(self: &Arc<Self>, records: Vec<Record>) -> bool {
        let (mut changes, mut refused, mut is_news) = (Vec::new(), Vec::new(), false);
        {
            let (mut held, now) = (self.held.lock(), self.now());
            changes.extend(held.expire(now).into_iter().map(SwitchChange::Over));
            for record in records {
                let key = record.key.clone();
                match held.ledger.merge(record, now) {
                    Ok(Merged::Known) => continue,
                    Ok(Merged::Silent) => {}
                    Ok(Merged::Set { switch, replaced }) => {
                        changes.push(SwitchChange::Set { switch, replaced });
                    }
                    Ok(Merged::Cleared { switch, by }) => {
                        changes.push(SwitchChange::Cleared { switch, by });
                    }
                    Err(why) => {
                        refused.push(format!(
                            "a switch that another node tells of is passed over, {key}: {why}"
                        ));
                        continue;
                    }
                }
                is_news = true;
                held.changes += 1;
            }
            changes.extend(self.take_effect(&mut held));
        }
        if let Some(sharing) = &self.sharing {
            refused.into_iter().for_each(|why| sharing.complain(why));
        }
        for change in changes {
            self.tell(&Event::Switched(change));
        }
        if is_news {
            self.begin_writing();
        }
        is_news
    }

    /// Compares with what the store holds of all nodes, and takes over and hands on what the other side
    /// lacks. Tells whether there was an answer.
    pub async fn exchange(self: &Arc<Self>) -> bool {
        let Some(sharing) = &self.sharing else {
            return false;
        };
        let Ok(found) = sharing.store.get_behind(record_id()).await else {
            return false;
        };
        let theirs = match found.map(|bytes| record::decode(&bytes)) {
            None => Ledger::default(),
            Some(Ok(ledger)) => {
                *sharing.damage.lock() = None;
                ledger
            }
            Some(Err(newer @ Damage::Newer(_))) => {
                sharing.complain(format!(
                    "the shared record of switches is passed over, and left as it is: {newer}"
                ));
                return true;
            }
            Some(Err(damage)) => {
                sharing.complain(format!(
                    "the shared record of switches is passed over, and written anew by what this node \
                     knows: {damage}"
                ));
                // whatever stamp it has, it does not stand in the way
                sharing.store.remove(record_id());
                Ledger::default()
            }
        };
        let records = theirs.records();
        {
            let now = self.now();
            let mut held = self.held.lock();
            held.ledger
                .merge_forgotten(theirs.latest(), theirs.forgotten(), now);
        }
        self.merge(records.clone());
        let held = self.held.lock();
        let lacking: Vec<Record> = held
            .ledger
            .records()
            .into_iter()
            .filter(|record| !records.contains(record))
            .collect();
        if !lacking.is_empty() {
            sharing.tell(&lacking, &held.ledger);
        }
        sharing.has_met.store(true, Ordering::Relaxed);
        true
    }

    /// Compares again and again, until `stop`.
    pub(super) async fn keep_in_step(self: &Arc<Self>, stop: &CancellationToken) {
        let Some(sharing) = &self.sharing else { return };
        let mut met = None;
        loop {
            let (connections, now) = (sharing.store.connections(), self.clock.now());
            let is_due = met.is_none_or(|(before, at)| {
                before != connections || now.saturating_duration_since(at) >= AGAIN
            });
            let comparing = async {
                if is_due && self.exchange().await {
                    met = Some((connections, now));
                }
                sleep(PAUSE).await;
            };
            if stop.run_until_cancelled(comparing).await.is_none() {
                return;
            }
        }
    }
}
