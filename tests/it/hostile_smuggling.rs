//! What a `[[proxy]]` passes on is one request for each request of a reader, however that was framed: a request
//! that others might read as two (RFC 9112) is refused, or goes on as the one that this server has read.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Newsroom, Origin, html, newsroom, origin};

/// What must not be asked of the origin: it stands where only a wrong reading of the request finds it.
const SMUGGLED: &str = "GET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

/// What has not ended by then does not end: a guard against a test that hangs, not a measure.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// It is refused, and the origin hears nothing.
    Refused,
    /// The origin hears of one at most.
    Contained,
}
use Then::{Contained, Refused};

/// By section: lines of the head, and what follows them.
const FRAMED: [(&str, &str, &str, Then); 41] = [
    // 6.3: lengths that differ, or are no number
    (
        "6.3 two lengths",
        "content-length: 0\r\ncontent-length: 44",
        "",
        Refused,
    ),
    (
        "6.3 two lengths, larger first",
        "content-length: 44\r\ncontent-length: 0",
        "",
        Refused,
    ),
    (
        "6.3 a list of lengths",
        "content-length: 0, 44",
        "",
        Refused,
    ),
    ("6.3 a sign", "content-length: +0", "", Refused),
    ("6.3 a negative length", "content-length: -1", "", Refused),
    ("6.3 hexadecimal", "content-length: 0x2c", "", Refused),
    ("6.3 a fraction", "content-length: 0.0", "", Refused),
    ("6.3 an exponent", "content-length: 4e1", "", Refused),
    ("6.3 a space within", "content-length: 4 4", "", Refused),
    ("6.3 nothing", "content-length:", "", Refused),
    ("6.3 a letter", "content-length: a", "", Refused),
    ("6.3 a quotation", "content-length: \"0\"", "", Refused),
    (
        "6.3 beyond 64 bits",
        "content-length: 18446744073709551660",
        "",
        Refused,
    ),
    ("6.3 underscores", "content-length: 4_4", "", Refused),
    // 6.1: transfer codings of which the last is not chunked, or that are another word
    (
        "6.1 a coding that is none",
        "transfer-encoding: xchunked",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "6.1 chunked is not last",
        "transfer-encoding: chunked, identity",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "6.1 chunked is not last line",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "6.1 gzip alone",
        "transfer-encoding: gzip",
        "0\r\n\r\n",
        Refused,
    ),
    ("6.1 no coding", "transfer-encoding:", "0\r\n\r\n", Refused),
    (
        "6.1 a vertical tab",
        "transfer-encoding: \x0bchunked",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "6.1 a quotation",
        "transfer-encoding: \"chunked\"",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "6.1 a parameter",
        "transfer-encoding: chunked;q=1",
        "0\r\n\r\n",
        Refused,
    ),
    // 5.1, 5.2: names and folds
    (
        "5.1 a space before the colon",
        "content-length : 44",
        "",
        Refused,
    ),
    (
        "5.1 a tab before the colon",
        "transfer-encoding\t: chunked",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "5.1 a space before the name",
        " transfer-encoding: chunked",
        "0\r\n\r\n",
        Refused,
    ),
    ("5.1 a line without a colon", "content-length", "", Refused),
    ("5.1 a name of nothing", ": 44", "", Refused),
    (
        "5.2 a folded coding",
        "transfer-encoding:\r\n chunked",
        "0\r\n\r\n",
        Refused,
    ),
    (
        "5.2 a folded length",
        "content-length:\r\n\t44",
        "",
        Refused,
    ),
    (
        "5.2 a fold that hides a length",
        "x: y\r\n content-length: 44",
        "",
        Refused,
    ),
    // 2.2: ends of lines, and what is none
    (
        "2.2 a return within",
        "x: y\rcontent-length: 44",
        "",
        Refused,
    ),
    ("2.2 a null within", "x: y\0content-length: 44", "", Refused),
    ("2.2 a null in a name", "content\0-length: 44", "", Refused),
    // 6.3: both, of which chunked counts
    (
        "6.3 both, CL.TE",
        "content-length: 49\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
        Contained,
    ),
    (
        "6.3 both, TE.CL",
        "transfer-encoding: chunked\r\ncontent-length: 3",
        "0\r\n\r\n",
        Contained,
    ),
    // 7.1: chunks
    (
        "7.1 a size that is no number",
        "transfer-encoding: chunked",
        "zz\r\n",
        Contained,
    ),
    (
        "7.1 a negative size",
        "transfer-encoding: chunked",
        "-1\r\n\r\n",
        Contained,
    ),
    (
        "7.1 a size with a prefix",
        "transfer-encoding: chunked",
        "0x0\r\n\r\n",
        Contained,
    ),
    (
        "7.1 a size beyond 64 bits",
        "transfer-encoding: chunked",
        "10000000000000000\r\n",
        Contained,
    ),
    (
        "7.1 more than was said",
        "transfer-encoding: chunked",
        "1\r\nab\r\n0\r\n\r\n",
        Contained,
    ),
    (
        "7.1 a line feed ends a size",
        "transfer-encoding: chunked",
        "0\n\n",
        Contained,
    ),
];

