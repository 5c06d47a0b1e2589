//! A fragment is inserted whole or not at all.

use crate::support::{Reply, html, newsroom, origin, raw, status};

/// The outcome of a block whose origin answers so; the page must not show any of it.
async fn rejected(reply: Reply) -> String {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", reply)
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "ttl = \"0s\"\nmax_size = \"4KiB\"",
        )
        .page(
            "page",
            "/",
            "[article]<fragment name=\"block\"><i>default</i></fragment>.",
        )
        .start()
        .await;
    site.reader()
        .get("/")
        .await
        .is(200, "<p>text</p><i>default</i>.");
    site.complaint("block").await
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n";

#[tokio::test]
async fn a_body_shorter_than_announced_is_rejected() {
    let outcome = rejected(raw(format!("{HEAD}content-length: 100\r\n\r\n<div>half"))).await;
    assert!(outcome.starts_with("failed (truncated"), "{outcome}");
}

#[tokio::test]
async fn a_chunked_body_without_its_end_is_rejected() {
    let chunks = format!("{HEAD}transfer-encoding: chunked\r\n\r\n9\r\n<div>half\r\n");
    let outcome = rejected(raw(chunks)).await;
    assert!(outcome.starts_with("failed (truncated"), "{outcome}");
}

#[tokio::test]
async fn a_reset_in_mid_body_is_rejected() {
    let outcome =
        rejected(raw(format!("{HEAD}content-length: 100\r\n\r\n<div>")).then_reset()).await;
    // a reset may overtake the bytes before it
    assert!(outcome.starts_with("failed (t"), "{outcome}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_rejected() {
    let large = "x".repeat(4097);
    assert_eq!(
        rejected(html(&large)).await,
        "failed (larger than 4096 bytes)"
    );
    let chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n1001\r\n{large}\r\n0\r\n\r\n");
    assert_eq!(
        rejected(raw(chunked)).await,
        "failed (larger than 4096 bytes)"
    );
}

#[tokio::test]
async fn a_body_at_the_limit_is_whole() {
    let body = "x".repeat(4096);
    let cms = origin().on("/article", html(&body)).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "max_size = \"4KiB\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, &body);
}

#[tokio::test]
async fn an_error_page_is_never_pasted_in() {
    for code in [400, 401, 403, 418, 500, 502, 503, 504] {
        assert_eq!(
            rejected(status(code)).await,
            format!("failed (status {code})")
        );
    }
}

#[tokio::test]
async fn nothing_to_show_is_an_answer() {
    for code in [204, 404, 410] {
        let cms = origin()
            .on("/article", html("<p>text</p>"))
            .on("/block", status(code))
            .start()
            .await;
        let site = newsroom()
            .origin("cms", &cms)
            .core("article", "cms:/article")
            .optional("block", 40, "cms:/block")
            .page("page", "/", "[article][block]")
            .start()
            .await;
        site.reader().get("/").await.is(200, "<p>text</p>");
        let state = site.state().await;
        assert_eq!(
            state["tally"]["fragments"]["block"]["absent"], 1,
            "{code}: {state:#}"
        );
        assert_eq!(
            state["tally"]["complete"], 1,
            "a page without a slideshow is a whole page"
        );
    }
}

#[tokio::test]
async fn an_empty_answer_is_not() {
    assert_eq!(rejected(html("")).await, "failed (empty)");
    assert_eq!(rejected(html(" \n ")).await, "failed (empty)");
}

#[tokio::test]
async fn the_wrong_type_is_rejected() {
    let typed = |t: &str| Reply::headed(200, &[("content-type", t)], b"<p>x</p>");
    assert_eq!(
        rejected(typed("image/png")).await,
        "failed (content type image/png)"
    );
    let latin = "text/html; charset=iso-8859-1";
    assert_eq!(
        rejected(typed(latin)).await,
        format!("failed (content type {latin})")
    );
}

#[tokio::test]
async fn text_that_is_not_utf8_is_rejected() {
    let outcome = rejected(Reply::headed(
        200,
        &[("content-type", "text/html")],
        b"<p>\xe9t\xe9</p>",
    ))
    .await;
    assert!(outcome.starts_with("failed (unreadable"), "{outcome}");
}
