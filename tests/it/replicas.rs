//! An origin of several replicas answers as long as one of them does: a dead one is passed over, a
//! sick one is left alone until it is well, a new version on trial is withdrawn when it is worse.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Newsroom, Origin, Page, Port, html, newsroom, origin, raw, status};

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";

/// No origin as a whole is given up here, whatever becomes of its replicas.
const BREAKER: &str = "[origins.cms.breaker]\nfailed = 90\nslow = 100";

/// A page of a core, passed-through paths, and these replicas.
async fn site_of(urls: &[String], keys: &str) -> Newsroom {
    newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [{}]\ntimeout = \"60s\"\nowner = \"platform\"\n\
             hedge_budget = 0\n{keys}",
            urls.join(", ")
        ))
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .page_within("page", "/", "[article]", "25s")
        .without_snapshots()
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"cms\"")
        .start()
        .await
}

fn url(replica: &str) -> String {
    format!("\"{replica}\"")
}

async fn replica() -> Origin {
    origin().on("/article", html("<p>text</p>")).start().await
}

/// Several pages at a time, so that every replica is asked that may be.
async fn read(site: &Newsroom) -> Vec<Page> {
    let reader = site.regular();
    join_all((0..8).map(|_| reader.get("/"))).await
}

async fn read_whole(site: &Newsroom) {
    for page in read(site).await {
        page.is(200, "<p>text</p>");
    }
}

/// What `/state` says of a replica.
async fn state_of(site: &Newsroom, index: usize) -> Value {
    site.origin_state("cms").await["replicas"][index].take()
}

#[tokio::test]
async fn nobody_notices_a_replica_that_refuses() {
    for retry in [
        "",
        "[origins.cms.retry]\nattempts = 1",
        "[origins.cms.retry]\nbudget = 0",
    ] {
        let (dead, well) = (Port::held(), replica().await);
        let site = site_of(&[url(&dead.url()), url(&well.url())], retry).await;
        while state_of(&site, 0).await["breaker"]["state"] == "closed" {
            read_whole(&site).await;
        }
        let state = site.origin_state("cms").await;
        assert_eq!(state["retries"], 0, "{state:#}");
        assert!(state["failovers"].as_u64() >= Some(5), "{state:#}");
        assert_eq!(state["failed"], 0, "{state:#}");
        assert_eq!(state["breaker"]["core"]["state"], "closed");
        for _ in 0..5 {
            read_whole(&site).await;
        }
        let event = &site.events().await[0];
        let begin = format!("replica {} of origin cms is left alone, for ", dead.url());
        assert!(event.starts_with(&begin), "{event}");
        assert!(
            event.ends_with(" requests failed or missed their deadline (owner: platform)"),
            "{event}"
        );
    }
}

#[tokio::test]
async fn nobody_notices_two_of_three_that_refuse() {
    let (one, two, well) = (Port::held(), Port::held(), replica().await);
    let urls = [url(&one.url()), url(&two.url()), url(&well.url())];
    let site = site_of(&urls, "[origins.cms.retry]\nattempts = 1").await;
    for _ in 0..20 {
        read_whole(&site).await;
    }
}

#[tokio::test]
async fn where_all_refuse_it_is_told() {
    let (one, other) = (Port::held(), Port::held());
    let site = site_of(&[url(&one.url()), url(&other.url())], "").await;
    assert_eq!(site.regular().get("/").await.status, 503);
    let said = site.complaint("article").await;
    assert_eq!(said, "failed (connect: Connection refused (os error 111))");
}

#[tokio::test]
async fn one_that_comes_back_is_asked_again() {
    let (port, well) = (Port::held(), replica().await);
    let keys = "[origins.cms.breaker]\nopen = \"50ms\"\nopen_max = \"50ms\"\nstep = \"50ms\"";
    let site = site_of(&[url(&port.url()), url(&well.url())], keys).await;
    while state_of(&site, 0).await["breaker"]["state"] == "closed" {
        read_whole(&site).await;
    }
    let back = origin()
        .on("/article", html("<p>text</p>"))
        .start_at(&port)
        .await;
    while state_of(&site, 0).await["breaker"]["state"] != "closed" {
        read_whole(&site).await;
    }
    let hits = back.hits("/article");
    while back.hits("/article") < hits + 20 {
        read_whole(&site).await;
    }
}

