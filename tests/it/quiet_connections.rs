//! A connection may be quiet for a while between two requests, and not for long in the middle of one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Newsroom, newsroom};

const ASK: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn site_of(limits: &str) -> Newsroom {
    newsroom()
        .server(limits)
        .core("article", "inline:<p>text</p>")
        .page("page", "/", "[article]")
        .start()
        .await
}

/// Asks for the page and reads it.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"<p>text</p>") {
        let read = stream.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
}

/// Returns when the server has ended it: or the test never ends.
async fn ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn between_two_requests_only_the_idle_timeout_counts() {
    let site = site_of("header_timeout = \"100ms\"\nidle_timeout = \"1h\"").await;
    let mut kept = site.reader().connect().await;
    ask(&mut kept).await;
    // this one begins later, and is late all the same
    let mut half = site.reader().connect().await;
    half.write_all(&ASK.as_bytes()[..9]).await.unwrap();
    ended(&mut half).await;
    ask(&mut kept).await;
    // now its next head does not come to its end
    kept.write_all(&ASK.as_bytes()[..9]).await.unwrap();
    ended(&mut kept).await;
}

#[tokio::test]
async fn a_connection_is_closed_on_which_no_other_request_comes() {
    let site = site_of("header_timeout = \"10m\"\nidle_timeout = \"100ms\"").await;
    let mut stream = site.reader().connect().await;
    ask(&mut stream).await;
    ask(&mut stream).await;
    ended(&mut stream).await;
}

#[tokio::test]
async fn a_page_that_takes_long_is_not_quiet() {
    let gate = crate::support::Gate::closed();
    let slow = crate::support::html("<p>text</p>").gated(&gate);
    let cms = crate::support::origin().on("/slow", slow).start().await;
    let limits = "header_timeout = \"100ms\"\nidle_timeout = \"100ms\"";
    let site = newsroom()
        .server(limits)
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/slow", "timeout = \"60s\"")
        .page_within("page", "/", "[article]", "60s")
        .start()
        .await;
    let mut waiting = site.reader().connect().await;
    let (_, ()) = tokio::join!(ask(&mut waiting), async {
        cms.arrived(1).await;
        // as long as it takes to give up a connection that says nothing
        let mut silent = site.reader().connect().await;
        ended(&mut silent).await;
        gate.open();
    });
    ended(&mut waiting).await;
}
