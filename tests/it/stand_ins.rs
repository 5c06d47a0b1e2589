//! What stands in for a fragment that cannot be had.

use crate::support::{html, newsroom, origin, raw};

#[tokio::test]
async fn a_stand_in_with_nothing_to_show_does_not_end_the_chain() {
    let cms = origin()
        .on("/sib", raw("HTTP/1.1 204 No Content\r\n\r\n"))
        .start()
        .await;
    let dead = origin().start().await;
    dead.kill();
    let site = newsroom()
        .origin("cms", &cms)
        .origin("dead", &dead)
        .file("reserve.html", "<p>reserve</p>")
        .optional("sib", 40, "cms:/sib")
        .fragment(
            "article",
            "\"core\"",
            "dead:/article",
            "ttl = \"0s\"\nfallback = [\"fragment:sib\", \"static:reserve.html\"]",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>reserve</p>");
    assert_eq!(page.outcome("article"), Some("static"));
    assert_eq!(cms.hits("/sib"), 1);
    cms.on("/sib", html("<p>sibling</p>"));
    let page = site.reader().get("/").await;
    page.is(200, "<p>sibling</p>");
    assert_eq!(page.outcome("article"), Some("sibling"));
}

#[tokio::test]
async fn a_personal_stand_in_makes_the_page_personal() {
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/you", html("<b>you</b>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment("you", "40", "cms:/you", "forward_cookies = [\"id\"]")
        .fragment("block", "50", "cms:/none", "fallback = [\"fragment:you\"]")
        .page("page", "/", "[article][block]")
        .page("plain", "/plain", "[article]")
        .start()
        .await;
    let page = site.reader().get_with("/", &[("cookie", "id=1")]).await;
    assert_eq!(page.header("cache-control"), Some("private, no-cache"));
    // nor is a page personal that has no such block, once all of it is known
    let other = site.reader().get("/plain").await;
    assert_eq!(other.header("cache-control"), Some("no-cache"));
}
