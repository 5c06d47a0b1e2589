//! Whatever an origin does, the block is dropped or filled from its chain, the page is whole, and
//! the report says why; a core in the same place gives the error page, never a broken one.
//!
//! Timeouts are a third of a reader's patience here, except where a time-out is what is tested: a
//! block that is dropped for the wrong reason would be seen in the report.

use std::time::Duration;

use crate::support::{Newsroom, Origin, Reply, html, json, newsroom, origin, raw, status};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n";
/// What the kernel may hold of a stream that nobody reads any more: both sockets' buffers.
const IN_THE_PIPE: u64 = 16 << 20;
/// 128 KiB of the letter `a`, compressed by gzip. Members may follow one another (RFC 1952, 2.2).
const GZIP_OF_128_KIB: &str = "1f8b0800000000000203edc13101000000c2a0aceb5fc2c31a40010000000000\
    0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000dc00305197ca00000200";
/// `<p>`, `whole ` forty times, `</p>`.
const GZIP_OF_A_PARAGRAPH: &str =
    "1f8b0800000000000203b329b02bcfc8cf49551839a48d7e811d00d5d9d94df7000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// A page of an article, a block and a block with a stand-in; and a page whose core is the same.
/// All three ask `bad:/x`, which misbehaves.
struct Stage {
    site: Newsroom,
    bad: Origin,
    _cms: Origin,
}

/// The fragments that misbehave have these keys, and this template if it is not empty.
async fn stage_at(bad: Origin, url: &str, keys: &str, template: &str) -> Stage {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let mut fragment = format!("ttl = \"0s\"\nmax_size = \"64KiB\"\n{keys}");
    if !template.is_empty() {
        fragment += "\ntemplate = \"t.html\"";
    }
    let covered = format!("{fragment}\nfallback = [\"inline:<i>reserve</i>\"]");
    let site = newsroom()
        .toml("[limits]\ntemplate_output = \"64KiB\"")
        .toml(&format!(
            "[origins.bad]\nurls = [\"{url}\"]\ntimeout = \"10s\"\nbreaker.enabled = false\n"
        ))
        .origin("cms", &cms)
        .file("t.html", template)
        .core("article", "cms:/article")
        .fragment("block", "40", "bad:/x", &fragment)
        .fragment("covered", "\"essential\"", "bad:/x", &covered)
        .fragment("alone", "\"core\"", "bad:/x", &fragment)
        .page_within(
            "page",
            "/",
            "<main>[article]</main>[block][covered]<i>end</i>",
            "60s",
        )
        .page_within("alone", "/alone", "<main>[alone]</main>", "60s")
        .start()
        .await;
    Stage {
        site,
        bad,
        _cms: cms,
    }
}

async fn stage(keys: &str, template: &str) -> Stage {
    let bad = origin().start().await;
    let url = bad.url();
    stage_at(bad, &url, keys, template).await
}

/// Sources of HTML.
async fn html_stage() -> Stage {
    stage("timeout = \"10s\"", "").await
}

/// Sources of JSON that goes through this template.
async fn json_stage(template: &str) -> Stage {
    stage("timeout = \"10s\"", template).await
}

impl Stage {
    /// With this answer the pages must be as described above; gives the reasons in the report.
    async fn reasons(&self, reply: Reply) -> [String; 3] {
        self.bad.on("/x", reply);
        let page = self.site.reader().get("/").await;
        page.is(200, "<main><p>text</p></main><i>reserve</i><i>end</i>");
        let block = self.site.complaint("block").await;
        let covered = self.site.complaint("covered").await;
        let page = self.site.reader().get("/alone").await;
        assert_eq!(page.status, 503, "{}", page.body);
        assert_eq!(page.header("retry-after"), Some("10"));
        assert!(
            page.body
                .contains("This page cannot be shown at the moment"),
            "{}",
            page.body
        );
        assert!(page.body.trim_end().ends_with("</html>"), "{}", page.body);
        let alone = self.site.complaint("alone").await;
        let inside = |text: &str, before: &str| {
            let inside = text
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(')'));
            inside.unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        [
            inside(&block, "failed ("),
            inside(&covered, "inline ("),
            inside(&alone, "failed ("),
        ]
    }

