//! Faults and error budgets: none begins that a budget leaves no room for, and none is refused for one that
//! is nobody's any more, whatever has come between: a restart, or a reload.

use std::time::Duration;

use marbre::clock::Clock;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::chaos::{cms, draft, set, state};
use crate::support::{Newsroom, Operator, Origin, html, status};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what is counted once a second.
const PAUSE: Duration = Duration::from_millis(50);

const CORE: &str = "[slo.core]\nobjective = 0.999\ncomplete = \"core\"\n";

async fn slo(operator: &Operator) -> Value {
    let said = operator.get("/slo").await.1;
    serde_json::from_str::<Value>(&said).unwrap()["slos"].take()
}

/// A site whose only budget is used too fast, and spent; its origin is well again.
async fn burnt(cms: &Origin) -> Newsroom {
    let draft = draft(cms, CORE).server("state_dir = \"var\"");
    let site = draft.without_snapshots().start().await;
    cms.on("/article", status(500));
    let reader = site.regular();
    for _ in 0..8 {
        assert_eq!(reader.get("/a").await.status, 503);
    }
    cms.on("/article", html("<p>text</p>"));
    let operator = Operator::of(&site);
    let burning = timeout(PATIENCE, async {
        while slo(&operator).await[0]["burning"] != "page" {
            sleep(PAUSE).await;
        }
    });
    burning.await.expect("it burns");
    site
}

async fn is_refused(site: &Newsroom, what: &Value) -> String {
    let (status, said) = set(&Operator::of(site), "f", what).await;
    assert_eq!(status, 409, "{said}");
    assert!(said.contains("objective core"), "{said}");
    said
}

async fn is_let(site: &Newsroom, what: &Value) {
    let operator = Operator::of(site);
    let (status, said) = set(&operator, "f", what).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(operator.ask("DELETE", "/chaos/f", "", &[]).await.0, 200);
}

fn harmless() -> Value {
    json!({"fragment": "block", "harm": "error"})
}

#[tokio::test]
async fn no_fault_is_set_while_a_budget_burns_nor_after_a_restart() {
    let cms = cms().await;
    let mut site = burnt(&cms).await;
    is_refused(&site, &harmless()).await;
    // nor does one begin that the site declares for this moment
    let clock = Clock::start();
    let now = clock.moment(clock.now());
    let hour = Duration::from_secs(3600);
    let due = format!(
        "[chaos.due]\nfragment = \"block\"\nharm = \"error\"\nowner = \"desk\"\nreason = \"a test\"\n\
         from = \"{}\"\nuntil = \"{}\"\n",
        now.before(hour),
        now.after(hour)
    );
    site.rewrite(|toml| format!("{toml}\n{due}"));
    let site = site.restarted().await;
    assert_eq!(slo(&Operator::of(&site)).await[0]["burning"], "page");
    is_refused(&site, &harmless()).await;
    assert_eq!(state(&site).await["faults"], json!([]));
}

#[tokio::test]
async fn an_objective_that_is_declared_no_more_or_anew_forbids_nothing() {
    let cms = cms().await;
    let mut site = burnt(&cms).await;
    is_refused(&site, &harmless()).await;
    // what measures the same goes on
    site.app.reload().await.unwrap();
    is_refused(&site, &harmless()).await;
    site.rewrite(|toml| toml.replace(CORE, ""));
    site.app.reload().await.unwrap();
    assert_eq!(slo(&Operator::of(&site)).await, json!([]));
    is_let(&site, &harmless()).await;
    site.rewrite(|toml| format!("{toml}\n{CORE}"));
    site.app.reload().await.unwrap();
    assert_eq!(slo(&Operator::of(&site)).await[0]["burning"], json!(null));
    is_let(&site, &harmless()).await;
}

#[tokio::test]
async fn what_would_stop_at_a_spent_budget_is_not_begun_when_one_is_spent() {
    let cms = cms().await;
    let site = burnt(&cms).await;
    assert_eq!(slo(&Operator::of(&site)).await[0]["spent"], true);
    let mut what = harmless();
    what["stop_on"] = json!("spent");
    let said = is_refused(&site, &what).await;
    assert!(
        said.contains("nothing is left of the error budget"),
        "{said}"
    );
    assert!(said.contains("a tenth of it is back"), "{said}");
    // and what is said of the other is no advice to do that
    let said = is_refused(&site, &harmless()).await;
    assert!(!said.contains("would bear with"), "{said}");
    // after a restart as well
    let site = site.restarted().await;
    is_refused(&site, &what).await;
}
