//! `/switches`: what operators decide over the law's head. Owns what is asked for and what is answered;
//! what a switch is, and whether it fits the site, is decided elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::config::values::nearest;
use crate::degradation::switches::schedule::{Edge, read_moment};
use crate::degradation::switches::{Act, Factor, Key, SPAN, Subject, Unfit, name_of};
use crate::degradation::{Level, Switch};
use crate::fragment::quantity::parse_duration;
use crate::report::{Given, Signature};
use crate::site::Site;
use crate::site::fit::{Misfit, fits};
use crate::switchboard::{Shown, Switchboard};

use super::AdminState;
use super::body;

type Shared = State<Arc<AdminState>>;

/// Largest body, in bytes: an owner and a reason are short.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

/// Who has taken a switch back, where nobody says so.
const NOBODY_NAMED: &str = "admin API";

/// Why something was not done: a status and what to do instead.
type Refusal = (StatusCode, String);

/// What is to be set.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "SwitchWanted")]
pub(super) struct Asked {
    /// Who decides so.
    owner: String,
    /// Why.
    reason: String,
    /// For how long: `2h`; half a day if absent.
    r#for: Option<String>,
    /// When it begins, if not at once: RFC 3339, or a local time of the site.
    from: Option<String>,
    /// When it ends, in the same way, instead of `for`.
    until: Option<String>,
    /// Of a block: it is not asked for.
    off: Option<bool>,
    /// Of a block: no level gives it up.
    on: Option<bool>,
    /// Of `pin`, `floor` and `cap`.
    level: Option<i64>,
    /// Of `ttl`: what ttls are multiplied by.
    factor: Option<f64>,
}

/// What has come of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SwitchDone")]
pub(super) struct Done {
    /// What is in force now.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Shown>,
    /// What is not any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared: Option<Shown>,
    /// The one whose place it has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Shown>,
    /// How far it reaches.
    #[serde(flatten)]
    reach: Reach,
}

/// How far a decision reaches: in time, and to other nodes.
#[derive(Serialize, JsonSchema)]
pub(super) struct Reach {
    /// Whether it is known after a restart.
    survives_restart: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Whether the other nodes are told; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_all_nodes: Option<bool>,
    /// Why they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes_trouble: Option<String>,
}

impl Reach {
    /// That of what was decided last: it is written down, and told.
    pub(super) async fn of(switches: &Arc<Switchboard>) -> Self {
        let (kept, sent) = futures::join!(switches.keep(), switches.sent());
        Self {
            survives_restart: kept.is_ok(),
            trouble: kept.err(),
            on_all_nodes: sent.as_ref().map(Result::is_ok),
            nodes_trouble: sent.and_then(Result::err),
        }
    }
}

pub(super) async fn all(State(state): Shared) -> Response {
    Json(state.switches.state(&state.edition.load().site)).into_response()
}

pub(super) async fn one(State(state): Shared, Path(subject): Path<String>) -> Response {
    let edition = state.edition.load_full();
    let all = state.switches.state(&edition.site);
    let key = match key_of(&subject) {
        Ok(key) => key,
        Err(refusal) => return answer(refusal),
    };
    let by_address = all.switches.iter().find(|shown| shown.address == subject);
    let mut about = all.switches.iter();
    // of several about the same the last is the one that counts
    let by_subject = about.rfind(|shown| shown.subject == subject);
    if let Some(shown) = by_address.or(by_subject) {
        return Json(shown).into_response();
    }
    if let Some(later) = state.switches.find(&key) {
        return Json(state.switches.shown(&later, &edition.site)).into_response();
    }
    let mut later = all.scheduled.iter();
    match later.find(|planned| planned.address == subject) {
        Some(planned) => Json(planned).into_response(),
        None => answer(not_set(&subject)),
    }
}

pub(super) async fn set(
    State(state): Shared,
    Path(subject): Path<String>,
    body: Bytes,
) -> Response {
    let edition = state.edition.load_full();
    let switch = match read(&state, &edition.site, &subject, &body) {
        Ok(switch) => switch,
        Err(refusal) => return answer(refusal),
    };
    let set = state.switches.shown(&switch, &edition.site);
    let given = given(&switch);
    let replaced = match state.switches.set(switch) {
        Ok(replaced) => replaced,
        Err(unfit) => return refused(&unfit),
    };
    let done = Done {
        set: Some(set),
        cleared: None,
        replaced: replaced.map(|switch| state.switches.shown(&switch, &edition.site)),
        reach: Reach::of(&state.switches).await,
    };
    (Extension(given), Json(done)).into_response()
}

/// What is said of a switch by whoever sets it.
pub(super) fn given(switch: &Switch) -> Given {
    Given {
        signed: Signature {
            by: Some(switch.owner.clone()),
            reason: Some(switch.reason.clone()),
        },
        until: switch.end(),
    }
}

