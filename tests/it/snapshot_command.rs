//! `marbre snapshot`: the real binary, real origins, and real web servers over what it writes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use marbre::app::{App, Options};
use marbre::clock::Clock;
use marbre::demo::{self, Change, Demo};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::newsroom::Draft;
use crate::support::origin::{Reply, typed};
use crate::support::reader::{Reader, client};
use crate::support::{Gate, Newsroom, Origin, html, newsroom, origin, raw, status};

const BINARY: &str = env!("CARGO_BIN_EXE_marbre");

/// What a run came to.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// `marbre snapshot` of a declaration while the origins of the test go on.
async fn snapshot_with(file: PathBuf, out: &Path, more: &[&str], env: &Env) -> Ran {
    let mut command = Command::new(BINARY);
    command
        .arg("snapshot")
        .arg(file)
        .arg("--out")
        .arg(out)
        .args(more)
        .envs(env)
        .stdin(Stdio::null());
    ran(command).await
}

type Env = BTreeMap<String, String>;

async fn ran(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

async fn snapshot(site: &Newsroom, out: &Path, more: &[&str]) -> Ran {
    let file = site.folder().join("fragments.toml");
    snapshot_with(file, out, more, &Env::new()).await
}

impl Ran {
    #[track_caller]
    fn is(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    /// The account of a run with `--json`.
    fn account(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }

    /// Path → why, of a list of the account.
    fn list(&self, name: &str) -> BTreeMap<String, String> {
        let account = self.account();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let lines = account[name].as_array().unwrap().iter();
        lines
            .map(|line| (text(&line["path"]), text(&line["why"])))
            .collect()
    }
}

/// Every file of a folder by its path within it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_keys().collect()
}

/// The files of pages, without what every snapshot has.
fn page_files(folder: &Path) -> Vec<String> {
    let own = ["404.html", "50x.html", "manifest.json", "_redirects"];
    let mut names = names(folder);
    names.retain(|name| !own.contains(&name.as_str()));
    names
}

fn text(folder: &Path, name: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap()).into_owned()
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_str(&text(folder, "manifest.json")).unwrap()
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Of a fragment that waits as long as a busy machine needs and is never copied.
const PATIENT: &str = "timeout = \"20s\"\nttl = \"0s\"";

/// A site whose pages wait as long as a busy machine needs.
fn patient(cms: &Origin) -> Draft {
    let draft = newsroom().toml(&format!(
        "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"25s\"\n",
        cms.url()
    ));
    draft
        .fragment("front", "\"core\"", "cms:/front", PATIENT)
        .fragment("article", "\"core\"", "cms:/articles/{slug}", PATIENT)
        .fragment("related", "40", "cms:/related", PATIENT)
        .page_within("front", "/", "<h1>front</h1>[front]", "25s")
        .page_within("article", "/articles/{slug}", "[article][related]", "25s")
}

/// `[name](path)` of each path.
fn links(paths: &[&str]) -> Reply {
    let links = paths.iter().map(|path| format!("<a href=\"{path}\">x</a>"));
    html(links.collect::<String>())
}

// --- The demo newspaper ---

/// A web server that knows nothing of marbre: Python's.
struct WebServer {
    child: Child,
    url: String,
}

impl WebServer {
    fn of(folder: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is one of the packages of tests/run");
        let mut line = String::new();
        let said = child.stdout.take().expect("it was piped");
        BufReader::new(said).read_line(&mut line).unwrap();
        // Serving HTTP on 127.0.0.1 port 12345 (http://127.0.0.1:12345/) ...
        let url = line
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once("/)"));
        let url = url.unwrap_or_else(|| panic!("{line:?}")).0.to_owned();
        Self { child, url }
    }

    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        // a folder is answered with a redirect to its slash, as every server of files does
        let slash = if path.ends_with('/') || path.contains('.') {
            ""
        } else {
            "/"
        };
        let url = format!("{}{path}{slash}", self.url);
        let answer = client().get(url).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.bytes().await.unwrap().to_vec(),
        )
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The demo's own declaration with timeouts that a busy machine does not reach, being served.
struct Newspaper {
    demo: Demo,
    app: App,
    file: PathBuf,
    env: Env,
    _folder: TempDir,
}

