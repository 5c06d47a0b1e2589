//! What the journal says: one entry for each thing that has happened. Owns the words and their form in
//! JSON, one object a line; pure: who writes them and when is elsewhere.
//!
//! An entry says twice what has happened: for people in `says`, for programs in the fields of its kind.
//! A line of a later version, of a kind that is not known here, is kept as what it says.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::degradation::law::Reason;
use crate::report::{
    Acted, BreakerState, Event, FaultChange, NotAllowed, OriginChange, SloChange, SwitchChange,
};

use super::summary::Summary;

/// Longest text of an entry, in bytes: the diagnostics of a declaration that was refused may be long.
const TEXT_BYTES_MAX: usize = 4096;

/// Most lines of a difference between two sites.
const CHANGES_MAX: usize = 100;

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When, RFC 3339, for people.
    pub at: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What has happened, in words.
    pub says: String,
    /// The same for programs.
    #[serde(flatten)]
    pub what: What,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The server began to serve.
    Start {
        /// Of the program.
        version: String,
        /// Whether the one before ended without saying so.
        after_crash: bool,
    },
    /// The server has been asked to stop, or has stopped.
    Stop {
        /// Whether all that was in flight was finished; absent while it stops.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finished: Option<bool>,
    },
    /// The law has moved the level.
    Level {
        /// Before.
        from: u8,
        /// After.
        to: u8,
        /// Why.
        reason: Reason,
        /// Whether it only says so.
        dry_run: bool,
        /// The share of the optional work that is done.
        theta: f64,
        /// The share of the optional requests that origins can take.
        #[serde(default = "all_of_it")]
        phi: f64,
        /// The share of pages that are composed.
        admit: f64,
        /// Work that is known to get done, in milliseconds a second.
        rate_ms_per_s: f64,
        /// What the law was told: how long work waits.
        queue_delay_ms: f64,
        /// The 95th percentile of page times over their targets.
        lateness: Option<f64>,
        /// Work as measured over what it costs usually.
        inflation: Option<f64>,
        /// Pages asked for since the tick before.
        arrivals: u32,
        /// Since the tick before.
        span_ms: f64,
    },
    /// A breaker has moved.
    Breaker {
        /// The origin.
        origin: String,
        /// Which of its replicas, if it is not about all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<String>,
        /// Who is called when it is sick.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// Whose requests it stops: a grade, or everybody's if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
        /// Before.
        from: String,
        /// After.
        to: String,
        /// What opened it last.
        why: String,
    },
    /// Something else has happened to an origin: its health check, a canary.
    Origin {
        /// The origin.
        origin: String,
        /// Which of its replicas.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<String>,
        /// Who is called when it is sick.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// Whether it is good news.
        good: bool,
    },
    /// An operator's switch was set, was taken back, is over, or all were lost.
    Switch {
        /// What it is about; absent if all were lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// `set`, `begun`, `cleared`, `over` or `lost`.
        how: String,
        /// Who has set it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who has taken it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// The site was read again.
    Reload {
        /// Whether it was refused, and the one before stays.
        refused: bool,
        /// What is different.
        changes: Vec<String>,
        /// Who has asked for it, if somebody says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Copies were purged.
    Purge {
        /// Which.
        what: String,
        /// Whether they were thrown away.
        hard: bool,
        /// Copies in memory that were touched.
        copies: usize,
    },
    /// Somebody who operates has changed something; what it was has an entry of its own.
    Act {
        /// What was asked for: `PUT /level`.
        act: String,
        /// What whoever has asked for it may do.
        role: String,
        /// How they are known: `bearer`, the name of their session, or `none` where no token is declared.
        session: String,
        /// Where it came from.
        from: String,
        /// What they were told; absent if they have not waited for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Who wants it, if that was said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When it ends by itself, RFC 3339, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// How many acts like it, by the same, were not written down before it: of what is pushed one is in a
        /// minute.
        #[serde(default, skip_serializing_if = "is_zero")]
        untold: u64,
    },
    /// Somebody who asked for something as operators do was refused it.
    Refusal {
        /// What: `PUT /level`.
        act: String,
        /// What the token that was presented is good for, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<String>,
        /// Where it came from.
        from: String,
    },
    /// Copies were pushed or withdrawn since the tally before.
    Push {
        /// How many.
        copies: u64,
    },
    /// Something is made to misbehave, or no longer.
    Fault {
        /// What: an origin of the demo, or what a fault is on, such as `origin media`.
        origin: String,
        /// The name of the fault; absent where it is a dial of the demo.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
        /// How; absent where it is healthy again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
        /// How it came to its end, if it has: `over`, `ended`, `replaced`, `full`, `aborted`, `undeclared`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        how: Option<String>,
        /// Pages that have had it, once it is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pages: Option<u64>,
        /// For how many seconds, if it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lasts_s: Option<u64>,
        /// Who has asked for it, if somebody says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The certificates that readers are shown have changed, or could not be renewed.
    Certificate {
        /// Whether those before are shown still.
        refused: bool,
    },
    /// An objective is missed, or kept again.
    Slo {
        /// Its name.
        objective: String,
        /// `burning` or `recovered`, `spent` or `restored`.
        state: String,
        /// How many times as fast as it may be its error budget is used, while it burns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
    },
    /// What readers got for a while.
    Tally(Summary),
    /// Something about the journal itself, such as entries that could not be written.
    Journal {
        /// Entries that are not in it.
        lost: u64,
    },
    /// What a later version has written.
    #[serde(other)]
    Unknown,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// See [`What::Start`].
    Start,
    /// See [`What::Stop`].
    Stop,
    /// See [`What::Level`].
    Level,
    /// See [`What::Breaker`].
    Breaker,
    /// See [`What::Origin`].
    Origin,
    /// See [`What::Switch`].
    Switch,
    /// See [`What::Reload`].
    Reload,
    /// See [`What::Purge`].
    Purge,
    /// See [`What::Act`].
    Act,
    /// See [`What::Refusal`].
    Refusal,
    /// See [`What::Push`].
    Push,
    /// See [`What::Fault`].
    Fault,
    /// See [`What::Certificate`].
    Certificate,
    /// See [`What::Slo`].
    Slo,
    /// See [`What::Tally`].
    Tally,
    /// See [`What::Journal`].
    Journal,
    /// See [`What::Unknown`].
    Unknown,
}

/// A word that is no kind of entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of entry: {kinds}", kinds = Kind::words())]
pub struct NoKind(String);

impl Kind {
    /// All of them that can be asked for, and their words.
    const WORDS: [(Self, &'static str); 17] = [
        (Self::Start, "start"),
        (Self::Stop, "stop"),
        (Self::Level, "level"),
        (Self::Breaker, "breaker"),
        (Self::Origin, "origin"),
        (Self::Switch, "switch"),
        (Self::Reload, "reload"),
        (Self::Purge, "purge"),
        (Self::Act, "act"),
        (Self::Refusal, "refusal"),
        (Self::Push, "push"),
        (Self::Fault, "fault"),
        (Self::Certificate, "certificate"),
        (Self::Slo, "slo"),
        (Self::Tally, "tally"),
        (Self::Journal, "journal"),
        (Self::Unknown, "unknown"),
    ];

    /// One word, as it is written.
    pub fn label(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(kind, _)| *kind == self);
        found.map_or("unknown", |(_, word)| word)
    }

    fn words() -> String {
        Self::WORDS.map(|(_, word)| word).join(", ")
    }
}

impl FromStr for Kind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let found = Self::WORDS.iter().find(|(_, word)| *word == text);
        found
            .map(|(kind, _)| *kind)
            .ok_or_else(|| NoKind(text.to_owned()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl Entry {
    /// Something that happens at this moment.
    pub fn new(at: Moment, says: &str, what: What) -> Self {
        Self {
            at: at.to_string(),
            at_ms: at.micros() / 1000,
            says: bounded(says),
            what,
        }
    }

    /// An event; `None` for what is only counted, and for one more look at what is sick.
    pub fn of_event(at: Moment, event: &Event) -> Option<Self> {
        Some(Self::new(at, &event.to_string(), What::of_event(event)?))
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self.what {
            What::Start { .. } => Kind::Start,
            What::Stop { .. } => Kind::Stop,
            What::Level { .. } => Kind::Level,
            What::Breaker { .. } => Kind::Breaker,
            What::Origin { .. } => Kind::Origin,
            What::Switch { .. } => Kind::Switch,
            What::Reload { .. } => Kind::Reload,
            What::Purge { .. } => Kind::Purge,
            What::Act { .. } => Kind::Act,
            What::Refusal { .. } => Kind::Refusal,
            What::Push { .. } => Kind::Push,
            What::Fault { .. } => Kind::Fault,
            What::Certificate { .. } => Kind::Certificate,
            What::Slo { .. } => Kind::Slo,
            What::Tally(_) => Kind::Tally,
            What::Journal { .. } => Kind::Journal,
            What::Unknown => Kind::Unknown,
        }
    }

    /// As a line of the journal, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("words and numbers are JSON");
        line.push(b'\n');
        line
    }
}

impl What {
    fn of_event(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Reloaded { changes, signed } => Self::Reload {
                refused: false,
                changes: changes
                    .iter()
                    .take(CHANGES_MAX)
                    .map(|c| bounded(c))
                    .collect(),
                by: signed.by.clone(),
                reason: signed.reason.clone(),
            },
            Event::ReloadRefused { signed, .. } => Self::Reload {
                refused: true,
                changes: Vec::new(),
                by: signed.by.clone(),
                reason: signed.reason.clone(),
            },
            Event::Switched(change) => Self::of_switch(change),
            Event::SwitchesLost(_) => Self::Switch {
                subject: None,
                how: "lost".to_owned(),
                owner: None,
                reason: None,
                by: None,
            },
            Event::Degraded {
                from,
                to,
                sample,
                decision,
                phi,
                is_dry_run,
            } => Self::Level {
                from: from.get(),
                to: to.get(),
                reason: decision.reason,
                dry_run: *is_dry_run,
                theta: decision.theta,
                phi: *phi,
                admit: decision.admit,
                rate_ms_per_s: decision.rate,
                queue_delay_ms: sample.queue_delay.as_secs_f64() * 1e3,
                lateness: sample.lateness,
                inflation: sample.inflation,
                arrivals: sample.arrivals,
                span_ms: sample.span.as_secs_f64() * 1e3,
            },
            Event::Purged { what, hard, copies } => Self::Purge {
                what: bounded(what),
                hard: *hard,
                copies: *copies,
            },
            Event::Acted(acted) => Self::of_act(acted),
            Event::ActRefused { act, why, from, .. } => Self::Refusal {
                act: bounded(act),
                role: match why {
                    NotAllowed::MayOnly(role) => Some((*role).to_owned()),
                    NotAllowed::WrongToken | NotAllowed::TooManyTokens | NotAllowed::OtherSite => {
                        None
                    }
                },
                from: from.to_string(),
            },
            Event::Origin {
                origin,
                replica,
                owner,
                change,
            } => {
                if change.is_routine() {
                    return None;
                }
                Self::of_origin(origin, replica.as_deref(), owner.as_deref(), change)
            }
            Event::Started {
                version,
                is_after_crash,
            } => Self::Start {
                version: (*version).to_owned(),
                after_crash: *is_after_crash,
            },
            Event::Stopping => Self::Stop { finished: None },
            Event::Stopped(finished) => Self::Stop {
                finished: Some(*finished),
            },
            Event::Pushed => return None,
            Event::Fault {
                origin,
                trouble,
                lasts,
                signed,
            } => Self::Fault {
                origin: origin.clone(),
                fault: None,
                trouble: trouble.clone(),
                how: None,
                pages: None,
                lasts_s: lasts.map(|lasts| lasts.as_secs()),
                by: signed.by.clone(),
                reason: signed.reason.clone(),
            },
            Event::Chaos {
                name,
                on,
                change,
                signed,
            } => {
                let (trouble, lasts, how, pages) = match change {
                    FaultChange::Begun { says, lasts, .. } => {
                        (Some(says.clone()), Some(lasts.as_secs()), None, None)
                    }
                    FaultChange::Ended { how, pages, .. } => {
                        (None, None, Some(how.label().to_owned()), Some(*pages))
                    }
                };
                Self::Fault {
                    origin: on.clone(),
                    fault: Some(name.clone()),
                    trouble,
                    how,
                    pages,
                    lasts_s: lasts,
                    by: signed.by.clone(),
                    reason: signed.reason.clone(),
                }
            }
            Event::Certificates(renewed) => Self::Certificate {
                refused: renewed.is_err(),
            },
            Event::Slo { objective, change } => {
                let (state, rate) = match change {
                    SloChange::Burning { rate, .. } => ("burning", Some(*rate)),
                    SloChange::Spent => ("spent", None),
                    SloChange::Restored => ("restored", None),
                    SloChange::Recovered => ("recovered", None),
                };
                Self::Slo {
                    objective: objective.clone(),
                    state: state.to_owned(),
                    rate,
                }
            }
        })
    }

    fn of_act(acted: &Acted) -> Self {
        Self::Act {
            act: bounded(&acted.act),
            role: acted.role.to_owned(),
            session: acted.known_by.to_string(),
            from: acted.from.to_string(),
            status: acted.status,
            by: acted.given.signed.by.clone(),
            reason: acted.given.signed.reason.clone(),
            until: acted.given.until.map(|until| until.to_string()),
            untold: acted.untold.0,
        }
    }

    fn of_switch(change: &SwitchChange) -> Self {
        let (how, by) = match change {
            SwitchChange::Set { .. } => ("set", None),
            SwitchChange::Cleared { by, .. } => ("cleared", Some(by.clone())),
            SwitchChange::Begun { .. } => ("begun", None),
            SwitchChange::Over(_) => ("over", None),
        };
        let switch = change.switch();
        Self::Switch {
            subject: Some(switch.key().to_string()),
            how: how.to_owned(),
            owner: Some(switch.owner.clone()),
            reason: Some(switch.reason.clone()),
            by,
        }
    }

    fn of_origin(
        origin: &str,
        replica: Option<&str>,
        owner: Option<&str>,
        change: &OriginChange,
    ) -> Self {
        let (origin, replica) = (origin.to_owned(), replica.map(str::to_owned));
        let owner = owner.map(str::to_owned);
        let label = |state: BreakerState| state.label().to_owned();
        match change {
            OriginChange::Breaker {
                of, from, to, why, ..
            } => Self::Breaker {
                origin,
                replica,
                owner,
                of: of.map(|grade| grade.label().to_owned()),
                from: label(*from),
                to: label(*to),
                why: bounded(why),
            },
            OriginChange::CanaryWithdrawn { .. } => Self::Origin {
                origin,
                replica,
                owner,
                good: false,
            },
            OriginChange::Health { is_healthy, .. } => Self::Origin {
                origin,
                replica,
                owner,
                good: *is_healthy,
            },
        }
    }
}

/// The share of which versions before this one said nothing.
fn all_of_it() -> f64 {
    1.0
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The text, or as much of it as an entry may have.
fn bounded(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::degradation::sample::Costs;
    use crate::degradation::{Decision, Level, Sample};
    use crate::report::FaultEnd;
    use crate::report::Signature;
    use crate::report::{Given, KnownBy, Untold};

    #[test]
    fn a_line_is_read_back_as_it_was() {
        let at = Moment::from_micros(1_764_156_000_123_456);
        let events = [
            Event::Reloaded {
                changes: vec!["fragment a: timeout 1s → 2s".to_owned()],
                signed: Signature::because("a test"),
            },
            Event::Started {
                version: "1",
                is_after_crash: true,
            },
            Event::Stopped(true),
            Event::Fault {
                origin: "cms".to_owned(),
                trouble: None,
                lasts: None,
                signed: Signature::default(),
            },
            Event::Fault {
                origin: "cms".to_owned(),
                trouble: Some("hangs".to_owned()),
                lasts: Some(Duration::from_secs(600)),
                signed: Signature::read("Léa", "a test").unwrap(),
            },
            Event::Chaos {
                name: "media-hangs".to_owned(),
                on: "origin media".to_owned(),
                change: FaultChange::Ended {
                    how: FaultEnd::Aborted,
                    pages: 7,
                    requests: 9,
                },
                signed: Signature::because("a test"),
            },
            Event::Certificates(Err("no key".to_owned())),
            Event::Acted(Acted {
                act: "PUT /level".to_owned(),
                role: "operate",
                known_by: KnownBy::Session("3f9a1c2e".to_owned()),
                from: std::net::Ipv4Addr::LOCALHOST.into(),
                status: Some(200),
                given: Given {
                    signed: Signature::read("Léa", "a test").unwrap(),
                    until: Some(at),
                },
                untold: Untold(7),
            }),
            Event::ActRefused {
                act: "PUT /level".to_owned(),
                why: NotAllowed::MayOnly("read"),
                from: std::net::Ipv4Addr::LOCALHOST.into(),
                untold: Untold(2),
            },
            Event::Slo {
                objective: "fast".to_owned(),
                change: SloChange::Spent,
            },
        ];
        for event in &events {
            let entry = Entry::of_event(at, event).unwrap();
            let line = entry.line();
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Entry>(&line).unwrap(), entry);
            assert_eq!(entry.kind().label().parse(), Ok(entry.kind()));
        }
        let summary = Entry::new(at, "ten pages", What::Tally(Summary::default()));
        let read: Entry = serde_json::from_slice(&summary.line()).unwrap();
        assert_eq!(read, summary);
    }

    #[test]
    fn what_a_later_version_writes_is_kept_as_what_it_says() {
        let line = r#"{"at":"x","at_ms":7,"kind":"weather","says":"rain","drops":12}"#;
        let entry: Entry = serde_json::from_str(line).unwrap();
        assert_eq!((entry.kind(), entry.says.as_str()), (Kind::Unknown, "rain"));
    }

    #[test]
    fn a_level_is_told_with_what_origins_can_take() {
        let at = Moment::from_micros(1_764_156_000_123_456);
        let degraded = |phi| Event::Degraded {
            from: Level::FULL,
            to: Level::new(2),
            sample: Sample {
                span: Duration::from_millis(100),
                arrivals: 12,
                queue_delay: Duration::from_millis(3),
                lateness: None,
                inflation: None,
                costs: Costs {
                    base_ms: 2.5,
                    optional_ms: 7.5,
                },
            },
            decision: Decision {
                reason: Reason::Origins,
                ..Decision::FULL
            },
            phi,
            is_dry_run: false,
        };
        let entry = Entry::of_event(at, &degraded(0.5)).unwrap();
        assert!(
            entry.says.contains("theta 1.00, phi 0.50, "),
            "{}",
            entry.says
        );
        let line = String::from_utf8(entry.line()).unwrap();
        assert!(line.contains("\"phi\":0.5,"), "{line}");
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
        // what a version before has written says nothing of it: nothing was known to be short
        let before: Entry = serde_json::from_str(&line.replace("\"phi\":0.5,", "")).unwrap();
        let What::Level { phi, theta, .. } = before.what else {
            panic!("{before:?}")
        };
        assert_eq!((phi, theta), (1.0, 1.0));
        let whole = Entry::of_event(at, &degraded(1.0)).unwrap();
        assert!(!whole.says.contains("phi"), "{}", whole.says);
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let text = bounded(&"é".repeat(TEXT_BYTES_MAX));
        assert!(text.len() <= TEXT_BYTES_MAX + '…'.len_utf8());
        assert!(text.ends_with("é…"));
    }
}
