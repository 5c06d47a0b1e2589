//! `/level`: the level in short. Owns the short form of pinning it; what a pin is, and all that can be
//! decided besides, is in [`switches`](super::switches).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::degradation::switches::{Act, SPAN, Subject};
use crate::degradation::{Ladder, Level, Step, Switch};

use super::AdminState;
use super::switches::{self, Reach};

type Shared = State<Arc<AdminState>>;

/// Who has set what nobody has put their name to.
const NOBODY: &str = "admin API";

/// Largest body, in bytes: a level, and who wants it.
pub(super) const BODY_BYTES_MAX: usize = 4096;

/// Why, where nobody says.
const BY_HAND: &str = "set by hand";

#[derive(Serialize, JsonSchema)]
pub(super) struct LevelState {
    /// What everybody's pages have at least.
    level: u8,
    /// What people call it.
    called: String,
    /// What the law alone has decided.
    by_law: u8,
    /// The highest there is.
    text_only: u8,
    /// What each level gives up, from level 1 on.
    ladder: Vec<StepState>,
}

#[derive(Serialize, JsonSchema)]
struct StepState {
    name: String,
    blocks: Vec<String>,
}

/// What has come of it that somebody has decided the level.
#[derive(Serialize, JsonSchema)]
pub(super) struct LevelSet {
    /// What it is now.
    #[serde(flatten)]
    now: LevelState,
    /// How far the decision reaches; absent where nothing had to be decided.
    #[serde(flatten)]
    reach: Option<Reach>,
}

/// The level that everybody's pages have at least.
pub(super) fn present(state: &AdminState) -> Level {
    let text_only = state.edition.load().site.ladder.text_only();
    state.mode.load().level_of_all().min(text_only)
}

pub(super) fn level_state(state: &AdminState) -> LevelState {
    let edition = state.edition.load();
    let site = &edition.site;
    let given_up = |step: &Step| {
        let blocks = step.blocks.iter().map(|id| site.fragment(*id).name.clone());
        StepState {
            name: step.name.clone(),
            blocks: blocks.collect(),
        }
    };
    let level = present(state);
    LevelState {
        level: level.get(),
        called: site.ladder.called(level).to_owned(),
        by_law: state.mode.load().given_up().get(),
        text_only: site.ladder.text_only().get(),
        ladder: site.ladder.steps().iter().map(given_up).collect(),
    }
}

pub(super) async fn level(State(state): Shared) -> Response {
    Json(level_state(&state)).into_response()
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum NewLevel {
    /// A level.
    Bare(i64),
    /// `auto`.
    Word(String),
    /// A level, and who wants it.
    Signed(Signed),
}

/// A level, and who wants it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    /// The level.
    level: i64,
    /// Who.
    #[serde(default)]
    by: Option<String>,
}

pub(super) async fn set_level(State(state): Shared, body: Bytes) -> Response {
    let parsed = match serde_json::from_slice::<Value>(&body) {
        // a list would do for a table of these fields
        Ok(Value::Array(_)) => return unclear(),
        parsed => parsed.and_then(serde_json::from_value),
    };
    let asked = match parsed {
        Ok(asked) => asked,
        Err(_) if body.trim_ascii() == b"auto" => NewLevel::Word("auto".to_owned()),
        Err(_) => return unclear(),
    };
    let (level, by) = match asked {
        NewLevel::Bare(level) => (level, None),
        NewLevel::Signed(Signed { level, by }) => (level, by),
        NewLevel::Word(word) if word == "auto" => return release(State(state)).await,
        NewLevel::Word(_) => return unclear(),
    };
    let level = match asked_level(level, &state.edition.load().site.ladder) {
        Ok(level) => level,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let owner = by.unwrap_or_else(|| NOBODY.to_owned());
    let now = state.switches.now();
    let pin = Switch::new(Act::Pin { level }, &owner, BY_HAND, now, SPAN);
    let set = pin.and_then(|pin| {
        let given = switches::given(&pin);
        state.switches.set(pin).map(|_| given)
    });
    match set {
        Err(unfit) => switches::refused(&unfit),
        Ok(given) => {
            // in force whatever the disk and the other nodes say
            let reach = Some(Reach::of(&state.switches).await);
            (Extension(given), decided(&state, reach)).into_response()
        }
    }
}

/// The level of this number, or what there is instead.
pub(super) fn asked_level(number: i64, ladder: &Ladder) -> Result<Level, String> {
    let known = u8::try_from(number).ok();
    let known = known.and_then(|number| ladder.level(number).ok());
    known.ok_or_else(|| {
        let text_only = ladder.text_only();
        format!("level {number} does not exist: this site has 0 (full page) to {text_only} (text only)\n")
    })
}

/// The level is the law's again.
pub(super) async fn release(State(state): Shared) -> Response {
    let reach = match state.switches.clear(&Subject::Pin, NOBODY) {
        Some(_) => Some(Reach::of(&state.switches).await),
        None => None,
    };
    decided(&state, reach)
}

fn decided(state: &AdminState, reach: Option<Reach>) -> Response {
    let now = level_state(state);
    Json(LevelSet { now, reach }).into_response()
}

fn unclear() -> Response {
    let text = "the body must be a level such as `2`, {\"level\": 2, \"by\": \"who\"}, or `auto`; for a \
                reason and an expiry PUT /switches/pin\n";
    (StatusCode::BAD_REQUEST, text).into_response()
}
