//! Thirty-six experiments, each a file of `tests/experiments`, carried out by `marbre chaos run` against a
//! server on real sockets: a fault of every kind on the origin of the core, of an essential and of an
//! optional fragment; the disk full and damaged; the shared store gone and slow; the process killed and
//! restarted. Each says whether the steady state held, and what exactly readers lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::disk_full::Tmpfs;
use crate::support::newsroom::Draft;
use crate::support::origin::Port;
use crate::support::program::unpooled;
use crate::support::{Origin, Program, Reply, Valkey, html, newsroom, origin};

/// What is expected of an experiment.
struct Expected {
    verdict: &'static str,
    /// Pages asked for while it went on.
    pages: u64,
    /// Of them, error pages.
    unavailable: u64,
    /// Of them, those without any answer.
    unanswered: u64,
    /// Blocks that were left out.
    lost: &'static [(&'static str, u64)],
    /// Blocks that had something in their place.
    stand_ins: u64,
}

const HOLDS: Expected = Expected {
    verdict: "holds",
    pages: 20,
    unavailable: 0,
    unanswered: 0,
    lost: &[],
    stand_ins: 0,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/experiments")
}

/// Origins that are well: whatever goes wrong is the experiment's doing.
struct Origins {
    cms: Origin,
    web: Origin,
    reco: Origin,
    /// By which name of the machine they are declared.
    host: &'static str,
}

impl Origins {
    async fn start() -> Self {
        Self::answering("127.0.0.1", html).await
    }

    /// Whose name is looked up: each request has a connection of its own.
    async fn start_by_name() -> Self {
        Self::answering("localhost", |text| html(text).then_close()).await
    }

    async fn answering(host: &'static str, html: fn(&'static str) -> Reply) -> Self {
        let text = "<p>text that is long enough to be cut and to drip</p>";
        Self {
            cms: origin()
                .on("/articles/a", html(text))
                .on("/articles/b", html(text))
                .start()
                .await,
            web: origin()
                .on("/header", html("<nav>header</nav>"))
                .start()
                .await,
            reco: origin()
                .on("/related", html("<i>related</i>"))
                .start()
                .await,
            host,
        }
    }

    fn declared(&self, name: &str, origin: &Origin) -> String {
        let url = origin.url().replace("127.0.0.1", self.host);
        format!("[origins.{name}]\nurls = [\"{url}\"]\ndns_ttl = \"1s\"")
    }

    fn site(&self) -> Draft {
        self.site_of("0s")
    }

    /// Whose answers are fresh for so long.
    fn site_of(&self, ttl: &str) -> Draft {
        // time enough for a machine that does much else
        let more = &format!("timeout = \"4s\"\nttl = \"{ttl}\"\nkeep = \"1h\"");
        let instead = format!("{more}\nfallback = [\"inline:<nav>reserve</nav>\"]");
        newsroom()
            .toml(&self.declared("cms", &self.cms))
            .toml(&self.declared("web", &self.web))
            .toml(&self.declared("reco", &self.reco))
            .fragment("article", "\"core\"", "cms:/articles/{slug}", more)
            .fragment("header", "\"essential\"", "web:/header", &instead)
            .fragment("related", "40", "reco:/related", more)
            .page_within(
                "article",
                "/articles/{slug}",
                "[header][article][related]",
                "20s",
            )
            .without_snapshots()
    }
}

/// What the program says of an experiment, and its exit code.
fn carry_out(name: &str, site: &str, admin: &str, env: &[(&str, &Path)]) -> (Value, i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
    let file = folder().join(format!("{name}.toml"));
    command
        .args(["chaos", "run", "--json", "--site", site, "--admin", admin])
        .arg(file)
        .envs(env.iter().copied())
        .env_remove("RUST_LOG");
    let output = command.output().expect("the program was built");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = serde_json::from_slice(&output.stdout);
    let told: Value = told.unwrap_or_else(|_| panic!("{name}: {said}"));
    (told, output.status.code().unwrap_or(-1), said)
}

fn count(of: &Value) -> u64 {
    of.as_u64().unwrap_or_else(|| panic!("no count: {of}"))
}

