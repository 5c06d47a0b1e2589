//! Whole pages to be counted by callgrind: a server with its sockets, one reader who asks for one page after
//! the other, and an origin that answers at once, all in one thread. `benches/pages` counts, and tells what
//! it comes to.
//!
//! `pages WHAT TIMES` asks so many times for a page whose eight blocks are WHAT: `cached`, `quiet` (the same
//! without telemetry), `fetched` (nothing is kept). `beside` asks nobody but the origin. What WHAT costs is the
//! difference of two numbers of times, so that beginning and end do not count; reader and origin are in it,
//! and do as little as they can.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run is meant to panic"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "its origin is in nobody's way when it ends"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;

use marbre::app::{App, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Name, priority and bytes of each block: a news page of about 60 kB with its layout.
const BLOCKS: [(&str, &str, usize); 8] = [
    ("header", "\"essential\"", 2048),
    ("nav", "\"essential\"", 3072),
    ("article", "\"core\"", 24_576),
    ("slideshow", "60", 12_288),
    ("live", "50", 6144),
    ("related", "40", 4096),
    ("ad", "10", 1536),
    ("footer", "\"essential\"", 2048),
];

/// Bytes of the layout.
const LAYOUT: usize = 4096;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let what = arguments.next().unwrap_or_else(|| "cached".to_owned());
    let times = arguments
        .next()
        .map_or(Ok(10), |times| times.parse())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(&what, times));
}

/// Callgrind writes down what it has counted when this is left: it does not survive the end of a program that
/// leaves threads behind.
#[inline(never)]
fn all_is_read() {
    black_box(());
}

async fn run(what: &str, times: u32) {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = origin.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = origin.accept().await.unwrap();
            tokio::spawn(answer(stream));
        }
    });
    let mut answer = vec![0; 128 * 1024];
    if what == "beside" {
        let mut reader = TcpStream::connect(at).await.unwrap();
        for _ in 0..times {
            for (name, _, _) in BLOCKS {
                get(&mut reader, &mut answer, &format!("/{name}")).await;
            }
        }
        return all_is_read();
    }
    let folder = tempfile::tempdir().unwrap();
    declare(folder.path(), at, what);
    let app = App::start(Options {
        any_port: true,
        ..Options::new(folder.path().join("fragments.toml"))
    });
    let app = app.await.unwrap();
    let mut reader = TcpStream::connect(app.address).await.unwrap();
    for _ in 0..times {
        let bytes = get(&mut reader, &mut answer, "/").await;
        let head = String::from_utf8_lossy(&answer[..512]);
        let blocks = BLOCKS.iter().map(|(_, _, bytes)| bytes);
        assert!(bytes > blocks.sum(), "a block is missing: {head}");
    }
    all_is_read();
}

/// What is counted runs fifty times slower than it would: it is only decided what would be given up for that.
fn declare(folder: &Path, origin: SocketAddr, what: &str) {
    let mut site = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[telemetry]\nenabled = {}\n\
         [degradation]\nmode = \"dry-run\"\n[origins.all]\nurls = [\"http://{origin}\"]\nowner = \"bench\"\n\
         [pages.page]\nroute = \"/\"\nlayout = \"page.html\"\n",
        what != "quiet",
    );
    let ttl = match what {
        "fetched" => "ttl = \"0s\"\ngrace = \"0s\"\nkeep = \"0s\"",
        _ => "ttl = \"1h\"",
    };
    let mut layout = String::from("<!doctype html><html lang=\"en\"><title>A page</title>");
    for (name, priority, _) in BLOCKS {
        writeln!(
            site,
            "[fragments.{name}]\npriority = {priority}\nsource = \"all:/{name}\"\ntimeout = \"5s\"\n{ttl}"
        )
        .unwrap();
        layout += &"<p>Between two blocks.</p>".repeat(LAYOUT / BLOCKS.len() / 26);
        write!(layout, "<fragment name=\"{name}\"></fragment>").unwrap();
    }
    std::fs::create_dir(folder.join("templates")).unwrap();
    std::fs::write(folder.join("templates/page.html"), layout).unwrap();
    std::fs::write(folder.join("fragments.toml"), site).unwrap();
}

/// An origin that has its answers ready.
async fn answer(mut stream: TcpStream) {
    let answers = BLOCKS.map(|(name, _, bytes)| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {bytes}\r\n\r\n"
        );
        let body = format!("<div>{name}</div>") + &"lorem ipsum ".repeat(bytes / 12 + 1);
        (format!("GET /{name} "), head + &body[..bytes])
    });
    let mut asked = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut asked).await {
        let asked = &asked[..read];
        let found = answers
            .iter()
            .find(|(line, _)| asked.starts_with(line.as_bytes()));
        let Some((_, answer)) = found else { return };
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// Asks for a page and reads all of it; gives its length.
async fn get(stream: &mut TcpStream, answer: &mut [u8], path: &str) -> usize {
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = 0;
    loop {
        read += stream.read(&mut answer[read..]).await.unwrap();
        let Some(head) = answer[..read.min(4096)]
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
        else {
            continue;
        };
        let lines = std::str::from_utf8(&answer[..head]).unwrap();
        assert!(lines.starts_with("HTTP/1.1 200"), "{lines}");
        let length = lines
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let whole = head + 4 + length.unwrap().parse::<usize>().unwrap();
        if read >= whole {
            return whole;
        }
    }
}
