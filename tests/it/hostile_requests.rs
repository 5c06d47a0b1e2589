//! Whatever a reader sends, the answer is at worst a 4xx, no origin is asked for anything but what
//! the site has declared, and the next reader is served.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Newsroom, Origin, html, newsroom, origin};

/// An article whose source takes from a request whatever a source may take, and a static folder
/// with a secret beside it.
async fn site_of(cms: &Origin, server: &str) -> Newsroom {
    newsroom()
        .server(server)
        .file("../public/style.css", "p { }")
        .file("../secret.txt", "secret")
        .file("../public/.env", "secret")
        .file("../public/.git/config", "secret")
        .origin("cms", cms)
        .core("article", "cms:/articles/{slug}")
        .fragment(
            "block",
            "40",
            "cms:/block/{query.id}/{cookie.id}/{header.x-id}/end?q={query.q}&c={cookie.c}&h={header.x-h}",
            "ttl = \"0s\"\nforward_headers = [\"x-h\"]\nforward_cookies = [\"c\"]",
        )
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("article", "/articles/{slug}", "[article]")
        .page("blocks", "/blocks", "[front][block]")
        .page("front", "/", "[front]")
        .toml("[[static]]\nroute = \"/assets\"\ndir = \"public\"")
        .start()
        .await
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

/// The status of the first answer; the next reader must be served.
async fn status_of(site: &Newsroom, bytes: impl AsRef<[u8]>) -> Option<u16> {
    let answer = site.reader().bytes(bytes.as_ref()).await;
    site.reader().get("/").await.is(200, "<p>front</p>");
    assert!(!answer.contains("secret"), "{answer}");
    answer
        .strip_prefix("HTTP/1.")
        .map(|rest| rest[2..5].parse().unwrap())
}

/// Such a request is refused, or not even answered, and the origin hears nothing of it.
async fn is_refused(site: &Newsroom, cms: &Origin, bytes: impl AsRef<[u8]>) {
    let shown =
        String::from_utf8_lossy(&bytes.as_ref()[..bytes.as_ref().len().min(200)]).into_owned();
    let status = status_of(site, bytes).await;
    assert!(
        status.is_none_or(|status| (400..500).contains(&status)),
        "{shown:?}: {status:?}"
    );
    assert_eq!(cms.targets(), Vec::<String>::new(), "{shown:?}");
}

#[tokio::test]
async fn parameters_that_are_not_one_safe_segment() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    for slug in [
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        ".%2e",
        "%2e",
        "a%2fb",
        "a%2Fb",
        "a%5cb",
        "a\\b",
        "..%2f..%2fetc",
        "%00",
        "a%00b",
        "a%0d%0ax-evil:%201",
        "a%0ab",
        "%0d",
        "%7f",
        "%c2%85",
        "%ff",
        "%c3",
        "%c3%28",
        "%ed%a0%80",
        "%c0%ae%c0%ae",
        "%f4%90%80%80",
        "%",
        "%2",
        "%zz",
        "%u002e",
        "%%",
        "a%2",
        "%2%65",
    ] {
        is_refused(&site, &cms, request(&format!("/articles/{slug}"))).await;
    }
    for target in [
        "/articles/a/../../etc",
        "/articles/../articles/a",
        "/./articles/a",
        "/articles//a",
        "/articles/",
    ] {
        is_refused(&site, &cms, request(target)).await;
    }
}

#[tokio::test]
async fn raw_bytes_in_the_target() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    for bytes in [
        &b"\0"[..],
        b"\x01",
        b"\x7f",
        b"\xff",
        b"\xc3\x28",
        b"\t",
        b"a b",
        b"<",
        b"\"\x00",
    ] {
        let target = [
            b"GET /articles/",
            bytes,
            b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        ]
        .concat();
        is_refused(&site, &cms, target).await;
    }
}

