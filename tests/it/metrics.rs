//! What Prometheus is told, and what it makes of it: the real programs read what the server and
//! `marbre alerts` write.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use futures::FutureExt as _;
use marbre::telemetry::metrics::name::{Kind, Metric};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::support::{Gate, Newsroom, Operator, Origin, Valkey, html, newsroom, origin, status};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a program that tells nobody when it is ready.
const PAUSE: Duration = Duration::from_millis(50);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// An article that is there and a block that never is.
async fn site() -> (Newsroom, Origin) {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/block", status(500))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .optional("block", 40, "cms:/block")
        .page("front", "/", "[article][block]")
        .start()
        .await;
    (site, cms)
}

pub(crate) fn promtool(arguments: &[&str], input: &str, folder: &Path) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let spawned = command.stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("tests/run installs prometheus");
    let mut pipe = child.stdin.take().unwrap();
    // what it does not read it does not need
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    child.wait_with_output().unwrap()
}

#[track_caller]
pub(crate) fn is_content(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The series in a text, without their numbers.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    series.collect()
}

#[tokio::test]
async fn pages_fragments_and_attempts_are_counted() {
    let (site, _cms) = site().await;
    for _ in 0..3 {
        site.reader().get("/").await.is(200, "<p>text</p>");
    }
    let operator = Operator::of(&site);
    let (status, text) = operator.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "marbre_pages_total{page=\"front\",level=\"0\",completeness=\"incomplete\"} 3",
        "marbre_pages_total{page=\"front\",level=\"0\",completeness=\"complete\"} 0",
        "marbre_page_duration_seconds_count{page=\"front\"} 3",
        "marbre_page_head_seconds_bucket{page=\"front\",le=\"+Inf\"} 3",
        "marbre_fragment_outcomes_total{fragment=\"article\",outcome=\"fetched\"} 1",
        "marbre_fragment_outcomes_total{fragment=\"article\",outcome=\"cached\"} 2",
        "marbre_fragment_troubles_total{fragment=\"block\",cause=\"status\"} 3",
        "marbre_fragment_duration_seconds_count{fragment=\"block\"} 3",
        "marbre_origin_requests_total{origin=\"cms\"} 4",
        "marbre_origin_attempt_duration_seconds_count{origin=\"cms\"} 4",
        "marbre_origin_breaker_state{origin=\"cms\",grade=\"core\",state=\"closed\"} 1",
        "marbre_level 0",
        "marbre_pages_in_flight 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(!text.contains("trace_id") && !text.contains("EOF"));
    is_content(&promtool(&["check", "metrics"], &text, Path::new(".")));
}

