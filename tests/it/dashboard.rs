//! The dashboard: what a browser is given, who may have it, what it is told once a second, and what a
//! person does with it in a real browser.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::browser::{lines, tool};
use crate::support::newspaper::{Running, patient, patiently, repository, started};
use crate::support::{Newsroom, Operator, newsroom};

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml");
/// Stories of the demo that have a slideshow.
const WITH_SLIDESHOWS: [&str; 4] = [
    "/articles/archipel-cable",
    "/articles/theatre-fleuve",
    "/articles/course-au-large",
    "/articles/trains-de-nuit",
];
const TOKEN: &str = "open-sesame-0123456789";

async fn site() -> Newsroom {
    newsroom()
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .fragment("least", "10", "inline:<i>10</i>", "")
        .fragment("more", "20", "inline:<i>20</i>", "")
        .page(
            "front",
            "/",
            "<head><title>x</title></head>[front][least][more]",
        )
        .start()
        .await
}

async fn guarded() -> Newsroom {
    newsroom()
        .admin(&format!("token = \"{TOKEN}\""))
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .start()
        .await
}

fn operator() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

fn header<'a>(answer: &'a reqwest::Response, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// The next account of a stream.
async fn next(stream: &mut reqwest::Response) -> Option<Value> {
    let mut text = String::new();
    while let Some(chunk) = patiently(stream.chunk()).await.unwrap() {
        text += std::str::from_utf8(&chunk).unwrap();
        if text.ends_with("\n\n") {
            let data = text.trim().strip_prefix("data: ").unwrap();
            return Some(serde_json::from_str(data).unwrap());
        }
    }
    None
}

// --- What a browser is given ---

#[tokio::test]
async fn a_browser_gets_the_dashboard_and_everything_else_the_list() {
    let site = site().await;
    let (client, url) = (operator(), site.admin_url());
    let list = client.get(&url).send().await.unwrap();
    assert!(list.text().await.unwrap().contains("GET  /live"));
    let page = client
        .get(&url)
        .header(HTML.0, HTML.1)
        .send()
        .await
        .unwrap();
    let policy = header(&page, "content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for loose in ["unsafe", "http:", "https:", "*"] {
        assert!(!policy.contains(loose), "{policy}");
    }
    let html = page.text().await.unwrap();
    for inline in [" style=", "<style", " onclick", "<script>"] {
        assert!(!html.contains(inline), "{inline}");
    }
    let addresses = html.split("=\"/assets/").skip(1);
    let addresses: Vec<_> = addresses
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(addresses.len() >= 5, "{addresses:?}");
    for name in addresses {
        let file = client
            .get(format!("{url}/assets/{name}"))
            .send()
            .await
            .unwrap();
        assert_eq!(file.status(), 200, "{name}");
        let tag = header(&file, "etag").to_owned();
        let again = client.get(format!("{url}/assets/{name}"));
        let again = again.header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{name}");
    }
    for hidden in ["dashboard.html", "nothing.js", "..%2f..%2fCargo.toml"] {
        let file = client
            .get(format!("{url}/assets/{hidden}"))
            .send()
            .await
            .unwrap();
        assert_eq!(file.status(), 404, "{hidden}");
    }
}

// --- What it is told ---