#[tokio::test]
async fn hostile_but_legal_values_stay_in_their_segment() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    for (slug, encoded) in [
        ("...", "..."),
        ("..a", "..a"),
        ("%3Cscript%3E", "%3Cscript%3E"),
        ("%22%27", "%22%27"),
        ("l'%C3%A9t%C3%A9", "l%27%C3%A9t%C3%A9"),
        ("%F0%9F%97%9E", "%F0%9F%97%9E"),
        ("a?b", "a"),
        ("a%3Fb%23c", "a%3Fb%23c"),
        ("%252e%252e%252f", "%252e%252e%252f"),
        ("a;b=c,d", "a%3Bb%3Dc%2Cd"),
        ("a+b%20c", "a%2Bb%20c"),
        ("%7Bslug%7D", "%7Bslug%7D"),
        ("http:%3A@evil.example:80", "http%3A%3A%40evil.example%3A80"),
        ("%E2%80%AE%E2%88%95", "%E2%80%AE%E2%88%95"),
        ("%EF%BC%8E%EF%BC%8E", "%EF%BC%8E%EF%BC%8E"),
    ] {
        assert_eq!(
            status_of(&site, request(&format!("/articles/{slug}"))).await,
            Some(404),
            "{slug}"
        );
        assert_eq!(
            cms.targets().pop(),
            Some(format!("/articles/{encoded}")),
            "{slug}"
        );
    }
    // bytes that are UTF-8 although they should have been escaped
    let unescaped = "GET /articles/été HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let asked = cms.targets().len();
    if status_of(&site, unescaped).await == Some(404) {
        assert_eq!(cms.targets()[asked..], ["/articles/%C3%A9t%C3%A9"]);
    }
}

#[tokio::test]
async fn query_cookies_and_headers_stay_where_the_source_puts_them() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    let ask = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n\r\n")
    };
    for (target, headers, asked) in [
        // what is not one safe segment is left out of a path
        ("/blocks?id=..%2f..%2fadmin", "", "/block////end?q=&c=&h="),
        ("/blocks?id=..", "cookie: id=..", "/block////end?q=&c=&h="),
        (
            "/blocks?id=a%0d%0aHost:%20evil",
            "cookie: id=/../x",
            "/block////end?q=&c=&h=",
        ),
        ("/blocks", "x-id: ../../admin", "/block////end?q=&c=&h="),
        (
            "/blocks",
            "x-id: %2e%2e",
            "/block///%252e%252e/end?q=&c=&h=",
        ),
        // within a query everything is a value
        ("/blocks?q=/../&id=1", "", "/block/1///end?q=%2F..%2F&c=&h="),
        (
            "/blocks?q=a%0d%0aX-Evil:%201",
            "",
            "/block////end?q=a%0D%0AX-Evil%3A%201&c=&h=",
        ),
        (
            "/blocks?q=a%26admin%3D1%23",
            "",
            "/block////end?q=a%26admin%3D1%23&c=&h=",
        ),
        ("/blocks?q=%ff&q=b", "", "/block////end?q=b&c=&h="),
        ("/blocks?q=%00", "", "/block////end?q=%00&c=&h="),
        ("/blocks?%71=a&q=b", "", "/block////end?q=a&c=&h="),
        (
            "/blocks",
            "cookie: c=a&b=c",
            "/block////end?q=&c=a%26b%3Dc&h=",
        ),
        ("/blocks", "x-h: a b#c", "/block////end?q=&c=&h=a%20b%23c"),
        ("/blocks?&&=&?q=1&q", "", "/block////end?q=&c=&h="),
    ] {
        assert_eq!(
            status_of(&site, ask(target, headers)).await,
            Some(200),
            "{target} {headers}"
        );
        assert_eq!(cms.targets().pop().unwrap(), asked, "{target} {headers}");
    }
    // what is forwarded is a line of its own, and one
    status_of(
        &site,
        ask(
            "/blocks",
            "x-h: a\tb\r\nx-other: no\r\ncookie: c=1; d=2; c=3",
        ),
    )
    .await;
    let head = cms
        .last_head("/block////end?q=&c=1&h=a%09b")
        .unwrap()
        .to_ascii_lowercase();
    assert!(
        head.contains("\r\nx-h: a\tb\r\n") && head.contains("\r\ncookie: c=1\r\n"),
        "{head}"
    );
    assert!(!head.contains("x-other") && !head.contains("d=2"), "{head}");
}

