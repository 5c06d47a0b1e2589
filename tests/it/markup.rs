//! Documents in ESI that a proxy answers are woven: what they include is put in, whatever becomes of it,
//! and nothing that they say leads anywhere that the site has not declared.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::newsroom::Draft;
use crate::support::{Gate, Newsroom, Origin, Port, Reply, html, newsroom, origin, raw, status};

/// A site that weaves everything that `cms` answers.
fn weaving(cms: &Origin, markup: &str) -> Draft {
    let site = newsroom().weaving("esi", cms);
    site.toml(&format!("[markup]\n{markup}"))
}

async fn site(cms: &Origin, markup: &str) -> Newsroom {
    weaving(cms, markup).start().await
}

/// The page of a document.
async fn woven(cms: &Origin, document: &str) -> String {
    cms.on("/page", html(document));
    let site = site(cms, "").await;
    let page = site.reader().get("/page").await;
    assert_eq!(page.status, 200, "{}", page.body);
    page.body
}

/// An answer in chunks of so many bytes.
fn in_chunks(body: &str, len: usize) -> Reply {
    let mut answer = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .into_bytes();
    for chunk in body.as_bytes().chunks(len) {
        answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    raw(answer)
}

#[tokio::test]
async fn what_a_document_includes_stands_in_its_place() {
    let cms = origin()
        .on("/menu", html("<nav>menu</nav>"))
        .on("/news/teaser?n=1&m=2", html("<p>teaser</p>"))
        .on(
            "/news/today",
            html("<b>1</b><esi:include src=\"/menu\"/><esi:include src='teaser?n=1&amp;m=2'/><b>2</b>"),
        )
        .start()
        .await;
    let site = site(&cms, "").await;
    let page = site.reader().get("/news/today").await;
    page.is(200, "<b>1</b><nav>menu</nav><p>teaser</p><b>2</b>");
}

#[tokio::test]
async fn tags_may_be_cut_anywhere() {
    let document = "<p>é<esi:include src=\"/a\"/><esi:remove>no</esi:remove><!--esi <i>-->\u{1f642}<esi:vars>$(QUERY_STRING{q})</esi:vars></p>";
    let cms = origin().on("/a", html("ALPHA")).start().await;
    let site = site(&cms, "").await;
    for len in [1, 2, 7] {
        cms.on("/page?q=5", in_chunks(document, len));
        let page = site.reader().get("/page?q=5").await;
        page.is(200, "<p>éALPHA <i>\u{1f642}5</p>");
    }
}

#[tokio::test]
async fn all_includes_leave_at_once_and_come_in_document_order() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/first", html("1").gated(&gate))
        .on("/second", html("2").gated(&gate))
        .on("/third", html("3"))
        .on(
            "/page",
            html("<esi:include src=\"/first\"/><esi:include src=\"/second\"/><esi:include src=\"/third\"/>"),
        )
        .start()
        .await;
    let site = site(&cms, "timeout = \"30s\"\nbudget = \"30s\"").await;
    let reader = site.reader();
    let (page, ()) = tokio::join!(reader.get("/page"), async {
        // were one asked after the other, these would never all have been asked
        cms.arrived(4).await;
        gate.open();
    });
    page.is(200, "123");
}

#[tokio::test]
async fn what_stands_before_an_include_does_not_wait_for_it() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/slow", html("SLOW").gated(&gate))
        .on(
            "/page",
            html("<header>H</header><esi:include src=\"/slow\"/><footer>F</footer>"),
        )
        .start()
        .await;
    let site = site(&cms, "timeout = \"30s\"\nbudget = \"30s\"").await;
    let mut stream = site.reader().connect().await;
    stream
        .write_all(b"GET /page HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&seen).contains("<header>H</header>") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    gate.open();
    stream.read_to_end(&mut seen).await.unwrap();
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.contains("SLOW") && seen.contains("<footer>F</footer>"),
        "{seen}"
    );
}

