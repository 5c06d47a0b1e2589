//! The log on standard error: its form by declaration, variable and argument, and that a complaint which
//! comes with every request is made once, with the number of those that were not made.

use std::process::Command;

use serde_json::Value;

use crate::support::newsroom::Draft;
use crate::support::program::unpooled;
use crate::support::reader::Reader;
use crate::support::{Program, newsroom};

fn site() -> Draft {
    newsroom()
        .origin_at("cms", "http://127.0.0.1:1")
        .core("article", "cms:/article")
        .page("page", "/", "[article]")
        .toml("[[proxy]]\nroute = \"/raw/{*path}\"\norigin = \"cms\"")
}

/// The lines of the log that are JSON, and the others without what is for whoever started it.
fn lines(log: &str) -> (Vec<Value>, Vec<&str>) {
    let (mut json, mut other) = (Vec::new(), Vec::new());
    for line in log.lines() {
        match serde_json::from_str(line) {
            Ok(value) => json.push(value),
            Err(_) => other.push(line),
        }
    }
    other.retain(|line| line.contains("marbre") || line.contains("page"));
    (json, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_declaration_says_how_lines_look_and_the_start_of_the_program_is_above_it() {
    for (declared, variable, argument, is_json) in [
        ("auto", None, None, true),
        ("human", None, None, false),
        ("human", Some("json"), None, true),
        ("json", Some("json"), Some("human"), false),
    ] {
        let folder = site()
            .toml(&format!("[telemetry.log]\nformat = \"{declared}\""))
            .written();
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        command.arg("serve").current_dir(folder.path());
        command.env_remove("MARBRE_LOG");
        if let Some(variable) = variable {
            command.env("MARBRE_LOG", variable);
        }
        if let Some(argument) = argument {
            command.args(["--log", argument]);
        }
        let program = Program::start_as(command, &unpooled()).await;
        program.get("/").await;
        program.says("has no core").await;
        let log = program.stop().await;
        let (json, _) = lines(&log);
        let told = json.iter().any(|line| {
            let message = line["fields"]["message"].as_str();
            message.is_some_and(|message| message.contains("has no core"))
        });
        assert_eq!(
            told, is_json,
            "{declared} {variable:?} {argument:?}:\n{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complaint_of_every_request_is_made_once() {
    let folder = site().written();
    let program = Program::start(folder.path(), &unpooled()).await;
    for n in 0..20 {
        assert_eq!(program.get("/").await.0, 503);
        assert_eq!(program.get(&format!("/raw/{n}")).await.0, 502);
    }
    program.says("has no core").await;
    program.says("passed through").await;
    let log = program.stop().await;
    // of one cause a second one only if this took longer than the pause, and it says how many there were
    for said in ["has no core", "requests passed through"] {
        let (json, _) = lines(&log);
        let made = json.iter().map(|line| &line["fields"]).filter(|fields| {
            let message = fields["message"].as_str();
            message.is_some_and(|message| message.contains(said))
        });
        let made: Vec<_> = made.collect();
        assert!((1..20).contains(&made.len()), "{log}");
        let cause = |fields: &Value| (fields["blocks"].clone(), fields["cause"].clone());
        for (n, fields) in made.iter().enumerate() {
            let is_again = made[..n].iter().any(|other| cause(other) == cause(fields));
            assert_eq!(fields["untold"] != 0, is_again, "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_cannot_hide_what_the_log_says() {
    for format in ["json", "human"] {
        let folder = site().page("other", "/other/{x}", "[article]").written();
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        command.args(["serve", "--log", format]);
        command.current_dir(folder.path());
        let program = Program::start_as(command, &unpooled()).await;
        // a line's end and a change of direction, as UTF-8
        let path = b"/other/\xc2\x85\xe2\x80\xa8\xe2\x80\xaex";
        let request = [
            b"GET ",
            &path[..],
            b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        ];
        let answer = Reader::new(program.pages).bytes(request.concat()).await;
        if answer.starts_with("HTTP/1.1 503") {
            program.says("/other/%C2%85%E2%80%A8%E2%80%AEx").await;
        } else {
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
        let log = program.stop().await;
        assert!(log.lines().all(|line| line.is_ascii()), "{log}");
    }
}