#[tokio::test]
async fn one_that_answers_500_is_left_alone_until_it_is_well() {
    let (sick, well) = (replica().await, replica().await);
    sick.on("/article", status(500));
    let for_long = "\nopen = \"60s\"\nopen_max = \"60s\"";
    let urls = [url(&sick.url()), url(&well.url())];
    let site = site_of(&urls, &format!("{BREAKER}{for_long}")).await;
    while state_of(&site, 0).await["breaker"]["state"] == "closed" {
        read(&site).await;
    }
    let (sick_hits, well_hits) = (sick.hits("/article"), well.hits("/article"));
    for _ in 0..10 {
        read_whole(&site).await;
    }
    assert_eq!(sick.hits("/article"), sick_hits);
    assert_eq!(well.hits("/article"), well_hits + 80);
    let state = site.origin_state("cms").await;
    assert_eq!(state["breaker"]["core"]["state"], "closed", "{state:#}");
    assert_eq!(
        state["replicas"][1]["breaker"]["state"], "closed",
        "{state:#}"
    );

    let (sick, well) = (replica().await, replica().await);
    sick.on("/article", status(500));
    let shortly = "\nopen = \"50ms\"\nopen_max = \"50ms\"\nstep = \"50ms\"";
    let urls = [url(&sick.url()), url(&well.url())];
    let site = site_of(&urls, &format!("{BREAKER}{shortly}")).await;
    while state_of(&site, 0).await["breaker"]["state"] == "closed" {
        read(&site).await;
    }
    sick.on("/article", html("<p>text</p>"));
    while state_of(&site, 0).await["breaker"]["state"] != "closed" {
        read_whole(&site).await;
    }
    let hits = sick.hits("/article");
    while sick.hits("/article") < hits + 20 {
        read_whole(&site).await;
    }
}

#[tokio::test]
async fn a_read_replica_is_asked_only_while_no_primary_answers() {
    let (primary, port, copy) = (replica().await, Port::held(), replica().await);
    let copy_url = format!("{{ url = \"{}\", role = \"read-replica\" }}", copy.url());
    let site = site_of(&[url(&primary.url()), copy_url.clone()], BREAKER).await;
    for _ in 0..10 {
        read_whole(&site).await;
    }
    assert_eq!((primary.hits("/article"), copy.hits("/article")), (80, 0));
    assert_eq!(state_of(&site, 1).await["role"], "read_replica");

    let keys = format!("{BREAKER}\nopen = \"50ms\"\nopen_max = \"50ms\"\nstep = \"50ms\"");
    let site = site_of(&[url(&port.url()), copy_url], &keys).await;
    for _ in 0..10 {
        read_whole(&site).await;
    }
    assert_eq!(copy.hits("/article"), 80);
    let back = origin()
        .on("/article", html("<p>text</p>"))
        .start_at(&port)
        .await;
    while state_of(&site, 0).await["breaker"]["state"] != "closed" {
        read_whole(&site).await;
    }
    let (hits, copies) = (back.hits("/article"), copy.hits("/article"));
    for _ in 0..10 {
        read_whole(&site).await;
    }
    assert_eq!(back.hits("/article"), hits + 80);
    assert_eq!(copy.hits("/article"), copies);
}

#[tokio::test]
async fn where_a_primary_refuses_each_replica_is_asked_once() {
    for keys in ["", "[origins.cms.breaker]\nenabled = false"] {
        let (dead, copy) = (Port::held(), replica().await);
        let copy_url = format!("{{ url = \"{}\", role = \"read-replica\" }}", copy.url());
        let site = site_of(&[url(&dead.url()), copy_url], keys).await;
        site.regular().get("/").await.is(200, "<p>text</p>");
        let state = site.origin_state("cms").await;
        assert_eq!(state["attempts"], 2, "{state:#}");
        assert_eq!(state["failovers"], 1, "{state:#}");
    }
}

/// The site, a replica that is well and one on trial with a third of the requests.
async fn trial(canary: &Origin) -> (Newsroom, Origin) {
    let well = replica().await;
    let on_trial = format!("{{ url = \"{}\", weight = 50 }}", canary.url());
    let site = site_of(&[url(&well.url()), on_trial], BREAKER).await;
    let state = state_of(&site, 1).await;
    assert_eq!(
        (&state["role"], &state["weight"]),
        (&json!("canary"), &json!(50))
    );
    (site, well)
}

#[tokio::test]
async fn a_canary_that_fails_is_withdrawn() {
    // every other time: too seldom to be left alone like one that is down
    let mut canary = origin();
    for _ in 0..200 {
        canary = canary.first("/article", status(500));
        canary = canary.first("/article", html("<p>text</p>"));
    }
    let canary = canary.start().await;
    let (site, _well) = trial(&canary).await;
    while state_of(&site, 1).await["weight"] != 0 {
        read(&site).await;
    }
    let [told] = &site.events().await[..] else {
        panic!("one event: {:#?}", site.events().await)
    };
    let begin = format!(
        "replica {} of origin cms is a canary and worse than the others, it gets nothing any more \
         until it is declared anew: ",
        canary.url()
    );
    let end = " % of its answers fail, 0 % of the others' (owner: platform)";
    assert!(told.starts_with(&begin) && told.ends_with(end), "{told}");
    let hits = canary.hits("/article");
    for _ in 0..10 {
        read_whole(&site).await;
    }
    assert_eq!(canary.hits("/article"), hits);
}

