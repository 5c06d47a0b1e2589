//! Faults that are set on purpose, as they are declared: on what, of which kind, for whom, by whom and for
//! how long. Owns which of these go together; pure. Whether one is in force, and what it does to a request,
//! is [`chaos`](crate::chaos)'s.
//!
//! Invariant: a [`FaultSpec`] has somebody who can be asked about it, an end, and a number of pages after
//! which it ends anyway.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::degradation::switches::Window;
use crate::fragment::quantity::show_duration;

use super::Site;
use super::slo::percent;

/// How long a fault lasts at most: a working day. What is to be so for longer is no experiment.
pub const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long it lasts at least: a shorter one nobody would see.
pub const LASTS_MIN: Duration = Duration::from_secs(1);

/// Pages after which a fault ends where nobody says so.
pub const PAGES: u64 = 10_000;

/// The longest delay: longer than any deadline.
pub const DELAY_MAX: Duration = Duration::from_secs(600);

/// `[chaos.NAME]`, or one that somebody has set.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultSpec {
    /// Its name.
    pub name: String,
    /// What is made sick.
    pub target: Target,
    /// How.
    pub harm: Harm,
    /// The share of what it could hit that it does: 0.5 makes every other request fail.
    pub rate: f64,
    /// Whose pages.
    pub reach: Reach,
    /// Who has decided so.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// How long it lasts once it has begun.
    pub lasts: Duration,
    /// When it begins by itself, and ends, if it does.
    pub window: Option<Window>,
    /// It ends when so many pages have had it.
    pub pages_max: u64,
    /// What ends it before its time.
    pub stop_on: StopOn,
}

/// What is made sick.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// All that is asked of an origin.
    Origin(String),
    /// What one fragment asks of its origin.
    Fragment(String),
    /// The store that nodes share.
    Store,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// Answers come later: by this, or by a lognormal delay with this median.
    Latency {
        /// The delay.
        by: Duration,
        /// The deviation of its logarithm; 0: always the same.
        spread: f64,
    },
    /// Answers have this status instead of their own.
    Error {
        /// 500 to 599: what says that something is gone would take copies back.
        status: u16,
    },
    /// No connection can be made.
    Refuse,
    /// The connection is reset when the request has been sent.
    Reset,
    /// Nothing is answered.
    Hang,
    /// Answers end half-way.
    Cut,
    /// Answers come a byte at a time, with this between two.
    Drip {
        /// Between two bytes.
        every: Duration,
    },
    /// Answers hold bytes that are no text.
    Garbage,
    /// Answers are late as after a cold start: by this at first, and less and less.
    SlowStart {
        /// The delay at the beginning.
        by: Duration,
        /// After this there is none.
        over: Duration,
    },
    /// The names of its hosts cannot be looked up.
    Dns,
}

/// The kind of a [`Harm`], as it is written.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum HarmKind {
    /// See [`Harm::Latency`].
    Latency,
    /// See [`Harm::Error`].
    Error,
    /// See [`Harm::Refuse`].
    Refuse,
    /// See [`Harm::Reset`].
    Reset,
    /// See [`Harm::Hang`].
    Hang,
    /// See [`Harm::Cut`].
    Cut,
    /// See [`Harm::Drip`].
    Drip,
    /// See [`Harm::Garbage`].
    Garbage,
    /// See [`Harm::SlowStart`].
    SlowStart,
    /// See [`Harm::Dns`].
    Dns,
}

impl HarmKind {
    /// All of them, and their words.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Latency, "latency"),
        (Self::Error, "error"),
        (Self::Refuse, "refuse"),
        (Self::Reset, "reset"),
        (Self::Hang, "hang"),
        (Self::Cut, "cut"),
        (Self::Drip, "drip"),
        (Self::Garbage, "garbage"),
        (Self::SlowStart, "slow-start"),
        (Self::Dns, "dns"),
    ];

    /// One word, as it is written.
    pub fn label(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("latency", |(_, word)| word)
    }
}

