//! The last complete page is what the reader gets when its core has nothing else.

use crate::support::{html, json, newsroom, origin, status};

#[tokio::test]
async fn the_page_as_it_was_takes_the_place_of_an_error() {
    let cms = origin()
        .on(
            "/a/x",
            html("<p>x</p>").header("link", "</x.css>; rel=preload"),
        )
        .on("/a/y", html("<p>y</p>"))
        .on("/b", html("<b>b</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a/{slug}")
        .optional("block", 40, "cms:/b")
        .page("page", "/{slug}", "[article][block]")
        .start()
        .await;
    let reader = site.reader();
    // what is asked for once is no hot page
    for _ in 0..2 {
        reader.get("/x").await.is(200, "<p>x</p><b>b</b>");
    }
    cms.on("/a/x", status(500));
    cms.on("/a/y", status(500));
    cms.on("/b", html("<b>new</b>"));
    let page = reader.get("/x").await;
    page.is(200, "<p>x</p><b>b</b>");
    assert_eq!(page.header("link"), Some("</x.css>; rel=preload"));
    assert_eq!(page.header("content-length"), Some("16"));
    // whoever keeps it would show it as the page
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("marbre-level"), Some("2;theta=1.000;snapshot"));
    // another page is another page
    assert_eq!(reader.get("/y").await.status, 503);
    let state = site.state().await;
    assert_eq!(state["tally"]["snapshots"], 1, "{state}");
    assert_eq!(state["tally"]["complete"], 2, "{state}");
}

#[tokio::test]
async fn what_is_not_whole_or_not_for_everybody_is_no_snapshot() {
    let cookie = html("<p>x</p>").header("set-cookie", "a=b");
    let private = html("<b>b</b>").header("cache-control", "private");
    for (article, block) in [
        (html("<p>x</p>"), status(500)),
        (cookie, html("<b>b</b>")),
        (html("<p>x</p>"), private),
    ] {
        let cms = origin().on("/a", article).on("/b", block).start().await;
        let site = newsroom()
            .origin("cms", &cms)
            .core("article", "cms:/a")
            .optional("block", 40, "cms:/b")
            .page("page", "/", "[article][block]")
            .start()
            .await;
        for _ in 0..3 {
            assert_eq!(site.reader().get("/").await.status, 200);
        }
        cms.on("/a", status(500));
        assert_eq!(site.reader().get("/").await.status, 503);
    }
    let cms = origin().on("/a", html("<p>x</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/a",
            "ttl = \"0s\"\nforward_cookies = [\"session\"]",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    let session = [("cookie", "session=1")];
    for _ in 0..3 {
        assert_eq!(site.reader().get_with("/", &session).await.status, 200);
    }
    cms.on("/a", status(500));
    let page = site.reader().get("/").await;
    assert_eq!(page.status, 503, "a reader's own page is nobody else's");
    // that of a reader who is nobody in particular is for everybody
    cms.on("/a", html("<p>anybody</p>"));
    for _ in 0..2 {
        site.reader().get("/").await.is(200, "<p>anybody</p>");
    }
    cms.on("/a", status(500));
    let page = site.reader().get_with("/", &session).await;
    page.is(200, "<p>anybody</p>");
    assert_eq!(page.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_page_that_was_taken_back_does_not_come_back() {
    let cms = origin().on("/a", html("<p>x</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    for _ in 0..2 {
        reader.get("/").await.is(200, "<p>x</p>");
    }
    cms.on("/a", status(404));
    assert_eq!(reader.get("/").await.status, 404);
    cms.on("/a", status(500));
    assert_eq!(reader.get("/").await.status, 503);
}

#[tokio::test]
async fn snapshots_are_kept_apart_by_what_the_page_varies_with() {
    let cms = origin()
        .on("/a?l=fr", html("<p>fr</p>"))
        .on("/a?l=de", html("<p>de</p>"))
        .on("/a?l=it", status(500))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a?l={lang}")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    for (language, text) in [("fr", "<p>fr</p>"), ("de", "<p>de</p>")] {
        let headers = [("accept-language", language)];
        // one of two snapshots of one moment may have to wait for the next page
        loop {
            cms.on(&format!("/a?l={language}"), html(text));
            reader.get_with("/", &headers).await.is(200, text);
            cms.on(&format!("/a?l={language}"), status(500));
            if reader.get_with("/", &headers).await.status == 200 {
                break;
            }
        }
    }
    for (language, text) in [("fr", "<p>fr</p>"), ("de", "<p>de</p>")] {
        let headers = [("accept-language", language)];
        reader.get_with("/", &headers).await.is(200, text);
    }
    let other = reader.get_with("/", &[("accept-language", "it")]).await;
    assert_eq!(other.status, 503);
}

#[tokio::test]
async fn an_edit_of_a_template_leaves_the_snapshot() {
    let cms = origin().on("/a", json("\"x\"")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .file("a.html", "<p>{{ data }}</p>")
        .fragment(
            "article",
            "\"core\"",
            "cms:/a",
            "ttl = \"1h\"\ntemplate = \"a.html\"",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    for _ in 0..2 {
        site.reader().get("/").await.is(200, "<p>x</p>");
    }
    site.write("a.html", "<h2>{{ data }}</h2>");
    site.app.reload().await.expect("the template is right");
    cms.on("/a", status(500));
    site.reader().get("/").await.is(200, "<p>x</p>");
}

#[tokio::test]
async fn a_snapshot_is_as_old_as_the_oldest_thing_on_it() {
    for (age, status_then) in [("60", 200), ("700000", 503)] {
        let cms = origin()
            .on("/a", html("<p>x</p>").header("age", age))
            .start()
            .await;
        let site = newsroom()
            .origin("cms", &cms)
            .core("article", "cms:/a")
            .page("page", "/", "[article]")
            .start()
            .await;
        for _ in 0..2 {
            site.reader().get("/").await.is(200, "<p>x</p>");
        }
        cms.on("/a", status(500));
        let page = site.reader().get("/").await;
        assert_eq!(
            page.status, status_then,
            "kept for seven days, aged {age} s"
        );
    }
}
