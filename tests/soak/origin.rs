//! Origins that misbehave by turns. Owns how each mood is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::{PATIENCE, numbered};

/// How an origin answers.
pub(crate) const HEALTHY: u8 = 0;
const SLOW: u8 = 1;
const WRONG: u8 = 2;
const SILENT: u8 = 3;
const CUT: u8 = 4;
const DRIP: u8 = 5;
pub(crate) const MOODS: [&str; 6] = ["healthy", "slow", "wrong", "silent", "cut", "drip"];

/// An address, and what mood whoever listens there is in.
pub(crate) type Origin = (String, Arc<AtomicU8>);

/// Another mood: half of the time all is well.
pub(crate) fn turn(mood: &AtomicU8, rng: &mut fastrand::Rng) {
    let drawn = rng.u8(..MOODS.len() as u8 * 2);
    let turned = if drawn < MOODS.len() as u8 {
        drawn
    } else {
        HEALTHY
    };
    mood.store(turned, Ordering::Relaxed);
}

/// Begins to listen; each answer has another of the `numbers`.
pub(crate) async fn origin(
    tasks: &TaskTracker,
    numbers: &Arc<AtomicU64>,
    mut rng: fastrand::Rng,
) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mood = Arc::new(AtomicU8::new(HEALTHY));
    let (shown, within, numbers) = (Arc::clone(&mood), tasks.clone(), Arc::clone(numbers));
    tasks.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let (mood, numbers, rng) = (Arc::clone(&shown), Arc::clone(&numbers), rng.fork());
            within.spawn(async move { drop(answer(stream, &mood, &numbers, rng).await) });
        }
    });
    (url, mood)
}

async fn answer(
    mut stream: TcpStream,
    mood: &AtomicU8,
    numbers: &AtomicU64,
    mut rng: fastrand::Rng,
) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut seen = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&seen, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut seen).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
        seen.drain(..end);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let body = numbered::piece_within(path, number, &(500..=5000));
        let head = |status: &str, len: usize| {
            format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {len}\r\n\r\n")
        };
        match mood.load(Ordering::Relaxed) {
            SLOW => sleep(Duration::from_millis(rng.u64(20..900))).await,
            WRONG => {
                let answer = head("500 Wrong", 5) + "wrong";
                stream.write_all(answer.as_bytes()).await?;
                continue;
            }
            SILENT => {
                sleep(PATIENCE).await;
                return Ok(());
            }
            CUT => {
                let half = head("200 OK", body.len()) + &body[..body.len() / 2];
                return stream.write_all(half.as_bytes()).await;
            }
            DRIP => {
                stream
                    .write_all(head("200 OK", body.len()).as_bytes())
                    .await?;
                for byte in body.as_bytes() {
                    sleep(Duration::from_millis(100)).await;
                    stream.write_all(&[*byte]).await?;
                }
                continue;
            }
            _ => {}
        }
        stream
            .write_all((head("200 OK", body.len()) + &body).as_bytes())
            .await?;
    }
}
