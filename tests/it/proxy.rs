//! `[[proxy]]` paths are passed through: nothing is added, lost or held back on the way.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Gate, Newsroom, Origin, Reply, html, json, newsroom, origin, raw, status};

/// A site that passes several paths through, with these keys in `[server]`.
async fn passing_to(api: &Origin, server: &str) -> Newsroom {
    newsroom()
        .server(server)
        .toml(&format!("[origins.api]\nurls = [\"{}\"]\ntimeout = \"60s\"", api.url()))
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .toml("[[proxy]]\nroute = \"/v1/{*rest}\"\norigin = \"api\"\npath = \"/v2/{*rest}\"")
        .toml("[[proxy]]\nroute = \"/of/{who}/{*rest}\"\norigin = \"api\"\npath = \"/{who}/x/{*rest}\"")
        .toml("[[proxy]]\nroute = \"/slow/{*rest}\"\norigin = \"api\"\ntimeout = \"100ms\"")
        .toml("[[proxy]]\nroute = \"/silent/{*rest}\"\norigin = \"api\"\nidle_timeout = \"100ms\"")
        .start()
        .await
}

async fn passing(api: &Origin) -> Newsroom {
    passing_to(api, "").await
}

/// Reads until what came in holds `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(end) {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(
            count,
            0,
            "ended before {end:?}: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(seen).unwrap()
}

/// The value of a header in a request's head.
fn header<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value)
}

#[tokio::test]
async fn method_target_headers_and_body_pass_both_ways() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
        let reply = Reply::headed(
            207,
            &[("x-answer", "42"), ("content-type", "text/x")],
            b"said",
        );
        let api = origin().on("/api/comments", reply).start().await;
        let site = passing(&api).await;
        let reader = site.reader();
        let target = "/api/comments?q=a%20b&x='1'&empty=";
        let request = reader
            .request(method, target)
            .header("x-question", "life")
            .body("asked");
        let page = reader.send(request).await;
        page.is(207, "said");
        assert_eq!(page.header("x-answer"), Some("42"));
        assert_eq!(page.header("content-type"), Some("text/x"));
        assert_eq!(page.header("marbre-level"), None);
        let [target] = &api.targets()[..] else {
            panic!("{:?}", api.targets())
        };
        let head = api.last_head(target).unwrap();
        // the client library writes an apostrophe in a query as an escape, which is the same
        assert_eq!(
            target.replace("%27", "'"),
            "/api/comments?q=a%20b&x='1'&empty="
        );
        assert!(head.starts_with(method), "{head}");
        assert_eq!(header(&head, "x-question"), Some("life"));
        assert_eq!(api.last_body(target).unwrap(), b"asked");
    }
}

#[tokio::test]
async fn a_chunked_request_body_passes_whole() {
    let api = origin().on("/api/up", json("{}")).start().await;
    let site = passing(&api).await;
    let reader = site.reader();
    let chunks =
        futures::stream::iter((0..100).map(|n| Ok::<_, std::io::Error>(format!("chunk {n};"))));
    let request = reader
        .request("POST", "/api/up")
        .body(reqwest::Body::wrap_stream(chunks));
    reader.send(request).await.is(200, "{}");
    let expected: String = (0..100).map(|n| format!("chunk {n};")).collect();
    assert_eq!(api.last_body("/api/up").unwrap(), expected.as_bytes());
}

