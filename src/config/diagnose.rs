//! What is wrong with a declaration, where, and what to do about it. Owns the list of findings, the
//! text they point into, and how a person sees them; finds nothing itself.
//!
//! Invariant: a secret is never part of it. Tokens and passwords are blotted out of the text when a
//! file is added, and messages are made of names, not of expanded values.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde_json::json;

mod redact;
mod render;

/// A file that findings point into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(usize);

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// Bytes in it.
    pub span: Range<usize>,
}

/// Whether a finding prevents the site from being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// There is no site.
    Error,
    /// There is one, but someone should look.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, readable alone.
    pub message: String,
    /// Where, when it is somewhere in a file.
    pub place: Option<Place>,
    /// What stands at the caret.
    pub label: String,
    /// Other places that matter, with what they are.
    pub related: Vec<(Place, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Something that prevents the site from being served.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    /// Something that someone should look at.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Points at it.
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.place = Some(place);
        self.label = label.into();
        self
    }

    /// Points at something else that matters.
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related.push((place, label.into()));
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what it was probably meant to be, or else what it may be.
    pub fn did_you_mean<'c>(self, word: &str, known: impl IntoIterator<Item = &'c str>) -> Self {
        let mut known: Vec<&str> = known.into_iter().collect();
        known.sort_unstable();
        match super::values::nearest(word, known.iter().copied()) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            // more than a screen line of names helps nobody
            None if known.len() > 12 => self.help(format!("known: {}, …", known[..12].join(", "))),
            None => self.help(format!("known: {}", known.join(", "))),
        }
    }
}

#[derive(Debug, Clone)]
struct SourceText {
    path: String,
    text: String,
}

/// Everything that was found in one loading.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    files: Vec<SourceText>,
    found: Vec<Diagnostic>,
    pub(super) watched: Vec<PathBuf>,
}

impl Diagnostics {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file that findings may point into; `path` is what people will read.
    pub fn add_file(&mut self, path: impl Into<String>, text: &str) -> FileId {
        let (path, text) = (path.into(), redact::blot(text));
        if let Some(known) = self
            .files
            .iter()
            .position(|f| f.path == path && f.text == text)
        {
            return FileId(known);
        }
        self.files.push(SourceText { path, text });
        FileId(self.files.len() - 1)
    }

    /// Adds a finding, unless it is there already.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether anything prevents the site from being served.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings of this severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.found.iter().filter(|d| d.severity == severity).count()
    }

    /// The findings, in reading order once sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }

    /// Folders whose change may mend what is wrong, so that a failed loading is tried again.
    pub fn watched(&self) -> &[PathBuf] {
        &self.watched
    }

    /// File, line and column (both from 1, the column in characters) of a place.
    pub fn locate(&self, place: &Place) -> (&str, usize, usize) {
        let file = &self.files[place.file.0];
        let before = &file.text[..floor_boundary(&file.text, place.span.start)];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (&file.path, line, before[line_start..].chars().count() + 1)
    }

    /// A finding that points at something that is no text of its file.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn outside_their_file(&self) -> Option<&Diagnostic> {
        let is_text = |place: &Place| self.files[place.file.0].text.get(place.span.clone());
        self.found.iter().find(|finding| {
            let related = finding.related.iter().map(|(place, _)| place);
            let mut places = finding.place.iter().chain(related);
            places.any(|place| is_text(place).is_none())
        })
    }

    /// The place of `needle` within `place`, or the whole of it: how a finding points at one part of
    /// a string, whatever quotes and escapes it is written with.
    pub(super) fn within(&self, place: &Place, needle: &str) -> Place {
        let text = &self.files[place.file.0].text;
        let found = text
            .get(place.span.clone())
            .and_then(|written| written.find(needle));
        match found {
            Some(offset) if !needle.is_empty() => {
                let start = place.span.start + offset;
                Place {
                    file: place.file,
                    span: start..start + needle.len(),
                }
            }
            _ => place.clone(),
        }
    }

    /// Errors first, then by file and line.
    pub fn sort(&mut self) {
        self.found.sort_by_cached_key(|d| {
            let place = d.place.as_ref().map(|p| (p.file, p.span.start, p.span.end));
            (d.severity, place, d.message.clone())
        });
    }

    /// The findings as JSON, for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let found = self.found.iter().map(|d| {
            let place = d.place.as_ref().map(|place| self.locate(place));
            json!({
                "severity": match d.severity { Severity::Error => "error", Severity::Warning => "warning" },
                "message": d.message,
                "file": place.map(|(path, ..)| path),
                "line": place.map(|(_, line, _)| line),
                "column": place.map(|(.., column)| column),
                "label": d.label,
                "help": d.help,
            })
        });
        found.collect()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_line_its_caret_and_its_help() {
        let mut found = Diagnostics::new();
        let file = found.add_file("a.toml", "x = 1\ny = \"é\u{1b}\"\n");
        let place = Place { file, span: 10..12 };
        found.push(
            Diagnostic::error("bad \u{1b}")
                .at(place.clone(), "here")
                .help("do"),
        );
        assert_eq!(found.locate(&place), ("a.toml", 2, 5));
        let text = found.render(false);
        assert!(
            text.contains("error: bad \\u{1b}") && text.contains("a.toml:2:5"),
            "{text}"
        );
        assert!(
            text.contains("^ here") && text.contains("help: do"),
            "{text}"
        );
        assert!(
            text.ends_with("1 error") && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    #[test]
    fn spans_beyond_the_text_do_not_panic() {
        let mut found = Diagnostics::new();
        let file = found.add_file("a.toml", "é");
        for span in [0..99, 1..1, 99..100, 2..2] {
            found.push(Diagnostic::error("x").at(Place { file, span }, ""));
        }
        assert_eq!(found.render(true).matches("a.toml").count(), 4);
    }
}
