//! Readers who leave in the middle of a page, wherever that is: after each byte over HTTP/1.1, after each frame
//! over HTTP/2. Nothing of what they have asked for stays, nothing that others get is spoiled by it, and they
//! are counted.

use futures::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::support::frames::{
    DATA, END_STREAM, Frame, HEADERS, INITIAL_WINDOW, begin, cancel, get, next_frame, widen,
};
use crate::support::held::{Held, sum};
use crate::support::program::unpooled;
use crate::support::{Gate, Origin, Program, Reply, html, newsroom, origin};

const END: &str = "<!-- the end of the page --></html>";

/// A page whose first half is there at once, and whose second half waits for an origin.
struct Stage {
    program: Program,
    cms: Origin,
    _folder: TempDir,
    /// The page, whole.
    page: String,
    before: Held,
    asked: u64,
    /// Pages whose readers left while they were being made.
    left_half_way: u64,
}

fn block() -> Reply {
    html("<p>a block of the page</p>".repeat(20))
}

impl Stage {
    async fn set() -> Self {
        let cms = origin()
            .on("/article", html("<p>text of the article</p>".repeat(60)))
            .on("/block", block())
            .start()
            .await;
        let layout = format!(
            "<html>[article]<main>{}</main>[block]<footer>{}</footer>{END}",
            "half ".repeat(120),
            "other half ".repeat(100)
        );
        let folder = newsroom()
            .server("state_dir = \"\"")
            // no connection is kept: descriptors come back to what they were
            .toml(&format!(
                "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"\nidle_connections = 0",
                cms.url()
            ))
            .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
            .fragment(
                "block",
                "\"essential\"",
                "cms:/block",
                "ttl = \"0s\"\ntimeout = \"60s\"",
            )
            .page_within("page", "/", &layout, "60s")
            .without_snapshots()
            .written();
        let program = Program::start(folder.path(), &unpooled()).await;
        let (status, page) = program.get("/").await;
        assert!(status == 200 && page.ends_with(END), "{status}: {page}");
        let before = program.at_rest().await;
        Self {
            program,
            cms,
            _folder: folder,
            page,
            before,
            asked: 1,
            left_half_way: 0,
        }
    }

    /// From now on the second half waits for this.
    fn hold_second_half(&self) -> Gate {
        let gate = Gate::closed();
        self.cms.on("/block", block().gated(&gate));
        gate
    }

    async fn connect(&self) -> TcpStream {
        let connected = TcpStream::connect(self.program.pages).await;
        connected.expect("the server listens")
    }

    /// The next reader gets the page, as it was.
    async fn is_whole(&mut self) {
        let (status, page) = self.program.get("/").await;
        assert_eq!((status, &page), (200, &self.page));
        self.asked += 1;
    }

    /// Nothing is there that was not there before, and every page has been counted once.
    async fn is_as_before(&self) {
        self.program.back_to(&self.before).await;
        let metrics = self.program.metrics().await;
        assert_eq!(sum(&metrics, "marbre_pages_total"), self.asked);
        let left: u64 = metrics
            .lines()
            .filter(|line| line.starts_with("marbre_pages_total{"))
            .filter(|line| line.contains("completeness=\"left\""))
            .map(|line| line.rsplit_once(' ').expect("a value").1)
            .map(|value| value.parse::<u64>().expect("a number"))
            .sum();
        assert!(
            left >= self.left_half_way && left < self.asked,
            "{left} of {} have left, {} of them half way",
            self.asked,
            self.left_half_way
        );
    }
}

/// Readers at once over HTTP/1.1.
const AT_ONCE: usize = 64;

/// How far the head of an answer may differ in length from that of another.
const MARGIN: usize = 64;

/// Reads so many bytes of an answer; fewer only if the answer is over.
async fn read_so_far(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut seen = Vec::new();
    while seen.len() < count && !seen.ends_with(b"\r\n0\r\n\r\n") {
        let rest = (count - seen.len()) as u64;
        let read = (&mut *stream).take(rest).read_buf(&mut seen).await;
        let so_far = String::from_utf8_lossy(&seen);
        assert!(read.expect("it answers") > 0, "it hangs up after {so_far}");
    }
    seen
}

