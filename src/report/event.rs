//! What has happened to the server, its origins and its switches, apart from pages. Owns the kinds of it; the
//! sentences that tell of an event are in [`told`](super::told).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::degradation::{Decision, Level, Sample, Switch};
use crate::fragment::Grade;

use super::{Acted, NotAllowed, Signature, Untold};

/// Something an operator would want in the record that is not about one page.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A new site is served.
    Reloaded {
        /// What is different.
        changes: Vec<String>,
        /// Who has asked for it; nobody where a file has changed.
        signed: Signature,
    },
    /// A site was refused; the old one stays.
    ReloadRefused {
        /// What is wrong with it.
        why: String,
        /// Who has asked for it; nobody where a file has changed.
        signed: Signature,
    },
    /// An operator's switch was set, was taken back, or is over.
    Switched(SwitchChange),
    /// What was known of switches cannot be read; none is set.
    SwitchesLost(String),
    /// The law has moved the level that everybody's pages have at least.
    Degraded {
        /// Before.
        from: Level,
        /// After; one more than the ladder has where pages are answered from snapshots.
        to: Level,
        /// What the law was told.
        sample: Sample,
        /// What the law says.
        decision: Decision,
        /// The share of the optional requests that origins can take.
        phi: f64,
        /// Whether it only says so.
        is_dry_run: bool,
    },
    /// Copies were purged.
    Purged {
        /// What was meant.
        what: String,
        /// Whether they were thrown away.
        hard: bool,
        /// Copies in memory that were touched.
        copies: usize,
    },
    /// Somebody who operates has changed something.
    Acted(Acted),
    /// Somebody who asked for something as operators do was refused it.
    ActRefused {
        /// What: `PUT /level`.
        act: String,
        /// Why.
        why: NotAllowed,
        /// Where it came from.
        from: IpAddr,
        /// How often the like was not told.
        untold: Untold,
    },
    /// Something has happened to an origin.
    Origin {
        /// Its name.
        origin: String,
        /// Which of its replicas, if it is not about all of it.
        replica: Option<String>,
        /// Who is called when it is sick.
        owner: Option<String>,
        /// What.
        change: OriginChange,
    },
    /// The server begins to serve.
    Started {
        /// Of the program.
        version: &'static str,
        /// Whether the one before ended without saying so: a crash, a power cut.
        is_after_crash: bool,
    },
    /// The server has been asked to stop.
    Stopping,
    /// The server has stopped; whether what was in flight was finished.
    Stopped(bool),
    /// A copy was pushed or withdrawn. There are too many of these to be told one by one.
    Pushed,
    /// An origin is made to misbehave, or no longer, to see what comes of it.
    Fault {
        /// Its name.
        origin: String,
        /// How, in words; nothing where it is healthy again.
        trouble: Option<String>,
        /// For how long, if it ends by itself.
        lasts: Option<Duration>,
        /// Who has turned it.
        signed: Signature,
    },
    /// A fault has been set on purpose, or is over.
    Chaos {
        /// Its name.
        name: String,
        /// What is made sick: `origin media`.
        on: String,
        /// What has become of it.
        change: FaultChange,
        /// Who has set it, or ended it, and why.
        signed: Signature,
    },
    /// The certificates that readers are shown have changed; or they cannot be renewed, and why: those
    /// before are shown.
    Certificates(Result<(), String>),
    /// What is promised to readers is being missed too often, or no longer.
    Slo {
        /// The name of the objective.
        objective: String,
        /// What has become of its error budget.
        change: SloChange,
    },
}

/// What has become of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultChange {
    /// It is in force.
    Begun {
        /// What goes wrong with what, for whom.
        says: String,
        /// For how long.
        lasts: Duration,
        /// After so many pages it ends.
        pages_max: u64,
    },
    /// It is over.
    Ended {
        /// How it came to its end.
        how: FaultEnd,
        /// Pages that have had it.
        pages: u64,
        /// Requests that it has hit.
        requests: u64,
    },
}

/// How a fault came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultEnd {
    /// Its time was over.
    Over,
    /// Somebody has ended it.
    Ended,
    /// Another one of the same name has begun.
    Replaced,
    /// As many pages as may have had it.
    Full,
    /// What is promised to readers left no room for it.
    Aborted,
    /// The site does not declare it any more.
    Undeclared,
}

impl FaultEnd {
    /// One word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Ended => "ended",
            Self::Replaced => "replaced",
            Self::Full => "full",
            Self::Aborted => "aborted",
            Self::Undeclared => "undeclared",
        }
    }
}

/// What has become of the error budget of an objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SloChange {
    /// It is being used up too fast.
    Burning {
        /// How many times as fast as it may be.
        rate: f64,
        /// Measured over this long.
        over: Duration,
    },
    /// Nothing is left of it.
    Spent,
    /// Some of it is left again.
    Restored,
    /// It is used no faster than it may be again.
    Recovered,
}

