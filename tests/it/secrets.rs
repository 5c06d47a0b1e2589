//! Nothing that is secret is in anything that the program says: not in what the admin API answers, the log, what
//! commands print, the errors of a declaration that is broken just there, nor in what is kept on disk.
//!
//! Each place that can hold a secret holds another one, so that a failure says which it is.

use std::path::Path;
use std::process::{Command, Output};

use marbre::config;
use serde_json::Value;

use crate::support::newspaper::patiently;
use crate::support::program::unpooled;
use crate::support::{Operator, Origin, Program, html, newsroom, origin};

const ACTS: &str = "aaaa-secret-of-operators";
const LOOKS: &str = "bbbb-secret-of-a-screen";
const REHEARSE: &str = "cccc-secret-of-rehearsal";
const SIGNING: &str = "dddd-secret-that-signs-tokens";
const STORE: &str = "eeee-secret-of-the-store";
const TRACES: &str = "ffff-secret-header-of-traces";
const METRICS: &str = "gggg-secret-header-of-metrics";
const TRACES_URL: &str = "hhhh-secret-in-the-url-of-traces";
const METRICS_URL: &str = "iiii-secret-in-the-url-of-metrics";
const READERS_TOKEN: &str = "jjjj-secret-of-a-reader";
const READERS_COOKIE: &str = "kkkk-secret-cookie-of-a-reader";
const GUESS: &str = "llll-secret-of-another-site";
const KEY: &str = "mmmmSecretKeyOfTheCertificate";
const DEFAULT: &str = "nnnn-secret-that-stands-in";
const FILED: &str = "oooo-secret-in-a-file-of-its-own";

const ALL: [&str; 15] = [
    ACTS,
    LOOKS,
    REHEARSE,
    SIGNING,
    STORE,
    TRACES,
    METRICS,
    TRACES_URL,
    METRICS_URL,
    READERS_TOKEN,
    READERS_COOKIE,
    GUESS,
    KEY,
    DEFAULT,
    FILED,
];

/// Everything that has been said, and by whom.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn by(&mut self, who: impl Into<String>, what: impl Into<String>) {
        self.0.push((who.into(), what.into()));
    }

    fn holds_no_secret(&self) {
        assert!(self.0.iter().any(|(_, what)| !what.is_empty()));
        let mut told = Vec::new();
        for (who, what) in &self.0 {
            for secret in ALL {
                if let Some(at) = what.find(secret) {
                    let before: Vec<char> = what[..at].chars().collect();
                    let before = before[before.len().saturating_sub(80)..].iter();
                    told.push(format!(
                        "{who} tells {secret}, after: {}",
                        before.collect::<String>()
                    ));
                }
            }
        }
        assert!(told.is_empty(), "{}", told.join("\n"));
    }
}

/// The lines of the declaration that hold secrets, each as it is written.
fn secrets() -> Vec<(&'static str, String)> {
    vec![
        ("admin", format!("token = \"{ACTS}\"")),
        ("admin", format!("read_token = \"{LOOKS}\"")),
        ("degradation", format!("rehearse_token = \"{REHEARSE}\"")),
        ("telemetry", format!("debug_secret = \"{SIGNING}\"")),
        (
            "shared",
            format!("valkey = \"redis://marbre:{STORE}@127.0.0.1:1\""),
        ),
        (
            "telemetry.traces",
            format!("headers = {{ authorization = \"{TRACES}\" }}"),
        ),
        (
            "telemetry.traces",
            format!("endpoint = \"http://me:{TRACES_URL}@127.0.0.1:1/v1\""),
        ),
        (
            "telemetry.metrics",
            format!("headers = {{ x-key = \"{METRICS}\" }}"),
        ),
        (
            "telemetry.metrics",
            format!("endpoint = \"http://me:{METRICS_URL}@127.0.0.1:1/v1\""),
        ),
    ]
}

fn declaration(cms: &Origin, secrets: &[(&str, String)]) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_dir = \"state\"\n\
         [origins.cms]\nurls = [\"{}\"]\n\
         [fragments.article]\npriority = \"core\"\nsource = \"cms:/article\"\nttl = \"1m\"\n\
         forward_headers = [\"authorization\"]\n\
         [fragments.block]\npriority = 40\nsource = \"cms:/sick\"\n\
         [pages.page]\nroute = \"/\"\nlayout = \"page.html\"\n\
         [[proxy]]\nroute = \"/api/{{*rest}}\"\norigin = \"cms\"\n",
        cms.url()
    );
    let mut tables: Vec<&str> = secrets.iter().map(|(table, _)| *table).collect();
    tables.dedup();
    for table in tables {
        text += &format!("[{table}]\n");
        text += match table {
            "admin" => "listen = \"127.0.0.1:0\"\n",
            "telemetry.traces" => "sample = 1.0\n",
            "telemetry.metrics" => "interval = \"1s\"\n",
            _ => "",
        };
        for (_, line) in secrets.iter().filter(|(of, _)| *of == table) {
            text += &format!("{line}\n");
        }
    }
    text
}

