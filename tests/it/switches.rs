//! What operators decide over the law's head: each act as a page shows it, what is refused and why, and
//! that nothing of it is lost by a restart, a crash or a disk in trouble.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::unpooled;
use crate::support::{Newsroom, Operator, Origin, Program, html, newsroom, origin, status};

/// A page of a core, an essential and two optional blocks, of which nothing is kept.
async fn site(cms: &Origin) -> Newsroom {
    newsroom()
        .origin("cms", cms)
        .file("header.html", "<header>reserve</header>")
        .core("article", "cms:/article/{slug}")
        .fragment(
            "header",
            "\"essential\"",
            "cms:/header/{slug}",
            "ttl = \"0s\"\nfallback = [\"lazy\"]",
        )
        .fragment(
            "menu",
            "\"essential\"",
            "cms:/menu/{slug}",
            "ttl = \"1h\"\ngrace = \"1h\"\nfallback = [\"fragment:least\", \"static:header.html\"]",
        )
        .optional("least", 10, "cms:/least/{slug}")
        .optional("more", 20, "cms:/more/{slug}")
        .page("page", "/{slug}", "[header][menu][article][least][more]")
        .start()
        .await
}

async fn cms() -> Origin {
    let mut cms = origin();
    for slug in ["x", "y", "z"] {
        for name in ["article", "header", "menu", "least", "more"] {
            cms = cms.on(&format!("/{name}/{slug}"), html(format!("<i>{name}</i>")));
        }
    }
    cms.start().await
}

const FULL: &str = "<i>header</i><i>menu</i><i>article</i><i>least</i><i>more</i>";

#[tokio::test]
async fn an_optional_block_that_is_off_is_left_out_and_not_asked_for() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    reader.get("/x").await.is(200, FULL);
    let done = operator.switch("block/more", "\"off\": true, ").await;
    assert_eq!(done["set"]["act"], "off");
    assert_eq!(done["set"]["block"], "more");
    assert_eq!(done["set"]["owner"], "desk");
    assert_eq!(done["survives_restart"], true);
    assert_eq!(done["replaced"], Value::Null);

    let page = reader.get("/y").await;
    page.is(200, "<i>header</i><i>menu</i><i>article</i><i>least</i>");
    assert_eq!(page.outcome("more"), Some("switched"));
    // the page is as it is meant to be, and says what is not on it
    assert_eq!(page.level(), 0);
    assert!(
        page.header("marbre-level")
            .unwrap()
            .contains(";off=\"more\"")
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(cms.hits("/more/y"), 0);
    let state = site.state().await;
    assert_eq!(state["tally"]["fragments"]["more"]["switched"], 1);
    assert_eq!(state["tally"]["complete"], 2, "{state:#}");
    assert_eq!(state["switches"]["switches"][0]["subject"], "block/more");
    let explained = operator.get("/explain?path=/y").await.1;
    let explained: Value = serde_json::from_str(&explained).unwrap();
    assert_eq!(explained["steps"][4]["action"], "off");

    operator.clear("block/more").await;
    reader.get("/y").await.is(200, FULL);
}

#[tokio::test]
async fn an_essential_block_that_is_off_is_filled_by_what_stands_in() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    // there is a copy, and it is not to be shown
    reader.get("/x").await.is(200, FULL);
    operator.switch("block/menu", "\"off\": true, ").await;
    let page = reader.get("/x").await;
    page.is(
        200,
        "<i>header</i><i>least</i><i>article</i><i>least</i><i>more</i>",
    );
    assert_eq!(page.outcome("menu"), Some("sibling"));
    // off the page its origin is asked for what pages have asked it before, and for nothing else
    reader.get("/z").await;
    assert_eq!(cms.hits("/menu/z"), 0);

    // nor does what is off stand in for anything
    operator.switch("block/least", "\"off\": true, ").await;
    let page = reader.get("/x").await;
    page.is(
        200,
        "<i>header</i><header>reserve</header><i>article</i><i>more</i>",
    );
    assert_eq!(page.outcome("menu"), Some("static"));

    // nothing that stands in but a tag, by which the browser would ask for what is off
    operator.switch("block/header", "\"off\": true, ").await;
    let page = reader.get("/x").await;
    page.is(200, "<header>reserve</header><i>article</i><i>more</i>");
    assert_eq!(page.outcome("header"), Some("switched"));
}

