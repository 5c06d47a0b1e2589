//! Operators on several nodes with one store: what is decided on one holds on all, on those that come
//! later and those that were away; what was taken back stays so; and without the store each goes on.

use serde_json::Value;

use crate::support::{Newsroom, Operator, Valkey, newsroom};
use crate::two_nodes::{keys, linked, shared, until};

const FULL: &str = "<p>a</p><b>b</b>";

/// A node of a paper whose pages need nobody.
async fn node(store: &Valkey) -> Newsroom {
    let site = newsroom()
        .fragment("article", "\"core\"", "inline:<p>a</p>", "")
        .fragment("block", "10", "inline:<b>b</b>", "")
        .page("page", "/", "[article][block]")
        .without_snapshots()
        .toml(&shared(store));
    linked(site.start().await).await
}

/// The addresses of what is set, with their owners.
fn set(state: &Value) -> Vec<String> {
    let switches = state["switches"]["switches"].as_array().unwrap().iter();
    let word = |shown: &Value, key: &str| shown[key].as_str().unwrap().to_owned();
    switches
        .map(|shown| format!("{} {}", word(shown, "address"), word(shown, "owner")))
        .collect()
}

async fn has(site: &Newsroom, expected: &[&str]) -> Value {
    let what = format!("switches as {expected:?}");
    site.state_when(&what, |state| set(state) == expected).await
}

/// What is answered to a decision.
async fn put(site: &Newsroom, subject: &str, what: &str, owner: &str) -> Value {
    let body = format!("{{{what}\"owner\": \"{owner}\", \"reason\": \"a test\", \"for\": \"1h\"}}");
    let path = format!("/switches/{subject}");
    let (status, said) = Operator::of(site).ask("PUT", &path, &body, &[]).await;
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

async fn clear(site: &Newsroom, subject: &str) -> Value {
    let path = format!("/switches/{subject}?by=Marc");
    let (status, said) = Operator::of(site).ask("DELETE", &path, "", &[]).await;
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

#[tokio::test]
async fn what_is_decided_on_one_holds_on_all() {
    let store = Valkey::start();
    let (a, b) = (node(&store).await, node(&store).await);
    let done = put(&a, "block/block", "\"off\": true, ", "Anne").await;
    assert_eq!(done["on_all_nodes"], true, "{done:#}");
    for (level, is_decided) in [("1", true), ("auto", true), ("auto", false)] {
        let (_, said) = Operator::of(&b).ask("PUT", "/level", level, &[]).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        // where nothing was pinned there is nothing to tell
        assert_eq!(
            said["on_all_nodes"] == true,
            is_decided,
            "{level}: {said:#}"
        );
    }
    has(&b, &["block/block Anne"]).await;
    b.reader().get("/").await.is(200, "<p>a</p>");
    // whoever sees it can take it back, and it is told who did
    assert_eq!(clear(&b, "block/block").await["on_all_nodes"], true);
    let state = has(&a, &[]).await;
    a.reader().get("/").await.is(200, FULL);
    let last = state["tally"]["events"][0].as_str().unwrap().to_owned();
    assert!(last.contains("taken back by Marc"), "{last}");
    assert_eq!(state["switches"]["shared"]["sent"], true);
    // one that begins later is everybody's too
    let later = "\"level\": 1, \"from\": \"2999-01-01T00:00Z\", ";
    let refused = format!("{{{later}\"owner\": \"x\", \"reason\": \"x\"}}");
    let (status, _) = Operator::of(&a)
        .ask("PUT", "/switches/floor", &refused, &[])
        .await;
    assert_eq!(status, 400);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5);
    let later = format!("\"level\": 1, \"from\": \"{soon}\", ");
    put(&a, "floor", &later, "Anne").await;
    let is_there = |state: &Value| state["switches"]["scheduled"][0]["owner"] == "Anne";
    b.state_when("a switch of later", is_there).await;
}

#[tokio::test]
async fn a_node_that_starts_later_has_what_was_decided() {
    let mut store = Valkey::start();
    let a = node(&store).await;
    put(&a, "block/block", "\"off\": true, ", "Anne").await;
    put(&a, "freeze", "", "Anne").await;
    clear(&a, "freeze").await;
    store
        .wait_for("the record", |store| !keys(store).is_empty())
        .await;
    // hours later: the messages are not kept so long
    assert_eq!(store.command(&["DEL", "marbre:log"]), ":1");
    let b = node(&store).await;
    has(&b, &["block/block Anne"]).await;
    // and when the store has lost everything, it is told again
    store.restart();
    let c = node(&store).await;
    has(&c, &["block/block Anne"]).await;
    c.reader().get("/").await.is(200, "<p>a</p>");
}

#[tokio::test]
async fn without_the_store_each_goes_on_and_the_later_decision_stands_after_it() {
    let mut store = Valkey::start();
    let (a, b) = (node(&store).await, node(&store).await);
    put(&a, "block/block", "\"off\": true, ", "Anne").await;
    has(&b, &["block/block Anne"]).await;
    store.kill();
    for site in [&a, &b] {
        let is_away = |state: &Value| state["shared"]["writing"] == false;
        site.state_when("the store's end", is_away).await;
    }
    let done = put(&a, "pin", "\"level\": 1, ", "Anne").await;
    assert_eq!(done["on_all_nodes"], false, "{done:#}");
    let why = done["nodes_trouble"].as_str().unwrap();
    assert!(why.contains("on this node only"), "{why}");
    assert_eq!(done["survives_restart"], true);
    // the short way says the same
    for level in ["1", "auto"] {
        let (_, said) = Operator::of(&b).ask("PUT", "/level", level, &[]).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["on_all_nodes"], false, "{said:#}");
        assert_eq!(said["survives_restart"], true);
    }
    // what is known stays in force, and what is decided is
    has(&b, &["block/block Anne"]).await;
    let told = Operator::of(&a).get("/switches").await.1;
    assert!(told.contains("\"sent\":false"), "{told}");
    put(&b, "pin", "\"level\": 0, ", "Bea").await;
    clear(&b, "block/block").await;
    // one of them is started again meanwhile: what it has to tell is on its disk
    let b = b.restarted().await;
    has(&b, &["pin Bea"]).await;
    has(&a, &["block/block Anne", "pin Anne"]).await;

    store.restart();
    for site in [&a, &b] {
        has(site, &["pin Bea"]).await;
        let is_sent = |state: &Value| state["switches"]["shared"]["sent"] == true;
        let state = site.state_when("everybody told", is_sent).await;
        assert_eq!(state["switches"]["shared"]["trouble"], Value::Null);
        site.reader().get("/").await.is(200, FULL);
    }
}

