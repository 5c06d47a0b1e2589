//! Configuration: `fragments.toml` and what it names → a [`Site`], or everything that is wrong with
//! it at once. Owns the format and its diagnostics; does not decide when to load or what to do with
//! the result.
//!
//! Invariant: loading is a function of files and environment. It changes nothing, so that a site
//! that cannot be loaded never hurts the one that runs.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::site::{ServerSettings, Site};

mod check;
pub mod declaration;
pub mod diagnose;
pub mod diff;
pub mod document;
pub mod file;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod read;
mod validate;
pub mod values;
pub mod watch;

pub use declaration::{Declaration, Entry, Setting};
pub use diagnose::{Diagnostic, Diagnostics, Severity};
pub use diff::diff;

use files::{Disk, Files, Remembering};

/// What a declaration gave.
#[derive(Debug)]
pub struct Loaded {
    /// The site.
    pub site: Site,
    /// What the process itself needs; taken at start.
    pub server: ServerSettings,
    /// Files and folders whose change means loading again.
    pub watched: Vec<PathBuf>,
    /// How much was declared.
    pub summary: Summary,
    /// What someone should look at.
    pub warnings: Diagnostics,
}

/// How much was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Files of the declaration itself.
    pub files: usize,
    /// Named services.
    pub origins: usize,
    /// Fragments.
    pub fragments: usize,
    /// Pages.
    pub pages: usize,
    /// Proxied routes.
    pub proxies: usize,
    /// Static folders.
    pub statics: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.pages, "page", "pages"),
            (self.fragments, "fragment", "fragments"),
            (self.origins, "origin", "origins"),
            (self.proxies, "proxy", "proxies"),
            (self.statics, "static folder", "static folders"),
            (self.files, "file", "files"),
        ];
        let some = all.into_iter().filter(|(count, ..)| *count > 0);
        let words = some.map(|(n, one, many)| format!("{n} {}", if n == 1 { one } else { many }));
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

/// Loads a site from the machine's files; `env` looks up environment variables.
///
/// Every path, in the result and on disk, is relative to the folder of `path`.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Diagnostics> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    load_from(&Disk, &path, env)
}

/// Loads a site from any files.
pub fn load_from(
    files: &dyn Files,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    let files = Remembering::new(files);
    let mut found = Diagnostics::new();
    let made = read::read(path, &schema(), &files, &mut found).and_then(|declared| {
        let root = path.parent().unwrap_or(Path::new("")).to_owned();
        let templates = root.join(declared.site.templates.as_str());
        let mut cx = validate::Context {
            files: &files,
            env,
            root,
            templates,
            found: &mut found,
        };
        let (site, server) = validate::validate(&declared, &mut cx)?;
        let summary = Summary {
            files: declared.files,
            origins: site.origins.len(),
            fragments: site.fragments.len(),
            pages: site.pages.len(),
            proxies: site.proxies.len(),
            statics: site.statics.len(),
        };
        Some((site, server, summary))
    });
    found.sort();
    match made {
        Some((site, server, summary)) if !found.has_errors() => Ok(Loaded {
            site,
            server,
            watched: files.seen(),
            summary,
            warnings: found,
        }),
        _ => {
            found.watched = files.seen();
            Err(found)
        }
    }
}

/// The JSON schema of `fragments.toml`, for editors.
pub fn schema() -> Value {
    schema_of::<file::File>()
}

/// The JSON schema of a kind of file.
fn schema_of<T: JsonSchema>() -> Value {
    let mut settings = schemars::generate::SchemaSettings::draft07();
    // without `$ref`s: the check reads it as it is, and every editor understands it
    settings.inline_subschemas = true;
    let generator = settings.into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// TOML has no null, so nothing is nullable; and a list of types would read badly in an editor.
fn tidy(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(keys) => {
            if keys.get("default").is_some_and(Value::is_null) {
                keys.remove("default");
            }
            if let Some(Value::Array(types)) = keys.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    keys.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(words)) = keys.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(options)) = keys.get_mut("anyOf") {
                options.retain(|option| *option != json!({ "type": "null" }));
            }
            keys.values_mut().for_each(tidy);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_site() {
        let text = "[fragments.a]\npriority = \"core\"\nsource = \"inline:x\"\n\
                    [pages.p]\nroute = \"/\"\nlayout = \"page.html\"\n";
        let (layout, template) = (properties::LAYOUT, properties::TEMPLATE);
        let loaded = properties::load(text.as_bytes(), layout.as_bytes(), template.as_bytes());
        let loaded = loaded.unwrap();
        assert_eq!(loaded.summary.to_string(), "1 page, 1 fragment, 1 file");
        assert_eq!(loaded.watched.len(), 2);
    }

    proptest! {
        #[test]
        fn what_holds_of_every_declaration(lines in prop::collection::vec(
            prop::sample::select(vec![
                "[fragments.a]", "[fragments.b]", "[origins.o]", "[pages.p]", "[[proxy]]", "[[static]]",
                "[server]", "[admin]", "[limits]", "priority = \"core\"", "priority = 7",
                "source = \"inline:x\"", "source = \"o:/x/{y}\"", "source = \"data:a.html\"",
                "template = \"a.html\"", "fallback = [\"fragment:b\", \"omit\"]",
                "fallback = [\"fragment:a\", 5]", "urls = \"http://o\"", "urls = [1, {}]", "route = \"/\"",
                "route = \"/{y}\"", "layout = \"page.html\"", "layout = \"a.html\"", "origin = \"o\"",
                "dir = \".\"", "listen = \"${X}\"", "page_slots = -1", "timeout = 5", "timeout = \"5s\"",
                "a.b = { c = [[]] }", "\"", "[", "é",
            ]), 0..14)) {
            properties::hold(lines.join("\n").as_bytes());
        }
    }
}
