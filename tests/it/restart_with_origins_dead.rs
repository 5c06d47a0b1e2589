//! With every origin dead, a server that was restarted serves every page that it served before.

use crate::support::{Newsroom, Origin, html, json, newsroom, origin, status};

async fn newspaper(cms: &Origin, web: &Origin) -> Newsroom {
    newsroom()
        .origin("cms", cms)
        .origin("web", web)
        .file(
            "article.html",
            "<h1>{{ data.title }}</h1><!--part head--><title>{{ data.title }}</title><!--/part-->",
        )
        .fragment(
            "article",
            "\"core\"",
            "cms:/articles/{slug}?l={lang}",
            "template = \"article.html\"\nttl = \"30s\"",
        )
        .fragment("front", "\"core\"", "cms:/front", "ttl = \"0s\"")
        .fragment("header", "\"essential\"", "web:/header", "ttl = \"5m\"")
        .fragment(
            "live",
            "60",
            "web:/live",
            "ttl = \"5s\"\nkeep = \"1h\"\ndurable = true",
        )
        .fragment("ad", "10", "web:/ad", "ttl = \"5s\"\nkeep = \"1h\"")
        .page("article", "/articles/{slug}", "[header][article][live][ad]")
        .page("front", "/", "[header][front]")
        .start()
        .await
}

async fn origins() -> (Origin, Origin) {
    let mut cms = origin().on("/front", html("<p>front</p>"));
    for number in 0..40 {
        for language in ["fr", "de"] {
            let story = format!("{{\"title\": \"{number} {language}\"}}");
            cms = cms.on(&format!("/articles/{number}?l={language}"), json(story));
        }
    }
    let web = origin()
        .on("/header", html("<nav>h</nav>"))
        .on("/live", html("<b>live</b>"))
        .on("/ad", html("<i>ad</i>"));
    (cms.start().await, web.start().await)
}

#[tokio::test]
async fn every_page_that_was_served_is_served_again() {
    let (cms, web) = origins().await;
    let mut site = newspaper(&cms, &web).await;
    let pages: Vec<(String, &str, String)> = (0..40)
        .flat_map(|number| {
            ["fr", "de"].map(|language| {
                let text = format!("<nav>h</nav><h1>{number} {language}</h1><b>live</b>");
                (format!("/articles/{number}"), language, text)
            })
        })
        .collect();
    for (path, language, text) in &pages {
        let headers = [("accept-language", *language)];
        let page = site.reader().get_with(path, &headers).await;
        page.is(200, &format!("{text}<i>ad</i>"));
    }
    let front = "<nav>h</nav><p>front</p>";
    // the snapshot of one page may have to wait for another's: asked until it has been taken
    let holds_front = |state: &serde_json::Value| state["tally"]["snapshots"] == 1;
    loop {
        cms.on("/front", html("<p>front</p>"));
        site.reader().get("/").await.is(200, front);
        cms.on("/front", status(500));
        site.reader().get("/").await;
        if holds_front(&site.state().await) {
            break;
        }
    }
    cms.kill();
    web.kill();
    // twice: what a start has found, the next one finds too
    for _ in 0..2 {
        site = site.restarted().await;
        for (path, language, text) in &pages {
            let headers = [("accept-language", *language)];
            let page = site.reader().get_with(path, &headers).await;
            // the ad is in memory only, and optional; a snapshot has it still
            assert_eq!(page.status, 200, "{path} {language}");
            let without_ad = page.body.replace("<i>ad</i>", "");
            assert_eq!(without_ad, *text, "{path} {language}");
        }
        site.reader().get("/").await.is(200, front);
        let state = site.state().await;
        assert_eq!(state["tally"]["unavailable"], 0, "{state}");
        assert_eq!(state["disk"]["problem"], serde_json::Value::Null, "{state}");
    }
}

#[tokio::test]
async fn what_was_taken_back_stays_away_over_a_restart() {
    let (cms, web) = origins().await;
    let site = newspaper(&cms, &web).await;
    let text = "<nav>h</nav><h1>1 fr</h1><b>live</b><i>ad</i>";
    let fr = [("accept-language", "fr")];
    site.reader()
        .get_with("/articles/1", &fr)
        .await
        .is(200, text);
    let mut site = site;
    site.rewrite(|toml| toml.replace("ttl = \"30s\"", "ttl = \"0s\""));
    site.app.reload().await.unwrap();
    cms.on("/articles/1?l=fr", status(410));
    assert_eq!(site.reader().get_with("/articles/1", &fr).await.status, 410);
    cms.kill();
    let site = site.restarted().await;
    assert_eq!(site.reader().get_with("/articles/1", &fr).await.status, 503);
}

#[tokio::test]
async fn a_restart_asks_for_nothing_that_is_fresh() {
    let (cms, web) = origins().await;
    let site = newspaper(&cms, &web).await;
    let fr = [("accept-language", "fr")];
    assert_eq!(site.reader().get_with("/articles/1", &fr).await.status, 200);
    let asked = || (cms.hits("/articles/1?l=fr"), web.hits("/header"));
    let before = asked();
    let site = site.restarted().await;
    let page = site.reader().get_with("/articles/1", &fr).await;
    page.is(200, "<nav>h</nav><h1>1 fr</h1><b>live</b><i>ad</i>");
    // what the head says of the others depends on which of them was read from disk by then
    assert_eq!(page.outcome("article"), Some("cached"), "{page:?}");
    assert_eq!(asked(), before);
}

#[tokio::test]
async fn a_reader_s_own_copies_are_never_on_disk() {
    let cms = origin()
        .on("/account", html("<p>SECRET-OF-ONE</p>"))
        .on(
            "/private",
            html("<p>SECRET-OF-TWO</p>").header("cache-control", "private"),
        )
        .on(
            "/cookie",
            html("<p>SECRET-OF-THREE</p>").header("set-cookie", "id=1"),
        )
        .on("/open", html("<p>FOR-ALL</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "account",
            "\"core\"",
            "cms:/account",
            "ttl = \"1h\"\nforward_cookies = [\"session\"]",
        )
        .fragment("private", "\"essential\"", "cms:/private", "ttl = \"1h\"")
        .fragment("cookie", "\"essential\"", "cms:/cookie", "ttl = \"1h\"")
        .fragment("open", "\"core\"", "cms:/open", "ttl = \"1h\"")
        .page("mine", "/mine", "[account]")
        .page("page", "/", "[open][private][cookie]")
        .start()
        .await;
    let reader = site.reader();
    let session = [("cookie", "session=a")];
    assert_eq!(reader.get_with("/mine", &session).await.status, 200);
    reader.get("/").await.is(
        200,
        "<p>FOR-ALL</p><p>SECRET-OF-TWO</p><p>SECRET-OF-THREE</p>",
    );
    let folder = site.state_dir();
    let site = site.restarted().await;
    let mut seen = String::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                seen += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    assert!(
        seen.contains("FOR-ALL"),
        "short copies lie there as they are"
    );
    assert!(
        !seen.contains("SECRET"),
        "what is one reader's own is on disk"
    );
    drop(site);
}
