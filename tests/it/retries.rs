//! What may be over a moment later is tried once more: only then, only so often, and only while the
//! reader waits.

use crate::support::newsroom::Draft;
use crate::support::origin::Unstarted;
use crate::support::{Gate, Newsroom, Origin, Reply, html, newsroom, origin, raw, status};

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";
const WHOLE: &str = "<p>text</p><b>block</b>";
const WITHOUT: &str = "<p>text</p>";

/// An article and a block as they are when all is well.
fn well() -> Unstarted {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", html("<b>block</b>"))
}

/// A page of the two.
fn site_of(cms: &Origin, retry: &str, block: &str) -> Draft {
    newsroom()
        .patient_origin("cms", &cms.url())
        .toml(&format!("[origins.cms.retry]\n{retry}"))
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("block", "40", "cms:/block", block)
        .fragment("advert", "1", "inline:<i>advert</i>", "")
        .page_within("page", "/", "[article][block]", "25s")
        .without_snapshots()
}

/// A block that is first answered like this: what the page shows, and how often it was asked.
async fn block_after(first: Reply, retry: &str) -> (String, usize, Newsroom) {
    let cms = well().first("/block", first).start().await;
    let site = site_of(&cms, retry, PATIENT).start().await;
    let page = site.regular().get("/").await;
    assert_eq!(page.status, 200);
    (page.body, cms.hits("/block"), site)
}

#[tokio::test]
async fn an_answer_that_may_be_better_a_moment_later_is_asked_for_once_more() {
    for code in [502, 503, 504] {
        let cms = well()
            .first("/article", status(code))
            .first("/block", status(code))
            .start()
            .await;
        let site = site_of(&cms, "", PATIENT).start().await;
        site.regular().get("/").await.is(200, WHOLE);
        assert_eq!((cms.hits("/article"), cms.hits("/block")), (2, 2), "{code}");
        let state = site.origin_state("cms").await;
        assert_eq!(state["retries"], 2, "{state:#}");
        assert_eq!(
            (&state["requests"], &state["attempts"]),
            (&2.into(), &4.into())
        );
        assert_eq!(
            state["failed"], 0,
            "what was whole in the end has not failed"
        );
    }
}

#[tokio::test]
async fn one_that_will_not_be_is_not_unless_the_site_says_so() {
    for code in [500, 400, 429] {
        let (page, hits, _site) = block_after(status(code), "").await;
        assert_eq!((page.as_str(), hits), (WITHOUT, 1), "{code}");
        let declared = format!("statuses = [{code}]");
        let (page, hits, _site) = block_after(status(code), &declared).await;
        assert_eq!((page.as_str(), hits), (WHOLE, 2), "{code}");
    }
    let (page, hits, _site) = block_after(status(503), "statuses = []").await;
    assert_eq!((page.as_str(), hits), (WITHOUT, 1));
}