#[tokio::test]
async fn a_snapshot_shows_what_was_on_the_page_until_it_is_purged() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", html("<b>b</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .optional("block", 10, "cms:/b")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    let twice = async |body: &str| {
        for _ in 0..2 {
            reader.get("/").await.is(200, body);
        }
    };
    twice("<p>a</p><b>b</b>").await;
    operator.switch("block/block", "\"off\": true, ").await;
    cms.on("/a", status(500));
    reader.get("/").await.is(200, "<p>a</p><b>b</b>");
    let purge = r#"{"fragment": "block", "hard": true}"#;
    assert_eq!(operator.ask("POST", "/purge", purge, &[]).await.0, 200);
    assert_eq!(reader.get("/").await.status, 503);

    // without it the page is as it is meant to be, and worth a snapshot
    let page = loop {
        cms.on("/a", html("<p>new</p>"));
        twice("<p>new</p>").await;
        cms.on("/a", status(500));
        let page = reader.get("/").await;
        // one snapshot may have to wait for another, of whatever page: asked until it has been taken
        if page.status == 200 {
            break page;
        }
    };
    page.is(200, "<p>new</p>");
}

#[tokio::test]
async fn what_is_off_still_stands_in_for_a_core_that_has_nothing_else() {
    let cms = origin()
        .on("/a", status(500))
        .on("/wire", html("<p>wire</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/a",
            "ttl = \"0s\"\nfallback = [\"fragment:wire\"]",
        )
        .optional("wire", 10, "cms:/wire")
        .page("page", "/", "[article][wire]")
        .start()
        .await;
    let operator = Operator::of(&site);
    operator.switch("block/wire", "\"off\": true, ").await;
    site.reader().get("/").await.is(200, "<p>wire</p>");
}

#[tokio::test]
async fn the_core_cannot_be_switched_off() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    let body = r#"{"off": true, "owner": "desk", "reason": "a test"}"#;
    let (status, said) = operator
        .ask("PUT", "/switches/block/article", body, &[])
        .await;
    assert_eq!(status, 409);
    assert!(
        said.starts_with("`article` is core: a page without it would be no page"),
        "{said}"
    );
    site.reader().get("/x").await.is(200, FULL);
    assert_eq!(operator.switches().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_block_that_is_on_is_given_up_by_no_level() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    operator.switch("pin", "\"level\": 2, ").await;
    reader
        .get("/x")
        .await
        .is(200, "<i>header</i><i>menu</i><i>article</i>");
    operator.switch("block/least", "\"on\": true, ").await;
    let page = reader.get("/x").await;
    page.is(200, "<i>header</i><i>menu</i><i>article</i><i>least</i>");
    assert_eq!(page.level(), 2);
    // the other way round is the same subject
    let done = operator.switch("block/least", "\"off\": true, ").await;
    assert_eq!(done["replaced"]["act"], "on");
    operator.clear("pin").await;
    let page = reader.get("/x").await;
    page.is(200, "<i>header</i><i>menu</i><i>article</i><i>more</i>");
}

#[tokio::test]
async fn the_level_is_held() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    let level = async || reader.get("/x").await.level();
    operator.switch("floor", "\"level\": 1, ").await;
    assert_eq!(level().await, 1);
    operator.switch("cap", "\"level\": 1, ").await;
    assert_eq!(level().await, 1);
    // a pin is above both, and they are there when it is gone
    operator.switch("pin", "\"level\": 0, ").await;
    assert_eq!(level().await, 0);
    operator.switch("pin", "\"level\": 2, ").await;
    assert_eq!(level().await, 2);
    operator.clear("pin").await;
    assert_eq!(level().await, 1);
    let body = r#"{"level": 0, "owner": "desk", "reason": "a test"}"#;
    let (status, said) = operator.ask("PUT", "/switches/cap", body, &[]).await;
    assert_eq!(
        (status, said.as_str()),
        (
            409,
            "the floor 1 would be above the cap 0: `floor` was set by desk (a test); clear it first\n"
        )
    );
    operator.clear("floor").await;
    assert_eq!(level().await, 0);
    assert_eq!(operator.switches().await, ["cap"]);
}

