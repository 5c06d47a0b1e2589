//! Documents with nginx's server-side includes that a proxy answers: a site moves over from nginx
//! without a change of its pages.

use crate::support::{Gate, Newsroom, Origin, html, newsroom, origin, raw, status};

/// A site that weaves everything that `cms` answers, included documents too, as nginx does.
async fn site(cms: &Origin) -> Newsroom {
    newsroom()
        .weaving("ssi", cms)
        .toml("[markup]\nnested = \"always\"\ntimeout = \"20s\"\nbudget = \"25s\"")
        .start()
        .await
}

#[tokio::test]
async fn a_page_of_nginx_is_served_as_nginx_would() {
    let page = "<!--#set var=\"section\" value=\"$arg_s\" -->\
        <!--#block name=\"none\" --><p>no <!--#echo var=\"arg_what\" --></p><!--#endblock -->\
        <h1><!--#echo var=\"section\" --></h1>\
        <!--#if expr=\"$section = /^(sport|news)\\$/\" --><!--#include virtual=\"/teasers/$1\" -->\
        <!--#else -->?<!--#endif -->\
        <!--#include virtual=\"weather?what=weather\" stub=\"none\" -->\
        <!--#nonsense -->";
    let cms = origin()
        .on("/home/page?s=sport", html(page))
        .on("/teasers/sport", html("[<!--#echo var=\"uri\" -->]"))
        .on("/home/weather?what=weather", status(500))
        .start()
        .await;
    let site = site(&cms).await;
    let page = site.reader().get("/home/page?s=sport").await;
    page.is(
        200,
        "<h1>sport</h1>[/teasers/sport]<p>no weather</p>[an error occurred while processing the directive]",
    );
    let head = cms.last_head("/home/page?s=sport").unwrap();
    assert!(
        head.to_ascii_lowercase()
            .contains("surrogate-capability: marbre=\"ssi/1.0\""),
        "{head}"
    );
}

#[tokio::test]
async fn directives_may_be_cut_anywhere() {
    let document = "é<!--#set var=\"a\" value=\"b\" --><p><!-- c --><!--#echo var=\"a\" --><";
    let cms = origin().start().await;
    let site = site(&cms).await;
    for len in [1, 2, 5] {
        let mut answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec();
        for chunk in document.as_bytes().chunks(len) {
            answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            answer.extend_from_slice(chunk);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        cms.on("/page", raw(answer));
        let page = site.reader().get("/page").await;
        page.is(200, "é<p><!-- c -->b<");
    }
}

#[tokio::test]
async fn what_is_waited_for_comes_before_what_follows_is_asked_for() {
    let gate = Gate::closed();
    let page = "<!--#include virtual=\"/a\" wait=\"yes\" --><!--#include virtual=\"/b\" set=\"v\" -->\
        <!--#if expr=\"$v = yes\" --><!--#include virtual=\"/c\" --><!--#endif -->";
    let cms = origin()
        .on("/page", html(page))
        .on("/a", html("A").gated(&gate))
        .on("/b", html("yes"))
        .on("/c", html("C"))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    let (page, ()) = tokio::join!(reader.get("/page"), async {
        cms.arrived(2).await;
        assert_eq!(cms.targets(), ["/page", "/a"]);
        gate.open();
    });
    page.is(200, "AC");
    assert_eq!(cms.targets(), ["/page", "/a", "/b", "/c"]);
}

#[tokio::test]
async fn includes_that_nothing_waits_for_leave_at_once() {
    let gate = Gate::closed();
    let cms = origin()
        .on(
            "/page",
            html("<!--#include virtual=\"/a\" -->-<!--#include virtual=\"/b\" -->"),
        )
        .on("/a", html("A").gated(&gate))
        .on("/b", html("B"))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    let (page, ()) = tokio::join!(reader.get("/page"), async {
        cms.arrived(3).await;
        gate.open();
    });
    page.is(200, "A-B");
}

#[tokio::test]
async fn a_stub_stands_in_for_what_is_empty() {
    let page = "<!--#block name=\"s\" -->S<!--#endblock --><!--#include virtual=\"/empty\" stub=\"s\" -->\
        <!--#include virtual=\"/empty\" -->.";
    let cms = origin()
        .on("/page", html(page))
        .on("/empty", html(""))
        .start()
        .await;
    let site = site(&cms).await;
    site.reader().get("/page").await.is(200, "S.");
}

#[tokio::test]
async fn a_document_that_includes_itself_ends() {
    let cms = origin()
        .on("/loop", html("x<!--#include virtual=\"/loop\" -->"))
        .start()
        .await;
    let site = site(&cms).await;
    let page = site.reader().get("/loop").await;
    page.is(200, "xxxxxx");
}

#[tokio::test]
async fn what_a_reader_sends_is_escaped() {
    let page = "<!--#echo var=\"http_user_agent\" -->|<!--#echo var=\"cookie_c\" -->|<!--#echo var=\"args\" encoding=\"url\" -->";
    let cms = origin().on("/page?q=%3Ci%3E", html(page)).start().await;
    let site = site(&cms).await;
    let headers = [("user-agent", "<script>"), ("cookie", "c=\"<b>\"")];
    let page = site.reader().get_with("/page?q=%3Ci%3E", &headers).await;
    page.is(200, "&lt;script&gt;|&quot;&lt;b&gt;&quot;|q=%253Ci%253E");
}
