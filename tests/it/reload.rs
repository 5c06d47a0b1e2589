//! A change of the site shows without a restart; a mistake in it changes nothing, and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::reader::client;
use crate::support::{Gate, Newsroom, html, json, newsroom, origin, status};

/// `POST /reload`: the status and what is said.
async fn reload(site: &Newsroom) -> (u16, String) {
    let answer = client()
        .post(format!("{}/reload", site.admin_url()))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Asks until the page is this one. The change is noticed by the server itself; a reader who has
/// asked for a minute has waited in vain.
async fn shows(site: &Newsroom, body: &str) {
    let mut last = String::new();
    for _ in 0..600 {
        last = site.reader().get("/").await.body;
        if last == body {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!(
        "the page is still {last}; {:#}",
        site.state().await["tally"]["events"]
    );
}

/// The latest event that begins so.
async fn event(site: &Newsroom, beginning: &str) -> String {
    let state = site.state().await;
    let events = state["tally"]["events"].as_array().unwrap();
    let found = events
        .iter()
        .filter_map(Value::as_str)
        .find(|event| event.starts_with(beginning));
    found
        .unwrap_or_else(|| panic!("no such event: {events:#?}"))
        .to_owned()
}

async fn inline_site(text: &str) -> Newsroom {
    newsroom()
        .fragment("front", "\"core\"", &format!("inline:<p>{text}</p>"), "")
        .page("front", "/", "<main>[front]</main>")
        .start()
        .await
}

#[tokio::test]
async fn whoever_asks_for_a_reload_is_told_of_with_the_reason() {
    let site = inline_site("one").await;
    let ask = async |query: &str| {
        let url = format!("{}/reload{query}", site.admin_url());
        let answer = client().post(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ask("?by=L%C3%A9a&reason=a+new+layout").await.0, 200);
    let told = event(&site, "site reloaded").await;
    assert_eq!(told, "site reloaded: no change, by Léa: a new layout");
    let (status, said) = ask("?by=L%0Aa").await;
    assert_eq!(status, 400);
    assert!(said.contains("`by` holds characters"), "{said}");
}

#[tokio::test]
async fn an_edit_right_after_the_start_is_not_missed() {
    let mut site = inline_site("1").await;
    site.rewrite(|toml| toml.replace("<p>1</p>", "<p>2</p>"));
    shows(&site, "<main><p>2</p></main>").await;
}

#[tokio::test]
async fn every_kind_of_file_is_watched() {
    let cms = origin()
        .on("/article", json("{\"t\": \"x\"}"))
        .on("/block", status(500))
        .start()
        .await;
    let mut site = newsroom()
        .origin("cms", &cms)
        .file(
            "article.html",
            "<p>{{ data.t }}{% include 'sign.html' %}</p>",
        )
        .file("sign.html", "-1")
        .file("reserve.html", "<i>1</i>")
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"0s\"\ntemplate = \"article.html\"",
        )
        .fragment(
            "block",
            "40",
            "cms:/block",
            "ttl = \"0s\"\nfallback = [\"static:reserve.html\"]",
        )
        .page("page", "/", "<main>[article][block]</main>")
        .start()
        .await;
    shows(&site, "<main><p>x-1</p><i>1</i></main>").await;
    site.write(
        "article.html",
        "<p>{{ data.t }}!{% include 'sign.html' %}</p>",
    );
    shows(&site, "<main><p>x!-1</p><i>1</i></main>").await;
    site.write("sign.html", "-2");
    shows(&site, "<main><p>x!-2</p><i>1</i></main>").await;
    site.write("reserve.html", "<i>2</i>");
    shows(&site, "<main><p>x!-2</p><i>2</i></main>").await;
    site.write(
        "layouts/page.html",
        "<div><fragment name=\"block\"></fragment><fragment name=\"article\"></fragment></div>",
    );
    shows(&site, "<div><i>2</i><p>x!-2</p></div>").await;
    site.rewrite(|toml| {
        toml.replace("priority = 40", "priority = 50")
            .replace("static:reserve.html", "inline:<i>3</i>")
    });
    shows(&site, "<div><i>3</i><p>x!-2</p></div>").await;
    let told = event(&site, "site reloaded: fragment block: ").await;
    assert!(
        told.contains("priority optional 40 → optional 50"),
        "{told}"
    );
}

#[tokio::test]
async fn an_included_file_is_watched_from_when_it_is_included() {
    let mut site = inline_site("1").await;
    let part = site.folder().join("parts/extra.toml");
    std::fs::create_dir(part.parent().unwrap()).unwrap();
    let extra = |text: &str| {
        format!("[fragments.extra]\npriority = 10\nsource = \"inline:<i>{text}</i>\"\n")
    };
    std::fs::write(&part, extra("1")).unwrap();
    site.write(
        "layouts/front.html",
        "<fragment name=\"front\"></fragment><fragment name=\"extra\"></fragment>",
    );
    site.rewrite(|toml| format!("include = [\"parts/*.toml\"]\n{toml}"));
    // by hand or by itself, whichever is first
    reload(&site).await;
    shows(&site, "<p>1</p><i>1</i>").await;
    std::fs::write(&part, extra("2")).unwrap();
    shows(&site, "<p>1</p><i>2</i>").await;
}

#[tokio::test]
async fn a_save_by_rename_is_noticed() {
    let site = inline_site("1").await;
    let layout = site.folder().join("templates/layouts/front.html");
    for round in 1..=3 {
        let temporary = layout.with_extension("tmp~");
        std::fs::write(
            &temporary,
            format!("<b>{round}</b><fragment name=\"front\"></fragment>"),
        )
        .unwrap();
        std::fs::rename(&temporary, &layout).unwrap();
        shows(&site, &format!("<b>{round}</b><p>1</p>")).await;
    }
}

#[tokio::test]
async fn a_broken_file_leaves_the_site_and_says_where_it_is_broken() {
    let mut site = inline_site("1").await;
    let good = std::fs::read_to_string(site.folder().join("fragments.toml")).unwrap();
    let line = good
        .lines()
        .position(|line| line.starts_with("priority"))
        .unwrap()
        + 1;
    site.rewrite(|toml| toml.replace("priority = \"core\"", "priority = \"cor\""));
    let (status, said) = reload(&site).await;
    assert_eq!(status, 422, "{said}");
    assert!(said.contains(&format!("fragments.toml:{line}:")), "{said}");
    site.reader()
        .get("/")
        .await
        .is(200, "<main><p>1</p></main>");
    let told = event(&site, "site not reloaded, the one before stays:").await;
    assert!(told.contains(&format!("fragments.toml:{line}:")), "{told}");
    // and again, when it is right
    site.rewrite(|_| good.replace("<p>1</p>", "<p>2</p>"));
    shows(&site, "<main><p>2</p></main>").await;
}

#[tokio::test]
async fn a_broken_template_or_a_missing_layout_is_a_broken_site() {
    let site = inline_site("1").await;
    let layout = site.folder().join("templates/layouts/front.html");
    let good = std::fs::read_to_string(&layout).unwrap();
    for (broken, culprit) in [
        (
            "<p>\n<fragment name=\"none\"></fragment>",
            "templates/layouts/front.html:2:",
        ),
        (
            "<fragment name=\"front\">",
            "templates/layouts/front.html:1:",
        ),
    ] {
        std::fs::write(&layout, broken).unwrap();
        let (status, said) = reload(&site).await;
        assert_eq!(status, 422, "{said}");
        assert!(said.contains(culprit), "{said}");
        site.reader()
            .get("/")
            .await
            .is(200, "<main><p>1</p></main>");
    }
    std::fs::remove_file(&layout).unwrap();
    let (status, said) = reload(&site).await;
    assert_eq!(status, 422, "{said}");
    assert!(said.contains("layouts/front.html"), "{said}");
    site.reader()
        .get("/")
        .await
        .is(200, "<main><p>1</p></main>");
    // the file that was missing is noticed when it comes
    std::fs::write(&layout, good.replace("main", "div")).unwrap();
    shows(&site, "<div><p>1</p></div>").await;
}

#[tokio::test]
async fn a_page_in_flight_ends_as_it_began() {
    let gate = Gate::closed();
    let cms = origin()
        .on("/article", html("<p>text</p>").gated(&gate))
        .start()
        .await;
    let mut site = newsroom()
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
        .fragment("block", "40", "inline:<i>old</i>", "")
        .page_within("page", "/", "<main>[article][block]</main>", "60s")
        .start()
        .await;
    let reader = site.reader();
    let page = async { reader.get("/").await };
    let change = async {
        cms.arrived(1).await;
        site.write(
            "layouts/page.html",
            "<div><fragment name=\"block\"></fragment><fragment name=\"article\"></fragment></div>",
        );
        site.rewrite(|toml| toml.replace("<i>old</i>", "<i>new</i>"));
        let (status, said) = reload(&site).await;
        assert_eq!(status, 200, "{said}");
        gate.open();
    };
    let (page, ()) = tokio::join!(page, change);
    page.is(200, "<main><p>text</p><i>old</i></main>");
    site.reader()
        .get("/")
        .await
        .is(200, "<div><i>new</i><p>text</p></div>");
}

#[tokio::test]
async fn what_takes_effect_at_the_next_start_is_said_so() {
    let mut site = inline_site("1").await;
    site.rewrite(|toml| toml.replace("[server]\n", "[server]\nmax_pages_in_flight = 1\n"));
    let (status, said) = reload(&site).await;
    assert_eq!(status, 200, "{said}");
    let told = "[server] changed: takes effect at the next start";
    assert!(said.contains(told), "{said}");
    for other in ["[admin]", "[shared]", "[telemetry]"] {
        assert!(!said.contains(other), "{said}");
    }
    std::fs::write(site.folder().join("e"), "a-password-of-the-store").unwrap();
    site.rewrite(|toml| {
        let toml = toml.replace("max_pages_in_flight = 1\n", "");
        format!(
            "{toml}\n[telemetry.log]\nformat = \"json\"\n[shared]\nvalkey = \"redis://marbre@127.0.0.1:1\"\n\
             password_file = \"e\"\n"
        )
    });
    let (status, said) = reload(&site).await;
    assert_eq!(status, 200, "{said}");
    for (table, changed) in [
        ("server", false),
        ("admin", false),
        ("shared", true),
        ("telemetry", true),
    ] {
        let told = format!("[{table}] changed: takes effect at the next start");
        assert_eq!(said.contains(&told), changed, "{said}");
    }
    site.reader()
        .get("/")
        .await
        .is(200, "<main><p>1</p></main>");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_the_site_is_reloaded() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let mut site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"30s\"",
            cms.url()
        ))
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "timeout = \"30s\"\nttl = \"1ms\"\ngrace = \"1h\"",
        )
        .fragment("block", "40", "inline:<i>0</i>", "")
        .page_within("page", "/", "<main>[article][block]</main>", "30s")
        .start()
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (reader, done) = (site.reader(), Arc::clone(&done));
        readers.spawn(async move {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                let page = reader.get("/").await;
                assert_eq!(page.status, 200, "{}", page.body);
                let block = page.body.strip_prefix("<main><p>text</p><i>").unwrap();
                let number = block.strip_suffix("</i></main>").unwrap();
                assert!(number.parse::<u8>().unwrap() <= 20);
                asked += 1;
            }
            asked
        });
    }
    for round in 1..=20 {
        site.rewrite(|toml| {
            toml.replace(&format!("<i>{}</i>", round - 1), &format!("<i>{round}</i>"))
        });
        let (status, said) = reload(&site).await;
        assert_eq!(status, 200, "{said}");
    }
    done.store(true, Ordering::Relaxed);
    let asked: Vec<u32> = readers.join_all().await;
    assert!(
        asked.iter().all(|pages| *pages > 0),
        "every reader read something: {asked:?}"
    );
    site.reader()
        .get("/")
        .await
        .is(200, "<main><p>text</p><i>20</i></main>");
}
