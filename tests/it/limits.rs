//! A block whose origin is slower than usual gives way, and nothing else does; what is left alone or
//! given up is asked without a reader who waits; and what is usual is known after a restart.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::join_all;
use marbre::clock::Clock;
use marbre::degradation::Reader as Identity;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::support::newspaper::patiently;
use crate::support::{Gate, Newsroom, Origin, Page, html, newsroom, origin, raw, status};

const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";
const IMPATIENT: &str = "timeout = \"250ms\"\nttl = \"0s\"";

/// No page gives anything up because this machine is busy: it runs many tests at once.
const UNHURRIED: &str =
    "wait_max = \"10s\"\n[degradation.work_rate]\nqueue_target = \"1s\"\nrate_max = 1000000";

/// Ten times more than what is usual of an origin on loopback, and more than any tolerance.
const SLOW: Duration = Duration::from_millis(150);

const GIVES_WAY: &str = "failed (its origin is slower than usual, and this block gives way)";

fn block<'s>(state: &'s Value, name: &str) -> &'s Value {
    &state["blocks"][name]
}

fn share(state: &Value, name: &str) -> f64 {
    block(state, name)["share"].as_f64().expect("a number")
}

/// The share of the readers whose pages ask for a block at present.
async fn share_of(site: &Newsroom, name: &str) -> f64 {
    share(&site.state().await, name)
}

#[tokio::test]
async fn a_slow_block_gives_way_and_the_article_of_the_same_origin_does_not() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/related", html("<b>related</b>").after(SLOW))
        .start()
        .await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("related", "40", "cms:/related", PATIENT)
        .page_within("page", "/", "[article][related]", "25s")
        .degradation(UNHURRIED)
        .knowing(&[("related", 5.0)])
        .start()
        .await;
    let reader = site.regular();
    let read = async |at_once: usize| {
        let pages = join_all((0..at_once).map(|_| reader.get("/"))).await;
        for page in &pages {
            assert_eq!(page.status, 200);
            assert!(page.body.starts_with("<p>text</p>"), "{}", page.body);
        }
        pages.iter().all(|page| page.body.contains("related"))
    };
    patiently(async {
        loop {
            read(30).await;
            let state = site.state().await;
            let block = block(&state, "related");
            if block["refused"].as_u64() > Some(10) && share(&state, "related") < 0.9 {
                break;
            }
        }
        assert_eq!(site.complaint("related").await, GIVES_WAY);
    })
    .await;
    let state = site.state().await;
    let cms_state = &state["origins"]["cms"];
    assert_eq!(cms_state["breaker"]["core"]["state"], "closed");
    assert_eq!(cms_state["refused_open"], 0, "{cms_state:#}");
    assert_eq!(
        block(&state, "article"),
        &Value::Null,
        "a core has no limit"
    );
    assert_eq!(block(&state, "related")["origin"], "cms");
    // and it is back when the origin is as quick as ever
    cms.on("/related", html("<b>related</b>"));
    patiently(async { while !(read(10).await && share_of(&site, "related").await >= 1.0) {} })
        .await;
}

/// An address of this machine whose reader's draw for a block is so, today and tomorrow.
fn address_where(name: &str, is_so: impl Fn(f64) -> bool) -> Ipv4Addr {
    const DAY: u64 = 24 * 60 * 60 * 1_000_000;
    let clock = Clock::start();
    let today = clock.moment(clock.now()).micros() / DAY;
    let matter = xxh3_64(name.as_bytes());
    let mut addresses = (1..u32::from(u16::MAX)).map(|n| Ipv4Addr::from(0x7f01_0000 + n));
    let found = addresses.find(|address| {
        // a reader so near is told apart by browser and language too, of which these say nothing
        let name = [&address.octets()[..], b"\n\n"].concat();
        let draw = |day| Identity::new(&name, day).draw(matter);
        is_so(draw(today)) && is_so(draw(today + 1))
    });
    found.expect("of so many there is one")
}

