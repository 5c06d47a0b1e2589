//! What REDbot (redbot.org) says of each kind of answer: a judge of HTTP that is not ours. It asks as caches and
//! crawlers do, plainly, with conditions, for ranges and in codings, and compares what comes.

use std::path::Path;
use std::process::Command;

use futures::future::join_all;
use serde_json::Value;

use crate::support::{Newsroom, html, newsroom, origin};

/// What it says against an answer, and why the answer is as it is. Everything else that it warns of is a fault.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "/fetched",
        "FRESHNESS_NO_CACHE_NO_VALIDATOR",
        "a block is under way when the head leaves: what the page will be is not known, so it has no validator",
    ),
    (
        "/fetched",
        "INM_FULL",
        "where the block was faster than the head the page had one, and the next page need not",
    ),
];

/// Each path, and what an answer to it must have been praised for: or it has not been looked at.
const LOOKED_AT: &[(&str, &[&str])] = &[
    ("/", &["CL_CORRECT", "INM_304", "CONNEG_GZIP_GOOD"]),
    ("/kept", &["CL_CORRECT", "INM_304", "CONNEG_GZIP_GOOD"]),
    ("/fetched", &["DATE_CORRECT", "CONNEG_GZIP_GOOD"]),
    (
        "/assets/style.css",
        &[
            "CL_CORRECT",
            "INM_304",
            "IMS_304",
            "CONNEG_GZIP_GOOD",
            "RANGE_CORRECT",
        ],
    ),
    ("/passed", &["CL_CORRECT"]),
    ("/nothing", &["CL_CORRECT"]),
];

async fn site() -> (Newsroom, crate::support::Origin) {
    let words = "<p>words that can be coded</p>".repeat(100);
    let passed = html(&words)
        .header("cache-control", "max-age=60")
        .header("vary", "accept-encoding");
    let cms = origin()
        .on("/block", html("<p>block</p>"))
        .on("/passed", passed)
        .start()
        .await;
    let page = format!("<!doctype html><html lang=\"en\"><title>t</title>[article]{words}</html>");
    let kept = "[pages.kept.cache]\nmax_age = \"10s\"\nshared_max_age = \"60s\"\n\
                stale_while_revalidate = \"30s\"\nstale_if_error = \"1d\"";
    let site = newsroom()
        .origin("cms", &cms)
        .file("../public/style.css", "p { color: red }\n".repeat(300))
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .optional("block", 40, "cms:/block")
        .page("front", "/", &page)
        .page("kept", "/kept", &page)
        .toml(kept)
        .page(
            "fetched",
            "/fetched",
            &page.replace("[article]", "[article][block]"),
        )
        .toml("[[proxy]]\nroute = \"/passed\"\norigin = \"cms\"")
        .toml("[[static]]\nroute = \"/assets\"\ndir = \"public\"\ncache_control = \"max-age=60\"")
        .start()
        .await;
    (site, cms)
}

/// All that it says of what is at this address, as pairs of a level and a name, with its words.
async fn said(url: String) -> Vec<(String, String, String)> {
    let asked = tokio::task::spawn_blocking(move || {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/.venv/bin/redbot");
        assert!(program.exists(), "tests/run installs REDbot");
        Command::new(program).args(["-o", "har", &url]).output()
    });
    let output = asked.await.expect("it does not panic").expect("it starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let har: Value = serde_json::from_slice(&output.stdout).expect("it writes JSON");
    let entries = har["log"]["entries"].as_array().expect("it has asked");
    let notes = entries
        .iter()
        .filter_map(|entry| entry["_red_messages"].as_array())
        .flatten();
    let text = |note: &Value, key: &str| note[key].as_str().unwrap_or_default().to_owned();
    notes
        .map(|note| {
            (
                text(note, "level"),
                text(note, "note_id"),
                text(note, "summary"),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn has_nothing_to_say_against_any_answer() {
    let (site, _cms) = site().await;
    let looks = LOOKED_AT.iter().map(async |(path, praised)| {
        let notes = said(format!("{}{path}", site.url())).await;
        let mut wrong = Vec::new();
        for name in *praised {
            if !notes
                .iter()
                .any(|(level, id, _)| level == "GOOD" && id == name)
            {
                wrong.push(format!("{path}: nothing good of {name}: {notes:?}"));
            }
        }
        for (level, id, summary) in &notes {
            let is_known = KNOWN.iter().any(|(at, known, _)| at == path && known == id);
            if !matches!(level.as_str(), "GOOD" | "INFO") && !is_known {
                wrong.push(format!("{path}: {level} {id}: {summary}"));
            }
        }
        wrong
    });
    let wrong = join_all(looks).await.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