#[tokio::test]
async fn exemplars_lead_to_the_trace_of_a_page() {
    let (site, _cms) = site().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let reader = site.reader();
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let asked = reader.request("GET", "/").header("traceparent", parent);
    reader.send(asked).await;
    let operator = Operator::of(&site);
    let accept = [("accept", OPEN_METRICS)];
    let (_, text) = operator.ask("GET", "/metrics", "", &accept).await;
    for metric in ["page_duration", "fragment_duration"] {
        let example = |line: &&str| {
            line.starts_with(&format!("marbre_{metric}_seconds_bucket"))
                && line.contains(&format!("# {{trace_id=\"{trace}\"}}"))
        };
        assert!(text.lines().any(|l| example(&l)), "{metric}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn no_request_makes_a_series_and_what_check_says_is_the_most() {
    let (site, _cms) = site().await;
    let operator = Operator::of(&site);
    let (_, before) = operator.get("/metrics").await;
    let reader = site.reader();
    for path in ["/", "/?a=1", "/none", "/%22%7D", "/articles/x"] {
        reader.get(path).await;
    }
    operator.switch("pin", "\"level\": 1, ").await;
    reader.get("/").await;
    let (_, after) = operator.get("/metrics").await;
    let declared = site.folder().join("fragments.toml");
    let Ok(loaded) = marbre::config::load(&declared, &|_| None) else {
        panic!("it is served");
    };
    let most = marbre::telemetry::metrics::series_max(&loaded.site);
    let (before, after) = (series(&before), series(&after));
    for new in after.difference(&before) {
        // what has no label is told from when it is known
        let is_expected = new.starts_with("marbre_pages_total{page=\"front\",level=\"1\"");
        assert!(is_expected || !new.contains('{'), "{new}");
    }
    let after = after.len();
    assert!(after <= most, "{after} {most}");
}

/// The number of one series.
async fn number(operator: &Operator, series: &str) -> f64 {
    let (_, text) = operator.get("/metrics").await;
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(name, _)| *name == series);
    let (_, number) = found.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    number.parse().unwrap()
}

#[tokio::test]
async fn copies_are_found_in_memory_and_after_a_restart_on_disk() {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
        .page("front", "/", "[article]")
        .start()
        .await;
    for _ in 0..3 {
        site.reader().get("/").await.is(200, "<p>text</p>");
    }
    let lookup = |tier: &str, result: &str| {
        format!(
            "marbre_cache_lookups_total{{fragment=\"article\",tier=\"{tier}\",result=\"{result}\"}}"
        )
    };
    let operator = Operator::of(&site);
    for (tier, result, count) in [
        ("memory", "miss", 1.0),
        ("memory", "hit", 2.0),
        ("memory", "stale", 0.0),
        ("disk", "miss", 1.0),
        ("shared", "miss", 0.0),
    ] {
        let series = lookup(tier, result);
        assert_eq!(number(&operator, &series).await, count, "{series}");
    }
    assert!(number(&operator, "marbre_cache_entries{tier=\"memory\"}").await >= 1.0);
    assert!(number(&operator, "marbre_cache_max_bytes{tier=\"disk\"}").await > 0.0);
    let evicted = "marbre_cache_evicted_total{tier=\"memory\"}";
    assert_eq!(number(&operator, evicted).await, 0.0);
    let site = site.restarted().await;
    site.reader().get("/").await.is(200, "<p>text</p>");
    let operator = Operator::of(&site);
    for (tier, result) in [("memory", "miss"), ("disk", "hit")] {
        let series = lookup(tier, result);
        assert_eq!(number(&operator, &series).await, 1.0, "{series}");
    }
}

#[tokio::test]
async fn a_copy_that_another_node_brought_is_found_in_the_shared_store() {
    let valkey = Valkey::start();
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let node = || {
        newsroom()
            .toml(&format!(
                "[shared]\nvalkey = \"{}\"\ntimeout = \"900ms\"",
                valkey.url()
            ))
            .origin("cms", &cms)
            .fragment("article", "\"core\"", "cms:/article", "ttl = \"1h\"")
            .page("front", "/", "[article]")
            .start()
    };
    let (first, second) = (node().await, node().await);
    for site in [&first, &second] {
        let is_up = |state: &Value| {
            state["shared"]["reading"] == true && state["shared"]["writing"] == true
        };
        site.state_when("the store is up", is_up).await;
    }
    first.reader().get("/").await.is(200, "<p>text</p>");
    first
        .state_when("it is stored", |state| {
            state["shared"]["stored"].as_u64() >= Some(1)
        })
        .await;
    second.reader().get("/").await.is(200, "<p>text</p>");
    assert_eq!(cms.hits("/article"), 1);
    let series = "marbre_cache_lookups_total{fragment=\"article\",tier=\"shared\",result=\"hit\"}";
    assert_eq!(number(&Operator::of(&second), series).await, 1.0);
    assert_eq!(number(&Operator::of(&first), series).await, 0.0);
}

#[tokio::test]
async fn slots_that_wait_for_one_flight_are_counted() {
    let gate = Gate::closed();
    let slow = html("<p>text</p>").gated(&gate);
    let cms = origin().on("/article", slow).start().await;
    let site = newsroom()
        .patient_origin("cms", &cms.url())
        .fragment(
            "article",
            "\"core\"",
            "cms:/article",
            "ttl = \"1h\"\ntimeout = \"20s\"",
        )
        .page_within("front", "/", "[article]", "25s")
        .start()
        .await;
    let (reader, operator) = (site.regular(), Operator::of(&site));
    let joined = async {
        while number(&operator, "marbre_flights_joined_total").await < 2.0 {
            sleep(PAUSE).await;
        }
        gate.open();
    };
    let pages = futures::future::join_all((0..3).map(|_| reader.get("/")));
    let (pages, ()) = futures::join!(
        pages,
        timeout(PATIENCE, joined).map(|in_time| in_time.unwrap())
    );
    assert!(pages.iter().all(|page| page.status == 200));
    assert_eq!(cms.hits("/article"), 1);
    assert_eq!(
        number(&operator, "marbre_flights_launched_total").await,
        1.0
    );
}

#[tokio::test]
async fn replicas_are_told_apart_where_there_are_several() {
    let a = origin().on("/article", html("<p>text</p>")).start().await;
    let b = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\", \"{}\"]\nowner = \"x\"",
            a.url(),
            b.url()
        ))
        .origin("one", &a)
        .fragment("article", "\"core\"", "cms:/article", "ttl = \"0s\"")
        .fragment("block", "40", "one:/article", "ttl = \"0s\"")
        .page("front", "/", "[article][block]")
        .start()
        .await;
    for _ in 0..4 {
        assert_eq!(site.reader().get("/").await.status, 200);
    }
    let operator = Operator::of(&site);
    let mut attempts = 0.0;
    for replica in [&a, &b] {
        let labels = format!("origin=\"cms\",replica=\"{}\"", replica.url());
        attempts += number(
            &operator,
            &format!("marbre_replica_attempts_total{{{labels}}}"),
        )
        .await;
        let closed = format!("marbre_replica_breaker_state{{{labels},state=\"closed\"}}");
        assert_eq!(number(&operator, &closed).await, 1.0);
    }
    assert_eq!(attempts, 4.0);
    let (_, text) = operator.get("/metrics").await;
    assert!(!text.contains("origin=\"one\",replica="), "{text}");
    is_content(&promtool(&["check", "metrics"], &text, Path::new(".")));
}

