//! Collectors are sent what `/metrics` says, and cost readers nothing when they are slow, full, gone or
//! talk nonsense: what was meant for them is lost, and counted.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

use crate::support::collector::{self, METRICS};
use crate::support::newsroom::Draft;
use crate::support::origin::typed;
use crate::support::{Operator, Origin, Reply, html, newsroom, origin, raw, status};

/// Where a collector takes traces.
const TRACES: &str = "/v1/traces";

/// What a collector answers.
const OTLP: &str = "application/x-protobuf";

fn metrics_to(collector: &Origin, more: &str) -> String {
    let url = collector.url();
    format!("[telemetry.metrics]\nendpoint = \"{url}{METRICS}\"\ninterval = \"1h\"\n{more}\n")
}

fn traces_to(collector: &Origin, more: &str) -> String {
    let url = collector.url();
    format!("[telemetry.traces]\nendpoint = \"{url}{TRACES}\"\nsample = 1.0\n{more}\n")
}

async fn listening() -> Origin {
    let collector = origin().on(METRICS, html("")).on(TRACES, html(""));
    collector.start().await
}

/// A page of one block, declared in place.
fn front() -> Draft {
    newsroom()
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
}

fn scraped(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    let number = |text: &str| text.parse().unwrap();
    let series = pairs.map(|(name, text)| (name.to_owned(), number(text)));
    series.collect()
}

#[tokio::test]
async fn what_is_exported_is_what_is_scraped() {
    let (cms, collector) = (
        origin().on("/article", html("<p>text</p>")).start().await,
        listening().await,
    );
    let site = newsroom()
        .toml(&metrics_to(&collector, ""))
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .fragment("extra", "40", "inline:<i>extra</i>", "value = 0.25")
        .page("page", "/", "[article][extra]")
        .start()
        .await;
    let operator = Operator::of(&site);
    site.reader()
        .get("/")
        .await
        .is(200, "<p>text</p><i>extra</i>");
    operator.switch("pin", "\"level\": 1, ").await;
    for _ in 0..3 {
        site.reader().get("/").await.is(200, "<p>text</p>");
    }
    let (_, text) = operator.get("/metrics").await;
    let _stopped = site.stopped().await;
    let (scraped, exported) = (scraped(&text), collector::series(&collector));
    for (name, number) in &scraped {
        let told = exported.get(name);
        let told = told.unwrap_or_else(|| panic!("{name} is not in {exported:?}"));
        // what goes on changing until the server has stopped has no label, or is about the stop
        let is_settled = [
            "_page",
            "_fragment",
            "_value",
            "_cache_lookups",
            "_origin_re",
            "_origin_at",
        ]
        .iter()
        .any(|family| name.starts_with(&format!("marbre{family}")));
        if is_settled && name.contains('{') {
            assert_eq!(told, number, "{name}");
        }
    }
    // before the governor has looked first, nothing is known of what it decides
    let mut more = exported.keys().filter(|name| !scraped.contains_key(*name));
    assert_eq!(more.find(|name| name.contains('{')), None);
    let value = |name: &str| exported[name];
    assert_eq!(value("marbre_value_served_total{page=\"page\"}"), 400.25);
    let lost = "marbre_value_lost_total{page=\"page\",cause=\"shed\"}";
    assert_eq!(value(lost), 0.75);
}

#[tokio::test]
async fn a_collector_is_told_who_sends_and_packed_or_not() {
    let collector = listening().await;
    let key =
        "headers = { authorization = \"Bearer ${MARBRE_NO_SUCH:-s3cret}\", x-team = \"web\" }";
    for (packing, is_packed) in [("", true), ("gzip = false", false)] {
        let more = format!("{key}\n{packing}");
        let site = front()
            .toml(&metrics_to(&collector, &more))
            .toml(&traces_to(&collector, &more))
            .start()
            .await;
        site.reader().get("/").await.is(200, "<p>front</p>");
        let _stopped = site.stopped().await;
        for target in [METRICS, TRACES] {
            let head = collector.last_head(target).unwrap().to_lowercase();
            for line in [
                "authorization: bearer s3cret",
                "x-team: web",
                "application/x-protobuf",
            ] {
                assert!(head.contains(line), "{line}: {head}");
            }
            let says_so = head.contains("content-encoding: gzip");
            assert_eq!(says_so, is_packed, "{head}");
        }
        let pages = "marbre_page_duration_seconds_count{page=\"front\"}";
        assert_eq!(collector::series(&collector)[pages], 1.0);
    }
}

/// How many pages are read: more than may wait for a collector.
const PAGES: u32 = 1500;

/// A page has a span of its own and one for its block.
const SPANS: f64 = 2.0 * PAGES as f64;

/// Pages that may be on their way: in the queue, and in two batches.
const WAITING_MAX: f64 = 1024.0 + 2.0 * 128.0;

