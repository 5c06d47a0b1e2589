//! `marbre explain --trace`: how a page of a moment ago was made, asked of the server that made it.

use std::process::Command;

use serde_json::Value;

use crate::support::newsroom::Draft;
use crate::support::{Newsroom, Operator, Origin, html, newsroom, origin, status};

async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/sick", status(500))
        .start()
        .await
}

fn site(cms: &Origin, recent: &str) -> Draft {
    newsroom()
        .toml(&format!("[telemetry.recent]\nslow = \"10m\"\n{recent}"))
        .origin("cms", cms)
        .core("article", "cms:/article")
        .optional("sick", 40, "cms:/sick")
        .page("page", "/", "[article][sick]")
        .page("plain", "/plain", "[article]")
}

async fn trace_of(site: &Newsroom, path: &str) -> String {
    let page = site.reader().get(path).await;
    page.header("marbre-trace").expect("a trace").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_not_complete_is_explained() {
    let cms = cms().await;
    let site = site(&cms, "sample = 0.0").start().await;
    let trace = trace_of(&site, "/").await;
    let (status, said) = Operator::of(&site).get(&format!("/trace/{trace}")).await;
    assert_eq!(status, 200, "{said}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["trace_id"], trace.as_str());
    let page = &answer["pages"][0];
    assert_eq!(
        (&page["path"], &page["complete"]),
        (&"/".into(), &false.into())
    );
    assert_eq!(page["blocks"][1]["says"], "failed (status 500)");

    let (admin, id) = (site.admin_url(), trace.clone());
    let explain = move |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        let arguments = ["explain", "--trace", &id, "--admin", &admin];
        let output = command.args(arguments).args(more).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let asked = tokio::task::spawn_blocking(move || (explain(&[]), explain(&["--json"])));
    let ((code, text, told), (json_code, json, _)) = asked.await.unwrap();
    assert_eq!((code, json_code), (Some(0), Some(0)), "{told}");
    for said in [
        trace.as_str(),
        "failed (status 500)",
        "planned: optional 40, cms:/sick",
    ] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), answer);
}

#[tokio::test]
async fn what_was_well_is_remembered_by_chance_or_by_wish() {
    let cms = cms().await;
    let none = site(&cms, "sample = 0.0").start().await;
    let all = site(&cms, "sample = 1.0").start().await;
    for (site, found) in [(&none, 404), (&all, 200)] {
        let trace = trace_of(site, "/plain").await;
        let (status, said) = Operator::of(site).get(&format!("/trace/{trace}")).await;
        assert_eq!(status, found, "{said}");
    }
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for _ in 0..2 {
        let headers = [("traceparent", parent)];
        none.reader().get_with("/plain", &headers).await;
    }
    let (status, said) = Operator::of(&none).get(&format!("/trace/{parent}")).await;
    assert_eq!(status, 200, "{said}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["pages"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn what_is_not_known_is_told_with_what_to_do() {
    let cms = cms().await;
    let site = site(&cms, "sample = 0.0").start().await;
    let operator = Operator::of(&site);
    let (status, said) = operator.get(&format!("/trace/{}", "a".repeat(32))).await;
    assert_eq!(status, 404);
    for words in ["is remembered", "Marbre-Debug", "[telemetry.recent]"] {
        assert!(said.contains(words), "{said}");
    }
    for wrong in ["x", "00", "%20"] {
        let (status, said) = operator.get(&format!("/trace/{wrong}")).await;
        assert_eq!(status, 400, "{said}");
    }
    let off = self::site(&cms, "size = \"0B\"").start().await;
    let trace = trace_of(&off, "/").await;
    let (status, said) = Operator::of(&off).get(&format!("/trace/{trace}")).await;
    assert_eq!(status, 404);
    assert!(said.contains("set `size`"), "{said}");
}

#[tokio::test]
async fn it_is_for_operators_only() {
    let cms = cms().await;
    let site = site(&cms, "")
        .admin("token = \"0123456789abcdef\"")
        .start()
        .await;
    let trace = trace_of(&site, "/").await;
    let operator = Operator::of(&site);
    let path = format!("/trace/{trace}");
    assert_eq!(operator.get(&path).await.0, 401);
    let token = [("authorization", "Bearer 0123456789abcdef")];
    assert_eq!(operator.ask("GET", &path, "", &token).await.0, 200);
    // readers have no such path
    assert_eq!(site.reader().get(&path).await.status, 404);
}

#[tokio::test]
async fn the_newest_are_remembered_when_there_is_no_room_for_more() {
    let cms = cms().await;
    let site = site(&cms, "sample = 1.0\nsize = \"16KiB\"").start().await;
    let first = trace_of(&site, "/plain").await;
    let mut last = String::new();
    for _ in 0..60 {
        last = trace_of(&site, "/plain").await;
    }
    let operator = Operator::of(&site);
    assert_eq!(operator.get(&format!("/trace/{last}")).await.0, 200);
    assert_eq!(operator.get(&format!("/trace/{first}")).await.0, 404);
}
