//! What is pushed is shown without asking anybody, an older version never takes the place of a newer
//! one, and what is taken back stays away.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::reader::Reader;
use crate::support::{Gate, Newsroom, Page, html, newsroom, origin};

fn operator(site: &Newsroom) -> Reader {
    Reader::new(site.app.admin_address)
}

async fn ask(
    operator: &Reader,
    method: &str,
    path: &str,
    body: impl Into<reqwest::Body>,
    headers: &[(&str, &str)],
) -> Page {
    let mut request = operator.request(method, path).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    operator.send(request).await
}

async fn put(site: &Newsroom, path: &str, body: &str, headers: &[(&str, &str)]) -> Page {
    let body = body.to_owned();
    ask(&operator(site), "PUT", path, body, headers).await
}

fn told(page: &Page) -> Value {
    serde_json::from_str(&page.body).unwrap_or_else(|_| panic!("not JSON: {page:?}"))
}

/// A page of two fragments that are pushed, and no origin at all.
async fn pushed_site() -> Newsroom {
    newsroom()
        .fragment("front", "\"core\"", "push", "")
        .fragment("live", "40", "push:/live/{query.match}", "")
        .page("front", "/", "[front][live]")
        .start()
        .await
}

#[tokio::test]
async fn what_was_pushed_is_the_page_and_nobody_is_asked() {
    let site = pushed_site().await;
    let reader = site.reader();
    let page = reader.get("/").await;
    assert_eq!(page.status, 503, "never pushed, and no other rung");
    assert_eq!(site.complaint("front").await, "failed (nothing was pushed)");

    let answer = put(&site, "/fragments/front/", "<h1>1</h1>", &[]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let said = told(&answer);
    assert_eq!(said["fragment"], "front");
    assert_eq!(said["key"], "/");
    assert_eq!(said["version"], Value::Null);
    assert_eq!(said["replaced"], false);
    assert!(said["stored_at"].as_str().unwrap().contains('T'), "{said}");
    let page = reader.get("/").await;
    page.is(200, "<h1>1</h1>");
    assert_eq!(page.outcome("front"), Some("cached"));
    assert_eq!(page.outcome("live"), Some("failed"));

    for path in ["/fragments/live/live/", "/fragments/live/live/psg-om"] {
        assert_eq!(put(&site, path, "<b>0-0</b>", &[]).await.status, 201);
    }
    reader
        .get("/?match=psg-om")
        .await
        .is(200, "<h1>1</h1><b>0-0</b>");
    let again = put(&site, "/fragments/live/live/psg-om", "<b>1-0</b>", &[]).await;
    assert_eq!(
        (again.status, &told(&again)["replaced"]),
        (200, &json!(true))
    );
    reader
        .get("/?match=psg-om")
        .await
        .is(200, "<h1>1</h1><b>1-0</b>");
    reader.get("/").await.is(200, "<h1>1</h1><b>0-0</b>");
    let state = site.state().await;
    assert_eq!(state["tally"]["pushed"], 4);
    assert_eq!(
        state["tally"]["events"],
        json!([]),
        "there are too many of them"
    );
}

#[tokio::test]
async fn json_goes_through_the_template_and_survives_its_edits() {
    let mut site = newsroom()
        .file("t.html", "<p>{{ params.slug }}: {{ data.title }}</p>")
        .fragment(
            "story",
            "\"core\"",
            "push:/s/{slug}",
            "template = \"t.html\"",
        )
        .page("story", "/{slug}", "[story]")
        .start()
        .await;
    let key = "/fragments/story/s/l%27%C3%A9t%C3%A9";
    let answer = put(&site, key, "{\"title\": \"a < b\"}", &[]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let path = "/l'%C3%A9t%C3%A9";
    let rendered = "<p>l&#39;été: a &lt; b</p>";
    site.reader().get(path).await.is(200, rendered);
    // an edit cannot ask for it again, so it does not lose it
    site.write("t.html", "<i>{{ data.title }}</i>");
    site.rewrite(|toml| {
        toml.replace(
            "[fragments.story]",
            "[fragments.story]\nmax_size = \"1KiB\"",
        )
    });
    let reloaded = ask(&operator(&site), "POST", "/reload", "", &[]).await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    site.reader().get(path).await.is(200, rendered);
    let json = [("content-type", "application/json")];
    assert_eq!(
        put(&site, key, "{\"title\": \"c\"}", &json).await.status,
        200
    );
    site.reader().get(path).await.is(200, "<i>c</i>");
    // and what is HTML has been rendered
    let html = [("content-type", "text/html; charset=UTF-8")];
    assert_eq!(put(&site, key, "<u>d</u>", &html).await.status, 200);
    site.reader().get(path).await.is(200, "<u>d</u>");
}

#[tokio::test]
async fn a_higher_version_wins_whenever_it_comes() {
    let site = pushed_site().await;
    let push = |version: &'static str| {
        let body = format!("<h1>{version}</h1>");
        let site = &site;
        async move {
            let header = [("marbre-version", version)];
            let headers = if version.is_empty() { &[][..] } else { &header };
            put(site, "/fragments/front/", &body, headers).await
        }
    };
    assert_eq!(push("5").await.status, 201);
    let older = push("4").await;
    assert_eq!(older.status, 409, "{older:?}");
    assert_eq!(told(&older)["known"], 5);
    site.reader().get("/").await.is(200, "<h1>5</h1>");
    assert_eq!(push("5").await.status, 200, "a retry");
    assert_eq!(push("7").await.status, 200);
    site.reader().get("/").await.is(200, "<h1>7</h1>");
    // without a version it is newer in time, and goes on with the one before
    let bare = push("").await;
    assert_eq!((bare.status, &told(&bare)["version"]), (200, &json!(7)));
    assert_eq!(push("6").await.status, 409);
    site.reader().get("/").await.is(200, "<h1></h1>");
    let max = "18446744073709551615";
    assert_eq!(push(max).await.status, 200);
    assert_eq!(told(&push("8").await)["known"].to_string(), max);
}

#[tokio::test]
async fn of_many_pushes_at_once_the_highest_version_stays() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let site = pushed_site().await;
    for round in 0..5 {
        let mut versions: Vec<u64> = (1..=50).map(|n| round * 50 + n).collect();
        random.shuffle(&mut versions);
        let pushes = versions.iter().map(|version| {
            let (site, text) = (&site, version.to_string());
            async move {
                let version = [("marbre-version", text.as_str())];
                put(
                    site,
                    "/fragments/front/",
                    &format!("<h1>{text}</h1>"),
                    &version,
                )
                .await
                .status
            }
        });
        let answers = join_all(pushes).await;
        let odd = answers
            .iter()
            .find(|status| ![200, 201, 409].contains(*status));
        assert_eq!(odd, None, "seed {seed}");
        let last = round * 50 + 50;
        let page = site.reader().get("/").await;
        assert_eq!(page.body, format!("<h1>{last}</h1>"), "seed {seed}");
    }
}

