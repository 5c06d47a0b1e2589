//! The site that is served, and the store that its nodes would share.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener as StdListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::origin::Origin;

/// What the state folder may take.
pub(crate) const STATE_BYTES: u64 = 64 << 20;

/// How long a page may take.
pub(crate) const BUDGET_MS: u64 = 2000;

/// A process that ends with the value.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn write_site(site: &TempDir, origins: &[Origin], store: Option<u16>, ttl: u64) {
    let mut toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nstate_size = \"{}MiB\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [limits]\ncache_size = \"32MiB\"\n",
        STATE_BYTES >> 20
    );
    if let Some(port) = store {
        write!(toml, "[shared]\nvalkey = \"redis://127.0.0.1:{port}\"\n").unwrap();
    }
    for (name, (url, _)) in ["cms", "web", "ads"].iter().zip(origins) {
        write!(
            toml,
            "[origins.{name}]\nurls = [\"{url}\"]\ntimeout = \"1s\"\n"
        )
        .unwrap();
    }
    let required = format!("ttl = \"{ttl}s\"");
    for (name, priority, source, more) in [
        (
            "article",
            "\"core\"",
            "cms:/article/{slug}",
            required.as_str(),
        ),
        (
            "aside",
            "\"essential\"",
            "web:/aside/{slug}",
            "ttl = \"2s\"",
        ),
        (
            "live",
            "60",
            "web:/live/{slug}",
            "ttl = \"1s\"\nkeep = \"1h\"\ndurable = true",
        ),
        ("ticker", "50", "ads:/ticker", "ttl = \"0s\""),
        ("ad", "10", "ads:/ad", "ttl = \"1s\"\nkeep = \"10m\""),
    ] {
        write!(
            toml,
            "[fragments.{name}]\npriority = {priority}\nsource = '{source}'\n{more}\n"
        )
        .unwrap();
    }
    toml += "[pages.page]\nroute = \"/p/{slug}\"\nlayout = \"page.html\"\nbudget = \"2s\"\n";
    let slot = |name: &str| format!("<fragment name=\"{name}\"></fragment>");
    let layout: String = ["article", "aside", "live", "ticker", "ad"]
        .map(slot)
        .concat();
    fs::create_dir_all(site.path().join("templates")).unwrap();
    fs::write(site.path().join("templates/page.html"), layout).unwrap();
    // whole or not at all: the server watches this file
    let (new, file) = (
        site.path().join("new.toml"),
        site.path().join("fragments.toml"),
    );
    fs::write(&new, toml).unwrap();
    fs::rename(new, file).unwrap();
}

/// A port that is free.
pub(crate) fn free_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A Redis or Valkey that keeps nothing on disk, if one is installed.
pub(crate) fn store(port: u16) -> Option<Process> {
    for program in ["valkey-server", "redis-server"] {
        let mut command = Command::new(program);
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
        ]);
        command.args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
        if let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            return Some(Process(child));
        }
    }
    None
}
