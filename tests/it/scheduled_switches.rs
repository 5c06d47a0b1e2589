//! Switches by the clock: set now to begin later, or declared with the site; when they begin and end, what
//! is shown of them before, and how they are taken back before and meanwhile.

use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::newsroom::Draft;
use crate::support::{Newsroom, Operator, newsroom};

fn paper() -> Draft {
    newsroom()
        .toml("[site]\nzone = \"Europe/Paris\"")
        .fragment("article", "\"core\"", "inline:<p>a</p>", "")
        .fragment("block", "10", "inline:<b>b</b>", "")
        .page("page", "/", "[article][block]")
}

/// RFC 3339, so many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let now = Timestamp::now().as_second();
    let then = Timestamp::from_second(now + seconds);
    then.expect("the years are few").to_string()
}

fn declared(name: &str, from: i64, until: i64, what: &str) -> String {
    format!(
        "[schedules.{name}]\nfrom = \"{}\"\nuntil = \"{}\"\nowner = \"chief editor\"\n\
         reason = \"results\"\n{what}\n",
        in_seconds(from),
        in_seconds(until)
    )
}

async fn put(site: &Newsroom, subject: &str, what: &str) -> (u16, Value) {
    let body = format!("{{{what}\"owner\": \"desk\", \"reason\": \"a test\"}}");
    let path = format!("/switches/{subject}");
    let (status, said) = Operator::of(site).ask("PUT", &path, &body, &[]).await;
    (
        status,
        serde_json::from_str(&said).unwrap_or(Value::String(said)),
    )
}

async fn level(site: &Newsroom) -> u8 {
    site.reader().get("/").await.level()
}

/// An event that begins so, once there is one.
async fn told(site: &Newsroom, beginning: &str) {
    let is_told = |state: &Value| {
        let events = state["tally"]["events"].as_array().unwrap().iter();
        let mut events = events.filter_map(Value::as_str);
        events.any(|event| event.contains(beginning))
    };
    site.state_when(beginning, is_told).await;
}

#[tokio::test]
async fn what_is_set_to_begin_later_begins_then_and_can_be_taken_back() {
    let site = paper().start().await;
    let operator = Operator::of(&site);
    let (from, until) = (in_seconds(4), in_seconds(3600));
    let times = format!("\"level\": 1, \"from\": \"{from}\", \"until\": \"{until}\", ");
    let (status, done) = put(&site, "floor", &times).await;
    assert_eq!(status, 200, "{done}");
    let address = done["set"]["address"].as_str().unwrap().to_owned();
    assert_eq!(address, format!("floor@{from}"));
    assert!(
        done["set"]["begins_in_s"]
            .as_u64()
            .is_some_and(|seconds| seconds <= 4)
    );
    assert!(done["set"]["from_local"].as_str().unwrap().contains("+0"));
    told(
        &site,
        &format!("switch floor: begun: the level is at least 1 until {until}"),
    )
    .await;
    assert_eq!(level(&site).await, 1);
    let state = site.state().await;
    let shown = &state["switches"]["switches"][0];
    assert_eq!(shown["subject"], "floor", "{state:#}");
    assert_eq!(shown["address"], address.as_str());
    // by its subject, as it is in force
    operator.clear("floor").await;
    assert_eq!(level(&site).await, 0);

    // before it begins, and there may be several
    for hours in [1, 2] {
        let times = format!("\"level\": 1, \"from\": \"{}\", ", in_seconds(hours * 3600));
        assert_eq!(put(&site, "floor", &times).await.0, 200);
    }
    let scheduled = site.state().await["switches"]["scheduled"].take();
    assert_eq!(scheduled.as_array().unwrap().len(), 2, "{scheduled:#}");
    assert_eq!(scheduled[0]["state"], "waits");
    let (first, second) = (scheduled[0]["address"].as_str(), &scheduled[1]["address"]);
    let one = operator
        .get(&format!("/switches/{}", first.unwrap()))
        .await
        .1;
    assert!(one.contains("\"act\":\"floor\""), "{one}");
    operator.clear(first.unwrap()).await;
    // and over a restart
    let site = site.restarted().await;
    let scheduled = site.state().await["switches"]["scheduled"].take();
    assert_eq!(&scheduled[0]["address"], second);
    assert_eq!(scheduled.as_array().unwrap().len(), 1);
    assert_eq!(level(&site).await, 0);
}

