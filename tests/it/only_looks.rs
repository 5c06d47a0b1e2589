//! A person who has signed in to look, in a real browser: what they could press is off and says why, no form can be
//! sent, and what is sent by force changes nothing.

use std::fs;

use serde_json::{Value, json};

use crate::support::browser::{lines, tool};
use crate::support::newspaper::{Running, repository, started};

const ACTS: &str = "open-sesame-0123456789";
const LOOKS: &str = "a-screen-on-the-wall-01";

async fn newspaper() -> Running {
    started(0, |name, key, value| match (name, key) {
        ("admin", "listen") => {
            "127.0.0.1:0\"\ntoken = \"open-sesame-0123456789\"\nread_token = \"a-screen-on-the-wall-01"
        }
        _ => value,
    })
    .await
}

/// What such a person finds on these pages, after `/login`.
async fn found(site: &Running, token: &str, pages: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let who = folder.path().join("who.js");
    fs::write(&who, format!("globalThis.token = {};", json!(token))).unwrap();
    let scripts = repository().join("tests/browser");
    let mut ask = tool("ask");
    let at = |path: &str| format!("http://{}{path}", site.app.admin_address);
    ask.arg(at("/login"))
        .args(pages.iter().map(|path| at(path)));
    ask.arg("--").arg(&who);
    ask.arg(scripts.join("person.js"))
        .arg(scripts.join("reads.js"));
    let mut told = lines(ask).await;
    assert_eq!(told.remove(0)["entered"], "/");
    assert_eq!(told.len(), pages.len());
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_only_look_can_press_nothing_that_decides_and_is_told_why() {
    let site = newspaper().await;
    let told = found(&site, LOOKS, &["/", "/dials"]).await;
    for (page, pressed) in told.iter().zip([json!(["Sign out", "Show"]), json!([])]) {
        assert_eq!(page["on"], pressed, "{page:#}");
        let off = page["off"].as_array().unwrap();
        assert!(off.len() > 10, "{page:#}");
        for button in off {
            let why = button[1].as_str().unwrap();
            assert!(why.contains("signed in to look"), "{button}");
            assert!(why.contains("token of those who operate"), "{button}");
        }
        assert_eq!(page["dialog"], false, "{page:#}");
        assert_eq!(page["stayed"], true, "{page:#}");
        for forced in page["forced"].as_array().unwrap() {
            assert_eq!(forced[0], 403, "{forced}");
            assert!(
                forced[1].as_str().unwrap().contains("may only read"),
                "{forced}"
            );
        }
    }
    let off = told[0]["off"].to_string();
    for label in [
        "Pin a level",
        "Switch off slideshow",
        "Reload",
        "Purge",
        "the dial of media",
    ] {
        assert!(off.contains(label), "{label}: {off}");
    }
    // nothing has happened but what was refused
    let acts = site
        .app
        .journal()
        .since(marbre::clock::Moment::from_micros(0));
    let acts = acts.entries.iter().map(|entry| entry.kind().label());
    let acts: Vec<_> = acts
        .filter(|kind| !matches!(*kind, "start" | "refusal" | "tally" | "level"))
        .collect();
    // they have signed in
    assert_eq!(acts, ["act"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_act_finds_the_same_buttons_on() {
    let site = newspaper().await;
    let told = found(&site, ACTS, &["/", "/dials"]).await;
    for page in &told {
        assert_eq!(page["off"], json!([]), "{page:#}");
        assert!(page["on"].as_array().unwrap().len() > 10, "{page:#}");
        assert_eq!(page["forced"][0][0], 200, "{page:#}");
    }
}