#[tokio::test]
async fn it_is_told_once_a_second_what_readers_get() {
    let site = site().await;
    let operator_at = Operator::of(&site);
    let mut stream = operator()
        .get(format!("{}/live", site.admin_url()))
        .send()
        .await
        .unwrap();
    assert_eq!(header(&stream, "content-type"), "text/event-stream");
    site.reader().get("/").await;
    let told = patiently(async {
        loop {
            let told = next(&mut stream).await.unwrap();
            if told["now"]["pages"] == 1 {
                return told;
            }
        }
    })
    .await;
    assert_eq!(told["readers"], "fine");
    assert_eq!(told["now"]["complete"], 1);
    assert_eq!(told["act"], json!([]));
    operator_at.switch("pin", "\"level\": 1, ").await;
    let told = patiently(async {
        loop {
            let told = next(&mut stream).await.unwrap();
            if told["level"]["level"] == 1 {
                return told;
            }
        }
    })
    .await;
    assert_eq!(told["readers"], "reduced");
    assert!(told["why"].as_str().unwrap().contains("operator"), "{told}");
    let least = told["blocks"].as_array().unwrap().iter();
    let least = least
        .clone()
        .find(|block| block["name"] == "least")
        .unwrap();
    assert_eq!(
        (&least["state"], &least["absent"]),
        (&json!("shed"), &json!(true))
    );
    // all of it is remembered
    let (_, past) = operator_at.get("/history").await;
    let past: Value = serde_json::from_str(&past).unwrap();
    let beats = past.as_array().unwrap();
    let pages: u64 = beats
        .iter()
        .map(|beat| beat["pages"].as_u64().unwrap())
        .sum();
    assert_eq!(pages, 1);
    let last = beats.last().unwrap();
    let (_, none) = operator_at
        .get(&format!("/history?since={}", u64::MAX))
        .await;
    assert_eq!((none.as_str(), &last["level"]), ("[]", &json!(1)));
}

#[tokio::test]
async fn listeners_are_of_a_bounded_number_and_leave_when_the_server_stops() {
    let site = site().await;
    let (client, url) = (operator(), format!("{}/live", site.admin_url()));
    let mut streams = Vec::new();
    for _ in 0..64 {
        let stream = client.get(&url).send().await.unwrap();
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = client.get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(header(&refused, "retry-after"), "1");
    // whoever leaves makes room
    streams.truncate(63);
    patiently(async {
        while client.get(&url).send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let leaving = async {
        for mut stream in streams {
            while next(&mut stream).await.is_some() {}
        }
    };
    patiently(async { tokio::join!(site.stopped(), leaving) }).await;
}

// --- Who may have it ---

#[tokio::test]
async fn who_signs_in_with_the_token_has_a_session() {
    let site = guarded().await;
    let (client, url) = (operator(), site.admin_url());
    let at = |path: &str| format!("{url}{path}");
    let asked = client
        .get(&url)
        .header(HTML.0, HTML.1)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (asked.status().as_u16(), header(&asked, "location")),
        (303, "/login")
    );
    let form = client.get(at("/login")).send().await.unwrap();
    assert_eq!(form.status(), 200);
    assert!(header(&form, "content-security-policy").contains("form-action 'self'"));
    for closed in ["/state", "/live", "/history", "/preview", "/switches"] {
        assert_eq!(
            client.get(at(closed)).send().await.unwrap().status(),
            401,
            "{closed}"
        );
    }
    let wrong = client
        .post(at("/login"))
        .body("token=wrong")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 403);
    assert_eq!(header(&wrong, "set-cookie"), "");
    let foreign = client
        .post(at("/login"))
        .header("sec-fetch-site", "cross-site");
    let foreign = foreign.body(format!("token={TOKEN}")).send().await.unwrap();
    assert_eq!(
        (foreign.status().as_u16(), header(&foreign, "set-cookie")),
        (403, "")
    );

    let entered = client
        .post(at("/login"))
        .body(format!("token={TOKEN}"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (entered.status().as_u16(), header(&entered, "location")),
        (303, "/")
    );
    let cookie = header(&entered, "set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Max-Age=43200", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN));
    let cookie = cookie.split(';').next().unwrap();
    let with = |request: reqwest::RequestBuilder| request.header("cookie", cookie);
    let page = with(client.get(&url))
        .header(HTML.0, HTML.1)
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("Sign out"));
    let pin = || client.put(at("/level")).body("0");
    assert_eq!(with(pin()).send().await.unwrap().status(), 200);
    // a cookie is sent by whatever page is open: another site's is refused
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "http://evil.example"),
    ] {
        let sent = with(pin()).header(name, value).send().await.unwrap();
        assert_eq!(sent.status(), 403, "{name}");
    }
    let forged = client
        .put(at("/level"))
        .header("cookie", format!("{cookie}0"))
        .body("0");
    assert_eq!(forged.send().await.unwrap().status(), 401);
    let bearer = pin().header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(bearer.send().await.unwrap().status(), 200);
    let left = with(client.post(at("/logout"))).send().await.unwrap();
    assert!(header(&left, "set-cookie").contains("Max-Age=0"));
}

