//! What HTTP/2 does not allow, by section of RFC 9113, and what is to come of it.

use crate::support::frames::*;

use super::Then::{self, Connection, Fine, Stream};

/// Of a request with a body that is said to have this length.
fn post(length: &str, body: &[u8]) -> Vec<u8> {
    let mut block = fields(&[(":method", "POST")]);
    block.extend(fields(&GET[1..]));
    block.extend(fields(&[("content-length", length)]));
    let head = frame(HEADERS, END_HEADERS, 1, &block);
    [head, frame(DATA, END_STREAM, 1, body)].concat()
}

/// By section: what is sent after the preface and the first settings, and what comes of it.
pub(super) fn violations() -> Vec<(&'static str, Vec<u8>, Then)> {
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