#[tokio::test]
async fn a_reader_who_saves_data_is_under_the_same_cap() {
    let cms = cms().await;
    let site = newsroom()
        .toml("[degradation]\nsave_data = 2")
        .origin("cms", &cms)
        .core("article", "cms:/article/{slug}")
        .optional("least", 10, "cms:/least/{slug}")
        .optional("more", 20, "cms:/more/{slug}")
        .page("page", "/{slug}", "[article][least][more]")
        .start()
        .await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    operator.switch("cap", "\"level\": 1, ").await;
    let page = reader.get_with("/x", &[("save-data", "on")]).await;
    page.is(200, "<i>article</i><i>more</i>");
}

#[tokio::test]
async fn freezing_and_dry_runs_are_told() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    operator.switch("freeze", "").await;
    operator.switch("dry-run", "").await;
    assert_eq!(operator.switches().await, ["freeze", "dry-run"]);
    let (status, said) = operator.get("/switches/freeze").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status, 200);
    assert_eq!(said["says"], "the law learns nothing");
    assert_eq!(operator.get("/switches/ttl").await.0, 404);
    // pages are as they were
    site.reader().get("/x").await.is(200, FULL);
}

#[tokio::test]
async fn a_stretched_ttl_is_that_of_the_copies_there_are() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", html("<b>b</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .fragment(
            "block",
            "20",
            "cms:/b",
            "ttl = \"1s\"\ngrace = \"1h\"\njitter = 0",
        )
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let operator = Operator::of(&site);
    site.reader().get("/").await.is(200, "<p>a</p><b>b</b>");
    let state = async || {
        let (_, said) = operator.get("/fragments/block/b").await;
        let said: Value = serde_json::from_str(&said).unwrap();
        said["state"].as_str().unwrap().to_owned()
    };
    // until its own ttl is over
    while state().await == "fresh" {}
    assert_eq!(state().await, "stale");
    let done = operator.switch("ttl", "\"factor\": 100, ").await;
    assert_eq!(done["set"]["says"], "every ttl is multiplied by 100");
    assert_eq!(state().await, "fresh");
    let page = site.reader().get("/").await;
    assert_eq!(page.outcome("block"), Some("cached"));
    assert_eq!(cms.hits("/b"), 1);
    operator.clear("ttl").await;
    assert_eq!(state().await, "stale");
}

#[tokio::test]
async fn what_is_one_readers_own_is_not_held_longer() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/you", html("<b>you</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .fragment(
            "you",
            "20",
            "cms:/you",
            "ttl = \"100ms\"\nforward_cookies = [\"id\"]\njitter = 0",
        )
        .page("page", "/", "[article][you]")
        .start()
        .await;
    let operator = Operator::of(&site);
    operator.switch("ttl", "\"factor\": 100, ").await;
    let reader = site.regular();
    let page = async || reader.get_with("/", &[("cookie", "id=1")]).await;
    page().await.is(200, "<p>a</p><b>you</b>");
    // ten seconds would be too long for this, so it is asked for again as if nothing had been stretched
    while cms.hits("/you") < 3 {
        page().await.is(200, "<p>a</p><b>you</b>");
    }
}

#[tokio::test]
async fn a_switch_ends_by_itself() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    let body = r#"{"off": true, "owner": "desk", "reason": "a test", "for": "1s"}"#;
    let (status, said) = operator.ask("PUT", "/switches/block/more", body, &[]).await;
    assert_eq!(status, 200, "{said}");
    let state = site
        .state_when("end", |state| state["switches"]["switches"] == json!([]))
        .await;
    assert_eq!(
        state["tally"]["events"][0],
        "switch block/more: over: more is off, by desk: a test"
    );
    site.reader().get("/x").await.is(200, FULL);
}

