//! What a page cannot do without, where its origin is left alone: its copy at once, and a chance
//! where there is none. What others ask in vain is not held against it.

use futures::future::join_all;

use crate::support::newsroom::Draft;
use crate::support::{Gate, Newsroom, Origin, html, newsroom, origin, raw, status};

/// Left alone for longer than any test takes.
const BREAKER: &str =
    "[origins.cms.breaker]\nmin_requests = 10\nopen = \"60s\"\nopen_max = \"60s\"";

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";

/// A site with these pages and blocks from `cms`, and a page by which its breaker is opened for cores.
fn site_of(cms: &Origin) -> Draft {
    cms.on("/lost", status(500));
    newsroom()
        .patient_origin("cms", &cms.url())
        .toml(BREAKER)
        .fragment("lost", "\"core\"", "cms:/lost", PATIENT)
        .page_within("lost", "/lost", "[lost]", "25s")
}

async fn breaker_of(site: &Newsroom, grade: &str) -> String {
    let state = site.origin_state("cms").await;
    let breaker = state["breaker"][grade]["state"].as_str();
    breaker.expect("there is one for each grade").to_owned()
}

async fn open_breaker(site: &Newsroom) {
    while breaker_of(site, "core").await == "closed" {
        assert_eq!(site.regular().get("/lost").await.status, 503);
    }
    assert_eq!(breaker_of(site, "core").await, "open");
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
    assert_eq!(breaker_of(&site, "core").await, "open");
}

#[tokio::test]
async fn a_core_without_a_copy_need_not_wait_for_the_end_of_the_pause() {
    let cms = origin().on("/article", status(500)).start().await;
    let site = site_of(&cms)
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .page_within("page", "/", "[article]", "25s")
        .without_snapshots()
        .start()
        .await;
    let reader = site.regular();
    open_breaker(&site).await;
    assert_eq!(reader.get("/").await.status, 503);
    assert_eq!(cms.hits("/article"), 1, "it has its chance");
    assert_eq!(breaker_of(&site, "core").await, "open");
    cms.on("/article", html("<p>text</p>"));
    // a second at most, and the origin is left alone for a minute
    loop {
        let page = reader.get("/").await;
        if page.status == 200 {
            page.is(200, "<p>text</p>");
            break;
        }
    }
    assert!(cms.hits("/article") >= 2);
    // that was as good as a probe, and what it told is good for all of them
    assert_ne!(breaker_of(&site, "core").await, "open");
    for _ in 0..5 {
        reader.get("/").await.is(200, "<p>text</p>");
    }
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
async fn what_blocks_ask_in_vain_costs_no_article() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/header", status(500))
        .on("/gossip", status(500))
        .start()
        .await;
    let keys = format!("{PATIENT}\nfallback = [\"inline:<i>stand-in</i>\"]");
    let site = site_of(&cms)
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("header", "\"essential\"", "cms:/header", &keys)
        .fragment("gossip", "10", "cms:/gossip", PATIENT)
        .page_within("page", "/", "[header][article][gossip]", "25s")
        .without_snapshots()
        .start()
        .await;
    let reader = site.regular();
    while breaker_of(&site, "optional").await == "closed" {
        reader.get("/").await.is(200, "<i>stand-in</i><p>text</p>");
    }
    for _ in 0..20 {
        reader.get("/").await.is(200, "<i>stand-in</i><p>text</p>");
    }
    assert_eq!(breaker_of(&site, "essential").await, "open");
    assert_eq!(breaker_of(&site, "core").await, "closed");
    assert_eq!(site.complaint("gossip").await, "failed (breaker open)");
    assert_eq!(site.complaint("header").await, "inline (breaker open)");
    // and the other way round: what the article has lost the blocks still have
    cms.on("/gossip", html("<p>gossip</p>"));
    let hits = cms.hits("/gossip");
    open_breaker(&site).await;
    assert_eq!(
        cms.hits("/gossip"),
        hits,
        "they are left alone by their own measure"
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
    while !reader.get("/gossip").await.body.contains("<p>gossip</p>") {}
    cms.on("/gossip", raw("").then_hang());
    while breaker_of(&site, "optional").await == "closed" {
        let pages = (0..10).map(|_| reader.get("/gossip"));
        for page in join_all(pages).await {
            page.is(200, "<p>note</p>");
        }
    }
    let state = site.origin_state("cms").await;
    let why = state["breaker"]["optional"]["opened_because"]
        .as_str()
        .unwrap();
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
    assert_eq!(breaker_of(&site, "optional").await, "open");
}
