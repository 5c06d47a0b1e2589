//! Tailor's templates that a proxy answers: fragments are put in, and the primary one decides about the
//! page.

use crate::support::{Gate, Newsroom, Origin, Reply, html, newsroom, origin, status};

/// A site that weaves everything that `cms` answers.
async fn site(cms: &Origin) -> Newsroom {
    newsroom()
        .weaving("tailor", cms)
        .toml("[markup]\ntimeout = \"20s\"\nbudget = \"25s\"")
        .start()
        .await
}

#[tokio::test]
async fn fragments_stand_where_their_tags_do() {
    let cms = origin().start().await;
    let url = cms.url();
    let page = format!(
        "<!doctype html><head><script type=\"fragment\" src=\"/head\"></script></head><body>\
         <fragment src=\"{url}/a\"></fragment><fragment src=/late async></fragment>\
         <fragment src='/gone'></fragment><fragment src='/gone' fallback-src='/plain'/><p>text</p></body>"
    );
    cms.on("/page", html(page));
    cms.on("/head", html("<title>t</title>"));
    cms.on("/a", html("<fragment src=/late>"));
    cms.on("/late", html("late"));
    cms.on("/gone", status(503));
    cms.on("/plain", html("plain"));
    let site = site(&cms).await;
    let page = site.reader().get("/page").await;
    page.is(
        200,
        "<!doctype html><head><title>t</title></head><body><fragment src=/late>plain<p>text</p>late</body>",
    );
    let control = page.header("cache-control").unwrap();
    assert!(control.contains("no-cache"), "{control}");
    assert_eq!(page.header("pragma"), Some("no-cache"));
}

#[tokio::test]
async fn the_first_primary_decides_wherever_it_stands() {
    let page = "<header>h</header><fragment src=/first></fragment><fragment src=/article primary></fragment><fragment src=/other primary></fragment>";
    let cms = origin()
        .on("/page", html(page))
        .on("/first", html("1").header("set-cookie", "wrong=1"))
        .on("/article", html("text").header("set-cookie", "right=1"))
        .on("/other", status(404))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    let answer = reader.get("/page").await;
    answer.is(200, "<header>h</header>1text");
    assert_eq!(answer.header("set-cookie"), Some("right=1"));

    for code in [300, 301, 302, 307] {
        let elsewhere = Reply::headed(code, &[("location", "https://else.example/")], b"");
        cms.on("/article", elsewhere);
        let answer = reader.get("/page").await;
        assert_eq!(answer.status, code);
        assert_eq!(answer.header("location"), Some("https://else.example/"));
    }

    cms.on("/article", status(404));
    let answer = reader.get("/page").await;
    assert_eq!(answer.status, 404);
    assert!(!answer.body.contains("header"), "{}", answer.body);

    cms.on("/article", status(500));
    let answer = reader.get("/page").await;
    assert_eq!(answer.status, 502);
}

#[tokio::test]
async fn a_page_has_the_status_of_its_primary() {
    let page = "<i>h</i><fragment src=/article primary return-headers></fragment>";
    let cms = origin()
        .on("/page", html(page))
        .on("/plain", html("plain"))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    // 299 is known to nobody, and is of their class
    for code in [200, 201, 202, 203, 207, 208, 299] {
        let target = format!("/article{code}");
        cms.on(
            "/page",
            html(page.replace("/article", &target)).header("cache-control", "no-cache"),
        );
        let headers = [("cache-control", "max-age=60"), ("x-made", "yes")];
        cms.on(&target, Reply::headed(code, &headers, b"text"));
        // of an answer, and then of its copy
        for _ in 0..2 {
            let answer = reader.get("/page").await;
            answer.is(code, "<i>h</i>text");
            assert_eq!(answer.header("x-made"), Some("yes"), "{code}");
        }
        let asked = cms.targets().into_iter().filter(|t| *t == target);
        assert_eq!(asked.count(), 1, "{code}");
    }
    // what has no content, or is a part that nobody has asked for, is no primary
    for code in [204, 205, 206, 226] {
        let target = format!("/article{code}");
        cms.on(&target, Reply::headed(code, &[], b""));
        cms.on("/page", html(page.replace("/article", &target)));
        assert_eq!(reader.get("/page").await.status, 502, "{code}");
        let spare = format!("<fragment src={target} fallback-src=/plain primary></fragment>");
        cms.on("/spare", html(spare));
        reader.get("/spare").await.is(200, "plain");
    }
}

#[tokio::test]
async fn a_template_of_a_page_that_is_not_there_keeps_its_status() {
    let lost = Reply::headed(
        404,
        &[("content-type", "text/html")],
        b"<fragment src=/sorry primary/>",
    );
    let cms = origin()
        .on("/page", lost)
        .on("/sorry", html("sorry"))
        .start()
        .await;
    let site = site(&cms).await;
    site.reader().get("/page").await.is(404, "sorry");
    cms.on("/sorry", Reply::headed(410, &[], b""));
    assert_eq!(site.reader().get("/page").await.status, 410);
}

