//! Who reads, where a balancer stands between: its word is believed if it is trusted, and nobody else's.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::{Newsroom, Origin, json, newsroom, origin};

/// What the server is told of a reader, and that a reader asks on one's own.
const CLOSE: &str = "host: x\r\nconnection: close\r\n\r\n";
/// The balancer of these tests, and somebody else.
const BALANCER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn site_of(api: &Origin, keys: &str) -> Newsroom {
    newsroom()
        .server(&format!(
            "trusted_peers = [\"127.0.0.1\", \"10.0.0.0/8\"]\n{keys}"
        ))
        .origin("api", api)
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .core("article", "inline:<p>text</p>")
        .page("page", "/", "[article]")
        .start()
        .await
}

async fn api() -> Origin {
    origin().on("/api/a", json("{}")).start().await
}

/// Sends these bytes from this address; everything that comes back.
async fn sent(site: &Newsroom, from: Ipv4Addr, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(site.app.address).await.unwrap();
    // the server may refuse before it has read all
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What the origin learns of who asks, and how they have come.
fn told(api: &Origin) -> (String, String) {
    let head = api.last_head("/api/a").expect("it was asked");
    let value = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map_or(String::new(), |(_, value)| value.to_owned())
    };
    assert_eq!(value("forwarded"), "");
    (value("x-forwarded-for"), value("x-forwarded-proto"))
}

#[tokio::test]
async fn what_a_trusted_peer_says_of_the_reader_is_believed() {
    let api = api().await;
    let site = site_of(&api, "").await;
    for (from, says, expected) in [
        (BALANCER, "", ("127.0.0.1", "http")),
        (
            BALANCER,
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n",
            ("192.0.2.1, 127.0.0.1", "https"),
        ),
        (
            BALANCER,
            "x-forwarded-for: 203.0.113.9, 192.0.2.1\r\nx-forwarded-for: 10.1.2.3\r\n",
            ("192.0.2.1, 10.1.2.3, 127.0.0.1", "http"),
        ),
        (
            BALANCER,
            "forwarded: for=\"[2001:db8::7]:1234\";proto=https\r\n",
            ("2001:db8::7, 127.0.0.1", "https"),
        ),
        (
            STRANGER,
            "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\nforwarded: for=192.0.2.1\r\n",
            ("127.0.0.2", "http"),
        ),
    ] {
        let asked = format!("GET /api/a HTTP/1.1\r\n{says}{CLOSE}");
        let answer = sent(&site, from, asked.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (address, scheme) = told(&api);
        assert_eq!((&*address, &*scheme), expected, "{from}: {says}");
    }
}

#[tokio::test]
async fn a_trusted_peer_begins_with_the_proxy_protocol() {
    let api = api().await;
    let site = site_of(&api, "proxy_protocol = true").await;
    let ask = format!("GET /api/a HTTP/1.1\r\nx-forwarded-for: 203.0.113.9\r\n{CLOSE}");
    let mut block = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    block.extend([
        0x21, 0x11, 0, 16, 198, 51, 100, 4, 127, 0, 0, 1, 0x12, 0x67, 1, 187,
    ]);
    block.extend([4, 0, 1, 0]);
    let mut own = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    own.extend([0x20, 0, 0, 0]);
    for (header, expected) in [
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n".as_slice(),
            "192.0.2.1",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"),
        // who reads is another balancer, which is trusted as well
        (
            b"PROXY TCP4 10.3.2.1 127.0.0.1 4711 80\r\n",
            "203.0.113.9, 10.3.2.1",
        ),
        (&block, "198.51.100.4"),
        // the balancer itself, whose word on others is believed
        (b"PROXY UNKNOWN\r\n", "203.0.113.9, 127.0.0.1"),
        (&own, "203.0.113.9, 127.0.0.1"),
    ] {
        let answer = sent(&site, BALANCER, &[header, ask.as_bytes()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{header:?}: {answer}");
        assert_eq!(told(&api).0, expected, "{header:?}");
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte_and_takes_nothing_of_what_follows() {
    let api = api().await;
    let site = site_of(&api, "proxy_protocol = true").await;
    let mut stream = site.reader().connect().await;
    stream.set_nodelay(true).unwrap();
    let all = format!("PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\nGET /api/a HTTP/1.1\r\n{CLOSE}");
    for byte in all.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(told(&api).0, "192.0.2.1");
}

#[tokio::test]
async fn what_is_no_such_header_is_refused() {
    let api = api().await;
    let site = site_of(&api, "proxy_protocol = true\nheader_timeout = \"200ms\"").await;
    let ask = format!("GET /api/a HTTP/1.1\r\n{CLOSE}");
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    let mut huge = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    huge.extend([0x21, 0x11, 0xff, 0xff]);
    huge.resize(70_000, 0);
    for header in [
        b"".as_slice(),
        b"PROXY TCP4 192.0.2.1 127.0.0.1 4711\r\n",
        b"PROXY TCP4 192.0.2.999 127.0.0.1 4711 80\r\n",
        b"PROXY\r\n",
        b"PROX",
        &endless,
        &huge,
    ] {
        let answer = sent(&site, BALANCER, &[header, ask.as_bytes()].concat()).await;
        assert_eq!(answer, "", "{header:?}");
    }
    // half of one is not waited for
    assert_eq!(sent(&site, BALANCER, b"PROXY TCP4 192.").await, "");
    assert_eq!(api.hits("/api/a"), 0);
}

#[tokio::test]
async fn who_is_not_trusted_needs_no_header_and_may_send_none() {
    let api = api().await;
    let site = site_of(&api, "proxy_protocol = true").await;
    let ask = format!("GET /api/a HTTP/1.1\r\n{CLOSE}");
    let answer = sent(&site, STRANGER, ask.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(told(&api).0, "127.0.0.2");
    let claim = format!("PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n{ask}");
    let answer = sent(&site, STRANGER, claim.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(api.hits("/api/a"), 1);
}
