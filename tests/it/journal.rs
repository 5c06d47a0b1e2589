//! What has happened can be told afterwards: by the running server, by its state folder when it is gone,
//! and as the draft of a post-mortem whose numbers are those of the pages.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Newsroom, Operator, Origin, html, newsroom, origin, status};

async fn site(cms: &Origin) -> Newsroom {
    newsroom()
        .origin("cms", cms)
        .core("article", "cms:/article")
        .optional("more", 20, "cms:/more")
        .page("page", "/", "[article][more]")
        .start()
        .await
}

async fn healthy() -> Origin {
    let cms = origin().on("/article", html("<i>article</i>"));
    cms.on("/more", html("<i>more</i>")).start().await
}

async fn journal(operator: &Operator, query: &str) -> Vec<Value> {
    let (status, said) = operator.get(&format!("/journal{query}")).await;
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    said["entries"].as_array().unwrap().clone()
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|e| e["kind"].as_str().unwrap())
        .collect()
}

fn marbre(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command.arg("journal").args(arguments).current_dir(folder);
    command.env_remove("MARBRE_ADMIN_TOKEN").output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn what_operators_and_readers_did_is_told_in_its_order() {
    let cms = healthy().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    site.reader().get("/").await;
    operator.switch("block/more", "\"off\": true, ").await;
    operator.clear("block/more").await;
    operator.ask("POST", "/purge", "{\"all\": true}", &[]).await;
    operator.ask("POST", "/reload", "", &[]).await;
    let told = journal(&operator, "?since=1h").await;
    // who has asked for it stands behind what it came to
    let expected = [
        "start", "switch", "act", "switch", "act", "purge", "act", "reload", "act", "tally",
    ];
    assert_eq!(kinds(&told), expected, "{told:#?}");
    let told: Vec<_> = told.into_iter().filter(|e| e["kind"] != "act").collect();
    assert_eq!(
        (&told[1]["owner"], &told[1]["how"]),
        (&"desk".into(), &"set".into())
    );
    assert_eq!(told[1]["reason"], "a test");
    assert!(told[2]["says"].as_str().unwrap().contains("taken back"));
    assert_eq!(told[5]["pages"], 1);
    assert_eq!(told[5]["full"], 1);
    assert_eq!(told[5]["so_far"], true);
    let some = journal(&operator, "?kinds=purge,reload").await;
    assert_eq!(kinds(&some), ["purge", "reload"]);
    let none = journal(&operator, "?since=9999999999999").await;
    assert_eq!(kinds(&none), ["tally"], "only what is not over yet");
    for wrong in ["?kinds=weather", "?since=yesterday"] {
        let (status, said) = operator.get(&format!("/journal{wrong}")).await;
        assert_eq!(status, 400, "{said}");
    }
}

#[tokio::test]
async fn the_numbers_of_a_post_mortem_are_those_of_the_pages() {
    let cms = origin().on("/article", html("<i>article</i>"));
    let cms = cms.on("/more", status(500)).start().await;
    let site = site(&cms).await;
    for _ in 0..7 {
        site.reader().get("/").await;
    }
    let folder = site.folder();
    let stopped = site.stopped().await;
    let text = printed(&marbre(&folder, &["--postmortem"]));
    for line in [
        "| all pages | 7 | 100.00 % |",
        "| a page with blocks missing or replaced | 7 | 100.00 % |",
        "7 blocks were left out; something stood in for 0 more",
        "| more | ",
        "## Causes",
        "**stop** stopped: all that was in flight is finished",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    let json = printed(&marbre(&folder, &["--json", "--kind", "tally"]));
    let tallies = json
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let pages: u64 = tallies.map(|tally| tally["pages"].as_u64().unwrap()).sum();
    assert_eq!(pages, 7, "{json}");
    drop(stopped);
}

#[tokio::test]
async fn a_damaged_journal_is_told_of_and_goes_on() {
    let cms = healthy().await;
    let site = site(&cms).await;
    let folder = site.state_dir().join("journal");
    let stopped = site.stopped().await;
    let file = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&file).unwrap();
    // a crash in the middle of the last line
    bytes.truncate(bytes.len() - 20);
    fs::write(&file, &bytes).unwrap();
    let site = stopped.started().await;
    let operator = Operator::of(&site);
    let told = journal(&operator, "").await;
    assert_eq!(
        kinds(&told),
        ["start", "stop", "journal", "start"],
        "{told:#?}"
    );
    assert_eq!(told[3]["after_crash"], true);
    let whole = site.folder();
    let stopped = site.stopped().await;
    let output = marbre(&whole, &[]);
    let note = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(note.contains("1 lines"), "{note}");
    assert_eq!(printed(&output).matches(" start ").count(), 2, "{output:?}");
    drop(stopped);
}

#[tokio::test]
async fn a_running_server_is_asked_and_its_events_are_followed() {
    let cms = healthy().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    let url = format!("{}/events?kinds=purge", operator.url);
    let mut events = operator.client.get(url).send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    operator.ask("POST", "/reload", "", &[]).await;
    operator.ask("POST", "/purge", "{\"all\": true}", &[]).await;
    let told = events.chunk().await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(
        told.contains("event: purge\n") && told.contains("\"kind\":\"purge\""),
        "{told}"
    );
    let folder = site.folder();
    let admin = site.admin_url();
    let asking = tokio::task::spawn_blocking(move || marbre(&folder, &["--url", &admin]));
    let printed = printed(&asking.await.unwrap());
    assert!(printed.contains("  purge    purged"), "{printed}");
    // a stopping server ends it, and does not wait for who follows
    let stopped = site.stopped().await;
    while let Ok(Some(_)) = events.chunk().await {}
    drop(stopped);
}

#[test]
fn what_cannot_be_read_is_said_with_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let output = marbre(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--state-dir"),
        "{output:?}"
    );
    let output = marbre(folder.path(), &["--state-dir", "."]);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    for wrong in [["--since", "long ago"], ["--kind", "weather"]] {
        assert_eq!(
            marbre(folder.path(), &wrong).status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
}