/// The switch that is asked for.
fn read(state: &AdminState, site: &Site, subject: &str, body: &[u8]) -> Result<Switch, Refusal> {
    let subject = subject_of(subject)?;
    let asked: Asked = match body.is_empty() {
        true => Asked::default(),
        false => body::object(body).map_err(|error| {
            bad(format!(
                "the body cannot be read: {error}; it is like {}",
                example(&subject)
            ))
        })?,
    };
    let act = asked.act(&subject, site)?;
    fits(site, &act).map_err(|misfit| misfitting(misfit, site))?;
    let switch = asked.signed(act, site, state.switches.now());
    switch.map_err(|why| match why {
        Refused::Said(text) => bad(text),
        Refused::Unfit(unfit) => bad(unfit.to_string()),
        Refused::Over(name) => {
            let text = format!("{name} is over: there is nothing left of it to be skipped");
            (StatusCode::CONFLICT, text)
        }
    })
}

/// Why a switch cannot be made of what is asked.
enum Refused {
    Said(String),
    Unfit(Unfit),
    Over(String),
}

impl Asked {
    /// The act with its times: for a while from now, or from one moment to another. What is skipped is so
    /// until it would end.
    fn signed(&self, act: Act, site: &Site, now: Moment) -> Result<Switch, Refused> {
        let (owner, reason) = (self.owner.as_str(), self.reason.as_str());
        let span = self.r#for.as_ref().map(|text| {
            parse_duration(text).map_err(|why| {
                Refused::Said(format!("`for` must be a duration such as \"2h\": {why}"))
            })
        });
        let span = span.transpose()?;
        let moment = |key: &str, text: &Option<String>, edge| {
            let read = text
                .as_ref()
                .map(|text| read_moment(text, &site.zone, edge));
            read.transpose()
                .map_err(|why| Refused::Said(format!("`{key}`: {why}")))
        };
        let from = moment("from", &self.from, Edge::From)?;
        let until = moment("until", &self.until, Edge::Until)?;
        if let Act::Skip { schedule } = &act {
            if span.is_some() || from.is_some() || until.is_some() {
                let text =
                    "what is skipped is so until it would end: leave `for`, `from` and `until` out";
                return Err(Refused::Said(text.to_owned()));
            }
            let mut schedules = site.schedules.iter();
            let found = schedules.find(|known| known.name == *schedule);
            let window = found.and_then(|schedule| schedule.window(now));
            let window = window.ok_or_else(|| Refused::Over(schedule.clone()))?;
            let switch = Switch::planned(act, owner, reason, now, now, window.until);
            return switch.map_err(Refused::Unfit);
        }
        if until.is_some() && span.is_some() {
            let text = "`for` and `until` both say when it ends: leave one of them out";
            return Err(Refused::Said(text.to_owned()));
        }
        if from.is_none() && until.is_none() {
            let switch = Switch::new(act, owner, reason, now, span.unwrap_or(SPAN));
            return switch.map_err(Refused::Unfit);
        }
        let from = from.unwrap_or(now);
        let until = until.unwrap_or_else(|| from.after(span.unwrap_or(SPAN)));
        Switch::planned(act, owner, reason, now, from, until).map_err(Refused::Unfit)
    }

    fn act(&self, subject: &Subject, site: &Site) -> Result<Act, Refusal> {
        let given = [
            ("off", self.off.is_some()),
            ("on", self.on.is_some()),
            ("level", self.level.is_some()),
            ("factor", self.factor.is_some()),
        ];
        let wanted: &[&str] = match subject {
            Subject::Block(_) => &["off", "on"],
            Subject::Pin | Subject::Floor | Subject::Cap => &["level"],
            Subject::Freeze | Subject::DryRun | Subject::Schedule(_) => &[],
            Subject::Ttl => &["factor"],
        };
        let stray = given.iter().find(|(key, is)| *is && !wanted.contains(key));
        if let Some((key, _)) = stray {
            return Err(bad(format!(
                "`{key}` means nothing for {subject}; the body is like {}",
                example(subject)
            )));
        }
        let lacks = || bad(format!("the body must be like {}", example(subject)));
        let level = || self.level.ok_or_else(lacks).and_then(|n| level(n, site));
        Ok(match subject {
            Subject::Block(block) => {
                let block = block.clone();
                match (self.off, self.on) {
                    (Some(true), None | Some(false)) => Act::Off { block },
                    (None | Some(false), Some(true)) => Act::On { block },
                    _ => return Err(lacks()),
                }
            }
            Subject::Pin => Act::Pin { level: level()? },
            Subject::Floor => Act::Floor { level: level()? },
            Subject::Cap => Act::Cap { level: level()? },
            Subject::Freeze => Act::Freeze,
            Subject::DryRun => Act::DryRun,
            Subject::Schedule(name) => Act::Skip {
                schedule: name.clone(),
            },
            Subject::Ttl => {
                let factor = Factor::new(self.factor.ok_or_else(lacks)?);
                let factor = factor.map_err(|no| bad(no.to_string()))?;
                Act::Ttl { factor }
            }
        })
    }
}

