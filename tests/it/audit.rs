//! Whatever is changed through the operators' listener is in the journal, with who did it, by what they are known,
//! and from where: every operation of the OpenAPI document that is no `GET`, whether it is known here or not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::openapi::{Api, examples, newspaper, to};
use crate::support::{Newsroom, Operator, newsroom};

const ACTS: &str = "open-sesame-0123456789";
const LOOKS: &str = "a-screen-on-the-wall-01";

async fn site() -> Newsroom {
    newsroom()
        .admin(&format!("token = \"{ACTS}\"\nread_token = \"{LOOKS}\""))
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .fragment("pushed", "30", "push:/pushed/{slug}", "")
        .page("front", "/", "[front]")
        .page("story", "/{slug}", "[front][pushed]")
        .start()
        .await
}

/// The acts in the journal, the oldest first.
async fn acts(operator: &Operator) -> Vec<Value> {
    let bearer = format!("Bearer {LOOKS}");
    let headers = [("authorization", bearer.as_str())];
    let (status, journal) = operator
        .ask("GET", "/journal?kinds=act", "", &headers)
        .await;
    assert_eq!(status, 200, "{journal}");
    let journal: Value = serde_json::from_str(&journal).unwrap();
    journal["entries"].as_array().unwrap().clone()
}

async fn act(operator: &Operator, method: &str, path: &str, body: &str) -> (u16, String) {
    let bearer = format!("Bearer {ACTS}");
    let headers = [("authorization", bearer.as_str())];
    operator.ask(method, path, body, &headers).await
}

#[tokio::test]
async fn every_operation_that_changes_something_leaves_an_entry() {
    let site = newspaper().await;
    let api = Api::of(&site).await;
    let operations = api.operations();
    let entries = async || {
        let answered = api.ask("get", &to("/journal?kinds=act")).await;
        let journal: Value = serde_json::from_slice(&answered.body).unwrap();
        journal["entries"].as_array().unwrap().clone()
    };
    let (mut seen, mut told) = (BTreeSet::new(), 0);
    for (id, status, asked) in examples() {
        let operation = operations.iter().find(|operation| operation.id() == id);
        let method = &operation.unwrap().method;
        if method == "get" {
            continue;
        }
        let answered = api.ask(method, &asked).await;
        assert_eq!(answered.status, status, "{id} {asked:?}");
        let entries = entries().await;
        let new = entries.len() - told;
        told = entries.len();
        let path = asked.target.split('?').next().unwrap();
        let changes = status < 400 && !asked.target.contains("preview=true");
        // of what is pushed one is told in a minute, of each method
        let is_often = path.starts_with("/fragments/") && seen.contains(id);
        assert_eq!(new, usize::from(changes && !is_often), "{id} {asked:?}");
        if new == 1 {
            let entry = entries.last().unwrap();
            let act = format!("{} {path}", method.to_ascii_uppercase());
            assert_eq!(entry["act"], act, "{entry}");
            assert_eq!(entry["role"], "operate", "{entry}");
            assert_eq!(entry["from"], "127.0.0.1", "{entry}");
            assert_eq!(entry["status"], status, "{entry}");
            let session = entry["session"].as_str().unwrap();
            assert_eq!(session == "bearer", id != "sign_in", "{entry}");
            seen.insert(id);
        }
    }
    for operation in operations
        .iter()
        .filter(|operation| operation.method != "get")
    {
        assert!(
            seen.contains(operation.id()),
            "`{}` ({} {}) changes something, and nobody has seen its entry: give tests/it/openapi.rs an \
             example of its success",
            operation.id(),
            operation.method,
            operation.path
        );
    }
}

