//! A page's gzip is put together from pieces that were compressed apart, and is the same page: to a strict
//! decoder, to curl, to a browser.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::newsroom::Draft;
use crate::support::reader::{Page, Reader};
use crate::support::{Gate, Newsroom, Origin, browser, html, newsroom, origin, status};

const GZIP: (&str, &str) = ("accept-encoding", "gzip");

/// What browsers send.
const BROWSER: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");

/// So many bytes of text that is not all the same.
fn text(name: &str, bytes: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        text += &format!(
            "<p>{name} {number}: l’été à Paris, {}</p>\n",
            number * number
        );
    }
    text
}

/// An origin with blocks of all sizes, some of which are not there.
async fn blocks() -> Origin {
    origin()
        .on("/article", html(text("article", 6_000)))
        .on("/small", html(text("small", 600)))
        .on("/tiny", html("<i>tiny</i>"))
        .on("/large", html(text("large", 150_000)))
        .on("/uncached", html(text("uncached", 2_000)))
        .on("/uncached-large", html(text("uncached large", 90_000)))
        .on("/empty", html(""))
        .on("/broken", status(500))
        .start()
        .await
}

const LAYOUT: &str = "<!doctype html><html lang=\"fr\"><head><meta charset=\"utf-8\"><title>Le marbre</title></head>\
    <body><header>[tiny]</header><main>[article][small][empty]</main><aside>[large][uncached][uncached-large]\
    [broken]</aside><footer>[declared]</footer></body></html>";

/// What is asked for here comes in the end, however busy the machine is.
const PATIENT: &str = "timeout = \"20s\"";

fn draft(cms: &Origin) -> Draft {
    let cached = format!("{PATIENT}\nttl = \"1h\"");
    let uncached = format!("{PATIENT}\nttl = \"0s\"\ngrace = \"0s\"\nkeep = \"0s\"");
    let declared = format!("inline:{}", "<b>declared</b>".repeat(100));
    newsroom()
        .patient_origin("cms", &cms.url())
        // whose breaker is no other block's
        .patient_origin("sick", &cms.url())
        .fragment("article", "\"core\"", "cms:/article", &cached)
        .fragment("small", "60", "cms:/small", &cached)
        .fragment("tiny", "60", "cms:/tiny", &cached)
        .fragment("large", "60", "cms:/large", &cached)
        .fragment("empty", "60", "cms:/empty", &cached)
        .fragment("uncached", "60", "cms:/uncached", &uncached)
        .fragment("uncached-large", "60", "cms:/uncached-large", &uncached)
        .fragment("broken", "60", "sick:/broken", &uncached)
        .fragment("declared", "\"essential\"", &declared, "")
        .page_within("page", "/", LAYOUT, "25s")
}

