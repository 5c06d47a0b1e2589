//! What a page cannot do without, where its origin is left alone: its copy at once, and a chance
//! where there is none.

use futures::future::join_all;

use crate::support::newsroom::Draft;
use crate::support::{Gate, Newsroom, Origin, html, newsroom, origin, raw, status};

/// Left alone for longer than any test takes.
const BREAKER: &str =
    "[origins.cms.breaker]\nmin_requests = 10\nopen = \"60s\"\nopen_max = \"60s\"";

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";

/// A site with these pages and blocks from `cms`, and a page by which its breaker is opened.
fn site_of(cms: &Origin) -> Draft {
    cms.on("/gossip", status(500));
    newsroom()
        .patient_origin("cms", &cms.url())
        .toml(BREAKER)
        .fragment("note", "\"core\"", "inline:<p>note</p>", "")
        .fragment("gossip", "10", "cms:/gossip", PATIENT)
        .page_within("gossip", "/gossip", "[note][gossip]", "25s")
}

async fn open_breaker(site: &Newsroom) {
    while site.origin_state("cms").await["breaker"]["state"] == "closed" {
        site.regular().get("/gossip").await.is(200, "<p>note</p>");
    }
    let state = site.origin_state("cms").await;
    assert_eq!(state["breaker"]["state"], "open", "{state:#}");
}

#[tokio::test]
async fn a_copy_is_served_at_once() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    // whoever waited for the origin would wait longer than any reader
    let keys = "timeout = \"60s\"\nttl = \"1ms\"\njitter = 0\ngrace = \"1h\"\npatience = \"60s\"";
    let site = site_of(&cms)
        .fragment("article", "\"core\"", "cms:/article", keys)
        .page_within("page", "/", "[article]", "60s")
        .without_snapshots()
        .start()
        .await;
    let reader = site.regular();
    reader.get("/").await.is(200, "<p>text</p>");
    open_breaker(&site).await;
    let hits = cms.hits("/article");
    cms.on("/article", raw("").then_hang());
    for _ in 0..20 {
        let page = reader.get("/").await;
        page.is(200, "<p>text</p>");
        assert_eq!(page.outcome("article"), Some("stale"));
    }
    assert_eq!(cms.hits("/article"), hits);
    assert_eq!(site.origin_state("cms").await["breaker"]["state"], "open");
}

#[tokio::test]
async fn a_core_without_a_copy_is_whole_as_soon_as_its_origin_is_well() {
    let cms = origin().on("/article", status(500)).start().await;
    let site = site_of(&cms)
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("gossip-too", "20", "cms:/gossip", PATIENT)
        .page_within("page", "/", "[article][gossip-too]", "25s")
        .without_snapshots()
        .start()
        .await;
    let reader = site.regular();
    open_breaker(&site).await;
    let gossip = cms.hits("/gossip");
    for n in 1..=3 {
        assert_eq!(reader.get("/").await.status, 503);
        assert_eq!(cms.hits("/article"), n, "it has its chance each time");
    }
    assert_eq!(site.origin_state("cms").await["breaker"]["state"], "open");
    cms.on("/article", html("<p>text</p>"));
    reader.get("/").await.is(200, "<p>text</p>");
    assert_eq!(cms.hits("/gossip"), gossip, "what is optional waits");
    // that was as good as a probe
    let state = site.origin_state("cms").await;
    assert_eq!(state["breaker"]["state"], "half_open", "{state:#}");
}

#[tokio::test]
async fn cores_without_a_copy_have_their_chance_one_at_a_time() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/articles/a", html("<p>a</p>").gated(&gate))
        .on("/articles/b", html("<p>b</p>"))
        .start()
        .await;
    let site = site_of(&cms)
        .fragment("article", "\"core\"", "cms:/articles/{slug}", PATIENT)
        .page_within("page", "/articles/{slug}", "[article]", "25s")
        .without_snapshots()
        .start()
        .await;
    open_breaker(&site).await;
    let before = cms.targets().len();
    let reader = site.regular();
    let others = async {
        cms.arrived(before + 1).await;
        for _ in 0..5 {
            assert_eq!(reader.get("/articles/b").await.status, 503);
        }
        assert_eq!(cms.hits("/articles/b"), 0);
        assert_eq!(site.complaint("article").await, "failed (breaker open)");
        gate.open();
    };
    let (page, ()) = tokio::join!(reader.get("/articles/a"), others);
    page.is(200, "<p>a</p>");
    reader.get("/articles/b").await.is(200, "<p>b</p>");
}

