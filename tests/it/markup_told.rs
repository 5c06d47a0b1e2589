//! What operators see of pages that documents were woven into is what they see of declared ones: counts,
//! records, objectives, and how one page was made.

use std::time::Duration;

use marbre::clock::Clock;
use marbre::site::DebugSecret;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::newsroom::Draft;
use crate::support::origin::typed;
use crate::support::{Newsroom, Operator, Origin, html, json, newsroom, origin, raw, status};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what is told a moment later.
const PAUSE: Duration = Duration::from_millis(10);

const PAGE: &str = "<b>1</b><esi:include src=\"/menu\"/><esi:include src=\"/sick\"/>";

async fn cms() -> Origin {
    origin()
        .on("/whole", html("<esi:include src=\"/menu\"/>"))
        .on("/page", html(PAGE))
        .on("/menu", html("MENU").header("cache-control", "max-age=600"))
        .on("/sick", status(500))
        .start()
        .await
}

fn draft(cms: &Origin) -> Draft {
    newsroom().weaving("esi", cms)
}

/// The value of a series.
async fn counted(site: &Newsroom, series: &str) -> f64 {
    let (_, text) = Operator::of(site).get("/metrics").await;
    let found = text.lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        (name == series).then(|| value.parse().unwrap())
    });
    found.unwrap_or_else(|| panic!("no {series}:\n{text}"))
}

async fn pages(site: &Newsroom, completeness: &str) -> f64 {
    let labels = format!("page=\"/{{*rest}}\",level=\"0\",completeness=\"{completeness}\"");
    counted(site, &format!("marbre_pages_total{{{labels}}}")).await
}

#[tokio::test]
async fn woven_pages_are_counted_by_what_became_of_them() {
    let cms = cms().await;
    let site = draft(&cms).start().await;
    let reader = site.reader();
    reader.get("/whole").await.is(200, "MENU");
    reader.get("/page").await.is(200, "<b>1</b>MENU");
    let (operator, bound) = (Operator::of(&site), "marbre_page_duration_seconds_count");
    assert_eq!(pages(&site, "complete").await, 1.0);
    assert_eq!(pages(&site, "incomplete").await, 1.0);
    for histogram in [bound, "marbre_page_head_seconds_count"] {
        let count = counted(&site, &format!("{histogram}{{page=\"/{{*rest}}\"}}")).await;
        assert_eq!(count, 2.0, "{histogram}");
    }
    // what is no page is not counted as one, and nor is what was asked for as something else
    let image = [("accept", "image/webp,*/*")];
    cms.on("/image", typed("image/png", "x"));
    reader.get("/image").await;
    cms.on("/gone.png", raw("").then_close());
    assert_eq!(reader.get_with("/gone.png", &image).await.status, 502);
    assert_eq!(pages(&site, "unavailable").await, 0.0);
    // what has no document is
    cms.on("/dead", raw("").then_close());
    assert_eq!(reader.get("/dead").await.status, 502);
    cms.on("/none", status(404));
    assert_eq!(reader.get("/none").await.status, 404);
    let head = reader.request("HEAD", "/whole");
    reader.send(head).await;
    assert_eq!(pages(&site, "unavailable").await, 1.0);
    assert_eq!(pages(&site, "other_status").await, 1.0);
    assert_eq!(pages(&site, "complete").await, 2.0);
    let tally = &site.state().await["tally"];
    assert_eq!(tally["pages"], 5, "{tally}");
    assert_eq!(tally["unavailable"], 1, "{tally}");
    let (_, text) = operator.get("/metrics").await;
    assert!(!text.contains("/whole"), "a path is no label:\n{text}");
}

#[tokio::test]
async fn the_document_is_a_block_of_its_page() {
    let cms = cms().await;
    cms.on(
        "/kept",
        html("<esi:include src=\"/menu\"/>").header("cache-control", "max-age=600"),
    );
    let site = draft(&cms).start().await;
    let reader = site.reader();
    for _ in 0..3 {
        reader.get("/kept").await.is(200, "MENU");
    }
    cms.on("/dead", raw("").then_close());
    assert_eq!(reader.get("/dead").await.status, 502);
    for (outcome, times) in [("fetched", 1.0), ("cached", 2.0), ("failed", 1.0)] {
        let labels = format!("fragment=\"document-cms\",outcome=\"{outcome}\"");
        let series = format!("marbre_fragment_outcomes_total{{{labels}}}");
        assert_eq!(counted(&site, &series).await, times, "{outcome}");
    }
    let trouble = "marbre_fragment_troubles_total{fragment=\"document-cms\",cause=\"transport\"}";
    assert_eq!(counted(&site, trouble).await, 1.0);
    // it can be purged by that name
    let (code, said) = Operator::of(&site)
        .ask("POST", "/purge?fragment=document-cms&hard=true", "", &[])
        .await;
    assert_eq!(code, 200, "{said}");
    reader.get("/kept").await.is(200, "MENU");
    let asked = cms.targets().into_iter().filter(|target| target == "/kept");
    assert_eq!(asked.count(), 2);
}

