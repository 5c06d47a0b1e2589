//! The demo newspaper: a site, its origins, and dials to make them misbehave. Owns the files that
//! are built into the program and where they are served from.
//!
//! In a checkout the demo serves the `fragments.toml` that lies there, so that an edit shows at the
//! next page view; anywhere else it writes its own copy to a temporary folder first.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;
use tokio_util::task::TaskTracker;

mod articles;
mod dials;
pub mod incident;
mod origins;

pub use articles::Corpus;
pub use dials::{Change, ChangeError, Dial, Dials, Order};
pub use origins::Newspaper;

/// The demo's own declaration.
const DECLARATION: &str = include_str!("../fragments.toml");

#[derive(RustEmbed)]
#[folder = "templates"]
#[exclude = "builtin/*"]
#[exclude = "admin/*"]
struct Templates;

/// A demo whose origins run; dropping it stops them and removes what it wrote.
pub struct Demo {
    newspaper: Newspaper,
    folder: Option<PathBuf>,
    file: PathBuf,
}

/// Starts the demo's origins and finds or writes its site.
pub async fn start(free_ports: bool) -> io::Result<Demo> {
    let newspaper = print(free_ports).await?;
    if lies_here() {
        return Ok(Demo {
            newspaper,
            folder: None,
            file: PathBuf::from("fragments.toml"),
        });
    }
    let demo = Demo::beside(newspaper)?;
    write_site(&demo.file, DECLARATION)?;
    Ok(demo)
}

/// Starts the demo's origins and writes the site that incidents are rehearsed on, in a folder of its own
/// in any case: what a checkout's site says, and what it keeps, is of no account.
pub async fn stage(free_ports: bool) -> io::Result<Demo> {
    let demo = Demo::beside(print(free_ports).await?)?;
    let staged = incident::stage::declaration(DECLARATION);
    write_site(
        &demo.file,
        &staged.expect("the demo's own declaration is one"),
    )?;
    let footer = demo.file.with_file_name("templates/fallbacks/footer.html");
    let mark = incident::seen::STAND_IN_FOOTER;
    let marked = std::fs::read_to_string(&footer)? + mark;
    std::fs::write(footer, marked)?;
    Ok(demo)
}

/// What each block of the demo is worth, by its name.
pub fn worth() -> impl Fn(&str) -> f64 {
    incident::stage::worth(DECLARATION)
}

async fn print(free_ports: bool) -> io::Result<Newspaper> {
    let port = |name: &str| if free_ports { 0 } else { declared_port(name) };
    Newspaper::start(port, &TaskTracker::new()).await
}

impl Demo {
    /// With a temporary folder, which is gone with it.
    fn beside(newspaper: Newspaper) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("marbre-demo-{}", std::process::id()));
        // new, and nobody else's to write to: a folder that is there already is not ours
        DirBuilder::new().mode(0o700).create(&folder)?;
        let file = folder.join("fragments.toml");
        Ok(Self {
            newspaper,
            folder: Some(folder),
            file,
        })
    }

    /// The site's declaration.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The origins.
    pub fn newspaper(&self) -> &Newspaper {
        &self.newspaper
    }

    /// Where the origins are: what `${NAME}` stands for in the declaration.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let addresses = self.newspaper.addresses().into_iter();
        addresses
            .map(|(name, address)| (variable(name), format!("http://{address}")))
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // a folder that is already gone needs no removing
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn variable(origin: &str) -> String {
    format!("MARBRE_DEMO_{}", origin.to_ascii_uppercase())
}

/// The port that the declaration gives an origin when its variable is not set:
/// `${MARBRE_DEMO_CMS:-http://127.0.0.1:8101}`.
fn declared_port(origin: &str) -> u16 {
    let default = format!("${{{}:-http://127.0.0.1:", variable(origin));
    DECLARATION
        .split_once(&default)
        .and_then(|(_, rest)| rest.split_once('}')?.0.parse().ok())
        .unwrap_or(0)
}

/// Whether the current folder holds the demo's own declaration: its first line says so.
fn lies_here() -> bool {
    let first = |text: &str| text.lines().next().map(str::to_owned);
    std::fs::read_to_string("fragments.toml").is_ok_and(|text| first(&text) == first(DECLARATION))
        && Path::new("templates").is_dir()
}

fn write_site(declared: &Path, declaration: &str) -> io::Result<()> {
    let write = |path: &Path, bytes: Cow<'static, [u8]>| {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)
    };
    write(declared, Cow::Owned(declaration.as_bytes().to_vec()))?;
    let templates = declared.with_file_name("templates");
    for name in Templates::iter() {
        let file = Templates::get(&name).expect("a listed file is embedded");
        write(&templates.join(&*name), file.data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_origin_has_a_declared_port_and_a_place_in_the_declaration() {
        for name in [
            "cms", "media", "pictures", "live", "reco", "weather", "ads", "web",
        ] {
            assert_ne!(declared_port(name), 0, "{name}");
        }
    }
}
