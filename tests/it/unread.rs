//! A reader who asks and never reads keeps nobody else from anything: neither a place among the
//! pages in flight, nor a flight, nor an origin's permit.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::support::{Newsroom, Origin, html, newsroom, origin, raw};

/// Who has nothing by then has nothing: a guard against a test that hangs, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// One page at a time may be in flight. It is larger than what sockets hold, and at its end there
/// is a block that hangs.
async fn site_of_one_page(cms: &Origin) -> Newsroom {
    newsroom()
        .server("max_pages_in_flight = 1")
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"200ms\"",
            cms.url()
        ))
        .toml("[limits]\nlayout_size = \"16MiB\"")
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "timeout = \"100ms\"\nttl = \"0s\"",
        )
        .page_within(
            "long",
            "/long",
            &format!("[article]{}[block]", "x".repeat(12 << 20)),
            "60s",
        )
        .page("short", "/short", "[article]")
        .start()
        .await
}

async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", raw("").then_hang())
        .start()
        .await
}

/// The next reader has a page, and nothing is under way any more, while the first still does not
/// read.
async fn nothing_is_held_up(site: &Newsroom) {
    let let_in = async { while site.reader().get("/short").await.status != 200 {} };
    timeout(PATIENCE, let_in)
        .await
        .expect("whoever does not read keeps the only place");
    let at_rest = async {
        loop {
            let state = site.state().await;
            if state["flights"] == 0 && state["origins"]["cms"]["in_flight"] == 0 {
                return;
            }
        }
    };
    timeout(PATIENCE, at_rest)
        .await
        .expect("whoever does not read keeps a flight");
}

#[tokio::test]
async fn over_http_1() {
    let cms = cms().await;
    let site = site_of_one_page(&cms).await;
    let mut reader = site.reader().connect().await;
    let request = b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n";
    reader.write_all(request).await.unwrap();
    timeout(PATIENCE, cms.arrived(2)).await.unwrap();
    nothing_is_held_up(&site).await;
    drop(reader);
}

#[tokio::test]
async fn over_http_2_with_a_window_of_nothing() {
    let cms = cms().await;
    let site = site_of_one_page(&cms).await;
    let mut reader = site.reader().connect().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS: INITIAL_WINDOW_SIZE is 0
    bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    // HEADERS, the last frame of its stream: GET, http, the authority `x`, the path `/long`
    let head = b"\x82\x86\x41\x01x\x44\x05/long";
    bytes.extend_from_slice(&[0, 0, u8::try_from(head.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend_from_slice(head);
    reader.write_all(&bytes).await.unwrap();
    timeout(PATIENCE, cms.arrived(2)).await.unwrap();
    nothing_is_held_up(&site).await;
    drop(reader);
}