// --- As readers see it ---

#[tokio::test]
async fn a_page_is_looked_at_at_a_level_and_counts_as_nobodys() {
    let site = site().await;
    let client = operator();
    let url = |query: &str| format!("{}/preview?{query}", site.admin_url());
    for (level, shown) in [(0, "<i>10</i><i>20</i>"), (1, "<i>20</i>"), (2, "")] {
        let page = client
            .get(url(&format!("path=/&level={level}")))
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), 200);
        let policy = header(&page, "content-security-policy").to_owned();
        assert!(
            policy.ends_with("; sandbox") && !policy.contains("script-src"),
            "{policy}"
        );
        let html = page.text().await.unwrap();
        assert!(
            html.contains(&format!("<head><base href=\"{}/\"", site.url())),
            "{html}"
        );
        assert!(html.contains(&format!("<p>front</p>{shown}")), "{html}");
        assert_eq!(html.matches("<i>").count(), shown.matches("<i>").count());
    }
    for (query, status) in [
        ("path=/none", 404),
        ("path=//evil.example/", 400),
        ("path=/&level=9", 400),
    ] {
        assert_eq!(
            client.get(url(query)).send().await.unwrap().status(),
            status,
            "{query}"
        );
    }
    let mut stream = client
        .get(format!("{}/live", site.admin_url()))
        .send()
        .await
        .unwrap();
    next(&mut stream).await.unwrap();
    let (_, past) = Operator::of(&site).get("/history").await;
    let past: Value = serde_json::from_str(&past).unwrap();
    assert!(
        past.as_array()
            .unwrap()
            .iter()
            .all(|beat| beat["pages"] == 0),
        "{past}"
    );
}

// --- In a browser ---

/// From when to when the night of the elections is: whatever the year, it is to come.
fn night_to_come() -> (String, String) {
    let today = jiff::Zoned::now().date();
    let on = |days: i64, time: &str| {
        let day = today.saturating_add(jiff::Span::new().days(days));
        format!("{day}T{time}")
    };
    (on(20, "20:00"), on(21, "02:00"))
}

/// Runs a script that does with the page what a person does, after what it needs.
fn person(page: &str, script: &str) -> std::process::Command {
    let scripts = repository().join("tests/browser");
    let mut ask = tool("ask");
    ask.env("BROWSER_SECONDS", "240").arg(page).arg("--");
    ask.arg(scripts.join("node_modules/axe-core/axe.min.js"));
    ask.arg(scripts.join("person.js")).arg(scripts.join(script));
    ask
}

