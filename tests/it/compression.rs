//! Pages are coded as the reader asks, and are the same pages.

use crate::support::{Newsroom, Reply, newsroom, origin};

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
        // whoever takes nothing gets it as it is
        ("*;q=0", None),
        ("identity;q=0", None),
        ("gzip;q=0, identity;q=0", None),
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

#[tokio::test]
async fn a_strong_validator_is_not_that_of_the_coded_bytes() {
    let body = text();
    let tagged = |tag, coding| {
        let headers = [
            ("content-type", "text/plain"),
            ("etag", tag),
            ("content-encoding", coding),
        ];
        let count = if coding.is_empty() { 2 } else { 3 };
        Reply::headed(200, &headers[..count], body.as_bytes())
    };
    let api = origin()
        .on("/api/strong", tagged("\"a\"", ""))
        .on("/api/weak", tagged("W/\"a\"", ""))
        .on("/api/coded", tagged("\"a\"", "gzip"))
        .start()
        .await;
    let site = newsroom()
        .file("../public/a.css", "p { margin: 0 }\n".repeat(100))
        .file("../public/b.css", "p { margin: 0 }\n".repeat(100))
        .file("../public/b.css.gz", "gzip")
        .origin("api", &api)
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .toml("[[static]]\nroute = \"/assets\"\ndir = \"public\"")
        .start()
        .await;
    for (path, accepts, weak) in [
        ("/api/strong", "gzip", true),
        ("/api/strong", "identity", false),
        ("/api/strong", "*;q=0", false),
        ("/api/weak", "gzip", true),
        ("/api/coded", "gzip", false),
        ("/assets/a.css", "gzip", true),
        ("/assets/a.css", "identity", false),
        ("/assets/b.css", "gzip", false),
    ] {
        let reader = site.reader();
        let answer = reader.get_with(path, &[("accept-encoding", accepts)]).await;
        assert_eq!(answer.status, 200, "{path} {accepts}");
        let tag = answer.header("etag").unwrap();
        let quoted = if weak { "W/\"" } else { "\"" };
        assert!(tag.starts_with(quoted), "{path} {accepts}: {tag}");
    }
    // the weak validator still spares the reader the same bytes again
    let (reader, coded) = (site.reader(), ("accept-encoding", "gzip"));
    let page = reader.get_with("/assets/a.css", &[coded]).await;
    let known = ("if-none-match", page.header("etag").unwrap());
    let again = reader.get_with("/assets/a.css", &[coded, known]).await;
    assert_eq!(again.status, 304);
}