#[tokio::test]
async fn an_include_that_fails_leaves_what_the_document_says() {
    let nobody = Port::held();
    let cms = origin()
        .on("/gone", status(404))
        .on("/sick", status(500))
        .on("/b", html("B"))
        .start()
        .await;
    for (document, expected) in [
        ("[<esi:include src=\"/gone\"/>]", "[]"),
        ("[<esi:include src=\"/gone\" onerror=\"continue\"/>]", "[]"),
        ("[<esi:include src=\"/sick\" alt=\"/b\"/>]", "[B]"),
        (
            "<esi:try><esi:attempt>lost<esi:include src=\"/gone\"/></esi:attempt><esi:except>(<esi:include src=\"/b\"/>)</esi:except></esi:try>",
            "(B)",
        ),
        (
            "<esi:try><esi:attempt><esi:include src=\"/b\"/></esi:attempt><esi:except><esi:include src=\"/never\"/></esi:except></esi:try>",
            "B",
        ),
    ] {
        assert_eq!(woven(&cms, document).await, expected, "{document}");
    }
    assert_eq!(cms.targets().iter().filter(|t| *t == "/never").count(), 0);
    let refused = format!("[<esi:include src=\"{}/x\" alt=\"/b\"/>]", nobody.url());
    assert_eq!(woven(&cms, &refused).await, "[B]");
}

