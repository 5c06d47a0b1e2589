//! Files → everything that they declare, still as written. Owns includes, syntax errors and the
//! merging of several files into one list of entries; does not look at what entries mean.
//!
//! Invariant: an entry that is wrong in itself keeps its place in the list with an empty body, so
//! that what refers to it is not reported as well.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::check::{self, Removed};
use super::diagnose::{Diagnostic, Diagnostics, FileId, Place};
use super::file;
use super::files::{Files, Remembering, Unreadable};

mod include;
pub(super) mod syntax;

/// What only the main file may hold.
const MAIN_ONLY: [&str; 10] = [
    "include",
    "server",
    "admin",
    "shared",
    "telemetry",
    "site",
    "degradation",
    "limits",
    "markup",
    "status",
];

/// Something declared under a name, or one of `[[proxy]]` and `[[static]]`.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) name: String,
    /// Where the name is written, or the header.
    pub(super) place: Place,
    /// What was declared; `None` if it was so wrong that it cannot be examined.
    pub(super) body: Option<T>,
    /// Whether nothing had to be taken out of it.
    pub(super) is_whole: bool,
}

impl<T> Entry<T> {
    /// The place of one of its values, or of its name if the value is a default.
    pub(super) fn at<V>(&self, value: &file::At<V>) -> Place {
        match value.span() {
            Some(span) => Place {
                file: self.place.file,
                span,
            },
            None => self.place.clone(),
        }
    }
}

/// Everything that the files of a site declare.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) main: FileId,
    pub(super) server: file::Server,
    pub(super) admin: file::Admin,
    pub(super) shared: file::Shared,
    pub(super) telemetry: file::Telemetry,
    pub(super) site: file::Site,
    pub(super) degradation: file::Degradation,
    /// Whether nothing had to be taken out of the ladder.
    pub(super) ladder_is_whole: bool,
    pub(super) limits: file::Limits,
    pub(super) markup: file::Markup,
    pub(super) status: file::Status,
    pub(super) origins: Vec<Entry<file::Origin>>,
    pub(super) fragments: Vec<Entry<file::Fragment>>,
    pub(super) pages: Vec<Entry<file::Page>>,
    pub(super) slos: Vec<Entry<file::Slo>>,
    pub(super) schedules: Vec<Entry<file::Schedule>>,
    pub(super) faults: Vec<Entry<file::Fault>>,
    pub(super) proxies: Vec<Entry<file::Proxy>>,
    pub(super) statics: Vec<Entry<file::Static>>,
    /// How many files there are.
    pub(super) files: usize,
}

/// Reads the main file and all that it includes; `None` if what they declare cannot be examined
/// further.
pub(super) fn read(
    path: &Path,
    schema: &Value,
    files: &Remembering<'_>,
    found: &mut Diagnostics,
) -> Option<Declared> {
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let shown = shown(&root, path);
    let text = match files.read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            found.push(Diagnostic::error(format!("{shown} is not UTF-8 text")));
            return None;
        }
        Err(why) => {
            found.push(unreadable(&shown, path, &why, files));
            return None;
        }
    };
    let main = found.add_file(shown, &text);
    let mut merge = Merge {
        schema,
        found,
        declared: empty(main),
        sound: true,
    };
    let includes = merge.add(&text, main, true);
    let mut done = BTreeSet::from([path.to_owned()]);
    for include in includes {
        let place = Place {
            file: main,
            span: include.span().unwrap_or_default(),
        };
        for (included, shown) in include::resolve(&root, &include, &place, files, merge.found) {
            // two patterns may name one file, and `*.toml` names the main file too
            if done.insert(included.clone()) {
                merge.declared.files += 1;
                merge.include(&included, &shown, &place, files);
            }
        }
    }
    merge.sound.then_some(merge.declared)
}

/// A path as people are told it: relative to the main file's folder where it is below it.
pub(super) fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn unreadable(shown: &str, path: &Path, why: &Unreadable, files: &dyn Files) -> Diagnostic {
    let finding = Diagnostic::error(format!("{shown} cannot be read: {why}"));
    let folder = path.parent().unwrap_or(Path::new(""));
    let near: Vec<String> = files.list(folder).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    finding.did_you_mean(
        &name,
        near.iter()
            .map(String::as_str)
            .filter(|n| n.ends_with(".toml")),
    )
}

fn empty(main: FileId) -> Declared {
    Declared {
        main,
        server: file::Server::default(),
        admin: file::Admin::default(),
        shared: file::Shared::default(),
        telemetry: file::Telemetry::default(),
        site: file::Site::default(),
        degradation: file::Degradation::default(),
        ladder_is_whole: true,
        limits: file::Limits::default(),
        markup: file::Markup::default(),
        status: file::Status::default(),
        origins: Vec::new(),
        fragments: Vec::new(),
        pages: Vec::new(),
        slos: Vec::new(),
        schedules: Vec::new(),
        faults: Vec::new(),
        proxies: Vec::new(),
        statics: Vec::new(),
        files: 1,
    }
}

struct Merge<'m> {
    schema: &'m Value,
    found: &'m mut Diagnostics,
    declared: Declared,
    /// Whether every file could be read to its end.
    sound: bool,
}

