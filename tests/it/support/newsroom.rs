//! A newsroom: a site in a temporary folder and the server that serves it, on real sockets.
//!
//! ```ignore
//! let site = newsroom()
//!     .origin("cms", &cms)
//!     .core("article", "cms:/articles/{slug}")
//!     .optional("related", 40, "reco:/related")
//!     .page("article", "/articles/{slug}", "<h1>t</h1>[article][related]")
//!     .start().await;
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use marbre::app::{App, Options, StartError};
use marbre::degradation::executor::Emulation;
use marbre::degradation::{Job, Level};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::origin::Origin;
use super::reader::{Reader, client};

/// What is not so by then never is: a guard against tests that hang, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that nothing tells of.
const PAUSE: Duration = Duration::from_millis(5);

/// A site being written.
pub(crate) struct Draft {
    folder: TempDir,
    toml: String,
    level: u8,
    routes: Option<axum::Router>,
    emulated_work: Option<Emulation>,
}

pub(crate) fn newsroom() -> Draft {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let draft = Draft {
        folder,
        toml: String::new(),
        level: 0,
        routes: None,
        emulated_work: None,
    };
    draft.toml("[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n")
}

impl Draft {
    /// More keys of `[server]`.
    pub(crate) fn server(mut self, keys: &str) -> Self {
        self.toml = self
            .toml
            .replacen("[server]\n", &format!("[server]\n{keys}\n"), 1);
        self
    }

    /// More keys of `[admin]`.
    pub(crate) fn admin(mut self, keys: &str) -> Self {
        self.toml = self
            .toml
            .replacen("[admin]\n", &format!("[admin]\n{keys}\n"), 1);
        self
    }

    /// Operators connect there.
    pub(crate) fn with_admin_listen(mut self, address: &str) -> Self {
        let here = "[admin]\nlisten = \"127.0.0.1:0\"";
        self.toml = self
            .toml
            .replacen(here, &format!("[admin]\nlisten = \"{address}\""), 1);
        self
    }

    /// More of `fragments.toml`.
    pub(crate) fn toml(mut self, text: &str) -> Self {
        self.toml += text;
        self.toml += "\n";
        self
    }