/// Whose pages a fault is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// The share of pages, drawn by reader and path.
    pub share: f64,
    /// Only those whose request carries a token for it.
    pub signed: bool,
}

impl Reach {
    /// Everybody's, and what is asked for nobody's page as well.
    pub const ALL: Self = Self {
        share: 1.0,
        signed: false,
    };

    /// Whether it is everybody's.
    pub fn is_all(self) -> bool {
        self.share >= 1.0 && !self.signed
    }
}

/// What ends a fault before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopOn {
    /// An error budget is used too fast.
    #[default]
    Burning,
    /// Nothing is left of one.
    Spent,
}

/// What the error budgets leave room for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultRoom {
    /// Why no fault may be set, if none may.
    pub closed: Option<Arc<str>>,
    /// An objective whose budget is used too fast.
    pub burning: Option<Arc<str>>,
    /// An objective of whose budget nothing is left.
    pub spent: Option<Arc<str>>,
}

impl FaultRoom {
    /// Why no fault that ends so may be set, if none may. What ends it must be able to come: a budget that
    /// is spent already ends nothing.
    pub fn refuses(&self, stop_on: StopOn) -> Option<String> {
        if let Some(why) = &self.closed {
            return Some(why.to_string());
        }
        match stop_on {
            StopOn::Burning => self.burning.as_ref().map(|name| {
                let instead = match self.spent {
                    None => "`stop_on = \"spent\"` would bear with that",
                    Some(_) => "wait until it is not",
                };
                format!(
                    "no fault may be set: the error budget of the objective {name} is used too fast \
                     already; {instead}"
                )
            }),
            StopOn::Spent => self.spent.as_ref().map(|name| {
                let instead = match self.burning {
                    None => "set it with `stop_on = \"burning\"`, or wait until a tenth of it is back",
                    Some(_) => "wait until a tenth of it is back",
                };
                format!(
                    "no fault with `stop_on = \"spent\"` may be set: nothing is left of the error budget of \
                     the objective {name}, so that nothing would stop it; {instead}"
                )
            }),
        }
    }
}

/// A fault as it is written, here and there: what of it goes together is found by [`Written::fault`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    /// An origin.
    pub origin: Option<String>,
    /// Or a fragment.
    pub fragment: Option<String>,
    /// Or the shared store.
    pub store: bool,
    /// What goes wrong.
    pub harm: Option<HarmKind>,
    /// Of `latency` and `slow-start`.
    pub latency: Option<Duration>,
    /// Of `latency`.
    pub spread: Option<f64>,
    /// Of `error`.
    pub status: Option<u16>,
    /// Of `drip`.
    pub every: Option<Duration>,
    /// Of `slow-start`.
    pub over: Option<Duration>,
    /// See [`FaultSpec::rate`].
    pub rate: Option<f64>,
    /// See [`Reach::share`].
    pub share: Option<f64>,
    /// See [`Reach::signed`].
    pub signed: bool,
}

/// What of a written fault does not go together: the key that it is about, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {why}")]
pub struct Unsound {
    /// The key.
    pub key: &'static str,
    /// Why.
    pub why: String,
}

fn unsound(key: &'static str, why: impl Into<String>) -> Unsound {
    let why = why.into();
    Unsound { key, why }
}

/// What a fault does, apart from its signature and its times.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// What is made sick.
    pub target: Target,
    /// How.
    pub harm: Harm,
    /// See [`FaultSpec::rate`].
    pub rate: f64,
    /// Whose pages.
    pub reach: Reach,
}

