//! Several nodes with one store: what one of them has asked for is everybody's, each question is
//! asked once, and what is older never comes back.

#![allow(
    clippy::print_stdout,
    reason = "a measure for whoever reads the output"
)]

use std::time::Duration;

use futures::future::join_all;
use marbre::clock::Clock;
use serde_json::Value;

use crate::support::newsroom::Draft;
use crate::support::reader::Reader;
use crate::support::{Gate, Newsroom, Origin, Valkey, html, json, newsroom, origin, status};

/// As many as a wait may take; each is a question and a short pause.
const TRIES: usize = 3000;

const PAUSE: Duration = Duration::from_millis(10);

/// `[shared]`, with a timeout that a busy machine keeps.
pub(crate) fn shared(store: &Valkey) -> String {
    let url = store.url();
    format!("[shared]\nvalkey = \"{url}\"\ntimeout = \"900ms\"\n")
}

/// A page of one article.
fn paper(cms: &Origin, more: &str) -> Draft {
    newsroom()
        .server("max_pages_in_flight = 1000")
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/articles/{slug}", more)
        .page_within("page", "/{slug}", "[article]", "60s")
}

/// A node of the paper that hears the others.
async fn node(draft: Draft, store: &Valkey) -> Newsroom {
    linked(draft.toml(&shared(store)).start().await).await
}

pub(crate) async fn linked(site: Newsroom) -> Newsroom {
    until(&site, "all connections", |shared| {
        ["reading", "writing", "listening"]
            .iter()
            .all(|part| shared[part] == true)
    })
    .await;
    site
}

