//! Faults that are set on purpose: what each does on the wire, to whom, who is told of it, and how it ends.

use std::time::Duration;

use marbre::clock::Clock;
use marbre::site::DebugSecret;
use marbre::site::debug::CHAOS;
use serde_json::{Value, json};

use crate::support::newsroom::Draft;
use crate::support::program::unpooled;
use crate::support::{Newsroom, Operator, Origin, Program, html, newsroom, origin};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(crate) async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", html("<i>block</i>"))
        .start()
        .await
}

pub(crate) fn draft(cms: &Origin, more: &str) -> Draft {
    newsroom()
        .toml(&format!("[telemetry]\ndebug_secret = \"{SECRET}\""))
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"60s\"\nretry.attempts = 1\nbreaker.enabled = false",
            cms.url()
        ))
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"0s\"\ntimeout = \"20s\"",
        )
        .fragment("block", "40", "cms:/block", "ttl = \"0s\"\nkeep = \"0s\"\ntimeout = \"20s\"")
        .page_within("page", "/{path}", "[article][block]", "25s")
        .toml(more)
}

async fn site(cms: &Origin) -> Newsroom {
    draft(cms, "").start().await
}

const WHOLE: &str = "<p>text</p><i>block</i>";
const TEXT: &str = "<p>text</p>";

/// Sets a fault for an hour, and gives what is answered.
pub(crate) async fn set(operator: &Operator, name: &str, what: &Value) -> (u16, String) {
    let mut body = json!({"owner": "desk", "reason": "a test", "for": "1h"});
    let keys = what.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(keys);
    operator
        .ask("PUT", &format!("/chaos/{name}"), &body.to_string(), &[])
        .await
}

pub(crate) async fn is_set(operator: &Operator, name: &str, what: Value) -> Value {
    let (status, said) = set(operator, name, &what).await;
    assert_eq!(status, 200, "{what}: {said}");
    serde_json::from_str(&said).unwrap()
}

pub(crate) async fn state(site: &Newsroom) -> Value {
    let text = site.admin_text("/chaos").await;
    serde_json::from_str(&text).unwrap()
}

/// The faults that are over: names, and how they ended.
async fn past(site: &Newsroom) -> Vec<(String, String)> {
    let state = state(site).await;
    let past = state["past"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    past.map(|one| (text(&one["name"]), text(&one["how"])))
        .collect()
}

#[tokio::test]
async fn each_kind_of_fault_is_what_it_says_and_its_failure_is_an_ordinary_one() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    reader.get("/a").await.is(200, WHOLE);
    for (harm, said) in [
        (json!({"harm": "error", "status": 500}), "status 500"),
        (json!({"harm": "refuse"}), "connection refused (fault f)"),
        (json!({"harm": "reset"}), "connection reset (fault f)"),
        (json!({"harm": "cut"}), "cut off (fault f)"),
        (json!({"harm": "garbage"}), "utf-8"),
    ] {
        let mut what = harm.clone();
        what["fragment"] = json!("block");
        is_set(&operator, "f", what).await;
        reader.get("/a").await.is(200, TEXT);
        let complaint = site.complaint("block").await.to_lowercase();
        assert!(complaint.contains(said), "{harm}: {complaint}");
    }
    let (status, _) = operator.ask("DELETE", "/chaos/f", "", &[]).await;
    assert_eq!(status, 200);
    reader.get("/a").await.is(200, WHOLE);
    let faults = state(&site).await;
    assert_eq!(faults["faults"], json!([]));
}

#[tokio::test]
async fn what_hangs_or_waits_goes_on_when_the_fault_is_over() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.reader());
    for (harm, arrives) in [
        (json!({"harm": "latency", "latency": "10m"}), WHOLE),
        (json!({"harm": "drip", "every": "10m"}), WHOLE),
        (json!({"harm": "hang"}), TEXT),
    ] {
        let mut what = harm;
        what["fragment"] = json!("block");
        is_set(&operator, "f", what.clone()).await;
        let page = reader.get("/a");
        let end = async {
            // it has been hit by then
            let is_hit = |state: &Value| state["chaos"]["faults"][0]["requests"] == 1;
            site.state_when("hit", is_hit).await;
            operator.ask("DELETE", "/chaos/f", "", &[]).await
        };
        let (page, ended) = futures::join!(page, end);
        assert_eq!(ended.0, 200, "{}", ended.1);
        // as late as its block may be, which has ten minutes to lose
        assert_eq!((page.status, page.body.as_str()), (200, arrives), "{what}");
    }
}