impl Written {
    /// What it comes to, or all that does not go together.
    pub fn fault(&self) -> Result<Sound, Vec<Unsound>> {
        let mut wrong = Vec::new();
        let target = self.target(&mut wrong);
        let harm = self.harm(&mut wrong);
        let share = |key, value: Option<f64>, wrong: &mut Vec<Unsound>| match value {
            Some(value) if !(value > 0.0 && value <= 1.0) => {
                wrong.push(unsound(key, "it is a share: above 0, and 1 for all"));
                1.0
            }
            value => value.unwrap_or(1.0),
        };
        let rate = share("rate", self.rate, &mut wrong);
        let reach = Reach {
            share: share("share", self.share, &mut wrong),
            signed: self.signed,
        };
        let is_for_some = match reach.signed {
            true => Some("signed"),
            false => (reach.share < 1.0).then_some("share"),
        };
        if let (Some(Target::Store), Some(key)) = (&target, is_for_some) {
            let why = "the store is everybody's: it is not sick for some pages only; `rate` says of how many calls";
            wrong.push(unsound(key, why));
        }
        if let (Some(Harm::Dns), Some(key)) = (harm, is_for_some) {
            wrong.push(unsound(key, "names are looked up for nobody in particular"));
        }
        if let (Some(target), Some(harm)) = (&target, harm)
            && let Some(why) = cannot(target, harm)
        {
            wrong.push(unsound("harm", why));
        }
        match (target, harm) {
            (Some(target), Some(harm)) if wrong.is_empty() => Ok(Sound {
                target,
                harm,
                rate,
                reach,
            }),
            _ => Err(wrong),
        }
    }

    fn target(&self, wrong: &mut Vec<Unsound>) -> Option<Target> {
        let named = [
            ("origin", self.origin.clone().map(Target::Origin)),
            ("fragment", self.fragment.clone().map(Target::Fragment)),
            ("store", self.store.then_some(Target::Store)),
        ];
        let mut named = named.into_iter().filter_map(|(key, to)| Some((key, to?)));
        let first = named.next();
        if let Some((key, _)) = named.next() {
            wrong.push(unsound(
                key,
                "a fault is on one thing: an origin, a fragment, or the store",
            ));
            return None;
        }
        if first.is_none() {
            let why = "say what is made sick: `origin`, `fragment`, or `store = true`";
            wrong.push(unsound("origin", why));
        }
        first.map(|(_, target)| target)
    }

    fn harm(&self, wrong: &mut Vec<Unsound>) -> Option<Harm> {
        let Some(kind) = self.harm else {
            let words = HarmKind::ALL.map(|(_, word)| word).join(", ");
            wrong.push(unsound("harm", format!("say what goes wrong: {words}")));
            return None;
        };
        let before = wrong.len();
        let (is_late, is_slow) = (kind == HarmKind::Latency, kind == HarmKind::SlowStart);
        for (key, is_there, fits) in [
            ("latency", self.latency.is_some(), is_late || is_slow),
            ("spread", self.spread.is_some(), is_late),
            ("status", self.status.is_some(), kind == HarmKind::Error),
            ("every", self.every.is_some(), kind == HarmKind::Drip),
            ("over", self.over.is_some(), is_slow),
        ] {
            if is_there && !fits {
                wrong.push(unsound(
                    key,
                    format!("it means nothing for `{}`", kind.label()),
                ));
            }
        }
        let mut span = |key, value: Option<Duration>, default: Option<Duration>| {
            let value = value.or(default);
            match value {
                None => {
                    let why = format!("say how much later answers come: `{key} = \"800ms\"`");
                    wrong.push(unsound(key, why));
                }
                Some(value) if value.is_zero() || value > DELAY_MAX => {
                    let most = show_duration(DELAY_MAX);
                    wrong.push(unsound(key, format!("expected 1ms to {most}")));
                }
                Some(_) => {}
            }
            value.unwrap_or_default()
        };
        let harm = match kind {
            HarmKind::Latency => Harm::Latency {
                by: span("latency", self.latency, None),
                spread: self.spread.unwrap_or(0.0),
            },
            HarmKind::SlowStart => Harm::SlowStart {
                by: span("latency", self.latency, None),
                over: span("over", self.over, Some(Duration::from_secs(30))),
            },
            HarmKind::Drip => Harm::Drip {
                every: span("every", self.every, Some(Duration::from_secs(1))),
            },
            HarmKind::Error => Harm::Error {
                status: self.status.unwrap_or(503),
            },
            HarmKind::Refuse => Harm::Refuse,
            HarmKind::Reset => Harm::Reset,
            HarmKind::Hang => Harm::Hang,
            HarmKind::Cut => Harm::Cut,
            HarmKind::Garbage => Harm::Garbage,
            HarmKind::Dns => Harm::Dns,
        };
        if let Harm::Error { status } = harm
            && !(500..=599).contains(&status)
        {
            let why = "expected 500 to 599: an answer that something is gone, or elsewhere, would take good copies back";
            wrong.push(unsound("status", why));
        }
        if let Harm::Latency { spread, .. } = harm
            && !(0.0..=3.0).contains(&spread)
        {
            let why = "expected 0 to 3: the deviation of the delay's logarithm";
            wrong.push(unsound("spread", why));
        }
        (wrong.len() == before).then_some(harm)
    }
}