#[tokio::test]
async fn one_that_is_as_good_as_the_others_stays() {
    let canary = replica().await;
    let (site, well) = trial(&canary).await;
    while canary.hits("/article") < 100 {
        read_whole(&site).await;
    }
    let state = state_of(&site, 1).await;
    assert_eq!(state["weight"], 50, "{state:#}");
    assert!(well.hits("/article") > canary.hits("/article"));
}

#[tokio::test]
async fn a_health_check_puts_a_replica_out_and_brings_it_back() {
    let (sick, well) = (replica().await, replica().await);
    sick.on("/healthz", html("ok"));
    well.on("/healthz", html("ok"));
    let keys = "[origins.cms.breaker]\nstep = \"20ms\"\n\
                [origins.cms.health]\npath = \"/healthz\"\ninterval = \"100ms\"\ntimeout = \"20s\"";
    let site = site_of(&[url(&sick.url()), url(&well.url())], keys).await;
    let is = async |is_healthy: bool| {
        let is_so = |state: &Value| state["origins"]["cms"]["replicas"][0]["healthy"] == is_healthy;
        site.state_when("news of its health", is_so).await;
    };
    let who = format!("replica {} of origin cms", sick.url());
    read_whole(&site).await;
    // it answers readers still, so nothing else tells
    sick.on("/healthz", status(500));
    is(false).await;
    let told = format!("{who} fails its health check: status 500 (owner: platform)");
    assert_eq!(site.events().await, [told]);
    let hits = sick.hits("/article");
    for _ in 0..10 {
        read_whole(&site).await;
    }
    assert_eq!(sick.hits("/article"), hits);
    assert_eq!(state_of(&site, 1).await["healthy"], true);
    sick.on("/healthz", html("ok"));
    is(true).await;
    let told = format!("{who} passes its health check again (owner: platform)");
    assert!(site.events().await.contains(&told));
    while sick.hits("/article") < hits + 20 {
        read_whole(&site).await;
    }
}

#[tokio::test]
async fn a_site_whose_replicas_all_fail_their_check_still_asks_them() {
    let (one, other) = (replica().await, replica().await);
    let keys = "[origins.cms.health]\npath = \"/healthz\"\ninterval = \"100ms\"";
    let site = site_of(&[url(&one.url()), url(&other.url())], keys).await;
    let are_out = |state: &Value| {
        let replicas = state["origins"]["cms"]["replicas"].as_array().unwrap();
        replicas.iter().all(|replica| replica["healthy"] == false)
    };
    site.state_when("failed check", are_out).await;
    for _ in 0..10 {
        read_whole(&site).await;
    }
}

#[tokio::test]
async fn what_is_passed_through_goes_to_a_replica_that_answers() {
    let (dead, well) = (Port::held(), replica().await);
    well.on("/api/list", html("list"));
    let site = site_of(&[url(&dead.url()), url(&well.url())], "").await;
    let reader = site.regular();
    for _ in 0..5 {
        for page in join_all((0..8).map(|_| reader.get("/api/list"))).await {
            page.is(200, "list");
        }
    }
    assert_eq!(well.hits("/api/list"), 40);
}

#[tokio::test]
async fn where_all_refuse_what_is_passed_through_it_is_a_502() {
    let (one, other) = (Port::held(), Port::held());
    let site = site_of(&[url(&one.url()), url(&other.url())], "").await;
    for _ in 0..20 {
        assert_eq!(site.regular().get("/api/list").await.status, 502);
    }
}

#[tokio::test]
async fn a_body_is_not_sent_twice() {
    let (dead, well) = (Port::held(), replica().await);
    well.on("/api/comments", html("taken"));
    let site = site_of(&[url(&dead.url()), url(&well.url())], "").await;
    let reader = site.regular();
    let post = async || {
        let request = reader.request("POST", "/api/comments").body("comment");
        reader.send(request).await.status
    };
    let (mut refused, mut taken) = (0, 0);
    // which one comes first is a matter of chance, and the dead one is soon left alone
    while refused == 0 || taken == 0 {
        match post().await {
            200 => taken += 1,
            502 => refused += 1,
            other => panic!("{other}"),
        }
        assert!(refused + taken < 500, "{refused} refused, {taken} taken");
    }
    assert_eq!(well.hits("/api/comments"), taken);
}

#[tokio::test]
async fn nor_is_a_request_that_a_replica_may_have_seen() {
    let replicas = [
        origin()
            .on("/api/comments", raw("").then_reset())
            .start()
            .await,
        origin()
            .on("/api/comments", raw("").then_reset())
            .start()
            .await,
    ];
    let urls = replicas.each_ref().map(|replica| url(&replica.url()));
    let site = site_of(&urls, "").await;
    let reader = site.regular();
    let request = reader.request("POST", "/api/comments").body("comment");
    assert_eq!(reader.send(request).await.status, 502);
    let hits: usize = replicas.iter().map(|r| r.hits("/api/comments")).sum();
    assert_eq!(hits, 1);
}
