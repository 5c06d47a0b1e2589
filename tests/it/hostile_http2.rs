//! Frames that HTTP/2 does not allow (RFC 9113) end a connection or a stream and no more: a reader beside is
//! served, and what the protocol has a receiver ignore is ignored.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::frames::*;
use crate::support::{Newsroom, newsroom};

mod violations;

use violations::violations;

/// What the server makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The connection ends with an error.
    Connection,
    /// The stream ends with an error or is answered with one, or the connection ends.
    Stream,
    /// A request on stream 1 is answered with a page.
    Fine,
    /// Nothing, until the connection has been idle for too long.
    Nothing,
}
use Then::{Connection, Fine, Nothing, Stream};

/// What comes back until it is clear what the server makes of it.
async fn outcome(stream: &mut TcpStream) -> Then {
    loop {
        let Ok(Frame { kind, payload, .. }) = next_frame(stream).await else {
            return Connection;
        };
        match kind {
            GOAWAY if payload[4..8] == [0; 4] => return Nothing,
            GOAWAY => return Connection,
            RST_STREAM => return Stream,
            // `:status` 200 by its place in the static table (RFC 7541, A), after any change of size
            HEADERS => {
                let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                return if status == Some(&0x88) { Fine } else { Stream };
            }
            _ => {}
        }
    }
}

async fn site() -> Newsroom {
    newsroom()
        .server("idle_timeout = \"1s\"")
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .start()
        .await
}

/// A connection that has said what each must begin with.
async fn begun(site: &Newsroom) -> TcpStream {
    let mut stream = site.reader().connect().await;
    stream.write_all(&begin(&[])).await.unwrap();
    stream
}

#[tokio::test]
async fn what_the_protocol_does_not_allow_ends_what_it_is_about() {
    let site = site().await;
    let mut wrong = Vec::new();
    for (name, bytes, then) in violations() {
        let mut stream = begun(&site).await;
        // the server may end it before it has read all
        let _ = stream.write_all(&bytes).await;
        let seen = outcome(&mut stream).await;
        let well = seen == then || (then == Stream && seen == Connection);
        if !well {
            wrong.push(format!("{name}: {seen:?}, not {then:?}"));
        }
        site.reader().get("/").await.is(200, "<p>front</p>");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A hundred requests that are taken back at once.
fn resets(hundred: u32) -> Vec<u8> {
    let streams = (0..100).map(|n| 200 * hundred + 2 * n + 1);
    let reset = |stream| [get(stream), cancel(stream)].concat();
    streams.flat_map(reset).collect()
}

/// Floods that cost whoever sends them little: the server ends the connection by itself.
#[tokio::test]
async fn a_connection_that_floods_is_ended() {
    let site = site().await;
    let continued = frame(
        CONTINUATION,
        NONE,
        1,
        &fields(&[("x", &"y".repeat(100))]).repeat(100),
    );
    let opened = frame(HEADERS, END_STREAM, 1, &and(&[]));
    let mut wrong = Vec::new();
    let more: Box<dyn Fn(u32) -> Vec<u8>> = Box::new(move |_| continued.clone());
    for (name, first, next) in [
        ("continuations", opened, more),
        ("rapid resets", Vec::new(), Box::new(resets)),
    ] {
        let stream = begun(&site).await;
        let (mut reading, mut writing) = stream.into_split();
        let flood = async {
            writing.write_all(&first).await?;
            for n in 0..2000 {
                writing.write_all(&next(n)).await?;
            }
            writing.shutdown().await
        };
        let reading = async {
            let mut all = Vec::new();
            let _ = reading.read_to_end(&mut all).await;
        };
        let (flooded, ()) = tokio::join!(flood, reading);
        if flooded.is_ok() {
            wrong.push(name);
        }
        site.reader().get("/").await.is(200, "<p>front</p>");
    }
    assert!(wrong.is_empty(), "they went on to their end: {wrong:?}");
}
