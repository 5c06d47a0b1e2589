//! Too much to do: blocks go in the declared order and come back, pages are answered from snapshots, and
//! the article is always there. The work is emulated, so that a few readers are a crowd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use marbre::degradation::Job;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::support::newsroom::Draft;
use crate::support::{Gate, Newsroom, Origin, Page, html, newsroom, origin};

const FULL: &str = "<p>text</p><b>related</b><i>ads</i>";

async fn origins() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/related", html("<b>related</b>"))
        .on("/ads", html("<i>ads</i>"))
        .start()
        .await
}

fn draft(cms: &Origin) -> Draft {
    newsroom()
        .origin("cms", cms)
        .core("article", "cms:/article")
        .optional("related", 60, "cms:/related")
        .optional("ads", 10, "cms:/ads")
        .page("page", "/{slug}", "[article][related][ads]")
}

/// One at a time, and planning takes the longest.
fn slow_to_plan(job: Job<'_>) -> u64 {
    match job {
        Job::Plan => 50,
        Job::Render(_) | Job::Assemble => 0,
    }
}

async fn crowd(site: &Newsroom, path: &str, readers: usize) -> Vec<Page> {
    let reader = site.reader();
    join_all((0..readers).map(|_| reader.get(path))).await
}

#[tokio::test]
async fn a_page_that_waits_too_long_is_answered_from_its_snapshot() {
    let cms = origins().await;
    let site = draft(&cms)
        .degradation("workers = 1")
        .work(slow_to_plan)
        .start()
        .await;
    for _ in 0..2 {
        site.reader().get("/x").await.is(200, FULL);
    }
    let pages = crowd(&site, "/x", 12).await;
    let is_snapshot = |page: &&Page| {
        let says = page.header("marbre-level").unwrap();
        says.ends_with(";snapshot")
    };
    for page in &pages {
        assert_eq!(page.status, 200);
        assert!(page.body.contains("<p>text</p>"), "{page:?}");
    }
    let snapshots: Vec<_> = pages.iter().filter(is_snapshot).collect();
    assert!(!snapshots.is_empty(), "{pages:?}");
    for page in snapshots {
        page.is(200, FULL);
        assert_eq!(page.level(), 3, "one more than text only");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.header("age").is_some());
        let timing = page.header("server-timing").unwrap();
        assert!(timing.starts_with("page;desc=snapshot"), "{timing}");
    }
}

#[tokio::test]
async fn without_a_snapshot_it_is_composed_as_text() {
    let cms = origins().await;
    let site = draft(&cms)
        .without_snapshots()
        .degradation("workers = 1")
        .work(slow_to_plan)
        .start()
        .await;
    let pages = crowd(&site, "/x", 12).await;
    let mut texts = 0;
    for page in &pages {
        assert_eq!(page.status, 200, "{page:?}");
        match page.level() {
            0 => page.is(200, FULL),
            _ => assert!(page.body.starts_with("<p>text</p>"), "{page:?}"),
        }
        if page.level() == 2 {
            page.is(200, "<p>text</p>");
            let says = page.header("marbre-level").unwrap();
            assert!(says.ends_with(";off=\"related ads\""), "{says}");
            texts += 1;
        }
    }
    assert!(texts > 0, "{pages:?}");
}

#[tokio::test]
async fn only_where_there_is_neither_is_a_page_refused() {
    let gate = Gate::closed();
    let cms = origins().await;
    cms.on("/article", html("<p>text</p>").gated(&gate));
    let site = draft(&cms).server("max_pages_in_flight = 1").start().await;
    let reader = site.reader();
    let (full, text, refused) = tokio::join!(
        reader.get("/x"),
        async {
            cms.arrived(1).await;
            reader.get("/x").await
        },
        async {
            cms.arrived(4).await;
            let refused = reader.get("/x").await;
            gate.open();
            refused
        },
    );
    full.is(200, FULL);
    text.is(200, "<p>text</p>");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    let tally = &site.state().await["tally"];
    assert_eq!(
        (&tally["pages"], &tally["unavailable"]),
        (&3.into(), &1.into()),
        "{tally}"
    );
}

#[tokio::test]
async fn a_reader_who_leaves_while_the_page_waits_for_its_turn_is_counted() {
    let cms = origins().await;
    let slow = |job: Job<'_>| if job == Job::Plan { 300 } else { 0 };
    let site = draft(&cms)
        .degradation("workers = 1")
        .work(slow)
        .start()
        .await;
    let reader = site.reader();
    let leaves = async {
        // the other one has the turn, and asks when it has planned
        let mut stream = reader.connect().await;
        let request = b"GET /y HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        cms.arrived(1).await;
    };
    let (full, ()) = tokio::join!(reader.get("/x"), leaves);
    assert_eq!(full.status, 200);
    let both = |state: &Value| state["tally"]["pages"] == 2 && state["tally"]["left"] == 1;
    site.state_when("reader who left", both).await;
}

#[tokio::test]
async fn beyond_the_limit_in_flight_a_page_that_was_seen_is_its_snapshot() {
    let gate = Gate::closed();
    let cms = origins().await;
    let site = draft(&cms).server("max_pages_in_flight = 1").start().await;
    let reader = site.reader();
    for _ in 0..2 {
        reader.get("/x").await.is(200, FULL);
    }
    let asked = cms.hits("/article");
    cms.on("/article", html("<p>text</p>").gated(&gate));
    let others = async {
        cms.arrived(1).await;
        let others = crowd(&site, "/x", 20).await;
        gate.open();
        others
    };
    let (full, others) = tokio::join!(reader.get("/x"), others);
    full.is(200, FULL);
    for other in others {
        other.is(200, FULL);
        assert_eq!(other.level(), 3);
    }
    assert_eq!(cms.hits("/article"), asked + 1);
}

