//! The OpenAPI document of the admin API is true, both ways: the router has nothing that is not in it (they
//! are made of one table), every operation of it is asked for here, and every answer, also to what is
//! nonsense, has a status, a type and a body that it describes.
//!
//! A new operation needs a row of [`examples`] for each status that it describes, or a row of [`UNPROVOKED`]
//! that says why there is none: the test says which.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::newspaper::{Running, patiently, started_with};
use crate::support::reader::client;

const TOKEN: &str = "a-token-of-some-length";

/// The document, and what is needed to hold answers against it.
pub(crate) struct Api {
    document: Value,
    url: String,
    client: reqwest::Client,
    validators: parking_lot::Mutex<BTreeMap<String, std::sync::Arc<Validator>>>,
}

/// One operation, as it is described.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    described: Value,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What is answered.
pub(crate) struct Answered {
    pub(crate) status: u16,
    media: String,
    pub(crate) body: Vec<u8>,
}

impl Operation {
    pub(crate) fn id(&self) -> &str {
        self.described["operationId"].as_str().unwrap()
    }

    fn statuses(&self) -> BTreeSet<u16> {
        let answers = self.described["responses"].as_object().unwrap();
        answers
            .keys()
            .map(|status| status.parse().unwrap())
            .collect()
    }
}

impl Api {
    pub(crate) async fn of(site: &Running) -> Self {
        let url = format!("http://{}", site.app.admin_address);
        let client = client();
        let answer = client
            .get(format!("{url}/openapi.json"))
            .bearer_auth(TOKEN)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        Self {
            document: serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap(),
            url,
            client,
            validators: parking_lot::Mutex::default(),
        }
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        let paths = self.document["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .iter()
                .map(|(method, described)| Operation {
                    method: method.clone(),
                    path: path.clone(),
                    described: described.clone(),
                })
        });
        all.collect()
    }

    pub(crate) async fn ask(&self, method: &str, asked: &Asked) -> Answered {
        let method = method.to_ascii_uppercase();
        let url = format!("{}{}", self.url, asked.target);
        let mut request = self
            .client
            .request(method.parse().unwrap(), url)
            .body(asked.body.clone());
        let is_said = asked
            .headers
            .iter()
            .any(|(name, _)| name == "authorization");
        if !is_said {
            request = request.bearer_auth(TOKEN);
        }
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        let answer = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{method} {asked:?}: {error}"));
        let media = answer
            .headers()
            .get("content-type")
            .map(|media| media.to_str().unwrap());
        let media = media
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let status = answer.status().as_u16();
        let body = match media.as_str() {
            // it has no end
            "text/event-stream" => Vec::new(),
            _ => answer.bytes().await.unwrap().to_vec(),
        };
        Answered {
            status,
            media,
            body,
        }
    }

    /// What is wrong with an answer, by the document.
    fn complaint(&self, operation: &Operation, answered: &Answered) -> Option<String> {
        let Answered {
            status,
            media,
            body,
        } = answered;
        let described = &operation.described["responses"][status.to_string()];
        if described.is_null() {
            return Some(format!("status {status} is not described"));
        }
        let Some(content) = described["content"].as_object() else {
            let is_empty = body.is_empty();
            return (!is_empty).then(|| format!("a body of {media} where none is described"));
        };
        if !content.contains_key(media) {
            return Some(format!("{media:?} is not described for {status}"));
        }
        let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
        let pointer = format!(
            "/paths/{}/{}/responses/{status}/content/{}/schema",
            escaped(&operation.path),
            operation.method,
            escaped(media)
        );
        let documents: Vec<Value> = match media.as_str() {
            "application/json" => match serde_json::from_slice(body) {
                Ok(value) => vec![value],
                Err(error) => return Some(format!("no JSON: {error}")),
            },
            "application/jsonl" => {
                let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
                lines
                    .map(|line| serde_json::from_slice(line).unwrap())
                    .collect()
            }
            _ => match String::from_utf8(body.clone()) {
                Ok(text) => vec![text.into()],
                Err(error) => return Some(format!("no text: {error}")),
            },
        };
        let validator = self.validator(&pointer);
        let wrong = documents.iter().flat_map(|document| {
            let errors = validator.iter_errors(document);
            errors
                .map(|error| format!("{} at {}", error, error.instance_path()))
                .collect::<Vec<_>>()
        });
        let wrong: Vec<String> = wrong.take(5).collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }

    /// The schema at this place of the document.
    fn validator(&self, pointer: &str) -> std::sync::Arc<Validator> {
        let mut validators = self.validators.lock();
        let made = validators.entry(pointer.to_owned()).or_insert_with(|| {
            let schema = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "allOf": [self.document.pointer(pointer).unwrap()],
                "components": self.document["components"],
            });
            std::sync::Arc::new(jsonschema::validator_for(&schema).unwrap())
        });
        std::sync::Arc::clone(made)
    }
}

