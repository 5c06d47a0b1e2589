//! An answer that is empty, too short, or that lacks what a whole one holds never takes the place of
//! a copy, however well it calls itself.

use crate::support::{Newsroom, Origin, Reply, html, json, newsroom, origin};

async fn site_with(cms: &Origin, priority: &str, more: &str) -> Newsroom {
    newsroom()
        .origin("cms", cms)
        .file(
            "list.html",
            "{% for it in data %}<li>{{ it }}</li>{% endfor %}",
        )
        .core("text", "cms:/text")
        .fragment(
            "block",
            priority,
            "cms:/block",
            &format!("ttl = \"1ms\"\nkeep = \"1h\"\n{more}"),
        )
        .page("page", "/", "[text][block]")
        .start()
        .await
}

#[tokio::test]
async fn nothing_takes_the_place_of_something() {
    let full = "<article>a whole story</article>";
    let cases: [(&str, Reply, &str); 6] = [
        ("", html(""), "stale (empty)"),
        ("", html(" \n\t "), "stale (empty)"),
        ("", html("<!--part head--> <!--/part-->"), "stale (empty)"),
        (
            "min_size = \"20B\"",
            html("<p>sorry</p>"),
            "stale (smaller than 20 bytes)",
        ),
        (
            "must_contain = [\"</article>\"]",
            html("<p>this service is not available at the moment</p>"),
            "stale (does not contain `</article>`)",
        ),
        (
            "must_contain = [\"<article>\", \"</article>\"]",
            html("<article>a story cut in the mid"),
            "stale (does not contain `</article>`)",
        ),
    ];
    for priority in ["\"core\"", "\"essential\"", "40"] {
        for (keys, reply, outcome) in &cases {
            let cms = origin()
                .on("/text", html("<h1>t</h1>"))
                .on("/block", html(full))
                .start()
                .await;
            let site = site_with(&cms, priority, keys).await;
            let whole = format!("<h1>t</h1>{full}");
            site.reader().get("/").await.is(200, &whole);
            cms.on("/block", reply.clone());
            loop {
                let page = site.reader().get("/").await;
                page.is(200, &whole);
                if page.outcome("block") == Some("stale") && cms.hits("/block") > 1 {
                    break;
                }
            }
            // a stale block is whole, so the page is not among the incomplete ones: ask the reason
            // of a page that has no copy to show
            let bare = site_with(&cms, priority, keys).await;
            bare.reader().get("/").await;
            let said = bare.complaint("block").await;
            assert_eq!(said.replace("failed", "stale"), *outcome, "{priority}");
        }
    }
}

#[tokio::test]
async fn an_empty_list_does_not_take_the_place_of_a_full_one() {
    let cms = origin()
        .on("/text", html("<h1>t</h1>"))
        .on("/block", json("[\"a\", \"b\"]"))
        .start()
        .await;
    let site = site_with(&cms, "40", "template = \"list.html\"").await;
    let whole = "<h1>t</h1><li>a</li><li>b</li>";
    site.reader().get("/").await.is(200, whole);
    cms.on("/block", json("[]"));
    while cms.hits("/block") < 3 {
        site.reader().get("/").await.is(200, whole);
    }
}
