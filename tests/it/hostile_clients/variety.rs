//! Attacks by variety: each request is another than all before it. What is kept by address, by parameter or by
//! cookie is bounded all together, and nothing is counted by anything that a reader has chosen.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::{CACHE, CONNECTION, PAGE, Progress, Stage};

const READERS: usize = 8;
/// On each connection.
const REQUESTS: usize = 150;

/// Each of the connections asks for so many things that nobody has asked for, and reads what comes.
async fn ask_for_others(
    stage: &Stage,
    requests: usize,
    request: impl Fn(u64) -> String,
) -> Vec<TcpStream> {
    let mut crowd = stage.crowd(READERS, b"").await;
    let request = &request;
    let asking = crowd.iter_mut().map(async |stream| {
        for _ in 0..requests {
            let bytes = request(stage.number());
            stream.write_all(bytes.as_bytes()).await.expect("it reads");
            answered(stream).await;
        }
    });
    futures::future::join_all(asking).await;
    crowd
}

/// Reads one answer to its end.
async fn answered(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let is_over = |seen: &[u8]| seen.ends_with(b"\r\n0\r\n\r\n") || has_its_length(seen);
    while !is_over(&seen) {
        let read = stream.read_buf(&mut seen).await.expect("it answers");
        assert!(read > 0, "cut: {}", String::from_utf8_lossy(&seen));
    }
}

fn has_its_length(seen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(seen);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse::<usize>().expect("a length"))
    });
    length.is_some_and(|length| body.len() >= length)
}

/// The series of `/metrics`, without their values.
async fn series(stage: &Stage) -> BTreeSet<String> {
    let metrics = stage.program.metrics().await;
    let names = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    names.map(|(series, _)| series.to_owned()).collect()
}

/// Copies take what they may take, with as much again for their keys and for what the allocator cannot use, and
/// the series of the metrics are those that there were.
async fn are_kept_within_bounds(stage: &Stage, request: impl Fn(u64) -> String) {
    // each kind of page and answer once, so that its series are there
    drop(ask_for_others(stage, 5, &request).await);
    let before = series(stage).await;
    let holds = 2 * CACHE + READERS as u64 * (CONNECTION + PAGE);
    let begin = async || ask_for_others(stage, REQUESTS, &request).await;
    let nothing = async |_: &mut [TcpStream], _: &Progress| {};
    stage.withstands(holds, begin, nothing).await;
    assert_eq!(before, series(stage).await);
}

#[tokio::test]
async fn addresses_of_pages() {
    let stage = Stage::set().await;
    let request = |n| format!("GET /articles/{n} HTTP/1.1\r\nhost: x\r\n\r\n");
    are_kept_within_bounds(&stage, request).await;
}

#[tokio::test]
async fn addresses_of_nothing() {
    let stage = Stage::set().await;
    let request = |n| format!("GET /nothing/{n}/here HTTP/1.1\r\nhost: x\r\n\r\n");
    are_kept_within_bounds(&stage, request).await;
}

#[tokio::test]
async fn questions_hosts_and_names() {
    let stage = Stage::set().await;
    let request = |n| {
        format!(
            "GET /?q={n}&{n}=x HTTP/1.1\r\nhost: host-{n}\r\nuser-agent: {n}\r\naccept-language: {n}\r\n\
             x-forwarded-for: 10.{}.{}.{}\r\n\r\n",
            n / 65536 % 256,
            n / 256 % 256,
            n % 256
        )
    };
    are_kept_within_bounds(&stage, request).await;
}

/// A block whose copies are told apart by a cookie, which is longer than the block; and another cookie of 16 KiB.
#[tokio::test]
async fn cookies() {
    let stage = Stage::set().await;
    let long = "y".repeat(500);
    let other = "z".repeat(16 << 10);
    let request =
        |n| format!("GET / HTTP/1.1\r\nhost: x\r\ncookie: id={n}{long}; other={n}{other}\r\n\r\n");
    are_kept_within_bounds(&stage, request).await;
}
