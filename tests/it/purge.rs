//! A purge makes copies stale, or throws them away, by key, fragment, tag or all of them; and
//! nothing that was asked for before it comes back as fresh.

use serde_json::{Value, json};

use crate::support::reader::Reader;
use crate::support::{Gate, Newsroom, Operator, Origin, Page, html, newsroom, origin, raw};

async fn ask(
    site: &Newsroom,
    method: &str,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Page {
    let operator = Reader::new(site.app.admin_address);
    let mut request = operator.request(method, path).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    operator.send(request).await
}

/// Purges, and tells how many copies that touched.
async fn purge(site: &Newsroom, what: &Value) -> u64 {
    let answer = ask(site, "POST", "/purge", &what.to_string(), &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    told["purged"].as_u64().unwrap()
}

async fn cms() -> Origin {
    let tagged = |text: &str, tags: &str| html(text).header("surrogate-key", tags);
    origin()
        .on("/articles/a", tagged("<p>a1</p>", "story-a desk"))
        .on("/articles/b", tagged("<p>b1</p>", "story-b desk"))
        .on("/live", tagged("<i>1</i>", "live"))
        .start()
        .await
}

/// Two stories and a block, all copied for an hour.
async fn site(cms: &Origin) -> Newsroom {
    let ttl = "ttl = \"1h\"\nkeep = \"1h\"";
    let site = newsroom()
        .origin("cms", cms)
        .fragment("article", "\"core\"", "cms:/articles/{slug}", ttl)
        .fragment("live", "40", "cms:/live", ttl)
        .page("article", "/{slug}", "[article][live]")
        .without_snapshots()
        .start()
        .await;
    site.reader().get("/a").await.is(200, "<p>a1</p><i>1</i>");
    site.reader().get("/b").await.is(200, "<p>b1</p><i>1</i>");
    site
}

#[tokio::test]
async fn by_key_by_fragment_by_tag_and_all() {
    let key = json!({ "fragment": "article", "key": "/articles/a" });
    for (what, touched, asked) in [
        (key, 1, [2, 1, 1]),
        (json!({ "fragment": "article" }), 2, [2, 2, 1]),
        (json!({ "fragment": "live" }), 1, [1, 1, 2]),
        (json!({ "tag": "story-a" }), 1, [2, 1, 1]),
        (json!({ "tag": "desk" }), 2, [2, 2, 1]),
        (json!({ "tags": ["story-b", "live", "none"] }), 2, [1, 2, 2]),
        (
            json!({ "tag": "story-b", "tags": ["story-a"] }),
            2,
            [2, 2, 1],
        ),
        (json!({ "tag": "none" }), 0, [1, 1, 1]),
        (json!({ "all": true }), 3, [2, 2, 2]),
        (json!({ "all": true, "hard": true }), 3, [2, 2, 2]),
        (json!({ "tag": "live", "hard": true }), 1, [1, 1, 2]),
    ] {
        let cms = cms().await;
        let site = site(&cms).await;
        assert_eq!(purge(&site, &what).await, touched, "{what}");
        for slug in ["/a", "/b", "/a"] {
            site.reader().get(slug).await;
        }
        let hits = ["/articles/a", "/articles/b", "/live"].map(|target| cms.hits(target));
        assert_eq!(hits, asked, "{what}");
    }
}

#[tokio::test]
async fn the_query_and_the_method_may_say_it_too() {
    let cms = cms().await;
    let site = site(&cms).await;
    for (method, path, purged, what) in [
        ("PURGE", "/purge?tag=story-a", 1, "tag story-a"),
        (
            "POST",
            "/purge?tag=story-b&tag=live",
            2,
            "tag story-b, tag live",
        ),
        ("POST", "/purge?all", 0, "everything"),
        (
            "PURGE",
            "/purge?fragment=article&key=%2Farticles%2Fa&hard=true&by=L%C3%A9a%0A&reason=it+was+wrong",
            1,
            "fragment article, /articles/a",
        ),
        (
            "POST",
            "/purge?fragment=page:article",
            0,
            "fragment page:article",
        ),
    ] {
        let answer = ask(&site, method, path, "", &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            (&told["purged"], &told["what"]),
            (&json!(purged), &json!(what)),
            "{path}"
        );
        assert_eq!(told["hard"], path.contains("hard"));
        assert!(told["at"].as_str().unwrap().contains('T'), "{told}");
    }
    let events = site.state().await["tally"]["events"].clone();
    assert_eq!(events[4], "purged softly: tag story-a, 1 copies in memory");
    assert_eq!(
        events[1],
        "purged hard: fragment article, /articles/a, by Léa because it was wrong, 1 copies in memory"
    );
}

#[tokio::test]
async fn what_is_purged_softly_is_still_there_when_the_origin_is_dead() {
    let cms = cms().await;
    let site = site(&cms).await;
    cms.kill();
    purge(&site, &json!({ "tag": "desk" })).await;
    let page = site.reader().get("/a").await;
    page.is(200, "<p>a1</p><i>1</i>");
    assert_eq!(page.outcome("article"), Some("stale"));
    assert_eq!(page.outcome("live"), Some("cached"));
    purge(&site, &json!({ "tag": "desk", "hard": true })).await;
    assert_eq!(site.reader().get("/a").await.status, 503);
}

#[tokio::test]
async fn a_pushed_copy_that_is_purged_softly_is_shown_until_it_is_replaced() {
    let site = newsroom()
        .fragment("front", "\"core\"", "push", "")
        .page("front", "/", "[front]")
        .without_snapshots()
        .start()
        .await;
    ask(
        &site,
        "PUT",
        "/fragments/front/",
        "<p>1</p>",
        &[("cache-tag", "t")],
    )
    .await;
    assert_eq!(purge(&site, &json!({ "tag": "t" })).await, 1);
    let page = site.reader().get("/").await;
    page.is(200, "<p>1</p>");
    assert_eq!(page.outcome("front"), Some("stale"));
    ask(&site, "PUT", "/fragments/front/", "<p>2</p>", &[]).await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>2</p>");
    assert_eq!(page.outcome("front"), Some("cached"));
    purge(&site, &json!({ "fragment": "front", "hard": true })).await;
    assert_eq!(site.reader().get("/").await.status, 503);
}

#[tokio::test]
async fn a_hard_purge_takes_the_snapshots_that_show_it() {
    for (what, status) in [
        (json!({ "fragment": "other", "hard": true }), 200),
        (json!({ "fragment": "live" }), 200),
        (json!({ "fragment": "live", "hard": true }), 503),
        (
            json!({ "fragment": "live", "key": "/live", "hard": true }),
            503,
        ),
        (json!({ "tag": "live", "hard": true }), 503),
        (json!({ "fragment": "page:article", "hard": true }), 503),
        (json!({ "fragment": "page:other", "hard": true }), 200),
        (json!({ "all": true, "hard": true }), 503),
    ] {
        let cms = cms().await;
        let site = newsroom()
            .origin("cms", &cms)
            .core("article", "cms:/articles/{slug}")
            .optional("live", 40, "cms:/live")
            .fragment("other", "\"core\"", "inline:<p>x</p>", "")
            .page("article", "/{slug}", "[article][live]")
            .page("other", "/", "[other]")
            .start()
            .await;
        for _ in 0..2 {
            site.reader().get("/a").await.is(200, "<p>a1</p><i>1</i>");
        }
        cms.kill();
        site.reader().get("/a").await.is(200, "<p>a1</p><i>1</i>");
        purge(&site, &what).await;
        assert_eq!(site.reader().get("/a").await.status, status, "{what}");
    }
}

#[tokio::test]
async fn a_flight_that_set_out_before_does_not_bring_the_old_copy_back() {
    for hard in [false, true] {
        let gate = Gate::closed();
        let old = html("<p>old</p>").header("surrogate-key", "s");
        let cms = origin().on("/article", old.gated(&gate)).start().await;
        let site = newsroom()
            .origin("cms", &cms)
            .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
            .page("page", "/", "[article]")
            .start()
            .await;
        let reader = site.reader();
        let purged = async {
            cms.arrived(1).await;
            // what the answer will be tagged with is not known yet
            purge(&site, &json!({ "tag": "s", "hard": hard })).await;
            cms.on("/article", html("<p>new</p>"));
            gate.open();
        };
        let (page, ()) = tokio::join!(reader.get("/"), purged);
        page.is(200, "<p>old</p>");
        reader.get("/").await.is(200, "<p>new</p>");
        let page = reader.get("/").await;
        page.is(200, "<p>new</p>");
        assert_eq!(page.outcome("article"), Some("cached"));
    }
}

#[tokio::test]
async fn a_page_after_a_hard_purge_does_not_wait_for_what_set_out_before() {
    let gate = Gate::closed();
    let old = html("<p>old</p>").header("surrogate-key", "s");
    let cms = origin().first("/article", old.gated(&gate)).start().await;
    cms.on("/article", html("<p>new</p>"));
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    let (before, after) = (site.reader(), site.reader());
    let then = async {
        cms.arrived(1).await;
        purge(&site, &json!({ "tag": "s", "hard": true })).await;
        let joins = async {
            let operator = Operator::of(&site);
            let joined = "marbre_flights_joined_total 1";
            while !operator.get("/metrics").await.1.contains(joined) {
                tokio::task::yield_now().await;
            }
            gate.open();
        };
        tokio::join!(after.get("/"), joins).0
    };
    let (first, second) = tokio::join!(before.get("/"), then);
    first.is(200, "<p>old</p>");
    second.is(200, "<p>new</p>");
    assert_eq!(cms.hits("/article"), 2);
}

#[tokio::test]
async fn a_copy_that_was_purged_softly_is_renewed_by_a_304() {
    let cms = origin()
        .on("/article", html("<p>1</p>").header("etag", "\"v1\""))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    purge(&site, &json!({ "all": true })).await;
    cms.on(
        "/article",
        raw("HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n"),
    );
    site.reader().get("/").await.is(200, "<p>1</p>");
    let head = cms.last_head("/article").unwrap();
    assert!(head.contains("if-none-match: \"v1\""), "{head}");
    cms.kill();
    let page = site.reader().get("/").await;
    page.is(200, "<p>1</p>");
    assert_eq!(page.outcome("article"), Some("cached"), "as good as new");
}

#[tokio::test]
async fn what_is_not_understood_purges_nothing() {
    let cms = cms().await;
    let site = site(&cms).await;
    let tags: Vec<String> = (0..200).map(|n| format!("t{n}")).collect();
    let many = json!({ "tags": tags }).to_string();
    let long = json!({ "tag": "x".repeat(300) }).to_string();
    let huge = "x".repeat(100 << 10);
    for (method, path, body, status, text) in [
        ("POST", "/purge", "", 400, "say what to purge"),
        ("POST", "/purge", "{}", 400, "say what to purge"),
        (
            "POST",
            "/purge",
            "{\"all\": false}",
            400,
            "say what to purge",
        ),
        (
            "POST",
            "/purge",
            "{\"hard\": true}",
            400,
            "say what to purge",
        ),
        ("POST", "/purge", "all", 400, "must be JSON"),
        (
            "POST",
            "/purge",
            "{\"frgment\": \"article\"}",
            400,
            "unknown field `frgment`",
        ),
        (
            "POST",
            "/purge",
            "{\"all\": true, \"tag\": \"desk\"}",
            400,
            "at a time",
        ),
        (
            "POST",
            "/purge",
            "{\"fragment\": \"article\", \"tag\": \"desk\"}",
            400,
            "at a time",
        ),
        (
            "POST",
            "/purge",
            "{\"key\": \"/articles/a\"}",
            400,
            "say which",
        ),
        (
            "POST",
            "/purge",
            "{\"all\": true, \"key\": \"/articles/a\"}",
            400,
            "say which",
        ),
        (
            "POST",
            "/purge",
            "{\"fragment\": \"artcle\"}",
            404,
            "did you mean `article`?",
        ),
        (
            "POST",
            "/purge",
            "{\"fragment\": \"page:artcle\"}",
            404,
            "did you mean `page:article`?",
        ),
        (
            "POST",
            "/purge",
            "{\"fragment\": \"page:article\", \"key\": \"/a\"}",
            400,
            "have no keys",
        ),
        (
            "POST",
            "/purge",
            "{\"fragment\": \"article\", \"key\": \"/x/a\"}",
            400,
            "/articles/{slug}",
        ),
        ("POST", "/purge", "{\"tag\": \"\"}", 400, "1 to 256 bytes"),
        ("POST", "/purge", &long, 400, "1 to 256 bytes"),
        ("POST", "/purge", &many, 400, "at most 128 tags"),
        ("POST", "/purge", &huge, 413, ""),
        ("POST", "/purge?all", "{\"all\": true}", 400, "not in both"),
        ("POST", "/purge?all=perhaps", "", 400, "true or false"),
        (
            "POST",
            "/purge?fragment=article&fragment=live",
            "",
            400,
            "said twice",
        ),
        ("POST", "/purge?what=all", "", 400, "unknown field `what`"),
        ("GET", "/purge?all", "", 405, "POST or PURGE"),
        ("DELETE", "/purge?all", "", 405, "POST or PURGE"),
    ] {
        let answer = ask(&site, method, path, body, &[]).await;
        assert_eq!(answer.status, status, "{path} {body} {answer:?}");
        assert!(answer.body.contains(text), "{path} {body} {answer:?}");
    }
    assert_eq!(site.state().await["tally"]["events"], json!([]));
    site.reader().get("/a").await.is(200, "<p>a1</p><i>1</i>");
    assert_eq!(cms.hits("/articles/a"), 1);
}

#[tokio::test]
async fn only_operators_push_withdraw_and_purge() {
    let token = "0123456789abcdef";
    let requests = [
        ("PUT", "/fragments/front/"),
        ("DELETE", "/fragments/front/"),
        ("POST", "/purge?all"),
        ("PURGE", "/purge?all"),
    ];
    let draft = || {
        newsroom()
            .fragment("front", "\"core\"", "push", "")
            .page("front", "/", "[front]")
            .without_snapshots()
    };
    let guarded = draft().admin(&format!("token = \"{token}\"")).start().await;
    let bearer = format!("Bearer {token}");
    let own = [("authorization", bearer.as_str())];
    let answer = ask(&guarded, "PUT", "/fragments/front/", "<p>1</p>", &own).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let open = draft().start().await;
    ask(&open, "PUT", "/fragments/front/", "<p>1</p>", &[]).await;
    for (method, path) in requests {
        for headers in [&[][..], &[("authorization", "Bearer 0123456789abcdeX")]] {
            let answer = ask(&guarded, method, path, "<p>2</p>", headers).await;
            assert_eq!(answer.status, 401, "{method} {path}");
        }
        for header in [
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://evil.example"),
            ("host", "evil.example:8081"),
        ] {
            let answer = ask(&open, method, path, "<p>2</p>", &[header]).await;
            assert_eq!(answer.status, 403, "{method} {path} {header:?}");
        }
        // nor is it for readers
        let reader = guarded.reader();
        let answer = reader
            .send(reader.request(method, path).body("<p>2</p>"))
            .await;
        assert!(
            [404, 405].contains(&answer.status),
            "{method} {path} {answer:?}"
        );
    }
    for site in [&guarded, &open] {
        let page = site.reader().get("/").await;
        page.is(200, "<p>1</p>");
        assert_eq!(page.outcome("front"), Some("cached"));
    }
    let answer = ask(&guarded, "GET", "/fragments/front/", "", &[]).await;
    assert_eq!(answer.status, 401);
}
