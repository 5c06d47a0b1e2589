//! `Marbre-Debug`: a page that says how it was made, for whoever has a token, and for nobody else.

use std::process::Command;
use std::time::Duration;

use marbre::clock::Clock;
use marbre::site::DebugSecret;
use serde_json::Value;

use crate::support::{Newsroom, Origin, Page, html, newsroom, origin, status};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const PAGE: &str = "<p>text</p><i>reserve</i>";

/// A token of this secret, made so long ago, which was good for a minute.
fn token(secret: &str, ago: Duration) -> String {
    let clock = Clock::start();
    let made = clock.moment(clock.now()).before(ago);
    DebugSecret::new(secret).token(made.after(Duration::from_secs(60)))
}

fn good() -> String {
    token(SECRET, Duration::ZERO)
}

async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", status(500))
        .start()
        .await
}

async fn site(cms: &Origin, secret: Option<&str>) -> Newsroom {
    let keys = secret.map_or_else(String::new, |secret| format!("debug_secret = \"{secret}\""));
    newsroom()
        .toml(&format!("[telemetry]\n{keys}"))
        .origin("cms", cms)
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block?sid={cookie.sid}",
            "ttl = \"0s\"\nforward_cookies = [\"sid\"]\nfallback = [\"inline:<i>reserve</i>\"]",
        )
        .page("page", "/", "[article][block]")
        .start()
        .await
}

async fn debug(site: &Newsroom, token: &str, more: &[(&str, &str)]) -> Page {
    let headers = [&[("marbre-debug", token)], more].concat();
    site.reader().get_with("/", &headers).await
}

fn comment(page: &Page) -> &str {
    let (_, rest) = page.body.split_once("\n<!-- marbre\n").expect("a comment");
    rest.strip_suffix("\n-->\n")
        .expect("the comment is the end")
}

