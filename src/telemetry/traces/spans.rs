//! A page's report → its spans: one of the page, one of each slot, one of each attempt. Owns their names
//! and attributes; pure.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::report::{AttemptReport, FragmentReport, OmitReason, Outcome, PageReport};
use crate::telemetry::resource::{self, attribute, text};

/// Of a trace that is recorded.
const SAMPLED: u32 = 1;

/// How many spans a page has.
pub(super) fn count(report: &PageReport<'_>) -> u64 {
    let spans = 1 + report.fragments.len() + report.attempts.len();
    u64::try_from(spans).unwrap_or(u64::MAX)
}

/// What a collector is told of these pages.
pub(super) fn request(reports: &[PageReport<'_>], instance: &str) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource::resource(instance)),
            scope_spans: vec![ScopeSpans {
                scope: Some(resource::scope()),
                spans: reports.iter().flat_map(spans).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn spans(report: &PageReport<'_>) -> Vec<Span> {
    let mut spans = vec![page(report)];
    spans.extend(report.fragments.iter().map(|f| slot(report, f)));
    spans.extend(report.attempts.iter().map(|a| attempt(report, a)));
    spans
}

/// A span from one time after the page's beginning to another.
fn span(report: &PageReport<'_>, id: u64, parent: u64, from: Duration, to: Duration) -> Span {
    let at = |after: Duration| {
        let began = Duration::from_micros(report.began.micros());
        u64::try_from((began + after).as_nanos()).unwrap_or(u64::MAX)
    };
    let parent = (parent != 0).then(|| parent.to_be_bytes().to_vec());
    Span {
        trace_id: report.trace_id.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        flags: SAMPLED,
        start_time_unix_nano: at(from),
        end_time_unix_nano: at(to.max(from)),
        ..Span::default()
    }
}

fn page(report: &PageReport<'_>) -> Span {
    let mut attributes = vec![
        text("marbre.page", &report.page),
        text("url.path", &report.path),
        number("http.response.status_code", report.status.into()),
        number("marbre.level", report.level.get().into()),
        truth("marbre.complete", report.is_complete()),
        truth("marbre.read_to_its_end", report.finished),
    ];
    if let Some(age) = report.snapshot {
        attributes.push(seconds("marbre.snapshot_age_s", age));
    }
    let (id, parent) = (report.span_id, report.parent_id);
    let failed = (report.status >= 500).then(|| format!("status {}", report.status));
    Span {
        name: format!("page {}", report.page),
        kind: SpanKind::Server.into(),
        attributes,
        status: failed.map(error),
        ..span(report, id, parent, Duration::ZERO, report.duration)
    }
}

fn slot(report: &PageReport<'_>, fragment: &FragmentReport<'_>) -> Span {
    let outcome = &*fragment.outcome;
    let mut attributes = vec![
        text("marbre.fragment", &fragment.name),
        text("marbre.outcome", outcome.label()),
    ];
    if let Some(cause) = outcome.cause() {
        attributes.push(text("marbre.cause", cause.label()));
    }
    if let Some(age) = fragment.age {
        attributes.push(seconds("marbre.age_s", age));
    }
    let mut attempts = report.attempts.iter();
    let hit = attempts.find(|a| a.fragment == fragment.name && a.fault.is_some());
    if let Some(fault) = hit.and_then(|attempt| attempt.fault.as_deref()) {
        attributes.push(text("marbre.fault", fault));
    }
    let failed = matches!(outcome, Outcome::Omitted(OmitReason::Failed(_)));
    let (id, parent) = (fragment.span_id, report.span_id);
    Span {
        name: format!("slot {}", fragment.name),
        kind: SpanKind::Internal.into(),
        attributes,
        status: failed.then(|| error(outcome.to_string())),
        ..span(report, id, parent, Duration::ZERO, fragment.duration)
    }
}

fn attempt(report: &PageReport<'_>, attempt: &AttemptReport<'_>) -> Span {
    let mut attributes = vec![
        text("marbre.origin", &attempt.origin),
        text("marbre.fragment", &attempt.fragment),
        number(
            "marbre.replica",
            attempt.replica.try_into().unwrap_or(i64::MAX),
        ),
        truth("marbre.ended", attempt.ended.is_some()),
    ];
    if let Some(cause) = &attempt.cause {
        attributes.push(text("error.type", cause.label()));
    }
    if let Some(fault) = &attempt.fault {
        attributes.push(text("marbre.fault", fault));
    }
    // an item of a list, or what stands in for a block, has no slot of its own
    let slot = report.fragments.iter().find(|f| f.name == attempt.fragment);
    let parent = slot.map_or(report.span_id, |slot| slot.span_id);
    let ended = attempt.ended.unwrap_or(report.duration);
    Span {
        name: format!("attempt {}", attempt.origin),
        kind: SpanKind::Client.into(),
        attributes,
        status: attempt.cause.as_ref().map(|cause| error(cause.to_string())),
        ..span(report, attempt.span_id, parent, attempt.began, ended)
    }
}

fn error(message: String) -> Status {
    Status {
        message,
        code: StatusCode::Error.into(),
    }
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn truth(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn seconds(key: &str, value: Duration) -> KeyValue {
    attribute(key, Value::DoubleValue(value.as_secs_f64()))
}