    /// Where it is written.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file below `templates/`.
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        write(self.folder.path(), path, content.as_ref());
        self
    }

    pub(crate) fn origin(self, name: &str, origin: &Origin) -> Self {
        self.origin_at(name, &origin.url())
    }

    /// An origin that is waited for as long as a test may take.
    pub(crate) fn patient_origin(self, name: &str, url: &str) -> Self {
        self.toml(&format!(
            "[origins.{name}]\nurls = [\"{url}\"]\ntimeout = \"60s\"\n"
        ))
    }

    pub(crate) fn origin_at(self, name: &str, url: &str) -> Self {
        self.toml(&format!("[origins.{name}]\nurls = [\"{url}\"]\n"))
    }

    /// A core fragment of HTML without copies.
    /// Weaves everything that `cms` answers.
    pub(crate) fn weaving(self, language: &str, cms: &Origin) -> Self {
        self.patient_origin("cms", &cms.url()).toml(&format!(
            "[[proxy]]\nroute = \"/{{*rest}}\"\norigin = \"cms\"\nmarkup = \"{language}\""
        ))
    }

    pub(crate) fn core(self, name: &str, source: &str) -> Self {
        self.fragment(name, "\"core\"", source, "ttl = \"0s\"")
    }

    pub(crate) fn essential(self, name: &str, source: &str) -> Self {
        self.fragment(name, "\"essential\"", source, "ttl = \"0s\"")
    }

    /// An optional fragment of HTML without copies.
    pub(crate) fn optional(self, name: &str, rank: u8, source: &str) -> Self {
        self.fragment(name, &rank.to_string(), source, "ttl = \"0s\"")
    }

    /// A fragment with more keys.
    pub(crate) fn fragment(self, name: &str, priority: &str, source: &str, more: &str) -> Self {
        self.toml(&format!(
            "[fragments.{name}]\npriority = {priority}\nsource = '{source}'\n{more}\n"
        ))
    }

    /// A page whose layout is this text, with `[name]` for a slot.
    pub(crate) fn page(self, name: &str, route: &str, layout: &str) -> Self {
        self.page_within(name, route, layout, "2s")
    }

    pub(crate) fn page_within(self, name: &str, route: &str, layout: &str, budget: &str) -> Self {
        let html = slots(layout);
        self.file(&format!("layouts/{name}.html"), html).toml(&format!(
            "[pages.{name}]\nroute = \"{route}\"\nlayout = \"layouts/{name}.html\"\nbudget = \"{budget}\"\n"
        ))
    }

    /// The pages so far are never taken as snapshots.
    pub(crate) fn without_snapshots(mut self) -> Self {
        self.toml = self
            .toml
            .replace("\nlayout = ", "\nsnapshot_keep = \"0s\"\nlayout = ");
        self
    }

    /// It has run before, and knows what an answer for each of these takes usually, in milliseconds.
    pub(crate) fn knowing(self, usual: &[(&str, f64)]) -> Self {
        let usual: serde_json::Map<_, _> = usual
            .iter()
            .map(|(name, ms)| ((*name).to_owned(), Value::from(*ms)))
            .collect();
        let learned = serde_json::json!({"version": 1, "cores": 0, "baselines_ms": usual});
        let folder = self.folder.path().join("var");
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        std::fs::write(folder.join("learned.json"), learned.to_string())
            .expect("the temporary folder is writable");
        self
    }

    /// `[degradation]`, on, with these keys.
    pub(crate) fn degradation(self, keys: &str) -> Self {
        self.toml(&format!("[degradation]\n{keys}"))
    }

    /// Jobs take so many milliseconds besides what they take.
    pub(crate) fn work(mut self, ms: impl Fn(Job<'_>) -> u64 + Send + Sync + 'static) -> Self {
        let emulation = move |job: Job<'_>| Duration::from_millis(ms(job));
        self.emulated_work = Some(Arc::new(emulation));
        self
    }

    pub(crate) fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// On a machine that runs hundreds of tests at once a server would give up blocks, and rightly so:
    /// where a test says nothing of that, it does not.
    fn calm(self) -> Self {
        match self.toml.contains("[degradation]") {
            true => self,
            false => self.toml("[degradation]\nmode = \"off\""),
        }
    }

    /// The folder of the site, for a program of its own to serve.
    pub(crate) fn written(self) -> TempDir {
        let this = self.calm();
        let file = this.folder.path().join("fragments.toml");
        std::fs::write(&file, &this.toml).expect("the temporary folder is writable");
        this.folder
    }

    pub(crate) async fn start(self) -> Newsroom {
        let toml = self.toml.clone();
        match self.try_start().await {
            Ok(site) => site,
            Err(error) => panic!("the site does not start:\n{error}\n{}", numbered(&toml)),
        }
    }

    pub(crate) async fn try_start(self) -> Result<Newsroom, StartError> {
        let this = self.calm();
        let file = this.folder.path().join("fragments.toml");
        std::fs::write(&file, &this.toml).expect("the temporary folder is writable");
        let options = Options {
            level: Level::new(this.level),
            admin_routes: this.routes,
            emulated_work: this.emulated_work,
            ..Options::new(&file)
        };
        let app = App::start(options).await?;
        Ok(Newsroom {
            app,
            folder: this.folder,
            toml: this.toml,
            client: client(),
        })
    }
}

/// `[name]` → `<fragment name="name"></fragment>`.
pub(crate) fn slots(layout: &str) -> String {
    let mut html = String::new();
    let mut rest = layout;
    while let Some((before, after)) = rest.split_once('[') {
        let (name, after) = after.split_once(']').expect("a slot ends with ]");
        let _ = write!(html, "{before}<fragment name=\"{name}\"></fragment>");
        rest = after;
    }
    html + rest
}

