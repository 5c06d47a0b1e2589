//! One sick origin costs its own blocks only: it is asked about ten times and then left alone, and
//! gets its requests back step by step when it is well again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::support::newspaper::{patiently, started_with};
use crate::support::reader::client;
use crate::support::{Newsroom, Origin, Port, html, json, newsroom, origin, raw, status};

/// Left alone for longer than any test takes.
const FOR_LONG: &str = "min_requests = 10\nwindow = \"10m\"\nopen = \"60s\"\nopen_max = \"60s\"";

const WITHOUT: &str = "<p>text</p><p>photos</p>";
const WHOLE: &str = "<p>text</p><p>agenda</p><p>photos</p>";

/// A page of an article, of the agenda, which comes from an origin at `url`, and of photos; and the
/// origin of the other two.
async fn site_with(url: &str, breaker: &str, agenda: &str) -> (Newsroom, Origin) {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/photos", html("<p>photos</p>"))
        .start()
        .await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .toml(&format!(
            "[origins.agenda]\nurls = [\"{url}\"]\nowner = \"culture desk\"\ntimeout = \"60s\"\n\
             [origins.agenda.breaker]\n{breaker}\n[origins.agenda.retry]\nattempts = 1"
        ))
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("photos", "30", "cms:/photos", PATIENT)
        .fragment("agenda", "40", "agenda:/agenda", agenda)
        .page_within("page", "/", "[article][agenda][photos]", "25s")
        .start()
        .await;
    (site, cms)
}

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";
const IMPATIENT: &str = "timeout = \"20ms\"\nttl = \"0s\"";

/// Reads pages, all of them without the agenda, until its breaker has opened.
async fn read_until_open(site: &Newsroom, at_once: usize) -> Value {
    let reader = site.regular();
    loop {
        let state = site.origin_state("agenda").await;
        if state["breaker"]["optional"]["state"] != "closed" {
            return state;
        }
        for page in join_all((0..at_once).map(|_| reader.get("/"))).await {
            page.is(200, WITHOUT);
        }
    }
}

/// `agenda` is who listens at `url`, if anybody does.
async fn is_asked_ten_times_and_no_more(url: &str, agenda: Option<&Origin>, keys: &str) {
    let (site, _cms) = site_with(url, FOR_LONG, keys).await;
    // where pages wait, there are several at a time
    let at_once = if keys == IMPATIENT { 5 } else { 1 };
    let state = read_until_open(&site, at_once).await;
    assert_eq!(state["breaker"]["optional"]["state"], "open", "{state:#}");
    assert_eq!(
        state["breaker"]["optional"]["opened_because"],
        "10 of 10 requests failed or missed their deadline"
    );
    assert_eq!(state["breaker"]["optional"]["trips"], 1);
    // one that hangs has not read everything when the tenth is held against it
    let count = |state: &Value, what: &str| state[what].as_u64().unwrap();
    let (asked, refused) = (count(&state, "attempts"), count(&state, "refused_open"));
    if let Some(agenda) = agenda {
        agenda.arrived(asked as usize).await;
    }
    let reader = site.regular();
    for _ in 0..20 {
        reader.get("/").await.is(200, WITHOUT);
    }
    assert_eq!(site.complaint("agenda").await, "failed (breaker open)");
    let state = site.origin_state("agenda").await;
    assert_eq!(count(&state, "refused_open"), refused + 20, "{state:#}");
    assert_eq!(count(&state, "attempts"), asked, "{state:#}");
    if let Some(agenda) = agenda {
        assert_eq!(agenda.hits("/agenda"), asked as usize);
    }
    let [event] = &site.events().await[..] else {
        panic!("one event: {:#?}", site.events().await)
    };
    let (begin, end) = (
        "origin agenda is left alone by optional fragments, for ",
        ": 10 of 10 requests failed or missed their deadline (owner: culture desk)",
    );
    assert!(event.starts_with(begin) && event.ends_with(end), "{event}");
    let cms = site.origin_state("cms").await;
    assert_eq!(cms["breaker"]["core"]["state"], "closed");
    assert_eq!(cms["failed"], 0, "{cms:#}");
}