#[tokio::test]
async fn what_is_taken_back_is_gone_and_stays_away() {
    let site = pushed_site().await;
    let operator = operator(&site);
    let version = |version: &'static str| [("marbre-version", version)];
    put(&site, "/fragments/front/", "<h1>1</h1>", &version("3")).await;
    put(&site, "/fragments/live/live/", "<b>1</b>", &version("3")).await;
    site.reader().get("/").await.is(200, "<h1>1</h1><b>1</b>");

    let early = ask(
        &operator,
        "DELETE",
        "/fragments/live/live/",
        "",
        &version("2"),
    )
    .await;
    assert_eq!((early.status, &told(&early)["known"]), (409, &json!(3)));
    let gone = ask(
        &operator,
        "DELETE",
        "/fragments/live/live/",
        "",
        &version("5"),
    )
    .await;
    assert_eq!(
        (gone.status, &told(&gone)["was_there"]),
        (200, &json!(true))
    );
    let page = site.reader().get("/").await;
    page.is(200, "<h1>1</h1>");
    assert_eq!(
        page.outcome("live"),
        Some("absent"),
        "there is nothing, and that is right"
    );
    let late = put(&site, "/fragments/live/live/", "<b>4</b>", &version("4")).await;
    assert_eq!((late.status, &told(&late)["known"]), (409, &json!(5)));
    let next = put(&site, "/fragments/live/live/", "<b>6</b>", &version("6")).await;
    assert_eq!(
        (next.status, &told(&next)["replaced"]),
        (201, &json!(false))
    );
    site.reader().get("/").await.is(200, "<h1>1</h1><b>6</b>");

    // a story that is taken back is no server's failure, and its snapshot is no story
    let gone = ask(&operator, "DELETE", "/fragments/front/", "", &[]).await;
    assert_eq!((gone.status, &told(&gone)["version"]), (200, &json!(3)));
    assert_eq!(site.reader().get("/").await.status, 404);
    assert_eq!(
        put(&site, "/fragments/front/", "x", &version("2"))
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn a_core_that_is_taken_back_from_an_origin_takes_its_snapshot_along() {
    let cms = origin().on("/article", html("<p>1</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>1</p>");
    cms.kill();
    let gone = ask(
        &operator(&site),
        "DELETE",
        "/fragments/article/article",
        "",
        &[],
    )
    .await;
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(site.reader().get("/").await.status, 503);
}

#[tokio::test]
async fn a_push_beats_the_flight_that_set_out_before() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/article", html("<p>old</p>").gated(&gate))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    let push = async {
        cms.arrived(1).await;
        let answer = put(&site, "/fragments/article/article", "<p>new</p>", &[]).await;
        gate.open();
        answer
    };
    let (page, answer) = tokio::join!(reader.get("/"), push);
    assert_eq!((page.status, answer.status), (200, 201));
    let page = reader.get("/").await;
    page.is(200, "<p>new</p>");
    assert_eq!(page.outcome("article"), Some("cached"));
    assert_eq!(cms.hits("/article"), 1);
}

#[tokio::test]
async fn an_origin_goes_on_where_a_push_ends() {
    let cms = origin().on("/article", html("<p>origin</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "")
        .page("page", "/", "[article]")
        .start()
        .await;
    let headers = [("marbre-ttl", "1h"), ("marbre-version", "9")];
    put(
        &site,
        "/fragments/article/article",
        "<p>pushed</p>",
        &headers,
    )
    .await;
    site.reader().get("/").await.is(200, "<p>pushed</p>");
    assert_eq!(cms.hits("/article"), 0);
    let headers = [("marbre-ttl", "0s")];
    put(
        &site,
        "/fragments/article/article",
        "<p>stale</p>",
        &headers,
    )
    .await;
    site.reader().get("/").await.is(200, "<p>origin</p>");
    // what the origin says now is newer, and what was counted before stays older
    let late = [("marbre-version", "8")];
    let late = put(&site, "/fragments/article/article", "<p>8</p>", &late).await;
    assert_eq!(late.status, 409, "{late:?}");
}

#[tokio::test]
async fn beyond_its_ttl_it_is_stale_and_still_shown() {
    let site = pushed_site().await;
    for headers in [
        [("marbre-ttl", "1ms")],
        [("cache-control", "no-cache, max-age=0")],
    ] {
        put(&site, "/fragments/front/", "<h1>1</h1>", &headers).await;
        let page = loop {
            let page = site.reader().get("/").await;
            page.is(200, "<h1>1</h1>");
            if page.outcome("front") != Some("cached") {
                break page;
            }
        };
        assert_eq!(page.outcome("front"), Some("stale"));
    }
    let known = ask(&operator(&site), "GET", "/fragments/front", "", &[]).await;
    assert_eq!(told(&known)["state"], "kept");
    // what a client says of its request with every request is not about the copy
    let headers = [("cache-control", "no-cache, no-store")];
    put(&site, "/fragments/front/", "<h1>2</h1>", &headers).await;
    let page = site.reader().get("/").await;
    page.is(200, "<h1>2</h1>");
    assert_eq!(page.outcome("front"), Some("cached"));
}

#[tokio::test]
async fn forwarded_headers_are_variants_and_a_sibling_may_be_pushed() {
    let site = newsroom()
        .fragment(
            "front",
            "\"core\"",
            "push:/f",
            "forward_headers = [\"x-region\"]",
        )
        .fragment("block", "40", "push:/b", "fallback = [\"fragment:spare\"]")
        .fragment("spare", "30", "push:/spare", "")
        .page("front", "/", "[front][block]")
        .start()
        .await;
    for (region, text) in [("nord", "<p>n</p>"), ("sud", "<p>s</p>")] {
        put(&site, "/fragments/front/f", text, &[("x-region", region)]).await;
    }
    put(&site, "/fragments/spare/spare", "<b>spare</b>", &[]).await;
    let reader = site.reader();
    let page = reader.get_with("/", &[("x-region", "nord")]).await;
    page.is(200, "<p>n</p><b>spare</b>");
    assert_eq!(page.outcome("block"), Some("sibling"));
    let page = reader.get_with("/", &[("x-region", "sud")]).await;
    page.is(200, "<p>s</p><b>spare</b>");
    assert_eq!(reader.get("/").await.status, 503);
}

#[tokio::test]
async fn what_is_known_of_a_copy_can_be_asked() {
    let site = pushed_site().await;
    let headers = [
        ("surrogate-key", "story-1 home"),
        ("cache-tag", "sport"),
        ("marbre-version", "4"),
        ("marbre-ttl", "1h"),
    ];
    put(&site, "/fragments/live/live/a", "<b>1</b>", &headers).await;
    let known = ask(&operator(&site), "GET", "/fragments/live/live/a", "", &[]).await;
    let known = told(&known);
    assert_eq!(known["fragment"], "live");
    assert_eq!(known["key"], "/live/a");
    assert_eq!(known["content"], "html");
    assert_eq!(known["state"], "fresh");
    assert_eq!(known["version"], 4);
    assert_eq!(known["tags"], json!(["story-1", "home", "sport"]));
    assert_eq!(known["bytes"], 8);
    assert_eq!(known["where"], "memory");
    assert!(known["age_s"].as_f64().unwrap() < 3600.0, "{known}");
    let unknown = ask(&operator(&site), "GET", "/fragments/live/live/b", "", &[]).await;
    unknown.is(404, "there is no copy of `live` for `/live/b`\n");
    let explained = ask(&operator(&site), "GET", "/explain?path=/", "", &[]).await;
    assert!(explained.body.contains("pushed as /"), "{explained:?}");
}

/// Address, body, headers; status, and what the answer says.
type Row<'r> = (&'r str, &'r [u8], &'r [(&'r str, &'r str)], u16, &'r str);

#[tokio::test]
async fn what_is_not_as_good_as_an_origins_answer_is_refused() {
    let site = newsroom()
        .origin_at("cms", "http://127.0.0.1:9")
        .file(
            "t.html",
            "{% if data.gone %}{{ not_found() }}{% endif %}<p>{{ data.t }}</p>",
        )
        .fragment(
            "front",
            "\"core\"",
            "push",
            "min_size = \"5B\"\nmax_size = \"40B\"\nmust_contain = [\"</h1>\"]",
        )
        .fragment(
            "json",
            "40",
            "cms:/json/{slug}",
            "template = \"t.html\"\nttl = \"1h\"",
        )
        .fragment("mine", "40", "cms:/mine", "forward_cookies = [\"session\"]")
        .fragment("place", "40", "inline:<p>x</p>", "")
        .fragment("brief", "40", "cms:/brief", "ttl = \"0s\"")
        .page("front", "/{slug}", "[front][json][mine][place][brief]")
        .start()
        .await;
    let operator = operator(&site);
    let (front, json) = ("/fragments/front/", "/fragments/json/json/a");
    let long = "<h1>".to_owned() + &"x".repeat(40) + "</h1>";
    let no: [(&str, &str); 0] = [];
    let rows: &[Row<'_>] = &[
        (front, b"", &no, 422, "empty"),
        (front, b"x", &no, 422, "smaller than 5 bytes"),
        (front, b"<h1>x</h2>", &no, 422, "does not contain `</h1>`"),
        (front, b"<h1>\xff</h1>", &no, 422, "unreadable"),
        (front, long.as_bytes(), &no, 413, "`max_size` of 40 bytes"),
        (
            front,
            b"{}",
            &[("content-type", "application/json")],
            415,
            "takes HTML",
        ),
        (
            front,
            b"<h1>x</h1>",
            &[("content-type", "text/html; charset=latin1")],
            415,
            "UTF-8",
        ),
        (
            front,
            b"<h1>x</h1>",
            &[("content-encoding", "gzip")],
            415,
            "gzip",
        ),
        (
            front,
            b"<h1>x</h1>",
            &[("marbre-version", "-1")],
            400,
            "Marbre-Version",
        ),
        (
            front,
            b"<h1>x</h1>",
            &[("marbre-ttl", "soon")],
            400,
            "Marbre-Ttl",
        ),
        (
            "/fragments/front/else",
            b"<h1>x</h1>",
            &no,
            400,
            "it makes `/`",
        ),
        (
            "/fragments/front/?a=b",
            b"<h1>x</h1>",
            &no,
            400,
            "never makes `/?a=b`",
        ),
        (
            "/fragments/fornt/",
            b"<h1>x</h1>",
            &no,
            404,
            "did you mean `front`?",
        ),
        (
            "/fragments/zebra/",
            b"<h1>x</h1>",
            &no,
            404,
            "no fragment `zebra`",
        ),
        (json, b"{", &no, 422, "unreadable"),
        (json, b"{\"gone\": true}", &no, 422, "nothing to show"),
        (
            json,
            b"x",
            &[("content-type", "text/plain")],
            415,
            "JSON for its template",
        ),
        ("/fragments/json/json/", b"{}", &no, 400, "/json/{slug}"),
        (
            "/fragments/json/json/a'b",
            b"{}",
            &no,
            400,
            "percent-encoded",
        ),
        ("/fragments/mine/mine", b"x", &no, 400, "one reader"),
        ("/fragments/place/", b"x", &no, 400, "declared in place"),
        ("/fragments/brief/brief", b"x", &no, 422, "never used"),
    ];
    for (path, body, headers, status, text) in rows {
        let answer = ask(&operator, "PUT", path, body.to_vec(), headers).await;
        assert_eq!(answer.status, *status, "{path} {answer:?}");
        assert!(answer.body.contains(text), "{path} {answer:?}");
    }
    // without a length that is said before
    let pieces = (0..9).map(|_| Ok::<_, std::io::Error>("<h1>x</h1>"));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let answer = ask(&operator, "PUT", front, body, &[]).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(site.state().await["tally"]["pushed"], 0);
    let exact = "<h1>".to_owned() + &"x".repeat(31) + "</h1>";
    assert_eq!(ask(&operator, "PUT", front, exact, &[]).await.status, 201);
}

#[tokio::test]
async fn a_push_source_that_makes_no_sense_is_explained() {
    for (source, more, text) in [
        (
            "push:/{cookie.session}",
            "",
            "what is pushed is for everybody",
        ),
        (
            "push",
            "forward_cookies = [\"session\"]",
            "what is pushed is for everybody",
        ),
        (
            "push:/{header.authorization}",
            "",
            "what is pushed is for everybody",
        ),
        ("push:front", "", "must start with `/`"),
        ("push://front", "", "must start with `/`"),
        ("push:/{section}", "", "has no `{section}`"),
        ("pushed", "", "`push:/path`"),
    ] {
        let site = newsroom()
            .fragment("front", "\"core\"", source, more)
            .page("front", "/", "[front]")
            .try_start()
            .await;
        let Err(error) = site else {
            panic!("{source} {more} was accepted")
        };
        assert!(
            error.to_string().contains(text),
            "{source} {more}:\n{error}"
        );
    }
    let file = tempfile::tempdir().unwrap();
    let toml = "[fragments.f]\npriority = \"core\"\nsource = \"push\"\ntimeout = \"1s\"\n\
                [pages.p]\nroute = \"/\"\nlayout = \"l.html\"\n";
    std::fs::create_dir(file.path().join("templates")).unwrap();
    let layout = "<fragment name=\"f\"></fragment>";
    std::fs::write(file.path().join("templates/l.html"), layout).unwrap();
    let path = file.path().join("fragments.toml");
    std::fs::write(&path, toml).unwrap();
    let loaded = marbre::config::load(&path, &|_| None).unwrap();
    let warned = loaded.warnings.to_string();
    assert!(warned.contains("`timeout` has no effect"), "{warned}");
    assert!(
        loaded.site.fragments[0].reach.disk,
        "there is nobody to ask for it again"
    );
}