fn spans(series: &BTreeMap<String, f64>, result: &str) -> f64 {
    series[&format!("marbre_trace_spans_total{{result=\"{result}\"}}")]
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_page() {
    let hanging = origin().on(TRACES, raw("").then_hang()).start().await;
    let collector = listening().await;
    let site = front()
        .toml(&traces_to(&hanging, ""))
        .toml(&metrics_to(&collector, ""))
        .start()
        .await;
    let reader = site.reader();
    for _ in 0..PAGES {
        reader.get("/").await.is(200, "<p>front</p>");
    }
    hanging.arrived(1).await;
    let (_, text) = Operator::of(&site).get("/metrics").await;
    let lost = spans(&scraped(&text), "lost");
    assert!(
        lost >= SPANS - 2.0 * WAITING_MAX,
        "no more than so many wait: {lost}"
    );
    // the stop waits for it only for a moment, and counts the rest
    let _stopped = site.stopped().await;
    let series = collector::series(&collector);
    assert_eq!(
        (spans(&series, "sent"), spans(&series, "lost")),
        (0.0, SPANS)
    );
}

async fn answering(reply: Reply) -> Origin {
    origin().on(TRACES, reply).start().await
}

#[tokio::test]
async fn whatever_a_collector_does_each_span_is_counted_once() {
    let gone = origin().start().await;
    gone.kill();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {OTLP}\r\n");
    let endless = raw(format!("{head}\r\n")).then_endless("\n");
    let unfinished = raw(format!("{head}content-length: 9\r\n\r\n")).then_hang();
    let elsewhere = Reply::headed(307, &[("location", "http://127.0.0.1:1/")], b"");
    for (what, bad, is_sent) in [
        ("full", answering(status(503)).await, false),
        ("refusing", answering(status(429)).await, false),
        ("elsewhere", answering(elsewhere).await, false),
        (
            "no HTTP",
            answering(raw("\u{0}nonsense\r\n\r\n")).await,
            false,
        ),
        ("gone", gone, false),
        ("garbage", answering(html("<h1>\u{0}</h1>")).await, true),
        ("of OTLP", answering(typed(OTLP, b"\xff\xff")).await, true),
        ("endless", answering(endless).await, true),
        ("unfinished", answering(unfinished).await, true),
    ] {
        let collector = listening().await;
        let site = front()
            .toml(&traces_to(&bad, ""))
            .toml(&metrics_to(&collector, ""))
            .start()
            .await;
        for _ in 0..20 {
            site.reader().get("/").await.is(200, "<p>front</p>");
        }
        let _stopped = site.stopped().await;
        let series = collector::series(&collector);
        let counted = (spans(&series, "sent"), spans(&series, "lost"));
        let expected = if is_sent { (40.0, 0.0) } else { (0.0, 40.0) };
        assert_eq!(counted, expected, "{what}");
    }
}

/// An answer of a collector that has not taken so much of what it was sent.
fn refusing(count: i64) -> Reply {
    let answer = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: count,
            error_message: "over the quota".to_owned(),
        }),
    };
    typed(OTLP, answer.encode_to_vec())
}

#[tokio::test]
async fn what_a_collector_says_that_it_has_refused_is_counted_apart() {
    // of each batch one
    let collector = origin().on(TRACES, refusing(1)).on(METRICS, html(""));
    let collector = collector.start().await;
    let site = front()
        .toml(&traces_to(&collector, ""))
        .toml(&metrics_to(&collector, ""))
        .start()
        .await;
    for _ in 0..20 {
        site.reader().get("/").await.is(200, "<p>front</p>");
    }
    let _stopped = site.stopped().await;
    let batches = collector.hits(TRACES) as f64;
    let series = collector::series(&collector);
    let [sent, lost, refused] = ["sent", "lost", "refused"].map(|word| spans(&series, word));
    assert!(batches > 0.0);
    assert_eq!((sent, lost, refused), (40.0 - batches, 0.0, batches));
}

#[tokio::test]
async fn metrics_for_a_collector_that_does_not_take_them_are_counted_as_lost() {
    let bad = origin().on(METRICS, status(503)).start().await;
    let url = bad.url();
    let every_second =
        format!("[telemetry.metrics]\nendpoint = \"{url}{METRICS}\"\ninterval = \"1s\"");
    let site = front().toml(&every_second).start().await;
    bad.arrived(2).await;
    site.reader().get("/").await.is(200, "<p>front</p>");
    let (_, text) = Operator::of(&site).get("/metrics").await;
    let lost = scraped(&text)["marbre_metric_exports_total{result=\"lost\"}"];
    assert!(lost >= 1.0, "{lost}");
    // and those of which it has not taken all
    bad.on(METRICS, refusing(3));
    let seen = bad.hits(METRICS);
    bad.arrived(seen + 2).await;
    let (_, text) = Operator::of(&site).get("/metrics").await;
    let refused = scraped(&text)["marbre_metric_exports_total{result=\"refused\"}"];
    assert!(refused >= 1.0, "{refused}");
}

#[tokio::test]
async fn what_is_off_counts_no_page_and_still_keeps_the_record() {
    let collector = listening().await;
    let site = front()
        .toml("[telemetry]\nenabled = false")
        .toml(&metrics_to(&collector, ""))
        .toml(&traces_to(&collector, ""))
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>front</p>");
    let operator = Operator::of(&site);
    let (status, said) = operator.ask("POST", "/purge", "{\"all\": true}", &[]).await;
    assert_eq!(status, 200, "{said}");
    let (_, text) = operator.get("/metrics").await;
    let series = scraped(&text);
    assert_eq!(
        series["marbre_page_duration_seconds_count{page=\"front\"}"],
        0.0
    );
    assert_eq!(series["marbre_purges_total"], 1.0);
    let (_, journal) = operator.get("/journal?kinds=purge,tally").await;
    assert!(
        journal.contains("\"purge\"") && !journal.contains("\"tally\""),
        "{journal}"
    );
    let _stopped = site.stopped().await;
    assert_eq!(collector.targets(), Vec::<String>::new());
}