fn holds(name: &str, (told, code, said): (Value, i32, String), expected: &Expected) {
    let during = &told["phases"][1];
    let readers = &during["readers"];
    assert_eq!(
        told["verdict"], expected.verdict,
        "{name}: {told:#}\n{said}"
    );
    let by_code = if expected.verdict == "holds" { 0 } else { 1 };
    assert_eq!(code, by_code, "{name}: {said}");
    let lost = readers["lost"].as_object().unwrap().iter();
    let lost = lost.map(|(block, causes)| {
        let causes = causes.as_object().unwrap();
        (block.clone(), causes.values().map(count).sum::<u64>())
    });
    let lost: BTreeMap<String, u64> = lost.collect();
    let wanted = expected.lost.iter().map(|(b, n)| ((*b).to_owned(), *n));
    assert_eq!(lost, wanted.collect(), "{name}: {during:#}");
    for (found, wanted, what) in [
        (&during["pages"], expected.pages, "pages"),
        (&readers["unavailable"], expected.unavailable, "error pages"),
        (&during["unanswered"], expected.unanswered, "unanswered"),
        (&readers["stand_ins"], expected.stand_ins, "stand-ins"),
    ] {
        assert_eq!(count(found), wanted, "{name}: {what}: {during:#}");
    }
    // whatever it was, it is over
    let after = &told["phases"][2];
    let steady = after["steady"].as_array().unwrap().iter();
    let held = steady.filter(|steady| steady["holds"] == true).count();
    assert_eq!(
        held,
        after["steady"].as_array().unwrap().len(),
        "{name}: {after:#}"
    );
    assert!(told["recovered_s"].is_number(), "{name}: {told:#}");
    assert_eq!(told["left_behind"], serde_json::json!([]), "{name}");
}

/// An experiment on an origin.
async fn on_an_origin(name: &str, expected: Expected) {
    let origins = match name.starts_with("dns-") {
        true => Origins::start_by_name().await,
        false => Origins::start().await,
    };
    let site = origins.site().start().await;
    let (url, admin, of) = (site.url(), site.admin_url(), name.to_owned());
    let told = tokio::task::spawn_blocking(move || carry_out(&of, &url, &admin, &[]));
    let told = told.await.unwrap();
    let faults = told.0["faults"].clone();
    holds(name, told, &expected);
    assert_eq!(faults[0]["name"], name, "{faults}");
    assert!(count(&faults[0]["requests"]) > 0, "{name}: {faults}");
    // in the journal it is what it is
    let journal = site.admin_text("/journal?kinds=fault").await;
    let journal: Value = serde_json::from_str(&journal).unwrap();
    let entries = journal["entries"].as_array().unwrap().iter();
    let told: Vec<(&str, &str)> = entries
        .map(|entry| {
            let how = entry["how"].as_str().unwrap_or("begun");
            (entry["fault"].as_str().unwrap(), how)
        })
        .collect();
    assert_eq!(told, [(name, "begun"), (name, "ended")]);
}

macro_rules! on_origins {
    ($($test:ident: $name:literal, $expected:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            on_an_origin($name, $expected).await;
        })+
    };
}

/// Twenty pages that are error pages: never one without its article.
const NO_ARTICLE: Expected = Expected {
    verdict: "fails",
    unavailable: 20,
    ..HOLDS
};

const STAND_IN: Expected = Expected {
    stand_ins: 20,
    ..HOLDS
};

const NO_RELATED: Expected = Expected {
    verdict: "fails",
    lost: &[("related", 20)],
    ..HOLDS
};