#[tokio::test]
async fn a_fault_is_told_of_where_it_belongs_and_ends_with_its_time() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    let what = json!({"origin": "cms", "harm": "error", "for": "1s", "owner": "Léa"});
    let done = is_set(&operator, "cms-fails", what).await;
    assert_eq!(done["set"]["says"], "origin cms: errors, 503");
    let shown = site.state().await["chaos"]["faults"][0].take();
    assert_eq!(shown["fault"]["owner"], "Léa", "{shown}");
    assert_eq!(reader.get("/a").await.status, 503);
    let over = |state: &Value| state["chaos"]["faults"] == json!([]);
    site.state_when("end", over).await;
    reader.get("/a").await.is(200, WHOLE);
    let over = state(&site).await["past"][0].take();
    assert_eq!((&over["how"], &over["pages"]), (&json!("over"), &json!(1)));
    let journal: Value =
        serde_json::from_str(&site.admin_text("/journal?kinds=fault").await).unwrap();
    let entries = journal["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{journal}");
    assert_eq!(entries[0]["trouble"], "origin cms: errors, 503");
    assert_eq!(
        (&entries[0]["by"], &entries[0]["lasts_s"]),
        (&json!("Léa"), &json!(1))
    );
    assert_eq!(
        (&entries[1]["how"], &entries[1]["pages"]),
        (&json!("over"), &json!(1))
    );
    assert!(
        entries[1]["says"]
            .as_str()
            .unwrap()
            .contains("its time is over")
    );
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_with_what_to_mend() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    for (what, status, said) in [
        (json!({"origin": "cms"}), 400, "say what goes wrong"),
        (json!({"origin": "cms", "harm": "melt"}), 400, "melt"),
        (
            json!({"origin": "cms", "harm": "hang", "for": "2d"}),
            400,
            "1s to 1d",
        ),
        (
            json!({"origin": "cms", "harm": "hang", "owner": " "}),
            400,
            "owner",
        ),
        (
            json!({"origin": "cms", "harm": "error", "status": 404}),
            400,
            "copies back",
        ),
        (
            json!({"origin": "media", "harm": "hang"}),
            404,
            "no origin `media`",
        ),
        (
            json!({"fragment": "none", "harm": "hang"}),
            404,
            "no fragment `none`",
        ),
        (
            json!({"store": true, "harm": "hang"}),
            404,
            "no shared store",
        ),
    ] {
        let (found, text) = set(&operator, "f", &what).await;
        assert_eq!(found, status, "{what}: {text}");
        assert!(text.contains(said), "{what}: {text}");
    }
    assert_eq!(operator.get("/chaos/f").await.0, 404);
    let (status, text) = operator.ask("DELETE", "/chaos/f", "", &[]).await;
    assert_eq!(status, 404, "{text}");
    // seventeen are too many, and one of the same name takes the other's place
    for number in 0..16 {
        is_set(
            &operator,
            &format!("f{number}"),
            json!({"fragment": "block", "harm": "hang"}),
        )
        .await;
    }
    let (status, text) = set(
        &operator,
        "f16",
        &json!({"fragment": "block", "harm": "cut"}),
    )
    .await;
    assert_eq!(status, 409, "{text}");
    let done = is_set(&operator, "f3", json!({"fragment": "block", "harm": "cut"})).await;
    assert_eq!(done["replaced"]["says"], "fragment block: hangs");
}

#[tokio::test]
async fn a_preview_says_what_would_be_hit_and_sets_nothing() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    let body =
        r#"{"origin": "cms", "harm": "hang", "for": "5m", "owner": "desk", "reason": "a look"}"#;
    let (status, said) = operator
        .ask("PUT", "/chaos/f?preview=true", body, &[])
        .await;
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let blocks = said["preview"]["blocks"].as_array().unwrap().iter();
    let names: Vec<&Value> = blocks.map(|block| &block["block"]).collect();
    assert_eq!(names, ["article", "block"]);
    assert_eq!(said["preview"]["pages"], json!(["page"]));
    assert_eq!(state(&site).await["faults"], json!([]));
    site.reader().get("/a").await.is(200, WHOLE);
}