/// Each of them once, and nothing that was no page.
#[tokio::test]
async fn the_law_is_told_of_woven_pages() {
    let cms = cms().await;
    cms.on("/image", typed("image/png", "x"));
    let site = draft(&cms).start().await;
    let reader = site.reader();
    let (mut asked, mut arrivals, mut last) = (0, 0, Value::Null);
    let told = timeout(PATIENCE, async {
        // the first may have come before the first tick, or before the watch for changes was begun
        while arrivals < 20 {
            reader.get("/whole").await.is(200, "MENU");
            asked += 1;
            for _ in 0..3 {
                reader.get("/image").await;
            }
            let ticks = site.admin_text("/samples?since=0").await;
            let ticks = ticks.lines().map(serde_json::from_str::<Value>);
            let ticks: Vec<Value> = ticks.map(Result::unwrap).collect();
            let counted = ticks.iter().map(|tick| tick["arrivals"].as_u64().unwrap());
            arrivals = counted.sum::<u64>();
            last = ticks.last().cloned().unwrap_or_default();
        }
    });
    assert!(told.await.is_ok(), "{arrivals} of {asked}: {last}");
    assert!(arrivals <= asked, "{arrivals} of {asked}");
    assert!(last["base_ms"].as_f64() > Some(0.0), "{last}");
}