#[tokio::test]
async fn one_that_has_begun_ends_by_itself() {
    let site = paper().start().await;
    let (from, until) = (in_seconds(4), in_seconds(7));
    let times = format!("\"off\": true, \"from\": \"{from}\", \"until\": \"{until}\", ");
    assert_eq!(put(&site, "block/block", &times).await.0, 200);
    told(&site, "begun: block is off").await;
    told(&site, "over: block is off").await;
    site.reader().get("/").await.is(200, "<p>a</p><b>b</b>");
    let state = site.state().await;
    assert_eq!(state["switches"]["switches"].as_array().unwrap().len(), 0);
    assert_eq!(state["switches"]["scheduled"].as_array().unwrap().len(), 0);
    let journal = Operator::of(&site).get("/journal?kinds=switch").await.1;
    let how = |how: &str| journal.contains(&format!("\"how\":\"{how}\""));
    assert!(how("set") && how("begun") && how("over"), "{journal}");
}

#[tokio::test]
async fn a_declared_one_is_several_switches_and_one_entry() {
    let night = declared("election-night", -60, 3600, "floor = 1\nttl = 4");
    let mut site = paper().toml(&night).start().await;
    let operator = Operator::of(&site);
    assert_eq!(level(&site).await, 1);
    let state = site.state().await;
    let switches = state["switches"]["switches"].as_array().unwrap();
    let says: Vec<_> = switches
        .iter()
        .map(|shown| shown["says"].as_str().unwrap())
        .collect();
    assert_eq!(
        says,
        ["the level is at least 1", "every ttl is multiplied by 4"]
    );
    assert!(
        switches
            .iter()
            .all(|shown| shown["by_schedule"] == "election-night")
    );
    let entry = &state["switches"]["scheduled"][0];
    assert_eq!(entry["address"], "schedule/election-night");
    assert_eq!(entry["state"], "begun");
    assert_eq!(entry["owner"], "chief editor");
    told(&site, "(schedule election-night)").await;

    // not one of the two, but what was scheduled
    let (status, said) = operator.ask("DELETE", "/switches/floor", "", &[]).await;
    assert!(
        status == 409 && said.contains("marbre switch skip election-night"),
        "{said}"
    );
    let (status, done) = put(&site, "schedule/election-night", "").await;
    assert_eq!(
        (status, &done["set"]["act"]),
        (200, &Value::from("skip")),
        "{done}"
    );
    assert_eq!(level(&site).await, 0);
    let site_after = site.restarted().await;
    site = site_after;
    let operator = Operator::of(&site);
    assert_eq!(level(&site).await, 0);
    let entry = site.state().await["switches"]["scheduled"][0].take();
    assert_eq!(
        (&entry["state"], &entry["note"]),
        (
            &Value::from("skipped"),
            &Value::from("skipped by desk: a test")
        )
    );
    operator.clear("schedule/election-night").await;
    assert_eq!(level(&site).await, 1);

    // what somebody sets by hand meanwhile counts, and then what was scheduled again
    assert_eq!(put(&site, "floor", "\"level\": 0, ").await.0, 200);
    assert_eq!(level(&site).await, 0);
    operator.clear("floor").await;
    assert_eq!(level(&site).await, 1);
    // it is the site's: it goes with the declaration
    site.rewrite(|toml| toml.replace("floor = 1\n", ""));
    let is_gone = |state: &Value| state["switches"]["switches"].as_array().unwrap().len() == 1;
    site.state_when("reload", is_gone).await;
    assert_eq!(level(&site).await, 0);
}