#[tokio::test]
async fn a_share_of_the_pages_has_it_and_no_other_page_sees_anything_of_it() {
    let cms = cms().await;
    let kept = "[fragments.kept]\npriority = 50\nsource = \"cms:/block\"\nttl = \"1h\"\ntimeout = \"20s\"\n";
    let site = draft(&cms, kept)
        .page_within("kept", "/kept/{path}", "[article][kept]", "25s")
        .start()
        .await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    is_set(
        &operator,
        "some",
        json!({"fragment": "kept", "harm": "error", "share": 0.5}),
    )
    .await;
    let (mut hit, mut spared) = (Vec::new(), 0);
    for number in 0..60 {
        let path = format!("/kept/{number}");
        let page = reader.get(&path).await;
        match page.header("marbre-chaos") {
            Some(name) => {
                assert_eq!(name, "some");
                assert_eq!(page.header("cache-control"), Some("private, no-store"));
                hit.push((path, page.body));
            }
            None => {
                // who is spared shares its copy with all who are
                page.is(200, WHOLE);
                spared += 1;
            }
        }
    }
    assert!(hit.len() > 8 && spared > 8, "{} {spared}", hit.len());
    // always the same ones, also now that there is a copy, which they have as well
    for (path, _) in &hit {
        let again = reader.get(path).await;
        assert_eq!(again.header("marbre-chaos"), Some("some"), "{path}");
        again.is(200, WHOLE);
    }
    let fault = state(&site).await["faults"][0].take();
    assert_eq!(fault["pages"], 2 * hit.len(), "{fault}");
}

#[tokio::test]
async fn only_pages_with_a_token_have_a_signed_one() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    is_set(
        &operator,
        "mine",
        json!({"fragment": "block", "harm": "error", "signed": true}),
    )
    .await;
    let clock = Clock::start();
    let now = clock.moment(clock.now());
    let secret = DebugSecret::new(SECRET);
    let good = secret.token_for(CHAOS, now.after(Duration::from_secs(60)));
    let over = secret.token_for(CHAOS, now.before(Duration::from_secs(60)));
    let other = DebugSecret::new("fedcba9876543210fedcba9876543210");
    let forged = other.token_for(CHAOS, now.after(Duration::from_secs(60)));
    let debug = secret.token(now.after(Duration::from_secs(60)));
    for (bad, cause) in [
        (over.as_str(), "expired"),
        (&forged, "wrong"),
        (&debug, "wrong"),
        ("", "wrong"),
        ("c1.9.9", "wrong"),
    ] {
        let page = reader.get_with("/a", &[("marbre-chaos", bad)]).await;
        page.is(200, WHOLE);
        let said = format!("refused; cause={cause}");
        assert_eq!(page.header("marbre-chaos"), Some(&*said), "{bad}");
    }
    let page = reader.get("/a").await;
    page.is(200, WHOLE);
    assert_eq!(page.header("marbre-chaos"), None);
    let page = reader
        .get_with("/a", &[("marbre-chaos", good.as_str())])
        .await;
    page.is(200, TEXT);
    assert_eq!(page.header("marbre-chaos"), Some("mine"));
    assert_eq!(state(&site).await["faults"][0]["pages"], 1);
    // no origin is told of the token
    assert!(!cms.last_head("/block").unwrap().contains(&good));
}

