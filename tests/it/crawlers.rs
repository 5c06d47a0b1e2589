//! What a crawler reads is kept for days: it gets the page as it was when it was whole, or is asked to come
//! again.

use crate::support::{Newsroom, Operator, Page, newsroom};

const GOOGLEBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
const WHOLE: &str = "<p>text</p><b>block</b>";
const SHORT: &str = "<p>text</p>";

/// A site whose page was read twice, and whose block has been switched off since.
async fn site_of(keys: &str, is_known: bool) -> Newsroom {
    let site = newsroom()
        .core("article", "inline:<p>text</p>")
        .optional("block", 40, "inline:<b>block</b>")
        .page("page", "/", "[article][block]")
        .toml(&format!("[site]\n{keys}"))
        .start()
        .await;
    if is_known {
        for _ in 0..2 {
            site.reader().get("/").await.is(200, WHOLE);
        }
    }
    let operator = Operator::of(&site);
    operator.switch("block/block", "\"off\": true, ").await;
    site.reader().get("/").await.is(200, SHORT);
    site
}

async fn crawled(site: &Newsroom, agent: &str) -> Page {
    site.reader().get_with("/", &[("user-agent", agent)]).await
}

#[tokio::test]
async fn a_crawler_gets_the_page_as_it_was_when_it_was_whole() {
    let site = site_of("", true).await;
    let page = crawled(&site, GOOGLEBOT).await;
    page.is(200, WHOLE);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.header("marbre-level").unwrap().ends_with(";snapshot"));
    assert!(page.header("age").is_some());
    // nobody else does
    crawled(&site, "Mozilla/5.0 Firefox/140.0")
        .await
        .is(200, SHORT);
    crawled(&site, "NotAGooglebotAtAll").await.is(200, SHORT);
}

#[tokio::test]
async fn where_there_is_no_such_copy_the_site_decides() {
    for (keys, status, body) in [
        ("", 200, SHORT),
        ("degraded_for_crawlers = \"snapshot\"", 200, SHORT),
        ("degraded_for_crawlers = \"serve\"", 200, SHORT),
    ] {
        crawled(&site_of(keys, false).await, GOOGLEBOT)
            .await
            .is(status, body);
    }
    let site = site_of("degraded_for_crawlers = \"503\"", false).await;
    let page = crawled(&site, GOOGLEBOT).await;
    assert_eq!(page.status, 503);
    assert_eq!(page.header("retry-after"), Some("10"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.body.contains("text"), "{}", page.body);
    site.reader().get("/").await.is(200, SHORT);
}

#[tokio::test]
async fn a_site_may_serve_them_what_everybody_gets_or_say_who_they_are() {
    let site = site_of("degraded_for_crawlers = \"serve\"", true).await;
    crawled(&site, GOOGLEBOT).await.is(200, SHORT);
    let site = site_of("crawlers = [\"OurBot\"]", true).await;
    crawled(&site, GOOGLEBOT).await.is(200, SHORT);
    crawled(&site, "ourbot/1.0").await.is(200, WHOLE);
}

#[tokio::test]
async fn a_level_is_as_good_a_reason_as_a_switch() {
    let site = newsroom()
        .core("article", "inline:<p>text</p>")
        .optional("block", 40, "inline:<b>block</b>")
        .page("page", "/", "[article][block]")
        .toml("[site]\ndegraded_for_crawlers = \"503\"")
        .level(1)
        .start()
        .await;
    assert_eq!(crawled(&site, GOOGLEBOT).await.status, 503);
    site.reader().get("/").await.is(200, SHORT);
}

#[tokio::test]
async fn a_whole_page_is_for_crawlers_as_for_everybody() {
    let site = newsroom()
        .core("article", "inline:<p>text</p>")
        .page("page", "/", "[article]")
        .toml("[site]\ndegraded_for_crawlers = \"503\"")
        .start()
        .await;
    let page = crawled(&site, GOOGLEBOT).await;
    page.is(200, SHORT);
    assert_eq!(page.level(), 0);
}
