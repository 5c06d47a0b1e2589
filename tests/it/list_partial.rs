//! Lists: nine of ten items are shown when the tenth fails or is late, in their order, and what is
//! missing is counted.

use std::process::Command;

use crate::support::newsroom::Draft;
use crate::support::origin::Unstarted;
use crate::support::{Gate, Newsroom, Origin, html, json, newsroom, origin, status};

/// An article, a list of so many ids at `/latest`, and an item for each.
fn stories(count: usize) -> Unstarted {
    let ids: Vec<String> = (1..=count).map(|n| format!("{{\"id\": {n}}}")).collect();
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/latest", json(format!("[{}]", ids.join(","))));
    (1..=count).fold(cms, |cms, n| {
        cms.on(&format!("/t/{n}"), html(format!("<i>{n}</i>")))
    })
}

/// What is shown of so many, but for some.
fn shown(count: usize, missing: &[usize]) -> String {
    let there = (1..=count).filter(|n| !missing.contains(n));
    let there: String = there.map(|n| format!("<i>{n}</i>")).collect();
    format!("<p>t</p>{there}")
}

/// How often a fragment has come to this so far: a block that is under way when the head leaves is not
/// in the head.
async fn count(site: &Newsroom, fragment: &str, outcome: &str) -> u64 {
    let state = site.state().await;
    let count = &state["tally"]["fragments"][fragment][outcome];
    count.as_u64().unwrap_or(0)
}

/// A page `/` of the article and a list.
fn listing(cms: &Origin, list: &str, item: &str) -> Draft {
    newsroom()
        .origin("cms", cms)
        .core("article", "cms:/article")
        .fragment(
            "latest",
            "50",
            "cms:/latest",
            &format!("item = \"teaser\"\n{list}"),
        )
        .fragment("teaser", "50", "cms:/t/{item.id}", item)
        .page("page", "/", "[article][latest]")
}

#[tokio::test]
async fn nine_of_ten_are_shown_when_the_tenth_fails() {
    let cms = stories(10).on("/t/4", status(500)).start().await;
    let site = listing(&cms, "ttl = \"1h\"", "ttl = \"1h\"").start().await;
    site.reader().get("/").await.is(200, &shown(10, &[4]));
    assert_eq!(site.complaint("latest").await, "partial (1 of 10 missing)");
    assert_eq!(count(&site, "latest", "partial").await, 1);
}

#[tokio::test]
async fn nine_of_ten_are_shown_when_the_tenth_is_late_and_then_all_are() {
    let gate = Gate::closed();
    let cms = stories(10)
        .on("/t/10", html("<i>10</i>").gated(&gate))
        .start()
        .await;
    let item = "ttl = \"1h\"\ntimeout = \"100ms\"";
    let site = listing(&cms, "ttl = \"1h\"", item).start().await;
    site.reader().get("/").await.is(200, &shown(10, &[10]));
    assert_eq!(site.complaint("latest").await, "partial (1 of 10 missing)");
    gate.open();
    // asked for again after a pause
    while site.reader().get("/").await.body != shown(10, &[]) {}
    assert_eq!(count(&site, "latest", "fetched").await, 1);
    assert_eq!(cms.hits("/latest"), 2, "what was not complete was not kept");
    assert_eq!(cms.hits("/t/1"), 1, "its items were");
    let asked = cms.targets().len();
    let page = site.reader().get("/").await;
    page.is(200, &shown(10, &[]));
    assert_eq!(page.outcome("latest"), Some("cached"));
    assert_eq!(cms.targets().len(), asked + 1, "nobody but for the article");
}

#[tokio::test]
async fn what_is_not_complete_replaces_nothing() {
    let cms = stories(3).start().await;
    let list = "ttl = \"1ms\"\nkeep = \"1h\"";
    let site = listing(&cms, list, "ttl = \"0s\"").start().await;
    site.reader().get("/").await.is(200, &shown(3, &[]));
    cms.on("/t/2", status(500));
    for attempt in 0.. {
        // the copy is fresh for a millisecond still
        assert!(attempt < 1000, "the copy never goes stale");
        let page = site.reader().get("/").await;
        if page.body == shown(3, &[2]) {
            break;
        }
        page.is(200, &shown(3, &[]));
    }
    cms.on("/latest", status(500));
    // what there was of it is shown for a moment still
    while site.reader().get("/").await.body != shown(3, &[]) {}
    assert!(count(&site, "latest", "stale").await >= 1);
}