/// Why this cannot go wrong there.
fn cannot(target: &Target, harm: Harm) -> Option<String> {
    let word = harm.kind().label();
    match target {
        Target::Store => match harm {
            Harm::Latency { .. } | Harm::Error { .. } | Harm::Refuse | Harm::Hang => None,
            Harm::Reset
            | Harm::Cut
            | Harm::Drip { .. }
            | Harm::Garbage
            | Harm::SlowStart { .. }
            | Harm::Dns => Some(format!(
                "the store knows no `{word}`: latency, error, refuse or hang"
            )),
        },
        Target::Fragment(_) if harm == Harm::Dns => {
            Some("names are those of an origin, not of a fragment".to_owned())
        }
        Target::Origin(_) | Target::Fragment(_) => None,
    }
}

impl Harm {
    /// What kind it is.
    pub fn kind(self) -> HarmKind {
        match self {
            Self::Latency { .. } => HarmKind::Latency,
            Self::Error { .. } => HarmKind::Error,
            Self::Refuse => HarmKind::Refuse,
            Self::Reset => HarmKind::Reset,
            Self::Hang => HarmKind::Hang,
            Self::Cut => HarmKind::Cut,
            Self::Drip { .. } => HarmKind::Drip,
            Self::Garbage => HarmKind::Garbage,
            Self::SlowStart { .. } => HarmKind::SlowStart,
            Self::Dns => HarmKind::Dns,
        }
    }
}

/// What it does, after "answers" or the like.
impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency { by, spread } if *spread > 0.0 => {
                let by = show_duration(*by);
                write!(f, "{by} later, lognormal with a spread of {spread}")
            }
            Self::Latency { by, .. } => write!(f, "{} later", show_duration(*by)),
            Self::Error { status } => write!(f, "errors, {status}"),
            Self::Refuse => f.write_str("refuses connections"),
            Self::Reset => f.write_str("resets connections"),
            Self::Hang => f.write_str("hangs"),
            Self::Cut => f.write_str("cuts its answers off"),
            Self::Drip { every } => write!(f, "drips, a byte every {}", show_duration(*every)),
            Self::Garbage => f.write_str("answers garbage"),
            Self::SlowStart { by, over } => {
                let (by, over) = (show_duration(*by), show_duration(*over));
                write!(f, "{by} later at first, and as ever after {over}")
            }
            Self::Dns => f.write_str("has hosts that cannot be looked up"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(name) => write!(f, "origin {name}"),
            Self::Fragment(name) => write!(f, "fragment {name}"),
            Self::Store => f.write_str("the shared store"),
        }
    }
}

impl FaultSpec {
    /// On what, and what goes wrong with it, in words.
    pub fn says(&self) -> String {
        let mut text = format!("{}: {}", self.target, self.harm);
        if self.rate < 1.0 {
            text += &format!(", {} of the time", percent(self.rate));
        }
        match self.reach {
            Reach { signed: true, .. } => text += ", for pages that are asked for with a token",
            Reach { share, .. } if share < 1.0 => {
                text += &format!(", for {} of the pages", percent(share));
            }
            Reach { .. } => {}
        }
        text
    }

    /// Whether it can be in force at this moment.
    pub fn is_due(&self, now: Moment) -> bool {
        self.window.is_some_and(|window| window.holds(now))
    }

