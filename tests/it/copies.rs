//! What makes two copies one or two, what they take, and for how long they count.

use crate::support::reader::client;
use crate::support::{Newsroom, html, json, newsroom, origin, status};

async fn reload(site: &Newsroom) {
    let answer = client()
        .post(format!("{}/reload", site.admin_url()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn fragments_of_one_source_do_not_share_what_says_their_name() {
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/data", json("{}"))
        .start()
        .await;
    let more = "ttl = \"1h\"\ntemplate = \"t.html\"";
    let site = newsroom()
        .origin("cms", &cms)
        .file("t.html", "<i>{{ fragment }}</i>")
        .core("article", "cms:/article")
        .fragment("one", "40", "cms:/data", more)
        .fragment("two", "40", "cms:/data", more)
        .page("first", "/1", "[article][one]")
        .page("second", "/2", "[article][two]")
        .start()
        .await;
    site.reader().get("/1").await.is(200, "<p>t</p><i>one</i>");
    site.reader().get("/2").await.is(200, "<p>t</p><i>two</i>");
}

#[tokio::test]
async fn nothing_to_show_in_a_block_is_not_an_empty_article() {
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/thing", status(404))
        .start()
        .await;
    let mut site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment("thing", "40", "cms:/thing", "ttl = \"1h\"")
        .fragment("story", "\"core\"", "cms:/thing", "ttl = \"1h\"")
        .page("page", "/", "[article][thing]")
        .page("story", "/story", "[story]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>t</p>");
    assert_eq!(site.reader().get("/story").await.status, 404);
    // the same fragment, now that more depends on it
    site.rewrite(|toml| toml.replace("priority = 40", "priority = \"core\""));
    reload(&site).await;
    assert_eq!(site.reader().get("/").await.status, 404);
}

#[tokio::test]
async fn a_lowered_ttl_counts_for_the_copies_that_are_there() {
    let cms = origin().on("/article", html("<p>1</p>")).start().await;
    let mut site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"1h\"\nkeep = \"2h\"",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    cms.on("/article", html("<p>2</p>"));
    site.reader().get("/").await.is(200, "<p>1</p>");
    site.rewrite(|toml| toml.replace("\"1h\"", "\"0s\""));
    reload(&site).await;
    site.reader().get("/").await.is(200, "<p>2</p>");
    // and they are still the same copies
    cms.on("/article", status(500));
    site.reader().get("/").await.is(200, "<p>2</p>");
}

#[tokio::test]
async fn the_cache_holds_what_it_may_and_not_more() {
    let mut unstarted = origin();
    let long = "word ".repeat(20_000);
    for number in 0..40 {
        let story = format!("{{\"t\": {number}, \"long\": \"{long}\"}}");
        unstarted = unstarted.on(&format!("/s/{number}"), json(&story));
        unstarted = unstarted.on(&format!("/l/{number}"), html(&story));
    }
    let cms = unstarted.start().await;
    let site = newsroom()
        .toml("[limits]\ncache_size = \"1MiB\"")
        .origin("cms", &cms)
        .file("t.html", "<p>{{ data.t }}</p>")
        .fragment(
            "story",
            "\"core\"",
            "cms:/s/{n}",
            "ttl = \"1h\"\ntemplate = \"t.html\"",
        )
        .fragment("long", "\"core\"", "cms:/l/{n}", "ttl = \"1h\"")
        .page("story", "/s/{n}", "[story]")
        .page("long", "/l/{n}", "[long]")
        .without_snapshots()
        .start()
        .await;
    let reader = site.reader();
    for number in 0..40 {
        reader
            .get(&format!("/s/{number}"))
            .await
            .is(200, &format!("<p>{number}</p>"));
    }
    let cache = site.state().await["cache"].clone();
    assert_eq!(
        cache["entries"], 40,
        "4 MB of JSON have become 40 short copies"
    );
    assert!(cache["bytes"].as_u64().unwrap() < 40 * 1024, "{cache}");
    for number in 0..40 {
        assert_eq!(reader.get(&format!("/l/{number}")).await.status, 200);
    }
    let cache = site.state().await["cache"].clone();
    assert_eq!(cache["bytes_max"], 1 << 20);
    assert!(cache["bytes"].as_u64().unwrap() <= 1 << 20, "{cache}");
}

#[tokio::test]
async fn an_edit_elsewhere_in_the_file_costs_no_copy() {
    let cms = origin().on("/article", html("<p>1</p>")).start().await;
    let mut site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    cms.kill();
    site.rewrite(|toml| format!("# a line more, so that everything stands elsewhere\n{toml}"));
    reload(&site).await;
    site.reader().get("/").await.is(200, "<p>1</p>");
}