impl Merge<'_> {
    fn include(&mut self, path: &Path, shown: &str, place: &Place, files: &Remembering<'_>) {
        let text = match files.read(path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                let finding = Diagnostic::error(format!("{shown} is not UTF-8 text"));
                self.found.push(finding.at(place.clone(), "included here"));
                self.sound = false;
                return;
            }
            Err(why) => {
                let finding = unreadable(shown, path, &why, files);
                self.found.push(finding.at(place.clone(), "included here"));
                self.sound = false;
                return;
            }
        };
        let file = self.found.add_file(shown, &text);
        self.add(&text, file, false);
    }

    /// Adds what one file declares; gives back its `include`.
    fn add(&mut self, text: &str, file: FileId, is_main: bool) -> Vec<file::At<String>> {
        let (mut table, errors) = DeTable::parse_recoverable(text);
        if syntax::report(text, &errors, file, self.found) {
            self.sound = false;
            return Vec::new();
        }
        let table = table.get_mut();
        if !is_main {
            self.refuse_main_only(table, file);
        }
        let removed = check::check(table, self.schema, file, self.found);
        let mut rest = std::mem::take(table);
        let mut take = |section: &str| rest.remove(section);
        if is_main {
            self.declared.server = self.one(take("server"));
            self.declared.admin = self.one(take("admin"));
            self.declared.shared = self.one(take("shared"));
            self.declared.telemetry = self.one(take("telemetry"));
            self.declared.site = self.one(take("site"));
            self.declared.degradation = self.one(take("degradation"));
            self.declared.ladder_is_whole = !removed.touches("degradation", "ladder");
            self.declared.limits = self.one(take("limits"));
            self.declared.markup = self.one(take("markup"));
            self.declared.status = self.one(take("status"));
        }
        let includes = take("include")
            .and_then(|v| self.body(v))
            .unwrap_or_default();
        let origins = self.named("origins", take("origins"), file, &removed);
        let fragments = self.named("fragments", take("fragments"), file, &removed);
        let pages = self.named("pages", take("pages"), file, &removed);
        let slos = self.named("slo", take("slo"), file, &removed);
        let schedules = self.named("schedules", take("schedules"), file, &removed);
        let faults = self.named("chaos", take("chaos"), file, &removed);
        let proxies = self.listed("proxy", take("proxy"), file);
        let statics = self.listed("static", take("static"), file);
        self.declared.origins.extend(origins);
        self.declared.fragments.extend(fragments);
        self.declared.pages.extend(pages);
        self.declared.slos.extend(slos);
        self.declared.schedules.extend(schedules);
        self.declared.faults.extend(faults);
        self.declared.proxies.extend(proxies);
        self.declared.statics.extend(statics);
        includes
    }

    fn refuse_main_only(&mut self, table: &mut DeTable<'_>, file: FileId) {
        for name in MAIN_ONLY {
            let Some((key, _)) = table.remove_entry(name) else {
                continue;
            };
            let place = Place {
                file,
                span: key.span(),
            };
            self.found.push(
                Diagnostic::error(format!("`{name}` belongs in the main file"))
                    .at(place, "not in an included file")
                    .help(
                        "included files hold origins, fragments, pages, objectives, schedules, faults, proxies and static folders",
                    ),
            );
        }
    }

    fn one<T: for<'de> Deserialize<'de> + Default>(
        &mut self,
        value: Option<Spanned<DeValue<'_>>>,
    ) -> T {
        value.and_then(|value| self.body(value)).unwrap_or_default()
    }

    fn named<T: for<'de> Deserialize<'de>>(
        &mut self,
        section: &str,
        value: Option<Spanned<DeValue<'_>>>,
        file: FileId,
        removed: &Removed,
    ) -> Vec<Entry<T>> {
        let lost = removed.lost.iter().filter(|(s, ..)| s == section);
        let mut entries: Vec<Entry<T>> = lost
            .map(|(_, name, span)| entry(name, file, span.clone(), None))
            .collect();
        if let Some(DeValue::Table(table)) = value.map(Spanned::into_inner) {
            for (key, value) in table {
                let body = self.body(value);
                let mut entry = entry(key.get_ref(), file, key.span(), body);
                let written = (section.to_owned(), entry.name.clone());
                entry.is_whole &= !removed.partial.contains(&written);
                entries.push(entry);
            }
        }
        entries.sort_by_key(|entry| entry.place.span.start);
        entries
    }

    fn listed<T: for<'de> Deserialize<'de>>(
        &mut self,
        section: &str,
        value: Option<Spanned<DeValue<'_>>>,
        file: FileId,
    ) -> Vec<Entry<T>> {
        let Some(DeValue::Array(items)) = value.map(Spanned::into_inner) else {
            return Vec::new();
        };
        let entries = items.into_iter().map(|item| {
            let span = item.span();
            let body = self.body(item);
            entry(section, file, span, body)
        });
        entries.collect()
    }

    fn body<T: for<'de> Deserialize<'de>>(&mut self, value: Spanned<DeValue<'_>>) -> Option<T> {
        let value = T::deserialize(ValueDeserializer::from(value));
        value
            .map_err(|error| {
                // the check lets nothing through that cannot be read: a mistake of ours
                let message = format!(
                    "marbre cannot read what it has checked: {}",
                    error.message()
                );
                self.found
                    .push(Diagnostic::error(message).help("please report this"));
            })
            .ok()
    }
}

fn entry<T>(name: &str, file: FileId, span: Range<usize>, body: Option<T>) -> Entry<T> {
    let is_whole = body.is_some();
    Entry {
        name: name.to_owned(),
        place: Place { file, span },
        body,
        is_whole,
    }
}