/// What has become of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchChange {
    /// It is in force.
    Set {
        /// The switch.
        switch: Switch,
        /// The one whose place it has taken.
        replaced: Option<Switch>,
    },
    /// Somebody has taken it back.
    Cleared {
        /// The switch.
        switch: Switch,
        /// Who.
        by: String,
    },
    /// It was set to begin later, by somebody or by the site's schedule of this name, and is in force.
    Begun {
        /// The switch.
        switch: Switch,
        /// The schedule.
        schedule: Option<String>,
    },
    /// It has come to its end.
    Over(Switch),
}

impl fmt::Display for SwitchChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { switch, replaced } => {
                let Switch {
                    act, owner, reason, ..
                } = switch;
                match switch.end() {
                    Some(until) if switch.from.is_some() => {
                        let from = switch.begin();
                        write!(f, "{act} from {from} until {until}, by {owner}: {reason}")?;
                    }
                    Some(until) => write!(f, "{act} until {until}, by {owner}: {reason}")?,
                    None => write!(f, "{act} for this run, by {owner}: {reason}")?,
                }
                match replaced {
                    Some(Switch {
                        act, owner, reason, ..
                    }) => write!(f, " (before: {act}, by {owner}: {reason})"),
                    None => Ok(()),
                }
            }
            Self::Cleared { switch, by } => {
                let Switch {
                    act, owner, reason, ..
                } = switch;
                write!(f, "taken back by {by}: {act}, by {owner}: {reason}")
            }
            Self::Begun { switch, schedule } => {
                let Switch {
                    act,
                    owner,
                    reason,
                    until,
                    ..
                } = switch;
                write!(f, "begun: {act} until {until}, by {owner}: {reason}")?;
                match schedule {
                    Some(schedule) => write!(f, " (schedule {schedule})"),
                    None => Ok(()),
                }
            }
            Self::Over(switch) => {
                let Switch {
                    act, owner, reason, ..
                } = switch;
                write!(f, "over: {act}, by {owner}: {reason}")
            }
        }
    }
}

/// Whether an origin, or a replica of one, is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All requests are made: it is healthy.
    Closed,
    /// None is made.
    Open,
    /// One at a time, to find out how it is.
    HalfOpen,
    /// A growing share of them.
    Recovering,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Recovering];

    /// One word for labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Recovering => "recovering",
        }
    }
}

/// What has happened to an origin, or to one of its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginChange {
    /// A breaker has moved.
    Breaker {
        /// Whose requests it stops; `None` for the breaker of a replica, which is everybody's.
        of: Option<Grade>,
        /// Before.
        from: BreakerState,
        /// After.
        to: BreakerState,
        /// What opened it last.
        why: String,
        /// How long it is left alone, if it is.
        pause: Option<Duration>,
    },
    /// A canary is worse than the others, and is asked no more.
    CanaryWithdrawn {
        /// In what.
        why: String,
    },
    /// Its health check has another result than before.
    Health {
        /// Whether it is a good one.
        is_healthy: bool,
        /// What the check has found.
        why: String,
    },
}

impl OriginChange {
    /// Whether it is only one more look at what is sick.
    pub fn is_routine(&self) -> bool {
        match self {
            Self::Breaker { from, to, .. } => {
                let is_again = *from == BreakerState::HalfOpen && *to == BreakerState::Open;
                is_again || *to == BreakerState::HalfOpen
            }
            Self::CanaryWithdrawn { .. } | Self::Health { .. } => false,
        }
    }
}

impl fmt::Display for OriginChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaker {
                of, to, why, pause, ..
            } => {
                let pause = pause.unwrap_or_default().as_millis();
                let by = of.map_or_else(String::new, |grade| {
                    format!(" by {} fragments", grade.label())
                });
                match to {
                    BreakerState::Closed => write!(f, "is asked as ever again{by}"),
                    BreakerState::Open => write!(
                        f,
                        "is left alone{by}, for {pause} ms and then longer and longer: {why}"
                    ),
                    BreakerState::HalfOpen => write!(f, "is tried{by} with single requests"),
                    BreakerState::Recovering => {
                        write!(f, "answers again, and is asked{by} step by step")
                    }
                }
            }
            Self::CanaryWithdrawn { why } => {
                write!(
                    f,
                    "is a canary and worse than the others, it gets nothing any more until it is \
                     declared anew: {why}"
                )
            }
            Self::Health {
                is_healthy: true, ..
            } => f.write_str("passes its health check again"),
            Self::Health { why, .. } => write!(f, "fails its health check: {why}"),
        }
    }
}
