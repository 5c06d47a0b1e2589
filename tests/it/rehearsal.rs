//! A page at a level of the reader's choice: who may see it, that nobody else ever does, and readers
//! whose browser says that it wants less.

use crate::support::{Newsroom, Operator, Origin, Page, html, newsroom, origin};

const TOKEN: &str = "0123456789abcdef";

const FULL: &str = "<p>a</p><i>least</i><i>more</i>";

async fn cms() -> Origin {
    origin()
        .on("/a", html("<p>a</p>"))
        .on("/least", html("<i>least</i>"))
        .on("/more", html("<i>more</i>"))
        .start()
        .await
}

async fn site(cms: &Origin, degradation: &str) -> Newsroom {
    newsroom()
        .toml(&format!("[degradation]\n{degradation}"))
        .origin("cms", cms)
        .core("article", "cms:/a")
        .optional("least", 10, "cms:/least")
        .optional("more", 20, "cms:/more")
        .page("page", "/", "[article][least][more]")
        .start()
        .await
}

fn with_token() -> String {
    format!("mode = \"off\"\nrehearse_token = \"{TOKEN}\"")
}

async fn rehearse(site: &Newsroom, says: &str) -> Page {
    site.reader()
        .get_with("/", &[("marbre-rehearse", says)])
        .await
}

#[tokio::test]
async fn a_level_is_rehearsed_by_whoever_has_the_token() {
    let cms = cms().await;
    let site = site(&cms, &with_token()).await;
    for (level, body) in [
        (0, FULL),
        (1, "<p>a</p><i>more</i>"),
        (2, "<p>a</p>"),
        // beyond the ladder is its last step
        (9, "<p>a</p>"),
    ] {
        let page = rehearse(&site, &format!("level={level}; token={TOKEN}")).await;
        page.is(200, body);
        let shown = level.min(2).to_string();
        assert_eq!(page.header("marbre-rehearsed"), Some(shown.as_str()));
        assert_eq!(page.level().to_string(), shown);
        assert_eq!(page.header("cache-control"), Some("private, no-store"));
    }
    // everybody else sees the page
    let page = site.reader().get("/").await;
    page.is(200, FULL);
    assert_eq!(page.header("marbre-rehearsed"), None);
}

#[tokio::test]
async fn without_the_right_token_the_header_does_not_exist() {
    let cms = cms().await;
    let (site, other) = (
        site(&cms, &with_token()).await,
        site(&cms, "mode = \"off\"").await,
    );
    for says in [
        "level=2",
        "level=2; token=",
        "level=2; token=0123456789abcdeX",
        "level=2; token=0123456789abcdef0",
        "token=0123456789abcdef",
        "nonsense",
    ] {
        for site in [&site, &other] {
            let (page, plain) = (rehearse(site, says).await, site.reader().get("/").await);
            page.is(200, FULL);
            let names = |page: &Page| -> Vec<String> {
                let mut names: Vec<String> = page.headers.keys().map(ToString::to_string).collect();
                names.sort();
                names
            };
            assert_eq!(names(&page), names(&plain), "{says}");
            assert_eq!(page.header("cache-control"), plain.header("cache-control"));
            assert_eq!(page.header("marbre-level"), plain.header("marbre-level"));
        }
    }
    let page = rehearse(&other, &format!("level=2; token={TOKEN}")).await;
    page.is(200, FULL);
}

#[tokio::test]
async fn a_rehearsal_is_above_a_pin_and_below_a_switch() {
    let cms = cms().await;
    let site = site(&cms, &with_token()).await;
    let operator = Operator::of(&site);
    operator.switch("pin", "\"level\": 2, ").await;
    operator.switch("block/least", "\"off\": true, ").await;
    site.reader().get("/").await.is(200, "<p>a</p>");
    let page = rehearse(&site, &format!("level=0; token={TOKEN}")).await;
    page.is(200, "<p>a</p><i>more</i>");
    assert_eq!(page.header("marbre-rehearsed"), Some("0"));
}

#[tokio::test]
async fn nothing_of_a_rehearsal_is_kept_as_the_page() {
    let cms = cms().await;
    let site = site(&cms, &with_token()).await;
    let full = format!("level=0; token={TOKEN}");
    // what is asked for twice would be taken as a snapshot
    for _ in 0..3 {
        rehearse(&site, &full).await.is(200, FULL);
    }
    cms.kill();
    assert_eq!(site.reader().get("/").await.status, 503);
    assert_eq!(site.state().await["tally"]["snapshots"], 0);
}

#[tokio::test]
async fn the_token_is_told_to_nobody() {
    let cms = cms().await;
    let site = site(&cms, &with_token()).await;
    let operator = Operator::of(&site);
    for path in ["/state", "/switches", "/level", "/explain?path=/", "/"] {
        let (status, said) = operator.get(path).await;
        assert!(status == 200 && !said.contains(TOKEN), "{path}");
    }
}

#[tokio::test]
async fn browsers_that_save_data_start_lower() {
    let cms = cms().await;
    for (degradation, lower, vary) in [
        ("save_data = 1", "<p>a</p><i>more</i>", Some("save-data")),
        ("save_data = 2", "<p>a</p>", Some("save-data")),
        ("save_data = 99", "<p>a</p>", Some("save-data")),
        ("save_data = 0", FULL, None),
        ("mode = \"off\"", FULL, None),
        ("mode = \"dry-run\"", FULL, None),
    ] {
        let site = site(&cms, degradation).await;
        let reader = site.reader();
        let page = reader.get_with("/", &[("save-data", "on")]).await;
        page.is(200, lower);
        for page in [page, reader.get("/").await] {
            let varies = page.headers.get_all("vary").iter();
            let mut varies = varies.map(|value| value.to_str().unwrap());
            assert_eq!(
                varies.find(|name| *name == "save-data"),
                vary,
                "{degradation}"
            );
        }
        reader.get("/").await.is(200, FULL);
        reader
            .get_with("/", &[("save-data", "off")])
            .await
            .is(200, FULL);
    }
}
