//! `marbre simulate` as people call it: what goes where, and how it ends. 0 it went as it should, 1 a
//! bound was not kept or something could not be written, 2 what it was asked was wrong.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const SCENARIO: &str = r#"about = "a crowd"
[run]
for = "10s"
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
[[load]]
at = "0s"
rate = 50
[[load]]
at = "3s"
rate = 300
[[load]]
at = "7s"
rate = 50
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("crowd.toml"), SCENARIO).unwrap();
    let broken = format!("{SCENARIO}\n[expect]\ntheta_min = 0.99\n");
    std::fs::write(folder.path().join("broken.toml"), broken).unwrap();
    folder
}

/// Exit code, standard output, standard error.
fn simulate(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_marbre"))
        .arg("simulate")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_scenario_is_told_drawn_recorded_and_played_again() {
    let folder = folder();
    let (code, out, err) = simulate(
        folder.path(),
        &[
            "crowd.toml",
            "--plot",
            "crowd.svg",
            "--samples",
            "crowd.jsonl",
        ],
    );
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("crowd: a crowd\n"), "{out}");
    let svg = std::fs::read_to_string(folder.path().join("crowd.svg")).unwrap();
    assert!(svg.contains("<title>crowd</title>"));

    let (code, again, _) = simulate(folder.path(), &["crowd.jsonl"]);
    assert_eq!(code, Some(0));
    assert!(
        again.starts_with("crowd.jsonl: through work-rate for 1 core, the fewest"),
        "{again}"
    );
    assert!(
        again.ends_with("100 ticks, all decided as recorded\n"),
        "{again}"
    );

    let (code, other, _) = simulate(folder.path(), &["crowd.jsonl", "--law", "aimd"]);
    assert_eq!(code, Some(0));
    assert!(
        other.contains("decided otherwise than recorded:"),
        "{other}"
    );
}

#[test]
fn a_trace_is_played_through_the_law_of_a_site() {
    let folder = folder();
    let site = r#"[origins.cms]
urls = ["http://cms.invalid"]
[fragments.article]
priority = "core"
source = "cms:/a"
[pages.article]
route = "/"
layout = "page.html"
[degradation]
law = "aimd"
"#;
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    let layout = "<fragment name=\"article\"></fragment>";
    std::fs::write(folder.path().join("templates/page.html"), layout).unwrap();
    std::fs::write(folder.path().join("site.toml"), site).unwrap();
    simulate(folder.path(), &["crowd.toml", "--samples", "crowd.jsonl"]);
    let (code, out, err) = simulate(folder.path(), &["crowd.jsonl", "--site", "site.toml"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("crowd.jsonl: through aimd\n"), "{out}");
}

#[test]
fn standard_output_takes_one_thing() {
    let folder = folder();
    let (code, out, _) = simulate(folder.path(), &["crowd.toml", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["scenario"]), (Some(0), &"crowd".into()));

    let (code, out, _) = simulate(folder.path(), &["crowd.toml", "--samples", "-"]);
    let ticks: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((code, ticks.len()), (Some(0), 100));

    let (code, out, err) = simulate(folder.path(), &["crowd.toml", "--samples", "-", "--json"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("--samples - and --json"), "{err}");
}

#[test]
fn the_exit_code_says_whose_fault_it_is() {
    let folder = folder();
    std::fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    std::fs::write(folder.path().join("bad.jsonl"), "\n{\"at_ms\": true}\n").unwrap();
    std::fs::write(folder.path().join("wrong.toml"), "[degradation]\nlaw = 3\n").unwrap();
    let learned = |rate: &str| format!("[run]\nlearned_rate = {rate}\n");
    std::fs::write(folder.path().join("learned.toml"), learned("-4")).unwrap();
    std::fs::write(folder.path().join("unlearned.toml"), learned("nan")).unwrap();
    for (arguments, expected, says) in [
        (&["broken.toml"] as &[&str], 1, ""),
        (
            &["broken.toml", "--samples", "-"],
            1,
            "broken: theta_min = 0.99",
        ),
        (
            &["crowd.toml", "--samples", "no/such/folder"],
            1,
            "no/such/folder cannot be written",
        ),
        (&["crowd.toml", "--plot", "."], 1, ". cannot be written"),
        (&["absent.toml"], 2, "absent.toml cannot be read"),
        (&["wrong.toml"], 2, "law = 3"),
        (
            &["learned.toml"],
            2,
            "expected a number from 0.5 to 10000000",
        ),
        (
            &["unlearned.toml"],
            2,
            "expected a number from 0.5 to 10000000",
        ),
        (
            &["crowd.toml", "--site", "fragments.toml"],
            2,
            "--site is for a recorded trace",
        ),
        (&["empty.jsonl"], 2, "there are no ticks in it"),
        (
            &["empty.jsonl", "--seed", "1"],
            2,
            "--seed is for a scenario",
        ),
        (&["bad.jsonl"], 2, "line 2: invalid type: boolean"),
        (&["crowd.toml", "--cores", "0"], 2, "--cores"),
        (&[], 2, "<FILE>"),
    ] {
        let (code, _, err) = simulate(folder.path(), arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
        assert!(!err.contains("panicked"), "{err}");
    }
}
