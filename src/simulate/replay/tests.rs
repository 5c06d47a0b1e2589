//! What was recorded is decided again; what is no trace is said to be none, and where.

use crate::clock::Clock;
use crate::degradation::Law;
use crate::simulate;

use super::*;

const PLANT: &str = r#"
[run]
for = "20s"
[composer]
plan_ms = 1
assemble_ms = 1
[degradation]
workers = 1
target = "300ms"
[origins.cms]
servers = 50
latency = "5ms"
[fragments.article]
origin = "cms"
priority = "core"
timeout = "200ms"
cost_ms = 2
[fragments.ads]
origin = "cms"
priority = 10
timeout = "200ms"
cost_ms = 6
value = 1
[[load]]
at = "0s"
rate = 50
[[load]]
at = "5s"
rate = 300
[[load]]
at = "15s"
rate = 50
"#;

const LINE: &str = r#"{"at_ms":1000,"span_ms":100,"arrivals":5,"queue_delay_ms":0.5,"lateness":null,"inflation":1.0,"base_ms":4,"optional_ms":6,"theta":1,"admit":1,"phi":1,"rate":1500,"reason":"ample","level":0}"#;

pub(in super::super) fn run(control: &str) -> (simulate::Scenario, simulate::Run) {
    let text = PLANT.replace("[degradation]", &format!("[degradation]\n{control}"));
    let scenario = simulate::read("crowd.toml", &text, &|_| Err(String::new()));
    let scenario = scenario.map_err(|found| found.render(false)).unwrap();
    let run = simulate::run(&scenario, 1, Clock::start().now());
    (scenario, run)
}

fn recorded(control: &str) -> Trace {
    Trace::read(&run(control).1.samples()).unwrap()
}

fn refused(text: &str) -> String {
    Trace::read(text).unwrap_err().to_string()
}

#[test]
fn what_was_recorded_is_decided_again() {
    let one_core = Law::for_cores(1);
    let aimd = Law::Aimd(Default::default());
    for (control, law, other) in [("", &one_core, &aimd), ("law = \"aimd\"", &aimd, &one_core)] {
        let trace = recorded(control);
        let again = trace.replay(law);
        assert!(again.ticks() > 190, "{}", again.ticks());
        assert!(
            again.ticks.iter().any(|tick| tick.theta < 0.9),
            "there is something to decide"
        );
        assert_eq!(again.ticks_otherwise(), 0, "{}", again.text());
        assert!(again.text().ends_with("all decided as recorded\n"));

        let otherwise = trace.replay(other);
        assert!(otherwise.ticks_otherwise() > 10, "{}", otherwise.text());
        let first = otherwise.otherwise[0];
        assert!(first.from_s >= 5.0, "a quiet page is full by any law");
        assert!(
            otherwise
                .text()
                .contains("decided otherwise than recorded:")
        );
    }
}

#[test]
fn a_trace_may_begin_anywhere() {
    let (_, run) = run("");
    let samples = run.samples();
    let late: Vec<&str> = samples.lines().skip(170).collect();
    let again = Trace::read(&late.join("\n"))
        .unwrap()
        .replay(&Law::for_cores(1));
    assert_eq!(again.ticks_otherwise(), 0, "{}", again.text());
    assert!((again.ticks[0].at_s - 0.1).abs() < 1e-6);
}

#[test]
fn the_fewest_cores_are_believed() {
    for (rate, cores) in [("0", 1), ("1500", 1), ("1501", 2), ("6000", 4)] {
        let line = LINE.replace("\"rate\":1500", &format!("\"rate\":{rate}"));
        assert_eq!(Trace::read(&line).unwrap().cores(), cores, "{rate}");
    }
}

#[test]
fn what_is_no_trace_is_said_to_be_none_and_where() {
    let after = |from: &str, to: &str| {
        assert!(LINE.contains(from));
        refused(&format!("{LINE}\n\n{}\n", LINE.replace(from, to)))
    };
    for (said, expected) in [
        (refused(""), "there are no ticks"),
        (refused("\n \n"), "there are no ticks"),
        (refused("hello"), "line 1: it is not JSON"),
        (
            refused(&format!("{LINE}\n{}", &LINE[..40])),
            "line 2: it breaks off",
        ),
        (
            after("\"span_ms\":100,", ""),
            "line 3: missing field `span_ms`",
        ),
        (
            after("\"arrivals\":5", "\"arrivals\":-5"),
            "line 3: invalid value",
        ),
        (
            after("\"theta\":1", "\"theta\":1.5"),
            "line 3: `theta` is 1.5",
        ),
        (
            after("\"base_ms\":4", "\"base_ms\":-4"),
            "line 3: `base_ms` is -4",
        ),
        (
            after("\"span_ms\":100", "\"span_ms\":1e300"),
            "line 3: `span_ms`",
        ),
        (
            after("1000", "999"),
            "line 3: `at_ms` is 999, and 1000 in a line above",
        ),
    ] {
        assert!(said.contains(expected), "{said:?} lacks {expected:?}");
    }
}

#[test]
fn of_many_mistakes_the_first_are_told() {
    let said = refused(&"x\n".repeat(25));
    assert_eq!(said.lines().count(), MISTAKES_MAX + 1, "{said}");
    assert!(said.ends_with("and 15 lines more"), "{said}");
}

#[test]
fn json_has_the_keys_that_are_documented() {
    let trace = recorded("");
    let aimd = simulate::replay_json("night.jsonl", &trace.replay(&Law::Aimd(Default::default())));
    assert_eq!(aimd["trace"], "night.jsonl");
    assert_eq!(aimd["control"], "aimd");
    assert!(aimd["ticks_otherwise"].as_u64() > Some(10));
    assert!(aimd["otherwise"][0]["from_s"].as_f64() >= Some(5.0));
    for key in [
        "at_s",
        "theta",
        "was_theta",
        "admit",
        "was_admit",
        "rate_ms_per_s",
        "otherwise",
    ] {
        assert!(!aimd["levels"][0][key].is_null(), "{key}");
    }

    let (scenario, run) = run("");
    let said = simulate::run_json(&scenario, 1, &run);
    assert_eq!(said["scenario"], "crowd");
    assert_eq!(said["control"], "work-rate");
    assert_eq!(said["target_ms"], 300.0);
    assert_eq!(said["ok"], run.broken.is_empty());
    assert_eq!(said["summary"]["pages"], run.summary.pages as u64);
    assert!(said["summary"]["value_percent"].is_number());
    assert!(said["summary"]["shown_percent"]["ads"].is_number());
    assert_eq!(said["levels"].as_array().map(Vec::len), Some(20));
    for key in [
        "at_s",
        "level",
        "theta",
        "admit",
        "phi",
        "arrivals_per_s",
        "queue_delay_ms",
        "reason",
    ] {
        assert!(!said["levels"][0][key].is_null(), "{key}");
    }
}
