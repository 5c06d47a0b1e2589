//! A state folder that is full, read-only, gone, taken or no folder at all: each ends in served
//! pages and in a log line that says what and where, and nothing is lost of what could be read.
//!
//! The file systems are real and small: tmpfs, mounted by the test. That needs root; anyone else
//! runs these tests as `unshare -rm cargo test --test it disk_full`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::numbered::pieces;
use crate::support::program::unpooled;
use crate::support::{Operator, Press, Program, newsroom};

/// More than fits on the full disks below: 60 pages of 2 copies and a snapshot, 50 KB in all.
const PAGES: u64 = 60;

/// A file system in memory, unmounted with the value.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(crate) fn mount(at: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            &at,
        );
        Self(at)
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}")], &self.0);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // lazily: a process that is being killed may have it open still
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str], at: &Path) {
    let done = Command::new(program)
        .args(arguments)
        .arg(at)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{program} {arguments:?} {}: {}\nthis test mounts file systems: run it as root, or below \
         `unshare -rm`",
        at.display(),
        String::from_utf8_lossy(&done.stderr)
    );
}

struct Stage {
    press: Press,
    site: TempDir,
    client: reqwest::Client,
}

impl Stage {
    fn new(state_dir: &str) -> Self {
        let press = Press::start(15_000..=16_000);
        let url = press.url();
        let site = newsroom()
            .server(&format!(
                "state_dir = \"{state_dir}\"\nstate_size = \"8MiB\""
            ))
            .toml(&format!(
                "[origins.press]\nurls = [\"{url}\"]\ntimeout = \"20s\"\nbreaker.enabled = false"
            ))
            .fragment(
                "article",
                "\"core\"",
                "press:/article/{slug}",
                "ttl = \"1h\"",
            )
            .fragment(
                "aside",
                "\"essential\"",
                "press:/aside/{slug}",
                "ttl = \"1h\"",
            )
            .page_within("page", "/p/{slug}", "[article][aside]", "20s")
            .written();
        Self {
            press,
            site,
            client: unpooled(),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.site.path().join(below)
    }

    async fn start(&self) -> Program {
        Program::start(self.site.path(), &self.client).await
    }
}

/// Asks for these pages, each of which must be whole.
async fn read(program: &Program, slugs: impl IntoIterator<Item = u64>) {
    for slug in slugs {
        let (status, body) = program.get(&format!("/p/{slug}")).await;
        assert_eq!(status, 200, "page {slug}: {body}\n{}", program.log());
        let found = pieces(&body).unwrap_or_else(|wrong| panic!("page {slug}: {wrong}"));
        let both = [format!("/article/{slug}"), format!("/aside/{slug}")];
        assert!(found.keys().eq(&both), "page {slug}: {found:?}");
    }
}

async fn has_problem(program: &Program, said: &str) {
    let is_said = |state: &Value| {
        let problem = state["disk"]["problem"].as_str();
        problem.is_some_and(|problem| problem.contains(said))
    };
    program.state_when(said, is_said).await;
    program.says(said).await;
}

/// Asks for pages from `slug` on until the disk has said that it is full; gives back the next. The
/// disk may have made room for itself since, so the line in the log is what stays.
async fn fill(program: &Program, slug: u64) -> u64 {
    let said = times(program, "no room in");
    let mut next = slug;
    while times(program, "no room in") == said {
        assert!(
            next < slug + 100 * PAGES,
            "it never fills: {}",
            program.log()
        );
        read(program, next..next + PAGES).await;
        next += PAGES;
    }
    next
}

async fn has_no_problem(program: &Program) {
    let is_well = |state: &Value| state["disk"]["problem"].is_null();
    program.state_when("end of the problem", is_well).await;
}

fn times(program: &Program, said: &str) -> usize {
    program.log().matches(said).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_copies_and_no_page() {
    let mut stage = Stage::new("var");
    let disk = Tmpfs::mount(stage.path("var"), "1m");
    let program = stage.start().await;
    let next = fill(&program, 0).await;
    read(&program, 0..next).await;
    let folder = stage.path("var/copies").display().to_string();
    let line = format!("no room in {folder}");
    let said = times(&program, &line);
    assert!((1..10).contains(&said), "{}", program.log());
    let log = program.log();
    // it makes room by itself where it can, and says what to do where it cannot
    let told = ["the oldest copies are given up", "make some"];
    assert!(told.iter().any(|said| log.contains(said)), "{log}");

    // what fits is served after a restart on the disk that is still full
    program.has_written().await;
    let state = program.state().await;
    let kept = state["disk"]["records"].as_u64().unwrap();
    assert!(kept > 10, "{state}");
    program.kill();
    stage.press.die().await;
    let program = stage.start().await;
    let state = program.state().await;
    let found = state["disk"]["records"].as_u64().unwrap();
    assert!(found >= kept / 2, "{found} of {kept}: {state}");
    let mut served = 0;
    for slug in 0..next {
        let (status, body) = program.get(&format!("/p/{slug}")).await;
        if status == 200 {
            pieces(&body).unwrap_or_else(|wrong| panic!("page {slug}: {wrong}"));
            served += 1;
        }
    }
    assert!(served >= kept / 5, "{served} pages of {kept} copies");

    // more is kept as soon as there is room, without a restart
    stage.press.revive();
    let mut slug = fill(&program, next).await;
    disk.remount("size=16m");
    while program.state().await["disk"]["problem"].is_string() {
        read(&program, [slug]).await;
        slug += 1;
    }
    read(&program, slug..slug + 5).await;
    program.has_written().await;
    program.kill();
    stage.press.die().await;
    let program = stage.start().await;
    read(&program, slug..slug + 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_becomes_read_only_is_still_read() {
    let mut stage = Stage::new("var");
    let disk = Tmpfs::mount(stage.path("var"), "16m");
    let program = stage.start().await;
    read(&program, 0..5).await;
    program.has_written().await;
    program.kill();
    disk.remount("ro");
    let program = stage.start().await;
    // of what is on disk and of what is not
    read(&program, 0..10).await;
    has_problem(&program, "Read-only file system").await;
    program.kill();
    stage.press.die().await;
    let program = stage.start().await;
    read(&program, 0..5).await;
    program.kill();

    // and while it runs
    disk.remount("rw");
    stage.press.revive();
    let program = stage.start().await;
    read(&program, 10..12).await;
    program.has_written().await;
    // not while a file is open for writing: the system would refuse
    program.kill();
    disk.remount("ro");
    let program = stage.start().await;
    read(&program, 20..22).await;
    has_problem(&program, "Read-only file system").await;
    disk.remount("rw");
    has_no_problem(&program).await;
    read(&program, 30..32).await;
    program.has_written().await;
    program.kill();
    stage.press.die().await;
    let program = stage.start().await;
    read(&program, (0..5).chain(10..12).chain(30..32)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_folder_is_said_and_done_without() {
    for state_dir in ["file", "file/below", "file/far/below"] {
        let stage = Stage::new(state_dir);
        std::fs::write(stage.path("file"), "mine").unwrap();
        let program = stage.start().await;
        read(&program, 0..3).await;
        has_problem(&program, &stage.path(state_dir).display().to_string()).await;
        read(&program, 0..3).await;
        program.stop().await;
        assert_eq!(std::fs::read(stage.path("file")).unwrap(), b"mine");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_folder_that_cannot_be_written_is_served() {
    let mut stage = Stage::new("var");
    let files = stage.path("fragments.toml");
    let layout = std::fs::read(stage.path("templates/layouts/page.html")).unwrap();
    let toml = std::fs::read(files).unwrap();
    let disk = Tmpfs::mount(stage.path("mounted"), "1m");
    let folder = disk.0.clone();
    std::fs::create_dir_all(folder.join("templates/layouts")).unwrap();
    std::fs::write(folder.join("templates/layouts/page.html"), layout).unwrap();
    std::fs::write(folder.join("fragments.toml"), toml).unwrap();
    disk.remount("ro");
    let program = Program::start(&folder, &stage.client).await;
    read(&program, 0..3).await;
    has_problem(&program, "Read-only file system").await;
    stage.press.die().await;
    // from memory
    read(&program, 0..3).await;
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_deleted_under_the_server_is_written_again() {
    let mut stage = Stage::new("var");
    let program = stage.start().await;
    read(&program, 0..5).await;
    program.has_written().await;
    std::fs::remove_dir_all(stage.path("var")).unwrap();
    // it shows at the next write that is made durable
    let mut slug = 5;
    while !program.log().contains("is written again") {
        read(&program, [slug]).await;
        slug += 1;
    }
    program.has_written().await;
    program.kill();
    stage.press.die().await;
    let program = stage.start().await;
    read(&program, 0..5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_folder_serves_and_waits_for_its_turn() {
    let mut stage = Stage::new("var");
    let first = stage.start().await;
    read(&first, 0..3).await;
    let second = stage.start().await;
    read(&second, 3..6).await;
    has_problem(&second, "another process has this folder").await;
    read(&first, 6..9).await;
    first.stop().await;
    has_no_problem(&second).await;
    read(&second, 10..13).await;
    second.has_written().await;
    second.kill();
    stage.press.die().await;
    let third = stage.start().await;
    read(&third, (0..3).chain(6..9).chain(10..13)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_records_of_the_access_log_and_no_page() {
    let folder = newsroom()
        .toml("[telemetry.access_log]\nto = \"file:log/access.log\"")
        .fragment("front", "\"core\"", "inline:<p>front</p>", "")
        .page("front", "/{x}", "[front]")
        .written();
    let disk = Tmpfs::mount(folder.path().join("log"), "16k");
    let program = Program::start(folder.path(), &unpooled()).await;
    let operator = Operator::of_program(&program);
    let whole = (200, "<p>front</p>".to_owned());
    let is_losing = || async {
        let (_, text) = operator.get("/metrics").await;
        !text.contains("\nmarbre_access_log_lost_total 0")
    };
    while !is_losing().await {
        for _ in 0..10 {
            assert_eq!(program.get("/before").await, whole);
        }
    }
    program.says("the access log cannot be written to").await;
    disk.remount("size=1m");
    let file = folder.path().join("log/access.log");
    let text = || std::fs::read_to_string(&file).unwrap();
    while !text().contains("/after") {
        assert_eq!(program.get("/after").await, whole);
    }
    program.says("again").await;
    // what was torn when there was no more room is the only line that is not whole
    let text = text();
    let torn = text
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_err());
    assert!(torn.count() <= 1, "{text}");
}
