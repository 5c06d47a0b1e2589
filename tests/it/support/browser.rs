//! A real browser: headless Chromium, by the tools of `tests/browser`.

use std::process::Command;

use serde_json::Value;

use super::newspaper::repository;

/// A tool of `tests/browser`.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(repository().join("tests/browser").join(name))
}

/// Runs one beside the servers of the test, which share its runtime.
pub(crate) async fn run(mut tool: Command) -> String {
    let run = tokio::task::spawn_blocking(move || tool.output().expect("the tool can be run"));
    let output = run.await.expect("the tool does not panic");
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{complained}");
    said.into_owned()
}

/// What it says, line by line.
pub(crate) async fn lines(tool: Command) -> Vec<Value> {
    let said = run(tool).await;
    said.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}
