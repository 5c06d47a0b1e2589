//! Commands that are given something that is no name do not go to another place with it.

use crate::chaos::{EXPERIMENT, cms, draft, program};
use crate::support::Operator;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_name_is_no_way_to_another_place() {
    let cms = cms().await;
    let site = draft(&cms, "").start().await;
    let operator = Operator::of(&site);
    operator.switch("pin", "\"level\": 1, ").await;
    let admin = site.admin_url();
    let signed = ["--owner", "desk", "--reason", "a test"];
    let fault = ["--origin", "cms", "--harm", "hang", "--for", "1m"];
    for name in [
        "../switches/pin",
        "../level",
        "..",
        "%2e%2e/level",
        "a/b",
        "a?b",
        "",
    ] {
        let (_, why, code) = program(&["end", name, "--owner", "desk", "--admin", &admin]).await;
        assert!(
            code == 1 && why.contains("a fault is called by"),
            "{name}: {code} {why}"
        );
        let set = [&["set", name, "--admin", &admin], &signed[..], &fault[..]].concat();
        let (_, why, code) = program(&set).await;
        assert!(
            code == 1 && why.contains("a fault is called by"),
            "{name}: {code} {why}"
        );
        // one that the site declares
        let (url, folder) = (site.url(), tempfile::tempdir().unwrap());
        let file = folder.path().join("e.toml");
        let text = EXPERIMENT.replace("\"block-fails\"", &format!("\"{name}\""));
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let (_, why, code) = program(&["run", file, "--site", &url, "--admin", &admin]).await;
        assert!(
            code == 2 && why.contains("a fault is called by"),
            "{name}: {code} {why}"
        );
    }
    for (arguments, said) in [
        (&["switch", "off", "../level"][..], "a block is called by"),
        (&["switch", "on", "../../purge"], "a block is called by"),
        (&["switch", "skip", ".."], "a schedule is called by"),
        (&["switch", "clear", "../pin"], "a block is called by"),
        (&["switch", "clear", "block/../pin"], "a block is called by"),
        (
            &["switch", "clear", "schedule/../pin"],
            "a schedule is called by",
        ),
        (&["explain", "--trace", "../switches"], "no trace"),
    ] {
        let signed = match arguments[1] {
            "off" | "on" | "skip" => &signed[..],
            "clear" => &signed[..2],
            _ => &[],
        };
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_marbre"));
        command
            .args(arguments)
            .args(signed)
            .args(["--admin", &admin]);
        let running = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = running.await.unwrap();
        let why = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {why}");
        assert!(why.contains(said), "{arguments:?}: {why}");
    }
    assert_eq!(operator.switches().await, ["pin"]);
}
