//! What a page says of who may keep it, and for how long: as its blocks allow, as the site declares, and
//! as little as possible where something is given up.

use crate::support::{
    Gate, Newsroom, Operator, Origin, Page, Port, html, newsroom, origin, status,
};

const CACHE: &str = "[pages.page.cache]\nshared_max_age = \"1m\"\nmax_age = \"5s\"\nstale_while_revalidate = \"30s\"\nstale_if_error = \"1d\"";

/// A copy that is fresh for exactly so long.
fn fresh_for(ttl: &str) -> String {
    format!("ttl = \"{ttl}\"\njitter = 0")
}

/// An article that is fresh for an hour, and a block for as long as is said.
async fn site_of(cms: &Origin, block_ttl: &str, more: &str) -> Newsroom {
    newsroom()
        .origin("cms", cms)
        .fragment("article", "\"core\"", "cms:/article", &fresh_for("1h"))
        .fragment("block", "40", "cms:/block", &fresh_for(block_ttl))
        .page("page", "/", "[article][block]")
        .toml(more)
        .start()
        .await
}

async fn cms() -> Origin {
    let cms = origin().on("/article", html("<p>text</p>"));
    cms.on("/block", html("<b>block</b>")).start().await
}

fn control(page: &Page) -> &str {
    page.header("cache-control").expect("a page says it")
}

/// The number that a directive has.
fn directive(page: &Page, name: &str) -> Option<u64> {
    let mut directives = control(page).split(", ").filter_map(|d| d.split_once('='));
    let found = directives.find(|(known, _)| *known == name);
    found.map(|(_, value)| value.parse().expect("a number of seconds"))
}

/// The page once all of it is at hand.
async fn settled(site: &Newsroom) -> Page {
    let reader = site.reader();
    reader.get("/").await;
    let page = reader.get("/").await;
    assert_eq!(page.outcome("block"), Some("cached"));
    page
}

#[tokio::test]
async fn unless_declared_nobody_keeps_a_page_without_asking_again() {
    let cms = cms().await;
    let page = settled(&site_of(&cms, "1h", "").await).await;
    assert_eq!(control(&page), "no-cache");
    assert!(page.header("etag").is_some());
    assert_eq!(page.header("surrogate-control"), None);
}

#[tokio::test]
async fn the_declaration_is_an_upper_bound() {
    let cms = cms().await;
    let page = settled(&site_of(&cms, "1h", CACHE).await).await;
    let expected = "max-age=5, s-maxage=60, stale-while-revalidate=30, stale-if-error=86400";
    assert_eq!(control(&page), expected);
}

#[tokio::test]
async fn so_is_the_block_that_goes_stale_first() {
    let cms = cms().await;
    let page = settled(&site_of(&cms, "40s", CACHE).await).await;
    let lifetime = directive(&page, "s-maxage").unwrap();
    assert!((1..=40).contains(&lifetime), "{}", control(&page));
    // asked for anew each time
    let page = {
        let site = site_of(&cms, "0s", CACHE).await;
        site.reader().get("/").await;
        site.reader().get("/").await
    };
    assert_eq!(directive(&page, "s-maxage"), None, "{}", control(&page));
    // by what the origin itself says, and how old its answer was
    let aged = html("<b>block</b>").header("cache-control", "max-age=50");
    cms.on("/block", aged.header("age", "20"));
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", &fresh_for("1h"))
        .fragment("block", "40", "cms:/block", "jitter = 0")
        .page("page", "/", "[article][block]")
        .toml(CACHE)
        .start()
        .await;
    let lifetime = directive(&settled(&site).await, "s-maxage").unwrap();
    assert!((1..=30).contains(&lifetime), "{lifetime}");
}

#[tokio::test]
async fn a_purged_copy_is_good_for_no_time() {
    let cms = cms().await;
    let site = site_of(&cms, "1h", CACHE).await;
    assert_eq!(directive(&settled(&site).await, "s-maxage"), Some(60));
    // the next copy cannot be had
    cms.on("/block", status(500));
    let operator = Operator::of(&site);
    let (status, said) = operator.ask("POST", "/purge?fragment=block", "", &[]).await;
    assert_eq!(status, 200, "{said}");
    let page = site.reader().get("/").await;
    page.is(200, "<p>text</p><b>block</b>");
    assert_eq!(directive(&page, "s-maxage"), None, "{}", control(&page));
}

#[tokio::test]
async fn a_block_without_content_bounds_the_page_too() {
    let cms = cms().await;
    cms.on("/block", status(404));
    let site = site_of(&cms, "40s", CACHE).await;
    let reader = site.reader();
    reader.get("/").await;
    let page = reader.get("/").await;
    page.is(200, "<p>text</p>");
    assert_eq!(page.outcome("block"), Some("absent"));
    let lifetime = directive(&page, "s-maxage").unwrap();
    assert!((1..=40).contains(&lifetime), "{}", control(&page));
}

