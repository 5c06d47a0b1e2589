//! Pages are coded as the reader asks, and are the same pages.

use crate::support::{Newsroom, newsroom};

async fn site(body: &str) -> Newsroom {
    newsroom()
        .fragment("front", "\"core\"", &format!("inline:<p>{body}</p>"), "")
        .page("front", "/", "<main>[front]</main>")
        .start()
        .await
}

fn text() -> String {
    "L&apos;été à Paris, ".replace("&apos;", "’").repeat(200)
}

#[tokio::test]
async fn the_reader_gets_the_coding_that_was_asked_for() {
    let site = site(&text()).await;
    for (accepts, coding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("GZIP", Some("gzip")),
        ("gzip;q=0.1, br;q=0.2", Some("br")),
        ("gzip;q=0, identity", None),
        ("gzip;q=0", None),
        ("br;q=0, gzip", Some("gzip")),
        ("identity", None),
        ("", None),
        ("deflate, compress, x-unknown", None),
    ] {
        let answer = site
            .reader()
            .request("GET", "/")
            .header("accept-encoding", accepts)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{accepts}");
        let found = answer
            .headers()
            .get("content-encoding")
            .map(|v| v.to_str().unwrap());
        assert_eq!(found, coding, "{accepts}");
        assert_eq!(answer.headers()["vary"], "accept-encoding", "{accepts}");
        let (length, body) = (answer.content_length(), answer.bytes().await.unwrap());
        assert!(length.is_none_or(|length| length == body.len() as u64));
        assert_eq!(body.starts_with(b"<main>"), coding.is_none(), "{accepts}");
        if coding.is_some() {
            assert!(body.len() < 1000, "{accepts}: {} bytes", body.len());
        }
    }
}

#[tokio::test]
async fn a_coded_page_is_the_same_page() {
    let site = site(&text()).await;
    let plain = site.reader().get("/").await.body;
    assert_eq!(plain, format!("<main><p>{}</p></main>", text()));
    for coding in ["gzip", "br", "zstd"] {
        let client = reqwest::Client::builder().no_proxy();
        let client = client
            .gzip(coding == "gzip")
            .brotli(coding == "br")
            .zstd(coding == "zstd")
            .build()
            .unwrap();
        let answer = client.get(site.url()).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), plain, "{coding}");
    }
}

#[tokio::test]
async fn head_tells_of_the_coding_too() {
    let site = site(&text()).await;
    let reader = site.reader();
    let page = reader
        .send(
            reader
                .request("HEAD", "/")
                .header("accept-encoding", "gzip"),
        )
        .await;
    page.is(200, "");
    assert_eq!(page.header("content-encoding"), Some("gzip"));
    assert_eq!(page.header("vary"), Some("accept-encoding"));
}

#[tokio::test]
async fn what_is_too_short_to_gain_is_left_alone() {
    let site = site("x").await;
    let page = site
        .reader()
        .get_with("/", &[("accept-encoding", "gzip, br, zstd")])
        .await;
    page.is(200, "<main><p>x</p></main>");
    assert_eq!(page.header("content-encoding"), None);
}

#[tokio::test]
async fn error_pages_are_coded_as_pages_are() {
    let site = site("x").await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .gzip(true)
        .build()
        .unwrap();
    let answer = client
        .get(format!("{}/none", site.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("There is no such page")
    );
}
