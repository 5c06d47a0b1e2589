//! What is promised to readers: a sick origin spends the error budget, a restart keeps what was counted,
//! a damaged file costs that and nothing else, faults end with the budget, and the rules for Prometheus
//! call somebody for a burn and for nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::metrics::{is_content, promtool};
use crate::support::newspaper::started_with;
use crate::support::program::unpooled;
use crate::support::{Newsroom, Operator, Origin, Program, html, newsroom, origin, status};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what is counted once a second.
const PAUSE: Duration = Duration::from_millis(50);

const OBJECTIVES: &str = r#"
[slo.article]
complete = "core"
objective = 0.99
[slo.all]
complete = "all"
objective = 0.9
pages = "front"
[slo.worth]
value = true
objective = 0.9
"#;

/// An article that is there, and a block that never is.
async fn site() -> (Newsroom, Origin) {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", status(500))
        .start()
        .await;
    let site = newsroom()
        .server("state_dir = \"var\"")
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .optional("block", 25, "cms:/block")
        .page("front", "/", "[article][block]")
        .page("other", "/other", "[article]")
        .toml(OBJECTIVES)
        .start()
        .await;
    (site, cms)
}

/// `/slo`, as soon as the objective has measured so much.
async fn measured(operator: &Operator, name: &str, measured: u64) -> Value {
    let mut said = String::new();
    let looking = timeout(PATIENCE, async {
        loop {
            said = operator.get("/slo").await.1;
            let told: Value = serde_json::from_str(&said).unwrap();
            if of(&told, name)["measured"] == measured {
                return told;
            }
            sleep(PAUSE).await;
        }
    });
    let told = looking.await;
    told.unwrap_or_else(|_| panic!("{name} does not come to {measured}: {said}"))
}

fn of<'t>(told: &'t Value, name: &str) -> &'t Value {
    let slos = told["slos"].as_array().unwrap();
    let found = slos.iter().find(|slo| slo["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {told}"))
}

/// What the journal says of objectives: name and state.
async fn told(operator: &Operator) -> Vec<(String, String)> {
    let (_, said) = operator.get("/journal?kinds=slo").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let entries = said["entries"].as_array().unwrap().iter();
    let word = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    entries
        .map(|entry| (word(entry, "objective"), word(entry, "state")))
        .collect()
}

fn has(told: &[(String, String)], name: &str, state: &str) -> usize {
    let is_it = |(n, s): &&(String, String)| n == name && s == state;
    told.iter().filter(is_it).count()
}