#[tokio::test]
async fn too_few_items_are_a_failure() {
    let cms = stories(3).on("/t/1", status(500)).start().await;
    let list = "min_items = 2\nfallback = [\"inline:<b>reserve</b>\"]\nttl = \"0s\"";
    let site = listing(&cms, list, "ttl = \"0s\"").start().await;
    site.reader().get("/").await.is(200, &shown(3, &[1]));
    cms.on("/t/3", status(500));
    let page = site.reader().get("/").await;
    page.is(200, "<p>t</p><b>reserve</b>");
    assert_eq!(
        site.complaint("latest").await,
        "inline (too few items, 1 of 3)"
    );
}

#[tokio::test]
async fn an_empty_list_is_an_empty_answer() {
    let cms = stories(0).start().await;
    let site = listing(&cms, "ttl = \"1h\"", "").start().await;
    site.reader().get("/").await.is(200, "<p>t</p>");
    assert_eq!(site.complaint("latest").await, "failed (empty)");
    let template = "ttl = \"1h\"\ntemplate = \"latest.html\"";
    for (text, outcome) in [
        (
            "{{ items|length }}{% if not items %}{{ not_found() }}{% endif %}",
            "absent",
        ),
        ("{{ items|length }}", "failed"),
    ] {
        let site = listing(&cms, template, "")
            .file("latest.html", text)
            .start()
            .await;
        site.reader().get("/").await.is(200, "<p>t</p>");
        assert_eq!(count(&site, "latest", outcome).await, 1);
    }
}

#[tokio::test]
async fn an_item_with_nothing_to_show_is_not_missing() {
    let cms = stories(3).on("/t/2", status(404)).start().await;
    let site = listing(&cms, "ttl = \"1h\"", "").start().await;
    site.reader().get("/").await.is(200, &shown(3, &[2]));
    assert_eq!(count(&site, "latest", "fetched").await, 1);
}

#[tokio::test]
async fn an_item_whose_source_cannot_be_written_is_missing_and_nobody_is_asked() {
    let values = r#"{"data": {"stories": [
        {"id": "l'été"}, {}, {"id": ""}, {"id": "a/b"}, {"id": ".."}, {"id": null}, {"id": [1]}, 7
    ]}}"#;
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/latest", json(values))
        .on("/t/l%27%C3%A9t%C3%A9", html("<i>é</i>"))
        .start()
        .await;
    let site = listing(&cms, "items_at = \"data.stories\"", "")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>t</p><i>é</i>");
    assert_eq!(site.complaint("latest").await, "partial (7 of 8 missing)");
    assert_eq!(cms.targets().len(), 3, "{:?}", cms.targets());
}

#[tokio::test]
async fn what_is_no_list_is_a_failure() {
    let cms = stories(1)
        .on("/latest", json("{\"data\": 1}"))
        .start()
        .await;
    let site = listing(&cms, "items_at = \"data.stories\"", "")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<p>t</p>");
    let told = "failed (unreadable: there is no list at data.stories)";
    assert_eq!(site.complaint("latest").await, told);
}