#[tokio::test]
async fn switches_are_there_after_a_restart() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    operator.switch("block/more", "\"off\": true, ").await;
    operator.switch("pin", "\"level\": 1, ").await;
    operator.switch("ttl", "\"factor\": 0.5, ").await;
    let (_, before) = operator.get("/switches").await;
    let site = site.restarted().await;
    let operator = Operator::of(&site);
    let (_, after) = operator.get("/switches").await;
    let without_time_left = |text: &str| {
        let mut said: Value = serde_json::from_str(text).unwrap();
        for switch in said["switches"].as_array_mut().unwrap() {
            switch["left_s"].take();
        }
        said
    };
    assert_eq!(without_time_left(&after), without_time_left(&before));
    let page = site.reader().get("/x").await;
    page.is(200, "<i>header</i><i>menu</i><i>article</i>");
    assert_eq!(page.level(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_pages_are_whole() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    operator.switch("block/more", "\"off\": true, ").await;
    let file = site.state_dir().join("switches.json");
    let stopped = site.stopped().await;
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("more", "article")).unwrap();
    let site = stopped.started().await;
    site.reader().get("/x").await.is(200, FULL);
    assert_eq!(Operator::of(&site).switches().await, Vec::<String>::new());
    let events = site.events().await;
    let lost = events
        .iter()
        .find(|event| event.contains("no switch is set"));
    let lost = lost.unwrap_or_else(|| panic!("{events:?}"));
    assert!(
        lost.contains("its checksum is wrong; it is set aside as") && lost.contains("aside-1"),
        "{lost}"
    );
    let aside = site.state_dir().join("switches.json.aside-1");
    assert!(std::fs::read_to_string(aside).unwrap().contains("article"));
    // and it can be used as ever
    let done = Operator::of(&site)
        .switch("block/more", "\"off\": true, ")
        .await;
    assert_eq!(done["survives_restart"], true);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_only_the_restart() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", html("<b>b</b>"))
        .start()
        .await;
    let site = newsroom()
        .server("state_dir = \"templates/page.html/var\"")
        .file("page.html", "x")
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .optional("block", 10, "cms:/b")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let operator = Operator::of(&site);
    let done = operator.switch("block/block", "\"off\": true, ").await;
    assert_eq!(done["survives_restart"], false);
    let trouble = done["trouble"].as_str().unwrap();
    assert!(
        trouble.contains("switches.json cannot be written"),
        "{trouble}"
    );
    site.reader().get("/").await.is(200, "<p>a</p>");
    let state = site.state().await;
    assert_eq!(state["switches"]["trouble"], trouble);
    let site = site.restarted().await;
    site.reader().get("/").await.is(200, "<p>a</p><b>b</b>");
}

