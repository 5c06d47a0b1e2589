//! No fragment holds a page beyond its deadline, whichever phase it stalls in.
//!
//! The pages here have a budget of a minute and readers give up after half of one: if a fragment's
//! own timeout did not end the wait, the reader would have no page. How long it took is not
//! asserted.

use std::time::Duration;

use crate::support::{Gate, html, newsroom, origin, raw};

const MINUTE: &str = "60s";

/// A page of an article and a block that times out after 100 ms, whatever happens.
async fn page_with(block: crate::support::Reply) -> (String, String) {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", block)
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "timeout = \"100ms\"\nttl = \"0s\"",
        )
        .page_within(
            "page",
            "/",
            "<main>[article]</main>[block]<i>end</i>",
            MINUTE,
        )
        .start()
        .await;
    let page = site.reader().get("/").await;
    assert_eq!(page.status, 200);
    (page.body, site.complaint("block").await)
}

const WITHOUT: &str = "<main><p>text</p></main><i>end</i>";

#[tokio::test]
async fn a_block_that_never_answers_is_left_out() {
    let hang = raw("").then_hang();
    assert_eq!(
        page_with(hang).await,
        (WITHOUT.into(), "failed (timeout)".into())
    );
}

#[tokio::test]
async fn a_block_that_stalls_after_its_headers_is_left_out() {
    let stalled =
        raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 100\r\n\r\n<div>");
    assert_eq!(
        page_with(stalled.then_hang()).await,
        (WITHOUT.into(), "failed (timeout)".into())
    );
}

#[tokio::test]
async fn a_block_that_drips_is_left_out() {
    // each byte comes well within any idle timer; together they would take minutes
    let head = raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5000\r\n\r\n");
    let dripping = head.then_drip("x".repeat(5000), Duration::from_millis(20));
    assert_eq!(
        page_with(dripping).await,
        (WITHOUT.into(), "failed (timeout)".into())
    );
}

#[tokio::test]
async fn a_block_that_drips_its_headers_is_left_out() {
    let dripping = raw("").then_drip(
        format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(5000)),
        Duration::from_millis(20),
    );
    assert_eq!(
        page_with(dripping).await,
        (WITHOUT.into(), "failed (timeout)".into())
    );
}

#[tokio::test]
async fn the_page_budget_cuts_a_longer_timeout() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", raw("").then_hang())
        .start()
        .await;
    let site = newsroom()
        .toml(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\""
                .replace("{}", &cms.url())
                .as_str(),
        )
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "timeout = \"60s\"\nttl = \"0s\"",
        )
        .page_within("page", "/", "[article][block]", "200ms")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>text</p>");
    assert_eq!(site.complaint("block").await, "failed (timeout)");
}

#[tokio::test]
async fn what_is_ready_leaves_while_the_rest_is_awaited() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let text = "<p>Il était 22 h 37, dimanche, quand la salle des mariages s’est tue.</p>";
    let cms = origin().on("/article", html(text)).start().await;
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"",
            cms.url()
        ))
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "timeout = \"60s\"\nttl = \"0s\"",
        )
        .page_within("page", "/", "[article][block]", MINUTE)
        .start()
        .await;
    for coding in ["", "gzip", "br", "zstd"] {
        let gate = Gate::closed();
        cms.on("/block", html("<b>block</b>").gated(&gate));
        let mut stream = site.reader().connect().await;
        let request = format!(
            "GET / HTTP/1.1\r\nhost: x\r\naccept-encoding: {coding}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        // the block answers only after this loop, so waiting here for the whole page would end in a
        // page without it
        while !has_body(&seen) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "the connection ended before the body began");
            seen.extend_from_slice(&buffer[..count]);
        }
        gate.open();
        stream.read_to_end(&mut seen).await.unwrap();
        assert!(seen.ends_with(b"0\r\n\r\n"), "the page ends properly");
        let fetched = site.state().await["tally"]["fragments"]["block"]["fetched"].clone();
        assert_eq!(
            fetched,
            site.state().await["tally"]["pages"],
            "the block is in every page"
        );
    }
}

/// Whether something of the body has arrived: more than a coding's own header.
fn has_body(seen: &[u8]) -> bool {
    let head = seen.windows(4).position(|window| window == b"\r\n\r\n");
    head.is_some_and(|end| seen.len() > end + 4 + 40)
}
