//! Attacks in HTTP/1.1: heads and bodies that trickle, bodies that nobody takes, heads that are full, answers
//! that are never read.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::{CONNECTION, KIB, PAGE, Progress, Stage, TASK, pour};

/// Sends a byte at a time on each, so many in all, and lets the honest reader have a page in between.
async fn trickle(stage: &Stage, crowd: &mut [TcpStream], bytes: &[u8], progress: &Progress) {
    for byte in bytes {
        for stream in crowd.iter_mut() {
            // who is sent away has been dealt with
            let _ = stream.write_all(&[*byte]).await;
        }
        progress.made();
        stage.pages_are_read(1).await;
    }
}

/// Slowloris: heads that never end. A connection holds what has come of its head.
#[tokio::test]
async fn heads_that_trickle() {
    const READERS: usize = 400;
    let stage = Stage::set().await;
    // as much as a head may have, but for its end
    let most = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(30 << 10));
    for first in ["G", &most] {
        let begin = async || stage.crowd(READERS, first.as_bytes()).await;
        let go_on = async |crowd: &mut [TcpStream], progress: &Progress| {
            trickle(&stage, crowd, b"ET / HTTP/1.1\r\nx: ", progress).await;
        };
        stage
            .withstands(READERS as u64 * CONNECTION, begin, go_on)
            .await;
    }
}

/// Bodies that never end, on their way to an origin. Each holds its connection, the one to the origin, and a
/// task; there are never more than the origin takes at once (`max_in_flight`, 256).
#[tokio::test]
async fn bodies_that_trickle() {
    const READERS: usize = 200;
    let stage = Stage::set().await;
    let head = b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nbody";
    let begin = async || stage.crowd(READERS, head).await;
    let go_on = async |crowd: &mut [TcpStream], progress: &Progress| {
        trickle(&stage, crowd, b"of a million bytes", progress).await;
    };
    stage
        .withstands(READERS as u64 * 2 * CONNECTION, begin, go_on)
        .await;
}

/// What the HTTP library keeps at most of a body for an origin that does not take it: 8 KiB and a hundred pages
/// of 4 KiB.
const UNSENT: u64 = 408 * KIB;

/// Bodies that an origin does not take. The server takes no more than it can pass on.
#[tokio::test]
async fn bodies_that_nobody_takes() {
    const READERS: usize = 6;
    let stage = Stage::set().await;
    let head = b"POST /pit HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n";
    let begin = async || stage.crowd(READERS, head).await;
    let go_on = async |crowd: &mut [TcpStream], progress: &Progress| {
        pour(crowd, 150, |_| vec![b'x'; 64 << 10], progress).await;
    };
    let each = 2 * CONNECTION + UNSENT;
    stage.withstands(READERS as u64 * each, begin, go_on).await;
}

/// A head of about 30 KiB in so many fields.
fn full_head(fields: usize) -> String {
    let mut head = "GET / HTTP/1.1\r\nhost: x\r\n".to_owned();
    let each = (30 << 10) / fields;
    for n in 0..fields {
        let name = format!("x-{n}");
        let _ = write!(head, "{name}: {}\r\n", "y".repeat(each - name.len() - 4));
    }
    head + "\r\n"
}

/// Heads as large as may be, with as many fields as may be, and beyond both: one after another, answered with a
/// page or refused.
#[tokio::test]
async fn heads_that_are_full() {
    const READERS: usize = 50;
    let stage = Stage::set().await;
    let large = full_head(1);
    let many = full_head(90);
    let too_many = full_head(400);
    let too_large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(1 << 20));
    for (head, status) in [
        (large, " 200 "),
        (many, " 200 "),
        (too_many, " 431 "),
        (too_large, " 431 "),
    ] {
        let begin = async || {
            let mut crowd = stage.crowd(READERS, b"").await;
            for stream in &mut crowd {
                // the server may refuse before it has read all
                let _ = stream.write_all(head.as_bytes()).await;
                let mut answer = [0; 13];
                stream.read_exact(&mut answer).await.expect("an answer");
                let answer = String::from_utf8_lossy(&answer).into_owned();
                assert!(answer.contains(status), "{answer}, not {status}");
            }
            crowd
        };
        let each = CONNECTION + PAGE;
        let nothing = async |_: &mut [TcpStream], _: &Progress| {};
        stage
            .withstands(READERS as u64 * each, begin, nothing)
            .await;
    }
}

/// Requests one after another on connections from which nothing is read. One is answered at a time: a connection
/// holds what it has read of the next ones, what it has not been able to write (as much again), and a page.
#[tokio::test]
async fn answers_that_are_never_read() {
    const READERS: usize = 50;
    let stage = Stage::set().await;
    let many = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let begin = async || stage.crowd(READERS, b"").await;
    let go_on = async |crowd: &mut [TcpStream], progress: &Progress| {
        pour(crowd, 1000, |_| many.clone().into_bytes(), progress).await;
    };
    let each = CONNECTION + 64 * KIB + TASK + PAGE;
    stage.withstands(READERS as u64 * each, begin, go_on).await;
}