/// The demo with a token, a fragment that copies are pushed to, and operators who are known by it.
pub(crate) async fn newspaper() -> Running {
    let more = "\n[fragments.pushed]\npriority = \"essential\"\nsource = \"push:/pushed/{slug}\"\nmax_size = \"64KiB\"\n";
    started_with(
        0,
        |name, key, value| match (name, key) {
            ("admin", "listen") => "127.0.0.1:0\"\ntoken = \"a-token-of-some-length",
            _ => value,
        },
        more,
    )
    .await
}

pub(crate) fn to(target: &str) -> Asked {
    Asked {
        target: target.to_owned(),
        ..Asked::default()
    }
}

impl Asked {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

const BROWSER: (&str, &str) = ("accept", "text/html");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A fault as it is asked for.
const SLOW: &str = r#"{"origin": "media", "harm": "latency", "latency": "5ms", "spread": 0.4, "share": 0.5, "owner": "desk", "reason": "a test", "for": "5m"}"#;

/// For each operation what is asked, and the status that answers to it, in the order in which it is asked.
#[rustfmt::skip]
pub(crate) fn examples() -> Vec<(&'static str, u16, Asked)> {
    let large = |bytes: usize| vec![b'x'; bytes];
    let off = r#"{"off": true, "owner": "desk", "reason": "a test", "for": "1h"}"#;
    let is_sent_on = |target: &str| to(target).with(BROWSER.0, BROWSER.1);
    vec![
        ("openapi", 200, to("/openapi.json")),
        ("health", 200, to("/healthz")),
        ("ready", 200, to("/readyz")),
        ("asset", 200, to("/assets/dashboard.js")),
        ("asset", 200, to("/assets/dashboard.css")),
        ("asset", 200, to("/assets/icon.svg")),
        ("asset", 200, to("/assets/uplot.LICENSE")),
        ("asset", 304, to("/assets/icon.svg").with("if-none-match", "KNOWN")),
        ("asset", 400, to("/assets/%FF")),
        ("asset", 404, to("/assets/none.js")),
        ("sign_in_form", 200, to("/login").with("authorization", "none")),
        ("sign_in", 303, to("/login").with(FORM.0, FORM.1).saying("token=a-token-of-some-length")),
        ("sign_in", 403, to("/login").with(FORM.0, FORM.1).saying("token=another")),
        ("sign_in", 403, to("/login").with("sec-fetch-site", "cross-site").saying("token=another")),
        ("sign_in", 413, to("/login").with(FORM.0, FORM.1).saying(large(5000))),
        ("sign_out", 303, to("/logout")),
        ("dashboard", 200, to("/")),
        ("dashboard", 200, is_sent_on("/")),
        ("state", 200, to("/state")),
        ("live", 200, to("/live")),
        ("history", 200, to("/history")),
        ("history", 200, to("/history?since=1")),
        ("history", 200, to("/history?since=30m")),
        ("history", 200, to("/history?since=2026-11-26T11:00:00Z")),
        ("history", 400, to("/history?since=yesterday")),
        ("samples", 200, to("/samples")),
        ("samples", 200, to("/samples?since=30m")),
        ("samples", 400, to("/samples?since=-1")),
        ("journal", 200, to("/journal?since=2h")),
        ("journal", 400, to("/journal?since=yesterday")),
        ("events", 200, to("/events?kinds=level")),
        ("events", 400, to("/events?kinds=weather")),
        ("slo", 200, to("/slo")),
        ("trace", 200, to("/trace/4bf92f3577b34da6a3ce929d0e0e4736")),
        ("trace", 400, to("/trace/none")),
        ("trace", 404, to("/trace/4bf92f3577b34da6a3ce929d0e0e4737")),
        ("metrics", 200, to("/metrics")),
        ("metrics", 200, to("/metrics").with("accept", "application/openmetrics-text")),
        ("explain", 200, to("/explain?path=/&level=2")),
        ("explain", 400, to("/explain")),
        ("explain", 404, to("/explain?path=/none/at/all")),
        ("preview", 200, to("/preview?path=/&level=1")),
        ("preview", 400, to("/preview?path=none")),
        ("preview", 400, to("/preview?level=x")),
        ("preview", 404, to("/preview?path=/none/at/all")),
        ("level", 200, to("/level")),
        ("pin_level", 200, to("/level").saying("1")),
        ("pin_level", 200, to("/level").saying(r#"{"level": 2, "by": "desk"}"#)),
        ("pin_level", 200, to("/level").saying("auto")),
        ("pin_level", 400, to("/level").saying("99")),
        ("pin_level", 400, to("/level").saying("-1")),
        ("pin_level", 413, to("/level").saying(large(3 << 20))),
        ("pin_level_by_form", 200, to("/level").saying("1")),
        ("pin_level_by_form", 400, to("/level").saying("up")),
        ("pin_level_by_form", 413, to("/level").saying(large(3 << 20))),
        ("release_level", 200, to("/level")),
        ("set_switch", 200, to("/switches/block/weather").saying(off)),
        ("set_switch", 200, to("/switches/block/weather").saying(off)),
        ("set_switch", 200, to("/switches/ttl").saying(r#"{"factor": 4, "owner": "desk", "reason": "a test"}"#)),
        ("set_switch", 200, to("/switches/floor").saying(r#"{"level": 1, "owner": "desk", "reason": "a test"}"#)),
        ("set_switch", 200, to("/switches/freeze").saying(r#"{"owner": "desk", "reason": "a test"}"#)),
        ("set_switch", 400, to("/switches/pin").saying("{}")),
        ("set_switch", 404, to("/switches/block/none").saying(off)),
        ("set_switch", 409, to("/switches/block/article").saying(off)),
        ("set_switch", 413, to("/switches/pin").saying(large(20_000))),
        ("switches", 200, to("/switches")),
        ("switch", 200, to("/switches/block/weather")),
        ("switch", 400, to("/switches/%FF")),
        ("switch", 404, to("/switches/pin")),
        ("clear_switch", 200, to("/switches/block/weather?by=desk")),
        ("clear_switch", 200, to("/switches/floor")),
        ("clear_switch", 400, to("/switches/%FF")),
        ("clear_switch", 404, to("/switches/pin")),
        ("set_fault", 200, to("/chaos/slow").saying(SLOW)),
        ("set_fault", 200, to("/chaos/slow").saying(SLOW)),
        ("set_fault", 200, to("/chaos/other?preview=true").saying(SLOW)),
        ("set_fault", 400, to("/chaos/slow").saying("{}")),
        ("set_fault", 404, to("/chaos/slow").saying(SLOW.replace("media", "none"))),
        ("set_fault", 413, to("/chaos/slow").saying(large(20_000))),
        ("faults", 200, to("/chaos")),
        ("fault", 200, to("/chaos/slow")),
        ("fault", 400, to("/chaos/%FF")),
        ("fault", 404, to("/chaos/none")),
        ("end_fault", 200, to("/chaos/slow?by=desk&reason=a+test")),
        ("end_fault", 400, to("/chaos/slow?by=%0A%00")),
        ("end_fault", 404, to("/chaos/slow")),
        ("faults", 200, to("/chaos")),
        ("readers", 200, to("/readers")),
        ("reload", 200, to("/reload")),
        ("reload", 400, to("/reload?by=%0A%00")),
        ("push_copy", 201, to("/fragments/pushed/pushed/a").with("marbre-version", "7").with("content-type", "text/html").saying("<p>seven</p>")),
        ("push_copy", 200, to("/fragments/pushed/pushed/a").with("marbre-version", "8").with("surrogate-key", "x y").saying("<p>eight</p>")),
        ("push_copy", 400, to("/fragments/pushed/pushed/a").with("marbre-version", "new").saying("<p></p>")),
        ("push_copy", 404, to("/fragments/none/x").saying("<p></p>")),
        ("push_copy", 409, to("/fragments/pushed/pushed/a").with("marbre-version", "2").saying("<p>two</p>")),
        ("push_copy", 413, to("/fragments/pushed/pushed/a").saying(large(70_000))),
        ("push_copy", 415, to("/fragments/pushed/pushed/a").with("content-type", "image/png").saying("x")),
        ("push_copy", 422, to("/fragments/weather/weather").with("content-type", "application/json").saying("{")),
        ("copy", 200, to("/fragments/pushed/pushed/a")),
        ("copy", 400, to("/fragments/pushed/other")),
        ("copy", 404, to("/fragments/pushed/pushed/b")),
        ("withdraw_copy", 409, to("/fragments/pushed/pushed/a").with("marbre-version", "3")),
        ("withdraw_copy", 200, to("/fragments/pushed/pushed/a").with("marbre-version", "9")),
        ("withdraw_copy", 400, to("/fragments/pushed/other")),
        ("withdraw_copy", 404, to("/fragments/none/x")),
        ("copy", 200, to("/fragments/pushed/pushed/a")),
        ("purge", 200, to("/purge").saying(r#"{"tag": "x", "hard": true}"#)),
        ("purge", 200, to("/purge?fragment=article")),
        ("purge", 400, to("/purge").saying("all")),
        ("purge", 404, to("/purge?fragment=none")),
        ("purge", 413, to("/purge").saying(large(70_000))),
        ("dials_page", 200, to("/dials")),
        ("dials", 200, to("/dials.json")),
        ("turn_dial", 200, to("/dials/media?latency_ms=5&error=0.5")),
        ("turn_dial", 303, to("/dials/media?reset=1").with(BROWSER.0, BROWSER.1)),
        ("turn_dial", 400, to("/dials/media").saying(b"\xff".to_vec())),
        ("turn_dial", 404, to("/dials/none?off=1")),
        ("turn_dial", 413, to("/dials/media").saying(large(5000))),
        ("turn_dial", 422, to("/dials/media?error=2")),
        ("turn_dial", 200, to("/dials/media?latency_ms=5&for=1h&by=desk&reason=a+look")),
        ("turn_dial_by_form", 200, to("/dials/all").with(FORM.0, FORM.1).saying("reset=1")),
        ("turn_dial_by_form", 303, to("/dials/all").with(BROWSER.0, BROWSER.1).saying("reset=1")),
        ("turn_dial_by_form", 400, to("/dials/media").saying(b"\xff".to_vec())),
        ("turn_dial_by_form", 404, to("/dials/none?off=1")),
        ("turn_dial_by_form", 413, to("/dials/media").saying(large(5000))),
        ("turn_dial_by_form", 422, to("/dials/media").saying("speed=9")),
    ]
}

/// What is described and not asked for here, and why.
const UNPROVOKED: [(&str, u16, &str); 14] = [
    ("set_fault", 409, "a spent budget: `chaos.rs`"),
    ("ready", 503, "a server that stops: `admin.rs`"),
    ("sign_in_form", 303, "to be signed in: `dashboard.rs`"),
    (
        "sign_in",
        429,
        "its limit would be that of the other examples: `dashboard.rs`",
    ),
    ("live", 503, "64 who listen: `dashboard.rs`"),
    ("events", 503, "32 who follow"),
    ("preview", 503, "a dead origin"),
    ("pin_level", 409, "a thousand switches"),
    ("pin_level_by_form", 409, "a thousand switches"),
    ("turn_dial", 409, "a spent budget: `slo.rs`"),
    ("turn_dial_by_form", 409, "a spent budget: `slo.rs`"),
    ("reload", 422, "a wrong declaration: `reload.rs`"),
    ("push_copy", 408, "half a minute"),
    (
        "dashboard",
        303,
        "see `without_a_token_or_from_another_site_nothing_is_done`",
    ),
];

/// What the guard says before anything else is asked for its own.
fn is_the_guards(operation: &Operation, status: u16) -> bool {
    let is_guarded = operation.described["security"]
        .as_array()
        .is_some_and(|all| !all.is_empty());
    is_guarded
        && (matches!(status, 401 | 403 | 429) || (status == 303 && operation.method == "get"))
}

#[tokio::test]
async fn every_operation_answers_as_it_is_described() {
    let site = newspaper().await;
    let api = Api::of(&site).await;
    let operations = api.operations();
    let by_id: BTreeMap<&str, &Operation> = operations.iter().map(|o| (o.id(), o)).collect();
    assert_eq!(
        by_id.len(),
        operations.len(),
        "an `operationId` is one operation's"
    );
    let traced = site.reader();
    let traced = traced.get_with(
        "/",
        &[(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )],
    );
    assert_eq!(traced.await.status, 200);
    // remembered once it has ended
    let remembered = to("/trace/4bf92f3577b34da6a3ce929d0e0e4736");
    patiently(async { while api.ask("get", &remembered).await.status != 200 {} }).await;
    let mut known = String::new();
    let mut seen: BTreeSet<(&str, u16)> = BTreeSet::new();
    for (id, status, mut asked) in examples() {
        let operation = by_id
            .get(id)
            .unwrap_or_else(|| panic!("`{id}` is no operation any more"));
        for (_, value) in asked
            .headers
            .iter_mut()
            .filter(|(_, value)| value == "KNOWN")
        {
            value.clone_from(&known);
        }
        if asked.target == "/assets/icon.svg" && known.is_empty() {
            let url = format!("{}{}", api.url, asked.target);
            let answer = api.client.get(url).send().await.unwrap();
            known = answer.headers()["etag"].to_str().unwrap().to_owned();
        }
        let answered = api.ask(&operation.method, &asked).await;
        let text = String::from_utf8_lossy(&answered.body);
        assert_eq!(answered.status, status, "{id}, {asked:?}: {text}");
        if let Some(complaint) = api.complaint(operation, &answered) {
            panic!("{id}, {asked:?}: {complaint}\n{text}");
        }
        seen.insert((operation.id(), status));
    }
    for operation in &operations {
        let id = operation.id();
        for status in operation.statuses() {
            let is_left = UNPROVOKED
                .iter()
                .any(|(of, left, _)| (*of, *left) == (id, status));
            assert!(
                seen.contains(&(id, status)) || is_left || is_the_guards(operation, status),
                "`{id}` ({} {}) is described to answer {status}, and nobody has seen it: give \
                 tests/it/openapi.rs an example, or a row of UNPROVOKED that says why there is none",
                operation.method,
                operation.path
            );
        }
    }
}

/// The data of the first events of a stream.
async fn heard(api: &Api, target: &str, count: usize) -> Vec<Value> {
    let url = format!("{}{target}", api.url);
    let stream = api.client.get(url).bearer_auth(TOKEN).send().await;
    let mut stream = stream.unwrap();
    let (mut text, mut heard) = (String::new(), Vec::new());
    while heard.len() < count {
        let chunk = patiently(stream.chunk()).await.unwrap().unwrap();
        text += std::str::from_utf8(&chunk).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            heard.extend(data.map(|data| serde_json::from_str::<Value>(data).unwrap()));
            text = rest.to_owned();
        }
    }
    heard
}

#[tokio::test]
async fn what_streams_tell_is_as_it_is_described() {
    let site = newspaper().await;
    let api = Api::of(&site).await;
    let reader = site.reader();
    // something is given up, something is sick, and somebody has decided something
    site.turn("weather", "off=1");
    let decide = async {
        for level in ["1", "auto"].iter().cycle() {
            let pinned = api.ask("put", &to("/level").saying(*level)).await;
            assert_eq!(pinned.status, 200);
            for path in ["/", "/articles/archipel-cable"] {
                assert_eq!(reader.get(path).await.status, 200);
            }
        }
    };
    let listen = async { futures::join!(heard(&api, "/live", 3), heard(&api, "/events", 4)) };
    let (told, happened) = tokio::select! {
        heard = listen => heard,
        () = decide => unreachable!("it goes on"),
    };
    assert!(
        told.iter().any(|told| told["now"]["pages"] != 0),
        "{told:?}"
    );
    for (target, events) in [("/live", told), ("/events", happened)] {
        let path = target.replace('/', "~1");
        let validator = api.validator(&format!(
            "/paths/{path}/get/responses/200/content/text~1event-stream/x-itemSchema/properties/data/contentSchema"
        ));
        for event in events {
            let wrong: Vec<String> = validator
                .iter_errors(&event)
                .map(|error| format!("{error} at {}", error.instance_path()))
                .collect();
            assert!(wrong.is_empty(), "{target}: {}\n{event}", wrong.join("; "));
        }
        // and it is no schema that anything would do for
        assert!(!validator.is_valid(&json!({"says": 1})), "{target}");
    }
}

#[tokio::test]
async fn without_a_token_or_from_another_site_nothing_is_done() {
    let site = newspaper().await;
    let api = Api::of(&site).await;
    let free = started_with(0, |_, _, value| value, "").await;
    let free = Api {
        url: format!("http://{}", free.app.admin_address),
        ..Api::of(&free).await
    };
    for operation in api.operations() {
        let is_open = operation.described["security"] == json!([]);
        let target = operation.path.replace(['{', '}'], "");
        let nobody = to(&target).with("authorization", "none");
        let browser = nobody.clone().with(BROWSER.0, BROWSER.1);
        let elsewhere = to(&target).with("sec-fetch-site", "cross-site");
        let by_name = to(&target).with("host", "evil.example");
        let is_get = operation.method == "get";
        let cases = [
            (&api, nobody, 401, !is_open),
            (&api, browser, 303, !is_open && is_get),
            (&api, elsewhere, 403, !is_open && !is_get),
            (&free, by_name, 403, !is_open),
        ];
        for (api, asked, status, _) in cases.into_iter().filter(|case| case.3) {
            let answered = api.ask(&operation.method, &asked).await;
            assert_eq!(answered.status, status, "{} {asked:?}", operation.method);
            let complaint = api.complaint(&operation, &answered);
            assert_eq!(complaint, None, "{} {asked:?}", operation.method);
        }
    }
}

#[tokio::test]
async fn the_document_is_one() {
    let site = newspaper().await;
    let api = Api::of(&site).await;
    let document = &api.document;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    for schema in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .values()
    {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{error}: {schema}"));
    }
    // whatever is referred to is there
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        let pointer = pointer
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{pointer} leads elsewhere"));
        assert!(
            document.pointer(pointer).is_some(),
            "{pointer} leads nowhere"
        );
    }
    for operation in api.operations() {
        let id = operation.id().to_owned();
        let parameters = operation.described["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let in_path: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let meant = operation
            .path
            .split('{')
            .skip(1)
            .map(|part| part.split('}').next().unwrap());
        assert_eq!(in_path, meant.collect(), "{id}");
        assert!(!operation.statuses().is_empty(), "{id} answers nothing");
        assert!(
            operation.described["summary"]
                .as_str()
                .is_some_and(|says| !says.is_empty()),
            "{id}"
        );
    }
}

/// What is asked at random for each operation, and of those that take long.
const ROUNDS: usize = 20;
const ROUNDS_OF_LONG: usize = 3;

#[tokio::test]
async fn nonsense_is_answered_as_it_is_described_and_breaks_nothing() {
    let site = newspaper().await;
    let api = Api::of(&site).await;
    let seed = std::env::var("MARBRE_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut operations = api.operations();
    // an origin that is made sick is no nonsense, and has its effects
    operations.sort_by_key(|operation| operation.path.starts_with("/dials"));
    let bodies: Vec<Vec<u8>> = examples()
        .into_iter()
        .map(|(_, _, asked)| asked.body)
        .collect();
    for operation in &operations {
        let is_long = matches!(operation.id(), "reload" | "preview" | "events" | "live");
        for _ in 0..if is_long { ROUNDS_OF_LONG } else { ROUNDS } {
            let asked = nonsense(&mut rng, operation, &bodies);
            let answered = api.ask(&operation.method, &asked).await;
            let text = String::from_utf8_lossy(&answered.body);
            assert!(
                answered.status < 500,
                "MARBRE_SEED={seed}, {} {asked:?}: {text}",
                operation.method
            );
            // another address than the one that is meant, or none at all
            if !is_meant(&asked.target, &operation.path) {
                continue;
            }
            if let Some(complaint) = api.complaint(operation, &answered) {
                panic!(
                    "MARBRE_SEED={seed}, {} {asked:?}: {complaint}\n{text}",
                    operation.method
                );
            }
        }
    }
    assert_eq!(api.ask("get", &to("/healthz")).await.status, 200);
}

/// Whether the router takes this target for this path: slashes in it, and parts that are empty, may lead
/// elsewhere.
fn is_meant(target: &str, path: &str) -> bool {
    let target = target.split('?').next().unwrap();
    let (parts, meant) = (target.matches('/').count(), path.matches('/').count());
    let is_long = path.starts_with("/switches/") || path.starts_with("/fragments/");
    let is_deep = parts == meant || is_long && parts > meant;
    target == path || is_deep && !target.contains("//") && !target.ends_with('/')
}

const WORDS: [&str; 24] = [
    "",
    "0",
    "1",
    "2",
    "-1",
    "99999999999999999999",
    "1e309",
    "NaN",
    "true",
    "auto",
    "pin",
    "ttl",
    "block",
    "weather",
    "article",
    "cms",
    "2h",
    "2026-11-26T11:00:00Z",
    "level",
    "/",
    "/articles/archipel-cable",
    "%",
    "é😀",
    "\u{0}'\"<>;",
];

fn word(rng: &mut fastrand::Rng) -> String {
    match rng.u8(..8) {
        0 => (0..rng.usize(..20)).map(|_| rng.char(..)).collect(),
        1 => "x".repeat(rng.usize(..300)),
        _ => rng.choice(WORDS).unwrap().to_owned(),
    }
}

fn encoded(rng: &mut fastrand::Rng, text: &str) -> String {
    match rng.u8(..10) {
        0 => "%FF".to_owned(),
        1 => "%zz".to_owned(),
        _ => percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
            .to_string(),
    }
}

fn nonsense(rng: &mut fastrand::Rng, operation: &Operation, bodies: &[Vec<u8>]) -> Asked {
    let parameters = operation.described["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let (mut target, mut query, mut headers) = (operation.path.clone(), Vec::new(), Vec::new());
    for parameter in &parameters {
        let name = parameter["name"].as_str().unwrap();
        match parameter["in"].as_str().unwrap() {
            "path" => {
                let word = match rng.bool() {
                    true => rng
                        .choice([
                            "block/weather",
                            "pin",
                            "weather",
                            "article",
                            "media",
                            "pushed",
                            "pushed/a",
                        ])
                        .unwrap()
                        .to_owned(),
                    false => {
                        let word = word(rng);
                        encoded(rng, &word)
                    }
                };
                target = target.replace(&format!("{{{name}}}"), &word);
            }
            "query" => {
                for _ in 0..rng.u8(..3) {
                    let word = word(rng);
                    query.push(format!("{name}={}", encoded(rng, &word)));
                }
            }
            _ if rng.bool() => {
                let value: String = word(rng).chars().filter(|c| c.is_ascii_graphic()).collect();
                headers.push((name.to_owned(), value));
            }
            _ => {}
        }
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let mut body = rng.choice(bodies).cloned().unwrap_or_default();
    match rng.u8(..4) {
        0 => body = word(rng).into_bytes(),
        1 if !body.is_empty() => {
            for _ in 0..1 + rng.usize(..4) {
                let place = rng.usize(..body.len());
                body[place] = rng.u8(..);
            }
        }
        _ => {}
    }
    if operation.method == "get" {
        body.clear();
    }
    Asked {
        target,
        headers,
        body,
    }
}
