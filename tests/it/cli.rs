//! The real binary: what it prints where, and how it ends. 0 it worked, 1 it did not, 2 the command
//! was wrong.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use crate::support::reader::client;
use crate::support::{Gate, Origin, html, origin, status};

const BINARY: &str = env!("CARGO_BIN_EXE_marbre");

/// A site on disk whose origin is there or not.
fn site(origin: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(
        &folder,
        "fragments.toml",
        &format!(
            r#"[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[origins.cms]
urls = ["{origin}"]
owner = "newsroom"
timeout = "30s"
[fragments.article]
priority = "core"
source = "cms:/articles/{{slug}}"
timeout = "30s"
ttl = "0s"
[fragments.related]
priority = 40
source = "cms:/related/{{slug}}?lang={{lang}}"
timeout = "10s"
ttl = "1m"
grace = "5m"
fallback = ["inline:<i>reserve</i>"]
[fragments.weather]
priority = 20
source = "inline:<b>sun</b>"
[pages.article]
route = "/articles/{{slug}}"
layout = "layouts/article.html"
budget = "30s"
"#
        ),
    );
    put(
        &folder,
        "templates/layouts/article.html",
        "<main><fragment name=\"article\"></fragment></main><fragment name=\"related\"></fragment>\
         <fragment name=\"weather\"></fragment>\n",
    );
    folder
}

fn put(folder: &TempDir, path: &str, text: &str) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn edit(folder: &TempDir, from: &str, to: &str) {
    let text = std::fs::read_to_string(folder.path().join("fragments.toml")).unwrap();
    assert!(text.contains(from));
    put(folder, "fragments.toml", &text.replace(from, to));
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null());
    command
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder.path(), arguments).output().unwrap()
}

