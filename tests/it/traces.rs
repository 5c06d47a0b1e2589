//! The trace of a page: what comes in goes out to origins, and the page says which one it is.

use crate::support::{html, newsroom, origin};

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
