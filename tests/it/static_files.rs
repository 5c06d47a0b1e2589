//! `[[static]]` folders: types, validators, ranges, precompressed variants. What must not be served
//! is in `hostile_requests`.

use crate::support::{Newsroom, newsroom};

async fn site() -> Newsroom {
    newsroom()
        .toml("[site]\nnot_found_page = \"404.html\"")
        .file("404.html", "<h1>Introuvable</h1>")
        .file("../public/style.css", "p { margin: 0 }")
        .file("../public/app.js", "let a = 1;")
        .file("../public/photo.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>")
        .file("../public/long.css", "p { margin: 0 }\n".repeat(100))
        .file("../public/long.css.br", "brotli")
        .file("../public/long.css.gz", "gzip")
        .file("../public/noext", "bytes")
        .file("../public/l'été.txt", "summer")
        .file("../public/.well-known/security.txt", "Contact: x")
        .file("../public/guide/index.html", "<h1>Guide</h1>")
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .toml("[[static]]\nroute = \"/assets\"\ndir = \"public\"\ncache_control = \"public, max-age=60\"")
        .start()
        .await
}

#[tokio::test]
async fn files_come_with_their_type_and_the_declared_cache_control() {
    let site = site().await;
    for (path, content_type) in [
        ("style.css", "text/css"),
        ("app.js", "text/javascript"),
        ("photo.svg", "image/svg+xml"),
        ("noext", "application/octet-stream"),
        ("l'%C3%A9t%C3%A9.txt", "text/plain"),
        (".well-known/security.txt", "text/plain"),
        ("guide/index.html", "text/html"),
    ] {
        let page = site.reader().get(&format!("/assets/{path}")).await;
        assert_eq!(page.status, 200, "{path}");
        let found = page.header("content-type").unwrap();
        assert!(found.starts_with(content_type), "{path}: {found}");
        assert_eq!(
            page.header("cache-control"),
            Some("public, max-age=60"),
            "{path}"
        );
        assert!(page.header("last-modified").is_some(), "{path}");
        assert!(page.header("etag").is_some(), "{path}");
    }
    site.reader()
        .get("/assets/style.css")
        .await
        .is(200, "p { margin: 0 }");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_the_sites_404() {
    let site = site().await;
    for path in ["/assets/none.css", "/assets/guide/none", "/assets/none/"] {
        let page = site.reader().get(path).await;
        page.is(404, "<h1>Introuvable</h1>");
        assert_eq!(page.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_folder_shows_its_index_and_redirects_to_itself() {
    let site = site().await;
    site.reader()
        .get("/assets/guide/")
        .await
        .is(200, "<h1>Guide</h1>");
    let page = site.reader().get("/assets/guide").await;
    assert_eq!(
        (page.status, page.header("location")),
        (307, Some("/assets/guide/"))
    );
    assert_eq!(site.reader().get("/assets/").await.status, 404);
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let site = site().await;
    let first = site.reader().get("/assets/style.css").await;
    for (header, value) in [
        ("if-none-match", first.header("etag").unwrap()),
        ("if-modified-since", first.header("last-modified").unwrap()),
    ] {
        let page = site
            .reader()
            .get_with("/assets/style.css", &[(header, value)])
            .await;
        page.is(304, "");
        // whoever keeps the file would forget what is not said again (RFC 9110, 15.4.5)
        for said in ["etag", "vary", "cache-control", "last-modified"] {
            assert_eq!(page.header(said), first.header(said), "{header}: {said}");
        }
    }
    let old = [("if-modified-since", "Mon, 01 Jan 1990 00:00:00 GMT")];
    site.reader()
        .get_with("/assets/style.css", &old)
        .await
        .is(200, "p { margin: 0 }");
    site.reader()
        .get_with("/assets/style.css", &[("if-none-match", "\"x\"")])
        .await
        .is(200, "p { margin: 0 }");
}

#[tokio::test]
async fn a_part_of_a_file() {
    let site = site().await;
    let page = site
        .reader()
        .get_with("/assets/style.css", &[("range", "bytes=4-9")])
        .await;
    page.is(206, "margin");
    assert_eq!(page.header("content-range"), Some("bytes 4-9/15"));
    let page = site
        .reader()
        .get_with(
            "/assets/style.css",
            &[("range", "bytes=-1"), ("accept-encoding", "gzip")],
        )
        .await;
    page.is(206, "}");
    assert_eq!(page.header("content-encoding"), None);
    assert_eq!(
        site.reader()
            .get_with("/assets/style.css", &[("range", "bytes=99-")])
            .await
            .status,
        416
    );
}

#[tokio::test]
async fn head_says_what_get_says() {
    let site = site().await;
    let reader = site.reader();
    let head = reader
        .send(reader.request("HEAD", "/assets/style.css"))
        .await;
    head.is(200, "");
    assert_eq!(head.header("content-length"), Some("15"));
    assert_eq!(head.header("cache-control"), Some("public, max-age=60"));
}

#[tokio::test]
async fn the_precompressed_variant_that_the_reader_likes_best() {
    let site = site().await;
    for (accepts, coding, body) in [
        ("br", Some("br"), "brotli"),
        ("gzip", Some("gzip"), "gzip"),
        ("gzip, br", Some("br"), "brotli"),
        ("gzip;q=1, br;q=0", Some("gzip"), "gzip"),
        ("identity", None, &*"p { margin: 0 }\n".repeat(100)),
    ] {
        let page = site
            .reader()
            .get_with("/assets/long.css", &[("accept-encoding", accepts)])
            .await;
        page.is(200, body);
        assert_eq!(page.header("content-encoding"), coding, "{accepts}");
        assert!(
            page.header("content-type").unwrap().starts_with("text/css"),
            "{accepts}"
        );
        let vary = page.headers.get_all("vary").iter().any(|v| {
            v.to_str()
                .unwrap()
                .to_ascii_lowercase()
                .contains("accept-encoding")
        });
        assert!(vary, "{accepts}: {:?}", page.headers);
    }
}
