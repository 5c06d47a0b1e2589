//! What goes wrong on purpose, for operators. Owns how a fault is asked for and ended, and what is said of
//! one that cannot be set.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::chaos::shown::{Preview, Shown, preview};
use crate::chaos::{Refused, Wanted};
use crate::report::{Given, Signature};
use crate::site::chaos::FaultSpec;

use super::AdminState;
use super::audit::NothingChanged;
use super::body;

type Shared = State<Arc<AdminState>>;

/// Largest body, in bytes: an owner and a reason are short.
pub(super) const BODY_BYTES_MAX: usize = 16 << 10;

/// What has come of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FaultDone")]
pub(super) struct Done {
    /// What is in force now.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<Shown>,
    /// What is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Shown>,
    /// The one whose place it has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Shown>,
    /// What it would hit, where that is all that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<Preview>,
}

const NOTHING: Done = Done {
    set: None,
    ended: None,
    replaced: None,
    preview: None,
};

pub(super) async fn all(State(state): Shared) -> Response {
    Json(state.chaos.state()).into_response()
}

pub(super) async fn one(State(state): Shared, Path(name): Path<String>) -> Response {
    match state.chaos.find(&name) {
        Some(found) => Json(state.chaos.shown(&found)).into_response(),
        None => answer(not_set(&name)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetQuery {
    #[serde(default)]
    preview: bool,
}

pub(super) async fn set(
    State(state): Shared,
    Path(name): Path<String>,
    Query(query): Query<SetQuery>,
    body: Bytes,
) -> Response {
    let spec = match read(&state, &name, &body) {
        Ok(spec) => spec,
        Err(refusal) => return answer(refusal),
    };
    if query.preview {
        let preview = Some(preview(&spec, &state.edition.load().site));
        let body = Json(Done { preview, ..NOTHING });
        return (Extension(NothingChanged), body).into_response();
    }
    // who tells it of what budgets leave room for may not have come to its turn yet
    state.chaos.heed(|| state.slos.gate().room());
    let given = Given {
        signed: Signature {
            by: Some(spec.owner.clone()),
            reason: Some(spec.reason.clone()),
        },
        until: Some(state.now().after(spec.lasts)),
    };
    match state.chaos.begin(spec) {
        Ok(replaced) => {
            let done = Done {
                set: state.chaos.find(&name).map(|one| state.chaos.shown(&one)),
                replaced: replaced.map(|one| state.chaos.shown(&one)),
                ..NOTHING
            };
            (Extension(given), Json(done)).into_response()
        }
        Err(why @ (Refused::Forbidden(_) | Refused::Full)) => {
            answer((StatusCode::CONFLICT, why.to_string()))
        }
    }
}

/// The fault that is asked for.
fn read(state: &AdminState, name: &str, body: &[u8]) -> Result<FaultSpec, (StatusCode, String)> {
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    let wanted: Wanted = body::object(body).map_err(|error| {
        bad(format!(
            "the body cannot be read: {error}; it is like {{\"origin\": \"media\", \"harm\": \"hang\", \
             \"for\": \"5m\", \"owner\": \"who\", \"reason\": \"why\"}}"
        ))
    })?;
    let declared = state.chaos.declared(name);
    let spec = wanted.spec(name, declared.as_ref()).map_err(bad)?;
    let has_store = state.composer.cache().shared().is_some();
    let fits = spec.fits(&state.edition.load().site, has_store);
    fits.map_err(|stray| (StatusCode::NOT_FOUND, stray.to_string()))?;
    Ok(spec)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndQuery {
    #[serde(default)]
    by: String,
    #[serde(default)]
    reason: String,
}

pub(super) async fn end(
    State(state): Shared,
    Path(name): Path<String>,
    Query(query): Query<EndQuery>,
) -> Response {
    let signed = match Signature::read(&query.by, &query.reason) {
        Ok(signed) => signed,
        Err(unfit) => return answer((StatusCode::BAD_REQUEST, unfit.to_string())),
    };
    let given = Given::by(signed.clone());
    match state.chaos.end(&name, signed) {
        Some(ended) => {
            let ended = Some(state.chaos.shown(&ended));
            (Extension(given), Json(Done { ended, ..NOTHING })).into_response()
        }
        None => answer(not_set(&name)),
    }
}

/// What readers got since the start.
pub(super) async fn readers(State(state): Shared) -> Response {
    Json(state.journal.readers()).into_response()
}

fn not_set(name: &str) -> (StatusCode, String) {
    let text = format!("no fault of the name {name} is in force; `/chaos` lists those that are");
    (StatusCode::NOT_FOUND, text)
}

fn answer((status, text): (StatusCode, String)) -> Response {
    (status, text + "\n").into_response()
}
