//! The operators' listener: what it tells, what it changes, and for whom.

use serde_json::{Value, json};

use crate::support::{Gate, Newsroom, Operator, html, newsroom, origin};

async fn site() -> Newsroom {
    newsroom()
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .fragment("least", "10", "inline:<i>10</i>", "")
        .fragment("more", "20", "inline:<i>20</i>", "")
        .page("front", "/", "[front][least][more]")
        .start()
        .await
}

#[tokio::test]
async fn health_and_index() {
    let site = site().await;
    let operator = Operator::of(&site);
    assert_eq!(operator.get("/healthz").await, (200, "ok\n".into()));
    assert_eq!(operator.get("/readyz").await, (200, "ready\n".into()));
    let (status, index) = operator.get("/").await;
    assert_eq!(status, 200);
    for path in [
        "/healthz",
        "/readyz",
        "/state",
        "/level",
        "/switches",
        "/explain",
        "/reload",
    ] {
        assert!(index.contains(path), "{path}");
    }
    let (status, said) = operator.get("/none").await;
    assert_eq!(status, 404);
    assert!(said.contains("`/` lists"), "{said}");
    let (status, said) = operator.ask("PATCH", "/level", "1", &[]).await;
    assert_eq!(status, 405);
    assert!(said.contains("does not take this method"), "{said}");
    // what is for operators is not for readers
    for path in ["/state", "/level", "/healthz"] {
        assert_eq!(site.reader().get(path).await.status, 404);
    }
}

#[tokio::test]
async fn state_tells_what_is_served_and_how_it_goes() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\nowner = \"desk\"\nmax_in_flight = 7",
            cms.url()
        ))
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .optional("block", 40, "cms:/none")
        .page("page", "/", "[article][block]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>text</p>");
    site.reader().get("/").await.is(200, "<p>text</p>");
    let state = site.state().await;
    assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(state["stopping"], false);
    assert!(state["uptime_s"].is_u64());
    assert_eq!(
        state["level"],
        json!({
            "level": 0,
            "called": "full page",
            "by_law": 0,
            "text_only": 1,
            "ladder": [{ "name": "block", "blocks": ["block"] }],
        })
    );
    let cms_state = &state["origins"]["cms"];
    assert_eq!(cms_state["owner"], "desk");
    assert_eq!(cms_state["replicas"][0]["url"], cms.url());
    for (key, expected) in [
        ("in_flight", 0),
        ("max_in_flight", 7),
        // a quarter, because a block asks the same origin
        ("reserved", 1),
        // the article once, the block for each page
        ("requests", 3),
        ("attempts", 3),
        ("failed", 0),
    ] {
        assert_eq!(cms_state[key], expected, "{key}: {cms_state:#}");
    }
    assert_eq!(cms_state["breaker"]["core"]["state"], "closed");
    assert_eq!(state["flights"], 0);
    assert_eq!(state["tally"]["pages"], 2);
    assert_eq!(
        state["tally"]["fragments"]["article"],
        json!({ "fetched": 1, "cached": 1 })
    );
    assert!(state["cache"].is_object());
}

