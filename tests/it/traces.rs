//! The trace of a page: what comes in goes out to origins, the page says which one it is, and a
//! collector is told of it, if there is one.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::support::{Operator, Origin, collector, html, newsroom, origin, status};

/// Where the collector takes traces.
const COLLECT: &str = "/v1/traces";

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn line<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines();
    lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[tokio::test]
async fn a_page_belongs_to_the_trace_of_whoever_asks_for_it() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", html("<p>block</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .optional("block", 40, "cms:/block")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let headers = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    let page = site.reader().get_with("/", &headers).await;
    assert_eq!(
        page.header("marbre-trace"),
        Some("4bf92f3577b34da6a3ce929d0e0e4736")
    );
    let mut spans = Vec::new();
    for target in ["/article", "/block"] {
        let head = cms.last_head(target).expect("it was asked");
        assert_eq!(line(&head, "tracestate"), Some("vendor=1"));
        let sent = line(&head, "traceparent").expect("a trace").to_owned();
        assert!(
            sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
            "{sent}"
        );
        assert!(sent.ends_with("-01"), "{sent}");
        spans.push(sent);
    }
    spans.push(PARENT.to_owned());
    spans.sort();
    spans.dedup();
    assert_eq!(
        spans.len(),
        3,
        "each attempt is a span of its own: {spans:?}"
    );
}

#[tokio::test]
async fn a_page_without_a_valid_trace_begins_one() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .page("page", "/", "[article]")
        .start()
        .await;
    let broken = [("traceparent", "00-broken-01"), ("tracestate", "vendor=1")];
    let mut traces = Vec::new();
    for headers in [&[][..], &broken] {
        let page = site.reader().get_with("/", headers).await;
        let trace = page.header("marbre-trace").expect("a trace").to_owned();
        assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()));
        let head = cms.last_head("/article").expect("it was asked");
        let sent = line(&head, "traceparent").expect("a trace");
        assert!(sent.starts_with(&format!("00-{trace}-")), "{sent}");
        assert!(sent.ends_with("-00"), "nobody wants it recorded: {sent}");
        assert_eq!(line(&head, "tracestate"), None);
        traces.push(trace);
    }
    assert_ne!(traces[0], traces[1]);
}

/// What a collector was sent last.
fn exported(from: &Origin) -> Vec<Span> {
    let body = collector::received(from, COLLECT);
    let request = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
    let scopes = request.resource_spans.into_iter();
    let scopes = scopes.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    let attribute = span.attributes.iter().find(|a| a.key == key)?;
    let Value::StringValue(text) = attribute.value.as_ref()?.value.as_ref()? else {
        return None;
    };
    Some(text)
}

fn telemetry(endpoint: &str, more: &str) -> String {
    format!("[telemetry.traces]\nendpoint = \"{endpoint}{COLLECT}\"\n{more}\n")
}

#[tokio::test]
async fn a_page_is_exported_with_a_span_for_each_slot_and_attempt() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let collector = origin().on(COLLECT, html("")).start().await;
    let site = newsroom()
        .toml(&telemetry(&collector.url(), "sample = 1.0"))
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .optional("block", 40, "cms:/none")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let page = site
        .reader()
        .get_with("/", &[("traceparent", PARENT)])
        .await;
    page.is(200, "<p>text</p>");
    collector.arrived(1).await;
    let spans = exported(&collector);
    let named = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        found
            .next()
            .unwrap_or_else(|| panic!("{name} in {spans:?}"))
    };
    for span in &spans {
        assert_eq!(
            span.trace_id,
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    let (page, slot) = (named("page page"), named("slot block"));
    assert_eq!(page.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(slot.parent_span_id, page.span_id);
    assert_eq!(text(slot, "marbre.cause"), None);
    let article = named("slot article");
    assert_eq!(text(article, "marbre.outcome"), Some("fetched"));
    let attempts = spans.iter().filter(|span| span.name == "attempt cms");
    let attempt = attempts
        .clone()
        .find(|span| text(span, "marbre.fragment") == Some("article"))
        .expect("the article was asked for");
    assert_eq!(attempts.count(), 2);
    assert_eq!(attempt.parent_span_id, article.span_id);
    let sent = cms.last_head("/article").expect("it was asked");
    let id: String = attempt.span_id.iter().map(|b| format!("{b:02x}")).collect();
    let sent = line(&sent, "traceparent").expect("a trace");
    assert!(
        sent.contains(&id),
        "the origin was told of its span: {sent} {id}"
    );
}

#[tokio::test]
async fn pages_that_failed_are_exported_although_chance_takes_none() {
    let cms = origin().on("/article", status(500)).start().await;
    let collector = origin().on(COLLECT, html("")).start().await;
    let site = newsroom()
        .toml(&telemetry(&collector.url(), "sample = 0.0\nslow = \"10m\""))
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/front", "[front]")
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/front").await.is(200, "<p>front</p>");
    let page = site.reader().get("/").await;
    assert_eq!(page.status, 503);
    collector.arrived(1).await;
    let spans = exported(&collector);
    assert!(
        spans.iter().any(|span| span.name == "page page"),
        "{spans:?}"
    );
    assert!(
        spans.iter().all(|span| span.name != "page front"),
        "{spans:?}"
    );
}

#[tokio::test]
async fn a_fault_that_does_no_harm_is_told_of_in_traces_the_access_log_and_metrics() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", html("<p>block</p>"))
        .start()
        .await;
    let collector = origin().on(COLLECT, html("")).start().await;
    let site = newsroom()
        .toml(&telemetry(&collector.url(), "sample = 1.0"))
        .toml("[telemetry.access_log]\nto = \"file:access.log\"")
        .toml("[telemetry.recent]\nsample = 1.0")
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .optional("block", 40, "cms:/block")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let operator = Operator::of(&site);
    let fault = r#"{"fragment": "block", "harm": "latency", "latency": "1ms", "for": "1h",
                    "owner": "desk", "reason": "a test"}"#;
    let (status, said) = operator.ask("PUT", "/chaos/cold", fault, &[]).await;
    assert_eq!(status, 200, "{said}");
    let page = site.reader().get("/").await;
    page.is(200, "<p>text</p><p>block</p>");
    let trace = page.header("marbre-trace").expect("a trace").to_owned();
    collector.arrived(1).await;
    let spans = exported(&collector);
    let told: Vec<(&str, &str)> = spans
        .iter()
        .filter_map(|span| Some((text(span, "marbre.fragment")?, text(span, "marbre.fault")?)))
        .collect();
    // its slot and its attempt
    assert_eq!(told, [("block", "cold"); 2]);
    let story = site.admin_text(&format!("/trace/{trace}")).await;
    let story: serde_json::Value = serde_json::from_str(&story).unwrap();
    let attempts = story["pages"][0]["attempts"].as_array().unwrap();
    let of_block = |attempt: &&serde_json::Value| attempt["fragment"] == "block";
    let hit = attempts.iter().find(of_block).unwrap();
    assert_eq!(
        (&hit["fault"], &hit["cause"]),
        (&"cold".into(), &serde_json::Value::Null)
    );
    let (_, metrics) = operator.get("/metrics").await;
    let counted = "marbre_faults_total{harm=\"latency\",target=\"fragment block\"} 1";
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    let folder = site.folder();
    // what was recorded is written by then
    let _stopped = site.stopped().await;
    let log = std::fs::read_to_string(folder.join("access.log")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(record["faults"], serde_json::json!({ "block": "cold" }));
    assert_eq!(record["complete"], true);
}
