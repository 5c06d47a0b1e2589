//! What operators can ask and do. Owns the JSON of the admin API; durations are in milliseconds or
//! seconds, as the field's name says.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::degradation::Step;
use crate::fetch::state::OriginState;
use crate::fragment::OriginId;
use crate::plan::{self, explain::Explanation, request};
use crate::report::Event;
use crate::site::{Found, Target};

use super::AdminState;

type Shared = State<Arc<AdminState>>;

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Pages can be served: a site is loaded and the server is not stopping.
pub(super) async fn readyz(State(state): Shared) -> Response {
    if state.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    "ready\n".into_response()
}

pub(super) async fn index() -> &'static str {
    "marbre admin\n\
     GET  /healthz              the process runs\n\
     GET  /readyz               pages can be served\n\
     GET  /state                what is served and how it goes, JSON\n\
     GET  /level                the level of degradation, JSON\n\
     GET  /samples?since=MS     what the law saw and decided, tick by tick, JSON lines; since 1970\n\
     PUT  /level                set it: body `2` or {\"level\": 2, \"by\": \"who\"}\n\
     GET  /explain?path=/…      what a page would do, JSON; &level=N at another level\n\
     POST /reload               read fragments.toml again\n\
     PUT  /fragments/NAME/KEY   push a copy: body HTML, or JSON for the template; KEY is the path and\n\
    \x20                          query that its source makes; Marbre-Ttl, Marbre-Version, Surrogate-Key\n\
     GET  /fragments/NAME/KEY   what is known of a copy, JSON\n\
     DELETE /fragments/NAME/KEY take a copy back\n\
     POST /purge                make copies stale: {\"tag\": \"…\"}, {\"fragment\": \"…\"}, with \"key\" if only\n\
    \x20                          one, or {\"all\": true}; \"hard\": true throws them away\n"
}

pub(super) async fn state(State(state): Shared) -> Response {
    let edition = state.edition.load_full();
    let site = &edition.site;
    let clock = state.composer.clock();
    #[derive(Serialize)]
    struct Origin {
        owner: Option<String>,
        #[serde(flatten)]
        state: OriginState,
    }
    let origins = site.origins.iter().enumerate().map(|(index, origin)| {
        let row = Origin {
            owner: origin.owner.clone(),
            state: edition.fetcher.state(OriginId(index)),
        };
        (origin.name.clone(), row)
    });
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": clock.uptime(clock.now()).as_secs(),
        "stopping": state.stop.is_cancelled(),
        "level": level_state(&state),
        "law": state.samples.last(),
        "cache": state.composer.cache().stats(),
        "disk": state.composer.cache().disk().map(|disk| disk.state()),
        "shared": state.composer.cache().shared().map(|shared| shared.state()),
        "flights": state.composer.flights_under_way(),
        "origins": origins.collect::<BTreeMap<_, _>>(),
        "blocks": edition.fetcher.block_states(),
        "tally": state.tally.state(),
    });
    Json(body).into_response()
}

#[derive(Serialize)]
struct LevelState {
    level: u8,
    text_only: u8,
    /// What each level gives up, from level 1 on.
    ladder: Vec<StepState>,
}

#[derive(Serialize)]
struct StepState {
    name: String,
    blocks: Vec<String>,
}

fn level_state(state: &AdminState) -> LevelState {
    let edition = state.edition.load();
    let site = &edition.site;
    let given_up = |step: &Step| {
        let blocks = step.blocks.iter().map(|id| site.fragment(*id).name.clone());
        StepState {
            name: step.name.clone(),
            blocks: blocks.collect(),
        }
    };
    LevelState {
        level: state.level.level().get(),
        text_only: site.ladder.text_only().get(),
        ladder: site.ladder.steps().iter().map(given_up).collect(),
    }
}

pub(super) async fn level(State(state): Shared) -> Response {
    Json(level_state(&state)).into_response()
}

#[derive(Deserialize)]
pub(super) struct SamplesQuery {
    #[serde(default)]
    since: u64,
}

/// What the law was told and has answered, one tick a line.
pub(super) async fn samples(State(state): Shared, Query(query): Query<SamplesQuery>) -> Response {
    let mut lines = String::new();
    for tick in state.samples.since(query.since) {
        lines += &serde_json::to_string(&tick).expect("numbers and words are JSON");
        lines.push('\n');
    }
    ([(CONTENT_TYPE, "application/jsonl")], lines).into_response()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NewLevel {
    Bare(u8),
    Signed {
        level: u8,
        #[serde(default)]
        by: Option<String>,
    },
}

pub(super) async fn set_level(State(state): Shared, body: Bytes) -> Response {
    let (level, by) = match serde_json::from_slice(&body) {
        Ok(NewLevel::Bare(level)) => (level, None),
        Ok(NewLevel::Signed { level, by }) => (level, by),
        Err(_) => {
            let text = "the body must be a level such as `2`, or {\"level\": 2, \"by\": \"who\"}\n";
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let to = match state.edition.load().site.ladder.level(level) {
        Ok(to) => to,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let from = state.level.set(to);
    let event = Event::LevelSet {
        from,
        to,
        by: by.unwrap_or_else(|| "admin API".to_owned()),
    };
    state
        .composer
        .observers()
        .iter()
        .for_each(|observer| observer.event(&event));
    Json(level_state(&state)).into_response()
}

#[derive(Deserialize)]
pub(super) struct ExplainQuery {
    path: Option<String>,
    level: Option<String>,
}

pub(super) async fn explain(State(state): Shared, Query(query): Query<ExplainQuery>) -> Response {
    let edition = state.edition.load_full();
    let site = &edition.site;
    let Some(uri) = query
        .path
        .as_deref()
        .and_then(|path| path.parse::<Uri>().ok())
    else {
        let text =
            "say which page: /explain?path=/articles/some-slug, and &level=N if not the present\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let Found::Match {
        target: Target::Page(id),
        params,
    } = site.routes.find(uri.path())
    else {
        return (StatusCode::NOT_FOUND, "no page answers to this path\n").into_response();
    };
    let level = match query.level.as_deref().map(str::parse) {
        None => Ok(state.level.level()),
        Some(level) => site.ladder.level(level.unwrap_or(u8::MAX)),
    };
    let level = match level {
        Ok(level) => level,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let facts = request::facts(site, &uri, &HeaderMap::new(), params, 1);
    let plan = plan::plan(site, id, &facts, level, state.composer.clock().now());
    Json(Explanation::new(site, &plan)).into_response()
}

pub(super) async fn reload(State(state): Shared) -> Response {
    match (state.reload)().await {
        Ok(changes) => Json(json!({ "reloaded": true, "changes": changes })).into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
    }
}