#[tokio::test]
async fn what_the_site_no_longer_declares_is_kept_and_said() {
    let cms = cms().await;
    let mut site = site(&cms).await;
    let operator = Operator::of(&site);
    operator.switch("block/more", "\"off\": true, ").await;
    operator.switch("block/least", "\"off\": true, ").await;
    operator.switch("floor", "\"level\": 2, ").await;
    // one is renamed, the other is what the page is about from now on
    site.rewrite(|toml| {
        toml.replace("[fragments.more]", "[fragments.most]")
            .replace("priority = 10", "priority = \"core\"")
    });
    let layout = "<fragment name=\"article\"/><fragment name=\"least\"/><fragment name=\"most\"/>";
    site.write("layouts/page.html", layout);
    let state = site
        .state_when("reload", |state| state["level"]["text_only"] == 1)
        .await;
    let switches = state["switches"]["switches"].as_array().unwrap();
    let notes: Vec<(&str, &str)> = switches
        .iter()
        .map(|switch| {
            let note = switch["note"].as_str().unwrap_or_default();
            (
                switch["subject"].as_str().unwrap(),
                note.split(':').next().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("block/least", "`least` is core"),
        ("block/more", "the site has no fragment `more`"),
        ("floor", "level 2 does not exist"),
    ];
    assert_eq!(notes, expected);
    // the core is there whatever was decided of it when it was none
    let page = site.reader().get("/x").await;
    page.is(200, "<i>article</i><i>least</i>");
    assert_eq!(page.level(), 1);
    operator.clear("block/more").await;
    operator.clear("floor").await;
    site.reader()
        .get("/x")
        .await
        .is(200, "<i>article</i><i>least</i><i>more</i>");
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_and_why() {
    let cms = cms().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article/x")
        .essential("header", "cms:/header/x")
        .fragment("latest", "30", "cms:/latest", "item = \"card\"")
        .fragment("card", "30", "cms:/card/{item}", "")
        .page("page", "/", "[header][article][latest]")
        .start()
        .await;
    let operator = Operator::of(&site);
    let who = "\"owner\": \"desk\", \"reason\": \"a test\"";
    let mut told = Vec::new();
    for (subject, body) in [
        ("block/latets", format!("{{\"off\": true, {who}}}")),
        ("block/header", format!("{{\"on\": true, {who}}}")),
        ("block/card", format!("{{\"off\": true, {who}}}")),
        ("block/latest", format!("{{{who}}}")),
        (
            "block/latest",
            format!("{{\"off\": true, \"on\": true, {who}}}"),
        ),
        ("block/latest", format!("{{\"off\": false, {who}}}")),
        (
            "block/latest",
            format!("{{\"off\": true, \"level\": 1, {who}}}"),
        ),
        ("block/latest", "{\"off\": true}".to_owned()),
        (
            "block/latest",
            "{\"off\": true, \"owner\": \"desk\"}".to_owned(),
        ),
        (
            "block/latest",
            "{\"off\": true, \"owner\": \"a\\nb\", \"reason\": \"x\"}".to_owned(),
        ),
        (
            "block/latest",
            format!("{{\"off\": true, \"until\": \"x\", {who}}}"),
        ),
        (
            "block/latest",
            format!("{{\"off\": true, \"for\": \"2 hours\", {who}}}"),
        ),
        (
            "block/latest",
            format!("{{\"off\": true, \"for\": \"31d\", {who}}}"),
        ),
        (
            "block/latest",
            format!("{{\"off\": true, \"for\": \"0s\", {who}}}"),
        ),
        ("block/latest", "off".to_owned()),
        ("pin", format!("{{\"level\": 2, {who}}}")),
        ("pin", format!("{{\"level\": 300, {who}}}")),
        ("pin", format!("{{\"level\": -1, {who}}}")),
        ("floor", format!("{{{who}}}")),
        ("freeze", format!("{{\"level\": 1, {who}}}")),
        ("ttl", format!("{{\"factor\": 1000, {who}}}")),
        ("ttl", format!("{{{who}}}")),
        ("level", format!("{{\"level\": 1, {who}}}")),
        ("block", format!("{{\"off\": true, {who}}}")),
    ] {
        let path = format!("/switches/{subject}");
        let (status, said) = operator.ask("PUT", &path, &body, &[]).await;
        told.push(format!("{subject} {body}\n  {status} {said}"));
    }
    let long = format!(
        "{{\"off\": true, \"owner\": \"desk\", \"reason\": \"{}\"}}",
        "x".repeat(281)
    );
    let (status, said) = operator
        .ask("PUT", "/switches/block/latest", &long, &[])
        .await;
    told.push(format!("a long reason\n  {status} {said}"));
    let huge = "x".repeat(100_000);
    let (status, _) = operator
        .ask("PUT", "/switches/block/latest", &huge, &[])
        .await;
    assert_eq!(status, 413);
    for subject in ["pin", "block/latest", "nothing"] {
        let (status, said) = operator
            .ask("DELETE", &format!("/switches/{subject}"), "", &[])
            .await;
        told.push(format!("clear {subject}\n  {status} {said}"));
    }
    insta::assert_snapshot!("refused_switches", told.concat());
    assert_eq!(operator.switches().await, Vec::<String>::new());
    assert_eq!(site.events().await, Vec::<String>::new());
}

#[tokio::test]
async fn whoever_takes_a_switch_back_has_a_name_that_can_be_shown() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    operator.switch("block/more", "\"off\": true, ").await;
    let clear = async |by: &str| {
        let path = format!("/switches/block/more?by={by}");
        operator.ask("DELETE", &path, "", &[]).await
    };
    let long = "x".repeat(65);
    // a line end, an escape, what turns the order of reading (in two ways), a line separator
    for by in [
        "a%0Ab",
        "a%1B%5B2J",
        "a%E2%80%AEb",
        "a%E2%81%A6b",
        "a%E2%80%A8b",
        &long,
    ] {
        let (status, said) = clear(by).await;
        assert_eq!(status, 400, "{by}: {said}");
        assert!(said.contains("`by`"), "{by}: {said}");
    }
    assert_eq!(operator.switches().await.len(), 1, "nothing is taken back");
    let (status, said) = clear("Zo%C3%A9%20%28nuit%29").await;
    assert_eq!(status, 200, "{said}");
    let events = site.events().await.concat();
    assert!(events.contains("Zoé (nuit)"), "{events}");
}

#[tokio::test]
async fn switches_are_for_operators_only() {
    let cms = cms().await;
    let site = newsroom()
        .admin("token = \"0123456789abcdef\"")
        .origin("cms", &cms)
        .core("article", "cms:/article/x")
        .optional("more", 10, "cms:/more/x")
        .page("page", "/", "[article][more]")
        .start()
        .await;
    let operator = Operator::of(&site);
    let body = r#"{"off": true, "owner": "desk", "reason": "a test"}"#;
    let path = "/switches/block/more";
    assert_eq!(operator.ask("PUT", path, body, &[]).await.0, 401);
    assert_eq!(operator.get("/switches").await.0, 401);
    let token = ("authorization", "Bearer 0123456789abcdef");
    let foreign = ("sec-fetch-site", "cross-site");
    assert_eq!(
        operator.ask("PUT", path, body, &[token, foreign]).await.0,
        403
    );
    assert_eq!(operator.ask("PUT", path, body, &[token]).await.0, 200);
    site.reader().get("/").await.is(200, "<i>article</i>");
    assert_eq!(site.reader().get("/switches").await.status, 404);
}

// --- The program itself ---

/// A site for a program of its own, whose blocks are declared in place.
fn folder() -> TempDir {
    newsroom()
        .fragment("article", "\"core\"", "inline:<p>a</p>", "")
        .fragment("slideshow", "20", "inline:<i>s</i>", "")
        .fragment("ad", "10", "inline:<i>ad</i>", "")
        .page("page", "/", "[article][slideshow][ad]")
        .written()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command
        .arg("switch")
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env_remove("MARBRE_OWNER")
        .env_remove("MARBRE_ADMIN")
        .env_remove("MARBRE_ADMIN_TOKEN")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
async fn told(mut command: Command) -> (Option<i32>, String, String) {
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// What changes from run to run taken out.
fn timeless(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for word in &mut words {
        if word.starts_with("20") && word.contains("Z") {
            let end = word.split_once('Z').unwrap().1;
            *word = format!("TIME{end}");
        }
    }
    words.join(" ")
}

#[tokio::test]
async fn a_night_shift_with_the_command_line() {
    let (folder, client) = (folder(), unpooled());
    let program = Program::start(folder.path(), &client).await;
    let admin = format!("--admin=http://{}", program.admin);
    let switch = async |arguments: &[&str]| {
        let arguments = [arguments, &[admin.as_str()]].concat();
        told(command(folder.path(), &arguments)).await
    };
    let who = [
        "--owner",
        "Anne",
        "--reason",
        "le service photo est en panne",
    ];
    let with = |first: &[&'static str], more: &[&'static str]| -> Vec<&str> {
        [first, &who, more].concat()
    };
    let mut script = Vec::new();
    for arguments in [
        vec!["list"],
        with(&["off", "slideshow"], &["--for", "2h"]),
        with(&["pin", "1"], &["--for", "1d"]),
        with(&["pin", "2"], &["--for", "1d"]),
        with(&["floor", "1"], &["--for", "30d"]),
        with(&["cap", "2"], &["--for", "5h"]),
        with(&["freeze"], &["--for", "3h"]),
        with(&["dry-run"], &["--for", "3h"]),
        with(&["ttl", "2.5"], &["--for", "3h"]),
        with(&["on", "ad"], &["--for", "3h"]),
        vec!["list"],
        vec!["clear", "slideshow", "--owner", "Marc"],
        vec!["clear", "pin"],
        vec!["clear", "pin"],
        with(&["off", "article"], &[]),
        with(&["off", "slidshow"], &[]),
        with(&["pin", "7"], &[]),
        with(&["off", "slideshow"], &["--for", "2 hours"]),
        with(&["ttl", "0"], &[]),
        vec!["clear", "nothing"],
    ] {
        let (code, out, err) = switch(&arguments).await;
        let out = timeless(&out);
        script.push(format!(
            "$ marbre switch {}\n{out}{err}[{}]\n",
            arguments.join(" "),
            code.unwrap()
        ));
    }
    insta::assert_snapshot!("night_shift", script.join("\n"));
    assert_eq!(
        program.get("/").await,
        (200, "<p>a</p><i>s</i><i>ad</i>".to_owned())
    );

    let (code, out, _) = switch(&["list", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(said["switches"].as_array().unwrap().len(), 6);
    let (code, out, _) = switch(&with(&["off", "ad"], &["--json"])).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["replaced"]["act"]), (Some(0), &json!("on")));
    program.stop().await;
}

#[tokio::test]
async fn a_wrong_command_is_told_before_anybody_is_asked() {
    let folder = folder();
    for (arguments, code, said) in [
        (&["off", "slideshow"][..], 2, "--owner"),
        (&["off", "slideshow", "--owner", "Anne"], 2, "--reason"),
        (
            &["pin", "x", "--owner", "Anne", "--reason", "x"],
            2,
            "invalid value",
        ),
        (&["pin", "--owner", "Anne", "--reason", "x"], 2, "<N>"),
        (
            &["list", "--admin", "nowhere at all"],
            1,
            "is not the URL of a server",
        ),
        (
            &["list", "--admin", "http://127.0.0.1:1"],
            1,
            "no server answers operators at http://127.0.0.1:1",
        ),
    ] {
        let (found, _, err) = told(command(folder.path(), arguments)).await;
        assert_eq!(found, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let mut from_environment = command(folder.path(), &["freeze", "--reason", "x"]);
    from_environment
        .env("MARBRE_OWNER", "Anne")
        .env("MARBRE_ADMIN", "127.0.0.1:1");
    let (code, _, err) = told(from_environment).await;
    assert!(code == Some(1) && err.contains("at 127.0.0.1:1"), "{err}");
}

#[tokio::test]
async fn a_token_is_asked_for_and_used() {
    let folder = newsroom()
        .admin("token = \"0123456789abcdef\"")
        .fragment("article", "\"core\"", "inline:<p>a</p>", "")
        .page("page", "/", "[article]")
        .written();
    let program = Program::start(folder.path(), &unpooled()).await;
    let admin = format!("http://{}", program.admin);
    let (code, _, err) = told(command(folder.path(), &["list", "--admin", &admin])).await;
    assert_eq!(code, Some(1));
    assert!(
        err.contains("give `--token` or `--token-file`, or set MARBRE_ADMIN_TOKEN"),
        "{err}"
    );
    for wrong in ["x", "0123456789abcdeX"] {
        let arguments = ["list", "--admin", &admin, "--token", wrong];
        let (code, _, err) = told(command(folder.path(), &arguments)).await;
        assert!(code == Some(1) && !err.contains(wrong), "{err}");
    }
    let mut from_environment = command(folder.path(), &["list", "--admin", &admin]);
    from_environment.env("MARBRE_ADMIN_TOKEN", "0123456789abcdef");
    let (code, out, err) = told(from_environment).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "no switch is set\n", "")
    );
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash() {
    let (folder, client) = (folder(), unpooled());
    let program = Program::start(folder.path(), &client).await;
    let operator = Operator::of_program(&program);
    operator.switch("block/ad", "\"off\": true, ").await;
    operator.switch("block/slideshow", "\"off\": true, ").await;
    program.kill();
    let program = Program::start(folder.path(), &client).await;
    assert_eq!(program.get("/").await, (200, "<p>a</p>".to_owned()));
    let operator = Operator::of_program(&program);
    operator.clear("block/ad").await;
    program.kill();
    let program = Program::start(folder.path(), &client).await;
    assert_eq!(
        program.get("/").await,
        (200, "<p>a</p><i>ad</i>".to_owned())
    );
    assert!(!program.stop().await.contains("aside"));
}

#[tokio::test]
async fn the_level_of_the_command_line_is_a_pin_of_that_run() {
    let (folder, client) = (folder(), unpooled());
    let mut serve = Command::new(env!("CARGO_BIN_EXE_marbre"));
    serve
        .args(["serve", "--level", "2"])
        .current_dir(folder.path());
    let program = Program::start_as(serve, &client).await;
    assert_eq!(program.get("/").await, (200, "<p>a</p>".to_owned()));
    let operator = Operator::of_program(&program);
    assert_eq!(operator.switches().await, ["pin"]);
    // another switch does not make it last
    operator.switch("freeze", "").await;
    program.stop().await;
    let program = Program::start(folder.path(), &client).await;
    assert_eq!(Operator::of_program(&program).switches().await, ["freeze"]);
    let whole = "<p>a</p><i>s</i><i>ad</i>".to_owned();
    assert_eq!(program.get("/").await, (200, whole));
}