#[tokio::test]
async fn the_answer_streams() {
    let gate = Gate::closed();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
    let reply = raw(format!("{head}5\r\nfirst\r\n"))
        .then_wait(&gate)
        .then("6\r\nsecond\r\n0\r\n\r\n");
    let api = origin().on("/api/feed", reply).start().await;
    let site = passing(&api).await;
    let mut stream = site.reader().connect().await;
    stream
        .write_all(b"GET /api/feed HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    // the second chunk is held back until the first has been read
    let first = read_until(&mut stream, "first").await;
    assert!(!first.contains("second"));
    gate.open();
    assert!(
        read_until(&mut stream, "0\r\n\r\n")
            .await
            .contains("second")
    );
}

#[tokio::test]
async fn the_request_streams() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = newsroom()
        .origin_at("api", &format!("http://{}", listener.local_addr().unwrap()))
        .core("article", "api:/article")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .start()
        .await;
    let mut reader = site.reader().connect().await;
    let head =
        "POST /api/up HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\nconnection: close\r\n\r\n";
    reader
        .write_all(format!("{head}first").as_bytes())
        .await
        .unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    // the reader sends the rest only when the origin has seen the beginning
    read_until(&mut origin, "first").await;
    reader.write_all(b"second").await.unwrap();
    read_until(&mut origin, "second").await;
    origin
        .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone")
        .await
        .unwrap();
    let answer = read_until(&mut reader, "done").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = origin().on("/slow/b", raw("").then_hang()).start().await;
    let site = newsroom()
        .origin_at("api", &format!("http://{}", listener.local_addr().unwrap()))
        .origin("hung", &hung)
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/up\"\norigin = \"api\"\ntimeout = \"100ms\"")
        .toml("[[proxy]]\nroute = \"/slow/{*rest}\"\norigin = \"hung\"\ntimeout = \"100ms\"")
        .start()
        .await;
    let mut reader = site.reader().connect().await;
    let head = "POST /up HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\nconnection: close\r\n\r\n";
    reader
        .write_all(format!("{head}first").as_bytes())
        .await
        .unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    read_until(&mut origin, "first").await;
    // meanwhile another request, begun later, is given up: so long has the upload taken
    assert_eq!(site.reader().get("/slow/b").await.status, 504);
    reader.write_all(b"second").await.unwrap();
    read_until(&mut origin, "second").await;
    origin
        .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone")
        .await
        .unwrap();
    let answer = read_until(&mut reader, "done").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_neither_reads_nor_answers_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = newsroom()
        .origin_at("api", &format!("http://{}", listener.local_addr().unwrap()))
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/up\"\norigin = \"api\"\ntimeout = \"100ms\"")
        .start()
        .await;
    // the whole of it is more than the sockets on the way take
    let body = vec![b'x'; 9 << 20];
    for sent in [4, body.len()] {
        let (mut reader, mut writer) = site.reader().connect().await.into_split();
        let head = format!("POST /up HTTP/1.1\r\nhost: x\r\ncontent-length: {sent}\r\n\r\n");
        let write = async {
            writer.write_all(head.as_bytes()).await.unwrap();
            // more than is taken: the rest stays unsent
            let _ = writer.write_all(&body[..sent]).await;
            std::future::pending().await
        };
        let mut status = [0; 12];
        tokio::select! {
            read = reader.read_exact(&mut status) => assert_eq!(read.unwrap(), 12),
            () = write => {}
        }
        assert_eq!(&status, b"HTTP/1.1 504");
    }
}

#[tokio::test]
async fn the_body_of_a_get_passes_too() {
    let api = origin().on("/api/search", json("{}")).start().await;
    let site = passing(&api).await;
    for framed in [
        "content-length: 5\r\n\r\nquery",
        "transfer-encoding: chunked\r\n\r\n5\r\nquery\r\n0\r\n\r\n",
    ] {
        let head = "GET /api/search HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let answer = site.reader().bytes(format!("{head}{framed}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(api.last_body("/api/search").unwrap(), b"query", "{framed}");
    }
    site.reader().get("/api/search").await.is(200, "{}");
    let head = api.last_head("/api/search").unwrap();
    assert_eq!(header(&head, "transfer-encoding"), None, "{head}");
}

#[tokio::test]
async fn server_sent_events_pass_at_once_and_uncoded() {
    let gate = Gate::closed();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let reply = raw(format!(
        "{head}data: goal by the home side, after a fine run on the left\n\n"
    ))
    .then_wait(&gate)
    .then("data: full time\n\n");
    let api = origin().on("/api/live", reply).start().await;
    let site = passing(&api).await;
    let mut stream = site.reader().connect().await;
    let request = "GET /api/live HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip, br, zstd\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let first = read_until(&mut stream, "goal by the home side").await;
    assert!(!first.contains("content-encoding"), "{first}");
    gate.open();
    read_until(&mut stream, "full time").await;
}

