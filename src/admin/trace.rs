//! `GET /trace/ID`: the latest pages of a trace in full. Owns what an id may look like, and what is said
//! where nothing is remembered.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;

use crate::fragment::Trace;
use crate::fragment::quantity::{show_duration, show_size};
use crate::report::Story;
use crate::telemetry::Recent;

use super::AdminState;

/// Pages of one trace, for who reads the document: each is kept as the JSON that it becomes.
#[derive(JsonSchema)]
#[schemars(rename = "Trace")]
pub(super) struct Pages {
    /// 32 hexadecimal digits.
    #[expect(dead_code, reason = "only its schema is read")]
    trace_id: String,
    /// The latest first.
    #[expect(dead_code, reason = "only its schema is read")]
    pages: Vec<Story>,
}

pub(super) async fn trace(
    State(state): State<Arc<AdminState>>,
    Path(id): Path<String>,
) -> Response {
    let Some(trace_id) = trace_id(&id) else {
        let text = "this is no trace: it has 32 hexadecimal digits, as `Marbre-Trace` of an answer says \
                    them, or is a `traceparent`\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    };
    let pages = state.recent.find(trace_id);
    if pages.is_empty() {
        let text = nothing(trace_id, &state.recent);
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    let pages = pages.join(",");
    let json = format!("{{\"trace_id\":\"{trace_id:032x}\",\"pages\":[{pages}]}}\n");
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

fn trace_id(text: &str) -> Option<u128> {
    let is_id = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match is_id {
        true => u128::from_str_radix(text, 16).ok().filter(|id| *id != 0),
        false => Some(Trace::parse(text)?.trace_id),
    }
}

/// Why, and what to do.
fn nothing(trace_id: u128, recent: &Recent) -> String {
    let (settings, held) = (recent.settings(), recent.held());
    if settings.bytes_max == 0 {
        return "no page is remembered: set `size` in [telemetry.recent]\n".to_owned();
    }
    let holds = match held.oldest {
        Some(oldest) => format!("{} pages, the oldest of {oldest}", held.pages),
        None => "none yet".to_owned(),
    };
    let (size, slow) = (
        show_size(settings.bytes_max as u64),
        show_duration(settings.slow),
    );
    let (notable, sampled) = (settings.notable_max, settings.sample_max);
    let share = settings.sample * 100.0;
    format!(
        "no page of the trace {trace_id:032x} is remembered\n\
         This server remembers {holds} ({size} in all): those that were degraded, failed or took longer \
         than {slow}, up to {notable} a second, and {share} % of the others, up to {sampled}. It was another node's page, \
         or it was forgotten, or all was well with it.\n\
         To see how such a page is made, ask for it again with `Marbre-Debug: TOKEN` (`marbre token debug`), \
         or with a `traceparent` that ends with `-01`, which is remembered; [telemetry.recent] says how much \
         is remembered, and [telemetry.access_log] has a line for each request.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_its_digits_or_its_header() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let expected = u128::from_str_radix(id, 16).ok();
        assert_eq!(trace_id(id), expected);
        assert_eq!(trace_id(&id.to_uppercase()), expected);
        let header = format!("00-{id}-00f067aa0ba902b7-01");
        assert_eq!(trace_id(&header), expected);
        for wrong in ["", "4bf9", "../state", &"0".repeat(32), &"g".repeat(32)] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