/// What was asked while readers came again and again, each to the next of these stories.
async fn beside_readers(
    newspaper: &Running,
    stories: &[&str],
    ask: std::process::Command,
) -> Value {
    let reader = newspaper.regular();
    let crowd = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        for story in stories.iter().cycle() {
            pace.tick().await;
            reader.get(story).await;
        }
    };
    tokio::select! {
        told = lines(ask) => told.into_iter().next().expect("a line"),
        () = crowd => unreachable!("it goes on"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_is_wrong_decides_and_takes_it_back() {
    let (from, until) = night_to_come();
    let newspaper = started(0, |name, key, value| match key {
        "from" if name.starts_with("schedules") => &from,
        "until" if name.starts_with("schedules") => &until,
        // what is asked for again and again is to be asked of its origin
        "ttl" if name == "fragments.slideshow" => "1s",
        "budget" | "target" => "20s",
        "timeout" if name.starts_with("origins") => "20s",
        "timeout" => "15s",
        _ => value,
    })
    .await;
    let page = format!("http://{}/", newspaper.app.admin_address);
    let mut ask = person(&page, "operate.js");
    ask.env("BROWSER_STRICT", "1");
    let told = &beside_readers(&newspaper, &["/articles/archipel-cable"], ask).await;
    let text = |at: &str| told.pointer(at).unwrap().as_str().unwrap().to_owned();
    assert_eq!(
        told["first"],
        json!({"word": "Readers are fine", "level": "0"})
    );
    assert!(text("/promises").contains("of the error budget"), "{told}");
    assert!(
        text("/dial/effect").contains("slideshow") && text("/dial/effect").contains("until"),
        "{told}"
    );
    assert!(text("/sick/why").contains("media is left alone"), "{told}");
    assert!(text("/act").contains("service photo"), "{told}");
    assert!(
        text("/pin/effect").contains("weather") && text("/pin/effect").contains("until"),
        "{told}"
    );
    assert!(
        text("/pinned/why").contains("a rehearsal of the evening"),
        "{told}"
    );
    assert_eq!(told["pinned"]["weather"], "shed");
    println!("given up on the screen after {} ms", told["shed_after_ms"]);
    assert!(text("/pinned/step").contains("now"), "{told}");
    // what an operator keeps away does not come back by itself
    assert!(
        text("/switched/act").contains("weather") && !text("/switched/act").contains("Nobody"),
        "{told}"
    );
    assert!(
        text("/off/effect").starts_with("No page shows weather"),
        "{told}"
    );
    assert!(
        text("/switched/why").contains("the forecast is wrong"),
        "{told}"
    );
    assert!(text("/switched/list").contains("Léa"), "{told}");
    let scheduled = text("/scheduled");
    assert!(
        scheduled.contains("rédaction en chef") && scheduled.contains(" days"),
        "{scheduled}"
    );
    assert!(
        text("/skip/effect").contains("the level is at least 1"),
        "{told}"
    );
    assert!(
        text("/skipped").contains("there is no second round"),
        "{told}"
    );
    assert_eq!(told["refused"], true);
    assert!(text("/moment").contains("Level"), "{told}");
    assert_eq!(told["frames"].as_array().unwrap().len(), 7);
    let journal = text("/journal");
    for entry in [
        "origin media is made to misbehave: refuses connections, for 1h, by Léa: what if the pictures are gone",
        "origin media is made healthy again, by Léa: taken back",
        "a rehearsal of the evening",
        "the forecast is wrong",
        "there is no second round",
    ] {
        assert!(journal.contains(entry), "{entry} is not in: {journal}");
    }
    assert_eq!(
        told["hosts"],
        json!([newspaper.app.admin_address.to_string()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turned_dial_is_seen_on_the_block_and_its_cause_with_it() {
    let newspaper = started(0, |name, key, value| match (name, key) {
        // what is asked for again and again is to be asked of its origin
        ("fragments.slideshow", "ttl") => "20ms",
        // what hangs is given up as it is declared, and nothing else on a busy machine
        ("fragments.slideshow" | "origins.media", _) => value,
        (origin, "timeout") if origin.starts_with("origins") => "20s",
        (_, "budget" | "target") => "20s",
        (_, "timeout") => "15s",
        _ => value,
    })
    .await;
    let page = format!("http://{}/", newspaper.app.admin_address);
    let mut ask = person(&page, "turn.js");
    ask.env("BROWSER_STRICT", "1");
    let told = beside_readers(&newspaper, &WITH_SLIDESHOWS, ask).await;
    let turns = told["told"].as_array().unwrap();
    let named = turns.iter().map(|turn| turn["turn"].as_str().unwrap());
    assert_eq!(named.collect::<Vec<_>>(), ["off", "hang", "error"]);
    for turn in turns {
        println!("{}: on the screen after {} ms", turn["turn"], turn["ms"]);
        let text = |at: &str| turn[at].as_str().unwrap();
        assert_eq!(text("word"), "left alone", "{turn}");
        assert!(text("why").starts_with("media is left alone: "), "{turn}");
    }
    assert_eq!(
        told["hosts"],
        json!([newspaper.app.admin_address.to_string()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_set_seen_ended_and_taken_back() {
    let newspaper = started(0, |name, key, value| match (name, key) {
        // what is asked for again and again is to be asked of its origin
        ("fragments.slideshow", "ttl" | "grace" | "keep") => "20ms",
        // a busy machine breaks no promise, which would end it
        ("slo.fast", _) => "60s",
        (origin, "timeout") if origin.starts_with("origins") => "20s",
        (_, "budget" | "target") => "20s",
        (_, "timeout") => "15s",
        _ => value,
    })
    .await;
    let page = format!("http://{}/", newspaper.app.admin_address);
    let mut ask = person(&page, "faults.js");
    ask.env("BROWSER_STRICT", "1");
    let told = beside_readers(&newspaper, &WITH_SLIDESHOWS, ask).await;
    let text = |at: &str| told.pointer(at).unwrap().as_str().unwrap().to_owned();
    assert!(
        text("/none").contains("nothing goes wrong on purpose"),
        "{told}"
    );
    let effect = text("/set/effect");
    assert!(
        effect.starts_with("Every page has it until") && effect.contains("latency on slideshow"),
        "{told}"
    );
    assert!(
        text("/fault").contains("Léa: do pages do without it?"),
        "{told}"
    );
    assert_eq!(told["hit"], true, "{told}");
    assert!(
        text("/end/effect").contains("fragment slideshow: 5ms later"),
        "{told}"
    );
    assert!(text("/past").contains("Léa: seen enough"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_dialogs_are_accessible_on_a_desk_and_on_a_phone_by_day_and_by_night() {
    let (from, until) = night_to_come();
    let newspaper = started(0, |name, key, value| match key {
        "from" if name.starts_with("schedules") => &from,
        "until" if name.starts_with("schedules") => &until,
        _ => value,
    })
    .await;
    let page = format!("http://{}/", newspaper.app.admin_address);
    for (size, scheme) in [("1280x900", "light"), ("390x844", "dark")] {
        let mut ask = person(&page, "dialogs.js");
        ask.env("BROWSER_SIZE", size).env("BROWSER_SCHEME", scheme);
        let told = lines(ask).await.remove(0);
        let said = told["said"].as_object().unwrap();
        assert!(said.len() > 12, "{:?}", said.keys());
        for (dialog, found) in said {
            assert_eq!(found["violations"], json!([]), "{dialog}, {size}, {scheme}");
            assert_eq!(found["wide"], json!(false), "{dialog}, {size}");
            assert!(found["checked"].as_u64() > Some(10), "{dialog}: {found}");
        }
        let refused = told["refused"].as_str().unwrap();
        assert!(refused.contains("level 200 does not exist"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_accessible_on_a_desk_and_on_a_phone_by_day_and_by_night() {
    let newspaper = patient().await;
    let site = guarded().await;
    let urls = [
        format!("http://{}/", newspaper.app.admin_address),
        format!("{}/login", site.admin_url()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().join("shown.js");
    // until there is something to check
    let script = "new Promise((shown) => { const look = () => !document.getElementById('readers') || \
                  document.querySelector('#blocks-rows tr') ? shown(1) : setTimeout(look, 50); look(); })";
    std::fs::write(&shown, script).unwrap();
    for (size, scheme) in [("1280x900", "light"), ("390x844", "dark")] {
        let mut ask = tool("ask");
        ask.env("BROWSER_SIZE", size)
            .env("BROWSER_SCHEME", scheme)
            .env("BROWSER_STRICT", "1");
        ask.args(&urls).arg("--").arg(&shown);
        ask.arg(repository().join("tests/browser/node_modules/axe-core/axe.min.js"));
        ask.arg(repository().join("tests/browser/accessibility.js"));
        for (url, answer) in urls.iter().zip(lines(ask).await) {
            assert_eq!(answer["violations"], json!([]), "{url}, {size}, {scheme}");
            assert_eq!(answer["wide"], json!(false), "{url} is wider than {size}");
        }
    }
}
