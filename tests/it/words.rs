//! The documents do what they say: every command of them is run, in order, in an empty folder, by the real
//! program; every declaration is checked by it; and what the text says is printed is printed.
//!
//! What a block is stands behind its language, where a reader of the page does not see it and one of the
//! source does:
//!
//! | block | |
//! |---|---|
//! | `sh run` | is run, after those before it and by the same shell; a command that fails ends it |
//! | `sh demo` | the same beside a running demo, whose ports stand for 8080 and 8081, among its files |
//! | `text prints` | is what the block before it has printed; `…` stands for anything, alone in a line for any lines |
//! | `toml file=NAME`, `html file=NAME` | is written to that file, before what follows is run |
//! | `toml append=NAME` | is written to its end |
//! | `toml check` | is a whole declaration: `marbre check` accepts it, with stand-ins for its templates |
//! | `toml more` | is laid over the declaration before it |
//! | `toml part` | is laid over the demo's declaration |
//! | `… from=FILE` | is a part of that file, word for word; the tests run it there |
//! | `… example` | shows what something looks like: there is nothing to run |
//! | `… not run: WHY` | is run by nobody, for that reason |
//!
//! Ports are exchanged for free ones. A block that is none of these fails the test, as does code that is
//! indented: nobody would know what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use regex::Regex;
use tempfile::TempDir;

use crate::support::newspaper::repository;

const BINARY: &str = env!("CARGO_BIN_EXE_marbre");

/// What may be named in `${…}` of a declaration that is only checked.
const VARIABLES: [(&str, &str); 4] = [
    ("MARBRE_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef"),
    ("MARBRE_READ_TOKEN", "fedcba9876543210fedcba9876543210"),
    ("MARBRE_DEBUG_SECRET", "0123456789abcdef0123456789abcdef"),
    ("OTLP_TOKEN", "0123456789abcdef"),
];

/// A fenced block.
#[derive(Debug, Clone)]
struct Block {
    /// Where it begins, from 1.
    line: usize,
    language: String,
    /// What stands behind the language.
    what: String,
    text: String,
}

/// A document, by its path in the repository.
struct Document {
    name: String,
    text: String,
    blocks: Vec<Block>,
}

/// All of them: the README, what is at its side, and everything in `docs/`.
fn documents() -> Vec<Document> {
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "deploy/README.md",
    ]
    .map(|name| repository().join(name))
    .to_vec();
    let mut folders = vec![repository().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = paths.iter().map(|path| {
        let name = path.strip_prefix(repository()).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let name = name.to_str().unwrap().to_owned();
        let blocks = blocks(&name, &text);
        Document { name, text, blocks }
    });
    read.collect()
}