#[tokio::test]
async fn so_has_an_essential_fragment_that_has_nothing_else_to_show() {
    let cms = origin().on("/header", status(500)).start().await;
    let keys = format!("{PATIENT}\nfallback = [\"inline:<i>stand-in</i>\"]");
    let site = site_of(&cms)
        .fragment("header", "\"essential\"", "cms:/header", PATIENT)
        .fragment("footer", "\"essential\"", "cms:/footer", &keys)
        .page_within("page", "/", "[header][note][footer]", "25s")
        .start()
        .await;
    let reader = site.regular();
    open_breaker(&site).await;
    for n in 1..=3 {
        reader.get("/").await.is(200, "<p>note</p><i>stand-in</i>");
        assert_eq!(cms.hits("/header"), n);
    }
    assert_eq!(site.complaint("footer").await, "inline (breaker open)");
    assert_eq!(site.complaint("header").await, "failed (status 500)");
    cms.on("/header", html("<p>header</p>"));
    let page = reader.get("/").await;
    assert!(
        page.body.starts_with("<p>header</p><p>note</p>"),
        "{}",
        page.body
    );
}

/// A site whose origin is left alone because its answers are late, not because it fails.
async fn slow_site(cms: &Origin) -> Newsroom {
    // there have always been good answers too
    let slow = "[origins.cms.breaker]\nwindow = \"10m\"\nfailed = 100\nin_a_row = 100000\n\
                open = \"60s\"\nopen_max = \"60s\"";
    cms.on("/gossip", html("<p>gossip</p>"));
    let copied = "timeout = \"20s\"\nttl = \"1ms\"\njitter = 0\ngrace = \"1h\"\npatience = \"20s\"";
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"\nmax_in_flight = 10000\n{slow}",
            cms.url()
        ))
        .fragment("note", "\"core\"", "inline:<p>note</p>", "")
        .fragment(
            "gossip",
            "10",
            "cms:/gossip",
            "timeout = \"20ms\"\nttl = \"0s\"",
        )
        .page_within("gossip", "/gossip", "[note][gossip]", "25s")
        .fragment("article", "\"core\"", "cms:/articles/{slug}", PATIENT)
        .page_within("article", "/articles/{slug}", "[article]", "25s")
        .fragment("front", "\"core\"", "cms:/front", copied)
        .page_within("front", "/", "[front]", "25s")
        .without_snapshots()
        .start()
        .await;
    let reader = site.regular();
    reader.get("/").await.is(200, "<p>front</p>");
    cms.on("/gossip", raw("").then_hang());
    while site.origin_state("cms").await["breaker"]["state"] == "closed" {
        let pages = (0..10).map(|_| reader.get("/gossip"));
        for page in join_all(pages).await {
            page.is(200, "<p>note</p>");
        }
    }
    let state = site.origin_state("cms").await;
    let why = state["breaker"]["why"].as_str().unwrap();
    assert!(why.ends_with(" requests were slow or failed"), "{why}");
    site
}

#[tokio::test]
async fn a_core_passes_where_its_origin_is_only_slow() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/articles/a", html("<p>a</p>").gated(&gate))
        .on("/articles/b", html("<p>b</p>").gated(&gate))
        .on("/front", html("<p>front</p>"))
        .start()
        .await;
    let site = slow_site(&cms).await;
    // all that was asked has arrived
    let asked = site.origin_state("cms").await["attempts"].as_u64().unwrap();
    let before = asked as usize;
    cms.arrived(before).await;
    let gossip = cms.hits("/gossip");
    let reader = site.regular();
    // side by side, not one at a time
    let both = async {
        cms.arrived(before + 2).await;
        gate.open();
    };
    let (a, b, ()) = tokio::join!(reader.get("/articles/a"), reader.get("/articles/b"), both);
    a.is(200, "<p>a</p>");
    b.is(200, "<p>b</p>");
    // and although there is a copy
    cms.on("/front", html("<p>new front</p>"));
    reader.get("/").await.is(200, "<p>new front</p>");
    reader.get("/gossip").await.is(200, "<p>note</p>");
    assert_eq!(site.complaint("gossip").await, "failed (breaker open)");
    assert_eq!(cms.hits("/gossip"), gossip);
    assert_eq!(site.origin_state("cms").await["breaker"]["state"], "open");
}
