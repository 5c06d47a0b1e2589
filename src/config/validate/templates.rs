//! Template files → an engine that has them all. Owns the closure over `include`, `import` and
//! `extends`, and where a compile error is shown; running templates is [`render`](crate::render)'s.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use minijinja::Environment;

use super::{Context, assets};
use crate::config::diagnose::{Diagnostic, FileId, Place};
use crate::config::file;
use crate::config::read::Entry;

mod scan;

/// The templates that fragments use, directly or not.
pub(super) struct Templates {
    pub(super) engine: Environment<'static>,
    /// Text by name.
    texts: BTreeMap<String, String>,
    /// Those that cannot be used.
    broken: BTreeSet<String>,
}

impl Templates {
    /// Reads and compiles what the fragments name and whatever that names in turn.
    pub(super) fn load(
        entries: &[Entry<file::Fragment>],
        engine: Environment<'static>,
        cx: &mut Context<'_>,
    ) -> Self {
        let mut templates = Self {
            engine,
            texts: BTreeMap::new(),
            broken: BTreeSet::new(),
        };
        let mut wanted: Vec<(String, Place)> = entries
            .iter()
            .rev()
            .filter_map(|entry| {
                let template = entry.body.as_ref()?.template.as_ref()?;
                Some((template.to_string(), entry.at(template)))
            })
            .collect();
        while let Some((name, place)) = wanted.pop() {
            let is_known = templates.texts.contains_key(&name);
            if is_known {
                continue;
            }
            match assets::read_text(&name, &place, cx) {
                None => drop(templates.broken.insert(name)),
                Some(text) => wanted.extend(templates.add(name, text, &place, cx)),
            }
        }
        templates.spread_breakage();
        templates
    }

    /// Whether a template and all that it includes compiled.
    pub(super) fn is_sound(&self, name: &str) -> bool {
        self.texts.contains_key(name) && !self.broken.contains(name)
    }

    /// Everything that a rendering may depend on.
    pub(super) fn hash_texts(&self, hasher: &mut impl Hasher) {
        self.texts.hash(hasher);
    }

    /// Compiles a template; gives back what it refers to.
    fn add(
        &mut self,
        name: String,
        text: String,
        used: &Place,
        cx: &mut Context<'_>,
    ) -> Vec<(String, Place)> {
        let file = cx.found.add_file(assets::shown(&name, cx), &text);
        if let Err(error) = self.engine.add_template_owned(name.clone(), text.clone()) {
            let finding = compile_error(&error, &text, file, cx);
            cx.report(finding.also(used.clone(), "used here"));
            self.broken.insert(name.clone());
        } else {
            self.check_words(&name, &text, file, cx);
        }
        let mut wanted = Vec::new();
        for reference in scan::references(&text) {
            let place = Place {
                file,
                span: reference.span.clone(),
            };
            if reference.is_computed {
                cx.report(
                    Diagnostic::warning("the name of this template is computed")
                        .at(place, "cannot be checked")
                        .help("only templates that are named literally somewhere are loaded"),
                );
            } else if !reference.may_be_missing || self.exists(&reference.name, cx) {
                wanted.push((reference.name, place));
            }
        }
        self.texts.insert(name, text);
        wanted
    }

    fn exists(&self, name: &str, cx: &Context<'_>) -> bool {
        use crate::config::files::Files;
        cx.files.read(&cx.templates.join(name)).is_ok()
    }

    /// The engine looks filters and tests up when it runs; a misprint must not wait for a reader.
    fn check_words(&mut self, name: &str, text: &str, file: FileId, cx: &mut Context<'_>) {
        for word in scan::words(text) {
            let probe = match word.kind {
                scan::WordKind::Filter => format!("none|{}", word.name),
                scan::WordKind::Test => format!("none is {}", word.name),
            };
            let Ok(probe) = self.engine.compile_expression(&probe) else {
                continue;
            };
            let kind = probe.eval(()).err().map(|error| error.kind());
            let what = match kind {
                Some(minijinja::ErrorKind::UnknownFilter) => "filter",
                Some(minijinja::ErrorKind::UnknownTest) => "test",
                _ => continue,
            };
            let place = Place {
                file,
                span: word.span,
            };
            cx.report(
                Diagnostic::error(format!("unknown {what} `{}`", word.name))
                    .at(place, format!("marbre's templates have no such {what}")),
            );
            self.broken.insert(name.to_owned());
        }
    }

    /// What includes something broken is broken.
    fn spread_breakage(&mut self) {
        loop {
            let users: Vec<String> = self
                .texts
                .iter()
                .filter(|(name, _)| !self.broken.contains(*name))
                .filter(|(_, text)| {
                    let mut names = scan::references(text).into_iter().map(|r| r.name);
                    names.any(|name| self.broken.contains(&name))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if users.is_empty() {
                return;
            }
            self.broken.extend(users);
        }
    }
}

fn compile_error(
    error: &minijinja::Error,
    text: &str,
    file: FileId,
    cx: &Context<'_>,
) -> Diagnostic {
    let message = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let span = error
        .range()
        .unwrap_or_else(|| line_span(text, error.line().unwrap_or(1)));
    // what ends too soon is said to be wrong behind its end
    let span = span.start.min(text.len())..span.end.min(text.len());
    let place = Place { file, span };
    let path = cx.found.locate(&place).0.to_owned();
    Diagnostic::error(format!("{path} does not compile")).at(place, message)
}

fn line_span(text: &str, line: usize) -> std::ops::Range<usize> {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let len = text[start..].lines().next().map_or(0, str::len);
    start..start + len
}
