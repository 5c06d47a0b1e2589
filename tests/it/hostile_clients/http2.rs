//! Attacks in HTTP/2: frames that cost whoever sends them nothing, streams that are never taken or never end,
//! requests that are taken back.

use tokio::net::TcpStream;

use crate::support::frames::*;

use super::stage::{CONNECTION, KIB, PAGE, Progress, Stage, TASK, pour};

/// Requests at once on one connection (`STREAMS_MAX` of `server::accept`).
const STREAMS: u32 = 128;

/// What a connection holds by itself: the buffers for reading and writing, and the table of fields.
const BARE: u64 = CONNECTION + 64 * KIB;

/// Floods of frames, none of whose answers are read. A connection is read no further than its answers can be
/// written, so it holds no more than one that says nothing.
async fn flood(stage: &Stage, first: &[u8], times: u32, frames: impl Fn(u32) -> Vec<u8>) {
    const READERS: usize = 8;
    let first = [begin(&[]), first.to_vec()].concat();
    let open = async || stage.crowd(READERS, &first).await;
    let go_on = async |crowd: &mut [TcpStream], progress: &Progress| {
        pour(crowd, times, &frames, progress).await;
    };
    // a stream or two of each is open
    let each = BARE + 2 * (TASK + PAGE);
    stage.withstands(READERS as u64 * each, open, go_on).await;
}

#[tokio::test]
async fn settings() {
    let stage = Stage::set().await;
    let one = frame(SETTINGS, NONE, 0, &setting(INITIAL_WINDOW, 1000));
    flood(&stage, &[], 200, |_| one.repeat(1000)).await;
}

#[tokio::test]
async fn pings() {
    let stage = Stage::set().await;
    let one = frame(PING, NONE, 0, &[7; 8]);
    flood(&stage, &[], 200, |_| one.repeat(1000)).await;
}

#[tokio::test]
async fn priorities_and_windows() {
    let stage = Stage::set().await;
    let priority = |n: u32| frame(PRIORITY, NONE, 2 * n + 1, &[0, 0, 0, 0, 16]);
    flood(&stage, &[], 10, |time| {
        (0..1000).flat_map(|n| priority(time * 1000 + n)).collect()
    })
    .await;
    flood(&stage, &[], 10, |_| widen(0, 1).repeat(1000)).await;
}

/// Frames of a body that say nothing, of an upload that never ends.
#[tokio::test]
async fn empty_data() {
    let stage = Stage::set().await;
    let empty = frame(DATA, NONE, 1, &[]);
    flood(&stage, &upload(1, "/upload"), 50, |_| empty.repeat(1000)).await;
}

#[tokio::test]
async fn continuations() {
    let stage = Stage::set().await;
    let open = frame(HEADERS, END_STREAM, 1, &and(&[]));
    let more = frame(CONTINUATION, NONE, 1, &fields(&[("x", "y")]).repeat(1000));
    flood(&stage, &open, 200, |_| more.clone()).await;
}

/// Rapid reset: requests that are taken back at once, as fast as they can be sent.
#[tokio::test]
async fn requests_that_are_taken_back() {
    let stage = Stage::set().await;
    flood(&stage, &[], 50, |time| {
        let streams = (0..100).map(|n| 200 * time + 2 * n + 1);
        streams
            .flat_map(|stream| [get(stream), cancel(stream)].concat())
            .collect()
    })
    .await;
}

/// The same without a word of the client: the server itself has to end each stream, as it asks for what is
/// not allowed (a window by nothing).
#[tokio::test]
async fn requests_that_make_the_server_reset() {
    let stage = Stage::set().await;
    flood(&stage, &[], 50, |time| {
        let streams = (0..100).map(|n| 200 * time + 2 * n + 1);
        streams
            .flat_map(|stream| [get(stream), widen(stream, 0)].concat())
            .collect()
    })
    .await;
}

/// A field that is in the table of the connection, and is named again and again: a byte for 4 KiB.
#[tokio::test]
async fn fields_that_swell() {
    let stage = Stage::set().await;
    let value = "y".repeat(4000);
    // a literal with a place in the table (RFC 7541, 6.2.1), then 62, the newest of the table, over and over
    let mut bomb = and(&[]);
    let field = fields(&[("x", &value)]);
    bomb.push(0x40);
    bomb.extend(&field[1..]);
    bomb.extend([0x80 | 62; 8000]);
    flood(&stage, &[], 100, |time| long_head(2 * time + 1, &bomb)).await;
}

/// An upload that has just begun.
fn upload(stream: u32, path: &str) -> Vec<u8> {
    let block = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
    ]);
    let head = frame(HEADERS, END_HEADERS, stream, &block);
    [head, frame(DATA, NONE, stream, b"body")].concat()
}

fn streams() -> impl Iterator<Item = u32> {
    (0..STREAMS).map(|n| 2 * n + 1)
}

const READERS: usize = 6;

async fn hold(stage: &Stage, each: u64, settings: &[(u16, u32)], asked: &[u8], more: &[u8]) {
    let first = [begin(settings), asked.to_vec()].concat();
    let open = async || stage.crowd(READERS, &first).await;
    let go_on = async |crowd: &mut [TcpStream], progress: &Progress| {
        pour(crowd, 20, |_| more.to_vec(), progress).await;
    };
    stage.withstands(READERS as u64 * each, open, go_on).await;
}

/// As many pages as may be asked for at once, and a window of nothing: what is held is the pages.
#[tokio::test]
async fn pages_that_are_never_taken() {
    let stage = Stage::set().await;
    let asked: Vec<u8> = streams().flat_map(get).collect();
    let each = BARE + u64::from(STREAMS) * (TASK + PAGE);
    hold(&stage, each, &[(INITIAL_WINDOW, 0)], &asked, &[]).await;
    // a byte at a time
    let drops: Vec<u8> = streams().flat_map(|stream| widen(stream, 1)).collect();
    hold(&stage, each, &[(INITIAL_WINDOW, 0)], &asked, &drops).await;
    // an open window, and a socket from which nothing is read
    hold(&stage, each, &[(INITIAL_WINDOW, 1 << 30)], &asked, &[]).await;
}

/// The same with heads that are as large as may be.
#[tokio::test]
async fn pages_with_full_heads_that_are_never_taken() {
    let stage = Stage::set().await;
    let fill = "y".repeat(28 << 10);
    let block = and(&[("x", &fill)]);
    let asked: Vec<u8> = streams()
        .flat_map(|stream| long_head(stream, &block))
        .collect();
    let each = BARE + u64::from(STREAMS) * (TASK + PAGE + 32 * KIB);
    hold(&stage, each, &[(INITIAL_WINDOW, 0)], &asked, &[]).await;
}

/// As many uploads as may be under way at once, which go on and never end. Each holds a task and a connection
/// to the origin; all of a connection's together no more than its window (`CONNECTION_WINDOW`).
#[tokio::test]
async fn uploads_that_never_end() {
    let stage = Stage::set().await;
    let asked: Vec<u8> = streams()
        .take(20)
        .flat_map(|stream| upload(stream, "/upload"))
        .collect();
    let more: Vec<u8> = streams()
        .take(20)
        .flat_map(|stream| frame(DATA, NONE, stream, b"more of it"))
        .collect();
    let each = BARE + 20 * (CONNECTION + 2 * TASK) + 1024 * KIB;
    hold(&stage, each, &[], &asked, &more).await;
}
