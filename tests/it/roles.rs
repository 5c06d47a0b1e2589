//! Two tokens: who has the one may act, who has the other may look, and who has neither is told which of the
//! two things is amiss. What was presented is told to nobody.

use serde_json::Value;

use crate::support::{Newsroom, Operator, html, newsroom, origin};

const ACTS: &str = "open-sesame-0123456789";
const LOOKS: &str = "a-screen-on-the-wall-01";

async fn site() -> Newsroom {
    newsroom()
        .admin(&format!("token = \"{ACTS}\"\nread_token = \"{LOOKS}\""))
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .start()
        .await
}

async fn ask(operator: &Operator, token: &str, method: &str, path: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    operator.ask(method, path, "1", &headers).await
}

/// What can be asked for that needs this role and no parameter.
async fn operations(operator: &Operator, role: &str) -> Vec<(String, String)> {
    let (_, document) = ask(operator, LOOKS, "GET", "/openapi.json").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["x-role"] == role {
                let target = path.replace(['{', '}'], "");
                all.push((method.to_ascii_uppercase(), target));
            }
        }
    }
    all
}

#[tokio::test]
async fn who_may_look_is_refused_every_act_and_nothing_else() {
    let site = site().await;
    let operator = Operator::of(&site);
    let looks = operations(&operator, "read").await;
    let acts = operations(&operator, "operate").await;
    assert!(looks.len() > 10 && acts.len() > 10, "{looks:?} {acts:?}");
    for (method, path) in &acts {
        let (status, said) = ask(&operator, LOOKS, method, path).await;
        assert_eq!(status, 403, "{method} {path}: {said}");
        assert!(said.contains("may only read"), "{said}");
        assert!(said.contains("`token` of [admin]"), "{said}");
    }
    for path in [
        "/",
        "/state",
        "/journal",
        "/metrics",
        "/level",
        "/switches",
        "/slo",
    ] {
        let (status, said) = ask(&operator, LOOKS, "GET", path).await;
        assert_eq!(status, 200, "{path}: {said}");
        assert_eq!(ask(&operator, LOOKS, "HEAD", path).await.0, 200, "{path}");
    }
    let (_, level) = ask(&operator, LOOKS, "GET", "/level").await;
    let level: Value = serde_json::from_str(&level).unwrap();
    assert_eq!(level["level"], 0);
    assert_eq!(
        ask(&operator, ACTS, "PUT", "/level").await.0,
        400,
        "there is no level 1"
    );
    assert_eq!(ask(&operator, ACTS, "POST", "/reload").await.0, 200);
}

#[tokio::test]
async fn a_refused_act_is_in_the_journal_with_who_and_whence() {
    let site = site().await;
    let operator = Operator::of(&site);
    assert_eq!(ask(&operator, LOOKS, "POST", "/reload").await.0, 403);
    let (status, journal) = ask(&operator, LOOKS, "GET", "/journal?kinds=refusal").await;
    assert_eq!(status, 200, "{journal}");
    for told in ["POST /reload", "127.0.0.1", "read"] {
        assert!(journal.contains(told), "{told}: {journal}");
    }
    let (_, state) = ask(&operator, LOOKS, "GET", "/state").await;
    for token in [ACTS, LOOKS] {
        assert!(!journal.contains(token) && !state.contains(token));
    }
}

