//! What was decided, and what of two decisions about one address stands. Owns the version of each, and how
//! long one that is taken back or over must be remembered; pure.
//!
//! # Why by the moment, and why that is not a clock's word alone
//!
//! Nodes that share a store decide beside one another, and with the store away without hearing of each
//! other. The last decision is what people mean, so the later moment stands; of two at the same moment,
//! the one of the node with the greater name, so that all nodes come to the same. A decision is later than
//! all that its node knows by then, however slow its clock is: whoever sees a switch and takes it back has
//! taken it back. Only of two who do not know of each other the clocks decide.
//!
//! # Why nothing comes back
//!
//! A node that was cut off brings what it knew. What was taken back, or replaced, is remembered for as
//! long as the longest-lived of all that ever stood at that address would have lasted: beyond that what it
//! brings is over by itself. More than [`KNOWN_MAX`] are not remembered; then whatever is unknown and not
//! later than what was forgotten is refused.
//!
//! Invariant: the order in which records are merged makes no difference to what is in force.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::degradation::switches::{Key, SWITCHES_MAX, Unfit};
use crate::degradation::{Switch, Switches};

/// Addresses that are remembered, those included that nothing stands at any more.
pub(super) const KNOWN_MAX: usize = 4 * SWITCHES_MAX;

/// No clock is ahead so far: what claims to be later than that is damaged, and would stand for ever.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(24 * 3600);

/// The least time between two decisions.
const TICK: Duration = Duration::from_micros(1);

/// Longest name of whoever takes one back, and of a node, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Which of two decisions stands: the greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Version {
    /// When it was decided.
    pub(super) at: Moment,
    /// On which node.
    pub(super) node: String,
}

/// A decision about one address, as it is written down and told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) key: Key,
    #[serde(flatten)]
    pub(super) version: Version,
    /// Until when it must be remembered.
    pub(super) outlives: Moment,
    /// What stands there; nothing, if it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) switch: Option<Switch>,
    /// Who has taken it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
}

/// Why a record is not heeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("it holds a switch that cannot have been set")]
    Unfit,
    #[error("it was decided on {0}, which is too far ahead of this node's clock")]
    Ahead(Moment),
    #[error("{0}")]
    Full(Unfit),
}

/// What has become of an address by a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Merged {
    /// It was known, or something later is.
    Known,
    /// It is new, and nothing is different by it.
    Silent,
    /// A switch is in its place that was not before.
    Set {
        switch: Switch,
        replaced: Option<Switch>,
    },
    /// What was there is not there any more.
    Cleared { switch: Switch, by: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    version: Version,
    outlives: Moment,
    by: Option<String>,
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    switches: Switches,
    known: BTreeMap<Key, Known>,
    /// The latest decision that was ever heard of.
    latest: Moment,
    /// Up to where decisions were forgotten before their time.
    forgotten: Moment,
}

impl Ledger {
    /// What was written down; `None` if it cannot have been.
    pub(super) fn recalled(
        records: Vec<Record>,
        latest: Moment,
        forgotten: Moment,
    ) -> Option<Self> {
        let count = records.len();
        let mut ledger = Self {
            latest,
            forgotten,
            ..Self::default()
        };
        let is_fit = count <= KNOWN_MAX && records.iter().all(Record::is_fit);
        for record in records {
            ledger.latest = ledger.latest.max(record.version.at);
            if let Some(switch) = record.switch.clone() {
                ledger.switches.put(switch).ok()?;
            }
            ledger.known.insert(record.key.clone(), record.known());
        }
        (is_fit && ledger.known.len() == count).then_some(ledger)
    }

    /// Those that are set, in force or to come.
    pub(super) fn switches(&self) -> &Switches {
        &self.switches
    }

    /// All that is to be written down.
    pub(super) fn records(&self) -> Vec<Record> {
        let record = |(key, known): (&Key, &Known)| Record {
            key: key.clone(),
            version: known.version.clone(),
            outlives: known.outlives,
            switch: self.switches.get(key).cloned(),
            by: known.by.clone(),
        };
        self.known.iter().map(record).collect()
    }

    /// The latest decision that was ever heard of.
    pub(super) fn latest(&self) -> Moment {
        self.latest
    }

    /// Up to where decisions were forgotten before their time.
    pub(super) fn forgotten(&self) -> Moment {
        self.forgotten
    }

    /// Sets a switch; gives the one whose place it takes, and what is to be told of it.
    pub(super) fn set(
        &mut self,
        switch: Switch,
        now: Moment,
        node: &str,
    ) -> Result<(Option<Switch>, Record), Unfit> {
        let (key, until) = (switch.key(), switch.until);
        let replaced = self.switches.set(switch)?;
        Ok((replaced, self.decide(key, until, None, now, node)))
    }