/// Polls what the node tells of the store, until it is so.
pub(crate) async fn until(site: &Newsroom, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..TRIES {
        let shared = site.state().await["shared"].take();
        if is_so(&shared) {
            return shared;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("waited in vain for {what}: {:#}", site.state().await);
}

/// All that was to be written has been.
pub(crate) async fn written(site: &Newsroom, copies: u64) {
    until(site, "the writes", |shared| {
        shared["waiting"] == 0 && shared["stored"].as_u64().unwrap() >= copies
    })
    .await;
}

/// The names of all that is in the store.
pub(crate) fn keys(store: &Valkey) -> Vec<String> {
    let script = "return table.concat(redis.call('KEYS', '*'), '\\n')";
    let names = store.command(&["EVAL", script, "0"]);
    let names = names.trim_end().lines().filter(|name| !name.is_empty());
    names.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn what_one_has_asked_for_the_other_has_too() {
    let store = Valkey::start();
    let cms = origin().on("/articles/x", html("<p>x</p>")).start().await;
    let (a, b) = (
        node(paper(&cms, "ttl = \"1h\""), &store).await,
        node(paper(&cms, "ttl = \"1h\""), &store).await,
    );
    // once for the copy, and once more for the snapshot
    for _ in 0..2 {
        a.reader().get("/x").await.is(200, "<p>x</p>");
    }
    written(&a, 2).await;
    let page = b.reader().get("/x").await;
    page.is(200, "<p>x</p>");
    assert_eq!(page.outcome("article"), Some("cached"));
    assert_eq!(cms.hits("/articles/x"), 1);
    assert!(page.header("age").is_none() || page.header("age") == Some("0"));
}

#[tokio::test]
async fn a_page_from_memory_asks_the_store_nothing_and_a_miss_asks_it_once() {
    let store = Valkey::start();
    let cms = origin().on("/articles/x", html("<p>x</p>")).start().await;
    let draft = paper(&cms, "ttl = \"1h\"").without_snapshots();
    let site = node(draft, &store).await;
    store.command(&["CONFIG", "RESETSTAT"]);
    let reads = || {
        let state = site.state();
        async move {
            let shared = state.await["shared"].take();
            let count = |name: &str| shared[name].as_u64().unwrap();
            count("hits") + count("misses") + count("skipped") + count("timeouts")
        }
    };
    let before = reads().await;
    site.reader().get("/x").await.is(200, "<p>x</p>");
    written(&site, 1).await;
    // once by the slot, once with the turn to ask
    assert_eq!(reads().await - before, 2);
    let (before, stored) = (reads().await, site.state().await["shared"]["stored"].take());
    let evals = |store: &Valkey| {
        let stats = store.command(&["INFO", "commandstats"]);
        let lines = stats.lines().filter(|line| {
            ["cmdstat_eval:", "cmdstat_set:"]
                .iter()
                .any(|name| line.starts_with(name))
        });
        lines
            .map(|line| line.split(',').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let writes = evals(&store);
    println!("a miss: {}", store.command(&["INFO", "commandstats"]));
    for _ in 0..300 {
        let page = site.reader().get("/x").await;
        assert_eq!(page.outcome("article"), Some("cached"));
    }
    assert_eq!(reads().await, before);
    assert_eq!(site.state().await["shared"]["stored"], stored);
    assert_eq!(evals(&store), writes);
}

#[tokio::test]
async fn five_hundred_misses_on_two_nodes_are_one_request_or_two() {
    let (store, gate) = (Valkey::start(), Gate::closed());
    let cms = origin()
        .on("/articles/x", html("<p>x</p>").gated(&gate))
        .start()
        .await;
    let more = "ttl = \"1h\"\ntimeout = \"60s\"";
    let a = node(paper(&cms, more), &store).await;
    let b = node(paper(&cms, more), &store).await;
    let (from_a, from_b) = (a.reader(), b.reader());
    let pages = join_all((0..500).map(|n| [&from_a, &from_b][n % 2].get("/x")));
    let open = async {
        cms.arrived(1).await;
        for site in [&a, &b] {
            while site.state().await["flights"] != 1 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    pages.iter().for_each(|page| page.is(200, "<p>x</p>"));
    let hits = cms.hits("/articles/x");
    println!("500 misses on two nodes: {hits} requests");
    assert!((1..=2).contains(&hits), "{hits} requests");
}

#[tokio::test]
async fn one_node_renews_for_all() {
    let store = Valkey::start();
    let cms = origin().on("/articles/x", html("<p>x</p>")).start().await;
    let more = "ttl = \"1s\"\ngrace = \"1h\"\npatience = \"0s\"\njitter = 0";
    let a = node(paper(&cms, more).without_snapshots(), &store).await;
    let b = node(paper(&cms, more).without_snapshots(), &store).await;
    let clock = Clock::start();
    let began = clock.now();
    let (from_a, from_b) = (a.reader(), b.reader());
    // asked constantly, until there were enough lifetimes to tell one request each from two
    while cms.hits("/articles/x") < 8 {
        let (one, two) = tokio::join!(from_a.get("/x"), from_b.get("/x"));
        one.is(200, "<p>x</p>");
        two.is(200, "<p>x</p>");
    }
    let lifetimes = (clock.now() - began).as_secs() + 1;
    println!("8 requests in {lifetimes} lifetimes");
    // each on its own, two nodes would have asked eight times in four
    assert!(lifetimes >= 6, "8 requests in {lifetimes} lifetimes");
}

#[tokio::test]
async fn a_node_that_dies_while_it_asks_stops_nobody() {
    let (store, gate) = (Valkey::start(), Gate::closed());
    let cms = origin()
        .on("/articles/x", html("<p>x</p>").gated(&gate))
        .start()
        .await;
    let more = "ttl = \"1h\"\ntimeout = \"30s\"";
    let draft = paper(&cms, more).toml(&shared(&store));
    // its own threads, so that it can end between two instructions
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let started = threads.spawn(async { linked(draft.start().await).await });
    let a = started.await.unwrap();
    let reader = a.reader();
    let asked = threads.spawn(async move { reader.get("/x").await.status });
    cms.arrived(1).await;
    threads.shutdown_background();
    assert!(asked.await.is_err(), "it has ended with the node");
    let leases = keys(&store);
    let leases = leases.iter().filter(|key| key.ends_with(":lease"));
    assert_eq!(leases.count(), 1, "the dead node holds its lease");
    gate.open();
    let b = node(paper(&cms, more), &store).await;
    b.reader().get("/x").await.is(200, "<p>x</p>");
    assert_eq!(cms.hits("/articles/x"), 2);
}

#[tokio::test]
async fn an_older_copy_in_the_store_takes_nothing_s_place() {
    let store = Valkey::start();
    let cms = origin().on("/articles/x", html("<p>1</p>")).start().await;
    let more = "ttl = \"1s\"\ngrace = \"0s\"\nkeep = \"1h\"\njitter = 0";
    let a = node(paper(&cms, more).without_snapshots(), &store).await;
    a.reader().get("/x").await.is(200, "<p>1</p>");
    written(&a, 1).await;
    let all = keys(&store);
    let frame = all.iter().find(|key| key.ends_with('}')).expect("a frame");
    let old = format!("{frame}old");
    assert_eq!(store.command(&["COPY", frame, &old]), ":1");
    cms.on("/articles/x", html("<p>2</p>"));
    while a.reader().get("/x").await.body != "<p>2</p>" {
        tokio::time::sleep(PAUSE).await;
    }
    written(&a, 2).await;
    cms.on("/articles/x", status(500));
    assert_eq!(store.command(&["COPY", &old, frame, "REPLACE"]), ":1");
    for asked in 2.. {
        a.reader().get("/x").await.is(200, "<p>2</p>");
        if cms.hits("/articles/x") > 4 {
            println!("asked {asked} times");
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn a_new_node_has_what_the_others_have_when_every_origin_is_dead() {
    let mut store = Valkey::start();
    let cms = origin()
        .on("/articles/x", html("<p>x</p>"))
        .on("/front", html("<h1>front</h1>"))
        .start()
        .await;
    let paper = || {
        paper(&cms, "ttl = \"1s\"\njitter = 0")
            .core("front", "cms:/front")
            .page("front", "/", "[front]")
    };
    let a = node(paper(), &store).await;
    loop {
        a.reader().get("/x").await.is(200, "<p>x</p>");
        a.reader().get("/").await.is(200, "<h1>front</h1>");
        // one snapshot may have to wait for another
        if a.state().await["cache"]["entries"] == 3 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    written(&a, 3).await;
    cms.kill();
    let b = node(paper(), &store).await;
    b.reader().get("/x").await.is(200, "<p>x</p>");
    let front = b.reader().get("/").await;
    front.is(200, "<h1>front</h1>");
    assert!(
        front
            .header("server-timing")
            .unwrap()
            .starts_with("page;desc=snapshot"),
        "{front:?}"
    );
    // and what it has taken from the store is its own
    store.kill();
    let b = b.restarted().await;
    b.reader().get("/x").await.is(200, "<p>x</p>");
    b.reader().get("/").await.is(200, "<h1>front</h1>");
}

#[tokio::test]
async fn other_prefixes_and_other_templates_do_not_meet() {
    let store = Valkey::start();
    let cms = origin()
        .on("/articles/x", json("{\"title\": \"x\"}"))
        .start()
        .await;
    let paper = |prefix: &str, template: &str| {
        paper(&cms, "ttl = \"1h\"\ntemplate = \"t.html\"")
            .file("t.html", template)
            .toml(&shared(&store))
            .toml(&format!("prefix = \"{prefix}\""))
    };
    let (one, two) = ("<p>{{ data.title }}</p>", "<b>{{ data.title }}</b>");
    for (number, (prefix, template, page, asked)) in [
        ("news", one, "<p>x</p>", 1),
        ("news", one, "<p>x</p>", 1),
        ("sport", one, "<p>x</p>", 2),
        ("news", two, "<b>x</b>", 3),
        ("news", two, "<b>x</b>", 3),
        ("news", one, "<p>x</p>", 3),
    ]
    .into_iter()
    .enumerate()
    {
        let site = linked(paper(prefix, template).start().await).await;
        site.reader().get("/x").await.is(200, page);
        assert_eq!(cms.hits("/articles/x"), asked, "{number}");
        until(&site, "the writes", |shared| shared["waiting"] == 0).await;
    }
}

/// Asks the node's operators' side.
async fn operate(site: &Newsroom, method: &str, path: &str, body: &str, version: Option<u64>) {
    let operator = Reader::new(site.app.admin_address);
    let mut request = operator.request(method, path).body(body.to_owned());
    if let Some(version) = version {
        request = request.header("marbre-version", version.to_string());
    }
    let answer = operator.send(request).await;
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

/// Polls the page until it is this, and tells how long that took.
async fn shows(site: &Newsroom, path: &str, expected: (u16, &str), what: &str) {
    let clock = Clock::start();
    let began = clock.now();
    for _ in 0..TRIES {
        let page = site.reader().get(path).await;
        if (page.status, page.body.as_str()) == expected {
            println!("{what}: after {:?}", clock.now() - began);
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{what}: {:?}", site.reader().get(path).await);
}

#[tokio::test]
async fn a_purge_reaches_the_other_node() {
    for selector in [
        "\"fragment\": \"article\", \"key\": \"/articles/x\"",
        "\"fragment\": \"article\"",
        "\"tag\": \"story\"",
        "\"all\": true",
    ] {
        for hard in [false, true] {
            let store = Valkey::start();
            let reply = |text: &str| html(text).header("surrogate-key", "story");
            let cms = origin().on("/articles/x", reply("<p>1</p>")).start().await;
            let more = "ttl = \"1h\"\nkeep = \"1h\"";
            let a = node(paper(&cms, more), &store).await;
            let b = node(paper(&cms, more), &store).await;
            for _ in 0..2 {
                a.reader().get("/x").await.is(200, "<p>1</p>");
            }
            written(&a, 2).await;
            b.reader().get("/x").await.is(200, "<p>1</p>");
            cms.on("/articles/x", reply("<p>2</p>"));
            let what = format!("{{{selector}, \"hard\": {hard}}}");
            operate(&a, "POST", "/purge", &what, None).await;
            shows(&b, "/x", (200, "<p>2</p>"), &what).await;
            a.reader().get("/x").await.is(200, "<p>2</p>");
        }
    }
}

#[tokio::test]
async fn what_was_purged_while_a_node_was_down_does_not_come_back_with_it() {
    for later in ["a moment", "hours", "a new store"] {
        let mut store = Valkey::start();
        let cms = origin().on("/articles/x", html("<p>x</p>")).start().await;
        let more = "ttl = \"1h\"\nkeep = \"1h\"";
        let a = node(paper(&cms, more), &store).await;
        let b = node(paper(&cms, more), &store).await;
        for _ in 0..2 {
            a.reader().get("/x").await.is(200, "<p>x</p>");
        }
        written(&a, 2).await;
        b.reader().get("/x").await.is(200, "<p>x</p>");
        let b = b.stopped().await;
        let what = "{\"fragment\": \"article\", \"hard\": true}";
        operate(&a, "POST", "/purge", what, None).await;
        written(&a, 3).await;
        cms.kill();
        match later {
            // the messages are kept for an hour
            "hours" => assert_eq!(store.command(&["DEL", "marbre:log"]), ":1"),
            "a new store" => {
                store.restart();
                linked(until_back(a).await).await;
                let knows = |store: &Valkey| !keys(store).is_empty();
                store.wait_for("the record", knows).await;
            }
            _ => {}
        }
        let b = b.started().await;
        let page = b.reader().get("/x").await;
        assert_eq!(page.status, 503, "after {later}: {page:?}");
    }
}

/// After the store's end and return.
async fn until_back(site: Newsroom) -> Newsroom {
    until(&site, "the store's return", |shared| {
        shared["listening"] == true && shared["writing"] == true
    })
    .await;
    site
}

#[tokio::test]
async fn what_is_pushed_to_one_is_shown_by_the_other_and_versions_converge() {
    let store = Valkey::start();
    let paper = || {
        let draft = newsroom().fragment("front", "\"core\"", "push", "");
        draft.page("front", "/", "[front]").toml(&shared(&store))
    };
    let a = linked(paper().start().await).await;
    let b = linked(paper().start().await).await;
    operate(&a, "PUT", "/fragments/front/", "<p>1</p>", Some(1)).await;
    shows(&b, "/", (200, "<p>1</p>"), "a push").await;
    // both have it in memory now
    operate(&b, "PUT", "/fragments/front/", "<p>2</p>", Some(2)).await;
    shows(&a, "/", (200, "<p>2</p>"), "a push to who has a copy").await;
    for round in 1..10_u64 {
        let (low, high) = (round * 10, round * 10 + 1);
        let push = |site: &Newsroom, version: u64| {
            let operator = Reader::new(site.app.admin_address);
            let request = operator.request("PUT", "/fragments/front/");
            let request = request.body(format!("<p>{version}</p>"));
            let request = request.header("marbre-version", version.to_string());
            async move { operator.send(request).await.status }
        };
        let (first, second) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        // the lower one may come too late
        let (of_low, of_high) = tokio::join!(push(first, low), push(second, high));
        assert!([200, 409].contains(&of_low), "{of_low}");
        assert_eq!(of_high, 200);
        let page = format!("<p>{high}</p>");
        for site in [&a, &b] {
            shows(site, "/", (200, &page), "the higher of two").await;
        }
    }
}
