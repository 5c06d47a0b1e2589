//! A reader who asks and never reads keeps nobody else from anything: neither a place among the
//! pages in flight, nor a flight, nor an origin's permit.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::frames::{
    DATA, END_STREAM, INITIAL_WINDOW, RST_STREAM, begin, get_at, next_frame, widen,
};
use crate::support::held::sum;
use crate::support::{Newsroom, Origin, html, newsroom, origin, raw};

/// Who has nothing by then has nothing: a guard against a test that hangs, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// One page at a time may be in flight. It is larger than what sockets hold, and at its end there
/// is a block that hangs.
async fn site_of_one_page(cms: &Origin) -> Newsroom {
    newsroom()
        .server("max_pages_in_flight = 1")
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"200ms\"",
            cms.url()
        ))
        .toml("[limits]\nlayout_size = \"16MiB\"")
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "timeout = \"100ms\"\nttl = \"0s\"",
        )
        .page_within(
            "long",
            "/long",
            &format!("[article]{}[block]", "x".repeat(12 << 20)),
            "60s",
        )
        .page("short", "/short", "[article]")
        .start()
        .await
}

async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", raw("").then_hang())
        .start()
        .await
}

/// The next reader has a page, and nothing is under way any more, while the first still does not
/// read.
async fn nothing_is_held_up(site: &Newsroom) {
    let let_in = async { while site.reader().get("/short").await.status != 200 {} };
    timeout(PATIENCE, let_in)
        .await
        .expect("whoever does not read keeps the only place");
    let at_rest = async {
        loop {
            let state = site.state().await;
            if state["flights"] == 0 && state["origins"]["cms"]["in_flight"] == 0 {
                return;
            }
        }
    };
    timeout(PATIENCE, at_rest)
        .await
        .expect("whoever does not read keeps a flight");
}

#[tokio::test]
async fn over_http_1() {
    let cms = cms().await;
    let site = site_of_one_page(&cms).await;
    let mut reader = site.reader().connect().await;
    let request = b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n";
    reader.write_all(request).await.unwrap();
    timeout(PATIENCE, cms.arrived(2)).await.unwrap();
    nothing_is_held_up(&site).await;
    drop(reader);
}

#[tokio::test]
async fn over_http_2_with_a_window_of_nothing() {
    let cms = cms().await;
    let site = site_of_one_page(&cms).await;
    let mut reader = site.reader().connect().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS: INITIAL_WINDOW_SIZE is 0
    bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    // HEADERS, the last frame of its stream: GET, http, the authority `x`, the path `/long`
    let head = b"\x82\x86\x41\x01x\x44\x05/long";
    bytes.extend_from_slice(&[0, 0, u8::try_from(head.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend_from_slice(head);
    reader.write_all(&bytes).await.unwrap();
    timeout(PATIENCE, cms.arrived(2)).await.unwrap();
    nothing_is_held_up(&site).await;
    drop(reader);
}

/// A page that no socket holds, and another; whoever takes nothing is given up soon.
async fn impatient_site() -> Newsroom {
    newsroom()
        .server("send_timeout = \"200ms\"\nheader_timeout = \"10m\"\nidle_timeout = \"1h\"")
        .toml("[limits]\nlayout_size = \"16MiB\"")
        .core("article", "inline:<p>text</p>")
        .page(
            "long",
            "/long",
            &format!("[article]{}", "x".repeat(12 << 20)),
        )
        .page(
            "short",
            "/short",
            &format!("[article]{}", "x".repeat(40 << 10)),
        )
        .start()
        .await
}

/// Returns once the server, which runs on this runtime too, has so many tasks.
async fn has_tasks(site: &Newsroom, is_so: impl Fn(u64) -> bool) {
    let waiting = async { while !is_so(tasks(site).await) {} };
    timeout(PATIENCE, waiting).await.expect("it has its tasks");
}

async fn tasks(site: &Newsroom) -> u64 {
    sum(&site.admin_text("/metrics").await, "marbre_tasks")
}

#[tokio::test]
async fn whoever_takes_nothing_over_http_1_is_given_up() {
    let site = impatient_site().await;
    // the connection on which it is asked stays
    tasks(&site).await;
    let before = tasks(&site).await;
    let mut reader = site.reader().connect().await;
    let request = b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n";
    reader.write_all(request).await.unwrap();
    // nothing is read before the server has had enough of it
    has_tasks(&site, |tasks| tasks > before).await;
    has_tasks(&site, |tasks| tasks == before).await;
    let mut seen = Vec::new();
    let _ = reader.read_to_end(&mut seen).await;
    assert!(seen.len() < 12 << 20, "it got the whole page");
}

#[tokio::test]
async fn a_stream_of_http_2_of_which_nothing_is_taken_is_reset_and_no_other() {
    let site = impatient_site().await;
    let mut reader = site.reader().connect().await;
    // one stream never has a window; the other has one for a frame and a half at first
    let first = [
        begin(&[(INITIAL_WINDOW, 0)]),
        get_at(1, "/short"),
        get_at(3, "/short"),
        widen(3, 24 << 10),
        widen(0, 1 << 20),
    ];
    reader.write_all(&first.concat()).await.unwrap();
    let (mut reset, mut taken) = (Vec::new(), 0);
    while reset.len() < 2 {
        let frame = next_frame(&mut reader)
            .await
            .expect("the connection goes on");
        match frame.kind {
            DATA => {
                assert_eq!(frame.stream, 3);
                taken += frame.payload.len();
            }
            RST_STREAM => {
                assert_eq!(frame.payload, 8_u32.to_be_bytes(), "it is cancelled");
                reset.push(frame.stream);
            }
            _ => {}
        }
    }
    reset.sort_unstable();
    assert_eq!((reset, taken), (vec![1, 3], 24 << 10));
    // and the connection is as good as ever
    let next = [get_at(5, "/short"), widen(5, 1 << 20)].concat();
    reader.write_all(&next).await.unwrap();
    let mut body = 0;
    loop {
        let frame = next_frame(&mut reader)
            .await
            .expect("the connection goes on");
        if frame.kind == DATA {
            assert_eq!(frame.stream, 5);
            body += frame.payload.len();
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(body, "<p>text</p>".len() + (40 << 10));
}
