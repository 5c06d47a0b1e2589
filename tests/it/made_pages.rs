//! A page that would come out as it did a moment ago is not put together anew, and nobody can tell but by how
//! it was made: whatever changes shows at once, and what is counted is counted.

use std::time::Duration;

use flate2::read::GzDecoder;
use marbre::clock::Clock;
use marbre::site::DebugSecret;
use serde_json::{Value, json};

use crate::support::newsroom::Draft;
use crate::support::{Newsroom, Operator, Origin, html, newsroom, origin};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn cms() -> Origin {
    origin()
        .on(
            "/article/a",
            html("<p>text</p>").header("link", "</a.css>; rel=preload; as=style"),
        )
        .on("/article/b", html("<p>other</p>"))
        .on("/live", html("<i>1</i>"))
        .start()
        .await
}

fn draft(cms: &Origin) -> Draft {
    let ttl = "ttl = \"1h\"\nkeep = \"1h\"";
    newsroom()
        .toml(&format!("[telemetry]\ndebug_secret = \"{SECRET}\""))
        .origin("cms", cms)
        .fragment("article", "\"core\"", "cms:/article/{slug}", ttl)
        .fragment("live", "40", "cms:/live", ttl)
        .page("page", "/{slug}", "<main>[article]</main>[live]")
        .without_snapshots()
}

const PAGE: &str = "<main><p>text</p></main><i>1</i>";

/// How the page was made that is asked for now.
async fn story(site: &Newsroom, path: &str) -> Value {
    let clock = Clock::start();
    let until = clock.moment(clock.now()).after(Duration::from_secs(60));
    let token = DebugSecret::new(SECRET).token(until);
    let headers = [
        ("marbre-debug", token.as_str()),
        ("accept", "application/json"),
    ];
    let page = site.reader().get_with(path, &headers).await;
    serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("{page:?}"))
}

fn is_made_before(story: &Value) -> bool {
    story["made_ms_ago"].is_number()
}

/// Asks for a page until it is one that was made before. A fresh look at the copies is taken every second, so
/// that one or two more are asked for than in the best case.
async fn made_before(site: &Newsroom, path: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..20 {
        last = story(site, path).await;
        if is_made_before(&last) {
            return last;
        }
    }
    panic!("it is made anew each time: {last:#}");
}

#[tokio::test]
async fn it_is_the_same_page_with_a_trace_and_times_of_its_own() {
    let cms = cms().await;
    let site = draft(&cms).start().await;
    let first = site.reader().get("/a").await;
    first.is(200, PAGE);
    let told = made_before(&site, "/a").await;
    assert_eq!(told["complete"], true);
    let blocks = told["blocks"].as_array().unwrap();
    let outcomes: Vec<_> = blocks.iter().map(|block| &block["outcome"]).collect();
    assert_eq!(outcomes, ["cached", "cached"], "{told:#}");
    assert!(blocks[0]["age_s"].is_number(), "{told:#}");

    let again = site.reader().get("/a").await;
    again.is(200, PAGE);
    for header in [
        "link",
        "etag",
        "cache-control",
        "marbre-level",
        "vary",
        "content-type",
    ] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_ne!(again.header("marbre-trace"), first.header("marbre-trace"));
    assert_eq!(again.outcome("article"), Some("cached"));
    assert_eq!(again.outcome("live"), Some("cached"));
    assert_eq!((cms.hits("/article/a"), cms.hits("/live")), (1, 1));
}

#[tokio::test]
async fn it_is_known_by_all_that_its_request_says() {
    let cms = cms().await;
    let site = draft(&cms).start().await;
    for _ in 0..6 {
        let reader = site.reader();
        reader.get("/a").await.is(200, PAGE);
        reader
            .get("/b")
            .await
            .is(200, "<main><p>other</p></main><i>1</i>");
    }
    let head = site.reader().request("HEAD", "/a");
    let head = site.reader().send(head).await;
    head.is(200, "");
    assert_eq!(
        head.header("content-length"),
        Some(PAGE.len().to_string().as_str())
    );
}

#[tokio::test]
async fn what_is_purged_or_pushed_is_gone_with_the_next_page() {
    let cms = cms().await;
    let site = draft(&cms)
        .fragment("ticker", "30", "push", "")
        .page("front", "/front/{slug}", "[article][ticker]")
        .start()
        .await;
    let operator = Operator::of(&site);
    made_before(&site, "/a").await;
    for (number, hard) in [(2, "true"), (3, "false")] {
        let now = format!("<i>{number}</i>");
        cms.on("/live", html(&now));
        let purge = format!("/purge?fragment=live&hard={hard}");
        let (code, said) = operator.ask("POST", &purge, "", &[]).await;
        assert_eq!(code, 200, "{said}");
        let page = format!("<main><p>text</p></main>{now}");
        site.reader().get("/a").await.is(200, &page);
        made_before(&site, "/a").await;
        site.reader().get("/a").await.is(200, &page);
    }
    for text in ["first", "second"] {
        let (code, said) = operator.ask("PUT", "/fragments/ticker/", text, &[]).await;
        assert!(code < 300, "{said}");
        let page = format!("<p>text</p>{text}");
        site.reader().get("/front/a").await.is(200, &page);
        made_before(&site, "/front/a").await;
        site.reader().get("/front/a").await.is(200, &page);
    }
}