#[tokio::test]
async fn a_block_is_kept_from_the_same_readers() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let related = html("<b>related</b>").after(SLOW);
    for who in ["keeps", "loses", "anybody"] {
        cms.on(&format!("/related/{who}"), related.clone());
    }
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("related", "40", "cms:/related/{who}", PATIENT)
        .page_within("page", "/{who}", "[article][related]", "25s")
        .degradation(UNHURRIED)
        .knowing(&[("related", 5.0)])
        .start()
        .await;
    let reader = site.regular();
    let keeps = address_where("related", |draw| draw < 0.02);
    let loses = address_where("related", |draw| draw > 0.9);
    let (mut kept, mut lost) = (0, 0);
    patiently(async {
        while kept < 3 || lost < 20 {
            let crowd = (1..=30).map(|n| reader.get_from(Ipv4Addr::new(127, 0, 0, n), "/anybody"));
            let before = share_of(&site, "related").await;
            let one = async {
                (
                    reader.get_from(keeps, "/keeps").await,
                    reader.get_from(loses, "/loses").await,
                )
            };
            let (_, (page_of_one, page_of_other)) = futures::join!(join_all(crowd), one);
            let after = share_of(&site, "related").await;
            for page in [&page_of_one, &page_of_other] {
                assert!(page.contains("<p>text</p>"), "{page}");
            }
            kept += u32::from(before < 0.9 && page_of_one.contains("<b>related</b>"));
            // it may have grown beyond and shrunk again meanwhile, but not by so much
            if before < 0.5 && after < 0.5 {
                // it may be asked all the same, to find out how it is, and not for this reader
                assert!(
                    !page_of_other.contains("<b>related</b>"),
                    "{before}, {after}"
                );
                lost += 1;
            }
        }
    })
    .await;
}

/// An article and blocks that are as quick as ever, and a block of a sick origin.
async fn site_with(sick: &Origin, keys: &str) -> (Newsroom, Origin) {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/photos", html("<p>photos</p>"))
        .on("/live", html("<p>live</p>"))
        .start()
        .await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .patient_origin("live", &cms.url())
        .toml(&format!(
            "[origins.sick]\nurls = [\"{}\"]\ntimeout = \"60s\"\n\
             [origins.sick.breaker]\nopen = \"50ms\"\nopen_max = \"50ms\"\nstep = \"50ms\"\n\
             [origins.sick.retry]\nattempts = 1",
            sick.url()
        ))
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("photos", "30", "cms:/photos", PATIENT)
        .fragment("live", "60", "live:/live", PATIENT)
        .fragment("block", "40", "sick:/block", keys)
        .page_within("page", "/", "[article][photos][live][block]", "25s")
        .degradation(UNHURRIED)
        // on a busy machine the others take their time, which is not what this is about
        .knowing(&[("block", 5.0), ("photos", 1000.0), ("live", 1000.0)])
        .start()
        .await;
    (site, cms)
}

const OTHERS: &str = "<p>text</p><p>photos</p><p>live</p>";

/// All but the sick block is there.
#[track_caller]
fn has_the_others(page: &Page) {
    assert_eq!(page.status, 200);
    let outcomes = page.header("server-timing");
    assert!(page.body.starts_with(OTHERS), "{}: {outcomes:?}", page.body);
}

/// Reads pages, a few at a time, all of which have the other blocks, until the state is so.
async fn read_until(site: &Newsroom, is_so: impl Fn(&Value) -> bool) {
    let reader = site.regular();
    patiently(async {
        while !is_so(&site.state().await) {
            for page in join_all((0..4).map(|_| reader.get("/"))).await {
                has_the_others(&page);
            }
        }
    })
    .await;
}

fn breaker(state: &Value) -> &str {
    let breaker = &state["origins"]["sick"]["breaker"]["optional"]["state"];
    breaker.as_str().expect("a word")
}

#[tokio::test]
async fn an_origin_that_hangs_costs_its_own_block_only() {
    let sick = origin().on("/block", raw("").then_hang()).start().await;
    let (site, _cms) = site_with(&sick, IMPATIENT).await;
    read_until(&site, |state| breaker(state) != "closed").await;
    let asked = |state: &Value| state["origins"]["sick"]["refused_open"].as_u64();
    read_until(&site, |state| asked(state) > Some(40)).await;
}

