//! However many requests for optional fragments hang at an origin, what pages cannot do without has
//! its places there; and whoever finds no place is refused at once, and waits for nothing.

use serde_json::Value;

use crate::support::{Gate, Newsroom, Origin, html, newsroom, origin};

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";
const BUSY: &str = "failed (origin is at its limit in flight)";

/// Articles, and a page of six blocks that hang behind the gate; all from one origin.
struct Site {
    cms: Origin,
    gate: Gate,
    site: Newsroom,
}

async fn site_with(keys: &str) -> Site {
    let gate = Gate::closed();
    let cms = origin()
        .on("/articles/quick", html("<p>text</p>"))
        .on("/block", html("<b>block</b>").gated(&gate))
        .start()
        .await;
    for n in 0..5 {
        let slow = html(format!("<p>{n}</p>")).gated(&gate);
        cms.on(&format!("/articles/{n}"), slow);
    }
    let mut draft = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"\n{keys}",
            cms.url()
        ))
        .fragment("note", "\"core\"", "inline:<p>note</p>", "")
        .fragment("article", "\"core\"", "cms:/articles/{slug}", PATIENT)
        .page_within("article", "/articles/{slug}", "[article][b0]", "25s")
        .page_within("bare", "/bare/{slug}", "[article]", "25s")
        .without_snapshots()
        .fragment("footer", "\"essential\"", "cms:/block", PATIENT)
        .page_within("tight", "/tight/{slug}", "[b1][b0][footer][article]", "25s")
        .page_within("blocks", "/blocks", "[note][b0][b1][b2][b3][b4][b5]", "25s");
    for n in 0..6 {
        draft = draft.fragment(
            &format!("b{n}"),
            &format!("{}", 40 + n),
            "cms:/block",
            PATIENT,
        );
    }
    let site = draft.start().await;
    Site { cms, gate, site }
}

/// So many of the six blocks find a place; this is done while they hang there.
async fn hang(at: &Site, places: usize, while_they_hang: impl AsyncFnOnce()) {
    let Site { cms, gate, site } = at;
    let reader = site.regular();
    let meanwhile = async {
        cms.arrived(places).await;
        // the others are not in a queue: they have been refused already
        let refused = 6 - places;
        let is_so = |state: &Value| state["origins"]["cms"]["refused_busy"] == refused;
        site.state_when("refusal", is_so).await;
        assert_eq!(site.origin_state("cms").await["in_flight"], places);
        while_they_hang().await;
        assert_eq!(cms.hits("/block"), places, "no more than these");
        gate.open();
    };
    let (page, ()) = tokio::join!(reader.get("/blocks"), meanwhile);
    page.is(
        200,
        &format!("<p>note</p>{}", "<b>block</b>".repeat(places)),
    );
}

#[tokio::test]
async fn the_article_has_its_place_while_blocks_hang() {
    let at = site_with("max_in_flight = 4").await;
    assert_eq!(at.site.origin_state("cms").await["reserved"], 1);
    hang(&at, 3, async || {
        for _ in 0..10 {
            let page = at.site.regular().get("/articles/quick").await;
            page.is(200, "<p>text</p>");
            assert_eq!(at.site.complaint("b0").await, BUSY);
        }
    })
    .await;
    // and there is a place for everybody again
    let page = at.site.regular().get("/articles/quick").await;
    page.is(200, "<p>text</p><b>block</b>");
}

#[tokio::test]
async fn as_many_places_are_kept_free_as_declared() {
    let at = site_with("max_in_flight = 4\nreserved = 3").await;
    hang(&at, 1, async || {
        let page = at.site.regular().get("/articles/quick").await;
        page.is(200, "<p>text</p>");
    })
    .await;
}

#[tokio::test]
async fn where_none_is_kept_free_blocks_take_all() {
    let at = site_with("max_in_flight = 4\nreserved = 0").await;
    hang(&at, 4, async || {
        let page = at.site.regular().get("/articles/quick").await;
        assert_eq!(page.status, 503);
        assert_eq!(at.site.complaint("article").await, BUSY);
    })
    .await;
}

#[tokio::test]
async fn of_one_page_what_matters_most_has_the_places() {
    for (places, page, refused) in [
        (1, "<p>text</p>", &["footer", "b1", "b0"][..]),
        (2, "<b>block</b><p>text</p>", &["b1", "b0"]),
        (3, "<b>block</b><b>block</b><p>text</p>", &["b0"]),
    ] {
        let at = site_with(&format!("max_in_flight = {places}\nreserved = 0")).await;
        at.gate.open();
        at.site.regular().get("/tight/quick").await.is(200, page);
        for block in refused {
            assert_eq!(at.site.complaint(block).await, BUSY, "{places} places");
        }
        assert_eq!(at.cms.hits("/block"), places - 1);
    }
}

#[tokio::test]
async fn what_is_required_may_take_every_place() {
    let Site { cms, gate, site } = site_with("max_in_flight = 4").await;
    let reader = site.regular();
    let pages = (0..4).map(|n| {
        let reader = reader.clone();
        async move { reader.get(&format!("/bare/{n}")).await }
    });
    let one_more = async {
        cms.arrived(4).await;
        assert_eq!(reader.get("/bare/quick").await.status, 503);
        assert_eq!(site.complaint("article").await, BUSY);
        gate.open();
    };
    let (pages, ()) = tokio::join!(futures::future::join_all(pages), one_more);
    for (n, page) in pages.iter().enumerate() {
        page.is(200, &format!("<p>{n}</p>"));
    }
    assert_eq!(cms.hits("/articles/quick"), 0);
}