#[tokio::test]
async fn what_operators_decide_shows_with_the_next_page() {
    let cms = cms().await;
    let mut site = draft(&cms).start().await;
    let operator = Operator::of(&site);
    made_before(&site, "/a").await;
    operator.switch("block/live", "\"off\": true, ").await;
    site.reader()
        .get("/a")
        .await
        .is(200, "<main><p>text</p></main>");
    operator.clear("block/live").await;
    site.reader().get("/a").await.is(200, PAGE);
    made_before(&site, "/a").await;
    site.rewrite(|text| text.replace("priority = 40", "priority = 41"));
    site.write(
        "layouts/page.html",
        "<fragment name=\"live\"></fragment><fragment name=\"article\"></fragment>",
    );
    let (code, said) = operator.ask("POST", "/reload", "", &[]).await;
    assert_eq!(code, 200, "{said}");
    site.reader().get("/a").await.is(200, "<i>1</i><p>text</p>");
}

#[tokio::test]
async fn readers_who_take_gzip_get_the_same() {
    let cms = cms().await;
    let long = format!("<p>{}</p>", "a long text ".repeat(500));
    cms.on("/article/a", html(&long));
    let site = draft(&cms).start().await;
    for path in ["/a", "/a", "/a", "/a", "/a"] {
        let asked = site.reader().request("GET", path);
        let answer = asked
            .header("accept-encoding", "gzip")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        let packed = answer.bytes().await.unwrap();
        let mut page = String::new();
        std::io::Read::read_to_string(&mut GzDecoder::new(&packed[..]), &mut page).unwrap();
        assert_eq!(page, format!("<main>{long}</main><i>1</i>"));
        site.reader()
            .get(path)
            .await
            .is(200, &format!("<main>{long}</main><i>1</i>"));
    }
    assert!(is_made_before(&made_before(&site, "/a").await));
}

#[tokio::test]
async fn each_of_them_is_counted_with_all_of_its_blocks() {
    let cms = cms().await;
    let site = draft(&cms).start().await;
    made_before(&site, "/a").await;
    let operator = Operator::of(&site);
    let before = site.state().await["tally"].clone();
    for _ in 0..5 {
        site.reader().get("/a").await.is(200, PAGE);
    }
    let after = site.state().await["tally"].clone();
    let more = |path: &str| {
        let of = |state: &Value| state.pointer(path).and_then(Value::as_u64).unwrap();
        of(&after) - of(&before)
    };
    for path in [
        "/pages",
        "/complete",
        "/fragments/article/cached",
        "/fragments/live/cached",
    ] {
        assert_eq!(more(path), 5, "{path}");
    }
    let (_, text) = operator.get("/metrics").await;
    let counted = text.lines().find_map(|line| {
        let series = "marbre_fragment_duration_seconds_count{fragment=\"live\"} ";
        line.strip_prefix(series)
    });
    let cached = after["fragments"]["live"]["cached"].as_u64().unwrap();
    let fetched = after["fragments"]["live"]["fetched"].as_u64().unwrap();
    assert_eq!(counted, Some((cached + fetched).to_string().as_str()));
}

#[tokio::test]
async fn what_is_one_readers_own_is_composed_for_each() {
    let cms = origin()
        .on("/article/a", html("<p>text</p>"))
        .on(
            "/me?sid=1",
            html("<b>one</b>").header("cache-control", "max-age=60"),
        )
        .on(
            "/me?sid=2",
            html("<b>two</b>").header("cache-control", "max-age=60"),
        )
        .start()
        .await;
    let site = newsroom()
        .toml(&format!("[telemetry]\ndebug_secret = \"{SECRET}\""))
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article/{slug}", "ttl = \"1h\"")
        .fragment(
            "me",
            "40",
            "cms:/me?sid={cookie.sid}",
            "forward_cookies = [\"sid\"]",
        )
        .page("page", "/{slug}", "[article][me]")
        .start()
        .await;
    for _ in 0..6 {
        for (cookie, body) in [("sid=1", "one"), ("sid=2", "two")] {
            let page = site.reader().get_with("/a", &[("cookie", cookie)]).await;
            page.is(200, &format!("<p>text</p><b>{body}</b>"));
        }
    }
    assert!(!is_made_before(&story(&site, "/a").await));
    assert_eq!(json!(null), story(&site, "/a").await["made_ms_ago"]);
}
