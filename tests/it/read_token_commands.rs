//! The commands that speak with a running server, with the token of those who only look: what looks works, what
//! would change something is refused in words that say which token it takes, and the exit code says so too.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Newsroom, html, newsroom, origin};

const ACTS: &str = "open-sesame-0123456789";
const LOOKS: &str = "a-screen-on-the-wall-01";

const EXPERIMENT: &str = r#"title = "The article hangs"
owner = "desk"
recovers_within = "1s"
[traffic]
paths = ["/"]
pages = 1
[[steady]]
share = 0.0
complete = "core"
[[steps]]
fault = "slow"
set = { origin = "cms", harm = "hang" }
for = "1m"
"#;

const SIGNED: [&str; 4] = ["--owner", "desk", "--reason", "a test"];

/// What each command that has a token is given, and whether it only looks.
fn commands<'t>(trace: &'t str, folder: &'t str, experiment: &'t str) -> Vec<(bool, Vec<&'t str>)> {
    let looks = |arguments: &[&'t str]| (true, arguments.to_vec());
    let acts = |arguments: &[&'t str]| (false, arguments.to_vec());
    let signed = |arguments: &[&'t str]| (false, [arguments, &SIGNED[..]].concat());
    vec![
        looks(&["journal"]),
        looks(&["explain", "--trace", trace]),
        looks(&["switch", "list"]),
        looks(&["chaos", "list"]),
        signed(&["switch", "off", "least"]),
        signed(&["switch", "on", "least"]),
        signed(&["switch", "pin", "1"]),
        signed(&["switch", "floor", "1"]),
        signed(&["switch", "cap", "1"]),
        signed(&["switch", "freeze"]),
        signed(&["switch", "dry-run"]),
        signed(&["switch", "ttl", "4"]),
        signed(&["switch", "skip", "night"]),
        acts(&["switch", "clear", "pin"]),
        signed(&[
            "chaos", "set", "slow", "--origin", "cms", "--harm", "hang", "--for", "1m",
        ]),
        acts(&["chaos", "end", "slow"]),
        acts(&["chaos", "run", experiment]),
        acts(&[
            "chaos",
            "monkey",
            folder,
            "--hours",
            "mon-sun 00:00-23:59:59.999999999",
            "--seed",
            "1",
        ]),
    ]
}

/// Its words: `switch off`.
fn name(arguments: &[&str]) -> String {
    let count = if matches!(arguments[0], "switch" | "chaos") {
        2
    } else {
        1
    };
    arguments[..count].join(" ")
}

fn marbre(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command.args(arguments);
    for variable in [
        "MARBRE_ADMIN",
        "MARBRE_ADMIN_TOKEN",
        "MARBRE_ADMIN_TOKEN_FILE",
        "MARBRE_OWNER",
        "RUST_LOG",
    ] {
        command.env_remove(variable);
    }
    command.output().expect("the program was built")
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The commands that help lists.
fn below(arguments: &[&str]) -> Vec<String> {
    let help = told(&marbre(&[arguments, &["--help"]].concat()));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_that_has_a_token_is_looked_at_here() {
    let known = commands("", "", "");
    let known: BTreeSet<String> = known.iter().map(|(_, arguments)| name(arguments)).collect();
    let mut found = BTreeSet::new();
    for top in below(&[]) {
        let nested = below(&[&top]);
        let all = match nested.is_empty() {
            true => vec![vec![top]],
            false => nested
                .into_iter()
                .map(|name| vec![top.clone(), name])
                .collect(),
        };
        for words in all {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let help = told(&marbre(&[&words[..], &["--help"]].concat()));
            if help.contains("--token <TOKEN>") {
                found.insert(words.join(" "));
            }
        }
    }
    assert!(found.len() > 10, "{found:?}");
    assert_eq!(found, known);
}

async fn site() -> (Newsroom, crate::support::Origin) {
    let cms = origin().on("/article", html("<p>text</p>")).start().await;
    let site = newsroom()
        .admin(&format!("token = \"{ACTS}\"\nread_token = \"{LOOKS}\""))
        .toml("[telemetry.recent]\nsample = 1.0")
        .origin("cms", &cms)
        .core("article", "cms:/article")
        .optional("least", 10, "cms:/article")
        .page("page", "/", "[article][least]")
        .start()
        .await;
    (site, cms)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_works_and_what_acts_says_which_token_it_takes() {
    let (site, _cms) = site().await;
    let page = site.reader().get("/").await;
    let trace = page.header("marbre-trace").expect("a trace").to_owned();
    let operator = crate::support::Operator::of(&site);
    let bearer = format!("Bearer {LOOKS}");
    let headers = [("authorization", bearer.as_str())];
    // remembered once it has ended
    let address = format!("/trace/{trace}");
    crate::support::newspaper::patiently(async {
        while operator.ask("GET", &address, "", &headers).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let experiment = folder.path().join("hangs.toml");
    std::fs::write(&experiment, EXPERIMENT).unwrap();
    let (readers, admin) = (site.url(), site.admin_url());
    let asked = tokio::task::spawn_blocking(move || {
        let shown = |path: &Path| path.display().to_string();
        let (folder, experiment) = (shown(folder.path()), shown(&experiment));
        for (only_looks, arguments) in commands(&trace, &folder, &experiment) {
            let name = name(&arguments);
            let mut all = [&arguments[..], &["--admin", &admin]].concat();
            if matches!(name.as_str(), "chaos run" | "chaos monkey") {
                all.extend(["--site", readers.as_str()]);
            }
            let nothing = marbre(&all);
            let said = told(&nothing);
            assert_ne!(nothing.status.code(), Some(0), "{name}: {said}");
            assert!(said.contains("MARBRE_ADMIN_TOKEN"), "{name}: {said}");
            let looking = marbre(&[&all[..], &["--token", LOOKS]].concat());
            let said = told(&looking);
            assert_eq!(
                looking.status.code() == Some(0),
                only_looks,
                "{name}: {said}"
            );
            if !only_looks {
                assert!(said.contains("may only read"), "{name}: {said}");
                assert!(said.contains("`token` of [admin]"), "{name}: {said}");
            }
            assert!(
                !said.contains(LOOKS) && !said.contains(ACTS),
                "{name}: {said}"
            );
        }
    });
    asked.await.unwrap();
    // nothing of all that has come to pass
    let (_, state) = operator.ask("GET", "/state", "", &headers).await;
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["switches"]["switches"], serde_json::json!([]));
    assert_eq!(state["chaos"]["faults"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_taken_from_a_file() {
    let (site, _cms) = site().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let right = file("right", &format!("{ACTS}\r\n"));
    let empty = file("empty", "\n");
    let long = file("long", "open-sesame\n0123456789\n");
    let missing = folder.path().join("missing").display().to_string();
    let admin = site.admin_url();
    let asked = tokio::task::spawn_blocking(move || {
        let list = |more: &[&str]| {
            let output = marbre(&[&["switch", "list", "--admin", &admin], more].concat());
            (output.status.code(), told(&output))
        };
        let (code, said) = list(&["--token-file", &right]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = list(&["--token-file", &right, "--token", "a wrong one"]);
        assert_eq!(code, Some(0), "what is in a file comes first: {said}");
        for (file, why) in [
            (&empty, "it is empty"),
            (&long, "it holds more than one line"),
            (&missing, "it cannot be read"),
        ] {
            let (code, said) = list(&["--token-file", file]);
            assert_eq!(code, Some(2), "{said}");
            assert!(
                said.contains("--token-file <FILE>") && said.contains(why),
                "{said}"
            );
            assert!(!said.contains("sesame"), "{said}");
        }
        // as `$(cat FILE)` in some shells, or a copy with its line's end
        let (code, said) = list(&["--token", &format!("{ACTS}\n")]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = list(&["--token", "two\nlines"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("the token is one line of text"), "{said}");
    });
    asked.await.unwrap();
}