#[tokio::test]
async fn an_origin_that_refuses_is_left_alone() {
    let port = Port::held();
    is_asked_ten_times_and_no_more(&port.url(), None, PATIENT).await;
}

#[tokio::test]
async fn an_origin_that_answers_500_is_left_alone() {
    let agenda = origin().on("/agenda", status(500)).start().await;
    is_asked_ten_times_and_no_more(&agenda.url(), Some(&agenda), PATIENT).await;
}

#[tokio::test]
async fn an_origin_that_hangs_is_left_alone() {
    let agenda = origin().on("/agenda", raw("").then_hang()).start().await;
    is_asked_ten_times_and_no_more(&agenda.url(), Some(&agenda), IMPATIENT).await;
}

#[tokio::test]
async fn an_origin_that_drips_is_left_alone() {
    let head = raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5000\r\n\r\n");
    let drip = head.then_drip("x".repeat(5000), Duration::from_millis(20));
    let agenda = origin().on("/agenda", drip).start().await;
    is_asked_ten_times_and_no_more(&agenda.url(), Some(&agenda), IMPATIENT).await;
}

#[tokio::test]
async fn an_origin_that_answers_garbage_is_left_alone() {
    for garbage in [
        raw("220 mail.example ESMTP\r\n"),
        raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 100\r\n\r\n<p>"),
        html(b"<p>\xff\xfe</p>"),
        html(""),
    ] {
        let agenda = origin().on("/agenda", garbage).start().await;
        is_asked_ten_times_and_no_more(&agenda.url(), Some(&agenda), PATIENT).await;
    }
}

#[tokio::test]
async fn json_that_is_none_speaks_against_its_origin_too() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let cut = json("{\"concerts\": [");
    let agenda = origin().on("/agenda", cut).start().await;
    let keys = format!("{PATIENT}\ntemplate = \"agenda.html\"");
    let site = newsroom()
        .file("agenda.html", "<p>{{ data.concerts }}</p>")
        .patient_origin("cms", &cms.url())
        .toml(&format!(
            "[origins.agenda]\nurls = [\"{}\"]\ntimeout = \"60s\"\n[origins.agenda.breaker]\n{FOR_LONG}",
            agenda.url()
        ))
        .core("article", "cms:/article")
        .fragment("agenda", "40", "agenda:/agenda", &keys)
        .page_within("page", "/", "[article][agenda]", "25s")
        .start()
        .await;
    let reader = site.regular();
    for _ in 0..20 {
        reader.get("/").await.is(200, "<p>text</p>");
    }
    assert_eq!(agenda.hits("/agenda"), 10);
    assert_eq!(site.complaint("agenda").await, "failed (breaker open)");
}

#[tokio::test]
async fn what_is_there_instead_is_shown_while_an_origin_is_left_alone() {
    let agenda = origin().on("/agenda", status(500)).start().await;
    let keys = format!("{PATIENT}\nfallback = [\"inline:<i>no agenda</i>\"]");
    let (site, _cms) = site_with(&agenda.url(), FOR_LONG, &keys).await;
    let reader = site.regular();
    for _ in 0..20 {
        let page = reader.get("/").await;
        page.is(200, "<p>text</p><i>no agenda</i><p>photos</p>");
    }
    assert_eq!(agenda.hits("/agenda"), 10);
    assert_eq!(site.complaint("agenda").await, "inline (breaker open)");
}

#[tokio::test]
async fn what_is_not_there_or_not_for_everybody_speaks_against_nobody() {
    for answer in [404, 410, 401, 403] {
        let agenda = origin().on("/agenda", status(answer)).start().await;
        let (site, _cms) = site_with(&agenda.url(), FOR_LONG, PATIENT).await;
        let reader = site.regular();
        for _ in 0..30 {
            reader.get("/").await.is(200, WITHOUT);
        }
        assert_eq!(agenda.hits("/agenda"), 30, "{answer}");
        let state = site.origin_state("agenda").await;
        assert_eq!(state["breaker"]["optional"]["state"], "closed", "{state:#}");
        assert_eq!(state["breaker"]["optional"]["opened_because"], Value::Null);
    }
}