#[tokio::test]
async fn a_reader_who_leaves_ends_the_stream() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let api = origin()
        .on("/api/live", raw(head).then_endless("data: again\n\n"))
        .start()
        .await;
    let site = passing(&api).await;
    let mut stream = site.reader().connect().await;
    stream
        .write_all(b"GET /api/live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "again").await;
    drop(stream);
    api.cut_off(1).await;
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let reply = html("<p>x</p>")
        .header("connection", "x-secret, keep-alive")
        .header("keep-alive", "timeout=5")
        .header("x-secret", "of this hop")
        .header("proxy-authenticate", "Basic")
        .header("trailer", "x-sum")
        .header("upgrade", "h2c")
        .header("x-kept", "yes");
    let api = origin().on("/api/a", reply).start().await;
    let site = passing(&api).await;
    let answer = site
        .reader()
        .bytes(
            "GET /api/a HTTP/1.1\r\nhost: news.example\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
             keep-alive: timeout=9\r\nte: trailers\r\nproxy-authorization: Basic eA==\r\n\
             proxy-connection: keep-alive\r\nupgrade: h2c\r\nx-end: 1\r\ncookie: a=1\r\n\r\n",
        )
        .await
        .to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    for name in [
        "x-secret",
        "keep-alive",
        "proxy-authenticate",
        "trailer:",
        "upgrade",
    ] {
        assert!(!answer.contains(name), "{name}: {answer}");
    }
    assert!(answer.contains("x-kept: yes"), "{answer}");
    let head = api.last_head("/api/a").unwrap();
    let hops = [
        "x-hop",
        "keep-alive",
        "te",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "connection",
    ];
    for name in hops {
        assert_eq!(header(&head, name), None, "{name}: {head}");
    }
    assert_eq!(header(&head, "x-end"), Some("1"));
    assert_eq!(header(&head, "cookie"), Some("a=1"));
}

#[tokio::test]
async fn the_origin_learns_who_asked_for_what() {
    let api = origin().on("/api/a", json("{}")).start().await;
    let site = passing(&api).await;
    let reader = site.reader();
    reader
        .get_with("/api/a", &[("host", "news.example")])
        .await
        .is(200, "{}");
    let head = api.last_head("/api/a").unwrap();
    assert_eq!(header(&head, "x-forwarded-host"), Some("news.example"));
    assert_eq!(header(&head, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&head, "host"), api.url().strip_prefix("http://"));
    // and not what a reader claims
    let chain = "GET /api/a HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\nx-forwarded-proto: https\r\nforwarded: for=10.0.0.3\r\nconnection: close\r\n\r\n";
    reader.bytes(chain).await;
    let head = api.last_head("/api/a").unwrap();
    assert_eq!(header(&head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&head, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&head, "forwarded"), None);
}

#[tokio::test]
async fn the_host_that_a_reader_claims_is_not_passed_on() {
    let api = origin().on("/api/a", json("{}")).start().await;
    let site = passing(&api).await;
    for (head, expected) in [
        ("GET /api/a HTTP/1.0\r\n", None),
        ("GET /api/a HTTP/1.1\r\nhost: x\r\n", Some("x")),
    ] {
        let claim = "x-forwarded-host: evil\r\nx-forwarded-host: worse\r\n";
        let close = "connection: close\r\n\r\n";
        site.reader().bytes(format!("{head}{claim}{close}")).await;
        let head = api.last_head("/api/a").unwrap();
        assert_eq!(header(&head, "x-forwarded-host"), expected);
        assert!(!head.contains("evil") && !head.contains("worse"), "{head}");
    }
}