    /// Every reason must begin with one of these.
    async fn says(&self, reply: Reply, expected: &[&str]) {
        for reason in self.reasons(reply).await {
            let is_expected = expected
                .iter()
                .any(|beginning| reason.starts_with(beginning));
            assert!(is_expected, "{reason:?} is none of {expected:?}");
        }
    }

    /// The same, and the origin must be left alone soon: its sockets may take what they hold, and
    /// no more.
    async fn cuts_off(&self, reply: Reply, expected: &[&str]) {
        let (bytes, cuts) = (self.bad.bytes_sent(), self.bad.cuts());
        self.says(reply, expected).await;
        self.bad.cut_off(cuts + 3).await;
        let taken = self.bad.bytes_sent() - bytes;
        assert!(taken < 3 * IN_THE_PIPE, "{taken} bytes were taken");
    }
}

/// A page on which nothing may be missing.
async fn is_whole(reply: Reply, body: &str) {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", reply)
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment(
            "block",
            "40",
            "cms:/block",
            "ttl = \"0s\"\ntimeout = \"5s\"",
        )
        .page_within("page", "/", "[article][block]<i>end</i>", "60s")
        .start()
        .await;
    // twice: the connection must be as good as before
    for _ in 0..2 {
        let page = site.reader().get("/").await;
        let said = site.complaint("block").await;
        assert_eq!(page.body, format!("<p>text</p>{body}<i>end</i>"), "{said}");
    }
}

#[tokio::test]
async fn a_refused_connection() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let stage = stage_at(origin().start().await, &url, "timeout = \"10s\"", "").await;
    stage.says(html("<p>x</p>"), &["connect: "]).await;
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let url = "http://no-such-host.invalid";
    let stage = stage_at(origin().start().await, url, "timeout = \"10s\"", "").await;
    stage.says(html("<p>x</p>"), &["connect: "]).await;
}

#[tokio::test]
async fn the_end_or_a_reset_before_the_headers() {
    let stage = html_stage().await;
    stage.says(raw(""), &["broken: "]).await;
    stage.says(raw("").then_reset(), &["broken: "]).await;
    stage
        .says(raw("HTTP/1.1 200 OK\r\ncontent-"), &["broken: "])
        .await;
}

#[tokio::test]
async fn the_end_or_a_reset_in_mid_body() {
    let stage = html_stage().await;
    let half = || raw(format!("{HEAD}content-length: 100\r\n\r\n<div>half"));
    stage.says(half(), &["truncated: "]).await;
    // a reset may overtake the headers too
    stage
        .says(half().then_reset(), &["truncated: ", "broken: "])
        .await;
    let chunk = |cut: &str| raw(format!("{HEAD}transfer-encoding: chunked\r\n\r\n{cut}"));
    for cut in [
        "9\r\n<div>half\r\n",
        "9\r\n<div>",
        "9",
        "9\r\n<div>half\r\n0\r\n",
        "zz\r\n<div>",
        "-1\r\n<",
    ] {
        stage.says(chunk(cut), &["truncated: "]).await;
    }
    let absurd = "9;ext=1\r\n<div>half\r\nffffffffffffffff\r\n<p>";
    stage.says(chunk(absurd), &["truncated: "]).await;
}

