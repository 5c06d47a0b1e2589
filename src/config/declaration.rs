//! A site that a program declares in code. Owns how sections and entries are put together; what they mean,
//! and whether they are right, is found out as it is of a file: what is declared here *is* a
//! `fragments.toml`, in memory, with its templates beside it.
//!
//! Invariant: nothing is declared in code that a file could not say, so that `marbre check` and the
//! reference hold for both.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use crate::fragment::quantity::show_duration;

use super::files::{Disk, Files, Unreadable};
use super::{Diagnostics, Loaded, load_from};

/// What the file would be called.
const FILE: &str = "fragments.toml";

/// Where templates are looked for, unless `[site] templates` says otherwise.
const TEMPLATES: &str = "templates";

/// A site, declared in code.
///
/// The keys are those of `fragments.toml` (`docs/reference/fragments-toml.md`); what is wrong is told when
/// it is loaded, all at once, with a line of what [`to_toml`](Self::to_toml) gives and a suggestion.
///
/// ```
/// use std::time::Duration;
///
/// use marbre::config::{Declaration, Entry};
///
/// let site = Declaration::new()
///     .origin("cms", Entry::new().set("urls", "http://127.0.0.1:8000"))
///     .fragment("article", Entry::new().set("priority", "core").set("source", "cms:/articles/{slug}"))
///     .fragment(
///         "weather",
///         Entry::new()
///             .set("priority", 20)
///             .set("source", "cms:/weather")
///             .set("timeout", Duration::from_millis(250))
///             .set("fallback", ["omit"]),
///     )
///     .page("article", Entry::new().set("route", "/{slug}").set("layout", "article.html"))
///     .template(
///         "article.html",
///         r#"<main><fragment name="article"></fragment><fragment name="weather"></fragment></main>"#,
///     );
/// let loaded = site.load(&|_| None).unwrap();
/// assert_eq!(loaded.summary.to_string(), "1 page, 2 fragments, 1 origin, 1 file");
///
/// let wrong = site.page("front", Entry::new().set("rout", "/").set("layout", "article.html"));
/// assert!(wrong.load(&|_| None).unwrap_err().to_string().contains("route"));
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Declaration {
    text: String,
    sections: Table,
    files: BTreeMap<PathBuf, Vec<u8>>,
    folder: Option<PathBuf>,
}

/// The keys of a section, or of one of its entries.
#[derive(Clone, Default, PartialEq)]
#[must_use]
pub struct Entry(Table);

/// What a key is set to: text, a number, yes or no, a time, a list, or keys of its own.
#[derive(Clone, PartialEq)]
pub struct Setting(Value);

/// Without what it says: that may be a token or a password.
impl fmt::Debug for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declaration")
            .field("sections", &self.sections.keys().collect::<Vec<_>>())
            .field("files", &self.files.keys().collect::<Vec<_>>())
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Without the values.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setting({})", self.0.type_str())
    }
}

impl Declaration {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a `fragments.toml` of this text says; more can be added.
    #[must_use]
    pub fn from_toml(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Where files that are not declared here are looked for, and what `state_dir` is relative to; the
    /// working directory otherwise.
    #[must_use]
    pub fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// A section that is there once, such as `server` or `degradation`.
    #[must_use]
    pub fn section(mut self, name: &str, keys: Entry) -> Self {
        self.sections.insert(name.to_owned(), Value::Table(keys.0));
        self
    }

    /// An entry of a section whose entries have names, such as `slo`.
    #[must_use]
    pub fn entry(mut self, section: &str, name: &str, keys: Entry) -> Self {
        let entries = self.sections.entry(section).or_insert_with(empty);
        if let Value::Table(entries) = entries {
            entries.insert(name.to_owned(), Value::Table(keys.0));
        }
        self
    }

    /// `[origins.NAME]`.
    #[must_use]
    pub fn origin(self, name: &str, keys: Entry) -> Self {
        self.entry("origins", name, keys)
    }

    /// `[fragments.NAME]`.
    #[must_use]
    pub fn fragment(self, name: &str, keys: Entry) -> Self {
        self.entry("fragments", name, keys)
    }

    /// `[pages.NAME]`.
    #[must_use]
    pub fn page(self, name: &str, keys: Entry) -> Self {
        self.entry("pages", name, keys)
    }

    /// One more `[[proxy]]` or `[[static]]`.
    #[must_use]
    pub fn one_more(mut self, section: &str, keys: Entry) -> Self {
        let list = self.sections.entry(section);
        if let Value::Array(list) = list.or_insert_with(|| Value::Array(Vec::new())) {
            list.push(Value::Table(keys.0));
        }
        self
    }

    /// A layout or a template, by its path in the folder of templates.
    #[must_use]
    pub fn template(self, path: impl AsRef<Path>, text: impl Into<Vec<u8>>) -> Self {
        self.file(Path::new(TEMPLATES).join(path), text)
    }

    /// A file that the declaration names, by its path beside it.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    /// What it says, as a file: for `marbre check`, or for whoever wants to read it.
    pub fn to_toml(&self) -> String {
        let declared = toml::to_string_pretty(&self.sections);
        let declared = declared.expect("a table of settings can be written");
        match self.text.is_empty() {
            true => declared,
            false => format!("{}\n{declared}", self.text.trim_end()),
        }
    }

    /// The site, or all that is wrong with it; `env` looks up environment variables. No file of it is to be
    /// watched: it changes when its program says so.
    pub fn load(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Diagnostics> {
        let folder = self.folder.as_deref().unwrap_or(Path::new("."));
        let root = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let files = InMemory {
            text: self.to_toml(),
            declared: self,
            root: &root,
        };
        let mut loaded = load_from(&files, &root.join(FILE), env)?;
        loaded.watched.clear();
        Ok(loaded)
    }
}

impl Entry {
    /// No key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key; what it was before is forgotten.
    pub fn set(mut self, key: &str, value: impl Into<Setting>) -> Self {
        self.0.insert(key.to_owned(), value.into().0);
        self
    }
}

fn empty() -> Value {
    Value::Table(Table::new())
}

/// The declaration and its files; what it does not hold is looked for on disk.
struct InMemory<'d> {
    text: String,
    declared: &'d Declaration,
    root: &'d Path,
}

impl Files for InMemory<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, Unreadable> {
        let Ok(within) = path.strip_prefix(self.root) else {
            return Disk.read(path);
        };
        if within == Path::new(FILE) {
            return Ok(self.text.clone().into_bytes());
        }
        match self.declared.files.get(within) {
            Some(content) => Ok(content.clone()),
            None => Disk.read(path),
        }
    }

