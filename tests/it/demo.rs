//! The demo newspaper as its readers see it: whole pages in a real browser, and whole valid pages
//! whichever of its origins is sick or dead.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::browser::{lines, run, tool};
use crate::support::newspaper::{patient, patiently, repository, started};
use crate::support::reader::client;
use crate::support::{Page, newsroom, origin};

/// A story with a slideshow, and a piece of its text.
const STORY: &str = "/articles/archipel-cable";
const ITS_TEXT: &str = "Le mardi, à 4 h 12, les téléphones des îles Aldines ont cessé de parler";
/// One page of each kind.
const KINDS: [&str; 3] = ["/", "/sections/monde", STORY];
const OPTIONAL: [&str; 5] = ["media", "live", "reco", "weather", "ads"];

/// Names, and how they were filled, in the latest page that lacked something.
fn complaints(state: &Value) -> &Value {
    &state["tally"]["incomplete"][0]["blocks"]
}

#[track_caller]
fn assert_ends(page: &Page) {
    assert!(
        page.body.trim_end().ends_with("</html>"),
        "the page is cut: {}",
        page.body
    );
    assert!(
        !page.body.contains("<fragment"),
        "a slot is left: {}",
        page.body
    );
}

// --- Whole pages ---

#[tokio::test]
async fn every_page_has_all_its_blocks() {
    let newspaper = patient().await;
    let paths = newspaper.demo.newspaper().pages();
    assert!(paths.len() > 15, "{paths:?}");
    let mut slideshows = 0;
    for path in &paths {
        let page = newspaper.reader().get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_ends(&page);
        let mut blocks = vec![
            "class=\"masthead\"",
            "class=\"sections\"",
            "class=\"colophon\"",
        ];
        blocks.push("class=\"most-read\"");
        blocks.push(" class=\"ad");
        blocks.push(match path.as_str() {
            article if article.starts_with("/articles/") => "class=\"related\"",
            _ => "class=\"weather\"",
        });
        if !path.starts_with("/sections/") {
            blocks.push("class=\"live\"");
        }
        for block in blocks {
            assert!(page.body.contains(block), "{path}: no {block}");
        }
        slideshows += u8::from(page.body.contains("class=\"slideshow\""));
    }
    let stories_with_pictures = repository()
        .join("src/demo/content/slideshows")
        .read_dir()
        .unwrap();
    assert_eq!(usize::from(slideshows), stories_with_pictures.count());
    let count = paths.len() as u64;
    let state = newspaper.state_after(count).await;
    assert_eq!(state["tally"]["complete"], count, "{state}");
}

#[tokio::test]
async fn every_address_in_the_newspaper_leads_somewhere() {
    let newspaper = patient().await;
    let reader = newspaper.reader();
    let mut known: BTreeMap<String, Page> = BTreeMap::new();
    let mut wanted = vec![("the reader".to_owned(), "/".to_owned())];
    let mut anchors = BTreeSet::new();
    while let Some((from, address)) = wanted.pop() {
        let (path, anchor) = address.split_once('#').unwrap_or((&address, ""));
        if !anchor.is_empty() {
            anchors.insert((from.clone(), path.to_owned(), anchor.to_owned()));
        }
        if known.contains_key(path) {
            continue;
        }
        let page = reader.get(path).await;
        assert_eq!(page.status, 200, "{path}, from {from}");
        for found in addresses(&page.body) {
            assert!(!is_outside(&found), "{path} refers to {found}");
            // a fragment alone is a place on the same page
            let found = if found.starts_with('#') {
                format!("{path}{found}")
            } else {
                found
            };
            assert!(found.starts_with('/'), "{path} refers to {found}");
            wanted.push((path.to_owned(), found));
        }
        known.insert(path.to_owned(), page);
    }
    for (from, path, anchor) in anchors {
        let there = known[&path].body.contains(&format!("id=\"{anchor}\""));
        assert!(
            there,
            "{from} leads to #{anchor} of {path}, where there is no such place"
        );
    }
    let pictures = known
        .keys()
        .filter(|path| path.starts_with("/pictures/"))
        .count();
    assert!(pictures > 10, "{:?}", known.keys());
    for path in newspaper.demo.newspaper().pages() {
        assert!(known.contains_key(&path), "nothing leads to {path}");
    }
}

