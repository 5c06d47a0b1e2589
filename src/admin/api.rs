//! What operators can ask and do. Owns the JSON of the admin API; durations are in milliseconds or
//! seconds, as the field's name says.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::CacheStats;
use crate::cache::disk::DiskState;
use crate::cache::shared::SharedState;
use crate::chaos::State as Faults;
use crate::fetch::state::{BlockState, OriginState};
use crate::fragment::OriginId;
use crate::plan::{self, explain::Explanation, request};
use crate::report::{Given, Signature};
use crate::site::{Found, Target};
use crate::switchboard::State as Switches;
use crate::telemetry::samples::Tick;
use crate::telemetry::tally::TallyState;

use super::level::{self, LevelState};
use super::{AdminState, journal};

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

/// What there is, for those who do not come with a browser.
pub(super) const INDEX: &str = "marbre admin; a browser shows the dashboard here\n\
     GET  /healthz              the process runs\n\
     GET  /readyz               pages can be served\n\
     GET  /openapi.json         all of this for programs, OpenAPI 3.1\n\
     GET  /state                what is served and how it goes, JSON\n\
     GET  /slo                  what is promised to readers, what is left of each error budget, JSON\n\
     GET  /metrics              for Prometheus: the text format, or OpenMetrics with exemplars\n\
     GET  /level                the level of degradation, JSON\n\
     GET  /samples?since=2h     what the law saw and decided, tick by tick, JSON lines\n\
     GET  /journal?since=2h     what has happened, JSON; &kinds=level,breaker for some of it\n\
     GET  /events               the same as it happens, server-sent events; ?kinds=…\n\
     PUT  /level                pin it for 12 hours: body `2`, or {\"level\": 2, \"by\": \"who\"}; `auto` or\n\
    \x20                          DELETE for what the law decides\n\
     GET  /live                 how it goes, once a second, server-sent events\n\
     GET  /history?since=2h     how it went: hours by tens of seconds, minutes by seconds, JSON\n\
     GET  /preview?path=/…      a page at a level, &level=N, without its scripts\n\
     GET  /switches             what operators have decided, until when, and who, JSON\n\
     PUT  /switches/SUBJECT     decide: {\"owner\": \"who\", \"reason\": \"why\", \"for\": \"2h\"} with\n\
    \x20                          block/NAME  \"off\": true, or \"on\": true for never given up\n\
    \x20                          pin, floor, cap  \"level\": 2\n\
    \x20                          freeze, dry-run\n\
    \x20                          ttl  \"factor\": 4\n\
    \x20                          and for later \"from\": \"2026-11-03T20:00\", \"until\": \"2026-11-04T02:00\"\n\
     PUT  /switches/schedule/NAME  skip what the site schedules, this time\n\
     DELETE /switches/ADDRESS   take it back; ?by=who\n\
     GET  /chaos                what goes wrong on purpose, until when, and who, JSON\n\
     PUT  /chaos/NAME           set a fault: {\"origin\": \"media\", \"harm\": \"hang\", \"for\": \"5m\",\n\
    \x20                          \"owner\": \"who\", \"reason\": \"why\"}; ?preview=true only says what it would hit\n\
     DELETE /chaos/NAME         end it; ?by=who&reason=why\n\
     GET  /readers              what readers got since the start, JSON\n\
     GET  /explain?path=/…      what a page would do, JSON; &level=N at another level\n\
     GET  /trace/ID             how a recent page was made, JSON; ID is what its Marbre-Trace says\n\
     POST /reload               read fragments.toml again; ?by=who&reason=why\n\
     PUT  /fragments/NAME/KEY   push a copy: body HTML, or JSON for the template; KEY is the path and\n\
    \x20                          query that its source makes; Marbre-Ttl, Marbre-Version, Surrogate-Key\n\
     GET  /fragments/NAME/KEY   what is known of a copy, JSON\n\
     DELETE /fragments/NAME/KEY take a copy back\n\
     POST /purge                make copies stale: {\"tag\": \"…\"}, {\"fragment\": \"…\"}, with \"key\" if only\n\
    \x20                          one, or {\"all\": true}; \"hard\": true throws them away\n";

