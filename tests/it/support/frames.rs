//! HTTP/2 by its frames (RFC 9113) and its fields as they are written (RFC 7541): what a client sends that no
//! library would.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

// types of frames (RFC 9113, 6)
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const UNKNOWN: u8 = 0xbb;

// flags
pub(crate) const NONE: u8 = 0;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITISED: u8 = 0x20;
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

/// What a frame may hold unless the receiver says more (RFC 9113, 4.2).
pub(crate) const FRAME_MAX: usize = 16_384;

// settings (RFC 9113, 6.5.2)
pub(crate) const INITIAL_WINDOW: u16 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals without an index (RFC 7541, 6.2.2).
pub(crate) fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in all {
        bytes.push(0);
        for text in [name, value] {
            bytes.extend(length(text.len()));
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(length: usize) -> Vec<u8> {
    let Some(mut rest) = length.checked_sub(127) else {
        return vec![u8::try_from(length).expect("below 127")];
    };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("below 128") | 0x80);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("below 128"));
    bytes
}

pub(crate) const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "x"),
];

/// The fields of a request, and these.
pub(crate) fn and(more: &[(&str, &str)]) -> Vec<u8> {
    fields(&[&GET[..], more].concat())
}

pub(crate) fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, block)
}

pub(crate) fn get(stream: u32) -> Vec<u8> {
    head(stream, &and(&[]))
}

/// A request for this path.
pub(crate) fn get_at(stream: u32, path: &str) -> Vec<u8> {
    let block = fields(&[GET[0], GET[1], (":path", path), GET[3]]);
    head(stream, &block)
}

/// A request whose fields may need several frames: what is beyond one goes on in `CONTINUATION`.
pub(crate) fn long_head(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(FRAME_MAX);
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<&[u8]> = pieces.collect();
    let ends = |is_last: bool| if is_last { END_HEADERS } else { NONE };
    let mut bytes = frame(HEADERS, END_STREAM | ends(rest.is_empty()), stream, first);
    for (at, piece) in rest.iter().enumerate() {
        bytes.extend(frame(
            CONTINUATION,
            ends(at + 1 == rest.len()),
            stream,
            piece,
        ));
    }
    bytes
}

pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// What a connection begins with: the preface, and these settings.
pub(crate) fn begin(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| setting(*id, *value))
        .collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    [&preface[..], &frame(SETTINGS, NONE, 0, &settings)].concat()
}

/// More of the window of a stream, or of the connection.
pub(crate) fn widen(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, NONE, stream, &by.to_be_bytes())
}

/// The client does not want this stream any more.
pub(crate) fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, NONE, stream, &8_u32.to_be_bytes())
}

/// A frame that has come.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The next frame; an error where there is none any more.
pub(crate) async fn next_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut first = [0; 9];
    from.read_exact(&mut first).await?;
    let length = u32::from_be_bytes([0, first[0], first[1], first[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("three bytes")];
    from.read_exact(&mut payload).await?;
    Ok(Frame {
        kind: first[3],
        flags: first[4],
        stream: u32::from_be_bytes([first[5], first[6], first[7], first[8]]),
        payload,
    })
}