#[tokio::test]
async fn what_pages_are_worth_is_told_by_metrics_and_by_the_journal_alike() {
    let cms = origin()
        .on("/article", html("<p>text</p>"))
        .on("/broken", status(500))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .fragment("article", "\"core\"", "cms:/article", "value = 2.5")
        .fragment("block", "40", "cms:/broken", "")
        .fragment("ad", "10", "inline:<i>ad</i>", "value = 0.004")
        .page("front", "/", "[article][block][ad]")
        .start()
        .await;
    let operator = Operator::of(&site);
    site.reader().get("/").await.is(200, "<p>text</p><i>ad</i>");
    operator.switch("pin", "\"level\": 1, ").await;
    site.reader().get("/").await.is(200, "<p>text</p>");
    let lost = |cause: &str| format!("marbre_value_lost_total{{page=\"front\",cause=\"{cause}\"}}");
    let served = number(&operator, "marbre_value_served_total{page=\"front\"}").await;
    assert!((served - 5.004).abs() < 1e-9, "{served}");
    let failed = number(&operator, &lost("status")).await;
    let shed = number(&operator, &lost("shed")).await;
    assert_eq!((failed, shed), (80.0, 0.004));
    let shed_slots = "marbre_fragment_shed_total{fragment=\"ad\",cause=\"level\"}";
    assert_eq!(number(&operator, shed_slots).await, 1.0);
    let (_, journal) = operator.get("/journal?kinds=tally").await;
    let journal: Value = serde_json::from_str(&journal).unwrap();
    let tally = &journal["entries"][0];
    assert_eq!(tally["value_served"], 5.004, "{journal}");
    assert_eq!(
        tally["value_lost"],
        serde_json::json!({"status": 80.0, "shed": 0.004})
    );
}

#[tokio::test]
async fn without_the_token_there_are_no_metrics() {
    let site = newsroom()
        .admin("token = \"0123456789abcdef\"")
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/", "[front]")
        .start()
        .await;
    let operator = Operator::of(&site);
    assert_eq!(operator.get("/metrics").await.0, 401);
    let token = [("authorization", "Bearer 0123456789abcdef")];
    assert_eq!(operator.ask("GET", "/metrics", "", &token).await.0, 200);
    assert_eq!(site.reader().get("/metrics").await.status, 404);
}