#[tokio::test]
async fn a_token_that_is_not_good_is_told_of_also_where_no_fault_is_in_force() {
    let cms = cms().await;
    let folder = draft(&cms, "").written();
    let program = Program::start(folder.path(), &unpooled()).await;
    let url = format!("http://{}/a", program.pages);
    let bad = "c1.1.00";
    let asked = unpooled().get(url).header("marbre-chaos", bad).send();
    let answer = asked.await.unwrap();
    assert_eq!(answer.headers()["marbre-chaos"], "refused; cause=wrong");
    assert_eq!(answer.text().await.unwrap(), WHOLE);
    program
        .says("a Marbre-Chaos token is refused: it was not made")
        .await;
    let log = program.stop().await;
    assert!(!log.contains(bad), "{log}");
    // nor can one be good where there is nothing to sign it with
    let secret = format!("[telemetry]\ndebug_secret = \"{SECRET}\"");
    let mut site = site(&cms).await;
    site.rewrite(|toml| toml.replace(&secret, ""));
    site.app.reload().await.unwrap();
    let page = site.reader().get_with("/a", &[("marbre-chaos", bad)]).await;
    assert_eq!(page.header("marbre-chaos"), Some("refused; cause=off"));
}

#[tokio::test]
async fn what_is_no_object_is_said_to_be_none() {
    let cms = cms().await;
    let site = site(&cms).await;
    let operator = Operator::of(&site);
    for (method, path) in [
        ("PUT", "/chaos/f"),
        ("PUT", "/switches/block/block"),
        ("POST", "/purge"),
    ] {
        for body in ["[]", " [\"a\", true]", "7", "\"all\"", "null"] {
            let (status, said) = operator.ask(method, path, body, &[]).await;
            assert_eq!(status, 400, "{path} {body}: {said}");
            assert!(said.contains("it is no object"), "{path} {body}: {said}");
        }
    }
    assert_eq!(operator.switches().await, [""; 0]);
}

#[tokio::test]
async fn it_ends_when_as_many_pages_as_may_have_had_it() {
    let cms = cms().await;
    let site = site(&cms).await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    is_set(
        &operator,
        "few",
        json!({"fragment": "block", "harm": "error", "pages_max": 3}),
    )
    .await;
    for _ in 0..3 {
        reader.get("/a").await.is(200, TEXT);
    }
    reader.get("/a").await.is(200, WHOLE);
    assert_eq!(past(&site).await, [("few".to_owned(), "full".to_owned())]);
    assert_eq!(state(&site).await["past"][0]["pages"], 3);
}

#[tokio::test]
async fn it_is_aborted_when_the_error_budget_burns_and_when_nothing_is_left_of_it() {
    let cms = cms().await;
    let slo = "[slo.core]\nobjective = 0.999\ncomplete = \"core\"\nwhen_spent = \"stop-faults\"\n";
    let site = draft(&cms, slo).without_snapshots().start().await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    let what = json!({"origin": "cms", "harm": "error"});
    is_set(&operator, "dead", what.clone()).await;
    let body = r#"{"all": true, "hard": true}"#;
    assert_eq!(operator.ask("POST", "/purge", body, &[]).await.0, 200);
    let is_over = |state: &Value| state["chaos"]["faults"] == json!([]);
    let read = async {
        loop {
            reader.get("/a").await;
        }
    };
    tokio::select! {
        _ = site.state_when("abort", is_over) => {}
        () = read => {}
    }
    assert_eq!(
        past(&site).await,
        [("dead".to_owned(), "aborted".to_owned())]
    );
    let why = state(&site).await["past"][0]["why"].take();
    assert!(why.as_str().unwrap().contains("objective core"), "{why}");
    reader.get("/a").await.is(200, WHOLE);
    // and none can be set meanwhile
    let (status, said) = set(&operator, "again", &what).await;
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("objective core"), "{said}");
}

pub(crate) const DECLARED: &str = "[chaos.block-fails]\nfragment = \"block\"\nharm = \"error\"\nfor = \"5m\"\n\
    owner = \"newsroom-platform\"\nreason = \"do pages do without?\"\npages_max = 7\n";