/// The page as it was sent, and what it says.
async fn sent(reader: &Reader, path: &str, headers: &[(&str, &str)]) -> (http::HeaderMap, Vec<u8>) {
    let mut request = reader.request("GET", path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("the server answers");
    let headers = answer.headers().clone();
    let body = answer.bytes().await.expect("the body is whole").to_vec();
    (headers, body)
}

/// What these bytes are the gzip of. The sum and the length are looked at, and nothing may follow.
fn decoded(gzip: &[u8]) -> String {
    let mut decoder = flate2::bufread::GzDecoder::new(gzip);
    let mut text = String::new();
    decoder.read_to_string(&mut text).expect("it is gzip");
    assert_eq!(decoder.into_inner(), b"", "one member and no more");
    text
}

async fn plain(site: &Newsroom) -> Page {
    site.reader().get("/").await
}

#[tokio::test]
async fn the_page_is_the_same_the_first_time_and_ever_after() {
    let cms = blocks().await;
    let site = draft(&cms).start().await;
    let before = plain(&site).await;
    assert!(before.body.len() > 250_000, "{}", before.body.len());
    for time in 0..4 {
        let (headers, gzip) = sent(&site.reader(), "/", &[GZIP]).await;
        assert_eq!(headers["content-encoding"], "gzip", "time {time}");
        assert_eq!(headers["vary"], "accept-encoding");
        assert_eq!(decoded(&gzip), before.body, "time {time}");
        // a variant that is not made in time goes as it is, all else does not
        assert!(gzip.len() < before.body.len() * 3 / 4, "{}", gzip.len());
    }
    // what everybody asked for at once was made once, and is no different
    let together = (0..16).map(|_| {
        let reader = site.reader();
        async move { sent(&reader, "/", &[BROWSER]).await }
    });
    for (headers, gzip) in futures::future::join_all(together).await {
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(decoded(&gzip), before.body);
    }
    assert_eq!(plain(&site).await.body, before.body);
}

/// A page all of whose blocks are kept.
fn kept(cms: &Origin) -> Draft {
    let cached = format!("{PATIENT}\nttl = \"1h\"");
    let layout = "<main>[article]</main><aside>[large]</aside>";
    newsroom()
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/article", &cached)
        .fragment("large", "60", "cms:/large", &cached)
        .page_within("page", "/", layout, "25s")
        // they are copies too
        .without_snapshots()
}

#[tokio::test]
async fn once_all_is_made_the_length_is_known() {
    let cms = blocks().await;
    let site = kept(&cms).start().await;
    let before = plain(&site).await.body;
    let (_, first) = sent(&site.reader(), "/", &[GZIP]).await;
    assert_eq!(decoded(&first), before);
    // the large block is made beside the page: soon all of it is there
    let (headers, gzip) = loop {
        let (headers, gzip) = sent(&site.reader(), "/", &[GZIP]).await;
        assert_eq!(decoded(&gzip), before);
        if headers.contains_key("content-length") {
            break (headers, gzip);
        }
    };
    assert_eq!(headers["content-length"], gzip.len().to_string());
    let head = site.reader().request("HEAD", "/").header(GZIP.0, GZIP.1);
    let head = site.reader().send(head).await;
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    let length = gzip.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    // and the next page is the same, byte for byte
    assert_eq!(sent(&site.reader(), "/", &[GZIP]).await.1, gzip);
}

#[tokio::test]
async fn what_a_copy_is_as_gzip_counts_as_memory() {
    let cms = blocks().await;
    let site = kept(&cms).start().await;
    let bytes = async || {
        let state = site.state().await;
        state["cache"]["bytes"].as_u64().expect("what copies take")
    };
    plain(&site).await;
    let before = bytes().await;
    // the large one is made beside the pages, and counted then
    for _ in 0..10_000 {
        let (headers, gzip) = sent(&site.reader(), "/", &[GZIP]).await;
        let (more, all) = (bytes().await - before, gzip.len() as u64);
        let is_whole = headers.contains_key("content-length");
        // all of it is of the two copies, but for what stands around them
        if is_whole && (all - 200..all + 1000).contains(&more) {
            return;
        }
    }
    panic!(
        "what was made is not counted: {} bytes more",
        bytes().await - before
    );
}

#[tokio::test]
async fn gzip_is_sent_to_whoever_likes_nothing_better() {
    let cms = blocks().await;
    let site = draft(&cms).start().await;
    for (accepts, coding) in [
        (BROWSER.1, Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("*", Some("gzip")),
        ("gzip;q=0.5, br;q=0.5, identity;q=0.1", Some("gzip")),
        ("gzip;q=0.5, br;q=0.6", Some("br")),
        ("gzip;q=0, *", Some("zstd")),
        ("br, zstd", Some("zstd")),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5;q=1, br;q=0.6", Some("br")),
        ("gzip;q=2", None),
    ] {
        let (headers, _) = sent(&site.reader(), "/", &[("accept-encoding", accepts)]).await;
        let found = headers.get("content-encoding").map(|v| v.to_str().unwrap());
        assert_eq!(found, coding, "{accepts}");
        assert_eq!(headers["vary"], "accept-encoding", "{accepts}");
    }
}

#[tokio::test]
async fn curl_reads_it() {
    let cms = blocks().await;
    let site = draft(&cms).start().await;
    let before = plain(&site).await.body;
    for _ in 0..2 {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--compressed", "--noproxy", "*"]);
        curl.arg(format!("{}/", site.url())).stdin(Stdio::null());
        let read = tokio::task::spawn_blocking(move || curl.output().expect("curl is there"));
        let read = read.await.unwrap();
        assert!(read.status.success(), "{read:?}");
        assert_eq!(String::from_utf8(read.stdout).unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_it() {
    let cms = blocks().await;
    let site = draft(&cms).start().await;
    let before = plain(&site).await.body;
    let count = before.matches("<p>").count();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("count.js");
    std::fs::write(
        &script,
        "({ paragraphs: document.querySelectorAll('p').length, \
            last: document.querySelector('footer').textContent.length, \
            bytes: performance.getEntriesByType('navigation')[0].encodedBodySize })",
    )
    .unwrap();
    for _ in 0..2 {
        let mut ask = browser::tool("ask");
        ask.arg(site.url()).arg("--").arg(&script);
        ask.env("BROWSER_SECONDS", "120").stdin(Stdio::null());
        let told = browser::lines(ask).await;
        assert_eq!(told[0]["paragraphs"], count, "{told:?}");
        assert_eq!(told[0]["last"], "declared".len() * 100, "{told:?}");
        let bytes = told[0]["bytes"].as_u64().unwrap();
        assert!(bytes < before.len() as u64 * 3 / 4, "{bytes} were sent");
    }
}

#[tokio::test]
async fn what_is_there_can_be_read_while_a_slot_is_waited_for() {
    let gate = Gate::closed();
    let cms = blocks().await;
    cms.on("/late", html("<p>late</p>").gated(&gate));
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"1h\"\ntimeout = \"20s\"",
        )
        .fragment("late", "60", "cms:/late", "timeout = \"20s\"")
        .page_within(
            "page",
            "/",
            "<main>[article]</main><aside>[late]</aside>",
            "25s",
        )
        .start()
        .await;
    let mut stream = site.reader().connect().await;
    let request = "GET / HTTP/1.0\r\nhost: x\r\naccept-encoding: gzip\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = vec![0; 8192];
    // the body begins behind the head; this version of HTTP has no chunks
    let mut head = None;
    let end = format!("{}</main><aside>", text("article", 6_000));
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the page ended before its slot was filled");
        answer.extend_from_slice(&buffer[..read]);
        head = head.or_else(|| answer.windows(4).position(|w| w == b"\r\n\r\n"));
        let Some(head) = head else { continue };
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        decoder.write_all(&answer[head + 4..]).unwrap();
        decoder.flush().unwrap();
        if decoder.get_ref().ends_with(end.as_bytes()) {
            break;
        }
    }
    gate.open();
    stream.read_to_end(&mut answer).await.unwrap();
    let body = decoded(&answer[head.unwrap() + 4..]);
    assert_eq!(body, format!("<main>{end}<p>late</p></aside>"));
}

#[tokio::test]
async fn a_snapshot_is_gzip_too() {
    let cms = origin().on("/a", html(text("a", 60_000))).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("a", "cms:/a")
        .page("page", "/", "<main>[a]</main>")
        .start()
        .await;
    // what is asked for once is no hot page
    plain(&site).await;
    let before = plain(&site).await.body;
    cms.on("/a", status(500));
    loop {
        let (headers, gzip) = sent(&site.reader(), "/", &[GZIP]).await;
        let level = headers["marbre-level"].to_str().unwrap();
        assert!(level.ends_with(";snapshot"), "{level}");
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(decoded(&gzip), before);
        // its variant is made beside the pages that show it, and then its length is known
        if headers.contains_key("content-length") {
            assert_eq!(headers["content-length"], gzip.len().to_string());
            assert!(gzip.len() < before.len() / 3, "{} bytes", gzip.len());
            return;
        }
    }
}
