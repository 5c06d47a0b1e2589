//! What tells how it goes and how it went. Owns these rows of the table.

use crate::plan::explain::Explanation;
use crate::telemetry::Beat;
use crate::telemetry::journal::Readers;

use super::super::openapi::{HTML, operation};
use super::super::{api, chaos, journal, live, metrics, picture, preview, slo, trace};
use super::{Route, guarded};

const NO_SUCH_QUERY: &str = "A field of the query cannot be read.";

/// How it goes and how it went.
pub(super) fn looking() -> Vec<Route> {
    vec![
        guarded("/state").get(
            api::state,
            operation("state", "What is served and how it goes.").json::<api::StateAnswer>(200, "All of it."),
        ),
        guarded("/live").get(
            live::live,
            operation("live", "How it goes, once a second.")
                .more("Server-sent events, each a JSON object: what the dashboard shows.")
                .events::<picture::Picture>(200, "Events, until the server stops.")
                .text(503, "As many listen as may, or the server is stopping."),
        ),
        guarded("/history").get(
            live::history,
            operation("history", "How it went: hours by tens of seconds, minutes by seconds.")
                .query::<String>("since", "Only what ended after it: `2h`, `2026-11-26T11:00:00Z`, or milliseconds since 1970.")
                .json::<Vec<Beat>>(200, "The oldest first.")
                .text(400, NO_SUCH_QUERY),
        ),
        guarded("/samples").get(
            api::samples,
            operation("samples", "What the law was told and has answered, ten times a second.")
                .query::<String>("since", "Only those after it: `2h`, `2026-11-26T11:00:00Z`, or milliseconds since 1970.")
                .answer::<crate::telemetry::samples::Tick>(200, "application/jsonl", "One a line, the oldest first.")
                .text(400, NO_SUCH_QUERY),
        ),
        guarded("/journal").get(
            journal::journal,
            operation("journal", "What has happened.")
                .query::<String>("since", "`2h`, `2026-11-26T11:00:00Z`, or milliseconds since 1970.")
                .query::<String>("kinds", "Only entries of these kinds: `level,breaker`.")
                .json::<journal::JournalAnswer<'static>>(200, "The oldest first.")
                .text(400, NO_SUCH_QUERY),
        ),
        guarded("/events").get(
            journal::events,
            operation("events", "What happens, as it happens.")
                .more("Server-sent events: `event` is the kind, `data` the entry as `/journal` has it.")
                .query::<String>("kinds", "Only entries of these kinds: `level,breaker`.")
                .events::<journal::Followed>(200, "Events, until the server stops.")
                .text(400, NO_SUCH_QUERY)
                .text(503, "As many follow as may."),
        ),
        guarded("/readers").get(
            chaos::readers,
            operation("readers", "What readers got since the start: counts that only grow.")
                .json::<Readers>(200, "All of it."),
        ),
        guarded("/slo").get(
            slo::slo,
            operation("slo", "Whether what is promised to readers is kept.")
                .json::<slo::All>(200, "All objectives."),
        ),
        guarded("/trace/{id}").get(
            trace::trace,
            operation("trace", "The latest pages of a trace in full.")
                .path("id", "32 hexadecimal digits, as `Marbre-Trace` says them, or a `traceparent`.")
                .json::<trace::Pages>(200, "What is remembered of it.")
                .text(400, "It is no trace.")
                .text(404, "Nothing is remembered of it, and why."),
        ),
        guarded("/metrics").get(
            metrics::metrics,
            operation("metrics", "What Prometheus scrapes.")
                .header::<String>("accept", "Which of the two formats.")
                .text(200, "The text format 0.0.4, or OpenMetrics with exemplars.")
                .answer::<String>(200, "application/openmetrics-text", "OpenMetrics."),
        ),
        guarded("/explain").get(
            api::explain,
            operation("explain", "What a page would do, without asking anybody.")
                .needed::<String>("path", "The page, with its query: `/articles/some-slug`.")
                .query::<u8>("level", "At this level instead of the present one.")
                .json::<Explanation>(200, "Its plan.")
                .text(400, "There is no such path or level.")
                .text(404, "No page answers to this path."),
        ),
        guarded("/preview").get(
            preview::preview,
            operation("preview", "A page as readers would see it at a level, without its scripts.")
                .query::<String>("path", "The page; `/` if absent.")
                .query::<u8>("level", "At this level instead of the present one.")
                .answer::<String>(200, HTML, "The page.")
                .answer::<String>(400, HTML, "There is no such path or level, or no page to look at.")
                .text(400, NO_SUCH_QUERY)
                .answer::<String>(404, HTML, "No page answers to this path.")
                .answer::<String>(503, HTML, "The article cannot be had."),
        ),
    ]
}
