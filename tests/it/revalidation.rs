//! A copy that has gone stale is renewed by a 304, and what the origin says of its lifetime counts
//! where the site says nothing (RFC 9111).

use crate::support::{Newsroom, Origin, Reply, html, newsroom, origin, status};

const ETAG: &str = "\"v1\"";

fn not_modified() -> Reply {
    Reply::headed(304, &[("etag", ETAG)], b"")
}

async fn site_with(cms: &Origin, freshness: &str) -> Newsroom {
    newsroom()
        .origin("cms", cms)
        .fragment("article", "\"core\"", "cms:/article", freshness)
        .page("page", "/", "[article]")
        .start()
        .await
}

/// Asks until the origin was asked so often.
async fn until_asked(site: &Newsroom, cms: &Origin, times: usize) -> crate::support::Page {
    loop {
        let page = site.reader().get("/").await;
        if cms.hits("/article") >= times {
            return page;
        }
    }
}

#[tokio::test]
async fn a_stale_copy_is_renewed_without_being_sent_again() {
    for (header, value, asks_with) in [
        ("etag", ETAG, "if-none-match: \"v1\"\r\n"),
        (
            "last-modified",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        ),
    ] {
        let reply = html("<p>1</p>").header(header, value);
        let cms = origin().on("/article", reply).start().await;
        let site = site_with(&cms, "ttl = \"1ms\"\ngrace = \"1h\"").await;
        site.reader().get("/").await.is(200, "<p>1</p>");
        let first = cms.last_head("/article").unwrap();
        assert!(!first.contains("if-"), "nothing to renew yet: {first}");
        cms.on("/article", not_modified());
        let page = until_asked(&site, &cms, 3).await;
        page.is(200, "<p>1</p>");
        let head = cms.last_head("/article").unwrap();
        assert!(head.contains(asks_with), "{head}");
    }
}

#[tokio::test]
async fn a_renewed_copy_is_as_fresh_as_the_304_says() {
    let reply = html("<p>1</p>")
        .header("etag", ETAG)
        .header("cache-control", "max-age=0, stale-while-revalidate=3600");
    let cms = origin().on("/article", reply).start().await;
    let site = site_with(&cms, "").await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    cms.on(
        "/article",
        not_modified().header("cache-control", "max-age=3600"),
    );
    let page = site.reader().get("/").await;
    page.is(200, "<p>1</p>");
    assert_eq!(page.outcome("article"), Some("fetched"));
    let page = site.reader().get("/").await;
    page.is(200, "<p>1</p>");
    assert_eq!(page.outcome("article"), Some("cached"));
    assert_eq!(cms.hits("/article"), 2);
}

#[tokio::test]
async fn what_has_changed_takes_the_place_of_the_copy() {
    let reply = |html: Reply, etag| html.header("etag", etag);
    let cms = origin()
        .on("/article", reply(html("<p>1</p>"), "\"v1\""))
        .start()
        .await;
    let site = site_with(&cms, "ttl = \"1ms\"\nkeep = \"1h\"").await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    cms.on("/article", reply(html("<p>2</p>"), "\"v2\""));
    while site.reader().get("/").await.body != "<p>2</p>" {}
    cms.on("/article", status(500));
    let asked = cms.hits("/article");
    until_asked(&site, &cms, asked + 1)
        .await
        .is(200, "<p>2</p>");
    let head = cms.last_head("/article").unwrap();
    assert!(head.contains("if-none-match: \"v2\"\r\n"), "{head}");
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_a_failure() {
    let cms = origin().on("/article", not_modified()).start().await;
    let site = site_with(&cms, "ttl = \"1ms\"").await;
    assert_eq!(site.reader().get("/").await.status, 503);
    assert_eq!(site.complaint("article").await, "failed (status 304)");
}

#[tokio::test]
async fn an_answer_is_as_old_as_it_says() {
    for (headers, asked) in [
        (&[("cache-control", "max-age=60"), ("age", "59")][..], 1),
        (&[("cache-control", "max-age=60"), ("age", "60")][..], 2),
        (
            &[
                ("cache-control", "max-age=60"),
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ][..],
            2,
        ),
        (
            &[
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("expires", "Sat, 06 Nov 2094 08:49:37 GMT"),
            ][..],
            1,
        ),
        (&[("expires", "0")][..], 2),
        (&[("cache-control", "max-age=60"), ("vary", "*")][..], 2),
        (
            &[("cache-control", "max-age=60"), ("vary", "cookie")][..],
            1,
        ),
    ] {
        let reply = headers
            .iter()
            .fold(html("<p>1</p>"), |reply, (n, v)| reply.header(n, v));
        let cms = origin().on("/article", reply).start().await;
        let site = site_with(&cms, "jitter = 0").await;
        for _ in 0..2 {
            site.reader().get("/").await.is(200, "<p>1</p>");
        }
        assert_eq!(cms.hits("/article"), asked, "{headers:?}");
    }
}

#[tokio::test]
async fn a_declared_ttl_counts_from_when_the_answer_came() {
    let reply = html("<p>1</p>")
        .header("age", "7200")
        .header("cache-control", "max-age=60");
    let cms = origin().on("/article", reply).start().await;
    let site = site_with(&cms, "ttl = \"1h\"").await;
    for _ in 0..2 {
        site.reader().get("/").await.is(200, "<p>1</p>");
    }
    assert_eq!(cms.hits("/article"), 1);
}