#[tokio::test]
async fn a_page_that_breaks_off_is_one_that_its_reader_did_not_get() {
    let cms = cms().await;
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 900\r\n\r\n<p>half";
    cms.on("/cut", raw(cut).then_close());
    let site = draft(&cms).start().await;
    let answer = site
        .reader()
        .bytes("GET /cut HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(pages(&site, "unavailable").await, 1.0);
    assert_eq!(pages(&site, "left").await, 0.0);
}

#[tokio::test]
async fn a_woven_page_says_how_it_was_made() {
    let cms = cms().await;
    let keys = format!("[telemetry]\ndebug_secret = \"{SECRET}\"");
    let site = draft(&cms).toml(&keys).start().await;
    let page = site.reader().get("/page").await;
    let timing = page.header("server-timing").unwrap();
    assert!(
        timing.starts_with("document;dur=") && timing.contains(";desc=fetched"),
        "{timing}"
    );
    let trace = page.header("marbre-trace").unwrap().to_owned();
    assert_eq!(trace.len(), 32);
    let (code, told) = Operator::of(&site).get(&format!("/trace/{trace}")).await;
    assert_eq!(code, 200, "it was not complete: {told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    let story = &told["pages"][0];
    assert_eq!(story["page"], "/{*rest}");
    assert_eq!(
        (&story["path"], &story["complete"]),
        (&"/page".into(), &false.into())
    );
    // the document is a block like those that it includes
    let document = &story["blocks"][0];
    assert_eq!(document["fragment"], "document-cms", "{told}");
    assert_eq!(
        (&document["priority"], &document["says"]),
        (&"core".into(), &"fetched".into())
    );
    // and these are told in the order in which they have come
    let mut says = [1, 2].map(|index| story["blocks"][index]["says"].as_str().unwrap());
    says.sort_unstable();
    assert_eq!(says, ["failed (status 500)", "fetched"], "{told}");

    let clock = Clock::start();
    let until = clock.moment(clock.now()).after(Duration::from_secs(60));
    let token = DebugSecret::new(SECRET).token(until);
    let shown = [("marbre-debug", token.as_str())];
    // nobody asks at once again for what has failed a moment ago
    let anew = PAGE.replace("/sick", "/sick/anew");
    cms.on("/page", html(&anew));
    cms.on("/sick/anew", status(500));
    let page = site.reader().get_with("/page", &shown).await;
    let (body, comment) = page.body.split_once("\n<!-- marbre\n").expect("a comment");
    assert_eq!(body, "<b>1</b>MENU");
    for said in [
        "page /{*rest} (/{*rest}), /page",
        "document-cms",
        "status 200, not complete; level 0",
        "include-cms",
        "failed (status 500)",
        "tried: its source: status 500",
        "cms, replica 0, for include-cms",
    ] {
        assert!(comment.contains(said), "{said}:\n{comment}");
    }
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    let as_json = [shown[0], ("accept", "application/json")];
    let page = site.reader().get_with("/page", &as_json).await;
    let story: Value = serde_json::from_str(&page.body).unwrap();
    assert_eq!(story["route"], "/{*rest}");
    // nothing can be written behind what is no HTML
    cms.on("/data", json("{}"));
    let data = site.reader().get_with("/data", &shown).await;
    data.is(200, "{}");
    assert_eq!(data.header("marbre-debug"), Some("refused; cause=not-html"));
    for told in [cms.last_head("/page"), cms.last_head("/data")] {
        let head = told.unwrap().to_ascii_lowercase();
        assert!(!head.contains("marbre-debug"), "{head}");
    }
}

#[tokio::test]
async fn the_access_log_says_what_a_woven_page_lacks() {
    let cms = cms().await;
    let log = "[telemetry.access_log]\nto = \"file:access.log\"\nsample = 0.0\nslow = \"1m\"";
    let site = draft(&cms).toml(log).start().await;
    site.reader().get("/whole").await.is(200, "MENU");
    site.reader().get("/page").await.is(200, "<b>1</b>MENU");
    let file = site.folder().join("access.log");
    let mut text = String::new();
    let written = timeout(PATIENCE, async {
        while !text.ends_with('\n') {
            sleep(PAUSE).await;
            text = std::fs::read_to_string(&file).unwrap_or_default();
        }
    });
    assert!(written.await.is_ok(), "nothing is written");
    // a whole page is no news, one that lacks something is
    assert_eq!(text.lines().count(), 1, "{text}");
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["kind"], "page");
    assert_eq!(record["page"], "/{*rest}");
    assert_eq!(record["missing"], serde_json::json!(["include-cms"]));
}

#[tokio::test]
async fn an_objective_may_be_about_woven_pages() {
    let cms = cms().await;
    let slo = "[slo.woven]\ncomplete = \"core\"\nobjective = 0.9\npages = \"/{*rest}\"";
    let site = draft(&cms).toml(slo).start().await;
    site.reader().get("/page").await.is(200, "<b>1</b>MENU");
    cms.on("/page", raw("").then_close());
    assert_eq!(site.reader().get("/page").await.status, 502);
    let operator = Operator::of(&site);
    let mut said = String::new();
    let measured = timeout(PATIENCE, async {
        loop {
            said = operator.get("/slo").await.1;
            let told: Value = serde_json::from_str(&said).unwrap();
            let slo = &told["slos"][0];
            if slo["measured"] == 2 {
                return (slo["missed"].clone(), slo["pages"].clone());
            }
            sleep(PAUSE).await;
        }
    });
    let (missed, pages) = measured.await.unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(missed, 1);
    assert_eq!(pages, serde_json::json!(["/{*rest}"]));
    // of what is passed through unread nothing can be promised
    let passed = "[[proxy]]\nroute = \"/raw/{*rest}\"\norigin = \"cms\"";
    for (route, why) in [
        ("/raw/{*rest}", "what it passes through is not looked into"),
        ("/other", "no `[[proxy]]` has this route"),
    ] {
        let slo = slo.replace("/{*rest}", route);
        let refused = draft(&cms).toml(passed).toml(&slo).try_start().await;
        let said = refused.err().expect("it is refused").to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_level_can_be_rehearsed_on_woven_pages() {
    let cms = cms().await;
    let site = draft(&cms)
        .toml("[markup]\nundeclared = \"refuse\"")
        .fragment("menu", "10", "cms:/menu", "")
        .degradation("rehearse_token = \"0123456789abcdef\"")
        .start()
        .await;
    let asks = [("marbre-rehearse", "level=1; token=0123456789abcdef")];
    let page = site.reader().get_with("/whole", &asks).await;
    page.is(200, "");
    assert_eq!(page.header("marbre-rehearsed"), Some("1"));
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    let head = cms.last_head("/whole").unwrap().to_ascii_lowercase();
    assert!(!head.contains("marbre-rehearse"), "{head}");
    site.reader().get("/whole").await.is(200, "MENU");
    assert_eq!(pages(&site, "complete").await, 1.0);
}