#[tokio::test]
async fn a_site_may_rather_have_no_page_than_a_gap() {
    let cms = origin()
        .on("/gone", status(404))
        .on("/page", html("<esi:include src=\"/gone\"/>"))
        .on(
            "/said",
            html("[<esi:include src=\"/gone\" onerror=\"continue\"/>]"),
        )
        .start()
        .await;
    let site = site(&cms, "failed = \"no-page\"").await;
    let answer = site
        .reader()
        .bytes("GET /page HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    // what has begun as a page does not end as one
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    site.reader().get("/said").await.is(200, "[]");
}

#[tokio::test]
async fn an_include_that_hangs_costs_its_own_time_only() {
    let cms = origin()
        .on("/hangs", raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\nhalf").then_hang())
        .on("/b", html("B"))
        .on("/page", html("<p><esi:include src=\"/hangs\"/><esi:include src=\"/b\"/><esi:include src=\"/hangs\" maxwait=\"50\"/></p>"))
        .start()
        .await;
    let site = site(&cms, "timeout = \"300ms\"").await;
    let page = tokio::time::timeout(Duration::from_secs(20), site.reader().get("/page")).await;
    page.expect("the page ends").is(200, "<p>B</p>");
}

#[tokio::test]
async fn included_content_is_read_only_where_that_is_declared() {
    let cms = origin()
        .on("/plain", html("(<esi:include src=\"/b\"/>)"))
        .on(
            "/marked",
            html("(<esi:include src=\"/b\"/>)").header("surrogate-control", "content=\"ESI/1.0\""),
        )
        .on("/b", html("B"))
        .on(
            "/page",
            html("<esi:include src=\"/plain\"/><esi:include src=\"/marked\"/>"),
        )
        .start()
        .await;
    let (tag, read) = ("(<esi:include src=\"/b\"/>)", "(B)");
    for (nested, expected) in [
        ("never", format!("{tag}{tag}")),
        ("marked", format!("{tag}{read}")),
        ("always", format!("{read}{read}")),
    ] {
        let site = site(&cms, &format!("nested = \"{nested}\"")).await;
        site.reader().get("/page").await.is(200, &expected);
    }
}

#[tokio::test]
async fn documents_inside_one_another_have_an_end() {
    let cms = origin()
        .on("/loop", html("L<esi:include src=\"/loop\"/>"))
        .on(
            "/fan",
            html("F<esi:include src=\"/fan?1\"/><esi:include src=\"/fan?2\"/>"),
        )
        .on(
            "/fan?1",
            html("F<esi:include src=\"/fan?1\"/><esi:include src=\"/fan?2\"/>"),
        )
        .on(
            "/fan?2",
            html("F<esi:include src=\"/fan?1\"/><esi:include src=\"/fan?2\"/>"),
        )
        .on("/page", html("<esi:include src=\"/loop\"/>."))
        .on("/wide", html("<esi:include src=\"/fan\"/>."))
        .start()
        .await;
    let site = site(&cms, "nested = \"always\"\ndepth = 3\nincludes = 8").await;
    site.reader().get("/page").await.is(200, "LLL.");
    let page = site.reader().get("/wide").await;
    assert!(page.status == 200 && page.body.ends_with('.'), "{page:?}");
    let asked = cms.targets().into_iter().filter(|t| t.starts_with("/fan"));
    assert!(asked.count() <= 8);
}

#[tokio::test]
async fn what_a_page_includes_is_limited_in_bytes() {
    let cms = origin()
        .on("/large", html("x".repeat(3000)))
        .on("/b", html("B"))
        .on(
            "/page",
            html("[<esi:include src=\"/large\"/>][<esi:include src=\"/b\"/>]"),
        )
        .start()
        .await;
    let site = site(&cms, "max_size = \"2KiB\"").await;
    site.reader().get("/page").await.is(200, "[][B]");
}

#[tokio::test]
async fn no_address_leads_where_the_site_has_not_declared() {
    let inside = origin().on("/", html("SECRET")).start().await;
    let port = inside.url().rsplit_once(':').unwrap().1.to_owned();
    let cms = origin().start().await;
    for src in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.0.0.1:{port}/"),
        format!("http://0177.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://user:pass@127.0.0.1:{port}/"),
        format!("{}@127.0.0.1:{port}/", cms.url()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/x\r\nhost: other".to_owned(),
        "/x&#13;&#10;host: other".to_owned(),
        "/\\127.0.0.1/".to_owned(),
    ] {
        let document = format!("[<esi:include src=\"{src}\"/>]");
        assert_eq!(woven(&cms, &document).await, "[]", "{src}");
    }
    assert_eq!(inside.targets(), [""; 0]);
    assert!(
        cms.targets().iter().all(|target| target == "/page"),
        "{:?}",
        cms.targets()
    );
}

#[tokio::test]
async fn a_host_that_documents_may_name_must_be_on_the_open_net() {
    let other = origin().on("/w", html("WIDGET")).start().await;
    let port = other.url().rsplit_once(':').unwrap().1.to_owned();
    let named = format!("http://localhost:{port}");
    let cms = origin()
        .on("/page", html(format!("[<esi:include src=\"{named}/w\"/>]")))
        .start()
        .await;
    // the name is allowed; what it stands for is this machine
    let closed = site(&cms, &format!("hosts = [\"{named}\"]")).await;
    closed.reader().get("/page").await.is(200, "[]");
    assert_eq!(other.targets(), [""; 0]);
    let open = format!("hosts = [\"{named}\"]\nprivate_addresses = true");
    let open = site(&cms, &open).await;
    open.reader().get("/page").await.is(200, "[WIDGET]");
    // an address is looked at when the site is loaded, whatever its spelling
    for host in [
        format!("http://{}:{port}", Ipv4Addr::LOCALHOST),
        format!("http://2130706433:{port}"),
        format!("http://0x7f.1:{port}"),
        format!("http://[{}]:{port}", Ipv6Addr::LOCALHOST),
        "http://10.0.0.1".to_owned(),
    ] {
        let started = weaving(&cms, &format!("hosts = [\"{host}\"]"))
            .try_start()
            .await;
        assert!(started.is_err(), "{host}");
    }
}

#[tokio::test]
async fn cookies_go_to_the_own_origin_only() {
    let other = origin().on("/w", html("W")).start().await;
    let cms = origin()
        .on("/own", html("O"))
        .on(
            "/page",
            html(format!(
                "<esi:include src=\"/own\"/><esi:include src=\"{}/w\"/>",
                other.url()
            )),
        )
        .start()
        .await;
    let markup = format!("hosts = [\"{}\"]\nprivate_addresses = true", other.url());
    let site = site(&cms, &markup).await;
    let cookie = [("cookie", "a=1; b=2"), ("authorization", "Basic eA==")];
    site.reader().get_with("/page", &cookie).await.is(200, "OW");
    let own = cms.last_head("/own").unwrap().to_ascii_lowercase();
    assert!(
        own.contains("cookie: a=1; b=2") && own.contains("authorization: basic"),
        "{own}"
    );
    let theirs = other.last_head("/w").unwrap().to_ascii_lowercase();
    assert!(
        !theirs.contains("cookie") && !theirs.contains("authorization"),
        "{theirs}"
    );
}

#[tokio::test]
async fn an_include_is_the_fragment_that_declares_its_address() {
    let media = origin()
        .on("/slideshows/a?size=2", html("<p>slides</p>"))
        .start()
        .await;
    let cms = origin()
        .on("/sidebar/7", status(500))
        .on(
            "/page",
            html("[<esi:include src=\"/esi/slides/a\"/>][<esi:include src=\"/sidebar/7\"/>]"),
        )
        .start()
        .await;
    let draft = weaving(&cms, "undeclared = \"refuse\"")
        .patient_origin("media", &media.url())
        .fragment(
            "slides",
            "40",
            "media:/slideshows/{slug}?size=2",
            "include = \"/esi/slides/{slug}\"",
        )
        .fragment(
            "sidebar",
            "\"essential\"",
            "cms:/sidebar/{id}",
            "fallback = [\"inline:<i>none</i>\"]",
        );
    let site = draft.start().await;
    let page = site.reader().get("/page").await;
    page.is(200, "[<p>slides</p>][<i>none</i>]");
}

#[tokio::test]
async fn what_nobody_declares_is_refused_where_the_site_says_so() {
    let cms = origin()
        .on("/b", html("B"))
        .on("/page", html("[<esi:include src=\"/b\"/>]"))
        .start()
        .await;
    let site = site(&cms, "undeclared = \"refuse\"").await;
    site.reader().get("/page").await.is(200, "[]");
    assert_eq!(cms.targets(), ["/page"]);
}

#[tokio::test]
async fn a_degraded_page_gives_up_its_declared_includes() {
    let cms = origin()
        .on("/extra", html("EXTRA"))
        .on("/menu", html("MENU"))
        .on(
            "/page",
            html("[<esi:include src=\"/menu\"/>][<esi:include src=\"/extra\" alt=\"/menu\"/>]"),
        )
        .start()
        .await;
    let draft = || {
        weaving(&cms, "undeclared = \"refuse\"")
            .fragment("menu", "\"essential\"", "cms:/menu", "")
            .fragment("extra", "10", "cms:/extra", "")
    };
    let full = draft().start().await;
    full.reader().get("/page").await.is(200, "[MENU][EXTRA]");
    let before = cms.targets().len();
    let degraded = draft().level(1).start().await;
    degraded.reader().get("/page").await.is(200, "[MENU][]");
    let asked = cms.targets().split_off(before);
    assert!(!asked.iter().any(|target| target == "/extra"), "{asked:?}");
}

#[tokio::test]
async fn nothing_is_told_of_the_document_as_if_it_were_the_page() {
    let document = html("<esi:include src=\"/b\"/>")
        .header("etag", "\"1\"")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        .header("accept-ranges", "bytes")
        .header("content-md5", "x")
        .header("cache-control", "public, max-age=600")
        .header("surrogate-control", "content=\"ESI/1.0\"")
        .header("x-other", "kept");
    let cms = origin()
        .on("/page", document)
        .on("/b", html("B"))
        .start()
        .await;
    let site = site(&cms, "documents = \"marked\"").await;
    let asks = [("if-none-match", "\"1\""), ("range", "bytes=0-1")];
    let page = site.reader().get_with("/page", &asks).await;
    page.is(200, "B");
    for gone in [
        "etag",
        "last-modified",
        "accept-ranges",
        "content-md5",
        "surrogate-control",
    ] {
        assert_eq!(page.header(gone), None, "{gone}");
    }
    assert_eq!(page.header("cache-control"), Some("private, max-age=0"));
    assert_eq!(page.header("x-other"), Some("kept"));
    assert_eq!(page.level(), 0);
    let head = cms.last_head("/page").unwrap().to_ascii_lowercase();
    for kept_back in ["if-none-match", "range:"] {
        assert!(!head.contains(kept_back), "{head}");
    }
    assert!(
        head.contains("surrogate-capability: marbre=\"esi/1.0\""),
        "{head}"
    );
}

#[tokio::test]
async fn a_page_without_its_include_is_kept_as_nothing() {
    let cms = origin()
        .on("/sick", status(500))
        .on(
            "/page",
            html("[<esi:include src=\"/sick\"/>]").header("cache-control", "public, max-age=600"),
        )
        .start()
        .await;
    let site = site(&cms, "").await;
    let page = site.reader().get("/page").await;
    page.is(200, "[]");
    assert_eq!(page.header("cache-control"), Some("private, max-age=0"));
    cms.on("/sick", html("WELL"));
    site.reader().get("/page?again").await;
    let mut seen = String::new();
    while !seen.contains("WELL") {
        // a failure is remembered for a moment, a page with a gap is not
        seen = site.reader().get("/page").await.body;
    }
    let documents = cms.targets().into_iter().filter(|target| target == "/page");
    assert_eq!(documents.count(), 1, "the document itself may be kept");
}

#[tokio::test]
async fn a_document_that_was_kept_stands_in_for_a_dead_origin() {
    let document = html("D<esi:include src=\"/b\"/>")
        .header("cache-control", "public, max-age=0, stale-if-error=600");
    let cms = origin()
        .on("/page", document)
        .on("/b", html("B").header("cache-control", "max-age=600"))
        .start()
        .await;
    let site = site(&cms, "").await;
    site.reader().get("/page").await.is(200, "DB");
    cms.on("/page", status(503));
    site.reader().get("/page").await.is(200, "DB");
    cms.on("/page", html("E"));
    site.reader().get("/page").await.is(200, "E");
}

#[tokio::test]
async fn a_document_that_breaks_off_is_not_delivered_as_a_page() {
    let cut =
        raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 900\r\n\r\n<p>half")
            .then_close();
    let cms = origin().on("/page", cut).start().await;
    let site = site(&cms, "").await;
    let answer = site
        .reader()
        .bytes("GET /page HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn what_is_no_document_passes_untouched() {
    let image = b"\x89PNG\r\n\x1a\n<esi:remove>x</esi:remove>\x80\xff";
    let cms = origin()
        .on(
            "/image",
            Reply::headed(200, &[("content-type", "image/png")], image),
        )
        .on("/moved", Reply::headed(302, &[("location", "/x")], b""))
        .on(
            "/bytes",
            Reply::headed(
                200,
                &[("content-type", "text/html")],
                b"<p>\x80\xff<esi:include src=\"/b\"/>\x00</p>",
            ),
        )
        .on(
            "/b",
            Reply::headed(
                200,
                &[("content-type", "text/html; charset=iso-8859-1")],
                b"\xfc",
            ),
        )
        .start()
        .await;
    let site = site(&cms, "").await;
    let client = crate::support::reader::client();
    let body = |path: &'static str| {
        let request = client.get(format!("{}{path}", site.url()));
        async move { request.send().await.unwrap().bytes().await.unwrap() }
    };
    assert_eq!(body("/image").await, image[..]);
    assert_eq!(body("/bytes").await, b"<p>\x80\xff\xfc\x00</p>"[..]);
    let moved = site.reader().get("/moved").await;
    assert_eq!((moved.status, moved.header("location")), (302, Some("/x")));
}

#[tokio::test]
async fn readers_write_no_html_into_a_page() {
    let cms = origin()
        .on(
            "/page?q=%3Cb%3E&r=%27x%27",
            html("<esi:vars>$(QUERY_STRING{q})$(QUERY_STRING{r})$(HTTP_COOKIE{c})</esi:vars>"),
        )
        .start()
        .await;
    let site = site(&cms, "").await;
    let request = "GET /page?q=%3Cb%3E&r='x' HTTP/1.1\r\nhost: x\r\ncookie: c=<i>\r\nconnection: close\r\n\r\n";
    let answer = site.reader().bytes(request).await;
    assert!(
        !answer.contains("<b>") && !answer.contains("<i>"),
        "{answer}"
    );
    assert!(answer.contains("&lt;i&gt;"), "{answer}");
    assert!(
        answer.contains("%3Cb%3E") && answer.contains("&#39;x&#39;"),
        "{answer}"
    );
}

/// As `render_esi()` of Symfony writes it, with the signature in the address.
#[tokio::test]
async fn a_page_as_symfony_writes_it_is_served_unchanged() {
    let fragment = "/_fragment?_hash=kT3%2Fq%3D&_path=_format%3Dhtml%26_locale%3Den%26_controller%3DNews%253A%253Alatest";
    let document = format!(
        "<!DOCTYPE html>\n<html><body>\n<esi:comment text=\"latest news\" />\n<esi:remove><a href=\"/latest\">latest</a></esi:remove>\n<esi:include src=\"{}\" onerror=\"continue\" />\n<!--esi <p>for the edge</p>-->\n</body></html>\n",
        fragment.replace('&', "&amp;")
    );
    let cms = origin()
        .on(
            "/start",
            html(document)
                .header("surrogate-control", "content=\"ESI/1.0\"")
                .header("cache-control", "public, s-maxage=600"),
        )
        .on(
            fragment,
            html("<ul><li>news</li></ul>").header("cache-control", "s-maxage=60, public"),
        )
        .start()
        .await;
    let site = site(&cms, "documents = \"marked\"\nnested = \"marked\"").await;
    for _ in 0..2 {
        let page = site.reader().get("/start").await;
        page.is(
            200,
            "<!DOCTYPE html>\n<html><body>\n\n\n<ul><li>news</li></ul>\n <p>for the edge</p>\n</body></html>\n",
        );
    }
    let head = cms.last_head(fragment).unwrap().to_ascii_lowercase();
    assert!(
        head.contains("surrogate-capability: marbre=\"esi/1.0\""),
        "{head}"
    );
    assert!(
        head.contains(&format!("x-forwarded-host: {}", &site.url()[7..])),
        "{head}"
    );
    // both are kept, as their headers say
    assert_eq!(cms.targets(), ["/start", fragment]);
}

/// As sites behind Varnish write them, where all HTML is processed and so is what it includes: what a browser
/// would see without ESI is taken out, addresses are relative or have the site's own host.
#[tokio::test]
async fn a_page_as_sites_behind_varnish_write_it_is_served_unchanged() {
    let cms = origin()
        .on("/news/date.cgi", html("<time>12:00</time>\n"))
        .on(
            "/inc/header.html",
            html("<nav><esi:include src=\"menu.html\"/></nav>")
                .header("cache-control", "max-age=60"),
        )
        .on("/inc/menu.html", html("<b>menu</b>"))
        .on("/inc/footer.html?y=1&z=2", html("<footer/>"))
        .on("/gone", status(404))
        .start()
        .await;
    let site = site(&cms, "nested = \"always\"").await;
    let document = format!(
        "<html><body>\n<esi:include src=\"/inc/header.html\"/>\n<esi:remove>\n<a href=\"/nav\">Navigation</a>\n\
         </esi:remove>\n<!--esi\n<p>It is <esi:include src='date.cgi'/></p>\n-->\n<!-- <esi:include src=\"/no\"/> -->\n\
         <esi:comment text=\"the end\"/><esi:include src=\"{}/inc/footer.html?y=1&amp;z=2\"/>\n\
         <esi:include src=\"/gone\"/></body></html>\n",
        site.url()
    );
    cms.on(
        "/news/today.html",
        html(document).header("cache-control", "s-maxage=300"),
    );
    for _ in 0..3 {
        site.reader().get("/news/today.html").await.is(
            200,
            "<html><body>\n<nav><b>menu</b></nav>\n\n\n<p>It is <time>12:00</time>\n</p>\n\n\
             <!-- <esi:include src=\"/no\"/> -->\n<footer/>\n</body></html>\n",
        );
    }
    let asked = cms.targets();
    let times = |target: &str| asked.iter().filter(|asked| *asked == target).count();
    assert_eq!(
        (times("/news/today.html"), times("/no")),
        (1, 0),
        "{asked:?}"
    );
    assert_eq!(
        (times("/inc/header.html"), times("/news/date.cgi")),
        (1, 3),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_layout_from_a_file_may_hold_includes() {
    let cms = origin()
        .on("/articles/a", html("<p>text</p>"))
        .on("/menu", html("MENU"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/articles/{slug}")
        .essential("menu", "cms:/menu")
        .file(
            "layouts/esi.html",
            "<esi:include src=\"/menu\"/><esi:remove>gone</esi:remove><!--esi <i>-->[<esi:include src='/articles/{slug}' onerror=\"continue\"/>]",
        )
        .toml("[pages.page]\nroute = \"/news/{slug}\"\nlayout = \"layouts/esi.html\"")
        .start()
        .await;
    site.reader()
        .get("/news/a")
        .await
        .is(200, "MENU <i>[<p>text</p>]");
}

#[tokio::test]
async fn a_coding_that_nobody_asked_for_is_undone() {
    use std::io::Write as _;
    let deflated = |text: &str| {
        let mut coder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        coder.write_all(text.as_bytes()).unwrap();
        let headers = [
            ("content-type", "text/html"),
            ("content-encoding", "deflate"),
        ];
        Reply::headed(200, &headers, &coder.finish().unwrap())
    };
    let cms = origin()
        .on("/page", deflated("<p><esi:include src=\"/b\"/></p>"))
        .on("/b", deflated("B"))
        .start()
        .await;
    let site = site(&cms, "").await;
    site.reader().get("/page").await.is(200, "<p>B</p>");
}

#[tokio::test]
async fn a_condition_of_a_change_reaches_the_origin() {
    let cms = origin().on("/page", status(412)).start().await;
    let site = site(&cms, "").await;
    let put = site.reader().request("PUT", "/page");
    let put = put.header("if-match", "\"7\"").body("text");
    assert_eq!(site.reader().send(put).await.status, 412);
    let head = cms.last_head("/page").unwrap().to_ascii_lowercase();
    assert!(head.contains("if-match: \"7\""), "{head}");
    let conditions = [("if-match", "\"7\""), ("if-none-match", "*")];
    cms.on("/page", html("<p>text</p>"));
    let page = site.reader().get_with("/page", &conditions).await;
    page.is(200, "<p>text</p>");
    let head = cms.last_head("/page").unwrap().to_ascii_lowercase();
    assert!(!head.contains("if-"), "{head}");
}
