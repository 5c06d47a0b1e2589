//! The site that marbre serves: one page of one core and seven optional blocks, each from an origin of
//! its own as JSON, with nothing in any cache but the core's last good copies. Owns its files.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::plant::{BLOCKS, CORE, DEADLINE, TARGET_MS, WORKERS};

/// What differs from run to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Whether the controller does anything at all, breakers included.
    pub(crate) is_on: bool,
    /// How many times too high the most that can be done is said to be.
    pub(crate) rate_max_factor: f64,
}

/// Constants of the law that are tried out, as lines of its table; none where the defaults are judged.
pub(crate) static TRIED: OnceLock<String> = OnceLock::new();

/// The files, gone with the value.
pub(crate) struct Site(TempDir);

impl Site {
    /// In a folder of its own.
    pub(crate) fn write(settings: Settings, origins: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let templates = folder.path().join("templates");
        fs::create_dir(&templates).expect("the temporary folder is writable");
        for (path, text) in [
            (templates.join("page.html"), layout()),
            (templates.join("block.html"), BLOCK.to_owned()),
            (
                folder.path().join("fragments.toml"),
                declaration(settings, origins),
            ),
        ] {
            fs::write(path, text).expect("the temporary folder is writable");
        }
        Self(folder)
    }

    /// The declaration.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("fragments.toml")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Stories of the site. Few, so that each has a snapshot before anything happens.
pub(crate) const STORIES: u64 = 40;

/// Optional blocks rank from 90 down by ten.
fn priority(block: usize) -> String {
    match block {
        CORE => "\"core\"".to_owned(),
        block => (100 - 10 * block).to_string(),
    }
}

const BLOCK: &str =
    "<!--b:{{ data.name }}--><!--at:{{ data.at }}--><section>{{ data.text }}</section>\n";

fn layout() -> String {
    let slots = BLOCKS.iter().map(|block| {
        let name = block.name;
        format!("<fragment name=\"{name}\"></fragment>\n")
    });
    let slots: String = slots.collect();
    format!("<!doctype html>\n<title>La page</title>\n{slots}<p>Fin.</p>\n")
}

fn declaration(settings: Settings, origins: &[SocketAddr]) -> String {
    let mode = if settings.is_on { "on" } else { "off" };
    let deadline = DEADLINE.as_millis();
    let mut toml = format!(
        "[server]\n\
         listen = \"127.0.0.1:0\"\n\
         state_dir = \"var\"\n\
         max_connections = 20000\n\
         [admin]\n\
         listen = \"127.0.0.1:0\"\n\
         [degradation]\n\
         mode = \"{mode}\"\n\
         target = \"{TARGET_MS:.0}ms\"\n\
         workers = {WORKERS}\n\
         reader_cookie = \"session\"\n"
    );
    toml += "[degradation.work_rate]\n";
    if settings.rate_max_factor > 1.0 {
        let rate_max = settings.rate_max_factor * RATE_MAX;
        let _ = writeln!(toml, "rate_max = {rate_max:?}");
    }
    toml += TRIED.get().map_or("", String::as_str);
    let breaker = if settings.is_on {
        BREAKER
    } else {
        "enabled = false"
    };
    for (block, address) in BLOCKS.iter().zip(origins) {
        let name = block.name;
        let _ = write!(
            toml,
            "[origins.{name}]\n\
             urls = [\"http://{address}\"]\n\
             owner = \"{name}\"\n\
             timeout = \"{deadline}ms\"\n\
             max_in_flight = 2000\n\
             breaker = {{ {breaker} }}\n"
        );
    }
    for (number, block) in BLOCKS.iter().enumerate() {
        let name = block.name;
        let keep = if number == CORE { "1h" } else { "0s" };
        let _ = write!(
            toml,
            "[fragments.{name}]\n\
             priority = {}\n\
             source = \"{name}:/{name}/{{story}}\"\n\
             template = \"block.html\"\n\
             timeout = \"{deadline}ms\"\n\
             ttl = \"0s\"\ngrace = \"0s\"\nkeep = \"{keep}\"\n\
             fallback = [{}]\n",
            priority(number),
            if number == CORE { "" } else { "\"omit\"" }
        );
    }
    toml += "[pages.page]\nroute = \"/page/{story}\"\nlayout = \"page.html\"\nbudget = \"1s\"\n";
    toml
}

/// The breakers that the table was made with: they look back less far than the defaults, and try an
/// origin that is away every three seconds at least.
const BREAKER: &str = "window = \"2s\", open_max = \"3s\", step = \"700ms\"";

/// The default of `degradation.work_rate.rate_max` on so many workers, in milliseconds a second.
const RATE_MAX: f64 = 1.5 * WORKERS as f64 * 1000.0;
