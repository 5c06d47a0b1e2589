//! What is one reader's own is in nobody else's page, in no snapshot, on no disk, and not in the
//! store that nodes share; what is for everybody is there.

use std::path::PathBuf;

use crate::support::{Newsroom, Valkey, html, newsroom, origin, status};
use crate::two_nodes::{keys, linked, shared, until, written};

/// The bytes of all files below a folder.
fn files(folder: PathBuf) -> String {
    let mut seen = String::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                seen += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    seen
}

/// Names and values of all that is in the store.
fn all(store: &Valkey) -> String {
    let mut seen = String::new();
    for key in keys(store) {
        seen += &key;
        if store.command(&["TYPE", &key]) == "+string" {
            seen += &store.command(&["GET", &key]);
        } else {
            let script = "return cjson.encode(redis.call('XRANGE', KEYS[1], '-', '+'))";
            seen += &store.command(&["EVAL", script, "1", &key]);
        }
    }
    seen
}

#[tokio::test]
async fn what_is_one_reader_s_own_stays_with_that_reader() {
    let store = Valkey::start();
    let own = |text: &str, name: &str, value: &str| html(text).header(name, value);
    let cms = origin()
        .on("/account", html("<p>SECRET-COOKIE</p>"))
        .on(
            "/private",
            own("<p>SECRET-PRIVATE</p>", "cache-control", "private"),
        )
        .on("/cookie", own("<p>SECRET-SET</p>", "set-cookie", "id=1"))
        .on("/star", own("<p>SECRET-STAR</p>", "vary", "*"))
        .on(
            "/unstored",
            own("<p>SECRET-UNSTORED</p>", "cache-control", "no-store"),
        )
        .on("/open", html("<p>FOR-ALL</p>"))
        .start()
        .await;
    let ttl = "ttl = \"1h\"\nkeep = \"1h\"\ndurable = true";
    let cookie = "ttl = \"1h\"\nforward_cookies = [\"session\"]";
    let draft = || {
        newsroom()
            .origin("cms", &cms)
            .toml(&shared(&store))
            .fragment("open", "\"core\"", "cms:/open", ttl)
            .fragment("account", "40", "cms:/account", cookie)
            .fragment("private", "40", "cms:/private", ttl)
            .fragment("set", "40", "cms:/cookie", ttl)
            .fragment("star", "40", "cms:/star", ttl)
            .fragment("unstored", "40", "cms:/unstored", "")
            .page("open", "/open", "[open]")
            .page("account", "/account", "[open][account]")
            .page("private", "/private", "[open][private]")
            .page("set", "/set", "[open][set]")
            .page("star", "/star", "[open][star]")
            .page("unstored", "/unstored", "[open][unstored]")
    };
    let a = linked(draft().start().await).await;
    let b = linked(draft().start().await).await;
    let paths = ["account", "private", "set", "star", "unstored"];
    for site in [&a, &b] {
        // an open page in between, so that what a snapshot could be made of is there
        for path in [
            "open", "account", "private", "set", "star", "unstored", "open",
        ] {
            let headers = [("cookie", "session=SECRET-SESSION")];
            let page = site.reader().get_with(&format!("/{path}"), &headers).await;
            assert_eq!(page.status, 200);
            let own = page.body.contains("SECRET");
            assert_eq!(own, path != "open", "{path}: {}", page.body);
        }
    }
    written(&a, 1).await;
    until(&b, "the writes", |shared| shared["waiting"] == 0).await;
    let seen = all(&store);
    assert!(
        seen.contains("FOR-ALL"),
        "short copies lie there as they are: {seen}"
    );
    assert!(!seen.contains("SECRET"), "in the store: {seen}");
    for target in ["/account", "/private", "/cookie", "/star", "/unstored"] {
        cms.on(target, status(500));
    }
    for path in paths {
        let page = b.reader().get(&format!("/{path}")).await;
        page.is(200, "<p>FOR-ALL</p>");
    }
    cms.kill();
    for site in [a, b] {
        check_disk(site).await;
    }
}

/// What a stop leaves behind, and what a start shows of it to another reader.
async fn check_disk(site: Newsroom) {
    let folder = site.state_dir();
    let stopped = site.stopped().await;
    let seen = files(folder);
    assert!(
        seen.contains("FOR-ALL"),
        "short copies lie there as they are"
    );
    assert!(!seen.contains("SECRET"), "on disk");
    let site = stopped.started().await;
    for path in ["account", "private", "set", "star", "unstored"] {
        let page = site.reader().get(&format!("/{path}")).await;
        page.is(200, "<p>FOR-ALL</p>");
    }
}