/// A site that passes `/api/` through to an origin that answers whatever comes.
async fn passing_to(api: &Origin) -> Newsroom {
    newsroom()
        .server("idle_timeout = \"200ms\"\nheader_timeout = \"200ms\"\nbody_timeout = \"200ms\"")
        .toml(&format!("[origins.api]\nurls = [\"{}\"]", api.url()))
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .start()
        .await
}

/// All that is answered to these bytes, until the server ends the connection.
async fn answer_to(site: &Newsroom, bytes: &[u8]) -> String {
    let mut stream = site.reader().connect().await;
    // half closed it would be a reader who has gone, for whom nothing is asked
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_that_could_be_read_as_two_is_one_or_none() {
    let mut wrong = Vec::new();
    for (name, lines, body, then) in FRAMED {
        let api = origin()
            .on("/api/take", html("taken"))
            .on("/api/smuggled", html("smuggled"))
            .start()
            .await;
        let site = passing_to(&api).await;
        let sent = format!("POST /api/take HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n{body}{SMUGGLED}");
        let answering = tokio::time::timeout(PATIENCE, answer_to(&site, sent.as_bytes()));
        let Ok(answer) = answering.await else {
            wrong.push(format!("{name}: the connection does not end"));
            continue;
        };
        let heard = api.targets();
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        let well = match then {
            Refused => is_refused && heard.is_empty(),
            Contained => heard.is_empty() || heard == ["/api/take"],
        };
        if !well || answer.contains("smuggled") {
            wrong.push(format!("{name} ({then:?}): {heard:?} {answer:?}"));
        }
        // whoever comes next gets what is theirs
        site.reader().get("/").await.is(200, "<p>text</p>");
        site.reader().get("/api/take").await.is(200, "taken");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request within the body of another is a body, whole, whatever the origin thinks of it.
#[tokio::test]
async fn a_request_within_a_body_stays_there() {
    let length = SMUGGLED.len();
    for (name, lines, body) in [
        (
            "6.2 by length",
            format!("content-length: {length}"),
            SMUGGLED.to_owned(),
        ),
        (
            "6.2 zeros before",
            format!("content-length: 00{length}"),
            SMUGGLED.to_owned(),
        ),
        (
            "7.1 by chunks",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
        ),
        (
            "7.1 in another case",
            "Transfer-Encoding: CHUNKED".to_owned(),
            format!("{length:X}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
        ),
        (
            "7.1.1 an extension that looks like a chunk",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x};x=\"0\"\r\n{SMUGGLED}\r\n0\r\n\r\n"),
        ),
        (
            "7.1.2 trailers that frame",
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x}\r\n{SMUGGLED}\r\n0\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "6.3 a length that the connection would drop",
            format!("connection: close, content-length\r\ncontent-length: {length}"),
            SMUGGLED.to_owned(),
        ),
    ] {
        let api = origin().on("/api/take", html("taken")).start().await;
        let site = passing_to(&api).await;
        let sent = format!("POST /api/take HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n{body}");
        let answer = answer_to(&site, sent.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
        assert_eq!(api.targets(), ["/api/take"], "{name}");
        site.reader().get("/api/take").await.is(200, "taken");
        assert_eq!(api.targets(), ["/api/take", "/api/take"], "{name}");
    }
}

/// Who is asked is declared: a request cannot choose another host for the origin's side (RFC 9112, 3.2.2).
#[tokio::test]
async fn an_absolute_target_does_not_choose_the_origin() {
    let api = origin().on("/api/take", html("taken")).start().await;
    let site = passing_to(&api).await;
    let sent = "GET http://evil.example/api/take HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = answer_to(&site, sent.as_bytes()).await;
    assert!(answer.ends_with("taken"), "{answer}");
    assert_eq!(api.targets(), ["/api/take"]);
}