/// A body for this subject.
fn example(subject: &Subject) -> String {
    let (what, on) = match subject {
        Subject::Block(_) => ("\"off\": true, ", " (or \"on\": true)"),
        Subject::Pin | Subject::Floor | Subject::Cap => ("\"level\": 2, ", ""),
        Subject::Freeze | Subject::DryRun => ("", ""),
        Subject::Ttl => ("\"factor\": 4, ", ""),
        Subject::Schedule(_) => return "{\"owner\": \"who\", \"reason\": \"why\"}".to_owned(),
    };
    format!("{{{what}\"owner\": \"who\", \"reason\": \"why\", \"for\": \"2h\"}}{on}")
}

fn level(number: i64, site: &Site) -> Result<Level, Refusal> {
    let text_only = site.ladder.text_only();
    let level = u8::try_from(number).map(Level::new);
    level.map_err(|_| {
        bad(format!(
            "level {number} does not exist: this site has 0 (full page) to {text_only} (text only)"
        ))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClearQuery {
    by: Option<String>,
}

pub(super) async fn clear(
    State(state): Shared,
    Path(subject): Path<String>,
    Query(query): Query<ClearQuery>,
) -> Response {
    let key = match key_of(&subject) {
        Ok(key) => key,
        Err(refusal) => return answer(refusal),
    };
    // it goes into the log and the journal as it is
    let by = match name_of(query.by.as_deref().unwrap_or_default()) {
        Ok(by) => by.unwrap_or_else(|| NOBODY_NAMED.to_owned()),
        Err(unfit) => return refused(&unfit),
    };
    let Some(switch) = state.switches.clear(&key, &by) else {
        let by_clock = key.from.is_none().then_some(&key.subject);
        let by_clock = by_clock.and_then(|subject| state.switches.scheduled_by(subject));
        return answer(match by_clock {
            Some(schedule) => set_by_clock(&subject, &schedule),
            None => not_set(&subject),
        });
    };
    let done = Done {
        set: None,
        cleared: Some(state.switches.shown(&switch, &state.edition.load().site)),
        replaced: None,
        reach: Reach::of(&state.switches).await,
    };
    let signed = Signature {
        by: Some(by),
        reason: None,
    };
    (Extension(Given::by(signed)), Json(done)).into_response()
}

fn subject_of(text: &str) -> Result<Subject, Refusal> {
    if text.contains('@') {
        return Err(bad(format!(
            "`{text}` is an address, by which one is read and taken back: to set one, say when it begins \
             with `from`"
        )));
    }
    text.parse()
        .map_err(|error| (StatusCode::NOT_FOUND, format!("{error}")))
}

fn key_of(text: &str) -> Result<Key, Refusal> {
    text.parse()
        .map_err(|error| (StatusCode::NOT_FOUND, format!("{error}")))
}

fn set_by_clock(subject: &str, schedule: &str) -> Refusal {
    let text = format!(
        "{subject} is set by the schedule {schedule}: to have it end, skip that, with all that it sets: \
         PUT /switches/schedule/{schedule}, or `marbre switch skip {schedule}`"
    );
    (StatusCode::CONFLICT, text)
}

fn not_set(subject: &str) -> Refusal {
    let text = format!("no switch is set for {subject}; `/switches` lists those that are");
    (StatusCode::NOT_FOUND, text)
}

fn misfitting(misfit: Misfit, site: &Site) -> Refusal {
    let status = match misfit {
        Misfit::Unknown(ref name) => {
            let names = site.fragments.iter().map(|fragment| fragment.name.as_str());
            let text = match nearest(name, names) {
                Some(near) => format!("{misfit}; did you mean `{near}`?"),
                None => misfit.to_string(),
            };
            return (StatusCode::NOT_FOUND, text);
        }
        Misfit::NoSchedule(ref name) => {
            let names = site.schedules.iter().map(|schedule| schedule.name.as_str());
            let text = match nearest(name, names) {
                Some(near) => format!("{misfit}; did you mean `{near}`?"),
                None => misfit.to_string(),
            };
            return (StatusCode::NOT_FOUND, text);
        }
        Misfit::Core(_) | Misfit::Item { .. } | Misfit::NeverGivenUp { .. } => StatusCode::CONFLICT,
        Misfit::Level(_) => StatusCode::BAD_REQUEST,
    };
    (status, misfit.to_string())
}

/// What is said of a switch that was not set.
pub(super) fn refused(unfit: &Unfit) -> Response {
    let status = match unfit {
        Unfit::Crossed { .. } | Unfit::Full => StatusCode::CONFLICT,
        Unfit::NoOwner
        | Unfit::NoReason
        | Unfit::TooLong { .. }
        | Unfit::Unprintable(_)
        | Unfit::Span(_)
        | Unfit::Backwards
        | Unfit::Ahead(_) => StatusCode::BAD_REQUEST,
    };
    answer((status, unfit.to_string()))
}

fn bad(text: String) -> Refusal {
    (StatusCode::BAD_REQUEST, text)
}

fn answer((status, text): Refusal) -> Response {
    (status, text + "\n").into_response()
}