/// A Prometheus that is ended with the test.
struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn scraping(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: marbre\n    \
             static_configs: [{{ targets: [\"{address}\"] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=exemplar-storage")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/run installs prometheus");
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        }
    }

    /// The answer to a question, as soon as there is one.
    async fn answer(&self, client: &reqwest::Client, path: &str, query: &str) -> Value {
        let asking = async {
            loop {
                let asked = client
                    .get(format!("{}{path}{query}", self.url))
                    .send()
                    .await;
                if let Ok(answer) = asked
                    && let Ok(answer) = answer.text().await
                    && let Ok(answer) = serde_json::from_str::<Value>(&answer)
                    && let Some(first) = answer["data"]["result"].get(0)
                {
                    return first.clone();
                }
                sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, asking).await.expect("it is scraped")
    }
}

#[tokio::test]
async fn a_real_prometheus_reads_it() {
    let (site, _cms) = site().await;
    site.reader().get("/").await;
    let operator = Operator::of(&site);
    let prometheus = Prometheus::scraping(operator.url.trim_start_matches("http://"));
    let query = "marbre_pages_total%7Bcompleteness%3D%22incomplete%22%7D";
    let client = &operator.client;
    let found = prometheus
        .answer(client, "/api/v1/query?query=", query)
        .await;
    assert_eq!(found["metric"]["page"], "front", "{found}");
    assert_eq!(found["value"][1], "1", "{found}");
}

const THREE: &str = r#"
[origins.a]
urls = ["http://a.invalid"]
owner = "team-a"
[origins.b]
urls = ["http://b.invalid"]
owner = "team b \"{{ x }}\""
[origins.c]
urls = ["http://c.invalid"]
owner = "équipe c"
[fragments.article]
priority = "core"
source = "a:/article"
[fragments.header]
priority = 50
source = "b:/header"
[fragments.related]
priority = 40
source = "c:/related"
[pages.front]
route = "/"
layout = "front.html"
"#;

const CASES: &str = r#"
rule_files: [rules.yml]
evaluation_interval: 30s
tests:
  - interval: 30s
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x50' }
      - { series: 'marbre_origin_requests_total{origin="a"}', values: '0+100x40' }
      - { series: 'marbre_origin_failed_total{origin="a"}', values: '0+1x40' }
      - { series: 'marbre_origin_requests_total{origin="b"}', values: '0+100x40' }
      - { series: 'marbre_origin_failed_total{origin="b"}', values: '0+0x40' }
      - { series: 'marbre_origin_requests_total{origin="c"}', values: '0+100x40' }
      - { series: 'marbre_origin_failed_total{origin="c"}', values: '0+50x40' }
      - { series: 'marbre_origin_breaker_state{origin="a",grade="core",state="closed"}', values: '1x40' }
      - { series: 'marbre_origin_breaker_state{origin="c",grade="optional",state="closed"}', values: '1x40' }
    promql_expr_test:
      - expr: count by (owner, origin, severity) (ALERTS{alertname="MarbreOriginSick",alertstate="firing"})
        eval_time: 10m
        exp_samples: [{ labels: '{owner="équipe c",origin="c",severity="ticket"}', value: 1 }]
  - interval: 30s
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x50' }
      - { series: 'marbre_origin_breaker_state{origin="a",grade="core",state="closed"}', values: '1x20 0 1 0 1 0 1 0 1 0 1 1x20' }
      - { series: 'marbre_origin_breaker_state{origin="b",grade="optional",state="closed"}', values: '1x50' }
    promql_expr_test:
      - expr: count by (owner, severity) (ALERTS{alertstate="firing"})
        eval_time: 10m
        exp_samples: []
      - expr: count by (owner, severity) (ALERTS{alertstate="firing"})
        eval_time: 14m
        exp_samples: [{ labels: '{owner="team-a",severity="page"}', value: 1 }]
      - expr: count by (owner, severity) (ALERTS{alertstate="firing"})
        eval_time: 24m
        exp_samples: []
  - interval: 30s
    input_series:
      - { series: 'marbre_build_info{instance="a"}', values: '1x50' }
      - { series: 'marbre_pages_total{page="front",level="0",completeness="complete"}', values: '0+100x40' }
      - { series: 'marbre_pages_total{page="front",level="0",completeness="unavailable"}', values: '0+5x40' }
      - { series: 'marbre_reloads_total{result="ok"}', values: '0x40' }
      - { series: 'marbre_reloads_total{result="refused"}', values: '0x5 1x35' }
    promql_expr_test:
      - expr: count by (alertname, page) (ALERTS{alertstate="firing"})
        eval_time: 15m
        exp_samples:
          - { labels: '{alertname="MarbrePageUnavailable",page="front"}', value: 1 }
          - { labels: '{alertname="MarbreSiteRefused"}', value: 1 }
  - name: "one of two servers is gone, while a fault is set on purpose; then the other"
    interval: 30s
    input_series:
      - { series: 'up{job="marbre",instance="a"}', values: '1x20 0x30' }
      - { series: 'up{job="marbre",instance="b"}', values: '1x10 0x40' }
      - { series: 'up{job="another",instance="c"}', values: '0x50' }
      - { series: 'marbre_build_info{instance="a"}', values: '1x20 _x30' }
      - { series: 'marbre_faults_total{harm="hang",target="origin a",instance="a"}', values: '0x10 5+5x10 _x30' }
      - { series: 'marbre_faults_total{harm="error",target="the shared store",instance="a"}', values: '7x20 _x30' }
    promql_expr_test:
      - expr: count by (alertname, instance, severity) (ALERTS{alertstate="firing"})
        eval_time: 4m
        exp_samples: []
      - expr: count by (alertname, instance, severity) (ALERTS{alertstate="firing"})
        eval_time: 9m
        exp_samples: [{ labels: '{alertname="MarbreServerGone",instance="b",severity="ticket"}', value: 1 }]
      - expr: count by (alertname, instance, severity) (ALERTS{alertstate="firing",alertname="MarbreGone"})
        eval_time: 20m
        exp_samples: [{ labels: '{alertname="MarbreGone",severity="page"}', value: 1 }]
      - expr: round(marbre:faults:rate_5m * 60) > 0
        eval_time: 10m
        exp_samples: [{ labels: '{harm="hang",target="origin a"}', value: 10 }]
    alert_rule_test:
      - alertname: MarbreServerGone
        eval_time: 9m
        exp_alerts:
          - exp_labels: { severity: ticket, job: marbre, instance: b }
            exp_annotations: { ANNOTATIONS, on_purpose: "Within 10 minutes, faults on purpose: hang on origin a; `marbre chaos list` says whose, `marbre chaos end NAME --owner WHO` ends one." }
      - alertname: MarbreServerGone
        eval_time: 24m
        exp_alerts:
          - exp_labels: { severity: ticket, job: marbre, instance: a }
            exp_annotations: { ANNOTATIONS, on_purpose: "Within 10 minutes, no fault on purpose." }
          - exp_labels: { severity: ticket, job: marbre, instance: b }
            exp_annotations: { ANNOTATIONS, on_purpose: "Within 10 minutes, no fault on purpose." }
"#;

#[test]
fn the_owner_of_the_sick_origin_is_called_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("fragments.toml"), THREE).unwrap();
    std::fs::create_dir(path.join("templates")).unwrap();
    let layout =
        ["article", "header", "related"].map(|f| format!("<fragment name=\"{f}\"></fragment>"));
    std::fs::write(path.join("templates/front.html"), layout.concat()).unwrap();
    let told = Command::new(env!("CARGO_BIN_EXE_marbre"))
        .args(["alerts", "--dashboard", "https://grafana.example/d/marbre"])
        .current_dir(path)
        .output()
        .unwrap();
    is_content(&told);
    let rules = String::from_utf8(told.stdout).unwrap();
    assert!(rules.contains("related on front"), "{rules}");
    assert!(rules.contains("dashboard: \"https://grafana.example/d/marbre\""));
    // what is said to be done can be: nobody listens there, but the commands are right
    let commands = rules
        .split('`')
        .filter(|part| part.starts_with("marbre switch "));
    let commands: Vec<&str> = commands.collect();
    assert!(
        commands.contains(&"marbre switch off related --owner WHO --reason WHY"),
        "{rules}"
    );
    assert!(
        !rules.contains("switch off article"),
        "a core cannot be: {rules}"
    );
    for command in commands {
        let ran = Command::new(env!("CARGO_BIN_EXE_marbre"))
            .args(command.split(' ').skip(1))
            .args(["--admin", "http://127.0.0.1:1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("no server answers"), "{command}: {said}");
    }
    std::fs::write(path.join("rules.yml"), &rules).unwrap();
    is_content(&promtool(&["check", "rules", "rules.yml"], "", path));
    // what is always said of it, so that the cases say only what is not
    let of_one = rules.split("- alert: MarbreServerGone").nth(1).unwrap();
    let said = of_one
        .lines()
        .skip_while(|line| line.trim() != "annotations:");
    let said = said.skip(1).map(str::trim);
    let said = said.take_while(|line| !line.starts_with("on_purpose:"));
    let said = said.collect::<Vec<_>>().join(", ");
    let cases = CASES.replace("ANNOTATIONS", &said);
    std::fs::write(path.join("cases.yml"), cases).unwrap();
    is_content(&promtool(&["test", "rules", "cases.yml"], "", path));
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let text = std::fs::read_to_string(folder.join("grafana-dashboard.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let panels = board["panels"].as_array().unwrap().iter();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels.clone() {
        let [x, y] = ["x", "y"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(places.insert((x, y)), "{panel}");
    }
    assert!(text.contains(&format!("{}_total", Metric::Faults.name())));
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked = 0;
    for target in targets {
        let query = target["expr"].as_str().unwrap();
        for word in query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("marbre_") {
                asked += 1;
                assert!(is_exposed(word), "{word} in {query}");
            }
        }
    }
    assert!(asked > 20, "{asked}");
}

/// Whether a series of this name can come from `/metrics`.
fn is_exposed(word: &str) -> bool {
    let mut metrics = Metric::ALL.iter();
    metrics.any(|metric| {
        let suffixes: &[&str] = match metric.kind() {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
        };
        let suffix = word.strip_prefix(metric.name());
        suffix.is_some_and(|suffix| suffixes.contains(&suffix))
    })
}