fn write(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join("templates").join(path);
    let parent = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(parent).expect("the temporary folder is writable");
    std::fs::write(path, content).expect("the temporary folder is writable");
}

fn numbered(text: &str) -> String {
    text.lines()
        .enumerate()
        .map(|(i, line)| format!("{:3} {line}\n", i + 1))
        .collect()
}

/// A site being served.
pub(crate) struct Newsroom {
    pub(crate) app: App,
    folder: TempDir,
    toml: String,
    /// Built once: that takes so long that the server, in the same thread, is late meanwhile.
    client: reqwest::Client,
}

/// A site that was served.
pub(crate) struct Stopped {
    folder: TempDir,
    toml: String,
}

impl Stopped {
    pub(crate) async fn started(self) -> Newsroom {
        let file = self.folder.path().join("fragments.toml");
        let app = App::start(Options::new(&file)).await;
        Newsroom {
            app: app.expect("what has started once starts again"),
            folder: self.folder,
            toml: self.toml,
            client: client(),
        }
    }
}

impl Newsroom {
    /// The same site after a stop and a start.
    pub(crate) async fn restarted(self) -> Self {
        self.stopped().await.started().await
    }

    /// Nothing but what outlives it.
    pub(crate) async fn stopped(self) -> Stopped {
        assert!(self.app.stop().await, "everything ends in time");
        Stopped {
            folder: self.folder,
            toml: self.toml,
        }
    }

    /// Where it keeps what outlives it.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("var")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.app.address)
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.app.admin_address)
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.app.address)
    }

    /// One who comes again, on the connections that there are.
    pub(crate) fn regular(&self) -> Reader {
        Reader::again(self.app.address, &self.client)
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Rewrites the declaration; the change is noticed as any other.
    pub(crate) fn rewrite(&mut self, edit: impl FnOnce(&str) -> String) {
        self.toml = edit(&self.toml);
        std::fs::write(self.folder.path().join("fragments.toml"), &self.toml)
            .expect("the temporary folder is writable");
    }

    /// Rewrites a file below `templates/`.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        write(self.folder.path(), path, content.as_ref());
    }

    /// `/state` of the admin listener.
    pub(crate) async fn state(&self) -> Value {
        let url = format!("{}/state", self.admin_url());
        let answer = self.client.get(url).send().await;
        let body = answer.expect("the admin listener answers").bytes().await;
        serde_json::from_slice(&body.expect("/state ends")).expect("/state is JSON")
    }

    /// What the admin listener answers to this path.
    pub(crate) async fn admin_text(&self, path: &str) -> String {
        let answer = self
            .client
            .get(format!("{}{path}", self.admin_url()))
            .send();
        let answer = answer.await.expect("the admin listener answers");
        answer.text().await.expect("its answer ends")
    }

    /// The state once it is so.
    pub(crate) async fn state_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut state = Value::Null;
        let seen = timeout(PATIENCE, async {
            loop {
                state = self.state().await;
                if is_so(&state) {
                    return;
                }
                sleep(PAUSE).await;
            }
        });
        let seen = seen.await;
        assert!(seen.is_ok(), "no {what}: {state:#}");
        state
    }

    /// What `/state` says of an origin.
    pub(crate) async fn origin_state(&self, name: &str) -> Value {
        self.state().await["origins"][name].take()
    }

    /// The events so far, newest first.
    pub(crate) async fn events(&self) -> Vec<String> {
        let events = self.state().await["tally"]["events"].take();
        serde_json::from_value(events).expect("events are text")
    }

    /// The outcome and cause of a fragment in the latest incomplete page.
    pub(crate) async fn complaint(&self, fragment: &str) -> String {
        let state = self.state().await;
        state["tally"]["incomplete"][0]["blocks"][fragment]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }
}