fn document(name: &str) -> Document {
    let mut documents = documents().into_iter();
    let found = documents.find(|document| document.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

fn blocks(name: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    let mut is_after_blank = true;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if let Some(info) = line.strip_prefix("```") {
            open = !open;
            if open {
                let (language, what) = info.split_once(' ').unwrap_or((info, ""));
                blocks.push(Block {
                    line: number,
                    language: language.to_owned(),
                    what: what.trim().to_owned(),
                    text: String::new(),
                });
            }
        } else if open {
            let block = blocks.last_mut().unwrap();
            block.text.push_str(line);
            block.text.push('\n');
        } else {
            assert!(
                !(is_after_blank && line.starts_with("    ")),
                "{name}:{number}: code that is indented; fence it, and say what it is"
            );
        }
        is_after_blank = line.trim().is_empty();
    }
    assert!(!open, "{name}: the last block has no end");
    blocks
}

#[test]
fn every_block_says_what_it_is() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        let mut is_run = false;
        for block in &document.blocks {
            seen += 1;
            let reason = block.what.strip_prefix("not run: ");
            let is_known = match (block.language.as_str(), block.what.as_str()) {
                (_, what) if reason.is_some() => what.len() > "not run: ".len() + 10,
                ("sh", "run" | "demo") | ("toml", "check" | "more" | "part") => true,
                ("text", "prints") => is_run,
                ("sh" | "toml", "example") => false,
                (language, what) => {
                    what == "example" && !language.is_empty()
                        || ["file=", "append=", "from="]
                            .iter()
                            .any(|key| what.starts_with(key))
                }
            };
            is_run = block.language == "sh" && reason.is_none();
            if !is_known {
                let Block {
                    line,
                    language,
                    what,
                    ..
                } = block;
                wrong.push(format!("{}:{line}: `{language} {what}`", document.name));
            }
        }
    }
    assert!(seen > 50, "the documents were found");
    assert!(
        wrong.is_empty(),
        "neither run nor excluded with a reason:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_is_shown_of_a_file_is_in_it() {
    let mut seen = 0;
    for document in documents() {
        for block in &document.blocks {
            let Some(path) = block.what.strip_prefix("from=") else {
                continue;
            };
            let file = std::fs::read_to_string(repository().join(path)).unwrap();
            let at = format!("{}:{}", document.name, block.line);
            assert!(file.contains(&block.text), "{at}: {path} says it otherwise");
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} pieces of files were found");
}

#[test]
fn every_command_that_is_named_is_one() {
    let helped = Command::new(BINARY).arg("--help").output().unwrap();
    let helped = String::from_utf8(helped.stdout).unwrap();
    let commands = helped
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: BTreeSet<&str> = commands.filter(|name| !name.is_empty()).collect();
    assert!(commands.contains("serve"), "{helped}");
    let named = Regex::new(r"(?m)(?:^|`|\$\()marbre ([a-z][a-z-]+)").unwrap();
    let mut seen = BTreeSet::new();
    for document in documents() {
        for found in named.captures_iter(&document.text) {
            let name = found.get(1).unwrap().as_str().to_owned();
            assert!(
                commands.contains(name.as_str()),
                "{}: there is no `marbre {name}`",
                document.name
            );
            seen.insert(name);
        }
    }
    for command in commands {
        assert!(
            command == "help" || seen.contains(command),
            "no document says what `marbre {command}` does"
        );
    }
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut seen = 0;
    for document in documents() {
        let folder = repository().join(&document.name);
        let folder = folder.parent().unwrap();
        for found in link.captures_iter(&document.text) {
            let to = found.get(1).unwrap().as_str();
            if to.contains("://") {
                continue;
            }
            let (path, anchor) = to.split_once('#').unwrap_or((to, ""));
            let target = match path {
                "" => repository().join(&document.name),
                path => folder.join(path),
            };
            assert!(target.exists(), "{}: {to}", document.name);
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let heads = text.lines().filter(|line| line.starts_with('#'));
                let found = heads.map(anchor_of).any(|known| known == anchor);
                assert!(found, "{}: {to} has no such heading", document.name);
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} links were found");
}

/// What a heading is called in an address.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_file_that_is_named_is_there() {
    let named = "`((?:tests|src|deploy|docs|benches|fuzz|templates)/[A-Za-z0-9_./-]+)`";
    let named = Regex::new(named).unwrap();
    let mut seen = 0;
    for document in documents() {
        for found in named.captures_iter(&document.text) {
            let path = &found[1];
            assert!(
                repository().join(path).exists(),
                "{}: {path}",
                document.name
            );
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} files were found");
}

#[test]
fn every_document_is_in_the_index() {
    let index = document("docs/README.md").text;
    for document in documents() {
        let Some(name) = document.name.strip_prefix("docs/") else {
            continue;
        };
        assert!(
            name == "README.md" || index.contains(&format!("]({name})")),
            "docs/README.md does not lead to {name}"
        );
    }
}

/// `over` laid over `under`: tables grow together, lists of tables grow, all else is replaced.
fn lay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay(under, over),
            (Some(toml::Value::Array(under)), toml::Value::Array(over))
                if over.first().is_some_and(toml::Value::is_table) && key != "urls" =>
            {
                under.extend(over);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Puts a file where the declaration says that there is one.
fn stand_in(folder: &Path, place: &str, text: &str) {
    let path = folder.join(place);
    if !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// The templates that a declaration names, as far as they are not there.
fn stand_ins(folder: &Path, site: &toml::Table) {
    let tables = |name: &str| {
        let tables = site.get(name).and_then(toml::Value::as_table);
        tables.cloned().unwrap_or_default()
    };
    let fragments = tables("fragments");
    let slots = fragments.keys();
    let slots = slots.map(|name| format!("<fragment name=\"{name}\"></fragment>"));
    let layout = slots.collect::<String>();
    for page in tables("pages").values() {
        if let Some(place) = page.get("layout").and_then(toml::Value::as_str) {
            stand_in(folder, place, &layout);
        }
    }
    for fragment in fragments.values() {
        if let Some(place) = fragment.get("template").and_then(toml::Value::as_str) {
            stand_in(folder, place, "<p>{{ title }}</p>");
        }
        let rungs = fragment.get("fallback").and_then(toml::Value::as_array);
        for rung in rungs.into_iter().flatten() {
            if let Some(place) = rung.as_str().and_then(|rung| rung.strip_prefix("static:")) {
                stand_in(folder, place, "<p>a stand-in</p>");
            }
        }
    }
    let pages = ["error_page", "not_found_page"].map(|key| tables("site").get(key).cloned());
    for place in pages.into_iter().flatten() {
        stand_in(folder, place.as_str().unwrap(), "<h1>No page</h1>");
    }
}

/// What `marbre check` says of a declaration, if it does not accept it.
fn check(site: &toml::Table, folder: &TempDir) -> Result<(), String> {
    let file = folder.path().join("fragments.toml");
    std::fs::write(&file, toml::to_string(site).unwrap()).unwrap();
    let templates = folder.path().join("templates");
    std::fs::create_dir_all(&templates).unwrap();
    stand_ins(&templates, site);
    let mut command = Command::new(BINARY);
    command.arg("check").arg(&file).envs(VARIABLES);
    let checked = command.output().unwrap();
    match checked.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&checked.stderr).into_owned()),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn every_declaration_is_accepted() {
    let demo = std::fs::read_to_string(repository().join("fragments.toml")).unwrap();
    let demo: toml::Table = demo.parse().unwrap();
    let (mut refused, mut seen) = (Vec::new(), 0);
    for document in documents() {
        let mut last = toml::Table::new();
        for block in document
            .blocks
            .iter()
            .filter(|block| block.language == "toml")
        {
            let over = || -> toml::Table {
                let parsed = block.text.parse();
                parsed.unwrap_or_else(|why| panic!("{}:{}: {why}", document.name, block.line))
            };
            let folder = tempfile::tempdir().unwrap();
            let site = match block.what.as_str() {
                "check" => over(),
                "more" => {
                    let mut site = last.clone();
                    lay(&mut site, over());
                    site
                }
                "part" => {
                    copy(
                        &repository().join("templates"),
                        &folder.path().join("templates"),
                    );
                    let mut site = demo.clone();
                    lay(&mut site, over());
                    site
                }
                _ => continue,
            };
            seen += 1;
            if let Err(why) = check(&site, &folder) {
                refused.push(format!("{}:{}:\n{why}", document.name, block.line));
            }
            if block.what != "part" {
                last = site;
            }
        }
    }
    assert!(seen > 10, "{seen} declarations were found");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Ports of the text, by those that stand for them.
struct Ports {
    known: BTreeMap<String, String>,
    /// Nobody else gets them meanwhile.
    held: Vec<TcpListener>,
}

impl Ports {
    fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn of(&mut self, port: &str) -> String {
        if let Some(known) = self.known.get(port) {
            return known.clone();
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let number = free.local_addr().unwrap().port().to_string();
        self.held.push(free);
        self.known.insert(port.to_owned(), number.clone());
        number
    }

    /// The text with its ports exchanged.
    fn exchange(&mut self, text: &str) -> String {
        let port = Regex::new(r"\b(80\d\d|6379)\b").unwrap();
        let exchanged = port.replace_all(text, |found: &regex::Captures<'_>| self.of(&found[1]));
        exchanged.into_owned()
    }
}

/// A demo beside the document.
pub(crate) struct Demo {
    child: Child,
    /// Of the newspaper, and of the operators.
    pub(crate) ports: [String; 2],
}

impl Demo {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["demo", "--free-ports"]).current_dir(folder);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap();
        let address = Regex::new(
            r"the newspaper +http://127.0.0.1:(\d+)/|for operators +http://127.0.0.1:(\d+)/",
        )
        .unwrap();
        let mut ports = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(found) = address.captures(&line) {
                let port = found.iter().skip(1).flatten().next().unwrap();
                ports.push(port.as_str().to_owned());
            }
            if ports.len() == 2 {
                break;
            }
        }
        let ports = ports.try_into().expect("the demo says where it is");
        Self { child, ports }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program of a document for one shell. What each block prints goes to a file of its own.
fn script(document: &Document, ports: &mut Ports) -> String {
    let mut script = "set -m -e -u -o pipefail\n\
         leave() { for job in $(jobs -p); do kill -KILL -- \"-$job\" 2>/dev/null || true; done; }\n\
         trap leave EXIT\n"
        .to_owned();
    for (index, block) in document.blocks.iter().enumerate() {
        let text = ports.exchange(&block.text);
        let _ = match (block.language.as_str(), block.what.split_once('=')) {
            (_, Some(("file", name))) => write!(
                script,
                "mkdir -p \"$(dirname '{name}')\"\ncat > '{name}' <<'END OF FILE'\n{text}END OF FILE\n"
            ),
            (_, Some(("append", name))) => {
                write!(
                    script,
                    "cat >> '{name}' <<'END OF FILE'\n{text}END OF FILE\n"
                )
            }
            ("sh", None) if ["run", "demo"].contains(&block.what.as_str()) => write!(
                script,
                "echo {index} > \"$TOLD/at\"\nexec > \"$TOLD/{index}\" 2>&1\n{text}"
            ),
            _ => Ok(()),
        };
    }
    script + "echo end > \"$TOLD/at\"\n"
}

/// What the shell itself says of its jobs is no output of a command.
fn without_jobs(told: &str) -> String {
    let job =
        Regex::new(r"(?m)^\[\d+\][+-]? .*\n|^.*line \d+: +\d+ (Killed|Terminated|Stopped).*\n")
            .unwrap();
    // the lines of a head end as HTTP has it
    job.replace_all(told, "").replace('\r', "")
}

/// Whether this was printed, `…` standing for anything.
fn is_printed(expected: &str, told: &str) -> bool {
    let mut pattern = "(?s)^".to_owned();
    for line in expected.lines() {
        pattern += &match line {
            "…" => "(?:.*\n)?".to_owned(),
            line => regex::escape(line).replace('…', "[^\n]*") + " *\n",
        };
    }
    let pattern = Regex::new(&format!("{pattern}$")).unwrap();
    // the last line of an answer may have no end
    pattern.is_match(&format!("{}\n", told.trim_end()))
}

#[test]
fn what_is_printed_is_compared_line_by_line() {
    let told = "one\ntwo 2\nthree\nfour\n";
    for expected in [
        "one\ntwo 2\nthree\nfour\n",
        "one\ntwo …\n…\n",
        "…\nthree\nfour\n",
        "…\n",
    ] {
        assert!(is_printed(expected, told), "{expected}");
    }
    for expected in [
        "one\n",
        "one\n…\nthree\n",
        "two 2\n…\n",
        "one\ntwo\n…\n",
        "",
    ] {
        assert!(!is_printed(expected, told), "{expected}");
    }
}

/// Does what the document says, word for word.
fn follow(name: &str) {
    let document = document(name);
    let folder = tempfile::tempdir().unwrap();
    let [bin, home, told] = ["bin", "home", "told"].map(|name| folder.path().join(name));
    for made in [&bin, &home, &told] {
        std::fs::create_dir(made).unwrap();
    }
    std::os::unix::fs::symlink(BINARY, bin.join("marbre")).unwrap();
    stand_in_for_the_store(&bin);
    let mut ports = Ports::new();
    let is_beside_demo = document.blocks.iter().any(|block| block.what == "demo");
    if is_beside_demo {
        for name in ["templates", "tests/scenarios", "tests/experiments"] {
            copy(&repository().join(name), &home.join(name));
        }
        std::fs::copy(
            repository().join("fragments.toml"),
            home.join("fragments.toml"),
        )
        .unwrap();
    }
    let demo = is_beside_demo.then(|| Demo::start(&home));
    if let Some(demo) = &demo {
        for (port, found) in ["8080", "8081"].iter().zip(&demo.ports) {
            ports.known.insert((*port).to_owned(), found.clone());
        }
    }
    let script = script(&document, &mut ports);
    let ran = document
        .blocks
        .iter()
        .filter(|block| block.language == "sh");
    let ran = ran.filter(|block| ["run", "demo"].contains(&block.what.as_str()));
    assert!(ran.count() > 0, "{name} has nothing to be run");
    std::fs::write(folder.path().join("script"), &script).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", "400", "bash"])
        .arg(folder.path().join("script"))
        .current_dir(&home)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("HOME", &home)
        .env("TOLD", &told)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("NO_COLOR", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env(
            "MARBRE_ADMIN",
            format!("http://127.0.0.1:{}", ports.of("8081")),
        )
        .env("REPOSITORY", repository())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    ports.held.clear();
    let ended = command.output().unwrap();
    drop(demo);
    let at = std::fs::read_to_string(told.join("at")).unwrap_or_default();
    for (index, block) in document.blocks.iter().enumerate() {
        let printed = |index: usize| {
            let printed = std::fs::read_to_string(told.join(index.to_string()));
            without_jobs(&printed.unwrap_or_default())
        };
        assert!(
            at.trim() != index.to_string(),
            "{name}:{}: a command fails:\n{}\n{}\n{}",
            block.line,
            block.text,
            printed(index),
            String::from_utf8_lossy(&ended.stderr)
        );
        if block.what == "prints" {
            let (expected, told) = (ports.exchange(&block.text), printed(index - 1));
            assert!(
                is_printed(&expected, &told),
                "{name}:{}: not what is printed:\n{expected}\nbut\n{told}",
                block.line
            );
        }
    }
    assert_eq!(at.trim(), "end", "{name}");
}

/// Where the store of `tests/run` is Valkey, it answers to the other's name.
fn stand_in_for_the_store(bin: &Path) {
    let named = std::env::var("MARBRE_TEST_STORE").ok();
    let script =
        "for name in \"$1\" redis-server valkey-server; do command -v \"$name\" && exit; done";
    let mut which = Command::new("sh");
    which
        .args(["-c", script, "sh"])
        .arg(named.unwrap_or_else(|| "redis-server".to_owned()));
    let found = String::from_utf8(which.output().unwrap().stdout).unwrap();
    let found = found.trim();
    assert!(!found.is_empty(), "tests/run installs a store");
    std::os::unix::fs::symlink(found, bin.join("redis-server")).unwrap();
}

/// A test for each document that has something to run; and nothing to run that has none.
macro_rules! followed {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            follow($name);
        })*

        #[test]
        fn every_document_with_commands_is_followed() {
            let with_commands = documents().into_iter().filter(|document| {
                let mut blocks = document.blocks.iter();
                blocks.any(|block| ["run", "demo"].contains(&block.what.as_str()))
            });
            let with_commands: BTreeSet<String> =
                with_commands.map(|document| document.name).collect();
            assert_eq!(with_commands, BTreeSet::from([$($name.to_owned()),*]));
        }
    };
}

followed! {
    the_readme_does_what_it_says "README.md"
    the_tutorial_does_what_it_says "docs/tutorial.md"
    moving_from_varnish_does_what_it_says "docs/how-to/move-from-varnish.md"
    moving_from_nginx_does_what_it_says "docs/how-to/move-from-nginx.md"
    moving_from_tailor_does_what_it_says "docs/how-to/move-from-tailor.md"
    adding_a_block_does_what_it_says "docs/how-to/add-a-block.md"
    rehearsing_an_election_night_does_what_it_says "docs/how-to/rehearse-an-election-night.md"
    running_several_nodes_does_what_it_says "docs/how-to/run-several-nodes.md"
    pushing_does_what_it_says "docs/push-and-purge.md"
    levels_do_what_they_say "docs/levels.md"
    operating_does_what_it_says "docs/operators.md"
    faults_on_purpose_do_what_they_say "docs/chaos.md"
    commands_do_what_they_say "docs/commands.md"
    simulating_does_what_it_says "docs/simulation.md"
    installing_does_what_it_says "deploy/README.md"
}
