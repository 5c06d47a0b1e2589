//! What is wrong with the store, in words that say what to do. Owns how an error is judged, and
//! when an operator is told; pure. The connections and the writer report here.
//!
//! Invariant: one line when trouble begins and one when the last has ended, however many calls
//! fail in between and however often.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{ErrorKind, RedisError};

use crate::clock::Instant;

/// Between two complaints.
const PAUSE: Duration = Duration::from_secs(10);

/// What an error means for what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gravity {
    /// The connection is of no use any more.
    Gone,
    /// The server answers, and is of no use to anyone for now.
    Down,
    /// It refuses this, and may accept it later.
    Refused,
    /// It refuses writes, and another server may take them.
    Replica,
    /// It will refuse this the next time too.
    Wrong,
    /// The key holds another type of value, which is none of ours.
    Foreign,
}

/// An error, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) gravity: Gravity,
    /// What is wrong, and what to do.
    pub(super) text: String,
}

impl Trouble {
    /// Judges what the library or the server has said.
    pub(super) fn of(error: &RedisError) -> Self {
        let said = error.to_string();
        // inside a script, older servers wrap the code in a text of their own
        let is = |code: &str| error.code() == Some(code) || said.contains(&format!("{code} "));
        let trouble = |gravity, text: &str| Self {
            gravity,
            text: text.to_owned(),
        };
        if is("OOM") {
            return trouble(
                Gravity::Refused,
                "it is full and refuses writes: raise its `maxmemory`, or let it forget with \
                 `maxmemory-policy allkeys-lru`",
            );
        }
        if is("READONLY") {
            return trouble(
                Gravity::Replica,
                "it is a replica and refuses writes: give the address of the primary, or of the \
                 sentinels that know it (redis+sentinel://)",
            );
        }
        match error.code() {
            Some("NOAUTH") => trouble(
                Gravity::Down,
                "it asks for a password: write redis://:PASSWORD@HOST:6379",
            ),
            Some("WRONGPASS") => refused_login(),
            Some("LOADING") => trouble(
                Gravity::Down,
                "it is loading its data, and answers when it is done",
            ),
            Some("BUSY") => trouble(
                Gravity::Down,
                "a script of another program keeps it busy: see its SCRIPT KILL",
            ),
            Some("CLUSTERDOWN" | "MASTERDOWN") => Self {
                gravity: Gravity::Down,
                text: format!("a part of it is down: {said}"),
            },
            Some("MISCONF" | "NOREPLICAS" | "TRYAGAIN") => Self {
                gravity: Gravity::Refused,
                text: format!("it refuses writes for now: {said}"),
            },
            Some("MOVED" | "ASK") => trouble(
                Gravity::Down,
                "it is a node of a cluster: write redis+cluster://HOST:6379",
            ),
            Some("NOPERM") => Self {
                gravity: Gravity::Wrong,
                text: format!(
                    "its ACL forbids what is needed (GET, SET, GETRANGE, EVAL, DEL, UNLINK, \
                     PEXPIRE, XADD, XTRIM and XREAD on the keys of the prefix): {said}"
                ),
            },
            Some("WRONGTYPE") => trouble(
                Gravity::Foreign,
                "another program keeps something else under this key: choose another prefix",
            ),
            _ => Self::of_library(error, said),
        }
    }

    fn of_library(error: &RedisError, said: String) -> Self {
        let kind = error.kind();
        if kind == ErrorKind::AuthenticationFailed {
            return refused_login();
        }
        let (gravity, what) = if kind == ErrorKind::MasterNameNotFoundBySentinel {
            (Gravity::Gone, "the sentinels know no primary of that name")
        } else if matches!(kind, ErrorKind::Server(_) | ErrorKind::Extension) {
            (Gravity::Wrong, "it refuses a command")
        } else {
            (Gravity::Gone, "it cannot be reached")
        };
        Self {
            gravity,
            text: format!("{what}: {said}"),
        }
    }

    /// It has not answered within `timeout`.
    pub(super) fn silence(timeout: Duration) -> Self {
        Self {
            gravity: Gravity::Gone,
            text: format!("it does not answer within {} ms", timeout.as_millis()),
        }
    }
}

fn refused_login() -> Trouble {
    Trouble {
        gravity: Gravity::Down,
        text: "it refuses the user or the password of its address".to_owned(),
    }
}

/// What can be wrong separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The connection that pages read from.
    Reading,
    /// The connection that is written to.
    Writing,
    /// The connection that messages arrive on.
    Listening,
    /// Frames are put.
    Storing,
    /// Leases are taken.
    Leasing,
    /// Messages are sent.
    Publishing,
    /// Messages are read.
    Receiving,
}

/// All that is wrong now.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    present: Mutex<Present>,
    /// So that a call that goes well need not take the lock.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Present {
    texts: BTreeMap<Part, String>,
    told: Option<Instant>,
    /// Whether the operator believes that there is trouble.
    believed: bool,
}

/// What to tell the operator.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// Trouble has begun.
    Began(String),
    /// The last has ended.
    Ended,
}

impl Troubles {
    /// `part` is in trouble; what to tell now.
    pub(super) fn begin(&self, part: Part, text: &str, now: Instant) -> Option<Tell> {
        let mut present = self.present.lock();
        self.any.store(true, Ordering::Release);
        present.texts.insert(part, text.to_owned());
        let due = present.told.is_none_or(|told| now >= told + PAUSE);
        if present.believed || !due {
            return None;
        }
        present.believed = true;
        present.told = Some(now);
        Some(Tell::Began(text.to_owned()))
    }

    /// `part` works; what to tell now.
    pub(super) fn end(&self, part: Part) -> Option<Tell> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut present = self.present.lock();
        present.texts.remove(&part);
        if !present.texts.is_empty() {
            return None;
        }
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut present.believed).then_some(Tell::Ended)
    }

    /// What is wrong first of all.
    pub(super) fn first(&self) -> Option<String> {
        self.present.lock().texts.values().next().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn one_line_when_it_goes_and_one_when_it_comes_back() {
        let (troubles, now) = (Troubles::default(), Clock::start().now());
        assert_eq!(troubles.end(Part::Reading), None, "nothing was wrong");
        let began = Some(Tell::Began("gone".to_owned()));
        assert_eq!(troubles.begin(Part::Reading, "gone", now), began);
        assert_eq!(troubles.begin(Part::Writing, "gone too", now), None);
        assert_eq!(troubles.begin(Part::Reading, "still", now + PAUSE), None);
        assert_eq!(troubles.first().as_deref(), Some("still"));
        assert_eq!(troubles.end(Part::Reading), None, "writing is not back");
        assert_eq!(troubles.first().as_deref(), Some("gone too"));
        assert_eq!(troubles.end(Part::Writing), Some(Tell::Ended));
        assert_eq!(troubles.first(), None);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_in_a_while() {
        let (troubles, now) = (Troubles::default(), Clock::start().now());
        assert!(troubles.begin(Part::Reading, "gone", now).is_some());
        assert!(troubles.end(Part::Reading).is_some());
        let soon = now + Duration::from_secs(9);
        assert!(troubles.begin(Part::Reading, "gone", soon).is_none());
        assert!(
            troubles.end(Part::Reading).is_none(),
            "its going was not told"
        );
        assert!(troubles.begin(Part::Reading, "gone", soon).is_none());
        // it stays: told when it may be
        assert!(troubles.begin(Part::Reading, "gone", now + PAUSE).is_some());
    }
}