#[tokio::test]
async fn nothing_outside_a_folder_and_nothing_hidden_is_served() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    site.reader()
        .get("/assets/style.css")
        .await
        .is(200, "p { }");
    for path in [
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..\\secret.txt",
        "..%5csecret.txt",
        "a/../../secret.txt",
        "%252e%252e/secret.txt",
        "./../secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "..;/secret.txt",
        "...//secret.txt",
        ".env",
        "%2eenv",
        ".git/config",
        "a/.env",
        "./.env",
        "style.css/../.env",
        "style.css%00.html",
        "style.css/",
        "style.css/x",
        "%00",
        "%ff",
        "%",
        "%zz",
        "c:/windows",
        "file:///etc/passwd",
        "proc/self/environ",
        "",
        "/",
        "%20",
        "~root",
        "*",
        "?",
        "CON",
        "style.css%20",
        "\u{202e}",
    ] {
        let target = format!("/assets/{path}");
        is_refused(&site, &cms, request(&target)).await;
    }
    for target in [
        "/assets/../secret.txt",
        "/assets/..",
        "/assets..",
        "/assets../secret.txt",
        "/assetsstyle.css",
        "/secret.txt",
    ] {
        is_refused(&site, &cms, request(target)).await;
    }
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    let get = "GET /articles/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    for (what, head, expected) in [
        (
            "one long line",
            format!("{get}x: {}\r\n\r\n", "y".repeat(40 << 10)),
            431,
        ),
        (
            "many lines",
            format!("{get}{}\r\n", "x: y\r\n".repeat(101)),
            431,
        ),
        (
            "a large total",
            format!(
                "{get}{}\r\n",
                format!("x: {}\r\n", "y".repeat(1000)).repeat(40)
            ),
            431,
        ),
        (
            "a huge total",
            format!(
                "{get}{}\r\n",
                format!("x: {}\r\n", "y".repeat(10_000)).repeat(90)
            ),
            431,
        ),
        (
            "huge cookies",
            format!("{get}cookie: {}\r\n\r\n", "a=b; ".repeat(8000)),
            431,
        ),
        (
            "a long name",
            format!("{get}{}: y\r\n\r\n", "x".repeat(70_000)),
            431,
        ),
        (
            "a long target",
            request(&format!("/articles/{}", "a".repeat(40 << 10))),
            431,
        ),
        (
            "a longer target",
            request(&format!("/articles/{}", "a".repeat(70_000))),
            414,
        ),
        (
            "a long query",
            request(&format!("/articles/a?{}", "a".repeat(40 << 10))),
            431,
        ),
    ] {
        let status = status_of(&site, head).await;
        // a connection may end before its answer is read when the request goes on
        assert!(
            status.is_none_or(|s| s == expected || s == 400 || s == 431),
            "{what}: {status:?}"
        );
    }
    assert_eq!(cms.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn a_head_just_below_the_limit_is_read() {
    let cms = origin().on("/articles/a", html("<p>a</p>")).start().await;
    let site = site_of(&cms, "").await;
    let line = format!("x: {}\r\n", "y".repeat(31 << 10));
    let head = format!("GET /articles/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{line}\r\n");
    assert_eq!(status_of(&site, head).await, Some(200));
    let lines = "x: y\r\n".repeat(97);
    let head = format!("GET /articles/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n");
    assert_eq!(status_of(&site, head).await, Some(200));
}

#[tokio::test]
async fn what_is_not_http() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    for garbage in [
        &b"\r\n\r\n\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /articles/a\r\n\r\n",
        b"GET /articles/a HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET /articles/a HTTP/1.1 \r\nhost: x\r\n\r\n",
        b"GET  /articles/a  HTTP/1.1\r\nhost: x\r\n\r\n",
        b"get /articles/a http/1.1\r\nhost: x\r\n\r\n",
        b"GET /articles/a HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /articles/a HTTP/1.1\r\nhost : x\r\n\r\n",
        b"GET /articles/a HTTP/1.1\r\nx: a\r\n folded\r\n\r\n",
        b"GET /articles/a HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"GET /articles/a HTTP/1.1\r\nx: a\rb\r\n\r\n",
        b"GET articles/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET \\articles\\a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"G\xff\xfeT / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"PRI * HTTP/1.1\r\n\r\n",
        b"PRI\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00",
        b"SSH-2.0-x\r\n",
        b"EHLO x\r\n",
    ] {
        // the end of what is sent tells a server that waits for more that there is none
        let mut stream = site.reader().connect().await;
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let shown = String::from_utf8_lossy(garbage);
        let answer = String::from_utf8_lossy(&answer);
        let refused = !answer.starts_with("HTTP/1.1 ") || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{shown:?}: {answer}");
        site.reader().get("/").await.is(200, "<p>front</p>");
    }
    assert_eq!(cms.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn requests_that_end_half_way() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    let whole = request("/articles/a");
    for end in [1, 3, 10, 25, whole.len() - 4, whole.len() - 1] {
        let mut stream = site.reader().connect().await;
        stream.write_all(&whole.as_bytes()[..end]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{end}: {answer}"
        );
        site.reader().get("/").await.is(200, "<p>front</p>");
    }
    assert_eq!(cms.targets(), Vec::<String>::new());
}

#[tokio::test]
async fn methods_and_targets_of_other_kinds() {
    let cms = origin().on("/articles/a", html("<p>a</p>")).start().await;
    let site = site_of(&cms, "").await;
    let rest = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for (line, expected) in [
        ("OPTIONS *", 404),
        ("OPTIONS /articles/a", 405),
        ("TRACE /articles/a", 405),
        ("DELETE /articles/a", 405),
        ("BREW /articles/a", 405),
        ("M-SEARCH *", 404),
        ("CONNECT evil.example:443", 404),
        ("CONNECT /articles/a", 400),
        ("GET evil.example:443", 400),
        ("GET *", 404),
        ("POST /assets/style.css", 405),
        ("GET http://evil.example/nothing", 404),
        ("GET http://evil.example", 200),
        ("GET ftp://evil.example/articles/..", 400),
    ] {
        let status = status_of(&site, format!("{line} {rest}")).await;
        let ok = status == Some(expected) || (expected == 400 && matches!(status, Some(400..=499)));
        assert!(ok, "{line}: {status:?}");
    }
    assert_eq!(cms.targets(), Vec::<String>::new());
    // the host of an absolute target is no more than a host
    let absolute = format!("GET http://evil.example/articles/a {rest}");
    assert_eq!(status_of(&site, absolute).await, Some(200));
    assert_eq!(cms.targets(), ["/articles/a"]);
    let head = cms.last_head("/articles/a").unwrap();
    assert!(!head.contains("evil"), "{head}");
}

#[tokio::test]
async fn a_request_has_one_host() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    // RFC 9112, 3.2
    for hosts in ["", "host: a\r\nhost: b\r\n", "host: a\r\nhost: a\r\n"] {
        is_refused(
            &site,
            &cms,
            format!("GET /articles/a HTTP/1.1\r\n{hosts}connection: close\r\n\r\n"),
        )
        .await;
    }
    assert_eq!(status_of(&site, "GET / HTTP/1.0\r\n\r\n").await, Some(200));
    assert_eq!(
        status_of(
            &site,
            "GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"
        )
        .await,
        Some(200)
    );
}