fn marbre(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    let command = command
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_LOG");
    let Output { stdout, stderr, .. } = command.output().expect("the program was built");
    String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr)
}

/// Everything that lies in a folder, by its path.
fn files(folder: &Path, said: &mut Said) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, said),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                said.by(path.display().to_string(), String::from_utf8_lossy(&bytes));
            }
        }
    }
}

async fn cms() -> Origin {
    origin()
        .on("/article", html("<p>text</p>"))
        .on("/api/x", html("x"))
        .start()
        .await
}

fn written(cms: &Origin) -> tempfile::TempDir {
    let folder = newsroom().file(
        "page.html",
        "<fragment name=\"article\"></fragment><fragment name=\"block\"></fragment>",
    );
    let folder = folder.written();
    std::fs::write(
        folder.path().join("fragments.toml"),
        declaration(cms, &secrets()),
    )
    .unwrap();
    folder
}

/// What a reader sends who has much to hide.
async fn read(program: &Program) {
    let client = unpooled();
    for path in ["/", "/?x=1", "/api/x", "/nowhere"] {
        let page = client
            .get(format!("http://{}{path}", program.pages))
            .header("authorization", format!("Bearer {READERS_TOKEN}"))
            .header("cookie", format!("session={READERS_COOKIE}"))
            .header("marbre-rehearse", format!("level=1; token={REHEARSE}"))
            .header("marbre-debug", GUESS)
            .header("marbre-chaos", GUESS);
        page.send().await.unwrap().bytes().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_of_secrets_tells_none() {
    let cms = cms().await;
    let folder = written(&cms);
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    command
        .args(["serve", "--verbose"])
        .current_dir(folder.path());
    let client = unpooled();
    let program = Program::start_as(command, &client).await;
    let operator = Operator::of_program(&program);
    let mut said = Said::default();
    read(&program).await;
    let as_whom = |token: &str| format!("Bearer {token}");
    let (looks, acts, guess) = (as_whom(LOOKS), as_whom(ACTS), as_whom(GUESS));
    let looks = [("authorization", looks.as_str())];
    let acts = [("authorization", acts.as_str())];
    let guess = [("authorization", guess.as_str())];
    // what is done wrong, and what is done
    for (method, path, body, who) in [
        ("GET", "/state", "", &guess),
        ("POST", "/reload", "", &guess),
        ("POST", "/reload", "", &looks),
        ("PUT", "/level", "0", &acts),
        ("POST", "/purge?all=true", "", &acts),
        ("POST", "/reload", "", &acts),
        ("POST", "/login", &format!("token={GUESS}"), &guess),
        ("POST", "/login", &format!("token={LOOKS}"), &guess),
    ] {
        let (_, answer) = operator.ask(method, path, body, who).await;
        said.by(format!("{method} {path}"), answer);
    }
    // every line with a secret, broken in every way that somebody may break it
    let broken: Vec<_> = (0..secrets().len()).flat_map(breakages).collect();
    for (how, lines) in broken {
        std::fs::write(
            folder.path().join("fragments.toml"),
            declaration(&cms, &lines),
        )
        .unwrap();
        let (status, why) = operator.ask("POST", "/reload", "", &acts).await;
        assert!(status == 422 || status == 200, "{how}: {status} {why}");
        said.by(format!("reload with {how}"), why);
        // what `marbre check` prints of it, for people and for programs
        let found = match config::load(&folder.path().join("fragments.toml"), &|_| None) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let found = format!("{found}{}", found.to_json());
        said.by(format!("check with {how}"), found);
    }
    std::fs::write(
        folder.path().join("fragments.toml"),
        declaration(&cms, &secrets()),
    )
    .unwrap();
    let (status, why) = operator.ask("POST", "/reload", "", &acts).await;
    assert_eq!(status, 200, "{why}");
    read(&program).await;
    // all that can be looked at
    let (_, document) = operator.ask("GET", "/openapi.json", "", &looks).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let is_stream =
            methods["get"]["responses"]["200"]["content"]["text/event-stream"].is_object();
        if methods["get"].is_null() || is_stream {
            continue;
        }
        let path = path.replace("{id}", "4bf92f3577b34da6a3ce929d0e0e4736");
        let path = path
            .replace("{fragment}/{key}", "article/article")
            .replace(['{', '}'], "");
        for query in ["", "?path=/", "?path=/&level=1"] {
            let (_, answer) = operator
                .ask("GET", &format!("{path}{query}"), "", &looks)
                .await;
            said.by(format!("GET {path}{query}"), answer);
        }
    }
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["explain", "/"],
        &["explain", "/", "--json"],
        &["alerts"],
        &["journal"],
        &["token", "debug"],
        &["token", "chaos"],
        &["render", "/"],
        &["serve", "--help"],
    ] {
        said.by(arguments.join(" "), marbre(folder.path(), arguments));
    }
    // the exporters have had their errors by now
    patiently(program.says("an export of metrics was lost")).await;
    said.by("the log", program.stop().await);
    files(&folder.path().join("state"), &mut said);
    assert!(said.0.len() > 60, "{}", said.0.len());
    said.holds_no_secret();
}

