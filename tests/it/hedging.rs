//! Where one replica takes longer than usual, a second one is asked, and the first that answers is
//! taken: for what pages depend on, and within a budget.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use crate::support::reader::client;
use crate::support::{Newsroom, Origin, Page, Reply, html, newsroom, origin, raw};

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";
const IMPATIENT: &str = "timeout = \"200ms\"\nttl = \"0s\"";

/// Two replicas, and a site whose article and block come from either.
struct Site {
    one: Origin,
    other: Origin,
    site: Newsroom,
}

async fn site_with(origin_keys: &str, article: &str, block: &str) -> Site {
    let replica = |name: &str| {
        origin()
            .on("/article", html(format!("<p>from {name}</p>")))
            .on("/block", html(format!("<b>from {name}</b>")))
    };
    let (one, other) = (replica("one").start().await, replica("other").start().await);
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\", \"{}\"]\ntimeout = \"60s\"\n{origin_keys}\n\
             [origins.cms.breaker]\nenabled = false",
            one.url(),
            other.url()
        ))
        .fragment("note", "\"core\"", "inline:<p>note</p>", "")
        .fragment("article", "\"core\"", "cms:/article", article)
        .fragment("block", "40", "cms:/block", block)
        .fragment("advert", "1", "inline:<i>advert</i>", "")
        .page_within("article", "/article", "[article]", "25s")
        .without_snapshots()
        .page_within("block", "/block", "[note][block]", "25s")
        .page_within("advert", "/advert", "[note][advert]", "25s")
        .start()
        .await;
    let site = Site { one, other, site };
    // before enough answers nobody knows what is usual
    while site.cms().await["p95_ms"].is_null() {
        site.read("/article").await;
    }
    site
}

/// It begins to answer, and never ends: at a closed connection it notices.
fn never_ending() -> Reply {
    raw("HTTP/1.1 200 OK\r\nx: ").then_drip("y".repeat(100_000), Duration::from_millis(10))
}

impl Site {
    async fn cms(&self) -> Value {
        self.site.origin_state("cms").await
    }

    /// Several pages at a time, so that both replicas are asked.
    async fn read(&self, path: &str) -> Vec<Page> {
        let reader = self.site.regular();
        join_all((0..8).map(|_| reader.get(path))).await
    }

    /// Pages while one replica hangs, until it has been asked.
    async fn read_while_one_hangs(&self, path: &str) -> Vec<Page> {
        self.one.on("/article", never_ending());
        self.one.on("/block", never_ending());
        let before = self.one.targets().len();
        let mut pages = Vec::new();
        while self.one.targets().len() == before {
            pages.extend(self.read(path).await);
        }
        pages
    }
}

#[tokio::test]
async fn a_core_is_asked_of_another_replica_when_one_hangs() {
    let site = site_with("hedge_budget = 100", PATIENT, PATIENT).await;
    let before = site.cms().await;
    for page in site.read_while_one_hangs("/article").await {
        page.is(200, "<p>from other</p>");
    }
    let state = site.cms().await;
    assert!(
        state["hedges"].as_u64() > before["hedges"].as_u64(),
        "{state:#}"
    );
    assert!(
        state["hedges_won"].as_u64() > before["hedges_won"].as_u64(),
        "{state:#}"
    );
    // nobody waits for the one that hangs, nor is it held against the origin
    site.one.cut_off(1).await;
    let is_free = |state: &Value| state["origins"]["cms"]["in_flight"] == 0;
    let state = site.site.state_when("end of all requests", is_free).await;
    let cms = &state["origins"]["cms"];
    assert_eq!(cms["failed"], 0, "{cms:#}");
    assert!(site.other.hits("/article") > 0);
}

#[tokio::test]
async fn what_a_page_can_do_without_is_not_unless_declared() {
    let hedged = format!("{IMPATIENT}\nhedge = true");
    for (block, is_hedged) in [(IMPATIENT, false), (&*hedged, true)] {
        let site = site_with("hedge_budget = 100", "ttl = \"0s\"\nhedge = false", block).await;
        assert_eq!(
            site.cms().await["hedges"],
            0,
            "nor is a core that is declared so"
        );
        let pages = site.read_while_one_hangs("/block").await;
        let whole = pages
            .iter()
            .all(|page| page.body == "<p>note</p><b>from other</b>");
        let hedges = site.cms().await["hedges"].as_u64();
        match is_hedged {
            true => assert!(hedges > Some(0), "{hedges:?}"),
            false => {
                assert_eq!(hedges, Some(0));
                assert!(!whole, "somebody waited for the replica that hangs");
                assert_eq!(site.site.complaint("block").await, "failed (timeout)");
            }
        }
    }
}

#[tokio::test]
async fn without_a_budget_nobody_is_asked_twice() {
    let hedged = format!("{IMPATIENT}\nhedge = true");
    let site = site_with("hedge_budget = 0", IMPATIENT, &hedged).await;
    let pages = site.read_while_one_hangs("/article").await;
    assert!(pages.iter().any(|page| page.status == 503));
    site.read_while_one_hangs("/block").await;
    let state = site.cms().await;
    assert_eq!(state["hedges"], 0, "{state:#}");
    assert_eq!(state["attempts"], state["requests"]);
}

#[tokio::test]
async fn no_more_is_asked_twice_than_the_budget_allows() {
    let site = site_with("hedge_budget = 5", IMPATIENT, PATIENT).await;
    site.one.on("/article", never_ending());
    let mut read = 0;
    while site.cms().await["hedges"].as_u64() < Some(3) {
        read += site.read("/article").await.len();
    }
    let state = site.cms().await;
    let (hedges, requests) = (state["hedges"].as_u64(), state["requests"].as_u64());
    let share = requests.map(|requests| requests / 20);
    assert!(hedges <= share, "{state:#} after {read}");
}

#[tokio::test]
async fn a_page_that_gives_blocks_up_hedges_only_its_core() {
    let hedged = format!("{IMPATIENT}\nhedge = true");
    let site = site_with("hedge_budget = 100", "ttl = \"0s\"\nhedge = false", &hedged).await;
    let admin = format!("{}/level", site.site.admin_url());
    let set = client().put(admin).body("1").send();
    assert_eq!(set.await.unwrap().status().as_u16(), 200);
    site.read_while_one_hangs("/block").await;
    assert_eq!(site.cms().await["hedges"], 0);
}
