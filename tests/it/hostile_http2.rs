//! Frames that HTTP/2 does not allow (RFC 9113) end a connection or a stream and no more: a reader beside is
//! served, and what the protocol has a receiver ignore is ignored.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Newsroom, newsroom};

// types of frames (RFC 9113, 6)
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xbb;

// flags
const NONE: u8 = 0;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITISED: u8 = 0x20;
const WHOLE: u8 = END_STREAM | END_HEADERS;

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

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals without an index (RFC 7541, 6.2.2).
fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in all {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).expect("below 127, one byte"));
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "x"),
];

/// The fields of a request, and these.
fn and(more: &[(&str, &str)]) -> Vec<u8> {
    fields(&[&GET[..], more].concat())
}

fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, block)
}

fn get(stream: u32) -> Vec<u8> {
    head(stream, &and(&[]))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// Of a request with a body that is said to have this length.
fn post(length: &str, body: &[u8]) -> Vec<u8> {
    let mut block = fields(&[(":method", "POST")]);
    block.extend(fields(&GET[1..]));
    block.extend(fields(&[("content-length", length)]));
    let head = frame(HEADERS, END_HEADERS, 1, &block);
    [head, frame(DATA, END_STREAM, 1, body)].concat()
}

/// By section: what is sent after the preface and the first settings, and what comes of it.
fn violations() -> Vec<(&'static str, Vec<u8>, Then)> {
    let g = || get(1);
    let then_get = |first: Vec<u8>| [first, get(1)].concat();
    let after_get = |next: Vec<u8>| [get(1), next].concat();
    let open = |flags, stream| frame(HEADERS, flags, stream, &and(&[]));
    vec![
        (
            "4.1 an unknown type",
            then_get(frame(UNKNOWN, 0xff, 0, b"xyz")),
            Fine,
        ),
        (
            "4.1 an unknown flag",
            frame(HEADERS, WHOLE | 0x40, 1, &and(&[])),
            Fine,
        ),
        (
            "4.1 the reserved bit",
            frame(HEADERS, WHOLE, 1 | 1 << 31, &and(&[])),
            Fine,
        ),
        (
            "4.2 a frame that is too large",
            frame(DATA, NONE, 1, &[0; 16_385]),
            Connection,
        ),
        (
            "4.2 large settings",
            frame(SETTINGS, NONE, 0, &[0; 16_386]),
            Connection,
        ),
        (
            "4.3 a block that cannot be read",
            head(1, &[0xff; 8]),
            Connection,
        ),
        (
            "5.1 data on an idle stream",
            frame(DATA, NONE, 1, b"x"),
            Connection,
        ),
        (
            "5.1 a reset of an idle stream",
            frame(RST_STREAM, NONE, 1, &[0, 0, 0, 8]),
            Connection,
        ),
        (
            "5.1 a window of an idle stream",
            frame(WINDOW_UPDATE, NONE, 1, &[0, 0, 0, 1]),
            Connection,
        ),
        ("5.1.1 an even stream", get(2), Connection),
        (
            "5.1.1 a lower stream",
            [get(5), get(3)].concat(),
            Connection,
        ),
        (
            "6.1 data on stream 0",
            frame(DATA, NONE, 0, b"x"),
            Connection,
        ),
        (
            "6.1 padding longer than the frame",
            [open(END_HEADERS, 1), frame(DATA, PADDED, 1, &[9, 0, 0])].concat(),
            Connection,
        ),
        ("6.2 headers on stream 0", get(0), Connection),
        (
            "6.2 padding longer than the frame",
            frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x82]),
            Connection,
        ),
        (
            "6.2 a priority",
            frame(
                HEADERS,
                WHOLE | PRIORITISED,
                1,
                &[&[0, 0, 0, 0, 16][..], &and(&[])].concat(),
            ),
            Fine,
        ),
        (
            "6.2 headers within headers",
            [open(END_STREAM, 1), get(3)].concat(),
            Connection,
        ),
        (
            "6.2 another frame within headers",
            [open(END_STREAM, 1), frame(PING, NONE, 0, &[0; 8])].concat(),
            Connection,
        ),
        (
            "6.3 a priority on stream 0",
            frame(PRIORITY, NONE, 0, &[0, 0, 0, 1, 0]),
            Connection,
        ),
        (
            "6.3 a priority of an idle stream",
            then_get(frame(PRIORITY, NONE, 3, &[0, 0, 0, 1, 0])),
            Fine,
        ),
        (
            "6.4 a reset on stream 0",
            frame(RST_STREAM, NONE, 0, &[0; 4]),
            Connection,
        ),
        (
            "6.4 a reset of another size",
            after_get(frame(RST_STREAM, NONE, 1, &[0; 3])),
            Connection,
        ),
        (
            "6.5 settings on a stream",
            frame(SETTINGS, NONE, 1, &[]),
            Connection,
        ),
        (
            "6.5 an acknowledgement that says more",
            frame(SETTINGS, ACK, 0, &setting(3, 1)),
            Connection,
        ),
        (
            "6.5 settings of another size",
            frame(SETTINGS, NONE, 0, &[0; 5]),
            Connection,
        ),
        (
            "6.5.2 an unknown setting",
            then_get(frame(SETTINGS, NONE, 0, &setting(0x99, 7))),
            Fine,
        ),
        (
            "6.5.2 pushes neither on nor off",
            frame(SETTINGS, NONE, 0, &setting(2, 2)),
            Connection,
        ),
        (
            "6.5.2 a window beyond its limit",
            frame(SETTINGS, NONE, 0, &setting(4, 1 << 31)),
            Connection,
        ),
        (
            "6.5.2 frames below their limit",
            frame(SETTINGS, NONE, 0, &setting(5, 16_383)),
            Connection,
        ),
        (
            "6.5.2 frames beyond their limit",
            frame(SETTINGS, NONE, 0, &setting(5, 1 << 24)),
            Connection,
        ),
        (
            "6.6 a push of a reader",
            after_get(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
            Connection,
        ),
        (
            "6.7 a ping on a stream",
            frame(PING, NONE, 1, &[0; 8]),
            Connection,
        ),
        (
            "6.7 a ping of another size",
            frame(PING, NONE, 0, &[0; 7]),
            Connection,
        ),
        (
            "6.7 an answer to no ping",
            then_get(frame(PING, ACK, 0, &[7; 8])),
            Fine,
        ),
        (
            "6.8 a farewell on a stream",
            frame(GOAWAY, NONE, 1, &[0; 8]),
            Connection,
        ),
        (
            "6.9 a window by nothing",
            frame(WINDOW_UPDATE, NONE, 0, &[0; 4]),
            Connection,
        ),
        (
            "6.9 a window of another size",
            frame(WINDOW_UPDATE, NONE, 0, &[0; 3]),
            Connection,
        ),
        (
            "6.9.1 a window beyond its limit",
            frame(WINDOW_UPDATE, NONE, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Connection,
        ),
        (
            "6.10 a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &and(&[])),
            Connection,
        ),
        (
            "6.10 a continuation on stream 0",
            [
                open(END_STREAM, 1),
                frame(CONTINUATION, END_HEADERS, 0, &[]),
            ]
            .concat(),
            Connection,
        ),
        (
            "6.10 a continuation",
            [
                open(END_STREAM, 1),
                frame(CONTINUATION, END_HEADERS, 1, &fields(&[("x", "y")])),
            ]
            .concat(),
            Fine,
        ),
        (
            "8.2.1 a name in capitals",
            head(1, &and(&[("X-Loud", "y")])),
            Stream,
        ),
        (
            "8.2.1 a return in a value",
            head(1, &and(&[("x", "a\rb")])),
            Stream,
        ),
        (
            "8.2.1 a null in a value",
            head(1, &and(&[("x", "a\0b")])),
            Stream,
        ),
        (
            "8.2.1 a space in a name",
            head(1, &and(&[("a b", "y")])),
            Stream,
        ),
        (
            "8.2.2 connection",
            head(1, &and(&[("connection", "close")])),
            Stream,
        ),
        (
            "8.2.2 transfer-encoding",
            head(1, &and(&[("transfer-encoding", "chunked")])),
            Stream,
        ),
        (
            "8.2.2 upgrade",
            head(1, &and(&[("upgrade", "h2c")])),
            Stream,
        ),
        ("8.2.2 te", head(1, &and(&[("te", "gzip")])), Stream),
        (
            "8.2.2 te of trailers",
            head(1, &and(&[("te", "trailers")])),
            Fine,
        ),
        (
            "8.3 an unknown pseudo-header",
            head(1, &and(&[(":color", "red")])),
            Stream,
        ),
        (
            "8.3 one of answers",
            head(1, &and(&[(":status", "200")])),
            Stream,
        ),
        (
            "8.3 one after fields",
            head(
                1,
                &fields(&[
                    (":method", "GET"),
                    (":scheme", "http"),
                    ("x", "y"),
                    (":path", "/"),
                ]),
            ),
            Stream,
        ),
        ("8.3.1 two paths", head(1, &and(&[(":path", "/")])), Stream),
        ("8.3.1 no method", head(1, &fields(&GET[1..])), Stream),
        (
            "8.3.1 no path",
            head(1, &fields(&[GET[0], GET[1], GET[3]])),
            Stream,
        ),
        (
            "8.3.1 an empty path",
            head(1, &fields(&[GET[0], GET[1], (":path", ""), GET[3]])),
            Stream,
        ),
        ("8.1.1 less than was said", post("2", b"x"), Stream),
        ("8.1.1 more than was said", post("1", b"xy"), Stream),
        ("8.1.1 a length that is none", post("x", b"x"), Stream),
        ("a request", g(), Fine),
    ]
}

/// What comes back until it is clear what the server makes of it.
async fn outcome(stream: &mut TcpStream) -> Then {
    loop {
        let mut first = [0; 9];
        if stream.read_exact(&mut first).await.is_err() {
            return Connection;
        }
        let length = u32::from_be_bytes([0, first[0], first[1], first[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut payload).await.is_err() {
            return Connection;
        }
        match first[3] {
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
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let begin = [&preface[..], &frame(SETTINGS, NONE, 0, &[])].concat();
    stream.write_all(&begin).await.unwrap();
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
    let reset = |stream| [get(stream), frame(RST_STREAM, NONE, stream, &[0, 0, 0, 8])].concat();
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