#[tokio::test]
async fn the_rest_of_a_long_list_is_neither_asked_for_nor_missing() {
    let cms = stories(5)
        .on("/latest", json("[1, \"2\", 3, 4, 5]"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment(
            "latest",
            "50",
            "cms:/latest",
            "item = \"teaser\"\nmax_items = 3",
        )
        .fragment("teaser", "50", "cms:/t/{item}", "")
        .page("page", "/", "[article][latest]")
        .start()
        .await;
    site.reader().get("/").await.is(200, &shown(3, &[]));
    assert_eq!(count(&site, "latest", "fetched").await, 1);
    assert_eq!(cms.hits("/t/4") + cms.hits("/t/5"), 0);
}

#[tokio::test]
async fn a_template_writes_what_there_is() {
    let latest =
        r#"[{"id": 1, "kicker": "<"}, {"id": 2, "kicker": "b"}, {"id": 3, "kicker": "c"}]"#;
    let cms = stories(3)
        .on("/latest", json(latest))
        .on("/t/2", status(500))
        .start()
        .await;
    let text = "<ol>{% for item in items %}<li>{{ item.kicker }} {{ item.html }}</li>{% endfor %}</ol>\
                {{ missing }} missing from {{ params.section }}";
    let site = newsroom()
        .origin("cms", &cms)
        .file("latest.html", text)
        .core("article", "cms:/article")
        .fragment(
            "latest",
            "50",
            "cms:/latest",
            "item = \"teaser\"\ntemplate = \"latest.html\"",
        )
        .fragment("teaser", "50", "cms:/t/{item.id}?s={section}", "")
        .page("page", "/{section}", "[article][latest]");
    let site = ["1", "3"].iter().fold(site, |site, n| {
        cms.on(&format!("/t/{n}?s=world"), html(format!("<i>{n}</i>")));
        site
    });
    let site = site.start().await;
    let expected = "<p>t</p><ol><li>&lt; <i>1</i></li><li>c <i>3</i></li></ol>1 missing from world";
    site.reader().get("/world").await.is(200, expected);
}

#[tokio::test]
async fn a_list_varies_with_what_its_items_vary_with() {
    let cms = origin()
        .on("/article", html("<p>t</p>"))
        .on("/latest", json("[1]"));
    let cms = ["a/anna", "a/bert", "b/anna"].iter().fold(cms, |cms, who| {
        let (section, name) = who.split_once('/').unwrap();
        let target = format!("/t/1?s={section}&n={name}");
        cms.on(&target, html(format!("<i>{who}</i>")))
    });
    let cms = cms.start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .fragment(
            "latest",
            "50",
            "cms:/latest",
            "item = \"teaser\"\nttl = \"1h\"",
        )
        .fragment(
            "teaser",
            "50",
            "cms:/t/{item}?s={section}&n={cookie.name}",
            "ttl = \"1h\"",
        )
        .page("page", "/{section}", "[article][latest]")
        .start()
        .await;
    for who in ["a/anna", "a/bert", "b/anna", "a/anna"] {
        let (section, name) = who.split_once('/').unwrap();
        let cookie = format!("name={name}");
        let path = format!("/{section}");
        let page = site.reader().get_with(&path, &[("cookie", &cookie)]).await;
        page.is(200, &format!("<p>t</p><i>{who}</i>"));
        assert_eq!(page.header("cache-control"), Some("private, no-cache"));
    }
    assert_eq!(cms.hits("/latest"), 3, "the last one is a copy");
    let head = cms.last_head("/latest").unwrap();
    assert!(!head.to_ascii_lowercase().contains("anna"), "{head}");
}

#[tokio::test]
async fn what_is_for_one_reader_only_makes_the_list_so() {
    let cms = stories(2)
        .on("/t/2", html("<i>2</i>").header("set-cookie", "a=1"))
        .start()
        .await;
    let site = listing(&cms, "ttl = \"1h\"", "ttl = \"1h\"").start().await;
    for times in 1..=2 {
        site.reader().get("/").await.is(200, &shown(2, &[]));
        assert_eq!(cms.hits("/t/2"), times, "kept for nobody");
        assert_eq!(cms.hits("/t/1"), 1);
    }
}

#[tokio::test]
async fn what_stands_in_for_an_item_is_shown_in_its_place_and_counts_as_missing() {
    let cms = stories(3).on("/t/2", status(500)).start().await;
    let item = "fallback = [\"fragment:spare\"]";
    let site = listing(&cms, "ttl = \"1h\"", item)
        .fragment("spare", "50", "inline:<i>spare</i>", "")
        .start()
        .await;
    let page = site.reader().get("/").await;
    page.is(200, "<p>t</p><i>1</i><i>spare</i><i>3</i>");
    assert_eq!(site.complaint("latest").await, "partial (1 of 3 missing)");
}

#[tokio::test]
async fn an_item_has_its_stale_copy() {
    let cms = stories(2).start().await;
    let item = "ttl = \"1ms\"\nkeep = \"1h\"";
    let site = listing(&cms, "ttl = \"1ms\"", item).start().await;
    site.reader().get("/").await.is(200, &shown(2, &[]));
    cms.on("/t/1", status(500));
    let asked = cms.hits("/t/1");
    while cms.hits("/t/1") == asked {
        site.reader().get("/").await.is(200, &shown(2, &[]));
    }
    assert_eq!(count(&site, "latest", "partial").await, 0);
}

#[tokio::test]
async fn a_list_is_never_renewed_by_what_its_origin_says_of_the_list_alone() {
    let cms = stories(2).start().await;
    cms.on("/latest", json("[{\"id\": 1}]").header("etag", "\"1\""));
    let site = listing(&cms, "ttl = \"1ms\"\nkeep = \"1h\"", "")
        .start()
        .await;
    site.reader().get("/").await.is(200, &shown(1, &[]));
    while cms.hits("/latest") < 2 {
        site.reader().get("/").await.is(200, &shown(1, &[]));
    }
    let head = cms.last_head("/latest").unwrap().to_ascii_lowercase();
    assert!(!head.contains("if-none-match"), "{head}");
}

#[tokio::test]
async fn pages_share_one_flight_of_a_list_and_what_it_brings() {
    let gate = Gate::closed();
    let cms = stories(3)
        .on("/t/2", status(500).gated(&gate))
        .start()
        .await;
    let site = listing(&cms, "ttl = \"1h\"", "ttl = \"1h\"").start().await;
    let reader = site.reader();
    let pages = futures::future::join_all((0..20).map(|_| reader.get("/")));
    let opened = async {
        // every page has asked for its article, which is nobody else's, and the three items
        cms.arrived(20 + 1 + 3).await;
        gate.open();
    };
    let (pages, ()) = tokio::join!(pages, opened);
    for page in pages {
        page.is(200, &shown(3, &[2]));
    }
    assert_eq!(count(&site, "latest", "partial").await, 20);
    assert_eq!(cms.hits("/latest"), 1);
    assert_eq!(cms.hits("/t/1"), 1);
}

#[tokio::test]
async fn a_list_may_be_what_a_page_is_about() {
    let cms = stories(3).on("/t/1", status(500)).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment(
            "latest",
            "\"core\"",
            "cms:/latest",
            "item = \"teaser\"\nttl = \"0s\"",
        )
        .fragment(
            "teaser",
            "\"essential\"",
            "cms:/t/{item.id}",
            "ttl = \"0s\"",
        )
        .page("page", "/", "[latest]")
        .start()
        .await;
    site.reader().get("/").await.is(200, "<i>2</i><i>3</i>");
    cms.on("/latest", status(404));
    assert_eq!(site.reader().get("/").await.status, 404);
    cms.on("/latest", json("[]"));
    assert_eq!(site.reader().get("/").await.status, 503);
}

#[tokio::test]
async fn a_list_goes_with_its_items_at_its_own_level() {
    let cms = stories(2).start().await;
    let draft = || {
        newsroom()
            .origin("cms", &cms)
            .core("article", "cms:/article")
            .fragment(
                "latest",
                "50",
                "cms:/latest",
                "item = \"teaser\"\nttl = \"0s\"",
            )
            .fragment("teaser", "30", "cms:/t/{item.id}", "ttl = \"0s\"")
            .optional("other", 40, "inline:<u>o</u>")
            .page("page", "/", "[article][latest][other]")
    };
    let site = draft().level(1).start().await;
    site.reader().get("/").await.is(200, &shown(2, &[]));
    assert_eq!(count(&site, "other", "shed").await, 1);
    let asked = cms.hits("/t/1");
    let site = draft().level(2).start().await;
    site.reader().get("/").await.is(200, "<p>t</p>");
    assert_eq!((cms.hits("/latest"), cms.hits("/t/1")), (1, asked));
}

#[tokio::test]
async fn operators_are_told_what_a_list_asks_for() {
    let cms = stories(2).start().await;
    let item = "timeout = \"250ms\"";
    let site = listing(&cms, "timeout = \"400ms\"\nmax_items = 5", item)
        .start()
        .await;
    let url = format!("{}/explain?path=/", site.admin_url());
    let told = reqwest::get(url).await.unwrap().text().await.unwrap();
    let source = "cms:/latest, then at most 5 teaser (cms:/t/{item.id}, 250 ms each)";
    assert!(told.contains(source), "{told}");
    let folder = site.folder();
    let check = Command::new(env!("CARGO_BIN_EXE_marbre"))
        .current_dir(&folder)
        .arg("check")
        .output()
        .unwrap();
    let told = String::from_utf8(check.stdout).unwrap();
    let line = "400 ms  cms, in that time at most 5 teaser of cms, 250 ms each; then omit";
    assert!(told.contains(line), "{told}");
    assert_eq!(told.matches("teaser").count(), 1, "{told}");
}