/// What a page, a stylesheet or a drawing refers to.
fn addresses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, end) in [
        ("href=\"", '"'),
        ("src=\"", '"'),
        ("action=\"", '"'),
        ("url(", ')'),
    ] {
        for rest in text.split(start).skip(1) {
            let address = rest
                .split(end)
                .next()
                .unwrap_or_default()
                .trim_matches(['"', '\'']);
            // a drawing's reference to a part of itself
            if start != "url(" || !address.starts_with('#') {
                found.push(address.to_owned());
            }
        }
    }
    let within_drawing = text.starts_with("<svg");
    found.retain(|address| !within_drawing || !address.starts_with('#'));
    found
}

fn is_outside(address: &str) -> bool {
    address.starts_with("//") || address.contains("://") || address.contains("data:")
}

#[tokio::test]
async fn no_page_names_an_outside_host() {
    let newspaper = patient().await;
    // names of vocabularies, which no browser asks for
    let vocabularies = ["https://schema.org", "http://www.w3.org/2000/svg"];
    let mut paths = newspaper.demo.newspaper().pages();
    paths.extend(["/rien".to_owned(), "/assets/site.css".to_owned()]);
    for path in paths {
        let mut body = newspaper.reader().get(&path).await.body;
        for name in vocabularies {
            body = body.replace(name, "");
        }
        let at = body
            .find("://")
            .map(|at| body[..at].chars().rev().take(40).collect::<String>());
        assert_eq!(at, None, "{path} (backwards)");
    }
}

