//! `/slo`: whether what is promised to readers is kept. Owns the answer's outline; what is told of each
//! objective is in [`slo`](crate::telemetry::slo).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::telemetry::slo::SloState;

use super::AdminState;

/// All objectives.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Slos")]
pub(super) struct All {
    /// By name.
    slos: Vec<SloState>,
    /// Why no fault may be set on purpose, if none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults_stopped: Option<String>,
}

impl All {
    pub(super) fn of(state: &AdminState) -> Self {
        Self {
            slos: state.slos.states(),
            faults_stopped: state.slos.gate().closed().map(|why| why.to_string()),
        }
    }
}

pub(super) async fn slo(State(state): State<Arc<AdminState>>) -> Json<All> {
    Json(All::of(&state))
}