#[tokio::test]
async fn old_and_pipelined_requests() {
    let cms = origin().start().await;
    let site = site_of(&cms, "").await;
    let answer = site.reader().bytes("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.ends_with("\r\n\r\n<p>front</p>"), "{answer}");
    let two = "GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned() + &request("/");
    let answer = site.reader().bytes(&two).await;
    assert_eq!(answer.matches("<p>front</p>").count(), 2, "{answer}");
}

#[tokio::test]
async fn bodies_that_nobody_asked_for() {
    let cms = origin().on("/articles/a", html("<p>a</p>")).start().await;
    let site = site_of(&cms, "").await;
    for (body, expected) in [
        ("content-length: 4\r\n\r\nbody", Some(200)),
        (
            "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            Some(200),
        ),
        (
            "expect: 100-continue\r\ncontent-length: 4\r\n\r\n",
            Some(200),
        ),
        ("content-length: 99999999999\r\n\r\nbody", Some(200)),
        ("content-length: 99999999999999999999999\r\n\r\n", Some(400)),
        ("content-length: -1\r\n\r\n", Some(400)),
        (
            "content-length: 4\r\ncontent-length: 5\r\n\r\nbody",
            Some(400),
        ),
        ("transfer-encoding: gzip\r\n\r\nbody", Some(400)),
        ("transfer-encoding: chunked\r\n\r\nzz\r\n", Some(200)),
    ] {
        let ask = format!("GET /articles/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{body}");
        assert_eq!(status_of(&site, ask).await, expected, "{body:?}");
    }
    // what follows a body that was framed twice is not a request of its own
    let smuggled = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
        GET /articles/smuggled HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    status_of(&site, smuggled).await;
    assert_eq!(cms.hits("/articles/smuggled"), 0);
}

#[tokio::test]
async fn a_range_of_a_page_is_the_page() {
    let cms = origin().on("/articles/a", html("<p>a</p>")).start().await;
    let site = site_of(&cms, "").await;
    for range in [
        "bytes=0-1",
        "bytes=-1",
        "bytes=9-1",
        "lines=1-2",
        "bytes=0-1,3-4",
    ] {
        let page = site
            .reader()
            .get_with("/articles/a", &[("range", range)])
            .await;
        page.is(200, "<p>a</p>");
        assert_eq!(page.header("content-range"), None);
    }
    let range = "bytes=".to_owned() + &"0-1,".repeat(2000);
    let file = site
        .reader()
        .get_with("/assets/style.css", &[("range", &range)])
        .await;
    assert!(file.status == 416 || file.status == 200, "{}", file.status);
}

#[tokio::test]
async fn absurd_values_of_known_headers() {
    let cms = origin().on("/articles/a", html("<p>a</p>")).start().await;
    let site = site_of(&cms, "").await;
    for line in [
        "accept-encoding: gzip;q=banana, br;q=99",
        "accept-encoding: ,,,;;;q=",
        "accept-encoding: \u{e9}",
        "accept-language: ../../x;q=1, ;;;q=",
        "traceparent: 00-zz",
        "traceparent: 00-00000000000000000000000000000000-0000000000000000-00",
        "if-none-match: \"",
        "if-modified-since: yesterday",
        "cookie: ;;;=;=;\u{0}=".trim_end_matches("\u{0}="),
        "x-forwarded-for: \u{1f5de}",
        "content-type: /",
        "upgrade: websocket\r\nconnection: upgrade",
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__",
        "te: trailers, gzip;q=2",
    ] {
        let close = if line.contains("connection") {
            ""
        } else {
            "connection: close\r\n"
        };
        let ask = format!("GET /articles/a HTTP/1.1\r\nhost: x\r\n{close}{line}\r\n\r\n");
        let mut stream = site.reader().connect().await;
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200", "{line}");
    }
}

#[tokio::test]
async fn http_2_with_prior_knowledge() {
    let cms = origin().on("/articles/a", html("<p>a</p>")).start().await;
    let site = site_of(&cms, "").await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let ask = |path: &str| client.get(format!("{}{path}", site.url())).send();
    let page = ask("/articles/a").await.unwrap();
    assert_eq!(
        (page.status().as_u16(), page.version()),
        (200, http::Version::HTTP_2)
    );
    assert_eq!(page.text().await.unwrap(), "<p>a</p>");
    assert_eq!(ask("/articles/%2e%2e%2f").await.unwrap().status(), 400);
    let large = client
        .get(format!("{}/articles/b", site.url()))
        .header("x", "y".repeat(40 << 10));
    match large.send().await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        // or refused by the protocol itself
        Err(error) => assert!(error.is_request(), "{error}"),
    }
    assert_eq!(
        ask("/").await.unwrap().text().await.unwrap(),
        "<p>front</p>"
    );
    assert_eq!(cms.targets(), ["/articles/a"]);
}

