//! One flight per key, however many pages wait for it.

use futures::future::join_all;

use crate::support::{Gate, html, newsroom, origin, status};

#[tokio::test]
async fn a_fragment_without_ttl_is_fetched_for_each_page() {
    let cms = origin().on("/article", html("<p>x</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    join_all((0..5).map(|_| reader.get("/"))).await;
    assert_eq!(cms.hits("/article"), 5);
}

#[tokio::test]
async fn a_personal_answer_goes_to_no_other_reader() {
    let gate = Gate::closed();
    let cms = origin()
        .on(
            "/article",
            html("<p>x</p>")
                .header("cache-control", "private")
                .gated(&gate),
        )
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    let pages = join_all((0..5).map(|_| reader.get("/")));
    let open = async {
        cms.arrived(1).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    pages.iter().for_each(|page| page.is(200, "<p>x</p>"));
    assert_eq!(
        cms.hits("/article"),
        5,
        "each reader had an answer of their own"
    );
}

#[tokio::test]
async fn what_is_forwarded_is_part_of_the_key() {
    let cms = origin().on("/article", html("<p>x</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "article",
            "\"core\"",
            "cms:/article?l={lang}",
            "ttl = \"1h\"\nforward_cookies = [\"edition\"]\nforward_headers = [\"x-region\"]",
        )
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    let ask = |headers: &'static [(&'static str, &'static str)]| reader.get_with("/", headers);
    ask(&[
        ("cookie", "edition=nord; secret=1"),
        ("accept-language", "fr-CH"),
    ])
    .await;
    let head = cms.last_head("/article?l=fr").unwrap();
    assert!(head.contains("cookie: edition=nord\r\n"), "{head}");
    assert!(!head.contains("secret"), "{head}");
    ask(&[
        ("cookie", "secret=2; edition=nord"),
        ("accept-language", "fr"),
    ])
    .await;
    assert_eq!(
        cms.targets().len(),
        1,
        "what is not forwarded makes no difference"
    );
    ask(&[("cookie", "edition=sud"), ("accept-language", "fr")]).await;
    ask(&[("cookie", "edition=sud"), ("accept-language", "de")]).await;
    ask(&[
        ("cookie", "edition=sud"),
        ("accept-language", "de"),
        ("x-region", "r"),
    ])
    .await;
    assert_eq!(cms.targets().len(), 4);
}

#[tokio::test]
async fn a_failed_flight_fails_for_all_who_waited_and_is_not_kept() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/article", status(500).gated(&gate))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("page", "/", "[article]")
        .start()
        .await;
    let reader = site.reader();
    let pages = join_all((0..20).map(|_| reader.get("/")));
    let open = async {
        cms.arrived(1).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, open);
    assert!(pages.iter().all(|page| page.status == 503));
    cms.on("/article", html("<p>x</p>"));
    // asked again after a pause
    while reader.get("/").await.status != 200 {}
    reader.get("/").await.is(200, "<p>x</p>");
}
