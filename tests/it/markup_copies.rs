//! Documents are kept, shared and renewed as their own answers allow, and never when these do not.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};

use crate::support::{Gate, Newsroom, Operator, Origin, Reply, html, newsroom, origin, status};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

async fn site(cms: &Origin) -> Newsroom {
    newsroom().weaving("esi", cms).start().await
}

/// Returns when so many have waited for what another asks for.
async fn joined(site: &Newsroom, count: usize) {
    let (operator, line) = (
        Operator::of(site),
        format!("marbre_flights_joined_total {count}"),
    );
    let waiting = timeout(PATIENCE, async {
        while !operator.get("/metrics").await.1.lines().any(|l| l == line) {
            sleep(PAUSE).await;
        }
    });
    assert!(waiting.await.is_ok(), "{count} readers wait");
}

/// A document that may be kept for so long, and be shown for longer.
fn kept(body: &str, control: &str) -> Reply {
    html(body).header("cache-control", control)
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_get_one_answer() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/page", kept("<b>x</b>", "max-age=600").gated(&gate))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    let pages = join_all((0..8).map(|_| reader.get("/page")));
    let open = async {
        joined(&site, 7).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    pages.iter().for_each(|page| page.is(200, "<b>x</b>"));
    assert_eq!(cms.hits("/page"), 1);
}

#[tokio::test]
async fn what_is_one_readers_own_goes_to_no_other() {
    for own in [
        html("x").header("cache-control", "private, max-age=600"),
        html("x")
            .header("cache-control", "max-age=600")
            .header("set-cookie", "a=1"),
        html("x")
            .header("cache-control", "max-age=600")
            .header("vary", "accept-language"),
        html("x"),
    ] {
        let gate = Gate::closed();
        let cms = origin().on("/page", own.gated(&gate)).start().await;
        let site = site(&cms).await;
        let reader = site.reader();
        let pages = join_all((0..3).map(|_| reader.get("/page")));
        let open = async {
            joined(&site, 2).await;
            gate.open();
        };
        let (pages, ()) = tokio::join!(pages, open);
        pages.iter().for_each(|page| page.is(200, "x"));
        assert_eq!(cms.hits("/page"), 3);
    }
}

#[tokio::test]
async fn a_cookie_or_a_password_gets_no_copy_that_is_not_public() {
    let cms = origin()
        .on("/page", kept("own", "max-age=600"))
        .on("/open", kept("all", "public, max-age=600"))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    for _ in 0..2 {
        let cookie = [("cookie", "sid=1")];
        reader.get_with("/page", &cookie).await.is(200, "own");
        reader.get_with("/open", &cookie).await.is(200, "all");
        let password = [("authorization", "Basic eA==")];
        reader.get_with("/open", &password).await.is(200, "all");
    }
    assert_eq!((cms.hits("/page"), cms.hits("/open")), (2, 3));
}

#[tokio::test]
async fn a_reader_who_leaves_leaves_nobody_waiting() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/page", kept("x", "max-age=600").gated(&gate))
        .start()
        .await;
    let site = site(&cms).await;
    let mut leaving = site.reader().connect().await;
    let asked = b"GET /page HTTP/1.1\r\nhost: x\r\n\r\n";
    leaving.write_all(asked).await.unwrap();
    cms.arrived(1).await;
    let host = [("host", "x")];
    let reader = site.reader();
    let staying = reader.get_with("/page", &host);
    let open = async {
        joined(&site, 1).await;
        drop(leaving);
        cms.arrived(2).await;
        gate.open();
    };
    let (page, ()) = tokio::join!(timeout(PATIENCE, staying), open);
    page.expect("the page comes").is(200, "x");
}

#[tokio::test]
async fn a_copy_is_renewed_by_its_validators() {
    let control = "max-age=0, stale-if-error=600";
    let document = kept("<b>x</b>", control)
        .header("etag", "\"1\"")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let cms = origin().on("/page", document).start().await;
    let site = site(&cms).await;
    let reader = site.reader();
    reader.get("/page").await.is(200, "<b>x</b>");
    let right = [("cache-control", "max-age=600"), ("x-renewed", "yes")];
    cms.on("/page", Reply::headed(304, &right, b""));
    // what a reader has is about the page, and none of the origin's business
    let asks = [("if-none-match", "\"other\"")];
    for _ in 0..2 {
        let page = reader.get_with("/page", &asks).await;
        page.is(200, "<b>x</b>");
        assert_eq!(page.header("x-renewed"), Some("yes"));
        assert_eq!(page.header("etag"), None);
    }
    assert_eq!(cms.hits("/page"), 2, "it is as good as new");
    let head = cms.last_head("/page").unwrap().to_ascii_lowercase();
    assert!(
        head.contains("if-none-match: \"1\"\r\n")
            && head.contains("if-modified-since: sun, 06 nov 1994 08:49:37 gmt")
            && !head.contains("other"),
        "{head}"
    );
}