/// The same while the origins of the test go on.
async fn run_beside(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = command(folder.path(), arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn steps_are_called_by_their_names() {
    let folder = site("http://cms.invalid");
    edit(
        &folder,
        "[origins.cms]",
        "[degradation]\ntarget = \"8s\"\nladder = [{ name = \"extras\", blocks = [\"weather\", \"related\"] }]\n[origins.cms]",
    );
    let (code, out, err) = told(&run(&folder, &["check"]));
    assert_eq!(code, Some(0), "{err}");
    insta::assert_snapshot!("check_named_ladder", format!("{err}{out}"));
    let (code, out, _) = told(&run(&folder, &["explain", "/articles/x", "--level", "1"]));
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("explain_named_ladder", out);
    let (_, out, _) = told(&run(&folder, &["explain", "/articles/x", "--json"]));
    let explained: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(explained["level_name"], "full page");
    assert_eq!(explained["steps"][1]["step"], "extras");
    assert_eq!(explained["steps"][1]["deadline_ms"], 7950);
}

#[test]
fn check_says_what_a_declaration_means() {
    let (code, out, err) = told(&run(&site("http://cms.invalid"), &["check"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!("check_ok", out);
    let (code, out, _) = told(&run(&site("http://cms.invalid"), &["check", "--json"]));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(summary["pages"][0]["blocks"][0]["fragment"], "article");
}

#[test]
fn check_says_what_readers_are_promised_and_how_much_of_it_may_be_missed() {
    let folder = site("http://cms.invalid");
    edit(
        &folder,
        "[origins.cms]",
        "[slo.article]\ncomplete = \"core\"\nobjective = 0.9999\n[slo.fast]\npages = [\"article\"]\n\
         within = \"1500ms\"\nobjective = 0.95\nperiod = \"7d\"\n[slo.worth]\nvalue = true\n\
         objective = 0.97\n[origins.cms]",
    );
    edit(&folder, "priority = 20", "priority = 20\nvalue = 0.5");
    let (code, out, err) = told(&run(&folder, &["check"]));
    assert_eq!(code, Some(0), "{err}");
    let objectives: Vec<&str> = out
        .lines()
        .skip_while(|line| *line != "objectives")
        .take_while(|line| !line.is_empty())
        .collect();
    insta::assert_snapshot!("check_objectives", objectives.join("\n"));
    let (_, out, _) = told(&run(&folder, &["check", "--json"]));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    let budget = &summary["objectives"][0]["error_budget"];
    assert_eq!(budget["of_a_million"], 100);
    assert_eq!(budget["minutes_a_month"], 4.3);
}

#[test]
fn check_says_what_is_wrong() {
    let folder = site("http://cms.invalid");
    edit(&folder, "priority = 20", "priority = 200\ntmeout = \"1s\"");
    edit(&folder, "cms:/related", "csm:/related");
    let (code, out, err) = told(&run(&folder, &["check"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    insta::assert_snapshot!("check_wrong", err);
}

#[test]
fn check_of_the_declaration_in_this_repository_has_nothing_to_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (code, out, err) = told(&command(root, &["check"]).output().unwrap());
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("ok: "), "{out}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["check"][..],
        &["serve"],
        &["check", "other.toml"],
        &["explain", "/"],
        &["render", "/", "-f", "none.toml"],
    ] {
        let (code, out, err) = told(&run(&folder, arguments));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        let name = arguments
            .iter()
            .find(|a| a.ends_with(".toml"))
            .unwrap_or(&"fragments.toml");
        assert!(
            err.contains(name) && !err.contains("panicked"),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn explain_says_what_a_page_would_do() {
    let folder = site("http://cms.invalid");
    let (code, out, err) = told(&run(
        &folder,
        &["explain", "/articles/l'%C3%A9t%C3%A9", "--level", "1"],
    ));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!("explain_level_1", out);
    let url = "http://localhost:8080/articles/x";
    let (code, out, _) = told(&run(
        &folder,
        &["explain", url, "--json", "-H", "Accept-Language: de"],
    ));
    let explained: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &explained["page"]),
        (Some(0), &serde_json::json!("article"))
    );
    assert!(out.contains("/related/x?lang=de"), "{out}");
}

#[test]
fn explain_of_what_is_no_page() {
    let folder = site("http://cms.invalid");
    for (path, said) in [
        (
            "/none",
            "no page answers to `/none`; routes are: /articles/{slug}",
        ),
        ("/articles/..", "is refused"),
        ("articles/x", "is not a URL or a path"),
        ("cms.example:80", "is neither a path"),
        ("/articles/a b", "is not a URL or a path"),
    ] {
        let (code, out, err) = told(&run(&folder, &["explain", path]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{path}");
        assert!(err.contains(said), "{path}: {err}");
    }
    let (code, _, err) = told(&run(&folder, &["explain", "/articles/x", "-H", "no colon"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("`no colon` is not a header"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn render_prints_the_page_and_its_account() {
    let cms = origin()
        .on("/articles/x", html("<p>text</p>"))
        .on("/related/x", status(500))
        .start()
        .await;
    let folder = site(&cms.url());
    let (code, out, err) = told(&run_beside(&folder, &["render", "/articles/x"]).await);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, "<main><p>text</p></main><i>reserve</i><b>sun</b>\n");
    let mut lines = err
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("page article: status 200, level 0 (full page), "),
        "{err}"
    );
    for (name, outcome) in [
        ("article", "fetched"),
        ("related", "inline (status 500)"),
        ("weather", "declared"),
    ] {
        let line = lines.next().unwrap();
        assert!(line.starts_with(name) && line.ends_with(outcome), "{err}");
    }
    let (_, out, _) = told(&run_beside(&folder, &["render", "/articles/x", "--level", "2"]).await);
    assert_eq!(out, "<main><p>text</p></main>\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn render_of_a_page_without_its_core_fails() {
    let cms = origin()
        .on(
            "/articles/moved",
            status(301).header("location", "/articles/x"),
        )
        .start()
        .await;
    let folder = site(&cms.url());
    let (code, out, err) = told(&run_beside(&folder, &["render", "/articles/gone"]).await);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("status 404"), "{err}");
    let (code, _, err) = told(&run_beside(&folder, &["render", "/articles/moved"]).await);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("status 301") && err.contains("to /articles/x"),
        "{err}"
    );
    cms.kill();
    let (code, out, err) = told(&run_beside(&folder, &["render", "/articles/x"]).await);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.contains("status 503") && err.contains("failed (connect"),
        "{err}"
    );
}

#[test]
fn the_schema_is_a_schema() {
    let (code, out, err) = told(&run(&tempfile::tempdir().unwrap(), &["schema"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(
        schema["$schema"]
            .as_str()
            .unwrap()
            .contains("json-schema.org"),
        "{out}"
    );
    assert_eq!(schema["title"], "fragments.toml");
    for table in ["server", "origins", "fragments", "pages", "proxy", "static"] {
        assert!(schema["properties"][table].is_object(), "{table}");
    }
}

#[test]
fn a_wrong_command_is_2() {
    let folder = site("http://cms.invalid");
    for arguments in [
        &["nonsense"][..],
        &["check", "--nonsense"],
        &["serve", "--level", "300"],
        &["serve", "--listen", "nowhere"],
        &["explain"],
        &["serve", "a", "b"],
    ] {
        let (code, out, err) = told(&run(&folder, arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.starts_with("error: "), "{arguments:?}: {err}");
    }
    for argument in ["--help", "--version", "help"] {
        let (code, out, err) = told(&run(&folder, &[argument]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{argument}");
        assert!(out.contains("marbre"), "{out}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = site("http://cms.invalid");
    for (option, whom) in [("--listen", "readers"), ("--admin-listen", "operators")] {
        let (code, out, err) = told(&run(&folder, &["serve", option, &address]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(
            err.contains(&format!("error: cannot listen on {address} ({whom})")),
            "{err}"
        );
    }
}

/// `marbre serve`, running.
struct Served {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    pages: String,
    operators: String,
}

impl Served {
    fn start(folder: &TempDir) -> Self {
        let mut child = command(folder.path(), &["serve"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // from here on it is ended whatever happens
        let mut served = Self {
            child,
            stderr,
            pages: String::new(),
            operators: String::new(),
        };
        while served.pages.is_empty() || served.operators.is_empty() {
            let mut line = String::new();
            assert_ne!(served.stderr.read_line(&mut line).unwrap(), 0, "it ended");
            let address = |name: &str| {
                Some(
                    line.strip_prefix(name)?
                        .trim()
                        .trim_end_matches('/')
                        .to_owned(),
                )
            };
            if let Some(pages) = address("pages") {
                served.pages = pages;
            }
            if let Some(operators) = address("operators") {
                served.operators = operators;
            }
        }
        served
    }

    async fn get(&self, url: &str) -> (u16, String) {
        let answer = client().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// How it ended, and what else it said.
    async fn ended(mut self) -> (ExitStatus, String) {
        let wait = move || {
            let mut said = String::new();
            self.stderr.read_to_string(&mut said).unwrap();
            (self.child.wait().unwrap(), said)
        };
        tokio::task::spawn_blocking(wait).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn cms(gate: &Gate) -> Origin {
    origin()
        .on("/articles/x", html("<p>text</p>"))
        .on("/articles/slow", html("<p>slow</p>").gated(gate))
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_prints_where_and_reloads_on_sighup() {
    let cms = cms(&Gate::closed()).await;
    let folder = site(&cms.url());
    let served = Served::start(&folder);
    let page = served.get(&format!("{}/articles/x", served.pages)).await;
    assert_eq!(
        page,
        (200, "<main><p>text</p></main><b>sun</b>\n".to_owned())
    );
    assert_eq!(
        served.get(&format!("{}/healthz", served.operators)).await.0,
        200
    );
    let state = format!("{}/state", served.operators);
    let reloaded = "site reloaded: no change";
    assert!(!served.get(&state).await.1.contains(reloaded));
    // no file has changed, so nothing but the signal can be the reason
    served.signal("HUP");
    while !served.get(&state).await.1.contains(reloaded) {}
    served.signal("INT");
    let (ended, _) = served.ended().await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_the_page_in_flight() {
    let gate = Gate::closed();
    let cms = cms(&gate).await;
    let folder = site(&cms.url());
    let served = Served::start(&folder);
    let (slow, ready) = (
        format!("{}/articles/slow", served.pages),
        format!("{}/readyz", served.operators),
    );
    let page = async { served.get(&slow).await };
    let stop = async {
        cms.arrived(2).await;
        served.signal("TERM");
        while served.get(&ready).await.0 == 200 {}
        gate.open();
    };
    let (page, ()) = tokio::join!(page, stop);
    assert_eq!(
        page,
        (200, "<main><p>slow</p></main><b>sun</b>\n".to_owned())
    );
    let (ended, said) = served.ended().await;
    assert_eq!(ended.code(), Some(0), "{said}");
    assert!(
        said.contains("stopping: pages in flight are being finished"),
        "{said}"
    );
    assert!(!said.contains("were cut"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_does_not_wait() {
    let cms = cms(&Gate::closed()).await;
    let folder = site(&cms.url());
    let served = Served::start(&folder);
    let slow = format!("{}/articles/slow", served.pages);
    let ready = format!("{}/readyz", served.operators);
    let page = client().get(&slow).send();
    let stop = async {
        cms.arrived(2).await;
        served.signal("TERM");
        while served.get(&ready).await.0 == 200 {}
        served.signal("TERM");
    };
    let (page, ()) = tokio::join!(page, stop);
    assert!(page.is_err(), "the page is cut");
    let (ended, _) = served.ended().await;
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn availability_on_paper_is_what_origins_promise() {
    let folder = site("http://cms.invalid");
    edit(
        &folder,
        "[origins.cms]",
        "[origins.db]\nurls = [\"http://db.invalid\"]\navailability = 0.9995\ndepends_on = [\"cms\"]\n\
         [origins.ads]\nurls = [\"http://ads.invalid\"]\navailability = 0.99\n\
         [origins.cms]\navailability = 0.9999\ndepends_on = [\"db\"]",
    );
    edit(&folder, "inline:<b>sun</b>", "ads:/sun");
    let (code, out, err) = told(&run(&folder, &["check"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let line = "on paper: all blocks 98.940605 % (2.0 nines, 457.7 min a month without); core only \
                99.940005 % (3.2 nines, 25.9 min a month without), copies aside; ads costs most\n";
    assert!(out.contains(line), "{out}");
    // what stands in for the core, from elsewhere, is there when the core's own origin is not
    edit(
        &folder,
        "ttl = \"0s\"",
        "ttl = \"0s\"\nfallback = [\"fragment:weather\"]",
    );
    let (_, out, _) = told(&run(&folder, &["check", "--json"]));
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    let core = summary["pages"][0]["availability"]["core"]
        .as_f64()
        .unwrap();
    let (cms, ads) = (0.9999 * 0.9995, 0.99);
    assert!((core - (cms + (1.0 - cms) * ads)).abs() < 1e-12, "{core}");
    edit(&folder, "depends_on = [\"db\"]", "depends_on = [\"bd\"]");
    let (code, _, err) = told(&run(&folder, &["check"]));
    assert_eq!(code, Some(1));
    assert!(
        err.contains("unknown origin `bd`") && err.contains("did you mean `db`?"),
        "{err}"
    );
    edit(&folder, "availability = 0.99\n", "availability = 1.01\n");
    let (_, _, err) = told(&run(&folder, &["check"]));
    assert!(err.contains("out of range"), "{err}");
}