    /// Takes a switch back; gives it, and what is to be told of that.
    pub(super) fn clear(
        &mut self,
        key: &Key,
        by: &str,
        now: Moment,
        node: &str,
    ) -> Option<(Switch, Record)> {
        let switch = self.switches.clear(key)?;
        let record = self.decide(key.clone(), switch.until, Some(by), now, node);
        Some((switch, record))
    }

    fn decide(
        &mut self,
        key: Key,
        until: Moment,
        by: Option<&str>,
        now: Moment,
        node: &str,
    ) -> Record {
        self.latest = now.max(self.latest.after(TICK));
        let before = self.known.get(&key).map(|known| known.outlives);
        let record = Record {
            version: Version {
                at: self.latest,
                node: node.to_owned(),
            },
            outlives: before.unwrap_or_default().max(until),
            switch: self.switches.get(&key).cloned(),
            by: by.map(str::to_owned),
            key,
        };
        self.known.insert(record.key.clone(), record.known());
        self.forget_beyond(KNOWN_MAX);
        record
    }

    /// Takes those back that are over at `now`, and gives them.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Switch> {
        let over = self.switches.expire(now);
        self.known.retain(|_, known| known.outlives > now);
        over
    }

    /// Heeds what was decided elsewhere, or before.
    pub(super) fn merge(&mut self, record: Record, now: Moment) -> Result<Merged, Refused> {
        if !record.is_fit() {
            return Err(Refused::Unfit);
        }
        if record.version.at > now.after(CLOCKS_APART_MAX) {
            return Err(Refused::Ahead(record.version.at));
        }
        let mut outlives = record.outlives;
        match self.known.get_mut(&record.key) {
            Some(known) if known.version >= record.version => {
                // what it has replaced elsewhere may have been meant to last longer
                let is_longer = outlives > known.outlives;
                known.outlives = known.outlives.max(outlives);
                return Ok(match is_longer {
                    true => Merged::Silent,
                    false => Merged::Known,
                });
            }
            Some(known) => outlives = outlives.max(known.outlives),
            // over by itself, or by something that was forgotten
            None if outlives <= now || record.version.at <= self.forgotten => {
                return Ok(Merged::Known);
            }
            None => {}
        }
        let Record {
            key,
            version,
            switch,
            by,
            ..
        } = record;
        let switch = switch.filter(|switch| switch.until > now);
        let before = self.switches.get(&key).cloned();
        match &switch {
            Some(switch) => _ = self.switches.put(switch.clone()).map_err(Refused::Full)?,
            None => _ = self.switches.clear(&key),
        }
        self.latest = self.latest.max(version.at);
        let by_whom = by.clone().unwrap_or_else(|| "another node".to_owned());
        let known = Known {
            version,
            outlives,
            by,
        };
        self.known.insert(key, known);
        self.forget_beyond(KNOWN_MAX);
        Ok(match (switch, before) {
            (Some(switch), before) if before.as_ref() == Some(&switch) => Merged::Silent,
            (Some(switch), replaced) => Merged::Set { switch, replaced },
            (None, Some(switch)) => Merged::Cleared {
                switch,
                by: by_whom,
            },
            (None, None) => Merged::Silent,
        })
    }

    /// Heeds how far another has forgotten.
    pub(super) fn merge_forgotten(&mut self, latest: Moment, forgotten: Moment, now: Moment) {
        let sane = now.after(CLOCKS_APART_MAX);
        if latest <= sane && forgotten <= sane {
            self.latest = self.latest.max(latest);
            self.forgotten = self.forgotten.max(forgotten);
        }
    }

    /// Forgets, of what nothing stands at, what would be forgotten first.
    fn forget_beyond(&mut self, max: usize) {
        while self.known.len() > max {
            let empty = self.known.iter();
            let empty = empty.filter(|(key, _)| self.switches.get(*key).is_none());
            let Some(first) = empty.min_by_key(|(_, known)| known.outlives) else {
                return;
            };
            let key = first.0.clone();
            if let Some(known) = self.known.remove(&key) {
                self.forgotten = self.forgotten.max(known.version.at);
            }
        }
    }
}

impl Record {
    /// A switch of which only itself is known.
    pub(super) fn of(switch: Switch) -> Self {
        Self {
            key: switch.key(),
            version: Version {
                at: switch.set,
                node: String::new(),
            },
            outlives: switch.until,
            switch: Some(switch),
            by: None,
        }
    }

    fn known(&self) -> Known {
        Known {
            version: self.version.clone(),
            outlives: self.outlives,
            by: self.by.clone(),
        }
    }

    /// Whether it can have been decided.
    fn is_fit(&self) -> bool {
        let is_its_own = |switch: &Switch| {
            switch.is_fit() && switch.key() == self.key && switch.until <= self.outlives
        };
        let is_short = |text: &String| text.len() <= NAME_BYTES_MAX;
        self.switch.as_ref().is_none_or(is_its_own)
            && self.by.as_ref().is_none_or(is_short)
            && is_short(&self.version.node)
    }
}

#[cfg(test)]
mod tests;