/// What readers see while they ask as fast as they are answered, until `enough`.
async fn load(site: &Newsroom, enough: impl Fn(&Page) -> bool) -> Vec<Page> {
    let (done, enough) = (AtomicBool::new(false), &enough);
    let readers = (0..16).map(|number| {
        let (reader, done) = (site.reader(), &done);
        async move {
            let cookie = format!("id={number}");
            let mut pages = Vec::new();
            // a bound for the case that it never happens
            while pages.len() < 400 && !done.load(Ordering::SeqCst) {
                let page = reader.get_with("/x", &[("cookie", &cookie)]).await;
                if enough(&page) {
                    done.store(true, Ordering::SeqCst);
                }
                pages.push(page);
            }
            pages
        }
    });
    let pages = join_all(readers).await;
    let pages = pages.into_iter().flatten().collect();
    let seen = ticks(site).await;
    assert!(done.load(Ordering::SeqCst), "it has happened: {seen:#?}");
    pages
}

fn costly(job: Job<'_>) -> u64 {
    match job {
        Job::Render("ads") => 20,
        Job::Render("related") => 10,
        Job::Plan | Job::Render(_) | Job::Assemble => 1,
    }
}

const LOADED: &str = "workers = 1\nreader_cookie = \"id\"";

#[tokio::test]
async fn blocks_go_in_the_declared_order_and_come_back() {
    let cms = origins().await;
    let site = draft(&cms)
        .without_snapshots()
        .degradation(LOADED)
        .work(costly)
        .start()
        .await;
    site.reader().get("/x").await.is(200, FULL);
    let pages = load(&site, |page| page.outcome("ads") == Some("shed")).await;
    for page in &pages {
        assert_eq!(page.status, 200);
        assert!(page.body.contains("<p>text</p>"), "{page:?}");
        let shed = |name| page.outcome(name) == Some("shed");
        assert!(!shed("related") || shed("ads"), "{page:?}");
    }
    let seen = ticks(&site).await;
    let is_short = |tick: &Value| tick["theta"].as_f64() < Some(1.0);
    assert!(seen.iter().any(is_short), "{seen:#?}");
    // the crowd has gone: who comes now is shown all of it
    site.state_when("law that gives nothing up", |state| {
        state["law"]["theta"] == 1.0
    })
    .await;
    let page = site.reader().get("/x").await;
    assert_eq!(page.header("marbre-level"), Some("0"), "{page:?}");
    page.is(200, FULL);
}

/// No page is declared: what there is to give up is in the documents of a proxy.
#[tokio::test]
async fn woven_pages_give_their_includes_up_and_get_them_back() {
    let cms = origins().await;
    cms.on(
        "/x",
        html("<p>text</p><esi:include src=\"/related\"/><esi:include src=\"/ads\"/>"),
    );
    let site = newsroom()
        .weaving("esi", &cms)
        .optional("related", 60, "cms:/related")
        .optional("ads", 10, "cms:/ads")
        .degradation(LOADED)
        .work(costly)
        .start()
        .await;
    let pages = load(&site, |page| !page.body.contains("<i>ads</i>")).await;
    for page in &pages {
        assert_eq!(page.status, 200);
        assert!(page.body.starts_with("<p>text</p>"), "{page:?}");
    }
    let seen = ticks(&site).await;
    let is_short = |tick: &Value| tick["theta"].as_f64() < Some(1.0);
    assert!(seen.iter().any(is_short), "{seen:#?}");
    // of the page 30 ms can be given up; its document cannot, and no work of it is emulated
    let is_known = |tick: &Value| {
        tick["optional_ms"].as_f64() >= Some(20.0) && tick["base_ms"].as_f64() > Some(0.0)
    };
    assert!(seen.iter().any(is_known), "{seen:#?}");
    site.state_when("law that gives nothing up", |state| {
        state["law"]["theta"] == 1.0
    })
    .await;
    site.reader().get("/x").await.is(200, FULL);
}

async fn ticks(site: &Newsroom) -> Vec<Value> {
    let lines = site.admin_text("/samples?since=0").await;
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_dry_run_decides_and_gives_nothing_up() {
    let cms = origins().await;
    let site = draft(&cms)
        .degradation(&format!("mode = \"dry-run\"\n{LOADED}"))
        .work(costly)
        .start()
        .await;
    let (site, stop) = (Arc::new(site), Arc::new(AtomicBool::new(false)));
    let watching = {
        let (site, stop) = (Arc::clone(&site), Arc::clone(&stop));
        async move {
            let is_short = |state: &Value| state["law"]["theta"].as_f64() < Some(1.0);
            site.state_when("decision to give something up", |state| {
                !state["law"].is_null() && is_short(state)
            })
            .await;
            stop.store(true, Ordering::SeqCst);
        }
    };
    let (pages, ()) = tokio::join!(load(&site, |_| stop.load(Ordering::SeqCst)), watching);
    for page in pages {
        assert_eq!(page.level(), 0, "{page:?}");
        assert_eq!(page.outcome("ads").filter(|o| *o == "shed"), None);
    }
}

#[tokio::test]
async fn the_law_is_told_what_blocks_cost() {
    let cms = origins().await;
    let site = draft(&cms).degradation(LOADED).work(costly).start().await;
    for _ in 0..5 {
        site.reader().get("/x").await.is(200, FULL);
    }
    // so much is slept, and sleeping takes longer than that
    let known = |state: &Value| {
        let law = &state["law"];
        law["optional_ms"].as_f64() >= Some(30.0) && law["base_ms"].as_f64() >= Some(3.0)
    };
    site.state_when("cost of all that was done", known).await;
}