#[tokio::test]
async fn a_declared_one_is_begun_by_its_name_or_by_the_clock_and_goes_with_its_declaration() {
    let cms = cms().await;
    let mut site = draft(&cms, DECLARED).start().await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    reader.get("/a").await.is(200, WHOLE);
    let declared = state(&site).await["declared"][0].take();
    assert_eq!(declared["says"], "fragment block: errors, 503");
    let body = r#"{"owner": "desk", "reason": "a test"}"#;
    let (status, said) = operator.ask("PUT", "/chaos/block-fails", body, &[]).await;
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["set"]["fault"]["pages_max"], 7);
    reader.get("/a").await.is(200, TEXT);
    assert_eq!(
        operator
            .ask("DELETE", "/chaos/block-fails", "", &[])
            .await
            .0,
        200
    );
    // with a window that holds now it needs nobody, and is over when it is not declared any more
    let clock = Clock::start();
    let now = clock.moment(clock.now());
    let (from, until) = (
        now.before(Duration::from_secs(60)),
        now.after(Duration::from_secs(3600)),
    );
    let window = format!("from = \"{from}\"\nuntil = \"{until}\"");
    site.rewrite(|toml| toml.replace("for = \"5m\"", &window));
    site.app.reload().await.unwrap();
    reader.get("/a").await.is(200, TEXT);
    let fault = state(&site).await["faults"][0].take();
    assert_eq!(
        (&fault["by_clock"], &fault["name"]),
        (&json!(true), &json!("block-fails"))
    );
    // who ends it has ended it, whatever the clock says
    assert_eq!(
        operator
            .ask("DELETE", "/chaos/block-fails?by=desk", "", &[])
            .await
            .0,
        200
    );
    site.app.reload().await.unwrap();
    reader.get("/a").await.is(200, WHOLE);
    let other = until.after(Duration::from_secs(60));
    site.rewrite(|toml| toml.replace(&until.to_string(), &other.to_string()));
    site.app.reload().await.unwrap();
    reader.get("/a").await.is(200, TEXT);
    site.rewrite(|toml| toml.split("[chaos.block-fails]").next().unwrap().to_owned());
    site.app.reload().await.unwrap();
    reader.get("/a").await.is(200, WHOLE);
    let how = past(&site).await[0].1.clone();
    assert_eq!(how, "undeclared");
}

#[tokio::test]
async fn a_restart_is_a_way_out() {
    let cms = cms().await;
    let site = site(&cms).await;
    is_set(
        &Operator::of(&site),
        "f",
        json!({"fragment": "block", "harm": "cut"}),
    )
    .await;
    site.reader().get("/a").await.is(200, TEXT);
    let site = site.restarted().await;
    site.reader().get("/a").await.is(200, WHOLE);
    assert_eq!(state(&site).await["faults"], json!([]));
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_costs_nothing_where_its_addresses_are_known() {
    // each request needs a connection of its own, and so an address
    let cms = origin()
        .on("/article", html("<p>text</p>").then_close())
        .start()
        .await;
    let url = cms.url().replace("127.0.0.1", "localhost");
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{url}\"]\ndns_ttl = \"1s\"\ntimeout = \"60s\""
        ))
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"0s\"\ntimeout = \"20s\"",
        )
        .page_within("page", "/", "[article]", "25s")
        .start()
        .await;
    let (operator, reader) = (Operator::of(&site), site.regular());
    reader.get("/").await.is(200, TEXT);
    is_set(&operator, "names", json!({"origin": "cms", "harm": "dns"})).await;
    let is_hit = |state: &Value| state["chaos"]["faults"][0]["requests"].as_u64() > Some(0);
    let read = async {
        loop {
            reader.get("/").await.is(200, TEXT);
        }
    };
    tokio::select! {
        _ = site.state_when("look-up", is_hit) => {}
        () = read => {}
    }
}

#[tokio::test]
async fn what_the_manual_declares_can_be_declared() {
    let manual = include_str!("../../docs/chaos.md");
    let blocks = manual.split("```toml ").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split_once('\n').unwrap().1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    let [fault, experiment, monkey] = blocks[..] else {
        panic!("{blocks:?}")
    };
    let cms = cms().await;
    let fault = fault.replace("\"media\"", "\"cms\"");
    let site = draft(&cms, &fault).start().await;
    let declared = state(&site).await["declared"][0].take();
    assert_eq!(declared["name"], "media-slow");
    let read = marbre::experiment::read("chaos.md", experiment);
    assert_eq!(
        read.unwrap_or_else(|found| panic!("{found}")).steps.len(),
        4
    );
    let watch = marbre::experiment::monkey::read("chaos.md", monkey);
    assert_eq!(
        watch.unwrap_or_else(|found| panic!("{found}")).hours.len(),
        2
    );
}

