//! Status, redirects and cookies come from the core fragment and from nothing else.

use crate::support::{Reply, html, newsroom, origin, status};

async fn page_of(core: Reply) -> crate::support::Page {
    let cms = origin()
        .on("/articles/x", core)
        .on(
            "/block",
            html("<b>b</b>")
                .header("set-cookie", "block=1")
                .header("location", "/z"),
        )
        .start()
        .await;
    let site = newsroom()
        .toml("[site]\nnot_found_page = \"404.html\"")
        .file("404.html", "<h1>Introuvable</h1>")
        .origin("cms", &cms)
        .core("article", "cms:/articles/{slug}")
        .optional("block", 40, "cms:/block")
        .page("page", "/articles/{slug}", "[article][block]")
        .start()
        .await;
    site.reader().get("/articles/x").await
}

#[tokio::test]
async fn not_found_and_gone_give_the_sites_404_page() {
    page_of(status(404)).await.is(404, "<h1>Introuvable</h1>");
    page_of(status(410)).await.is(410, "<h1>Introuvable</h1>");
}

#[tokio::test]
async fn redirects_pass_with_their_location() {
    for code in [301, 302, 303, 307, 308] {
        let page = page_of(status(code).header("location", "/articles/new?x=1")).await;
        assert_eq!(page.status, code);
        assert_eq!(page.header("location"), Some("/articles/new?x=1"));
        assert!(!page.body.contains("<b>b</b>"));
    }
}

#[tokio::test]
async fn a_redirect_sets_the_cores_cookies() {
    let login = status(303)
        .header("location", "/login")
        .header("set-cookie", "a=1; Path=/")
        .header("set-cookie", "b=2");
    let page = page_of(login).await;
    assert_eq!(page.status, 303);
    let mut cookies: Vec<_> = page.headers.get_all("set-cookie").iter().collect();
    cookies.sort_unstable();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
}

#[tokio::test]
async fn a_refusal_says_what_would_be_accepted() {
    let challenge = "Basic realm=\"x\", charset=\"UTF-8\"";
    let page = page_of(status(401).header("www-authenticate", challenge)).await;
    assert_eq!(page.status, 401);
    assert_eq!(page.header("www-authenticate"), Some(challenge));
    // not where there is a page
    let page = page_of(html("<p>t</p>").header("www-authenticate", challenge)).await;
    assert_eq!((page.status, page.header("www-authenticate")), (200, None));
}

#[tokio::test]
async fn an_error_page_has_nothing_of_a_core_that_would_have_redirected() {
    let cms = origin()
        .on("/a", status(500))
        .on(
            "/b",
            status(302)
                .header("location", "/z")
                .header("set-cookie", "b=1"),
        )
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("a", "cms:/a")
        .core("b", "cms:/b")
        .page("page", "/", "[a][b]")
        .start()
        .await;
    for _ in 0..20 {
        let page = site.reader().get("/").await;
        // whichever is known first
        let cookie = page.header("set-cookie");
        match page.status {
            503 => assert_eq!((cookie, page.header("location")), (None, None)),
            status => assert_eq!((status, cookie), (302, Some("b=1"))),
        }
    }
}

#[tokio::test]
async fn a_page_of_ones_own_says_so() {
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/you", html("<b>you</b>"))
        .on(
            "/private",
            html("<p>t</p>").header("cache-control", "private"),
        )
        .on("/cookie", html("<p>t</p>").header("set-cookie", "id=1"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .core("private", "cms:/private")
        .core("cookie", "cms:/cookie")
        .core("from_cookie", "cms:/article?id={cookie.id}")
        .fragment("you", "40", "cms:/you", "forward_cookies = [\"id\"]")
        .fragment(
            "auth",
            "40",
            "cms:/you",
            "forward_headers = [\"authorization\"]",
        )
        .page("all", "/all", "[article]")
        .page("you", "/you", "[article][you]")
        .page("auth", "/auth", "[article][auth]")
        .page("private", "/private", "[private]")
        .page("cookie", "/cookie", "[cookie]")
        .page("from_cookie", "/from-cookie", "[from_cookie]")
        .start()
        .await;
    let control = async |path| {
        let page = site.reader().get(path).await;
        assert_eq!(page.status, 200, "{path}");
        page.header("cache-control").map(str::to_owned)
    };
    assert_eq!(control("/all").await.as_deref(), Some("no-cache"));
    for path in ["/you", "/auth", "/private", "/cookie", "/from-cookie"] {
        let said = control(path).await;
        assert_eq!(said.as_deref(), Some("private, no-cache"), "{path}");
    }
}

#[tokio::test]
async fn a_redirect_without_location_is_a_failure() {
    assert_eq!(page_of(status(302)).await.status, 503);
}

#[tokio::test]
async fn refusals_pass_and_failures_do_not() {
    for code in [401, 403, 451] {
        assert_eq!(page_of(status(code)).await.status, code);
    }
    for code in [400, 418, 500, 502, 503, 504] {
        let page = page_of(status(code)).await;
        assert_eq!(page.status, 503, "{code}");
        assert!(page.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn only_the_core_sets_cookies_and_never_from_a_copy() {
    let page = page_of(html("<p>t</p>").header("set-cookie", "core=1; Path=/")).await;
    let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["core=1; Path=/"]);
    assert_eq!(page.header("location"), None);
}

#[tokio::test]
async fn a_personal_answer_is_not_kept_for_others() {
    for (name, value) in [
        ("set-cookie", "id=1"),
        ("cache-control", "private, max-age=60"),
    ] {
        let cms = origin()
            .on("/article", html("<p>t</p>").header(name, value))
            .start()
            .await;
        let site = newsroom()
            .origin("cms", &cms)
            .fragment(
                "article",
                "\"core\"",
                "cms:/article",
                "ttl = \"1h\"\nkeep = \"1h\"",
            )
            .page("page", "/", "[article]")
            .start()
            .await;
        for asked in 1..=2 {
            site.reader().get("/").await.is(200, "<p>t</p>");
            assert_eq!(cms.hits("/article"), asked, "{name}");
        }
    }
}

#[tokio::test]
async fn a_withdrawn_article_does_not_come_back() {
    let cms = origin().on("/article", html("<p>t</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"1ms\"\nkeep = \"1h\"",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>t</p>");
    cms.on("/article", status(410));
    while site.reader().get("/").await.status != 410 {}
    cms.kill();
    assert_eq!(site.reader().get("/").await.status, 503);
}

#[tokio::test]
async fn head_says_what_get_says_without_the_body() {
    let cms = origin().on("/article", html("<p>t</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    reader.get("/").await.is(200, "<p>t</p>");
    let get = reader.get("/").await;
    let head = reader.send(reader.request("HEAD", "/")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some("8"));
    for name in [
        "content-length",
        "content-type",
        "cache-control",
        "marbre-level",
    ] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let post = reader.send(reader.request("POST", "/")).await;
    assert_eq!(
        (post.status, post.header("allow")),
        (405, Some("GET, HEAD"))
    );
}
