//! `/switches`: what operators decide over the law's head. Owns what is asked for and what is answered;
//! what a switch is, and whether it fits the site, is decided elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::nearest;
use crate::degradation::switches::{Act, Factor, SPAN, Subject, Unfit};
use crate::degradation::{Level, Switch};
use crate::fragment::quantity::parse_duration;
use crate::site::Site;
use crate::switchboard::Shown;
use crate::switchboard::fit::{Misfit, fits};

use super::AdminState;

type Shared = State<Arc<AdminState>>;

/// Largest body, in bytes: an owner and a reason are short.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

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
    /// Whether it is known after a restart.
    survives_restart: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl Done {
    fn kept(kept: Result<(), String>) -> Self {
        Self {
            set: None,
            cleared: None,
            replaced: None,
            survives_restart: kept.is_ok(),
            trouble: kept.err(),
        }
    }
}

pub(super) async fn all(State(state): Shared) -> Response {
    Json(state.switches.state(&state.edition.load().site)).into_response()
}

pub(super) async fn one(State(state): Shared, Path(subject): Path<String>) -> Response {
    let shown = subject_of(&subject).and_then(|subject| {
        let all = state.switches.state(&state.edition.load().site).switches;
        let subject = subject.to_string();
        let found = all.into_iter().find(|shown| shown.subject == subject);
        found.ok_or_else(|| not_set(&subject))
    });
    match shown {
        Ok(shown) => Json(shown).into_response(),
        Err(refusal) => answer(refusal),
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
    let replaced = match state.switches.set(switch) {
        Ok(replaced) => replaced,
        Err(unfit) => return refused(&unfit),
    };
    let done = Done {
        set: Some(set),
        replaced: replaced.map(|switch| state.switches.shown(&switch, &edition.site)),
        ..Done::kept(state.switches.keep().await)
    };
    Json(done).into_response()
}

/// The switch that is asked for.
fn read(state: &AdminState, site: &Site, subject: &str, body: &[u8]) -> Result<Switch, Refusal> {
    let subject = subject_of(subject)?;
    let asked: Asked = match body.is_empty() {
        true => Asked::default(),
        false => serde_json::from_slice(body).map_err(|error| {
            bad(format!(
                "the body cannot be read: {error}; it is like {}",
                example(&subject)
            ))
        })?,
    };
    let act = asked.act(&subject, site)?;
    fits(site, &act).map_err(|misfit| misfitting(misfit, site))?;
    let span = match &asked.r#for {
        None => SPAN,
        Some(text) => parse_duration(text)
            .map_err(|why| bad(format!("`for` must be a duration such as \"2h\": {why}")))?,
    };
    let now = state.switches.now();
    let switch = Switch::new(act, &asked.owner, &asked.reason, now, span);
    switch.map_err(|unfit| bad(unfit.to_string()))
}

impl Asked {
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
            Subject::Freeze | Subject::DryRun => &[],
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
pub(super) struct ClearQuery {
    by: Option<String>,
}

pub(super) async fn clear(
    State(state): Shared,
    Path(subject): Path<String>,
    Query(query): Query<ClearQuery>,
) -> Response {
    let subject = match subject_of(&subject) {
        Ok(subject) => subject,
        Err(refusal) => return answer(refusal),
    };
    let by = query.by.as_deref().unwrap_or("admin API");
    // it goes into the log, as it is
    let by: String = by.chars().filter(|c| !c.is_control()).take(64).collect();
    let Some(switch) = state.switches.clear(&subject, &by) else {
        return answer(not_set(&subject.to_string()));
    };
    let done = Done {
        cleared: Some(state.switches.shown(&switch, &state.edition.load().site)),
        ..Done::kept(state.switches.keep().await)
    };
    Json(done).into_response()
}

fn subject_of(text: &str) -> Result<Subject, Refusal> {
    text.parse()
        .map_err(|error| (StatusCode::NOT_FOUND, format!("{error}")))
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
        | Unfit::Span(_) => StatusCode::BAD_REQUEST,
    };
    answer((status, unfit.to_string()))
}

fn bad(text: String) -> Refusal {
    (StatusCode::BAD_REQUEST, text)
}

fn answer((status, text): Refusal) -> Response {
    (status, text + "\n").into_response()
}
