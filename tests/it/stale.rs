//! A copy beyond its ttl is better than nothing, and better than waiting.

use crate::support::{Gate, Newsroom, Origin, html, newsroom, origin, raw, status};

async fn site_with(cms: &Origin, freshness: &str) -> Newsroom {
    newsroom()
        .toml(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\""
                .replace("{}", &cms.url())
                .as_str(),
        )
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            &format!("timeout = \"60s\"\n{freshness}"),
        )
        .page_within("page", "/", "[article]", "60s")
        .start()
        .await
}

/// Asks until the copy is no longer fresh.
async fn not_cached(site: &Newsroom) -> crate::support::Page {
    loop {
        let page = site.reader().get("/").await;
        if page.outcome("article") != Some("cached") {
            return page;
        }
    }
}

#[tokio::test]
async fn a_fresh_copy_asks_nobody() {
    let cms = origin().on("/article", html("<p>1</p>")).start().await;
    let site = site_with(&cms, "ttl = \"1h\"").await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    cms.kill();
    let page = site.reader().get("/").await;
    page.is(200, "<p>1</p>");
    assert_eq!(page.outcome("article"), Some("cached"));
}

#[tokio::test]
async fn with_a_stale_copy_a_slow_origin_is_not_waited_for() {
    let cms = origin().on("/article", html("<p>1</p>")).start().await;
    let site = site_with(&cms, "ttl = \"1ms\"\ngrace = \"1h\"\npatience = \"10ms\"").await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    let gate = Gate::closed();
    cms.on("/article", html("<p>2</p>").gated(&gate));
    // the gate is closed: waiting for the fresh answer would take the whole minute of the budget
    let page = not_cached(&site).await;
    page.is(200, "<p>1</p>");
    assert_eq!(page.outcome("article"), Some("stale"));
    gate.open();
    // the late answer is adopted
    while site.reader().get("/").await.body != "<p>2</p>" {}
}

#[tokio::test]
async fn a_failing_origin_is_covered_by_any_copy() {
    let broken = raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 99\r\n\r\n<p>");
    for reply in [
        status(500),
        status(503),
        html(""),
        raw("nonsense\r\n\r\n"),
        broken,
    ] {
        let cms = origin().on("/article", html("<p>1</p>")).start().await;
        let site = site_with(&cms, "ttl = \"1ms\"\nkeep = \"1h\"").await;
        site.reader().get("/").await.is(200, "<p>1</p>");
        cms.on("/article", reply);
        let page = not_cached(&site).await;
        page.is(200, "<p>1</p>");
        assert_eq!(page.outcome("article"), Some("stale"));
    }
}

#[tokio::test]
async fn the_origins_own_lifetime_counts_where_none_is_declared() {
    for (cache_control, asked) in [
        ("max-age=3600", 1),
        ("no-store", 2),
        ("s-maxage=0, max-age=9", 2),
    ] {
        let reply = html("<p>1</p>").header("cache-control", cache_control);
        let cms = origin().on("/article", reply).start().await;
        let site = site_with(&cms, "").await;
        site.reader().get("/").await.is(200, "<p>1</p>");
        site.reader().get("/").await.is(200, "<p>1</p>");
        assert_eq!(cms.hits("/article"), asked, "{cache_control}");
    }
}

#[tokio::test]
async fn nothing_to_show_replaces_what_was_shown() {
    let cms = origin()
        .on("/article", html("<p>1</p>"))
        .on("/block", html("<b>1</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment("block", "40", "cms:/block", "ttl = \"1ms\"\nkeep = \"1h\"")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>1</p><b>1</b>");
    cms.on("/block", status(404));
    while site.reader().get("/").await.body != "<p>1</p>" {}
    cms.on("/block", status(500));
    site.reader().get("/").await.is(200, "<p>1</p>");
}

#[tokio::test]
async fn a_flight_that_hangs_does_not_hold_up_the_pages_after_it() {
    let cms = origin()
        .on("/article", html("<p>1</p>"))
        .on("/block", raw("").then_hang())
        .start()
        .await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "timeout = \"100ms\"\nttl = \"1h\"",
        )
        .page("page", "/", "[article][block]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    // the service is well again, while the first flight still hangs on its old connection
    cms.on("/block", html("<b>1</b>"));
    // the next page may still be within the block's timeout, the one after it is not
    site.reader().get("/").await;
    site.reader().get("/").await.is(200, "<p>1</p><b>1</b>");
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_no_stale_copy_unless_the_site_knows_better() {
    for (ttl, status_then) in [("", 503), ("ttl = \"1ms\"\n", 200)] {
        let reply = html("<p>1</p>").header("cache-control", "no-store");
        let cms = origin().on("/article", reply).start().await;
        let site = site_with(&cms, &format!("{ttl}grace = \"1h\"\nkeep = \"1h\"")).await;
        site.reader().get("/").await.is(200, "<p>1</p>");
        cms.on("/article", status(500));
        assert_eq!(not_cached(&site).await.status, status_then, "{ttl}");
    }
}