async fn newspaper() -> Newspaper {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let declared = include_str!("../../fragments.toml").lines().map(|line| {
        match line.split_once(" = ") {
            Some(("timeout", _)) => "timeout = \"20s\"".to_owned(),
            Some((key @ ("budget" | "target"), _)) => format!("{key} = \"25s\""),
            // what is fresh for the whole test is the same in all its copies
            Some(("ttl", time)) if time.starts_with('"') => "ttl = \"1h\"".to_owned(),
            Some(("templates", _)) => format!("templates = {templates:?}"),
            Some(("dir", _)) => format!("dir = {:?}", templates.join("assets")),
            _ => line.to_owned(),
        }
    });
    let folder = temporary();
    let file = folder.path().join("fragments.toml");
    std::fs::write(&file, declared.collect::<Vec<_>>().join("\n")).unwrap();
    let demo = demo::start(true).await.unwrap();
    let env = demo.variables();
    let variables = env.clone();
    let any = "127.0.0.1:0".parse().unwrap();
    let app = App::start(Options {
        env: Arc::new(move |name| variables.get(name).cloned()),
        listen: Some(any),
        admin_listen: Some(any),
        ..Options::new(&file)
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    Newspaper {
        demo,
        app,
        file,
        env,
        _folder: folder,
    }
}

impl Newspaper {
    async fn snapshot(&self, out: &Path, more: &[&str]) -> Ran {
        snapshot_with(self.file.clone(), out, more, &self.env).await
    }

    async fn kill(&self, origin: &str) {
        let change = Change::parse("off=1").unwrap();
        let newspaper = self.demo.newspaper();
        newspaper.dials().turn(origin, &change).unwrap();
        let addresses = newspaper.addresses();
        let (_, address) = addresses.iter().find(|(name, _)| *name == origin).unwrap();
        while TcpStream::connect(address).await.is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_over_the_folder_serves_the_same_newspaper() {
    let (newspaper, out) = (newspaper().await, temporary());
    let base = ["--base-url", "https://journal.example"];
    let ran = newspaper.snapshot(out.path(), &base).await;
    ran.is(0);
    let served = WebServer::of(out.path());
    let reader = Reader::new(newspaper.app.address);
    let paths = newspaper.demo.newspaper().pages();
    assert!(paths.len() > 15, "{paths:?}");
    for path in &paths {
        let live = reader.get(path).await;
        let (status, body) = served.get(path).await;
        assert_eq!((live.status, status), (200, 200), "{path}");
        assert!(live.body.as_bytes() == body, "{path} differs");
    }
    let own = ["404.html", "50x.html", "manifest.json", "sitemap.xml"];
    assert!(own.iter().all(|name| out.path().join(name).is_file()));
    // what the pages show is there too, byte for byte
    let manifest = manifest(out.path());
    let mut kinds = BTreeMap::<String, usize>::new();
    for (path, entry) in manifest["files"].as_object().unwrap() {
        let kind = entry["kind"].as_str().unwrap();
        *kinds.entry(kind.to_owned()).or_default() += 1;
        assert_eq!(entry["complete"], true, "{path}");
        if matches!(kind, "asset" | "static") {
            let url = format!("http://{}{path}", newspaper.app.address);
            let live = client().get(url).send().await.unwrap();
            let live = live.bytes().await.unwrap();
            assert!(served.get(path).await.1 == live, "{path} differs");
        }
    }
    assert_eq!(kinds["page"], paths.len());
    assert!(kinds["asset"] > 5 && kinds["static"] == 2, "{kinds:?}");
    let sitemap = text(out.path(), "sitemap.xml");
    for path in &paths {
        let address = format!("<loc>https://journal.example{path}</loc>");
        assert!(sitemap.contains(&address), "{path}");
    }
    assert_eq!(
        text(out.path(), "404.html"),
        reader.get("/no/such/page").await.body
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_night_with_dead_origins_leaves_every_file_as_good_as_it_was() {
    let (newspaper, out) = (newspaper().await, temporary());
    newspaper.snapshot(out.path(), &[]).await.is(0);
    let mut good = files(out.path());
    good.remove("manifest.json");
    let still_good = || {
        let mut now = files(out.path());
        now.remove("manifest.json");
        assert_eq!(names_of(&good), names_of(&now));
        for (name, content) in &good {
            assert!(now[name] == *content, "{name} has changed");
        }
    };
    for dead in ["media", "pictures", "cms"] {
        newspaper.kill(dead).await;
        let ran = newspaper.snapshot(out.path(), &["--json"]).await;
        ran.is(1);
        still_good();
        let kept = ran.list("kept");
        match dead {
            "media" => {
                assert!(!kept.is_empty());
                // after some refusals it is asked no more
                let is_why = |why: &String| {
                    why.starts_with("slideshow failed (connect")
                        || why == "slideshow failed (breaker open)"
                };
                assert!(kept.values().all(is_why), "{kept:?}");
                assert!(ran.account()["pages"].as_u64() > Some(5), "{}", ran.out);
            }
            "pictures" => {
                assert!(
                    kept.keys().any(|path| path.starts_with("/pictures/")),
                    "{kept:?}"
                );
            }
            _ => assert!(kept["/"].starts_with("front failed (connect"), "{kept:?}"),
        }
    }
    // and into a new folder there is nothing to write
    let empty = temporary();
    let ran = newspaper.snapshot(empty.path(), &[]).await;
    assert!(
        ran.is(2)
            .err
            .contains("error: there is no page in the folder")
    );
    assert!(
        ran.out.contains("failed: 1\n  /  front failed (connect"),
        "{}",
        ran.out
    );
}

fn names_of(files: &BTreeMap<String, Vec<u8>>) -> Vec<&String> {
    files.keys().collect()
}

// --- What is followed ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_links_lead_nowhere() {
    let long = format!("/articles/{}", "a".repeat(300));
    let hostile = [
        "/../../etc/passwd",
        "../../../../etc/passwd",
        "//evil.example/articles/evil",
        "https://evil.example/articles/evil",
        "javascript:alert(1)",
        "java&#10;script:alert(1)",
        "data:text/html,&lt;a href=/articles/data&gt;",
        "/articles/%2e%2e/%2e%2e/x",
        "/articles/%2e%2e%2fx",
        "/articles/..%2f..%2fx",
        "/articles/..%5cx",
        "/articles/a%00b",
        "/articles/%2egit",
        "/articles\\evil",
        "/articles/%ff",
        &long,
        "/articles/good?utm_source=x#top",
        "/articles/good",
    ];
    let cms = origin()
        .on("/front", links(&hostile))
        // a loop, and itself
        .on("/articles/good", links(&["/", "good", "./good?page=2"]))
        .on("/related", html("<p>related</p>"))
        .start()
        .await;
    let (site, parent) = (patient(&cms).start().await, temporary());
    let out = parent.path().join("deep/out");
    let ran = snapshot(&site, &out, &["--json"]).await;
    ran.is(1);
    assert_eq!(page_files(&out), ["articles/good/index.html", "index.html"]);
    let beside: Vec<_> = names(parent.path());
    assert!(
        beside.iter().all(|name| name.starts_with("deep/out/")),
        "{beside:?}"
    );
    let failed = ran.list("failed");
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed[&long].contains("too long"), "{failed:?}");
    assert!(failed["/articles/%2egit"].contains("hidden"), "{failed:?}");
    for target in cms.targets() {
        assert!(
            ["/front", "/articles/good", "/related"].contains(&target.as_str()),
            "{target}"
        );
    }
    assert_eq!(cms.hits("/articles/good"), 1);
}

/// 5,000 links, each to a page of its own.
async fn endless() -> (Origin, Newsroom) {
    let paths: Vec<String> = (0..5_000).map(|i| format!("/n/{i}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut cms = origin().on("/front", links(&paths));
    for i in 0..5_000 {
        cms = cms.on(&format!("/n/{i}"), html(format!("<p>{i}</p>")));
    }
    let cms = cms.start().await;
    let site = patient(&cms)
        .fragment("news", "\"core\"", "cms:/n/{number}", PATIENT)
        .page_within("news", "/n/{number}", "[news]", "25s")
        .start()
        .await;
    (cms, site)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_held_and_told_and_the_order_is_that_of_the_page() {
    let (cms, site) = endless().await;
    let out = temporary();
    let more = ["--max-pages", "21", "--concurrency", "8"];
    let ran = snapshot(&site, out.path(), &more).await;
    assert!(
        ran.is(1).out.contains("limit reached: --max-pages 21\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.starts_with("21 pages written whole (0 unchanged)"),
        "{}",
        ran.out
    );
    let mut expected: Vec<String> = (0..20).map(|i| format!("n/{i}/index.html")).collect();
    expected.push("index.html".to_owned());
    expected.sort();
    assert_eq!(page_files(out.path()), expected);
    assert_eq!(
        cms.targets()
            .iter()
            .filter(|t| t.starts_with("/n/"))
            .count(),
        20
    );
    let ran = snapshot(&site, out.path(), &more).await;
    assert!(
        ran.is(1)
            .out
            .starts_with("21 pages written whole (21 unchanged)"),
        "{}",
        ran.out
    );
    // a page whose answer comes first is not taken up first
    let again = temporary();
    snapshot(&site, again.path(), &more).await.is(1);
    let without = |folder: &Path| {
        let mut files = files(folder);
        files.remove("manifest.json");
        files
    };
    assert!(without(out.path()) == without(again.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_links_are_five_thousand_pages() {
    let (_cms, site) = endless().await;
    let out = temporary();
    let ran = snapshot(&site, out.path(), &["--json", "--concurrency", "8"]).await;
    ran.is(0);
    assert_eq!(ran.account()["pages"], 5_001);
    assert!(
        ran.err.contains("5000 pages done, 0 known to come\n"),
        "{}",
        ran.err
    );
    assert_eq!(page_files(out.path()).len(), 5_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crawl_begins_at_sitemaps_of_the_site_and_of_files() {
    let cms = origin()
        .on("/front", html("front"))
        .on("/related", html("<p>related</p>"))
        .on("/articles/a", html("a"))
        .on("/articles/b", html("b"))
        .on("/articles/c", html("c"))
        .on("/articles/d", html("d"))
        .on(
            "/robots.txt",
            typed("text/plain", "Sitemap: https://journal.example/sitemap.xml"),
        )
        .on(
            "/sitemap.xml",
            typed(
                "application/xml",
                "<sitemapindex><sitemap><loc>https://journal.example/one.xml</loc></sitemap>\
                 <sitemap><loc>https://journal.example/sitemap.xml</loc></sitemap></sitemapindex>",
            ),
        )
        .on(
            "/one.xml",
            typed(
                "application/xml",
                "<urlset><url><loc>https://journal.example/articles/a</loc></url>\
                 <url><loc>https://other.example/articles/evil</loc></url>\
                 <url><loc>https://journal.example/unknown</loc></url></urlset>",
            ),
        )
        .start()
        .await;
    let proxied = |path: &str| format!("[[proxy]]\nroute = \"{path}\"\norigin = \"cms\"");
    let site = patient(&cms)
        .toml(&proxied("/sitemap.xml"))
        .toml(&proxied("/robots.txt"))
        .toml(&proxied("/one.xml"))
        .start()
        .await;
    let beside = temporary();
    std::fs::write(
        beside.path().join("index.xml"),
        "<sitemapindex><sitemap><loc>https://journal.example/maps/b.xml</loc></sitemap></sitemapindex>",
    )
    .unwrap();
    std::fs::write(
        beside.path().join("b.xml"),
        "<urlset><url><loc>/articles/b?page=1</loc></url></urlset>",
    )
    .unwrap();
    let index = beside.path().join("index.xml");
    let out = temporary();
    let ran = snapshot(
        &site,
        out.path(),
        &[
            "--sitemap",
            "/robots.txt",
            "--sitemap",
            index.to_str().unwrap(),
            "--from",
            "/articles/c",
            "--from",
            "https://whatever.example/articles/d",
            "--base-url",
            "https://journal.example/",
            "--json",
        ],
    )
    .await;
    ran.is(0);
    let pages = ["a", "b", "c", "d"].map(|slug| format!("articles/{slug}/index.html"));
    for page in &pages {
        assert!(out.path().join(page).is_file(), "{page}");
    }
    let foreign = ran.list("foreign");
    let addresses: Vec<&String> = foreign.keys().collect();
    assert_eq!(
        addresses,
        [
            "https://journal.example/unknown",
            "https://other.example/articles/evil"
        ]
    );
    assert_eq!(cms.hits("/sitemap.xml"), 1);
    for (more, why) in [
        (["--sitemap", "/nowhere.xml"], "neither a file nor a path"),
        (["--from", "/nowhere"], "no page answers to `/nowhere`"),
        (["--base-url", "journal"], "invalid value"),
    ] {
        let ran = snapshot(&site, out.path(), &more).await;
        assert!(ran.is(2).err.contains(why), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_excluded_is_not_asked_for_and_a_rate_is_held() {
    let paths = ["/articles/a", "/articles/b", "/articles/x1", "/articles/x2"];
    let mut cms = origin()
        .on("/front", links(&paths))
        .on("/related", html("<p>related</p>"));
    for path in paths {
        cms = cms.on(path, html("text"));
    }
    let cms = cms.start().await;
    let (site, out) = (patient(&cms).start().await, temporary());
    let clock = Clock::start();
    let more = ["--exclude", "/articles/x", "--rate", "5"];
    snapshot(&site, out.path(), &more).await.is(0);
    // three pages, so two pauses of 200 ms at least
    assert!(clock.uptime(clock.now()) >= Duration::from_millis(400));
    assert_eq!((cms.hits("/articles/x1"), cms.hits("/articles/x2")), (0, 0));
    assert_eq!(page_files(out.path()).len(), 3);
}

/// A snapshot that runs, with the front page in the folder and a story that does not come.
async fn half_way(out: &Path) -> (Origin, Newsroom, Gate, Child) {
    let gate = Gate::closed();
    let cms = origin()
        .on("/front", links(&["/articles/slow"]))
        .on("/articles/slow", html("slow").gated(&gate))
        .on("/related", html("<p>related</p>"))
        .start()
        .await;
    let site = patient(&cms).start().await;
    let mut command = Command::new(BINARY);
    command
        .arg("snapshot")
        .arg(site.folder().join("fragments.toml"))
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    cms.arrived(3).await;
    (cms, site, gate, child)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_told_to_stop_leaves_a_folder_that_can_be_used() {
    let out = temporary();
    let (_cms, _site, _gate, child) = half_way(out.path()).await;
    let kill = format!("kill -TERM {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let ended = ended.await.unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("stopped early: it was told to stop\n"),
        "{told}"
    );
    assert_eq!(page_files(out.path()), ["index.html"]);
    assert_eq!(manifest(out.path())["files"]["/"]["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_snapshot_goes_on_where_one_was_killed() {
    let out = temporary();
    let (_cms, site, gate, mut child) = half_way(out.path()).await;
    let held = snapshot(&site, out.path(), &[]).await;
    assert!(
        held.is(2)
            .err
            .contains("another snapshot is being written to"),
        "{}",
        held.err
    );
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(out.path().join(".marbre-draft-1-1"), "half").unwrap();
    gate.open();
    snapshot(&site, out.path(), &[]).await.is(0);
    assert_eq!(
        page_files(out.path()),
        ["articles/slow/index.html", "index.html"]
    );
}

// --- What is written ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_to_the_same_file_is_followed() {
    let cms = origin()
        .on("/front", links(&["/a", "/loop"]))
        .on("/a", status(301).header("location", "/a/"))
        .on("/a/", html("text"))
        .on("/loop", status(301).header("location", "/loop"))
        .start()
        .await;
    let site = newsroom()
        .toml(&format!(
            "[origins.cms]\nurls = [\"{}\"]\ntimeout = \"25s\"\n",
            cms.url()
        ))
        .fragment("front", "\"core\"", "cms:/front", PATIENT)
        .fragment("a", "\"core\"", "cms:/a", PATIENT)
        .fragment("slash", "\"core\"", "cms:/a/", PATIENT)
        .fragment("loop", "\"core\"", "cms:/loop", PATIENT)
        .page_within("front", "/", "[front]", "25s")
        .page_within("a", "/a", "[a]", "25s")
        .page_within("slash", "/a/", "[slash]", "25s")
        .page_within("loop", "/loop", "[loop]", "25s")
        .start()
        .await;
    let out = temporary();
    let ran = snapshot(&site, out.path(), &["--json"]).await;
    let failed = ran.is(1).list("failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        failed["/loop"],
        "redirects to /loop, which is the same file"
    );
    assert_eq!(page_files(out.path()), ["a/index.html", "index.html"]);
    assert_eq!(text(out.path(), "a/index.html"), "text");
    assert!(!out.path().join("_redirects").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_whole_pages_for_everybody_are_written() {
    let cms = origin()
        .on(
            "/front",
            links(&[
                "/articles/moved",
                "/articles/away",
                "/articles/for-now",
                "/articles/mine",
                "/articles/private",
                "/articles/gone",
                "/articles/sick",
                "/articles/script",
            ]),
        )
        .on("/related", html("<p>related</p>"))
        .on(
            "/articles/moved",
            status(301).header("location", "/articles/new?x=1&y=2"),
        )
        .on(
            "/articles/away",
            status(308).header("location", "https://other.example/"),
        )
        .on(
            "/articles/for-now",
            status(302).header("location", "/articles/login"),
        )
        .on(
            "/articles/script",
            status(301).header("location", "javascript:alert(1)"),
        )
        .on(
            "/articles/mine",
            html("mine").header("set-cookie", "session=1"),
        )
        .on(
            "/articles/private",
            html("mine").header("cache-control", "private"),
        )
        .on("/articles/gone", status(410))
        .on("/articles/sick", status(500))
        .on("/articles/new", html("new"))
        .on("/articles/login", html("login"))
        .start()
        .await;
    let site = patient(&cms).start().await;
    let out = temporary();
    let ran = snapshot(&site, out.path(), &["--json"]).await;
    ran.is(1);
    assert_eq!(
        page_files(out.path()),
        [
            "articles/away/index.html",
            "articles/login/index.html",
            "articles/moved/index.html",
            "articles/new/index.html",
            "index.html"
        ]
    );
    let redirects = text(out.path(), "_redirects");
    assert_eq!(
        redirects,
        "/articles/away https://other.example/ 308\n/articles/moved /articles/new?x=1&y=2 301\n"
    );
    let page = text(out.path(), "articles/moved/index.html");
    assert!(
        page.contains("<link rel=\"canonical\" href=\"/articles/new?x=1&amp;y=2\">"),
        "{page}"
    );
    let failed = ran.list("failed");
    let failed: Vec<(&str, &str)> = failed
        .iter()
        .map(|(p, w)| (p.as_str(), w.as_str()))
        .collect();
    assert_eq!(
        failed,
        [
            (
                "/articles/for-now",
                "redirects for the time being (status 302 to /articles/login)"
            ),
            ("/articles/mine", "it is one reader's own"),
            ("/articles/private", "it is one reader's own"),
            (
                "/articles/script",
                "redirects to nowhere (status 301 to javascript:alert(1))"
            ),
            ("/articles/sick", "article failed (status 500)"),
        ]
    );
    assert_eq!(ran.list("gone")["/articles/gone"], "status 410");
    let manifest = manifest(out.path());
    assert_eq!(manifest["files"]["/articles/moved"]["status"], 301);
    assert_eq!(manifest["files"]["/404.html"]["status"], 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_cookie_block_is_written_as_for_a_reader_without_cookies() {
    let cms = origin()
        .on("/front", html("front"))
        .on("/user", html("<p>not signed in</p>"))
        .start()
        .await;
    let site = newsroom()
        .origin("cms", &cms)
        .core("front", "cms:/front")
        .fragment(
            "user",
            "40",
            "cms:/user",
            "ttl = \"0s\"\nforward_cookies = [\"session\"]",
        )
        .page_within("front", "/", "[front][user]", "25s")
        .start()
        .await;
    let out = temporary();
    snapshot(&site, out.path(), &[]).await.is(0);
    assert_eq!(text(out.path(), "index.html"), "front<p>not signed in</p>");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_page_is_written_only_where_there_is_nothing_better() {
    let cms = origin()
        .on("/front", links(&["/articles/a"]))
        .on("/articles/a", html("first"))
        .on("/related", status(500))
        .start()
        .await;
    let (site, out) = (patient(&cms).start().await, temporary());
    let page = "articles/a/index.html";
    let ran = snapshot(&site, out.path(), &["--json"]).await;
    ran.is(1);
    assert_eq!(
        ran.list("incomplete")["/articles/a"],
        "related failed (status 500)"
    );
    assert_eq!(text(out.path(), page), "first");
    assert_eq!(
        manifest(out.path())["files"]["/articles/a"]["missing"][0],
        "related"
    );
    // a newer one that lacks no more takes the place of an incomplete one
    cms.on("/articles/a", html("second"));
    snapshot(&site, out.path(), &[]).await.is(1);
    assert_eq!(text(out.path(), page), "second");
    cms.on("/related", html("<p>related</p>"));
    snapshot(&site, out.path(), &[]).await.is(0);
    assert_eq!(text(out.path(), page), "second<p>related</p>");
    // but not of a whole one
    cms.on("/related", status(500));
    cms.on("/articles/a", html("third"));
    let ran = snapshot(&site, out.path(), &[]).await;
    assert!(
        ran.is(1)
            .out
            .contains("kept as they were: 1\n  /articles/a  related failed (status 500)\n"),
        "{}",
        ran.out
    );
    assert_eq!(text(out.path(), page), "second<p>related</p>");
    assert_eq!(
        manifest(out.path())["files"]["/articles/a"]["complete"],
        true
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_page_stays_until_a_recheck() {
    let cms = origin()
        .on("/front", links(&["/articles/a"]))
        .on("/articles/a", html("a"))
        .on("/related", html("<p>related</p>"))
        .start()
        .await;
    let (site, out) = (patient(&cms).start().await, temporary());
    snapshot(&site, out.path(), &[]).await.is(0);
    cms.on("/articles/a", status(410));
    let ran = snapshot(&site, out.path(), &["--json"]).await;
    assert_eq!(ran.is(1).list("kept")["/articles/a"], "status 410");
    // nothing leads to it any more
    cms.on("/front", html("front"));
    snapshot(&site, out.path(), &[]).await.is(0);
    assert!(out.path().join("articles/a/index.html").is_file());
    let ran = snapshot(&site, out.path(), &["--json", "--recheck"]).await;
    assert_eq!(ran.is(0).list("removed")["/articles/a"], "status 410");
    assert_eq!(page_files(out.path()), ["index.html"]);
    assert!(manifest(out.path())["files"]["/articles/a"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assets_are_saved_whole_or_not_at_all() {
    let image = "<svg xmlns='http://www.w3.org/2000/svg'/>";
    let front = html(
        "<link rel=stylesheet href='/img/site.css?v=3'><img src=/img/a.svg srcset='/img/b.svg 2x'>\
         <img src=/img/soft.svg><img src=/img/cut.svg><img src=/img/none.svg><img src=/img/.htaccess>\
         <img src=/img/cookie.svg><script src=/_worker.js></script><img src=//evil/img/x.svg>\
         <img src='/img/%2e%2e/%2e%2e/x.svg'><a href=/img/linked.svg>x</a>",
    );
    let cms = origin()
        .on("/front", front)
        .on("/img/site.css", typed("text/css", "p {}"))
        .on("/img/a.svg", typed("image/svg+xml", image))
        .on("/img/b.svg", typed("image/svg+xml", image))
        .on("/img/soft.svg", html("<h1>an error that says 200</h1>"))
        .on(
            "/img/cut.svg",
            raw(
                "HTTP/1.1 200 OK\r\ncontent-type: image/svg+xml\r\ncontent-length: 100\r\n\r\n<svg",
            ),
        )
        .on(
            "/img/cookie.svg",
            typed("image/svg+xml", image).header("set-cookie", "a=1"),
        )
        .start()
        .await;
    let site = patient(&cms)
        .toml("[[proxy]]\nroute = \"/img/{*path}\"\norigin = \"cms\"")
        .toml("[[proxy]]\nroute = \"/_worker.js\"\norigin = \"cms\"")
        .file("../public/app.js", "let a;")
        .file("../public/.hidden", "x")
        .file("../public/l'été/x y.txt", "summer")
        .toml("[[static]]\nroute = \"/files\"\ndir = \"public\"")
        .start()
        .await;
    let out = temporary();
    let ran = snapshot(&site, out.path(), &["--json"]).await;
    ran.is(1);
    assert_eq!(
        page_files(out.path()),
        [
            "files/app.js",
            "files/l'été/x y.txt",
            "img/a.svg",
            "img/b.svg",
            "img/site.css",
            "index.html"
        ]
    );
    assert_eq!(text(out.path(), "img/a.svg"), image);
    let failed = ran.list("failed");
    let paths: Vec<&String> = failed.keys().collect();
    let expected = [
        "/_worker.js",
        "/img/.htaccess",
        "/img/cookie.svg",
        "/img/cut.svg",
        "/img/soft.svg",
    ];
    assert_eq!(paths, expected, "{failed:?}");
    assert_eq!(failed["/img/soft.svg"], "it is an HTML page");
    assert_eq!(ran.list("gone")["/img/none.svg"], "status 404");
    assert_eq!(
        manifest(out.path())["files"]["/files/l%27%C3%A9t%C3%A9/x%20y.txt"]["bytes"],
        6
    );
    // sick now, and empty: what was there stays
    cms.on("/img/a.svg", status(503));
    cms.on("/img/b.svg", typed("image/svg+xml", ""));
    let ran = snapshot(&site, out.path(), &["--json"]).await;
    let kept = ran.is(1).list("kept");
    assert_eq!(kept["/img/a.svg"], "status 503");
    assert_eq!(kept["/img/b.svg"], "it is empty now");
    assert_eq!(text(out.path(), "img/b.svg"), image);
    let ran = snapshot(&site, out.path(), &["--max-assets", "1"]).await;
    assert!(
        ran.is(1).out.contains("limit reached: --max-assets 1\n"),
        "{}",
        ran.out
    );
}

// --- The folder ---

async fn small() -> (Origin, Newsroom) {
    let cms = origin()
        .on("/front", links(&["/articles/a"]))
        .on("/articles/a", html("a".repeat(200_000)))
        .on("/related", html("<p>related</p>"))
        .start()
        .await;
    let site = patient(&cms).start().await;
    (cms, site)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_written_to_is_named() {
    let (_cms, site) = small().await;
    let folder = temporary();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let ran = snapshot(&site, &file, &[]).await;
    assert!(
        ran.is(2).err.starts_with("error: ") && ran.err.contains("cannot be written to"),
        "{}",
        ran.err
    );
    let ran = snapshot(&site, folder.path(), &[]).await;
    assert!(
        ran.is(2).err.contains("is not empty and holds no snapshot"),
        "{}",
        ran.err
    );
    assert_eq!(names(folder.path()), ["file"]);
    snapshot(&site, folder.path(), &["--force"]).await.is(0);
    assert_eq!(text(folder.path(), "file"), "mine");
    let wrong = snapshot_with(file, folder.path(), &[], &Env::new()).await;
    assert!(wrong.is(2).err.contains("error"), "{}", wrong.err);
}

/// A disk of 300 KiB, in a mount namespace of its own that ends with the command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_snapshot_and_leaves_what_was_there() {
    let (cms, site) = small().await;
    let mount = temporary();
    let file = site.folder().join("fragments.toml");
    let copy = temporary();
    let script = "mount -t tmpfs -o size=300k none \"$MOUNT\" || exit 90
        \"$BINARY\" snapshot \"$FILE\" --out \"$MOUNT/out\" || exit 91
        touch \"$COPY/first\"
        while [ -e \"$COPY/first\" ]; do sleep 0.01; done
        \"$BINARY\" snapshot \"$FILE\" --out \"$MOUNT/out\"
        code=$?
        cp -r \"$MOUNT/out\" \"$COPY\"
        exit $code";
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", script])
        .env("MOUNT", mount.path())
        .env("BINARY", BINARY)
        .env("FILE", file)
        .env("COPY", copy.path())
        .stdin(Stdio::null());
    let first = copy.path().join("first");
    let between = async {
        while !first.exists() {
            tokio::task::yield_now().await;
        }
        // does not fit beside the one that is there
        cms.on("/articles/a", html("b".repeat(200_000)));
        std::fs::remove_file(&first).unwrap();
    };
    let running = ran(command);
    tokio::pin!(running);
    let ran = tokio::select! {
        early = &mut running => early,
        () = between => running.await,
    };
    ran.is(1);
    assert!(
        ran.out
            .contains("stopped early: /articles/a cannot be written: "),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("No space left on device"), "{}", ran.out);
    let page = text(copy.path(), "out/articles/a/index.html");
    assert!(page.starts_with("aaa") && page.ends_with("a<p>related</p>"));
    let names = names(copy.path());
    assert!(
        names.iter().all(|name| !name.contains("draft")),
        "{names:?}"
    );
}