/// What the program says, and its exit code.
pub(crate) async fn program(arguments: &[&str]) -> (String, String, i32) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_marbre"));
    command.arg("chaos").args(arguments).env_remove("RUST_LOG");
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = running.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    (text(&output.stdout), text(&output.stderr), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_sets_lists_and_ends_faults() {
    let cms = cms().await;
    let site = draft(&cms, DECLARED).start().await;
    let admin = site.admin_url();
    let signed = ["--owner", "desk", "--reason", "a test", "--admin", &admin];
    let set = |what: &[&str]| {
        let all: Vec<String> = ["set"]
            .iter()
            .chain(what)
            .chain(&signed)
            .map(ToString::to_string)
            .collect();
        async move { program(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let (said, _, code) = set(&["block-fails", "--preview"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("block (optional 40): its last good copy, then its place stays empty"),
        "{said}"
    );
    let (said, _, code) = set(&["block-fails"]).await;
    assert!(
        code == 0 && said.starts_with("set block-fails: fragment block: errors, 503"),
        "{said}"
    );
    site.reader().get("/a").await.is(200, TEXT);
    let more = [
        "slow",
        "--origin",
        "cms",
        "--harm",
        "slow-start",
        "--latency",
        "5ms",
        "--for",
        "1m",
    ];
    assert_eq!(set(&more).await.2, 0);
    let (_, why, code) = set(&["bad", "--origin", "cms", "--harm", "hang"]).await;
    assert!(code == 1 && why.contains("say for how long"), "{why}");
    let (said, _, _) = program(&["list", "--admin", &admin]).await;
    for line in [
        "block-fails: fragment block: errors, 503; until ",
        "slow: origin cms: 5ms later at first",
        "\ndeclared\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let (said, _, code) =
        program(&["end", "block-fails", "--owner", "desk", "--admin", &admin]).await;
    assert!(code == 0 && said.starts_with("ended block-fails"), "{said}");
    site.reader().get("/a").await.is(200, WHOLE);
}

pub(crate) const EXPERIMENT: &str = r#"
title = "The block fails"
owner = "desk"
[traffic]
paths = ["/a", "/b"]
pages = 4
[[steady]]
share = 1.0
complete = "all"
[[steps]]
fault = "block-fails"
[[steps]]
read = 7
[[steps]]
end = "block-fails"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_says_what_readers_lost_and_what_happened() {
    let cms = cms().await;
    let site = draft(&cms, DECLARED).start().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, report) = (folder.path().join("e.toml"), folder.path().join("e.md"));
    std::fs::write(&file, EXPERIMENT).unwrap();
    let (file, report) = (file.to_str().unwrap(), report.to_str().unwrap());
    let (url, admin) = (site.url(), site.admin_url());
    let (said, why, code) = program(&[
        "run", file, "--site", &url, "--admin", &admin, "--report", report,
    ])
    .await;
    assert_eq!(
        (said.trim(), code),
        ("The steady state did not hold.", 1),
        "{why}"
    );
    let told = std::fs::read_to_string(report).unwrap();
    for line in [
        "# Experiment: The block fails",
        "| 100 % of the pages have all their blocks | 100 % | **0 %** | 100 % |",
        "Of 7 pages:",
        "- 7 (100 %) did not show block (status 7)",
        "fault block-fails begins",
        "the server: fault block-fails is set on purpose: fragment block: errors, 503",
    ] {
        assert!(told.contains(line), "{line}:\n{told}");
    }
    assert_eq!(state(&site).await["faults"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_is_not_begun_where_all_is_not_well_and_is_rolled_back_when_broken_off() {
    let cms = cms().await;
    let site = draft(&cms, DECLARED).start().await;
    let operator = Operator::of(&site);
    let folder = tempfile::tempdir().unwrap();
    let (url, admin) = (site.url(), site.admin_url());
    let run = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let (url, admin) = (url.clone(), admin.clone());
        async move { program(&["run", &file, "--json", "--site", &url, "--admin", &admin]).await }
    };
    is_set(
        &operator,
        "before",
        json!({"fragment": "block", "harm": "error"}),
    )
    .await;
    let (told, _, code) = run("unsteady.toml", EXPERIMENT).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["verdict"], code),
        (&json!("unsteady"), 2),
        "{told:#}"
    );
    assert_eq!(past(&site).await, [], "nothing was begun");
    assert_eq!(
        operator.ask("DELETE", "/chaos/before", "", &[]).await.0,
        200
    );
    // somebody ends its fault while it goes on
    let patient = EXPERIMENT.replace("read = 7", "wait = \"30s\"");
    let going = run(
        "ended.toml",
        &EXPERIMENT.replace("end = \"block-fails\"", "run = [\"false\"]"),
    );
    let (told, _, code) = going.await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["verdict"], code), (&json!("aborted"), 1), "{told:#}");
    assert!(
        told["aborted"]
            .as_str()
            .unwrap()
            .contains("`false` has failed"),
        "{told:#}"
    );
    assert_eq!(state(&site).await["faults"], json!([]), "it is rolled back");
    // and on Ctrl-C
    let file = folder.path().join("interrupted.toml");
    std::fs::write(&file, patient).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_marbre"));
    command
        .args(["chaos", "run", "--json", "--site", &url, "--admin", &admin])
        .arg(&file)
        .stdout(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = child.id().to_string();
    site.state_when("fault", |state| state["chaos"]["faults"] != json!([]))
        .await;
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["verdict"], "aborted", "{told:#}");
    assert_eq!(state(&site).await["faults"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_monkey_draws_the_same_again_and_rests_outside_of_working_hours() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.toml", "b.toml", "c.toml", "d.md"] {
        std::fs::write(folder.path().join(name), EXPERIMENT).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let always = "mon-sun 00:00-24:00";
    let mut drawn = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let seed = seed.to_string();
        let draw = [
            "monkey",
            path,
            "--hours",
            always,
            "--dry-run",
            "--seed",
            &seed,
        ];
        let (_, said, code) = program(&draw).await;
        assert_eq!(code, 0, "{said}");
        assert_eq!(program(&draw).await.1, said);
        assert!(said.starts_with(&format!("seed {seed}: ")), "{said}");
        drawn.insert(said.trim().rsplit('/').next().unwrap().to_owned());
    }
    assert_eq!(
        drawn.into_iter().collect::<Vec<_>>(),
        ["a.toml", "b.toml", "c.toml"]
    );
    let day = Clock::start();
    let day = day.moment(day.now()).wall();
    let today = jiff::Timestamp::try_from(day)
        .unwrap()
        .to_zoned(jiff::tz::TimeZone::UTC);
    // two days on, whatever the hour
    let other = today.date().tomorrow().unwrap().tomorrow().unwrap();
    let other = format!(
        "{} 00:00-23:59",
        other.strftime("%a").to_string().to_lowercase()
    );
    let (_, said, code) = program(&["monkey", path, "--hours", &other]).await;
    assert!(code == 0 && said.contains("nothing is done"), "{said}");
    let (_, said, code) = program(&["monkey", path, "--hours", "always"]).await;
    assert!(code == 2 && said.contains("no working hours"), "{said}");
    // or the folder says so, in a file that is no experiment
    let (_, said, code) = program(&["monkey", path, "--dry-run"]).await;
    assert!(code == 2 && said.contains("monkey.toml"), "{said}");
    let hours = folder.path().join("monkey.toml");
    for (written, code, told) in [
        (format!("hours = [\"{other}\", \"{always}\"]"), 0, "seed "),
        (format!("hours = [\"{other}\"]"), 0, "nothing is done"),
        ("hours = [\"always\"]".to_owned(), 2, "no working hours"),
    ] {
        std::fs::write(&hours, written).unwrap();
        for seed in 0..4 {
            let seed = seed.to_string();
            let draw = ["monkey", path, "--dry-run", "--seed", &seed];
            let (_, said, ended) = program(&draw).await;
            assert!(ended == code && said.contains(told), "{said}");
            assert!(code == 2 || !said.contains("monkey.toml\n") || told.starts_with("nothing"));
        }
    }
}