#[tokio::test]
async fn a_block_that_alone_is_private_makes_the_page_private_however_late_it_is() {
    let private = html("<b>yours</b>").header("cache-control", "private, max-age=60");
    for is_late in [true, false] {
        let (early, late) = (Gate::closed(), Gate::closed());
        let (article, block) = match is_late {
            true => (&early, &late),
            false => (&late, &early),
        };
        let cms = origin()
            .on("/article", html("<p>text</p>").gated(article))
            .on("/block", private.clone().gated(block))
            .start()
            .await;
        let site = newsroom()
            .patient_origin("cms", &cms.url())
            .fragment("article", "\"core\"", "cms:/article", &fresh_for("1h"))
            .fragment("block", "40", "cms:/block", "timeout = \"20s\"")
            .page_within("page", "/", "[article][block]", "20s")
            .toml(CACHE)
            .start()
            .await;
        let reader = site.reader();
        early.open();
        let request = reader.request("GET", "/").send();
        let (answer, ()) = tokio::join!(request, async {
            cms.arrived(2).await;
            if !is_late {
                late.open();
            }
        });
        // where the block is late, this is the head of a page that has no block yet
        let answer = answer.unwrap();
        let control = answer.headers()["cache-control"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(control, "private, no-cache", "late: {is_late}");
        assert!(!answer.headers().contains_key("etag") || !is_late);
        late.open();
        let body = answer.text().await.unwrap();
        assert_eq!(body, "<p>text</p><b>yours</b>");
        // nor is any other page for others, now that the article is at hand
        let again = reader.get("/").await;
        assert_eq!(again.header("cache-control"), Some("private, no-cache"));
    }
}

#[tokio::test]
async fn what_is_degraded_is_not_kept_unless_that_is_declared() {
    let degraded = "degraded_max_age = \"2s\"";
    for (more, expected) in [
        (CACHE.to_owned(), "no-store"),
        (
            format!("{CACHE}\n{degraded}"),
            "max-age=0, s-maxage=2, stale-if-error=86400",
        ),
    ] {
        let cms = cms().await;
        let site = newsroom()
            .origin("cms", &cms)
            .fragment("article", "\"core\"", "cms:/article", &fresh_for("1h"))
            .fragment("block", "40", "cms:/block", &fresh_for("1h"))
            .page("page", "/", "[article][block]")
            .toml(&more)
            .toml("[site]\ndegraded_for_crawlers = \"serve\"")
            .level(1)
            .start()
            .await;
        let reader = site.reader();
        reader.get("/").await;
        let page = reader.get("/").await;
        page.is(200, "<p>text</p>");
        assert_eq!(page.level(), 1);
        assert_eq!(control(&page), expected);
        let has_tag = page.header("etag").is_some();
        assert_eq!(has_tag, expected != "no-store");
    }
}

#[tokio::test]
async fn what_could_not_be_had_is_not_missing_for_long() {
    for (more, expected) in [
        (CACHE.to_owned(), "no-cache"),
        (
            format!("{CACHE}\ndegraded_max_age = \"2s\""),
            "max-age=0, s-maxage=2, stale-if-error=86400",
        ),
    ] {
        let cms = cms().await;
        let dead = Port::held();
        let site = newsroom()
            .origin("cms", &cms)
            .origin_at("dead", &dead.url())
            .fragment("article", "\"core\"", "cms:/article", &fresh_for("1h"))
            .fragment(
                "gone",
                "\"core\"",
                "dead:/x",
                "fallback = [\"inline:<i>gone</i>\"]",
            )
            .page("page", "/", "[article][gone]")
            .toml(&more)
            .start()
            .await;
        let page = site.reader().get("/").await;
        page.is(200, "<p>text</p><i>gone</i>");
        assert_eq!(control(&page), expected);
    }
}

#[tokio::test]
async fn surrogates_are_told_apart() {
    let cms = cms().await;
    let site = site_of(&cms, "1h", CACHE).await;
    settled(&site).await;
    let capable = [("surrogate-capability", "edge=\"Surrogate/1.0\"")];
    let page = site.reader().get_with("/", &capable).await;
    assert_eq!(page.header("surrogate-control"), Some("max-age=60+30"));
    assert_eq!(directive(&page, "s-maxage"), Some(60));
    // of a page that is one reader's own
    let cms = origin().on("/a", html("<p>t</p>").header("set-cookie", "a=1"));
    let cms = cms.start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/a")
        .page("page", "/", "[article]")
        .toml(CACHE)
        .start()
        .await;
    let page = site.reader().get_with("/", &capable).await;
    assert_eq!(control(&page), "private, no-cache");
    assert_eq!(page.header("surrogate-control"), Some("no-store"));
}

#[tokio::test]
async fn a_page_varies_with_what_its_blocks_read() {
    let cms = cms().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .optional("by_lang", 40, "cms:/block?l={lang}&d={device}")
        .fragment(
            "by_edition",
            "40",
            "cms:/block",
            "forward_headers = [\"x-edition\"]",
        )
        .fragment("own", "40", "cms:/block", "forward_cookies = [\"session\"]")
        .fragment(
            "stands_in",
            "40",
            "cms:/none",
            "fallback = [\"fragment:own\"]",
        )
        .optional("by_query", 40, "cms:/block?q={query.q}")
        .page("plain", "/plain", "[article][by_query]")
        .page("several", "/several", "[article][by_lang][by_edition]")
        .page("own", "/own", "[article][stands_in]")
        .start()
        .await;
    for (path, expected) in [
        ("/plain", None),
        (
            "/several",
            Some("accept-language, sec-ch-ua-mobile, user-agent, x-edition"),
        ),
        ("/own", Some("cookie")),
    ] {
        let page = site.reader().get(path).await;
        let all = page.headers.get_all("vary").iter();
        // a page that is written as its blocks come may be coded, however short it is
        let mut read = all.filter(|names| *names != "accept-encoding");
        let read = read.next().map(|names| names.to_str().unwrap());
        assert_eq!(read, expected, "{path}");
    }
    // where browsers that want less get less, and the page may be coded
    let site = newsroom()
        .core(
            "article",
            "inline:<p>a text that is long enough to be coded</p>",
        )
        .page("page", "/", "[article]")
        .degradation("save_data = 1")
        .start()
        .await;
    let page = site.reader().get("/").await;
    let all: Vec<_> = page.headers.get_all("vary").iter().collect();
    assert_eq!(all, ["save-data", "accept-encoding"]);
}