/// Goes away: with an end, or with a reset.
fn leave(stream: TcpStream, with_reset: bool) {
    if with_reset {
        let socket = socket2::SockRef::from(&stream);
        let zero = std::time::Duration::ZERO;
        socket.set_linger(Some(zero)).expect("a socket has options");
    }
}

#[tokio::test]
async fn after_each_byte() {
    let mut stage = Stage::set().await;
    let ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    // a page that is there at once has a length, and no end that can be told from its bytes
    let gate = stage.hold_second_half();
    let mut stream = stage.connect().await;
    stream.write_all(ask).await.unwrap();
    let mut whole = read_so_far(&mut stream, 1).await;
    gate.open();
    whole.extend(read_so_far(&mut stream, usize::MAX).await);
    stage.asked += 1;
    drop(stream);
    let text = String::from_utf8_lossy(&whole).into_owned();
    assert!((4000..8000).contains(&whole.len()), "{}", whole.len());
    let first_half = text.find("<p>a block").expect("it is there") - MARGIN;
    let places: Vec<usize> = (1..=whole.len() + MARGIN).collect();
    for places in places.chunks(AT_ONCE) {
        let gate = stage.hold_second_half();
        let mut readers = Vec::new();
        for _ in places {
            let mut stream = stage.connect().await;
            stream.write_all(ask).await.unwrap();
            stage.asked += 1;
            readers.push(stream);
        }
        let mut staying = Vec::new();
        for (place, mut stream) in places.iter().zip(readers) {
            if *place < first_half {
                read_so_far(&mut stream, *place).await;
                leave(stream, place % 2 == 0);
                stage.left_half_way += 1;
            } else {
                staying.push((*place, stream));
            }
        }
        stage.program.has_in_flight(staying.len()).await;
        gate.open();
        join_all(staying.into_iter().map(async |(place, mut stream)| {
            read_so_far(&mut stream, place).await;
            leave(stream, place % 2 == 0);
        }))
        .await;
        stage.is_whole().await;
    }
    stage.is_as_before().await;
}

/// How much a frame of the page holds here, by the window that the reader gives.
const WINDOW: u32 = 200;

/// Asks on this stream, and reads frames of its body, each of which is as large as its window was: so many of
/// them. Whether that was all.
async fn read_frames(
    reading: &mut OwnedReadHalf,
    writing: &mut OwnedWriteHalf,
    stream: u32,
    count: usize,
) -> bool {
    let mut seen = 0;
    let mut is_headed = false;
    while !is_headed || seen < count {
        let frame: Frame = next_frame(reading).await.expect("it goes on");
        if frame.stream != stream {
            continue;
        }
        match frame.kind {
            HEADERS => is_headed = true,
            DATA => {
                seen += 1;
                let more = u32::try_from(frame.payload.len()).expect("it is small");
                if more > 0 {
                    let more = [widen(0, more), widen(stream, more)].concat();
                    writing.write_all(&more).await.expect("it reads");
                }
            }
            kind => panic!("a frame of kind {kind}: {frame:?}"),
        }
        if frame.flags & END_STREAM != 0 {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn after_each_frame() {
    let mut stage = Stage::set().await;
    let (mut reading, mut writing) = stage.connect().await.into_split();
    let first = begin(&[(INITIAL_WINDOW, WINDOW)]);
    writing.write_all(&first).await.unwrap();
    let in_first_half = stage.page.find("<p>a block").expect("it is there") / WINDOW as usize - 1;
    let mut stream = 1;
    for count in 0.. {
        let gate = stage.hold_second_half();
        writing.write_all(&get(stream)).await.unwrap();
        stage.asked += 1;
        if count < in_first_half {
            stage.left_half_way += 1;
        } else {
            gate.open();
        }
        let is_over = read_frames(&mut reading, &mut writing, stream, count).await;
        writing.write_all(&cancel(stream)).await.unwrap();
        if count < in_first_half {
            stage.program.has_in_flight(0).await;
            gate.open();
        }
        stage.is_whole().await;
        stream += 2;
        if is_over {
            assert!(count > in_first_half, "it ends in its first half");
            break;
        }
    }
    drop((reading, writing));
    stage.is_as_before().await;
}