on_origins! {
    a_late_core_is_its_last_good_copy: "latency-core", HOLDS;
    a_failing_core_without_a_copy_is_an_error_page: "error-core", NO_ARTICLE;
    a_hanging_core_is_its_last_good_copy: "hang-core", HOLDS;
    a_core_that_is_cut_off_is_an_error_page: "cut-core", NO_ARTICLE;
    a_dripping_core_is_its_last_good_copy: "drip-core", HOLDS;
    a_core_of_garbage_is_an_error_page: "garbage-core", NO_ARTICLE;
    a_late_header_is_its_last_good_copy: "latency-essential", HOLDS;
    a_failing_header_has_a_stand_in: "error-essential", STAND_IN;
    a_hanging_header_is_its_last_good_copy: "hang-essential", HOLDS;
    a_header_that_is_cut_off_has_a_stand_in: "cut-essential", STAND_IN;
    a_dripping_header_is_its_last_good_copy: "drip-essential", HOLDS;
    a_header_of_garbage_has_a_stand_in: "garbage-essential", STAND_IN;
    a_late_block_is_left_out: "latency-optional", NO_RELATED;
    a_failing_block_is_left_out: "error-optional", NO_RELATED;
    a_hanging_block_is_left_out: "hang-optional", NO_RELATED;
    a_block_that_is_cut_off_is_left_out: "cut-optional", NO_RELATED;
    a_dripping_block_is_left_out: "drip-optional", NO_RELATED;
    a_block_of_garbage_is_left_out: "garbage-optional", NO_RELATED;
    a_core_that_takes_no_connection_is_an_error_page: "refuse-core", NO_ARTICLE;
    a_core_that_resets_is_an_error_page: "reset-core", NO_ARTICLE;
    a_core_that_starts_slowly_is_its_last_good_copy: "slow-start-core", HOLDS;
    a_core_without_a_name_is_asked_where_it_was: "dns-core", HOLDS;
    a_header_that_takes_no_connection_has_a_stand_in: "refuse-essential", STAND_IN;
    a_header_that_resets_has_a_stand_in: "reset-essential", STAND_IN;
    a_header_that_starts_slowly_is_its_last_good_copy: "slow-start-essential", HOLDS;
    a_header_without_a_name_is_asked_where_it_was: "dns-essential", HOLDS;
    a_block_that_takes_no_connection_is_left_out: "refuse-optional", NO_RELATED;
    a_block_that_resets_is_left_out: "reset-optional", NO_RELATED;
    a_block_that_starts_slowly_is_left_out: "slow-start-optional", NO_RELATED;
    a_block_without_a_name_is_asked_where_it_was: "dns-optional", HOLDS;
}

// --- The shared store ---