#[tokio::test]
async fn a_sick_origin_spends_the_budget_and_a_restart_keeps_what_was_counted() {
    let (site, _cms) = site().await;
    for _ in 0..10 {
        site.reader().get("/").await.is(200, "<p>text</p>");
    }
    // nobody's page, and one that there is not
    let preview = format!("{}/preview?path=/&level=0", site.admin_url());
    reqwest_get(&preview).await;
    site.reader().get("/none").await;
    for _ in 0..10 {
        site.reader().get("/other").await.is(200, "<p>text</p>");
    }
    let operator = Operator::of(&site);
    let now = measured(&operator, "article", 20).await;
    let (article, all, worth) = (of(&now, "article"), of(&now, "all"), of(&now, "worth"));
    assert_eq!(
        (
            &article["missed"],
            &article["budget_left"],
            &article["spent"]
        ),
        (&json!(0), &json!(1.0), &json!(false)),
        "{now}"
    );
    assert_eq!(
        (&all["measured"], &all["missed_pages"], &all["spent"]),
        (&json!(10), &json!(10), &json!(true)),
        "only the pages that it is about: {now}"
    );
    assert_eq!(all["kept"], 0.0);
    assert_eq!(all["pages"], json!(["front"]));
    assert_eq!(all["burn"][2], json!({"window": "1h", "rate": 10.0}));
    // twenty articles at 100, ten blocks at their rank, in thousandths
    assert_eq!(
        (&worth["measured"], &worth["missed"]),
        (&json!(2_250_000), &json!(250_000)),
        "{now}"
    );
    let journal = told(&operator).await;
    assert_eq!(has(&journal, "all", "burning"), 1, "{journal:?}");
    assert_eq!(has(&journal, "all", "spent"), 1, "{journal:?}");
    assert_eq!(has(&journal, "article", "burning"), 0, "{journal:?}");
    let (_, metrics) = operator.get("/metrics").await;
    for line in [
        "marbre_slo_measured_total{slo=\"all\"} 10",
        "marbre_slo_missed_pages_total{slo=\"all\"} 10",
        "marbre_slo_missed_total{slo=\"worth\"} 250000",
        "marbre_slo_budget_left_ratio{slo=\"article\"} 1",
        "marbre_slo_objective_ratio{slo=\"article\"} 0.99",
        "marbre_slo_burn_ratio{slo=\"all\",window=\"6h\"} 10",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    is_content(&promtool(&["check", "metrics"], &metrics, Path::new(".")));

    let site = site.restarted().await;
    let operator = Operator::of(&site);
    let again = measured(&operator, "article", 20).await;
    assert_eq!(of(&again, "all"), all);
    site.reader().get("/").await.is(200, "<p>text</p>");
    let more = measured(&operator, "article", 21).await;
    assert_eq!(of(&more, "all")["missed"], 11);
    let journal = told(&operator).await;
    assert_eq!(has(&journal, "all", "spent"), 1, "once: {journal:?}");
}

async fn reqwest_get(url: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_told_of_and_costs_nothing_else() {
    let site = newsroom()
        .server("state_dir = \"var\"")
        .fragment("article", "\"core\"", "inline:<p>text</p>", "")
        .page("front", "/", "[article]")
        .toml("[slo.article]\ncomplete = \"core\"\nobjective = 0.99")
        .written();
    let client = unpooled();
    let program = Program::start(site.path(), &client).await;
    program.get("/").await;
    let operator = Operator::of_program(&program);
    measured(&operator, "article", 1).await;
    operator.switch("ttl", "\"factor\": 2, ").await;
    program.stop().await;
    let file = site.path().join("var/slo.json");
    let mut bytes = fs::read(&file).expect("it is written when the server stops");
    let at = bytes.len() - 10;
    bytes[at] ^= 4;
    fs::write(&file, &bytes).unwrap();

    let program = Program::start(site.path(), &client).await;
    let operator = Operator::of_program(&program);
    measured(&operator, "article", 0).await;
    program.get("/").await;
    measured(&operator, "article", 1).await;
    // nothing else is lost
    assert_eq!(operator.switches().await, ["ttl"]);
    let (_, journal) = operator.get("/journal?kinds=start").await;
    let journal: Value = serde_json::from_str(&journal).unwrap();
    assert_eq!(journal["entries"].as_array().unwrap().len(), 2);
    let log = program.stop().await;
    let line = log.lines().find(|line| line.contains("slo.json.damaged"));
    let line = line.unwrap_or_else(|| panic!("no line says so:\n{log}"));
    assert!(line.contains("error budgets begin anew"), "{line}");
    let aside = site.path().join("var/slo.json.damaged");
    assert_eq!(fs::read(aside).unwrap(), bytes);
    assert!(file.exists(), "and a new one is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_end_with_the_budget_and_none_can_be_set_then() {
    let more = "[slo.strict]\ncomplete = \"all\"\nobjective = 0.5\nwhen_spent = \"stop-faults\"\n";
    let newspaper = started_with(
        0,
        |name, key, value| match key {
            "timeout" if name.starts_with("origins") => "25s",
            "timeout" => "20s",
            "budget" | "target" => "25s",
            _ => value,
        },
        more,
    )
    .await;
    let dials = newspaper.demo.newspaper().dials();
    let ending = dials.clone().end_when_closed(newspaper.faults.clone());
    let client = unpooled();
    let turn = async |change: &str| {
        let asked = client.put(format!("{}/media?{change}", newspaper.desk()));
        let answer = asked
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let is_healthy = || dials.all().iter().all(|(_, dial)| dial.is_healthy());
    let playing = async {
        assert_eq!(turn("off=1").await.0, 200);
        assert!(!is_healthy());
        for _ in 0..5 {
            newspaper.reader().get("/articles/archipel-cable").await;
        }
        // whoever looks at the budget looks once a second
        while !is_healthy() {
            sleep(PAUSE).await;
        }
        let (status, said) = turn("latency_ms=10").await;
        assert_eq!(status, 409, "{said}");
        assert!(
            said.contains("[slo.strict]") && said.contains("spent"),
            "{said}"
        );
        assert!(is_healthy(), "{said}");
        assert_eq!(
            turn("reset=1").await.0,
            200,
            "back to health is always allowed"
        );
        let url = format!("http://{}", newspaper.app.admin_address);
        let read = async |path: &str| {
            let answer = client.get(format!("{url}{path}")).send().await.unwrap();
            serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()
        };
        let slo = read("/slo").await;
        assert_eq!(of(&slo, "strict")["spent"], true);
        assert!(slo["faults_stopped"].as_str().unwrap().contains("strict"));
        // what has ended it stands before its end
        loop {
            let journal = read("/journal?kinds=slo,fault").await;
            let entries = journal["entries"].as_array().unwrap().iter();
            let says: Vec<&str> = entries.map(|e| e["says"].as_str().unwrap()).collect();
            let spent = says
                .iter()
                .position(|says| says.contains("strict has nothing left"));
            let ended = says
                .iter()
                .position(|says| says.contains("media is made healthy"));
            if let Some(ended) = ended {
                assert!(spent.is_some_and(|spent| spent < ended), "{says:#?}");
                break;
            }
            sleep(PAUSE).await;
        }
    };
    let played = async {
        tokio::select! {
            () = playing => {}
            never = ending => match never {},
        }
    };
    let in_time = timeout(PATIENCE, played).await;
    in_time.expect("the fault ends");
}

#[tokio::test]
async fn canaries_rest_while_a_spent_budget_leaves_no_room_for_trials() {
    let article = html("<p>text</p>");
    let (old, new) = (origin(), origin());
    let (old, new) = (
        old.on("/article", article.clone()).start().await,
        new.on("/article", article).start().await,
    );
    let sick = origin().on("/block", status(500)).start().await;
    let (one, other) = (old.url(), new.url());
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{one}\", {{ url = \"{other}\", weight = 50 }}]"
        ))
        .origin("sick", &sick)
        .core("article", "cms:/article")
        .optional("block", 25, "sick:/block")
        .page("front", "/", "[article][block]")
        .toml(
            "[slo.strict]\ncomplete = \"all\"\nobjective = 0.5\nwhen_spent = \"stop-experiments\"",
        )
        .start()
        .await;
    let weight = |state: &Value| state["origins"]["cms"]["replicas"][1]["weight"].clone();
    assert_eq!(weight(&site.state().await), 50);
    for _ in 0..5 {
        site.reader().get("/").await.is(200, "<p>text</p>");
    }
    site.state_when("canary at rest", |state| weight(state) == 0)
        .await;
    let (_, slo) = Operator::of(&site).get("/slo").await;
    assert!(
        slo.contains("stop-experiments") && slo.contains("faults_stopped"),
        "{slo}"
    );
}

const PROMISING: &str = r#"
[fragments.article]
priority = "core"
source = "inline:<p>text</p>"
[pages.front]
route = "/"
layout = "front.html"
[slo.article]
complete = "core"
objective = 0.999
[slo.fast]
within = "1s"
objective = 0.99
pages = "front"
[slo.loose]
value = true
objective = 0.5
"#;

/// Each objective by itself, and what calls whom.
const CASES: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - name: "a fast burn wakes somebody, and is a ticket too"
    interval: 1m
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x400' }
      - { series: 'marbre_slo_measured_total{slo="article",instance="a"}', values: '0+300x240' }
      - { series: 'marbre_slo_measured_total{slo="article",instance="b"}', values: '0+300x240' }
      - { series: 'marbre_slo_missed_total{slo="article",instance="a"}', values: '0x60 20+20x60 1220x120' }
      - { series: 'marbre_slo_missed_pages_total{slo="article",instance="a"}', values: '0x60 20+20x60 1220x120' }
      - { series: 'marbre_slo_missed_total{slo="article",instance="b"}', values: '0x240' }
      - { series: 'marbre_slo_missed_pages_total{slo="article",instance="b"}', values: '0x240' }
    promql_expr_test:
      - expr: count by (alertname, severity, slo) (ALERTS{alertstate="firing"})
        eval_time: 59m
        exp_samples: []
      - expr: count by (alertname, severity, slo) (ALERTS{alertstate="firing"})
        eval_time: 2h
        exp_samples:
          - { labels: '{alertname="MarbreSloBurnsFast",severity="page",slo="article"}', value: 1 }
          - { labels: '{alertname="MarbreSloBurnsSlowly",severity="ticket",slo="article"}', value: 1 }
      # it is over: nobody is woken any more, and the ticket stays until it is half forgotten
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 3h
        exp_samples: [{ labels: '{alertname="MarbreSloBurnsSlowly"}', value: 1 }]
  - name: "a slow burn is for the morning"
    interval: 1m
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x400' }
      - { series: 'marbre_slo_measured_total{slo="fast"}', values: '0+1000x400' }
      - { series: 'marbre_slo_missed_total{slo="fast"}', values: '0+15x400' }
      - { series: 'marbre_slo_missed_pages_total{slo="fast"}', values: '0+15x400' }
    promql_expr_test:
      - expr: count by (alertname, slo) (ALERTS{alertstate="firing"})
        eval_time: 6h
        exp_samples: [{ labels: '{alertname="MarbreSloBurnsSlowly",slo="fast"}', value: 1 }]
  - name: "less than may be missed calls nobody"
    interval: 1m
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x400' }
      - { series: 'marbre_slo_measured_total{slo="fast"}', values: '0+1000x400' }
      - { series: 'marbre_slo_missed_total{slo="fast"}', values: '0+9x400' }
      - { series: 'marbre_slo_missed_pages_total{slo="fast"}', values: '0+9x400' }
    promql_expr_test:
      - expr: count by (alertname, slo) (ALERTS)
        eval_time: 6h
        exp_samples: []
  - name: "one bad page of a quiet night calls nobody"
    interval: 1m
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x400' }
      - { series: 'marbre_slo_measured_total{slo="article"}', values: '0 1 2 3 4 5 6 7 8 9 10x100' }
      - { series: 'marbre_slo_missed_total{slo="article"}', values: '0 0 1x110' }
      - { series: 'marbre_slo_missed_pages_total{slo="article"}', values: '0 0 1x110' }
    promql_expr_test:
      - expr: count by (alertname, slo) (ALERTS)
        eval_time: 8m
        exp_samples: []
      - expr: marbre:slo_missed:ratio_5m{slo="article"} > 0
        eval_time: 5m
        exp_samples: [{ labels: 'marbre:slo_missed:ratio_5m{slo="article"}', value: 0.2 }]
"#;

#[test]
fn a_burn_calls_somebody_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("fragments.toml"), PROMISING).unwrap();
    fs::create_dir(path.join("templates")).unwrap();
    let layout = "<fragment name=\"article\"></fragment>";
    fs::write(path.join("templates/front.html"), layout).unwrap();
    let told = Command::new(env!("CARGO_BIN_EXE_marbre"))
        .args(["alerts", "--dashboard", "https://grafana.example/d/marbre"])
        .current_dir(path)
        .output()
        .unwrap();
    is_content(&told);
    let rules = String::from_utf8(told.stdout).unwrap();
    for part in [
        "would not last 5 days",
        "Promised of page front: 99 % of the pages are there with their article, within 1s, over 30d.",
        "Too many pages are error pages, or come later than 1s",
        "marbre:slo_missed:ratio_1h{slo=\\\"article\\\"} > 0.0144 and",
    ] {
        assert!(rules.contains(part), "{part}\n{rules}");
    }
    // no burn of it is ever fast: were everything missed, its budget would be used twice as fast as it may
    let loose = rules.matches("slo: \"loose\"").count();
    assert_eq!(loose, 1, "{rules}");
    for part in ["summary:", "lost:", "action:", "dashboard:", "on_purpose:"] {
        assert_eq!(
            rules.matches(&format!("          {part} ")).count(),
            rules.matches("- alert: ").count(),
            "{part}\n{rules}"
        );
    }
    fs::write(path.join("rules.yml"), &rules).unwrap();
    is_content(&promtool(&["check", "rules", "rules.yml"], "", path));
    fs::write(path.join("cases.yml"), CASES).unwrap();
    is_content(&promtool(&["test", "rules", "cases.yml"], "", path));
}
