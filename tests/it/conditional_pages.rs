//! Whoever has a page is told so instead of getting it again; and whatever is asked for besides, a page is
//! a page.

use std::io::Read as _;

use crate::support::{Newsroom, Origin, html, newsroom, origin, status};

async fn cms() -> Origin {
    let cms = origin().on("/article", html("<p>text</p>"));
    cms.on("/block", html("<b>block</b>")).start().await
}

/// A page whose blocks are all at hand.
async fn site_of(cms: &Origin) -> Newsroom {
    let ttl = "ttl = \"1h\"";
    let site = newsroom()
        .origin("cms", cms)
        .fragment("article", "\"core\"", "cms:/article", ttl)
        .fragment("block", "40", "cms:/block", ttl)
        .page("page", "/", "<main>[article][block]</main>")
        .start()
        .await;
    site.reader().get("/").await;
    site
}

const WHOLE: &str = "<main><p>text</p><b>block</b></main>";

#[tokio::test]
async fn who_has_a_page_does_not_get_it_again() {
    let site = site_of(&cms().await).await;
    let reader = site.reader();
    let page = reader.get("/").await;
    page.is(200, WHOLE);
    let tag = page.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(reader.get("/").await.header("etag"), Some(&*tag));
    for (asked, told) in [
        (tag.clone(), Some(&*tag)),
        (format!("W/{tag}"), None),
        (format!("\"other\", W/\"x,y\", {tag}"), Some(&*tag)),
        ("*".to_owned(), Some(&*tag)),
    ] {
        let known = reader.get_with("/", &[("if-none-match", &asked)]).await;
        known.is(304, "");
        let weak = format!("W/{tag}");
        assert_eq!(known.header("etag"), Some(told.unwrap_or(&weak)), "{asked}");
        for name in ["cache-control", "marbre-level"] {
            assert_eq!(known.header(name), page.header(name), "{name}");
        }
        assert_eq!(known.header("content-type"), None);
    }
    for asked in ["\"other\"", "other", ""] {
        let page = reader.get_with("/", &[("if-none-match", asked)]).await;
        page.is(200, WHOLE);
    }
    // each of these is a page that was read to its end
    let state = site.state().await;
    assert_eq!(state["tally"]["complete"], 10, "{state:#}");
}

#[tokio::test]
async fn a_validator_goes_with_the_bytes() {
    let cms = cms().await;
    let site = site_of(&cms).await;
    let reader = site.reader();
    let tag = reader.get("/").await.header("etag").unwrap().to_owned();
    // the same bytes on another node, composed anew
    let other = site_of(&cms).await;
    assert_eq!(other.reader().get("/").await.header("etag"), Some(&*tag));
    // another block
    cms.on("/block", html("<b>other</b>"));
    let third = site_of(&cms).await;
    let asked = [("if-none-match", tag.as_str())];
    let page = third.reader().get_with("/", &asked).await;
    page.is(200, "<main><p>text</p><b>other</b></main>");
    assert_ne!(page.header("etag"), Some(&*tag));
}

#[tokio::test]
async fn no_part_is_missing_where_a_page_is_asked_for_conditionally() {
    let cms = cms().await;
    let whole = site_of(&cms).await.reader().get("/").await;
    let tag = whole.header("etag").unwrap();
    // the block cannot be had now
    cms.on("/block", status(500));
    let site = site_of(&cms).await;
    let short = site.reader().get_with("/", &[("if-none-match", tag)]).await;
    short.is(200, "<main><p>text</p></main>");
    // and comes back
    cms.on("/block", html("<b>block</b>"));
    let site = site_of(&cms).await;
    let own = short.header("etag").unwrap_or("\"none\"");
    let page = site.reader().get_with("/", &[("if-none-match", own)]).await;
    page.is(200, WHOLE);
}

#[tokio::test]
async fn dates_and_ranges_are_nothing_to_a_page() {
    let site = site_of(&cms().await).await;
    let reader = site.reader();
    for headers in [
        [
            ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
            ("x", ""),
        ],
        [("range", "bytes=0-3"), ("x", "")],
        [("range", "bytes=0-3"), ("if-range", "\"x\"")],
    ] {
        let page = reader.get_with("/", &headers).await;
        page.is(200, WHOLE);
        assert_eq!(page.header("last-modified"), None);
        assert_eq!(page.header("content-range"), None);
    }
}

#[tokio::test]
async fn head_says_what_get_says() {
    let site = site_of(&cms().await).await;
    let reader = site.reader();
    for accepts in ["identity", "gzip"] {
        for path in ["/", "/none"] {
            let get = reader.get_with(path, &[("accept-encoding", accepts)]).await;
            let head = reader
                .request("HEAD", path)
                .header("accept-encoding", accepts);
            let head = reader.send(head).await;
            assert_eq!((head.status, head.body.as_str()), (get.status, ""));
            for headers in [&get.headers, &head.headers] {
                for name in headers.keys() {
                    // of this one answer: its trace, its times
                    if ["date", "marbre-trace", "server-timing"].contains(&name.as_str()) {
                        continue;
                    }
                    // whoever codes a page on the way does not know how long it will be
                    if (accepts, name.as_str()) == ("gzip", "transfer-encoding") {
                        continue;
                    }
                    assert_eq!(
                        head.header(name.as_str()),
                        get.header(name.as_str()),
                        "{name}"
                    );
                }
            }
        }
    }
    let tag = reader.get("/").await.header("etag").unwrap().to_owned();
    let known = reader.request("HEAD", "/").header("if-none-match", &tag);
    reader.send(known).await.is(304, "");
}

#[tokio::test]
async fn a_page_that_is_coded_on_the_way_has_a_weak_validator() {
    let text = "a text that is long enough to be worth a coding. ".repeat(20);
    let site = newsroom()
        .core("article", &format!("inline:<p>{text}</p>"))
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    let tag = reader.get("/").await.header("etag").unwrap().to_owned();
    let request = reader.request("GET", "/").header("accept-encoding", "gzip");
    let coded = request.send().await.unwrap();
    assert_eq!(coded.headers()["content-encoding"], "gzip");
    let weak = coded.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(weak, format!("W/{tag}"));
    let body = coded.bytes().await.unwrap();
    let mut decoded = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&body[..]);
    decoder.read_to_string(&mut decoded).unwrap();
    assert_eq!(decoded, format!("<p>{text}</p>"));
    for known in [&tag, &weak] {
        let headers = [
            ("if-none-match", known.as_str()),
            ("accept-encoding", "gzip"),
        ];
        let page = reader.get_with("/", &headers).await;
        page.is(304, "");
        // a cache updates the copy that it knows by this
        assert_eq!(page.header("etag"), Some(known.as_str()));
        assert_eq!(page.header("content-encoding"), None);
        assert_eq!(page.header("vary"), Some("accept-encoding"));
    }
}

#[tokio::test]
async fn what_is_not_to_be_kept_has_no_validator() {
    let site = newsroom()
        .core("article", "inline:<p>text</p>")
        .optional("block", 40, "inline:<b>block</b>")
        .page("page", "/", "[article][block]")
        .level(1)
        .start()
        .await;
    let page = site.reader().get_with("/", &[("if-none-match", "*")]).await;
    page.is(200, "<p>text</p>");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("etag"), None);
}