// --- In a browser ---

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_front_page_and_an_article_whole() {
    let newspaper = patient().await;
    let folder = tempfile::tempdir().unwrap();
    let shoot = async |url: &str| {
        let file = folder.path().join("picture.png");
        let mut shoot = tool("shoot");
        shoot.args([url]).arg(&file).arg("1280x900");
        run(shoot).await;
        std::fs::read(file).unwrap()
    };
    let blank = shoot("about:blank").await;
    let texts = [
        (
            "/",
            "À Port-Garance, une liste d’habitants l’emporte de 61 voix",
        ),
        (STORY, ITS_TEXT),
    ];
    for (path, text) in texts {
        let mut dom = tool("dom");
        dom.arg(newspaper.url(path));
        let dom = run(dom)
            .await
            .replace("&nbsp;", " ")
            .replace(['\u{a0}', '\u{202f}'], " ");
        assert!(dom.starts_with("<!DOCTYPE html>"), "{dom}");
        assert!(dom.contains(text), "{text} is not in {dom}");
        assert!(dom.contains("class=\"colophon\""));

        let picture = shoot(&newspaper.url(path)).await;
        assert_eq!(picture[16..24], [0, 0, 5, 0, 0, 0, 3, 132], "1280 by 900");
        let (drawn, empty) = (picture.len(), blank.len());
        assert!(
            drawn > 10 * empty,
            "{path} looks blank: {drawn} bytes, {empty} for nothing"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_picture_shows() {
    let newspaper = patient().await;
    let paths = newspaper.demo.newspaper().pages();
    let mut ask = tool("ask");
    ask.args(paths.iter().map(|path| newspaper.url(path)))
        .arg("--");
    ask.arg(repository().join("tests/browser/broken_images.js"));
    let answers = lines(ask).await;
    assert_eq!(answers.len(), paths.len());
    for (path, answer) in paths.iter().zip(answers) {
        assert_eq!(answer["broken"], json!([]), "{path}");
        assert_ne!(answer["images"], 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_accessible_on_a_desk_and_on_a_phone_by_day_and_by_night() {
    let newspaper = patient().await;
    let mut urls: Vec<_> = KINDS.iter().map(|path| newspaper.url(path)).collect();
    urls.extend([newspaper.url("/rien"), newspaper.desk()]);
    urls.push(newspaper.url("/etat"));
    for (size, scheme) in [("1280x900", "light"), ("390x844", "dark")] {
        let mut ask = tool("ask");
        ask.env("BROWSER_SIZE", size)
            .env("BROWSER_SCHEME", scheme)
            .args(&urls)
            .arg("--");
        ask.arg(repository().join("tests/browser/node_modules/axe-core/axe.min.js"));
        ask.arg(repository().join("tests/browser/accessibility.js"));
        let answers = lines(ask).await;
        assert_eq!(answers.len(), urls.len());
        for (url, answer) in urls.iter().zip(answers) {
            assert_eq!(answer["violations"], json!([]), "{url}, {size}, {scheme}");
            assert_eq!(answer["wide"], json!(false), "{url} is wider than {size}");
            assert!(answer["checked"].as_u64() > Some(10), "{url}: {answer}");
        }
    }
}

/// Pages put down for the HTML checker, which starts once for all of them.
struct Pile(TempDir);

impl Pile {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("the temporary folder is writable"))
    }

    #[track_caller]
    fn add(&self, name: &str, page: &Page, status: u16) {
        assert_eq!(page.status, status, "{name}");
        assert_ends(page);
        let file = self.0.path().join(name.replace(['/', ' '], "_") + ".html");
        assert!(!file.exists(), "{name} was added before");
        std::fs::write(file, &page.body).expect("the temporary folder is writable");
    }

    async fn must_be_valid(self) {
        let files = self.0.path().read_dir().expect("the folder is there");
        let mut valid = tool("valid");
        let files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        assert!(!files.is_empty());
        valid.args(files);
        run(valid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_valid_html_at_every_level() {
    let newspaper = patient().await;
    let pile = Pile::new();
    let reader = newspaper.reader();
    for path in newspaper.demo.newspaper().pages() {
        pile.add(&format!("full {path}"), &reader.get(&path).await, 200);
    }
    let admin = format!("http://{}/level", newspaper.app.admin_address);
    let text_only = newspaper.state().await["level"]["text_only"]
        .as_u64()
        .expect("a level");
    assert!(text_only >= 6, "{text_only}");
    let mut size = usize::MAX;
    for level in 1..=text_only {
        let set = client().put(&admin).body(level.to_string()).send().await;
        assert_eq!(set.expect("the admin listener answers").status(), 200);
        for path in KINDS {
            let page = reader.get(path).await;
            pile.add(&format!("level {level} {path}"), &page, 200);
            assert_eq!(u64::from(page.level()), level);
            if path == STORY {
                assert!(page.body.contains("class=\"story-body\""));
                assert!(
                    page.body.len() <= size,
                    "level {level} gives more than the one before"
                );
                size = page.body.len();
            }
        }
    }
    let text = reader.get(STORY).await.body;
    for block in ["slideshow", "related", "live", "most-read", "ad"] {
        assert!(
            !text.contains(&format!("class=\"{block}")),
            "{block} at level {text_only}"
        );
    }
    pile.add("404", &reader.get("/rien").await, 404);
    pile.add("status", &reader.get("/etat").await, 200);
    pile.add("no such story", &reader.get("/articles/rien").await, 404);
    let moved = reader.get("/articles/municipales-soiree-electorale").await;
    assert_eq!(
        moved.header("location"),
        Some("/articles/municipales-port-garance")
    );
    pile.add("moved", &moved, 301);
    let desk = client()
        .get(newspaper.desk())
        .send()
        .await
        .expect("the desk answers");
    let (status, headers) = (desk.status().as_u16(), desk.headers().clone());
    let body = desk.text().await.expect("the desk's page is whole");
    pile.add(
        "dials",
        &Page {
            status,
            headers,
            body,
        },
        200,
    );
    pile.must_be_valid().await;
}

// --- Sick and dead origins ---

#[tokio::test(flavor = "multi_thread")]
async fn a_slideshow_that_hangs_is_left_out_of_a_whole_page() {
    let newspaper = started(0, |name, key, value| match (name, key) {
        ("fragments.slideshow" | "origins.media", _) => value,
        (origin, "timeout") if origin.starts_with("origins") => "25s",
        (_, "timeout") => "20s",
        (_, "budget" | "target") => "25s",
        _ => value,
    })
    .await;
    newspaper.turn("media", "hang=1");
    let page = newspaper.reader().get(STORY).await;
    let state = newspaper.state_after(1).await;
    assert_eq!(
        *complaints(&state),
        json!({ "slideshow": "failed (timeout)" })
    );
    assert!(page.body.contains("class=\"story-body\"") && page.body.contains("class=\"related\""));
    assert!(!page.body.contains("slideshow"));
    let pile = Pile::new();
    pile.add("without its slideshow", &page, 200);
    pile.must_be_valid().await;

    // and it comes back, once the request that hangs has been given up
    newspaper.turn("media", "hang=0");
    patiently(async {
        while !newspaper
            .reader()
            .get(STORY)
            .await
            .body
            .contains("class=\"slideshow\"")
        {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_do_not_wait_for_pictures_that_are_dead() {
    let newspaper = patient().await;
    newspaper.kill("pictures").await;
    let pile = Pile::new();
    for path in KINDS {
        pile.add(path, &newspaper.reader().get(path).await, 200);
    }
    pile.must_be_valid().await;
    assert_eq!(newspaper.state_after(3).await["tally"]["complete"], 3);
    assert_eq!(
        newspaper
            .reader()
            .get("/pictures/archipel.svg")
            .await
            .status,
        502
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_notice_a_dead_cms() {
    let newspaper = started(0, |name, key, value| match key {
        "timeout" if name.starts_with("origins") => "25s",
        "timeout" => "20s",
        "budget" | "target" => "25s",
        "ttl" if name == "fragments.article" || name == "fragments.front" => "1ms",
        _ => value,
    })
    .await;
    let reader = newspaper.reader();
    let alive = [reader.get("/").await, reader.get(STORY).await];
    newspaper.kill("cms").await;
    for (path, core, alive) in [("/", "front", &alive[0]), (STORY, "article", &alive[1])] {
        // a copy may still be fresh, for a millisecond
        let page = patiently(async {
            loop {
                let page = reader.get(path).await;
                assert_eq!((page.status, &page.body), (200, &alive.body), "{path}");
                if page.outcome(core) != Some("cached") {
                    return page;
                }
            }
        })
        .await;
        assert_eq!(page.outcome(core), Some("stale"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_seen_of_a_dead_cms_is_the_sites_error_page() {
    let newspaper = patient().await;
    newspaper.kill("cms").await;
    let pile = Pile::new();
    for path in KINDS {
        let page = newspaper.reader().get(path).await;
        assert!(
            page.body.contains("Cette page revient dans un instant"),
            "{path}: {}",
            page.body
        );
        let wait: u32 = page
            .header("retry-after")
            .expect("a time to come back")
            .parse()
            .unwrap();
        assert!(wait > 0);
        assert_eq!(page.header("cache-control"), Some("no-store"));
        pile.add(path, &page, 503);
    }
    // a site that has no such page of its own
    let dead = origin().start().await;
    dead.kill();
    let bare = newsroom()
        .origin("cms", &dead)
        .core("core", "cms:/")
        .page("page", "/", "[core]");
    pile.add("built in", &bare.start().await.reader().get("/").await, 503);
    pile.must_be_valid().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_article_stands_alone_when_all_that_is_optional_is_dead() {
    let newspaper = patient().await;
    for origin in OPTIONAL {
        newspaper.kill(origin).await;
    }
    let pile = Pile::new();
    for path in KINDS {
        pile.add(path, &newspaper.reader().get(path).await, 200);
    }
    let page = newspaper.reader().get(STORY).await;
    assert!(page.body.replace('\u{a0}', " ").contains(ITS_TEXT));
    for block in ["slideshow", "related", "live-entries", "ad"] {
        assert!(
            !page.body.contains(&format!("class=\"{block}\"")),
            "{block}"
        );
    }
    // what the newsroom has declared for that day
    assert!(page.body.contains("Le fil est interrompu"));
    let state = newspaper.state_after(4).await;
    let told = complaints(&state).as_object().expect("blocks").iter();
    let outcomes: BTreeMap<_, _> = told
        .map(|(name, told)| {
            (
                name.as_str(),
                told.as_str().unwrap().split(" (").next().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("ad-article", "failed"),
        ("live", "static"),
        ("most-read", "default_data"),
        ("related", "failed"),
        ("slideshow", "failed"),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected));
    pile.must_be_valid().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_and_footer_are_there_when_their_origin_is_dead() {
    let newspaper = patient().await;
    newspaper.kill("web").await;
    let pile = Pile::new();
    for path in KINDS {
        let page = newspaper.reader().get(path).await;
        for block in [
            "class=\"masthead\"",
            "class=\"sections\"",
            "class=\"colophon\"",
        ] {
            assert_eq!(page.body.matches(block).count(), 1, "{path}: {block}");
        }
        pile.add(path, &page, 200);
    }
    pile.must_be_valid().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_but_the_cms_dead_there_is_still_a_page() {
    let newspaper = patient().await;
    for origin in OPTIONAL.iter().chain(&["web"]) {
        newspaper.kill(origin).await;
    }
    let pile = Pile::new();
    for path in KINDS {
        pile.add(path, &newspaper.reader().get(path).await, 200);
    }
    pile.must_be_valid().await;
}

// --- The program ---

/// The program, ended when the test ends in whichever way.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // it has ended already unless the test fails
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_runs_in_an_empty_folder_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (here, temporary) = (folder.path().join("here"), folder.path().join("tmp"));
    std::fs::create_dir(&here).unwrap();
    std::fs::create_dir(&temporary).unwrap();
    let is_empty = |folder: &Path| folder.read_dir().unwrap().next().is_none();
    let mut program = Command::new(env!("CARGO_BIN_EXE_marbre"));
    program
        .args(["demo", "--free-ports"])
        .current_dir(&here)
        .env("TMPDIR", &temporary);
    let program = program
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut program = Program(program);

    // the greeting is printed once both listeners are open
    let mut greeting = BufReader::new(program.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut address = |what: &str| {
        let line = greeting.find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("no address {what}"));
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        url.unwrap_or_else(|| panic!("no address in {line}"))
            .trim_end_matches('/')
            .to_owned()
    };
    let (pages, admin) = (address("the newspaper"), address("for operators"));
    assert!(
        !is_empty(&temporary),
        "the site is written where it can be edited"
    );
    assert!(is_empty(&here));

    let client = client();
    let front = client.get(format!("{pages}/")).send().await.unwrap();
    assert_eq!(front.status(), 200);
    assert!(
        front
            .text()
            .await
            .unwrap()
            .contains("À Port-Garance, une liste d’habitants")
    );
    let style = client
        .get(format!("{pages}/assets/site.css"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (style.status().as_u16(), &style.headers()["content-type"]),
        (200, &"text/css".parse().unwrap())
    );
    // the commands of the greeting
    let turned = client
        .put(format!("{admin}/dials/media?hang=1"))
        .send()
        .await
        .unwrap();
    let dials: Value = serde_json::from_slice(&turned.bytes().await.unwrap()).unwrap();
    assert_eq!(dials["media"]["dial"]["hang"], true);
    assert_eq!(dials["media"]["ends_in_s"], Value::Null);
    // for a while, by somebody, and for a reason: which is told when it ends by itself too
    let signed = "off=1&for=1s&by=night+desk&reason=a+rehearsal";
    let turned = client.put(format!("{admin}/dials/ads?{signed}"));
    let dials = turned.send().await.unwrap().bytes().await.unwrap();
    let dials: Value = serde_json::from_slice(&dials).unwrap();
    assert_eq!(dials["ads"]["by"], "night desk");
    let faults = patiently(async {
        loop {
            let told = client.get(format!("{admin}/journal?kinds=fault"));
            let told = told.send().await.unwrap().text().await.unwrap();
            if told.contains("ads is made healthy again: its time is over") {
                return told;
            }
        }
    })
    .await;
    let says =
        "origin ads is made to misbehave: refuses connections, for 1s, by night desk: a rehearsal";
    assert!(faults.contains(says), "{faults}");
    let level = client
        .put(format!("{admin}/level"))
        .body("2")
        .send()
        .await
        .unwrap();
    assert_eq!(level.status(), 200);
    let page = client.get(format!("{pages}{STORY}")).send().await.unwrap();
    let says = page.headers()["marbre-level"].to_str().unwrap();
    assert!(says.starts_with("2;theta=1.000;off=\""), "{says}");
    drop(page);

    let pid = program.0.id().to_string();
    assert!(
        Command::new("sh")
            .args(["-c", "kill -TERM $0", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut complaints = program.0.stderr.take().unwrap();
    let (status, complaints) = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        complaints.read_to_string(&mut text).unwrap();
        (program.0.wait().unwrap(), text)
    })
    .await
    .unwrap();
    assert_eq!(status.code(), Some(0), "{complaints}");
    assert!(is_empty(&temporary), "its folder is left");
    assert!(is_empty(&here));
}