#[tokio::test]
async fn what_was_taken_back_does_not_come_back_with_a_node_that_was_away() {
    for how in ["a moment", "hours", "a new store"] {
        let mut store = Valkey::start();
        let (a, b) = (node(&store).await, node(&store).await);
        put(&a, "block/block", "\"off\": true, ", "Anne").await;
        has(&b, &["block/block Anne"]).await;
        let b = b.stopped().await;
        clear(&a, "block/block").await;
        match how {
            "hours" => assert_eq!(store.command(&["DEL", "marbre:log"]), ":1"),
            "a new store" => store.restart(),
            _ => {}
        }
        let b = linked(b.started().await).await;
        // what is decided now is heard after all that it has brought
        has(&b, &[]).await;
        put(&b, "freeze", "", "Bea").await;
        for site in [&a, &b] {
            has(site, &["freeze Bea"]).await;
            site.reader().get("/").await.is(200, FULL);
        }
        let events = a.events().await;
        let is_set = |event: &&String| event.contains("block is off until");
        assert_eq!(
            events.iter().filter(is_set).count(),
            1,
            "{how}: {events:#?}"
        );
    }
}

#[tokio::test]
async fn what_is_damaged_in_the_store_is_passed_over_told_and_written_anew() {
    let store = Valkey::start();
    let a = node(&store).await;
    put(&a, "block/block", "\"off\": true, ", "Anne").await;
    let record = |store: &Valkey| keys(store).into_iter().find(|key| key.ends_with('}'));
    store
        .wait_for("the record", |store| record(store).is_some())
        .await;
    let key = record(&store).unwrap();
    let stamp = format!("mb1:{}:{}:", "-".repeat(20), "9".repeat(20));
    let whole = store.command(&["GET", &key]);
    let forged = whole[stamp.len()..].replace("Anne", "Eve");
    for damaged in ["{", "{\"version\": 0}", forged.as_str()] {
        store.command(&["SET", &key, &format!("{stamp}{damaged}")]);
        let b = node(&store).await;
        let is_told = |state: &Value| {
            let trouble = state["switches"]["shared"]["trouble"].as_str();
            trouble.is_some_and(|trouble| trouble.contains("record of switches is passed over"))
        };
        b.state_when("word of the damage", is_told).await;
        // by the messages, which are whole
        has(&b, &["block/block Anne"]).await;
        until(&b, "the writes", |shared| shared["waiting"] == 0).await;
    }
    // a message that nobody can have sent
    let told = "{\"switch\": {\"key\": \"pin\", \"at\": 1, \"node\": \"x\", \"outlives\": 1}}";
    let unfit = "{\"switch\": {\"key\": \"pin\", \"at\": 1, \"node\": \"x\", \"outlives\": 99999999999999999, \
                 \"switch\": {\"act\": \"pin\", \"level\": 2, \"owner\": \"\", \"reason\": \"\", \"set\": 1, \"until\": 99999999999999999}}}";
    for (number, message) in ["{", "{\"switch\": 7}", told, unfit].iter().enumerate() {
        let number = number.to_string();
        store.command(&[
            "XADD",
            "marbre:log",
            "*",
            "n",
            "eve",
            "s",
            &number,
            "m",
            message,
        ]);
    }
    let is_told = |state: &Value| {
        let trouble = state["switches"]["shared"]["trouble"].as_str();
        trouble.is_some_and(|trouble| trouble.contains("another node tells of"))
    };
    a.state_when("word of the message", is_told).await;
    has(&a, &["block/block Anne"]).await;
    // and nodes go on telling each other
    let c = node(&store).await;
    has(&c, &["block/block Anne"]).await;
    clear(&c, "block/block").await;
    has(&a, &[]).await;
}