#[tokio::test]
async fn cookies_that_http_2_splits_are_one_line_to_the_origin() {
    let api = origin().on("/api/a", json("{}")).start().await;
    let site = passing(&api).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let request = client.get(format!("{}/api/a", site.url()));
    let answer = request
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let head = api.last_head("/api/a").unwrap();
    assert_eq!(header(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(
        header(&head, "x-forwarded-host"),
        Some(&*site.app.address.to_string())
    );
}

#[tokio::test]
async fn a_coded_answer_passes_as_the_same_bytes() {
    let coded: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let reply = Reply::headed(
        200,
        &[("content-type", "text/html"), ("content-encoding", "gzip")],
        &coded,
    );
    let api = origin().on("/api/a", reply).start().await;
    let site = passing(&api).await;
    for accepts in ["gzip", "br", "identity"] {
        let request = site
            .reader()
            .request("GET", "/api/a")
            .header("accept-encoding", accepts);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert_eq!(answer.headers()["content-length"], "5000");
        assert_eq!(answer.bytes().await.unwrap(), coded);
        assert_eq!(
            header(&api.last_head("/api/a").unwrap(), "accept-encoding"),
            Some(accepts)
        );
    }
}

#[tokio::test]
async fn paths_are_rewritten_as_declared() {
    let api = origin().start().await;
    let site = passing(&api).await;
    for (asked, passed) in [
        ("/v1/a/b?c=d", "/v2/a/b?c=d"),
        ("/v1/a%20b/%C3%A9", "/v2/a%20b/%C3%A9"),
        ("/of/me/a/b", "/me/x/a/b"),
        ("/api/a//b/", "/api/a//b/"),
        ("/api/%2541", "/api/%2541"),
        ("/api/a;b=c,d", "/api/a;b=c,d"),
        ("/api/http://evil.example/", "/api/http://evil.example/"),
        ("/v1//evil.example/x", "/v2//evil.example/x"),
        // what looks like a parameter in a value is a value
        ("/of/%7B*rest%7D/b", "/%7B*rest%7D/x/b"),
    ] {
        site.reader()
            .get(asked)
            .await
            .is(404, "<h1>origin says 404</h1>");
        assert_eq!(api.targets().pop().unwrap(), passed, "{asked}");
    }
    let unencoded = "GET /of/{*rest}/b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    site.reader().bytes(unencoded).await;
    assert_eq!(api.targets().pop().unwrap(), "/%7B*rest%7D/x/b");
}

#[tokio::test]
async fn paths_that_could_climb_are_refused() {
    let api = origin().start().await;
    let site = passing(&api).await;
    for path in [
        "/api/../secret",
        "/api/a/../../secret",
        "/api/%2e%2e/secret",
        "/api/.%2E/secret",
        "/api/a%2f..%2fb",
        "/api/..%5csecret",
        "/api/..\\secret",
        "/v1/..",
        "/api/./a",
        "/of/../x",
        "/of/%2e%2e/x",
        "/v1/%2e%2e%2fx",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = site.reader().bytes(request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert_eq!(api.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn a_backslash_does_not_become_a_slash() {
    let api = origin().start().await;
    let site = passing(&api).await;
    let request = "GET /api/a\\b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = site.reader().bytes(request).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(
        !api.targets().contains(&"/api/a/b".to_owned()),
        "{:?}",
        api.targets()
    );
}

#[tokio::test]
async fn head_and_statuses_without_a_body() {
    let cached = raw("HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 5000\r\n\r\n");
    let empty = raw("HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n");
    let api = origin()
        .on("/api/304", cached)
        .on("/api/204", empty)
        .start()
        .await;
    api.on(
        "/api/head",
        raw("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\ncontent-type: text/html\r\n\r\n"),
    );
    let site = passing(&api).await;
    for accepts in ["identity", "gzip"] {
        let headers = [("if-none-match", "\"1\""), ("accept-encoding", accepts)];
        let page = site.reader().get_with("/api/304", &headers).await;
        page.is(304, "");
        assert_eq!(page.header("etag"), Some("\"1\""));
        assert_eq!(page.header("content-encoding"), None, "{accepts}");
        let page = site.reader().get_with("/api/204", &headers).await;
        page.is(204, "");
        assert_eq!(page.header("content-encoding"), None, "{accepts}");
    }
    let reader = site.reader();
    let page = reader.send(reader.request("HEAD", "/api/head")).await;
    page.is(200, "");
    assert_eq!(page.header("content-length"), Some("5000"));
    assert!(api.last_head("/api/head").unwrap().starts_with("HEAD "));
}

#[tokio::test]
async fn a_part_of_a_file_passes_as_it_is() {
    let headers = [
        ("content-range", "bytes 0-99/5000"),
        ("content-type", "text/html"),
    ];
    let reply = Reply::headed(206, &headers, &[b'x'; 100]);
    let api = origin().on("/api/a", reply).start().await;
    let site = passing(&api).await;
    let page = site
        .reader()
        .get_with(
            "/api/a",
            &[("range", "bytes=0-99"), ("accept-encoding", "gzip")],
        )
        .await;
    page.is(206, &"x".repeat(100));
    assert_eq!(page.header("content-encoding"), None);
    assert_eq!(
        header(&api.last_head("/api/a").unwrap(), "range"),
        Some("bytes=0-99")
    );
}

#[tokio::test]
async fn what_may_not_be_changed_is_not_coded() {
    let long = "x".repeat(1000);
    let api = origin()
        .on(
            "/api/a",
            html(&long).header("cache-control", "public, no-transform"),
        )
        .start()
        .await;
    let page = passing(&api)
        .await
        .reader()
        .get_with("/api/a", &[("accept-encoding", "gzip")])
        .await;
    page.is(200, &long);
    assert_eq!(page.header("content-encoding"), None);
}

#[tokio::test]
async fn redirects_errors_and_cookies_pass_untouched() {
    for code in [301, 302, 303, 307, 308, 400, 401, 404, 410, 500, 502, 503] {
        let reply = status(code)
            .header("location", "https://elsewhere.example/x")
            .header("set-cookie", "a=1; Path=/")
            .header("set-cookie", "b=2; HttpOnly");
        let api = origin().on("/api/a", reply).start().await;
        let page = passing(&api).await.reader().get("/api/a").await;
        page.is(code, &format!("<h1>origin says {code}</h1>"));
        assert_eq!(page.header("location"), Some("https://elsewhere.example/x"));
        let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["b=2; HttpOnly", "a=1; Path=/"]);
    }
}

#[tokio::test]
async fn a_request_body_that_is_too_large_is_refused() {
    let api = origin().on("/api/up", json("{}")).start().await;
    let site = passing_to(&api, "max_body_size = \"1KiB\"").await;
    let reader = site.reader();
    let request = reader.request("POST", "/api/up").body("x".repeat(1024));
    reader.send(request).await.is(200, "{}");
    let announced = reader.request("POST", "/api/up").body("x".repeat(1025));
    assert_eq!(reader.send(announced).await.status, 413);
    assert_eq!(api.hits("/api/up"), 1);
    let chunks = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    let chunked = reader
        .request("POST", "/api/up")
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(reader.send(chunked).await.status, 413);
    // the origin has not seen the whole of it as if it were all
    assert_eq!(api.hits("/api/up"), 1);
}

#[tokio::test]
async fn a_request_body_that_stops_or_is_broken_is_the_readers_fault() {
    let api = origin().on("/api/up", json("{}")).start().await;
    let site = passing_to(&api, "body_timeout = \"100ms\"").await;
    let post = "POST /api/up HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    for (body, expected) in [
        ("content-length: 9\r\n\r\nhalf", "HTTP/1.1 408"),
        (
            "transfer-encoding: chunked\r\n\r\n4\r\nhalf",
            "HTTP/1.1 408",
        ),
        (
            "transfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
            "HTTP/1.1 400",
        ),
        (
            "transfer-encoding: chunked\r\n\r\n4\r\nhalf!!",
            "HTTP/1.1 400",
        ),
    ] {
        let answer = site.reader().bytes(format!("{post}{body}")).await;
        assert!(answer.starts_with(expected), "{body:?}: {answer}");
    }
    assert_eq!(
        api.hits("/api/up"),
        0,
        "no origin took a part of a body for the whole"
    );
    site.reader().get("/").await.is(200, "<p>text</p>");
}

#[tokio::test]
async fn two_framings_of_one_request_body_never_reach_the_origin() {
    let api = origin().on("/api/up", json("{}")).start().await;
    let site = passing(&api).await;
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 100\r\n\r\n0\r\n\r\nGET /api/smuggled HTTP/1.1\r\nhost: x\r\n\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n\r\n012345",
        "content-length: +5\r\n\r\n01234",
        "content-length: 5,5\r\n\r\n01234",
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = site
            .reader()
            .bytes(format!("POST /api/up HTTP/1.1\r\nhost: x\r\n{framing}"))
            .await;
        assert!(!answer.starts_with("HTTP/1.1 5"), "{framing:?}: {answer}");
    }
    for target in api.targets() {
        // what came through has one framing, and nothing after it
        assert_eq!(target, "/api/up");
        let head = api.last_head("/api/up").unwrap();
        let framings =
            ["content-length", "transfer-encoding"].map(|name| header(&head, name).is_some());
        assert_ne!(framings, [true, true], "{head}");
    }
}

#[tokio::test]
async fn a_dead_origin_is_a_bad_gateway_and_a_hung_one_a_time_out() {
    let hung = raw("").then_hang();
    let api = origin()
        .on("/slow/a", hung)
        .on("/api/nonsense", raw("nonsense\r\n\r\n"))
        .start()
        .await;
    let site = passing(&api).await;
    let page = site.reader().get("/slow/a").await;
    assert_eq!(page.status, 504);
    assert!(page.body.trim_end().ends_with("</html>"), "{}", page.body);
    assert_eq!(site.reader().get("/api/nonsense").await.status, 502);
    api.kill();
    assert_eq!(site.reader().get("/api/a").await.status, 502);
    site.reader().get("/").await.is(200, "<p>text</p>");
}

#[tokio::test]
async fn what_is_cut_is_passed_on_as_cut() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    let half = format!("{head}content-length: 100\r\n\r\nhalf");
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    let api = origin()
        .on("/api/length", raw(&half))
        .on("/api/chunk", raw(&chunk))
        .on("/silent/length", raw(&half).then_hang())
        .on("/silent/chunk", raw(&chunk).then_hang())
        .start()
        .await;
    let site = passing(&api).await;
    for target in api_targets() {
        let answer = site.reader().request("GET", target).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err(), "{target}");
    }
}