#[tokio::test]
async fn a_page_says_how_it_was_made_at_its_end() {
    let cms = cms().await;
    let site = site(&cms, Some(SECRET)).await;
    let page = debug(&site, &good(), &[("cookie", "sid=s3cret")]).await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with(PAGE), "{}", page.body);
    let told = comment(&page);
    let trace = page.header("marbre-trace").unwrap();
    for said in [
        trace,
        "status 200, not complete; level 0",
        "theta 1.000",
        "budget 2000 ms",
        "planned: core, cms:/article within",
        "inline (status 500)",
        "tried: its source: status 500",
        "tried: inline: used",
        "cms, replica 0, for article:",
    ] {
        assert!(told.contains(said), "{said}:\n{told}");
    }
    assert!(
        !page.body.contains("s3cret") && !page.body.contains(SECRET),
        "{}",
        page.body
    );
    assert!(!page.body.contains(&good()[..20]), "{}", page.body);
    assert_eq!(page.header("marbre-debug"), Some("shown"));
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    // the origin was asked with what it is to have
    let asked = cms.targets();
    assert!(
        asked.iter().any(|target| target.contains("sid=s3cret")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn the_same_as_json_for_who_asks_for_it() {
    let cms = cms().await;
    let site = site(&cms, Some(SECRET)).await;
    let accept = [("accept", "text/html;q=0.5, application/json")];
    let page = debug(&site, &good(), &accept).await;
    assert_eq!(page.header("content-type"), Some("application/json"));
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    let told: Value = serde_json::from_str(&page.body).expect("JSON");
    assert_eq!(told["trace_id"].as_str(), page.header("marbre-trace"));
    assert_eq!(
        (&told["page"], &told["status"]),
        (&"page".into(), &200.into())
    );
    assert_eq!(
        (&told["theta"], &told["complete"]),
        (&1.0.into(), &false.into())
    );
    let block = &told["blocks"][1];
    assert_eq!(
        (&block["fragment"], &block["outcome"]),
        (&"block".into(), &"inline".into())
    );
    let tried = serde_json::json!([
        { "rung": "its source", "why_not": "status 500" },
        { "rung": "inline" },
    ]);
    assert_eq!(block["tried"], tried);
    assert_eq!(
        told["attempts"].as_array().map(Vec::len),
        Some(2),
        "{told:#}"
    );
    // without the token JSON is nothing that a page can be had as
    let page = site.reader().get_with("/", &accept).await;
    page.is(200, PAGE);
}

#[tokio::test]
async fn a_token_that_is_not_good_changes_nothing_and_the_answer_says_so() {
    let cms = cms().await;
    let (site, off) = (site(&cms, Some(SECRET)).await, site(&cms, None).await);
    let plain = site.reader().get("/").await;
    let expired = token(SECRET, Duration::from_secs(3600));
    let foreign = token("another secret, as long as that", Duration::ZERO);
    for (at, token, cause) in [
        (&site, expired.as_str(), "expired"),
        (&site, foreign.as_str(), "wrong"),
        (&site, "nonsense", "wrong"),
        (&site, "", "wrong"),
        (&off, good().as_str(), "off"),
    ] {
        for accept in ["*/*", "application/json"] {
            let page = debug(at, token, &[("accept", accept)]).await;
            page.is(200, PAGE);
            let says = format!("refused; cause={cause}");
            assert_eq!(page.header("marbre-debug"), Some(says.as_str()));
            let mut names: Vec<_> = page.headers.keys().collect();
            names.retain(|name| *name != "marbre-debug");
            assert!(names.iter().all(|name| plain.headers.contains_key(*name)));
            assert_eq!(page.header("cache-control"), plain.header("cache-control"));
        }
    }
    assert_eq!(plain.header("marbre-debug"), None);
}

#[tokio::test]
async fn nothing_that_an_origin_says_ends_the_comment() {
    let cms = cms().await;
    let evil = "text/x--><script>alert(1)</script><!--";
    cms.on("/block?sid=", origin::typed(evil, "x"));
    let site = site(&cms, Some(SECRET)).await;
    let page = debug(&site, &good(), &[]).await;
    let told = comment(&page);
    assert!(told.contains("content type text/x"), "{told}");
    assert!(!told.contains("--") && !told.contains(['<', '>']), "{told}");
}

#[tokio::test]
async fn what_was_shown_is_kept_by_nobody() {
    let cms = cms().await;
    cms.on("/block?sid=", html("<i>block</i>"));
    let site = site(&cms, Some(SECRET)).await;
    let full = "<p>text</p><i>block</i>";
    // what is asked for twice is taken as a snapshot
    for _ in 0..3 {
        let page = debug(&site, &good(), &[]).await;
        assert!(page.body.starts_with(full) && page.body.contains("<!-- marbre"));
    }
    cms.kill();
    let page = site.reader().get("/").await;
    page.is(200, full);
}

#[tokio::test]
async fn an_error_page_and_a_head_say_it_as_far_as_they_can() {
    let cms = cms().await;
    cms.on("/article", status(404));
    let site = site(&cms, Some(SECRET)).await;
    let page = debug(&site, &good(), &[]).await;
    assert_eq!(page.status, 404);
    assert!(
        comment(&page).contains("status 404, not the page"),
        "{}",
        page.body
    );
    let token = good();
    let head = site
        .reader()
        .request("HEAD", "/")
        .header("marbre-debug", token);
    let head = site.reader().send(head).await;
    assert_eq!(
        (head.status, head.header("marbre-debug")),
        (404, Some("shown"))
    );
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn an_origin_never_sees_the_token() {
    let cms = cms().await;
    cms.on("/raw", html("raw"));
    let site = newsroom()
        .origin("cms", &cms)
        .toml("[[proxy]]\nroute = \"/raw\"\norigin = \"cms\"")
        .start()
        .await;
    let token = good();
    let headers = [("marbre-debug", token.as_str())];
    site.reader()
        .get_with("/raw", &headers)
        .await
        .is(200, "raw");
    let head = cms.last_head("/raw").expect("it was asked");
    assert!(!head.to_lowercase().contains("marbre-debug"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_makes_tokens() {
    let cms = cms().await;
    let site = site(&cms, Some(SECRET)).await;
    let token = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        command.args(["token", "debug"]).args(arguments);
        let output = command.current_dir(site.folder()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, said, told) = token(&["--for", "10m"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("good for 10m") && !told.contains(said.trim()),
        "{told}"
    );
    let page = debug(&site, said.trim(), &[]).await;
    assert_eq!(page.header("marbre-debug"), Some("shown"));
    for (arguments, why) in [
        (["--for", "8d"], "7d at most"),
        (["--for", "0s"], "the least"),
        (["--for", "soon"], "--for soon"),
    ] {
        let (code, said, told) = token(&arguments);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{told}");
        assert!(told.contains(why), "{told}");
    }
}