#[tokio::test]
async fn silence_is_not_waited_out() {
    let cms = origin().start().await;
    let limits = "header_timeout = \"100ms\"\nidle_timeout = \"100ms\"";
    let site = site_of(&cms, limits).await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let idle = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    for sent in [
        "",
        "G",
        "GET / HTTP/1.1\r\nhost: x\r\nx-half",
        idle,
        "P",
        "PR",
        "PRI",
        "PRI *",
        &preface[..20],
        preface,
    ] {
        let mut stream = site.reader().connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        // the server must end it: reading to the end returns, or the test never does
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(
            answer.contains("<p>front</p>"),
            sent == idle,
            "{sent:?}: {answer}"
        );
    }
    site.reader().get("/").await.is(200, "<p>front</p>");
}

#[tokio::test]
async fn an_http_2_connection_without_a_request_is_closed() {
    let gate = crate::support::Gate::closed();
    let slow = html("<p>a</p>").gated(&gate);
    let cms = origin().on("/articles/a", slow).start().await;
    let limits = "idle_timeout = \"100ms\"\nmax_connections = 1";
    let site = site_of(&cms, limits).await;
    // it answers pings for as long as it lives
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let page = client.get(site.url()).send().await.unwrap();
    assert_eq!(page.version(), http::Version::HTTP_2);
    assert_eq!(page.text().await.unwrap(), "<p>front</p>");
    // there is room for the next one only when it has been closed
    site.reader().get("/").await.is(200, "<p>front</p>");
    // the client connects anew, and what takes long is not idle
    let (page, ()) = tokio::join!(
        client.get(format!("{}/articles/a", site.url())).send(),
        async {
            cms.arrived(1).await;
            gate.open();
        }
    );
    assert_eq!(page.unwrap().text().await.unwrap(), "<p>a</p>");
}

#[tokio::test]
async fn readers_who_leave_cost_nothing() {
    let gate = crate::support::Gate::closed();
    let cms = origin()
        .on("/articles/a", html("<p>a</p>").gated(&gate))
        .start()
        .await;
    let site = site_of(&cms, "max_pages_in_flight = 2").await;
    for asked in 1..=4 {
        let mut stream = site.reader().connect().await;
        stream
            .write_all(request("/articles/a").as_bytes())
            .await
            .unwrap();
        cms.arrived(asked).await;
        drop(stream);
        // until the server has seen it, the page counts as in flight
        while site.reader().get("/").await.status == 503 {}
    }
    gate.open();
    site.reader().get("/").await.is(200, "<p>front</p>");
}