async fn on_the_shared_store(name: &str) {
    let (origins, store) = (Origins::start().await, Valkey::start());
    let shared = format!("[shared]\nvalkey = \"{}\"\ntimeout = \"50ms\"", store.url());
    // each page asks the store, and then the origins
    let site = origins.site_of("1ms").toml(&shared).start().await;
    site.state_when("store", |state| state["shared"]["reading"] == true)
        .await;
    let (url, admin, of) = (site.url(), site.admin_url(), name.to_owned());
    let told = tokio::task::spawn_blocking(move || carry_out(&of, &url, &admin, &[]));
    let expected = Expected { pages: 40, ..HOLDS };
    holds(name, told.await.unwrap(), &expected);
    // it was hit, and has noticed
    let state = site.state().await;
    let over = &state["chaos"]["past"][0];
    assert!(count(&over["requests"]) > 0, "{over}");
    site.state_when("store", |state| state["shared"]["reading"] == true)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_store_that_is_gone_costs_no_page_anything() {
    on_the_shared_store("shared-store-gone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_store_that_is_slow_costs_no_page_anything() {
    on_the_shared_store("shared-store-slow").await;
}

// --- The disk ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_no_page_anything() {
    let origins = Origins::start().await;
    let mounted = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(mounted.path().join("disk"), "1m");
    let state_dir = mounted.path().join("disk");
    let keys = format!(
        "state_dir = \"{}\"\nstate_size = \"8MiB\"",
        state_dir.display()
    );
    let site = origins.site().server(&keys).start().await;
    let (url, admin) = (site.url(), site.admin_url());
    let told = tokio::task::spawn_blocking(move || {
        carry_out("disk-full", &url, &admin, &[("STATE_DIR", &state_dir)])
    });
    holds("disk-full", told.await.unwrap(), &HOLDS);
    assert!(site.app.stop().await);
    drop(disk);
}

// --- The process ---

/// A server in a process of its own, which the steps of an experiment end and start again.
struct Nursed {
    first: Option<Program>,
    folder: TempDir,
    admin: String,
    site: String,
    _ports: (Port, Port),
}

impl Nursed {
    async fn start(draft: Draft) -> Self {
        let (readers, operators) = (Port::held(), Port::held());
        let folder = draft.written();
        let (site, admin) = (readers.address.to_string(), operators.address.to_string());
        let script = format!(
            "#!/bin/sh\ncd '{}' || exit 1\n'{}' serve --listen {site} --admin-listen {admin} \
             >>log 2>&1 </dev/null &\necho $! > pid\n",
            folder.path().display(),
            env!("CARGO_BIN_EXE_marbre"),
        );
        let path = folder.path().join("restart");
        fs::write(&path, script).unwrap();
        make_executable(&path);
        let mut command = Command::new(env!("CARGO_BIN_EXE_marbre"));
        command
            .args(["serve", "--listen", &site, "--admin-listen", &admin])
            .current_dir(folder.path());
        let first = Program::start_as(command, &unpooled()).await;
        let pid = first.id().to_string();
        fs::write(folder.path().join("pid"), pid).unwrap();
        Self {
            first: Some(first),
            folder,
            admin: format!("http://{admin}"),
            site: format!("http://{site}"),
            _ports: (readers, operators),
        }
    }

    async fn carry_out(mut self, name: &'static str, expected: &Expected) {
        let first = self.first.take().unwrap();
        let path = |below: &str| self.folder.path().join(below);
        let (state, pid, restart) = (path("var"), path("pid"), path("restart"));
        let (site, admin) = (self.site.clone(), self.admin.clone());
        let told = tokio::task::spawn_blocking(move || {
            let number = first.id();
            // a child that has been killed is there until somebody asks for it
            let reaping = std::thread::spawn(move || first.wait_for_end());
            let env: [(&str, &Path); 3] = [
                ("STATE_DIR", &state),
                ("PID_FILE", &pid),
                ("RESTART", &restart),
            ];
            let told = carry_out(name, &site, &admin, &env);
            if !reaping.is_finished() {
                // the experiment did not get that far
                kill(number);
            }
            reaping.join().unwrap();
            told
        });
        let told = told.await.unwrap();
        holds(name, told, expected);
    }
}

impl Drop for Nursed {
    fn drop(&mut self) {
        // the last one that the restart script has started
        if self.first.is_none()
            && let Ok(pid) = fs::read_to_string(self.folder.path().join("pid"))
        {
            pid.trim().parse().into_iter().for_each(kill);
        }
    }
}

/// Ends one of this test's own processes, if it is there still.
fn kill(number: u32) {
    let mut kill = Command::new("kill");
    kill.args(["-9", &number.to_string()]).stderr(Stdio::null());
    let _ = kill.status();
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_answers_nobody_until_it_is_back() {
    let origins = Origins::start().await;
    let nursed = Nursed::start(origins.site()).await;
    let expected = Expected {
        verdict: "fails",
        pages: 25,
        unanswered: 5,
        ..HOLDS
    };
    nursed.carry_out("process-killed", &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_restarted_serves_what_it_knew() {
    let origins = Origins::start().await;
    let nursed = Nursed::start(origins.site()).await;
    nursed.carry_out("process-restarted", &HOLDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_are_damaged_are_not_shown() {
    let origins = Origins::start().await;
    let nursed = Nursed::start(origins.site()).await;
    nursed.carry_out("disk-corrupt", &NO_ARTICLE).await;
}

/// All that can go wrong with an origin.
const HARMS: [&str; 10] = [
    "latency",
    "slow-start",
    "error",
    "refuse",
    "reset",
    "hang",
    "cut",
    "drip",
    "garbage",
    "dns",
];

#[test]
fn every_experiment_is_carried_out_here() {
    let here = include_str!("chaos_experiments.rs");
    let files = fs::read_dir(folder()).unwrap();
    let names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 36, "{names:?}");
    for harm in HARMS {
        for priority in ["core", "essential", "optional"] {
            let name = format!("{harm}-{priority}.toml");
            assert!(names.contains(&name), "there is no {name}");
        }
    }
    for name in names {
        let quoted = format!("\"{}\"", name.trim_end_matches(".toml"));
        assert!(here.contains(&quoted), "{name} is carried out by nobody");
    }
}