/// The declaration with one line of secrets made wrong in each of many ways.
fn breakages(line: usize) -> Vec<(String, Vec<(&'static str, String)>)> {
    let whole = secrets();
    let (table, text) = whole[line].clone();
    let (key, value) = text.split_once(" = ").unwrap();
    let secret = ALL.into_iter().find(|secret| text.contains(secret));
    let secret = secret.unwrap();
    // of a header its value alone; of anything else all that is in quotes, so that a URL is one
    let inside = match value.starts_with('"') {
        true => value.trim_matches('"'),
        false => secret,
    };
    let wrong = [
        format!("{key} = \"{inside}"),
        format!("{key} = {inside}"),
        format!("{key} = [\"{inside}\",\n\"{inside}\"]"),
        format!("{key} = {{ it = \"{inside}\" }}"),
        format!("{key} = \"{inside} \\q\""),
        format!("{key} = \"\"\"\n{inside}\n\"\"\""),
        format!("{key} = {value}\n{key} = {value}"),
        format!("{key} = \"${{{}:-{inside}}}\"", "UNSET_"),
        format!("{key} = \"${{UNSET-{inside}}}\""),
        format!("{key} = \"${{UNSET_VARIABLE}}{inside}\""),
        format!("{key}x = {value}"),
        format!("{} = {value}", &key[..key.len() - 1]),
        format!("{key} = {value} nonsense"),
        format!("{key} = \"é{inside}\\u0001\""),
    ];
    let breakages = wrong.into_iter().map(|wrong| {
        let mut lines = whole.clone();
        let how = wrong.replace(secret, "…");
        lines[line] = (table, wrong);
        (format!("[{table}] {how}"), lines)
    });
    breakages.collect()
}

#[tokio::test]
async fn a_key_where_its_file_belongs_is_not_repeated() {
    let cms = cms().await;
    let folder = written(&cms);
    let mut said = Said::default();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n");
    std::fs::write(folder.path().join("cert.pem"), format!("x{FILED}")).unwrap();
    std::fs::write(folder.path().join("key.pem"), format!("{pem}{FILED}")).unwrap();
    for tls in [
        format!("certificate = \"cert.pem\"\nkey = \"\"\"{pem}\"\"\""),
        format!("certificate = \"\"\"{pem}\"\"\"\nkey = \"key.pem\""),
        format!("certificate = \"cert.pem\"\nkeys = \"\"\"{pem}\"\"\""),
        "certificate = \"cert.pem\"\nkey = \"key.pem\"".to_owned(),
    ] {
        let text = declaration(&cms, &secrets()) + &format!("[server.tls]\n{tls}\n");
        std::fs::write(folder.path().join("fragments.toml"), text).unwrap();
        let told = marbre(folder.path(), &["check"]);
        assert!(told.contains("error"), "{told}");
        said.by(format!("check with {tls}"), told);
    }
    // a secret of its own file, in the place of another kind of file
    let mut lines = secrets();
    std::fs::write(folder.path().join("secret"), format!("{FILED}\n{FILED}")).unwrap();
    lines[0].1 = "token_file = \"secret\"".to_owned();
    std::fs::write(
        folder.path().join("fragments.toml"),
        declaration(&cms, &lines),
    )
    .unwrap();
    said.by("check", marbre(folder.path(), &["check"]));
    said.holds_no_secret();
}

/// What a program of somebody's own may print.
#[test]
fn what_a_debugger_is_shown_has_no_secret() {
    use marbre::config::Entry;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cms = runtime.block_on(cms());
    let folder = written(&cms);
    let loaded = config::load(&folder.path().join("fragments.toml"), &|_| None);
    let loaded = loaded.unwrap_or_else(|why| panic!("{why}"));
    let declared = config::Declaration::from_toml(declaration(&cms, &secrets()))
        .section("admin", Entry::new().set("token", ACTS));
    let mut said = Said::default();
    said.by("{:?} of what is loaded", format!("{loaded:?}"));
    said.by("{:?} of a declaration", format!("{declared:?}"));
    said.by(
        "{:?} of an entry",
        format!("{:?}", Entry::new().set("token", ACTS)),
    );
    said.holds_no_secret();
}