#[tokio::test]
async fn an_origin_that_is_slow_costs_its_own_block_only() {
    let slow = html("<p>block</p>").after(SLOW);
    let sick = origin().on("/block", slow).start().await;
    let (site, _cms) = site_with(&sick, PATIENT).await;
    // four at a time are more than the two that a slow origin is asked for at last
    read_until(&site, |state| {
        block(state, "block")["refused"].as_u64() > Some(5)
    })
    .await;
    let state = site.state().await;
    for well in ["photos", "live"] {
        assert_eq!(block(&state, well)["refused"], 0, "{state:#}");
        assert_eq!(share(&state, well), 1.0);
    }
}

#[tokio::test]
async fn an_origin_that_comes_and_goes_costs_its_own_block_only() {
    let sick = origin().start().await;
    let (site, _cms) = site_with(&sick, IMPATIENT).await;
    for _ in 0..3 {
        sick.on("/block", raw("").then_hang());
        read_until(&site, |state| {
            ["open", "half_open"].contains(&breaker(state))
        })
        .await;
        sick.on("/block", html("<p>block</p>"));
        read_until(&site, |state| breaker(state) == "closed").await;
    }
}

#[tokio::test]
async fn no_reader_waits_for_the_request_that_finds_out() {
    let gate = Gate::closed();
    let sick = origin().on("/block", status(500)).start().await;
    let (site, _cms) = site_with(&sick, PATIENT).await;
    read_until(&site, |state| breaker(state) != "closed").await;
    // whoever asks now hangs for longer than any reader waits
    sick.on("/block", html("<p>block</p>").gated(&gate));
    let asked = sick.hits("/block");
    patiently(async {
        while sick.hits("/block") == asked {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reader = site.regular();
    for _ in 0..20 {
        let page = reader.get("/").await;
        has_the_others(&page);
        assert!(!page.body.contains("block"), "{}", page.body);
    }
    // and it is found out that all is well without anybody's page
    gate.open();
    site.state_when("way back", |state| {
        ["recovering", "closed"].contains(&breaker(state))
    })
    .await;
}

#[tokio::test]
async fn a_block_that_is_given_up_is_asked_for_all_the_same() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let ads = origin().on("/ad", html("<p>ad</p>")).start().await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .patient_origin("ads", &ads.url())
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("ad", "10", "ads:/ad", PATIENT)
        .page_within("page", "/", "[article][ad]", "25s")
        .degradation(UNHURRIED)
        .level(1)
        .start()
        .await;
    site.regular().get("/").await.is(200, "<p>text</p>");
    ads.arrived(3).await;
    site.state_when("baseline", |state| {
        !block(state, "ad")["baseline_ms"].is_null()
    })
    .await;
    site.regular().get("/").await.is(200, "<p>text</p>");
    assert_eq!(
        cms.hits("/article"),
        2,
        "what is shown is asked for by pages"
    );
}

#[tokio::test]
async fn what_is_usual_is_known_after_a_restart() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/related", html("<b>related</b>"))
        .start()
        .await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .fragment("article", "\"core\"", "cms:/article", PATIENT)
        .fragment("related", "40", "cms:/related", PATIENT)
        .page_within("page", "/", "[article][related]", "25s")
        .degradation(UNHURRIED)
        .start()
        .await;
    let usual = |state: &Value| block(state, "related")["baseline_ms"].as_f64();
    patiently(async {
        while usual(&site.state().await).is_none() {
            assert_eq!(site.regular().get("/").await.status, 200);
        }
    })
    .await;
    let learned = usual(&site.state().await);
    let site = site.restarted().await;
    assert_eq!(usual(&site.state().await), learned);
    // a damaged file costs what was learned, and nothing else
    let file = site.state_dir().join("learned.json");
    let stopped = site.stopped().await;
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let site = stopped.started().await;
    assert_eq!(usual(&site.state().await), None);
    let aside = file.with_extension("json.damaged");
    assert_eq!(std::fs::read(aside).unwrap(), whole[..whole.len() / 2]);
    assert_eq!(site.regular().get("/").await.status, 200);
}
