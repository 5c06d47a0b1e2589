//! Marbre as a part of another program: the examples of `docs/examples/`, each as a process of its own, keep
//! what they promise.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use axum::body::Body;
use marbre::app::{App, Options};
use marbre::config::{Declaration, Entry};
use marbre::fetch::origin::{OriginResponse, answering};
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::support::newspaper::repository;
use crate::support::reader::Reader;

/// What has not come by then does not come: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// More than any example says in a test.
const LINES_MAX: usize = 1 << 16;

/// Where the examples are, of the source as it is now: a test run of one target does not build them.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--locked",
        "--offline",
        "--examples",
        "--target-dir",
    ]);
    build.arg(profile.parent().unwrap());
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(repository()).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    profile.join("examples")
});

/// A running example, killed when the test ends in whichever way.
struct Example {
    child: Child,
    address: SocketAddr,
    /// What it says after its address.
    lines: Receiver<String>,
}

impl Example {
    fn start(name: &str) -> Self {
        let mut command = Command::new(EXAMPLES.join(name));
        command.arg("127.0.0.1:0").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next().expect("it says where it listens").unwrap();
        let address = first.strip_prefix("listens on http://");
        let address = address.and_then(|rest| rest.trim_end_matches('/').parse().ok());
        let (tell, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self {
            child,
            address: address.unwrap_or_else(|| panic!("no address: {first}")),
            lines,
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(self.address)
    }

    /// SIGTERM, after which it ends well; all that it has said.
    fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").arg(pid).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        std::mem::replace(&mut self.lines, sync_channel(0).1)
            .iter()
            .collect()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // unless it has ended before
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_site_in_code_stands_beside_a_programs_own_routes() {
    let program = Example::start("mounted");
    let reader = program.reader();
    reader
        .get("/version")
        .await
        .is(200, env!("CARGO_PKG_VERSION"));
    // the weather's service is not there
    let page = reader.get("/").await;
    page.is(
        200,
        "<main><h1>The bridge is open again</h1></main>\
         <aside><p>Look out of the window</p></aside>\n",
    );
    assert_eq!(page.level(), 0);
    let nothing = reader.get("/nothing").await;
    assert_eq!(nothing.status, 404);
    program.stop();
}

/// A site of one page, whose core is this text.
fn site(text: &str) -> Declaration {
    let front = Entry::new().set("priority", "core");
    Declaration::new()
        .section("server", Entry::new().set("state_dir", ""))
        .fragment("front", front.set("source", format!("inline:{text}")))
        .page(
            "front",
            Entry::new().set("route", "/").set("layout", "front.html"),
        )
        .template("front.html", "<fragment name=\"front\"></fragment>")
}

/// Status and body of the page.
async fn asked(app: &App) -> (u16, String) {
    let request = http::Request::get("/").header("host", "localhost");
    let request = request.body(Body::empty()).unwrap();
    let answer = app.router().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn another_declaration_takes_the_place_of_the_one_before_unless_it_is_wrong() {
    let options = Options::declared(site("one")).mounted().without_operators();
    let app = App::start(options).await.unwrap();
    assert_eq!(asked(&app).await, (200, "one".to_owned()));
    let changes = app.declare(site("two")).await.unwrap();
    assert!(!changes.is_empty());
    assert_eq!(asked(&app).await, (200, "two".to_owned()));
    let wrong = site("three").page("front", Entry::new().set("rout", "/"));
    let refused = app.declare(wrong).await.unwrap_err().to_string();
    assert!(refused.contains("route"), "{refused}");
    assert_eq!(asked(&app).await, (200, "two".to_owned()));
    // a reload reads what was declared last
    assert_eq!(app.reload().await, Ok(Vec::new()));
    assert!(app.stop().await);
}

#[tokio::test]
async fn an_origin_of_ones_own_that_no_site_declares_is_refused_at_the_start() {
    let nobody = answering(|_| async { Ok(OriginResponse::html("")) });
    let options = Options::declared(site("one")).mounted().without_operators();
    let refused = App::start(options.origin("weather", nobody)).await.err();
    assert!(refused.unwrap().to_string().contains("`weather`"));
}

#[tokio::test]
async fn an_origin_of_ones_own_has_deadlines_and_a_chain_as_any_other() {
    let program = Example::start("own_origin");
    let reader = program.reader();
    let page = |story: &str, related: &str| {
        format!("<main><h1>{story}</h1></main>\n<aside><p>{related}</p></aside>\n")
    };
    let (bridge, most_read) = ("The bridge is open again", "Most read: the bridge");
    reader
        .get("/bridge")
        .await
        .is(200, &page(bridge, "More on bridge"));
    // what would come in an hour, and what panics, costs one block
    for (path, story) in [
        ("/ferry", "The ferry is late"),
        ("/market", "The market moves"),
    ] {
        reader.get(path).await.is(200, &page(story, most_read));
    }
    assert_eq!(reader.get("/nothing").await.status, 404);
    program.stop();
}

#[tokio::test]
async fn a_law_and_an_observer_of_ones_own_decide_and_are_told() {
    let program = Example::start("own_law");
    let reader = program.reader();
    let ads = "<p>Buy a boat</p>";
    let mut pages: Vec<(u8, bool)> = Vec::new();
    for (method, with_ads) in [("DELETE", true), ("PUT", false), ("DELETE", true)] {
        let thrifty = reader.send(reader.request(method, "/thrifty")).await;
        assert_eq!(thrifty.status, 200);
        let asked = timeout(PATIENCE, async {
            loop {
                let page = reader.get("/").await;
                assert!(page.body.contains("The bridge is open again"));
                let has_ads = page.body.contains(ads);
                pages.push((page.level(), has_ads));
                if has_ads == with_ads {
                    return;
                }
            }
        });
        asked.await.expect("the law decides");
    }
    assert_eq!(pages.last(), Some(&(0, true)));
    assert!(pages.contains(&(1, false)));
    let said = program.stop();
    let said: Vec<Value> = said
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = said.iter().filter(|line| line["page"] == "front");
    let told: Vec<u8> = told
        .map(|line| line["level"].as_u64().unwrap() as u8)
        .collect();
    let levels: Vec<u8> = pages.iter().map(|(level, _)| *level).collect();
    assert_eq!(told, levels);
    let event = said[0]["event"].as_str().unwrap_or_default();
    assert!(event.ends_with("serves"), "{event}");
}