/// What is served and how it goes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "State")]
pub(super) struct StateAnswer {
    /// Of the program.
    version: &'static str,
    /// For how long it runs, in seconds.
    uptime_s: u64,
    /// Whether it is stopping.
    stopping: bool,
    /// What is given up.
    level: LevelState,
    /// What operators have decided.
    switches: Switches,
    /// What goes wrong on purpose.
    chaos: Faults,
    /// What the law was told last, and has answered.
    law: Option<Tick>,
    /// The copies in memory.
    cache: CacheStats,
    /// Those on the disk, if there is one.
    disk: Option<DiskState>,
    /// The store that nodes share, if there is one.
    shared: Option<SharedState>,
    /// Requests of origins that pages wait for.
    flights: usize,
    /// By name.
    origins: BTreeMap<String, OwnedOrigin>,
    /// The optional blocks that are asked of an origin, by name.
    blocks: BTreeMap<String, BlockState>,
    /// What pages came to since the start.
    tally: TallyState,
}

/// An origin and who is called when it is sick.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Origin")]
pub(super) struct OwnedOrigin {
    /// Who that is.
    owner: Option<String>,
    #[serde(flatten)]
    state: OriginState,
}

pub(super) async fn state(State(state): Shared) -> Response {
    let edition = state.edition.load_full();
    let site = &edition.site;
    let clock = state.composer.clock();
    let origins = site.origins.iter().enumerate().map(|(index, origin)| {
        let row = OwnedOrigin {
            owner: origin.owner.clone(),
            state: edition.fetcher.state(OriginId(index)),
        };
        (origin.name.clone(), row)
    });
    let body = StateAnswer {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: clock.uptime(clock.now()).as_secs(),
        stopping: state.stop.is_cancelled(),
        level: level::level_state(&state),
        switches: state.switches.state(site),
        chaos: state.chaos.state(),
        law: state.samples.last(),
        cache: state.composer.cache().stats(),
        disk: state.composer.cache().disk().map(|disk| disk.state()),
        shared: state.composer.cache().shared().map(|shared| shared.state()),
        flights: state.composer.flights_under_way(),
        origins: origins.collect(),
        blocks: edition.fetcher.block_states(),
        tally: state.tally.state(),
    };
    Json(body).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SamplesQuery {
    since: Option<String>,
}

/// What the law was told and has answered, one tick a line.
pub(super) async fn samples(State(state): Shared, Query(query): Query<SamplesQuery>) -> Response {
    let since_ms = match journal::since_ms(query.since.as_deref(), &state) {
        Ok(since_ms) => since_ms,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let mut lines = String::new();
    for tick in state.samples.since(since_ms) {
        lines += &serde_json::to_string(&tick).expect("numbers and words are JSON");
        lines.push('\n');
    }
    ([(CONTENT_TYPE, "application/jsonl")], lines).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    let level = match query.level.as_deref().map(|text| (text, text.parse())) {
        None => Ok(level::present(&state)),
        Some((_, Ok(number))) => level::asked_level(number, &site.ladder),
        Some((text, Err(_))) => Err(format!("`level` is a number, and not `{text}`\n")),
    };
    let level = match level {
        Ok(level) => level,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let facts = request::facts(site, &uri, &HeaderMap::new(), params, 1);
    let (overrides, now) = (&state.mode.load().overrides, state.composer.clock().now());
    let plan = plan::plan(site, id, &facts, level, overrides, now);
    Json(Explanation::new(site, &plan)).into_response()
}

/// The site was read again.
#[derive(Serialize, JsonSchema)]
pub(super) struct Reloaded {
    /// It was.
    reloaded: bool,
    /// What is different.
    changes: Vec<String>,
}

/// Who wants the site to be read again, and why.
#[derive(Deserialize, Default)]
#[serde(default)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadQuery {
    by: String,
    reason: String,
}

pub(super) async fn reload(
    State(state): Shared,
    Query(ReloadQuery { by, reason }): Query<ReloadQuery>,
) -> Response {
    let signed = match Signature::read(&by, &reason) {
        Ok(signed) => signed,
        Err(unfit) => return (StatusCode::BAD_REQUEST, format!("{unfit}\n")).into_response(),
    };
    let given = Given::by(signed.clone());
    match (state.reload)(signed).await {
        Ok(changes) => {
            let reloaded = true;
            (Extension(given), Json(Reloaded { reloaded, changes })).into_response()
        }
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
    }
}