fn api_targets() -> [&'static str; 4] {
    [
        "/api/length",
        "/api/chunk",
        "/silent/length",
        "/silent/chunk",
    ]
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let body = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let api = origin()
        .on(
            "/api/a",
            raw(format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{body}")),
        )
        .start()
        .await;
    passing(&api)
        .await
        .reader()
        .get("/api/a")
        .await
        .is(200, "{}");
}

#[tokio::test]
async fn a_request_that_expects_to_continue_is_told_to() {
    let api = origin().on("/api/up", json("{}")).start().await;
    let site = passing(&api).await;
    let mut stream = site.reader().connect().await;
    let head = "POST /api/up HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(
        read_until(&mut stream, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 100 Continue")
    );
    stream.write_all(b"body").await.unwrap();
    assert!(
        read_until(&mut stream, "{}")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(api.last_body("/api/up").unwrap(), b"body");
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn ask_for_web_socket(site: &Newsroom, target: &str) -> TcpStream {
    let mut stream = site.reader().connect().await;
    // browsers send accept-encoding with this too
    let ask = format!(
        "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         accept-encoding: gzip, br\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-version: 13\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_web_socket_passes_both_ways() {
    let api = origin()
        .on("/api/ws", raw(SWITCH).then("hello").then_echo())
        .start()
        .await;
    let site = passing(&api).await;
    let mut stream = ask_for_web_socket(&site, "/api/ws").await;
    let head = read_until(&mut stream, "hello").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(
        head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
        "{head}"
    );
    assert!(
        head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    assert!(
        !head.contains("content-encoding") && !head.contains("transfer-encoding"),
        "{head}"
    );
    for frame in ["\u{1}one", "\u{2}two"] {
        stream.write_all(frame.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut stream, &frame[1..]).await, frame);
    }
    let head = api.last_head("/api/ws").unwrap();
    assert_eq!(
        header(&head, "sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    // the reader's end is passed on, and ends the whole
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}

/// A site that passes `/ws` through to the origin, which may have one stream open.
async fn narrow(api: &Origin, server: &str) -> Newsroom {
    newsroom()
        .server(server)
        .toml(&format!(
            "[origins.api]\nurls = [\"{}\"]\nmax_in_flight = 1",
            api.url()
        ))
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/ws\"\norigin = \"api\"")
        .start()
        .await
}

async fn echo() -> Origin {
    let reply = raw(SWITCH).then("hello").then_echo();
    origin().on("/ws", reply).start().await
}

#[tokio::test]
async fn a_web_socket_is_a_stream_of_its_origin_until_it_ends() {
    let api = echo().await;
    let site = narrow(&api, "").await;
    let mut first = ask_for_web_socket(&site, "/ws").await;
    read_until(&mut first, "hello").await;
    let mut status = [0; 12];
    let mut second = ask_for_web_socket(&site, "/ws").await;
    second.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 503");
    drop(first);
    // until the server has seen it, the first counts as open
    while &status == b"HTTP/1.1 503" {
        second = ask_for_web_socket(&site, "/ws").await;
        second.read_exact(&mut status).await.unwrap();
    }
    assert_eq!(&status, b"HTTP/1.1 101");
    assert_eq!(api.hits("/ws"), 2);
}

#[tokio::test]
async fn a_web_socket_is_a_connection_of_the_listener_until_it_ends() {
    let api = echo().await;
    let site = narrow(&api, "max_connections = 1").await;
    let mut socket = ask_for_web_socket(&site, "/ws").await;
    read_until(&mut socket, "hello").await;
    let reader = site.reader();
    let next = reader.get("/");
    let mut next = std::pin::pin!(next);
    let talk = async {
        for _ in 0..200 {
            socket.write_all(b"word").await.unwrap();
            read_until(&mut socket, "word").await;
        }
    };
    tokio::select! {
        page = &mut next => panic!("one connection too many: {page:?}"),
        () = talk => {}
    }
    drop(socket);
    next.await.is(200, "<p>text</p>");
}

#[tokio::test]
async fn a_web_socket_on_which_nothing_is_said_ends() {
    let api = origin()
        .on("/silent/ws", raw(SWITCH).then("hello").then_hang())
        .start()
        .await;
    let site = passing(&api).await;
    let mut stream = ask_for_web_socket(&site, "/silent/ws").await;
    // reading to the end returns, or the test never does
    let mut seen = String::new();
    stream.read_to_string(&mut seen).await.unwrap();
    assert!(seen.ends_with("hello"), "{seen}");
}

#[tokio::test]
async fn what_could_go_on_for_ever_does_not_keep_the_server() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let events = "content-type: text/event-stream; charset=utf-8\r\n\r\n5\r\nhello\r\n";
    let event = "d\r\ndata: again\n\n\r\n";
    for (target, reply) in [
        ("/api/ws", raw(SWITCH).then("hello").then_echo()),
        ("/api/live", raw(format!("{head}{events}")).then_hang()),
        (
            "/api/busy",
            raw(format!("{head}{events}")).then_endless(event),
        ),
        (
            "/api/poll",
            raw(format!(
                "{head}cache-control: no-transform\r\n\r\n5\r\nhello\r\n"
            ))
            .then_hang(),
        ),
    ] {
        let api = origin().on(target, reply).start().await;
        let site = passing(&api).await;
        let mut stream = ask_for_web_socket(&site, target).await;
        read_until(&mut stream, "hello").await;
        let mut rest = Vec::new();
        let (finished, _) = tokio::join!(site.app.stop(), stream.read_to_end(&mut rest));
        assert!(finished, "{target}");
        // the reader is not told that this was all
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("\r\n0\r\n"), "{target}: {rest}");
    }
}

#[tokio::test]
async fn a_download_is_finished_before_the_server_stops() {
    let gate = Gate::closed();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n";
    let reply = raw(format!("{head}first")).then_wait(&gate).then("second");
    let api = origin().on("/api/file", reply).start().await;
    let site = passing(&api).await;
    let mut stream = site.reader().connect().await;
    stream
        .write_all(b"GET /api/file HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "first").await;
    let address = site.app.address;
    let rest = async {
        // the server stops: it accepts nothing new
        while TcpStream::connect(address).await.is_ok() {}
        gate.open();
        read_until(&mut stream, "second").await
    };
    let (finished, rest) = tokio::join!(site.app.stop(), rest);
    assert_eq!((finished, &*rest), (true, "second"));
}

#[tokio::test]
async fn a_web_socket_that_is_refused_is_an_answer_like_any_other() {
    let api = origin().on("/api/ws", status(403)).start().await;
    let site = passing(&api).await;
    let ask = "GET /api/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n";
    let answer = site.reader().bytes(ask).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("origin says 403"),
        "{answer}"
    );
}

#[tokio::test]
async fn no_other_protocol_is_changed_to() {
    let switch = SWITCH.replace("websocket", "h2c");
    let api = origin()
        .on("/api/a", raw(&switch).then_echo())
        .on("/api/b", json("{}"))
        .start()
        .await;
    let site = passing(&api).await;
    // whoever speaks HTTP/2 to the origin could ask for paths that are not passed through
    let ask = "connection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = site
        .reader()
        .bytes(format!("GET /api/b HTTP/1.1\r\nhost: x\r\n{ask}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let head = api.last_head("/api/b").unwrap();
    assert_eq!(
        ["upgrade", "http2-settings"].map(|name| header(&head, name)),
        [None, None]
    );
    // nor is the reader told of a change that was not asked for
    for ask in [ask, "connection: close\r\n\r\n"] {
        let answer = site
            .reader()
            .bytes(format!("GET /api/a HTTP/1.1\r\nhost: x\r\n{ask}"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    }
}
