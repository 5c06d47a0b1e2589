//! The core article is always rendered: whatever else is wrong, and from a copy when its own origin
//! is. When it cannot be had there is no page, never a page without it.

use crate::support::{html, json, newsroom, origin, raw, status};

#[tokio::test]
async fn the_article_alone_when_every_optional_origin_is_dead() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let dead = origin().start().await;
    dead.kill();
    let mut draft = newsroom()
        .origin("cms", &cms)
        .origin("dead", &dead)
        .core("article", "cms:/article");
    let mut layout = String::from("<main>[article]</main>");
    for (index, rank) in [10, 20, 30, 40, 50].into_iter().enumerate() {
        draft = draft.optional(&format!("b{index}"), rank, "dead:/b");
        layout += &format!("[b{index}]");
    }
    let site = draft.page("page", "/", &layout).start().await;
    site.reader()
        .get("/")
        .await
        .is(200, "<main><p>text</p></main>");
}

#[tokio::test]
async fn at_the_last_level_the_text_is_left_and_nothing_else_is_asked_for() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/header", html("<header>h</header>"))
        .on("/block", html("<b>b</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .essential("header", "cms:/header")
        .optional("block", 99, "cms:/block")
        .page("page", "/", "[header][article][block]")
        .level(1)
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<header>h</header><p>text</p>");
    assert_eq!(
        page.header("marbre-level"),
        Some("1;theta=1.000;off=\"block\"")
    );
    assert_eq!(page.outcome("block"), Some("shed"));
    assert_eq!(cms.hits("/block"), 0);
}

#[tokio::test]
async fn a_dead_origin_never_seen_before_gives_the_sites_error_page() {
    let dead = origin().start().await;
    dead.kill();
    let site = newsroom()
        .toml("[site]\nerror_page = \"errors/503.html\"\nretry_after = \"7s\"")
        .file("errors/503.html", "<h1>Revenez dans un instant</h1>")
        .origin("cms", &dead)
        .core("article", "cms:/article")
        .page("page", "/", "<title>t</title>[article]")
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(503, "<h1>Revenez dans un instant</h1>");
    assert_eq!(page.header("retry-after"), Some("7"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_article_comes_from_its_last_copy_when_its_origin_dies() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"1ms\"\nkeep = \"1h\"",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>text</p>");
    cms.kill();
    let page = loop {
        let page = site.reader().get("/").await;
        // within the first millisecond the copy is still fresh
        if page.outcome("article") != Some("cached") {
            break page;
        }
    };
    page.is(200, "<p>text</p>");
    assert_eq!(page.outcome("article"), Some("stale"));
}

#[tokio::test]
async fn a_core_may_have_stand_ins_of_its_own() {
    let cms = origin().on("/article", status(500)).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"0s\"\nfallback = [\"inline:<p>reserve</p>\"]",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>reserve</p>");
    assert_eq!(page.outcome("article"), Some("inline"));
}

#[tokio::test]
async fn with_two_cores_both_are_needed() {
    let cms = origin()
        .on("/a", html("<p>a</p>"))
        .on("/b", html("<p>b</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("a", "cms:/a")
        .core("b", "cms:/b")
        .page("page", "/", "[a][b]")
        .without_snapshots()
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>a</p><p>b</p>");
    cms.on("/b", status(500));
    assert_eq!(site.reader().get("/").await.status, 503);
}

#[tokio::test]
async fn rungs_are_taken_in_the_declared_order() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on(
            "/block",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf"),
        )
        .on("/teaser", json("{\"t\": \"teaser\"}"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .file("t.html", "<i>{{ data.t }}</i>")
        .file("static.html", "<i>static</i>")
        .fragment(
            "teaser",
            "30",
            "cms:/teaser",
            "ttl = \"0s\"\ntemplate = \"t.html\"",
        )
        .fragment(
            "block",
            "40",
            "cms:/block",
            "ttl = \"0s\"\nfallback = [\"fragment:teaser\", \"static:static.html\"]",
        )
        .page("page", "/", "[article][block]")
        .start()
        .await;
    site.reader()
        .get("/")
        .await
        .is(200, "<p>text</p><i>teaser</i>");
    cms.on("/teaser", json("not json"));
    site.reader()
        .get("/")
        .await
        .is(200, "<p>text</p><i>static</i>");
}

#[tokio::test]
async fn default_data_goes_through_the_blocks_own_template() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", status(503))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .file("t.html", "<i>{{ data.t }}</i>")
        .file("default.json", "{\"t\": \"from <data>\"}")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "ttl = \"0s\"\ntemplate = \"t.html\"\nfallback = [\"data:default.json\"]",
        )
        .page("page", "/", "[article][block]")
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>text</p><i>from &lt;data&gt;</i>");
    assert_eq!(site.complaint("block").await, "default_data (status 503)");
}