#[tokio::test]
async fn an_origin_that_is_well_again_gets_its_requests_back_step_by_step() {
    let agenda = origin().on("/agenda", status(500)).start().await;
    let breaker = "min_requests = 10\nopen = \"100ms\"\nopen_max = \"100ms\"\nstep = \"300ms\"";
    let (site, _cms) = site_with(&agenda.url(), breaker, PATIENT).await;
    let mut state = read_until_open(&site, 1).await;
    agenda.on("/agenda", html("<p>agenda</p>"));
    let mut seen = Vec::new();
    loop {
        let breaker = &state["breaker"]["optional"];
        let now = format!("{} {}", breaker["state"], breaker["share_percent"]);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if breaker["state"] == "closed" {
            break;
        }
        let page = site.regular().get("/").await;
        assert_eq!(page.status, 200);
        assert!(page.body == WHOLE || page.body == WITHOUT, "{}", page.body);
        state = site.origin_state("agenda").await;
    }
    assert_eq!(
        seen,
        [
            "\"open\" 0",
            "\"half_open\" 0",
            "\"recovering\" 5",
            "\"recovering\" 20",
            "\"recovering\" 60",
            "\"closed\" 100"
        ]
    );
    let reader = site.regular();
    for _ in 0..20 {
        reader.get("/").await.is(200, WHOLE);
    }
    let told: Vec<_> = site.events().await;
    let expected = [
        "origin agenda is asked as ever again by optional fragments (owner: culture desk)",
        "origin agenda answers again, and is asked by optional fragments step by step \
         (owner: culture desk)",
    ];
    assert_eq!(told[..2], expected);
    assert!(
        told[2].starts_with("origin agenda is left alone by optional fragments, for "),
        "{}",
        told[2]
    );
    // each look at it is nothing new
    assert_eq!(told.len(), 3, "{told:#?}");
}

#[tokio::test]
async fn a_probe_that_fails_leaves_it_alone_for_longer() {
    let agenda = origin().on("/agenda", status(500)).start().await;
    let breaker = "min_requests = 10\nopen = \"20ms\"\nopen_max = \"60s\"";
    let (site, _cms) = site_with(&agenda.url(), breaker, PATIENT).await;
    while site.origin_state("agenda").await["breaker"]["optional"]["trips"] != 4 {
        site.regular().get("/").await.is(200, WITHOUT);
    }
    // ten, and one for each further trip
    assert_eq!(agenda.hits("/agenda"), 13);
    // that it is sick still is no news
    assert_eq!(site.events().await.len(), 1);
    // 20, 40, 80, 160 ms, and up to a quarter more
    let state = site.origin_state("agenda").await;
    let left = state["breaker"]["optional"]["next_probe_ms"].as_u64();
    assert!(left <= Some(200), "{state:#}");
}