#[tokio::test]
async fn the_level_can_be_set_and_is_obeyed() {
    let site = site().await;
    let operator = Operator::of(&site);
    for (level, called, page) in [
        (1, "least", "<p>front</p><i>20</i>"),
        (2, "text only", "<p>front</p>"),
        (0, "full page", "<p>front</p><i>10</i><i>20</i>"),
    ] {
        let (status, body) = operator.ask("PUT", "/level", &level.to_string(), &[]).await;
        let said: Value = serde_json::from_str(&body).unwrap();
        let ladder = json!([
            { "name": "least", "blocks": ["least"] },
            { "name": "more", "blocks": ["more"] },
        ]);
        let expected = json!({
            "level": level,
            "called": called,
            "by_law": 0,
            "text_only": 2,
            "ladder": ladder,
            "survives_restart": true,
        });
        assert_eq!((status, said), (200, expected));
        let answer = site.reader().get("/").await;
        answer.is(200, page);
        assert_eq!(answer.level(), level);
    }
    let (status, _) = operator
        .ask(
            "PUT",
            "/level",
            "{\"level\": 1, \"by\": \"night desk\"}",
            &[],
        )
        .await;
    assert_eq!(status, 200);
    let event = &site.state().await["tally"]["events"][0];
    let event = event.as_str().unwrap();
    assert!(
        event.starts_with("switch pin: the level is pinned at 1 until 2")
            && event.ends_with(
                ", by night desk: set by hand (before: the level is pinned at 0, by admin API: set by hand)"
            ),
        "{event}"
    );
    assert!(operator.get("/level").await.1.contains("\"level\":1"));
    for release in [("PUT", "auto"), ("PUT", "\"auto\""), ("DELETE", "")] {
        assert_eq!(operator.ask("PUT", "/level", "2", &[]).await.0, 200);
        assert_eq!(site.reader().get("/").await.level(), 2);
        let (status, body) = operator.ask(release.0, "/level", release.1, &[]).await;
        assert!(status == 200 && body.contains("\"level\":0"), "{release:?}");
        assert_eq!(site.reader().get("/").await.level(), 0);
    }
}

#[tokio::test]
async fn a_level_that_makes_no_sense_changes_nothing() {
    let site = site().await;
    let operator = Operator::of(&site);
    for body in [
        "",
        "two",
        "1.5",
        "1e30",
        "null",
        "[1]",
        "{}",
        "{\"level\": \"1\"}",
        "{\"level\": 1, \"for\": \"5m\"}",
        "1 1",
        "\u{0}",
    ] {
        let (status, said) = operator.ask("PUT", "/level", body, &[]).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(
            said,
            "the body must be a level such as `2`, {\"level\": 2, \"by\": \"who\"}, or `auto`; for a reason \
             and an expiry PUT /switches/pin\n"
        );
    }
    for (body, asked) in [
        ("3", "3"),
        ("255", "255"),
        ("256", "256"),
        ("999", "999"),
        ("-1", "-1"),
        ("{\"level\": 3}", "3"),
        ("{\"level\": -1}", "-1"),
    ] {
        let (status, said) = operator.ask("PUT", "/level", body, &[]).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(
            said,
            format!("level {asked} does not exist: this site has 0 (full page) to 2 (text only)\n")
        );
    }
    assert_eq!(site.state().await["level"]["level"], 0);
    assert_eq!(site.state().await["tally"]["events"], json!([]));
}