    fn list(&self, folder: &Path) -> Option<Vec<String>> {
        let is_within = |path: &&PathBuf| {
            let path = self.root.join(path);
            path.parent() == Some(folder)
        };
        let held = self.declared.files.keys().filter(is_within);
        let held = held.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let mut names: Vec<String> = held.collect();
        let on_disk = Disk.list(folder);
        if names.is_empty() {
            return on_disk;
        }
        names.extend(on_disk.into_iter().flatten());
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        let within = path.strip_prefix(self.root);
        let is_held = within.is_ok_and(|within| self.declared.files.contains_key(within));
        !is_held && Disk.is_open_to_all(path)
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self(Value::String(text.to_owned()))
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self(Value::String(text))
    }
}

impl From<i64> for Setting {
    fn from(number: i64) -> Self {
        Self(Value::Integer(number))
    }
}

impl From<i32> for Setting {
    fn from(number: i32) -> Self {
        Self(Value::Integer(number.into()))
    }
}

impl From<u32> for Setting {
    fn from(number: u32) -> Self {
        Self(Value::Integer(number.into()))
    }
}

impl From<f64> for Setting {
    fn from(number: f64) -> Self {
        Self(Value::Float(number))
    }
}

impl From<bool> for Setting {
    fn from(is: bool) -> Self {
        Self(Value::Boolean(is))
    }
}

impl From<Duration> for Setting {
    /// To the millisecond, as it would be written.
    fn from(time: Duration) -> Self {
        Self(Value::String(show_duration(time)))
    }
}

impl From<Entry> for Setting {
    fn from(entry: Entry) -> Self {
        Self(Value::Table(entry.0))
    }
}

impl<T: Into<Self>> From<Vec<T>> for Setting {
    fn from(list: Vec<T>) -> Self {
        Self(Value::Array(
            list.into_iter().map(|one| one.into().0).collect(),
        ))
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Setting {
    fn from(list: [T; N]) -> Self {
        Vec::from(list).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Declaration {
        let article = Entry::new()
            .set("priority", "core")
            .set("source", "inline:x")
            .set("timeout", Duration::from_millis(1500));
        Declaration::new()
            .fragment("a", article)
            .page("p", Entry::new().set("route", "/").set("layout", "p.html"))
            .template("p.html", r#"<fragment name="a"></fragment>"#)
    }

    #[test]
    fn what_is_declared_is_what_a_file_would_say() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), site().to_toml()).unwrap();
        std::fs::create_dir(folder.path().join(TEMPLATES)).unwrap();
        let layout = r#"<fragment name="a"></fragment>"#;
        std::fs::write(folder.path().join("templates/p.html"), layout).unwrap();
        let of_file = super::super::load(&folder.path().join(FILE), &|_| None).unwrap();
        let in_code = site().within(folder.path()).load(&|_| None).unwrap();
        assert_eq!(in_code.server, of_file.server);
        assert_eq!(super::super::diff(&of_file.site, &in_code.site), [""; 0]);
        assert!(in_code.watched.is_empty() && !of_file.watched.is_empty());
    }

    #[test]
    fn text_and_code_make_one_site_and_are_told_of_together() {
        let text = "[fragments.a]\npriority = \"core\"\nsource = \"inline:x\"\n";
        let page = Entry::new().set("route", "/").set("layout", "p.html");
        let site = Declaration::from_toml(text)
            .page("p", page)
            .template("p.html", r#"<fragment name="a"></fragment>"#)
            .one_more(
                "static",
                Entry::new().set("route", "/files").set("dir", "."),
            );
        assert_eq!(
            site.load(&|_| None).unwrap().summary.to_string(),
            "1 page, 1 fragment, 1 static folder, 1 file"
        );
        let wrong = site.page("p", Entry::new().set("layout", "q.html"));
        let told = wrong.load(&|_| None).unwrap_err().to_string();
        assert!(
            told.contains("route") && told.contains("fragments.toml:"),
            "{told}"
        );
    }
}