#[tokio::test]
async fn a_breaker_survives_a_reload_that_does_not_touch_its_origin() {
    let agenda = origin().on("/agenda", status(500)).start().await;
    let (mut site, _cms) = site_with(&agenda.url(), FOR_LONG, PATIENT).await;
    read_until_open(&site, 1).await;
    let reload = async |site: &Newsroom| {
        let url = format!("{}/reload", site.admin_url());
        let answer = client().post(url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    };
    let hits = agenda.hits("/agenda");
    site.rewrite(|toml| toml.replace("priority = 40", "priority = 50"));
    reload(&site).await;
    site.regular().get("/").await.is(200, WITHOUT);
    assert_eq!(
        site.origin_state("agenda").await["breaker"]["optional"]["state"],
        "open"
    );
    assert_eq!(agenda.hits("/agenda"), hits);
    // nor by one that only says something else of it
    site.rewrite(|toml| toml.replace("culture desk", "city desk"));
    reload(&site).await;
    site.regular().get("/").await.is(200, WITHOUT);
    assert_eq!(agenda.hits("/agenda"), hits);
    // another address is another origin, of which nothing is known
    let elsewhere = agenda.url().replace("127.0.0.1", "localhost");
    site.rewrite(|toml| toml.replace(&agenda.url(), &elsewhere));
    reload(&site).await;
    let state = site.origin_state("agenda").await;
    assert_eq!(state["breaker"]["optional"]["state"], "closed");
    site.regular().get("/").await.is(200, WITHOUT);
    assert_eq!(agenda.hits("/agenda"), hits + 1);
}

#[tokio::test]
async fn a_breaker_that_is_switched_off_never_opens() {
    let agenda = origin().on("/agenda", status(500)).start().await;
    let (site, _cms) = site_with(&agenda.url(), "enabled = false", PATIENT).await;
    let reader = site.regular();
    for _ in 0..50 {
        reader.get("/").await.is(200, WITHOUT);
    }
    assert_eq!(agenda.hits("/agenda"), 50);
    let state = site.origin_state("agenda").await;
    assert_eq!(state["breaker"]["optional"]["state"], "closed", "{state:#}");
    assert_eq!(state["refused_open"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_newspaper_does_without_five_sick_origins_and_takes_them_back() {
    const STORY: &str = "/articles/archipel-cable";
    let sick = [
        ("media", "hang=1"),
        ("live", "drip=1"),
        ("reco", "error=1"),
        ("ads", "cut=1"),
        ("weather", "off=1"),
    ];
    let required = [
        "front",
        "section",
        "article",
        "header",
        "navigation",
        "footer",
    ];
    let is_required = |name: &str| required.iter().any(|f| name == format!("fragments.{f}"));
    let breakers = sick.map(|(origin, _)| {
        format!(
            "\n[origins.{origin}.breaker]\nmin_requests = 10\nopen = \"1s\"\n\
             open_max = \"1s\"\nstep = \"50ms\"\n"
        )
    });
    let newspaper = started_with(
        0,
        |name, key, value| match key {
            "timeout" if ["origins.media", "origins.live"].contains(&name) => "1s",
            "timeout" if name.starts_with("origins") => "25s",
            // the two that hang and drip
            "timeout" if ["fragments.slideshow", "fragments.live"].contains(&name) => "200ms",
            "timeout" => "20s",
            "budget" | "target" => "25s",
            "ttl" | "grace" | "keep" if !is_required(name) => "0s",
            _ => value,
        },
        &breakers.concat(),
    )
    .await;
    let reader = newspaper.regular();
    let read = async |path: &str| {
        let page = reader.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        for part in [
            "class=\"masthead\"",
            "class=\"sections\"",
            "class=\"colophon\"",
            "</html>",
        ] {
            assert!(page.body.contains(part), "{path} lacks {part}");
        }
        page
    };
    let are = async |what: &dyn Fn(&Value) -> bool| {
        let state = newspaper.state().await;
        sick.iter()
            .all(|(origin, _)| what(&state["origins"][origin]))
    };
    sick.iter()
        .for_each(|(origin, dial)| newspaper.turn(origin, dial));
    patiently(async {
        while !are(&|origin| origin["refused_open"].as_u64() > Some(20)).await {
            read("/").await;
            let story = read(STORY).await;
            assert!(story.body.contains("class=\"story-body\""));
        }
    })
    .await;
    let state = newspaper.state().await;
    for well in ["cms", "web"] {
        let origin = &state["origins"][well];
        assert_eq!(origin["breaker"]["optional"]["state"], "closed");
        assert_eq!(origin["failed"], 0, "{origin:#}");
    }
    let said: BTreeSet<_> = state["tally"]["incomplete"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|page| page["blocks"].as_object().unwrap().values())
        .filter_map(Value::as_str)
        .collect();
    for outcome in [
        "failed (breaker open)",
        "static (breaker open)",
        "default_data (breaker open)",
    ] {
        assert!(said.contains(outcome), "{said:#?}");
    }

    sick.iter()
        .for_each(|(origin, _)| newspaper.turn(origin, "reset=1"));
    patiently(async {
        while !are(&|origin| origin["breaker"]["optional"]["state"] == "closed").await {
            read("/").await;
            read(STORY).await;
        }
        while !read(STORY).await.body.contains("class=\"slideshow\"") {}
        while !read("/").await.body.contains("class=\"weather\"") {}
    })
    .await;
}