#[tokio::test]
async fn it_says_who_why_and_until_when_as_far_as_that_was_said() {
    let site = site().await;
    let operator = Operator::of(&site);
    let pin = r#"{"level": 0, "owner": "Léa", "reason": "a test", "for": "1h"}"#;
    let cases = [
        (
            "PUT",
            "/switches/pin",
            pin,
            Some("Léa"),
            Some("a test"),
            true,
        ),
        (
            "DELETE",
            "/switches/pin?by=Max",
            "",
            Some("Max"),
            None,
            false,
        ),
        (
            "PUT",
            "/level",
            r#"{"level": 0, "by": "Max"}"#,
            Some("Max"),
            Some("set by hand"),
            true,
        ),
        (
            "POST",
            "/reload?by=Max&reason=news",
            "",
            Some("Max"),
            Some("news"),
            false,
        ),
        (
            "POST",
            "/purge",
            r#"{"all": true, "by": "Léa", "reason": "a leak"}"#,
            Some("Léa"),
            Some("a leak"),
            false,
        ),
        ("POST", "/purge?all=true", "", None, None, false),
    ];
    for (method, path, body, by, reason, ends) in cases {
        let (status, said) = act(&operator, method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {said}");
        let entry = acts(&operator).await.pop().unwrap();
        assert_eq!(entry["by"], json!(by), "{entry}");
        assert_eq!(entry["reason"], json!(reason), "{entry}");
        assert_eq!(entry["until"].is_string(), ends, "{entry}");
        let says = entry["says"].as_str().unwrap();
        for word in [
            by,
            reason,
            Some("127.0.0.1"),
            Some("with the token to operate"),
        ] {
            assert!(says.contains(word.unwrap_or_default()), "{says}");
        }
    }
}

#[tokio::test]
async fn what_was_refused_has_changed_nothing_and_is_no_act() {
    let site = site().await;
    let operator = Operator::of(&site);
    for (method, path, body, expected) in [
        ("PUT", "/level", "99", 400),
        ("PUT", "/switches/block/none", "{}", 400),
        ("POST", "/purge", "nonsense", 400),
        ("PATCH", "/level", "1", 405),
        ("PUT", "/nowhere", "", 404),
    ] {
        let (status, said) = act(&operator, method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {said}");
    }
    // without a token, or with the wrong one, nobody has come in
    assert_eq!(operator.ask("PUT", "/level", "0", &[]).await.0, 401);
    let wrong = [("authorization", "Bearer something-else")];
    assert_eq!(operator.ask("PUT", "/level", "0", &wrong).await.0, 401);
    assert_eq!(
        operator.ask("POST", "/login", "token=wrong", &[]).await.0,
        403
    );
    assert_eq!(acts(&operator).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_session_has_a_name_that_opens_nothing() {
    let site = site().await;
    let operator = Operator::of(&site);
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let entered = client
        .post(format!("{}/login", operator.url))
        .body(format!("token={ACTS}"));
    let entered = entered.send().await.unwrap();
    let cookie = entered.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = [("cookie", cookie.as_str())];
    assert_eq!(operator.ask("PUT", "/level", "0", &session).await.0, 200);
    let left = client
        .post(format!("{}/logout", operator.url))
        .header("cookie", &cookie);
    assert_eq!(left.send().await.unwrap().status(), 303);
    let acts = acts(&operator).await;
    let told: Vec<&str> = acts.iter().map(|e| e["act"].as_str().unwrap()).collect();
    assert_eq!(told, ["POST /login", "PUT /level", "POST /logout"]);
    let names: BTreeSet<&str> = acts
        .iter()
        .map(|e| e["session"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "one session, one name: {names:?}");
    let name = names.first().unwrap();
    assert!(name.len() == 8 && !cookie.contains(name), "{name} {cookie}");
    let opens = [("cookie", format!("marbre_session={name}"))];
    let opens = [("cookie", opens[0].1.as_str())];
    assert_eq!(operator.ask("GET", "/state", "", &opens).await.0, 401);
    let all = format!("{acts:?}");
    let signature = cookie.rsplit('.').next().unwrap();
    assert!(!all.contains(ACTS) && !all.contains(signature), "{all}");
}

#[tokio::test]
async fn of_what_is_pushed_one_is_told_and_the_others_are_counted() {
    let site = site().await;
    let operator = Operator::of(&site);
    for version in 1..=20 {
        let bearer = format!("Bearer {ACTS}");
        let version = version.to_string();
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "text/html"),
            ("marbre-version", version.as_str()),
        ];
        let (status, said) = operator
            .ask("PUT", "/fragments/pushed/pushed/a", "<p>new</p>", &headers)
            .await;
        assert!(status == 200 || status == 201, "{said}");
    }
    let told = acts(&operator).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["act"], "PUT /fragments/pushed/pushed/a");
    // and taking back is told apart
    assert_eq!(
        act(&operator, "DELETE", "/fragments/pushed/pushed/a", "")
            .await
            .0,
        200
    );
    assert_eq!(acts(&operator).await.len(), 2);
}
