//! However many ask, the origin is asked once.

use futures::future::join_all;

use crate::support::{Gate, html, newsroom, origin, status};

const READERS: usize = 500;

#[tokio::test]
async fn five_hundred_misses_at_once_are_one_request() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/articles/x", html("<p>x</p>").gated(&gate))
        .start()
        .await;
    let site = newsroom()
        .server("max_pages_in_flight = 1000")
        .patient_origin("cms", &cms.url())
        .fragment(
            "article",
            "\"core\"",
            "cms:/articles/{slug}",
            "timeout = \"60s\"\nttl = \"1h\"",
        )
        .page_within("page", "/articles/{slug}", "[article]", "60s")
        .start()
        .await;
    let reader = site.reader();
    let pages = join_all((0..READERS).map(|_| reader.get("/articles/x")));
    let open = async {
        cms.arrived(1).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    pages.iter().for_each(|page| page.is(200, "<p>x</p>"));
    assert_eq!(cms.hits("/articles/x"), 1);
}

#[tokio::test]
async fn a_failed_flight_is_no_signal_to_all_who_waited() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/live", status(500).gated(&gate))
        .on("/article", html("<p>x</p>"))
        .start()
        .await;
    let site = newsroom()
        .server("max_pages_in_flight = 1000")
        .patient_origin("cms", &cms.url())
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "timeout = \"60s\"\nttl = \"1h\"",
        )
        .fragment(
            "live",
            "40",
            "cms:/live",
            "timeout = \"60s\"\nttl = \"1h\"\nfallback = [\"inline:<b>later</b>\"]",
        )
        .page_within("page", "/", "[article][live]", "60s")
        .start()
        .await;
    let reader = site.reader();
    let pages = join_all((0..READERS).map(|_| reader.get("/")));
    let open = async {
        cms.arrived(2).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    pages
        .iter()
        .for_each(|page| page.is(200, "<p>x</p><b>later</b>"));
    // each try after the first comes after a pause that doubles up to two seconds: in all the time
    // that the pages took there is room for a few
    let asked = cms.hits("/live");
    assert!((1..=20).contains(&asked), "asked {asked} times");
}