    /// Whether it is about something that a site has; or what it has not.
    pub fn fits(&self, site: &Site, has_store: bool) -> Result<(), Stray> {
        let is_there = match &self.target {
            Target::Origin(name) => site.origins.iter().any(|origin| origin.name == *name),
            Target::Fragment(name) => match site.fragment_named(name) {
                None => false,
                Some(id) if site.fragment(id).source.origin().is_none() => {
                    return Err(Stray::NeverAsked(name.clone()));
                }
                Some(_) => true,
            },
            Target::Store => has_store,
        };
        match is_there {
            true if self.reach.signed && site.debug.is_none() => Err(Stray::NoSecret),
            true => Ok(()),
            false => Err(Stray::Unknown(self.target.clone())),
        }
    }
}

/// Why a fault would do nothing on a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stray {
    /// There is no such thing.
    #[error("the site has no {}", Missing(.0))]
    Unknown(Target),
    /// Nobody is asked for it while pages are made.
    #[error("`{0}` is asked of no origin, so that nothing can go wrong with that")]
    NeverAsked(String),
    /// No token could be made for it.
    #[error("there is no secret to sign tokens with: `debug_secret` in [telemetry] is one")]
    NoSecret,
}

struct Missing<'t>(&'t Target);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Origin(name) => write!(f, "origin `{name}`"),
            Target::Fragment(name) => write!(f, "fragment `{name}`"),
            Target::Store => f.write_str("shared store"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(harm: HarmKind) -> Written {
        Written {
            origin: Some("media".to_owned()),
            harm: Some(harm),
            ..Written::default()
        }
    }

    fn wrong(written: &Written) -> Vec<&'static str> {
        let wrong = written.fault().err().unwrap_or_default();
        wrong.iter().map(|unsound| unsound.key).collect()
    }

    #[test]
    fn each_kind_is_written_by_its_word_and_takes_its_own_keys_only() {
        for (kind, word) in HarmKind::ALL {
            let read: HarmKind = serde_json::from_value(word.into()).unwrap();
            assert_eq!((read, kind.label()), (kind, word));
            let late = matches!(kind, HarmKind::Latency | HarmKind::SlowStart);
            let fault = Written {
                latency: late.then_some(Duration::from_millis(5)),
                ..written(kind)
            };
            assert_eq!(fault.fault().unwrap().harm.kind(), kind, "{word}");
            let all = Written {
                latency: Some(Duration::from_millis(5)),
                spread: Some(0.5),
                status: Some(500),
                every: Some(Duration::from_millis(5)),
                over: Some(Duration::from_secs(5)),
                ..written(kind)
            };
            let is_plain = !late && !matches!(kind, HarmKind::Error | HarmKind::Drip);
            let own = if late { 2 } else { usize::from(!is_plain) };
            assert_eq!(wrong(&all).len(), 5 - own, "{word}: {:?}", wrong(&all));
        }
    }

    #[test]
    fn what_does_not_go_together_is_said_all_at_once() {
        assert_eq!(wrong(&Written::default()), ["origin", "harm"]);
        let both = Written {
            fragment: Some("slideshow".to_owned()),
            ..written(HarmKind::Hang)
        };
        assert_eq!(wrong(&both), ["fragment"]);
        let store = Written {
            origin: None,
            store: true,
            share: Some(0.5),
            ..written(HarmKind::Garbage)
        };
        assert_eq!(wrong(&store), ["share", "harm"]);
        let gone = Written {
            status: Some(404),
            rate: Some(0.0),
            share: Some(f64::NAN),
            ..written(HarmKind::Error)
        };
        assert_eq!(wrong(&gone), ["status", "rate", "share"]);
        let names = Written {
            signed: true,
            ..written(HarmKind::Dns)
        };
        assert_eq!(wrong(&names), ["signed"]);
        let never = Written {
            latency: Some(Duration::ZERO),
            ..written(HarmKind::Latency)
        };
        assert_eq!(wrong(&never), ["latency"]);
    }
}
