//! What readers are told of how the site is.

use serde_json::{Value, json};

use crate::support::newsroom::Draft;
use crate::support::{Newsroom, Operator, newsroom};

fn draft(status: &str) -> Draft {
    newsroom()
        .toml(status)
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .fragment("most-read", "10", "inline:<i>10</i>", "")
        .fragment("weather", "20", "inline:<i>20</i>", "")
        .page("front", "/", "[front][most-read][weather]")
}

async fn told(site: &Newsroom) -> Value {
    let page = site.reader().get("/status.json").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("application/json"));
    assert_eq!(page.header("cache-control"), Some("public, max-age=5"));
    serde_json::from_str(&page.body).unwrap()
}

#[tokio::test]
async fn where_nothing_is_declared_there_is_no_such_page() {
    let site = draft("").start().await;
    for path in ["/status", "/status.json"] {
        assert_eq!(site.reader().get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn readers_are_told_what_works() {
    let site = draft("[status]\npath = \"/status\"").start().await;
    let blocks = json!([
        {"block": "Most read", "status": "works"},
        {"block": "Weather", "status": "works"},
    ]);
    let says = "Everything works.";
    assert_eq!(
        told(&site).await,
        json!({"status": "works", "says": says, "blocks": blocks})
    );
    let page = site.reader().get("/status").await;
    assert!(
        page.body.contains(says) && page.body.contains("Most read"),
        "{}",
        page.body
    );
    let refused = site.reader().request("POST", "/status");
    let refused = site.reader().send(refused).await;
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn what_is_given_up_or_switched_off_is_told_in_the_sites_words() {
    let words = "[status]\npath = \"/status\"\ntitle = \"Comment va le site\"\nreduced = \"Moins que \
                 d'habitude.\"\n[status.blocks]\nweather = \"La <météo>\"\nmost-read = \"Les plus lus\"";
    // set before anybody asks: what was found is told for some seconds
    let site = draft(words).level(1).start().await;
    let told_first = told(&site).await;
    assert_eq!(
        (&told_first["status"], &told_first["says"]),
        (&json!("reduced"), &json!("Moins que d'habitude."))
    );
    let blocks = [("Les plus lus", "reduced"), ("La <météo>", "works")];
    let blocks = blocks.map(|(block, status)| json!({"block": block, "status": status}));
    assert_eq!(told_first["blocks"], json!(blocks));
    let page = site.reader().get("/status").await;
    assert!(
        page.body.contains("Comment va le site") && !page.body.contains("<météo>"),
        "{}",
        page.body
    );

    let site = draft(words).start().await;
    Operator::of(&site)
        .switch("block/weather", "\"off\": true, ")
        .await;
    let blocks = [("Les plus lus", "works"), ("La <météo>", "reduced")];
    let blocks = blocks.map(|(block, status)| json!({"block": block, "status": status}));
    assert_eq!(told(&site).await["blocks"], json!(blocks));
}