#[tokio::test]
async fn there_are_as_many_attempts_as_declared() {
    for attempts in [1, 2, 4] {
        let cms = well().on("/article", status(503)).start().await;
        let retry = format!("attempts = {attempts}\nbackoff = \"1ms\"");
        let site = site_of(&cms, &retry, PATIENT).start().await;
        assert_eq!(site.regular().get("/").await.status, 503);
        assert_eq!(cms.hits("/article"), attempts);
        assert_eq!(site.origin_state("cms").await["failed"], 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_is_tried_again() {
    for broken in [
        raw("").then_reset(),
        raw(""),
        raw("HTTP/1.1 200 OK\r\nconte"),
    ] {
        let (page, hits, _site) = block_after(broken.clone(), "").await;
        assert_eq!((page.as_str(), hits), (WHOLE, 2));
        let (page, hits, site) = block_after(broken, "attempts = 1").await;
        assert_eq!((page.as_str(), hits), (WITHOUT, 1));
        let said = site.complaint("block").await;
        assert!(said.starts_with("failed (broken: "), "{said}");
    }
}

#[tokio::test]
async fn one_that_breaks_within_it_is_not() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 100\r\n\r\n<b>";
    for cut in [raw(head), raw(head).then_reset()] {
        let (page, hits, site) = block_after(cut, "").await;
        assert_eq!((page.as_str(), hits), (WITHOUT, 1));
        let said = site.complaint("block").await;
        assert!(said.starts_with("failed (truncated: "), "{said}");
    }
}

#[tokio::test]
async fn nothing_is_tried_again_when_the_page_has_gone_without_it() {
    let gate = Gate::closed();
    let late = status(503).gated(&gate);
    let cms = well().first("/block", late).start().await;
    let impatient = "timeout = \"50ms\"\nttl = \"0s\"";
    let site = site_of(&cms, "", impatient).start().await;
    site.regular().get("/").await.is(200, WITHOUT);
    assert_eq!(site.complaint("block").await, "failed (timeout)");
    gate.open();
    site.state_when("end", |state| state["flights"] == 0).await;
    assert_eq!(cms.hits("/block"), 1);
    assert_eq!(site.origin_state("cms").await["retries"], 0);
}

#[tokio::test]
async fn who_asks_to_be_left_alone_for_longer_than_the_page_has_is_left_alone() {
    for wait in ["20", "3600", "Fri, 31 Dec 2100 23:59:59 GMT"] {
        let busy = status(503).header("retry-after", wait);
        let (page, hits, _site) = block_after(busy, "").await;
        assert_eq!((page.as_str(), hits), (WITHOUT, 1), "{wait}");
    }
}

#[tokio::test]
async fn who_asks_for_a_moment_has_it() {
    let busy = status(503).header("retry-after", "1");
    let cms = well().first("/block", busy).start().await;
    let site = site_of(&cms, "backoff = \"0s\"", PATIENT)
        .fragment("other", "50", "cms:/other", PATIENT)
        .page_within("other", "/other", "[article][other]", "25s")
        .start()
        .await;
    let reader = site.regular();
    let meanwhile = async {
        cms.arrived(2).await;
        reader.get("/other").await
    };
    let (page, _) = tokio::join!(reader.get("/"), meanwhile);
    page.is(200, WHOLE);
    // nobody waited for anything else, so it was the second that let the others go first
    let mut targets = cms.targets();
    targets.retain(|target| target != "/article");
    assert_eq!(targets, ["/block", "/other", "/block"]);
}

#[tokio::test]
async fn a_page_that_gives_blocks_up_tries_only_its_core_again() {
    for (level, page, block_hits) in [(0, WHOLE, 2), (1, WITHOUT, 1)] {
        let cms = well()
            .first("/article", status(503))
            .first("/block", status(503))
            .start()
            .await;
        let site = site_of(&cms, "", PATIENT)
            .page_within(
                "page-with-advert",
                "/advert",
                "[article][block][advert]",
                "25s",
            )
            .level(level)
            .start()
            .await;
        site.regular().get("/").await.is(200, page);
        assert_eq!((cms.hits("/article"), cms.hits("/block")), (2, block_hits));
    }
}

/// How many requests are made for 50 pages whose block fails.
async fn attempts_of_50(budget: &str) -> usize {
    let cms = well().on("/block", status(503)).start().await;
    let retry = format!("{budget}\nbackoff = \"0s\"");
    let site = site_of(&cms, &retry, PATIENT)
        .toml("[origins.cms.breaker]\nenabled = false")
        .start()
        .await;
    for _ in 0..50 {
        site.regular().get("/").await.is(200, WITHOUT);
    }
    let attempts = cms.hits("/block");
    let state = site.origin_state("cms").await;
    assert_eq!(state["retries"], attempts - 50, "{state:#}");
    attempts
}

#[tokio::test]
async fn retries_are_a_share_of_what_is_asked() {
    assert_eq!(attempts_of_50("budget = 0").await, 50);
    // of a hundred requests, for every page has an article too
    assert_eq!(attempts_of_50("budget = 10").await, 50 + 10);
    assert_eq!(attempts_of_50("budget = 100").await, 50 + 50);
    // of few requests a share is nothing, and three are allowed
    assert_eq!(attempts_of_50("budget = 1").await, 50 + 3);
}

#[tokio::test]
async fn an_origin_that_is_left_alone_is_not_asked_twice() {
    let cms = well().on("/block", status(503)).start().await;
    let breaker =
        "[origins.cms.breaker]\nmin_requests = 4\nfailed = 1\nopen = \"10ms\"\nopen_max = \"10ms\"";
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .toml("[origins.cms.retry]\nbudget = 100\nbackoff = \"0s\"")
        .toml(breaker)
        .fragment("note", "\"core\"", "inline:<p>note</p>", "")
        .fragment("block", "40", "cms:/block", PATIENT)
        .page_within("page", "/", "[note][block]", "25s")
        .start()
        .await;
    let reader = site.regular();
    while site.origin_state("cms").await["breaker"]["optional"]["trips"] != 5 {
        reader.get("/").await.is(200, "<p>note</p>");
    }
    // four of two attempts each open it, and then there are four probes
    assert_eq!(cms.hits("/block"), 8 + 4);
    assert_eq!(site.origin_state("cms").await["retries"], 4);
}