#[tokio::test]
async fn a_declared_one_begins_and_ends_by_the_clock() {
    let soon = declared("soon", 5, 8, "off = [\"block\"]");
    let site = paper().toml(&soon).start().await;
    told(&site, "begun: block is off").await;
    told(&site, "over: block is off").await;
    site.reader().get("/").await.is(200, "<p>a</p><b>b</b>");
    let entry = site.state().await["switches"]["scheduled"][0].take();
    assert_eq!(entry["state"], "over", "{entry:#}");
    let (status, said) = put(&site, "schedule/soon", "").await;
    assert!(
        status == 409 && said.to_string().contains("soon is over"),
        "{said}"
    );
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_and_why() {
    let later = declared("sunday", 3600, 7200, "floor = 1");
    let site = paper().toml(&later).start().await;
    let mut told = Vec::new();
    for (subject, times) in [
        ("floor", "\"level\": 1, \"from\": \"tomorrow\", "),
        ("floor", "\"level\": 1, \"from\": \"2026-11-03\", "),
        ("floor", "\"level\": 1, \"until\": \"2000-01-01T00:00\", "),
        (
            "floor",
            "\"level\": 1, \"until\": \"2999-01-01T00:00\", \"for\": \"1h\", ",
        ),
        ("floor@2026-11-03T19:00:00Z", "\"level\": 1, "),
        ("schedule/sonday", ""),
        ("schedule/sunday", "\"for\": \"1h\", "),
        ("schedule/sunday", "\"level\": 1, "),
    ] {
        let (status, said) = put(&site, subject, times).await;
        let said = said.as_str().unwrap_or_default().to_owned();
        told.push(format!("{subject} {times}\n  {status} {said}"));
    }
    insta::assert_snapshot!("refused_schedules", told.concat());
}

/// What the program prints, and that it succeeds.
async fn printed(folder: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1");
    command
        .env_remove("MARBRE_OWNER")
        .env_remove("MARBRE_ADMIN");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    text(&output.stdout) + &said
}

#[tokio::test]
async fn the_command_line_says_when_what_begins() {
    let toml = "[schedules.night]\nfrom = \"2001-11-03T20:00\"\nuntil = \"2001-11-04T02:00\"\n\
                owner = \"chief editor\"\nreason = \"results\"\nfloor = 1\nttl = 4\n\
                [schedules.sundays]\ndays = [\"sun\", \"sat\"]\nfrom = \"20:00\"\nuntil = \"02:00\"\n\
                owner = \"web\"\nreason = \"the peak\"\nttl = 2\n";
    let site = paper().toml(toml).start().await;
    let checked = printed(&site.folder(), &["check"]).await;
    let line = |name: &str| {
        let mut lines = checked.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}:\n{checked}"))
            .to_owned()
    };
    assert_eq!(
        line("night:"),
        "night: over: it can be removed: the level is at least 1, every ttl is multiplied by 4; \
         chief editor: results"
    );
    let sundays = line("sundays:");
    assert!(
        sundays.starts_with("sundays: every Sat, Sun 20:00 to 02:00, next "),
        "{sundays}"
    );
    assert!(sundays.contains("20:00 CE"), "{sundays}");

    let admin = format!("--admin={}", site.admin_url());
    let year = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year() + 1;
    let (from, until) = (format!("{year}-01-15T20:00"), format!("{year}-01-16T02:00"));
    let who = ["--owner", "Anne", "--reason", "results"];
    let times = ["--from", &from, "--until", &until];
    let arguments = [&["switch", "cap", "1"][..], &who, &times, &[&admin]].concat();
    let set = printed(&site.folder(), &arguments).await;
    let expected = format!("the level is at most 1 from {from}+01:00 until {until}+01:00 (in ");
    assert!(set.starts_with(&expected), "{set}");
    let address = format!("cap@{year}-01-15T19:00:00Z");
    assert!(
        set.contains(&format!("marbre switch clear {address}")),
        "{set}"
    );
    let skipped = [&["switch", "skip", "sundays"][..], &who, &[&admin]].concat();
    let skipped = printed(&site.folder(), &skipped).await;
    assert!(
        skipped.starts_with("sundays is skipped this time until "),
        "{skipped}"
    );
    let list = printed(&site.folder(), &["switch", "list", &admin]).await;
    for part in [
        "by the clock, in Europe/Paris\n",
        &address,
        &format!("15 Jan {year} 20:00 CET"),
        "schedule/night",
        "schedule/sundays",
        "every Sat, Sun 20:00 to 02:00",
        "but skipped by Anne: results",
    ] {
        assert!(list.contains(part), "{part}:\n{list}");
    }
    let cleared = printed(&site.folder(), &["switch", "clear", &address, &admin]).await;
    assert!(
        cleared.starts_with("taken back: the level is at most 1"),
        "{cleared}"
    );
}