#[tokio::test]
async fn the_stylesheets_of_a_fragment_stand_before_it() {
    let page = "<fragment src=/a></fragment><fragment src=/stored async></fragment><fragment src=/article primary></fragment>";
    let cms = origin()
        .on("/page", html(page))
        .on(
            "/a",
            html("A").header(
                "link",
                "</a.css>; rel=\"stylesheet\", </a.js>; rel=\"fragment-script\"",
            ),
        )
        .on(
            "/stored",
            html("S").header("x-amz-meta-link", "</s.css>; rel=stylesheet"),
        )
        .on(
            "/article",
            html("text").header("link", "</p.css>; rel=stylesheet"),
        )
        .start()
        .await;
    let site = site(&cms).await;
    let answer = site.reader().get("/page").await;
    answer.is(
        200,
        "<link rel=\"stylesheet\" href=\"/a.css\">A<link rel=\"stylesheet\" href=\"/p.css\">text<link rel=\"stylesheet\" href=\"/s.css\">S",
    );
    let link = answer.header("link").unwrap();
    assert_eq!(link, "</p.css>; rel=\"preload\"; as=\"style\"; nopush");
}

#[tokio::test]
async fn no_byte_leaves_before_the_primary_is_there() {
    let gate = Gate::closed();
    let cms = origin()
        .on(
            "/page",
            html("<p>before</p><fragment src=/slow primary timeout=20000></fragment>"),
        )
        .on("/slow", status(500).gated(&gate))
        .start()
        .await;
    let site = site(&cms).await;
    let reader = site.reader();
    let (page, ()) = tokio::join!(reader.get("/page"), async {
        cms.arrived(2).await;
        gate.open();
    });
    assert_eq!(page.status, 502);
}

#[tokio::test]
async fn a_timeout_is_the_fragments_own() {
    let gate = Gate::closed();
    let cms = origin()
        .on(
            "/page",
            html("a<fragment src=/slow timeout=50 fallback-src=/plain></fragment>b"),
        )
        .on(
            "/primary",
            html("<fragment src=/slow timeout=50 primary></fragment>"),
        )
        .on("/slow", html("slow").gated(&gate))
        .on("/plain", html("plain"))
        .start()
        .await;
    let site = site(&cms).await;
    site.reader().get("/page").await.is(200, "aplainb");
    assert_eq!(site.reader().get("/primary").await.status, 502);
    gate.open();
}

#[tokio::test]
async fn a_public_fragment_learns_nothing_of_the_reader() {
    let cms = origin()
        .on(
            "/page",
            html("<fragment src=/own></fragment><fragment src=/public public></fragment>"),
        )
        .on("/own", html("o"))
        .on("/public", html("p"))
        .start()
        .await;
    let site = site(&cms).await;
    let headers = [("cookie", "id=7"), ("accept-language", "fr")];
    site.reader()
        .get_with("/page", &headers)
        .await
        .is(200, "op");
    let head = |target| cms.last_head(target).unwrap().to_ascii_lowercase();
    assert!(head("/own").contains("id=7") && head("/own").contains("\r\naccept-language: fr"));
    assert!(!head("/public").contains("id=7") && !head("/public").contains("accept-language: fr"));
}

#[tokio::test]
async fn a_page_has_the_headers_of_its_primary_where_the_template_says_so() {
    let article = html("text")
        .header("x-article", "7")
        .header("x-frame-options", "DENY")
        .header("content-language", "fr")
        .header("cache-control", "public, max-age=60")
        .header("etag", "\"1\"")
        .header("x-hop", "1")
        .header("connection", "x-hop")
        .header("surrogate-key", "a7");
    let cms = origin()
        .on(
            "/returns",
            html("<fragment src=/article primary return-headers></fragment>")
                .header("x-frame-options", "SAMEORIGIN"),
        )
        .on(
            "/keeps",
            html("<fragment src=/article primary></fragment>")
                .header("x-frame-options", "SAMEORIGIN"),
        )
        .on("/article", article)
        .start()
        .await;
    let site = site(&cms).await;
    // of an answer, and then of its copy
    for _ in 0..2 {
        let page = site.reader().get("/returns").await;
        page.is(200, "text");
        assert_eq!(page.header("x-article"), Some("7"));
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        assert_eq!(page.header("content-language"), Some("fr"));
        for not_returned in ["etag", "x-hop", "surrogate-key", "age"] {
            assert_eq!(page.header(not_returned), None, "{not_returned}");
        }
        let control = page.header("cache-control").unwrap();
        assert!(control.starts_with("private, no-cache"), "{control}");
    }
    let page = site.reader().get("/keeps").await;
    page.is(200, "text");
    assert_eq!(page.header("x-article"), None);
    assert_eq!(page.header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(page.header("content-language"), Some("fr"));
    let asked = cms.targets().into_iter().filter(|t| t == "/article");
    assert_eq!(asked.count(), 1);
}