#[tokio::test]
async fn silence_and_drips() {
    let stage = stage("timeout = \"100ms\"", "").await;
    let pause = Duration::from_millis(20);
    let forever = "y".repeat(5000);
    let head = format!("{HEAD}content-length: 5000\r\n\r\n");
    for reply in [
        raw("").then_hang(),
        raw(&head).then_hang(),
        raw(&head).then_drip(&forever, pause),
        raw("").then_drip(format!("HTTP/1.1 200 OK\r\nx: {forever}"), pause),
        // not even a chunk's size ends
        raw(format!("{HEAD}transfer-encoding: chunked\r\n\r\n")).then_drip("0".repeat(5000), pause),
        // interim answers are not the answer
        raw("").then_drip("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200), pause),
    ] {
        stage.says(reply, &["timeout"]).await;
    }
}

#[tokio::test]
async fn a_body_of_50_mb_announced_is_not_even_begun() {
    let stage = html_stage().await;
    let head = format!("{HEAD}content-length: 52428800\r\n\r\n");
    stage
        .cuts_off(
            raw(head).then_endless([b'x'; 1 << 16]),
            &["larger than 65536 bytes"],
        )
        .await;
}

#[tokio::test]
async fn a_chunked_body_of_50_mb_is_cut_at_the_limit() {
    let stage = html_stage().await;
    let head = format!("{HEAD}transfer-encoding: chunked\r\n\r\n3200000\r\n");
    stage
        .cuts_off(
            raw(head).then_endless([b'x'; 1 << 16]),
            &["larger than 65536 bytes"],
        )
        .await;
}

#[tokio::test]
async fn an_endless_stream_is_cut_at_the_limit() {
    let stage = html_stage().await;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
    stage
        .cuts_off(raw(head).then_endless(&chunk), &["larger than 65536 bytes"])
        .await;
    // until the end of a connection that does not end
    stage
        .cuts_off(
            raw(format!("{HEAD}\r\n")).then_endless(&chunk),
            &["larger than 65536 bytes"],
        )
        .await;
}

#[tokio::test]
async fn endless_headers_are_cut() {
    let stage = html_stage().await;
    for head in [
        "HTTP/1.1 200 OK\r\nx: ",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 ",
    ] {
        let line = if head.ends_with('\n') {
            "x-some: thing\r\n"
        } else {
            "yyyyyyyyyyyyyyy"
        };
        stage
            .cuts_off(raw(head).then_endless(line.repeat(1000)), &["broken: "])
            .await;
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_cut_at_the_limit() {
    let stage = html_stage().await;
    let bomb = bytes(GZIP_OF_128_KIB);
    assert!(bomb.len() < 200);
    let gzip = |body: &[u8]| {
        Reply::headed(
            200,
            &[("content-type", "text/html"), ("content-encoding", "gzip")],
            body,
        )
    };
    stage.says(gzip(&bomb), &["larger than 65536 bytes"]).await;
    // 1 GiB in little more than 1 MB
    stage
        .says(gzip(&bomb.repeat(8192)), &["larger than 65536 bytes"])
        .await;
    let head = format!("{HEAD}content-encoding: gzip\r\n\r\n");
    stage
        .cuts_off(raw(head).then_endless(bomb), &["larger than 65536 bytes"])
        .await;
}

#[tokio::test]
async fn damaged_codings() {
    let stage = html_stage().await;
    let coded = |coding: &str, body: &[u8]| {
        Reply::headed(
            200,
            &[("content-type", "text/html"), ("content-encoding", coding)],
            body,
        )
    };
    let whole = bytes(GZIP_OF_A_PARAGRAPH);
    for (coding, body) in [
        ("gzip", &whole[..whole.len() - 9]),
        ("gzip", &whole[..whole.len() - 1]),
        ("gzip", &b"<p>not gzip</p>"[..]),
        ("br", &whole[..]),
        ("zstd", &whole[..]),
    ] {
        stage.says(coded(coding, body), &["truncated: "]).await;
    }
    let mut wrong_sum = whole.clone();
    let last = wrong_sum.len() - 5;
    wrong_sum[last] ^= 1;
    stage
        .says(coded("gzip", &wrong_sum), &["truncated: "])
        .await;
    is_whole(
        coded("gzip", &whole),
        &format!("<p>{}</p>", "whole ".repeat(40)),
    )
    .await;
    is_whole(coded("identity", b"<p>plain</p>"), "<p>plain</p>").await;
}

#[tokio::test]
async fn a_coding_that_was_not_asked_for_never_reaches_the_page() {
    let stage = html_stage().await;
    // readable as text, so that nothing but the header tells
    for coding in ["compress", "x-unknown", "gzip, gzip", "aes128gcm"] {
        let headers = [("content-type", "text/html"), ("content-encoding", coding)];
        let reply = Reply::headed(200, &headers, b"~coded~");
        stage
            .says(reply, &["unreadable: content coding", "truncated: "])
            .await;
    }
}

#[tokio::test]
async fn the_wrong_content_type() {
    let stage = html_stage().await;
    for wrong in [
        "image/png",
        "application/json",
        "text/plain",
        "text/html; charset=latin1",
        "\u{e9}",
    ] {
        let reply = Reply::headed(200, &[("content-type", wrong)], b"<p>x</p>");
        stage.says(reply, &["content type "]).await;
    }
    json_stage("x")
        .await
        .says(html("{}"), &["content type text/html"])
        .await;
}

#[tokio::test]
async fn json_that_cannot_be_read() {
    let stage = json_stage("{{ data.t }}").await;
    stage
        .says(json(b"{\"t\": \"\xff\xfe\"}"), &["unreadable: "])
        .await;
    stage.says(json("{\"t\": \"cut"), &["unreadable: "]).await;
    stage.says(json("{} {}"), &["unreadable: "]).await;
    stage.says(json("<p>"), &["unreadable: "]).await;
    stage
        .says(json("{\"t\": 1e999999999}"), &["unreadable: "])
        .await;
    stage
        .says(json("{\"t\": \"\\ud800\"}"), &["unreadable: "])
        .await;
    stage.says(json("   "), &["unreadable: ", "empty"]).await;
}

#[tokio::test]
async fn json_too_deep_does_not_break_the_stack() {
    let stage = json_stage("x").await;
    let deep = 30_000;
    stage.says(json("[".repeat(deep)), &["unreadable: "]).await;
    stage
        .says(
            json("[".repeat(deep) + &"]".repeat(deep)),
            &["unreadable: "],
        )
        .await;
    stage
        .says(json("{\"a\":".repeat(10_000)), &["unreadable: "])
        .await;
}

#[tokio::test]
async fn a_template_that_fails_on_what_it_gets() {
    for template in [
        "{{ data.t() }}",
        "{{ data.t // 0 }}",
        "{{ data.t|date_fr }}",
        "{{ data.t + data }}",
    ] {
        json_stage(template)
            .await
            .says(json("{\"t\": 1}"), &["template: t.html: "])
            .await;
    }
}

#[tokio::test]
async fn what_a_template_writes_before_it_fails_is_not_shown() {
    let template = "<table><tr><td>{{ data.t }}{{ data.t() }}";
    json_stage(template)
        .await
        .says(json("{\"t\": \"x\"}"), &["template: t.html: "])
        .await;
}

#[tokio::test]
async fn data_that_makes_a_template_run_without_end() {
    let endless =
        "{% for i in range(data.n) %}{% for j in range(data.n) %}{% endfor %}{% endfor %}";
    json_stage(endless)
        .await
        .says(json("{\"n\": 99999}"), &["template: t.html: "])
        .await;
    let recursive = "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}";
    json_stage(recursive)
        .await
        .says(json("{}"), &["template: t.html: "])
        .await;
}

#[tokio::test]
async fn data_that_makes_a_template_write_without_end() {
    let large = "{% for i in range(data.n) %}0123456789{% endfor %}";
    json_stage(large)
        .await
        .says(json("{\"n\": 9000}"), &["larger than 65536 bytes"])
        .await;
    // so many stars that they do not fit into the machine
    let stars = "{{ '*' * data.n }}";
    let stage = json_stage(stars).await;
    stage
        .says(json("{\"n\": 70000}"), &["larger than 65536 bytes"])
        .await;
    for n in ["100000000000", "9007199254740993", "18446744073709551615"] {
        stage
            .says(
                json(format!("{{\"n\": {n}}}")),
                &["template: ", "larger than"],
            )
            .await;
    }
}

#[tokio::test]
async fn redirects_to_elsewhere_are_not_followed() {
    let other = origin()
        .on("/x", html("<p>from another host</p>"))
        .start()
        .await;
    let port = other.url().rsplit(':').next().unwrap().to_owned();
    let bad = origin().start().await;
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .origin("bad", &bad)
        .core("article", "cms:/article")
        .optional("block", 40, "bad:/x")
        .page("page", "/", "[article][block]<i>end</i>")
        .start()
        .await;
    for location in [
        format!("{}/x", other.url()),
        format!("//127.0.0.1:{port}/x"),
        format!("http://user@127.0.0.1:{port}/x"),
        format!("HTTP://127.0.0.1:{port}"),
        "https://example.invalid/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "javascript:alert(1)".to_owned(),
    ] {
        for code in [301, 302, 303, 307, 308] {
            bad.on("/x", status(code).header("location", &location));
            site.reader()
                .get("/")
                .await
                .is(200, "<p>text</p><i>end</i>");
            let said = site.complaint("block").await;
            assert!(
                said.starts_with("failed (redirect: to another host, "),
                "{location}: {said}"
            );
        }
    }
    assert_eq!(other.targets(), Vec::<String>::new());
}

/// What a block comes to whose origin redirects so; `/y` of the same origin would answer.
async fn redirected(location: Option<&str>) -> (String, String) {
    let reply = location.map_or(status(302), |location| {
        status(302).header("location", location)
    });
    let bad = origin()
        .on("/x", reply)
        .on("/y", html("<b>y</b>"))
        .start()
        .await;
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    if let Some(location) = location.filter(|location| location.contains("SELF")) {
        let location = location.replace("SELF", bad.url().strip_prefix("http://").unwrap());
        bad.on("/x", status(302).header("location", &location));
    }
    let site = newsroom()
        .origin("cms", &cms)
        .origin("bad", &bad)
        .core("article", "cms:/article")
        .optional("block", 40, "bad:/x")
        .page("page", "/", "[article][block]<i>end</i>")
        .start()
        .await;
    let page = site.reader().get("/").await;
    (page.body, site.complaint("block").await)
}

#[tokio::test]
async fn redirects_within_the_host_are_followed() {
    for location in [
        "/y",
        "/y?a=b",
        "/y#part",
        "http://SELF/y",
        "http://SELF/y#part",
    ] {
        let (body, said) = redirected(Some(location)).await;
        assert_eq!(body, "<p>text</p><b>y</b><i>end</i>", "{location}: {said}");
    }
}

#[tokio::test]
async fn redirects_that_lead_nowhere() {
    for (location, said) in [
        (None, "failed (redirect: without Location)"),
        (Some("/x"), "failed (redirect: more than 3)"),
        (Some("?"), "failed (redirect: more than 3)"),
    ] {
        assert_eq!(
            redirected(location).await,
            ("<p>text</p><i>end</i>".into(), said.into())
        );
    }
    // no backslash, control character or userinfo makes another host of it
    for location in [
        "/\\127.0.0.1:1/y",
        "\\\\127.0.0.1:1/y",
        "/\t/127.0.0.1:1/y",
        "http:/\\127.0.0.1:1",
        "",
    ] {
        let (body, said) = redirected(Some(location)).await;
        assert_eq!(body, "<p>text</p><i>end</i>", "{location}: {said}");
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let body = "content-type: text/html\r\ncontent-length: 8\r\n\r\n<b>b</b>";
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        hints,
        "HTTP/1.1 102 Processing\r\n\r\n",
    ] {
        let reply = raw(format!("{interim}{interim}HTTP/1.1 200 OK\r\n{body}"));
        is_whole(reply, "<b>b</b>").await;
    }
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for() {
    let stage = html_stage().await;
    let upgrade =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stage
        .says(raw(upgrade).then_hang(), &["status 101", "broken: "])
        .await;
    stage
        .says(
            raw(format!("{upgrade}{HEAD}content-length: 1\r\n\r\nx")),
            &["status 101", "broken: "],
        )
        .await;
}

#[tokio::test]
async fn absurd_headers() {
    let stage = html_stage().await;
    let end = "content-length: 8\r\n\r\n<b>b</b>";
    for absurd in [
        format!("x-long: {}\r\n", "y".repeat(1 << 20)),
        "x-many: y\r\n".repeat(1000),
        "x-nul: a\0b\r\n".to_owned(),
        "x y: z\r\n".to_owned(),
        "no colon\r\n".to_owned(),
        ": no name\r\n".to_owned(),
        "x-folded: a\r\n b\r\n".to_owned(),
        "content-length: 9\r\n".to_owned(),
        "content-length: 8, 9\r\n".to_owned(),
        "content-length: -8\r\n".to_owned(),
        "content-length: 99999999999999999999999\r\n".to_owned(),
    ] {
        stage
            .says(raw(format!("{HEAD}{absurd}{end}")), &["broken: "])
            .await;
    }
}

#[tokio::test]
async fn odd_but_harmless_headers() {
    let end = "content-length: 8\r\n\r\n<b>b</b>";
    for odd in [
        "x-empty:\r\n",
        "X-LOUD: Y\r\n",
        "x-latin: \u{e9}\r\n",
        "content-length: 8\r\n",
        "x-tab:\ta\tb\t\r\n",
    ] {
        is_whole(raw(format!("{HEAD}{odd}{end}")), "<b>b</b>").await;
    }
    // chunked wins over a length (RFC 9112, 6.3)
    let both = format!(
        "{HEAD}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n8\r\n<b>b</b>\r\n0\r\n\r\n"
    );
    is_whole(raw(both), "<b>b</b>").await;
}

#[tokio::test]
async fn what_is_not_http() {
    let stage = html_stage().await;
    for garbage in [
        "<html>hello from 1991</html>",
        "<p>x</p>\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{46}",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "\r\n\r\n\r\n",
    ] {
        stage.says(raw(garbage), &["broken: "]).await;
    }
    // the answer of a server that speaks TLS, to a client that does not: an alert
    stage
        .says(
            raw([0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]),
            &["broken: "],
        )
        .await;
}

#[tokio::test]
async fn a_plain_server_behind_https() {
    let plain = origin().on("/x", html("<p>x</p>")).start().await;
    let url = plain.url().replace("http://", "https://");
    let stage = stage_at(plain, &url, "timeout = \"10s\"", "").await;
    stage
        .says(html("<p>x</p>"), &["connect: ", "broken: "])
        .await;
}

#[tokio::test]
async fn an_answer_of_http_1_0_that_ends_with_its_connection() {
    is_whole(
        raw("HTTP/1.0 200 OK\r\ncontent-type: text/html\r\n\r\n<b>b</b>"),
        "<b>b</b>",
    )
    .await;
    is_whole(
        raw("HTTP/1.0 200\r\ncontent-type: text/html\r\ncontent-length: 8\r\n\r\n<b>b</b>"),
        "<b>b</b>",
    )
    .await;
    is_whole(
        raw(format!("{HEAD}connection: close\r\n\r\n<b>b</b>")),
        "<b>b</b>",
    )
    .await;
}

#[tokio::test]
async fn more_than_was_announced_is_not_shown_to_the_next_reader() {
    let more = format!(
        "{HEAD}content-length: 8\r\n\r\n<b>b</b>HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    );
    is_whole(raw(more), "<b>b</b>").await;
}

#[tokio::test]
async fn a_connection_that_ends_between_two_pages_is_no_failure() {
    is_whole(html("<b>b</b>").then_close(), "<b>b</b>").await;
}

#[tokio::test]
async fn an_origin_that_hangs_does_not_take_the_other_origins_along() {
    let bad = origin().on("/x", raw("").then_hang()).start().await;
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .toml(&format!(
            "[origins.bad]\nurls = [\"{}\"]\ntimeout = \"60s\"\nmax_in_flight = 2\n",
            bad.url()
        ))
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment("block", "40", "bad:/x", "ttl = \"0s\"\ntimeout = \"100ms\"")
        .page_within("page", "/", "[article][block]<i>end</i>", "60s")
        .start()
        .await;
    let mut said = Vec::new();
    for _ in 0..4 {
        site.reader()
            .get("/")
            .await
            .is(200, "<p>text</p><i>end</i>");
        said.push(site.complaint("block").await);
    }
    // the flights of the first two pages go on; the others are refused at once
    let busy = "failed (origin is at its limit in flight)";
    assert_eq!(said, ["failed (timeout)", "failed (timeout)", busy, busy]);
    assert_eq!(bad.hits("/x"), 2);
}