#[tokio::test]
async fn a_wrong_token_and_a_foreign_page_are_told_once_in_a_while() {
    let site = site().await;
    let operator = Operator::of(&site);
    for _ in 0..3 {
        assert_eq!(ask(&operator, "not-this-one", "GET", "/state").await.0, 401);
    }
    let wrong = operator.ask("POST", "/login", "token=nor-this-one", &[]);
    assert_eq!(wrong.await.0, 403);
    let bearer = format!("Bearer {ACTS}");
    let foreign = [
        ("authorization", bearer.as_str()),
        ("origin", "http://evil.example"),
    ];
    let refused = operator.ask("POST", "/reload", "", &foreign).await;
    assert_eq!(refused.0, 403, "{}", refused.1);
    // whoever brings nothing has guessed nothing
    assert_eq!(operator.ask("GET", "/state", "", &[]).await.0, 401);
    let (_, journal) = ask(&operator, LOOKS, "GET", "/journal?kinds=refusal").await;
    let read: Value = serde_json::from_str(&journal).unwrap();
    let told = read["entries"].as_array().unwrap();
    let told: Vec<&str> = told
        .iter()
        .map(|entry| entry["says"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "refused GET /state to 127.0.0.1, whose token is none of this site",
            "refused POST /reload to 127.0.0.1, whose browser was sent by a page of another site",
        ]
    );
    for given in ["this-one", ACTS] {
        assert!(!journal.contains(given), "{journal}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_not_known_is_said_so() {
    let site = site().await;
    let operator = Operator::of(&site);
    for (method, path) in [
        ("GET", "/journal?kind=refusal"),
        ("GET", "/events?kind=refusal"),
        ("GET", "/history?from=2h"),
        ("GET", "/samples?last=2"),
        ("GET", "/explain?uri=/"),
        ("GET", "/preview?uri=/"),
        ("POST", "/reload?because=x"),
        ("DELETE", "/switches/pin?who=x"),
        // a slip in `preview` must not set a fault
        ("PUT", "/chaos/slow?previev=true"),
        ("DELETE", "/chaos/slow?who=x"),
    ] {
        let (status, said) = ask(&operator, ACTS, method, path).await;
        assert_eq!(status, 400, "{path}: {said}");
        let name = path.split(['?', '=']).nth(1).unwrap();
        assert!(said.contains(&format!("unknown field `{name}`")), "{said}");
    }
}

#[tokio::test]
async fn how_the_scheme_is_written_does_not_matter() {
    let site = site().await;
    let operator = Operator::of(&site);
    for (scheme, status) in [("bearer", 200), ("BEARER", 200), ("Basic", 401), ("", 401)] {
        let value = format!("{scheme} {LOOKS}");
        let headers = [("authorization", value.as_str())];
        let answer = operator.ask("GET", "/state", "", &headers).await;
        assert_eq!(answer.0, status, "{scheme}");
    }
}

/// A browser sends a cookie to every port of the host.
#[tokio::test]
async fn the_cookie_of_an_operator_goes_to_no_origin() {
    let api = origin()
        .on("/api/x", html("told"))
        .on("/block?of=", html("<p>block</p>"))
        .start()
        .await;
    let site = newsroom()
        .admin(&format!("token = \"{ACTS}\""))
        .origin("api", &api)
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .fragment(
            "block",
            "\"essential\"",
            "api:/block?of={cookie.marbre_session}",
            "forward_cookies = [\"marbre_session\", \"basket\"]",
        )
        .page("front", "/", "[front][block]")
        .toml("[[proxy]]\nroute = \"/api/{*rest}\"\norigin = \"api\"")
        .start()
        .await;
    let reader = site.reader();
    let cookie = "marbre_session=1795000000000000.00ab; basket=3";
    for (path, target) in [("/api/x", "/api/x"), ("/", "/block?of=")] {
        let request = reader.request("GET", path).header("cookie", cookie);
        assert_eq!(reader.send(request).await.status, 200);
        let head = api.last_head(target).expect("it was asked");
        assert!(head.contains("basket=3"), "{head}");
        assert!(!head.contains("marbre_session"), "{head}");
    }
}

#[tokio::test]
async fn a_session_knows_what_it_was_opened_with() {
    let site = site().await;
    let operator = Operator::of(&site);
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    for (token, only_looks, status) in [(LOOKS, true, 403), (ACTS, false, 200)] {
        let form = format!("token={token}");
        let entered = client.post(format!("{}/login", operator.url)).body(form);
        let entered = entered.send().await.unwrap();
        assert_eq!(entered.status(), 303);
        let cookie = entered.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        assert!(!cookie.contains(token));
        let session = [("cookie", cookie.as_str())];
        let browser = [session[0], ("accept", "text/html")];
        let (_, page) = operator.ask("GET", "/", "", &browser).await;
        let marked = format!("data-only-looks=\"{only_looks}\"");
        assert!(page.contains(&marked), "{page}");
        assert_eq!(page.contains("You have signed in to look"), only_looks);
        assert_eq!(
            operator.ask("POST", "/reload", "", &session).await.0,
            status
        );
        // whoever has a session may end it, and then nobody has it who holds a copy
        assert_eq!(operator.ask("GET", "/state", "", &session).await.0, 200);
        let leave = client.post(format!("{}/logout", operator.url));
        let left = leave.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(left.status(), 303);
        assert_eq!(operator.ask("GET", "/state", "", &session).await.0, 401);
    }
}

#[tokio::test]
async fn whoever_guesses_tokens_is_not_listened_to() {
    let site = site().await;
    let operator = Operator::of(&site);
    for guess in 0..10 {
        let guess = format!("guess-{guess}");
        assert_eq!(ask(&operator, &guess, "GET", "/state").await.0, 401);
    }
    // also the right one: an answer would tell which it is
    for token in ["guess", ACTS, LOOKS] {
        let (status, said) = ask(&operator, token, "GET", "/state").await;
        assert_eq!(status, 429, "{said}");
        assert!(said.contains("wait"), "{said}");
    }
    // the probes of a supervisor have none to present
    assert_eq!(operator.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn a_token_for_reading_alone_or_the_same_twice_is_refused() {
    for (admin, said) in [
        (format!("read_token = \"{LOOKS}\""), "without `token`"),
        (
            format!("token = \"{LOOKS}\"\nread_token = \"{LOOKS}\""),
            "`read_token` is `token`",
        ),
    ] {
        let draft = newsroom()
            .admin(&admin)
            .fragment("front", "\"core\"", "inline:<p>front</p>", "")
            .page("front", "/", "[front]");
        let Err(error) = draft.try_start().await else {
            panic!("it started with {admin}")
        };
        let error = error.to_string();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains(LOOKS), "{error}");
    }
}