#[tokio::test]
async fn a_stale_copy_is_shown_while_it_is_renewed_for_nobody_in_particular() {
    let gate = Gate::closed();
    let cms = origin()
        .on(
            "/page",
            kept("old", "public, max-age=0, stale-while-revalidate=600"),
        )
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    reader.get("/page").await.is(200, "old");
    cms.on("/page", kept("new", "public, max-age=600").gated(&gate));
    for _ in 0..3 {
        let cookie = [("cookie", "sid=1")];
        let page = reader.get_with("/page", &cookie).await;
        page.is(200, "old");
        let timing = page.header("server-timing").unwrap();
        assert!(timing.contains("desc=stale"), "{timing}");
    }
    cms.arrived(2).await;
    let head = cms.last_head("/page").unwrap().to_ascii_lowercase();
    assert!(!head.contains("sid=1"), "{head}");
    gate.open();
    let renewed = timeout(PATIENCE, async {
        while reader.get("/page").await.body != "new" {}
    });
    assert!(renewed.await.is_ok(), "it is not renewed");
    assert_eq!(cms.hits("/page"), 2, "one has asked for all");
}

#[tokio::test]
async fn a_failure_costs_nobody_a_page_that_is_kept() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/page", kept("x", "max-age=0, stale-if-error=600"))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    reader.get("/page").await.is(200, "x");
    cms.on("/page", status(503).gated(&gate));
    let pages = join_all((0..4).map(|_| reader.get("/page")));
    let open = async {
        joined(&site, 3).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    pages.iter().for_each(|page| page.is(200, "x"));
}

#[tokio::test]
async fn a_document_is_kept_apart_for_each_address_of_the_site() {
    let cms = origin()
        .on("/page", kept("one", "max-age=600"))
        .start()
        .await;
    let site = site(&cms).await;
    let asked =
        |host: &str| format!("GET /page HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let reader = site.reader();
    assert!(reader.bytes(asked("one.example")).await.contains("one"));
    cms.on("/page", kept("two", "max-age=600"));
    assert!(reader.bytes(asked("two.example")).await.contains("two"));
    assert!(reader.bytes(asked("one.example")).await.contains("one"));
    assert_eq!(cms.hits("/page"), 2);
}

#[tokio::test]
async fn a_copy_that_was_read_before_says_to_each_reader_what_is_for_them() {
    let body = "<esi:vars>$(HTTP_USER_AGENT)</esi:vars><esi:choose><esi:when test=\"$(HTTP_COOKIE{a})=='1'\">\
                one<esi:include src=\"/b\"/></esi:when><esi:otherwise>other</esi:otherwise></esi:choose>";
    let cms = origin()
        .on("/page", kept(body, "public, max-age=600"))
        .on("/b", kept("B", "max-age=600"))
        .start()
        .await;
    let site = site(&cms).await;
    // the first is woven while it arrives, the second reads the copy, and the others take what that has read
    for (agent, cookie, is) in [
        ("x", "a=1", "xoneB"),
        ("y", "a=2", "yother"),
        ("z", "a=1", "zoneB"),
        ("", "b=1", "other"),
        ("x", "a=1", "xoneB"),
    ] {
        let headers = [("user-agent", agent), ("cookie", cookie)];
        site.reader().get_with("/page", &headers).await.is(200, is);
    }
    assert_eq!(cms.hits("/page"), 1);
}

#[tokio::test]
async fn what_a_copy_was_read_as_counts_as_bytes_of_the_cache_once() {
    let cms = origin()
        .on(
            "/page",
            kept("<p>a</p><esi:include src=\"/b\"/>", "max-age=600"),
        )
        .on("/b", kept("B", "max-age=600"))
        .start()
        .await;
    let site = site(&cms).await;
    let bytes = async || {
        let (_, text) = Operator::of(&site).get("/metrics").await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("marbre_cache_bytes{tier=\"memory\"} "));
        line.unwrap_or_else(|| panic!("{text}"))
            .parse::<f64>()
            .unwrap()
    };
    site.reader().get("/page").await.is(200, "<p>a</p>B");
    let woven_as_it_came = bytes().await;
    let mut read = woven_as_it_came;
    // whoever reads the copy first counts it when its page is done
    let counted = timeout(PATIENCE, async {
        while read <= woven_as_it_came {
            site.reader().get("/page").await.is(200, "<p>a</p>B");
            read = bytes().await;
        }
    });
    assert!(counted.await.is_ok(), "{woven_as_it_came} and {read} bytes");
    for _ in 0..3 {
        site.reader().get("/page").await.is(200, "<p>a</p>B");
    }
    assert_eq!(bytes().await, read);
    assert_eq!(cms.hits("/page"), 1);
}