#[tokio::test]
async fn explain_tells_what_a_page_would_do() {
    let site = site().await;
    let operator = Operator::of(&site);
    let (status, body) = operator.get("/explain?path=/&level=1").await;
    assert_eq!(status, 200);
    let explained: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&explained["page"], &explained["level"]),
        (&json!("front"), &json!(1)),
        "{body}"
    );
    assert_eq!(operator.get("/explain?path=/none").await.0, 404);
    for bad in [
        "/explain",
        "/explain?path=",
        "/explain?path=/&level=x",
        "/explain?path=%00",
        "/explain?path=a b",
    ] {
        assert_eq!(
            operator.get(&bad.replace(' ', "%20")).await.0 / 100,
            4,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn with_a_token_only_who_presents_it_is_heard() {
    let site = newsroom()
        .admin("token = \"open-sesame-0123456789\"")
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .start()
        .await;
    let operator = Operator::of(&site);
    let right = ("authorization", "Bearer open-sesame-0123456789");
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/state"),
        ("GET", "/level"),
        ("PUT", "/level"),
        ("GET", "/explain?path=/"),
        ("POST", "/reload"),
    ] {
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Basic open-sesame-0123456789",
            "open-sesame-0123456789",
        ] {
            let (status, said) = operator
                .ask(method, path, "0", &[("authorization", wrong)])
                .await;
            assert_eq!(status, 401, "{path} {wrong}: {said}");
        }
        assert_eq!(operator.ask(method, path, "0", &[]).await.0, 401, "{path}");
        assert_eq!(
            operator.ask(method, path, "0", &[right]).await.0,
            200,
            "{path}"
        );
    }
    // of these there may not be too many: see `roles.rs`
    for wrong in [
        "Bearer open-sesame-012345678",
        "Bearer open-sesame-01234567890",
        "Bearer Open-sesame-0123456789",
    ] {
        let wrong = [("authorization", wrong)];
        assert_eq!(operator.ask("PUT", "/level", "0", &wrong).await.0, 401);
    }
    // who restarts the process need not know it
    assert_eq!(operator.get("/healthz").await.0, 200);
    assert_eq!(operator.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let site = site().await;
    let operator = Operator::of(&site);
    for from in ["cross-site", "same-site", "unheard-of"] {
        for (method, path) in [("PUT", "/level"), ("POST", "/level"), ("POST", "/reload")] {
            let (status, _) = operator
                .ask(method, path, "1", &[("sec-fetch-site", from)])
                .await;
            assert_eq!(status, 403, "{from} {path}");
        }
    }
    assert_eq!(site.state().await["level"]["level"], 0);
    for from in ["same-origin", "none"] {
        assert_eq!(
            operator
                .ask("PUT", "/level", "1", &[("sec-fetch-site", from)])
                .await
                .0,
            200
        );
    }
}

#[tokio::test]
async fn a_name_that_a_foreign_page_owns_is_no_host_of_operators() {
    let site = site().await;
    let operator = Operator::of(&site);
    // what a browser sends after that name has been made to lead here
    let rebound = [
        ("host", "evil.example:8081"),
        ("origin", "http://evil.example:8081"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(operator.ask("PUT", "/level", "1", &rebound).await.0, 403);
    assert_eq!(operator.ask("GET", "/state", "", &rebound).await.0, 403);
    // a browser without Fetch Metadata, on a foreign page's form
    let form = [
        ("origin", "http://evil.example"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(operator.ask("POST", "/level", "1", &form).await.0, 403);
    assert_eq!(site.state().await["level"]["level"], 0);
    let own = [("origin", operator.url.as_str())];
    assert_eq!(operator.ask("PUT", "/level", "1", &own).await.0, 200);
}

#[tokio::test]
async fn operators_from_elsewhere_need_a_token() {
    let draft = newsroom()
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]");
    let Err(error) = draft.with_admin_listen("0.0.0.0:0").try_start().await else {
        panic!("it started without a token")
    };
    assert!(error.to_string().contains("token"), "{error}");
}

#[tokio::test]
async fn a_stopping_server_finishes_its_pages_and_says_that_it_is_not_ready() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/article", html("<p>text</p>").gated(&gate))
        .start()
        .await;
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"",
            cms.url()
        ))
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "timeout = \"60s\"\nttl = \"0s\"",
        )
        .page_within("page", "/", "<main>[article]</main>", "60s")
        .start()
        .await;
    let (reader, operator) = (site.reader(), Operator::of(&site));
    let page = async { reader.get("/").await };
    let stop = async {
        cms.arrived(1).await;
        // the folder must outlive the server
        let Newsroom { app, .. } = site;
        app.stop().await
    };
    let watch = async {
        cms.arrived(1).await;
        let mut asked = operator.get("/readyz").await;
        while asked.0 == 200 {
            asked = operator.get("/readyz").await;
        }
        assert_eq!(asked, (503, "stopping\n".into()));
        // readers are refused, the page in flight is not
        gate.open();
    };
    let (page, finished, ()) = tokio::join!(page, stop, watch);
    page.is(200, "<main><p>text</p></main>");
    assert!(finished);
    assert!(
        operator
            .client
            .get(format!("{}/healthz", operator.url))
            .send()
            .await
            .is_err()
    );
}
